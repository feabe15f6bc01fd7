//! What is made of the directory's listings: pages, placements in indexes, changes, and records.

use std::sync::Arc;

use super::directory::{INDEX, NEXT, NONE, OTHER, listing, placement};
use super::scene::{FAR, Scene, account};
use crate::{
    ChangeId, DirectoryRecord, Enrolled, IndexId, Listing, ListingId, Millis, NewListing, Pick, Placement,
};

pub(super) async fn pages_go_on_behind_the_last(scene: Scene) {
    let store = &scene.store;
    for n in [9, 1, 200, 255, 8, 3] {
        scene.enrol(n % 3, n, 1, 1).await;
    }
    scene.enrol_until(5, 4, 2, 1).await;
    let all = [1, 3, 8, 9, 200, 255];
    for limit in 1..=7 {
        let (mut read, mut placed, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = store.listings(Pick::After(after, limit), 5).await.unwrap();
            let places = store.placements(INDEX, Pick::After(after, limit), 5).await.unwrap();
            assert_eq!(
                page.iter().map(|it| it.id).collect::<Vec<_>>(),
                places.iter().map(|it| it.0).collect::<Vec<_>>()
            );
            let Some(last) = page.last() else { break };
            assert!(page.len() <= usize::try_from(limit).unwrap());
            after = Some(last.id);
            read.extend(page.iter().map(|listing| listing.id.as_bytes()[0]));
            placed.extend(places.iter().map(|(_, placement)| placement.sealed[0]));
        }
        assert_eq!((read.as_slice(), placed.as_slice()), (all.as_slice(), all.as_slice()));
    }
    assert_eq!(store.listings(Pick::After(None, 0), 5).await.unwrap(), []);
    // Picked by id: in order, each once, what is not there left out.
    let these = Pick::These([255, 77, 3, 255, 9].map(listing).to_vec());
    let ids: Vec<ListingId> =
        store.listings(these.clone(), 5).await.unwrap().iter().map(|listing| listing.id).collect();
    assert_eq!(ids, [3, 9, 255].map(listing));
    let found = store.placements(INDEX, these.clone(), 5).await.unwrap();
    assert_eq!(found, [3, 9, 255].map(|n| (listing(n), placement(INDEX, n))));
    for index in [NEXT, OTHER] {
        assert_eq!(store.placements(index, these.clone(), 5).await.unwrap(), []);
        assert_eq!(store.placements(index, Pick::After(None, 9), 5).await.unwrap(), []);
    }
    assert_eq!(store.listings(Pick::These(vec![]), 5).await.unwrap(), []);
}

pub(super) async fn what_is_unplaced_is_placed_while_it_is_the_same(scene: Scene) {
    let store = &scene.store;
    for n in 1..=5 {
        scene.enrol(n, n, 1, 1).await;
    }
    let unplaced = async |index, after: Option<u8>, limit| -> Vec<u8> {
        let found = store.unplaced(index, after.map(listing), limit, 2).await.unwrap();
        found.iter().map(|listing| listing.id.as_bytes()[0]).collect()
    };
    assert_eq!(unplaced(INDEX, None, 9).await, NONE);
    assert_eq!(unplaced(NEXT, None, 2).await, [1, 2]);
    assert_eq!(unplaced(NEXT, Some(2), 9).await, [3, 4, 5]);
    assert_eq!(unplaced(OTHER, None, 9).await, [1, 2, 3, 4, 5]);
    let found = store.unplaced(NEXT, None, 9, 2).await.unwrap();
    assert_eq!(found, store.listings(Pick::After(None, 9), 2).await.unwrap());
    let mut seen = ChangeId(0);
    scene.changed(&mut seen).await;

    // 1 is renewed meanwhile, 2 withdrawn, 3 passes to another account.
    scene.enrol(1, 1, 2, 2).await;
    store.withdraw(account(2), None, 2).await.unwrap();
    scene.enrol(9, 3, 2, 2).await;
    assert_eq!(scene.changed(&mut seen).await, [1, 2, 3]);
    let place = |n: u8, it: &Listing| (it.id, it.revision, placement(NEXT, n));
    let mut all: Vec<_> = found.iter().map(|it| place(it.id.as_bytes()[0], it)).collect();
    // Twice the same is placed once, by the first.
    all.push(place(77, &found[3]));
    assert_eq!(store.place(all.clone(), 3).await.unwrap(), 2);
    let mut changed = scene.changed(&mut seen).await;
    changed.sort_unstable();
    assert_eq!(changed, [4, 5]);
    assert_eq!(store.place(all, 3).await.unwrap(), 0, "they are there already");
    assert_eq!(scene.changed(&mut seen).await, NONE);
    let placed = store.placements(NEXT, Pick::After(None, 9), 3).await.unwrap();
    assert_eq!(placed, [(listing(4), placement(NEXT, 4)), (listing(5), placement(NEXT, 5))]);
    assert_eq!(unplaced(NEXT, None, 9).await, [1, 3]);
    assert_eq!(unplaced(NEXT, Some(4), 9).await, NONE);
    assert_eq!(scene.standing(4, 3).await.unwrap().revision, found[3].revision, "the state is the same");
    assert_eq!(store.count_listings(Some(NEXT), 3).await.unwrap(), 2);
    assert_eq!(store.count_listings(None, 3).await.unwrap(), 4);

    // One in several indexes: a change for each.
    let one = scene.standing(4, 3).await.unwrap();
    let other = Placement { index: IndexId { profile: 2, epoch: 7 }, ..placement(NEXT, 4) };
    let two = vec![(one.id, one.revision, placement(OTHER, 4)), (one.id, one.revision, other)];
    assert_eq!(store.place(two, 3).await.unwrap(), 2);
    assert_eq!(scene.changed(&mut seen).await, [4, 4]);
    assert_eq!(store.place(vec![], 3).await.unwrap(), 0);
}

pub(super) async fn an_index_is_cleared_and_no_other(scene: Scene) {
    let store = &scene.store;
    for n in 1..=5 {
        let token = scene.verify_to_list(n, 1).await;
        let placements = [INDEX, NEXT, OTHER].map(|index| placement(index, n)).to_vec();
        let expires_at = if n == 5 { 2 } else { FAR };
        let new = NewListing { placements, expires_at, ..scene.new_listing(n, n, token, 1) };
        assert_eq!(store.enrol(new, 1).await.unwrap(), Enrolled::Listed);
    }
    let mut seen = ChangeId(0);
    scene.changed(&mut seen).await;
    let mut cleared = Vec::new();
    loop {
        match store.clear_index(NEXT, 2).await.unwrap() {
            0 => break,
            some => cleared.push(some),
        }
    }
    assert_eq!(cleared, [2, 2, 1], "also of what has expired");
    assert_eq!(scene.changed(&mut seen).await, NONE);
    assert_eq!(scene.placed(NEXT, 1).await, NONE);
    for index in [INDEX, OTHER] {
        assert_eq!(scene.placed(index, 1).await, [1, 2, 3, 4, 5]);
    }
    assert_eq!(store.count_listings(Some(NEXT), 1).await.unwrap(), 0);
    assert_eq!(store.count_listings(None, 1).await.unwrap(), 5);
    assert_eq!(store.unplaced(NEXT, None, 9, 1).await.unwrap().len(), 5);
}

pub(super) async fn changes_are_read_in_pages(scene: Scene) {
    let store = &scene.store;
    for n in 1..=4 {
        scene.enrol(n, n, 1, Millis::from(n) * 10).await;
    }
    // A clock that goes back changes no order.
    scene.enrol(1, 1, 2, 5).await;
    let all = store.listing_changes(Some(ChangeId(0)), 100).await.unwrap();
    let ids: Vec<ListingId> = all.iter().map(|(_, id)| *id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 1].map(listing));
    assert_eq!(store.listing_changes(None, 100).await.unwrap(), all[4..], "the last one only");
    for limit in 1..=6_u32 {
        let (mut read, mut after) = (Vec::new(), ChangeId(0));
        loop {
            let page = store.listing_changes(Some(after), limit).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            assert!(page.len() <= usize::try_from(limit).unwrap());
            after = *last;
            read.extend(page);
        }
        assert_eq!(read, all);
    }
}

pub(super) async fn records_go_from_state_to_state(scene: Scene) {
    let store = &scene.store;
    assert_eq!(store.directory_records().await.unwrap(), []);
    let record = |name: &str, version, state| DirectoryRecord {
        name: name.into(),
        version,
        state,
        content: vec![u8::try_from(version % 251).unwrap(); 40],
        made_at: 7,
    };
    let (a, b, z) = (record("oprf/b", 2, 0), record("oprf/b", u32::MAX, 255), record("Z", 1, 3));
    for record in [&b, &a, &z] {
        assert!(store.add_directory_record(record.clone()).await.unwrap());
    }
    // By the bytes of the names, and by version.
    let mut all = vec![z, a.clone(), b];
    assert_eq!(store.directory_records().await.unwrap(), all);
    let other = DirectoryRecord { content: vec![9], state: 9, made_at: 9, ..a };
    assert!(!store.add_directory_record(other).await.unwrap());
    assert_eq!(store.directory_records().await.unwrap(), all);

    let change =
        |version, states, content| store.change_directory_record("oprf/b".into(), version, states, content);
    assert!(!change(3, (0, 1), None).await.unwrap(), "there is none");
    assert!(!change(2, (1, 2), Some(vec![1])).await.unwrap(), "it is in another state");
    assert!(!store.change_directory_record("oprf/a".into(), 2, (0, 1), None).await.unwrap());
    assert_eq!(store.directory_records().await.unwrap(), all);
    assert!(change(2, (0, 1), None).await.unwrap());
    all[1].state = 1;
    assert_eq!(store.directory_records().await.unwrap(), all);
    assert!(change(2, (1, 1), Some(vec![])).await.unwrap());
    all[1].content = vec![];
    assert_eq!(store.directory_records().await.unwrap(), all);
    // Of many at once, one moves it, and one adds it.
    let scene = Arc::new(scene);
    let racing: Vec<_> = (0..20_u8)
        .map(|n| {
            let scene = Arc::clone(&scene);
            let new = DirectoryRecord { content: vec![n], ..record("new", 1, 0) };
            tokio::spawn(async move {
                let change = scene.store.change_directory_record("oprf/b".into(), 2, (1, 2), Some(vec![n]));
                (change.await.unwrap(), scene.store.add_directory_record(new).await.unwrap())
            })
        })
        .collect();
    let (mut changed, mut added) = (0, 0);
    for racing in racing {
        let (change, add) = racing.await.unwrap();
        changed += u32::from(change);
        added += u32::from(add);
    }
    assert_eq!((changed, added), (1, 1));
}
