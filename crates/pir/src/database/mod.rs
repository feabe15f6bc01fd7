//! The table: records as polynomials, transformed, in the order in which queries read them.
//!
//! # Changes
//!
//! A changed record is one polynomial. Half of a polynomial's transform is no transform of small coefficients, and an answer
//! that met one would be noise whatever it asked for. So nobody writes to words that are being read. A change is put down
//! beside the words, as the difference to the polynomial that they hold, in a list that is replaced as a whole; a query
//! takes the list with the lock on the words, reads both, and adds the differences to its sums: it sees all of a
//! call's changes or none. Differences become part of the words when no query reads them, at the latest when
//! [`MOST_PENDING`] of them wait.

mod build;
mod scan;
mod storage;
#[cfg(test)]
mod tests;

pub use storage::Storage;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::parameters::{ConfigurationId, N, Q1};
use crate::ring::{Poly, from_signed, reduce_once};
use crate::server::{Server, Tables};

/// Changes that may wait to become part of the words. Then a writer waits for the queries that run.
///
/// Each costs a query some microseconds.
const MOST_PENDING: usize = 256;

/// The records of one configuration.
pub struct Database {
    tables: Arc<Tables>,
    words: RwLock<Box<dyn Storage>>,
    /// Only locked by who holds `words`.
    pending: Mutex<Arc<Vec<Arc<Difference>>>>,
}

/// A polynomial that is changed: the transform of what it is to be, less the transform that the words hold.
struct Difference {
    row: usize,
    column: usize,
    transform: Box<[u32; N]>,
}

/// New bytes for a slot or a part of it.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// From 0.
    pub row: usize,
    /// From 0.
    pub column: usize,
    /// From 0.
    pub slot: usize,
    /// Bytes of the slot before those that change.
    pub offset: usize,
    /// Bytes from there on, no more than the slot has.
    pub bytes: &'a [u8],
}

/// A table cannot be opened or changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The storage has another size.
    #[error("the table takes {expected} words, not {found}")]
    Storage {
        /// Words of 32 bits.
        expected: usize,
        /// Words of 32 bits.
        found: usize,
    },
    /// There is no such row, column or slot.
    #[error("there is no such place in the table")]
    Place,
    /// A change reaches beyond its slot.
    #[error("a slot has {0} bytes")]
    Bytes(usize),
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Database")
            .field("shape", &self.tables.parameters().shape)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// A table whose words were built before, by a server of the same configuration.
    ///
    /// # Errors
    /// When the storage has another size.
    pub fn open(server: &Server, storage: Box<dyn Storage>) -> Result<Self, DatabaseError> {
        let (expected, found) = (server.tables.parameters().table_words(), storage.words().len());
        if found != expected {
            return Err(DatabaseError::Storage { expected, found });
        }
        Ok(Self {
            tables: Arc::clone(&server.tables),
            words: RwLock::new(storage),
            pending: Mutex::new(Arc::new(Vec::new())),
        })
    }

    pub(crate) fn id(&self) -> ConfigurationId {
        self.tables.configuration.id()
    }

    /// The bytes of a slot.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn read(&self, row: usize, column: usize, slot: usize) -> Result<Vec<u8>, DatabaseError> {
        Ok(self.read_all(&[(row, column, slot)])?.concat())
    }

    /// The bytes of slots (row, column and slot of each) in one state of the table.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn read_all(&self, places: &[(usize, usize, usize)]) -> Result<Vec<Vec<u8>>, DatabaseError> {
        for (row, column, slot) in places {
            self.check(*row, *column, *slot)?;
        }
        let words = self.words();
        let pending = Arc::clone(&self.pending());
        let slots = self.tables.parameters().shape.slots;
        let read = places.iter().map(|(row, column, slot)| {
            let bytes = self.polynomial(words.words(), &pending, *row, *column);
            let mask = self.mask_of(*row, *column, *slot);
            bytes.iter().skip(*slot).step_by(slots).zip(mask).map(|(byte, mask)| byte ^ mask).collect()
        });
        Ok(read.collect())
    }

    /// Makes changes, all at once: a query sees all of them or none.
    ///
    /// # Errors
    /// When a change is for no place or reaches beyond its slot; then nothing is changed.
    pub fn apply(&self, changes: &[Change<'_>]) -> Result<(), DatabaseError> {
        let slot_bytes = self.tables.parameters().slot_bytes();
        for change in changes {
            self.check(change.row, change.column, change.slot)?;
            let end = change.offset.checked_add(change.bytes.len());
            if end.is_none_or(|end| end > slot_bytes) {
                return Err(DatabaseError::Bytes(slot_bytes));
            }
        }
        let waiting = {
            let words = self.words();
            let mut pending = self.pending();
            let mut list = Vec::clone(&pending);
            for change in changes {
                let difference = Arc::new(self.difference(words.words(), &list, change));
                let same =
                    |other: &&mut Arc<Difference>| (other.row, other.column) == (change.row, change.column);
                match list.iter_mut().find(same) {
                    Some(other) => *other = difference,
                    None => list.push(difference),
                }
            }
            *pending = Arc::new(list);
            pending.len()
        };
        if waiting >= MOST_PENDING {
            self.merge_into(&mut self.words.write().unwrap_or_else(PoisonError::into_inner));
        } else if let Ok(mut words) = self.words.try_write() {
            self.merge_into(&mut words);
        }
        Ok(())
    }

    /// Makes all changes part of the words, and shows these, to store them. It waits for the queries that run, and new ones
    /// wait for it.
    pub fn snapshot<R>(&self, store: impl FnOnce(&[u32]) -> R) -> R {
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        self.merge_into(&mut words);
        store(words.words())
    }

    fn merge_into(&self, words: &mut RwLockWriteGuard<'_, Box<dyn Storage>>) {
        let pending = std::mem::take(&mut *self.pending());
        let words = words.words_mut();
        for difference in pending.iter() {
            for (block, change) in difference.transform.as_chunks::<8>().0.iter().enumerate() {
                let at = self.at(block, difference.row, difference.column);
                if let Some(lanes) = words.get_mut(at..at + 8) {
                    for (word, change) in lanes.iter_mut().zip(change) {
                        *word = reduce_once(u64::from(*word) + u64::from(*change), Q1) as u32;
                    }
                }
            }
        }
    }

    /// What a change makes of its polynomial, as a difference to the words.
    fn difference(&self, words: &[u32], pending: &[Arc<Difference>], change: &Change<'_>) -> Difference {
        let Change { row, column, slot, offset, bytes } = *change;
        let mut polynomial = self.polynomial(words, pending, row, column);
        let slots = self.tables.parameters().shape.slots;
        let mask = self.mask_of(row, column, slot);
        let changed = polynomial.iter_mut().skip(slot).step_by(slots).zip(mask).skip(offset);
        for ((coefficient, mask), byte) in changed.zip(bytes) {
            *coefficient = byte ^ mask;
        }
        let new = self.transform(&polynomial);
        let mut old = Poly::ZERO;
        self.gather(words, row, column, &mut old);
        let mut transform = Box::new([0; N]);
        for ((out, new), old) in transform.iter_mut().zip(&new.0).zip(&old.0) {
            *out = reduce_once(new + Q1 - old, Q1) as u32;
        }
        Difference { row, column, transform }
    }

    /// The coefficients of a polynomial as bytes, masked.
    fn polynomial(
        &self,
        words: &[u32],
        pending: &[Arc<Difference>],
        row: usize,
        column: usize,
    ) -> Box<[u8; N]> {
        let mut poly = Box::new(Poly::ZERO);
        self.gather(words, row, column, &mut poly);
        if let Some(difference) = pending.iter().find(|other| (other.row, other.column) == (row, column)) {
            for (value, change) in poly.0.iter_mut().zip(difference.transform.iter()) {
                *value = reduce_once(*value + u64::from(*change), Q1);
            }
        }
        self.tables.kernel.inverse(&self.tables.table_ring, &mut poly);
        let mut bytes = Box::new([0; N]);
        for (byte, value) in bytes.iter_mut().zip(&poly.0) {
            // Negative ones stand for bytes from 128 on.
            *byte = if *value > Q1 / 2 { value.wrapping_sub(Q1) as u8 } else { *value as u8 };
        }
        bytes
    }

    /// The transform of bytes as signed coefficients.
    fn transform(&self, bytes: &[u8; N]) -> Box<Poly> {
        let mut poly = Box::new(Poly::ZERO);
        coefficients(bytes, &mut poly);
        self.tables.kernel.forward(&self.tables.table_ring, &mut poly);
        poly
    }

    fn gather(&self, words: &[u32], row: usize, column: usize, out: &mut Poly) {
        for (block, lanes) in out.0.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let at = self.at(block, row, column);
            for (lane, word) in lanes.iter_mut().zip(words.iter().skip(at)) {
                *lane = u64::from(*word);
            }
        }
    }

    /// The mask of a slot.
    fn mask_of(&self, row: usize, column: usize, slot: usize) -> Vec<u8> {
        let parameters = self.tables.parameters();
        let mask = self.tables.mask.polynomial(row + parameters.shape.rows * column);
        mask.iter().skip(slot * parameters.slot_bytes()).take(parameters.slot_bytes()).copied().collect()
    }

    /// Where eight coefficients of a polynomial stand. The rows of a column lie together, and the columns of a block.
    fn at(&self, block: usize, row: usize, column: usize) -> usize {
        let shape = self.tables.parameters().shape;
        ((block * shape.columns + column) * shape.rows + row) * 8
    }

    fn check(&self, row: usize, column: usize, slot: usize) -> Result<(), DatabaseError> {
        let shape = self.tables.parameters().shape;
        let there = row < shape.rows && column < shape.columns && slot < shape.slots;
        if there { Ok(()) } else { Err(DatabaseError::Place) }
    }

    fn words(&self) -> RwLockReadGuard<'_, Box<dyn Storage>> {
        // Nothing that holds a lock can panic half way through a change.
        self.words.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Arc<Vec<Arc<Difference>>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes as signed coefficients.
fn coefficients(bytes: &[u8; N], poly: &mut Poly) {
    for (value, byte) in poly.0.iter_mut().zip(bytes) {
        *value = from_signed(i64::from(byte.cast_signed()), Q1);
    }
}
