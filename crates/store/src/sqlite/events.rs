//! The audit log, and which of its events the webhook is still to be told of.

use rusqlite::{Connection, Result, Row, params};

use crate::{AuditId, Event, EventId, EventKind, EventOutcome, LeasedEvent, Millis, NewEvent};

pub(super) fn append(connection: &Connection, events: &[NewEvent], now: Millis) -> Result<()> {
    for event in events {
        connection
            .prepare_cached("INSERT INTO events (at, kind, account, details) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                now,
                event.kind as u8,
                event.account.as_ref().map(AuditId::as_bytes),
                event.details
            ])?;
        if event.tell {
            connection
                .prepare_cached("INSERT INTO event_queue (event, attempts, due_at) VALUES (?1, 0, ?2)")?
                .execute([connection.last_insert_rowid(), now])?;
        }
    }
    Ok(())
}

pub(super) fn after(connection: &Connection, after: Option<EventId>, limit: u32) -> Result<Vec<Event>> {
    connection
        .prepare_cached(
            "SELECT id, at, kind, account, details FROM events WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?
        .query_map(params![after.map_or(i64::MIN, |after| after.0), limit], event_at)?
        .collect()
}

fn event_at(row: &Row<'_>) -> Result<Event> {
    let kind: u8 = row.get(2)?;
    Ok(Event {
        id: EventId(row.get(0)?),
        at: row.get(1)?,
        kind: EventKind::by_number(kind)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(2, i64::from(kind)))?,
        account: row.get::<_, Option<[u8; 16]>>(3)?.map(AuditId::from_bytes),
        details: row.get(4)?,
    })
}

pub(super) fn sweep(connection: &Connection, before: Millis, limit: u32) -> Result<u64> {
    let swept = connection
        .prepare_cached(
            "DELETE FROM events WHERE id IN
             (SELECT id FROM events WHERE at < ?1
              AND NOT EXISTS (SELECT 1 FROM event_queue WHERE event = events.id) ORDER BY at LIMIT ?2)",
        )?
        .execute(params![before, limit])?;
    Ok(u64::try_from(swept).unwrap_or(u64::MAX))
}

/// Whether the webhook is to be told of any event now.
pub(super) fn are_due(connection: &Connection, now: Millis) -> Result<bool> {
    connection.prepare_cached("SELECT 1 FROM event_queue WHERE due_at <= ?1")?.exists([now])
}

pub(super) fn lease(
    connection: &Connection,
    limit: u32,
    now: Millis,
    lease_until: Millis,
) -> Result<Vec<LeasedEvent>> {
    let leased: Vec<LeasedEvent> = connection
        .prepare_cached(
            "SELECT id, at, kind, account, details, attempts + 1 FROM event_queue
             JOIN events ON id = event WHERE due_at <= ?1 ORDER BY event LIMIT ?2",
        )?
        .query_map(params![now, limit], |row| {
            Ok(LeasedEvent { event: event_at(row)?, attempt: row.get(5)? })
        })?
        .collect::<Result<_>>()?;
    let mut lease =
        connection.prepare_cached("UPDATE event_queue SET attempts = ?2, due_at = ?3 WHERE event = ?1")?;
    for LeasedEvent { event, attempt } in &leased {
        lease.execute(params![event.id.0, attempt, lease_until])?;
    }
    Ok(leased)
}

pub(super) fn settle(
    connection: &Connection,
    id: EventId,
    attempt: u32,
    outcome: EventOutcome,
) -> Result<()> {
    match outcome {
        EventOutcome::Done => connection
            .prepare_cached("DELETE FROM event_queue WHERE event = ?1 AND attempts = ?2")?
            .execute(params![id.0, attempt]),
        EventOutcome::Again(due_at) => connection
            .prepare_cached("UPDATE event_queue SET due_at = ?3 WHERE event = ?1 AND attempts = ?2")?
            .execute(params![id.0, attempt, due_at]),
    }
    .map(drop)
}

pub(super) fn waiting(connection: &Connection) -> Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM event_queue")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|events| u64::try_from(events).unwrap_or(0))
}
