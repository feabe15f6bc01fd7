//! Removal and sweeping.

use super::scene::{DAY, FAR, Scene, account, code_hash, half, new_code, number, permit, step};
use crate::{CodeTaken, ImportAccepted, ImportId, Limit, NewImport, Removal, Removed, StepOutcome};

pub(super) async fn takes_everything(scene: Scene) {
    let store = &scene.store;
    scene.import(1, vec![half(1, true), half(2, true), half(3, true)], (0, FAR), 0).await;
    scene.submit(2, half(1, false), 0, 1).await;
    scene.submit(3, half(2, false), 0, 2).await;
    store.dismiss(account(1), account(3), 3).await.unwrap();
    let verified = scene.verify(1, 4).await;
    store.put_code(new_code(1, 1, 5), 5).await.unwrap();
    assert_eq!(scene.remove(1, 6).await, Removed { contacts: 3, matches: 1 });

    assert_eq!(store.sync_status(account(1), 7).await.unwrap(), None);
    assert_eq!(store.sealed_accounts(vec![account(1)]).await.unwrap(), [None]);
    assert_eq!((scene.listed(1, 7).await, scene.listed(2, 7).await), (vec![], vec![]));
    assert_eq!(store.take_code(scene.guess(1, 1), 7).await.unwrap(), CodeTaken::NoCode);
    let import = scene.new_import(1, verified, 1);
    assert_eq!(store.accept_import(import, 7).await.unwrap(), ImportAccepted::InvalidToken);
    // Again, and for somebody who was never there.
    assert_eq!(scene.remove(1, 8).await, Removed { contacts: 0, matches: 0 });
    assert_eq!(scene.remove(200, 8).await, Removed { contacts: 0, matches: 0 });
    // Its own dismissal went with it.
    assert_eq!(scene.submit(1, half(2, true), 0, 9).await, (vec![account(3)], false));
    assert_eq!(scene.submit(4, half(3, false), 0, 10).await, (vec![], false), "its unmatched half");
}

pub(super) async fn turns_matches_back(scene: Scene) {
    scene.submit(1, half(1, true), 0, 0).await;
    scene.submit(2, half(1, false), 0, 1).await;
    scene.remove(1, 2).await;
    assert_eq!(scene.count(2, 3).await, Some(0));
    assert_eq!(scene.submit(1, half(1, true), 0, 4).await, (vec![account(2)], false));
    scene.remove(1, 5).await;
    assert_eq!(scene.remove(2, 6).await, Removed { contacts: 1, matches: 0 });
    // An expired side does not stand again.
    scene.import(1, vec![half(2, true)], (0, 100), 10).await;
    scene.submit(2, half(2, false), 0, 11).await;
    scene.remove(2, 100).await;
    assert_eq!(scene.submit(3, half(2, false), 0, 101).await, (vec![], false));
}

pub(super) async fn leaves_what_took_its_place(scene: Scene) {
    scene.submit(1, half(1, true), 0, 0).await;
    scene.submit(2, half(1, false), 9, 1).await;
    scene.submit(3, half(1, false), 5, 2).await;
    scene.remove(1, 3).await;
    assert_eq!(scene.submit(4, half(1, true), 0, 4).await, (vec![account(3)], false));
    assert_eq!(scene.remove(2, 5).await.contacts, 0);
}

pub(super) async fn keeps_what_must_stay(scene: Scene) {
    let store = &scene.store;
    scene.submit(1, half(1, true), 0, 0).await;
    scene.submit(2, half(1, false), 0, 1).await;
    store.dismiss(account(2), account(1), 2).await.unwrap();
    let spent = || vec![crate::Permit { key: vec![1; 16], ..permit(Limit::AccountPairs, 3, 5, 0) }];
    scene.take(spent(), 3).await.unwrap();
    scene.remove(1, 4).await;
    assert!(scene.take(spent(), 5).await.is_err(), "spent levels");
    scene.submit(1, half(1, true), 0, 6).await;
    assert_eq!(scene.listed(1, 7).await, [account(2)]);
    assert_eq!(scene.listed(2, 7).await, [], "another's dismissal of it");
}

pub(super) async fn during_an_import(scene: Scene) {
    let store = &scene.store;
    scene.submit(2, half(1, false), 0, 0).await;
    let import = scene.accept(1, 2, 1).await;
    let leased = scene.lease(1).await;
    let first = step(&leased, 1, vec![half(1, true)]);
    assert!(matches!(store.match_or_insert(first, 2).await.unwrap(), StepOutcome::Committed(_)));
    let removal = store.remove_data(account(1), Some((import.id, vec![number(1)])), 3).await.unwrap();
    assert_eq!(removal, Removal::Removed(Removed { contacts: 1, matches: 1 }));
    let mut second = step(&leased, 1, vec![half(2, true)]);
    second.done = 1;
    assert_eq!(store.match_or_insert(second.clone(), 4).await.unwrap(), StepOutcome::Fenced);
    // Nor in the account's next life.
    let next = scene.accept(1, 2, 5).await;
    assert_ne!(next.generation, import.generation);
    assert_eq!(store.match_or_insert(second.clone(), 6).await.unwrap(), StepOutcome::Fenced);
    let leased = scene.lease(6).await;
    second = step(&leased, 1, vec![half(2, true)]);
    second.generation = import.generation;
    assert_eq!(store.match_or_insert(second, 6).await.unwrap(), StepOutcome::Fenced);
    assert_eq!(scene.listed(2, 7).await, []);
}

pub(super) async fn names_the_pending_import(scene: Scene) {
    let store = &scene.store;
    let import = scene.accept(1, 1, 0).await;
    let wrong = ImportId::from_bytes([9; 16]);
    for pending in [None, Some((wrong, vec![number(1)]))] {
        let removal = store.remove_data(account(1), pending, 1).await.unwrap();
        assert_eq!(removal, Removal::OtherPending);
    }
    assert!(store.pending_import(account(1)).await.unwrap().is_some());
    assert_eq!(store.waiting_pairs().await.unwrap(), 1);
    let named = Some((import.id, vec![number(1)]));
    assert!(matches!(store.remove_data(account(1), named.clone(), 2).await.unwrap(), Removal::Removed(_)));
    assert!(store.pending_import(account(1)).await.unwrap().is_none());
    assert!(store.next_import(3, FAR).await.unwrap().is_none());
    assert_eq!(store.remove_data(account(1), named, 3).await.unwrap(), Removal::OtherPending);
    // The number is free.
    let next = NewImport { numbers: vec![number(1)], ..scene.new_import(2, scene.verify(2, 3).await, 1) };
    assert_eq!(store.accept_import(next, 4).await.unwrap(), ImportAccepted::Accepted);
}

pub(super) async fn sweeps(scene: Scene) {
    let store = &scene.store;
    assert_eq!(store.sweep(10, FAR).await.unwrap(), 0);
    scene.import(1, (1..=5).map(|pair| half(pair, true)).collect(), (0, 100), 0).await;
    scene.import(2, vec![half(1, false), half(2, false)], (0, 200), 0).await;
    store.put_code(new_code(3, 3, 0), 0).await.unwrap();
    scene.take(vec![permit(Limit::AccountPairs, 2, 5, 86_400_000)], 98).await.unwrap();
    scene.take(vec![permit(Limit::NumberPairs, 2, 5, 0)], 98).await.unwrap();
    assert_eq!(store.sweep(10, 99).await.unwrap(), 0);
    // One of each kind: code, half, match; then what is left of them.
    assert_eq!(store.sweep(1, 100).await.unwrap(), 3);
    assert_eq!(store.sweep(10, 100).await.unwrap(), 3);
    assert_eq!(store.sweep(10, 100).await.unwrap(), 0);
    // The unexpired sides' halves stand again.
    assert_eq!(scene.submit(4, half(2, true), 0, 101).await, (vec![account(2)], false));
    assert_eq!(scene.remove(2, 102).await, Removed { contacts: 2, matches: 1 });
    assert!(scene.take(vec![permit(Limit::NumberPairs, 4, 5, 0)], 102).await.is_err());
    store.withdraw_code(account(3), code_hash(3), vec![], 102).await.unwrap();

    scene.accept(1, 1, 200).await;
    assert_eq!(store.sweep(10, DAY / 24 - 1).await.unwrap(), 0);
    assert_eq!(store.sweep(10, DAY / 24).await.unwrap(), 1, "the bucket that leaks");
    assert_eq!(store.sweep(10, DAY + DAY / 24 - 1).await.unwrap(), 0);
    assert_eq!(store.sweep(10, DAY + DAY / 24).await.unwrap(), 1, "the number, not the import");
    scene.verify(5, 300).await;
    assert!(store.next_import(FAR, FAR).await.unwrap().is_some());
    assert_eq!(
        store.sweep(10, FAR).await.unwrap(),
        3,
        "account 5's token and name, and 4's half turned back"
    );
}

pub(super) async fn names_are_forgotten_when_nothing_names_them(scene: Scene) {
    let store = &scene.store;
    let known = async |who| store.sealed_accounts(vec![account(who)]).await.unwrap() != [None];
    // 1 holds a half for ever, 2 imports nothing, 3 only verifies.
    let import = NewImport { forget_account_at: 50, ..scene.new_import(2, scene.verify(2, 0).await, 0) };
    assert_eq!(store.accept_import(import, 0).await.unwrap(), ImportAccepted::Accepted);
    scene.import(1, vec![half(1, true)], (0, i64::MAX), 0).await;
    scene.verify(3, 0).await;
    assert!(
        store.sync_status(account(2), FAR - 1).await.unwrap().is_some(),
        "the token of its verification lasts"
    );
    while store.sweep(10, 20 * FAR).await.unwrap() > 0 {}
    assert!(known(1).await && !known(2).await && !known(3).await);
    assert!(store.sync_status(account(2), 20 * FAR).await.unwrap().is_none());
}
