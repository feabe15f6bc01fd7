//! Shards: what a server keeps in memory for a part of the directory in private lookup.
//!
//! A shard is a table of `acquaint-pir` by keyword, and who owns each record. A listing comes and goes by its owner
//! number, because whoever removes one no longer knows the identifier that its keyword was made of. Queries read
//! [`Shard::database`] while records come and go.
//!
//! | bytes | for each |
//! |---|---|
//! | 512 | place: four times the record, as `acquaint-pir` holds it |
//! | 17 | place: its keyword |
//! | up to 43 | record: its owner |
//!
//! At 8 records on 9 places that is less than five times the record.
//!
//! A shard is saved to a file ([`Shard::save`]; the format is in `format.rs`) and opened by mapping it ([`Shard::open`]).

mod check;
mod error;
mod format;
mod limits;
mod map;
mod open;
mod owners;
mod save;
#[cfg(test)]
mod tests;

pub use check::{Verified, verify};
pub use error::ShardError;
pub use format::{Head, Section};
pub use limits::{available_memory, check_memory, memory_needed, memory_to_build};
pub use map::anonymous;
pub use open::{Stat, Watch, stat};

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use acquaint_pir::{Configuration, Database, Keyword, KeywordTable, Placement, Server, Storage};

use owners::Owners;

/// Bytes of a record (docs/protocol/lookup.md).
pub const RECORD_BYTES: usize = 128;

/// A record, sealed or in clear as the mode wants it.
pub type Record = [u8; RECORD_BYTES];

/// 64 bits that stand for a listing (a piece of its id), by which its record is removed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub u64);

impl std::fmt::Debug for Owner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Owner")
    }
}

/// Records of a part of the directory, to be looked up without the server learning which.
pub struct Shard {
    table: KeywordTable,
    /// Whoever changes the table holds this first.
    owners: Mutex<Owners>,
    configuration: Configuration,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shard").field("records", &self.len()).finish_non_exhaustive()
    }
}

impl Shard {
    /// A shard of these records, in `memory` of the table's size ([`anonymous`]). What comes later replaces what came
    /// before, as [`Shard::put`] does. `vacant` writes what stands where there is no record: to whoever reads it, that
    /// should look like a record of somebody else.
    ///
    /// The records stand in memory a second time until it is done ([`memory_to_build`]).
    ///
    /// # Errors
    /// [`ShardError::Full`] when a row has no room for one of its records, and when memory or server are of another shape.
    pub fn build(
        server: &Server,
        memory: Box<dyn Storage>,
        records: impl Iterator<Item = (Owner, Keyword, Record)>,
        mut vacant: impl FnMut(&mut Record),
    ) -> Result<Self, ShardError> {
        let configuration = server.configuration().clone();
        let mut placement = empty_placement(&configuration)?;
        let mut owners = Owners::default();
        let mut held: Vec<Record> = Vec::with_capacity(records.size_hint().0);
        let mut numbers: HashMap<[u8; 16], usize> = HashMap::with_capacity(records.size_hint().0);
        for (owner, keyword, record) in records {
            let moved_from = owners.held(owner).filter(|former| former != keyword.as_bytes());
            if let Some(former) = moved_from {
                placement.remove(&Keyword::new(former));
                numbers.remove(&former);
            }
            placement.insert(&keyword)?;
            let was_there = numbers.insert(*keyword.as_bytes(), held.len()).is_some();
            owners.assign(owner, *keyword.as_bytes(), was_there);
            held.push(record);
        }
        owners.compact();
        let table = KeywordTable::build(server, memory, placement, |keyword, bytes| {
            let record = keyword.and_then(|keyword| held.get(*numbers.get(keyword.as_bytes())?));
            let mut filled = [0; RECORD_BYTES];
            match record {
                Some(record) => filled = *record,
                None => vacant(&mut filled),
            }
            bytes.copy_from_slice(&filled);
        })?;
        Ok(Self { table, owners: Mutex::new(owners), configuration })
    }

    /// Stores an owner's record in place of the one that it had, also when its keyword changed: then `vacant` stands where
    /// that one was, and until that a query can find both. A keyword that belongs to another owner is taken over: it is
    /// that owner's no more.
    ///
    /// # Errors
    /// [`ShardError::Full`] when the keyword's row has no room. Then nothing has changed: the directory must be divided into
    /// more shards.
    pub fn put(
        &self,
        owner: Owner,
        keyword: &Keyword,
        record: &Record,
        vacant: &Record,
    ) -> Result<(), ShardError> {
        let mut owners = self.owners();
        let former = owners.held(owner).filter(|former| former != keyword.as_bytes());
        let before = self.table.len();
        self.table.put(keyword, record)?;
        // Nobody else changes the table meanwhile.
        let was_there = self.table.len() == before;
        if let Some(former) = former {
            self.table.remove(&Keyword::new(former), vacant)?;
        }
        owners.assign(owner, *keyword.as_bytes(), was_there);
        Ok(())
    }

    /// Removes an owner's record, and puts `vacant` where it was. Whether it had one.
    ///
    /// # Errors
    /// None is known: it is for what the table may refuse.
    pub fn remove(&self, owner: Owner, vacant: &Record) -> Result<bool, ShardError> {
        let mut owners = self.owners();
        if let Some(keyword) = owners.held(owner) {
            self.table.remove(&Keyword::new(keyword), vacant)?;
        }
        Ok(owners.remove(owner))
    }

    /// Records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places for records. Rows are filled by chance, so that about 93 of 100 are used when the first row is full.
    #[must_use]
    pub fn capacity(&self) -> usize {
        limits::places(self.configuration.parameters().shape())
    }

    /// What queries are answered from. Change it by [`Shard::put`] and [`Shard::remove`] alone.
    #[must_use]
    pub fn database(&self) -> &Database {
        self.table.database()
    }

    /// The memory that it takes now, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        limits::memory_of(self.configuration.parameters().shape(), self.owners().len())
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        // Each change of the owners is one that cannot panic half way.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No records yet, in slots that hold a whole number of them.
fn empty_placement(configuration: &Configuration) -> Result<Placement, ShardError> {
    let parameters = configuration.parameters();
    let entries = parameters.slot_bytes() / RECORD_BYTES;
    if entries == 0 || parameters.shape().answers != 2 {
        return Err(ShardError::Shape);
    }
    Ok(Placement::new(parameters.shape(), entries))
}
