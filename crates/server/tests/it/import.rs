//! Imports: positions, quotas, the deadline, restarts. Walkthrough 2.

use std::time::Duration;

use acquaint_testkit::{did, number};

use super::App;
use crate::reason;

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(number).collect()
}

/// A contact for each of `range` that has account 0's number and is in nobody else's book.
async fn friends_of_zero(app: &App, range: std::ops::Range<usize>) {
    for n in range {
        app.import(&did(n), &number(n), &[&number(0)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_those_of_the_list_as_sent() {
    let app = App::start().await;
    friends_of_zero(&app, 1..4).await;
    let own = number(0);
    let contacts = [
        "not a number",
        &own,
        &number(2),
        "",
        "+1 (212) 555-0102",
        "112",
        &number(50),
        "tel:+1-212-555-0101",
        "alice@example.com",
        "\u{ff0b}\u{ff11}2125550103",
    ];
    let found = app.import(&did(0), &number(0), &contacts).await;
    let found: Vec<_> = found.into_iter().map(|found| (found.input_index, found.subject)).collect();
    assert_eq!(found, [(2, did(2)), (7, did(1)), (9, did(3))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_a_thousand_contacts_are_accepted_and_a_refusal_does_not_burn_the_token() {
    let app = App::start().await;
    let token = app.verify(&did(0), &number(0)).await;
    assert_eq!(reason(app.client.import(&did(0), &token, vec![]).await), "INVALID_CONTACTS");
    assert_eq!(reason(app.client.import(&did(0), &token, vec![number(1); 1001]).await), "TOO_MANY_CONTACTS");
    assert!(app.client.sync_status(&did(0)).await.unwrap().is_none());
    app.client.import(&did(0), &token, numbers(0..1000)).await.unwrap();
    app.settle().await;
    assert_eq!(app.client.remove_data(&did(0)).await.unwrap().contacts, 999, "all but the own number");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_nothing_usable_is_an_import_all_the_same() {
    let app = App::start().await;
    assert!(app.import(&did(0), &number(0), &["", "x", &number(0)]).await.is_empty());
    let status = app.client.sync_status(&did(0)).await.unwrap().unwrap();
    assert_eq!((status.synced_at, status.matches), (1_767_225_600, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_counts_distinct_pairs_and_refills() {
    let app = App::start_with(|config| {
        config.import.account_pairs = 10;
        config.import.account_pairs_per_day = 2;
    })
    .await;
    let import = async |contacts: Vec<String>| {
        let token = app.verify(&did(0), &number(0)).await;
        let outcome = app.client.import(&did(0), &token, contacts).await;
        app.settle().await;
        outcome
    };
    import(numbers(1..9)).await.unwrap();
    // What the account holds already is given back: again and again the same book costs nothing.
    for _ in 0..3 {
        import(numbers(1..3)).await.unwrap();
    }
    assert_eq!(reason(import(numbers(20..23)).await), "RATE_LIMIT_EXCEEDED");
    import(numbers(20..22)).await.unwrap();
    assert_eq!(reason(import(numbers(30..31)).await), "RATE_LIMIT_EXCEEDED");
    // Removal keeps what was spent.
    app.client.remove_data(&did(0)).await.unwrap();
    assert_eq!(reason(import(numbers(30..31)).await), "RATE_LIMIT_EXCEEDED");
    app.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(reason(import(numbers(30..33)).await), "RATE_LIMIT_EXCEEDED");
    import(numbers(30..32)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_of_a_number_holds_across_accounts() {
    let app = App::start_with(|config| config.import.number_pairs = 10).await;
    app.import(&did(0), &number(0), &numbers(1..9).iter().map(String::as_str).collect::<Vec<_>>()).await;
    let token = app.verify(&did(1), &number(0)).await;
    let outcome = app.client.import(&did(1), &token, numbers(10..13)).await;
    assert_eq!(reason(outcome), "RATE_LIMIT_EXCEEDED", "the same number with a fresh account");
    app.client.import(&did(1), &token, numbers(10..12)).await.unwrap();
}

/// A pool that takes long enough for what must happen while an import runs.
async fn slow_app(change: impl FnOnce(&mut acquaint_server::config::Config)) -> App {
    App::start_with(|config| {
        config.keys.suite = "hard".into();
        config.pool.threads = 1;
        config.import.deadline_ms = 20;
        change(config);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_comes_at_the_deadline_and_the_rest_through_get_matches() {
    let app = slow_app(|_| {}).await;
    friends_of_zero(&app, 60..62).await;
    let token = app.verify(&did(0), &number(0)).await;
    let found = app.client.import(&did(0), &token, numbers(1..62)).await.unwrap();
    assert!(found.is_empty(), "the friends are at the end of the list");
    assert!(app.discovery().waiting_pairs().await.unwrap() > 0, "the import goes on");
    // Meanwhile the account and the number may not begin another one, and the token stays good.
    let token = app.verify(&did(0), &number(0)).await;
    assert_eq!(reason(app.client.import(&did(0), &token, numbers(1..3)).await), "RATE_LIMIT_EXCEEDED");
    let same_number = app.verify(&did(1), &number(0)).await;
    assert_eq!(reason(app.client.import(&did(1), &same_number, numbers(1..3)).await), "RATE_LIMIT_EXCEEDED");
    app.settle().await;
    let mut matches = app.matches(&did(0)).await;
    matches.sort();
    assert_eq!(matches, [did(60), did(61)]);
    app.client.import(&did(0), &token, numbers(1..3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_refused_while_too_much_waits() {
    let app = slow_app(|config| config.import.max_queue_wait_s = 1).await;
    let first = app.verify(&did(0), &number(0)).await;
    app.client.import(&did(0), &first, numbers(1..100)).await.unwrap();
    let second = app.verify(&did(1), &number(1)).await;
    assert_eq!(reason(app.client.import(&did(1), &second, numbers(2..3)).await), "RATE_LIMIT_EXCEEDED");
    app.settle().await;
    app.client.import(&did(1), &second, numbers(2..3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_import_is_finished_after_a_restart() {
    let app = slow_app(|_| {}).await;
    friends_of_zero(&app, 70..71).await;
    let token = app.verify(&did(0), &number(0)).await;
    app.client.import(&did(0), &token, numbers(1..71)).await.unwrap();
    let waiting = app.discovery().waiting_pairs().await.unwrap();
    assert!(waiting > 0);
    let app = app.restart_with(|_| {}).await;
    // Where other servers may run, a lease ends by time alone.
    app.clock.advance(Duration::from_secs(20));
    app.settle().await;
    assert_eq!(app.matches(&did(0)).await, [did(70)]);
    assert_eq!(app.client.remove_data(&did(0)).await.unwrap().contacts, 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_during_an_import_ends_it() {
    let app = slow_app(|_| {}).await;
    friends_of_zero(&app, 90..91).await;
    let token = app.verify(&did(0), &number(0)).await;
    let removal = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        app.client.remove_data(&did(0)).await.unwrap();
        // The answer must not come before the files are clean; nothing may come after it.
        app.discovery().waiting_pairs().await.unwrap()
    };
    let me = did(0);
    let (imported, waiting) = tokio::join!(app.client.import(&me, &token, numbers(1..91)), removal);
    imported.unwrap();
    assert_eq!(waiting, 0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(app.client.sync_status(&did(0)).await.unwrap().is_none());
    assert!(app.matches(&did(90)).await.is_empty());
    let again = app.client.remove_data(&did(0)).await.unwrap();
    assert_eq!((again.contacts, again.matches), (0, 0));
    // The number is free for another import at once.
    app.import(&did(0), &number(0), &[&number(90)]).await;
    assert_eq!(app.matches(&did(0)).await, [did(90)], "the other's consent stands");
}
