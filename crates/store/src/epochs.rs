//! Which epochs a step has to check, and under which it inserts; the same for both stores.

use acquaint_protocol::pair::EpochId;

use crate::{EpochRecord, EpochState, Half};

/// As `state` stands in the table `keys`; an unknown number counts as retired, so nothing is inserted under it.
pub(crate) const fn state(number: i64) -> EpochState {
    match number {
        LIVE => EpochState::Live,
        CURRENT => EpochState::Current,
        CLEARED => EpochState::Cleared,
        _ => EpochState::Retired,
    }
}

pub(crate) const LIVE: i64 = 0;
pub(crate) const CURRENT: i64 = 1;
pub(crate) const RETIRED: i64 = 2;
pub(crate) const CLEARED: i64 = 3;

/// The current epoch.
pub(crate) fn current(records: &[EpochRecord]) -> Option<EpochId> {
    records.iter().find(|record| record.state == EpochState::Current).map(|record| record.epoch)
}

/// The epoch that becomes the current one now: the newest, if every server holds it and all others that are checked.
pub(crate) fn next<'a>(
    records: &[EpochRecord],
    mut servers: impl Iterator<Item = &'a [EpochId]>,
) -> Option<EpochId> {
    let current = current(records)?;
    let checked = || records.iter().filter(|record| record.state.is_checked()).map(|record| record.epoch);
    let newest = checked().max().filter(|newest| *newest > current)?;
    servers.all(|held| checked().all(|epoch| held.contains(&epoch))).then_some(newest)
}

/// The epochs that may have rows that are matched.
pub(crate) fn needed(records: &[EpochRecord]) -> Vec<EpochId> {
    let current = current(records);
    let is_needed = |record: &&EpochRecord| {
        record.state.is_checked() && current.is_none_or(|current| record.epoch <= current)
    };
    records.iter().filter(is_needed).map(|record| record.epoch).collect()
}

/// The halves with the current epoch's hash first and without those of retired epochs; `None` if one lacks a hash that it
/// has to have. An epoch newer than the current one has no rows yet, so it may be lacking. Where no pair key was ever
/// recorded, nobody can say what is lacking.
pub(crate) fn arrange(records: &[EpochRecord], halves: &[Half]) -> Option<Vec<Half>> {
    let Some(current) = current(records) else { return records.is_empty().then(|| halves.to_vec()) };
    let is_checked =
        |epoch: EpochId| records.iter().any(|record| record.epoch == epoch && record.state.is_checked());
    let wanted = needed(records);
    let arranged = halves.iter().map(|half| {
        let has = |epoch: &EpochId| half.hashes.iter().any(|(held, _)| held == epoch);
        if !wanted.iter().all(has) {
            return None;
        }
        let mut hashes: Vec<_> =
            half.hashes.iter().filter(|(epoch, _)| is_checked(*epoch)).copied().collect();
        hashes.sort_by_key(|(epoch, _)| (*epoch != current, std::cmp::Reverse(*epoch)));
        Some(Half { hashes, bit: half.bit })
    });
    arranged.collect()
}
