//! What an operator sees of the notifications, and the retry of dead letters: JSON, behind the API key.

use std::sync::Arc;

use acquaint_service::{DeadLetter, Discovery, Internal};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::operator::answer;

/// Most dead letters in one answer.
const LISTED: u32 = 100;

/// `GET /operator/notifications` and `POST /operator/notifications/retry`.
pub(super) fn router(discovery: Arc<Discovery>) -> Router {
    Router::new()
        .route("/operator/notifications", get(list))
        .route("/operator/notifications/retry", post(retry))
        .with_state(discovery)
}

/// `{"waiting", "dead", "letters": [{"id", "found_at" (seconds since 1970), "attempts", "reason"}]}`, at most 100 letters.
async fn list(State(discovery): State<Arc<Discovery>>) -> Response {
    let listed = async {
        let counts = discovery.notice_counts().await?;
        let letters: Vec<Value> = discovery.dead_letters(LISTED).await?.into_iter().map(letter).collect();
        Ok::<_, Internal>(json!({ "waiting": counts.waiting, "dead": counts.dead, "letters": letters }))
    };
    answer(listed.await)
}

fn letter(DeadLetter { id, found_at, attempts, reason }: DeadLetter) -> Value {
    json!({ "id": id, "found_at": found_at.div_euclid(1000), "attempts": attempts, "reason": reason })
}

/// `{"retried"}`: how many dead letters are tried again from the start.
async fn retry(State(discovery): State<Arc<Discovery>>) -> Response {
    answer(discovery.retry_dead_letters().await.map(|retried| json!({ "retried": retried })))
}
