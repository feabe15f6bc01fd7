//! Many imports at once: the outcome is that of some order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use acquaint_protocol::pair::EpochId;

use super::scene::{FAR, Scene, account, half_under, number};
use crate::{EpochRows, EpochState, ImportStep, KeyRecord, ServerId, StepOutcome};

const PEOPLE: u8 = 12;
const WORKERS: usize = 5;
const STEP: usize = 3;

/// By import: whose list, and what is on it: pairs, with the order bit.
type Lists = HashMap<[u8; 16], (u8, Vec<(u8, bool)>)>;

/// Steps after which the keys are rotated, if they are.
const ROTATIONS: [usize; 3] = [4, 16, 30];

pub(super) async fn every_mutual_pair_matches_once(scene: Scene) {
    everybody_imports(scene, false).await;
}

/// Each worker learns of a new epoch only when a step of its is refused.
pub(super) async fn rotations_in_the_middle_lose_no_match(scene: Scene) {
    record(&scene, 1).await;
    everybody_imports(scene, true).await;
}

async fn record(scene: &Scene, version: u32) {
    let record = KeyRecord { purpose: "pair".into(), version, check: vec![1; 32] };
    scene.store.record_keys(vec![record]).await.unwrap();
}

/// Everybody has everybody else in the address book, but 1 does not have 0.
async fn everybody_imports(scene: Scene, rotates: bool) {
    let mut accepting = Vec::new();
    for who in 0..PEOPLE {
        let scene = scene.clone();
        accepting.push(tokio::spawn(async move {
            let list = list_of(who);
            let import = scene.accept(who, u32::try_from(list.len()).unwrap(), 0).await;
            (import.id, (who, list))
        }));
    }
    let mut lists = Lists::new();
    for accepted in accepting {
        let (import, list) = accepted.await.unwrap();
        lists.insert(*import.as_bytes(), list);
    }
    let lists = Arc::new(lists);
    let found = Arc::new(Mutex::new(HashMap::new()));
    let steps = Arc::new(AtomicUsize::new(0));
    let mut workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            tokio::spawn(work(scene.clone(), Arc::clone(&lists), Arc::clone(&found), Arc::clone(&steps)))
        })
        .collect();
    if rotates {
        workers.push(tokio::spawn(rotate(scene.clone(), steps)));
    }
    for worker in workers {
        worker.await.unwrap();
    }

    // Each match was found by exactly one of the two.
    let found = found.lock().unwrap().clone();
    let mutual = usize::from(PEOPLE) * usize::from(PEOPLE - 1) / 2 - 1;
    assert_eq!(found.len(), mutual);
    assert!(found.values().all(|times| *times == 1));
    for who in 0..PEOPLE {
        let expected = u32::from(PEOPLE) - if who < 2 { 2 } else { 1 };
        assert_eq!(scene.count(who, 2).await, Some(expected), "account {who}");
        let listed = scene.listed(who, 2).await;
        assert!(listed.iter().all(|other| *other != account(who)));
    }
    assert_eq!(scene.store.waiting_pairs().await.unwrap(), 0);
    // What each has stored is its matches, and only 0 has a half: no half was left behind.
    for who in 0..PEOPLE {
        let removed = scene.remove(who, 3).await;
        let contacts = if who == 1 { PEOPLE - 2 } else { PEOPLE - 1 };
        assert_eq!(removed.contacts, u32::from(contacts), "account {who}");
    }
}

/// Everybody imports again while the epoch of the first time is retired and cleared, and one account goes: what is left
/// is every match, once, under the new epoch.
pub(super) async fn an_epoch_is_cleared_beside_imports_and_a_removal(scene: Scene) {
    record(&scene, 1).await;
    let gone = PEOPLE - 1;
    for round in 0..2 {
        let mut lists = Lists::new();
        for who in (0..PEOPLE).filter(|who| round == 0 || *who != gone) {
            let list = list_of(who);
            let import = scene.accept(who, u32::try_from(list.len()).unwrap(), 0).await;
            lists.insert(*import.id.as_bytes(), (who, list));
        }
        let (lists, steps) = (Arc::new(lists), Arc::new(AtomicUsize::new(0)));
        let mut workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                tokio::spawn(work(scene.clone(), Arc::clone(&lists), Arc::default(), Arc::clone(&steps)))
            })
            .collect();
        if round == 1 {
            let scene = scene.clone();
            workers.push(tokio::spawn(async move {
                while steps.load(Ordering::Relaxed) < 8 {
                    tokio::task::yield_now().await;
                }
                scene.store.retire_epoch(EpochId::new(1)).await.unwrap();
                scene.remove(gone, 1).await;
                let mut after = None;
                while {
                    let next = scene.store.clear_epoch(EpochId::new(1), after, 3).await.unwrap();
                    let over = next.is_none() && after.is_none();
                    after = next;
                    !over
                } {
                    scene.store.sweep(10, 1).await.unwrap();
                }
            }));
        }
        for worker in workers {
            worker.await.unwrap();
        }
        if round == 0 {
            record(&scene, 2).await;
            let held = vec![EpochId::new(1), EpochId::new(2)];
            scene.store.check_in(ServerId([7; 16]), held, 1, FAR).await.unwrap();
        }
    }
    let states = scene.store.epochs().await.unwrap();
    assert_eq!(states.last().unwrap().state, EpochState::Cleared);
    let rows = [1, 2].map(EpochId::new);
    assert_eq!(scene.store.epoch_rows(rows[0]).await.unwrap(), EpochRows::default());
    let left = u64::from(gone);
    // A half stands for each who has the account that went, and 0's of 1.
    let expected = EpochRows { halves: left + 1, matches: left * (left - 1) / 2 - 1 };
    assert_eq!(scene.store.epoch_rows(rows[1]).await.unwrap(), expected);
    for who in 0..gone {
        let expected = u32::from(gone) - if who < 2 { 2 } else { 1 };
        assert_eq!(scene.count(who, 2).await, Some(expected), "account {who}");
    }
}

async fn rotate(scene: Scene, steps: Arc<AtomicUsize>) {
    let mut held = vec![EpochId::new(1)];
    for at in ROTATIONS {
        while steps.load(Ordering::Relaxed) < at {
            tokio::task::yield_now().await;
        }
        let next = EpochId::new(held.len() as u32 + 1);
        held.push(next);
        record(&scene, next.get()).await;
        let epochs = scene.store.check_in(ServerId([7; 16]), held.clone(), 1, FAR).await.unwrap();
        assert!(epochs.iter().any(|record| (record.epoch, record.state) == (next, EpochState::Current)));
    }
}

async fn checked(scene: &Scene) -> Vec<u8> {
    let records = scene.store.epochs().await.unwrap();
    let checked = records.iter().filter(|record| record.state.is_checked());
    checked.map(|record| u8::try_from(record.epoch.get()).unwrap()).collect()
}

async fn work(
    scene: Scene,
    lists: Arc<Lists>,
    found: Arc<Mutex<HashMap<(u8, u8), u32>>>,
    steps: Arc<AtomicUsize>,
) {
    let mut epochs = vec![1];
    while let Some(mut leased) = scene.store.next_import(1, FAR).await.unwrap() {
        let (who, list) = &lists[leased.id.as_bytes()];
        for chunk in list.chunks(STEP) {
            let outcomes = loop {
                let halves = chunk.iter().map(|(pair, bit)| half_under(&epochs, *pair, *bit)).collect();
                let step =
                    ImportStep { numbers: vec![number(*who)], ..super::scene::step(&leased, *who, halves) };
                match scene.store.match_or_insert(step, 1).await.unwrap() {
                    StepOutcome::Committed(outcomes) => break outcomes,
                    StepOutcome::Stale => epochs = checked(&scene).await,
                    StepOutcome::Fenced => unreachable!("the lease lasts"),
                }
            };
            steps.fetch_add(1, Ordering::Relaxed);
            leased.done += u32::try_from(chunk.len()).unwrap();
            let mut found = found.lock().unwrap();
            for other in outcomes.iter().flat_map(|outcome| &outcome.matched) {
                let other = other.as_bytes()[0];
                *found.entry(((*who).min(other), (*who).max(other))).or_default() += 1;
            }
            // Let the others in between.
            drop(found);
        }
    }
}

fn list_of(who: u8) -> Vec<(u8, bool)> {
    let others = (0..PEOPLE).filter(|other| *other != who && (who, *other) != (1, 0));
    others.map(|other| (who.min(other) * PEOPLE + who.max(other), who < other)).collect()
}
