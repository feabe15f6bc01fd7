//! Leaky buckets.

use super::scene::{DAY, Scene, permit};
use crate::{Exhausted, Limit, Permit};

pub(super) async fn fit_and_leak(scene: Scene) {
    let ask = |amount| vec![permit(Limit::AccountPairs, amount, 10, 7)];
    assert_eq!(scene.take(ask(10), 0).await, Ok(()));
    // 3 / 7 of a day are 10.3 hours, and buckets leak on the full hour.
    let retry_at = 11 * DAY / 24;
    let refused = Err(Exhausted { limit: Limit::AccountPairs, retry_at: Some(retry_at) });
    assert_eq!(scene.take(ask(3), 0).await, refused);
    assert_eq!(scene.take(ask(3), retry_at - 1).await, refused);
    assert_eq!(scene.take(ask(3), retry_at).await, Ok(()));
    assert!(scene.take(ask(1), retry_at).await.is_err());
    // What leaks out before it is empty is not saved up.
    assert_eq!(scene.take(ask(10), 100 * DAY).await, Ok(()));
    assert!(scene.take(ask(1), 100 * DAY).await.is_err());
    // Other keys and other limits are other buckets.
    let other_key = vec![Permit { key: vec![], ..permit(Limit::AccountPairs, 10, 10, 7) }];
    assert_eq!(scene.take(other_key, 100 * DAY).await, Ok(()));
    let other_limit = vec![permit(Limit::NumberPairs, 10, 10, 7)];
    assert_eq!(scene.take(other_limit, 100 * DAY).await, Ok(()));
}

pub(super) async fn all_or_none(scene: Scene) {
    scene.take(vec![permit(Limit::NumberPairs, 5, 5, 5)], 0).await.unwrap();
    scene.take(vec![permit(Limit::AllGuesses, 5, 5, 1)], 0).await.unwrap();
    // The one that refuses the longest is named, so that a retry then fits.
    let all = vec![
        permit(Limit::AccountPairs, 5, 5, 0),
        permit(Limit::NumberPairs, 1, 5, 5),
        permit(Limit::AllGuesses, 1, 5, 1),
    ];
    let refused = Err(Exhausted { limit: Limit::AllGuesses, retry_at: Some(DAY) });
    assert_eq!(scene.take(all.clone(), 0).await, refused);
    assert_eq!(scene.take(all, DAY).await, Ok(()));
    let rest = vec![permit(Limit::AccountPairs, 1, 5, 0)];
    assert_eq!(scene.take(rest, DAY).await, Err(Exhausted { limit: Limit::AccountPairs, retry_at: None }));
}

pub(super) async fn never_fits(scene: Scene) {
    let refused = Err(Exhausted { limit: Limit::AccountPairs, retry_at: None });
    let ask = |amount, per_day| vec![permit(Limit::AccountPairs, amount, 10, per_day)];
    assert_eq!(scene.take(ask(11, 5), 0).await, refused);
    assert_eq!(scene.take(ask(10, 0), 0).await, Ok(()));
    assert_eq!(scene.take(ask(1, 0), i64::MAX).await, refused);
    let huge = vec![permit(Limit::AllGuesses, u32::MAX, u32::MAX, u32::MAX)];
    assert_eq!(scene.take(huge.clone(), i64::MIN).await, Ok(()));
    assert_eq!(scene.take(huge, i64::MAX).await, Ok(()));
}

pub(super) async fn clock_going_back(scene: Scene) {
    let ask = |amount| vec![permit(Limit::AccountPairs, amount, 10, 10)];
    scene.take(ask(5), DAY).await.unwrap();
    // Going back raises no level,
    assert_eq!(scene.take(ask(5), 0).await, Ok(()));
    let refused = Err(Exhausted { limit: Limit::AccountPairs, retry_at: Some(DAY + 3 * DAY / 24) });
    assert_eq!(scene.take(ask(1), 0).await, refused);
    // and coming forward again leaks nothing twice.
    assert_eq!(scene.take(ask(1), DAY).await, refused);
    assert_eq!(scene.take(ask(5), DAY + DAY / 2).await, Ok(()));
    assert!(scene.take(ask(1), 0).await.is_err());
    assert!(scene.take(ask(1), DAY + DAY / 2).await.is_err());
}

pub(super) async fn one_bucket_asked_twice(scene: Scene) {
    let ask = |first, second| {
        vec![permit(Limit::AccountPairs, first, 10, 10), permit(Limit::AccountPairs, second, 10, 10)]
    };
    let refused = Err(Exhausted { limit: Limit::AccountPairs, retry_at: None });
    assert_eq!(scene.take(ask(6, 5), 0).await, refused);
    assert_eq!(scene.take(ask(6, 4), 0).await, Ok(()));
    assert!(scene.take(ask(0, 1), 0).await.is_err());
}

pub(super) async fn levels(scene: Scene) {
    let store = &scene.store;
    let ask = |limit, amount| permit(limit, amount, 10, 24);
    let both = || vec![ask(Limit::SmsCodes, 99), ask(Limit::RegionCodes, 0)];
    assert_eq!(store.levels(both(), 0).await.unwrap(), [0, 0]);
    scene.take(vec![ask(Limit::SmsCodes, 7)], 0).await.unwrap();
    assert_eq!(store.levels(both(), 0).await.unwrap(), [7, 0]);
    assert_eq!(store.levels(both(), 2 * DAY / 24).await.unwrap(), [5, 0]);
    // Looking takes nothing.
    assert_eq!(scene.take(vec![ask(Limit::SmsCodes, 3)], 0).await, Ok(()));
}
