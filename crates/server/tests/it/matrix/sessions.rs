//! Who may look up: whom a homeserver vouches for, which homeservers are asked, and what its token is good for.

use std::time::Duration;

use acquaint_testkit::{BACK_END_KEY, number};
use serde_json::{Value, json};

use super::super::App;
use super::{Homeserver, V2, app, ask, refused, register, signed_in};

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
