//! One log line for each request: an id, the method, the outcome and the time. No identifier, no body, no header.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use connectrpc::ErrorCode;
use futures::FutureExt;
use http::{HeaderValue, StatusCode};
use tracing::Instrument;

use super::connect::refusal::{failure, method_of};

static COUNT: AtomicU64 = AtomicU64::new(1);

/// Gives the request an id, bounds its time, and logs how it went. The id is in the answer's `x-request-id`.
pub(super) async fn bound_and_log(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    // Counts from the process's start; with the process id, unique on a machine.
    let id = format!("{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let method = known(request.uri().path());
    let span = tracing::info_span!("request", id, method);
    async {
        let began = Instant::now();
        let answered = tokio::time::timeout(limit, next.run(request)).await;
        let mut response = answered.unwrap_or_else(|_| {
            failure(ErrorCode::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, "the request took too long")
        });
        let millis = began.elapsed().as_millis();
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-request-id", value);
        }
        let status = response.status().as_u16();
        if method == "health" {
            tracing::debug!(status, millis, "answered");
        } else {
            tracing::info!(status, millis, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

/// A path as it may be logged: what is not ours could hold anything.
fn known(path: &str) -> &'static str {
    match path {
        "/healthz" | "/readyz" => "health",
        "/operator/notifications" | "/operator/notifications/retry" => "notifications",
        _ => method_of(path).unwrap_or("unknown"),
    }
}

/// A panic in a handler is that request's failure and nobody else's. Its text is not logged: it could quote anything.
pub(super) async fn survive_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a request failed unexpectedly");
            failure(ErrorCode::Internal, StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}
