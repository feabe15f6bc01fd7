//! The operator's port: metrics and health checks, without a key. It is meant for the inside of a network.

use std::sync::Arc;
use std::time::Duration;

use acquaint_service::Discovery;
use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::{host, ready, request_log};
use crate::telemetry::metrics;

/// Connections at once: a scraper, a health check and some people.
pub(crate) const OPERATOR_CONNECTIONS: u32 = 64;

/// Prometheus's text format (prometheus.io/docs/instrumenting/exposition_formats).
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that the operator's port answers.
pub(crate) fn operator(discovery: Arc<Discovery>, time: Duration) -> Router {
    Router::new()
        .route("/metrics", get(read))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(discovery)
        .layer(from_fn(host::require_host))
        .layer(from_fn(request_log::survive_panics))
        .layer(from_fn_with_state(time, bound))
}

async fn read(State(discovery): State<Arc<Discovery>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, TEXT)], metrics::read(&discovery).await)
}

/// Bounds a request's time; nothing here is logged or counted.
async fn bound(
    State(time): State<Duration>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    tokio::time::timeout(time, next.run(request))
        .await
        .unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
}

/// What an operator asked for, as JSON.
pub(super) fn answer<E: std::error::Error + 'static>(outcome: Result<Value, E>) -> Response {
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a part of the service failed");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                json!({ "error": "internal error: the service's log says more" }),
            )
        }
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
