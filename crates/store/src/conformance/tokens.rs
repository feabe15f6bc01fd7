//! Tokens: made by a right guess, consumed by an accepted import and by nothing else.

use super::scene::{FAR, Scene, account, half, new_code, number, permit, step};
use crate::{
    CodeGuess, CodeTaken, Exhausted, Generation, ImportAccepted, ImportStep, Limit, LiveToken, NewImport,
    Removal, TokenId, TokenUse,
};

pub(super) async fn works_once(scene: Scene) {
    let verified = scene.verify(1, 0).await;
    let import = scene.new_import(1, verified, 0);
    assert_eq!(scene.store.accept_import(import.clone(), 1).await.unwrap(), ImportAccepted::Accepted);
    assert_eq!(scene.store.accept_import(import, 1).await.unwrap(), ImportAccepted::InvalidToken);
}

pub(super) async fn survives_every_refusal(scene: Scene) {
    let store = &scene.store;
    let pending = scene.accept(1, 5, 0).await;
    let again = scene.new_import(1, scene.verify(1, 1).await, 5);
    assert_eq!(store.accept_import(again.clone(), 2).await.unwrap(), ImportAccepted::AlreadyPending);

    let verified = scene.verify(2, 1).await;
    let import = scene.new_import(2, verified, 3);
    let same_number = NewImport { numbers: vec![number(1)], ..import.clone() };
    assert_eq!(store.accept_import(same_number, 2).await.unwrap(), ImportAccepted::AlreadyPending);
    let full = NewImport { max_waiting: 4, ..import.clone() };
    assert_eq!(store.accept_import(full, 2).await.unwrap(), ImportAccepted::QueueFull { waiting: 5 });
    let costly = NewImport {
        permits: vec![permit(Limit::AccountPairs, 1, 9, 1), permit(Limit::NumberPairs, 3, 2, 1)],
        ..import.clone()
    };
    let exhausted = Exhausted { limit: Limit::NumberPairs, retry_at: None };
    assert_eq!(store.accept_import(costly, 2).await.unwrap(), ImportAccepted::Exhausted(exhausted));
    assert_eq!(store.sync_status(account(2), 2).await.unwrap(), None);
    // Nothing was reserved either.
    assert_eq!(scene.take(vec![permit(Limit::AccountPairs, 9, 9, 0)], 2).await, Ok(()));
    assert_eq!(store.accept_import(import, 3).await.unwrap(), ImportAccepted::Accepted);

    let leased = scene.lease(4).await;
    store.abandon_import(leased.id, leased.fence).await.unwrap();
    assert!(leased.id == pending.id);
    let other_number = NewImport { numbers: vec![number(9)], ..again };
    assert_eq!(store.accept_import(other_number, 4).await.unwrap(), ImportAccepted::Accepted);
}

pub(super) async fn foreign_expired_or_older(scene: Scene) {
    let store = &scene.store;
    let (token, generation) = scene.verify(1, 0).await;
    let (_, other) = scene.verify(2, 0).await;
    for import in [
        scene.new_import(2, (token, other), 0),
        scene.new_import(1, (TokenId::from_bytes([7; 16]), generation), 0),
        scene.new_import(1, (token, Generation(generation.0 ^ 1)), 0),
    ] {
        assert_eq!(store.accept_import(import, 1).await.unwrap(), ImportAccepted::InvalidToken);
    }
    let import = scene.new_import(1, (token, generation), 0);
    assert_eq!(store.accept_import(import, FAR).await.unwrap(), ImportAccepted::InvalidToken, "expired");

    // Removal takes the token; and one that came from an older life is worth nothing in the next.
    let removal = store.remove_data(account(1), None, 2).await.unwrap();
    assert!(matches!(removal, Removal::Removed(_)));
    let import = scene.new_import(1, (token, generation), 0);
    assert_eq!(store.accept_import(import, 3).await.unwrap(), ImportAccepted::InvalidToken);
    store.put_code(new_code(1, 1, 3), 3).await.unwrap();
    let guess = CodeGuess { token, ..scene.guess(1, 1) };
    let CodeTaken::Taken { generation: next } = store.take_code(guess, 3).await.unwrap() else {
        unreachable!("the right code is taken")
    };
    let older = scene.new_import(1, (token, generation), 0);
    assert_eq!(store.accept_import(older, 4).await.unwrap(), ImportAccepted::InvalidToken);
    let newer = scene.new_import(1, (token, next), 0);
    assert_eq!(store.accept_import(newer, 4).await.unwrap(), ImportAccepted::Accepted);
}

pub(super) async fn all_of_several_are_taken(scene: Scene) {
    let store = &scene.store;
    let (first, generation) = scene.verify(1, 0).await;
    let (second, _) = scene.verify(1, 1).await;
    let (foreign, _) = scene.verify(2, 1).await;
    let with = |tokens: &[TokenId]| NewImport {
        tokens: tokens.to_vec(),
        numbers: vec![number(1), number(3)],
        ..scene.new_import(1, (first, generation), 2)
    };
    for refused in [&[][..], &[first, foreign], &[first, TokenId::from_bytes([7; 16])]] {
        assert_eq!(store.accept_import(with(refused), 2).await.unwrap(), ImportAccepted::InvalidToken);
    }
    assert_eq!(store.accept_import(with(&[first, second]), 2).await.unwrap(), ImportAccepted::Accepted);
    assert_eq!(store.live_tokens(account(1), TokenUse::Matching, 2).await.unwrap(), []);
    // Both identifiers are taken until the import's end.
    for taken in [1, 3] {
        let import = NewImport {
            numbers: vec![number(taken)],
            ..scene.new_import(2, (foreign, scene.verify(2, 3).await.1), 1)
        };
        assert_eq!(store.accept_import(import, 3).await.unwrap(), ImportAccepted::AlreadyPending);
    }
    let leased = scene.lease(4).await;
    let last = ImportStep {
        numbers: vec![number(1), number(3)],
        ..step(&leased, 1, vec![half(1, true), half(2, true)])
    };
    store.match_or_insert(last, 5).await.unwrap();
    let import = NewImport {
        numbers: vec![number(1), number(3)],
        ..scene.new_import(2, (foreign, scene.verify(2, 6).await.1), 1)
    };
    assert_eq!(store.accept_import(import, 6).await.unwrap(), ImportAccepted::Accepted);
}

pub(super) async fn the_live_ones_are_listed(scene: Scene) {
    let store = &scene.store;
    assert_eq!(store.live_tokens(account(1), TokenUse::Matching, 0).await.unwrap(), []);
    let (long, _) = scene.verify(1, 0).await;
    scene.verify(2, 0).await;
    store.put_code(new_code(1, 1, 20), 20).await.unwrap();
    let short = CodeGuess { token_expires_at: 50, sealed_identifier: vec![8, 8], ..scene.guess(1, 1) };
    let live = |token, sealed_identifier| LiveToken { token, sealed_identifier };
    let both = [live(long, vec![1; 3]), live(short.token, vec![8, 8])];
    store.take_code(short, 21).await.unwrap();
    assert_eq!(store.live_tokens(account(1), TokenUse::Matching, 49).await.unwrap(), both);
    assert_eq!(store.live_tokens(account(1), TokenUse::Matching, 50).await.unwrap(), both[..1]);
}
