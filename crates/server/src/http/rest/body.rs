//! Bodies of this face.

use axum::body::{Body, Bytes};
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::http::body::{self, BodyLimits, Unread};
use crate::http::face::Public;

/// Reads a body of at most `most` bytes; `wanted` says what would be right.
pub(super) async fn json<T: DeserializeOwned>(
    public: &Public,
    body: Body,
    most: usize,
    wanted: &'static str,
) -> Result<T, Problem> {
    let body = raw(public, body, most).await?;
    serde_json::from_slice(&body).map_err(|_| Problem::invalid(wanted))
}

/// Reads a body of at most `most` bytes.
pub(super) async fn raw(public: &Public, body: Body, most: usize) -> Result<Bytes, Problem> {
    let limits = BodyLimits { bytes: most.min(public.limits.bytes), time: public.limits.time };
    body::read(body, limits).await.map_err(|unread| match unread {
        Unread::TooLarge => {
            Problem::failure(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than what may be asked takes")
        }
        Unread::TooSlow => Problem::failure(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
        Unread::Broken => Problem::failure(StatusCode::BAD_REQUEST, "the body broke off"),
    })
}
