//! Leaky buckets, the same in every store: counted in whole numbers, where a permit weighs [`PERMIT`] and a bucket leaks
//! its `per_day` every millisecond, which is exact. It leaks on the full hour, so that a row's time does not tell which
//! other row was written at the same moment: a number's row would else name its account (house plan, decision 4).

use crate::{Exhausted, Limit, Millis, Permit};

/// A day's milliseconds: what one permit weighs.
const PERMIT: i64 = 86_400_000;

/// The grid of all times that are kept beside a key.
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
    /// As of when its level is; a full hour.
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

    /// Takes the stored level and its time, and lets it leak until `now`.
    pub(crate) fn stand(&mut self, stored: Option<(i64, Millis)>, now: Millis) {
        let now = now.saturating_sub(now.rem_euclid(HOUR));
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
        (self.per_day > 0)
            .then(|| full_hour(self.at.saturating_add(millis_to_leak(self.level(), self.per_day))))
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
        let retry_at =
            (!never).then(|| full_hour(self.at.saturating_add(millis_to_leak(over, self.per_day))));
        Some(Exhausted { limit: self.limit, retry_at })
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

/// Cannot overflow: 2^32 permits weigh less than 2^59.
fn weight(permits: u32) -> i64 {
    i64::from(permits) * PERMIT
}

/// The full hour at or after `time`.
pub(crate) fn full_hour(time: Millis) -> Millis {
    match time.rem_euclid(HOUR) {
        0 => time,
        past => time.saturating_add(HOUR - past),
    }
}

/// Rounded up; `per_day` is above zero.
fn millis_to_leak(level: i64, per_day: i64) -> i64 {
    level / per_day + i64::from(level % per_day != 0)
}
