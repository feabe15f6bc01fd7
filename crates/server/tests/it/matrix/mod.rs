//! The lookup of Matrix's identity servers on each store, with a homeserver that stands by.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use acquaint_protocol::bucket::matrix::hash;
use acquaint_protocol::identifier::AccountFormat;
use acquaint_server::config::Config;
use acquaint_testkit::{Answer, back_end};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::App;

mod lookups;
mod sessions;

const V2: &str = "/_matrix/identity/v2";

/// A homeserver: says whose an OpenID token is.
struct Homeserver {
    /// Its name, `127.0.0.1:port`.
    name: String,
    said: Arc<Said>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Said {
    /// Status and body by token.
    answers: Mutex<BTreeMap<String, (u16, String)>>,
    asked: Mutex<Vec<String>>,
}

impl Drop for Homeserver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Homeserver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let said = Arc::<Said>::default();
        let router = axum::Router::new()
            .route("/_matrix/federation/v1/openid/userinfo", get(userinfo))
            .with_state(Arc::clone(&said));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { name, said, server }
    }

    fn answers(&self, token: &str, status: u16, body: String) {
        self.said.answers.lock().unwrap().insert(token.into(), (status, body));
    }

    /// The id of an account here, and an OpenID token of its.
    fn account(&self, localpart: &str) -> (String, String) {
        let (id, token) = (format!("@{localpart}:{}", self.name), format!("openid of {localpart}&?"));
        self.answers(&token, 200, json!({ "sub": id }).to_string());
        (id, token)
    }

    fn asked(&self) -> Vec<String> {
        self.said.asked.lock().unwrap().clone()
    }
}

async fn userinfo(State(said): State<Arc<Said>>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let token = query.get("access_token").cloned().unwrap_or_default();
    said.asked.lock().unwrap().push(token.clone());
    let unknown =
        || (401, json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "Access token unknown" }).to_string());
    let (status, body) = said.answers.lock().unwrap().get(&token).cloned().unwrap_or_else(unknown);
    let elsewhere =
        [(header::LOCATION, "/_matrix/federation/v1/openid/userinfo?access_token=openid+of+bob%26%3F")];
    (StatusCode::from_u16(status).unwrap(), elsewhere, body).into_response()
}

fn configure(config: &mut Config) {
    back_end(config);
    config.account_format = AccountFormat::Opaque;
    config.directory.provider = "contacts.example".into();
    config.verification.emails = true;
    config.matrix.enabled = true;
    config.matrix.homeservers = vec!["*".into()];
    config.matrix.allow_private_addresses = true;
}

async fn app(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        configure(config);
        change(config);
    })
    .await
}

async fn ask(app: &App, method: &str, path: &str, token: &str, body: &Value) -> Answer {
    let headers = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    app.ask(method, &format!("{V2}{path}"), &headers, &body).await
}

async fn register(app: &App, server: &str, openid: &str) -> Answer {
    let token = json!({ "access_token": openid, "token_type": "Bearer", "matrix_server_name": server, "expires_in": 3600 });
    ask(app, "POST", "/account/register", "", &token).await
}

/// A token of this service for an account of the homeserver.
async fn signed_in(app: &App, homeserver: &Homeserver, localpart: &str) -> String {
    let (_, openid) = homeserver.account(localpart);
    let registered = register(app, &homeserver.name, &openid).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    assert_eq!(registered.json().as_object().unwrap().len(), 1);
    registered.text("token")
}

async fn pepper(app: &App, token: &str) -> String {
    let mut details = ask(app, "GET", "/hash_details", token, &Value::Null).await;
    // After a long time without a look the index is made anew, in the background.
    for _ in 0..100 {
        if details.status != 503 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        details = ask(app, "GET", "/hash_details", token, &Value::Null).await;
    }
    assert_eq!(details.status, 200, "{details:?}");
    assert_eq!(details.json()["algorithms"], json!(["sha256"]));
    details.text("lookup_pepper")
}

async fn look_up(app: &App, token: &str, pepper: &str, hashes: &[String]) -> Answer {
    let body = json!({ "addresses": hashes, "algorithm": "sha256", "pepper": pepper });
    ask(app, "POST", "/lookup", token, &body).await
}

/// Who is found under these pairs of address and medium, in their order, as a client does it.
async fn found(app: &App, token: &str, addresses: &[(&str, &str)]) -> Vec<Option<String>> {
    let mut pepper = pepper(app, token).await;
    let (hashes, answer) = loop {
        let hashes = addresses.iter().map(|(address, medium)| hash(address, medium, &pepper));
        let hashes: Vec<String> = hashes.collect();
        let answer = look_up(app, token, &pepper, &hashes).await;
        if answer.text("errcode") != "M_INVALID_PEPPER" {
            break (hashes, answer);
        }
        // It has changed in between.
        pepper = answer.text("lookup_pepper");
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    let mappings = answer.json()["mappings"].as_object().unwrap().clone();
    assert!(mappings.keys().all(|hash| hashes.contains(hash)), "the SDK throws at what it did not ask for");
    hashes.iter().map(|hash| Some(mappings.get(hash)?.as_str().unwrap().to_owned())).collect()
}

/// Verifies an identifier for the directory and lists the account under it.
async fn enrol(app: &App, account: &str, identifier: &str) {
    let asked = json!({ "identifier": identifier }).to_string();
    let sent = app.as_account(account, "POST", "/v1/directory/verifications", &asked).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let guess = json!({ "identifier": identifier, "code": app.code(identifier) }).to_string();
    let confirmed = app.as_account(account, "POST", "/v1/directory/verifications/confirm", &guess).await;
    let listing = json!({ "token": confirmed.text("token") }).to_string();
    let listed = app.as_account(account, "POST", "/v1/directory/listings", &listing).await;
    assert_eq!(listed.status, 201, "{listed:?}");
}

fn refused(answer: &Answer, status: u16, code: &str, part: &str) {
    assert_eq!((answer.status, answer.text("errcode").as_str()), (status, code), "{answer:?}");
    assert!(answer.text("error").contains(part), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_may_call() {
    let app = app(|_| {}).await;
    for (method, path, status) in [
        ("GET", "/_matrix/identity/versions", 200),
        ("GET", "/_matrix/identity/v2", 200),
        ("GET", "/_matrix/identity/v2/terms", 200),
        ("POST", "/_matrix/identity/v2/terms", 401),
        ("POST", "/_matrix/identity/v2/account/register", 400),
        ("GET", "/_matrix/identity/v2/account", 401),
        ("GET", "/_matrix/identity/v2/hash_details", 401),
        ("POST", "/_matrix/identity/v2/lookup", 401),
        ("GET", "/_matrix/identity/v2/lookup", 405),
        ("DELETE", "/_matrix/identity/v2/account", 405),
        ("GET", "/_matrix/identity/v2/pubkey/ed25519:0", 404),
        ("POST", "/_matrix/identity/v2/3pid/bind", 404),
        ("POST", "/_matrix/identity/api/v1/lookup", 404),
    ] {
        let origin = "origin: https://app.element.io\r\n";
        let answer = app.ask(method, path, origin, "").await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {path}");
        if status == 404 || status == 405 {
            assert_eq!(answer.text("errcode"), "M_UNRECOGNIZED", "{method} {path}");
        }
        let preflight = format!(
            "{origin}access-control-request-method: {method}\r\n\
             access-control-request-headers: authorization,content-type\r\n"
        );
        for headers in [preflight.as_str(), origin, ""] {
            let answer = app.ask("OPTIONS", path, headers, "").await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
            let list = |name: &str| {
                let mut list: Vec<_> = answer.header(name).unwrap().split(',').map(str::to_owned).collect();
                list.sort_unstable();
                list
            };
            assert_eq!(list("access-control-allow-methods"), ["delete", "get", "options", "post", "put"]);
            let wanted = ["authorization", "content-type", "x-requested-with"];
            assert_eq!(list("access-control-allow-headers"), wanted);
        }
    }
    // What is refused before it comes to a face, too.
    let head = format!("GET {V2}/account HTTP/1.1\r\nconnection: close\r\n\r\n");
    let answer = Answer::of(&app.url, head.as_bytes()).await;
    refused(
        &Answer { head: format!("{}cache-control: no-store", answer.head), ..answer },
        400,
        "M_UNKNOWN",
        "`Host`",
    );
    // Other faces are as they were.
    let rest = app.ask("GET", "/v1/directory/parameters", "origin: https://app.element.io\r\n", "").await;
    assert_eq!((rest.status, rest.header("access-control-allow-origin")), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_off_until_it_is_switched_on() {
    let (app, homeserver) = (app(|config| config.matrix.enabled = false).await, Homeserver::start().await);
    let (_, openid) = homeserver.account("alice");
    refused(&register(&app, &homeserver.name, &openid).await, 404, "M_UNRECOGNIZED", "");
    for path in ["/_matrix/identity/versions", "/_matrix/identity/v2", "/_matrix/identity/v2/hash_details"] {
        refused(&app.ask("GET", path, "", "").await, 404, "M_UNRECOGNIZED", "");
    }
    assert!(homeserver.asked().is_empty());
    let app = app.restart_with(|config| config.matrix.enabled = true).await;
    assert_eq!(register(&app, &homeserver.name, &openid).await.status, 200);
}
