//! Leaky buckets, the same in every store: counted in whole numbers, where a permit weighs [`PERMIT`] and a bucket leaks
//! its `per_day` every millisecond, which is exact. Where the limit says so ([`Limit::is_exact`]) it also shows it on every
//! millisecond. Else it leaks on the full hour, so that a row's time does not tell which other row was written at the same
//! moment: a number's row would else name its account (house plan, decision 4).

use crate::{Exhausted, Limit, Millis, Permit};

/// A day's milliseconds: what one permit weighs.
const PERMIT: i64 = 86_400_000;

/// The grid of all times that are kept beside a number's key.
const HOUR: i64 = 3_600_000;

/// A bucket, and what is asked of it.
pub(crate) struct Bucket {
    pub(crate) limit: Limit,
    pub(crate) key: Vec<u8>,
    capacity: i64,
    per_day: i64,
    /// What stood at `at`, after the leak.
    standing: i64,
    asked: i64,
    /// As of when its level is, on the limit's grid.
    pub(crate) at: Millis,
}

impl Bucket {
    /// One bucket for each limit and key, with what is asked of it in all; empty until [`stand`](Self::stand) says what
    /// is stored.
    pub(crate) fn distinct(permits: &[Permit]) -> Vec<Self> {
        let mut buckets: Vec<Self> = Vec::new();
        for permit in permits {
            let asked = weight(permit.amount);
            if let Some(same) = buckets.iter_mut().find(|bucket| bucket.is_of(permit)) {
                same.asked = same.asked.saturating_add(asked);
            } else {
                buckets.push(Self {
                    limit: permit.limit,
                    key: permit.key.clone(),
                    capacity: weight(permit.capacity),
                    per_day: i64::from(permit.per_day),
                    standing: 0,
                    asked,
                    at: 0,
                });
            }
        }
        buckets
    }

    pub(crate) fn is_of(&self, permit: &Permit) -> bool {
        self.limit == permit.limit && self.key == permit.key
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.limit == other.limit && self.key == other.key
    }

    /// Takes the stored level and its time, and lets it leak until `now`.
    pub(crate) fn stand(&mut self, stored: Option<(i64, Millis)>, now: Millis) {
        let now = now.saturating_sub(now.rem_euclid(grid(self.limit)));
        let (level, stored_at) = stored.unwrap_or((0, now));
        // A clock that went back leaks nothing, and what has leaked does not leak again.
        self.at = stored_at.max(now);
        let leaked = self.at.saturating_sub(stored_at).saturating_mul(self.per_day);
        self.standing = level.saturating_sub(leaked).max(0);
    }

    /// How full it is before what is asked, in whole permits, rounded up.
    pub(crate) fn permits(&self) -> u32 {
        u32::try_from(self.standing / PERMIT + i64::from(self.standing % PERMIT != 0)).unwrap_or(u32::MAX)
    }

    /// Its level once what is asked is taken.
    pub(crate) fn level(&self) -> i64 {
        self.standing.saturating_add(self.asked)
    }

    /// When that level will have leaked out; `None` for never.
    pub(crate) fn empty_at(&self) -> Option<Millis> {
        (self.per_day > 0).then(|| self.leaked_at(self.level()))
    }

    /// Whether anything is asked of it.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked > 0
    }

    /// Asks for nothing any more. Whether anything stands in it.
    #[cfg(feature = "postgres")]
    pub(crate) fn release(&mut self) -> bool {
        self.asked = 0;
        self.standing > 0
    }

    /// Takes what is asked out of it. Whether anything stood in it.
    pub(crate) fn give_back(&mut self) -> bool {
        let stood = self.standing > 0;
        self.standing = self.standing.saturating_sub(self.asked).max(0);
        self.asked = 0;
        stood
    }

    /// Why what is asked does not fit, if so. Nothing asked of a bucket over a capacity that was lowered since is
    /// refused as well.
    fn refusal(&self) -> Option<Exhausted> {
        let over = self.level().saturating_sub(self.capacity);
        if over <= 0 {
            return None;
        }
        let never = self.asked > self.capacity || self.per_day == 0;
        let retry_at = (!never).then(|| self.leaked_at(over));
        Some(Exhausted { limit: self.limit, retry_at })
    }

    /// When so much will have leaked out; `per_day` is above zero.
    fn leaked_at(&self, level: i64) -> Millis {
        let at = self.at.saturating_add(millis_to_leak(level, self.per_day));
        at_or_after(at, grid(self.limit))
    }

    /// Of several buckets that refuse, the one that refuses the longest.
    pub(crate) fn longest_refusal(buckets: &[Self]) -> Option<Exhausted> {
        // `None` is never, which is later than any moment.
        buckets.iter().filter_map(Self::refusal).reduce(|worst, next| {
            let later = match (worst.retry_at, next.retry_at) {
                (Some(worst), Some(next)) => next > worst,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if later { next } else { worst }
        })
    }
}

/// A bucket that is kept in memory: its level, and as of when. The same arithmetic as that of stored ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    level: i64,
    at: Millis,
}

impl Level {
    /// The level once `permit` is taken from a bucket at `standing`, or an empty one.
    ///
    /// # Errors
    /// [`Exhausted`] if it does not fit.
    pub fn take(standing: Option<Self>, permit: &Permit, now: Millis) -> Result<Self, Exhausted> {
        let mut bucket = Bucket {
            limit: permit.limit,
            // Of no use here.
            key: Vec::new(),
            capacity: weight(permit.capacity),
            per_day: i64::from(permit.per_day),
            standing: 0,
            asked: weight(permit.amount),
            at: 0,
        };
        bucket.stand(standing.map(|standing| (standing.level, standing.at)), now);
        match bucket.refusal() {
            Some(exhausted) => Err(exhausted),
            None => Ok(Self { level: bucket.level(), at: bucket.at }),
        }
    }

    /// The level once `permit`, which was taken, is given back.
    #[must_use]
    pub fn give_back(self, permit: &Permit, now: Millis) -> Self {
        let leaked = now.saturating_sub(self.at).max(0).saturating_mul(i64::from(permit.per_day));
        let level = self.level.saturating_sub(leaked).saturating_sub(weight(permit.amount)).max(0);
        Self { level, at: self.at.max(now) }
    }

    /// Whether it has leaked out at `now`, at so much a day.
    #[must_use]
    pub fn is_empty(&self, per_day: u32, now: Millis) -> bool {
        now.saturating_sub(self.at).saturating_mul(i64::from(per_day)) >= self.level
    }
}

/// The first of several alternatives whose buckets all fit, with its buckets; or why none does: what the alternative is
/// refused for that would fit soonest, at a tie the earlier one. Where there are none, nothing is asked, and that fits.
///
/// # Errors
/// Those of `load`, which gives an alternative's buckets as they stand.
pub(crate) fn first_that_fits<E>(
    alternatives: &[Vec<Permit>],
    mut load: impl FnMut(&[Permit]) -> Result<Vec<Bucket>, E>,
) -> Result<Result<(usize, Vec<Bucket>), Exhausted>, E> {
    let mut refused = Vec::new();
    for (number, permits) in alternatives.iter().enumerate() {
        let buckets = load(permits)?;
        match Bucket::longest_refusal(&buckets) {
            None => return Ok(Ok((number, buckets))),
            Some(exhausted) => refused.push(exhausted),
        }
    }
    let soonest = refused.into_iter().min_by_key(|refused| (refused.retry_at.is_none(), refused.retry_at));
    Ok(soonest.map_or_else(|| Ok((0, Vec::new())), Err))
}

const fn grid(limit: Limit) -> i64 {
    if limit.is_exact() { 1 } else { HOUR }
}

/// Cannot overflow: 2^32 permits weigh less than 2^59.
fn weight(permits: u32) -> i64 {
    i64::from(permits) * PERMIT
}

/// The full hour at or after `time`.
pub(crate) fn full_hour(time: Millis) -> Millis {
    at_or_after(time, HOUR)
}

fn at_or_after(time: Millis, grid: i64) -> Millis {
    match time.rem_euclid(grid) {
        0 => time,
        past => time.saturating_add(grid - past),
    }
}

/// Rounded up; `per_day` is above zero.
fn millis_to_leak(level: i64, per_day: i64) -> i64 {
    level / per_day + i64::from(level % per_day != 0)
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Millis, PERMIT};
    use crate::{Exhausted, Limit, Permit};

    /// What stands after a take, where it fits.
    fn take(
        permit: &Permit,
        stored: Option<(i64, Millis)>,
        now: Millis,
    ) -> Result<(i64, Millis), Option<Millis>> {
        let mut bucket = Bucket::distinct(std::slice::from_ref(permit)).remove(0);
        bucket.stand(stored, now);
        match bucket.refusal() {
            None => Ok((bucket.level(), bucket.at)),
            Some(Exhausted { limit, retry_at }) => {
                assert_eq!(limit, permit.limit);
                Err(retry_at)
            }
        }
    }

    fn permit(limit: Limit, amount: u32, capacity: u32, per_day: u32) -> Permit {
        Permit { limit, key: vec![], amount, capacity, per_day }
    }

    /// The leaky bucket of seed 001, with its known answers.
    #[test]
    fn an_exact_bucket_leaks_on_every_millisecond() {
        let one_a_milli = |amount| permit(Limit::AccountCredentials, amount, 1000, 86_400_000);
        let first = take(&one_a_milli(200), None, 0).unwrap();
        assert_eq!(first, (200 * PERMIT, 0));
        let second = take(&one_a_milli(100), Some(first), 50).unwrap();
        assert_eq!(second, (250 * PERMIT, 50), "750 left");

        let one_a_second = |amount| permit(Limit::AccountCredentials, amount, 60, 86_400);
        let full = take(&one_a_second(50), None, 7).unwrap();
        assert_eq!(take(&one_a_second(25), Some(full), 7), Err(Some(7 + 15_000)));
        assert_eq!(take(&one_a_second(25), Some(full), 15_006), Err(Some(15_007)));
        assert_eq!(take(&one_a_second(25), Some(full), 15_007), Ok((60 * PERMIT, 15_007)));
        // Nothing is lost to rounding: 10 a day, looked at on every millisecond.
        let slow = |amount| permit(Limit::AccountLookups, amount, 10, 10);
        let mut stands = take(&slow(10), None, 0).unwrap();
        for now in 1..=1000 {
            stands = take(&slow(0), Some(stands), now).unwrap();
        }
        assert_eq!(stands, (10 * PERMIT - 10_000, 1000));
        assert_eq!(take(&slow(1), Some(stands), 1000), Err(Some(8_640_000)));
    }

    #[test]
    fn the_others_leak_on_the_full_hour() {
        let ask = |amount| permit(Limit::NumberCodes, amount, 60, 86_400);
        let full = take(&ask(60), None, 7).unwrap();
        assert_eq!(full.1, 0, "no time of a number's row but a full hour");
        assert_eq!(take(&ask(25), Some(full), 3_599_999), Err(Some(3_600_000)));
        assert_eq!(take(&ask(25), Some(full), 3_600_000), Ok((25 * PERMIT, 3_600_000)));
    }
}
