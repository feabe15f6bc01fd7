//! Enumeration, tried: what an attacker with verified numbers and as many accounts as it likes learns, told on standard
//! output and held against the bound that the threat model states.

use std::collections::BTreeSet;
use std::time::Duration;

use acquaint_server::config::Config;
use acquaint_testkit::{App, did, number};

use crate::reason;

/// People 0 to 199 have the numbers 0 to 199; the attacker has numbers from 900 on, and accounts from 9000 on.
const PEOPLE: usize = 200;
const ATTACKER: usize = 9000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Distinct pairs for a number and an account, and how many of them come back in a day.
const PAIRS: u32 = 120;
const PAIRS_PER_DAY: u32 = 24;

fn small(config: &mut Config) {
    config.import.account_pairs = PAIRS;
    config.import.account_pairs_per_day = PAIRS_PER_DAY;
    config.import.number_pairs = PAIRS;
    config.import.number_pairs_per_day = PAIRS_PER_DAY;
}

fn numbers(range: impl IntoIterator<Item = usize>) -> Vec<String> {
    range.into_iter().map(number).collect()
}

/// One attempt: the accounts found, or `None` where a limit refused it.
async fn attempt(app: &App, account: usize, own: usize, contacts: Vec<String>) -> Option<BTreeSet<String>> {
    let token = app.verify(&did(account), &number(own)).await;
    match app.client.import(&did(account), &token, contacts).await {
        Ok(_) => {
            app.settle().await;
            Some(app.matches(&did(account)).await.into_iter().collect())
        }
        refused => {
            assert_eq!(reason(refused), "RATE_LIMIT_EXCEEDED");
            None
        }
    }
}

/// Seed 000, "Threat 1": upload many numbers, then halve the list until one account's number is known.
#[tokio::test(flavor = "multi_thread")]
async fn the_binary_search_finds_nobody() {
    let app = App::start().await;
    // Everybody knows the next person and the one before, so all of them match somebody.
    for who in 0..PEOPLE {
        let book = numbers([(who + 1) % PEOPLE, (who + PEOPLE - 1) % PEOPLE]);
        let book: Vec<&str> = book.iter().map(String::as_str).collect();
        app.import(&did(who), &number(who), &book).await;
    }
    assert_eq!(app.matches(&did(7)).await.len(), 2, "the people themselves find each other");

    // A fresh account for each step, all on one number, and then a number for each too.
    let mut learnt = BTreeSet::new();
    let mut list: Vec<usize> = (0..512).collect();
    let mut steps = 0;
    while list.len() > 1 {
        for own in [900, 900 + steps] {
            let found = attempt(&app, ATTACKER + 2 * steps + own % 2, own, numbers(list.clone())).await;
            learnt.extend(found.expect("the limits are wide"));
        }
        list.truncate(list.len() / 2);
        steps += 1;
    }
    println!(
        "binary search: {} accounts, {} numbers guessed, {steps} halvings: learnt {} accounts",
        2 * steps,
        512,
        learnt.len()
    );
    assert_eq!(learnt, BTreeSet::new());
}

/// One number, many accounts: the number's own limit holds over all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_by_many_accounts_on_one_number_is_bounded_by_the_number() {
    let app = App::start_with(small).await;
    // Each of these 200 has the attacker's number: the worst case, where every guess that is allowed tells something.
    for who in 0..PEOPLE {
        app.import(&did(who), &number(who), &[&number(900)]).await;
    }
    let mut learnt = BTreeSet::new();
    let mut tried = 0;
    let mut refused = 0;
    for (account, chunk) in (0..PEOPLE).collect::<Vec<_>>().chunks(10).enumerate() {
        match attempt(&app, ATTACKER + account, 900, numbers(chunk.iter().copied())).await {
            Some(found) => {
                tried += chunk.len();
                learnt.extend(found);
            }
            None => refused += 1,
        }
    }
    println!(
        "sweep by 20 accounts on one number: {tried} of {PEOPLE} pairs tried, {refused} imports refused: learnt {} accounts",
        learnt.len()
    );
    assert_eq!(u32::try_from(tried).unwrap(), PAIRS);
    assert_eq!(learnt.len(), tried, "all have the number, so each pair that was tried tells its account");

    // Neither another account, nor removal, nor the same pairs again make room.
    let next = || numbers([PEOPLE - 1]);
    app.client.remove_data(&did(ATTACKER)).await.unwrap();
    assert_eq!(attempt(&app, ATTACKER, 900, next()).await, None);
    assert_eq!(attempt(&app, ATTACKER + 500, 900, next()).await, None);
    // A day gives a day's worth, to all accounts together.
    app.clock.advance(DAY);
    let per_day = usize::try_from(PAIRS_PER_DAY).unwrap();
    let rest = numbers(tried..tried + per_day);
    assert_eq!(attempt(&app, ATTACKER + 501, 900, rest).await.unwrap().len(), per_day);
    assert_eq!(attempt(&app, ATTACKER + 502, 900, next()).await, None);
}

/// "Who has my number": the attacker's account verifies many numbers, or is made anew.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_my_number_is_bounded_by_the_account_and_the_number() {
    let app = App::start_with(small).await;
    let holders: BTreeSet<String> = (0..PEOPLE).filter(|who| who % 4 == 0).map(did).collect();
    for who in 0..PEOPLE {
        let whom = if who % 4 == 0 { 900 } else { 901 };
        app.import(&did(who), &number(who), &[&number(whom)]).await;
    }
    let allowed = usize::try_from(PAIRS).unwrap();
    let found = attempt(&app, ATTACKER, 900, numbers(0..allowed)).await.unwrap();
    println!(
        "who has my number: {allowed} of {PEOPLE} possible holders tried: learnt {} of {} holders",
        found.len(),
        holders.len()
    );
    assert_eq!(found.len(), allowed / 4);
    assert!(found.is_subset(&holders), "and nobody who has another number");
    // The account is used up whatever number it verifies; the number is used up for whatever account.
    assert_eq!(attempt(&app, ATTACKER, 901, numbers([PEOPLE - 2])).await, None);
    assert_eq!(attempt(&app, ATTACKER + 1, 900, numbers([PEOPLE - 2])).await, None);
    // Those who hold the number are told of the match with the attacker: nobody is looked up unseen.
    for holder in &found {
        assert_eq!(app.matches(holder).await, [did(ATTACKER)]);
    }
}

/// Guessing codes: at the default limits, one number gives so few guesses a day that a code is safe.
#[tokio::test(flavor = "multi_thread")]
async fn codes_cannot_be_guessed_by_many_accounts() {
    let app = App::start_with(|config| {
        config.verification.number_codes_per_day = 1000;
        config.verification.resend_s = 0;
    })
    .await;
    let victim = number(1);
    let (mut guesses, mut taken) = (0, 0);
    for account in 0..20 {
        let me = did(ATTACKER + account);
        app.client.start_verification(&me, &victim).await.unwrap();
        let code: u32 = app.code(&victim).parse().unwrap();
        for try_ in 1..=6 {
            let guess = format!("{:06}", (code + try_) % 1_000_000);
            match app.client.verify(&me, &victim, &guess).await {
                Ok(_) => taken += 1,
                refused => guesses += u32::from(reason(refused) == "INVALID_CODE"),
            }
        }
    }
    println!("20 accounts guess at one number's codes: {guesses} guesses looked at in a day, {taken} right");
    assert_eq!((guesses, taken), (15, 0), "number_guesses_per_day");
}
