//! A clock that is set back: nobody gets more than is allowed, nothing is lost, and it is over when the time comes round.

use std::time::Duration;

use acquaint_testkit::{App, did, number};

use crate::reason;

const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test]
async fn limits_give_nothing_back_when_the_clock_goes_back() {
    let app = App::start_with(|config| {
        config.verification.account_codes_per_day = 4;
        config.verification.number_codes_per_day = 100;
    })
    .await;
    let (me, phone) = (did(0), number(0));
    for _ in 0..4 {
        app.client.start_verification(&me, &phone).await.unwrap();
    }
    // Back and forth across full hours, over and over: the time that passes twice leaks once.
    for _ in 0..5 {
        app.clock.turn_back(HOUR * 3);
        assert_eq!(reason(app.client.start_verification(&me, &phone).await), "RATE_LIMIT_EXCEEDED");
        app.clock.advance(HOUR * 3);
        assert_eq!(reason(app.client.start_verification(&me, &phone).await), "RATE_LIMIT_EXCEEDED");
    }
    // A day's worth comes back in a day of the time that nobody has seen yet.
    app.clock.advance(HOUR * 7);
    app.client.start_verification(&me, &phone).await.unwrap();
    assert_eq!(reason(app.client.start_verification(&me, &phone).await), "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn codes_and_tokens_work_once_and_end() {
    let app = App::start().await;
    let (me, phone) = (did(0), number(0));
    app.client.start_verification(&me, &phone).await.unwrap();
    let code = app.code(&phone);
    app.clock.turn_back(HOUR);
    // Sent in what is now the future: still the account's code, and it takes one right guess.
    let token = app.client.verify(&me, &phone, &code).await.unwrap();
    assert_eq!(reason(app.client.verify(&me, &phone, &code).await), "INVALID_CODE");
    // A token of before works once.
    app.clock.turn_back(HOUR);
    app.client.import(&me, &token, vec![number(1)]).await.unwrap();
    app.settle().await;
    assert_eq!(reason(app.client.import(&me, &token, vec![number(2)]).await), "INVALID_TOKEN");
    // Wrong guesses are counted on, and end the code whatever the clock does.
    app.client.start_verification(&me, &phone).await.unwrap();
    let code = app.code(&phone);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for guess in 0..5 {
        if guess % 2 == 0 {
            app.clock.turn_back(HOUR)
        } else {
            app.clock.advance(HOUR)
        }
        assert_eq!(reason(app.client.verify(&me, &phone, wrong).await), "INVALID_CODE");
    }
    assert_eq!(reason(app.client.verify(&me, &phone, &code).await), "RATE_LIMIT_EXCEEDED");
    // Long after, all of it has ended.
    app.clock.advance(HOUR * 48);
    assert_eq!(reason(app.client.verify(&me, &phone, &code).await), "INVALID_CODE");
    app.verify(&me, &phone).await;
}

#[tokio::test]
async fn a_pause_between_codes_does_not_become_a_lockout() {
    let app = App::start_with(|config| config.verification.resend_s = 30).await;
    let (me, phone) = (did(0), number(0));
    app.client.start_verification(&me, &phone).await.unwrap();
    app.clock.turn_back(HOUR);
    // The last one was sent in what is now the future.
    app.client.start_verification(&me, &phone).await.unwrap();
    assert_eq!(reason(app.client.start_verification(&me, &phone).await), "RATE_LIMIT_EXCEEDED");
    app.clock.advance(Duration::from_secs(30));
    app.client.start_verification(&me, &phone).await.unwrap();
}

#[tokio::test]
async fn imports_matches_and_expiry_go_on() {
    let app = App::start().await;
    let (ada, bob) = ((did(0), number(0)), (did(1), number(1)));
    app.import(&ada.0, &ada.1, &[&bob.1]).await;
    app.clock.turn_back(HOUR);
    let found = app.import(&bob.0, &bob.1, &[&ada.1]).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (app.matches(&ada.0).await, app.matches(&bob.0).await),
        (vec![bob.0.clone()], vec![ada.0.clone()])
    );
    // A lease of a server that died an hour later by the clock does not hold its successor up.
    let app = app.restart_with(|_| {}).await;
    app.clock.turn_back(HOUR);
    app.import(&ada.0, &ada.1, &[&number(2), &number(3)]).await;
    assert_eq!(app.matches(&ada.0).await, std::slice::from_ref(&bob.0));
    // A match ends a year after the earlier verification, by the clock that runs then.
    app.clock.advance(HOUR * 24 * 365 + HOUR * 4);
    assert!(app.matches(&ada.0).await.is_empty());
    app.client.remove_data(&ada.0).await.unwrap();
}
