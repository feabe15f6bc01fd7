//! Carrying all rows of a store into an empty one, of the same or the other kind.
//!
//! A [`Source`] gives rows by kind and key, and never changes; a [`Sink`] takes them and commits with each batch how far
//! it is, so that an interrupted transfer is begun again and goes on. From its beginning to its end the sink is marked,
//! and no server starts on it. Neither is for a server: they block their thread between two awaits.

#![cfg_attr(not(any(feature = "sqlite", feature = "postgres")), expect(dead_code, reason = "used by stores"))]

mod carry;
mod kinds;
mod row;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

pub use carry::{Carried, Phase, Progress, Tally, Watch, carry, counts, end, named, same};
#[cfg(feature = "postgres")]
pub(crate) use kinds::Place;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use kinds::SELF_MADE;
pub use kinds::{Column, Form, KEYS, KINDS, Kind};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use row::fits;
pub use row::{Layout, Reader, Row, Value, encode};

use crate::{KeyRecord, StoreError};

/// From this state on an epoch's key is not needed any more.
const RETIRED: i64 = 2;

/// Why rows cannot be carried, or not all of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The embedded store cannot be opened.
    #[cfg(feature = "sqlite")]
    #[error("the embedded store cannot be used")]
    Embedded(#[from] crate::sqlite::OpenError),
    /// PostgreSQL cannot be used.
    #[cfg(feature = "postgres")]
    #[error("PostgreSQL cannot be used")]
    Postgres(#[from] crate::postgres::OpenError),
    /// A store failed in the middle.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A server uses the embedded store.
    #[error("a server runs on {}: stop it first, and start none before this has ended", .0.display())]
    InUse(std::path::PathBuf),
    /// Servers use the PostgreSQL database.
    #[error(
        "{servers} on this database: stop all servers first, and start none before this has ended. One that was killed \
         counts for half a minute longer"
    )]
    ServersRun {
        /// "1 server runs".
        servers: String,
    },
    /// There is nothing to carry.
    #[error("there is no data in {0}: no server has worked on it yet")]
    Nothing(String),
    /// The schema is an older release's.
    #[error(
        "{place} has schema version {found}, and this program carries version {known}: start this release's server on it \
         once, stop it, and begin again"
    )]
    OldSchema {
        /// Which store.
        place: String,
        /// Its version.
        found: i64,
        /// This program's.
        known: i64,
    },
    /// The source is itself what a transfer left unfinished.
    #[error("an import into {0} was not finished, so there is nothing whole to carry: finish it first")]
    SourceUnfinished(String),
    /// The target holds rows.
    #[error(
        "{place} holds data (`{table}`), and rows are only carried into an empty store: name an empty one. A transfer that \
         has ended shows like this, too"
    )]
    NotEmpty {
        /// Which store.
        place: String,
        /// A table with rows.
        table: String,
    },
    /// The target is half full from another source, or from another state of it.
    #[error(
        "{0} holds an unfinished import of something else, or of an earlier state of the same: begin with an empty store"
    )]
    OtherSource(String),
    /// Somebody else carries rows into the same database.
    #[error("another import into this database is running: wait for its end")]
    Busy,
    /// What was carried is not what was there.
    #[error(
        "{carried} of {there} rows of `{kind}` were carried, so this is not a copy: nobody may write while it is made. If \
         nobody did, look at the source with `acquaint store check`"
    )]
    Counts {
        /// The kind.
        kind: &'static str,
        /// How many the source has.
        there: u64,
        /// How many the target has.
        carried: u64,
    },
    /// Bytes of rows that cannot be read.
    #[error("its rows cannot be read: {0}")]
    Unreadable(&'static str),
    /// A file of a release with more tables or columns.
    #[error("it was made by a newer release of this program: use that one, or a later one")]
    Newer,
    /// A file of a release whose rows this one cannot complete.
    #[error("it was made by an older release of this program: import it with that one, and update then")]
    Older,
    /// [`Watch`] ended it.
    #[error("stopped before the end: the same command goes on from here")]
    Ended,
    /// A value that nobody can carry.
    #[error("a value has 4 GiB or more")]
    TooLarge,
}

/// What rows are carried from. Nothing is written to it, and while it lives no server starts on an embedded one.
#[async_trait]
pub trait Source: Send {
    /// Bytes that differ when any row was written since: what a transfer is resumed by. Reads every row of PostgreSQL.
    async fn mark(&mut self) -> Result<Vec<u8>, TransferError>;

    /// How many rows there are of the kind with this index in [`KINDS`].
    async fn count(&mut self, kind: usize) -> Result<u64, TransferError>;

    /// The next rows of a kind behind the row with the key `after`, in order of keys; none at the end.
    async fn rows(&mut self, kind: usize, after: Option<&[Value]>) -> Result<Vec<Row>, TransferError>;

    /// A row's key, in this source.
    ///
    /// # Errors
    /// [`TransferError::Unreadable`] for a row of another kind.
    fn key(&self, kind: usize, row: &[Value]) -> Result<Vec<Value>, TransferError>;
}

/// What rows are carried into.
#[async_trait]
pub trait Sink: Send {
    /// Takes the store, if it is empty or holds what an interrupted transfer from the same `origin` left, and marks it.
    /// Where that one was: what it gave to [`put`](Self::put) last.
    async fn begin(&mut self, origin: &[u8]) -> Result<Option<Vec<u8>>, TransferError>;

    /// Puts rows of a kind and the new place, all or nothing, durably.
    async fn put(&mut self, kind: usize, rows: &[Row], place: &[u8]) -> Result<(), TransferError>;

    /// How many rows there are of a kind.
    async fn count(&mut self, kind: usize) -> Result<u64, TransferError>;

    /// Takes the mark away: it is a store like any other now.
    async fn finish(&mut self) -> Result<(), TransferError>;
}

/// The rows of [`KEYS`] as records, without those of retired epochs, whose keys may be destroyed.
///
/// # Errors
/// [`TransferError::Unreadable`] for rows of another kind.
pub fn key_records(rows: &[Row]) -> Result<Vec<KeyRecord>, TransferError> {
    let record = |row: &Row| match row.as_slice() {
        [Value::Text(purpose), Value::Whole(version), Value::Bytes(check), ..] => Ok(KeyRecord {
            purpose: purpose.clone(),
            version: u32::try_from(*version)
                .map_err(|_| TransferError::Unreadable("a key's version is out of range"))?,
            check: check.clone(),
        }),
        _ => Err(TransferError::Unreadable("a key's record is not of its form")),
    };
    let retired = |row: &&Row| matches!(row.get(3), Some(Value::Whole(state)) if *state >= RETIRED);
    rows.iter().filter(|row| !retired(row)).map(record).collect()
}

/// A row's columns at these indexes.
pub(crate) fn part(row: &[Value], columns: &[usize]) -> Result<Vec<Value>, TransferError> {
    let value = |at: &usize| row.get(*at).cloned();
    let values: Option<Vec<Value>> = columns.iter().map(value).collect();
    values.ok_or(TransferError::Unreadable("a row is too short"))
}
