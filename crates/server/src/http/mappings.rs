//! Mappings that an operator loads into the directory: JSON, behind the API key.

use std::sync::Arc;

use acquaint_protocol::identifier::AccountFormat;
use acquaint_service::Discovery;
use acquaint_service::directory::{DirectoryError, MOST_MAPPINGS, Mapped, Mapping, Refusal};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{BodyLimits, Unread, read};
use super::operator::answer;

/// Far more than [`MOST_MAPPINGS`] have with the longest names, written as JSON: an account has at most 2048 bytes.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// What a body is to be.
const WANTED: &str = "the body must be a JSON object with `mappings`: a list of objects with `identifier` and `account`, and perhaps \
                      `index` (0 to 255) and `username`";

#[derive(Clone)]
struct Loader {
    discovery: Arc<Discovery>,
    format: AccountFormat,
    limits: BodyLimits,
}

/// `POST /operator/directory/mappings`.
pub(super) fn router(discovery: Arc<Discovery>, format: AccountFormat, limits: BodyLimits) -> Router {
    let limits = BodyLimits { bytes: MOST_BYTES, ..limits };
    Router::new().route("/operator/directory/mappings", post(load)).with_state(Loader {
        discovery,
        format,
        limits,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mappings {
    mappings: Vec<NewMapping>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMapping {
    identifier: String,
    account: String,
    #[serde(default)]
    index: u8,
    username: Option<String>,
}

/// `{"loaded", "unchanged", "refused": [{"at" (from 0), "reason"}]}`; else `{"error"}`.
async fn load(State(loader): State<Loader>, body: Body) -> Response {
    let body = match read(body, loader.limits).await {
        Ok(body) => body,
        Err(Unread::TooLarge) => return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
        Err(Unread::TooSlow | Unread::Broken) => {
            return refused(StatusCode::BAD_REQUEST, "the body did not come whole");
        }
    };
    // What is wrong with it may quote it.
    let Ok(Mappings { mappings }) = serde_json::from_slice(&body) else {
        return refused(StatusCode::BAD_REQUEST, WANTED);
    };
    drop(body);
    let mappings = mappings.into_iter().map(|mapping| {
        let NewMapping { identifier, account, index, username } = mapping;
        Mapping { identifier, account, index, username }
    });
    match loader.discovery.load_mappings(mappings.collect(), loader.format).await {
        Ok(outcomes) => answer(Ok::<_, DirectoryError>(told(&outcomes))),
        Err(DirectoryError::NotConfigured) => refused(StatusCode::NOT_FOUND, "this service has no directory"),
        Err(error @ DirectoryError::Unavailable) => {
            refused(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
        Err(error @ DirectoryError::Batch { field: _, most: MOST_MAPPINGS }) => {
            refused(StatusCode::BAD_REQUEST, &error.to_string())
        }
        Err(error) => answer(Err(error)),
    }
}

fn told(outcomes: &[Result<Mapped, Refusal>]) -> Value {
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == Ok(wanted)).count();
    let refused = outcomes.iter().enumerate().filter_map(|(at, outcome)| {
        let refusal = outcome.err()?;
        Some(json!({ "at": at, "reason": refusal.to_string() }))
    });
    json!({
        "loaded": count(Mapped::Loaded),
        "unchanged": count(Mapped::Unchanged),
        "refused": refused.collect::<Vec<_>>(),
    })
}

fn refused(status: StatusCode, why: &str) -> Response {
    let body = json!({ "error": why }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
