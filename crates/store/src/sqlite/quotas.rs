//! Leaky buckets, counted in whole numbers: a permit weighs [`PERMIT`], and a bucket leaks its `per_day` every
//! millisecond, which is exact. It leaks on the full hour, so that a row's time does not tell which other row was
//! written at the same moment: a number's row would else name its account (house plan, decision 4).

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::{Exhausted, Limit, Millis, Permit};

/// A day's milliseconds: what one permit weighs.
const PERMIT: i64 = 86_400_000;

/// The grid of all times that are kept beside a key.
const HOUR: i64 = 3_600_000;

/// Permits that fit and are not taken yet.
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

pub(super) fn take(
    connection: &Connection,
    permits: &[Permit],
    now: Millis,
) -> Result<Result<(), Exhausted>> {
    match reserve(connection, permits, now)? {
        Ok(reserved) => reserved.take(connection).map(Ok),
        Err(exhausted) => Ok(Err(exhausted)),
    }
}

/// Looks whether all permits fit together, without writing. Of several buckets that refuse, the one is named that
/// refuses the longest.
pub(super) fn reserve(
    connection: &Connection,
    permits: &[Permit],
    now: Millis,
) -> Result<Result<Reserved, Exhausted>> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for permit in permits {
        let asked = weight(permit.amount);
        if let Some(same) = buckets.iter_mut().find(|b| b.limit == permit.limit && b.key == permit.key) {
            same.asked = same.asked.saturating_add(asked);
        } else {
            buckets.push(Bucket { asked, ..Bucket::load(connection, permit, now)? });
        }
    }
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
pub(super) fn levels(connection: &Connection, permits: &[Permit], now: Millis) -> Result<Vec<u32>> {
    let level = |permit| {
        let standing = Bucket::load(connection, permit, now)?.standing;
        Ok(u32::try_from(standing / PERMIT + i64::from(standing % PERMIT != 0)).unwrap_or(u32::MAX))
    };
    permits.iter().map(level).collect()
}

pub(super) fn give_back(connection: &Connection, permits: &[Permit], now: Millis) -> Result<()> {
    for permit in permits {
        let mut bucket = Bucket::load(connection, permit, now)?;
        if bucket.standing > 0 {
            bucket.standing = bucket.standing.saturating_sub(weight(permit.amount)).max(0);
            bucket.store(connection)?;
        }
    }
    Ok(())
}

impl Reserved {
    /// Writes what [`reserve`] found to fit; within the same job, so nothing came between.
    pub(super) fn take(self, connection: &Connection) -> Result<()> {
        self.0.iter().filter(|bucket| bucket.asked > 0).try_for_each(|bucket| bucket.store(connection))
    }
}

impl Bucket {
    fn load(connection: &Connection, permit: &Permit, now: Millis) -> Result<Self> {
        let stored: Option<(i64, Millis)> = connection
            .prepare_cached("SELECT level, at FROM limits WHERE limit_kind = ?1 AND key = ?2")?
            .query_row(params![permit.limit as u8, permit.key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let now = now.saturating_sub(now.rem_euclid(HOUR));
        let (level, stored_at) = stored.unwrap_or((0, now));
        let per_day = i64::from(permit.per_day);
        // A clock that went back leaks nothing, and what has leaked does not leak again.
        let at = stored_at.max(now);
        let leaked = at.saturating_sub(stored_at).saturating_mul(per_day);
        Ok(Self {
            limit: permit.limit,
            key: permit.key.clone(),
            capacity: weight(permit.capacity),
            per_day,
            standing: level.saturating_sub(leaked).max(0),
            asked: 0,
            at,
        })
    }

    fn refusal(&self) -> Option<Exhausted> {
        let over = self.standing.saturating_add(self.asked).saturating_sub(self.capacity);
        if over <= 0 {
            return None;
        }
        let never = self.asked > self.capacity || self.per_day == 0;
        let retry_at =
            (!never).then(|| full_hour(self.at.saturating_add(millis_to_leak(over, self.per_day))));
        Some(Exhausted { limit: self.limit, retry_at })
    }

    fn store(&self, connection: &Connection) -> Result<()> {
        let level = self.standing.saturating_add(self.asked);
        if level == 0 {
            connection
                .prepare_cached("DELETE FROM limits WHERE limit_kind = ?1 AND key = ?2")?
                .execute(params![self.limit as u8, self.key])?;
            return Ok(());
        }
        let empty_at = (self.per_day > 0)
            .then(|| full_hour(self.at.saturating_add(millis_to_leak(level, self.per_day))));
        connection
            .prepare_cached(
                "INSERT INTO limits (limit_kind, key, level, at, empty_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (limit_kind, key) DO UPDATE
                 SET level = excluded.level, at = excluded.at, empty_at = excluded.empty_at",
            )?
            .execute(params![self.limit as u8, self.key, level, self.at, empty_at])?;
        Ok(())
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
