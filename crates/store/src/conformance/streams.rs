//! Streams of the network: who reads them, what they say of follows, and whom they say to be gone.

use std::sync::Arc;

use acquaint_protocol::pair::EpochId;

use super::scene::{DAY, FAR, Scene, account, half, half_under, sealed};
use crate::{
    FollowChange, FollowRecord, KeyRecord, LeasedDeparture, Millis, Pseudonym, Removed, ServerId, StreamStep,
};

const SERVER: ServerId = ServerId([1; 16]);

fn stream() -> String {
    "wss://stream.example/subscribe".into()
}

fn piece(cursor: i64) -> StreamStep {
    StreamStep {
        stream: stream(),
        server: SERVER,
        cursor,
        lease_until: FAR,
        follows: vec![],
        departures: vec![],
    }
}

fn follow(who: u8, record: u8, whom: Option<u8>) -> FollowChange {
    FollowChange {
        account: account(who),
        record: FollowRecord::from_bytes([record; 16]),
        other: whom.map(account),
    }
}

async fn lease(scene: &Scene, server: ServerId, now: Millis, lease_until: Millis) -> Option<Option<i64>> {
    scene.store.lease_stream(stream(), server, now, lease_until).await.unwrap()
}

/// One server reads what the stream says of follows.
async fn say(scene: &Scene, follows: Vec<FollowChange>, now: Millis) {
    assert!(lease(scene, SERVER, now, FAR).await.is_some());
    let step = StreamStep { follows, ..piece(1) };
    assert!(scene.store.stream_step(step, now).await.unwrap());
}

/// And whom it says to be gone.
async fn part(scene: &Scene, departures: Vec<Pseudonym>, now: Millis) {
    assert!(lease(scene, SERVER, now, FAR).await.is_some());
    let step = StreamStep { departures, ..piece(1) };
    assert!(scene.store.stream_step(step, now).await.unwrap());
}

/// Account 1 is matched with 2 and 3, each over a pair of its own.
async fn matched(scene: &Scene) {
    scene.import(1, vec![half(1, true), half(2, true)], (0, FAR), 0).await;
    scene.submit(2, half(1, false), 0, 1).await;
    scene.submit(3, half(2, false), 0, 2).await;
    assert_eq!(scene.count(1, 3).await, Some(2));
}

pub(super) async fn one_server_reads_a_stream(scene: Scene) {
    let store = &scene.store;
    let other = ServerId([2; 16]);
    assert_eq!(lease(&scene, SERVER, 0, 100).await, Some(None), "nobody has read it yet");
    assert_eq!(lease(&scene, other, 99, 200).await, None);
    assert_eq!(lease(&scene, SERVER, 50, 100).await, Some(None), "who has it prolongs it");
    let step = StreamStep { lease_until: 150, ..piece(7) };
    assert!(store.stream_step(step, 60).await.unwrap());
    assert_eq!(lease(&scene, other, 149, 300).await, None, "the step has prolonged it");
    // Nobody took it when it ran out: the step is still good, and says where it goes on, also behind where it was.
    let step = StreamStep { lease_until: 180, ..piece(5) };
    assert!(store.stream_step(step, 170).await.unwrap());
    assert_eq!(lease(&scene, other, 180, 300).await, Some(Some(5)));
    assert!(!store.stream_step(piece(9), 181).await.unwrap(), "another server has it");
    // Only who has it lets it go.
    store.release_stream(stream(), SERVER).await.unwrap();
    assert_eq!(lease(&scene, SERVER, 182, 400).await, None);
    store.release_stream(stream(), other).await.unwrap();
    let late = StreamStep { server: other, ..piece(9) };
    assert!(!store.stream_step(late, 183).await.unwrap(), "it was let go");
    assert_eq!(lease(&scene, SERVER, 183, 400).await, Some(Some(5)));
    // Others are theirs.
    assert_eq!(store.lease_stream("wss://b".into(), other, 184, 400).await.unwrap(), Some(None));
    let nobodys = StreamStep { stream: "wss://c".into(), ..piece(9) };
    assert!(!store.stream_step(nobodys, 184).await.unwrap());
}

pub(super) async fn one_of_many_servers_has_it(scene: Scene) {
    let scene = Arc::new(scene);
    let leases: Vec<_> = (0..20)
        .map(|server: u8| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move { lease(&scene, ServerId([server; 16]), 0, 100).await.is_some() })
        })
        .collect();
    let mut had = 0;
    for lease in leases {
        had += usize::from(lease.await.unwrap());
    }
    assert_eq!(had, 1);
}

pub(super) async fn whom_one_follows_is_counted_no_more(scene: Scene) {
    let store = &scene.store;
    matched(&scene).await;
    let said =
        || vec![follow(1, 1, Some(2)), follow(2, 1, Some(3)), follow(9, 1, Some(1)), follow(1, 9, Some(1))];
    say(&scene, said(), 10).await;
    let counts =
        async |now| [scene.count(1, now).await, scene.count(2, now).await, scene.count(3, now).await];
    assert_eq!(counts(10).await, [Some(1), Some(1), Some(1)], "2 does not follow 1, and 3 is no match of 2");
    assert_eq!(scene.listed(1, 10).await.len(), 2, "the list stays as it is");
    // A repetition changes nothing, and several records are as one.
    say(&scene, said(), 11).await;
    say(&scene, vec![follow(1, 2, Some(2))], 12).await;
    assert_eq!(scene.count(1, 12).await, Some(1));
    say(&scene, vec![follow(1, 1, None), follow(1, 77, None)], 13).await;
    assert_eq!(scene.count(1, 13).await, Some(1), "the other record says so still");
    say(&scene, vec![follow(1, 2, None)], 14).await;
    assert_eq!(scene.count(1, 14).await, Some(2));
    // In the stream's order; and a record that names another one is another follow.
    say(
        &scene,
        vec![follow(1, 3, Some(2)), follow(1, 3, None), follow(1, 4, None), follow(1, 4, Some(3))],
        15,
    )
    .await;
    assert_eq!(store.dismiss(account(1), account(3), 15).await.unwrap(), 1, "2 is left");
    say(&scene, vec![follow(1, 4, Some(2))], 16).await;
    assert_eq!(scene.count(1, 16).await, Some(0));
    say(&scene, vec![follow(1, 4, Some(8))], 17).await;
    assert_eq!(scene.count(1, 17).await, Some(1), "it names nobody who is matched");
    // A dismissal of nobody counts as the others do.
    say(&scene, vec![follow(1, 4, Some(2))], 18).await;
    assert_eq!(store.dismiss(account(1), account(99), 18).await.unwrap(), 0);
    // A step of a server that does not have the stream any more says nothing.
    store.release_stream(stream(), SERVER).await.unwrap();
    let step = StreamStep { follows: vec![follow(1, 4, None)], departures: vec![account(1)], ..piece(1) };
    assert!(!store.stream_step(step, 19).await.unwrap());
    assert_eq!(scene.count(1, 19).await, Some(0));
    assert_eq!(store.lease_departures(9, 19, 20).await.unwrap(), []);
    // Removal tells all matches.
    assert_eq!(scene.remove(1, 20).await, Removed { contacts: 2, matches: 1 }, "one was dismissed");
}

pub(super) async fn a_follow_ends_with_the_account(scene: Scene) {
    for gone in [1, 2] {
        matched(&scene).await;
        say(&scene, vec![follow(1, 1, Some(2)), follow(2, 1, Some(1)), follow(1, 2, Some(3))], 10).await;
        assert_eq!((scene.count(1, 10).await, scene.count(2, 10).await), (Some(0), Some(0)));
        scene.remove(gone, 11).await;
        let pair = half(1, gone == 1);
        scene.submit(gone, pair, 12, 12).await;
        assert_eq!(scene.count(gone, 12).await, Some(1), "{gone} is matched with the other again");
        assert_eq!(scene.count(3 - gone, 12).await, Some(1));
        for who in 1..=3 {
            scene.remove(who, 13).await;
        }
        assert_eq!(scene.store.sweep(10, 2 * DAY).await.unwrap(), 0, "no follow is left");
    }
}

pub(super) async fn a_follow_outlives_what_keeps_the_match(scene: Scene) {
    let store = &scene.store;
    matched(&scene).await;
    say(&scene, vec![follow(1, 1, Some(2))], 10).await;
    // Under another epoch.
    scene.submit(1, half_under(&[2, 1], 1, true), 20, 20).await;
    assert_eq!(scene.count(1, 20).await, Some(1));
    // It is looked at once a day.
    assert_eq!(store.sweep(10, DAY + 9).await.unwrap(), 0);
    assert_eq!(store.sweep(10, DAY + 10).await.unwrap(), 1);
    assert_eq!(store.sweep(10, DAY + 10).await.unwrap(), 0);
    assert_eq!(scene.count(1, DAY + 10).await, Some(1));
    assert_eq!(store.sweep(10, 2 * DAY + 10).await.unwrap(), 1);
}

pub(super) async fn a_follow_goes_when_its_match_is_gone(scene: Scene) {
    let store = &scene.store;
    let record = |version| KeyRecord { purpose: "pair".into(), version, check: vec![1; 32] };
    store.record_keys(vec![record(1)]).await.unwrap();
    // 1 is matched with 2 until 100, and with 3 for long.
    scene.import(1, vec![half(1, true), half(2, true)], (0, FAR), 0).await;
    scene.import(2, vec![half(1, false)], (0, 100), 1).await;
    scene.submit(3, half(2, false), 0, 2).await;
    say(&scene, vec![follow(1, 1, Some(2)), follow(1, 2, Some(3)), follow(2, 1, Some(1))], 10).await;
    assert_eq!((scene.count(1, 11).await, scene.count(2, 11).await), (Some(0), Some(0)));
    say(&scene, vec![follow(2, 2, Some(1))], 100).await;
    assert_eq!(store.sweep(10, 100).await.unwrap(), 1, "the match");
    assert_eq!(store.sweep(10, DAY + 10).await.unwrap(), 3, "three follows are looked at");
    assert_eq!(store.sweep(10, DAY + 100).await.unwrap(), 0, "there was no match any more at 100");
    assert_eq!(store.sweep(10, 2 * DAY + 10).await.unwrap(), 1, "one of the three is left");
    scene.submit(2, half(1, false), 3 * DAY, 2 * DAY + 20).await;
    assert_eq!((scene.count(1, 2 * DAY + 20).await, scene.count(2, 2 * DAY + 20).await), (Some(1), Some(1)));
    // And with its epoch.
    store.record_keys(vec![record(2)]).await.unwrap();
    let held = vec![EpochId::new(1), EpochId::new(2)];
    store.check_in(SERVER, held, 2 * DAY + 30, 9 * DAY).await.unwrap();
    store.retire_epoch(EpochId::new(1)).await.unwrap();
    while store.clear_epoch(EpochId::new(1), None, 10).await.unwrap().is_some() {}
    while store.sweep(10, 4 * DAY).await.unwrap() > 0 {}
    scene.submit(1, half_under(&[2], 2, true), 0, 4 * DAY).await;
    scene.submit(3, half_under(&[2], 2, false), 0, 4 * DAY).await;
    assert_eq!(scene.count(1, 4 * DAY).await, Some(1));
}

pub(super) async fn departures_are_confirmed_or_not(scene: Scene) {
    let store = &scene.store;
    let lease = async |limit, now| -> Vec<LeasedDeparture> {
        store.lease_departures(limit, now, now + 50).await.unwrap()
    };
    let departure =
        |who, attempt| LeasedDeparture { account: account(who), sealed_account: sealed(who), attempt };
    for who in 1..=3 {
        scene.verify(who, 0).await;
    }
    assert_eq!(lease(9, 5).await, []);
    part(&scene, vec![account(2), account(9)], 10).await;
    part(&scene, vec![account(1), account(2)], 11).await;
    assert_eq!(lease(9, 9).await, []);
    // The longest-due first; who has no row is nobody.
    assert_eq!(lease(1, 11).await, [departure(2, 1)]);
    assert_eq!(lease(9, 12).await, [departure(1, 1)]);
    // What is said again changes nothing.
    part(&scene, vec![account(2)], 13).await;
    assert_eq!(lease(9, 60).await, []);
    assert_eq!(lease(9, 61).await, [departure(2, 2)]);
    // An older attempt settles nothing.
    store.settle_departure(account(2), 1, None).await.unwrap();
    store.settle_departure(account(2), 1, Some(62)).await.unwrap();
    assert_eq!(lease(9, 62).await, [departure(1, 2)]);
    store.settle_departure(account(2), 2, Some(500)).await.unwrap();
    // It was not so.
    store.settle_departure(account(1), 2, None).await.unwrap();
    assert_eq!(lease(9, 499).await, []);
    assert_eq!(lease(9, 500).await, [departure(2, 3)]);
    // It was so.
    scene.remove(2, 501).await;
    scene.verify(2, 502).await;
    assert_eq!(lease(9, 9000).await, [], "not in its next life");
    // Said again after it was not so.
    part(&scene, vec![account(1)], 600).await;
    assert_eq!(lease(9, 600).await, [departure(1, 1)]);
}

pub(super) async fn departures_go_with_their_account(scene: Scene) {
    let store = &scene.store;
    scene.verify(1, 0).await;
    part(&scene, vec![account(1)], 10).await;
    while store.sweep(10, FAR).await.unwrap() > 0 {}
    assert_eq!(store.sealed_accounts(vec![account(1)]).await.unwrap(), [None], "it was forgotten");
    scene.verify(1, 20).await;
    assert_eq!(store.lease_departures(9, FAR, FAR).await.unwrap(), []);
}
