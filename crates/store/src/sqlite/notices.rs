//! The outbox of notifications: written with the match that it tells of, emptied by a worker.

use rusqlite::{Connection, Result, params};

use crate::{
    DeadNotice, LeasedNotice, Millis, NoticeCounts, NoticeId, NoticeOutcome, NoticeTimes, Pseudonym,
};

/// `importer` has just been matched with `other`: the other side is told at once, the importer unless it learns it from
/// its import's answer. Nobody is told of whom they have dismissed, or of whom they were matched with already.
pub(super) fn queue(
    connection: &Connection,
    importer: Pseudonym,
    other: Pseudonym,
    times: NoticeTimes,
    now: Millis,
) -> Result<()> {
    for (told, of, due_at) in [(other, importer, now), (importer, other, times.importer_due_at)] {
        connection
            .prepare_cached(
                "INSERT INTO notices (account, other, found_at, due_at, attempts, reason, expires_at)
                 SELECT ?1, ?2, ?3, ?4, 0, NULL, ?5
                 WHERE NOT EXISTS (SELECT 1 FROM dismissals WHERE account = ?1 AND other = ?2)
                 AND NOT EXISTS (SELECT 1 FROM matches WHERE account = ?1 AND other = ?2
                                 AND expires_at > ?3 AND other_expires_at > ?3)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![told.as_bytes(), of.as_bytes(), now, due_at, times.expires_at])?;
    }
    Ok(())
}

pub(super) fn lease(
    connection: &Connection,
    limit: u32,
    now: Millis,
    lease_until: Millis,
) -> Result<Vec<LeasedNotice>> {
    // One that names a forgotten account can never be told.
    connection
        .prepare_cached(
            "DELETE FROM notices WHERE due_at <= ?1
             AND (NOT EXISTS (SELECT 1 FROM accounts WHERE accounts.account = notices.account)
                  OR NOT EXISTS (SELECT 1 FROM accounts WHERE accounts.account = notices.other))",
        )?
        .execute([now])?;
    let leased: Vec<LeasedNotice> = connection
        .prepare_cached(
            "SELECT notices.account, other, found_at, attempts + 1, told.sealed, of.sealed FROM notices
             JOIN accounts AS told ON told.account = notices.account
             JOIN accounts AS of ON of.account = other
             WHERE due_at <= ?1 AND expires_at > ?1 ORDER BY due_at LIMIT ?2",
        )?
        .query_map(params![now, limit], |row| {
            Ok(LeasedNotice {
                id: NoticeId {
                    account: Pseudonym::from_bytes(row.get(0)?),
                    other: Pseudonym::from_bytes(row.get(1)?),
                    found_at: row.get(2)?,
                },
                attempt: row.get(3)?,
                sealed_account: row.get(4)?,
                sealed_other: row.get(5)?,
            })
        })?
        .collect::<Result<_>>()?;
    for LeasedNotice { id, attempt, .. } in &leased {
        connection
            .prepare_cached(
                "UPDATE notices SET attempts = ?3, due_at = ?4 WHERE account = ?1 AND other = ?2",
            )?
            .execute(params![id.account.as_bytes(), id.other.as_bytes(), attempt, lease_until])?;
    }
    Ok(leased)
}

pub(super) fn settle(
    connection: &Connection,
    id: NoticeId,
    attempt: u32,
    outcome: NoticeOutcome,
) -> Result<()> {
    let (due_at, reason) = match outcome {
        NoticeOutcome::Told => {
            return connection
                .prepare_cached(
                    "DELETE FROM notices WHERE account = ?1 AND other = ?2 AND found_at = ?3 AND attempts = ?4",
                )?
                .execute(params![id.account.as_bytes(), id.other.as_bytes(), id.found_at, attempt])
                .map(drop);
        }
        NoticeOutcome::Again { due_at, reason } => (Some(due_at), reason),
        NoticeOutcome::Dead { reason } => (None, reason),
    };
    connection
        .prepare_cached(
            "UPDATE notices SET due_at = ?5, reason = ?6
             WHERE account = ?1 AND other = ?2 AND found_at = ?3 AND attempts = ?4",
        )?
        .execute(params![id.account.as_bytes(), id.other.as_bytes(), id.found_at, attempt, due_at, reason])
        .map(drop)
}

/// What was told by other means. One that a worker has begun with is let be.
pub(super) fn cancel(connection: &Connection, account: Pseudonym, others: &[Pseudonym]) -> Result<()> {
    let mut delete = connection
        .prepare_cached("DELETE FROM notices WHERE account = ?1 AND other = ?2 AND attempts = 0")?;
    others.iter().try_for_each(|other| delete.execute([account.as_bytes(), other.as_bytes()]).map(drop))
}

pub(super) fn counts(connection: &Connection, now: Millis) -> Result<NoticeCounts> {
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    connection
        .prepare_cached(
            "SELECT count(due_at), count(*) - count(due_at), min(due_at) FROM notices WHERE expires_at > ?1",
        )?
        .query_row([now], |row| {
            Ok(NoticeCounts {
                waiting: count(row.get(0)?),
                dead: count(row.get(1)?),
                next_due_at: row.get(2)?,
            })
        })
}

pub(super) fn dead(connection: &Connection, limit: u32, now: Millis) -> Result<Vec<DeadNotice>> {
    connection
        .prepare_cached(
            "SELECT account, other, found_at, attempts, reason FROM notices
             WHERE due_at IS NULL AND expires_at > ?1 ORDER BY found_at, account, other LIMIT ?2",
        )?
        .query_map(params![now, limit], |row| {
            Ok(DeadNotice {
                id: NoticeId {
                    account: Pseudonym::from_bytes(row.get(0)?),
                    other: Pseudonym::from_bytes(row.get(1)?),
                    found_at: row.get(2)?,
                },
                attempts: row.get(3)?,
                reason: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
            })
        })?
        .collect()
}

/// Every dead letter is due again, with its attempts counted from the start.
pub(super) fn revive(connection: &Connection, now: Millis) -> Result<u64> {
    let revived = connection
        .prepare_cached("UPDATE notices SET due_at = ?1, attempts = 0 WHERE due_at IS NULL")?
        .execute([now])?;
    Ok(u64::try_from(revived).unwrap_or(u64::MAX))
}
