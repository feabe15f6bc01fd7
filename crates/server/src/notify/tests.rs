//! Both notifiers against a real server on a private port that keeps what it is sent.

use std::sync::Arc;

use acquaint_protocol::identifier::{AccountFormat, AccountId};
use acquaint_service::{Notice, NotifyError};
use acquaint_testkit::provider::{Provider, Reply, nobody};
use acquaint_testkit::{HandClock, SeededEntropy};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::Ambient;
use crate::config::Config;

const TO: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const FROM: &str = "did:web:example.com";
const ID: &str = "00112233445566778899aabbccddeeff";

fn config(kind: &str, url: &str) -> Config {
    let mut config = Config::default();
    config.notifications.to = kind.into();
    config.notifications.appview_url = url.into();
    config.notifications.appview_password = "the admin's password".into();
    config.notifications.webhook_url = format!("{url}/matches");
    config.notifications.webhook_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into();
    config.notifications.timeout_s = 2;
    config
}

async fn notify(kind: &str, url: &str) -> Result<(), NotifyError> {
    let ambient = Ambient { clock: Arc::new(HandClock::default()), entropy: Arc::new(SeededEntropy::new(1)) };
    let account = |name: &str| AccountId::parse(name, AccountFormat::Did).unwrap();
    let notice = Notice { id: ID.into(), to: account(TO), from: account(FROM) };
    let notifier = super::notifier(&config(kind, url), &ambient).unwrap().unwrap();
    let outcome = notifier.notify(&notice).await;
    if let Err(error) = &outcome {
        let told = format!("{error} {error:?}");
        for secret in [TO, FROM, ID, "password", "whsec_"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
    outcome
}

#[test]
fn nobody_is_told_unless_configured() {
    assert!(super::notifier(&Config::default(), &Ambient::default()).unwrap().is_none());
}

#[tokio::test]
async fn the_appview_is_called_as_its_lexicon_says() {
    let appview = Provider::start([Reply::Json(200, "{}".into())]).await;
    notify("appview", &appview.url).await.unwrap();
    notify("appview", &format!("{}/", appview.url)).await.unwrap();
    let [request, slashed] = appview.requests().try_into().unwrap();
    // `tests/appview/test/notifications.test.js` hands the same to the AppView's own handler.
    let vector = include_str!("../../../../vectors/notify/appview.json");
    let vector: serde_json::Value = serde_json::from_str(vector).unwrap();
    let wanted = |key: &str| vector[key].as_str().unwrap().to_owned();
    assert_eq!((wanted("id"), wanted("to"), wanted("from")), (ID.into(), TO.into(), FROM.into()));
    assert_eq!((request.method.clone(), request.path.clone()), (wanted("method"), wanted("path")));
    assert_eq!(slashed.path, request.path);
    for (name, value) in vector["headers"].as_object().unwrap() {
        assert_eq!(request.header(name), value.as_str().unwrap(), "{name}");
    }
    assert_eq!(String::from_utf8(request.body).unwrap(), wanted("body"));
}

#[tokio::test]
async fn the_webhook_is_signed() {
    let provider = Provider::start([Reply::Page(202)]).await;
    notify("webhook", &provider.url).await.unwrap();
    let [request] = provider.requests().try_into().unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/matches"));
    assert_eq!(request.header("webhook-id"), ID);
    assert_eq!(request.header("idempotency-key"), ID);
    // The clock of the test: 2026-01-01T00:00:00Z.
    assert_eq!(request.header("webhook-timestamp"), "1767225600");
    let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(&[format!("{ID}.1767225600.").as_bytes(), &request.body].concat());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(request.header("webhook-signature"), format!("v1,{signature}"));
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({ "type": "match", "to": TO, "from": FROM, "id": ID }));
}

#[tokio::test]
async fn only_what_would_be_refused_again_is_permanent() {
    let cases = [
        (Reply::Json(400, r#"{"error":"InvalidRequest"}"#.into()), Some(true)),
        (Reply::Json(404, "{}".into()), Some(true)),
        (Reply::Json(422, "{}".into()), Some(true)),
        (Reply::Json(401, r#"{"error":"AuthenticationRequired"}"#.into()), Some(false)),
        (Reply::Json(403, "{}".into()), Some(false)),
        (Reply::Json(408, "{}".into()), Some(false)),
        (Reply::Json(429, "{}".into()), Some(false)),
        (Reply::Json(501, r#"{"error":"MethodNotImplemented"}"#.into()), Some(false)),
        (Reply::Page(500), Some(false)),
        (Reply::Page(503), Some(false)),
        (Reply::Header(301, "location: http://127.0.0.1:9/"), Some(false)),
        (Reply::HangUp, Some(false)),
        (Reply::Garbage, Some(false)),
        (Reply::Silence, Some(false)),
        (Reply::CutOff(200), None),
        (Reply::Stuck(200), None),
    ];
    let outcomes = cases.iter().flat_map(|case| [("appview", case), ("webhook", case)]);
    let outcomes = outcomes.map(|(kind, (reply, permanent))| async move {
        let provider = Provider::start([reply.clone()]).await;
        let outcome = notify(kind, &provider.url).await;
        assert_eq!(outcome.err().map(|error| error.permanent), *permanent, "{kind}: {reply:?}");
        assert_eq!(provider.requests().len(), 1, "{kind}: {reply:?}");
    });
    futures::future::join_all(outcomes).await;
    for kind in ["appview", "webhook"] {
        assert!(!notify(kind, &nobody().await).await.unwrap_err().permanent);
    }
}

#[tokio::test]
async fn what_is_no_appview_has_told_nobody() {
    for reply in [Reply::Page(200), Reply::Huge(200), Reply::Json(200, String::new())] {
        let provider = Provider::start([reply.clone()]).await;
        let error = notify("appview", &provider.url).await.unwrap_err();
        assert!(!error.permanent && error.reason.contains("URL"), "{reply:?}: {error}");
        notify("webhook", &provider.url).await.unwrap();
    }
}
