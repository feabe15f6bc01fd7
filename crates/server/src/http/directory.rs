//! What an operator sees of the directory's keys, and how a new one is made: JSON, behind the API key.

use std::sync::Arc;

use acquaint_service::Discovery;
use acquaint_service::directory::{DirectoryEpoch, DirectoryError};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use serde_json::{Value, json};

/// `GET /operator/directory` and `POST /operator/directory/rotate`.
pub(super) fn router(discovery: Arc<Discovery>) -> Router {
    Router::new()
        .route("/operator/directory", get(show))
        .route("/operator/directory/rotate", post(rotate))
        .with_state(discovery)
}

/// `{"signing_key" (base64url), "epochs": [{"epoch", "stage", "listings", "made_at" (milliseconds since 1970)}]}`.
async fn show(State(discovery): State<Arc<Discovery>>) -> Response {
    answer(discovery.directory_epochs().map(|epochs| {
        json!({
            "signing_key": discovery.directory_signing_key().ok(),
            "epochs": epochs.into_iter().map(epoch).collect::<Vec<_>>(),
        })
    }))
}

fn epoch(DirectoryEpoch { epoch, stage, listings, made_at }: DirectoryEpoch) -> Value {
    json!({ "epoch": epoch, "stage": stage, "listings": listings, "made_at": made_at })
}

/// `{"epoch"}`: the new one, which is published once all listings are placed under its key.
async fn rotate(State(discovery): State<Arc<Discovery>>) -> Response {
    answer(discovery.rotate_directory().await.map(|epoch| json!({ "epoch": epoch })))
}

fn answer(outcome: Result<Value, DirectoryError>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    match outcome {
        Ok(body) => (kind, body.to_string()).into_response(),
        Err(error) => {
            let status = match error {
                DirectoryError::NotConfigured => StatusCode::NOT_FOUND,
                DirectoryError::Unavailable => StatusCode::CONFLICT,
                _ => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the directory failed");
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            (status, kind, json!({ "error": error.to_string() }).to_string()).into_response()
        }
    }
}
