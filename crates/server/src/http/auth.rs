//! The bearer key, compared in constant time.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use connectrpc::{ConnectError, ErrorCode};
use http::{StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::body::discard;
use super::connect::refusal::answer;

/// The key's digest; comparing digests hides the length as well.
#[derive(Clone)]
pub(super) struct BearerKey(Option<Arc<[u8; 32]>>);

impl BearerKey {
    /// `None` lets everybody in.
    pub(super) fn new(key: Option<&str>) -> Self {
        Self(key.map(|key| Arc::new(Sha256::digest(key.as_bytes()).into())))
    }

    fn admits(&self, request: &Request) -> bool {
        let Some(digest) = &self.0 else { return true };
        let given =
            request.headers().get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
        // RFC 9110, section 11.1: the scheme's name is not case-sensitive.
        let key = match given.split_at_checked(7) {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key,
            _ => b"",
        };
        let given: [u8; 32] = Sha256::digest(key).into();
        given.as_slice().ct_eq(digest.as_slice()).into()
    }
}

/// Refuses a request without the key before anything looks at its body.
pub(super) async fn require_key(State(key): State<BearerKey>, request: Request, next: Next) -> Response {
    if key.admits(&request) {
        return next.run(request).await;
    }
    discard(request.into_body()).await;
    let error = ConnectError::new(ErrorCode::Unauthenticated, "the bearer key is missing or wrong");
    answer(&error, StatusCode::UNAUTHORIZED)
}
