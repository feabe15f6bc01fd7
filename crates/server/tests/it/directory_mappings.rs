//! Identifiers that map to several accounts.

use std::time::Duration;

use acquaint_client::Settings;
use acquaint_client::discovery::{Book, Caller, Directory, Listing, Profile, Trust};
use acquaint_protocol::identifier::{Identifier, Sii};
use acquaint_server::config::Config;
use acquaint_testkit::{API_KEY, Answer, BACK_END_KEY, back_end, did, number};
use serde_json::{Value, json};

use super::App;

async fn app(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        back_end(config);
        config.directory.provider = "contacts.example".into();
        config.lookups.guaranteed = 10_000;
        config.verification.emails = true;
        change(config);
    })
    .await
}

fn directory(app: &App, who: usize) -> Directory {
    let settings = Settings { api_key: BACK_END_KEY.into(), ..Settings::default() };
    Directory::new(&app.url, settings, Caller::BackEnd(did(who))).unwrap()
}

async fn enrol(app: &App, who: usize, identifier: &str, index: u8) -> Listing {
    let mut directory = directory(app, who);
    directory.start_verification(identifier).await.unwrap();
    let token = directory.confirm(identifier, &app.code(identifier)).await.unwrap().token;
    directory.enrol_at(&token, None, index).await.unwrap()
}

fn sii(n: usize) -> Sii {
    Sii::from(&Identifier::parse(&number(n), None).unwrap())
}

/// Whom a book of its own finds.
async fn found(app: &App, n: usize) -> Option<String> {
    let mut book = Book::new(Profile::Sealed);
    let trust = Trust { min_epoch_age_s: 0, ..Trust::default() };
    let now = u64::try_from(app.discovery().now() / 1000).unwrap();
    directory(app, 900).refresh(&mut book, &[sii(n)], &trust, now).await.unwrap();
    book.found(&sii(n)).map(str::to_owned)
}

async fn published(app: &App, epoch: u32) {
    for _ in 0..3000 {
        let told = app.ask("GET", "/v1/directory/parameters", "", "").await;
        if told.status == 200 && told.json()["epoch"] == epoch {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("epoch {epoch} is not published");
}

async fn listings(app: &App, who: usize) -> Vec<Value> {
    let answer = app.as_account(&did(who), "GET", "/v1/directory/listings", "").await;
    answer.json()["listings"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_has_a_mapping_for_each_index_and_buckets_show_the_first() {
    let app = app(|_| {}).await;
    let first = enrol(&app, 1, &number(1), 0).await;
    let later = enrol(&app, 2, &number(1), 1).await;
    let last = enrol(&app, 1, &number(1), 255).await;
    assert_eq!((first.index, later.index, last.index), (0, 1, 255));
    assert!(first.id != later.id && later.id != last.id && last.id != first.id);
    assert_eq!(found(&app, 1).await, Some(did(1)), "nobody took its place");
    let told = listings(&app, 1).await;
    let indexes: Vec<&Value> = told.iter().map(|listing| &listing["index"]).collect();
    assert_eq!(told.len(), 2);
    assert!(indexes.contains(&&Value::Null) && indexes.contains(&&json!(255)), "0 is left out: {told:?}");
    assert_eq!(directory(&app, 2).listings().await.unwrap()[0].index, 1);

    // A new key is published although it never has a place for two of them, and they stand as before.
    assert_eq!(app.discovery().rotate_directory("sealed-buckets").await.unwrap(), 2);
    published(&app, 2).await;
    assert_eq!(found(&app, 1).await, Some(did(1)));
    let app = app.restart_with(|_| {}).await;
    assert_eq!(listings(&app, 1).await.len(), 2);
    directory(&app, 1).withdraw(&first.id).await.unwrap();
    assert_eq!(found(&app, 1).await, None, "nor does another index come up");
    assert_eq!(listings(&app, 2).await.len(), 1);
    // The later verification has it, at each index.
    app.clock.advance(Duration::from_secs(1));
    let passed = enrol(&app, 3, &number(1), 1).await;
    assert_eq!(passed.id, later.id);
    assert_eq!(listings(&app, 2).await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_a_byte() {
    let app = app(|_| {}).await;
    for index in [json!(256), json!(-1), json!("1"), json!(1.5), Value::Null] {
        let body = json!({ "token": "t", "index": index }).to_string();
        let refused = app.as_account(&did(1), "POST", "/v1/directory/listings", &body).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text("detail").contains("`index`, 0 to 255"), "{refused:?}");
    }
}

/// The operator loads mappings; what the server says of them.
async fn load(app: &App, mappings: &Value) -> Value {
    let answer = as_operator(app, &json!({ "mappings": mappings }).to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn as_operator(app: &App, body: &str) -> Answer {
    let key = format!("authorization: Bearer {API_KEY}\r\n");
    app.ask("POST", "/operator/directory/mappings", &key, body).await
}

fn mapping(n: usize, who: usize) -> Value {
    json!({ "identifier": number(n), "account": did(who) })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_loads_is_found_and_is_its_accounts() {
    // Far fewer than one account is given: the limit is a person's.
    let app = app(|config| config.directory.listings_of_account = 1).await;
    let all: Vec<Value> = (0..150).map(|n| mapping(n, n % 3)).collect();
    let told = load(&app, &json!(all)).await;
    assert_eq!(told, json!({ "loaded": 150, "unchanged": 0, "refused": [] }));
    for n in [0, 1, 149] {
        assert_eq!(found(&app, n).await, Some(did(n % 3)));
    }
    assert_eq!(listings(&app, 2).await.len(), 50);
    // Nothing changes by the same again, and the listings live longer.
    let before = listings(&app, 1).await;
    app.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(load(&app, &json!(all)).await["unchanged"], 150);
    let after = listings(&app, 1).await;
    let ends = |listings: &[Value]| -> Vec<i64> {
        listings.iter().map(|listing| listing["expires_at"].as_i64().unwrap()).collect()
    };
    assert!(ends(&before).iter().zip(ends(&after)).all(|(before, after)| before + 86_400 == after));
    // A person withdraws what was loaded, and removes all.
    let id = after[0]["id"].as_str().unwrap();
    let path = format!("/v1/directory/listings/{id}");
    assert_eq!(app.as_account(&did(1), "DELETE", &path, "").await.json(), json!({ "withdrawn": 1 }));
    app.client.remove_data(&did(0)).await.unwrap();
    assert_eq!((found(&app, 0).await, found(&app, 2).await), (None, Some(did(2))));

    // Under a new key, and after a restart.
    app.discovery().rotate_directory("sealed-buckets").await.unwrap();
    published(&app, 2).await;
    let app = app.restart_with(|_| {}).await;
    assert_eq!((found(&app, 0).await, found(&app, 149).await), (None, Some(did(2))));
    let log = app.discovery().audit_events(None, 1000).await.unwrap();
    let noted: Vec<&Value> = log
        .iter()
        .filter(|event| event.kind == "directory.mappings_loaded")
        .map(|event| {
            assert_eq!(event.account, None);
            &event.details
        })
        .collect();
    assert_eq!(
        noted,
        [
            &json!({ "loaded": 150, "unchanged": 0, "refused": 0 }),
            &json!({ "loaded": 0, "unchanged": 150, "refused": 0 })
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_word_takes_the_place_of_what_was_verified_before() {
    let app = app(|_| {}).await;
    let name = |username: &str| json!([{ "identifier": number(1), "account": did(2), "username": username }]);
    enrol(&app, 1, &number(1), 0).await;
    enrol(&app, 1, &number(1), 7).await;
    assert_eq!(load(&app, &name("ada")).await["loaded"], 1);
    assert_eq!(found(&app, 1).await, Some(did(2)));
    assert_eq!(listings(&app, 1).await.len(), 1, "another index is another mapping");
    // The name is a part of it.
    assert_eq!(load(&app, &name("ada")).await["unchanged"], 1);
    assert_eq!(load(&app, &name("countess")).await["loaded"], 1);
    assert_eq!(listings(&app, 2).await[0]["username"], "countess");
    // Whoever proves it later has it, and keeps it before what the operator said by an earlier clock.
    app.clock.advance(Duration::from_secs(10));
    enrol(&app, 3, &number(1), 0).await;
    app.clock.turn_back(Duration::from_secs(5));
    let told = load(&app, &name("ada")).await;
    assert_eq!((&told["loaded"], told["refused"].as_array().unwrap().len()), (&json!(0), 1));
    assert!(told["refused"][0]["reason"].as_str().unwrap().contains("verified this identifier since"));
    app.clock.advance(Duration::from_secs(5));
    assert_eq!(found(&app, 1).await, Some(did(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_refused_stops_no_other_and_is_not_repeated() {
    let app = app(|config| config.directory.account_bytes = 32).await;
    let odd = |name: &str, value: Value| {
        let mut mapping = mapping(5, 5);
        mapping[name] = value;
        mapping
    };
    let mut spelt = mapping(1, 2);
    spelt["identifier"] = json!(format!("{} ", number(1)));
    let mut second = mapping(1, 2);
    second["index"] = json!(255);
    let rows = json!([
        odd("identifier", json!("secret-5550199")),
        mapping(1, 1),
        odd("identifier", json!("secret@")),
        odd("account", json!("secret-account")),
        odd("account", json!("")),
        odd("account", json!(format!("did:plc:{}", "secret".repeat(6)))),
        odd("username", json!("secret secret")),
        spelt,
        second,
        { "identifier": "Ada@Example.COM", "account": did(3), "index": 0, "username": null },
    ]);
    let told = load(&app, &rows).await;
    assert_eq!((&told["loaded"], &told["unchanged"]), (&json!(3), &json!(0)), "{told}");
    let refused = told["refused"].as_array().unwrap();
    let wanted = [
        (0, "identifier: "),
        (2, "identifier: "),
        (3, "account: not a DID"),
        (4, "account: the account identifier is empty"),
        (5, "account: names of more than 32 bytes"),
        (6, "username: must be 1 to 64 bytes"),
        (7, "an earlier mapping of the same request"),
    ];
    assert_eq!(refused.len(), wanted.len(), "{told}");
    for (refused, (at, reason)) in refused.iter().zip(wanted) {
        assert_eq!(refused["at"], at);
        assert!(refused["reason"].as_str().unwrap().starts_with(reason), "{refused}");
    }
    assert!(!told.to_string().contains("secret") && !told.to_string().contains("5550199"), "{told}");
    assert_eq!(found(&app, 1).await, Some(did(1)));
    assert_eq!(listings(&app, 2).await[0]["index"], 255);
    assert_eq!(listings(&app, 3).await[0]["identifier"], "ada@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_loads_and_only_what_a_request_may_have() {
    let app = app(|_| {}).await;
    let body = json!({ "mappings": [mapping(1, 1)] }).to_string();
    for key in ["", "authorization: Bearer wrong\r\n"] {
        let refused = app.ask("POST", "/operator/directory/mappings", key, &body).await;
        assert_eq!(refused.status, 401, "{refused:?}");
    }
    let back_end = app.as_account(&did(1), "POST", "/operator/directory/mappings", &body).await;
    assert_eq!(back_end.status, 401, "{back_end:?}");
    assert_eq!(found(&app, 1).await, None);
    let many = json!({ "mappings": vec![mapping(1, 1); 1001] }).to_string();
    for (body, error) in [
        (many.as_str(), "mappings must have 1 to 1000 entries"),
        (r#"{"mappings":[]}"#, "mappings must have 1 to 1000 entries"),
        ("", "the body must be a JSON object"),
        ("[]", "the body must be a JSON object"),
        (r#"{"mappings":[{"identifier":"secret"}]}"#, "the body must be a JSON object"),
        (r#"{"mappings":[{"identifier":"a","account":"b","index":256}]}"#, "`index` (0 to 255)"),
        (r#"{"mappings":[{"identifier":"a","account":"b","secret":1}]}"#, "the body must be a JSON object"),
    ] {
        let refused = as_operator(&app, body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let told = refused.text("error");
        assert!(told.contains(error) && !told.contains("secret"), "{told}");
    }
    let large = format!(r#"{{"mappings":["{}"]}}"#, "a".repeat(9 * 1024 * 1024));
    assert_eq!(as_operator(&app, &large).await.status, 413);
    let none = app.restart_with(|config| config.directory.provider = String::new()).await;
    let refused = as_operator(&none, &body).await;
    assert_eq!((refused.status, refused.text("error").as_str()), (404, "this service has no directory"));
}
