//! Why a shard cannot be built, changed, saved or opened.

use std::path::PathBuf;

use acquaint_pir::{AnswerError, DatabaseError, DecodeError, Full, LookupError, TableError};

use super::Section;

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
    /// A head's epoch bytes or label are too long.
    #[error("the epoch bytes or the label of a shard have more than {0} bytes")]
    Name(usize),
    /// A head's epoch bytes are not those of the shard's configuration.
    #[error("the epoch bytes are not those that the shard's configuration was made of")]
    Epoch,
    /// The table does not hold what the owners say: a bug.
    #[error("the shard's table and its owners do not agree")]
    Inconsistent,
    /// The system refuses.
    #[error("the shard's file {} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{} is no file of a shard", .0.display())]
    Foreign(PathBuf),
    /// A program of another version made it.
    #[error("{} has version {version} of the format, which this program does not know: build it anew", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Others can write to it.
    #[error("{} can be written to by others, mode {mode:04o}: run `chmod 600 {}`", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is cut, or something stands behind it.
    #[error("{} has {found} bytes in place of {expected}: build it anew", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A checksum is wrong, or what stands there cannot be.
    #[error("{} is damaged in its {section}: build it anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        section: Section,
    },
    /// It is for another table: another OPRF key, epoch, layout or shape.
    #[error("{} is a shard of another configuration", .0.display())]
    OtherConfiguration(PathBuf),
    /// It is another shard.
    #[error("{} is another shard than the one that is wanted", .0.display())]
    OtherLabel(PathBuf),
    /// Whoever watched ended it.
    #[error("it was ended")]
    Ended,
    /// A query did not give what stands in the table.
    #[error("a query gave something else than what the table holds: the shard is damaged")]
    Wrong,
    /// The engine refuses a query of its own.
    #[error("the shard cannot be asked")]
    Asked(#[source] Box<dyn std::error::Error + Send + Sync>),
}

macro_rules! of_the_engine {
    ($($error:ty),+) => {
        $(impl From<$error> for ShardError {
            fn from(error: $error) -> Self {
                Self::Asked(error.into())
            }
        })+
    };
}
of_the_engine!(AnswerError, DatabaseError, DecodeError, LookupError);

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
