//! HTTP: one port for HTTP/1.1 and HTTP/2 with the RPC and the health checks, and one for the operator.

mod auth;
mod body;
mod connect;
mod epochs;
mod host;
mod listen;
mod notifications;
mod operator;
mod prompt;
mod request_log;
pub(crate) mod tls;

use std::sync::Arc;
use std::time::Duration;

use acquaint_service::Discovery;
use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use connectrpc::{CompressionRegistry, ConnectRpcService, Limits};
use http::StatusCode;

use crate::config::Config;
use crate::rpc::RolodexServiceExt;
use auth::{BearerKey, require_key};
use body::BodyLimits;
use connect::Rolodex;
use connect::refusal::give_reasons;

pub(crate) use connect::refusal::METHODS;
pub(crate) use listen::{Port, serve};
pub(crate) use operator::{OPERATOR_CONNECTIONS, operator};

/// Everything that the port answers.
pub(crate) fn router(discovery: Arc<Discovery>, config: &Config) -> Router {
    let bytes = usize::try_from(config.http.max_body_kib).unwrap_or(usize::MAX).saturating_mul(1024);
    let time = Duration::from_secs(u64::from(config.http.request_timeout_s));
    let rolodex = Rolodex { discovery: Arc::clone(&discovery), account_format: config.account_format };
    let rpc = ConnectRpcService::new(Arc::new(rolodex).register(connectrpc::Router::new()))
        .with_limits(Limits::default().with_max_request_body_size(bytes).with_max_message_size(bytes))
        .with_compression(CompressionRegistry::default());
    let key = (!config.auth.api_key.is_empty()).then_some(config.auth.api_key.as_str());
    let key = BearerKey::new(key);
    let operator =
        notifications::router(Arc::clone(&discovery)).merge(epochs::router(Arc::clone(&discovery)));
    let rpc = Router::new()
        .fallback_service(rpc)
        .layer(from_fn_with_state(BodyLimits { bytes, time }, give_reasons))
        .layer(from_fn_with_state(key.clone(), require_key));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(discovery))
        .merge(operator.layer(from_fn_with_state(key, require_key)))
        .fallback_service(rpc)
        .layer(from_fn(host::require_host))
        .layer(from_fn(request_log::survive_panics))
        .layer(from_fn_with_state(time, request_log::bound_and_log))
}

/// Ready when the store and the key holder answer.
async fn ready(State(discovery): State<Arc<Discovery>>) -> (StatusCode, &'static str) {
    match discovery.ready().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    }
}
