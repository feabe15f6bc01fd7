//! The limits on codes and guesses, each with the others out of its way.

use std::time::Duration;

use acquaint_server::config::Config;
use acquaint_testkit::{App, did, number};

use crate::reason;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn generous(config: &mut Config) {
    let limits = &mut config.verification;
    limits.resend_s = 0;
    for limit in [
        &mut limits.account_codes_per_day,
        &mut limits.number_codes_per_day,
        &mut limits.region_codes_per_day,
        &mut limits.sms_codes_per_day,
        &mut limits.email_codes_per_day,
        &mut limits.account_guesses_per_day,
        &mut limits.number_guesses_per_day,
        &mut limits.region_guesses_per_day,
        &mut limits.all_guesses_per_day,
    ] {
        *limit = 1000;
    }
    limits.emails = true;
}

async fn app(limit: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        generous(config);
        limit(config);
    })
    .await
}

/// Asks for a code; whether one was sent.
async fn sent(app: &App, who: usize, to: &str) -> bool {
    match app.client.start_verification(&did(who), to).await {
        Ok(()) => true,
        refused => {
            assert_eq!(reason(refused), "RATE_LIMIT_EXCEEDED");
            false
        }
    }
}

/// Asks for a code and guesses wrong; whether the guess was looked at.
async fn guessed(app: &App, who: usize, to: &str) -> bool {
    assert!(sent(app, who, to).await);
    let wrong = if app.code(to) == "000000" { "000001" } else { "000000" };
    match reason(app.client.verify(&did(who), to, wrong).await).as_str() {
        "INVALID_CODE" => true,
        reason => {
            assert_eq!(reason, "RATE_LIMIT_EXCEEDED");
            false
        }
    }
}

/// One of the four consecutive mobile numbers that Australia keeps for fiction (ACMA: 0491 570 156 to 159).
fn australian(n: usize) -> String {
    format!("+6149157015{}", 5 + n)
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_an_account() {
    let app = app(|config| config.verification.account_codes_per_day = 2).await;
    assert!(sent(&app, 1, &number(1)).await && sent(&app, 1, &number(2)).await);
    assert!(!sent(&app, 1, &number(3)).await);
    assert!(!sent(&app, 1, "ada@example.com").await, "whatever it verifies");
    assert!(sent(&app, 2, &number(3)).await);
    app.clock.advance(DAY);
    assert!(sent(&app, 1, &number(3)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_to_a_number() {
    let app = app(|config| config.verification.number_codes_per_day = 2).await;
    assert!(sent(&app, 1, &number(1)).await && sent(&app, 2, &number(1)).await);
    assert!(!sent(&app, 3, &number(1)).await, "whoever asks");
    assert!(sent(&app, 3, &number(2)).await);
    assert!(sent(&app, 1, "ada@example.com").await && sent(&app, 2, "ADA@example.com").await);
    assert!(!sent(&app, 3, "ada@example.com").await);
    app.clock.advance(DAY);
    assert!(sent(&app, 3, &number(1)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_to_a_region() {
    let app = app(|config| config.verification.region_codes_per_day = 2).await;
    assert!(sent(&app, 1, &australian(1)).await && sent(&app, 2, &australian(2)).await);
    assert!(!sent(&app, 3, &australian(3)).await);
    assert!(sent(&app, 3, &number(3)).await, "another region");
    app.clock.advance(DAY);
    assert!(sent(&app, 3, &australian(3)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_in_all_by_sms_and_by_mail() {
    let app = app(|config| {
        config.verification.sms_codes_per_day = 2;
        config.verification.email_codes_per_day = 1;
    })
    .await;
    assert!(sent(&app, 1, &australian(1)).await && sent(&app, 2, &number(2)).await);
    assert!(!sent(&app, 3, &number(3)).await);
    assert!(sent(&app, 3, "ada@example.com").await, "e-mail has a budget of its own");
    assert!(!sent(&app, 4, "bob@example.com").await);
    app.clock.advance(DAY);
    assert!(sent(&app, 3, &number(3)).await && sent(&app, 4, "bob@example.com").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_of_an_account() {
    let app = app(|config| config.verification.account_guesses_per_day = 2).await;
    assert!(guessed(&app, 1, &number(1)).await);
    assert!(guessed(&app, 1, "ada@example.com").await);
    assert!(!guessed(&app, 1, &number(3)).await, "whatever it guesses at");
    assert!(guessed(&app, 2, &number(3)).await);
    app.clock.advance(DAY);
    assert!(guessed(&app, 1, &number(3)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_a_number() {
    let app = app(|config| config.verification.number_guesses_per_day = 2).await;
    assert!(guessed(&app, 1, &number(1)).await && guessed(&app, 2, &number(1)).await);
    assert!(!guessed(&app, 3, &number(1)).await, "whoever guesses");
    assert!(guessed(&app, 3, &number(2)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_a_region() {
    let app = app(|config| config.verification.region_guesses_per_day = 2).await;
    assert!(guessed(&app, 1, &australian(1)).await && guessed(&app, 2, &australian(2)).await);
    assert!(!guessed(&app, 3, &australian(3)).await);
    assert!(guessed(&app, 3, &number(3)).await);
    assert!(guessed(&app, 4, "ada@example.com").await, "an address has no region");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_in_all() {
    let app = app(|config| config.verification.all_guesses_per_day = 3).await;
    assert!(guessed(&app, 1, &australian(1)).await && guessed(&app, 2, &number(2)).await);
    assert!(guessed(&app, 3, "ada@example.com").await);
    assert!(!guessed(&app, 4, &number(4)).await);
    app.clock.advance(DAY);
    assert!(guessed(&app, 4, &number(4)).await);
}
