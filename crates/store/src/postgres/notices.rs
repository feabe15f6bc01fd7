//! The outbox of notifications: written with the match that it tells of, emptied by the workers of all servers. What is
//! locked in bulk is locked in the order of its key, or passed over if it is locked.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::error::DatabaseError;
use super::imports::number;
use super::ledger::pseudonym;
use super::reads;
use super::unit::{Result, Unit};
use crate::{DeadNotice, LeasedNotice, Millis, NoticeCounts, NoticeId, NoticeOutcome, Pseudonym};

pub(super) async fn lease(
    unit: &Unit,
    limit: u32,
    now: Millis,
    lease_until: Millis,
) -> Result<Vec<LeasedNotice>> {
    loop {
        let (told, untellable) = lease_some(unit, limit, now, lease_until).await?;
        // With nothing but such, there may be others behind them.
        if !told.is_empty() || untellable.is_empty() {
            return Ok(told);
        }
    }
}

/// Those that can be told, and those that named a forgotten account and are deleted.
async fn lease_some(
    unit: &Unit,
    limit: u32,
    now: Millis,
    lease_until: Millis,
) -> Result<(Vec<LeasedNotice>, Vec<NoticeId>)> {
    let rows = unit
        .query(
            "WITH due AS MATERIALIZED (
                 SELECT account, other, due_at FROM notices WHERE due_at <= $1 AND expires_at > $1
                 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
             )
             UPDATE notices SET attempts = attempts + 1, due_at = $3
             FROM due WHERE notices.account = due.account AND notices.other = due.other
             RETURNING notices.account, notices.other, found_at, attempts, due.due_at",
            &[&now, &i64::from(limit), &lease_until],
        )
        .await?;
    let mut leased: Vec<(Millis, NoticeId, u32)> =
        rows.iter().map(|row| Ok((row.try_get(4)?, id_at(row)?, number(row, 3)?))).collect::<Result<_>>()?;
    leased.sort_by_key(|(due_at, id, _)| (*due_at, id.account, id.other));
    let named = leased.iter().flat_map(|(_, id, _)| [id.account, id.other]);
    let names: BTreeMap<[u8; 16], Vec<u8>> = reads::names(unit, named).await?;
    let mut told = Vec::new();
    let mut untellable = Vec::new();
    for (_, id, attempt) in leased {
        match (names.get(id.account.as_bytes()), names.get(id.other.as_bytes())) {
            (Some(account), Some(other)) => told.push(LeasedNotice {
                id,
                attempt,
                sealed_account: account.clone(),
                sealed_other: other.clone(),
            }),
            _ => untellable.push(id),
        }
    }
    delete(unit, &untellable).await?;
    Ok((told, untellable))
}

/// What this transaction has locked.
async fn delete(unit: &Unit, ids: &[NoticeId]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    unit.execute(
        "DELETE FROM notices USING unnest($1::bytea[], $2::bytea[]) AS gone (account, other)
         WHERE notices.account = gone.account AND notices.other = gone.other",
        &[
            &ids.iter().map(|id| id.account.as_bytes().as_slice()).collect::<Vec<_>>(),
            &ids.iter().map(|id| id.other.as_bytes().as_slice()).collect::<Vec<_>>(),
        ],
    )
    .await?;
    Ok(())
}

pub(super) async fn settle(unit: &Unit, id: NoticeId, attempt: u32, outcome: NoticeOutcome) -> Result<()> {
    let (account, other) = (id.account.as_bytes().as_slice(), id.other.as_bytes().as_slice());
    let attempt = i64::from(attempt);
    let (due_at, reason) = match outcome {
        NoticeOutcome::Told => {
            unit.execute(
                "DELETE FROM notices WHERE account = $1 AND other = $2 AND found_at = $3 AND attempts = $4",
                &[&account, &other, &id.found_at, &attempt],
            )
            .await?;
            return Ok(());
        }
        NoticeOutcome::Again { due_at, reason } => (Some(due_at), reason),
        NoticeOutcome::Dead { reason } => (None, reason),
    };
    unit.execute(
        "UPDATE notices SET due_at = $5, reason = $6
         WHERE account = $1 AND other = $2 AND found_at = $3 AND attempts = $4",
        &[&account, &other, &id.found_at, &attempt, &due_at, &reason],
    )
    .await?;
    Ok(())
}

/// What was told by other means. One that a worker has begun with is let be.
pub(super) async fn cancel(unit: &Unit, account: Pseudonym, others: &[Pseudonym]) -> Result<()> {
    let others: Vec<&[u8]> = others.iter().map(|other| other.as_bytes().as_slice()).collect();
    unit.execute(
        "WITH told AS MATERIALIZED (
             SELECT account, other FROM notices WHERE account = $1 AND other = ANY($2) AND attempts = 0
             ORDER BY account, other FOR UPDATE
         )
         DELETE FROM notices USING told WHERE notices.account = told.account AND notices.other = told.other",
        &[&account.as_bytes().as_slice(), &others],
    )
    .await?;
    Ok(())
}

pub(super) async fn counts(unit: &Unit, now: Millis) -> Result<NoticeCounts> {
    let row = unit
        .row(
            "SELECT count(due_at), count(*) - count(due_at), min(due_at) FROM notices WHERE expires_at > $1",
            &[&now],
        )
        .await?
        .ok_or(DatabaseError::Answer)?;
    let count = |column| Ok::<_, DatabaseError>(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0));
    Ok(NoticeCounts { waiting: count(0)?, dead: count(1)?, next_due_at: row.try_get(2)? })
}

pub(super) async fn dead(unit: &Unit, limit: u32, now: Millis) -> Result<Vec<DeadNotice>> {
    let rows = unit
        .query(
            "SELECT account, other, found_at, attempts, reason FROM notices
             WHERE due_at IS NULL AND expires_at > $1 ORDER BY found_at, account, other LIMIT $2",
            &[&now, &i64::from(limit)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let reason: Option<String> = row.try_get(4)?;
            Ok(DeadNotice { id: id_at(row)?, attempts: number(row, 3)?, reason: reason.unwrap_or_default() })
        })
        .collect()
}

/// Every dead letter is due again, with its attempts counted from the start.
pub(super) async fn revive(unit: &Unit, now: Millis) -> Result<u64> {
    unit.execute(
        "WITH dead AS MATERIALIZED (
             SELECT account, other FROM notices WHERE due_at IS NULL ORDER BY account, other FOR UPDATE
         )
         UPDATE notices SET due_at = $1, attempts = 0
         FROM dead WHERE notices.account = dead.account AND notices.other = dead.other",
        &[&now],
    )
    .await
}

fn id_at(row: &Row) -> Result<NoticeId> {
    Ok(NoticeId { account: pseudonym(row, 0)?, other: pseudonym(row, 1)?, found_at: row.try_get(2)? })
}
