//! Codes and tokens: walkthrough 1.

use std::time::Duration;

use acquaint_testkit::{did, holds, number};

use super::App;
use crate::reason;

/// A guess that is not the code.
fn other_than(code: &str) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:06}", (number + 1) % 1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_valid_for_ten_minutes_and_once() {
    let app = App::start().await;
    let (me, phone) = (&did(1), &number(1));
    app.client.start_verification(me, phone).await.unwrap();
    let code = app.code(phone);
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    app.clock.advance(Duration::from_secs(599));
    app.client.verify(me, phone, &code).await.unwrap();
    assert_eq!(reason(app.client.verify(me, phone, &code).await), "INVALID_CODE", "a code is taken once");

    app.client.start_verification(me, phone).await.unwrap();
    app.clock.advance(Duration::from_secs(600));
    assert_eq!(
        reason(app.client.verify(me, phone, &app.code(phone)).await),
        "INVALID_CODE",
        "ten minutes are over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_guesses_end_a_code_and_a_new_one_does_not_help() {
    let app = App::start().await;
    let (me, phone) = (&did(1), &number(1));
    app.client.start_verification(me, phone).await.unwrap();
    let code = app.code(phone);
    assert_eq!(reason(app.client.verify(me, phone, "12345").await), "INVALID_CODE");
    assert_eq!(
        reason(app.client.verify(me, phone, "abcdef").await),
        "INVALID_CODE",
        "what is no code is no guess"
    );
    for _ in 0..3 {
        assert_eq!(reason(app.client.verify(me, phone, &other_than(&code)).await), "INVALID_CODE");
    }
    // A resend replaces the code and keeps the count.
    app.client.start_verification(me, phone).await.unwrap();
    let newer = app.code(phone);
    if code != newer {
        assert_eq!(
            reason(app.client.verify(me, phone, &code).await),
            "INVALID_CODE",
            "the older code is invalid"
        );
    } else {
        assert_eq!(reason(app.client.verify(me, phone, &other_than(&code)).await), "INVALID_CODE");
    }
    assert_eq!(reason(app.client.verify(me, phone, &other_than(&newer)).await), "INVALID_CODE");
    assert_eq!(reason(app.client.verify(me, phone, &newer).await), "RATE_LIMIT_EXCEEDED", "five are used up");
    assert_eq!(reason(app.client.start_verification(me, phone).await), "RATE_LIMIT_EXCEEDED");
    app.clock.advance(Duration::from_secs(600));
    app.verify(me, phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_code_waits_for_thirty_seconds() {
    let app = App::start_with(|config| config.verification.resend_s = 30).await;
    let (me, phone) = (&did(1), &number(1));
    app.client.start_verification(me, phone).await.unwrap();
    assert_eq!(reason(app.client.start_verification(me, phone).await), "RATE_LIMIT_EXCEEDED");
    app.clock.advance(Duration::from_secs(29));
    assert_eq!(reason(app.client.start_verification(me, &number(2)).await), "RATE_LIMIT_EXCEEDED");
    app.clock.advance(Duration::from_secs(1));
    app.client.start_verification(me, phone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_for_one_account_and_one_number() {
    let app = App::start().await;
    app.client.start_verification(&did(1), &number(1)).await.unwrap();
    let code = app.code(&number(1));
    assert_eq!(reason(app.client.verify(&did(2), &number(1), &code).await), "INVALID_CODE");
    assert_eq!(reason(app.client.verify(&did(1), &number(2), &code).await), "INVALID_CODE");
    app.client.verify(&did(1), &number(1), &code).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_guesses_about_a_number_count_across_accounts() {
    let app = App::start_with(|config| config.verification.number_guesses_per_day = 6).await;
    for (account, guesses) in [(1, 4), (2, 2)] {
        app.client.start_verification(&did(account), &number(1)).await.unwrap();
        let wrong = other_than(&app.code(&number(1)));
        for _ in 0..guesses {
            assert_eq!(reason(app.client.verify(&did(account), &number(1), &wrong).await), "INVALID_CODE");
        }
    }
    let code = app.code(&number(1));
    assert_eq!(reason(app.client.verify(&did(2), &number(1), &code).await), "RATE_LIMIT_EXCEEDED");
    app.verify(&did(2), &number(2)).await;
    // Six a day: one comes back in four hours.
    app.clock.advance(Duration::from_secs(4 * 3600));
    app.verify(&did(3), &number(1)).await;
}

/// Somebody who names a number in guesses at codes to another one must not lock its owner out.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_that_name_a_number_without_a_code_to_it_cost_its_owner_nothing() {
    let app = App::start_with(|config| config.verification.number_guesses_per_day = 2).await;
    for attacker in 10..13 {
        app.client.start_verification(&did(attacker), &number(attacker)).await.unwrap();
        for _ in 0..3 {
            assert_eq!(reason(app.client.verify(&did(attacker), &number(1), "000000").await), "INVALID_CODE");
        }
    }
    app.verify(&did(1), &number(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_limited_by_account_and_by_number() {
    let app = App::start_with(|config| {
        config.verification.account_codes_per_day = 3;
        config.verification.number_codes_per_day = 2;
    })
    .await;
    for n in [1, 1] {
        app.client.start_verification(&did(1), &number(n)).await.unwrap();
    }
    assert_eq!(reason(app.client.start_verification(&did(1), &number(1)).await), "RATE_LIMIT_EXCEEDED");
    assert_eq!(reason(app.client.start_verification(&did(2), &number(1)).await), "RATE_LIMIT_EXCEEDED");
    app.client.start_verification(&did(1), &number(2)).await.unwrap();
    assert_eq!(reason(app.client.start_verification(&did(1), &number(3)).await), "RATE_LIMIT_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_mobile_numbers_of_served_regions_are_verified() {
    let app = App::start_with(|config| config.verification.regions = vec!["US".into(), "DE".into()]).await;
    let me = &did(1);
    let refused =
        ["", "x", "+1", "+4930123456", "+18005550199", "+61491570006", "2125550101", &"1".repeat(10_000)];
    for phone in refused {
        assert_eq!(reason(app.client.start_verification(me, phone).await), "INVALID_PHONE", "{phone:.20}");
        assert_eq!(reason(app.client.verify(me, phone, "123456").await), "INVALID_PHONE", "{phone:.20}");
    }
    for phone in ["+4915228817386", "+12125550101"] {
        app.verify(me, phone).await;
    }
    assert!(app.client.sync_status(me).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_could_not_be_sent_costs_nothing() {
    let app = App::start_with(|config| {
        config.verification.account_codes_per_day = 1;
        config.verification.resend_s = 30;
    })
    .await;
    let (me, phone) = (&did(1), &number(1));
    let outbox = app.data_dir().with_file_name("outbox.txt");
    std::fs::create_dir(&outbox).unwrap();
    for _ in 0..3 {
        assert_eq!(reason(app.client.start_verification(me, phone).await), "INTERNAL_ERROR");
    }
    std::fs::remove_dir(&outbox).unwrap();
    app.verify(me, phone).await;
    assert_eq!(reason(app.client.start_verification(me, phone).await), "RATE_LIMIT_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_one_import_of_its_account_within_ten_minutes() {
    let app = App::start().await;
    let contacts = || vec![number(2)];
    let token = app.verify(&did(1), &number(1)).await;
    for bad in ["", "AAAA", "not base64!", &token[1..], &format!("{token}A"), &"A".repeat(5000)] {
        assert_eq!(reason(app.client.import(&did(1), bad, contacts()).await), "INVALID_TOKEN");
    }
    let mut flipped = token.clone().into_bytes();
    flipped[60] = if flipped[60] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    assert_eq!(reason(app.client.import(&did(1), &flipped, contacts()).await), "INVALID_TOKEN");
    assert_eq!(reason(app.client.import(&did(2), &token, contacts()).await), "INVALID_TOKEN", "another's");
    assert!(app.client.sync_status(&did(1)).await.unwrap().is_none(), "nothing was stored");

    app.client.import(&did(1), &token, contacts()).await.unwrap();
    app.settle().await;
    assert_eq!(reason(app.client.import(&did(1), &token, contacts()).await), "INVALID_TOKEN", "used");

    let token = app.verify(&did(1), &number(1)).await;
    app.clock.advance(Duration::from_secs(600));
    assert_eq!(reason(app.client.import(&did(1), &token, contacts()).await), "INVALID_TOKEN", "expired");

    let token = app.verify(&did(1), &number(1)).await;
    app.client.remove_data(&did(1)).await.unwrap();
    assert_eq!(
        reason(app.client.import(&did(1), &token, contacts()).await),
        "INVALID_TOKEN",
        "of a former life"
    );
    // Also when the account has begun a new life since.
    app.verify(&did(1), &number(1)).await;
    assert_eq!(reason(app.client.import(&did(1), &token, contacts()).await), "INVALID_TOKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_imports_with_the_same_token_is_accepted() {
    let app = App::start().await;
    let token = app.verify(&did(1), &number(1)).await;
    let me = did(1);
    let calls = (0..20).map(|_| app.client.import(&me, &token, vec![number(2), number(3)]));
    let outcomes = futures::future::join_all(calls).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_nowhere_in_the_database_not_even_as_a_plain_hash() {
    use sha2::{Digest, Sha256};
    let app = App::start().await;
    let mut codes = Vec::new();
    for n in 0..20 {
        app.client.start_verification(&did(n), &number(n)).await.unwrap();
        codes.push(app.code(&number(n)));
    }
    let bytes = app.database_bytes();
    for code in codes {
        assert!(!holds(&bytes, code.as_bytes()));
        assert!(!holds(&bytes, &Sha256::digest(code.as_bytes())));
    }
}
