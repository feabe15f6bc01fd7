//! What an operator sees of the epochs, and the retirement of one: JSON, behind the API key.

use std::sync::Arc;

use acquaint_service::{Discovery, EpochView, EpochsView, Retirement};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::operator::answer;

/// `GET /operator/epochs`, `GET /operator/epochs/{version}/rows` and `POST /operator/epochs/{version}/retire`.
pub(super) fn router(discovery: Arc<Discovery>) -> Router {
    Router::new()
        .route("/operator/epochs", get(list))
        .route("/operator/epochs/{version}/rows", get(rows))
        .route("/operator/epochs/{version}/retire", post(retire))
        .with_state(discovery)
}

/// `{"servers", "epochs": [{"version", "state", "suite" (or null), "servers", "check" (hexadecimal)}]}`, newest first.
async fn list(State(discovery): State<Arc<Discovery>>) -> Response {
    answer(discovery.epochs().await.map(|EpochsView { epochs, servers }| {
        json!({ "servers": servers, "epochs": epochs.into_iter().map(epoch).collect::<Vec<_>>() })
    }))
}

fn epoch(EpochView { version, state, suite, check, servers }: EpochView) -> Value {
    json!({ "version": version, "state": state, "suite": suite, "servers": servers, "check": hex::encode(check) })
}

/// `{"halves", "matches"}`. Counts them.
async fn rows(State(discovery): State<Arc<Discovery>>, Path(version): Path<u32>) -> Response {
    let rows = discovery.epoch_rows(version).await;
    answer(rows.map(|rows| json!({ "halves": rows.halves, "matches": rows.matches })))
}

/// `{"outcome"}`: `retired`, `forgotten`, `is_current` or `unknown`.
async fn retire(State(discovery): State<Arc<Discovery>>, Path(version): Path<u32>) -> Response {
    let outcome = discovery.retire_epoch(version).await.map(|retirement| match retirement {
        Retirement::Retired => "retired",
        Retirement::Forgotten => "forgotten",
        Retirement::IsCurrent => "is_current",
        Retirement::Unknown => "unknown",
    });
    answer(outcome.map(|outcome| json!({ "outcome": outcome })))
}
