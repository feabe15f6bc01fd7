//! Epochs of pair keys, and which servers check which.

use std::collections::BTreeSet;

use acquaint_protocol::pair::{EpochId, PairHash};

use super::error::DatabaseError;
use super::imports::number;
use super::ledger::{Ledger, Place, place_at};
use super::reads;
use super::unit::{Result, Unit};
use crate::epochs::{self, CLEARED, CURRENT, LIVE, RETIRED};
use crate::{EpochRecord, EpochRows, EpochState, KeyRecord, Millis, Retirement, ServerId};

pub(super) async fn all(unit: &Unit) -> Result<Vec<EpochRecord>> {
    read(unit, "SELECT version, state FROM keys WHERE purpose = 'pair' ORDER BY version DESC").await
}

/// As they stay until the transaction ends.
pub(super) async fn held(unit: &Unit) -> Result<Vec<EpochRecord>> {
    read(unit, "SELECT version, state FROM keys WHERE purpose = 'pair' ORDER BY version DESC FOR SHARE").await
}

/// For who changes them. Waits for every transaction that [`held`] them, and those that come later wait for this one: row
/// locks would let them pass for as long as one follows another.
async fn locked(unit: &Unit) -> Result<Vec<EpochRecord>> {
    unit.execute("LOCK TABLE keys IN EXCLUSIVE MODE", &[]).await?;
    all(unit).await
}

async fn read(unit: &Unit, sql: &'static str) -> Result<Vec<EpochRecord>> {
    let rows = unit.query(sql, &[]).await?;
    let records = rows.iter().map(|row| {
        Ok(EpochRecord { epoch: EpochId::new(number(row, 0)?), state: epochs::state(row.try_get(1)?) })
    });
    records.collect()
}

/// Records keys. Without a current epoch, the newest is.
pub(super) async fn record(unit: &Unit, keys: &[KeyRecord]) -> Result<()> {
    locked(unit).await?;
    reads::record_keys(unit, keys).await?;
    let records = all(unit).await?;
    let newest = records.iter().find(|record| record.state.is_checked());
    match newest {
        Some(newest) if epochs::current(&records).is_none() => set(unit, newest.epoch, CURRENT).await,
        _ => Ok(()),
    }
}

async fn set(unit: &Unit, epoch: EpochId, state: i64) -> Result<()> {
    unit.execute(
        "UPDATE keys SET state = $2 WHERE purpose = 'pair' AND version = $1",
        &[&i64::from(epoch.get()), &state],
    )
    .await?;
    Ok(())
}

pub(super) async fn check_in(unit: &Unit, server: ServerId, held: &[EpochId], until: Millis) -> Result<()> {
    unit.execute(
        "INSERT INTO servers (until, server, epochs) VALUES ($2, $1, $3)
         ON CONFLICT (server) DO UPDATE SET until = excluded.until, epochs = excluded.epochs",
        &[&server.0.as_slice(), &until, &held.iter().map(|epoch| i64::from(epoch.get())).collect::<Vec<_>>()],
    )
    .await?;
    Ok(())
}

/// Makes the newest epoch the current one if every server holds all.
pub(super) async fn advance(unit: &Unit, held: &[EpochId], now: Millis) -> Result<Vec<EpochRecord>> {
    let records = all(unit).await?;
    // Looked at without locks first: most of the time there is nothing to change.
    if epochs::next(&records, std::iter::once(held)).is_none() {
        return Ok(records);
    }
    let records = locked(unit).await?;
    let servers = servers(unit, now).await?;
    let next = epochs::next(&records, servers.iter().map(Vec::as_slice));
    let (Some(next), Some(current)) = (next, epochs::current(&records)) else { return Ok(records) };
    set(unit, current, LIVE).await?;
    set(unit, next, CURRENT).await?;
    all(unit).await
}

pub(super) async fn check_out(unit: &Unit, server: ServerId) -> Result<()> {
    unit.execute("DELETE FROM servers WHERE server = $1", &[&server.0.as_slice()]).await?;
    Ok(())
}

pub(super) async fn servers(unit: &Unit, now: Millis) -> Result<Vec<Vec<EpochId>>> {
    let rows = unit.query("SELECT epochs FROM servers WHERE until > $1", &[&now]).await?;
    let held = rows.iter().map(|row| {
        let epochs: Vec<i64> = row.try_get(0)?;
        let epochs = epochs.into_iter().map(|epoch| u32::try_from(epoch).map(EpochId::new));
        epochs.collect::<std::result::Result<_, _>>().map_err(|_| DatabaseError::Answer)
    });
    held.collect()
}

/// Of servers that ended without saying so.
pub(super) const SWEEP_SERVERS: &str = "WITH old AS MATERIALIZED (
         SELECT server FROM servers WHERE until <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM servers USING old WHERE servers.server = old.server";

pub(super) async fn retire(unit: &Unit, epoch: EpochId) -> Result<Retirement> {
    let records = locked(unit).await?;
    let current = epochs::current(&records);
    let Some(record) = records.into_iter().find(|record| record.epoch == epoch) else {
        return Ok(Retirement::Unknown);
    };
    match record.state {
        EpochState::Current => Ok(Retirement::IsCurrent),
        EpochState::Live => {
            set(unit, epoch, RETIRED).await?;
            Ok(Retirement::Retired)
        }
        EpochState::Cleared if current.is_some_and(|current| epoch > current) => {
            unit.execute(
                "DELETE FROM keys WHERE purpose = 'pair' AND version = $1",
                &[&i64::from(epoch.get())],
            )
            .await?;
            Ok(Retirement::Forgotten)
        }
        EpochState::Retired | EpochState::Cleared => Ok(Retirement::Retired),
    }
}

pub(super) async fn clear(
    unit: &Unit,
    epoch: EpochId,
    after: Option<PairHash>,
    limit: u32,
) -> Result<Option<PairHash>> {
    let key = i64::from(epoch.get());
    let retired = "SELECT 1 FROM keys WHERE purpose = 'pair' AND version = $1 AND state = $2";
    // It never becomes anything else again but cleared.
    if unit.row(retired, &[&key, &RETIRED]).await?.is_none() {
        return Ok(None);
    }
    // Every other hash comes after the empty one.
    let from = after.as_ref().map_or([].as_slice(), |hash| hash.as_bytes().as_slice());
    let rows = unit
        .query(
            "SELECT hash, $1::integer FROM (
                 (SELECT hash FROM pairs WHERE epoch = $1 AND hash > $2 ORDER BY hash LIMIT $3)
                 UNION
                 (SELECT DISTINCT hash FROM links WHERE epoch = $1 AND hash > $2 ORDER BY hash LIMIT $3)
             ) AS standing ORDER BY hash LIMIT $3",
            &[&epoch.get().cast_signed(), &from, &i64::from(limit)],
        )
        .await?;
    let places = rows.iter().map(place_at).collect::<Result<BTreeSet<Place>>>()?;
    let Some(last) = places.last().map(|place| place.hash) else {
        if after.is_none() {
            unit.execute(
                "UPDATE keys SET state = $2 WHERE purpose = 'pair' AND version = $1 AND state = $3",
                &[&key, &CLEARED, &RETIRED],
            )
            .await?;
        }
        return Ok(None);
    };
    let mut ledger = Ledger::lock_places(unit, &places).await?;
    for place in places {
        ledger.take_out(place);
        // Nobody's half stands again. No match ends by time here, so the time does not matter.
        ledger.end(place, Millis::MAX, |_| true, |_| false);
    }
    ledger.write(unit, Millis::MAX).await?;
    Ok(Some(last))
}

pub(super) async fn rows(unit: &Unit, epoch: EpochId) -> Result<EpochRows> {
    let row = unit
        .row(
            "SELECT (SELECT count(*) FROM pairs WHERE epoch = $1), (SELECT count(*) FROM links WHERE epoch = $1)",
            &[&epoch.get().cast_signed()],
        )
        .await?
        .ok_or(DatabaseError::Answer)?;
    let count = |column: usize| -> Result<u64> {
        u64::try_from(row.try_get::<_, i64>(column)?).map_err(|_| DatabaseError::Answer)
    };
    Ok(EpochRows { halves: count(0)?, matches: count(1)? })
}
