//! Hashed lookups: who is found, what is refused, and the pepper.

use std::time::Duration;

use acquaint_protocol::bucket::matrix::hash;
use acquaint_testkit::number;
use serde_json::{Value, json};

use super::{Homeserver, app, ask, enrol, found, look_up, pepper, refused, signed_in};

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
