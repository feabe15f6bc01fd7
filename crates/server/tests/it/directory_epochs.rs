//! The directory's keys on each store, met by the client library: refreshes, a new key in the background, and servers that
//! are not to be trusted.

use std::time::Duration;

use acquaint_client::Settings;
use acquaint_client::discovery::{
    Book, Caller, Directory, DiscoveryError, Profile, Refreshed, Trust, TrustError,
};
use acquaint_protocol::identifier::{Identifier, Sii};
use acquaint_server::config::Config;
use acquaint_testkit::{BACK_END_KEY, back_end, did, number};
use serde_json::json;

use super::App;

async fn app(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        back_end(config);
        config.directory.provider = "contacts.example".into();
        config.directory.former_epoch_hours = 1;
        config.lookups.guaranteed = 10_000;
        change(config);
    })
    .await
}

fn directory(app: &App, who: usize) -> Directory {
    let settings = Settings { api_key: BACK_END_KEY.into(), ..Settings::default() };
    Directory::new(&app.url, settings, Caller::BackEnd(did(who))).unwrap()
}

async fn enrol(app: &App, who: usize) -> String {
    let mut directory = directory(app, who);
    directory.start_verification(&number(who)).await.unwrap();
    let token = directory.confirm(&number(who), &app.code(&number(who))).await.unwrap().token;
    directory.enrol(&token, None).await.unwrap().id
}

fn sii(n: usize) -> Sii {
    Sii::from(&Identifier::parse(&number(n), None).unwrap())
}

fn siis(range: std::ops::Range<usize>) -> Vec<Sii> {
    range.map(sii).collect()
}

fn seconds(app: &App) -> u64 {
    u64::try_from(app.discovery().now() / 1000).unwrap()
}

async fn refresh(
    app: &App,
    book: &mut Book,
    people: &[Sii],
) -> std::result::Result<Refreshed, DiscoveryError> {
    // A client takes a new key once a week; here one comes at once.
    let trust = Trust { min_epoch_age_s: 0, ..Trust::default() };
    directory(app, 900).refresh(book, people, &trust, seconds(app)).await
}

/// Which of the first `n` people are found, by a book of its own.
async fn found(app: &App, n: usize) -> Vec<usize> {
    let mut book = Book::new(Profile::Sealed);
    refresh(app, &mut book, &siis(0..n)).await.unwrap();
    (0..n).filter(|who| book.found(&sii(*who)) == Some(&did(*who))).collect()
}

/// Waits until the directory publishes this epoch.
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

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_contacts_take_two_round_trips_and_a_refresh_only_what_is_due() {
    let app = app(|_| {}).await;
    for who in 0..3 {
        enrol(&app, who).await;
    }
    let people = siis(0..500);
    let mut book = Book::new(Profile::Sealed);
    let done = refresh(&app, &mut book, &people).await.unwrap();
    assert_eq!((done.asked, done.evaluated, done.round_trips), (500, 500, 2), "{done:?}");
    assert_eq!(people.iter().filter(|sii| book.found(sii).is_some()).count(), 3);
    let again = refresh(&app, &mut book, &people).await.unwrap();
    assert_eq!((again.asked, again.fresh, again.round_trips), (0, 500, 0), "{again:?}");
    app.clock.advance(Duration::from_secs(60 * 60));
    let more = refresh(&app, &mut book, &siis(0..510)).await.unwrap();
    assert_eq!((more.asked, more.evaluated, more.round_trips), (10, 10, 2), "{more:?}");
    // A day later buckets are fetched anew, and nothing is evaluated again: that would count as new identifiers.
    app.clock.advance(Duration::from_secs(23 * 60 * 60));
    let day = refresh(&app, &mut book, &siis(0..510)).await.unwrap();
    assert_eq!((day.asked, day.evaluated, day.round_trips), (500, 0, 1), "{day:?}");
    let quota = app.as_account(&did(900), "GET", "/v1/lookup/quota", "").await.json();
    assert!(quota["guaranteed"]["left"].as_u64() >= Some(10_000 - 510), "{quota}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_filled_published_and_the_old_one_destroyed() {
    let app = app(|_| {}).await;
    for who in 0..5 {
        enrol(&app, who).await;
    }
    let mut book = Book::new(Profile::Sealed);
    refresh(&app, &mut book, &siis(0..5)).await.unwrap();
    assert_eq!(app.discovery().rotate_directory("sealed-buckets").await.unwrap(), 2);
    published(&app, 2).await;
    assert_eq!(found(&app, 6).await, [0, 1, 2, 3, 4]);
    // A book of the epoch before goes on by itself.
    app.clock.advance(Duration::from_secs(60));
    refresh(&app, &mut book, &siis(0..7)).await.unwrap();
    // Who is listed or withdrawn now is so under both keys.
    let id = enrol(&app, 5).await;
    directory(&app, 0).withdraw_all().await.unwrap();
    assert_eq!(found(&app, 7).await, [1, 2, 3, 4, 5]);
    let rows = app.discovery().directory_epochs().unwrap();
    let counts: Vec<(u32, &str, u64)> =
        rows.iter().map(|epoch| (epoch.epoch, epoch.stage, epoch.listings)).collect();
    assert_eq!(counts, [(1, "former", 5), (2, "current", 5)]);
    let former = json!({ "epoch": 1, "layout": 1, "prefixes": [0] }).to_string();
    assert_eq!(app.as_account(&did(9), "POST", "/v1/directory/buckets", &former).await.status, 200);
    directory(&app, 5).withdraw(&id).await.unwrap();

    app.clock.advance(Duration::from_secs(60 * 60));
    for _ in 0..3000 {
        if app.discovery().directory_epochs().unwrap().len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = app.as_account(&did(9), "POST", "/v1/directory/buckets", &former).await;
    assert_eq!((refused.status, refused.text("code").as_str()), (409, "EPOCH_CHANGED"));
    assert_eq!(found(&app, 6).await, [1, 2, 3, 4]);
    let app = app.restart_with(|_| {}).await;
    assert_eq!(found(&app, 6).await, [1, 2, 3, 4], "and a restart reads it again");
    let log = app.discovery().audit_events(None, 1000).await.unwrap();
    let unsealed: Vec<u64> = log
        .iter()
        .filter(|event| event.kind == "directory.identifiers_unsealed")
        .filter_map(|event| event.details["identifiers"].as_u64())
        .collect();
    assert_eq!(unsealed, [5], "five identifiers were opened, for the new key");
    assert!(log.iter().any(|event| event.kind == "directory.key_made"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_budget_a_new_key_waits_and_the_old_one_answers() {
    let app = app(|config| {
        config.directory.unsealings = 1;
        config.directory.unsealings_per_day = 1;
    })
    .await;
    enrol(&app, 1).await;
    enrol(&app, 2).await;
    app.discovery().rotate_directory("sealed-buckets").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(found(&app, 3).await, [1, 2]);
    let stages: Vec<_> =
        app.discovery().directory_epochs().unwrap().iter().map(|epoch| epoch.stage).collect();
    assert_eq!(stages, ["current", "filling"]);
    assert!(app.discovery().rotate_directory("sealed-buckets").await.is_err(), "one at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_refuses_who_is_another_provider_or_has_another_key() {
    let one = app(|_| {}).await;
    // A start later the tests' randomness is another, and so are the keys.
    let named = |name: &'static str| move |config: &mut Config| config.directory.provider = name.into();
    let other = app(named("")).await.restart_with(named("contacts.example")).await;
    let mut book = Book::new(Profile::Sealed);
    let first = refresh(&one, &mut book, &siis(0..2)).await.unwrap();
    assert!(first.first_use.is_some(), "nothing but the first meeting speaks for the key");
    app_advances(&one);
    app_advances(&other);
    // The same name, another signing key.
    let refused = refresh(&other, &mut book, &siis(0..3)).await.unwrap_err();
    assert!(matches!(refused, DiscoveryError::Trust(TrustError::Parameters(_))), "{refused}");
    let renamed = app(named("other.example")).await;
    app_advances(&renamed);
    assert!(refresh(&renamed, &mut book, &siis(0..3)).await.is_err());
    // Parameters of a day ago are none.
    let mut late = directory(&one, 900);
    let trust = Trust::default();
    let tomorrow = seconds(&one) + 2 * 86_400;
    let refused = late.refresh(&mut book, &siis(5..6), &trust, tomorrow).await.unwrap_err();
    assert!(matches!(refused, DiscoveryError::Trust(TrustError::Parameters(_))), "{refused}");
}

fn app_advances(app: &App) {
    app.clock.advance(Duration::from_secs(1));
}
