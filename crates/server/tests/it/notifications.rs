//! Matches are told: to whom, when, once, and in the end.

use std::time::Duration;

use acquaint_server::config::Config;
use acquaint_testkit::provider::{Provider, Reply, Request, nobody};
use acquaint_testkit::{API_KEY, did, number};
use serde_json::{Value, json};

use super::App;
use crate::raw::{Answer, exchange};

fn to_appview(config: &mut Config, url: &str) {
    config.notifications.to = "appview".into();
    config.notifications.appview_url = url.into();
    config.notifications.appview_password = "an admin password".into();
}

fn taken() -> Reply {
    Reply::Json(200, "{}".into())
}

async fn app(appview: &str) -> App {
    App::start_with(|config| to_appview(config, appview)).await
}

async fn operator(app: &App, method: &str, path: &str, key: &str) -> Answer {
    let request = format!(
        "{method} /operator/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-length: 0\r\n\r\n"
    );
    exchange(&app.url, request.as_bytes()).await
}

async fn listed(app: &App) -> Value {
    serde_json::from_slice(&operator(app, "GET", "notifications", API_KEY).await.body).unwrap()
}

/// Waits for something that the worker does by itself.
async fn until(app: &App, what: &str, is_so: impl FnMut(&Value) -> bool) -> Value {
    until_later(app, what, Duration::ZERO, is_so).await
}

/// Waits for something that the worker does by itself, while the clock moves on by `step` at each look: whatever the
/// worker stores meanwhile falls due.
async fn until_later(app: &App, what: &str, step: Duration, mut is_so: impl FnMut(&Value) -> bool) -> Value {
    for _ in 0..1200 {
        let now = listed(app).await;
        if is_so(&now) {
            return now;
        }
        app.clock.advance(step);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} is not so: {}", listed(app).await);
}

async fn until_none_is_left(app: &App) {
    until(app, "no notice is left", |now| now["waiting"] == 0 && now["dead"] == 0).await;
}

/// Person 1 has person 2 and the other way round; 2 imports last.
async fn match_two(app: &App) {
    app.import(&did(1), &number(1), &[&number(2)]).await;
    assert_eq!(app.import(&did(2), &number(2), &[&number(1)]).await.len(), 1);
}

/// Who was told of whom.
fn told(request: &Request) -> (String, String) {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let text = |field: &str| body[field].as_str().unwrap().to_owned();
    (text("to"), text("from"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_is_told_once_and_the_importer_by_its_answer() {
    let appview = Provider::start([taken()]).await;
    let app = app(&appview.url).await;
    match_two(&app).await;
    until_none_is_left(&app).await;
    // What is known already is not told again.
    app.import(&did(2), &number(2), &[&number(1)]).await;
    app.import(&did(1), &number(1), &[&number(2)]).await;
    until_none_is_left(&app).await;
    let requests = appview.requests();
    assert_eq!(requests.iter().map(told).collect::<Vec<_>>(), [(did(1), did(2))]);
    assert_eq!(requests[0].path, "/xrpc/app.bsky.contact.sendNotification");
    assert_eq!(requests[0].header("idempotency-key").len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_importer_whose_answer_was_out_is_told_too() {
    let appview = Provider::start([taken()]).await;
    let app = App::start_with(|config| {
        to_appview(config, &appview.url);
        config.import.deadline_ms = 1;
        config.pool.threads = 1;
    })
    .await;
    app.import(&did(1), &number(1), &[&number(2)]).await;
    // The match comes last, long after the answer.
    let mut contacts: Vec<String> = (100..1000).map(number).collect();
    contacts.push(number(1));
    let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
    assert_eq!(app.import(&did(2), &number(2), &contacts).await, [], "the answer came before the match");
    until(&app, "the other side is told", |now| now["waiting"] == 1).await;
    app.clock.advance(Duration::from_secs(6));
    until_none_is_left(&app).await;
    let told: Vec<_> = appview.requests().iter().map(told).collect();
    assert_eq!(told, [(did(1), did(2)), (did(2), did(1))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_is_repeated_later_with_the_same_key() {
    let appview = Provider::start([Reply::Page(503), Reply::HangUp, taken()]).await;
    let app = app(&appview.url).await;
    match_two(&app).await;
    // Less than the shortest pause, of 5 s: no step leads past two attempts.
    let step = Duration::from_secs(2);
    for attempts in 1..=2 {
        until_later(&app, "it was tried", step, |_| appview.requests().len() >= attempts).await;
        // Not again while the clock stands.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!((appview.requests().len(), &listed(&app).await["waiting"]), (attempts, &json!(1)));
    }
    until_later(&app, "no notice is left", step, |now| now["waiting"] == 0 && now["dead"] == 0).await;
    let keys: Vec<_> =
        appview.requests().iter().map(|request| request.header("idempotency-key").to_owned()).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_seen_and_retried_by_who_has_the_key() {
    let appview = Provider::start([Reply::Json(400, r#"{"error":"InvalidRequest"}"#.into()), taken()]).await;
    let app = app(&appview.url).await;
    match_two(&app).await;
    let now = until(&app, "it is dead", |now| now["dead"] == 1).await;
    let letter = &now["letters"][0];
    assert_eq!((&now["waiting"], &letter["attempts"]), (&json!(0), &json!(1)));
    assert_eq!(letter["id"], appview.requests()[0].header("idempotency-key"));
    assert!(
        letter["reason"].as_str().unwrap().len() > 5 && letter["found_at"].as_i64() > Some(1_700_000_000)
    );
    assert!(!now.to_string().contains("account1"), "whom it is about stays sealed: {now}");
    app.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(appview.requests().len(), 1, "it is not tried by itself");

    for (method, path) in [("GET", "notifications"), ("POST", "notifications/retry")] {
        assert_eq!(operator(&app, method, path, "not the key").await.status, 401);
    }
    assert_eq!(operator(&app, "GET", "notifications/retry", API_KEY).await.status, 405);
    assert_eq!(listed(&app).await["dead"], 1);
    let retried = operator(&app, "POST", "notifications/retry", API_KEY).await;
    assert_eq!(serde_json::from_slice::<Value>(&retried.body).unwrap(), json!({ "retried": 1 }));
    until_none_is_left(&app).await;
    assert_eq!(appview.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_told_outlives_a_restart_and_gives_up_in_the_end() {
    let app = App::start_with(|config| config.notifications.attempts = 2).await;
    let down = nobody().await;
    let app = app.restart_with(|config| to_appview(config, &down)).await;
    match_two(&app).await;
    assert_eq!(listed(&app).await["waiting"], 1);
    until_later(&app, "two attempts have failed", Duration::from_secs(2), |now| now["dead"] == 1).await;
    // Somebody mends the AppView's address.
    let appview = Provider::start([taken()]).await;
    let app = app.restart_with(|config| to_appview(config, &appview.url)).await;
    operator(&app, "POST", "notifications/retry", API_KEY).await;
    until_none_is_left(&app).await;
    assert_eq!(appview.requests().iter().map(told).collect::<Vec<_>>(), [(did(1), did(2))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_by_default_and_nothing_piles_up() {
    let app = App::start().await;
    match_two(&app).await;
    assert_eq!(listed(&app).await, json!({ "waiting": 0, "dead": 0, "letters": [] }));
    assert_eq!(app.rows()["notices"], [] as [Vec<u8>; 0]);
}
