//! Attacks on what the threat model claims.

use std::time::Duration;

use acquaint_testkit::{App, did, holds, number};

use crate::reason;

/// The RFC's first threat: a stranger with a list of numbers, halving it to find whom a number belongs to.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_every_number_learns_of_nobody() {
    let app = App::start().await;
    for n in 1..20 {
        app.import(&did(n), &number(n), &[&number(n % 19 + 1)]).await;
    }
    let everybody: Vec<String> = (0..1000).map(number).collect();
    for (attempt, list) in [&everybody[..], &everybody[..500], &everybody[1..2]].into_iter().enumerate() {
        let stranger = did(100 + attempt);
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        assert!(app.import(&stranger, &number(500 + attempt), &list).await.is_empty());
        assert!(app.matches(&stranger).await.is_empty());
    }
    for n in 1..20 {
        assert!(app.matches(&did(n)).await.iter().all(|other| !other.starts_with("did:plc:account10")));
    }
}

/// "Who has my number": accounts that share one verified number get no more pairs than one does.
#[tokio::test(flavor = "multi_thread")]
async fn many_accounts_on_one_number_share_one_budget() {
    let app = App::start_with(|config| {
        config.import.number_pairs = 30;
        config.import.number_pairs_per_day = 1;
    })
    .await;
    let mut tried = 0;
    for attacker in 0..10 {
        let token = app.verify(&did(attacker), &number(0)).await;
        let from = 1 + attacker * 20;
        let list = (from..from + 20).map(number).collect();
        match app.client.import(&did(attacker), &token, list).await {
            Ok(_) => tried += 20,
            refused => assert_eq!(reason(refused), "RATE_LIMIT_EXCEEDED"),
        }
        app.settle().await;
    }
    assert_eq!(tried, 20, "the second list would go over the budget");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_database_names_no_number_and_no_account() {
    let app = App::start().await;
    for n in 0..10 {
        app.import(&did(n), &number(n), &[&number((n + 1) % 10), &number((n + 9) % 10), "bob@example.com"])
            .await;
    }
    app.client.start_verification(&did(20), &number(20)).await.unwrap();
    let bytes = app.database_bytes();
    assert!(bytes.len() > 50_000, "there is something to search");
    for n in (0..10).chain([20]) {
        let (name, phone) = (did(n), number(n));
        assert!(!holds(&bytes, &name.as_bytes()[4..]), "{name}");
        assert!(!holds(&bytes, &phone.as_bytes()[3..]), "{phone}");
        let integer: u64 = phone[1..].parse().unwrap();
        assert!(!holds(&bytes, &integer.to_be_bytes()) && !holds(&bytes, &integer.to_le_bytes()), "{phone}");
        assert!(!holds(&bytes, &integer.to_be_bytes()[3..]), "SQLite's short integers, {phone}");
    }
    assert!(!holds(&bytes, b"bob@example"));
    // The search can find what is there.
    assert!(holds(&bytes, b"CREATE TABLE"));
}

/// A single number is never a fast hash: what limits are keyed by is not the plain or the account key's hash of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_database_holds_no_fast_hash_of_a_number() {
    use sha2::{Digest, Sha256, Sha512};
    let app = App::start().await;
    app.import(&did(0), &number(0), &[&number(1)]).await;
    let bytes = app.database_bytes();
    for phone in [number(0), number(1)] {
        for form in [phone.clone(), format!("tel:{phone}"), phone[1..].to_owned(), phone[2..].to_owned()] {
            assert!(!holds(&bytes, &Sha256::digest(form.as_bytes())[..16]));
            assert!(!holds(&bytes, &Sha512::digest(form.as_bytes())[..16]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_wipes_the_bytes_of_the_files() {
    let app = App::start().await;
    for n in 0..30 {
        app.import(&did(n), &number(n), &[&number((n + 1) % 30), &number((n + 29) % 30), &number(100 + n)])
            .await;
    }
    // The rows that a removal takes away, and every blob of them that no other row has.
    let before = app.rows();
    app.client.remove_data(&did(7)).await.unwrap();
    let bytes = app.database_bytes();
    let after = app.rows();
    let blobs =
        |rows: &std::collections::BTreeMap<String, Vec<Vec<u8>>>| -> std::collections::BTreeSet<Vec<u8>> {
            rows.values().flatten().filter(|blob| blob.len() >= 16).cloned().collect()
        };
    let left = blobs(&after);
    let gone: Vec<_> = blobs(&before).into_iter().filter(|blob| !left.contains(blob)).collect();
    assert!(gone.len() >= 2, "at least its sealed name and the hash that nobody else has: {}", gone.len());
    for blob in gone {
        assert!(!holds(&bytes, &blob), "{} bytes of what was removed are left", blob.len());
    }
}

/// Whether somebody uses the service must not show in the answers to others.
#[tokio::test(flavor = "multi_thread")]
async fn answers_about_members_and_strangers_are_the_same() {
    let app = App::start().await;
    app.import(&did(1), &number(1), &[&number(2)]).await;
    app.import(&did(5), &number(5), &[&number(6)]).await;
    for subject in [did(1), did(99)] {
        assert_eq!(app.client.dismiss(&did(5), &subject).await.unwrap(), 0);
    }
    for phone in [number(1), number(99)] {
        app.client.start_verification(&did(6), &phone).await.unwrap();
        assert_eq!(reason(app.client.verify(&did(6), &phone, "00000x").await), "INVALID_CODE");
        app.clock.advance(Duration::from_secs(1));
    }
    for contact in [number(1), number(99)] {
        assert!(app.import(&did(7), &number(7), &[&contact]).await.is_empty());
    }
}
