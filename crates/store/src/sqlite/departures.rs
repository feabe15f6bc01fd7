//! Accounts that a stream says are gone, until that is confirmed or not.

use rusqlite::{Connection, Result, params};

use crate::{LeasedDeparture, Millis, Pseudonym};

/// Due at once; one that is there already stays as it is.
pub(super) fn put(connection: &Connection, account: Pseudonym, now: Millis) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO departures (account, due_at, attempts)
             SELECT account, ?2, 0 FROM accounts WHERE account = ?1 ON CONFLICT DO NOTHING",
        )?
        .execute(params![account.as_bytes(), now])
        .map(drop)
}

/// Whether there is any to confirm now.
pub(super) fn are_due(connection: &Connection, now: Millis) -> Result<bool> {
    connection.prepare_cached("SELECT 1 FROM departures WHERE due_at <= ?1")?.exists([now])
}

pub(super) fn lease(
    connection: &Connection,
    limit: u32,
    now: Millis,
    lease_until: Millis,
) -> Result<Vec<LeasedDeparture>> {
    connection
        .prepare_cached(
            "DELETE FROM departures WHERE due_at <= ?1
             AND NOT EXISTS (SELECT 1 FROM accounts WHERE accounts.account = departures.account)",
        )?
        .execute([now])?;
    let leased: Vec<LeasedDeparture> = connection
        .prepare_cached(
            "SELECT account, sealed, attempts + 1 FROM departures JOIN accounts USING (account)
             WHERE due_at <= ?1 ORDER BY due_at, account LIMIT ?2",
        )?
        .query_map(params![now, limit], |row| {
            Ok(LeasedDeparture {
                account: Pseudonym::from_bytes(row.get(0)?),
                sealed_account: row.get(1)?,
                attempt: row.get(2)?,
            })
        })?
        .collect::<Result<_>>()?;
    let mut lease =
        connection.prepare_cached("UPDATE departures SET attempts = ?2, due_at = ?3 WHERE account = ?1")?;
    for LeasedDeparture { account, attempt, .. } in &leased {
        lease.execute(params![account.as_bytes(), attempt, lease_until])?;
    }
    Ok(leased)
}

pub(super) fn settle(
    connection: &Connection,
    account: Pseudonym,
    attempt: u32,
    again_at: Option<Millis>,
) -> Result<()> {
    match again_at {
        Some(due_at) => connection
            .prepare_cached("UPDATE departures SET due_at = ?3 WHERE account = ?1 AND attempts = ?2")?
            .execute(params![account.as_bytes(), attempt, due_at]),
        None => connection
            .prepare_cached("DELETE FROM departures WHERE account = ?1 AND attempts = ?2")?
            .execute(params![account.as_bytes(), attempt]),
    }
    .map(drop)
}

/// Deletes up to `limit` of accounts that are gone.
pub(super) fn sweep(connection: &Connection, limit: u32) -> Result<u64> {
    let swept = connection
        .prepare_cached(
            "DELETE FROM departures WHERE account IN
             (SELECT account FROM departures
              WHERE NOT EXISTS (SELECT 1 FROM accounts WHERE accounts.account = departures.account) LIMIT ?1)",
        )?
        .execute([limit])?;
    Ok(u64::try_from(swept).unwrap_or(u64::MAX))
}
