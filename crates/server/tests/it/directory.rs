//! The directory on each store: listings, and lookups by each profile.

use std::time::Duration;

use acquaint_protocol::bucket::parameters::Parameters;
use acquaint_protocol::bucket::sealed::{Buckets, Keys, open_bucket, prefix};
use acquaint_protocol::bucket::wire::OprfAnswer;
use acquaint_protocol::oprf::{EvaluatedElement, Proof, blind};
use acquaint_server::config::Config;
use acquaint_testkit::{Answer, back_end, did, number};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::App;

async fn app(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        back_end(config);
        config.directory.provider = "contacts.example".into();
        config.lookups.guaranteed = 1_000;
        config.verification.emails = true;
        change(config);
    })
    .await
}

/// Verifies an identifier for the directory and returns the token.
async fn confirmed(app: &App, who: usize, identifier: &str) -> String {
    let asked = json!({ "identifier": identifier }).to_string();
    let sent = app.as_account(&did(who), "POST", "/v1/directory/verifications", &asked).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let guess = json!({ "identifier": identifier, "code": app.code(identifier) }).to_string();
    let confirmed = app.as_account(&did(who), "POST", "/v1/directory/verifications/confirm", &guess).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    confirmed.text("token")
}

async fn enrol_with(app: &App, who: usize, token: &str) -> Answer {
    let listing = json!({ "token": token }).to_string();
    app.as_account(&did(who), "POST", "/v1/directory/listings", &listing).await
}

/// Lists an account under an identifier; the listing's id.
async fn enrol(app: &App, who: usize, identifier: &str) -> String {
    let token = confirmed(app, who, identifier).await;
    let listed = enrol_with(app, who, &token).await;
    assert_eq!(listed.status, 201, "{listed:?}");
    assert_eq!(listed.text("identifier"), identifier);
    listed.text("id")
}

async fn listed(app: &App, who: usize) -> Vec<String> {
    let answer = app.as_account(&did(who), "GET", "/v1/directory/listings", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let listings = answer.json()["listings"].as_array().unwrap().clone();
    listings.iter().map(|listing| listing["identifier"].as_str().unwrap().to_owned()).collect()
}

async fn parameters(app: &App) -> Parameters {
    let answer = app.ask("GET", "/v1/directory/parameters", "", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let parameters: Parameters = serde_json::from_slice(&answer.body).unwrap();
    let now = u64::try_from(app.discovery().now() / 1000).unwrap();
    parameters.verify(&parameters.signing_key.0, now).unwrap();
    parameters
}

/// The whole of a lookup in sealed buckets, by the protocol alone: whose the identifiers are.
async fn lookup(app: &App, who: usize, identifiers: &[&str]) -> Vec<Option<String>> {
    let parameters = parameters(app).await;
    let siis: Vec<String> = identifiers
        .iter()
        .map(|text| if text.contains('@') { format!("mailto:{text}") } else { format!("tel:{text}") })
        .collect();
    let mut seed = 0_u8;
    let (blinding, elements) = blind(&siis, |bytes| {
        seed = seed.wrapping_add(1);
        bytes.fill(seed);
        Ok::<(), ()>(())
    })
    .unwrap();
    let elements: Vec<String> =
        elements.iter().map(|element| BASE64_URL_SAFE_NO_PAD.encode(element.to_bytes())).collect();
    let body = json!({ "epoch": parameters.terms.epoch, "elements": elements }).to_string();
    let answer = app.as_account(&did(who), "POST", "/v1/directory/oprf", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let evaluated: OprfAnswer = serde_json::from_slice(&answer.body).unwrap();
    let elements: Vec<_> = evaluated.elements.iter().map(|bytes| EvaluatedElement(bytes.0)).collect();
    let proof = Proof(evaluated.proof.0);
    let outputs = blinding.finalize(&elements, &proof, &parameters.terms.oprf_key()).unwrap();
    let scope = parameters.terms.scope().unwrap();
    let keys: Vec<Keys> = outputs.iter().map(|output| Keys::derive(&scope, output)).collect();
    let bits = parameters.terms.prefix_bits;
    let prefixes: Vec<u32> = keys.iter().map(|keys| prefix(keys.location(), bits)).collect();
    let body = json!({
        "epoch": parameters.terms.epoch, "layout": parameters.terms.layout, "prefixes": prefixes,
    });
    let answer = app.as_account(&did(who), "POST", "/v1/directory/buckets", &body.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("private, max-age=30"));
    let buckets = Buckets::decode(&answer.body).unwrap();
    keys.iter().zip(buckets.iter()).map(|(keys, bucket)| open_bucket(keys, bucket)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_found_by_those_who_know_the_identifier_until_it_is_withdrawn() {
    let app = app(|_| {}).await;
    let id = enrol(&app, 1, &number(1)).await;
    app.clock.advance(Duration::from_secs(1));
    enrol(&app, 1, "ada@example.com").await;
    enrol(&app, 2, &number(2)).await;
    assert_eq!(listed(&app, 1).await, [number(1), "ada@example.com".into()]);
    let (one, two, three) = (number(1), number(2), number(3));
    let asked = [one.as_str(), &two, &three, "ada@example.com"];
    let found = lookup(&app, 9, &asked).await;
    assert_eq!(found, [Some(did(1)), Some(did(2)), None, Some(did(1))]);

    let path = format!("/v1/directory/listings/{id}");
    // Another account's withdrawal of it is none.
    assert_eq!(app.as_account(&did(2), "DELETE", &path, "").await.json(), json!({ "withdrawn": 0 }));
    assert_eq!(app.as_account(&did(1), "DELETE", &path, "").await.json(), json!({ "withdrawn": 1 }));
    assert_eq!(lookup(&app, 9, &asked).await, [None, Some(did(2)), None, Some(did(1))]);
    let all = app.as_account(&did(1), "DELETE", "/v1/directory/listings", "").await;
    assert_eq!(all.json(), json!({ "withdrawn": 1 }));
    assert_eq!(lookup(&app, 9, &asked).await, [None, Some(did(2)), None, None]);
    assert_eq!(listed(&app, 1).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_matching_and_the_directory_know_nothing_of_each_other() {
    let app = app(|_| {}).await;
    // A code for one is none for the other.
    let asked = json!({ "identifier": number(1) }).to_string();
    app.as_account(&did(1), "POST", "/v1/directory/verifications", &asked).await;
    assert!(app.client.verify(&did(1), &number(1), &app.code(&number(1))).await.is_err());
    app.client.start_verification(&did(1), &number(1)).await.unwrap();
    let guess = json!({ "identifier": number(1), "code": app.code(&number(1)) }).to_string();
    let refused = app.as_account(&did(1), "POST", "/v1/directory/verifications/confirm", &guess).await;
    assert_eq!((refused.status, refused.text("code").as_str()), (400, "INVALID_CODE"), "{refused:?}");
    // Nor a token.
    let for_matching = app.verify(&did(1), &number(1)).await;
    assert_eq!(enrol_with(&app, 1, &for_matching).await.status, 400);
    let for_directory = confirmed(&app, 1, &number(1)).await;
    assert!(app.client.import(&did(1), &for_directory, vec![number(2)]).await.is_err());
    // Neither an import lists anybody, nor does a listing match.
    app.import(&did(1), &number(1), &[&number(2)]).await;
    assert_eq!(lookup(&app, 9, &[&number(1), &number(2)]).await, [None, None]);
    assert_eq!(enrol_with(&app, 1, &for_directory).await.status, 201);
    enrol(&app, 2, &number(2)).await;
    assert_eq!(app.matches(&did(1)).await, Vec::<String>::new());
    assert_eq!(lookup(&app, 9, &[&number(1)]).await, [Some(did(1))]);
    // A removal takes both.
    app.client.remove_data(&did(1)).await.unwrap();
    assert_eq!(lookup(&app, 9, &[&number(1)]).await, [None]);
    assert_eq!(listed(&app, 1).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_belongs_to_who_verified_it_last_and_for_a_while() {
    let app = app(|config| config.directory.listing_ttl_days = 1).await;
    let early = confirmed(&app, 1, &number(1)).await;
    app.clock.advance(Duration::from_secs(1));
    enrol(&app, 2, &number(1)).await;
    let late = enrol_with(&app, 1, &early).await;
    assert_eq!((late.status, late.text("code").as_str()), (409, "NEWER_OWNER"), "{late:?}");
    assert_eq!(lookup(&app, 9, &[&number(1)]).await, [Some(did(2))]);
    app.clock.advance(Duration::from_secs(1));
    enrol(&app, 1, &number(1)).await;
    assert_eq!(lookup(&app, 9, &[&number(1)]).await, [Some(did(1))]);
    assert_eq!(listed(&app, 2).await, Vec::<String>::new());
    app.clock.advance(Duration::from_secs(24 * 60 * 60 + 60));
    assert_eq!(listed(&app, 1).await, Vec::<String>::new());
    // The sweep takes it out of the index; a restart does not wait for that.
    let app = app.restart_with(|_| {}).await;
    assert_eq!(lookup(&app, 9, &[&number(1)]).await, [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_by_its_field_and_costs_nothing() {
    let app = app(|config| config.directory.max_batch = 100).await;
    enrol(&app, 1, &number(1)).await;
    let element = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let ask = async |path: &str, body: Value| {
        let answer = app.as_account(&did(9), "POST", path, &body.to_string()).await;
        (answer.status, answer.text("code"), answer.text("detail"))
    };
    let oprf = async |body: Value| ask("/v1/directory/oprf", body).await;
    let buckets = async |body: Value| ask("/v1/directory/buckets", body).await;
    for (body, status, code, part) in [
        (json!({}), 400, "INVALID_REQUEST", "`epoch`"),
        (
            json!({ "epoch": 1, "elements": [] }),
            400,
            "INVALID_REQUEST",
            "elements must have 1 to 100 entries",
        ),
        (json!({ "epoch": 1, "elements": vec![element; 101] }), 400, "INVALID_REQUEST", "1 to 100"),
        (
            json!({ "epoch": 1, "elements": [element] }),
            400,
            "INVALID_REQUEST",
            "entry 0: a blinded element is not the identity",
        ),
        (
            json!({ "epoch": 1, "elements": ["constructor"] }),
            400,
            "INVALID_REQUEST",
            "entry 0: a blinded element is 32 bytes",
        ),
        (json!({ "epoch": 1, "elements": ["_".repeat(43)] }), 400, "INVALID_REQUEST", "entry 0"),
        (
            json!({ "epoch": 1, "elements": [format!("AQ{}", "A".repeat(41))] }),
            400,
            "INVALID_REQUEST",
            "canonical form",
        ),
        (json!({ "epoch": -1, "elements": [element] }), 400, "INVALID_REQUEST", "`epoch`"),
        (
            json!({ "epoch": 1, "elements": [element], "request": "AA" }),
            400,
            "INVALID_REQUEST",
            "request must be 16 random bytes",
        ),
        // RFC 9496's generator: a good element.
        (
            json!({ "epoch": 7, "elements": ["4vKuCmq8TnGohKlhxQBRX1jjC2qlgt2NtqZZReCNLXY"] }),
            409,
            "EPOCH_CHANGED",
            "epoch",
        ),
    ] {
        let told = oprf(body.clone()).await;
        assert_eq!((told.0, told.1.as_str()), (status, code), "{body}: {told:?}");
        assert!(told.2.contains(part), "{body}: {told:?}");
    }
    for (body, status, code, part) in [
        (json!({ "epoch": 1, "layout": 1 }), 400, "INVALID_REQUEST", "`prefixes`"),
        (json!({ "epoch": 1, "layout": 1, "prefixes": [] }), 400, "INVALID_REQUEST", "1 to 100"),
        (json!({ "epoch": 1, "layout": 1, "prefixes": vec![0; 65_536] }), 400, "INVALID_REQUEST", "1 to 100"),
        (json!({ "epoch": 1, "layout": 1, "prefixes": [0, 1] }), 400, "INVALID_REQUEST", "entry 1"),
        (
            json!({ "epoch": 1, "layout": 1, "prefixes": ["constructor"] }),
            400,
            "INVALID_REQUEST",
            "`prefixes`",
        ),
        (
            json!({ "epoch": 1, "layout": 1, "prefixes": [4_294_967_296_u64] }),
            400,
            "INVALID_REQUEST",
            "`prefixes`",
        ),
        (json!({ "epoch": 1, "layout": 9, "prefixes": [0] }), 409, "LAYOUT_CHANGED", "layout"),
        (json!({ "epoch": 2, "layout": 1, "prefixes": [0] }), 409, "EPOCH_CHANGED", "epoch"),
    ] {
        let told = buckets(body.clone()).await;
        assert_eq!((told.0, told.1.as_str()), (status, code), "{body}: {told:?}");
        assert!(told.2.contains(part), "{body}: {told:?}");
    }
    let quota = app.as_account(&did(9), "GET", "/v1/lookup/quota", "").await.json();
    assert_eq!(quota["guaranteed"]["left"], 1_000);
    assert_eq!(quota["queries"]["left"], 4_096);
    lookup(&app, 9, &[&number(1), &number(2)]).await;
    let quota = app.as_account(&did(9), "GET", "/v1/lookup/quota", "").await.json();
    assert_eq!(quota["guaranteed"]["left"], 998);
    assert_eq!(quota["queries"]["left"], 4_094);
}

#[tokio::test(flavor = "multi_thread")]
async fn hit_and_miss_have_one_shape_and_answers_repeat() {
    let app = app(|config| config.directory.candidates = 4).await;
    for who in 0..20 {
        enrol(&app, who, &number(who)).await;
    }
    // 20 listings and 4 candidates.
    let mut terms = parameters(&app).await.terms;
    for _ in 0..1000 {
        if terms.prefix_bits == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        terms = parameters(&app).await.terms;
    }
    assert_eq!(terms.prefix_bits, 2);
    let body = json!({ "epoch": terms.epoch, "layout": terms.layout, "prefixes": [0, 1, 2, 3] }).to_string();
    let first = app.as_account(&did(30), "POST", "/v1/directory/buckets", &body).await;
    let again = app.as_account(&did(31), "POST", "/v1/directory/buckets", &body).await;
    assert_eq!(first.body, again.body, "filling that changed would show what is none");
    let buckets = Buckets::decode(&first.body).unwrap();
    assert_eq!(first.body.len(), 16 + 4 * usize::from(terms.slots) * usize::from(terms.account_bytes + 16));
    for bucket in buckets.iter() {
        let slots: Vec<&[u8]> = bucket.collect();
        assert!(slots.is_sorted(), "the order would show what is filling");
    }
}
