//! Random sequences of everything that touches listings, against a model written from the contract.

use super::directory::{INDEX, NEXT, listing, placement};
use super::load::loaded;
use super::scene::{Scene, account};
use crate::{
    ChangeId, Enrolled, IndexId, Listing, ListingId, Load, Loaded, LoadedListing, Millis, NewListing, Pick,
    Placement, Revision,
};

pub(super) async fn agrees(scene: Scene, seed: u64) {
    let mut model = Model::default();
    let mut state = seed;
    let mut below = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((state >> 33) % end).unwrap()
    };
    let (store, mut now) = (&scene.store, 10);
    for turn in 0..60 {
        now += Millis::from(below(6));
        let (who, n, most) = (1 + below(4), below(5), u32::from(below(4)));
        let told = format!("seed {seed}, turn {turn}, account {who}, listing {n}");
        match below(14) {
            0..6 => {
                let token = scene.verify_to_list(who, now).await;
                let new = NewListing {
                    sealed: vec![turn],
                    expires_at: now + Millis::from(below(40)),
                    placements: [INDEX, NEXT][..usize::from(below(3))]
                        .iter()
                        .map(|at| placement(*at, turn))
                        .collect(),
                    most,
                    ..scene.new_listing(who, n, token, now - Millis::from(below(9)))
                };
                assert_eq!(store.enrol(new.clone(), now).await.unwrap(), model.enrol(&new, now), "{told}");
            }
            6 => {
                let id = (below(2) == 0).then(|| listing(n));
                let expected =
                    model.take_down(now, |it| it.account == account(who) && id.is_none_or(|id| it.id == id));
                assert_eq!(store.withdraw(account(who), id, now).await.unwrap(), expected, "{told}");
            }
            7 => {
                scene.remove(who, now).await;
                model.take_down(now, |it| it.account == account(who));
            }
            8 => {
                while store.sweep(2, now).await.unwrap() > 0 {}
                model.take_down(now, |it| it.expires_at <= now);
            }
            9 => {
                store.clear_index(INDEX, 100).await.unwrap();
                model.placements.retain(|(_, placement)| placement.index != INDEX);
            }
            12.. => {
                let new = LoadedListing {
                    expires_at: now + Millis::from(below(40)),
                    ..loaded(who, n, now - Millis::from(below(9)))
                };
                // Half of them say that they are the same, and some of these are wrong.
                let load = match model.listing(n).filter(|_| below(2) == 0) {
                    Some(there) => Load::Same(Revision(there.revision.0 - i64::from(below(3) / 2))),
                    None => new.load,
                };
                let more = loaded(who, 5, now);
                let new = vec![LoadedListing { load, ..new }, more];
                let expected: Vec<Loaded> = new.iter().map(|new| model.load(new, now)).collect();
                assert_eq!(store.load_listings(new, now).await.unwrap(), expected, "{told}");
            }
            _ => {
                let revision = Revision(model.listing(n).map_or(1, |it| it.revision.0) - i64::from(below(2)));
                let placements = vec![(listing(n), revision, placement(NEXT, turn))];
                let expected = model.place(&placements[0], now);
                assert_eq!(store.place(placements, now).await.unwrap(), expected, "{told}");
            }
        }
        model.settle(&scene).await;
        assert_eq!(store.listings(Pick::After(None, 99), now).await.unwrap(), model.standing(now), "{told}");
        for index in [INDEX, NEXT] {
            let placed = model.placed(index, now);
            let found = store.placements(index, Pick::After(None, 99), now).await.unwrap();
            assert_eq!(found, placed, "{told}");
            assert_eq!(store.count_listings(Some(index), now).await.unwrap(), placed.len() as u64, "{told}");
            let bare: Vec<Listing> = model
                .standing(now)
                .into_iter()
                .filter(|it| placed.iter().all(|(id, _)| *id != it.id))
                .collect();
            assert_eq!(store.unplaced(index, None, 99, now).await.unwrap(), bare, "{told}");
        }
    }
}

/// What is there, in the order of the ids, expired listings too until they are swept; and how many changes were to be noted.
#[derive(Default)]
struct Model {
    listings: Vec<Listing>,
    placements: Vec<(ListingId, Placement)>,
    /// The listings whose changes are to be found behind the last that was.
    changed: Vec<ListingId>,
    seen: i64,
}

impl Model {
    fn listing(&self, n: u8) -> Option<&Listing> {
        self.listings.iter().find(|it| it.id == listing(n))
    }

    fn standing(&self, now: Millis) -> Vec<Listing> {
        self.listings.iter().filter(|it| it.expires_at > now).cloned().collect()
    }

    fn placed(&self, index: IndexId, now: Millis) -> Vec<(ListingId, Placement)> {
        let stands = |id: ListingId| self.standing(now).iter().any(|it| it.id == id);
        let mut placed = self.placements.clone();
        placed.retain(|(id, placement)| placement.index == index && stands(*id));
        placed.sort_by_key(|(id, _)| *id);
        placed
    }

    fn enrol(&mut self, new: &NewListing, now: Millis) -> Enrolled {
        let standing = self.standing(now);
        let there = standing.iter().find(|it| it.id == new.id);
        if there.is_some_and(|it| it.account != new.account && it.verified_at >= new.verified_at) {
            return Enrolled::NewerOwner;
        }
        let others = standing.iter().filter(|it| it.account == new.account && it.id != new.id).count();
        if others >= usize::try_from(new.most).unwrap() {
            return Enrolled::TooMany;
        }
        let own = there.filter(|it| it.account == new.account && it.verified_at > new.verified_at);
        let (verified_at, expires_at) =
            own.map_or((new.verified_at, new.expires_at), |it| (it.verified_at, it.expires_at));
        self.listings.retain(|it| it.id != new.id);
        self.placements.retain(|(id, _)| *id != new.id);
        self.listings.push(Listing {
            id: new.id,
            account: new.account,
            sealed: new.sealed.clone(),
            verified_at,
            expires_at,
            // Until it is known.
            revision: Revision(0),
        });
        self.listings.sort_by_key(|it| it.id);
        self.placements.extend(new.placements.iter().map(|placement| (new.id, placement.clone())));
        self.changed.push(new.id);
        Enrolled::Listed
    }

    fn load(&mut self, new: &LoadedListing, now: Millis) -> Loaded {
        let there = self.standing(now).into_iter().find(|it| it.id == new.id);
        match (&new.load, there) {
            (Load::Same(revision), Some(there))
                if there.revision == *revision && there.account == new.account =>
            {
                if there.verified_at < new.verified_at {
                    let kept = self.listings.iter_mut().filter(|it| it.id == new.id);
                    kept.for_each(|it| {
                        it.verified_at = new.verified_at;
                        it.expires_at = it.expires_at.max(new.expires_at);
                        it.revision = Revision(0);
                    });
                    self.changed.push(new.id);
                }
                Loaded::Unchanged
            }
            (Load::Same(_), _) => Loaded::Moved,
            (Load::New(_), Some(there)) if there.verified_at > new.verified_at => Loaded::Newer,
            (Load::New(content), _) => {
                let (id, account, sealed) = (new.id, new.account, content.sealed.clone());
                let (verified_at, expires_at) = (new.verified_at, new.expires_at);
                self.listings.retain(|it| it.id != id);
                self.placements.retain(|(placed, _)| *placed != id);
                self.listings.push(Listing {
                    id,
                    account,
                    sealed,
                    verified_at,
                    expires_at,
                    revision: Revision(0),
                });
                self.listings.sort_by_key(|it| it.id);
                self.placements.extend(content.placements.iter().map(|placement| (id, placement.clone())));
                self.changed.push(id);
                Loaded::Listed
            }
        }
    }

    fn take_down(&mut self, now: Millis, goes: impl Fn(&Listing) -> bool) -> u32 {
        let (gone, kept): (Vec<Listing>, Vec<Listing>) = self.listings.drain(..).partition(goes);
        self.listings = kept;
        self.placements.retain(|(id, _)| gone.iter().all(|it| it.id != *id));
        self.changed.extend(gone.iter().map(|it| it.id));
        u32::try_from(gone.iter().filter(|it| it.expires_at > now).count()).unwrap()
    }

    fn place(&mut self, (id, revision, new): &(ListingId, Revision, Placement), now: Millis) -> u32 {
        let is_same = self.standing(now).iter().any(|it| it.id == *id && it.revision == *revision);
        let is_there = self.placements.iter().any(|(there, it)| there == id && it.index == new.index);
        if !is_same || is_there {
            return 0;
        }
        self.placements.push((*id, new.clone()));
        self.changed.push(*id);
        1
    }

    /// Finds the changes that were to be noted, and only these, and learns revisions from them.
    async fn settle(&mut self, scene: &Scene) {
        let changes = scene.store.listing_changes(Some(ChangeId(self.seen)), 99).await.unwrap();
        let mut found: Vec<ListingId> = changes.iter().map(|(_, id)| *id).collect();
        found.sort_unstable();
        self.changed.sort_unstable();
        assert_eq!(found, self.changed);
        self.changed.clear();
        for (change, id) in changes {
            self.seen = change.0;
            let news = self.listings.iter_mut().filter(|it| it.id == id && it.revision == Revision(0));
            news.for_each(|it| it.revision = Revision(change.0));
        }
    }
}
