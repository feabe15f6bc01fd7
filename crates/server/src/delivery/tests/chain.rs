//! Who is tried after whom: the table of `docs/operations/sms-and-email.md`.

use std::io::Write;
use std::sync::Mutex;

use acquaint_testkit::mail::{Encryption, Fault, MailServer};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::Ambient;
use crate::delivery::providers::chain;

fn taken() -> Reply {
    // Takes for all three of them.
    Reply::Json(202, r#"{"sid":"SM01","status":"queued","message_uuid":["db3ce55a"]}"#.into())
}

async fn deliver(config: &Config, to: &str) -> Result<(), Failure> {
    let chain = chain(config, &Ambient { clock: clock(), entropy: entropy() }).unwrap();
    let to = Identifier::parse(to, None).unwrap();
    chain.deliver(&message(&to)).await
}

/// Sends by `first`, then Plivo, each its own server; how often each was asked, and what became of the code.
async fn two(first: &str, replies: impl Into<Vec<Reply>>) -> (Option<Fate>, usize, usize) {
    let replies: Vec<Reply> = replies.into();
    let silent = replies.iter().any(|reply| matches!(reply, Reply::Silence));
    let (a, b) = (Provider::start(replies).await, Provider::start([taken()]).await);
    let mut config = config(&a.url);
    if silent {
        // All of it is waited for.
        config.delivery.attempt_timeout_s = 3;
    }
    config.delivery.sms = vec![first.into(), "plivo".into()];
    config.plivo.url = b.url.clone();
    let fate = deliver(&config, NUMBER).await.err().map(|failure| failure.fate);
    (fate, a.requests().len(), b.requests().len())
}

#[tokio::test]
async fn a_provider_that_takes_the_code_is_the_last() {
    assert_eq!(two("twilio", [taken()]).await, (None, 1, 0));
}

#[tokio::test]
async fn one_that_is_down_is_asked_twice_and_the_next_sends_once() {
    for down in [503, 429] {
        assert_eq!(two("twilio", [Reply::Page(down)]).await, (None, 2, 1), "{down}");
        assert_eq!(two("twilio", [Reply::Page(down), taken()]).await, (None, 2, 0), "{down}, then up");
    }
    let b = Provider::start([taken()]).await;
    let mut config = config(&nobody().await);
    config.plivo.url = b.url.clone();
    deliver(&config, NUMBER).await.unwrap();
    assert_eq!(b.requests().len(), 1);
}

#[tokio::test]
async fn one_that_refuses_is_asked_once_and_the_next_sends_once() {
    let region = r#"{"code":21408,"message":"x","status":403}"#;
    for reply in [Reply::Json(403, region.into()), Reply::Page(401), Reply::Page(404)] {
        assert_eq!(two("twilio", [reply.clone()]).await, (None, 1, 1), "{reply:?}");
    }
}

#[tokio::test]
async fn a_refused_recipient_ends_it() {
    let unsubscribed = r#"{"code":21610,"message":"x","status":400}"#;
    let outcome = two("twilio", [Reply::Json(400, unsubscribed.into())]).await;
    assert_eq!(outcome, (Some(Fate::Recipient), 1, 0));
}

#[tokio::test]
async fn nobody_sends_again_what_may_have_been_taken() {
    let cases = [
        Reply::Silence,
        Reply::HangUp,
        Reply::Garbage,
        Reply::Page(200),
        Reply::CutOff(201),
        Reply::Huge(201),
        Reply::Page(500),
        Reply::Page(502),
    ];
    let outcomes = cases.map(|reply| async move {
        assert_eq!(two("twilio", [reply.clone()]).await, (Some(Fate::Unknown), 1, 0), "{reply:?}");
        // Down at first, and then unknown.
        let outcome = two("twilio", [Reply::Page(503), reply.clone()]).await;
        assert_eq!(outcome, (Some(Fate::Unknown), 2, 0), "{reply:?} after 503");
    });
    futures::future::join_all(outcomes).await;
}

#[tokio::test]
async fn a_webhook_is_asked_again_with_the_same_id() {
    let provider = Provider::start([Reply::HangUp, taken()]).await;
    let mut config = config(&provider.url);
    config.delivery.sms = vec!["webhook".into()];
    deliver(&config, NUMBER).await.unwrap();
    let [first, second] = provider.requests().try_into().unwrap();
    assert_eq!(first.header("idempotency-key"), second.header("idempotency-key"));
    assert_eq!(first.body, second.body);

    // The second refusal says nothing about the first attempt.
    for second in [Reply::Page(401), Reply::Json(422, String::new()), Reply::Page(503), Reply::HangUp] {
        let outcome = two("webhook", [Reply::HangUp, second.clone()]).await;
        assert_eq!(outcome, (Some(Fate::Unknown), 2, 0), "{second:?}");
    }
}

#[tokio::test]
async fn email_goes_by_the_providers_for_email() {
    let webhook = Provider::start([taken()]).await;
    let config = |server: &MailServer| {
        let mut config = config(&webhook.url);
        config.smtp.port = server.port.into();
        config
    };
    let up = MailServer::start(Encryption::None, []).await;
    deliver(&config(&up), ADDRESS).await.unwrap();
    assert_eq!((up.log().messages.len(), webhook.requests().len()), (1, 0));

    let full = MailServer::start(Encryption::None, [("RCPT", Fault::Line("550 5.1.1 nobody"))]).await;
    assert_eq!(deliver(&config(&full), ADDRESS).await.unwrap_err().fate, Fate::Recipient);
    let unknown = MailServer::start(Encryption::None, [(".", Fault::HangUp)]).await;
    assert_eq!(deliver(&config(&unknown), ADDRESS).await.unwrap_err().fate, Fate::Unknown);
    assert_eq!((unknown.log().messages.len(), webhook.requests().len()), (1, 0));

    let down = MailServer::start(Encryption::None, [("greeting", Fault::Line("421 busy"))]).await;
    deliver(&config(&down), ADDRESS).await.unwrap();
    assert_eq!((down.log().connections, webhook.requests().len()), (2, 1));
}

#[tokio::test]
async fn no_attempt_begins_that_the_caller_would_not_see_the_end_of() {
    let webhook = Provider::start([taken()]).await;
    let slow = MailServer::start(Encryption::None, [("greeting", Fault::Silence)]).await;
    let mut config = config(&webhook.url);
    config.smtp.port = slow.port.into();
    config.verification.delivery_timeout_s = 2;
    let failure = deliver(&config, ADDRESS).await.unwrap_err();
    assert_eq!(
        failure.fate,
        Fate::Unavailable,
        "nothing was sent, so the person's allowance is to come back"
    );
    assert_eq!((slow.log().connections, webhook.requests().len()), (1, 0));
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

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn what_happens_is_counted_and_logged_without_saying_to_whom() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let buffer = Buffer::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(buffer.clone())
        .finish();
    let _subscriber = tracing::subscriber::set_default(subscriber);
    // While there is one subscriber only, a thread without one turns what it logs first off for all threads.
    let second =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::sink).finish();
    let _second = tracing::Dispatch::new(second);

    let refusal = format!(r#"{{"code":21408,"message":"not to {NUMBER}","status":403}}"#);
    let a = Provider::start([Reply::Json(403, refusal)]).await;
    let b = Provider::start([taken(), taken(), Reply::HangUp]).await;
    let mut config = config(&a.url);
    config.plivo.url = b.url.clone();
    let chain = chain(&config, &Ambient { clock: clock(), entropy: entropy() }).unwrap();
    let to = Identifier::parse(NUMBER, None).unwrap();
    for _ in 0..2 {
        chain.deliver(&message(&to)).await.unwrap();
    }
    chain.deliver(&message(&to)).await.unwrap_err();

    let mut counted: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
            let value = match value {
                DebugValue::Counter(count) => format!("{count}"),
                DebugValue::Gauge(value) => format!("{value}"),
                DebugValue::Histogram(_) => "a histogram".into(),
            };
            format!("{} {} {value}", key.key().name(), labels.join(" "))
        })
        .collect();
    counted.sort();
    assert_eq!(
        counted,
        [
            "acquaint_deliveries_total plivo sent 2",
            "acquaint_deliveries_total plivo unknown 1",
            "acquaint_deliveries_total twilio refused 3",
            "acquaint_delivery_consecutive_failures plivo 1",
            "acquaint_delivery_consecutive_failures twilio 3",
        ]
    );

    let log = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("provider=\"twilio\" outcome=\"refused\"") && log.contains("21408"), "{log}");
    assert!(log.contains("provider=\"plivo\" outcome=\"unknown\""), "{log}");
    for secret in ["2125550123", CODE, "token", "is your code"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}
