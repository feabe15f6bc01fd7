//! A request to the faces for people, REST, XRPC, Rocket.Chat's and Matrix's, from a back end that may call for an account.
//! The first byte is the method, the second says what is sent, the rest is the query up to a byte 0x00, and the body.

#![no_main]

use std::sync::{LazyLock, Mutex};

use acquaint_protocol::identifier::AccountFormat;
use acquaint_server::config::Config;
use acquaint_server::{Ambient, Server, keys};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const KEY: &str = "aqk_a-fuzz-key-of-a-back-end";
/// SHA-256 of it.
const DIGEST: &str = "54f9597a032db9562ae837c758803908b9eb5da50afb58ade0ff188d75026189";
const CONTACT: &str = "/xrpc/app.bsky.contact.";

struct App {
    runtime: Runtime,
    router: Router,
    // Runs in the background, and its data goes with it.
    _server: Mutex<Server>,
    _folder: tempfile::TempDir,
}

static APP: LazyLock<App> = LazyLock::new(|| {
    acquaint_fuzz::let_caught_panics_pass();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = Config::default();
    config.listen.set_port(0);
    config.auth.api_key = "a-fuzz-key-of-32-characters-here".into();
    config.data_dir = folder.path().join("data");
    config.keys.file = folder.path().join("keys.json");
    config.keys.suite = "development".into();
    config.delivery.outbox_file = folder.path().join("outbox.txt");
    config.sessions.api_keys = vec![format!("fuzz:{DIGEST}")];
    config.credentials.audiences = vec!["discovery:1".into()];
    config.account_format = AccountFormat::Opaque;
    config.directory.provider = "contacts.example".into();
    config.rocketchat.enabled = true;
    config.matrix.enabled = true;
    config.matrix.homeservers = vec!["*".into()];
    keys::init(&config, 0).expect("keys");
    keys::new_audience(&config, 0).expect("an audience's keys");
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start(config, Ambient::default())).expect("a server");
    App { runtime, router: server.router(), _server: Mutex::new(server), _folder: folder }
});

fuzz_target!(|bytes: &[u8]| {
    let [method, form, rest @ ..] = bytes else { return };
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let (query, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let path = match method % 21 {
        0 => "/v1/contact-discovery/credentials".to_owned(),
        1 => "/v1/credentials/verify".to_owned(),
        2 => "/v1/lookup/quota".to_owned(),
        3 => format!("{CONTACT}startPhoneVerification"),
        4 => format!("{CONTACT}verifyPhone"),
        5 => format!("{CONTACT}importContacts"),
        6 => format!("{CONTACT}getMatches"),
        7 => format!("{CONTACT}dismissMatch"),
        8 => format!("{CONTACT}removeData"),
        9 => format!("{CONTACT}getSyncStatus"),
        10 => "/v1/directory/verifications".to_owned(),
        11 => "/v1/directory/verifications/confirm".to_owned(),
        12 => "/v1/directory/listings".to_owned(),
        13 => "/v1/directory/parameters".to_owned(),
        14 => "/v1/directory/oprf".to_owned(),
        15 => "/v1/directory/buckets".to_owned(),
        16 => "/api/v1/query.contacts".to_owned(),
        17 => "/_matrix/identity/v2/hash_details".to_owned(),
        18 => "/_matrix/identity/v2/lookup".to_owned(),
        19 => "/_matrix/identity/v2/terms".to_owned(),
        _ => "/_matrix/identity/v2/account".to_owned(),
    };
    let with_query = match std::str::from_utf8(query) {
        Ok(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.clone(),
    };
    let mut request = Request::builder()
        .method(if form % 2 == 0 { "GET" } else { "POST" })
        .uri(with_query)
        .header(header::CONTENT_TYPE, "application/json");
    let known = form & 2 == 0;
    if known {
        request = request
            .header(header::AUTHORIZATION, format!("Bearer {KEY}"))
            .header("acquaint-account", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
            .header("x-auth-token", KEY)
            .header("x-user-id", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa");
    }
    // Not every query is one of a URI.
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
    let app = &*APP;
    let (status, kind, answer) = app.runtime.block_on(async {
        let Ok(response) = app.router.clone().oneshot(request).await;
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        let status = response.status();
        (status, kind, response.into_body().collect().await.expect("a whole answer").to_bytes())
    });
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}: {}", String::from_utf8_lossy(&answer));
    let is_open = ["/v1/directory/parameters", "/_matrix/identity/v2/terms"].contains(&path.as_str());
    let is_refused = status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED;
    assert!(known || is_open || is_refused, "{path}: {status}");
    if status.is_success() && path == "/v1/directory/buckets" {
        return;
    }
    let json: serde_json::Value = serde_json::from_slice(&answer).expect("every answer is JSON");
    if !status.is_success() && path.starts_with("/v1/") {
        assert_eq!(kind.expect("a kind"), "application/problem+json");
        assert_eq!(json["status"], status.as_u16());
    } else if !status.is_success() && path.starts_with("/_matrix/") {
        assert!(json["errcode"].is_string() && json["error"].is_string(), "{json}");
    } else if !status.is_success() && path.starts_with("/api/") {
        assert!(json["success"] == false || json["status"] == "error", "{json}");
    } else if !status.is_success() {
        assert!(json["error"].is_string() && json["message"].is_string(), "{json}");
    }
});
