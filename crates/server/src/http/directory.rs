//! What an operator sees of the directory's keys, and how a new one is made: JSON, behind the API key.

use std::sync::Arc;

use acquaint_service::Discovery;
use acquaint_service::directory::{DirectoryEpoch, DirectoryError};
use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::operator::answer;

/// `GET /operator/directory` and `POST /operator/directory/rotate`.
pub(super) fn router(discovery: Arc<Discovery>) -> Router {
    Router::new()
        .route("/operator/directory", get(show))
        .route("/operator/directory/rotate", post(rotate))
        .with_state(discovery)
}

/// `{"signing_key" (base64url, or null), "epochs": [{"profile", "epoch", "stage", "listings", "made_at" (milliseconds since 1970)}]}`;
/// without epochs where there is no directory.
async fn show(State(discovery): State<Arc<Discovery>>) -> Response {
    answer(match discovery.directory_epochs() {
        Ok(epochs) => Ok(json!({
            "signing_key": discovery.directory_signing_key().ok(),
            "epochs": epochs.into_iter().map(epoch).collect::<Vec<_>>(),
        })),
        Err(DirectoryError::NotConfigured) => Ok(json!({ "signing_key": null, "epochs": [] })),
        Err(error) => Err(error),
    })
}

fn epoch(DirectoryEpoch { profile, epoch, stage, listings, made_at }: DirectoryEpoch) -> Value {
    json!({ "profile": profile, "epoch": epoch, "stage": stage, "listings": listings, "made_at": made_at })
}

/// Whose key is changed.
#[derive(Deserialize)]
struct Whose {
    /// `sealed-buckets`, `psm` or `pir`; the first without it.
    profile: Option<String>,
}

/// `{"outcome", "epoch"}`: `made` with the new epoch, which is published once all listings are placed under its key;
/// `filling` while there is such a one, `no_directory` where there is none, or not
/// this profile.
async fn rotate(State(discovery): State<Arc<Discovery>>, Query(whose): Query<Whose>) -> Response {
    let profile = whose.profile.as_deref().unwrap_or("sealed-buckets");
    answer(match discovery.rotate_directory(profile).await {
        Ok(epoch) => Ok(json!({ "outcome": "made", "epoch": epoch })),
        Err(DirectoryError::Unavailable) => Ok(json!({ "outcome": "filling", "epoch": null })),
        Err(DirectoryError::NotConfigured) => Ok(json!({ "outcome": "no_directory", "epoch": null })),
        Err(error) => Err(error),
    })
}
