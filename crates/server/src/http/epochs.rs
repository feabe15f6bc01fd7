//! What an operator sees of the epochs, and the retirement of one: JSON, behind the API key.

use std::sync::Arc;

use acquaint_service::{Discovery, EpochView, EpochsView, Retirement};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::operator::answer;

/// `GET /operator/epochs` and `POST /operator/epochs/{version}/retire`.
pub(super) fn router(discovery: Arc<Discovery>) -> Router {
    Router::new()
        .route("/operator/epochs", get(list))
        .route("/operator/epochs/{version}/retire", post(retire))
        .with_state(discovery)
}

/// `{"servers", "epochs": [{"version", "state", "suite" (or null), "halves", "matches", "servers"}]}`, newest first.
async fn list(State(discovery): State<Arc<Discovery>>) -> Response {
    answer(discovery.epochs().await.map(|EpochsView { epochs, servers }| {
        json!({ "servers": servers, "epochs": epochs.into_iter().map(epoch).collect::<Vec<_>>() })
    }))
}

fn epoch(EpochView { version, state, suite, rows, servers }: EpochView) -> Value {
    json!({ "version": version, "state": state, "suite": suite, "halves": rows.halves, "matches": rows.matches,
            "servers": servers })
}

/// `{"outcome"}`: `retired`, `in_use` or `unknown`.
async fn retire(State(discovery): State<Arc<Discovery>>, Path(version): Path<u32>) -> Response {
    let outcome = discovery.retire_epoch(version).await.map(|retirement| match retirement {
        Retirement::Retired => "retired",
        Retirement::InUse => "in_use",
        Retirement::Unknown => "unknown",
    });
    answer(outcome.map(|outcome| json!({ "outcome": outcome })))
}
