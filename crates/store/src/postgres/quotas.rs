//! The rows of leaky buckets.

use std::collections::BTreeMap;

use super::unit::{Result, Unit};
use crate::bucket::{Bucket, first_that_fits};
use crate::{Exhausted, Millis, Permit};

/// Permits that fit and are not taken yet; their buckets are locked.
pub(super) struct Reserved(Vec<Bucket>);

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

/// Takes the permits of the first alternative that fits, and says which that was. The buckets of all of them are locked
/// together, so that nobody waits in a circle; who is refused undoes the transaction or releases them.
pub(super) async fn take_first(
    unit: &Unit,
    alternatives: &[Vec<Permit>],
    now: Millis,
) -> Result<std::result::Result<usize, (Exhausted, Reserved)>> {
    let mut all = Bucket::distinct(&alternatives.concat());
    let levels = lock(unit, &all).await?;
    load(&mut all, &levels, now)?;
    let fitting = first_that_fits(alternatives, |permits| {
        let mut buckets = Bucket::distinct(permits);
        load(&mut buckets, &levels, now).map(|()| buckets)
    })?;
    match fitting {
        Ok((number, mut taken)) => {
            taken.retain(Bucket::is_asked);
            // Of the others, only what locking put there has to go.
            all.retain_mut(|other| !taken.iter().any(|bucket| bucket.is_same(other)) && !other.release());
            taken.append(&mut all);
            store(unit, &taken).await?;
            Ok(Ok(number))
        }
        Err(exhausted) => Ok(Err((exhausted, Reserved(all)))),
    }
}

/// Looks whether all permits fit together. Of several buckets that refuse, the one is named that refuses the longest.
/// Locks the buckets by their rows; who does not take the permits undoes the transaction or releases them.
pub(super) async fn reserve(
    unit: &Unit,
    permits: &[Permit],
    now: Millis,
) -> Result<std::result::Result<Reserved, Exhausted>> {
    let mut buckets = Bucket::distinct(permits);
    if buckets.is_empty() {
        return Ok(Ok(Reserved(buckets)));
    }
    let levels = lock(unit, &buckets).await?;
    load(&mut buckets, &levels, now)?;
    Ok(Bucket::longest_refusal(&buckets).map_or(Ok(Reserved(buckets)), Err))
}

/// Locks the buckets by their rows, in one order, and reads them.
async fn lock(unit: &Unit, buckets: &[Bucket]) -> Result<Vec<tokio_postgres::Row>> {
    if buckets.is_empty() {
        return Ok(Vec::new());
    }
    let (keys, kinds) = columns(buckets);
    unit.execute(include_str!("sql/lock_limits.sql"), &[&keys, &kinds]).await?;
    unit.query(include_str!("sql/read_limits.sql"), &[&keys, &kinds]).await
}

/// How full the buckets are, in whole permits.
pub(super) async fn levels(unit: &Unit, permits: &[Permit], now: Millis) -> Result<Vec<u32>> {
    let mut buckets = Bucket::distinct(permits);
    let (keys, kinds) = columns(&buckets);
    let levels = unit.query(include_str!("sql/read_limits.sql"), &[&keys, &kinds]).await?;
    load(&mut buckets, &levels, now)?;
    let level =
        |permit: &Permit| buckets.iter().find(|bucket| bucket.is_of(permit)).map_or(0, Bucket::permits);
    Ok(permits.iter().map(level).collect())
}

pub(super) async fn give_back(unit: &Unit, permits: &[Permit], now: Millis) -> Result<()> {
    let mut buckets = Bucket::distinct(permits);
    if buckets.is_empty() {
        return Ok(());
    }
    let (keys, kinds) = columns(&buckets);
    let levels = unit.query(include_str!("sql/relock_limits.sql"), &[&keys, &kinds]).await?;
    load(&mut buckets, &levels, now)?;
    buckets.retain_mut(Bucket::give_back);
    store(unit, &buckets).await
}

impl Reserved {
    /// Writes what [`reserve`] found to fit.
    pub(super) async fn take(self, unit: &Unit) -> Result<()> {
        store(unit, &self.0).await
    }

    /// Leaves the buckets as they were.
    pub(super) async fn release(mut self, unit: &Unit) -> Result<()> {
        // Only what locking put there has to go.
        self.0.retain_mut(|bucket| !bucket.release());
        store(unit, &self.0).await
    }
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
    for bucket in buckets {
        let kind = i16::from(bucket.limit as u8);
        bucket.stand(stored.get(&(bucket.key.as_slice(), kind)).copied(), now);
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
