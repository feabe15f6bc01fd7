//! Who is matched with whom: the RFC's rules as the house plan's decision 8 sharpens them.

use std::time::Duration;

use acquaint_testkit::{did, number};

use super::App;
use crate::reason;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn only_mutual_contacts_match_and_both_learn_it() {
    let app = App::start().await;
    assert!(app.import(&did(1), &number(1), &[&number(2), &number(3)]).await.is_empty());
    let found = app.import(&did(2), &number(2), &[&number(9), &number(1)]).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].input_index, found[0].subject.as_str()), (1, did(1).as_str()));
    assert!(app.import(&did(3), &number(3), &[&number(2)]).await.is_empty());
    assert_eq!(app.matches(&did(1)).await, [did(2)]);
    assert_eq!(app.matches(&did(2)).await, [did(1)]);
    assert!(app.matches(&did(3)).await.is_empty());
    // Again: reported again, with the index in the new list.
    let found = app.import(&did(1), &number(1), &["x", &number(3), &number(2)]).await;
    assert_eq!((found[0].input_index, found[0].subject.as_str()), (2, did(2).as_str()));
    assert_eq!(app.matches(&did(1)).await, [did(2)], "but it is one match");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recycled_number_belongs_to_who_verified_it_later() {
    let app = App::start().await;
    // 1 had number 5 before 2; both know number 7, which is 3's.
    app.import(&did(1), &number(5), &[&number(7)]).await;
    app.clock.advance(DAY);
    assert!(app.import(&did(2), &number(5), &[&number(7)]).await.is_empty());
    let found = app.import(&did(3), &number(7), &[&number(5)]).await;
    assert_eq!(found[0].subject, did(2));
    assert!(app.matches(&did(1)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_verification_that_is_executed_later_does_not_displace_a_newer_one() {
    let app = App::start().await;
    let older = app.verify(&did(1), &number(5)).await;
    app.clock.advance(Duration::from_secs(60));
    app.import(&did(2), &number(5), &[&number(7)]).await;
    app.client.import(&did(1), &older, vec![number(7)]).await.unwrap();
    app.settle().await;
    assert_eq!(app.import(&did(3), &number(7), &[&number(5)]).await[0].subject, did(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_with_two_numbers_does_not_meet_itself() {
    let app = App::start().await;
    app.import(&did(1), &number(1), &[&number(2)]).await;
    assert!(app.import(&did(1), &number(2), &[&number(1)]).await.is_empty());
    assert!(app.matches(&did(1)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_a_year_counts_as_absent() {
    let app = App::start().await;
    app.import(&did(1), &number(1), &[&number(2)]).await;
    app.clock.advance(DAY * 365);
    assert!(app.import(&did(2), &number(2), &[&number(1)]).await.is_empty());
    // 2's half is fresh: 1 is found again only by importing again.
    assert_eq!(app.import(&did(1), &number(1), &[&number(2)]).await[0].subject, did(2));
    // 2's half is the older one by now; when it expires, the match does, on both sides.
    app.clock.advance(DAY * 364);
    app.import(&did(1), &number(1), &[&number(2)]).await;
    assert_eq!(app.matches(&did(1)).await, [did(2)]);
    app.clock.advance(DAY);
    assert!(app.matches(&did(1)).await.is_empty());
    assert!(app.matches(&did(2)).await.is_empty());
    assert_eq!(app.client.sync_status(&did(1)).await.unwrap().unwrap().matches, 0);
    // 1's consent still stands.
    assert_eq!(app.import(&did(2), &number(2), &[&number(1)]).await[0].subject, did(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_later_nothing_is_known_of_who_did_not_come_back() {
    let app = App::start().await;
    app.import(&did(1), &number(1), &[&number(2)]).await;
    app.clock.advance(DAY * 364);
    assert!(app.client.sync_status(&did(1)).await.unwrap().is_some());
    app.clock.advance(DAY);
    assert!(app.client.sync_status(&did(1)).await.unwrap().is_none());
    // The sweeper looks when the server starts, and then every minute.
    let app = app.restart_with(|_| {}).await;
    for _ in 0..500 {
        if app.rows()["accounts"].is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the account's row is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dismissed_match_stays_away() {
    let app = App::start().await;
    app.import(&did(1), &number(1), &[&number(2), &number(3)]).await;
    app.import(&did(2), &number(2), &[&number(1)]).await;
    app.import(&did(3), &number(3), &[&number(1)]).await;
    assert_eq!(app.client.dismiss(&did(1), &did(9)).await.unwrap(), 2, "nobody is no error");
    assert_eq!(app.client.dismiss(&did(1), &did(2)).await.unwrap(), 1);
    assert_eq!(app.client.dismiss(&did(1), &did(2)).await.unwrap(), 1);
    assert_eq!(app.matches(&did(1)).await, [did(3)]);
    assert_eq!(app.matches(&did(2)).await, [did(1)], "the other side keeps it");
    let found = app.import(&did(1), &number(1), &[&number(2), &number(3)]).await;
    assert_eq!(found.into_iter().map(|found| found.subject).collect::<Vec<_>>(), [did(3)]);
    // Not even the other's removal and return bring it back.
    app.client.remove_data(&did(2)).await.unwrap();
    app.import(&did(2), &number(2), &[&number(1)]).await;
    assert_eq!(app.matches(&did(1)).await, [did(3)]);
    assert_eq!(app.client.sync_status(&did(1)).await.unwrap().unwrap().matches, 1);
    assert_eq!(reason(app.client.dismiss(&did(1), "did:plc:x#y").await), "INVALID_DID");
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_takes_everything_and_leaves_the_others_consent() {
    let app = App::start().await;
    app.import(&did(1), &number(1), &[&number(2), &number(3)]).await;
    app.import(&did(2), &number(2), &[&number(1)]).await;
    let removed = app.client.remove_data(&did(1)).await.unwrap();
    assert_eq!((removed.contacts, removed.matches), (2, 1));
    assert!(app.client.sync_status(&did(1)).await.unwrap().is_none());
    assert!(app.matches(&did(1)).await.is_empty());
    assert!(app.matches(&did(2)).await.is_empty());
    assert!(app.import(&did(3), &number(3), &[&number(1)]).await.is_empty());
    // 2 need not import again to be found by 1.
    let found = app.import(&did(1), &number(1), &[&number(2)]).await;
    assert_eq!(found[0].subject, did(2));
    assert_eq!(app.matches(&did(2)).await, [did(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_each_match_once_and_the_last_has_no_cursor() {
    let app = App::start().await;
    let many: Vec<String> = (1..24).map(number).collect();
    app.import(&did(0), &number(0), &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for n in 1..24 {
        app.clock.advance(Duration::from_millis(1));
        app.import(&did(n), &number(n), &[&number(0)]).await;
    }
    let expected: Vec<String> = (1..24).rev().map(did).collect();
    for limit in [1, 2, 5, 22, 23, 24, 100] {
        let (mut all, mut cursor, mut cursors) = (Vec::new(), String::new(), Vec::new());
        loop {
            let page = app.client.matches(&did(0), limit, &cursor).await.unwrap();
            assert!(page.subjects.len() <= usize::try_from(limit).unwrap() && !page.subjects.is_empty());
            all.extend(page.subjects);
            if page.cursor.is_empty() {
                break;
            }
            assert!(!cursors.contains(&page.cursor), "a cursor is never repeated");
            cursors.push(page.cursor.clone());
            cursor = page.cursor;
        }
        assert_eq!(all, expected, "limit {limit}");
    }
    for limit in [0, -1, 101, i32::MAX, i32::MIN] {
        assert_eq!(reason(app.client.matches(&did(0), limit, "").await), "INVALID_LIMIT");
    }
    let cursor = app.client.matches(&did(0), 1, "").await.unwrap().cursor;
    for bad in ["x", "AAAA", &cursor[1..], &cursor.to_lowercase(), &"A".repeat(4000), "\u{0}"] {
        assert_eq!(reason(app.client.matches(&did(0), 1, bad).await), "INVALID_CURSOR");
    }
    assert_eq!(reason(app.client.matches(&did(1), 1, &cursor).await), "INVALID_CURSOR", "another's cursor");
}
