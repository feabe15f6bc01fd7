//! Epochs of pair keys.

use acquaint_protocol::pair::{EpochId, PairHash};
use rusqlite::{Connection, Result, params};

use crate::epochs::{self, CLEARED, CURRENT, LIVE, RETIRED};
use crate::{EpochRecord, EpochRows, EpochState, Retirement};

/// A hash that every other comes after, as far as hashes are 32 bytes.
const BEGINNING: [u8; 0] = [];

pub(super) fn all(connection: &Connection) -> Result<Vec<EpochRecord>> {
    connection
        .prepare_cached("SELECT version, state FROM keys WHERE purpose = 'pair' ORDER BY version DESC")?
        .query_map([], |row| {
            Ok(EpochRecord { epoch: EpochId::new(row.get(0)?), state: epochs::state(row.get(1)?) })
        })?
        .collect()
}

/// Without a current epoch, the newest is.
pub(super) fn begin(connection: &Connection) -> Result<()> {
    connection.execute(
        "UPDATE keys SET state = ?1 WHERE purpose = 'pair'
         AND version = (SELECT max(version) FROM keys WHERE purpose = 'pair' AND state = ?2)
         AND NOT EXISTS (SELECT 1 FROM keys WHERE purpose = 'pair' AND state = ?1)",
        [CURRENT, LIVE],
    )?;
    Ok(())
}

/// Makes the newest epoch the current one if the only server that there is holds all.
pub(super) fn advance(connection: &Connection, held: &[EpochId]) -> Result<Vec<EpochRecord>> {
    let records = all(connection)?;
    let Some(next) = epochs::next(&records, std::iter::once(held)) else { return Ok(records) };
    let mut set = connection.prepare_cached(
        "UPDATE keys SET state = ?1 WHERE purpose = 'pair' AND version = ?2 AND state <> ?1",
    )?;
    if let Some(current) = epochs::current(&records) {
        set.execute(params![LIVE, current.get()])?;
    }
    set.execute(params![CURRENT, next.get()])?;
    all(connection)
}

pub(super) fn retire(connection: &Connection, epoch: EpochId) -> Result<Retirement> {
    let records = all(connection)?;
    let current = epochs::current(&records);
    match records.into_iter().find(|record| record.epoch == epoch).map(|record| record.state) {
        None => Ok(Retirement::Unknown),
        Some(EpochState::Current) => Ok(Retirement::IsCurrent),
        Some(EpochState::Live) => {
            connection
                .prepare_cached("UPDATE keys SET state = ?1 WHERE purpose = 'pair' AND version = ?2")?
                .execute(params![RETIRED, epoch.get()])?;
            Ok(Retirement::Retired)
        }
        Some(EpochState::Cleared) if current.is_some_and(|current| epoch > current) => {
            connection
                .prepare_cached("DELETE FROM keys WHERE purpose = 'pair' AND version = ?1")?
                .execute([epoch.get()])?;
            Ok(Retirement::Forgotten)
        }
        Some(EpochState::Retired | EpochState::Cleared) => Ok(Retirement::Retired),
    }
}

pub(super) fn clear(
    connection: &Connection,
    epoch: EpochId,
    after: Option<PairHash>,
    limit: u32,
) -> Result<Option<PairHash>> {
    let is_retired = connection
        .prepare_cached("SELECT 1 FROM keys WHERE purpose = 'pair' AND version = ?1 AND state = ?2")?
        .exists(params![epoch.get(), RETIRED])?;
    if !is_retired {
        return Ok(None);
    }
    let from = after.as_ref().map_or(BEGINNING.as_slice(), |hash| hash.as_bytes());
    let hashes: Vec<[u8; 32]> = connection
        .prepare_cached(
            "SELECT hash FROM (SELECT hash FROM pairs WHERE epoch = ?1 AND hash > ?2 ORDER BY hash LIMIT ?3)
             UNION SELECT hash FROM (SELECT DISTINCT hash FROM matches WHERE epoch = ?1 AND hash > ?2
                                     ORDER BY hash LIMIT ?3)
             ORDER BY hash LIMIT ?3",
        )?
        .query_map(params![epoch.get(), from, limit], |row| row.get(0))?
        .collect::<Result<_>>()?;
    let Some(last) = hashes.last() else {
        if after.is_none() {
            connection
                .prepare_cached("UPDATE keys SET state = ?1 WHERE purpose = 'pair' AND version = ?2")?
                .execute(params![CLEARED, epoch.get()])?;
        }
        return Ok(None);
    };
    for table in [
        "DELETE FROM pairs WHERE epoch = ?1 AND hash > ?2 AND hash <= ?3",
        "DELETE FROM matches WHERE epoch = ?1 AND hash > ?2 AND hash <= ?3",
    ] {
        connection.prepare_cached(table)?.execute(params![epoch.get(), from, last])?;
    }
    Ok(Some(PairHash::from_bytes(*last)))
}

pub(super) fn rows(connection: &Connection, epoch: EpochId) -> Result<EpochRows> {
    let count = |sql: &str| -> Result<u64> {
        let rows: i64 = connection.prepare_cached(sql)?.query_row([epoch.get()], |row| row.get(0))?;
        Ok(u64::try_from(rows).unwrap_or(0))
    };
    Ok(EpochRows {
        halves: count("SELECT count(*) FROM pairs WHERE epoch = ?1")?,
        matches: count("SELECT count(*) FROM matches WHERE epoch = ?1 AND account < other")?,
    })
}
