//! Codes by providers, seen from outside: who is charged, what is answered, and what is logged. What each provider is
//! sent is tested in `crates/server/src/delivery/tests/`.

use std::io::Write;
use std::sync::{Arc, Mutex};

use acquaint_server::config::Config;
use acquaint_server::delivery::probe;
use acquaint_testkit::provider::{Provider, Reply, nobody};
use acquaint_testkit::{App, did, number};

use crate::reason;

const MADE: &str = r#"{"sid":"SM01","status":"queued"}"#;

fn by_twilio(config: &mut Config, url: &str) {
    config.delivery.sms = vec!["twilio".into()];
    config.delivery.attempt_timeout_s = 5;
    config.twilio.account_sid = "AC0123456789abcdef0123456789abcdef".into();
    config.twilio.secret = "the token of twilio".into();
    config.twilio.from = "+12125550100".into();
    config.twilio.url = url.into();
}

fn then_plivo(config: &mut Config, url: &str) {
    config.delivery.sms.push("plivo".into());
    config.plivo.auth_id = "MA2025RK4E639VJFZAGV".into();
    config.plivo.auth_token = "the token of plivo".into();
    config.plivo.from = "+12125550100".into();
    config.plivo.url = url.into();
}

/// The code in the message that a provider was sent last.
fn code(provider: &Provider) -> String {
    let body = String::from_utf8(provider.requests().pop().unwrap().body).unwrap();
    let (_, text) = body.rsplit_once("Body=").or(body.rsplit_once("\"text\":\"")).unwrap();
    text[..6].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_a_provider_took_verifies() {
    let twilio = Provider::start([Reply::Json(201, MADE.into())]).await;
    let app = App::start_with(|config| by_twilio(config, &twilio.url)).await;
    app.client.start_verification(&did(1), &number(1)).await.unwrap();
    app.client.verify(&did(1), &number(1), &code(&twilio)).await.unwrap();
    assert_eq!(twilio.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_provider_sends_once_when_the_first_is_down() {
    let plivo = Provider::start([Reply::Json(202, r#"{"message_uuid":["db3ce55a"]}"#.into())]).await;
    let down = nobody().await;
    let app = App::start_with(|config| {
        by_twilio(config, &down);
        then_plivo(config, &plivo.url);
    })
    .await;
    app.client.start_verification(&did(1), &number(1)).await.unwrap();
    app.client.verify(&did(1), &number(1), &code(&plivo)).await.unwrap();
    assert_eq!(plivo.requests().len(), 1);
}

/// One code a day: whoever is charged for one gets no other.
async fn one_a_day(replies: impl Into<Vec<Reply>>) -> (App, Provider) {
    let twilio = Provider::start(replies).await;
    let app = App::start_with(|config| {
        by_twilio(config, &twilio.url);
        config.verification.account_codes_per_day = 1;
    })
    .await;
    (app, twilio)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_costs_nothing_and_says_what_to_do() {
    let refusals = [
        (r#"{"code":21610,"status":400}"#, "INVALID_PHONE"),
        (r#"{"code":21408,"status":400}"#, "INTERNAL_ERROR"),
        (r#"{"code":20003,"status":400}"#, "INTERNAL_ERROR"),
    ];
    let mut replies: Vec<_> = refusals.iter().map(|(body, _)| Reply::Json(400, (*body).into())).collect();
    replies.push(Reply::Json(201, MADE.into()));
    let (app, twilio) = one_a_day(replies).await;
    for (_, wanted) in refusals {
        assert_eq!(reason(app.client.start_verification(&did(1), &number(1)).await), wanted);
    }
    app.client.start_verification(&did(1), &number(1)).await.unwrap();
    app.client.verify(&did(1), &number(1), &code(&twilio)).await.unwrap();
    assert_eq!(reason(app.client.start_verification(&did(1), &number(1)).await), "RATE_LIMIT_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_sent_is_charged_and_its_code_stays_valid() {
    let unknown = [Reply::Page(500), Reply::HangUp, Reply::Page(201), Reply::Silence];
    let outcomes = unknown.map(|reply| async move {
        let plivo = Provider::start([Reply::Json(202, r#"{"message_uuid":["db3ce55a"]}"#.into())]).await;
        let twilio = Provider::start([reply.clone()]).await;
        let app = App::start_with(|config| {
            by_twilio(config, &twilio.url);
            then_plivo(config, &plivo.url);
            if matches!(reply, Reply::Silence) {
                // All of it is waited for.
                config.delivery.attempt_timeout_s = 3;
            }
            config.verification.account_codes_per_day = 1;
        })
        .await;
        let refused = app.client.start_verification(&did(1), &number(1)).await;
        assert_eq!(reason(refused), "INTERNAL_ERROR", "{reply:?}");
        let again = app.client.start_verification(&did(1), &number(1)).await;
        assert_eq!(reason(again), "RATE_LIMIT_EXCEEDED", "{reply:?}");
        app.client.verify(&did(1), &number(1), &code(&twilio)).await.unwrap();
        assert_eq!(
            (twilio.requests().len(), plivo.requests().len()),
            (1, 0),
            "{reply:?}: nobody sends it again"
        );
    });
    futures::future::join_all(outcomes).await;
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// On one thread, so that the server's work is logged to this test's buffer.
#[tokio::test]
async fn the_log_names_the_provider_and_the_reason_and_nobody() {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _subscriber = tracing::subscriber::set_default(subscriber);
    // While there is one subscriber only, a thread without one turns what it logs first off for all threads.
    let second =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::sink).finish();
    let _second = tracing::Dispatch::new(second);
    let body = format!(r#"{{"code":21610,"message":"{} has unsubscribed","status":400}}"#, number(1));
    let (app, twilio) = one_a_day([Reply::Json(400, body), Reply::HangUp]).await;
    let _ = app.client.start_verification(&did(1), &number(1)).await;
    let code_of_first = code(&twilio);
    let _ = app.client.start_verification(&did(1), &number(1)).await;
    let codes = [code_of_first, code(&twilio)];
    app.stop().await;
    let log = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("provider=\"twilio\" outcome=\"recipient_refused\"") && log.contains("21610"),
        "{log}"
    );
    assert!(log.contains("outcome=\"unknown\"") && log.contains("a code could not be sent"), "{log}");
    let digits = number(1).replace('+', "");
    for secret in [&digits, &did(1), "the token of twilio", &codes[0], &codes[1]] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn a_probe_tells_of_each_provider_in_use() {
    let twilio = Provider::start([Reply::Json(401, r#"{"code":20003,"status":401}"#.into())]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.delivery.outbox_file = folder.path().join("outbox.txt");
    by_twilio(&mut config, &twilio.url);
    config.delivery.sms.push("outbox".into());
    let [sms, outbox] = probe(&config).await.try_into().unwrap();
    assert_eq!((sms.provider, outbox.provider), ("twilio", "outbox"));
    assert!(sms.outcome.unwrap_err().reason.contains("20003"));
    assert!(outbox.outcome.unwrap().contains("nobody"));
    config.delivery.outbox_file = folder.path().join("nowhere/outbox.txt");
    let [_, outbox] = probe(&config).await.try_into().unwrap();
    assert!(outbox.outcome.unwrap_err().reason.contains("cannot be written"));
}
