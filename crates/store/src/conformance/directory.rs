//! The directory's listings: who has one, and until when.

use super::scene::{DAY, FAR, Scene, account, half};
use crate::{
    ChangeId, Enrolled, ImportAccepted, IndexId, Listing, ListingId, LiveToken, Millis, NewImport,
    NewListing, Pick, Placement, Removal, Removed, Revision, TokenId, TokenUse,
};

/// Two indexes of one profile, and one of another.
pub(super) const INDEX: IndexId = IndexId { profile: 1, epoch: 1 };
pub(super) const NEXT: IndexId = IndexId { profile: 1, epoch: u32::MAX };
pub(super) const OTHER: IndexId = IndexId { profile: 255, epoch: 1 };

/// No listing.
pub(super) const NONE: [u8; 0] = [];

pub(super) const fn listing(n: u8) -> ListingId {
    ListingId::from_bytes([n; 16])
}

pub(super) fn placement(index: IndexId, n: u8) -> Placement {
    Placement { index, sealed: vec![n; 13] }
}

impl Scene {
    /// A token for a listing.
    pub(super) async fn verify_to_list(&self, who: u8, now: Millis) -> TokenId {
        self.verify_for(TokenUse::Directory, who, now).await.0
    }

    pub(super) fn new_listing(&self, who: u8, n: u8, token: TokenId, verified_at: Millis) -> NewListing {
        NewListing {
            id: listing(n),
            account: account(who),
            token,
            sealed: vec![who, n],
            verified_at,
            expires_at: FAR,
            placements: vec![placement(INDEX, n)],
            most: 100,
        }
    }

    /// Verifies and enrols at once.
    pub(super) async fn enrol(&self, who: u8, n: u8, verified_at: Millis, now: Millis) -> Enrolled {
        let token = self.verify_to_list(who, now).await;
        self.store.enrol(self.new_listing(who, n, token, verified_at), now).await.unwrap()
    }

    /// Enrols what ends at a time.
    pub(super) async fn enrol_until(&self, who: u8, n: u8, expires_at: Millis, now: Millis) {
        let token = self.verify_to_list(who, now).await;
        let new = NewListing { expires_at, ..self.new_listing(who, n, token, now) };
        assert_eq!(self.store.enrol(new, now).await.unwrap(), Enrolled::Listed);
    }

    pub(super) async fn standing(&self, n: u8, now: Millis) -> Option<Listing> {
        let mut found = self.store.listings(Pick::These(vec![listing(n)]), now).await.unwrap();
        assert!(found.len() <= 1);
        found.pop()
    }

    /// The listings that have a placement, by their first byte.
    pub(super) async fn placed(&self, index: IndexId, now: Millis) -> Vec<u8> {
        let found = self.store.placements(index, Pick::After(None, 1000), now).await.unwrap();
        found.iter().map(|(id, _)| id.as_bytes()[0]).collect()
    }

    /// What changed behind the last change that was seen.
    pub(super) async fn changed(&self, seen: &mut ChangeId) -> Vec<u8> {
        let changes = self.store.listing_changes(Some(*seen), 1000).await.unwrap();
        assert!(changes.windows(2).all(|two| two[0].0 < two[1].0));
        *seen = changes.last().map_or(*seen, |(id, _)| *id);
        changes.iter().map(|(_, id)| id.as_bytes()[0]).collect()
    }
}

pub(super) async fn a_token_for_the_one_is_none_for_the_other(scene: Scene) {
    let store = &scene.store;
    let (matching, generation) = scene.verify(1, 0).await;
    let (directory, same) = scene.verify_for(TokenUse::Directory, 1, 1).await;
    assert_eq!(generation, same);
    let live = |token| vec![LiveToken { token, sealed_identifier: vec![1; 3] }];
    assert_eq!(store.live_tokens(account(1), TokenUse::Matching, 2).await.unwrap(), live(matching));
    assert_eq!(store.live_tokens(account(1), TokenUse::Directory, 2).await.unwrap(), live(directory));

    let import = scene.new_import(1, (directory, generation), 0);
    assert_eq!(store.accept_import(import.clone(), 2).await.unwrap(), ImportAccepted::InvalidToken);
    let both = NewImport { tokens: vec![matching, directory], ..import };
    assert_eq!(store.accept_import(both, 2).await.unwrap(), ImportAccepted::InvalidToken);
    let new = scene.new_listing(1, 1, matching, 0);
    assert_eq!(store.enrol(new, 2).await.unwrap(), Enrolled::InvalidToken);
    // Neither was consumed.
    let new = scene.new_listing(1, 1, directory, 0);
    assert_eq!(store.enrol(new, 2).await.unwrap(), Enrolled::Listed);
    let import = scene.new_import(1, (matching, generation), 0);
    assert_eq!(store.accept_import(import, 2).await.unwrap(), ImportAccepted::Accepted);
    for token_use in [TokenUse::Matching, TokenUse::Directory] {
        assert_eq!(store.live_tokens(account(1), token_use, 2).await.unwrap(), []);
    }
}

pub(super) async fn a_token_lists_once(scene: Scene) {
    let store = &scene.store;
    let token = scene.verify_to_list(1, 0).await;
    let new = scene.new_listing(1, 1, token, 5);
    // Another account's, unknown, or expired.
    scene.verify_to_list(2, 0).await;
    let foreign = NewListing { account: account(2), ..new.clone() };
    assert_eq!(store.enrol(foreign, 1).await.unwrap(), Enrolled::InvalidToken);
    let unknown = NewListing { token: TokenId::from_bytes([7; 16]), ..new.clone() };
    assert_eq!(store.enrol(unknown, 1).await.unwrap(), Enrolled::InvalidToken);
    assert_eq!(store.enrol(new.clone(), FAR).await.unwrap(), Enrolled::InvalidToken, "expired");
    let mut seen = ChangeId(0);
    assert_eq!(store.listing_changes(None, 9).await.unwrap(), []);
    assert_eq!(scene.changed(&mut seen).await, NONE, "a refusal changes nothing");
    assert_eq!(scene.placed(INDEX, 1).await, NONE);

    assert_eq!(store.enrol(new.clone(), FAR - 1).await.unwrap(), Enrolled::Listed);
    let last = store.listing_changes(None, 9).await.unwrap();
    assert_eq!(last.len(), 1);
    assert_eq!(store.listing_changes(None, 0).await.unwrap(), []);
    let expected = Listing {
        id: listing(1),
        account: account(1),
        sealed: vec![1, 1],
        verified_at: 5,
        expires_at: FAR,
        revision: Revision(last[0].0.0),
    };
    assert_eq!(scene.standing(1, FAR - 1).await, Some(expected.clone()));
    assert_eq!(store.listings_of(account(1), FAR - 1).await.unwrap(), [expected]);
    assert_eq!(store.listings_of(account(2), FAR - 1).await.unwrap(), []);
    assert_eq!(scene.changed(&mut seen).await, [1]);
    assert_eq!(
        store.placements(INDEX, Pick::These(vec![listing(1)]), 6).await.unwrap(),
        [(listing(1), placement(INDEX, 1))]
    );
    assert_eq!(store.enrol(new, FAR - 1).await.unwrap(), Enrolled::InvalidToken);
    assert_eq!(scene.changed(&mut seen).await, NONE);
}

pub(super) async fn the_later_verification_has_the_identifier(scene: Scene) {
    let store = &scene.store;
    assert_eq!(scene.enrol(1, 1, 10, 10).await, Enrolled::Listed);
    let first = scene.standing(1, 11).await.unwrap();
    let mut seen = ChangeId(0);
    assert_eq!(scene.changed(&mut seen).await, [1]);
    // Earlier, or at the same time: the one that stands stays, and the token is not consumed.
    for verified_at in [9, 10] {
        let token = scene.verify_to_list(2, 12).await;
        let new = scene.new_listing(2, 1, token, verified_at);
        assert_eq!(store.enrol(new, 12).await.unwrap(), Enrolled::NewerOwner);
        assert_eq!(scene.standing(1, 12).await.as_ref(), Some(&first));
        let later = scene.new_listing(2, 9, token, verified_at);
        assert_eq!(store.enrol(later, 12).await.unwrap(), Enrolled::Listed);
        store.withdraw(account(2), None, 12).await.unwrap();
    }
    assert_eq!(scene.placed(INDEX, 12).await, [1]);
    scene.changed(&mut seen).await;

    let token = scene.verify_to_list(2, 13).await;
    let placements = vec![placement(NEXT, 7), placement(OTHER, 8)];
    let new = NewListing { placements, ..scene.new_listing(2, 1, token, 11) };
    assert_eq!(store.enrol(new, 13).await.unwrap(), Enrolled::Listed);
    let second = scene.standing(1, 14).await.unwrap();
    assert_eq!((second.account, second.verified_at, &second.sealed), (account(2), 11, &vec![2, 1]));
    assert!(second.revision > first.revision);
    assert_eq!(store.listings_of(account(1), 14).await.unwrap(), []);
    assert_eq!(scene.changed(&mut seen).await, [1]);
    assert_eq!(seen.0, second.revision.0);
    assert_eq!((scene.placed(INDEX, 14).await, scene.placed(NEXT, 14).await), (vec![], vec![1]));
    let found = store.placements(OTHER, Pick::After(None, 9), 14).await.unwrap();
    assert_eq!(found, [(listing(1), placement(OTHER, 8))]);
    // The former owner has nothing to take down, and takes nothing of the new one's along.
    assert_eq!(store.withdraw(account(1), Some(listing(1)), 15).await.unwrap(), 0);
    assert_eq!(store.withdraw(account(1), None, 15).await.unwrap(), 0);
    scene.remove(1, 15).await;
    assert_eq!(scene.standing(1, 15).await, Some(second));
    assert_eq!(scene.changed(&mut seen).await, NONE);
}

pub(super) async fn the_own_listing_is_renewed(scene: Scene) {
    let store = &scene.store;
    scene.enrol(1, 1, 10, 10).await;
    let first = scene.standing(1, 11).await.unwrap();
    let token = scene.verify_to_list(1, 20).await;
    let renewed = NewListing {
        sealed: vec![8, 8],
        expires_at: FAR - 5,
        placements: vec![placement(NEXT, 3)],
        // Those besides this one.
        most: 1,
        ..scene.new_listing(1, 1, token, 20)
    };
    assert_eq!(store.enrol(renewed, 20).await.unwrap(), Enrolled::Listed);
    let second = scene.standing(1, 21).await.unwrap();
    assert_eq!((second.verified_at, second.expires_at, &second.sealed), (20, FAR - 5, &vec![8, 8]));
    assert!(second.revision > first.revision);
    assert_eq!((scene.placed(INDEX, 21).await, scene.placed(NEXT, 21).await), (vec![], vec![1]));
    // With a token that was given earlier: what it takes back is not the verification.
    let token = scene.verify_to_list(1, 22).await;
    let earlier = NewListing { sealed: vec![9], ..scene.new_listing(1, 1, token, 15) };
    assert_eq!(store.enrol(earlier, 22).await.unwrap(), Enrolled::Listed);
    let third = scene.standing(1, 23).await.unwrap();
    assert_eq!((third.verified_at, third.expires_at, &third.sealed), (20, FAR - 5, &vec![9]));
    assert_eq!(store.count_listings(None, 23).await.unwrap(), 1);
}

pub(super) async fn so_many_for_an_account(scene: Scene) {
    let store = &scene.store;
    scene.enrol_until(1, 1, 100, 0).await;
    scene.enrol_until(1, 2, FAR, 0).await;
    scene.enrol_until(2, 3, FAR, 0).await;
    let token = scene.verify_to_list(1, 1).await;
    let with = |n, most| NewListing { most, ..scene.new_listing(1, n, token, 1) };
    let mut seen = ChangeId(0);
    assert_eq!(scene.changed(&mut seen).await, [1, 2, 3]);
    assert_eq!(store.enrol(with(4, 2), 1).await.unwrap(), Enrolled::TooMany);
    assert_eq!(store.enrol(with(4, 0), 1).await.unwrap(), Enrolled::TooMany);
    assert_eq!(scene.standing(4, 1).await, None);
    assert_eq!(scene.changed(&mut seen).await, NONE);
    // What has expired is not counted, nor what is renewed.
    assert_eq!(store.enrol(with(4, 2), 100).await.unwrap(), Enrolled::Listed);
    let token = scene.verify_to_list(1, 101).await;
    let renewed = |most| NewListing { most, ..scene.new_listing(1, 2, token, 101) };
    assert_eq!(store.enrol(renewed(1), 101).await.unwrap(), Enrolled::TooMany);
    assert_eq!(store.enrol(renewed(2), 101).await.unwrap(), Enrolled::Listed);
    // Of another account's newer one that is told first.
    let token = scene.verify_to_list(2, 102).await;
    let foreign = NewListing { most: 0, ..scene.new_listing(2, 2, token, 101) };
    assert_eq!(store.enrol(foreign, 102).await.unwrap(), Enrolled::NewerOwner);
}

pub(super) async fn an_expired_listing_is_absent(scene: Scene) {
    let store = &scene.store;
    scene.enrol_until(1, 1, 100, 50).await;
    scene.enrol_until(1, 2, FAR, 0).await;
    for (now, there) in [(99, vec![1, 2]), (100, vec![2])] {
        let count = there.len() as u64;
        let ids =
            |listings: Vec<Listing>| -> Vec<u8> { listings.iter().map(|it| it.id.as_bytes()[0]).collect() };
        let mut own = ids(store.listings_of(account(1), now).await.unwrap());
        own.sort_unstable();
        assert_eq!(own, there);
        assert_eq!(ids(store.listings(Pick::After(None, 9), now).await.unwrap()), there);
        let these = Pick::These(vec![listing(2), listing(1)]);
        assert_eq!(ids(store.listings(these.clone(), now).await.unwrap()), there);
        assert_eq!(scene.placed(INDEX, now).await, there);
        assert_eq!(store.placements(INDEX, these, now).await.unwrap().len(), there.len());
        assert_eq!(ids(store.unplaced(NEXT, None, 9, now).await.unwrap()), there);
        assert_eq!(store.count_listings(None, now).await.unwrap(), count);
        assert_eq!(store.count_listings(Some(INDEX), now).await.unwrap(), count);
    }
    let expired = scene.standing(1, 99).await.unwrap();
    let late = vec![(listing(1), expired.revision, placement(NEXT, 1))];
    assert_eq!(store.place(late, 100).await.unwrap(), 0);
    // Another account takes its place with an earlier verification, and with it go its placements.
    let token = scene.verify_to_list(2, 100).await;
    let new = NewListing { placements: vec![], ..scene.new_listing(2, 1, token, 49) };
    assert_eq!(store.enrol(new, 100).await.unwrap(), Enrolled::Listed);
    assert_eq!(scene.standing(1, 100).await.unwrap().verified_at, 49);
    assert_eq!(scene.placed(INDEX, 100).await, [2]);
    // Its own account's begins anew as well.
    scene.enrol_until(1, 3, 100, 50).await;
    let token = scene.verify_to_list(1, 100).await;
    assert_eq!(store.enrol(scene.new_listing(1, 3, token, 40), 100).await.unwrap(), Enrolled::Listed);
    let anew = scene.standing(3, 100).await.unwrap();
    assert_eq!((anew.verified_at, anew.expires_at), (40, FAR));
}

pub(super) async fn what_is_withdrawn_is_gone(scene: Scene) {
    let store = &scene.store;
    for (n, verified_at) in [(1, 7), (2, 5), (3, 6)] {
        assert_eq!(scene.enrol(1, n, verified_at, 10).await, Enrolled::Listed);
    }
    scene.enrol(2, 4, 5, 10).await;
    let own = store.listings_of(account(1), 10).await.unwrap();
    let order: Vec<ListingId> = own.iter().map(|listing| listing.id).collect();
    assert_eq!(order, [listing(2), listing(3), listing(1)], "the oldest verification first");
    let mut seen = ChangeId(0);
    scene.changed(&mut seen).await;
    assert_eq!(store.withdraw(account(1), Some(listing(4)), 11).await.unwrap(), 0, "another's");
    assert_eq!(store.withdraw(account(1), Some(listing(3)), 11).await.unwrap(), 1);
    assert_eq!(store.withdraw(account(1), Some(listing(3)), 11).await.unwrap(), 0);
    assert_eq!(scene.changed(&mut seen).await, [3]);
    assert_eq!(scene.placed(INDEX, 11).await, [1, 2, 4]);
    // One that has expired is not counted; that it is gone is told all the same.
    scene.enrol_until(1, 5, 20, 12).await;
    scene.changed(&mut seen).await;
    assert_eq!(store.withdraw(account(1), None, 20).await.unwrap(), 2);
    let mut gone = scene.changed(&mut seen).await;
    gone.sort_unstable();
    assert_eq!(gone, [1, 2, 5]);
    assert_eq!(store.withdraw(account(1), None, 20).await.unwrap(), 0);
    assert_eq!(scene.changed(&mut seen).await, NONE);
    assert_eq!((scene.placed(INDEX, 20).await, store.count_listings(None, 20).await.unwrap()), (vec![4], 1));
}

pub(super) async fn goes_with_its_account(scene: Scene) {
    let store = &scene.store;
    scene.enrol(1, 1, 1, 1).await;
    scene.enrol_until(1, 2, 5, 1).await;
    scene.enrol(2, 3, 1, 1).await;
    let token = scene.verify_to_list(1, 2).await;
    let mut seen = ChangeId(0);
    assert_eq!(scene.changed(&mut seen).await, [1, 2, 3]);
    // Not as long as it does not know of the import.
    let import = scene.accept(1, 1, 3).await;
    assert_eq!(store.remove_data(account(1), None, 6).await.unwrap(), Removal::OtherPending);
    assert_eq!(scene.changed(&mut seen).await, NONE);
    assert_eq!(store.listings_of(account(1), 6).await.unwrap().len(), 1);
    let named = Some((import.id, import.numbers));
    let removed = Removal::Removed(Removed { contacts: 0, matches: 0 });
    assert_eq!(store.remove_data(account(1), named, 6).await.unwrap(), removed);
    let mut gone = scene.changed(&mut seen).await;
    gone.sort_unstable();
    assert_eq!(gone, [1, 2], "also what has expired and is still in somebody's memory");
    // At a time at which nothing had expired.
    assert_eq!(store.listings(Pick::After(None, 9), 1).await.unwrap().len(), 1);
    assert_eq!(scene.placed(INDEX, 1).await, [3]);
    assert_eq!(store.listings_of(account(1), 1).await.unwrap(), []);
    let late = scene.new_listing(1, 4, token, 2);
    assert_eq!(store.enrol(late.clone(), 7).await.unwrap(), Enrolled::InvalidToken);
    // Nor does the token of an earlier life list anything in the next.
    scene.verify(1, 8).await;
    assert_eq!(store.enrol(late, 9).await.unwrap(), Enrolled::InvalidToken);
    assert_eq!(scene.remove(1, 9).await, Removed { contacts: 0, matches: 0 });
    assert_eq!(scene.changed(&mut seen).await, NONE);
}

pub(super) async fn is_apart_from_matching(scene: Scene) {
    scene.enrol(1, 1, 1, 1).await;
    scene.submit(1, half(1, true), 0, 2).await;
    scene.submit(2, half(1, false), 0, 3).await;
    scene.enrol(2, 2, 1, 4).await;
    assert_eq!((scene.listed(1, 5).await, scene.listed(2, 5).await), (vec![account(2)], vec![account(1)]));
    scene.store.withdraw(account(1), None, 5).await.unwrap();
    assert_eq!(scene.listed(2, 5).await, [account(1)]);
    assert_eq!(scene.count(1, 5).await, Some(1));
    assert_eq!(scene.store.count_listings(None, 5).await.unwrap(), 1);
}

pub(super) async fn expired_listings_and_old_changes_are_swept(scene: Scene) {
    let store = &scene.store;
    for (n, expires_at) in [(1, 100), (2, 100), (3, 100), (4, 200)] {
        scene.enrol_until(n, n, expires_at, Millis::from(n)).await;
    }
    let mut seen = ChangeId(0);
    assert_eq!(scene.changed(&mut seen).await, [1, 2, 3, 4]);
    assert_eq!(store.sweep(10, 99).await.unwrap(), 0);
    assert_eq!(store.sweep(2, 100).await.unwrap(), 2);
    assert_eq!(store.sweep(2, 100).await.unwrap(), 1);
    assert_eq!(store.sweep(2, 100).await.unwrap(), 0);
    let mut gone = scene.changed(&mut seen).await;
    gone.sort_unstable();
    assert_eq!(gone, [1, 2, 3]);
    // As they were at a time at which nothing had expired.
    assert_eq!(store.count_listings(None, 99).await.unwrap(), 1);
    assert_eq!(scene.placed(INDEX, 99).await, [4]);

    let left = async || store.listing_changes(Some(ChangeId(0)), 100).await.unwrap().len();
    store.withdraw(account(4), None, 150).await.unwrap();
    assert_eq!(left().await, 8);
    // A day after the first was noted, and then after the second and the third.
    assert_eq!((store.sweep(10, DAY).await.unwrap(), left().await), (0, 8));
    assert_eq!((store.sweep(10, DAY + 1).await.unwrap(), left().await), (1, 7));
    assert_eq!((store.sweep(1, DAY + 3).await.unwrap(), left().await), (1, 6));
    assert_eq!((store.sweep(10, DAY + 149).await.unwrap(), left().await), (5, 1));
    assert_eq!((store.sweep(10, DAY + 150).await.unwrap(), left().await), (1, 0));
    assert_eq!(store.listing_changes(None, 9).await.unwrap(), []);
    // No number comes again.
    scene.enrol(1, 1, 1, DAY + 200).await;
    assert!(store.listing_changes(None, 9).await.unwrap()[0].0 > seen);
}

pub(super) async fn a_listing_keeps_the_name_of_its_account(scene: Scene) {
    let store = &scene.store;
    let known = async |who| store.sealed_accounts(vec![account(who)]).await.unwrap() != [None];
    scene.enrol_until(1, 1, 3 * FAR, 0).await;
    scene.enrol_until(2, 2, 3 * FAR, 0).await;
    scene.verify(3, 0).await;
    while store.sweep(10, 2 * FAR).await.unwrap() > 0 {}
    assert!(known(1).await && known(2).await && !known(3).await);
    store.withdraw(account(2), None, 2 * FAR).await.unwrap();
    while store.sweep(10, 2 * FAR).await.unwrap() > 0 {}
    assert!(known(1).await && !known(2).await);
    while store.sweep(10, 3 * FAR).await.unwrap() > 0 {}
    assert!(!known(1).await);
}
