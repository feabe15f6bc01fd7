//! A table that is changed by keyword.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Full, Keyword, Placement, Position};
use crate::database::{Change, Database, DatabaseError, Storage};
use crate::server::Server;

/// Records by keyword. Queries read [`KeywordTable::database`] while keywords come and go.
pub struct KeywordTable {
    database: Database,
    placement: Mutex<Placement>,
    record_bytes: usize,
}

/// A record cannot be stored so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Its row has no room. Nothing has changed: the table must be divided.
    #[error(transparent)]
    Full(#[from] Full),
    /// It has another size than records of the table.
    #[error("a record has {0} bytes")]
    Record(usize),
    /// The placement is of another shape, or its entries do not fill a slot.
    #[error("the placement is of another shape than the table")]
    Placement,
    /// The table's storage does not fit it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl std::fmt::Debug for KeywordTable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeywordTable").field("placement", &*self.placement()).finish_non_exhaustive()
    }
}

impl KeywordTable {
    /// A table with the keywords of `placement`. `fill` writes the record of each over zeros, and what is to stand where
    /// there is none: to whoever reads a bucket, that should look like a record of somebody else.
    ///
    /// # Errors
    /// When placement or storage are not of the server's shape.
    pub fn build(
        server: &Server,
        storage: Box<dyn Storage>,
        placement: Placement,
        mut fill: impl FnMut(Option<&Keyword>, &mut [u8]),
    ) -> Result<Self, TableError> {
        let (shape, slot_bytes) = (placement.shape(), server.configuration().parameters().slot_bytes());
        let record_bytes = record_bytes(server, &placement)?;
        let database = Database::build(server, storage, |row, column, bytes| {
            for (slot, bytes) in bytes.chunks_exact_mut(slot_bytes).enumerate() {
                let keywords = placement.keywords(row, column * shape.slots + slot);
                for (keyword, bytes) in keywords.zip(bytes.chunks_exact_mut(record_bytes)) {
                    fill(keyword, bytes);
                }
            }
        })?;
        Ok(Self { database, placement: Mutex::new(placement), record_bytes })
    }

    /// A table that was stored: the words, and the placement restored.
    ///
    /// # Errors
    /// When placement or storage are not of the server's shape.
    pub fn open(
        server: &Server,
        storage: Box<dyn Storage>,
        placement: Placement,
    ) -> Result<Self, TableError> {
        let record_bytes = record_bytes(server, &placement)?;
        let database = Database::open(server, storage)?;
        Ok(Self { database, placement: Mutex::new(placement), record_bytes })
    }

    /// Shows words and placement as they belong together, to store them. Writers and new queries wait meanwhile.
    pub fn snapshot<R>(&self, store: impl FnOnce(&[u32], &Placement) -> R) -> R {
        let placement = self.placement();
        self.database.snapshot(|words| store(words, &placement))
    }

    /// What queries are answered from.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Keywords in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.placement().len()
    }

    /// Whether there is no keyword in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores a keyword's record, over the one that it has. Others may move: a query finds each either where it was or where
    /// it is, and never twice or not at all.
    ///
    /// # Errors
    /// When the keyword's row is full or the record has another size; then nothing has changed.
    pub fn put(&self, keyword: &Keyword, record: &[u8]) -> Result<(), TableError> {
        if record.len() != self.record_bytes {
            return Err(TableError::Record(self.record_bytes));
        }
        let mut placement = self.placement();
        let inserted = placement.insert(keyword)?;
        let mut moved = Vec::with_capacity(inserted.moves.len());
        for (from, to) in inserted.moves {
            let (column, slot) = self.place(&placement, from);
            let bytes = self.database.read(from.row, column, slot)?;
            let record: Vec<u8> =
                bytes.into_iter().skip(from.entry * self.record_bytes).take(self.record_bytes).collect();
            moved.push((to, record));
        }
        let mut changes: Vec<_> =
            moved.iter().map(|(to, record)| self.change(&placement, *to, record)).collect();
        changes.push(self.change(&placement, inserted.position, record));
        Ok(self.database.apply(&changes)?)
    }

    /// Removes a keyword and puts `vacant` where its record was. Whether there was one.
    ///
    /// # Errors
    /// When `vacant` has not the size of a record; then nothing has changed.
    pub fn remove(&self, keyword: &Keyword, vacant: &[u8]) -> Result<bool, TableError> {
        if vacant.len() != self.record_bytes {
            return Err(TableError::Record(self.record_bytes));
        }
        let mut placement = self.placement();
        let Some(position) = placement.remove(keyword) else { return Ok(false) };
        self.database.apply(&[self.change(&placement, position, vacant)])?;
        Ok(true)
    }

    fn change<'a>(&self, placement: &Placement, position: Position, bytes: &'a [u8]) -> Change<'a> {
        let (column, slot) = self.place(placement, position);
        Change { row: position.row, column, slot, offset: position.entry * self.record_bytes, bytes }
    }

    /// The column and the slot.
    fn place(&self, placement: &Placement, position: Position) -> (usize, usize) {
        let slots = placement.shape().slots;
        (position.bucket / slots, position.bucket % slots)
    }

    pub(super) fn placement(&self) -> MutexGuard<'_, Placement> {
        // Placement changes whole or not at all.
        self.placement.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The size of a record, if the placement is of the server's shape.
fn record_bytes(server: &Server, placement: &Placement) -> Result<usize, TableError> {
    let parameters = server.configuration().parameters();
    let record_bytes = parameters.slot_bytes().checked_div(placement.entries()).unwrap_or(0);
    let fits = placement.shape() == parameters.shape()
        && record_bytes > 0
        && record_bytes * placement.entries() == parameters.slot_bytes();
    if fits { Ok(record_bytes) } else { Err(TableError::Placement) }
}
