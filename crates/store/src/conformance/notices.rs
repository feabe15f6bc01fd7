//! Notices: written with the match that they tell of, told once, given up in the end.

use super::scene::{FAR, Scene, account, half, sealed, step};
use crate::{
    DeadNotice, HalfOutcome, ImportStep, LeasedNotice, Millis, NoticeCounts, NoticeOutcome, NoticeTimes,
    Pseudonym, StepOutcome,
};

/// When importers learn of their matches, and when notices are given up.
const TIMES: NoticeTimes = NoticeTimes { importer_due_at: 100, expires_at: 10_000 };

async fn import(scene: &Scene, who: u8, pair: u8, bit: bool, now: Millis) -> HalfOutcome {
    scene.accept(who, 1, now).await;
    let leased = scene.lease(now).await;
    let step =
        ImportStep { notices: Some(TIMES), verified_at: now, ..step(&leased, who, vec![half(pair, bit)]) };
    match scene.store.match_or_insert(step, now).await.unwrap() {
        StepOutcome::Committed(mut outcomes) => outcomes.remove(0),
        other => unreachable!("nobody else has the lease: {other:?}"),
    }
}

/// Accounts 1 and 2 are matched at 10, by an import of 2.
async fn matched(scene: &Scene) {
    assert!(import(scene, 1, 1, true, 9).await.matched.is_empty());
    assert_eq!(import(scene, 2, 1, false, 10).await.matched, [account(1)]);
}

async fn lease(scene: &Scene, now: Millis) -> Vec<LeasedNotice> {
    scene.store.lease_notices(10, now, now + 50).await.unwrap()
}

fn who(leased: &[LeasedNotice]) -> Vec<(Pseudonym, Pseudonym)> {
    leased.iter().map(|notice| (notice.id.account, notice.id.other)).collect()
}

pub(super) async fn both_sides_of_a_new_match(scene: Scene) {
    let store = &scene.store;
    matched(&scene).await;
    let counts = NoticeCounts { waiting: 2, dead: 0, next_due_at: Some(10) };
    assert_eq!(store.notice_counts(10).await.unwrap(), counts);
    assert_eq!(lease(&scene, 9).await, []);
    // The other side at once, the importer later.
    let first = lease(&scene, 10).await;
    assert_eq!(who(&first), [(account(1), account(2))]);
    assert_eq!((first[0].id.found_at, first[0].attempt), (10, 1));
    assert_eq!((&first[0].sealed_account, &first[0].sealed_other), (&sealed(1), &sealed(2)));
    assert_eq!(lease(&scene, 59).await, []);
    // A lease that ran out: another attempt, at the same notice.
    let again = lease(&scene, 60).await;
    assert_eq!((again[0].id, again[0].attempt), (first[0].id, 2));
    assert_eq!(who(&lease(&scene, 100).await), [(account(2), account(1))]);
    assert_eq!(store.lease_notices(1, 500, 501).await.unwrap().len(), 1);
}

pub(super) async fn none_for_who_knows_already(scene: Scene) {
    matched(&scene).await;
    for notice in lease(&scene, 100).await {
        scene.store.settle_notice(notice.id, notice.attempt, NoticeOutcome::Told).await.unwrap();
    }
    // The same again, and over another pair of numbers.
    import(&scene, 2, 1, false, 20).await;
    import(&scene, 1, 2, true, 21).await;
    assert_eq!(import(&scene, 2, 2, false, 22).await.matched, [account(1)]);
    assert_eq!(scene.store.notice_counts(22).await.unwrap(), NoticeCounts::default());
    // Without times, nobody is told.
    scene.submit(3, half(3, true), 0, 23).await;
    scene.submit(4, half(3, false), 0, 24).await;
    assert_eq!(scene.listed(3, 24).await, [account(4)]);
    assert_eq!(scene.store.notice_counts(24).await.unwrap(), NoticeCounts::default());
    // Nor is anybody of whom they have dismissed: 2 is, and 1 is not told when 2 comes back.
    scene.store.dismiss(account(1), account(2), 25).await.unwrap();
    scene.remove(2, 26).await;
    import(&scene, 2, 1, false, 27).await;
    assert_eq!(who(&lease(&scene, 200).await), [(account(2), account(1))]);
}

pub(super) async fn told_or_cancelled(scene: Scene) {
    let store = &scene.store;
    matched(&scene).await;
    // The importer learnt it from its answer.
    store.cancel_notices(account(2), vec![account(3), account(1)]).await.unwrap();
    let leased = lease(&scene, 200).await;
    assert_eq!(who(&leased), [(account(1), account(2))]);
    // Begun with: too late to cancel.
    store.cancel_notices(account(1), vec![account(2)]).await.unwrap();
    let [notice] = &leased[..] else { unreachable!("one is left") };
    // An older attempt settles nothing.
    let newer = lease(&scene, 250).await;
    store.settle_notice(notice.id, notice.attempt, NoticeOutcome::Told).await.unwrap();
    assert_eq!(store.notice_counts(250).await.unwrap().waiting, 1);
    store.settle_notice(notice.id, newer[0].attempt, NoticeOutcome::Told).await.unwrap();
    assert_eq!(store.notice_counts(250).await.unwrap(), NoticeCounts::default());
}

pub(super) async fn failures_and_dead_letters(scene: Scene) {
    let store = &scene.store;
    matched(&scene).await;
    store.cancel_notices(account(2), vec![account(1)]).await.unwrap();
    let id = lease(&scene, 10).await[0].id;
    let again = NoticeOutcome::Again { due_at: 300, reason: "busy" };
    store.settle_notice(id, 1, again).await.unwrap();
    assert_eq!(lease(&scene, 299).await, []);
    assert_eq!(lease(&scene, 300).await[0].attempt, 2);
    store.settle_notice(id, 2, NoticeOutcome::Dead { reason: "refused" }).await.unwrap();
    assert_eq!(lease(&scene, 5000).await, []);
    assert_eq!(
        store.notice_counts(5000).await.unwrap(),
        NoticeCounts { waiting: 0, dead: 1, next_due_at: None }
    );
    let dead = DeadNotice { id, attempts: 2, reason: "refused".into() };
    assert_eq!(store.dead_notices(10, 5000).await.unwrap(), [dead]);
    assert_eq!(store.dead_notices(0, 5000).await.unwrap(), []);
    assert_eq!(store.revive_notices(5000).await.unwrap(), 1);
    assert_eq!(store.revive_notices(5000).await.unwrap(), 0);
    assert_eq!(store.dead_notices(10, 5000).await.unwrap(), []);
    assert_eq!(lease(&scene, 5000).await[0].attempt, 1);
}

pub(super) async fn gone_with_an_account_a_dismissal_or_time(scene: Scene) {
    let store = &scene.store;
    matched(&scene).await;
    scene.store.dismiss(account(1), account(2), 20).await.unwrap();
    assert_eq!(store.notice_counts(20).await.unwrap().waiting, 1);
    scene.remove(1, 30).await;
    assert_eq!(store.notice_counts(30).await.unwrap(), NoticeCounts::default());

    import(&scene, 1, 5, true, 40).await;
    import(&scene, 3, 5, false, 41).await;
    assert_eq!(store.notice_counts(TIMES.expires_at).await.unwrap(), NoticeCounts::default());
    assert_eq!(store.lease_notices(10, TIMES.expires_at, FAR).await.unwrap(), []);
    assert!(store.sweep(100, TIMES.expires_at).await.unwrap() >= 2);
    assert_eq!(store.revive_notices(0).await.unwrap(), 0);
    assert_eq!(store.notice_counts(0).await.unwrap(), NoticeCounts::default());
}
