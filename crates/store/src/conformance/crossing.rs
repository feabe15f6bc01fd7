//! Many imports at once: the outcome is that of some order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::scene::{FAR, Scene, account, half, number};
use crate::{Half, ImportStep, StepOutcome};

const PEOPLE: u8 = 12;
const WORKERS: usize = 5;
const STEP: usize = 3;

/// By import: whose list, and what is on it.
type Lists = HashMap<[u8; 16], (u8, Vec<Half>)>;

/// Everybody has everybody else in the address book, but 1 does not have 0.
pub(super) async fn every_mutual_pair_matches_once(scene: Scene) {
    let mut accepting = Vec::new();
    for who in 0..PEOPLE {
        let scene = scene.clone();
        accepting.push(tokio::spawn(async move {
            let halves = halves_of(who);
            let import = scene.accept(who, u32::try_from(halves.len()).unwrap(), 0).await;
            (import.id, (who, halves))
        }));
    }
    let mut lists = Lists::new();
    for accepted in accepting {
        let (import, list) = accepted.await.unwrap();
        lists.insert(*import.as_bytes(), list);
    }
    let lists = Arc::new(lists);
    let found = Arc::new(Mutex::new(HashMap::new()));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| tokio::spawn(work(scene.clone(), Arc::clone(&lists), Arc::clone(&found))))
        .collect();
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

async fn work(scene: Scene, lists: Arc<Lists>, found: Arc<Mutex<HashMap<(u8, u8), u32>>>) {
    while let Some(mut leased) = scene.store.next_import(1, FAR).await.unwrap() {
        let (who, halves) = &lists[leased.id.as_bytes()];
        for chunk in halves.chunks(STEP) {
            let step = ImportStep {
                numbers: vec![number(*who)],
                ..super::scene::step(&leased, *who, chunk.to_vec())
            };
            let StepOutcome::Committed(outcomes) = scene.store.match_or_insert(step, 1).await.unwrap() else {
                unreachable!("the lease lasts")
            };
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

fn halves_of(who: u8) -> Vec<Half> {
    let others = (0..PEOPLE).filter(|other| *other != who && (who, *other) != (1, 0));
    others.map(|other| half(who.min(other) * PEOPLE + who.max(other), who < other)).collect()
}
