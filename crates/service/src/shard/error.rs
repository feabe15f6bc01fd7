//! Why a shard cannot be built, changed, saved or opened.

use acquaint_pir::{Full, TableError};

/// A shard cannot be built, changed, saved or opened so. It tells nothing of what is stored.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// A row has no room for a record. Nothing has changed.
    #[error("the shard has no room for another record: the directory must be divided into more shards")]
    Full,
    /// Tables of this shape hold no records of 128 bytes in two slots for each query.
    #[error("the shape is not one of a shard: it needs slots of 128 bytes or more, and two answers")]
    Shape,
    /// The table refuses.
    #[error(transparent)]
    Table(TableError),
    /// There is not enough memory. None was taken.
    #[error("the shard takes {} MiB of memory and {} MiB are free", needed.div_ceil(1 << 20), available >> 20)]
    Memory {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that the machine and the control group have left.
        available: u64,
    },
    /// The system gives no memory.
    #[error("the system gives no memory for the shard")]
    Unavailable(#[source] std::io::Error),
}

impl From<TableError> for ShardError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Full(Full) => Self::Full,
            other => Self::Table(other),
        }
    }
}

impl From<Full> for ShardError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}
