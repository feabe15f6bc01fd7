//! Identifiers that map to several accounts.

use std::time::Duration;

use acquaint_client::Settings;
use acquaint_client::discovery::{Book, Caller, Directory, Listing, Profile, Trust};
use acquaint_protocol::identifier::{Identifier, Sii};
use acquaint_server::config::Config;
use acquaint_testkit::{BACK_END_KEY, back_end, did, number};
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
