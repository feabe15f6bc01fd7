use acquaint_protocol::pair::EpochId;

use super::scene::{LEASE, Scene, account, half_under};
use crate::{
    EpochRecord, EpochRows, EpochState, Half, ImportStep, KeyRecord, LeasedImport, Retirement, ServerId,
    StepOutcome,
};

fn epoch(n: u32) -> EpochId {
    EpochId::new(n)
}

async fn record(scene: &Scene, version: u32) {
    let record = KeyRecord { purpose: "pair".into(), version, check: vec![1; 32] };
    scene.store.record_keys(vec![record]).await.unwrap();
}

/// Newest first.
async fn states(scene: &Scene) -> Vec<(u32, EpochState)> {
    told(&scene.store.epochs().await.unwrap())
}

fn told(records: &[EpochRecord]) -> Vec<(u32, EpochState)> {
    records.iter().map(|record| (record.epoch.get(), record.state)).collect()
}

async fn check_in(scene: &Scene, server: u8, held: &[u32], now: i64) -> Vec<(u32, EpochState)> {
    let held = held.iter().copied().map(EpochId::new).collect();
    told(&scene.store.check_in(ServerId([server; 16]), held, now, now + 100).await.unwrap())
}

/// Epoch 1 in use, and 2 the current one.
async fn two_epochs(scene: &Scene) {
    record(scene, 1).await;
    record(scene, 2).await;
    check_in(scene, 1, &[1, 2], 0).await;
    assert_eq!(states(scene).await, [(2, EpochState::Current), (1, EpochState::Live)]);
}

pub(super) async fn one_is_current_from_the_first_record(scene: Scene) {
    assert_eq!(states(&scene).await, []);
    let record_of = |purpose: &str, version| KeyRecord { purpose: purpose.into(), version, check: vec![9] };
    scene.store.record_keys(vec![record_of("seal", 7)]).await.unwrap();
    assert_eq!(states(&scene).await, []);
    // Of several at once the newest.
    scene.store.record_keys(vec![record_of("pair", 1), record_of("pair", 2)]).await.unwrap();
    assert_eq!(states(&scene).await, [(2, EpochState::Current), (1, EpochState::Live)]);
    record(&scene, 3).await;
    assert_eq!(states(&scene).await[0], (3, EpochState::Live), "a later one waits for the servers");
}

pub(super) async fn all_servers_check_before_one_inserts(scene: Scene) {
    record(&scene, 1).await;
    check_in(&scene, 1, &[1], 0).await;
    assert_eq!(scene.store.servers(99).await.unwrap(), [vec![epoch(1)]]);
    assert_eq!(scene.store.servers(100).await.unwrap(), Vec::<Vec<EpochId>>::new(), "its time is over");
    if scene.store.is_shared() {
        check_in(&scene, 2, &[1], 0).await;
        record(&scene, 2).await;
        let waits = [(2, EpochState::Live), (1, EpochState::Current)];
        assert_eq!(check_in(&scene, 1, &[1, 2], 10).await, waits, "server 2 does not check it");
        assert_eq!(check_in(&scene, 3, &[2], 10).await, waits, "server 3 does not check the older one");
        scene.store.check_out(ServerId([3; 16])).await.unwrap();
        assert_eq!(check_in(&scene, 1, &[2, 1], 99).await, waits, "server 2 may still be there");
        // From there on it is not.
        let over = [(2, EpochState::Current), (1, EpochState::Live)];
        assert_eq!(check_in(&scene, 1, &[2, 1], 100).await, over);
        assert_eq!(scene.store.sweep(10, 150).await.unwrap(), 1);
    } else {
        record(&scene, 2).await;
        assert_eq!(check_in(&scene, 1, &[1], 10).await[0], (2, EpochState::Live));
        assert_eq!(check_in(&scene, 1, &[2], 10).await[0], (2, EpochState::Live));
        assert_eq!(check_in(&scene, 1, &[1, 2], 10).await[0], (2, EpochState::Current));
    }
    assert_eq!(check_in(&scene, 1, &[1], 200).await[0], (2, EpochState::Current), "it never goes back");
    scene.store.check_out(ServerId([1; 16])).await.unwrap();
    assert_eq!(scene.store.servers(200).await.unwrap(), Vec::<Vec<EpochId>>::new());
}

/// One half in a step of its own.
async fn step(scene: &Scene, leased: &LeasedImport, half: Half, now: i64) -> StepOutcome {
    let step = ImportStep {
        import: leased.id,
        account: leased.account,
        generation: leased.generation,
        fence: leased.fence,
        done: leased.done,
        halves: vec![half],
        verified_at: 5,
        expires_at: 1_000_000,
        lease_until: now + LEASE,
        refunds: vec![],
        numbers: vec![],
        notices: None,
        report: None,
    };
    scene.store.match_or_insert(step, now).await.unwrap()
}

pub(super) async fn steps_check_what_has_rows(scene: Scene) {
    record(&scene, 1).await;
    record(&scene, 2).await;
    let verified = scene.verify(1, 0).await;
    scene.store.accept_import(scene.new_import(1, verified, 5), 1).await.unwrap();
    let mut leased = scene.store.next_import(2, 2 + LEASE).await.unwrap().unwrap();
    // 2 has no rows yet: who does not know of it may go on, and who does inserts under 1 all the same.
    for hashes in [vec![1], vec![2, 1]] {
        let pair = u8::try_from(leased.done).unwrap();
        let outcome = step(&scene, &leased, half_under(&hashes, pair, true), 3).await;
        assert!(matches!(outcome, StepOutcome::Committed(_)), "{outcome:?}");
        leased.done += 1;
    }
    assert_eq!(scene.store.epoch_rows(epoch(1)).await.unwrap(), EpochRows { halves: 2, matches: 0 });
    assert_eq!(step(&scene, &leased, half_under(&[2], 9, true), 3).await, StepOutcome::Stale);
    check_in(&scene, 1, &[1, 2], 4).await;
    for hashes in [vec![1], vec![2]] {
        assert_eq!(step(&scene, &leased, half_under(&hashes, 2, true), 5).await, StepOutcome::Stale);
    }
    assert_eq!(scene.store.epoch_rows(epoch(2)).await.unwrap(), EpochRows::default(), "nothing was done");
    // Whatever the order that they come in.
    let outcome = step(&scene, &leased, half_under(&[1, 2], 2, true), 6).await;
    assert!(matches!(outcome, StepOutcome::Committed(_)), "{outcome:?}");
    leased.done += 1;
    assert_eq!(scene.store.epoch_rows(epoch(2)).await.unwrap(), EpochRows { halves: 1, matches: 0 });
    // A retired one need not be there, and is of no use.
    assert_eq!(scene.store.retire_epoch(epoch(1)).await.unwrap(), Retirement::Retired);
    for hashes in [vec![2], vec![1, 2]] {
        let pair = u8::try_from(leased.done).unwrap();
        let outcome = step(&scene, &leased, half_under(&hashes, pair, true), 7).await;
        assert!(matches!(outcome, StepOutcome::Committed(_)), "{outcome:?}");
        leased.done += 1;
    }
    assert_eq!(scene.store.epoch_rows(epoch(2)).await.unwrap().halves, 3);
    // Of a retired one's rows, none is met: 2 is 1's contact under epoch 1 alone.
    assert_eq!(scene.submit(2, half_under(&[1, 2], 0, false), 0, 8).await, (vec![], false));
}

pub(super) async fn a_match_moves_with_a_re_import(scene: Scene) {
    record(&scene, 1).await;
    for pair in 1..=2 {
        scene.submit(1, half_under(&[1], pair, true), 0, 10).await;
        scene.submit(2, half_under(&[1], pair, false), 0, 11).await;
    }
    scene.submit(3, half_under(&[1], 3, true), 0, 12).await;
    let first = scene.store.matches(account(1), None, 10, 13).await.unwrap();
    record(&scene, 2).await;
    check_in(&scene, 1, &[1, 2], 14).await;
    // Either side's import takes it along; a half too.
    assert_eq!(scene.submit(2, half_under(&[1, 2], 1, false), 0, 15).await, (vec![account(1)], true));
    assert_eq!(scene.submit(3, half_under(&[1, 2], 3, true), 0, 16).await, (vec![], true));
    assert_eq!(scene.store.epoch_rows(epoch(1)).await.unwrap(), EpochRows { halves: 0, matches: 1 });
    assert_eq!(scene.store.epoch_rows(epoch(2)).await.unwrap(), EpochRows { halves: 1, matches: 1 });
    assert_eq!(scene.store.matches(account(1), None, 10, 17).await.unwrap(), first, "nobody sees it move");
    assert_eq!(scene.submit(1, half_under(&[1, 2], 2, true), 0, 18).await, (vec![account(2)], true));
    assert_eq!(scene.store.epoch_rows(epoch(1)).await.unwrap(), EpochRows::default());
    scene.store.retire_epoch(epoch(1)).await.unwrap();
    assert_eq!(scene.store.clear_epoch(epoch(1), None, 10).await.unwrap(), None);
    assert_eq!(scene.store.matches(account(2), None, 10, 19).await.unwrap().len(), 1);
    // And one's removal makes a half of it, in the place where it stands now.
    assert_eq!(scene.remove(1, 20).await.contacts, 2);
    assert_eq!(scene.submit(4, half_under(&[2], 1, true), 0, 21).await, (vec![account(2)], false));
}

pub(super) async fn retiring_deletes_and_nothing_stands_again(scene: Scene) {
    record(&scene, 1).await;
    for pair in 1..=5 {
        scene.submit(1, half_under(&[1], pair, true), 0, 10).await;
    }
    for pair in 3..=5 {
        scene.submit(2, half_under(&[1], pair, false), 0, 11).await;
    }
    record(&scene, 2).await;
    check_in(&scene, 1, &[1, 2], 12).await;
    scene.submit(3, half_under(&[1, 2], 7, true), 0, 13).await;
    assert_eq!(scene.store.epoch_rows(epoch(1)).await.unwrap(), EpochRows { halves: 2, matches: 3 });
    assert_eq!(scene.store.retire_epoch(epoch(1)).await.unwrap(), Retirement::Retired);
    assert_eq!(states(&scene).await[1], (1, EpochState::Retired));
    // In pieces, each from where the last one ended.
    let (mut after, mut pieces) = (None, 0);
    while let Some(last) = scene.store.clear_epoch(epoch(1), after, 2).await.unwrap() {
        assert!(after.is_none_or(|after| after < last));
        after = Some(last);
        pieces += 1;
    }
    assert_eq!(pieces, 3);
    assert_eq!(states(&scene).await[1], (1, EpochState::Retired), "a pass that found something");
    assert_eq!(scene.store.epoch_rows(epoch(1)).await.unwrap(), EpochRows::default());
    assert_eq!(scene.store.clear_epoch(epoch(1), None, 2).await.unwrap(), None);
    assert_eq!(states(&scene).await[1], (1, EpochState::Cleared));
    assert_eq!(scene.store.retire_epoch(epoch(1)).await.unwrap(), Retirement::Retired, "as before");
    assert_eq!(states(&scene).await[1], (1, EpochState::Cleared));
    for who in [1, 2] {
        assert_eq!(scene.count(who, 14).await, Some(0), "account {who}");
        assert_eq!(scene.listed(who, 14).await, []);
        assert_eq!(scene.remove(who, 15).await.contacts, 0, "account {who}");
    }
    assert_eq!(scene.store.epoch_rows(epoch(2)).await.unwrap(), EpochRows { halves: 1, matches: 0 });
    assert_eq!(scene.submit(4, half_under(&[2], 7, false), 0, 16).await, (vec![account(3)], false));
}

pub(super) async fn only_what_is_retired_is_cleared(scene: Scene) {
    two_epochs(&scene).await;
    scene.submit(1, half_under(&[1, 2], 1, true), 0, 10).await;
    assert_eq!(scene.store.retire_epoch(epoch(2)).await.unwrap(), Retirement::IsCurrent);
    assert_eq!(scene.store.retire_epoch(epoch(3)).await.unwrap(), Retirement::Unknown);
    for n in 1..=3 {
        assert_eq!(scene.store.clear_epoch(epoch(n), None, 10).await.unwrap(), None);
    }
    assert_eq!(states(&scene).await, [(2, EpochState::Current), (1, EpochState::Live)]);
    assert_eq!(scene.store.epoch_rows(epoch(2)).await.unwrap().halves, 1);
    // One that is to be inserted into never is, once it is retired; then it is forgotten, and may come again.
    record(&scene, 3).await;
    assert_eq!(scene.store.retire_epoch(epoch(3)).await.unwrap(), Retirement::Retired);
    record(&scene, 3).await;
    assert_eq!(
        check_in(&scene, 1, &[1, 2, 3], 10).await[..2],
        [(3, EpochState::Retired), (2, EpochState::Current)]
    );
    assert_eq!(scene.store.retire_epoch(epoch(3)).await.unwrap(), Retirement::Retired);
    assert_eq!(scene.store.clear_epoch(epoch(3), None, 10).await.unwrap(), None);
    assert_eq!(scene.store.retire_epoch(epoch(3)).await.unwrap(), Retirement::Forgotten);
    assert_eq!(states(&scene).await.len(), 2);
    assert_eq!(scene.store.retire_epoch(epoch(3)).await.unwrap(), Retirement::Unknown);
    record(&scene, 3).await;
    // A retired one stays so, whoever still has its key.
    assert_eq!(scene.store.retire_epoch(epoch(1)).await.unwrap(), Retirement::Retired);
    record(&scene, 1).await;
    let states = check_in(&scene, 1, &[1, 2, 3], 11).await;
    assert_eq!(states, [(3, EpochState::Current), (2, EpochState::Live), (1, EpochState::Retired)]);
}
