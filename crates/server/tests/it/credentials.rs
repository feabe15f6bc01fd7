//! Credentials for discovery services, on each store: seed 001's outcomes in their order, limits, audiences, the audit log.

use std::time::Duration;

use acquaint_server::config::Config;
use acquaint_testkit::provider::{Provider, Reply};
use acquaint_testkit::{Answer, BACK_END_KEY, back_end, did, number, own_tokens};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::App;

const PATH: &str = "/v1/contact-discovery/credentials";
const QUARTER: Duration = Duration::from_secs(15 * 60);

fn two_audiences(config: &mut Config) {
    back_end(config);
    config.credentials.audiences = vec!["discovery:1".into(), "lookup:2".into()];
}

async fn app(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        two_audiences(config);
        change(config);
    })
    .await
}

async fn issue(app: &App, who: usize, path: &str) -> Answer {
    app.as_account(&did(who), "GET", path, "").await
}

async fn issued(app: &App, who: usize, path: &str) -> (String, String) {
    let answer = issue(app, who, path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let json = answer.json();
    assert_eq!(json.as_object().unwrap().len(), 2, "username and password, and nothing else");
    (answer.text("username"), answer.text("password"))
}

/// Asks whether credentials are good.
async fn check(app: &App, audience: &str, username: &str, password: &str) -> Answer {
    let body = serde_json::json!({ "audience": audience, "username": username, "password": password });
    let headers = format!("authorization: Bearer {BACK_END_KEY}\r\n");
    app.ask("POST", "/v1/credentials/verify", &headers, &body.to_string()).await
}

async fn is_good(app: &App, audience: &str, (username, password): &(String, String)) -> bool {
    let answer = check(app, audience, username, password).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["valid"].as_bool().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_outcomes_in_their_order() {
    let app = app(|config| config.credentials.account = 2).await;
    // Without a session, also where the bucket is empty later.
    for _ in 0..2 {
        let answer = app.ask("GET", PATH, "", "").await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.text("code"), "CONTACT_DISCOVERY_UNAUTHENTICATED");
        assert_eq!(answer.text("detail"), "Authentication required to access contact discovery.");
        assert_eq!(answer.header("www-authenticate"), Some("bearer"));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        issued(&app, 1, PATH).await;
    }
    for _ in 0..2 {
        let answer = issue(&app, 1, PATH).await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.text("code"), "CONTACT_DISCOVERY_RATE_LIMITED");
        let detail = "Too many contact discovery requests. Please wait before trying again.";
        assert_eq!(answer.text("detail"), detail);
        assert_eq!(answer.header("retry-after"), Some("900"));
    }
    assert_eq!(app.ask("GET", PATH, "", "").await.status, 401, "a session is asked for first");
    issued(&app, 2, PATH).await;
    app.clock.advance(QUARTER.saturating_sub(Duration::from_millis(1)));
    let answer = issue(&app, 1, PATH).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "rounded up, never 0");
    app.clock.advance(Duration::from_millis(1));
    issued(&app, 1, PATH).await;
    assert_eq!(issue(&app, 1, PATH).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_of_the_format_and_end_with_their_time() {
    let app = app(|_| {}).await;
    let first = issued(&app, 1, PATH).await;
    assert_eq!((first.0.len(), first.1.len()), (20, 10 + 1 + 20), "10 bytes, seconds, 10 bytes");
    assert_eq!(issued(&app, 1, PATH).await.0, first.0, "the username lasts");
    assert_ne!(issued(&app, 2, PATH).await.0, first.0);
    assert!(is_good(&app, "discovery", &first).await);
    let answer = check(&app, "discovery", &first.0, &first.1).await.json();
    assert_eq!(answer["expires_at"].as_u64(), answer["issued_at"].as_u64().map(|at| at + 86_400));
    app.clock.advance(Duration::from_secs(86_400));
    assert!(is_good(&app, "discovery", &first).await, "the last second counts");
    app.clock.advance(Duration::from_secs(1));
    assert!(!is_good(&app, "discovery", &first).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_audiences_cannot_tell_who_is_the_same_account() {
    let app = app(|_| {}).await;
    let one = issued(&app, 1, PATH).await;
    let other = issued(&app, 1, "/v1/contact-discovery/credentials?audience=lookup").await;
    assert_ne!(one.0, other.0);
    assert!(is_good(&app, "discovery", &one).await && is_good(&app, "lookup", &other).await);
    assert!(!is_good(&app, "lookup", &one).await && !is_good(&app, "discovery", &other).await);
    let unknown = issue(&app, 1, "/v1/contact-discovery/credentials?audience=cheese").await;
    assert_eq!((unknown.status, unknown.text("code").as_str()), (404, "CONTACT_DISCOVERY_UNKNOWN_AUDIENCE"));
    assert_eq!(check(&app, "cheese", &one.0, &one.1).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_credentials_are_refused_without_saying_why() {
    let app = app(|_| {}).await;
    let (username, password) = issued(&app, 1, PATH).await;
    let flipped = password.replace(|last: char| last == password.chars().last().unwrap(), "0");
    let long = "1".repeat(5000);
    let seconds = password.split(':').next().unwrap();
    let bad = [
        "",
        ":",
        ":::",
        ":notimestamp",
        "notanumber:abc123",
        "123",
        "1234:",
        "1234:nothex",
        &flipped,
        &long,
        &format!("{username}:{password}"),
        &format!("0{password}"),
        &format!("+{password}"),
        &password.to_uppercase(),
        &format!("{seconds}:"),
        &format!(" {password}"),
        &format!("{password} "),
    ];
    let mut bodies = std::collections::BTreeSet::new();
    for password in bad.into_iter().filter(|bad| *bad != password) {
        let answer = check(&app, "discovery", &username, password).await;
        assert_eq!(answer.status, 200);
        bodies.insert(answer.body);
    }
    for username in ["", "cheese", &"f".repeat(5000), "88b8578c4870f3b089fb"] {
        bodies.insert(check(&app, "discovery", username, &password).await.body);
    }
    assert_eq!(bodies.into_iter().collect::<Vec<_>>(), [br#"{"valid":false}"#.to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_prefix_a_provider_and_all() {
    // Tokens of people come from their own addresses, as a proxy tells them.
    let behind = app(|config| {
        config.credentials.prefix = 2;
        config.credentials.prefix_per_day = 96;
        own_tokens(config);
        config.http.client_address_header = "x-forwarded-for".into();
    })
    .await;
    let from = async |who: usize, address: &str| {
        let headers = format!("authorization: Bearer {}\r\n{address}", behind.own_token(&did(who)));
        behind.ask("GET", PATH, &headers, "").await.status
    };
    for addresses in [
        // The client's own word comes first, the proxy's last.
        [
            "x-forwarded-for: 198.51.100.1\r\n",
            "x-forwarded-for: 192.0.2.9, 198.51.100.2:4711\r\n",
            "x-forwarded-for: 192.0.2.7\r\nx-forwarded-for: 198.51.100.254\r\n",
        ],
        [
            "x-forwarded-for: 2001:db8:0:100::1\r\n",
            "x-forwarded-for: [2001:db8:0:1ff::1]:99\r\n",
            "x-forwarded-for: [2001:db8:0:100::2]\r\n",
        ],
        // Who does not say shares one prefix.
        ["", "x-forwarded-for: unknown\r\n", "x-forwarded-for: \r\n"],
    ] {
        let mut statuses = Vec::new();
        for (who, address) in (10..).zip(addresses) {
            statuses.push(from(who, address).await);
        }
        assert_eq!(statuses, [200, 200, 429], "{addresses:?}");
    }
    assert_eq!(from(20, "x-forwarded-for: 203.0.113.1\r\n").await, 200);
    for (who, change) in [
        (
            "provider",
            (|config: &mut Config| {
                config.credentials.provider = 3;
                config.credentials.provider_per_day = 96;
            }) as fn(&mut Config),
        ),
        ("all", |config| {
            config.credentials.all = 3;
            config.credentials.all_per_day = 96;
        }),
    ] {
        let app = app(change).await;
        for account in 1..=3 {
            issued(&app, account, PATH).await;
        }
        let answer = issue(&app, 4, PATH).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("900")), "{who}");
        app.clock.advance(QUARTER);
        issued(&app, 4, PATH).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_in_use_takes_up_another_capacity_and_rate() {
    let app = app(|config| config.credentials.account = 2).await;
    issued(&app, 1, PATH).await;
    issued(&app, 1, PATH).await;
    assert_eq!(issue(&app, 1, PATH).await.status, 429);
    let app = app.restart_with(|config| config.credentials.account = 3).await;
    issued(&app, 1, PATH).await;
    assert_eq!(issue(&app, 1, PATH).await.header("retry-after"), Some("900"));
    let app = app.restart_with(|config| config.credentials.account_per_day = 86_400).await;
    assert_eq!(issue(&app, 1, PATH).await.header("retry-after"), Some("1"));
    let app = app.restart_with(|config| config.credentials.account = 1).await;
    app.clock.advance(Duration::from_secs(2));
    assert_eq!(issue(&app, 1, PATH).await.status, 429, "one is left of three, and only one fits");
    app.clock.advance(Duration::from_secs(1));
    issued(&app, 1, PATH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_number_is_needed_only_verified_accounts_get_credentials() {
    let app = app(|config| config.credentials.need_verified_number = true).await;
    let answer = issue(&app, 1, PATH).await;
    assert_eq!((answer.status, answer.text("code").as_str()), (403, "CONTACT_DISCOVERY_NUMBER_REQUIRED"));
    app.verify(&did(1), &number(1)).await;
    issued(&app, 1, PATH).await;
    // For long, without any import.
    app.clock.advance(Duration::from_secs(100 * 86_400));
    let app = app.restart_with(|_| {}).await;
    issued(&app, 1, PATH).await;
    app.client.remove_data(&did(1)).await.unwrap();
    assert_eq!(issue(&app, 1, PATH).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_has_each_outcome_and_no_name() {
    let app = app(|config| config.credentials.account = 1).await;
    let credentials = issued(&app, 1, PATH).await;
    for _ in 0..3 {
        assert_eq!(issue(&app, 1, PATH).await.status, 429);
    }
    app.clock.advance(QUARTER);
    issued(&app, 1, PATH).await;
    issued(&app, 2, PATH).await;
    assert_eq!(
        app.ask(
            "HEAD",
            PATH,
            &format!("authorization: Bearer {BACK_END_KEY}\r\nacquaint-account: {}\r\n", did(3)),
            ""
        )
        .await
        .status,
        405
    );
    let events = app.discovery().audit_events(None, 100).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.kind, event.account.clone())).collect();
    let (ada, bob) = (told[0].1.clone(), told[3].1.clone());
    assert!(ada.as_deref().is_some_and(|id| id.len() == 32) && bob.is_some() && ada != bob);
    let kinds = ["credentials_issued", "rate_limited", "credentials_issued", "credentials_issued"];
    let kinds = kinds.map(|kind| format!("contact_discovery.{kind}"));
    assert_eq!(told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), kinds);
    assert_eq!((&told[1].1, &told[2].1), (&ada, &ada));
    assert_eq!(events[0].details["token_expiry_seconds"], 86_400);
    assert_eq!(events[2].details["refused_since"], 2, "those that were refused from memory");
    assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id && pair[0].at <= pair[1].at));
    let page = app.discovery().audit_events(Some(events[1].id), 1).await.unwrap();
    assert_eq!(page, [events[2].clone()]);
    // Neither names nor what was issued stand in the store.
    let rows: Vec<u8> = app.rows().into_values().flatten().flatten().collect();
    for part in [did(1), did(2), credentials.0, credentials.1] {
        assert!(!acquaint_testkit::holds(&rows, part.as_bytes()));
    }
    let app = app.restart_with(|_| {}).await;
    assert_eq!(app.discovery().audit_events(None, 100).await.unwrap(), events, "it outlasts a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_takes_the_credentials_by_itself_and_charges_its_own_meters() {
    let app = app(|_| {}).await;
    let (username, password) = issued(&app, 1, PATH).await;
    let basic = |username: &str, password: &str| {
        let both = BASE64_STANDARD.encode(format!("{username}:{password}"));
        format!("authorization: Basic {both}\r\n")
    };
    let answer = app.ask("GET", "/v1/lookup/quota", &basic(&username, &password), "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["guaranteed"]["left"], 50);
    assert!(answer.json().get("identifiers").is_none(), "nothing shows that a number is verified");
    let lookup = "/v1/lookup/quota?audience=lookup";
    for (path, username, password) in [
        (lookup, username.as_str(), password.as_str()),
        ("/v1/lookup/quota", "", ""),
        ("/v1/lookup/quota", username.as_str(), "1:2"),
    ] {
        let answer = app.ask("GET", path, &basic(username, password), "").await;
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").is_some_and(|scheme| scheme.starts_with("basic")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_each_event_until_it_takes_it() {
    let refusals = [Reply::Json(503, "{}".into()), Reply::HangUp];
    let webhook = Provider::start([&refusals[..], &[Reply::Json(200, "{}".into())]].concat()).await;
    let url = webhook.url.clone();
    let app = app(|config| {
        config.credentials.account = 1;
        config.audit.webhook_url = url;
        config.audit.webhook_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into();
    })
    .await;
    issued(&app, 1, PATH).await;
    assert_eq!(issue(&app, 1, PATH).await.status, 429);
    // Two refused attempts, and then each of the two once.
    for _ in 0..600 {
        if webhook.requests().len() >= 4 {
            break;
        }
        app.clock.advance(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let requests = webhook.requests();
    assert_eq!(requests.len(), 4);
    let events = app.discovery().audit_events(None, 10).await.unwrap();
    let mut told = std::collections::BTreeMap::new();
    for request in &requests {
        assert!(request.header("webhook-signature").starts_with("v1,"));
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        *told.entry((body["id"].as_i64().unwrap(), request.header("webhook-id").to_owned())).or_insert(0) +=
            1;
        let event = events.iter().find(|event| Some(event.id) == body["id"].as_i64()).unwrap();
        assert_eq!(body["type"], event.kind);
        assert_eq!(body["account_identifier"].as_str(), event.account.as_deref());
    }
    assert_eq!(told.len(), 2, "an event keeps its id over attempts: {told:?}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(webhook.requests().len(), 4, "what was taken is told no more");
}
