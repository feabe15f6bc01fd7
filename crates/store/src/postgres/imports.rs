//! Accepting, leasing and ending imports. One is locked by its row, which is there for as long as it is worked on.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::error::DatabaseError;
use super::ledger::{Ledger, Place, Side, bytes, pseudonym};
use super::unit::{Result, Unit};
use super::{epochs, quotas, reads, rules};
use crate::{
    Fence, Generation, Half, HalfOutcome, ImportAccepted, ImportId, ImportProgress, ImportStep, LeasedImport,
    Millis, NewImport, NumberKey, Permit, Pseudonym, Report, StepOutcome, TokenUse,
};

/// How long an import can block its number, should nothing release it.
const NUMBER_HELD: Millis = 24 * 60 * 60 * 1000;

pub(super) async fn accept(unit: &Unit, import: &NewImport, now: Millis) -> Result<ImportAccepted> {
    match refused(unit, import, now).await? {
        Some(refusal) => {
            unit.undo();
            Ok(refusal)
        }
        None => {
            take(unit, import, now).await?;
            Ok(ImportAccepted::Accepted)
        }
    }
}

/// Why not; else the permits are taken.
async fn refused(unit: &Unit, import: &NewImport, now: Millis) -> Result<Option<ImportAccepted>> {
    if !tokens_are_valid(unit, import, now).await? {
        return Ok(Some(ImportAccepted::InvalidToken));
    }
    // One at a time from here on, whatever the server: the queue's length and the numbers have no row to lock.
    unit.query("SELECT 1 FROM gates WHERE name = 'accept' FOR UPDATE", &[]).await?;
    let pending = unit
        .row(
            "SELECT 1 FROM imports WHERE account = $1
             UNION ALL SELECT 1 FROM pending_numbers WHERE number = ANY($2) AND until > $3",
            &[&import.account.as_bytes().as_slice(), &keys(&import.numbers), &now],
        )
        .await?;
    if pending.is_some() {
        return Ok(Some(ImportAccepted::AlreadyPending));
    }
    let waiting = waiting_pairs(unit).await?;
    if waiting > import.max_waiting {
        return Ok(Some(ImportAccepted::QueueFull { waiting }));
    }
    Ok(quotas::take(unit, &import.permits, now).await?.err().map(ImportAccepted::Exhausted))
}

/// Locks the account.
async fn tokens_are_valid(unit: &Unit, import: &NewImport, now: Millis) -> Result<bool> {
    let account = import.account.as_bytes().as_slice();
    let generation =
        unit.row("SELECT generation FROM accounts WHERE account = $1 FOR NO KEY UPDATE", &[&account]).await?;
    match generation {
        Some(row) if row.try_get::<_, i64>(0)? == import.generation.0 => {}
        _ => return Ok(false),
    }
    let mut tokens: Vec<&[u8]> = import.tokens.iter().map(|token| token.as_bytes().as_slice()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let valid = unit
        .row(
            "SELECT count(*) FROM tokens
             WHERE account = $1 AND token = ANY($2) AND expires_at > $3 AND token_use = $4",
            &[&account, &tokens, &now, &i16::from(TokenUse::Matching as u8)],
        )
        .await?
        .ok_or(DatabaseError::Answer)?;
    let valid: i64 = valid.try_get(0)?;
    Ok(!tokens.is_empty() && usize::try_from(valid) == Ok(tokens.len()))
}

async fn take(unit: &Unit, import: &NewImport, now: Millis) -> Result<()> {
    let account = import.account.as_bytes().as_slice();
    let tokens: Vec<&[u8]> = import.tokens.iter().map(|token| token.as_bytes().as_slice()).collect();
    unit.execute("DELETE FROM tokens WHERE account = $1 AND token = ANY($2)", &[&account, &tokens]).await?;
    unit.execute(
        "UPDATE accounts SET synced_at = $2, forget_at = greatest(forget_at, $3) WHERE account = $1",
        &[&account, &now, &import.forget_account_at],
    )
    .await?;
    if import.total == 0 {
        return Ok(());
    }
    unit.execute(
        "INSERT INTO imports (account, id, generation, total, done, fence, accepted_at, sealed)
         VALUES ($1, $2, $3, $4, 0, 0, $5, $6)",
        &[
            &account,
            &import.id.as_bytes().as_slice(),
            &import.generation.0,
            &i64::from(import.total),
            &now,
            &import.sealed,
        ],
    )
    .await?;
    // An expired number may still stand there.
    let until = crate::bucket::full_hour(now.saturating_add(NUMBER_HELD));
    unit.execute(
        "INSERT INTO pending_numbers (number, until)
         SELECT DISTINCT number, $2::bigint FROM unnest($1::bytea[]) AS held (number) ORDER BY number
         ON CONFLICT (number) DO UPDATE SET until = excluded.until",
        &[&keys(&import.numbers), &until],
    )
    .await?;
    Ok(())
}

pub(super) async fn lease_next(
    unit: &Unit,
    now: Millis,
    lease_until: Millis,
) -> Result<Option<LeasedImport>> {
    // Who leases at the same moment passes over what another is leasing; a step that prolongs its lease is passed
    // over as well.
    let row = unit
        .row(
            "WITH next AS MATERIALIZED (
                 SELECT account FROM imports WHERE leased_until IS NULL OR leased_until <= $1
                 ORDER BY accepted_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
             )
             UPDATE imports SET fence = fence + 1, leased_until = $2 FROM next WHERE imports.account = next.account
             RETURNING id, imports.account, generation, sealed, total, done, fence",
            &[&now, &lease_until],
        )
        .await?;
    row.as_ref().map(leased_at).transpose()
}

fn leased_at(row: &Row) -> Result<LeasedImport> {
    Ok(LeasedImport {
        id: ImportId::from_bytes(bytes(row, 0)?),
        account: pseudonym(row, 1)?,
        generation: Generation(row.try_get(2)?),
        sealed: row.try_get(3)?,
        total: number(row, 4)?,
        done: number(row, 5)?,
        fence: Fence(row.try_get(6)?),
    })
}

pub(super) async fn prolong(
    unit: &Unit,
    import: ImportId,
    fence: Fence,
    lease_until: Millis,
) -> Result<bool> {
    let prolonged = unit
        .execute(
            "UPDATE imports SET leased_until = greatest(leased_until, $3) WHERE id = $1 AND fence = $2",
            &[&import.as_bytes().as_slice(), &fence.0, &lease_until],
        )
        .await?;
    Ok(prolonged > 0)
}

pub(super) async fn end_lease(unit: &Unit, import: ImportId, fence: Fence) -> Result<()> {
    unit.execute(
        "UPDATE imports SET leased_until = NULL WHERE id = $1 AND fence = $2",
        &[&import.as_bytes().as_slice(), &fence.0],
    )
    .await?;
    Ok(())
}

/// In one statement, so that the import's end is seen with what its last step found.
pub(super) async fn progress(unit: &Unit, account: Pseudonym, import: ImportId) -> Result<ImportProgress> {
    let rows = unit
        .query(
            "SELECT position, other FROM answers WHERE account = $1 AND import = $2
             UNION ALL SELECT NULL, NULL FROM imports WHERE account = $1 AND id = $2",
            &[&account.as_bytes().as_slice(), &import.as_bytes().as_slice()],
        )
        .await?;
    let mut progress = ImportProgress::default();
    for row in rows {
        match row.try_get::<_, Option<i32>>(0)? {
            None => progress.pending = true,
            Some(position) => {
                let position = u16::try_from(position).map_err(|_| DatabaseError::Answer)?;
                progress.found.push((position, pseudonym(&row, 1)?));
            }
        }
    }
    Ok(progress)
}

/// Puts down what was found for the process whose request waits.
async fn report(unit: &Unit, step: &ImportStep, outcomes: &[HalfOutcome]) -> Result<()> {
    let Some(Report { positions, until }) = &step.report else { return Ok(()) };
    let found = positions.iter().zip(outcomes);
    let (positions, others): (Vec<i32>, Vec<&[u8]>) = found
        .flat_map(|(position, outcome)| {
            outcome.matched.iter().map(|other| (i32::from(*position), other.as_bytes().as_slice()))
        })
        .unzip();
    if positions.is_empty() {
        return Ok(());
    }
    unit.execute(
        "INSERT INTO answers (until, position, account, import, other)
         SELECT DISTINCT $1::bigint, position, $2::bytea, $3::bytea, other
         FROM unnest($4::integer[], $5::bytea[]) AS found (position, other)
         ON CONFLICT DO NOTHING",
        &[
            until,
            &step.account.as_bytes().as_slice(),
            &step.import.as_bytes().as_slice(),
            &positions,
            &others,
        ],
    )
    .await?;
    Ok(())
}

pub(super) async fn step(unit: &Unit, step: &ImportStep, now: Millis) -> Result<StepOutcome> {
    let total = fenced_total(unit, step).await?;
    // A step that runs past the list belongs to another list.
    let done = u32::try_from(step.halves.len()).ok().and_then(|halves| step.done.checked_add(halves));
    let (Some(total), Some(done)) = (total, done) else {
        return Ok(StepOutcome::Fenced);
    };
    if done > total {
        return Ok(StepOutcome::Fenced);
    }
    let Some(halves) = crate::epochs::arrange(&epochs::held(unit).await?, &step.halves) else {
        return Ok(StepOutcome::Stale);
    };
    let mut ledger = Ledger::lock(unit, &wanted(step, &halves)).await?;
    let mut outcomes: Vec<HalfOutcome> =
        halves.iter().map(|half| rules::submit(&mut ledger, step, half, now)).collect();
    ledger.write(unit, now).await?;
    leave_dismissed_out(unit, step, &mut outcomes).await?;
    report(unit, step, &outcomes).await?;
    refund(unit, step, &outcomes, now).await?;
    let account = step.account.as_bytes().as_slice();
    if done == total {
        unit.execute("DELETE FROM imports WHERE account = $1", &[&account]).await?;
        release(unit, &step.numbers).await?;
    } else {
        unit.execute(
            "UPDATE imports SET done = $2, leased_until = $3 WHERE account = $1",
            &[&account, &i64::from(done), &step.lease_until],
        )
        .await?;
    }
    Ok(StepOutcome::Committed(outcomes))
}

/// Where the step's halves may stand, and with what: where several want one place, with the first one's.
fn wanted(step: &ImportStep, halves: &[Half]) -> BTreeMap<Place, Side> {
    let mut wanted = BTreeMap::new();
    for half in halves {
        let side = Side {
            account: step.account,
            bit: half.bit,
            verified_at: step.verified_at,
            expires_at: step.expires_at,
        };
        for hash in &half.hashes {
            wanted.entry(Place::from(*hash)).or_insert(side);
        }
    }
    wanted
}

/// The import's total, if the step's fence, progress and generation all still hold (house plan, decision 7). Locks the
/// import, and who removes the account waits for that.
async fn fenced_total(unit: &Unit, step: &ImportStep) -> Result<Option<u32>> {
    let row = unit
        .row(
            "SELECT total FROM imports
             WHERE account = $1 AND id = $2 AND generation = $3 AND fence = $4 AND done = $5
             AND EXISTS (SELECT 1 FROM accounts WHERE account = $1 AND generation = $3)
             FOR UPDATE OF imports",
            &[
                &step.account.as_bytes().as_slice(),
                &step.import.as_bytes().as_slice(),
                &step.generation.0,
                &step.fence.0,
                &i64::from(step.done),
            ],
        )
        .await?;
    row.map(|row| number(&row, 0)).transpose()
}

async fn leave_dismissed_out(unit: &Unit, step: &ImportStep, outcomes: &mut [HalfOutcome]) -> Result<()> {
    let matched: Vec<&[u8]> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.matched)
        .map(|other| other.as_bytes().as_slice())
        .collect();
    if matched.is_empty() {
        return Ok(());
    }
    let dismissed = reads::dismissed(unit, step.account).await?;
    for outcome in outcomes {
        outcome.matched.retain(|other| !dismissed.contains(other));
    }
    Ok(())
}

async fn refund(unit: &Unit, step: &ImportStep, outcomes: &[HalfOutcome], now: Millis) -> Result<()> {
    let held = outcomes.iter().filter(|outcome| outcome.held).count();
    let Some(amount) = u32::try_from(held).ok().filter(|held| *held > 0) else {
        return Ok(());
    };
    let refunds: Vec<Permit> =
        step.refunds.iter().map(|permit| Permit { amount, ..permit.clone() }).collect();
    quotas::give_back(unit, &refunds, now).await
}

pub(super) async fn release(unit: &Unit, numbers: &[NumberKey]) -> Result<()> {
    if !numbers.is_empty() {
        unit.execute(
            "WITH held AS MATERIALIZED (
                 SELECT number FROM pending_numbers WHERE number = ANY($1) ORDER BY number FOR UPDATE
             )
             DELETE FROM pending_numbers USING held WHERE pending_numbers.number = held.number",
            &[&keys(numbers)],
        )
        .await?;
    }
    Ok(())
}

/// Its identifiers stay taken until a day is over: nobody can say which they were.
pub(super) async fn abandon(unit: &Unit, import: ImportId, fence: Fence) -> Result<()> {
    unit.execute(
        "DELETE FROM imports WHERE id = $1 AND fence = $2",
        &[&import.as_bytes().as_slice(), &fence.0],
    )
    .await?;
    Ok(())
}

pub(super) async fn waiting_pairs(unit: &Unit) -> Result<u64> {
    let row = unit
        .row("SELECT coalesce(sum(total - done), 0)::bigint FROM imports", &[])
        .await?
        .ok_or(DatabaseError::Answer)?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}

fn keys(numbers: &[NumberKey]) -> Vec<&[u8]> {
    numbers.iter().map(|number| number.as_bytes().as_slice()).collect()
}

/// PostgreSQL has no unsigned integers.
pub(super) fn number(row: &Row, column: usize) -> Result<u32> {
    u32::try_from(row.try_get::<_, i64>(column)?).map_err(|_| DatabaseError::Answer)
}
