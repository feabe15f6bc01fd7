//! Accounts that a stream says are gone, until that is confirmed or not.

use std::collections::BTreeMap;

use super::imports::number;
use super::ledger::pseudonym;
use super::reads;
use super::unit::{Result, Unit};
use crate::{LeasedDeparture, Millis, Pseudonym};

/// Due at once; one that is there already stays as it is. Their accounts are locked.
pub(super) async fn put(unit: &Unit, accounts: &[Pseudonym], now: Millis) -> Result<()> {
    if accounts.is_empty() {
        return Ok(());
    }
    unit.execute(
        "INSERT INTO departures (account, due_at, attempts)
         SELECT account, $2, 0 FROM accounts WHERE account = ANY($1) ORDER BY account ON CONFLICT DO NOTHING",
        &[&keys(accounts), &now],
    )
    .await?;
    Ok(())
}

pub(super) async fn lease(
    unit: &Unit,
    limit: u32,
    now: Millis,
    lease_until: Millis,
) -> Result<Vec<LeasedDeparture>> {
    loop {
        let (leased, nameless) = lease_some(unit, limit, now, lease_until).await?;
        // With nothing but such, there may be others behind them.
        if !leased.is_empty() || nameless == 0 {
            return Ok(leased);
        }
    }
}

/// Those that can be confirmed, and how many were of forgotten accounts and are deleted.
async fn lease_some(
    unit: &Unit,
    limit: u32,
    now: Millis,
    lease_until: Millis,
) -> Result<(Vec<LeasedDeparture>, usize)> {
    let rows = unit
        .query(
            "WITH due AS MATERIALIZED (
                 SELECT account, due_at FROM departures WHERE due_at <= $1
                 ORDER BY due_at, account LIMIT $2 FOR UPDATE SKIP LOCKED
             )
             UPDATE departures SET attempts = attempts + 1, due_at = $3
             FROM due WHERE departures.account = due.account
             RETURNING departures.account, attempts, due.due_at",
            &[&now, &i64::from(limit), &lease_until],
        )
        .await?;
    let mut leased: Vec<(Millis, Pseudonym, u32)> = rows
        .iter()
        .map(|row| Ok((row.try_get(2)?, pseudonym(row, 0)?, number(row, 1)?)))
        .collect::<Result<_>>()?;
    leased.sort_unstable();
    let mut names: BTreeMap<[u8; 16], Vec<u8>> =
        reads::names(unit, leased.iter().map(|(_, account, _)| *account)).await?;
    let mut nameless = Vec::new();
    let mut told = Vec::new();
    for (_, account, attempt) in leased {
        match names.remove(account.as_bytes()) {
            Some(sealed_account) => told.push(LeasedDeparture { account, sealed_account, attempt }),
            None => nameless.push(account),
        }
    }
    if !nameless.is_empty() {
        unit.execute("DELETE FROM departures WHERE account = ANY($1)", &[&keys(&nameless)]).await?;
    }
    Ok((told, nameless.len()))
}

pub(super) async fn settle(
    unit: &Unit,
    account: Pseudonym,
    attempt: u32,
    again_at: Option<Millis>,
) -> Result<()> {
    let (account, attempt) = (account.as_bytes().as_slice(), i64::from(attempt));
    match again_at {
        Some(due_at) => {
            unit.execute(
                "UPDATE departures SET due_at = $3 WHERE account = $1 AND attempts = $2",
                &[&account, &attempt, &due_at],
            )
            .await?
        }
        None => {
            unit.execute("DELETE FROM departures WHERE account = $1 AND attempts = $2", &[&account, &attempt])
                .await?
        }
    };
    Ok(())
}

fn keys(accounts: &[Pseudonym]) -> Vec<&[u8]> {
    accounts.iter().map(|account| account.as_bytes().as_slice()).collect()
}
