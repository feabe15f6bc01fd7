//! E-mail addresses, and accounts with several identifiers.

use std::time::Duration;

use acquaint_client::Found;
use acquaint_server::config::Config;
use acquaint_testkit::{App, did, holds, number};

use crate::reason;

const ADA: &str = "ada@example.com";

fn with_emails(config: &mut Config) {
    config.verification.emails = true;
}

fn found(input_index: usize, who: usize) -> Found {
    Found { input_index, subject: did(who) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_verified_imported_and_matched() {
    let app = App::start_with(with_emails).await;
    assert_eq!(app.import(&did(1), ADA, &["x@y", "Bob@Example.com", "bob@example.com"]).await, []);
    // Written otherwise, an address is the same one.
    let matches = app.import(&did(2), "BOB@example.com", &[&number(5), "mailto:ada@EXAMPLE.com"]).await;
    assert_eq!(matches, [found(1, 1)]);
    assert_eq!(app.matches(&did(1)).await, [did(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_not_taken_unless_enabled() {
    let app = App::start().await;
    assert_eq!(reason(app.client.start_verification(&did(1), ADA).await), "INVALID_PHONE");
    assert_eq!(reason(app.client.verify(&did(1), ADA, "123456").await), "INVALID_PHONE");
    let app = app.restart_with(with_emails).await;
    app.import(&did(1), ADA, &[&number(2)]).await;
    let app = app.restart_with(|config| config.verification.emails = false).await;
    assert_eq!(app.import(&did(2), &number(2), &[ADA]).await, [], "it is skipped in an address book");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_pairs_every_own_identifier_with_every_contact() {
    let app = App::start_with(with_emails).await;
    // 2 knows 1 by its number, 3 knows it by its address, 4 by neither.
    app.import(&did(2), &number(2), &[&number(1)]).await;
    app.import(&did(3), "cy@example.com", &[ADA]).await;
    app.import(&did(4), &number(4), &["other@example.com"]).await;
    app.verify(&did(1), &number(1)).await;
    let token = app.verify(&did(1), ADA).await;
    let contacts = [number(9), number(2), "cy@example.com".into(), number(4), ADA.into(), number(1)];
    let matches = app.client.import(&did(1), &token, contacts.to_vec()).await.unwrap();
    assert_eq!(matches, [found(1, 2), found(2, 3)]);
    app.settle().await;
    assert_eq!(app.matches(&did(2)).await, [did(1)]);
    assert_eq!(app.matches(&did(3)).await, [did(1)]);
    assert_eq!(app.matches(&did(4)).await, [""; 0]);
    // Six pairs with four contacts: two halves have gone into matches for each own identifier.
    let removed = app.client.remove_data(&did(1)).await.unwrap();
    assert_eq!((removed.contacts, removed.matches), (8, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_contact_known_by_both_is_told_once() {
    let app = App::start_with(with_emails).await;
    app.verify(&did(1), &number(1)).await;
    let token = app.verify(&did(1), ADA).await;
    app.client.import(&did(1), &token, vec![number(2)]).await.unwrap();
    app.settle().await;
    assert_eq!(app.import(&did(2), &number(2), &[&number(1), ADA]).await, [found(0, 1), found(1, 1)]);
    app.verify(&did(1), &number(1)).await;
    let token = app.verify(&did(1), ADA).await;
    let again = app.client.import(&did(1), &token, vec![number(2)]).await.unwrap();
    assert_eq!(again, [found(0, 2)]);
    assert_eq!(app.matches(&did(1)).await, [did(2)]);
    assert_eq!(app.client.sync_status(&did(1)).await.unwrap().unwrap().matches, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_takes_the_tokens_of_all_that_it_pairs() {
    let app = App::start_with(with_emails).await;
    let first = app.verify(&did(1), &number(1)).await;
    let second = app.verify(&did(1), ADA).await;
    assert_eq!(reason(app.client.import(&did(1), &second, vec![]).await), "INVALID_CONTACTS");
    app.client.import(&did(1), &second, vec![number(2)]).await.unwrap();
    app.settle().await;
    for used in [first, second] {
        assert_eq!(reason(app.client.import(&did(1), &used, vec![number(2)]).await), "INVALID_TOKEN");
    }
    // Two tokens for one identifier: each is for one import.
    let first = app.verify(&did(1), &number(1)).await;
    let second = app.verify(&did(1), &number(1)).await;
    for token in [first, second] {
        app.client.import(&did(1), &token, vec![number(3)]).await.unwrap();
        app.settle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_verified_too_long_ago_is_not_paired() {
    let app = App::start_with(with_emails).await;
    app.import(&did(2), &number(2), &[&number(1)]).await;
    app.verify(&did(1), &number(1)).await;
    app.clock.advance(Duration::from_secs(601));
    let token = app.verify(&did(1), ADA).await;
    assert_eq!(app.client.import(&did(1), &token, vec![number(2)]).await.unwrap(), []);
    // Nor another account's.
    app.verify(&did(3), &number(1)).await;
    app.settle().await;
    let token = app.verify(&did(1), ADA).await;
    assert_eq!(app.client.import(&did(1), &token, vec![number(2)]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_count_every_pair() {
    let app = App::start_with(|config| {
        with_emails(config);
        config.import.account_pairs = 4;
        config.import.account_pairs_per_day = 0;
    })
    .await;
    app.verify(&did(1), &number(1)).await;
    let token = app.verify(&did(1), ADA).await;
    app.client.import(&did(1), &token, vec![number(2), number(3)]).await.unwrap();
    app.settle().await;
    let token = app.verify(&did(1), ADA).await;
    let refused = app.client.import(&did(1), &token, vec![number(4)]).await;
    assert_eq!(reason(refused), "RATE_LIMIT_EXCEEDED", "two contacts were four pairs");
    assert_eq!(app.client.remove_data(&did(1)).await.unwrap().contacts, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_can_be_read_in_the_database_or_a_token() {
    let app = App::start_with(with_emails).await;
    let token = app.verify(&did(1), ADA).await;
    assert!(holds(&app.database_bytes(), b"CREATE TABLE"), "the search finds what is there");
    let look = |app: &App| {
        for part in ["ada@example", "ada@EXAMPLE", "bob@example"] {
            assert!(!holds(&app.database_bytes(), part.as_bytes()), "{part}");
        }
    };
    look(&app);
    assert!(token.len() < 200, "a token has no room for an address: {}", token.len());
    app.client.import(&did(1), &token, vec!["bob@example.com".into()]).await.unwrap();
    look(&app);
    app.settle().await;
    look(&app);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_half_rests_on_the_verification_of_its_own_identifier() {
    let app = App::start_with(|config| {
        with_emails(config);
        config.import.pair_ttl_days = 1;
    })
    .await;
    app.verify(&did(1), &number(1)).await;
    app.clock.advance(Duration::from_secs(540));
    let token = app.verify(&did(1), ADA).await;
    // Both are in one step's reach.
    app.client.import(&did(1), &token, (10..30).map(number).collect()).await.unwrap();
    app.settle().await;
    app.clock.advance(Duration::from_secs(24 * 60 * 60 - 480));
    assert_eq!(app.import(&did(3), &number(11), &[&number(1)]).await, [], "a day after the number's");
    assert_eq!(app.import(&did(2), &number(10), &[ADA]).await, [found(0, 1)], "a day after, less a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_identifier_does_not_stand_in_the_way() {
    let app = App::start_with(|config| {
        with_emails(config);
        config.import.number_pairs = 3;
        config.import.number_pairs_per_day = 0;
    })
    .await;
    app.import(&did(2), &number(2), &[&number(1)]).await;
    // Another account has used up what can be asked about the number.
    app.import(&did(3), &number(1), &[&number(7), &number(8), &number(9)]).await;
    app.verify(&did(1), &number(1)).await;
    let token = app.verify(&did(1), ADA).await;
    let contacts = vec![number(2), number(4)];
    assert_eq!(
        app.client.import(&did(1), &token, contacts.clone()).await.unwrap(),
        [],
        "with the address alone"
    );
    app.settle().await;
    let token = app.verify(&did(1), &number(1)).await;
    assert_eq!(reason(app.client.import(&did(1), &token, contacts).await), "RATE_LIMIT_EXCEEDED");
}
