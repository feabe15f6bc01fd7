//! The two meters of lookups, on each store: what is free, what is guaranteed, what is shared, and lost answers.

use std::time::Duration;

use acquaint_protocol::identifier::{AccountFormat, AccountId, Identifier, Sii};
use acquaint_server::config::Config;
use acquaint_service::{Bill, Caller, LookupError, Seeker};
use acquaint_testkit::{Answer, back_end, did, number};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::App;

async fn app(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        // Proofs of numbers are kept where credentials are.
        config.credentials.audiences = vec!["discovery:1".into()];
        // Small enough to be used up in a test; the rates stay.
        config.lookups.guaranteed = 5;
        config.lookups.guaranteed_per_day = 5;
        config.lookups.account = 20;
        config.lookups.queries = 100;
        config.lookups.queries_per_day = 100;
        change(config);
    })
    .await
}

fn caller(who: usize) -> Caller {
    let account = AccountId::parse(&did(who), AccountFormat::Did).unwrap();
    Caller { account, provider: "tests".into(), address: Some("198.51.100.7".parse().unwrap()) }
}

async fn seeker(app: &App, who: usize) -> Seeker {
    app.discovery().seeker(&caller(who)).await.unwrap()
}

/// An account that has verified a number.
async fn verified(app: &App, who: usize) -> Seeker {
    app.verify(&did(who), &number(who)).await;
    seeker(app, who).await
}

fn bill(identifiers: u32, queries: u32) -> Bill {
    Bill { identifiers, queries, request: None }
}

async fn fits(app: &App, seeker: &Seeker, bill: Bill) -> bool {
    match app.discovery().charge_lookup(seeker, bill).await {
        Ok(()) => true,
        Err(LookupError::RateLimited(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Guaranteed, beyond, and queries that are left.
async fn left(app: &App, seeker: &Seeker) -> (u32, Option<u32>, u32) {
    let quota = app.discovery().lookup_quota(seeker).await.unwrap();
    (quota.guaranteed.left, quota.identifiers.map(|meter| meter.left), quota.queries.left)
}

fn sii(n: usize) -> Sii {
    Sii::from(&Identifier::parse(&number(n), None).unwrap())
}

fn siis(from: usize, to: usize) -> Vec<Sii> {
    (from..to).map(sii).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_has_the_guaranteed_ones_and_verified_accounts_far_more() {
    let app = app(|_| {}).await;
    let (stranger, ada) = (seeker(&app, 1).await, verified(&app, 2).await);
    assert!(fits(&app, &stranger, bill(5, 0)).await && !fits(&app, &stranger, bill(1, 0)).await);
    assert_eq!(left(&app, &stranger).await, (0, None, 100));
    assert!(fits(&app, &ada, bill(5, 0)).await && fits(&app, &ada, bill(20, 0)).await);
    assert!(!fits(&app, &ada, bill(1, 0)).await);
    assert_eq!(left(&app, &ada).await, (0, Some(0), 100));
    // Six an hour come back: one in ten minutes, and none before.
    app.clock.advance(Duration::from_secs(599));
    assert!(!fits(&app, &ada, bill(1, 0)).await);
    app.clock.advance(Duration::from_secs(1));
    assert!(fits(&app, &ada, bill(1, 0)).await && !fits(&app, &ada, bill(1, 0)).await);
    app.clock.advance(Duration::from_secs(86_400));
    assert!(fits(&app, &stranger, bill(5, 0)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_proves_so_many_accounts_for_so_long_and_an_address_none() {
    let app = app(|config| {
        config.verification.emails = true;
        config.lookups.number_days = 10;
    })
    .await;
    let favoured = async |app: &App, who| left(app, &seeker(app, who).await).await.1.is_some();
    for who in 1..=3 {
        app.verify(&did(who), &number(1)).await;
    }
    assert!(favoured(&app, 1).await && favoured(&app, 2).await);
    assert!(
        !favoured(&app, 3).await,
        "a number makes two accounts such ones, and verifies a third all the same"
    );
    app.verify(&did(4), "ada@example.com").await;
    assert!(!favoured(&app, 4).await, "there is no end of addresses");
    // It lasts, also where no import follows, and another verification of the same account costs nothing.
    app.clock.advance(Duration::from_secs(6 * 86_400));
    let app = app.restart_with(|_| {}).await;
    assert!(favoured(&app, 1).await);
    app.verify(&did(1), &number(1)).await;
    app.clock.advance(Duration::from_secs(5 * 86_400));
    assert!(favoured(&app, 1).await && !favoured(&app, 2).await);
    // What the number has proved comes back with time.
    app.verify(&did(3), &number(1)).await;
    assert!(favoured(&app, 3).await);
    app.client.remove_data(&did(1)).await.unwrap();
    assert!(!favoured(&app, 1).await, "it goes with a removal");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_one_set_of_meters_by_session_and_by_credentials() {
    let app = App::start_with(|config| {
        back_end(config);
        config.credentials.audiences = vec!["discovery:1".into(), "other:2".into()];
    })
    .await;
    let path = "/v1/contact-discovery/credentials";
    let quota = "/v1/lookup/quota";
    let issued = app.as_account(&did(1), "GET", path, "").await.json();
    let basic = |issued: &serde_json::Value| {
        let both =
            format!("{}:{}", issued["username"].as_str().unwrap(), issued["password"].as_str().unwrap());
        format!("authorization: Basic {}\r\n", BASE64_STANDARD.encode(both))
    };
    let left = |answer: &Answer| answer.json()["guaranteed"]["left"].as_u64();
    let session = seeker(&app, 1).await;
    app.discovery().charge_lookup(&session, bill(7, 0)).await.unwrap();
    let by_credentials = app.ask("GET", quota, &basic(&issued), "").await;
    assert_eq!(left(&by_credentials), Some(43), "{by_credentials:?}");
    assert_eq!(left(&app.as_account(&did(1), "GET", quota, "").await), Some(43));
    // Another audience's credentials have no meters here: with each, somebody would have another set.
    let other = app.as_account(&did(1), "GET", &format!("{path}?audience=other"), "").await.json();
    assert_eq!(app.ask("GET", &format!("{quota}?audience=other"), &basic(&other), "").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_when_it_fits_and_charges_neither_meter() {
    let app = app(|_| {}).await;
    let ada = verified(&app, 1).await;
    assert!(fits(&app, &ada, bill(0, 99)).await);
    let refused = app.discovery().charge_lookup(&ada, bill(3, 2)).await;
    let Err(LookupError::RateLimited(limited)) = refused else { panic!("{refused:?}") };
    // A hundred queries a day: one in 864 seconds.
    assert_eq!(limited.retry_at, Some(app.discovery().now() + 864_000));
    assert_eq!(left(&app, &ada).await, (5, Some(20), 1), "identifiers were not charged");
    let events = app.discovery().audit_events(None, 100).await.unwrap();
    assert_eq!(events.last().map(|event| event.kind), Some("lookup.refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn guaranteed_ones_are_exempt_from_what_is_shared() {
    for change in [
        (|config: &mut Config| {
            config.lookups.prefix = 7;
            config.lookups.prefix_per_day = 7;
        }) as fn(&mut Config),
        |config| {
            config.lookups.provider = 7;
            config.lookups.provider_per_day = 7;
        },
        |config| {
            config.lookups.all = 7;
            config.lookups.all_per_day = 7;
        },
    ] {
        let app = app(change).await;
        let (ada, bob) = (verified(&app, 1).await, verified(&app, 2).await);
        assert!(fits(&app, &ada, bill(5, 0)).await, "guaranteed");
        assert!(fits(&app, &ada, bill(7, 0)).await, "takes all that is shared");
        assert!(!fits(&app, &bob, bill(6, 0)).await, "more than is guaranteed to him");
        assert!(fits(&app, &bob, bill(5, 0)).await, "what is guaranteed nobody takes away");
        assert_eq!(left(&app, &bob).await.1, Some(20), "a refusal took nothing of his own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_is_free_and_another_under_its_id_is_refused() {
    let app = app(|_| {}).await;
    let (ada, bob) = (seeker(&app, 1).await, seeker(&app, 2).await);
    let asked = |digest| Bill { identifiers: 3, queries: 10, request: Some(([1; 16], [digest; 32])) };
    assert!(fits(&app, &ada, asked(1)).await);
    // The answer was lost; several servers may be asked at once.
    for _ in 0..3 {
        assert!(fits(&app, &ada, asked(1)).await);
    }
    assert_eq!(left(&app, &ada).await, (2, None, 90));
    let other = app.discovery().charge_lookup(&ada, asked(2)).await;
    assert!(matches!(other, Err(LookupError::OtherRequest)), "{other:?}");
    assert!(fits(&app, &bob, asked(2)).await, "ids are an account's own");
    assert_eq!(left(&app, &bob).await, (2, None, 90));
    let app = app.restart_with(|_| {}).await;
    let ada = seeker(&app, 1).await;
    assert!(fits(&app, &ada, asked(1)).await);
    assert_eq!(left(&app, &ada).await, (2, None, 90), "also after a restart");
    app.clock.advance(Duration::from_secs(86_401));
    assert!(fits(&app, &ada, asked(1)).await);
    assert_eq!(left(&app, &ada).await.0, 2, "it is charged again when its time is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_that_a_receipt_says_are_paid_for_are_free() {
    let app = app(|_| {}).await;
    let ada = seeker(&app, 1).await;
    let discovery = app.discovery();
    let pay = async |paid: &[Sii], receipt: Option<&str>, asked: &[Sii], request: u8| {
        discovery.charge_identifiers(&ada, (paid, receipt), asked, [request; 16]).await
    };
    let first = pay(&[], None, &siis(0, 3), 1).await.unwrap();
    assert_eq!(left(&app, &ada).await.0, 2);
    // A lost answer: the same request, and a receipt as good as the first.
    let again = pay(&[], None, &siis(0, 3), 1).await.unwrap();
    assert_eq!(left(&app, &ada).await.0, 2);
    for (receipt, request) in [(&first, 2), (&again, 3)] {
        pay(&siis(0, 3), Some(receipt), &siis(0, 3), request).await.unwrap();
    }
    assert_eq!(left(&app, &ada).await.0, 2, "all were paid for");
    // In any order, and each once.
    let mut mixed = siis(0, 3);
    mixed.reverse();
    mixed.extend(siis(0, 1));
    let more = pay(&mixed, Some(&first), &siis(2, 5), 4).await.unwrap();
    assert_eq!(left(&app, &ada).await.0, 0, "two were new");
    pay(&siis(0, 5), Some(&more), &siis(0, 5), 5).await.unwrap();
    assert!(matches!(pay(&siis(0, 5), Some(&more), &siis(5, 6), 6).await, Err(LookupError::RateLimited(_))));
    // Not for other identifiers, not for another account, not made up.
    let bob = seeker(&app, 2).await;
    let of_bob = discovery.charge_identifiers(&bob, (&siis(0, 3), Some(&first)), &[], [7; 16]).await;
    assert!(matches!(of_bob, Err(LookupError::InvalidReceipt)));
    for (paid, receipt) in [
        (siis(0, 4), Some(first.as_str())),
        (siis(0, 2), Some(first.as_str())),
        (siis(0, 3), Some("")),
        (siis(0, 3), Some("cheese")),
        (siis(0, 3), Some("not base64!")),
        (siis(0, 3), None),
    ] {
        let outcome = pay(&paid, receipt, &siis(0, 1), 8).await;
        assert!(matches!(outcome, Err(LookupError::InvalidReceipt)), "{outcome:?}");
    }
    assert_eq!(left(&app, &bob).await.0, 5);
    // Neither the receipts nor what is stored of them show an identifier.
    let rows: Vec<u8> = app.rows().into_values().flatten().flatten().collect();
    for n in 0..6 {
        assert!(!acquaint_testkit::holds(&rows, number(n).as_bytes()));
        assert!(!acquaint_testkit::holds(more.as_bytes(), number(n).as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_by_many_accounts_gets_what_the_meters_say_and_no_more() {
    let app = app(|config| {
        config.lookups.prefix = 50;
        config.lookups.prefix_per_day = 0;
    })
    .await;
    let mut got = 0;
    for who in 1..=12 {
        let thief = verified(&app, who).await;
        while fits(&app, &thief, bill(1, 1)).await {
            got += 1;
        }
    }
    println!("twelve accounts of one address prefix looked {got} identifiers up in one go");
    assert_eq!(got, 12 * 5 + 50, "each what is guaranteed, and together what their prefix has");
}
