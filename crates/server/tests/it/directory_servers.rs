//! The directory with several servers on one PostgreSQL: who is withdrawn is gone everywhere within a minute, and a server
//! that cannot know does not answer.

use std::time::Duration;

use acquaint_client::Settings;
use acquaint_client::discovery::{Book, Caller, Directory, Profile, Trust};
use acquaint_protocol::identifier::{Identifier, Sii};
use acquaint_server::config::Config;
use acquaint_testkit::{BACK_END_KEY, PostgresApp, back_end, did, number};

fn configure(config: &mut Config) {
    back_end(config);
    config.directory.provider = "contacts.example".into();
    config.directory.candidates = 2;
    config.lookups.guaranteed = 10_000;
}

fn directory(app: &PostgresApp, who: usize) -> Directory {
    let settings = Settings { api_key: BACK_END_KEY.into(), ..Settings::default() };
    Directory::new(&app.url, settings, Caller::BackEnd(did(who))).unwrap()
}

async fn enrol(app: &PostgresApp, who: usize) {
    let mut directory = directory(app, who);
    directory.start_verification(&number(who)).await.unwrap();
    let token = directory.confirm(&number(who), &app.code(&number(who))).await.unwrap().token;
    directory.enrol(&token, None).await.unwrap();
}

async fn found(app: &PostgresApp, n: usize) -> Result<Vec<usize>, String> {
    let sii = |who: usize| Sii::from(&Identifier::parse(&number(who), None).unwrap());
    let people: Vec<Sii> = (0..n).map(sii).collect();
    let mut book = Book::new(Profile::Sealed);
    let now = u64::try_from(app.discovery().now() / 1000).unwrap();
    // A small directory with small buckets.
    let trust = Trust { min_slots: 0, ..Trust::default() };
    directory(app, 900).refresh(&mut book, &people, &trust, now).await.map_err(|error| error.to_string())?;
    Ok((0..n).filter(|who| book.found(&sii(*who)) == Some(&did(*who))).collect())
}

/// Waits until a server finds just these: it looks every second.
async fn finds(app: &PostgresApp, n: usize, wanted: &[usize]) {
    let mut last = Ok(Vec::new());
    for _ in 0..200 {
        last = found(app, n).await;
        if last.as_deref() == Ok(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{last:?} in place of {wanted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_have_the_same_keys_layouts_and_listings() {
    let one = PostgresApp::start_with(configure).await;
    let other = one.another(configure).await;
    for who in 0..8 {
        enrol(if who % 2 == 0 { &one } else { &other }, who).await;
    }
    finds(&one, 9, &[0, 1, 2, 3, 4, 5, 6, 7]).await;
    finds(&other, 9, &[0, 1, 2, 3, 4, 5, 6, 7]).await;
    directory(&one, 3).withdraw_all().await.unwrap();
    assert_eq!(found(&one, 9).await.unwrap(), [0, 1, 2, 4, 5, 6, 7], "here at once");
    finds(&other, 9, &[0, 1, 2, 4, 5, 6, 7]).await;
    // The same bytes from both, filling too: else several answers would tell what is filling.
    let ask = async |app: &PostgresApp| {
        let told = app.ask("GET", "/v1/directory/parameters", "", "").await.json();
        let body = format!("{{\"epoch\":1,\"layout\":{},\"prefixes\":[0,1]}}", told["layout"]);
        let answer = app.as_account(&did(901), "POST", "/v1/directory/buckets", &body).await;
        (answer.status, answer.body)
    };
    let mut same = false;
    for _ in 0..200 {
        let (mine, others) = (ask(&one).await, ask(&other).await);
        same = mine.0 == 200 && mine == others;
        if same {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(same, "two servers answer with different bytes");
    // A new key, made at one, is published by both.
    assert_eq!(one.discovery().rotate_directory("sealed-buckets").await.unwrap(), 2);
    for app in [&one, &other] {
        let mut epoch = 0;
        for _ in 0..300 {
            epoch = app.ask("GET", "/v1/directory/parameters", "", "").await.json()["epoch"]
                .as_u64()
                .unwrap_or(0);
            if epoch == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(epoch, 2);
        finds(app, 9, &[0, 1, 2, 4, 5, 6, 7]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_know_of_withdrawals_does_not_answer() {
    let app = PostgresApp::start_with(configure).await;
    enrol(&app, 1).await;
    let parameters = app.ask("GET", "/v1/directory/parameters", "", "").await;
    assert_eq!(parameters.header("cache-control"), Some("public, max-age=30"));
    app.lose_database();
    assert_eq!(
        app.ask("GET", "/v1/directory/parameters", "", "").await.status,
        200,
        "what was known a moment ago"
    );
    app.clock.advance(Duration::from_secs(26));
    let refused = app.ask("GET", "/v1/directory/parameters", "", "").await;
    assert_eq!((refused.status, refused.text("code").as_str()), (503, "CONTACT_DISCOVERY_UNAVAILABLE"));
    let buckets = "{\"epoch\":1,\"layout\":1,\"prefixes\":[0]}";
    let refused = app.as_account(&did(901), "POST", "/v1/directory/buckets", buckets).await;
    assert_eq!((refused.status, refused.text("code").as_str()), (503, "CONTACT_DISCOVERY_UNAVAILABLE"));
    // A clock that is set back makes nothing fresh.
    app.clock.turn_back(Duration::from_secs(60 * 60));
    assert_eq!(app.ask("GET", "/v1/directory/parameters", "", "").await.status, 503);
}

/// A server that has not met a new key yet lists people under it all the same: nobody fills an index that is published.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_listed_by_a_server_that_lags_is_found_under_a_new_key() {
    let one = PostgresApp::start_with(configure).await;
    let other = one.another(configure).await;
    enrol(&one, 1).await;
    let mut lagging = directory(&other, 2);
    lagging.start_verification(&number(2)).await.unwrap();
    let token = lagging.confirm(&number(2), &other.code(&number(2))).await.unwrap().token;
    assert_eq!(one.discovery().rotate_directory("sealed-buckets").await.unwrap(), 2);
    for _ in 0..500 {
        if one.ask("GET", "/v1/directory/parameters", "", "").await.json()["epoch"] == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lagging.enrol(&token, None).await.unwrap();
    assert_eq!(one.ask("GET", "/v1/directory/parameters", "", "").await.json()["epoch"], 2);
    finds(&one, 3, &[1, 2]).await;
}
