//! The REST face as a whole: its description, problems, CORS, and a limiter whose store is down.

use acquaint_server::config::Config;
use acquaint_testkit::{App, BACK_END_KEY, PostgresApp, back_end, did};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

const CREDENTIALS: &str = "/v1/contact-discovery/credentials";

fn configured(config: &mut Config) {
    back_end(config);
    config.credentials.audiences = vec!["discovery:1".into()];
}

/// The description that is checked in is the one that the program gives. `UPDATE=1` writes it anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_the_one_that_is_checked_in() {
    let app = App::start_with(configured).await;
    let answer = app.ask("GET", "/v1/openapi.json", "", "").await;
    assert_eq!(answer.status, 200);
    let described = serde_json::to_string_pretty(&answer.json()).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &described).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(kept, described, "docs/openapi.json is not what the program describes: see this test");
    assert!(described.contains("\"openapi\": \"3.1.0\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_right_is_a_problem() {
    let app = App::start_with(configured).await;
    let key = format!("authorization: Bearer {BACK_END_KEY}\r\n");
    let account = format!("{key}acquaint-account: {}\r\n", did(1));
    let verify = "/v1/credentials/verify";
    let large = format!(r#"{{"username":"a","password":"{}"}}"#, "b".repeat(20_000));
    for (method, path, headers, body, status, code) in [
        ("GET", "/v1/cheese", "", "", 404, "NOT_FOUND"),
        ("POST", CREDENTIALS, account.as_str(), "{}", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/v1/lookup/quota", account.as_str(), "", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/contact-discovery/credentials?cheese=1", account.as_str(), "", 400, "INVALID_REQUEST"),
        (
            "GET",
            "/v1/contact-discovery/credentials?audience=a&audience=b",
            &account,
            "",
            400,
            "INVALID_REQUEST",
        ),
        ("POST", verify, key.as_str(), "", 400, "INVALID_REQUEST"),
        ("POST", verify, key.as_str(), "[]", 400, "INVALID_REQUEST"),
        ("POST", verify, key.as_str(), r#"{"username":"secret"}"#, 400, "INVALID_REQUEST"),
        ("POST", verify, key.as_str(), r#"{"username":"secret","password":7}"#, 400, "INVALID_REQUEST"),
        (
            "POST",
            verify,
            key.as_str(),
            r#"{"username":"secret","password":"x","more":1}"#,
            400,
            "INVALID_REQUEST",
        ),
        ("POST", verify, key.as_str(), "\u{0}", 400, "INVALID_REQUEST"),
        ("POST", verify, key.as_str(), large.as_str(), 413, "REQUEST_TOO_LARGE"),
        ("POST", verify, "", large.as_str(), 401, "CONTACT_DISCOVERY_UNAUTHENTICATED"),
    ] {
        let answer = app.ask(method, path, headers, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
        assert_eq!(answer.text("code"), code, "{method} {path}");
        let json = answer.json();
        assert_eq!(json["status"], status);
        assert!(json["type"].as_str().is_some_and(|kind| kind.starts_with("urn:acquaint:problem:")));
        assert!(!answer.text("detail").is_empty() && !answer.text("title").is_empty());
        assert!(!acquaint_testkit::holds(&answer.body, b"secret"), "what was sent is not repeated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_audiences_says_so() {
    let app = App::start_with(back_end).await;
    let answer = app.as_account(&did(1), "GET", CREDENTIALS, "").await;
    assert_eq!((answer.status, answer.text("code").as_str()), (404, "CONTACT_DISCOVERY_NOT_OFFERED"));
    assert_eq!(app.ask("GET", CREDENTIALS, "", "").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_call_only_where_that_is_configured() {
    let origin = "origin: https://app.example\r\n";
    let asks = format!(
        "{origin}access-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n"
    );
    let allowed = "access-control-allow-origin";
    let app = App::start_with(configured).await;
    assert_eq!(app.ask("OPTIONS", CREDENTIALS, &asks, "").await.header(allowed), None);
    assert_eq!(app.ask("GET", CREDENTIALS, origin, "").await.header(allowed), None);
    let app = app.restart_with(|config| config.http.cors_origins = vec!["https://app.example".into()]).await;
    let preflight = app.ask("OPTIONS", CREDENTIALS, &asks, "").await;
    assert_eq!((preflight.status, preflight.header(allowed)), (200, Some("https://app.example")));
    let refused = app.ask("GET", CREDENTIALS, origin, "").await;
    assert_eq!((refused.status, refused.header(allowed)), (401, Some("https://app.example")));
    let other = asks.replace("app.example", "evil.example");
    assert_eq!(app.ask("OPTIONS", CREDENTIALS, &other, "").await.header(allowed), None);
    // The RPC and the operator's endpoints are for no browser.
    let rpc = app.ask("OPTIONS", "/rolodex.RolodexService/Ping", &asks, "").await;
    assert_eq!(rpc.header(allowed), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limiter_whose_store_is_down_refuses_and_says_so() {
    for needed in [false, true] {
        refuses_without_a_store(needed).await;
    }
}

async fn refuses_without_a_store(need_verified_number: bool) {
    let app = PostgresApp::start_with(|config| {
        configured(config);
        config.credentials.need_verified_number = need_verified_number;
    })
    .await;
    app.verify(&did(1), &acquaint_testkit::number(1)).await;
    assert_eq!(app.as_account(&did(1), "GET", CREDENTIALS, "").await.status, 200);
    app.lose_database();
    for path in [CREDENTIALS, CREDENTIALS, "/v1/lookup/quota"] {
        let answer = app.as_account(&did(1), "GET", path, "").await;
        assert_eq!((answer.status, answer.text("code").as_str()), (503, "CONTACT_DISCOVERY_UNAVAILABLE"));
        assert_eq!(
            answer.text("detail"),
            "the limits cannot be looked at, so nothing is granted: try again later"
        );
    }
}

/// Seed 001: plaintext numbers never reach the server. Credentials and lookups have no place for one, and refuse what does
/// not belong there; only imports, by XRPC and RPC, a person's own listings, and the lookup in the clear, where the operator has
/// switched it on, take numbers.
#[tokio::test(flavor = "multi_thread")]
async fn no_number_has_a_place_in_the_credential_face() {
    let app = App::start_with(configured).await;
    let described = app.ask("GET", "/v1/openapi.json", "", "").await.json();
    let mut names = Vec::new();
    named(&described, &mut names);
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        [
            "account",
            "audience",
            "capacity",
            "code",
            "detail",
            "elements",
            "epoch",
            "expires_at",
            "found",
            "guaranteed",
            "id",
            "identifier",
            "identifiers",
            "index",
            "issued_at",
            "layout",
            "left",
            "listings",
            "password",
            "per_day",
            "prefixes",
            "proof",
            "queries",
            "request",
            "status",
            "title",
            "token",
            "type",
            "username",
            "valid",
            "verified_at",
            "withdrawn"
        ]
    );
    let number = acquaint_testkit::number(1);
    for path in [CREDENTIALS, "/v1/lookup/quota"] {
        let with = format!("{path}?phone={}", number.replace('+', "%2B"));
        assert_eq!(app.as_account(&did(1), "GET", &with, "").await.status, 400);
    }
    let body = format!(r#"{{"username":"a","password":"b","phone":"{number}"}}"#);
    let key = format!("authorization: Bearer {BACK_END_KEY}\r\n");
    assert_eq!(app.ask("POST", "/v1/credentials/verify", &key, &body).await.status, 400);
    assert!(!acquaint_testkit::holds(&app.database_bytes(), number.trim_start_matches('+').as_bytes()));
}

/// The names of all parameters, and of all properties of schemas.
fn named(value: &serde_json::Value, names: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            if let Some(serde_json::Value::Object(properties)) = members.get("properties") {
                names.extend(properties.keys().cloned());
            }
            if members.contains_key("in")
                && let Some(name) = members.get("name").and_then(serde_json::Value::as_str)
            {
                names.push(name.to_owned());
            }
            members.values().for_each(|member| named(member, names));
        }
        serde_json::Value::Array(entries) => entries.iter().for_each(|entry| named(entry, names)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_calls_of_one_account_are_refused_and_others_are_not() {
    let app = App::start_with(|config| {
        configured(config);
        config.http.account_calls = 3;
    })
    .await;
    let quota = "/v1/lookup/quota";
    let status = "/xrpc/app.bsky.contact.getSyncStatus";
    for path in [quota, status, quota] {
        assert_eq!(app.as_account(&did(1), "GET", path, "").await.status, 200);
    }
    let refused = app.as_account(&did(1), "GET", quota, "").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    let refused = app.as_account(&did(1), "GET", status, "").await;
    assert_eq!((refused.status, refused.text("error").as_str()), (429, "RateLimitExceeded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(app.as_account(&did(2), "GET", quota, "").await.status, 200);
    app.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(app.as_account(&did(1), "GET", quota, "").await.status, 200);
    assert_eq!(
        app.as_account(&did(1), "GET", CREDENTIALS, "").await.status,
        200,
        "which has limits of its own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_spend_the_keys_and_the_hosts_of_others() {
    let app = App::start_with(|config| {
        configured(config);
        config.http.prefix_failures = 5;
        config.atproto.service_did = "did:web:contacts.example.com".into();
        config.atproto.plc_url = "http://127.0.0.1:1".into();
    })
    .await;
    let quota = "/v1/lookup/quota";
    let session = format!("authorization: Bearer {BACK_END_KEY}\r\nacquaint-account: {}\r\n", did(1));
    let issued = app.ask("GET", CREDENTIALS, &session, "").await.json();
    let basic = |username: &str, password: &str| {
        format!("authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{username}:{password}")))
    };
    let good = basic(issued["username"].as_str().unwrap(), issued["password"].as_str().unwrap());
    for _ in 0..20 {
        assert_eq!(app.ask("GET", quota, &good, "").await.status, 200, "who is known is not counted");
    }
    for _ in 0..5 {
        assert_eq!(app.ask("GET", quota, &basic("x", "1:y"), "").await.status, 401);
    }
    for headers in [basic("x", "1:y"), good, "authorization: Bearer a.b.c\r\n".to_owned()] {
        let refused = app.ask("GET", quota, &headers, "").await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    }
    assert_eq!(
        app.ask("GET", quota, "", "").await.status,
        401,
        "nothing is looked into where nothing is shown"
    );
    assert_eq!(app.ask("GET", CREDENTIALS, &session, "").await.status, 200, "keys of back ends cost nothing");
    app.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(app.ask("GET", quota, &basic("x", "1:y"), "").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_cannot_be_sent_is_the_lexicons_internal_error() {
    let nobody = acquaint_testkit::provider::nobody().await;
    let app = App::start_with(|config| {
        configured(config);
        config.delivery.sms = vec!["webhook".into()];
        config.webhook.url = nobody;
        config.webhook.secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into();
    })
    .await;
    let body = format!(r#"{{"phone":"{}"}}"#, acquaint_testkit::number(1));
    let answer =
        app.as_account(&did(1), "POST", "/xrpc/app.bsky.contact.startPhoneVerification", &body).await;
    assert_eq!((answer.status, answer.text("error").as_str()), (503, "InternalError"));
}
