//! What is told of each request: a log line, a count, a span. An id, the method, the outcome and the time; no identifier,
//! no body, no header.

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

use super::connect::refusal::method_of;
use super::face::face_of;
use super::{matrix, rocketchat, xrpc};
use crate::telemetry::{metrics, traces};

static COUNT: AtomicU64 = AtomicU64::new(1);

/// Gives the request an id, bounds its time, and tells how it went. The id is in the answer's `x-request-id`.
pub(super) async fn bound_and_log(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    // Counts from the process's start; with the process id, unique on a machine.
    let id = format!("{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let method = known(request.uri().path());
    if method == HEALTH {
        return bounded(limit, request, next).await;
    }
    let trace = traces::request(method, request.headers());
    let span = tracing::info_span!("request", id, method);
    async {
        let _running = metrics::InFlight::began();
        let began = Instant::now();
        let mut response = bounded(limit, request, next).await;
        let time = began.elapsed();
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-request-id", value);
        }
        let (status, outcome) = (response.status().as_u16(), outcome(&response));
        // As 64 bits: wider ones become text in JSON.
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(status, outcome, millis, "answered");
        metrics::answered(method, outcome, time);
        traces::answered(&trace, &id, status, outcome, is_ours(outcome));
        response
    }
    .instrument(span)
    .instrument(trace.clone())
    .await
}

async fn bounded(limit: Duration, request: Request, next: Next) -> Response {
    let face = face_of(&request);
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        face.failure(ErrorCode::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, "the request took too long")
    })
}

const HEALTH: &str = "health";

/// A path as it may be logged: what is not ours could hold anything.
fn known(path: &str) -> &'static str {
    match path {
        "/healthz" | "/readyz" => HEALTH,
        "/operator/notifications" | "/operator/notifications/retry" => "notifications",
        path if path.starts_with("/operator/epochs") => "epochs",
        "/operator/audit" => "audit",
        "/v1/contact-discovery/credentials" => "credentials",
        "/v1/credentials/verify" => "verify_credentials",
        "/v1/lookup/quota" => "lookup_quota",
        "/v1/openapi.json" => "openapi",
        "/v1/directory/verifications" => "directory_verification",
        "/v1/directory/verifications/confirm" => "directory_confirmation",
        "/v1/directory/parameters" => "directory_parameters",
        "/v1/directory/oprf" => "directory_oprf",
        "/v1/directory/buckets" => "directory_buckets",
        path if path.starts_with("/v1/directory/listings") => "directory_listings",
        "/v1/discovery/parameters" => "private_parameters",
        "/v1/discovery/oprf" => "private_oprf",
        "/v1/discovery/keys" => "private_keys",
        "/v1/discovery/query" => "private_query",
        "/v1/discovery/lookup" => "private_plain",
        path if path.starts_with("/operator/directory") => "directory",
        rocketchat::PATH => "query_contacts",
        path if path.starts_with(matrix::PREFIX) => matrix::label(path),
        path if path.starts_with("/xrpc/") => xrpc::method_of(path).map_or("unknown", |(nsid, _)| nsid),
        _ => method_of(path).unwrap_or("unknown"),
    }
}

/// The Connect code of an answer, or `ok`. Each status that this server gives stands for one code; gRPC has its own
/// header (grpc.io, "PROTOCOL-HTTP2", Trailers-Only).
fn outcome(response: &Response) -> &'static str {
    let grpc = response.headers().get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
    match (grpc, response.status().as_u16()) {
        (Some(code @ 1..=16), _) => GRPC_CODES[code - 1],
        (_, 200..=299) => "ok",
        (_, 400) => "invalid_argument",
        (_, 401) => "unauthenticated",
        (_, 403) => "permission_denied",
        (_, 409) => "aborted",
        (_, 404 | 405 | 415 | 501) => "unimplemented",
        (_, 408 | 504) => "deadline_exceeded",
        (_, 413 | 429) => "resource_exhausted",
        (_, 499) => "canceled",
        (_, 502 | 503) => "unavailable",
        _ => "internal",
    }
}

/// gRPC's status codes from 1 to 16, by their names in Connect (connectrpc.com/docs/protocol, "Error codes").
const GRPC_CODES: [&str; 16] = [
    "canceled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// Whether the outcome is the server's fault and not the caller's.
fn is_ours(outcome: &str) -> bool {
    matches!(outcome, "internal" | "unavailable" | "unknown" | "data_loss" | "deadline_exceeded")
}

/// A panic in a handler is that request's failure and nobody else's. Its text is not logged: it could quote anything.
pub(super) async fn survive_panics(request: Request, next: Next) -> Response {
    let face = face_of(&request);
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a request failed unexpectedly");
            face.failure(ErrorCode::Internal, StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}
