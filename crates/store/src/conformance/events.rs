//! The audit log, and the webhook's queue.

use std::sync::Arc;

use super::scene::Scene;
use crate::{AuditId, EventId, EventKind, EventOutcome, LeasedEvent, Millis, NewEvent};

fn event(kind: EventKind, tell: bool) -> NewEvent {
    NewEvent { kind, account: None, details: "{}".into(), tell }
}

async fn note(scene: &Scene, tell: &[bool], now: Millis) {
    let events = tell.iter().map(|tell| event(EventKind::CodeSent, *tell)).collect();
    scene.store.append_events(events, now).await.unwrap();
}

async fn ids(scene: &Scene, after: Option<EventId>, limit: u32) -> Vec<EventId> {
    scene.store.events(after, limit).await.unwrap().into_iter().map(|event| event.id).collect()
}

async fn lease(scene: &Scene, limit: u32, now: Millis) -> Vec<(Millis, u32)> {
    let leased = scene.store.lease_events(limit, now, now + 50).await.unwrap();
    leased.into_iter().map(|leased| (leased.event.at, leased.attempt)).collect()
}

pub(super) async fn what_is_noted_is_read_in_order(scene: Scene) {
    let store = &scene.store;
    assert_eq!(store.events(None, 10).await.unwrap(), []);
    let account = Some(AuditId::from_bytes([3; 16]));
    let all = EventKind::ALL.map(|kind| NewEvent { account, ..event(kind, false) });
    store.append_events(all.to_vec(), 7).await.unwrap();
    // A clock that goes back changes no order.
    let own = NewEvent { details: "{\"epoch\":\"é\"}".into(), ..event(EventKind::EpochRetired, false) };
    store.append_events(vec![own.clone()], 5).await.unwrap();
    let events = store.events(None, 100).await.unwrap();
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    let noted = EventKind::ALL.len();
    assert_eq!(kinds[..noted], EventKind::ALL);
    assert!(events.windows(2).all(|two| two[0].id < two[1].id));
    assert!(events[..noted].iter().all(|event| event.at == 7 && event.account == account));
    let last = &events[noted];
    assert_eq!((last.at, last.account, &last.details), (5, None, &own.details));
    // In pages.
    let first = ids(&scene, None, 4).await;
    assert_eq!(first.len(), 4);
    let rest = ids(&scene, first.last().copied(), 100).await;
    assert_eq!([first, rest].concat(), events.iter().map(|event| event.id).collect::<Vec<_>>());
    assert_eq!(ids(&scene, Some(last.id), 100).await, []);
    assert_eq!(ids(&scene, None, 0).await, []);
    store.append_events(vec![], 8).await.unwrap();
    assert_eq!(store.waiting_events().await.unwrap(), 0, "nobody is to be told of any");
}

pub(super) async fn the_old_ones_go_and_numbers_do_not_come_again(scene: Scene) {
    let store = &scene.store;
    note(&scene, &[false, true, false], 10).await;
    note(&scene, &[false], 20).await;
    assert_eq!(store.sweep_events(10, 100).await.unwrap(), 0);
    assert_eq!(store.sweep_events(20, 1).await.unwrap(), 1);
    assert_eq!(store.sweep_events(20, 100).await.unwrap(), 1);
    assert_eq!(store.sweep_events(20, 100).await.unwrap(), 0, "one is to be told of");
    let left = store.lease_events(9, 30, 40).await.unwrap();
    let [LeasedEvent { event, attempt: 1 }] = &left[..] else { unreachable!("one waits: {left:?}") };
    assert_eq!(store.sweep_events(i64::MAX, 100).await.unwrap(), 1);
    store.settle_event(event.id, 1, EventOutcome::Done).await.unwrap();
    assert_eq!(ids(&scene, None, 9).await, [event.id], "told, and still in the log");
    assert_eq!(store.sweep_events(i64::MAX, 100).await.unwrap(), 1);
    let highest = event.id;
    note(&scene, &[false], 50).await;
    assert!(ids(&scene, None, 9).await[0] > EventId(highest.0 + 2), "those after it are gone as well");
}

pub(super) async fn told_once_tried_again_or_given_up(scene: Scene) {
    let store = &scene.store;
    note(&scene, &[true, false], 10).await;
    note(&scene, &[true], 11).await;
    note(&scene, &[true], 12).await;
    assert_eq!(store.waiting_events().await.unwrap(), 3);
    assert_eq!(lease(&scene, 9, 9).await, []);
    // The oldest first, and each to one.
    assert_eq!(lease(&scene, 2, 12).await, [(10, 1), (11, 1)]);
    assert_eq!(lease(&scene, 9, 13).await, [(12, 1)]);
    assert_eq!(lease(&scene, 9, 61).await, []);
    // A lease that ran out: another attempt.
    assert_eq!(lease(&scene, 1, 62).await, [(10, 2)]);
    let first = ids(&scene, None, 1).await[0];
    // An older attempt settles nothing.
    store.settle_event(first, 1, EventOutcome::Done).await.unwrap();
    store.settle_event(first, 1, EventOutcome::Again(0)).await.unwrap();
    assert_eq!(store.waiting_events().await.unwrap(), 3);
    assert_eq!(lease(&scene, 9, 63).await, [(11, 2), (12, 2)]);
    store.settle_event(first, 2, EventOutcome::Again(70)).await.unwrap();
    assert_eq!(lease(&scene, 9, 69).await, []);
    assert_eq!(lease(&scene, 9, 70).await, [(10, 3)]);
    store.settle_event(first, 3, EventOutcome::Done).await.unwrap();
    store.settle_event(first, 3, EventOutcome::Done).await.unwrap();
    assert_eq!(store.waiting_events().await.unwrap(), 2);
    // The older one first, though the other has been due for longer.
    note(&scene, &[true], 80).await;
    assert_eq!(lease(&scene, 9, 500).await, [(11, 3), (12, 3), (80, 1)]);
    assert_eq!(ids(&scene, None, 9).await.len(), 5, "the log keeps them all");
}

/// Whoever follows the log by its numbers sees every event once.
pub(super) async fn who_follows_the_log_misses_nothing(scene: Scene) {
    let scene = Arc::new(scene);
    let noting: Vec<_> = (0..20)
        .map(|turn| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move {
                for _ in 0..5 {
                    note(&scene, &[false, true, false], turn).await;
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    loop {
        let ended = noting.iter().all(tokio::task::JoinHandle::is_finished);
        let next = ids(&scene, seen.last().copied(), 7).await;
        if next.is_empty() && ended {
            break;
        }
        seen.extend(next);
    }
    for noting in noting {
        noting.await.unwrap();
    }
    assert_eq!(ids(&scene, None, 1000).await, seen);
    assert_eq!(seen.len(), 300);
    let mut leased = Vec::new();
    loop {
        let next = scene.store.lease_events(9, 100, 200).await.unwrap();
        if next.is_empty() {
            break;
        }
        leased.extend(next.into_iter().map(|leased| leased.event.id));
    }
    assert_eq!(leased.len(), 100);
}

pub(super) async fn each_event_is_leased_to_one(scene: Scene) {
    note(&scene, &[true; 60], 1).await;
    let scene = Arc::new(scene);
    let leases: Vec<_> = (0..20)
        .map(|_| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move { scene.store.lease_events(4, 1, 100).await.unwrap() })
        })
        .collect();
    let mut leased = Vec::new();
    for lease in leases {
        leased.extend(lease.await.unwrap());
    }
    // Where one is passed over because somebody else is about to take it, a worker gets less.
    leased.extend(scene.store.lease_events(60, 1, 100).await.unwrap());
    assert!(leased.iter().all(|leased| leased.attempt == 1));
    leased.sort_by_key(|leased| leased.event.id);
    leased.dedup_by_key(|leased| leased.event.id);
    assert_eq!(leased.len(), 60);
}
