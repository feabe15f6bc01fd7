//! Queries. Each is one statement, or tells why not.

use std::collections::{BTreeMap, BTreeSet};

use super::error::DatabaseError;
use super::imports::number;
use super::ledger::{bytes, pseudonym};
use super::unit::{Result, Unit};
use crate::{
    ImportId, KeyRecord, LiveToken, Match, MatchPosition, Millis, PendingImport, Pseudonym, SyncStatus,
    TokenId, TokenUse,
};

pub(super) async fn key_records(unit: &Unit) -> Result<Vec<KeyRecord>> {
    let rows =
        unit.query("SELECT purpose, version, \"check\" FROM keys ORDER BY purpose, version", &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(KeyRecord { purpose: row.try_get(0)?, version: number(row, 1)?, check: row.try_get(2)? })
        })
        .collect()
}

pub(super) async fn record_keys(unit: &Unit, records: &[KeyRecord]) -> Result<()> {
    unit.execute(
        "INSERT INTO keys (purpose, version, \"check\")
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        &[
            &records.iter().map(|record| record.purpose.as_str()).collect::<Vec<_>>(),
            &records.iter().map(|record| i64::from(record.version)).collect::<Vec<_>>(),
            &records.iter().map(|record| record.check.as_slice()).collect::<Vec<_>>(),
        ],
    )
    .await?;
    Ok(())
}

/// Each other account once, by its newest match: a cursor then never shows one twice. The names are read apart, since
/// they stand in other partitions; who was removed in between is left out, and the page filled up.
pub(super) async fn matches(
    unit: &Unit,
    account: Pseudonym,
    after: Option<MatchPosition>,
    limit: u32,
    now: Millis,
) -> Result<Vec<Match>> {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut after = after;
    let mut page = Vec::new();
    while page.len() < wanted {
        let rest = wanted - page.len();
        let positions = positions(unit, account, after, i64::try_from(rest).unwrap_or(i64::MAX), now).await?;
        let names = names(unit, positions.iter().map(|position| position.other)).await?;
        after = positions.last().copied();
        let is_last = positions.len() < rest;
        page.extend(positions.into_iter().filter_map(|position| {
            let sealed_account = names.get(position.other.as_bytes())?.clone();
            Some(Match { position, sealed_account })
        }));
        if is_last {
            break;
        }
    }
    Ok(page)
}

async fn positions(
    unit: &Unit,
    account: Pseudonym,
    after: Option<MatchPosition>,
    limit: i64,
    now: Millis,
) -> Result<Vec<MatchPosition>> {
    let found_at = after.map(|after| after.found_at);
    let other = after.map(|after| after.other.as_bytes().to_vec());
    let rows = unit
        .query(
            "SELECT found, other FROM (
                 SELECT other, max(found_at) AS found FROM matches
                 WHERE account = $1 AND expires_at > $2 AND other_expires_at > $2
                 AND NOT EXISTS (SELECT 1 FROM dismissals
                                 WHERE dismissals.account = $1 AND dismissals.other = matches.other)
                 GROUP BY other
             ) AS newest
             WHERE $3::bigint IS NULL OR found < $3 OR (found = $3 AND other > $4::bytea)
             ORDER BY found DESC, other LIMIT $5",
            &[&account.as_bytes().as_slice(), &now, &found_at, &other, &limit],
        )
        .await?;
    rows.iter()
        .map(|row| Ok(MatchPosition { found_at: row.try_get(0)?, other: pseudonym(row, 1)? }))
        .collect()
}

/// How many matches the account has that it neither dismissed nor follows.
pub(super) async fn count_matches(unit: &Unit, account: Pseudonym, now: Millis) -> Result<u32> {
    let row = unit
        .row(
            "SELECT count(DISTINCT other) FROM matches
             WHERE account = $1 AND expires_at > $2 AND other_expires_at > $2
             AND NOT EXISTS (SELECT 1 FROM dismissals
                             WHERE dismissals.account = $1 AND dismissals.other = matches.other)
             AND NOT EXISTS (SELECT 1 FROM follows
                             WHERE follows.account = $1 AND follows.other = matches.other)",
            &[&account.as_bytes().as_slice(), &now],
        )
        .await?
        .ok_or(DatabaseError::Answer)?;
    number(&row, 0)
}

/// Whom the account has dismissed.
pub(super) async fn dismissed(unit: &Unit, account: Pseudonym) -> Result<BTreeSet<Pseudonym>> {
    let rows = unit
        .query("SELECT other FROM dismissals WHERE account = $1", &[&account.as_bytes().as_slice()])
        .await?;
    rows.iter().map(|row| pseudonym(row, 0)).collect()
}

pub(super) async fn live_tokens(
    unit: &Unit,
    account: Pseudonym,
    token_use: TokenUse,
    now: Millis,
) -> Result<Vec<LiveToken>> {
    let rows = unit
        .query(
            "SELECT token, sealed FROM tokens WHERE account = $1 AND expires_at > $2 AND token_use = $3
             ORDER BY expires_at DESC, token",
            &[&account.as_bytes().as_slice(), &now, &i16::from(token_use as u8)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(LiveToken { token: TokenId::from_bytes(bytes(row, 0)?), sealed_identifier: row.try_get(1)? })
        })
        .collect()
}

pub(super) async fn sealed_accounts(unit: &Unit, accounts: &[Pseudonym]) -> Result<Vec<Option<Vec<u8>>>> {
    let names = names(unit, accounts.iter().copied()).await?;
    Ok(accounts.iter().map(|account| names.get(account.as_bytes()).cloned()).collect())
}

/// The sealed names of those that have a row.
pub(super) async fn names(
    unit: &Unit,
    accounts: impl Iterator<Item = Pseudonym>,
) -> Result<BTreeMap<[u8; 16], Vec<u8>>> {
    let accounts: BTreeSet<[u8; 16]> = accounts.map(|account| *account.as_bytes()).collect();
    let accounts: Vec<&[u8]> = accounts.iter().map(<[u8; 16]>::as_slice).collect();
    if accounts.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = unit
        .query(
            "SELECT accounts.account, sealed FROM unnest($1::bytea[]) AS asked (account)
             JOIN accounts ON accounts.account = asked.account",
            &[&accounts],
        )
        .await?;
    rows.iter().map(|row| Ok((bytes(row, 0)?, row.try_get(1)?))).collect()
}

pub(super) async fn sync_status(unit: &Unit, account: Pseudonym, now: Millis) -> Result<Option<SyncStatus>> {
    let row = unit
        .row(
            "SELECT synced_at,
                 (SELECT count(DISTINCT other) FROM matches
                  WHERE account = $1 AND expires_at > $2 AND other_expires_at > $2
                  AND NOT EXISTS (SELECT 1 FROM dismissals
                                  WHERE dismissals.account = $1 AND dismissals.other = matches.other)
                  AND NOT EXISTS (SELECT 1 FROM follows
                                  WHERE follows.account = $1 AND follows.other = matches.other))
             FROM accounts WHERE account = $1 AND forget_at > $2 AND synced_at IS NOT NULL",
            &[&account.as_bytes().as_slice(), &now],
        )
        .await?;
    row.map(|row| Ok(SyncStatus { synced_at: row.try_get(0)?, matches: number(&row, 1)? })).transpose()
}

pub(super) async fn pending_import(unit: &Unit, account: Pseudonym) -> Result<Option<PendingImport>> {
    let row = unit
        .row("SELECT id, sealed FROM imports WHERE account = $1", &[&account.as_bytes().as_slice()])
        .await?;
    row.map(|row| Ok(PendingImport { id: ImportId::from_bytes(bytes(&row, 0)?), sealed: row.try_get(1)? }))
        .transpose()
}

/// The id of the account's import, locked.
pub(super) async fn locked_import(unit: &Unit, account: Pseudonym) -> Result<Option<ImportId>> {
    let row = unit
        .row("SELECT id FROM imports WHERE account = $1 FOR UPDATE", &[&account.as_bytes().as_slice()])
        .await?;
    row.map(|row| Ok(ImportId::from_bytes(bytes(&row, 0)?))).transpose()
}

pub(super) async fn ping(unit: &Unit) -> Result<()> {
    unit.query("SELECT 1 FROM accounts LIMIT 1", &[]).await.map(drop)
}
