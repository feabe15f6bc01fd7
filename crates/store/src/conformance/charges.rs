//! Charges: what fits first is taken, what was paid for is free, and all of it is noted or nothing is.

use std::sync::Arc;

use super::scene::{DAY, Scene, account};
use crate::{
    AuditId, Charge, Charged, Event, EventKind, Exhausted, Limit, Millis, NewEvent, OnceId, PaidRequest,
    Permit, RequestId,
};

fn permit(limit: Limit, amount: u32, capacity: u32, per_day: u32) -> Permit {
    Permit { limit, key: vec![7; 16], amount, capacity, per_day }
}

fn event(kind: EventKind) -> NewEvent {
    let account = Some(AuditId::from_bytes([5; 16]));
    NewEvent { kind, account, details: "{\"n\":1}".into(), tell: false }
}

fn request(id: u8, digest: u8) -> PaidRequest {
    PaidRequest {
        account: account(1),
        id: RequestId::from_bytes([id; 16]),
        digest: [digest; 32],
        expires_at: 1000,
    }
}

/// One permit of five, that never leaks out.
fn one_of_five(request: Option<PaidRequest>) -> Charge {
    Charge {
        alternatives: vec![vec![permit(Limit::AccountLookups, 1, 5, 0)]],
        request,
        granted: Some(event(EventKind::CredentialsIssued)),
        refused: Some(event(EventKind::RateLimited)),
    }
}

async fn level(scene: &Scene, limit: Limit, now: Millis) -> u32 {
    scene.store.levels(vec![permit(limit, 0, 0, 86_400_000)], now).await.unwrap()[0]
}

async fn noted(scene: &Scene) -> Vec<EventKind> {
    scene.store.events(None, 1000).await.unwrap().into_iter().map(|event| event.kind).collect()
}

/// The leaky bucket of seed 001, with its known answers.
pub(super) async fn exact_buckets_leak_on_every_millisecond(scene: Scene) {
    let ask = |amount, capacity, per_day| vec![permit(Limit::AccountCredentials, amount, capacity, per_day)];
    scene.take(ask(200, 1000, 86_400_000), 0).await.unwrap();
    assert_eq!(level(&scene, Limit::AccountCredentials, 0).await, 200, "800 left");
    scene.take(ask(100, 1000, 86_400_000), 50).await.unwrap();
    assert_eq!(level(&scene, Limit::AccountCredentials, 50).await, 250, "750 left");

    let ask = |amount| vec![permit(Limit::PrefixCredentials, amount, 60, 86_400)];
    for _ in 0..2 {
        scene.take(ask(25), 7).await.unwrap();
    }
    let refused = Err(Exhausted { limit: Limit::PrefixCredentials, retry_at: Some(7 + 15_000) });
    assert_eq!(scene.take(ask(25), 7).await, refused);
    assert_eq!(scene.take(ask(25), 15_006).await, refused);
    assert_eq!(scene.take(ask(25), 15_007).await, Ok(()));
    // Empty at 7 + 75 s, and then swept.
    assert_eq!(scene.store.sweep(10, 75_006).await.unwrap(), 1, "the first one is empty");
    assert_eq!(scene.store.sweep(10, 75_007).await.unwrap(), 1);
}

pub(super) async fn changes_apply_to_buckets_in_use(scene: Scene) {
    let ask = |amount, capacity, per_day| vec![permit(Limit::AccountLookups, amount, capacity, per_day)];
    scene.take(ask(50, 60, 86_400), 0).await.unwrap();
    let refused = |retry_at| Err(Exhausted { limit: Limit::AccountLookups, retry_at });
    // Less room, and more.
    assert_eq!(scene.take(ask(1, 40, 86_400), 0).await, refused(Some(11_000)));
    scene.take(ask(20, 70, 86_400), 0).await.unwrap();
    // Ten times slower, and ten times faster.
    assert_eq!(scene.take(ask(1, 70, 8640), 0).await, refused(Some(10_000)));
    assert_eq!(scene.take(ask(1, 70, 864_000), 0).await, refused(Some(100)));
    assert_eq!(scene.take(ask(11, 70, 8640), 10_000).await, refused(Some(110_000)));
    assert_eq!(scene.take(ask(11, 70, 864_000), 1100).await, Ok(()));
    // A clock that goes back leaks nothing, and then nothing twice.
    assert_eq!(scene.take(ask(1, 70, 86_400), 0).await, refused(Some(2100)));
    assert_eq!(scene.take(ask(1, 70, 86_400), 1100).await, refused(Some(2100)));
}

pub(super) async fn the_first_alternative_that_fits(scene: Scene) {
    let guaranteed = |amount| vec![permit(Limit::GuaranteedLookups, amount, 10, 0)];
    let shared = |amount| {
        vec![
            permit(Limit::AccountLookups, amount, 30, 86_400),
            permit(Limit::AllLookups, amount, 20, 86_400_000),
        ]
    };
    let charge = async |alternatives: Vec<Vec<Permit>>, now| {
        let charge = Charge { alternatives, ..Charge::default() };
        scene.store.charge(charge, now).await.unwrap()
    };
    let levels = async |now| {
        let mut levels = vec![];
        for limit in [Limit::GuaranteedLookups, Limit::AccountLookups, Limit::AllLookups] {
            let per_day = if limit == Limit::GuaranteedLookups { 0 } else { 86_400 };
            levels.push(scene.store.levels(vec![permit(limit, 0, 0, per_day)], now).await.unwrap()[0]);
        }
        levels
    };
    assert_eq!(charge(vec![guaranteed(8), shared(8)], 0).await, Charged::Taken(0));
    assert_eq!(levels(0).await, [8, 0, 0], "only the first one's");
    assert_eq!(charge(vec![guaranteed(8), shared(8)], 0).await, Charged::Taken(1));
    assert_eq!(levels(0).await, [8, 8, 8]);
    // Neither: the one that would fit sooner is told, whichever comes first, and nothing is taken.
    let soon = Charged::Exhausted(Exhausted { limit: Limit::AllLookups, retry_at: Some(1) });
    let never = vec![permit(Limit::GuaranteedLookups, 3, 10, 0)];
    let late = vec![permit(Limit::AccountLookups, 23, 30, 86_400)];
    assert_eq!(charge(vec![never.clone(), shared(13), late.clone()], 0).await, soon);
    assert_eq!(charge(vec![late, shared(13), never], 0).await, soon);
    assert_eq!(levels(0).await, [8, 8, 8]);
    // An alternative that asks for nothing fits, and so does no alternative.
    assert_eq!(charge(vec![guaranteed(9), vec![], shared(1)], 0).await, Charged::Taken(1));
    assert_eq!(charge(vec![], 0).await, Charged::Taken(0));
    assert_eq!(levels(0).await, [8, 8, 8]);
    assert_eq!(scene.store.sweep(10, DAY).await.unwrap(), 2, "no row is left of what was only asked");
}

pub(super) async fn a_request_is_paid_for_once(scene: Scene) {
    let store = &scene.store;
    let charge = async |request, now| store.charge(one_of_five(Some(request)), now).await.unwrap();
    assert_eq!(charge(request(1, 1), 0).await, Charged::Taken(0));
    // A full bucket keeps nobody from what is paid for.
    scene.take(vec![permit(Limit::AccountLookups, 3, 5, 0)], 0).await.unwrap();
    assert_eq!(charge(request(1, 1), 1).await, Charged::Repeated);
    assert_eq!(charge(request(1, 2), 2).await, Charged::OtherRequest);
    assert_eq!(level(&scene, Limit::AccountLookups, 0).await, 4);
    assert_eq!(noted(&scene).await, [EventKind::CredentialsIssued]);
    // Others' ids are theirs.
    let theirs = PaidRequest { account: account(2), ..request(1, 2) };
    assert_eq!(charge(theirs, 3).await, Charged::Taken(0));
    // What is refused is not paid for.
    let refused = Charged::Exhausted(Exhausted { limit: Limit::AccountLookups, retry_at: None });
    assert_eq!(charge(request(2, 2), 4).await, refused);
    assert_eq!(charge(request(2, 2), 5).await, refused);
    assert_eq!(charge(request(2, 3), 5).await, refused);
    let issued = EventKind::CredentialsIssued;
    let limited = EventKind::RateLimited;
    assert_eq!(noted(&scene).await, [issued, issued, limited, limited, limited]);
    // Its time is over: it is another one.
    assert_eq!(charge(request(1, 1), 999).await, Charged::Repeated);
    assert_eq!(charge(request(1, 1), 1000).await, refused);
    let free = Charge { alternatives: vec![], ..one_of_five(Some(request(1, 9))) };
    assert_eq!(store.charge(free, 1000).await.unwrap(), Charged::Taken(0));
    assert_eq!(store.sweep(10, 999).await.unwrap(), 0);
    assert_eq!(store.sweep(10, 1000).await.unwrap(), 2, "both have expired");
    // Removal takes them away, and the log stays.
    let late = |digest| PaidRequest { expires_at: 9000, ..request(1, digest) };
    let free = |digest| Charge { alternatives: vec![], ..one_of_five(Some(late(digest))) };
    assert_eq!(store.charge(free(1), 1001).await.unwrap(), Charged::Taken(0));
    assert_eq!(store.charge(free(2), 1002).await.unwrap(), Charged::OtherRequest);
    let before = store.events(None, 100).await.unwrap();
    scene.remove(1, 1003).await;
    assert_eq!(store.events(None, 100).await.unwrap(), before);
    assert_eq!(store.charge(free(2), 1004).await.unwrap(), Charged::Taken(0));
}

pub(super) async fn what_became_of_it_is_noted(scene: Scene) {
    let store = &scene.store;
    let full = || vec![vec![permit(Limit::AccountLookups, 6, 5, 0)]];
    let told = NewEvent { tell: true, ..event(EventKind::LookupsRefused) };
    let silent = Charge { alternatives: full(), request: Some(request(1, 1)), ..Charge::default() };
    assert!(matches!(store.charge(silent, 1).await.unwrap(), Charged::Exhausted(_)));
    let loud = Charge { alternatives: full(), refused: Some(told), ..Charge::default() };
    assert!(matches!(store.charge(loud, 2).await.unwrap(), Charged::Exhausted(_)));
    assert_eq!(store.charge(one_of_five(None), 3).await.unwrap(), Charged::Taken(0));
    let events = store.events(None, 10).await.unwrap();
    let [refused, granted] = &events[..] else { unreachable!("two are noted: {events:?}") };
    assert!(refused.id < granted.id);
    let account = Some(AuditId::from_bytes([5; 16]));
    let expected = Event {
        id: refused.id,
        at: 2,
        kind: EventKind::LookupsRefused,
        account,
        details: "{\"n\":1}".into(),
    };
    assert_eq!(*refused, expected);
    assert_eq!((granted.at, granted.kind), (3, EventKind::CredentialsIssued));
    assert_eq!(store.waiting_events().await.unwrap(), 1, "the webhook is told of the one");
    assert_eq!(level(&scene, Limit::AccountLookups, 3).await, 1);
}

/// As many callers as there are, a bucket is never overdrawn, and nobody waits in a circle for what another holds.
pub(super) async fn many_at_once_never_exceed_a_bucket(scene: Scene) {
    let scene = Arc::new(scene);
    let charges: Vec<_> = (0..40)
        .map(|turn| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move {
                let mut alternatives = vec![
                    vec![permit(Limit::GuaranteedLookups, 1, 7, 0)],
                    vec![permit(Limit::AccountLookups, 1, 9, 0), permit(Limit::AllLookups, 1, 5, 0)],
                ];
                if turn % 2 == 0 {
                    alternatives.iter_mut().for_each(|permits| permits.reverse());
                    alternatives.reverse();
                }
                let charge = Charge { alternatives, ..one_of_five(None) };
                scene.store.charge(charge, 0).await.unwrap()
            })
        })
        .collect();
    let mut taken = 0;
    for charge in charges {
        taken += usize::from(matches!(charge.await.unwrap(), Charged::Taken(_)));
    }
    assert_eq!(taken, 12);
    for (limit, full) in [(Limit::GuaranteedLookups, 7), (Limit::AccountLookups, 5), (Limit::AllLookups, 5)] {
        assert_eq!(level(&scene, limit, 0).await, full);
    }
    let noted = noted(&scene).await;
    let granted = noted.iter().filter(|kind| **kind == EventKind::CredentialsIssued).count();
    assert_eq!((granted, noted.len()), (12, 40));
}

pub(super) async fn many_repetitions_at_once_are_paid_for_once(scene: Scene) {
    let scene = Arc::new(scene);
    let charges: Vec<_> = (0..40)
        .map(|turn: u8| {
            let scene = Arc::clone(&scene);
            // Two requests, and one of them with two contents.
            let request = request(turn % 2, if turn % 4 == 3 { 1 } else { 0 });
            tokio::spawn(async move { scene.store.charge(one_of_five(Some(request)), 0).await.unwrap() })
        })
        .collect();
    let mut told = Vec::new();
    for charge in charges {
        told.push(charge.await.unwrap());
    }
    let count = |told_so: Charged| told.iter().filter(|told| **told == told_so).count();
    assert_eq!((count(Charged::Taken(0)), count(Charged::OtherRequest)), (2, 10));
    assert_eq!(count(Charged::Repeated), 28);
    assert_eq!(level(&scene, Limit::AccountLookups, 0).await, 2);
    assert_eq!(noted(&scene).await.len(), 2);
}

pub(super) async fn once_is_once_until_it_expires(scene: Scene) {
    let store = &scene.store;
    let id = |n| OnceId::from_bytes([n; 32]);
    assert!(store.use_once(id(1), 100, 0).await.unwrap());
    assert!(!store.use_once(id(1), 500, 1).await.unwrap());
    assert!(!store.use_once(id(1), 500, 99).await.unwrap());
    assert!(store.use_once(id(2), 100, 99).await.unwrap(), "another one");
    assert!(store.use_once(id(1), 200, 100).await.unwrap(), "over, though its row is there");
    assert!(!store.use_once(id(1), 200, 199).await.unwrap());
    assert_eq!(store.sweep(10, 99).await.unwrap(), 0);
    assert_eq!(store.sweep(10, 100).await.unwrap(), 1);
    assert_eq!(store.sweep(10, 200).await.unwrap(), 1);

    let scene = Arc::new(scene);
    // New ones, and ones whose row has expired.
    for now in [300, 1000] {
        let uses: Vec<_> = (0..30)
            .map(|turn: u8| {
                let scene = Arc::clone(&scene);
                tokio::spawn(async move { scene.store.use_once(id(turn % 3), now + 100, now).await.unwrap() })
            })
            .collect();
        let mut used = 0;
        for once in uses {
            used += usize::from(once.await.unwrap());
        }
        assert_eq!(used, 3);
    }
}
