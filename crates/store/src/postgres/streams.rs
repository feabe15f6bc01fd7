//! A stream's cursor and lease, and what its pieces say of follows and departures.

use std::collections::{BTreeMap, BTreeSet};

use super::departures;
use super::unit::{Result, Unit};
use crate::follows::LOOK_AGAIN;
use crate::{FollowChange, FollowRecord, Millis, Pseudonym, ServerId, StreamStep};

pub(super) async fn lease(
    unit: &Unit,
    stream: &str,
    server: ServerId,
    now: Millis,
    lease_until: Millis,
) -> Result<Option<Option<i64>>> {
    let row = unit
        .row(
            "INSERT INTO streams (stream, server, leased_until) VALUES ($1, $2, $4)
             ON CONFLICT (stream) DO UPDATE SET server = excluded.server, leased_until = excluded.leased_until
             WHERE streams.server IS NULL OR streams.server = $2 OR streams.leased_until <= $3
             RETURNING cursor",
            &[&stream, &server.0.as_slice(), &now, &lease_until],
        )
        .await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

pub(super) async fn release(unit: &Unit, stream: &str, server: ServerId) -> Result<()> {
    unit.execute(
        "UPDATE streams SET server = NULL, leased_until = NULL WHERE stream = $1 AND server = $2",
        &[&stream, &server.0.as_slice()],
    )
    .await?;
    Ok(())
}

pub(super) async fn step(unit: &Unit, step: &StreamStep, now: Millis) -> Result<bool> {
    let moved = unit
        .execute(
            "UPDATE streams SET cursor = $3, leased_until = $4 WHERE stream = $1 AND server = $2",
            &[&step.stream, &step.server.0.as_slice(), &step.cursor, &step.lease_until],
        )
        .await?;
    if moved == 0 {
        return Ok(false);
    }
    // The last word on each record.
    let changes: BTreeMap<(Pseudonym, FollowRecord), Option<Pseudonym>> =
        step.follows.iter().map(|change| ((change.account, change.record), change.other)).collect();
    lock_accounts(unit, step).await?;
    follow(unit, &changes, now).await?;
    departures::put(unit, &step.departures, now).await?;
    Ok(true)
}

/// Not beside a removal, which would leave behind what is put here.
async fn lock_accounts(unit: &Unit, step: &StreamStep) -> Result<()> {
    let named = |change: &FollowChange| change.other.into_iter().chain([change.account]).collect::<Vec<_>>();
    let accounts: BTreeSet<Pseudonym> =
        step.follows.iter().flat_map(named).chain(step.departures.iter().copied()).collect();
    let accounts: Vec<&[u8]> = accounts.iter().map(|account| account.as_bytes().as_slice()).collect();
    if !accounts.is_empty() {
        unit.query(
            "SELECT 1 FROM accounts WHERE account = ANY($1) ORDER BY account FOR KEY SHARE",
            &[&accounts],
        )
        .await?;
    }
    Ok(())
}

/// A record that names another account than before, or nobody, ends the follow that it was.
async fn follow(
    unit: &Unit,
    changes: &BTreeMap<(Pseudonym, FollowRecord), Option<Pseudonym>>,
    now: Millis,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    unit.execute(
        "WITH given AS MATERIALIZED (
             SELECT account, record, other, EXISTS (
                 SELECT 1 FROM matches WHERE matches.account = given.account AND matches.other = given.other
                 AND expires_at > $4 AND other_expires_at > $4) AS matched
             FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS given (account, record, other)
         ), gone AS (
             DELETE FROM follows USING given
             WHERE follows.account = given.account AND follows.record = given.record AND NOT matched
         )
         INSERT INTO follows (account, record, other, due_at)
         SELECT account, record, other, $5 FROM given WHERE matched ORDER BY account, record
         ON CONFLICT (account, record) DO UPDATE SET other = excluded.other, due_at = excluded.due_at",
        &[
            &changes.keys().map(|(account, _)| account.as_bytes().as_slice()).collect::<Vec<_>>(),
            &changes.keys().map(|(_, record)| record.as_bytes().as_slice()).collect::<Vec<_>>(),
            &changes
                .values()
                .map(|other| other.as_ref().map(|other| other.as_bytes().as_slice()))
                .collect::<Vec<_>>(),
            &now,
            &now.saturating_add(LOOK_AGAIN),
        ],
    )
    .await?;
    Ok(())
}

/// Looks at up to `limit` follows that are due: those whose match is gone are deleted. Returns at how many it looked.
pub(super) async fn sweep(unit: &Unit, limit: u32, now: Millis) -> Result<u64> {
    let row = unit
        .row(
            "WITH due AS MATERIALIZED (
                 SELECT account, record, other FROM follows WHERE due_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
             ), seen AS MATERIALIZED (
                 SELECT account, record, EXISTS (
                     SELECT 1 FROM matches WHERE matches.account = due.account AND matches.other = due.other
                     AND expires_at > $1 AND other_expires_at > $1) AS matched
                 FROM due
             ), kept AS (
                 UPDATE follows SET due_at = $3 FROM seen
                 WHERE follows.account = seen.account AND follows.record = seen.record AND matched
             ), gone AS (
                 DELETE FROM follows USING seen
                 WHERE follows.account = seen.account AND follows.record = seen.record AND NOT matched
             )
             SELECT count(*) FROM seen",
            &[&now, &i64::from(limit), &now.saturating_add(LOOK_AGAIN)],
        )
        .await?
        .ok_or(super::DatabaseError::Answer)?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}
