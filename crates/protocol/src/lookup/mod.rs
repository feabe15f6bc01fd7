//! Private lookup (docs/protocol/lookup.md): from an identifier to an account, and the server learns neither.
//!
//! A client makes an [`input`] of the identifier, and of that an output: with the server's [OPRF](crate::oprf) in mode `psm`,
//! by a plain hash ([`pir_output`]) in mode `pir`. From the output follow the shard, the keyword under which the record stands
//! in the shard's table, and what opens it ([`Keys`]). The table is read with the engine of `acquaint-pir`, of which nothing is
//! here: [`parameters`] say what table it is, and [`wire`] is what carries its keys, queries and answers.

mod keys;
pub mod parameters;
mod record;
pub mod wire;

pub use crate::bucket::sealed::Scope;
pub use keys::{Keys, input, pir_output, shard_of};
pub use record::{
    CONTENT_BYTES, RECORD_BYTES, RecordError, find_record, most_account_bytes, open_record, seal_record,
};

/// Records of a slot.
pub const SLOT_RECORDS: usize = 4;

/// Bytes of a slot.
pub const SLOT_BYTES: usize = SLOT_RECORDS * RECORD_BYTES;

/// Slots of a polynomial of the table (`Shape::slots` of `acquaint-pir`).
pub const SLOTS: usize = 4;

/// Slots of a polynomial of a batch table: of 256 bytes, two records each.
pub const BATCH_SLOTS: usize = 8;

/// Slots that a query reads (`Shape::answers` of `acquaint-pir`).
pub const ANSWERS: usize = 2;

/// Who can read what stands beside a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Private set membership: nobody. Keywords are outputs of an OPRF, of which each is charged, and records are sealed.
    Psm,
    /// Private information retrieval: whoever asks. Keywords are plain hashes, and records stand in clear.
    Pir,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Psm, Self::Pir];

    /// As it is written in a request.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Psm => 0,
            Self::Pir => 1,
        }
    }

    /// From its number in a request.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.number() == number)
    }

    /// Its name as a profile, in parameters and in a [`Scope`].
    #[must_use]
    pub const fn profile(self) -> &'static str {
        match self {
            Self::Psm => "psm",
            Self::Pir => "pir",
        }
    }

    /// From the name of its profile.
    #[must_use]
    pub fn from_profile(profile: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.profile() == profile)
    }
}

/// What a query reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A shard's table.
    Shard,
    /// A shard's batch tables, one of which holds a part of its records.
    Batch,
}

impl Kind {
    /// As it is written in a request.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Shard => 0,
            Self::Batch => 1,
        }
    }

    /// From its number in a request.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Shard, Self::Batch].into_iter().find(|kind| kind.number() == number)
    }
}

#[cfg(test)]
mod tests;
