//! Listings that the operator puts up.

use super::directory::{INDEX, NEXT, NONE, listing, placement};
use super::scene::{FAR, Scene, account};
use crate::{
    ChangeId, Enrolled, Generation, Listing, Load, Loaded, LoadedListing, Millis, NewContent, NewListing,
    Pick, Revision,
};

impl Scene {
    pub(super) async fn load(&self, new: Vec<LoadedListing>, now: Millis) -> Vec<Loaded> {
        self.store.load_listings(new, now).await.unwrap()
    }
}

pub(super) fn loaded(who: u8, n: u8, verified_at: Millis) -> LoadedListing {
    LoadedListing {
        id: listing(n),
        account: account(who),
        verified_at,
        expires_at: FAR,
        load: Load::New(NewContent {
            sealed: vec![who, n, 7],
            placements: vec![placement(INDEX, n)],
            sealed_account: vec![who, 99],
            fresh_generation: Generation(i64::from(who)),
            forget_at: 100,
        }),
    }
}

fn same(who: u8, n: u8, verified_at: Millis, revision: Revision) -> LoadedListing {
    LoadedListing { load: Load::Same(revision), ..loaded(who, n, verified_at) }
}

pub(super) async fn many_at_once_without_tokens_and_beyond_what_an_account_may_have(scene: Scene) {
    let store = &scene.store;
    assert_eq!(scene.load(vec![], 1).await, []);
    let mut seen = ChangeId(0);
    assert_eq!(scene.changed(&mut seen).await, NONE);
    // Out of the order of their ids, and most of one account.
    let new: Vec<LoadedListing> =
        (0..200).map(|n: u8| loaded(if n.is_multiple_of(9) { 2 } else { 1 }, 200 - n, 5)).collect();
    assert_eq!(scene.load(new, 6).await, [Loaded::Listed; 200]);
    assert_eq!(store.count_listings(None, 7).await.unwrap(), 200);
    assert_eq!(store.count_listings(Some(INDEX), 7).await.unwrap(), 200);
    assert_eq!(store.listings_of(account(2), 7).await.unwrap().len(), 23);
    let changes = store.listing_changes(Some(seen), 1000).await.unwrap();
    assert_eq!(changes.len(), 200);
    for (change, id) in changes {
        let there = store.listings(Pick::These(vec![id]), 7).await.unwrap().pop().unwrap();
        assert_eq!(there.revision, Revision(change.0), "its change's number is its revision");
    }
    let one = scene.standing(200, 7).await.unwrap();
    let expected = Listing {
        id: listing(200),
        account: account(2),
        sealed: vec![2, 200, 7],
        verified_at: 5,
        expires_at: FAR,
        revision: one.revision,
    };
    assert_eq!(one, expected);
    assert_eq!(store.sealed_accounts(vec![account(2)]).await.unwrap(), [Some(vec![2, 99])]);
    // What was loaded is an account's as any listing is.
    assert_eq!(store.withdraw(account(2), Some(listing(200)), 8).await.unwrap(), 1);
    scene.remove(2, 9).await;
    assert_eq!(store.listings_of(account(2), 9).await.unwrap(), []);
    assert_eq!(store.count_listings(None, 9).await.unwrap(), 177);
}

pub(super) async fn what_was_verified_later_stays(scene: Scene) {
    let store = &scene.store;
    for (n, verified_at) in [(1, 9), (2, 10), (3, 11)] {
        assert_eq!(scene.enrol(1, n, verified_at, 12).await, Enrolled::Listed);
    }
    let later = scene.standing(3, 13).await.unwrap();
    let mut seen = ChangeId(0);
    scene.changed(&mut seen).await;
    let new = (1..=4).map(|n| LoadedListing { expires_at: FAR - 1, ..loaded(2, n, 10) }).collect();
    assert_eq!(
        scene.load(new, 13).await,
        [Loaded::Listed, Loaded::Listed, Loaded::Newer, Loaded::Listed],
        "at a tie the operator's stands"
    );
    let mut changed = scene.changed(&mut seen).await;
    changed.sort_unstable();
    assert_eq!(changed, [1, 2, 4]);
    assert_eq!(scene.standing(3, 13).await, Some(later));
    assert_eq!(store.listings_of(account(1), 13).await.unwrap().len(), 1);
    let taken = scene.standing(1, 13).await.unwrap();
    assert_eq!((taken.account, taken.verified_at, taken.expires_at), (account(2), 10, FAR - 1));
    // One's own as well: what the operator says is older.
    let own = vec![loaded(1, 3, 10), loaded(1, 3, 11)];
    for (new, outcome) in own.into_iter().zip([Loaded::Newer, Loaded::Listed]) {
        assert_eq!(scene.load(vec![new], 13).await, [outcome]);
    }
    // And whoever verifies after it has it.
    assert_eq!(scene.enrol(3, 1, 11, 14).await, Enrolled::Listed);
    assert_eq!(scene.standing(1, 14).await.unwrap().account, account(3));
    // What has expired stands in nobody's way, also one's own.
    scene.enrol_until(5, 8, 20, 15).await;
    scene.enrol_until(6, 9, 20, 15).await;
    assert_eq!(scene.load(vec![loaded(6, 8, 1), loaded(6, 9, 1)], 20).await, [Loaded::Listed; 2]);
    assert_eq!(scene.standing(9, 20).await.unwrap().verified_at, 1);
    assert_eq!(store.count_listings(Some(INDEX), 20).await.unwrap(), 6);
}

pub(super) async fn placements_are_those_of_what_is_loaded(scene: Scene) {
    let store = &scene.store;
    let token = scene.verify_to_list(1, 0).await;
    let placements = vec![placement(INDEX, 1), placement(NEXT, 1)];
    let new = NewListing { placements, ..scene.new_listing(1, 1, token, 1) };
    assert_eq!(store.enrol(new, 2).await.unwrap(), Enrolled::Listed);
    scene.enrol(1, 2, 1, 2).await;
    let mut next = loaded(2, 1, 3);
    if let Load::New(content) = &mut next.load {
        content.placements = vec![placement(NEXT, 9)];
    }
    let mut bare = loaded(2, 3, 3);
    if let Load::New(content) = &mut bare.load {
        content.placements = vec![];
    }
    assert_eq!(scene.load(vec![next, bare], 4).await, [Loaded::Listed; 2]);
    assert_eq!((scene.placed(INDEX, 4).await, scene.placed(NEXT, 4).await), (vec![2], vec![1]));
    let found = store.placements(NEXT, Pick::After(None, 9), 4).await.unwrap();
    assert_eq!(found, [(listing(1), placement(NEXT, 9))]);
    let unplaced: Vec<u8> = store
        .unplaced(INDEX, None, 9, 4)
        .await
        .unwrap()
        .iter()
        .map(|listing| listing.id.as_bytes()[0])
        .collect();
    assert_eq!(unplaced, [1, 3]);
}

pub(super) async fn what_is_the_same_lives_longer(scene: Scene) {
    let store = &scene.store;
    scene.enrol_until(1, 1, 50, 5).await;
    scene.enrol_until(1, 2, FAR, 5).await;
    let [first, second] = [scene.standing(1, 6).await.unwrap(), scene.standing(2, 6).await.unwrap()];
    let mut seen = ChangeId(0);
    scene.changed(&mut seen).await;
    // The other ends earlier than it does already.
    let new = vec![
        LoadedListing { expires_at: 70, ..same(1, 1, 7, first.revision) },
        LoadedListing { expires_at: 70, ..same(1, 2, 7, second.revision) },
    ];
    assert_eq!(scene.load(new, 8).await, [Loaded::Unchanged; 2]);
    assert_eq!(scene.changed(&mut seen).await, [1, 2]);
    for (n, before, expires_at) in [(1, &first, 70), (2, &second, FAR)] {
        let after = scene.standing(n, 8).await.unwrap();
        assert!(after.revision > before.revision);
        let expected = Listing { verified_at: 7, expires_at, revision: after.revision, ..before.clone() };
        assert_eq!(after, expected);
    }
    assert_eq!(scene.placed(INDEX, 8).await, [1, 2], "where it stands stays");
    // Nothing is noted of what was verified later already, or at that time.
    let now = scene.standing(1, 8).await.unwrap();
    for verified_at in [6, 7] {
        let again = LoadedListing { expires_at: 90, ..same(1, 1, verified_at, now.revision) };
        assert_eq!(scene.load(vec![again], 9).await, [Loaded::Unchanged]);
    }
    assert_eq!(scene.standing(1, 9).await, Some(now.clone()));
    assert_eq!(scene.changed(&mut seen).await, NONE);
    // Another's, of an earlier state, gone, or expired: the caller looks again.
    for (new, at) in [
        (same(2, 1, 10, now.revision), 9),
        (same(1, 1, 10, first.revision), 9),
        (same(1, 4, 10, now.revision), 9),
        (same(1, 1, 80, now.revision), 70),
    ] {
        assert_eq!(scene.load(vec![new], at).await, [Loaded::Moved]);
    }
    assert_eq!(scene.changed(&mut seen).await, NONE);
    assert_eq!(scene.standing(1, 9).await, Some(now));
    // Together with what is new.
    let mixed = vec![same(1, 9, 9, Revision(1)), loaded(3, 3, 9), same(1, 2, 6, Revision(0))];
    assert_eq!(scene.load(mixed, 10).await, [Loaded::Moved, Loaded::Listed, Loaded::Moved]);
    assert_eq!(store.count_listings(None, 10).await.unwrap(), 3);
}

pub(super) async fn a_loaded_account_is_known_as_long_as_its_listing(scene: Scene) {
    let store = &scene.store;
    let short = |who, n| LoadedListing { expires_at: 300, ..loaded(who, n, 1) };
    assert_eq!(scene.load(vec![short(1, 1), loaded(2, 2, 1)], 2).await, [Loaded::Listed; 2]);
    while store.sweep(9, 200).await.unwrap() > 0 {}
    let names = async || store.sealed_accounts(vec![account(1), account(2)]).await.unwrap();
    assert_eq!(names().await, [Some(vec![1, 99]), Some(vec![2, 99])]);
    while store.sweep(9, 300).await.unwrap() > 0 {}
    assert_eq!(names().await, [None, Some(vec![2, 99])]);
    // An account that is there keeps its name and its life.
    let (token, generation) = scene.verify(3, 0).await;
    let before = store.sealed_accounts(vec![account(3)]).await.unwrap();
    assert_eq!(scene.load(vec![loaded(3, 3, 1)], 301).await, [Loaded::Listed]);
    assert_eq!(store.sealed_accounts(vec![account(3)]).await.unwrap(), before);
    let import = scene.new_import(3, (token, generation), 0);
    assert_eq!(store.accept_import(import, 302).await.unwrap(), crate::ImportAccepted::Accepted);
}
