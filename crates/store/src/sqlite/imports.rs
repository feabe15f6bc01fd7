//! Accepting, leasing and ending imports.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{epochs, pairs, quotas};
use crate::{
    Fence, Generation, HalfOutcome, ImportAccepted, ImportId, ImportProgress, ImportStep, LeasedImport,
    Millis, NewImport, NumberKey, Permit, Pseudonym, StepOutcome, TokenUse,
};

/// How long an import can block its number, should nothing release it.
const NUMBER_HELD: Millis = 24 * 60 * 60 * 1000;

pub(super) fn accept(connection: &Connection, import: &NewImport, now: Millis) -> Result<ImportAccepted> {
    if !tokens_are_valid(connection, import, now)? {
        return Ok(ImportAccepted::InvalidToken);
    }
    if is_pending(connection, import.account, &import.numbers, now)? {
        return Ok(ImportAccepted::AlreadyPending);
    }
    let waiting = waiting_pairs(connection)?;
    if waiting > import.max_waiting {
        return Ok(ImportAccepted::QueueFull { waiting });
    }
    match quotas::take(connection, &import.permits, now)? {
        Ok(()) => {}
        Err(exhausted) => return Ok(ImportAccepted::Exhausted(exhausted)),
    }
    for token in &import.tokens {
        connection.prepare_cached("DELETE FROM tokens WHERE token = ?1")?.execute([token.as_bytes()])?;
    }
    connection
        .prepare_cached(
            "UPDATE accounts SET synced_at = ?2, forget_at = max(forget_at, ?3) WHERE account = ?1",
        )?
        .execute(params![import.account.as_bytes(), now, import.forget_account_at])?;
    if import.total > 0 {
        enqueue(connection, import, now)?;
    }
    Ok(ImportAccepted::Accepted)
}

fn tokens_are_valid(connection: &Connection, import: &NewImport, now: Millis) -> Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT 1 FROM tokens JOIN accounts USING (account)
         WHERE token = ?1 AND account = ?2 AND expires_at > ?3 AND generation = ?4 AND token_use = ?5",
    )?;
    for token in &import.tokens {
        if !select.exists(params![
            token.as_bytes(),
            import.account.as_bytes(),
            now,
            import.generation.0,
            TokenUse::Matching as u8
        ])? {
            return Ok(false);
        }
    }
    Ok(!import.tokens.is_empty())
}

fn is_pending(
    connection: &Connection,
    account: Pseudonym,
    numbers: &[NumberKey],
    now: Millis,
) -> Result<bool> {
    if connection.prepare_cached("SELECT 1 FROM imports WHERE account = ?1")?.exists([account.as_bytes()])? {
        return Ok(true);
    }
    let mut select =
        connection.prepare_cached("SELECT 1 FROM pending_numbers WHERE number = ?1 AND until > ?2")?;
    for number in numbers {
        if select.exists(params![number.as_bytes(), now])? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn enqueue(connection: &Connection, import: &NewImport, now: Millis) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO imports (id, account, generation, total, done, fence, leased_until, accepted_at)
             VALUES (?1, ?2, ?3, ?4, 0, 0, NULL, ?5)",
        )?
        .execute(params![
            import.id.as_bytes(),
            import.account.as_bytes(),
            import.generation.0,
            import.total,
            now
        ])?;
    connection
        .prepare_cached("INSERT INTO import_lists (id, sealed) VALUES (?1, ?2)")?
        .execute(params![import.id.as_bytes(), import.sealed])?;
    // An expired number may still stand there.
    let mut hold = connection.prepare_cached(
        "INSERT INTO pending_numbers (number, until) VALUES (?1, ?2)
         ON CONFLICT (number) DO UPDATE SET until = excluded.until",
    )?;
    let until = crate::bucket::full_hour(now.saturating_add(NUMBER_HELD));
    import.numbers.iter().try_for_each(|number| hold.execute(params![number.as_bytes(), until]).map(drop))
}

pub(super) fn lease_next(
    connection: &Connection,
    now: Millis,
    lease_until: Millis,
) -> Result<Option<LeasedImport>> {
    let leased = connection
        .prepare_cached(
            "SELECT id, account, generation, sealed, total, done, fence + 1
             FROM imports JOIN import_lists USING (id)
             WHERE leased_until IS NULL OR leased_until <= ?1
             ORDER BY accepted_at, id LIMIT 1",
        )?
        .query_row([now], |row| {
            Ok(LeasedImport {
                id: ImportId::from_bytes(row.get(0)?),
                account: Pseudonym::from_bytes(row.get(1)?),
                generation: Generation(row.get(2)?),
                sealed: row.get(3)?,
                total: row.get(4)?,
                done: row.get(5)?,
                fence: Fence(row.get(6)?),
            })
        })
        .optional()?;
    if let Some(import) = &leased {
        connection
            .prepare_cached("UPDATE imports SET fence = ?2, leased_until = ?3 WHERE id = ?1")?
            .execute(params![import.id.as_bytes(), import.fence.0, lease_until])?;
    }
    Ok(leased)
}

pub(super) fn prolong(
    connection: &Connection,
    import: ImportId,
    fence: Fence,
    lease_until: Millis,
) -> Result<bool> {
    let prolonged = connection
        .prepare_cached(
            "UPDATE imports SET leased_until = max(coalesce(leased_until, 0), ?3) WHERE id = ?1 AND fence = ?2",
        )?
        .execute(params![import.as_bytes(), fence.0, lease_until])?;
    Ok(prolonged > 0)
}

pub(super) fn end_lease(connection: &Connection, import: ImportId, fence: Fence) -> Result<()> {
    connection
        .prepare_cached("UPDATE imports SET leased_until = NULL WHERE id = ?1 AND fence = ?2")?
        .execute(params![import.as_bytes(), fence.0])?;
    Ok(())
}

pub(super) fn progress(connection: &Connection, import: ImportId) -> Result<ImportProgress> {
    let pending =
        connection.prepare_cached("SELECT 1 FROM imports WHERE id = ?1")?.exists([import.as_bytes()])?;
    Ok(ImportProgress { pending, found: Vec::new() })
}

pub(super) fn step(connection: &Connection, step: &ImportStep, now: Millis) -> Result<StepOutcome> {
    let Some(total) = fenced_total(connection, step)? else {
        return Ok(StepOutcome::Fenced);
    };
    // A step that runs past the list belongs to another list.
    let done = u32::try_from(step.halves.len()).ok().and_then(|halves| step.done.checked_add(halves));
    let Some(done) = done.filter(|done| *done <= total) else {
        return Ok(StepOutcome::Fenced);
    };
    let Some(halves) = crate::epochs::arrange(&epochs::all(connection)?, &step.halves) else {
        return Ok(StepOutcome::Stale);
    };
    let outcomes = halves
        .iter()
        .map(|half| pairs::submit(connection, step, half, now))
        .collect::<Result<Vec<HalfOutcome>>>()?;
    refund(connection, step, &outcomes, now)?;
    if done == total {
        delete(connection, step.import, &step.numbers)?;
    } else {
        connection
            .prepare_cached("UPDATE imports SET done = ?2, leased_until = ?3 WHERE id = ?1")?
            .execute(params![step.import.as_bytes(), done, step.lease_until])?;
    }
    Ok(StepOutcome::Committed(outcomes))
}

/// The import's total, if the step's fence, progress and generation all still hold (house plan, decision 7).
fn fenced_total(connection: &Connection, step: &ImportStep) -> Result<Option<u32>> {
    connection
        .prepare_cached(
            "SELECT total FROM imports JOIN accounts USING (account, generation)
             WHERE id = ?1 AND account = ?2 AND generation = ?3 AND fence = ?4 AND done = ?5",
        )?
        .query_row(
            params![
                step.import.as_bytes(),
                step.account.as_bytes(),
                step.generation.0,
                step.fence.0,
                step.done
            ],
            |row| row.get(0),
        )
        .optional()
}

fn refund(connection: &Connection, step: &ImportStep, outcomes: &[HalfOutcome], now: Millis) -> Result<()> {
    let held = outcomes.iter().filter(|outcome| outcome.held).count();
    let Some(amount) = u32::try_from(held).ok().filter(|held| *held > 0) else {
        return Ok(());
    };
    let refunds: Vec<Permit> =
        step.refunds.iter().map(|permit| Permit { amount, ..permit.clone() }).collect();
    quotas::give_back(connection, &refunds, now)
}

pub(super) fn delete(connection: &Connection, import: ImportId, numbers: &[NumberKey]) -> Result<()> {
    connection.prepare_cached("DELETE FROM imports WHERE id = ?1")?.execute([import.as_bytes()])?;
    let mut release = connection.prepare_cached("DELETE FROM pending_numbers WHERE number = ?1")?;
    numbers.iter().try_for_each(|number| release.execute([number.as_bytes()]).map(drop))
}

/// Its identifiers stay taken until a day is over: nobody can say which they were.
pub(super) fn abandon(connection: &Connection, import: ImportId, fence: Fence) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM imports WHERE id = ?1 AND fence = ?2")?
        .execute(params![import.as_bytes(), fence.0])?;
    Ok(())
}

pub(super) fn waiting_pairs(connection: &Connection) -> Result<u64> {
    connection
        .prepare_cached("SELECT coalesce(sum(total - done), 0) FROM imports")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|pairs| u64::try_from(pairs).unwrap_or(0))
}
