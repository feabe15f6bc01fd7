//! Many accounts at once in the directory: the outcome is that of some order.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::directory::{INDEX, NEXT, listing, placement};
use super::scene::{Scene, account};
use crate::{ChangeId, Enrolled, Listing, ListingId, Millis, NewListing, Pick, Placement};

/// Everybody verified one identifier, in some order: whoever enrols when, the last one has it.
pub(super) async fn of_many_that_enrol_at_once_the_latest_has_it(scene: Scene) {
    const PEOPLE: u8 = 16;
    let mut tokens = Vec::new();
    for who in 0..PEOPLE {
        tokens.push(scene.verify_to_list(who, 1).await);
    }
    let scene = Arc::new(scene);
    let enrolling: Vec<_> = tokens
        .into_iter()
        .zip(0..PEOPLE)
        .map(|(token, who)| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move {
                // 7 is coprime to 16.
                let new = NewListing {
                    placements: vec![placement(INDEX, who), placement(NEXT, who)],
                    ..scene.new_listing(who, 1, token, Millis::from(who * 7 % PEOPLE))
                };
                scene.store.enrol(new, 2).await.unwrap()
            })
        })
        .collect();
    let mut listed = 0;
    for enrolling in enrolling {
        match enrolling.await.unwrap() {
            Enrolled::Listed => listed += 1,
            other => assert_eq!(other, Enrolled::NewerOwner),
        }
    }
    let last = (0..PEOPLE).find(|who| who * 7 % PEOPLE == PEOPLE - 1).unwrap();
    let there = scene.standing(1, 3).await.unwrap();
    assert_eq!((there.account, there.verified_at), (account(last), Millis::from(PEOPLE - 1)));
    for index in [INDEX, NEXT] {
        let found = scene.store.placements(index, Pick::After(None, 9), 3).await.unwrap();
        assert_eq!(found, [(listing(1), placement(index, last))]);
    }
    let changes = scene.store.listing_changes(Some(ChangeId(0)), 100).await.unwrap();
    assert_eq!(changes.len(), listed);
    assert_eq!(changes.last().unwrap().0.0, there.revision.0);
    for who in 0..PEOPLE {
        let own = scene.store.listings_of(account(who), 3).await.unwrap();
        assert_eq!(own.len(), usize::from(who == last));
    }
}

/// An account that enrols several identifiers at once gets no more than it may have.
pub(super) async fn many_at_once_never_exceed_what_an_account_may_have(scene: Scene) {
    let mut tokens = Vec::new();
    for n in 0..12 {
        tokens.push((n, scene.verify_to_list(1, 1).await));
    }
    let scene = Arc::new(scene);
    let enrolling: Vec<_> = tokens
        .into_iter()
        .map(|(n, token)| {
            let scene = Arc::clone(&scene);
            let new = NewListing { most: 3, ..scene.new_listing(1, n, token, 1) };
            tokio::spawn(async move { scene.store.enrol(new, 2).await.unwrap() })
        })
        .collect();
    let mut listed = 0;
    for enrolling in enrolling {
        listed += u32::from(enrolling.await.unwrap() == Enrolled::Listed);
    }
    assert_eq!(listed, 3);
    assert_eq!(scene.store.listings_of(account(1), 3).await.unwrap().len(), 3);
}

/// Who keeps an index in memory goes by the changes alone: in the end it has what is there, whoever does what meanwhile.
pub(super) async fn who_follows_the_changes_misses_nothing(scene: Scene) {
    const PEOPLE: u8 = 10;
    let scene = Arc::new(scene);
    let working: Vec<_> = (0..PEOPLE).map(|who| tokio::spawn(come_and_go(Arc::clone(&scene), who))).collect();
    let store = &scene.store;
    let (mut kept, mut seen, mut read) = (Vec::<(ListingId, Placement)>::new(), ChangeId(0), BTreeSet::new());
    loop {
        let ended = working.iter().all(tokio::task::JoinHandle::is_finished);
        let changes = store.listing_changes(Some(seen), 5).await.unwrap();
        if changes.is_empty() && ended {
            break;
        }
        seen = changes.last().map_or(seen, |(id, _)| *id);
        read.extend(changes.iter().map(|(id, _)| *id));
        let ids: Vec<ListingId> = changes.into_iter().map(|(_, id)| id).collect();
        kept.retain(|(id, _)| !ids.contains(id));
        kept.extend(store.placements(NEXT, Pick::These(ids), 3).await.unwrap());
    }
    for working in working {
        working.await.unwrap();
    }
    let all = store.listing_changes(Some(ChangeId(0)), u32::MAX).await.unwrap();
    assert_eq!(all.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>(), read);
    kept.sort_by_key(|(id, _)| *id);
    assert_eq!(kept, store.placements(NEXT, Pick::After(None, 1000), 3).await.unwrap());
    assert!(all.len() > 60, "{}", all.len());
}

/// Enrols, is placed, enrols what another has too, goes.
async fn come_and_go(scene: Arc<Scene>, who: u8) {
    let store = &scene.store;
    for turn in 0..6 {
        for n in [who, 100 + turn] {
            let token = scene.verify_to_list(who, 1).await;
            let new = scene.new_listing(who, n, token, Millis::from(turn) * 10 + Millis::from(who));
            let told = store.enrol(new, 2).await.unwrap();
            assert!(matches!(told, Enrolled::Listed | Enrolled::NewerOwner), "{told:?}");
        }
        let unplaced = store.unplaced(NEXT, None, 7, 2).await.unwrap();
        // Nothing else is there to be placed twice in one index.
        let place = |it: &Listing| (it.id, it.revision, placement(NEXT, it.account.as_bytes()[0]));
        let placed = store.place(unplaced.iter().map(place).collect(), 2).await.unwrap();
        assert!(placed <= 7);
        match (turn + who) % 4 {
            0 => drop(store.withdraw(account(who), None, 2).await.unwrap()),
            1 => drop(store.withdraw(account(who), Some(listing(who)), 2).await.unwrap()),
            2 => drop(scene.remove(who, 2).await),
            _ => {}
        }
    }
}
