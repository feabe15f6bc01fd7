//! Codes: sent, guessed, withdrawn.

use super::scene::{Scene, account, code_hash, new_code, permit, sealed};
use crate::{CodeGuess, CodePut, CodeTaken, Exhausted, Limit, NewCode, NewProof, Permit};

pub(super) async fn wrong_guesses_count(scene: Scene) {
    let store = &scene.store;
    assert_eq!(store.take_code(scene.guess(1, 1), 0).await.unwrap(), CodeTaken::NoCode);
    store.put_code(new_code(1, 1, 0), 0).await.unwrap();
    for _ in 0..3 {
        assert_eq!(store.take_code(scene.guess(1, 2), 1).await.unwrap(), CodeTaken::Wrong);
    }
    assert_eq!(store.take_code(scene.guess(1, 1), 1).await.unwrap(), CodeTaken::GuessesUsedUp);
    assert_eq!(store.sealed_accounts(vec![account(1)]).await.unwrap(), [None]);
    // Another account is not touched.
    scene.verify(2, 1).await;
}

pub(super) async fn a_guess_for_another_number_is_no_guess(scene: Scene) {
    let store = &scene.store;
    let permits = vec![permit(Limit::NumberGuesses, 1, 1, 0)];
    store.put_code(new_code(1, 1, 0), 0).await.unwrap();
    for hash in [1, 2] {
        let elsewhere = CodeGuess {
            number_hash: code_hash(0xBB),
            wrong_permits: permits.clone(),
            proof: None,
            ..scene.guess(1, hash)
        };
        assert_eq!(store.take_code(elsewhere, 1).await.unwrap(), CodeTaken::NoCode);
    }
    assert_eq!(scene.take(permits, 1).await, Ok(()));
    assert!(matches!(store.take_code(scene.guess(1, 1), 1).await.unwrap(), CodeTaken::Taken { .. }));
}

pub(super) async fn a_resend_carries_wrong_guesses(scene: Scene) {
    let store = &scene.store;
    store.put_code(new_code(1, 1, 0), 0).await.unwrap();
    for _ in 0..2 {
        store.take_code(scene.guess(1, 9), 1).await.unwrap();
    }
    assert_eq!(store.put_code(new_code(1, 2, 20), 20).await.unwrap(), CodePut::Stored);
    assert_eq!(store.take_code(scene.guess(1, 1), 21).await.unwrap(), CodeTaken::Wrong, "the older code");
    assert_eq!(store.take_code(scene.guess(1, 2), 22).await.unwrap(), CodeTaken::GuessesUsedUp);
    assert_eq!(store.put_code(new_code(1, 3, 119), 119).await.unwrap(), CodePut::GuessesUsedUp);
    assert_eq!(store.put_code(new_code(1, 3, 120), 120).await.unwrap(), CodePut::Stored);
    assert!(matches!(store.take_code(scene.guess(1, 3), 121).await.unwrap(), CodeTaken::Taken { .. }));
}

pub(super) async fn a_resend_pauses(scene: Scene) {
    let store = &scene.store;
    let permits = vec![permit(Limit::AccountCodes, 1, 1, 0)];
    store.put_code(new_code(1, 1, 0), 0).await.unwrap();
    // Neither takes permits nor replaces the code.
    let early = NewCode { permits: permits.clone(), ..new_code(1, 2, 9) };
    assert_eq!(store.put_code(early, 9).await.unwrap(), CodePut::TooRecent);
    assert_eq!(scene.take(permits, 9).await, Ok(()));
    assert_eq!(store.put_code(new_code(1, 2, 10), 10).await.unwrap(), CodePut::Stored);
    assert_eq!(store.take_code(scene.guess(1, 1), 11).await.unwrap(), CodeTaken::Wrong);
}

pub(super) async fn an_expired_code_is_none(scene: Scene) {
    let store = &scene.store;
    store.put_code(new_code(1, 1, 0), 0).await.unwrap();
    assert_eq!(store.take_code(scene.guess(1, 1), 100).await.unwrap(), CodeTaken::NoCode);
    // And does not delay the next.
    let code = NewCode { too_recent_after: -1, ..new_code(1, 1, 100) };
    assert_eq!(store.put_code(code, 100).await.unwrap(), CodePut::Stored);
}

pub(super) async fn a_withdrawn_code_is_none(scene: Scene) {
    let store = &scene.store;
    let permits = vec![permit(Limit::AccountCodes, 1, 1, 0)];
    let code = |hash, now| NewCode { permits: permits.clone(), ..new_code(1, hash, now) };
    assert_eq!(store.put_code(code(1, 0), 0).await.unwrap(), CodePut::Stored);
    store.take_code(scene.guess(1, 9), 1).await.unwrap();
    // Not the account's code: nothing happens.
    store.withdraw_code(account(1), code_hash(9), permits.clone(), 1).await.unwrap();
    assert_eq!(store.put_code(code(2, 1), 1).await.unwrap(), CodePut::TooRecent);

    store.withdraw_code(account(1), code_hash(1), permits.clone(), 1).await.unwrap();
    assert_eq!(store.take_code(scene.guess(1, 1), 1).await.unwrap(), CodeTaken::NoCode);
    // Withdrawn twice gives back once.
    assert_eq!(store.put_code(code(2, 2), 2).await.unwrap(), CodePut::Stored);
    store.withdraw_code(account(1), code_hash(1), permits.clone(), 2).await.unwrap();
    assert!(scene.take(permits, 2).await.is_err());
    // One wrong guess came before the withdrawal.
    for _ in 0..2 {
        assert_eq!(store.take_code(scene.guess(1, 9), 3).await.unwrap(), CodeTaken::Wrong);
    }
    assert_eq!(store.take_code(scene.guess(1, 2), 3).await.unwrap(), CodeTaken::GuessesUsedUp);
}

pub(super) async fn one_caller_takes_a_code(scene: Scene) {
    scene.store.put_code(new_code(1, 1, 0), 0).await.unwrap();
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (store, guess) = (scene.store.clone(), scene.guess(1, 1));
            tokio::spawn(async move { store.take_code(guess, 1).await.unwrap() })
        })
        .collect();
    let mut taken = 0;
    for caller in callers {
        match caller.await.unwrap() {
            CodeTaken::Taken { .. } => taken += 1,
            other => assert_eq!(other, CodeTaken::NoCode),
        }
    }
    assert_eq!(taken, 1);
}

pub(super) async fn a_code_takes_permits(scene: Scene) {
    let store = &scene.store;
    let code = |who| NewCode { permits: vec![permit(Limit::NumberCodes, 1, 1, 1)], ..new_code(who, 1, 0) };
    assert_eq!(store.put_code(code(1), 0).await.unwrap(), CodePut::Stored);
    let exhausted = Exhausted { limit: Limit::NumberCodes, retry_at: Some(86_400_000) };
    assert_eq!(store.put_code(code(2), 0).await.unwrap(), CodePut::Exhausted(exhausted));
    assert_eq!(store.take_code(scene.guess(2, 1), 0).await.unwrap(), CodeTaken::NoCode);
}

pub(super) async fn guesses_take_permits(scene: Scene) {
    let store = &scene.store;
    let one = permit(Limit::AllGuesses, 1, 1, 0);
    let guess = |who, hash| CodeGuess { wrong_permits: vec![one.clone()], ..scene.guess(who, hash) };
    store.put_code(new_code(1, 1, 0), 0).await.unwrap();
    store.put_code(new_code(2, 2, 0), 0).await.unwrap();
    store.put_code(new_code(3, 3, 0), 0).await.unwrap();
    // A right guess charges nothing.
    assert!(matches!(store.take_code(guess(1, 1), 1).await.unwrap(), CodeTaken::Taken { .. }));
    assert_eq!(store.take_code(guess(2, 9), 1).await.unwrap(), CodeTaken::Wrong);
    // With no room, even a right one is not looked at, and nothing is counted.
    let exhausted = CodeTaken::Exhausted(Exhausted { limit: Limit::AllGuesses, retry_at: None });
    for _ in 0..4 {
        assert_eq!(store.take_code(guess(3, 9), 1).await.unwrap(), exhausted);
    }
    assert_eq!(store.take_code(guess(3, 3), 1).await.unwrap(), exhausted);
    assert!(matches!(store.take_code(scene.guess(3, 3), 1).await.unwrap(), CodeTaken::Taken { .. }));
}

pub(super) async fn a_second_verification_keeps_the_generation(scene: Scene) {
    let (_, first) = scene.verify(1, 0).await;
    let (_, second) = scene.verify(1, 1).await;
    assert_eq!(first, second);
    let asked = vec![account(2), account(1), account(1)];
    let names = scene.store.sealed_accounts(asked).await.unwrap();
    assert_eq!(names, [None, Some(sealed(1)), Some(sealed(1))]);
    scene.remove(1, 2).await;
    let (_, third) = scene.verify(1, 3).await;
    assert_ne!(first, third);
}

pub(super) async fn a_number_proves_so_many_accounts_for_so_long(scene: Scene) {
    let store = &scene.store;
    let has = async |who, now| store.has_proof(account(who), now).await.unwrap();
    let verify = async |who: u8, number: u8, now| {
        store.put_code(new_code(who, 1, now), now).await.unwrap();
        let permits = vec![Permit { key: vec![number], ..permit(Limit::NumberProofs, 10, 20, 1) }];
        let proof = Some(NewProof { expires_at: now + 10 * DAY, permits });
        let guess = CodeGuess { proof, ..scene.guess(who, 1) };
        assert!(matches!(store.take_code(guess, now).await.unwrap(), CodeTaken::Taken { .. }));
    };
    assert!(!has(1, 0).await);
    for who in [1, 2, 3] {
        verify(who, 9, 0).await;
    }
    assert!(has(1, 0).await && has(2, 0).await && !has(3, 0).await, "two of a number");
    verify(4, 8, 0).await;
    assert!(has(4, 0).await, "another number's");
    // Again, by the same account: longer, and nothing is taken.
    verify(1, 9, 5 * DAY).await;
    assert!(has(1, 15 * DAY - 1).await && !has(1, 15 * DAY).await && !has(2, 10 * DAY).await);
    verify(3, 9, 10 * DAY).await;
    assert!(has(3, 10 * DAY).await, "it has come back");
    // A wrong guess proves nothing, a removal ends it, and so does time.
    store.put_code(new_code(5, 1, 0), 0).await.unwrap();
    let proof = Some(NewProof { expires_at: DAY, permits: vec![] });
    let wrong = CodeGuess { proof, ..scene.guess(5, 2) };
    assert_eq!(store.take_code(wrong, 0).await.unwrap(), CodeTaken::Wrong);
    assert!(!has(5, 0).await);
    store.remove_data(account(4), None, 0).await.unwrap();
    assert!(!has(4, 0).await);
    while store.sweep(100, 15 * DAY).await.unwrap() > 0 {}
    assert!(!has(1, 0).await, "it is deleted");
}

const DAY: i64 = 86_400_000;
