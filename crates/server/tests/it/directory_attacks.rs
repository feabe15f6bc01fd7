//! The directory attacked: enumeration at the default quotas in both profiles, a stolen database, and the sizes of answers.
//! What an attack gets is told on standard output and held against what the threat model states.

use std::collections::BTreeSet;
use std::time::Duration;

use acquaint_client::Settings;
use acquaint_client::discovery::{Book, Caller, Directory, DiscoveryError, Profile, Trust};
use acquaint_protocol::bucket::weak::{Strong, WeakLength};
use acquaint_protocol::identifier::{Identifier, Sii};
use acquaint_server::config::Config;
use acquaint_testkit::{Answer, App, BACK_END_KEY, back_end, did, holds, number, own_tokens};
use serde_json::json;

/// People 0 to 99 are listed; the attacker has accounts from 9000 on.
const PEOPLE: usize = 100;
const ATTACKER: usize = 9000;
const HOUR: Duration = Duration::from_secs(60 * 60);

async fn app(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        back_end(config);
        config.directory.provider = "contacts.example".into();
        change(config);
    })
    .await
}

fn directory(app: &App, who: usize) -> Directory {
    let settings = Settings { api_key: BACK_END_KEY.into(), ..Settings::default() };
    Directory::new(&app.url, settings, Caller::BackEnd(did(who))).unwrap()
}

async fn enrol(app: &App, who: usize, username: Option<&str>) {
    let mut directory = directory(app, who);
    directory.start_verification(&number(who)).await.unwrap();
    let token = directory.confirm(&number(who), &app.code(&number(who))).await.unwrap().token;
    directory.enrol(&token, username).await.unwrap();
}

fn sii(n: usize) -> Sii {
    Sii::from(&Identifier::parse(&number(n), None).unwrap())
}

/// Looks these up in requests of `step`, until a quota refuses. How many were tried, and found.
async fn enumerate(app: &App, who: usize, numbers: &[Sii], step: usize) -> (usize, usize) {
    let (mut found, mut tried) = (0, 0);
    let now = u64::try_from(app.discovery().now() / 1000).unwrap();
    let mut attacker = directory(app, who);
    for some in numbers.chunks(step) {
        let mut book = Book::new(Profile::Sealed);
        match attacker.refresh(&mut book, some, &Trust::default(), now).await {
            Ok(_) => {
                tried += some.len();
                found += some.iter().filter(|sii| book.found(sii).is_some()).count();
            }
            Err(DiscoveryError::Call(error)) => {
                assert!(error.to_string().contains("quota"), "{error}");
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (tried, found)
}

/// Seed 003's threat in the sealed profile: a list of numbers, tried one by one with accounts of no verified number, at the
/// default quotas.
#[tokio::test(flavor = "multi_thread")]
async fn enumeration_of_sealed_buckets_gets_what_the_quota_allows_and_no_more() {
    let app = app(|_| {}).await;
    for who in 0..PEOPLE {
        enrol(&app, who, None).await;
    }
    let numbers: Vec<Sii> = (0..1000).map(sii).collect();
    let (tried, found) = enumerate(&app, ATTACKER, &numbers, 50).await;
    assert_eq!((tried, found), (50, 50), "the guaranteed ones, all of which are listed");
    app.clock.advance(HOUR);
    let (later, _) = enumerate(&app, ATTACKER, &numbers[50..], 1).await;
    assert!((2..=3).contains(&later), "two an hour come back: {later}");
    println!(
        "sealed-buckets, an account of no verified number: {tried} numbers at once, {later} in the next hour"
    );
    // A bucket alone tells nothing: without evaluations no entry of the whole directory is opened.
    let told = app.ask("GET", "/v1/directory/parameters", "", "").await.json();
    let all = json!({ "epoch": 1, "layout": told["layout"], "prefixes": [0] }).to_string();
    let whole = app.as_account(&did(ATTACKER + 1), "POST", "/v1/directory/buckets", &all).await;
    assert_eq!(whole.status, 200);
    for who in 0..PEOPLE {
        assert!(!holds(&whole.body, did(who).as_bytes()), "an account stands in a bucket in clear");
    }
    println!("sealed-buckets, every bucket fetched: {} bytes, 0 entries opened", whole.body.len());
}

/// The same with an account that has verified a number, at the default quotas. Whoever has the whole directory, which is a
/// matter of minutes, tries a number with each evaluation: so it is evaluations that count.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_a_number_tries_fifty_thousand_once() {
    let app = app(|_| {}).await;
    enrol(&app, 1, None).await;
    // RFC 9496's generator: what is evaluated does not matter to a quota.
    let element = "4vKuCmq8TnGohKlhxQBRX1jjC2qlgt2NtqZZReCNLXY";
    let ask = async |count: usize| {
        let body = json!({ "epoch": 1, "elements": vec![element; count] }).to_string();
        let answer = app.as_account(&did(1), "POST", "/v1/directory/oprf", &body).await;
        assert!(answer.status == 200 || answer.status == 429, "{answer:?}");
        answer.status == 200
    };
    let spend = async || {
        let mut tried = 0;
        for step in [1_000, 50, 1] {
            while ask(step).await {
                tried += step;
            }
        }
        tried
    };
    assert_eq!(spend().await, 50_050);
    app.clock.advance(HOUR);
    let later = spend().await;
    assert!((8..=9).contains(&later), "144 and 50 a day come back: {later}");
    println!(
        "sealed-buckets, an account with a verified number: 50050 numbers at once, {later} in the next hour"
    );
}

async fn weak(app: &App, who: usize, hashes: &[String]) -> Answer {
    let headers = format!("x-auth-token: {}\r\nx-user-id: {}\r\n", app.own_token(&did(who)), did(who));
    let body = json!({ "weakHashes": hashes }).to_string();
    app.ask("POST", "/api/v1/query.contacts", &headers, &body).await
}

/// Seed 003 as it is written: all weak hashes in turn. The attack works, as fast as the quota lets it; the test says how
/// fast, and that what comes back is the number.
#[tokio::test(flavor = "multi_thread")]
async fn enumeration_of_weak_hashes_gets_the_directory_at_the_speed_of_the_quota() {
    let app = app(|config| {
        own_tokens(config);
        config.rocketchat.enabled = true;
        config.rocketchat.digits = 4;
    })
    .await;
    for who in 0..PEOPLE {
        enrol(&app, who, Some(&format!("user{who}"))).await;
    }
    let all: Vec<String> = (0..65_536).map(|n| format!("{n:04x}")).collect();
    let refused = weak(&app, ATTACKER, &all).await;
    assert_eq!(refused.status, 400, "65,536 in one list: {refused:?}");
    let mut asked = 0;
    let mut strong = BTreeSet::new();
    for some in all.chunks(1_000) {
        let answer = weak(&app, ATTACKER, some).await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        asked += some.len();
        let entries = answer.json()["strongHashes"].as_array().unwrap().clone();
        strong.extend(entries.iter().map(|entry| entry["h"].as_str().unwrap().to_owned()));
    }
    assert_eq!(asked, 2_000, "the default quota");
    // What was got is reversed by trying numbers: a fast hash of a number is the number.
    let reversed = (0..1000).filter(|n| strong.contains(&Strong::of(&sii(*n)).hex())).count();
    assert_eq!(reversed, strong.len());
    let expected = (0..PEOPLE)
        .filter(|who| {
            let weak = Strong::of(&sii(*who)).weak(WeakLength::Four);
            weak.value() < 2_000
        })
        .count();
    assert_eq!(strong.len(), expected);
    app.clock.advance(HOUR);
    let mut later = 0;
    while weak(&app, ATTACKER, &all[asked + later..=asked + later]).await.status == 200 {
        later += 1;
    }
    assert!((40..=42).contains(&later), "1,000 a day come back: {later}");
    println!(
        "rocketchat, 4 digits: {asked} of 65,536 prefixes at once ({:.1} % of the directory), {later} in the next hour; \
         {} of {PEOPLE} entries, all reversed to numbers; one account has all in {} days",
        asked as f64 / 655.36,
        strong.len(),
        (65_536 - 2_000) / 1_000 + 1
    );
}

/// A stolen database: no number, no address, no account, no name; and what it has cannot be opened by somebody who knows the
/// number.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_database_names_nobody() {
    let app = app(|_| {}).await;
    for who in 0..5 {
        enrol(&app, who, Some(&format!("countess{who}"))).await;
    }
    let bytes = app.database_bytes();
    for who in 0..5 {
        let digits = number(who);
        for clear in [digits.trim_start_matches('+'), &did(who), &format!("countess{who}")] {
            assert!(!holds(&bytes, clear.as_bytes()), "{clear} stands in the database");
        }
        let strong = Strong::of(&sii(who));
        assert!(!holds(&bytes, strong.as_bytes()) && !holds(&bytes, strong.hex().as_bytes()), "a fast hash");
    }
}

/// Counting bytes: what is answered to somebody whose friends are all there, and to somebody who has none.
#[tokio::test(flavor = "multi_thread")]
async fn answers_do_not_tell_how_many_are_found_by_their_size() {
    let app = app(|config| config.directory.candidates = 4).await;
    for who in 0..20 {
        enrol(&app, who, None).await;
    }
    let mut bits = 0;
    for _ in 0..1000 {
        bits = app.ask("GET", "/v1/directory/parameters", "", "").await.json()["prefix_bits"]
            .as_u64()
            .unwrap_or(0);
        if bits == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bits, 2, "20 listings and 4 candidates");
    let now = u64::try_from(app.discovery().now() / 1000).unwrap();
    let mut sizes = BTreeSet::new();
    for range in [0..20, 500..520] {
        let people: Vec<Sii> = range.map(sii).collect();
        let mut book = Book::new(Profile::Sealed);
        let mut attacker = directory(&app, ATTACKER);
        let done = attacker
            .refresh(&mut book, &people, &Trust { min_slots: 0, ..Trust::default() }, now)
            .await
            .unwrap();
        sizes.insert((done.sent, done.received));
    }
    assert_eq!(sizes.len(), 1, "{sizes:?}");
}
