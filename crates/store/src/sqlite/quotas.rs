//! The rows of leaky buckets.

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::bucket::{Bucket, first_that_fits};
use crate::{Exhausted, Millis, Permit};

/// Permits that fit and are not taken yet.
pub(super) struct Reserved(Vec<Bucket>);

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

/// Takes the permits of the first alternative that fits, and says which that was.
pub(super) fn take_first(
    connection: &Connection,
    alternatives: &[Vec<Permit>],
    now: Millis,
) -> Result<Result<usize, Exhausted>> {
    match first_that_fits(alternatives, |permits| load(connection, permits, now))? {
        Ok((number, buckets)) => Reserved(buckets).take(connection).map(|()| Ok(number)),
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
    let buckets = load(connection, permits, now)?;
    Ok(Bucket::longest_refusal(&buckets).map_or(Ok(Reserved(buckets)), Err))
}

/// How full the buckets are, in whole permits.
pub(super) fn levels(connection: &Connection, permits: &[Permit], now: Millis) -> Result<Vec<u32>> {
    let buckets = load(connection, permits, now)?;
    let level =
        |permit: &Permit| buckets.iter().find(|bucket| bucket.is_of(permit)).map_or(0, Bucket::permits);
    Ok(permits.iter().map(level).collect())
}

pub(super) fn give_back(connection: &Connection, permits: &[Permit], now: Millis) -> Result<()> {
    for mut bucket in load(connection, permits, now)? {
        if bucket.give_back() {
            store(connection, &bucket)?;
        }
    }
    Ok(())
}

impl Reserved {
    /// Writes what [`reserve`] found to fit; within the same job, so nothing came between.
    pub(super) fn take(self, connection: &Connection) -> Result<()> {
        self.0.iter().filter(|bucket| bucket.is_asked()).try_for_each(|bucket| store(connection, bucket))
    }
}

fn load(connection: &Connection, permits: &[Permit], now: Millis) -> Result<Vec<Bucket>> {
    let mut buckets = Bucket::distinct(permits);
    let mut select =
        connection.prepare_cached("SELECT level, at FROM limits WHERE limit_kind = ?1 AND key = ?2")?;
    for bucket in &mut buckets {
        let stored = select
            .query_row(params![bucket.limit as u8, bucket.key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        bucket.stand(stored, now);
    }
    Ok(buckets)
}

fn store(connection: &Connection, bucket: &Bucket) -> Result<()> {
    if bucket.level() == 0 {
        connection
            .prepare_cached("DELETE FROM limits WHERE limit_kind = ?1 AND key = ?2")?
            .execute(params![bucket.limit as u8, bucket.key])?;
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO limits (limit_kind, key, level, at, empty_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (limit_kind, key) DO UPDATE
             SET level = excluded.level, at = excluded.at, empty_at = excluded.empty_at",
        )?
        .execute(params![bucket.limit as u8, bucket.key, bucket.level(), bucket.at, bucket.empty_at()])?;
    Ok(())
}
