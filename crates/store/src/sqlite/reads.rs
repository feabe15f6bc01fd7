//! Queries, and the read-only connections that they run on.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Result, params};
use tokio::sync::Semaphore;

use super::{open, unavailable};
use crate::{
    ImportId, KeyRecord, LiveToken, Match, MatchPosition, Millis, PendingImport, Pseudonym, StoreError,
    SyncStatus, TokenId, TokenUse,
};

const READERS: usize = 4;

/// Read-only connections, lent one at a time.
pub(super) struct Readers {
    free: Semaphore,
    connections: Mutex<Vec<Connection>>,
    /// A read that outlives the store still holds the directory.
    _lock: Arc<File>,
}

impl Readers {
    pub(super) fn open(database: &Path, lock: Arc<File>) -> Result<Self> {
        let connections = (0..READERS).map(|_| open::open_reader(database)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            free: Semaphore::new(connections.len()),
            connections: Mutex::new(connections),
            _lock: lock,
        })
    }

    /// Runs `query` in one short read transaction on a blocking thread.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let readers = Arc::clone(self);
        let read = async move {
            let _permit = readers.free.acquire().await.map_err(unavailable)?;
            let lender = Arc::clone(&readers);
            tokio::task::spawn_blocking(move || {
                let mut lent = Lent { connection: lender.lend(), to: &lender };
                let Some(connection) = &mut lent.connection else {
                    return Err(unavailable("no reader is left"));
                };
                let transaction = connection.transaction().map_err(super::failed)?;
                query(&transaction).map_err(super::failed)
            })
            .await
            .map_err(unavailable)?
        };
        read.await
    }

    fn lend(&self) -> Option<Connection> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Comes back also when the query panics.
struct Lent<'a> {
    connection: Option<Connection>,
    to: &'a Readers,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let connections = self.connection.take();
        self.to.connections.lock().unwrap_or_else(PoisonError::into_inner).extend(connections);
    }
}

pub(super) fn key_records(connection: &Connection) -> Result<Vec<KeyRecord>> {
    connection
        .prepare_cached("SELECT purpose, version, \"check\" FROM keys ORDER BY purpose, version")?
        .query_map([], |row| {
            Ok(KeyRecord { purpose: row.get(0)?, version: row.get(1)?, check: row.get(2)? })
        })?
        .collect()
}

pub(super) fn record_keys(connection: &Connection, records: &[KeyRecord]) -> Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO keys (purpose, version, \"check\") VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    for record in records {
        insert.execute(params![record.purpose, record.version, record.check])?;
    }
    Ok(())
}

/// Each other account once, by its newest match: a cursor then never shows one twice.
pub(super) fn matches(
    connection: &Connection,
    account: Pseudonym,
    after: Option<MatchPosition>,
    limit: u32,
    now: Millis,
) -> Result<Vec<Match>> {
    let (found_at, other) =
        after.map_or((Millis::MAX, None), |after| (after.found_at, Some(*after.other.as_bytes())));
    connection
        .prepare_cached(
            "SELECT found, other, sealed FROM (
                 SELECT other, max(found_at) AS found FROM matches
                 WHERE account = ?1 AND expires_at > ?2 AND other_expires_at > ?2
                 AND other NOT IN (SELECT other FROM dismissals WHERE account = ?1)
                 GROUP BY other
             ) JOIN accounts ON accounts.account = other
             WHERE ?4 IS NULL OR found < ?3 OR (found = ?3 AND other > ?4)
             ORDER BY found DESC, other LIMIT ?5",
        )?
        .query_map(params![account.as_bytes(), now, found_at, other, limit], |row| {
            let position = MatchPosition { found_at: row.get(0)?, other: Pseudonym::from_bytes(row.get(1)?) };
            Ok(Match { position, sealed_account: row.get(2)? })
        })?
        .collect()
}

/// How many matches the account has that it neither dismissed nor follows.
pub(super) fn count_matches(connection: &Connection, account: Pseudonym, now: Millis) -> Result<u32> {
    connection
        .prepare_cached(
            "SELECT count(DISTINCT other) FROM matches
             WHERE account = ?1 AND expires_at > ?2 AND other_expires_at > ?2
             AND other NOT IN (SELECT other FROM dismissals WHERE account = ?1)
             AND other NOT IN (SELECT other FROM follows WHERE account = ?1)",
        )?
        .query_row(params![account.as_bytes(), now], |row| row.get(0))
}

/// How many matches the account has that it did not dismiss.
pub(super) fn count_undismissed(connection: &Connection, account: Pseudonym, now: Millis) -> Result<u32> {
    connection
        .prepare_cached(
            "SELECT count(DISTINCT other) FROM matches
             WHERE account = ?1 AND expires_at > ?2 AND other_expires_at > ?2
             AND other NOT IN (SELECT other FROM dismissals WHERE account = ?1)",
        )?
        .query_row(params![account.as_bytes(), now], |row| row.get(0))
}

pub(super) fn live_tokens(
    connection: &Connection,
    account: Pseudonym,
    token_use: TokenUse,
    now: Millis,
) -> Result<Vec<LiveToken>> {
    connection
        .prepare_cached(
            "SELECT token, sealed FROM tokens WHERE account = ?1 AND expires_at > ?2 AND token_use = ?3
             ORDER BY expires_at DESC, token",
        )?
        .query_map(params![account.as_bytes(), now, token_use as u8], |row| {
            Ok(LiveToken { token: TokenId::from_bytes(row.get(0)?), sealed_identifier: row.get(1)? })
        })?
        .collect()
}

pub(super) fn sealed_accounts(
    connection: &Connection,
    accounts: &[Pseudonym],
) -> Result<Vec<Option<Vec<u8>>>> {
    let mut select = connection.prepare_cached("SELECT sealed FROM accounts WHERE account = ?1")?;
    accounts
        .iter()
        .map(|account| select.query_row([account.as_bytes()], |row| row.get(0)).optional())
        .collect()
}

pub(super) fn sync_status(
    connection: &Connection,
    account: Pseudonym,
    now: Millis,
) -> Result<Option<SyncStatus>> {
    let synced_at: Option<Millis> = connection
        .prepare_cached("SELECT synced_at FROM accounts WHERE account = ?1 AND forget_at > ?2")?
        .query_row(params![account.as_bytes(), now], |row| row.get(0))
        .optional()?
        .flatten();
    synced_at
        .map(|synced_at| Ok(SyncStatus { synced_at, matches: count_matches(connection, account, now)? }))
        .transpose()
}

pub(super) fn pending_import(connection: &Connection, account: Pseudonym) -> Result<Option<PendingImport>> {
    connection
        .prepare_cached("SELECT id, sealed FROM imports JOIN import_lists USING (id) WHERE account = ?1")?
        .query_row([account.as_bytes()], |row| {
            Ok(PendingImport { id: ImportId::from_bytes(row.get(0)?), sealed: row.get(1)? })
        })
        .optional()
}

pub(super) fn ping(connection: &Connection) -> Result<()> {
    connection.prepare_cached("SELECT 1 FROM accounts LIMIT 1")?.exists([]).map(drop)
}
