//! Several servers on one PostgreSQL.

use std::time::Duration;

use acquaint_client::Found;
use acquaint_testkit::{PostgresApp, did, number};

use crate::reason;

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(number).collect()
}

/// Hashes so dear, on one thread, that its queue stands still for a while.
fn slow(config: &mut acquaint_server::config::Config) {
    config.keys.suite = "standard".into();
    config.pool.threads = 1;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_meet_another_server_at_each_step() {
    let one = PostgresApp::start().await;
    let other = one.another(|_| {}).await;
    one.import(&did(2), &number(2), &[&number(1)]).await;
    one.client.start_verification(&did(1), &number(1)).await.unwrap();
    let code = one.code(&number(1));
    let token = other.client.verify(&did(1), &number(1), &code).await.unwrap();
    assert_eq!(reason(one.client.verify(&did(1), &number(1), &code).await), "INVALID_CODE", "taken once");
    let found = one.client.import(&did(1), &token, numbers(2..4)).await.unwrap();
    assert_eq!(found, [Found { input_index: 0, subject: did(2) }]);
    assert_eq!(
        reason(other.client.import(&did(1), &token, numbers(2..4)).await),
        "INVALID_TOKEN",
        "used once"
    );
    assert_eq!(other.matches(&did(2)).await, [did(1)]);
    assert_eq!(other.client.remove_data(&did(1)).await.unwrap().matches, 1);
    assert!(one.matches(&did(2)).await.is_empty());
}

/// All places of one server are taken, so that the other works on what is accepted there, and the answer comes all the
/// same where it was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_server_finds_is_answered_where_it_was_asked_for() {
    let one = PostgresApp::start_with(|config| {
        slow(config);
        config.import.deadline_ms = 25_000;
    })
    .await;
    let friend = one.import(&did(500), &number(500), &[&number(0)]).await;
    assert!(friend.is_empty());
    // One server's sixteen places, for minutes.
    let mut busy = tokio::task::JoinSet::new();
    for n in 1..=16 {
        let token = one.verify(&did(n), &number(n)).await;
        let client = one.client.clone();
        busy.spawn(async move { client.import(&did(n), &token, numbers(100..500)).await });
    }
    while one.sql("SELECT count(*) FROM imports WHERE leased_until IS NOT NULL") != "16" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let token = one.verify(&did(0), &number(0)).await;
    let contacts = vec![number(501), number(500)];
    let mine = did(0);
    let asked = one.client.import(&mine, &token, contacts);
    let other = one.another(slow);
    let (found, other) = tokio::join!(asked, other);
    assert_eq!(found.unwrap(), [Found { input_index: 1, subject: did(500) }]);
    assert!(one.discovery().waiting_pairs().await.unwrap() > 0, "the first server had no place for it");
    let answers = &one.rows()["answers"];
    assert!(!answers.is_empty(), "the other server put it down");
    assert_eq!(other.matches(&did(500)).await, [did(0)]);
    // Nobody waits for the rest.
    busy.shutdown().await;
    for n in 1..=16 {
        other.client.remove_data(&did(n)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_servers_keys_are_refused() {
    let one = PostgresApp::start().await;
    let mut config = acquaint_server::config::Config::default();
    config.listen.set_port(0);
    config.keys.suite = "development".into();
    let folder = tempfile::tempdir().unwrap();
    config.keys.file = folder.path().join("other-keys.json");
    acquaint_server::ensure_key_file(&config.keys.file, "development").unwrap();
    config.store.kind = "postgres".into();
    config.store.postgres = one.connection().as_str().into();
    let refused = acquaint_server::Server::start(config, acquaint_server::Ambient::default()).await;
    let Err(error) = refused else { panic!("it started with other keys") };
    assert!(error.to_string().contains("is not the one that the stored data was made with"), "{error}");
}

/// A clock that is behind takes leases that are over for the others. That costs work and no pair.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_clock_was_set_back_loses_and_doubles_nothing() {
    let one = PostgresApp::start().await;
    let other = one.another(|_| {}).await;
    one.import(&did(1), &number(1), &[&number(2), &number(3)]).await;
    one.clock.turn_back(Duration::from_secs(120));
    // Codes, tokens, limits, leases and answers go by either clock, and hold.
    for (person, here, there) in [(2, &one, &other), (3, &other, &one)] {
        here.client.start_verification(&did(person), &number(person)).await.unwrap();
        let code = here.code(&number(person));
        let token = there.client.verify(&did(person), &number(person), &code).await.unwrap();
        let contacts: Vec<String> = std::iter::once(1).chain(100..300).map(number).collect();
        let found = here.client.import(&did(person), &token, contacts.clone()).await.unwrap();
        assert_eq!(found, [Found { input_index: 0, subject: did(1) }], "account {person}");
        let again = there.client.import(&did(person), &token, contacts).await;
        assert_eq!(reason(again), "INVALID_TOKEN", "used once");
    }
    one.settle().await;
    for app in [&one, &other] {
        let mut matches = app.matches(&did(1)).await;
        matches.sort();
        assert_eq!(matches, [did(2), did(3)]);
    }
    assert_eq!(one.sql("SELECT count(*) FROM links"), "2");
    assert_eq!(one.sql("SELECT count(*) FROM pairs"), "400");
    // 201 pairs for each of the two, and 2 for the first: none charged twice.
    let levels = one.sql("SELECT ceil(level / 86400000.0)::int FROM limits WHERE limit_kind = 5 ORDER BY 1");
    assert_eq!(levels, "2\n201\n201");
    // By more than a code lives, nothing that one gives is taken by the other; and nothing that is over comes back.
    one.clock.turn_back(Duration::from_secs(3600));
    one.client.start_verification(&did(4), &number(4)).await.unwrap();
    let code = one.code(&number(4));
    assert_eq!(reason(other.client.verify(&did(4), &number(4), &code).await), "INVALID_CODE");
    assert_eq!(one.client.remove_data(&did(1)).await.unwrap().matches, 2);
    assert!(other.matches(&did(2)).await.is_empty());
}
