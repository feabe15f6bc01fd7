//! Looking records up by keyword: two buckets of one row may hold a record, and a query reads both.
//!
//! A keyword is 16 pseudorandom bytes (the output of an oblivious pseudorandom function, or a hash). It names a row and two
//! different buckets of it; a bucket is a slot, and holds some records. Since both are in one row, a query needs one
//! expansion and one pass over the table for both. Which of the records is the keyword's, if any, only their own bytes can
//! tell: a record should be sealed under a key of the keyword, or carry a tag.

mod placement;
mod table;
#[cfg(test)]
mod tests;

pub use placement::{Full, Inserted, Misplaced, Placement, Position};
pub use table::{KeywordTable, TableError};

use rand_core::CryptoRng;

use crate::client::{Lookup, Place};
use crate::parameters::Shape;

/// Pseudorandom bytes that stand for what is looked up.
#[derive(Clone, Copy)]
pub struct Keyword([u8; 16]);

impl std::fmt::Debug for Keyword {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keyword")
    }
}

impl Keyword {
    /// The bytes must be uniform, and nobody must be able to choose keywords by the positions that they give. Of ten
    /// million keywords two are the same with a probability of 2^-82.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes: whoever stores a placement stores them. They are as secret as what they stand for.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// One that stands for nothing: what a client asks for where it has nothing to ask for.
    pub fn random(random: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 16];
        random.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// What a client asks for. The shape has two answers; of others the lookup is refused when a query is made of it.
    #[must_use]
    pub fn lookup(&self, shape: Shape) -> Lookup {
        let (row, buckets) = self.candidates(shape);
        let place = |bucket| Place { column: bucket / shape.slots, slot: bucket % shape.slots };
        Lookup { row, places: buckets.map(place).to_vec() }
    }

    /// The row, and two different buckets of it (unless there is but one).
    fn candidates(&self, shape: Shape) -> (usize, [usize; 2]) {
        let number = |from: usize, bytes: usize| {
            let bytes = self.0.iter().skip(from).take(bytes).rev();
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        // Rows and buckets are so few that the remainders below are uniform but for less than 2^-20.
        let [row, first, second] = [number(0, 4), number(4, 6), number(10, 6)];
        let buckets = (shape.columns * shape.slots) as u64;
        let first = first % buckets;
        // Another than the first, each with the same probability.
        let second = (first + 1 + second % (buckets - 1).max(1)) % buckets;
        ((row % shape.rows as u64) as usize, [first as usize, second as usize])
    }
}
