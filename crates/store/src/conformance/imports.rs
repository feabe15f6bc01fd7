//! Imports: queued, leased, fenced, ended.

use super::scene::{DAY, FAR, LEASE, Scene, account, half, number, permit, step};
use crate::{
    Fence, ImportAccepted, ImportProgress, ImportStep, Limit, NewImport, Report, StepOutcome, SyncStatus,
};

pub(super) async fn lease_in_order(scene: Scene) {
    let store = &scene.store;
    assert!(store.next_import(0, LEASE).await.unwrap().is_none());
    let later = scene.accept(1, 2, 20).await;
    let earlier = scene.accept(2, 3, 10).await;
    let first = scene.lease(30).await;
    assert!(first.id == earlier.id && first.account == account(2));
    assert_eq!((first.total, first.done, &first.sealed), (3, 0, &earlier.sealed));
    assert_eq!(first.generation, earlier.generation);
    assert!(scene.lease(31).await.id == later.id);
    assert!(store.next_import(30 + LEASE - 1, FAR).await.unwrap().is_none());
    // A lease that has run out is another's, with a higher fence.
    let second = scene.lease(30 + LEASE).await;
    assert!(second.id == earlier.id && second.fence > first.fence);
    assert_eq!(store.waiting_pairs().await.unwrap(), 5);
    assert!(store.pending_import(account(2)).await.unwrap().unwrap().id == earlier.id);
    assert_eq!(store.pending_import(account(2)).await.unwrap().unwrap().sealed, earlier.sealed);
}

pub(super) async fn fences(scene: Scene) {
    let store = &scene.store;
    scene.accept(1, 2, 0).await;
    let leased = scene.lease(0).await;
    // The lease is over, but nobody else has it: the fence still holds, and the step prolongs the lease.
    let now = 10 * LEASE;
    let first = ImportStep { lease_until: now + LEASE, ..step(&leased, 1, vec![half(1, true)]) };
    assert!(matches!(store.match_or_insert(first.clone(), now).await.unwrap(), StepOutcome::Committed(_)));
    assert_eq!(store.match_or_insert(first, now).await.unwrap(), StepOutcome::Fenced, "progress");
    assert!(store.next_import(now + LEASE - 1, FAR).await.unwrap().is_none());
    assert_eq!(store.waiting_pairs().await.unwrap(), 1);

    let again = scene.lease(now + LEASE).await;
    assert_eq!(again.done, 1);
    let stale = ImportStep { done: 1, ..step(&leased, 1, vec![half(2, true)]) };
    assert_eq!(store.match_or_insert(stale, now).await.unwrap(), StepOutcome::Fenced);
    let beyond = step(&again, 1, vec![half(2, true), half(3, true)]);
    assert_eq!(store.match_or_insert(beyond, now).await.unwrap(), StepOutcome::Fenced);
    let foreign = ImportStep { account: account(2), ..step(&again, 1, vec![half(2, true)]) };
    assert_eq!(store.match_or_insert(foreign, now).await.unwrap(), StepOutcome::Fenced);
    let last = step(&again, 1, vec![half(2, true)]);
    assert!(matches!(store.match_or_insert(last, now).await.unwrap(), StepOutcome::Committed(_)));
    assert_eq!(scene.remove(1, now).await.contacts, 2);
}

pub(super) async fn a_heart_beat_prolongs_a_lease(scene: Scene) {
    let store = &scene.store;
    scene.accept(1, 2, 0).await;
    let leased = scene.lease(0).await;
    assert!(store.prolong_import(leased.id, leased.fence, 3 * LEASE).await.unwrap());
    // A clock that was set back shortens nothing.
    assert!(store.prolong_import(leased.id, leased.fence, LEASE).await.unwrap());
    assert!(store.next_import(3 * LEASE - 1, FAR).await.unwrap().is_none());
    let again = scene.lease(3 * LEASE).await;
    assert!(!store.prolong_import(leased.id, leased.fence, FAR).await.unwrap(), "another has it");
    assert!(store.next_import(4 * LEASE, FAR).await.unwrap().is_some(), "and its lease is as it was");
    let first = ImportStep { fence: Fence(again.fence.0 + 1), ..step(&again, 1, vec![half(1, true)]) };
    assert!(matches!(store.match_or_insert(first, 0).await.unwrap(), StepOutcome::Committed(_)));
}

pub(super) async fn a_released_lease_is_free(scene: Scene) {
    let verified = scene.verify(1, 0).await;
    scene.store.accept_import(scene.new_import(1, verified, 5), 1).await.unwrap();
    let first = scene.store.next_import(2, 2 + LEASE).await.unwrap().unwrap();
    assert!(scene.store.next_import(3, 3 + LEASE).await.unwrap().is_none());
    scene.store.release_import(first.id, first.fence).await.unwrap();
    let second = scene.store.next_import(3, 3 + LEASE).await.unwrap().unwrap();
    assert!(second.fence > first.fence);
    // Who has lost it has nothing to release.
    scene.store.release_import(first.id, first.fence).await.unwrap();
    assert!(scene.store.next_import(4, 4 + LEASE).await.unwrap().is_none());
}

pub(super) async fn progress_is_told_elsewhere(scene: Scene) {
    let store = &scene.store;
    scene.submit(2, half(1, false), 0, 0).await;
    scene.accept(1, 3, 0).await;
    let leased = scene.lease(0).await;
    let progress = async || store.import_progress(account(1), leased.id).await.unwrap();
    assert_eq!(progress().await, ImportProgress { pending: true, found: vec![] });
    let report = Some(Report { positions: vec![5, 7], until: 100 });
    let two = ImportStep { report, ..step(&leased, 1, vec![half(2, true), half(1, true)]) };
    store.match_or_insert(two, 0).await.unwrap();
    // A store that is one process's own may leave it out: nobody asks.
    let found = if store.is_shared() { vec![(7, account(2))] } else { vec![] };
    assert_eq!(progress().await, ImportProgress { pending: true, found: found.clone() });
    let stranger = store.import_progress(account(2), leased.id).await.unwrap();
    assert_eq!(stranger.found, []);
    let last = ImportStep { done: 2, ..step(&leased, 1, vec![half(3, true)]) };
    store.match_or_insert(last, 0).await.unwrap();
    assert_eq!(progress().await, ImportProgress { pending: false, found: found.clone() });
    store.sweep(10, 99).await.unwrap();
    assert_eq!(progress().await.found, found);
    store.sweep(10, 100).await.unwrap();
    assert_eq!(progress().await, ImportProgress::default());
}

pub(super) async fn what_was_reported_goes_with_an_account(scene: Scene) {
    let store = &scene.store;
    for leaves in [1, 2] {
        scene.submit(2, half(1, false), 0, 0).await;
        scene.accept(1, 2, 0).await;
        let leased = scene.lease(0).await;
        let report = Some(Report { positions: vec![0], until: FAR });
        let first = ImportStep { report, ..step(&leased, 1, vec![half(1, true)]) };
        store.match_or_insert(first, 0).await.unwrap();
        let last = ImportStep { done: 1, ..step(&leased, 1, vec![half(2, true)]) };
        store.match_or_insert(last, 0).await.unwrap();
        scene.remove(leaves, 0).await;
        let progress = store.import_progress(account(1), leased.id).await.unwrap();
        assert_eq!(progress, ImportProgress::default());
        scene.remove(3 - leaves, 0).await;
    }
}

pub(super) async fn a_stale_step_writes_nothing(scene: Scene) {
    let store = &scene.store;
    scene.submit(2, half(1, false), 0, 0).await;
    scene.accept(1, 1, 0).await;
    let stale = scene.lease(0).await;
    let _newer = scene.lease(LEASE).await;
    let refunds = vec![permit(Limit::AccountPairs, 0, 5, 0)];
    scene.take(vec![permit(Limit::AccountPairs, 5, 5, 0)], 0).await.unwrap();
    let stale = ImportStep { refunds, ..step(&stale, 1, vec![half(1, true)]) };
    assert_eq!(store.match_or_insert(stale, LEASE).await.unwrap(), StepOutcome::Fenced);
    assert_eq!(scene.listed(2, LEASE).await, []);
    assert_eq!(store.waiting_pairs().await.unwrap(), 1);
    assert!(scene.take(vec![permit(Limit::AccountPairs, 1, 5, 0)], LEASE).await.is_err());
}

pub(super) async fn the_last_step_releases_the_number(scene: Scene) {
    let store = &scene.store;
    scene.accept(1, 1, 0).await;
    let next = NewImport { numbers: vec![number(1)], ..scene.new_import(2, scene.verify(2, 0).await, 1) };
    assert_eq!(store.accept_import(next.clone(), 1).await.unwrap(), ImportAccepted::AlreadyPending);
    let leased = scene.lease(1).await;
    store.match_or_insert(step(&leased, 1, vec![half(1, true)]), 1).await.unwrap();
    assert!(store.pending_import(account(1)).await.unwrap().is_none());
    assert_eq!(store.accept_import(next, 2).await.unwrap(), ImportAccepted::Accepted);
}

pub(super) async fn one_pending_each(scene: Scene) {
    let store = &scene.store;
    scene.accept(1, 1, 0).await;
    let same_account =
        NewImport { numbers: vec![number(9)], ..scene.new_import(1, scene.verify(1, 0).await, 1) };
    assert_eq!(store.accept_import(same_account, DAY).await.unwrap(), ImportAccepted::AlreadyPending);
    // A number blocks for a day at most.
    let same_number =
        NewImport { numbers: vec![number(1)], ..scene.new_import(2, scene.verify(2, 0).await, 1) };
    assert_eq!(
        store.accept_import(same_number.clone(), DAY - 1).await.unwrap(),
        ImportAccepted::AlreadyPending
    );
    assert_eq!(store.accept_import(same_number, DAY).await.unwrap(), ImportAccepted::Accepted);
}

pub(super) async fn a_full_queue(scene: Scene) {
    let store = &scene.store;
    scene.accept(1, 3, 0).await;
    let import = scene.new_import(2, scene.verify(2, 0).await, 100);
    let full = NewImport { max_waiting: 2, ..import.clone() };
    assert_eq!(store.accept_import(full.clone(), 0).await.unwrap(), ImportAccepted::QueueFull { waiting: 3 });
    let leased = scene.lease(0).await;
    store.match_or_insert(step(&leased, 1, vec![half(1, true)]), 0).await.unwrap();
    assert_eq!(store.accept_import(full, 0).await.unwrap(), ImportAccepted::Accepted);
}

pub(super) async fn an_empty_list(scene: Scene) {
    let store = &scene.store;
    for now in [5, 6] {
        scene.accept(1, 0, now).await;
        let status = store.sync_status(account(1), now).await.unwrap();
        assert_eq!(status, Some(SyncStatus { synced_at: now, matches: 0 }));
    }
    assert!(store.next_import(7, FAR).await.unwrap().is_none());
    assert!(store.pending_import(account(1)).await.unwrap().is_none());
    let same_number =
        NewImport { numbers: vec![number(1)], ..scene.new_import(2, scene.verify(2, 7).await, 1) };
    assert_eq!(store.accept_import(same_number, 7).await.unwrap(), ImportAccepted::Accepted);
}

pub(super) async fn abandoned(scene: Scene) {
    let store = &scene.store;
    scene.accept(1, 3, 0).await;
    let stale = scene.lease(0).await;
    let leased = scene.lease(LEASE).await;
    store.abandon_import(stale.id, stale.fence).await.unwrap();
    assert_eq!(store.waiting_pairs().await.unwrap(), 3);
    store.abandon_import(leased.id, leased.fence).await.unwrap();
    assert_eq!(store.waiting_pairs().await.unwrap(), 0);
    assert!(store.pending_import(account(1)).await.unwrap().is_none());
    let late = step(&leased, 1, vec![half(1, true)]);
    assert_eq!(store.match_or_insert(late, LEASE).await.unwrap(), StepOutcome::Fenced);
}

pub(super) async fn refunds_what_is_held(scene: Scene) {
    let store = &scene.store;
    scene.submit(1, half(1, true), 0, 0).await;
    scene.submit(2, half(2, false), 9, 0).await;
    scene.submit(3, half(3, true), 9, 0).await;
    scene.submit(1, half(2, true), 0, 0).await;
    for limit in [Limit::AccountPairs, Limit::NumberPairs] {
        scene.take(vec![permit(limit, 6, 6, 0)], 0).await.unwrap();
    }
    scene.accept(1, 5, 0).await;
    let leased = scene.lease(0).await;
    // Held: a half, a match, and a repetition. Not held: what loses to another, and what is new.
    let halves = vec![half(1, true), half(2, true), half(3, true), half(4, true), half(4, true)];
    let refunds = vec![permit(Limit::AccountPairs, 77, 6, 0), permit(Limit::NumberPairs, 0, 6, 0)];
    let step = ImportStep { refunds, ..step(&leased, 1, halves) };
    let StepOutcome::Committed(outcomes) = store.match_or_insert(step, 0).await.unwrap() else {
        unreachable!("nobody else has the lease")
    };
    let held: Vec<bool> = outcomes.iter().map(|outcome| outcome.held).collect();
    assert_eq!(held, [true, true, false, false, true]);
    for limit in [Limit::AccountPairs, Limit::NumberPairs] {
        assert!(scene.take(vec![permit(limit, 4, 6, 0)], 0).await.is_err());
        assert_eq!(scene.take(vec![permit(limit, 3, 6, 0)], 0).await, Ok(()));
    }
}
