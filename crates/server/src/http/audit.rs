//! What an operator reads of the audit log: JSON, behind the API key.

use std::sync::Arc;

use acquaint_service::{AuditEvent, Discovery};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::operator::answer;

/// Most events in one answer.
const LISTED: u32 = 1000;

/// `GET /operator/audit`.
pub(super) fn router(discovery: Arc<Discovery>) -> Router {
    Router::new().route("/operator/audit", get(list)).with_state(discovery)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    after: Option<i64>,
    limit: Option<u32>,
}

/// `{"events": [{"id", "at" (milliseconds since 1970), "type", "account_identifier" (or null), …}]}`, in order: up to
/// `limit` (1000 at most) after the event `after`.
async fn list(
    State(discovery): State<Arc<Discovery>>,
    query: Result<Query<From>, QueryRejection>,
) -> Response {
    let Ok(Query(From { after, limit })) = query else {
        let body = json!({ "error": "the query takes `after` and `limit`, whole numbers" });
        let kind = [(header::CONTENT_TYPE, "application/json")];
        return (StatusCode::BAD_REQUEST, kind, body.to_string()).into_response();
    };
    let events = discovery.audit_events(after, limit.unwrap_or(LISTED).clamp(1, LISTED)).await;
    answer(events.map(|events| json!({ "events": events.iter().map(event).collect::<Vec<_>>() })))
}

/// An event as JSON: its details stand beside what every event has.
pub(crate) fn event(event: &AuditEvent) -> Value {
    let AuditEvent { id, at, kind, account, details } = event;
    let mut whole = details.as_object().cloned().unwrap_or_default();
    whole.insert("id".into(), json!(id));
    whole.insert("at".into(), json!(at));
    whole.insert("type".into(), json!(kind));
    whole.insert("account_identifier".into(), json!(account));
    Value::Object(whole)
}
