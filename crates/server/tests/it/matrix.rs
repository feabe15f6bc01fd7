//! The lookup of Matrix's identity servers on each store, with a homeserver that stands by.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acquaint_protocol::bucket::matrix::hash;
use acquaint_protocol::identifier::AccountFormat;
use acquaint_server::config::Config;
use acquaint_testkit::{Answer, BACK_END_KEY, back_end, number};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::App;

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
    let details = ask(app, "GET", "/hash_details", token, &Value::Null).await;
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
async fn accounts_of_matrix_are_found_by_those_whom_a_homeserver_vouches_for() {
    let (app, homeserver) = (app(|_| {}).await, Homeserver::start().await);
    let (alice, _) = homeserver.account("alice");
    enrol(&app, &alice, &number(1)).await;
    enrol(&app, &alice, "Alice@Example.com").await;
    // Of no use to clients of Matrix: it is no id of theirs.
    enrol(&app, "plain-account", &number(2)).await;
    enrol(&app, "@no-server", &number(3)).await;
    let token = signed_in(&app, &homeserver, "bob").await;
    assert_eq!(homeserver.asked(), ["openid of bob&?"]);
    let numbers: Vec<String> = (1..5).map(|n| number(n)[1..].to_owned()).collect();
    let addresses = [
        (numbers[0].as_str(), "msisdn"),
        (&numbers[1], "msisdn"),
        (&numbers[2], "msisdn"),
        (&numbers[3], "msisdn"),
        ("alice@example.com", "email"),
        ("alice@example.com", "msisdn"),
    ];
    let (hit, miss) = (Some(alice.clone()), None);
    assert_eq!(
        found(&app, &token, &addresses).await,
        [hit.clone(), miss.clone(), miss.clone(), miss.clone(), hit, miss]
    );
    let account = ask(&app, "GET", "/account", &token, &Value::Null).await;
    assert_eq!(
        (account.status, account.json()),
        (200, json!({ "user_id": format!("@bob:{}", homeserver.name) }))
    );
    // What needs no account, and the terms, of which there are none.
    let versions = app.ask("GET", "/_matrix/identity/versions", "", "").await;
    assert!(versions.json()["versions"].as_array().unwrap().contains(&json!("v1.1")), "{versions:?}");
    assert_eq!(ask(&app, "GET", "", "", &Value::Null).await.json(), json!({}));
    assert_eq!(ask(&app, "GET", "/terms", "", &Value::Null).await.json(), json!({ "policies": {} }));
    let accepted = json!({ "user_accepts": ["https://example.org/terms"] });
    assert_eq!(ask(&app, "POST", "/terms", &token, &accepted).await.json(), json!({}));
    refused(&ask(&app, "POST", "/terms", "", &accepted).await, 401, "M_UNAUTHORIZED", "token");

    let all = app.as_account(&alice, "DELETE", "/v1/directory/listings", "").await;
    assert_eq!(all.json(), json!({ "withdrawn": 2 }));
    assert!(found(&app, &token, &addresses).await.iter().all(Option::is_none));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_speaks_for_its_own_accounts_alone() {
    let (app, homeserver, other) = (app(|_| {}).await, Homeserver::start().await, Homeserver::start().await);
    let own = |localpart: &str| format!("@{localpart}:{}", homeserver.name);
    let sub = |id: &str| json!({ "sub": id }).to_string();
    for (at, (status, body)) in [
        (200, sub(&format!("@alice:{}", other.name))),
        (200, sub("@alice:example.org")),
        (200, sub(&homeserver.name)),
        (200, sub("@alice")),
        (200, sub("")),
        (200, sub(&format!("alice:{}", homeserver.name))),
        (200, sub(&format!("{} ", own("alice")))),
        (200, sub(&own("alice:example.org"))),
        (200, sub(&own(&"a".repeat(300)))),
        (200, json!({ "sub": 7 }).to_string()),
        (200, json!({}).to_string()),
        (200, "<html>".into()),
        (200, "9".repeat(100_000)),
        (201, "null".into()),
        (302, sub(&own("alice"))),
        (400, sub(&own("alice"))),
        (404, sub(&own("alice"))),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("token{at}");
        homeserver.answers(&token, status, body.clone());
        let answer = register(&app, &homeserver.name, &token).await;
        assert_eq!((answer.status, answer.text("errcode")), (401, "M_UNAUTHORIZED".into()), "{body:.80}");
        refused(&answer, 401, "M_UNAUTHORIZED", "the homeserver does not say that the OpenID token is good");
    }
    homeserver.answers("ill", 500, sub(&own("alice")));
    let ill = register(&app, &homeserver.name, "ill").await;
    refused(&ill, 502, "M_UNKNOWN", "the homeserver cannot be asked at the moment");
    let nobody = acquaint_testkit::provider::nobody().await;
    let nobody = register(&app, nobody.trim_start_matches("http://"), "any").await;
    refused(&nobody, 502, "M_UNKNOWN", "the homeserver cannot be asked at the moment");
    // A token of one is nothing at another.
    let (_, openid) = homeserver.account("alice");
    refused(&register(&app, &other.name, &openid).await, 401, "M_UNAUTHORIZED", "the homeserver");
    assert_eq!(register(&app, &homeserver.name, &openid).await.status, 200);
    for (body, code) in [
        (json!({}), "M_BAD_JSON"),
        (json!([]), "M_BAD_JSON"),
        (json!({ "access_token": "x" }), "M_BAD_JSON"),
        (json!({ "access_token": 1, "matrix_server_name": homeserver.name }), "M_BAD_JSON"),
        (Value::Null, "M_NOT_JSON"),
    ] {
        refused(&ask(&app, "POST", "/account/register", "", &body).await, 400, code, "an OpenID token");
    }
    let large = json!({ "access_token": "x".repeat(2 << 20), "matrix_server_name": homeserver.name });
    refused(&ask(&app, "POST", "/account/register", "", &large).await, 413, "M_TOO_LARGE", "larger");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_homeservers_that_are_named_are_asked() {
    let (known, other) = (Homeserver::start().await, Homeserver::start().await);
    let app = app(|config| config.matrix.homeservers = vec!["example.org".into(), known.name.clone()]).await;
    let (_, openid) = known.account("alice");
    assert_eq!(register(&app, &known.name, &openid).await.status, 200);
    let (_, openid) = other.account("mallory");
    for name in [other.name.as_str(), "EXAMPLE.ORG", "example.org.", "example.org:8448", ""] {
        refused(&register(&app, name, &openid).await, 400, "M_INVALID_PARAM", "matrix_server_name");
    }
    assert!(other.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_to_this_host_or_its_network() {
    let app = app(|config| config.matrix.allow_private_addresses = false).await;
    let homeserver = Homeserver::start().await;
    let (_, port) = homeserver.name.split_once(':').unwrap();
    let ours = app.url.trim_start_matches("http://").to_owned();
    // By their form …
    for name in [
        homeserver.name.clone(),
        ours,
        format!("127.1:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f000001:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("0:{port}"),
        "127.0.0.1".into(),
        "10.0.0.1".into(),
        "169.254.169.254".into(),
        "100.64.0.1:80".into(),
        format!("user@localhost:{port}"),
        format!("localhost:{port}/path"),
        format!("localhost:{port}?"),
        format!("localhost:{port}#"),
        "localhost:".into(),
        "localhost:0x50".into(),
        "localhost:65536".into(),
        "localhost:+80".into(),
        ":80".into(),
        String::new(),
        "exa mple.org".into(),
        "example.org\r\nx: y".into(),
        "ex\u{e4}mple.org".into(),
        "\u{2488}27.0.0.1".into(),
        "%6c%6f%63alhost".into(),
        "a".repeat(300),
    ] {
        let answer = register(&app, &name, "any").await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        refused(&answer, 400, "M_INVALID_PARAM", "matrix_server_name");
    }
    // … and by where they lead, which is not told.
    for name in [format!("localhost:{port}"), format!("LOCALHOST:{port}"), "localhost".into()] {
        let answer = register(&app, &name, "any").await;
        refused(&answer, 502, "M_UNKNOWN", "the homeserver cannot be asked at the moment");
    }
    assert!(homeserver.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_lookup_is_told_and_costs_nothing() {
    let (app, homeserver) = (app(|config| config.directory.max_batch = 100).await, Homeserver::start().await);
    let (alice, _) = homeserver.account("alice");
    enrol(&app, &alice, &number(1)).await;
    let token = signed_in(&app, &homeserver, "bob").await;
    let pepper = pepper(&app, &token).await;
    let right = hash(&number(1)[1..], "msisdn", &pepper);
    let lookup = |addresses: Value, algorithm: &str, pepper: &str| json!({ "addresses": addresses, "algorithm": algorithm, "pepper": pepper });
    for other in ["", "matrixrocks", &pepper[1..], &format!("{pepper}0"), &format!("{pepper} ")] {
        for addresses in [json!([right]), json!([])] {
            let answer = ask(&app, "POST", "/lookup", &token, &lookup(addresses, "sha256", other)).await;
            refused(&answer, 400, "M_INVALID_PEPPER", "lookup_pepper");
            assert_eq!(answer.text("algorithm"), "sha256");
            assert_eq!(answer.text("lookup_pepper"), pepper);
        }
    }
    let clear = format!("{} msisdn", &number(1)[1..]);
    let all: Vec<String> = (0..65_536).map(|n| hash(&n.to_string(), "msisdn", &pepper)).collect();
    let invalid = "M_INVALID_PARAM";
    for (body, status, code, part) in [
        (lookup(json!([clear]), "none", &pepper), 400, invalid, "addresses in clear are not taken"),
        (lookup(json!([right]), "SHA256", &pepper), 400, invalid, "algorithm"),
        (lookup(json!([right]), "", &pepper), 400, invalid, "algorithm"),
        (lookup(json!([right, clear]), "sha256", &pepper), 400, invalid, "entry 1"),
        (lookup(json!(["constructor"]), "sha256", &pepper), 400, invalid, "entry 0"),
        (lookup(json!(["__proto__"]), "sha256", &pepper), 400, invalid, "entry 0"),
        (lookup(json!([""]), "sha256", &pepper), 400, invalid, "entry 0"),
        (lookup(json!([format!("{right}=")]), "sha256", &pepper), 400, invalid, "entry 0"),
        (lookup(json!([&right[1..]]), "sha256", &pepper), 400, invalid, "entry 0"),
        (lookup(json!([format!("{}+", &right[1..])]), "sha256", &pepper), 400, invalid, "entry 0"),
        (lookup(json!(["\u{e9}".repeat(21) + "a"]), "sha256", &pepper), 400, invalid, "entry 0"),
        (lookup(json!(vec![right.clone(); 101]), "sha256", &pepper), 400, invalid, "1 to 100"),
        (lookup(json!(all), "sha256", &pepper), 413, "M_TOO_LARGE", "larger"),
        (lookup(json!([7]), "sha256", &pepper), 400, "M_BAD_JSON", "`addresses`"),
        (lookup(json!({}), "sha256", &pepper), 400, "M_BAD_JSON", "`addresses`"),
        (json!({ "addresses": [right], "algorithm": "sha256" }), 400, "M_BAD_JSON", "`pepper`"),
        (json!({ "addresses": [right], "pepper": pepper }), 400, "M_BAD_JSON", "`algorithm`"),
        (json!({ "algorithm": "sha256", "pepper": pepper }), 400, "M_BAD_JSON", "`addresses`"),
        (json!([]), 400, "M_BAD_JSON", "`addresses`"),
        (Value::Null, 400, "M_NOT_JSON", "`addresses`"),
    ] {
        refused(&ask(&app, "POST", "/lookup", &token, &body).await, status, code, part);
    }
    let left = async || {
        let quota = app.as_account(&format!("@bob:{}", homeserver.name), "GET", "/v1/lookup/quota", "").await;
        let quota = quota.json();
        (quota["guaranteed"]["left"].clone(), quota["queries"]["left"].clone())
    };
    // Nobody's address book is empty in a way that has to be refused.
    assert_eq!(look_up(&app, &token, &pepper, &[]).await.json(), json!({ "mappings": {} }));
    assert_eq!(left().await, (json!(50), json!(4_096)));
    let twice = look_up(&app, &token, &pepper, &[right.clone(), right.clone()]).await;
    assert_eq!(twice.json(), json!({ "mappings": { right: alice } }));
    assert_eq!(left().await, (json!(49), json!(4_095)), "what is asked twice is charged once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_quota_is_refused_whole() {
    let app = app(|config| {
        config.lookups.guaranteed = 3;
        config.lookups.guaranteed_per_day = 24;
    })
    .await;
    let homeserver = Homeserver::start().await;
    let token = signed_in(&app, &homeserver, "bob").await;
    let pepper = pepper(&app, &token).await;
    let hashes: Vec<String> = (0..4).map(|n| hash(&number(n)[1..], "msisdn", &pepper)).collect();
    // More than there ever are: no time is told.
    let never = look_up(&app, &token, &pepper, &hashes).await;
    refused(&never, 429, "M_LIMIT_EXCEEDED", "");
    assert_eq!((never.header("retry-after"), never.json().get("retry_after_ms")), (None, None));
    assert_eq!(look_up(&app, &token, &pepper, &hashes[..2]).await.status, 200);
    let refusal = look_up(&app, &token, &pepper, &hashes[..2]).await;
    refused(&refusal, 429, "M_LIMIT_EXCEEDED", "");
    assert_eq!(refusal.header("retry-after"), Some("3600"));
    assert_eq!(refusal.json()["retry_after_ms"], 3_600_000);
    assert_eq!(look_up(&app, &token, &pepper, &hashes[..1]).await.status, 200);
    assert_eq!(look_up(&app, &token, &pepper, &hashes[..1]).await.status, 429);
    let other = signed_in(&app, &homeserver, "carol").await;
    assert_eq!(look_up(&app, &other, &pepper, &hashes[..1]).await.status, 200);
    app.clock.advance(Duration::from_secs(3600));
    assert_eq!(look_up(&app, &token, &pepper, &hashes[..1]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pepper_changes_and_outlasts_a_restart() {
    let app = app(|config| {
        config.matrix.pepper_hours = 2;
        config.directory.listing_ttl_days = 1;
    })
    .await;
    let homeserver = Homeserver::start().await;
    let (alice, _) = homeserver.account("alice");
    enrol(&app, &alice, &number(1)).await;
    let token = signed_in(&app, &homeserver, "bob").await;
    let first = pepper(&app, &token).await;
    assert!(
        first.len() >= 16 && first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    let address = number(1)[1..].to_owned();
    let sought = [(address.as_str(), "msisdn")];
    let app = app.restart_with(|_| {}).await;
    assert_eq!(pepper(&app, &token).await, first);
    assert_eq!(found(&app, &token, &sought).await, [Some(alice.clone())]);
    app.clock.advance(Duration::from_secs(2 * 60 * 60));
    // What changes the directory wakes those who look after it.
    let mut now = first.clone();
    for _ in 0..1000 {
        app.as_account(&alice, "DELETE", &format!("/v1/directory/listings/{}", "0".repeat(32)), "").await;
        now = pepper(&app, &token).await;
        if now != first {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(now, first);
    let late = look_up(&app, &token, &first, &[hash(&address, "msisdn", &first)]).await;
    refused(&late, 400, "M_INVALID_PEPPER", "");
    assert_eq!(late.text("lookup_pepper"), now);
    assert_eq!(found(&app, &token, &sought).await, [Some(alice.clone())]);
    let unsealed = app.discovery().audit_events(None, 100).await.unwrap();
    let unsealed = unsealed.iter().filter(|event| event.kind == "directory.identifiers_unsealed").count();
    assert_eq!(unsealed, 2, "at the restart and with the new pepper");
    // A listing ends to the second, before it is swept.
    app.clock.advance(Duration::from_secs(22 * 60 * 60 - 1));
    let token = signed_in(&app, &homeserver, "bob").await;
    assert_eq!(found(&app, &token, &sought).await, [Some(alice)]);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(found(&app, &token, &sought).await, [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_after_a_day_and_cannot_be_made() {
    let (app, homeserver) = (app(|_| {}).await, Homeserver::start().await);
    let token = signed_in(&app, &homeserver, "bob").await;
    let account = async |app: &App, headers: &str, query: &str| {
        app.ask("GET", &format!("{V2}/account{query}"), headers, "").await
    };
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    assert_eq!(account(&app, &bearer(&token), "").await.status, 200);
    assert_eq!(account(&app, "", &format!("?access_token={token}")).await.status, 200);
    // Sealed by the same key, for something else.
    let asked = json!({ "identifier": number(1) }).to_string();
    app.as_account("bob", "POST", "/v1/directory/verifications", &asked).await;
    let guess = json!({ "identifier": number(1), "code": app.code(&number(1)) }).to_string();
    let confirmed = app.as_account("bob", "POST", "/v1/directory/verifications/confirm", &guess).await;
    let (other_use, long) = (confirmed.text("token"), format!("{token}{}", "A".repeat(4096)));
    let flipped = format!("{}{}", if token.starts_with('A') { 'B' } else { 'A' }, &token[1..]);
    let turned: String = token.chars().rev().collect();
    for headers in [
        String::new(),
        bearer(""),
        bearer("x"),
        bearer(&other_use),
        bearer(&token[..token.len() - 1]),
        bearer(&format!("{token}A")),
        bearer(&long),
        bearer(&flipped),
        bearer(&turned),
        bearer(BACK_END_KEY),
        format!("{}acquaint-account: bob\r\n", bearer(BACK_END_KEY)),
        format!("authorization: Basic {token}\r\n"),
        [bearer(&token), bearer(&token)].concat(),
    ] {
        for (method, path, body) in [
            ("GET", "/account", ""),
            ("GET", "/hash_details", ""),
            ("POST", "/lookup", "{}"),
            ("POST", "/terms", "{}"),
        ] {
            let answer = app.ask(method, &format!("{V2}{path}"), &headers, body).await;
            refused(&answer, 401, "M_UNAUTHORIZED", "the access token is missing or not good");
        }
    }
    // It is for this face alone.
    let elsewhere = app.ask("GET", "/v1/directory/listings", &bearer(&token), "").await;
    assert_eq!(elsewhere.status, 401);
    let app = app.restart_with(|_| {}).await;
    app.clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
    assert_eq!(account(&app, &bearer(&token), "").await.status, 200);
    app.clock.advance(Duration::from_secs(1));
    refused(&account(&app, &bearer(&token), "").await, 401, "M_UNAUTHORIZED", "");
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
