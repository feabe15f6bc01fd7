//! Leaky buckets, as the embedded store has them: counted in whole numbers, where a permit weighs [`PERMIT`] and a bucket
//! leaks its `per_day` every millisecond. It leaks on the full hour, so that a row's time does not tell which other row
//! was written at the same moment: a number's row would else name its account.

use std::collections::BTreeMap;

use super::unit::{Result, Unit};
use crate::{Exhausted, Limit, Millis, Permit};

/// A day's milliseconds: what one permit weighs.
const PERMIT: i64 = 86_400_000;

/// The grid of all times that are kept beside a key.
const HOUR: i64 = 3_600_000;

/// Permits that fit and are not taken yet; their buckets are locked.
pub(super) struct Reserved(Vec<Bucket>);

struct Bucket {
    limit: Limit,
    key: Vec<u8>,
    capacity: i64,
    per_day: i64,
    /// What stood at `at`, after the leak.
    standing: i64,
    asked: i64,
    at: Millis,
}

pub(super) async fn take(
    unit: &Unit,
    permits: &[Permit],
    now: Millis,
) -> Result<std::result::Result<(), Exhausted>> {
    match reserve(unit, permits, now).await? {
        Ok(reserved) => reserved.take(unit).await.map(Ok),
        Err(exhausted) => Ok(Err(exhausted)),
    }
}

/// As [`take`], as a verb of its own.
pub(super) async fn take_all(
    unit: &Unit,
    permits: &[Permit],
    now: Millis,
) -> Result<std::result::Result<(), Exhausted>> {
    let taken = take(unit, permits, now).await?;
    if taken.is_err() {
        unit.undo();
    }
    Ok(taken)
}

/// Looks whether all permits fit together. Of several buckets that refuse, the one is named that refuses the longest.
/// Locks the buckets by their rows; who does not take the permits undoes the transaction or releases them.
pub(super) async fn reserve(
    unit: &Unit,
    permits: &[Permit],
    now: Millis,
) -> Result<std::result::Result<Reserved, Exhausted>> {
    let mut buckets = distinct(permits);
    if buckets.is_empty() {
        return Ok(Ok(Reserved(buckets)));
    }
    let (keys, kinds) = columns(&buckets);
    unit.execute(include_str!("sql/lock_limits.sql"), &[&keys, &kinds]).await?;
    let levels = unit.query(include_str!("sql/read_limits.sql"), &[&keys, &kinds]).await?;
    load(&mut buckets, &levels, now)?;
    let refusals = buckets.iter().filter_map(Bucket::refusal);
    // `None` is never, which is later than any moment.
    let worst = refusals.reduce(|worst, next| {
        let later = match (worst.retry_at, next.retry_at) {
            (Some(worst), Some(next)) => next > worst,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if later { next } else { worst }
    });
    Ok(worst.map_or(Ok(Reserved(buckets)), Err))
}

/// How full the buckets are, in whole permits.
pub(super) async fn levels(unit: &Unit, permits: &[Permit], now: Millis) -> Result<Vec<u32>> {
    let mut buckets = distinct(permits);
    let (keys, kinds) = columns(&buckets);
    let levels = unit.query(include_str!("sql/read_limits.sql"), &[&keys, &kinds]).await?;
    load(&mut buckets, &levels, now)?;
    let level = |permit: &Permit| {
        let bucket = buckets.iter().find(|bucket| bucket.is_of(permit));
        let standing = bucket.map_or(0, |bucket| bucket.standing);
        u32::try_from(standing / PERMIT + i64::from(standing % PERMIT != 0)).unwrap_or(u32::MAX)
    };
    Ok(permits.iter().map(level).collect())
}

pub(super) async fn give_back(unit: &Unit, permits: &[Permit], now: Millis) -> Result<()> {
    let mut buckets = distinct(permits);
    if buckets.is_empty() {
        return Ok(());
    }
    let (keys, kinds) = columns(&buckets);
    let levels = unit.query(include_str!("sql/relock_limits.sql"), &[&keys, &kinds]).await?;
    load(&mut buckets, &levels, now)?;
    buckets.retain(|bucket| bucket.standing > 0);
    for bucket in &mut buckets {
        bucket.standing = bucket.standing.saturating_sub(bucket.asked).max(0);
        bucket.asked = 0;
    }
    store(unit, &buckets).await
}

impl Reserved {
    /// Writes what [`reserve`] found to fit.
    pub(super) async fn take(self, unit: &Unit) -> Result<()> {
        store(unit, &self.0).await
    }

    /// Leaves the buckets as they were.
    pub(super) async fn release(mut self, unit: &Unit) -> Result<()> {
        self.0.iter_mut().for_each(|bucket| bucket.asked = 0);
        // Only what locking put there has to go.
        self.0.retain(|bucket| bucket.standing == 0);
        store(unit, &self.0).await
    }
}

/// One bucket for each limit and key, with what is asked of it in all.
fn distinct(permits: &[Permit]) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for permit in permits {
        let asked = weight(permit.amount);
        if let Some(same) = buckets.iter_mut().find(|bucket| bucket.is_of(permit)) {
            same.asked = same.asked.saturating_add(asked);
        } else {
            buckets.push(Bucket {
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

fn columns(buckets: &[Bucket]) -> (Vec<&[u8]>, Vec<i16>) {
    (
        buckets.iter().map(|bucket| bucket.key.as_slice()).collect(),
        buckets.iter().map(|bucket| i16::from(bucket.limit as u8)).collect(),
    )
}

fn load(buckets: &mut [Bucket], rows: &[tokio_postgres::Row], now: Millis) -> Result<()> {
    let mut stored: BTreeMap<(&[u8], i16), (i64, Millis)> = BTreeMap::new();
    for row in rows {
        stored.insert((row.try_get(0)?, row.try_get(1)?), (row.try_get(2)?, row.try_get(3)?));
    }
    let now = now.saturating_sub(now.rem_euclid(HOUR));
    for bucket in buckets {
        let kind = i16::from(bucket.limit as u8);
        let (level, stored_at) = stored.get(&(bucket.key.as_slice(), kind)).copied().unwrap_or((0, now));
        // A clock that went back leaks nothing, and what has leaked does not leak again.
        bucket.at = stored_at.max(now);
        let leaked = bucket.at.saturating_sub(stored_at).saturating_mul(bucket.per_day);
        bucket.standing = level.saturating_sub(leaked).max(0);
    }
    Ok(())
}

async fn store(unit: &Unit, buckets: &[Bucket]) -> Result<()> {
    if buckets.is_empty() {
        return Ok(());
    }
    let (keys, kinds) = columns(buckets);
    let levels: Vec<i64> = buckets.iter().map(Bucket::level).collect();
    let at: Vec<Millis> = buckets.iter().map(|bucket| bucket.at).collect();
    let empty_at: Vec<Option<Millis>> = buckets.iter().map(Bucket::empty_at).collect();
    if levels.contains(&0) {
        unit.execute(include_str!("sql/delete_limits.sql"), &[&keys, &kinds, &levels]).await?;
    }
    unit.execute(include_str!("sql/update_limits.sql"), &[&keys, &kinds, &levels, &at, &empty_at]).await?;
    Ok(())
}

impl Bucket {
    fn is_of(&self, permit: &Permit) -> bool {
        self.limit == permit.limit && self.key == permit.key
    }

    fn level(&self) -> i64 {
        self.standing.saturating_add(self.asked)
    }

    fn empty_at(&self) -> Option<Millis> {
        (self.per_day > 0)
            .then(|| full_hour(self.at.saturating_add(millis_to_leak(self.level(), self.per_day))))
    }

    fn refusal(&self) -> Option<Exhausted> {
        // Nothing asked of a bucket that is over a capacity lowered since is refused as well, as in the embedded store.
        let over = self.level().saturating_sub(self.capacity);
        if over <= 0 {
            return None;
        }
        let never = self.asked > self.capacity || self.per_day == 0;
        let retry_at =
            (!never).then(|| full_hour(self.at.saturating_add(millis_to_leak(over, self.per_day))));
        Some(Exhausted { limit: self.limit, retry_at })
    }
}

/// Cannot overflow: 2^32 permits weigh less than 2^59.
fn weight(permits: u32) -> i64 {
    i64::from(permits) * PERMIT
}

/// The full hour at or after `time`.
pub(super) fn full_hour(time: Millis) -> Millis {
    match time.rem_euclid(HOUR) {
        0 => time,
        past => time.saturating_add(HOUR - past),
    }
}

/// Rounded up; `per_day` is above zero.
fn millis_to_leak(level: i64, per_day: i64) -> i64 {
    level / per_day + i64::from(level % per_day != 0)
}
