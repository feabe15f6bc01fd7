//! Each adapter against a real server on a private port that keeps what it is sent.

mod chain;
mod plivo;
mod smtp;
mod tls;
mod twilio;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use acquaint_protocol::identifier::Identifier;
use acquaint_service::{Clock, Entropy};
use acquaint_testkit::provider::{Provider, Reply, nobody};
use acquaint_testkit::{HandClock, SeededEntropy};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::providers::adapter;
use super::{Failure, Fate, Message};
use crate::config::Config;

const NUMBER: &str = "+12125550123";
const ADDRESS: &str = "person@example.com";
const CODE: &str = "041627";
const ID: &str = "00112233445566778899aabbccddeeff";
const SID: &str = "AC0123456789abcdef0123456789abcdef";

/// Every section complete, at `url`; an attempt may take five seconds.
fn config(url: &str) -> Config {
    let mut config = Config::default();
    config.delivery.sms = vec!["twilio".into(), "plivo".into(), "webhook".into()];
    config.delivery.email = vec!["smtp".into(), "webhook".into()];
    config.delivery.attempt_timeout_s = 5;
    config.verification.emails = true;
    config.twilio.account_sid = SID.into();
    config.twilio.secret = "twilio's token".into();
    config.twilio.from = "+12125550100".into();
    config.twilio.url = url.into();
    config.plivo.auth_id = "MA2025RK4E639VJFZAGV".into();
    config.plivo.auth_token = "plivo's token".into();
    config.plivo.from = "Example".into();
    config.plivo.url = url.into();
    config.webhook.url = format!("{url}/codes?of=acquaint");
    config.webhook.secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into();
    config.smtp.host = "localhost".into();
    config.smtp.security = "none".into();
    config.smtp.from = "Example <codes@example.org>".into();
    config
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(HandClock::default())
}

fn entropy() -> Arc<dyn Entropy> {
    Arc::new(SeededEntropy::new(1))
}

fn message(to: &Identifier) -> Message<'_> {
    let text = Zeroizing::new(format!("{CODE} is your code & <nothing> else: 1+1=2"));
    Message { to, code: CODE, text, id: ID.into() }
}

/// One attempt by the adapter of that name.
async fn send(name: &'static str, config: &Config, to: &str) -> Result<(), Failure> {
    let to = Identifier::parse(to, None).unwrap();
    let adapter = adapter(name, config, &clock()).unwrap();
    let outcome =
        adapter.send(&message(&to), Duration::from_secs(config.delivery.attempt_timeout_s.into())).await;
    if let Err(failure) = &outcome {
        let told = format!("{failure:?} {}", failure.reason);
        for secret in ["2125550123", ADDRESS, CODE, ID, "token", "whsec_", "of=acquaint"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
    outcome
}

async fn probe(name: &'static str, config: &Config) -> Result<String, Failure> {
    adapter(name, config, &clock()).unwrap().probe(Duration::from_secs(2)).await
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// What every service over HTTP can do wrong, and what becomes of the code then. `taken` is whether a 2xx counts without
/// a readable body.
async fn http_faults(name: &'static str, taken: bool) {
    use Fate::{Refused, Unavailable, Unknown};
    let unreadable = if taken { None } else { Some(Unknown) };
    let cases = [
        (Reply::Silence, Some(Unknown), "in time"),
        (Reply::HangUp, Some(Unknown), "broke"),
        (Reply::Garbage, Some(Unknown), "broke"),
        (Reply::Page(200), unreadable, "web page"),
        (Reply::Json(200, "[1]".into()), unreadable, "documented form"),
        (Reply::Json(200, "{}".into()), unreadable, "documented form"),
        (Reply::Huge(200), unreadable, "64 KiB"),
        (Reply::CutOff(200), unreadable, "broke off"),
        (Reply::Stuck(200), unreadable, "did not end in time"),
        (Reply::Page(500), Some(Unknown), "error of its own"),
        (Reply::Page(502), Some(Unknown), "gateway"),
        (Reply::Page(504), Some(Unknown), "gateway"),
        (Reply::Page(503), Some(Unavailable), "503"),
        (Reply::Page(429), Some(Unavailable), "429"),
        (Reply::Header(302, "location: http://127.0.0.1:9/"), Some(Refused), "redirect"),
        (Reply::Json(401, "{}".into()), Some(Refused), "credentials"),
        (Reply::Json(404, "{}".into()), Some(Refused), "nothing at this URL"),
        (Reply::Json(418, "{}".into()), Some(Refused), "refuses the request"),
    ];
    let outcomes = cases.map(|(reply, fate, reason)| async move {
        let provider = Provider::start([reply.clone()]).await;
        let mut config = config(&provider.url);
        if matches!(reply, Reply::Silence | Reply::Stuck(_)) {
            // All of it is waited for.
            config.delivery.attempt_timeout_s = 3;
        }
        let failure = send(name, &config, NUMBER).await.err();
        assert_eq!(failure.as_ref().map(|failure| failure.fate), fate, "{reply:?}: {failure:?}");
        assert!(
            failure.is_none_or(|failure| failure.reason.contains(reason)),
            "{reply:?}: not as {reason:?}"
        );
        assert_eq!(provider.requests().len(), 1, "{reply:?}: an attempt is one request");
    });
    futures::future::join_all(outcomes).await;
    let failure = send(name, &config(&nobody().await), NUMBER).await.unwrap_err();
    assert_eq!(failure.fate, Unavailable);
    assert!(failure.reason.contains("cannot be connected to"), "{}", failure.reason);
}
