//! HTTP: one port for HTTP/1.1 and HTTP/2 with the RPC, the faces for people and the health checks, and one for the
//! operator.

pub(crate) mod audit;
mod auth;
mod body;
mod connect;
mod directory;
mod epochs;
mod face;
mod host;
mod listen;
mod mappings;
pub(crate) mod matrix;
mod notifications;
mod operator;
mod prompt;
mod request_log;
pub(crate) mod rest;
mod rocketchat;
pub(crate) mod tls;
mod xrpc;

use std::sync::Arc;
use std::time::Duration;

use acquaint_service::Discovery;
use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use connectrpc::{CompressionRegistry, ConnectRpcService, Limits};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tower_http::cors::CorsLayer;

use crate::config::Config;
use crate::rpc::RolodexServiceExt;
use crate::session::Sessions;
use auth::{BearerKey, require_key};
use body::BodyLimits;
use connect::Rolodex;
use connect::refusal::give_reasons;
use face::Public;
use matrix::homeserver::Homeservers;

pub(crate) use connect::refusal::METHODS;
pub(crate) use listen::{Port, serve};
pub(crate) use operator::{OPERATOR_CONNECTIONS, operator};

/// Everything that the port answers.
pub(crate) fn router(
    discovery: Arc<Discovery>,
    sessions: Arc<Sessions>,
    homeservers: Option<Arc<Homeservers>>,
    config: &Config,
) -> Router {
    let bytes = usize::try_from(config.http.max_body_kib).unwrap_or(usize::MAX).saturating_mul(1024);
    let time = Duration::from_secs(u64::from(config.http.request_timeout_s));
    let rolodex = Rolodex { discovery: Arc::clone(&discovery), account_format: config.account_format };
    let rpc = ConnectRpcService::new(Arc::new(rolodex).register(connectrpc::Router::new()))
        .with_limits(Limits::default().with_max_request_body_size(bytes).with_max_message_size(bytes))
        .with_compression(CompressionRegistry::default());
    let key = (!config.auth.api_key.is_empty()).then_some(config.auth.api_key.as_str());
    let key = BearerKey::new(key);
    let limits = BodyLimits { bytes, time };
    let operator = notifications::router(Arc::clone(&discovery))
        .merge(epochs::router(Arc::clone(&discovery)))
        .merge(audit::router(Arc::clone(&discovery)))
        .merge(directory::router(Arc::clone(&discovery)))
        .merge(mappings::router(Arc::clone(&discovery), config.account_format, limits));
    let public = Public {
        discovery: Arc::clone(&discovery),
        sessions,
        address_header: config.http.client_address_header.parse().ok(),
        limits,
        lxm_prefix: config.atproto.lxm_prefix.as_str().into(),
    };
    let matrix = match homeservers {
        Some(homeservers) => matrix::router(public.clone(), homeservers),
        None => matrix::off(),
    };
    let public =
        rest::router(public.clone()).merge(xrpc::router(public.clone())).merge(rocketchat::router(public));
    let rpc = Router::new()
        .fallback_service(rpc)
        .layer(from_fn_with_state(limits, give_reasons))
        .layer(from_fn_with_state(key.clone(), require_key));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(discovery))
        .merge(with_cors(public, config))
        .merge(matrix)
        .merge(operator.layer(from_fn_with_state(key, require_key)))
        .fallback_service(rpc)
        .layer(from_fn(host::require_host))
        .layer(from_fn(request_log::survive_panics))
        .layer(from_fn_with_state(time, request_log::bound_and_log))
}

/// Lets pages of the configured origins call, if there are any; else browsers refuse them.
fn with_cors(router: Router, config: &Config) -> Router {
    let origins: Vec<HeaderValue> =
        config.http.cors_origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if origins.is_empty() {
        return router;
    }
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-auth-token"),
            HeaderName::from_static("x-user-id"),
        ])
        .expose_headers([header::RETRY_AFTER, HeaderName::from_static("x-request-id")]);
    router.layer(cors)
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
