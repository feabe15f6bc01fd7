//! A stream's cursor and lease, and what its pieces say of follows and departures.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::departures;
use crate::follows::LOOK_AGAIN;
use crate::{FollowChange, Millis, ServerId, StreamStep};

pub(super) fn lease(
    connection: &Connection,
    stream: &str,
    server: ServerId,
    now: Millis,
    lease_until: Millis,
) -> Result<Option<Option<i64>>> {
    connection
        .prepare_cached(
            "INSERT INTO streams (stream, server, leased_until) VALUES (?1, ?2, ?4)
             ON CONFLICT (stream) DO UPDATE SET server = excluded.server, leased_until = excluded.leased_until
             WHERE server IS NULL OR server = ?2 OR leased_until <= ?3
             RETURNING cursor",
        )?
        .query_row(params![stream, server.0, now, lease_until], |row| row.get(0))
        .optional()
}

pub(super) fn release(connection: &Connection, stream: &str, server: ServerId) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE streams SET server = NULL, leased_until = NULL WHERE stream = ?1 AND server = ?2",
        )?
        .execute(params![stream, server.0])
        .map(drop)
}

pub(super) fn step(connection: &Connection, step: &StreamStep, now: Millis) -> Result<bool> {
    let moved = connection
        .prepare_cached(
            "UPDATE streams SET cursor = ?3, leased_until = ?4 WHERE stream = ?1 AND server = ?2",
        )?
        .execute(params![step.stream, step.server.0, step.cursor, step.lease_until])?;
    if moved == 0 {
        return Ok(false);
    }
    step.follows.iter().try_for_each(|change| follow(connection, change, now))?;
    step.departures.iter().try_for_each(|account| departures::put(connection, *account, now))?;
    Ok(true)
}

/// A record that names another account than before, or nobody, ends the follow that it was.
fn follow(connection: &Connection, change: &FollowChange, now: Millis) -> Result<()> {
    let (account, record) = (change.account.as_bytes(), change.record.as_bytes());
    let kept = match &change.other {
        None => 0,
        Some(other) => connection
            .prepare_cached(
                "INSERT INTO follows (account, record, other, due_at)
                 SELECT ?1, ?2, ?3, ?5
                 WHERE EXISTS (SELECT 1 FROM matches WHERE account = ?1 AND other = ?3
                               AND expires_at > ?4 AND other_expires_at > ?4)
                 ON CONFLICT (account, record) DO UPDATE SET other = excluded.other, due_at = excluded.due_at",
            )?
            .execute(params![account, record, other.as_bytes(), now, now.saturating_add(LOOK_AGAIN)])?,
    };
    if kept == 0 {
        connection
            .prepare_cached("DELETE FROM follows WHERE account = ?1 AND record = ?2")?
            .execute(params![account, record])?;
    }
    Ok(())
}

/// Looks at up to `limit` follows that are due: those whose match is gone are deleted. Returns at how many it looked.
pub(super) fn sweep(connection: &Connection, limit: u32, now: Millis) -> Result<u64> {
    let due: Vec<([u8; 16], [u8; 16], bool)> = connection
        .prepare_cached(
            "SELECT account, record, EXISTS (
                 SELECT 1 FROM matches WHERE matches.account = follows.account AND matches.other = follows.other
                 AND expires_at > ?1 AND other_expires_at > ?1)
             FROM follows WHERE due_at <= ?1 LIMIT ?2",
        )?
        .query_map(params![now, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_>>()?;
    for (account, record, matched) in &due {
        if *matched {
            connection
                .prepare_cached("UPDATE follows SET due_at = ?3 WHERE account = ?1 AND record = ?2")?
                .execute(params![account, record, now.saturating_add(LOOK_AGAIN)])?;
        } else {
            connection
                .prepare_cached("DELETE FROM follows WHERE account = ?1 AND record = ?2")?
                .execute(params![account, record])?;
        }
    }
    Ok(u64::try_from(due.len()).unwrap_or(u64::MAX))
}
