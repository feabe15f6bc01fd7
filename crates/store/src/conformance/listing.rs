//! Lists of matches, dismissals, statuses and key records.

use super::scene::{Scene, account, half, sealed};
use crate::{KeyRecord, MatchPosition, SyncStatus};

/// Account 1 matches each of `others` over a pair of its own number, found at that number.
async fn match_with(scene: &Scene, others: impl IntoIterator<Item = u8>, found_at: i64) {
    for other in others {
        scene.submit(other, half(other, false), 0, found_at).await;
        scene.submit(1, half(other, true), 0, found_at).await;
    }
}

pub(super) async fn pages(scene: Scene) {
    match_with(&scene, [5, 3], 100).await;
    match_with(&scene, [4, 2, 6], 200).await;
    let first = scene.store.matches(account(1), None, 2, 300).await.unwrap();
    let others: Vec<_> = first.iter().map(|m| m.position.other).collect();
    assert_eq!(others, [account(2), account(4)], "newest first, then by pseudonym");
    assert_eq!(first[0].sealed_account, sealed(2));
    assert_eq!(first[0].position.found_at, 200);

    // What comes meanwhile stands before the cursor.
    match_with(&scene, [7], 300).await;
    let mut seen = others;
    let mut after = first.last().map(|m| m.position);
    while let Some(position) = after {
        let page = scene.store.matches(account(1), Some(position), 2, 300).await.unwrap();
        assert!(page.len() <= 2);
        seen.extend(page.iter().map(|m| m.position.other));
        after = page.last().map(|m| m.position);
        match_with(&scene, [8], 400).await;
    }
    assert_eq!(seen, [2, 4, 6, 3, 5].map(account));
    let beyond = MatchPosition { found_at: -1, other: account(0) };
    assert_eq!(scene.store.matches(account(1), Some(beyond), 9, 500).await.unwrap(), []);
    assert_eq!(scene.store.matches(account(1), None, 0, 500).await.unwrap(), []);
    assert_eq!(scene.store.matches(account(77), None, 9, 500).await.unwrap(), []);
}

pub(super) async fn each_other_once(scene: Scene) {
    match_with(&scene, [2, 3], 100).await;
    scene.submit(2, half(50, false), 0, 200).await;
    scene.submit(1, half(50, true), 0, 200).await;
    assert_eq!(scene.listed(1, 300).await, [account(2), account(3)]);
    assert_eq!(scene.count(1, 300).await, Some(2));
    let newest = scene.store.matches(account(1), None, 1, 300).await.unwrap();
    assert_eq!(newest[0].position.found_at, 200);
    // The older match does not appear behind a cursor at the newer one.
    let after = Some(newest[0].position);
    let rest = scene.store.matches(account(1), after, 9, 300).await.unwrap();
    assert_eq!(rest.iter().map(|m| m.position.other).collect::<Vec<_>>(), [account(3)]);
    assert_eq!(scene.remove(1, 300).await, crate::Removed { contacts: 3, matches: 2 });
}

pub(super) async fn dismissal(scene: Scene) {
    let store = &scene.store;
    match_with(&scene, [2, 3], 100).await;
    assert_eq!(store.dismiss(account(1), account(9), 101).await.unwrap(), 2, "not matched");
    assert_eq!(store.dismiss(account(1), account(2), 101).await.unwrap(), 1);
    assert_eq!(store.dismiss(account(1), account(2), 102).await.unwrap(), 1);
    assert_eq!(scene.listed(1, 103).await, [account(3)]);
    assert_eq!(scene.count(1, 103).await, Some(1));
    // Also when imported again; but the match is there, and the other side sees it.
    assert_eq!(scene.submit(1, half(2, true), 0, 104).await, (vec![], true));
    assert_eq!(scene.submit(2, half(2, false), 0, 104).await, (vec![account(1)], true));
    assert_eq!(scene.listed(2, 105).await, [account(1)]);
    // And for a match over another pair, later.
    scene.submit(1, half(60, true), 0, 106).await;
    assert_eq!(scene.submit(2, half(60, false), 0, 106).await, (vec![account(1)], false));
    assert_eq!(scene.count(1, 107).await, Some(1));
    // Dismissing somebody before there is a match does nothing.
    store.dismiss(account(1), account(4), 108).await.unwrap();
    match_with(&scene, [4], 109).await;
    assert_eq!(scene.listed(1, 110).await, [account(4), account(3)]);
    assert_eq!(scene.remove(1, 111).await, crate::Removed { contacts: 4, matches: 2 });
}

pub(super) async fn statuses(scene: Scene) {
    let store = &scene.store;
    assert_eq!(store.sync_status(account(1), 0).await.unwrap(), None);
    scene.verify(1, 0).await;
    assert_eq!(store.sync_status(account(1), 0).await.unwrap(), None);
    scene.accept(1, 4, 7).await;
    let accepted = SyncStatus { synced_at: 7, matches: 0 };
    assert_eq!(store.sync_status(account(1), 8).await.unwrap(), Some(accepted));
    store.ping().await.unwrap();
}

pub(super) async fn key_records_stay(scene: Scene) {
    let record = |purpose: &str, version, check: u8| KeyRecord {
        purpose: purpose.to_owned(),
        version,
        check: vec![check; 3],
    };
    assert_eq!(scene.store.key_records().await.unwrap(), []);
    scene.store.record_keys(vec![record("pair", 1, 1), record("code", 1, 2)]).await.unwrap();
    scene.store.record_keys(vec![record("pair", 1, 9), record("pair", u32::MAX, 3)]).await.unwrap();
    let mut records = scene.store.key_records().await.unwrap();
    records.sort_by_key(|record| (record.purpose.clone(), record.version));
    assert_eq!(records, [record("code", 1, 2), record("pair", 1, 1), record("pair", u32::MAX, 3)]);
}
