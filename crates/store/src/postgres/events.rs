//! The audit log, and which of its events the webhook is still to be told of.
//!
//! Numbers are given when a row is put, and not when it is committed. So that who follows the log by number misses
//! nothing, whoever adds to it holds [`GATE`] together with all others that do, and a reader takes it alone for a moment:
//! then every number that was given is there, or never comes. It is the last thing that a verb locks.

use tokio_postgres::Row;

use super::error::DatabaseError;
use super::imports::number;
use super::unit::{Result, Unit};
use crate::{AuditId, Event, EventId, EventKind, EventOutcome, LeasedEvent, Millis, NewEvent};

/// An advisory lock: "AcquainE" as a number.
const GATE: i64 = 0x4163_7175_6169_6e45;

/// One after the other, so that they have their numbers in this order.
pub(super) async fn append(unit: &Unit, events: &[NewEvent], now: Millis) -> Result<()> {
    for event in events {
        unit.execute(
            "WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared($1)),
             noted AS (
                 INSERT INTO events (at, kind, account, details)
                 SELECT $2::bigint, $3::smallint, $4::bytea, $5::text FROM gate RETURNING id
             )
             INSERT INTO event_queue (event, attempts, due_at) SELECT id, 0, $2 FROM noted WHERE $6::boolean",
            &[
                &GATE,
                &now,
                &i16::from(event.kind as u8),
                &event.account.as_ref().map(|account| account.as_bytes().as_slice()),
                &event.details,
                &event.tell,
            ],
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn after(unit: &Unit, after: Option<EventId>, limit: u32) -> Result<Vec<Event>> {
    // A statement of its own: the next one sees what was committed until it had the lock.
    unit.query("SELECT pg_advisory_xact_lock($1)", &[&GATE]).await?;
    let rows = unit
        .query(
            "SELECT id, at, kind, account, details FROM events WHERE id > $1 ORDER BY id LIMIT $2",
            &[&after.map_or(i64::MIN, |after| after.0), &i64::from(limit)],
        )
        .await?;
    rows.iter().map(event_at).collect()
}

fn event_at(row: &Row) -> Result<Event> {
    let kind = u8::try_from(row.try_get::<_, i16>(2)?).ok().and_then(EventKind::by_number);
    let account: Option<&[u8]> = row.try_get(3)?;
    let account = account.map(|bytes| bytes.try_into().map(AuditId::from_bytes)).transpose();
    Ok(Event {
        id: EventId(row.try_get(0)?),
        at: row.try_get(1)?,
        kind: kind.ok_or(DatabaseError::Answer)?,
        account: account.map_err(|_| DatabaseError::Answer)?,
        details: row.try_get(4)?,
    })
}

/// Without row locks: the servers' role need not be allowed to change what is in the log.
pub(super) async fn sweep(unit: &Unit, before: Millis, limit: u32) -> Result<u64> {
    unit.execute(
        "DELETE FROM events WHERE id IN (
             SELECT id FROM events WHERE at < $1
             AND NOT EXISTS (SELECT 1 FROM event_queue WHERE event = events.id) ORDER BY at LIMIT $2)",
        &[&before, &i64::from(limit)],
    )
    .await
}

pub(super) async fn lease(
    unit: &Unit,
    limit: u32,
    now: Millis,
    lease_until: Millis,
) -> Result<Vec<LeasedEvent>> {
    let rows = unit
        .query(
            "WITH due AS MATERIALIZED (
                 SELECT event FROM event_queue WHERE due_at <= $1 ORDER BY event LIMIT $2 FOR UPDATE SKIP LOCKED
             ), leased AS (
                 UPDATE event_queue SET attempts = attempts + 1, due_at = $3
                 FROM due WHERE event_queue.event = due.event RETURNING event_queue.event, attempts
             )
             SELECT id, at, kind, account, details, attempts FROM leased JOIN events ON id = event ORDER BY id",
            &[&now, &i64::from(limit), &lease_until],
        )
        .await?;
    rows.iter().map(|row| Ok(LeasedEvent { event: event_at(row)?, attempt: number(row, 5)? })).collect()
}

pub(super) async fn settle(unit: &Unit, id: EventId, attempt: u32, outcome: EventOutcome) -> Result<()> {
    let attempt = i64::from(attempt);
    match outcome {
        EventOutcome::Done => {
            unit.execute("DELETE FROM event_queue WHERE event = $1 AND attempts = $2", &[&id.0, &attempt])
                .await?
        }
        EventOutcome::Again(due_at) => {
            unit.execute(
                "UPDATE event_queue SET due_at = $3 WHERE event = $1 AND attempts = $2",
                &[&id.0, &attempt, &due_at],
            )
            .await?
        }
    };
    Ok(())
}

pub(super) async fn waiting(unit: &Unit) -> Result<u64> {
    let row = unit.row("SELECT count(*) FROM event_queue", &[]).await?.ok_or(DatabaseError::Answer)?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}
