//! The same behaviour, with the keys in an HSM; and what budgets do to imports.

use std::time::Duration;

use acquaint_client::ClientError;
use acquaint_testkit::{App, did, number, token_suite};

use crate::raw::exchange;
use crate::reason;

const FULL: &str = "acquaint_custody_budget_used_ratio{purpose=\"pair\"} 1\n";

#[test]
fn who_is_matched_does_not_depend_on_who_holds_the_keys() {
    token_suite::suite("matching::", 16);
}

async fn metrics(app: &App) -> String {
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(&format!("http://{}", app.operator.unwrap()), request).await;
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_spent_is_waited_for_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::start_with(|config| {
        config.telemetry.listen = "127.0.0.1:0".into();
        config.budget.file = folder.path().join("budget.json");
        config.budget.pair_per_day = 33;
    })
    .await;
    // The start on a new database looks at each key twice.
    let contacts: Vec<String> = (2..33).map(number).collect();
    let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
    assert!(app.import(&did(1), &number(1), &contacts).await.is_empty());
    let token = app.verify(&did(2), &number(2)).await;
    let bob = did(2);
    let slow = app.client.import(&bob, &token, vec![number(1)]);
    // It is accepted, and is not answered before its deadline.
    let mut waiting = Box::pin(slow);
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut waiting).await.is_err());
    assert_eq!(app.discovery().waiting_pairs().await.unwrap(), 1);
    let mut text = metrics(&app).await;
    for _ in 0..1200 {
        if text.contains(FULL) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        text = metrics(&app).await;
    }
    assert!(text.contains(FULL), "{text}");
    let refused = "acquaint_custody_refusals_total{purpose=\"pair\",budget=\"day\"} ";
    let refused = text.lines().find_map(|line| line.strip_prefix(refused)).unwrap();
    assert!(refused.parse::<u64>().unwrap() >= 1, "{text}");
    drop(waiting);
    // The next day, which a restart alone does not bring.
    let app = app.restart_with(|_| {}).await;
    assert_eq!(app.discovery().waiting_pairs().await.unwrap(), 1);
    app.clock.advance(Duration::from_secs(24 * 3600));
    let app = app.restart_with(|config| config.budget.pair_per_day = 100).await;
    app.settle().await;
    assert_eq!(app.matches(&did(1)).await, [did(2)]);
    assert_eq!(app.matches(&did(2)).await, [did(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_has_spent_its_share_waits_and_others_do_not() {
    let app = App::start_with(|config| config.budget.pair_per_account = 32).await;
    let contacts: Vec<String> = (2..34).map(number).collect();
    let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
    assert!(app.import(&did(1), &number(1), &contacts).await.is_empty());
    let token = app.verify(&did(1), &number(1)).await;
    let late = number(40);
    let again = app.client.import(&did(1), &token, vec![late.clone()]).await.unwrap();
    assert!(again.is_empty());
    assert_eq!(app.discovery().waiting_pairs().await.unwrap(), 1);
    // It rests: another attempt is not made with each look at the queue.
    let token = app.verify(&did(2), &number(2)).await;
    assert_eq!(app.client.import(&did(2), &token, vec![number(1)]).await.unwrap().len(), 1);
    let hashes = app.discovery().pool_stats().hashes;
    app.clock.advance(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(app.discovery().pool_stats().hashes, hashes, "a step was hashed in vain");
    app.clock.advance(Duration::from_secs(24 * 3600));
    app.settle().await;
    assert_eq!(app.import(&did(40), &late, &[&number(1)]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_budget_refuses_says_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::start_with(|config| {
        config.budget.file = folder.path().join("budget.json");
        // Two are for the checks of a new database.
        config.budget.number_per_day = 3;
    })
    .await;
    app.client.start_verification(&did(1), &number(1)).await.unwrap();
    let refused: Result<(), ClientError> = app.client.start_verification(&did(2), &number(2)).await;
    assert_eq!(reason(refused), "RATE_LIMIT_EXCEEDED");
}
