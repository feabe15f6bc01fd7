//! The rules of matching, one by one. Accounts on the true side and on the false side of a pair.

use super::scene::{FAR, Scene, account, half, half_under};
use crate::HalfOutcome;

pub(super) async fn opposite_halves_match(scene: Scene) {
    assert_eq!(scene.submit(1, half(1, true), 0, 10).await, (vec![], false));
    assert_eq!(scene.submit(2, half(2, false), 0, 11).await, (vec![], false), "another pair");
    assert_eq!(scene.count(1, 11).await, Some(0));
    assert_eq!(scene.submit(2, half(1, false), 0, 12).await, (vec![account(1)], false));
    assert_eq!(scene.listed(1, 12).await, [account(2)]);
    assert_eq!(scene.listed(2, 12).await, [account(1)]);
    // Both halves were taken out: a third finds nothing.
    assert_eq!(scene.submit(3, half(1, true), 0, 13).await, (vec![], false));
    assert_eq!(scene.submit(4, half(1, false), 0, 14).await, (vec![account(3)], false));
}

pub(super) async fn same_bit_later_wins(scene: Scene) {
    scene.submit(1, half(1, true), 5, 10).await;
    // At a tie, and with an earlier verification imported later, the standing half stays.
    assert_eq!(scene.submit(2, half(1, true), 5, 11).await, (vec![], false));
    assert_eq!(scene.submit(2, half(1, true), 4, 12).await, (vec![], false));
    assert_eq!(scene.submit(3, half(1, false), 0, 13).await, (vec![account(1)], false));

    scene.submit(1, half(2, true), 5, 20).await;
    assert_eq!(scene.submit(2, half(2, true), 6, 21).await, (vec![], false));
    assert_eq!(scene.submit(1, half(2, true), 5, 22).await, (vec![], false), "no longer held");
    assert_eq!(scene.submit(3, half(2, false), 0, 23).await, (vec![account(2)], false));
}

pub(super) async fn own_opposite_half(scene: Scene) {
    scene.submit(1, half(1, true), 5, 10).await;
    assert_eq!(scene.submit(1, half(1, false), 5, 11).await, (vec![], true), "a tie: true stays");
    assert_eq!(scene.submit(2, half(1, false), 0, 12).await, (vec![account(1)], false));

    scene.submit(1, half(2, true), 5, 20).await;
    assert_eq!(scene.submit(1, half(2, false), 6, 21).await, (vec![], true));
    assert_eq!(scene.submit(2, half(2, true), 0, 22).await, (vec![account(1)], false));
    assert_eq!(scene.remove(1, 30).await.contacts, 2);
}

pub(super) async fn expired_halves_are_absent(scene: Scene) {
    scene.import(1, vec![half(1, true), half(2, true)], (50, 100), 10).await;
    let outcomes = scene.import(2, vec![half(1, false), half(2, true)], (0, FAR), 100).await;
    assert_eq!(outcomes, [HalfOutcome::default(), HalfOutcome::default()], "no match, and no later rival");
    assert_eq!(scene.submit(1, half(1, true), 0, 101).await, (vec![account(2)], false));
    assert_eq!(scene.submit(3, half(2, false), 0, 102).await, (vec![account(2)], false));
}

pub(super) async fn replays(scene: Scene) {
    scene.import(1, vec![half(1, true), half(1, true)], (5, 100), 10).await;
    assert_eq!(scene.submit(2, half(1, false), 0, 11).await, (vec![account(1)], false));
    let again = scene.store.matches(account(1), None, 9, 12).await.unwrap();
    // Reported again, held, and the place in the list stays.
    assert_eq!(scene.submit(1, half(1, true), 0, 12).await, (vec![account(2)], true));
    assert_eq!(scene.submit(2, half(1, false), 0, 12).await, (vec![account(1)], true));
    assert_eq!(scene.store.matches(account(1), None, 9, 12).await.unwrap(), again);

    // A replay renews; and an older one does not take back.
    scene.import(1, vec![half(2, true)], (5, 100), 20).await;
    let renewed = scene.import(1, vec![half(2, true)], (6, 200), 21).await;
    assert!(renewed[0].held);
    scene.import(1, vec![half(2, true)], (1, 50), 22).await;
    assert_eq!(scene.submit(3, half(2, true), 6, 23).await, (vec![], false));
    assert_eq!(scene.submit(2, half(2, false), 0, 199).await, (vec![account(1)], false));
}

pub(super) async fn a_further_match(scene: Scene) {
    scene.submit(1, half(1, true), 0, 10).await;
    scene.submit(2, half(1, false), 0, 11).await;
    // 3 is the number's new owner; 1 finds 3 when it imports again.
    assert_eq!(scene.submit(3, half(1, false), 5, 12).await, (vec![], false));
    assert_eq!(scene.submit(1, half(1, true), 0, 13).await, (vec![account(2), account(3)], true));
    assert_eq!(scene.listed(1, 14).await, [account(3), account(2)]);
    assert_eq!(scene.listed(3, 14).await, [account(1)]);
    // 2 goes; 1's half stands again, though 1 is matched with 3. When 3 comes by, the two are matched once.
    scene.remove(2, 15).await;
    assert_eq!(scene.submit(3, half(1, false), 0, 16).await, (vec![account(1)], true));
    assert_eq!(scene.listed(1, 17).await, [account(3)]);
    assert_eq!(scene.remove(1, 18).await.contacts, 1);
}

pub(super) async fn two_epochs(scene: Scene) {
    scene.submit(1, half_under(&[1], 1, true), 5, 10).await;
    scene.submit(2, half_under(&[1], 2, true), 5, 10).await;
    scene.submit(3, half_under(&[1], 3, true), 5, 10).await;
    // One's own half moves to the new epoch, with the later verification.
    assert_eq!(scene.submit(1, half_under(&[2, 1], 1, true), 0, 11).await, (vec![], true));
    assert_eq!(scene.remove(1, 12).await.contacts, 1);
    // A rival's older row goes, if it loses; else nothing goes in.
    assert_eq!(scene.submit(4, half_under(&[2, 1], 2, true), 6, 13).await, (vec![], false));
    assert_eq!(scene.submit(4, half_under(&[2, 1], 3, true), 5, 14).await, (vec![], false));
    assert_eq!(scene.remove(2, 15).await.contacts, 0);
    assert_eq!(scene.submit(5, half_under(&[1], 2, false), 0, 16).await, (vec![], false));
    assert_eq!(scene.submit(6, half_under(&[2], 2, false), 0, 17).await, (vec![account(4)], false));
    assert_eq!(scene.submit(6, half_under(&[2], 3, false), 0, 18).await, (vec![], false));
    assert_eq!(scene.submit(5, half_under(&[1], 3, false), 0, 19).await, (vec![account(3)], false));
}

pub(super) async fn matches_across_epochs(scene: Scene) {
    scene.submit(1, half_under(&[1], 1, true), 0, 10).await;
    assert_eq!(scene.submit(2, half_under(&[2, 1], 1, false), 0, 11).await, (vec![account(1)], false));
    assert_eq!(scene.submit(1, half_under(&[2, 1], 1, true), 0, 12).await, (vec![account(2)], true));
    // The match stands under the new epoch: it outlives the old one, and so does a half that stands again.
    assert_eq!(scene.submit(2, half_under(&[2], 1, false), 0, 13).await, (vec![account(1)], true));
    scene.remove(2, 14).await;
    assert_eq!(scene.submit(3, half_under(&[2], 1, false), 0, 15).await, (vec![account(1)], false));

    // One made in the old epoch alone is found while both live.
    scene.submit(1, half_under(&[1], 2, true), 0, 20).await;
    scene.submit(3, half_under(&[1], 2, false), 0, 21).await;
    assert_eq!(scene.submit(1, half_under(&[2, 1], 2, true), 0, 22).await, (vec![account(3)], true));
    assert_eq!(scene.remove(1, 23).await.contacts, 2);
}

pub(super) async fn expiry_ends_a_match(scene: Scene) {
    for pair in 1..=3 {
        scene.import(1, vec![half(pair, true)], (7, 100), 10).await;
        scene.import(2, vec![half(pair, false)], (3, 200), 11).await;
    }
    assert_eq!((scene.count(1, 99).await, scene.count(2, 99).await), (Some(1), Some(1)));
    assert_eq!((scene.count(1, 100).await, scene.count(2, 100).await), (Some(0), Some(0)));
    assert_eq!(scene.listed(2, 100).await, []);
    // 2's half stands again, swept or not: it matches, wins and loses as any half does.
    assert_eq!(scene.submit(3, half(1, true), 0, 101).await, (vec![account(2)], false));
    assert_eq!(scene.submit(3, half(2, false), 2, 102).await, (vec![], false));
    assert_eq!(scene.store.sweep(100, 103).await.unwrap(), 1);
    assert_eq!(scene.submit(3, half(3, false), 4, 104).await, (vec![], false));
    assert_eq!(scene.submit(4, half(2, true), 0, 105).await, (vec![account(2)], false));
    assert_eq!(scene.submit(4, half(3, true), 0, 106).await, (vec![account(3)], false));
    // Nothing stands again of a side that has expired too.
    scene.import(6, vec![half(4, true)], (0, 120), 110).await;
    scene.import(7, vec![half(4, false)], (0, 130), 110).await;
    assert_eq!(scene.submit(8, half(4, true), 0, 130).await, (vec![], false));
    assert_eq!(scene.submit(9, half(4, false), 0, 131).await, (vec![account(8)], false));
}

pub(super) async fn renewal_keeps_a_match(scene: Scene) {
    scene.import(1, vec![half(1, true)], (0, 100), 10).await;
    scene.import(2, vec![half(1, false)], (0, 100), 11).await;
    scene.import(1, vec![half(1, true)], (0, 200), 12).await;
    assert_eq!(scene.count(1, 100).await, Some(0), "2 has not renewed");
    scene.import(2, vec![half(1, false)], (0, 150), 99).await;
    for who in [1, 2] {
        assert_eq!(scene.count(who, 149).await, Some(1), "account {who}");
        assert_eq!(scene.count(who, 150).await, Some(0), "account {who}");
    }
    // A renewed verification holds against a rival once the half stands again.
    scene.import(1, vec![half(1, true)], (9, 200), 120).await;
    scene.remove(2, 130).await;
    assert_eq!(scene.submit(3, half(1, true), 8, 131).await, (vec![], false));
    assert_eq!(scene.submit(4, half(1, false), 0, 132).await, (vec![account(1)], false));
}

pub(super) async fn late_half_is_absent(scene: Scene) {
    scene.submit(1, half(1, true), 0, 10).await;
    let outcomes = scene.import(2, vec![half(1, false), half(2, false)], (0, 50), 50).await;
    assert_eq!(outcomes, [HalfOutcome::default(), HalfOutcome::default()]);
    assert_eq!(scene.submit(3, half(1, false), 0, 51).await, (vec![account(1)], false));
    assert_eq!(scene.remove(2, 52).await.contacts, 0);
}
