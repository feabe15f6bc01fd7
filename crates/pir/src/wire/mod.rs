//! What is sent, in bytes. Each message starts with a version and, but for answers, the name of what it belongs to; the
//! length of the rest follows from the parameters.
//!
//! | message | bytes |
//! |---|---|
//! | evaluation keys | version (1), [`Parameters::keys_id`] (16), seed (32), coefficients of all b modulo Q (50 bits each), of all b modulo q2 (27 bits each) |
//! | query | version (1), configuration id (16), seed (32), coefficients of b modulo Q (50 bits each): one for each row, then one for each digit of each selector |
//! | answer | version (1), coefficients of a (17 bits each), those of b that are asked for (13 bits each) |
//!
//! Coefficients are packed without gaps, the lowest bit first, and bits after the last are zero. The halves called a of
//! keys and queries follow from the seed (`sample.rs`): ciphertexts are numbered from 0 in the order in which they stand.
//!
//! Decoders look at version, name and length before anything else, and never panic. Whatever the bits of an answer are,
//! it decodes to something: only what a record carries itself can tell whether it is right.

mod bits;
#[cfg(test)]
mod tests;

pub(crate) use bits::{pack, packed_bytes, unpack};

use crate::parameters::{ANSWER_A_BITS, ANSWER_B_BITS, N, Parameters, Q_BITS, Q2_BITS, SMALL_N};

/// The version of all messages.
pub(crate) const VERSION: u8 = 1;
/// Version, name and seed.
pub(crate) const HEADER: usize = 1 + 16 + 32;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are too few bytes.
    #[error("the message is truncated")]
    Truncated,
    /// There are too many bytes.
    #[error("the message has too many bytes")]
    Oversized,
    /// It is of a version that is not known.
    #[error("the message is of an unknown version")]
    Version,
    /// A query is for other parameters or another epoch than the table's.
    #[error("the query is for another configuration or epoch")]
    Configuration,
    /// Evaluation keys are for other parameters.
    #[error("the evaluation keys are for other parameters")]
    Parameters,
    /// A coefficient is not below its modulus.
    #[error("a coefficient is out of range")]
    Range,
    /// Bits after the last coefficient are set.
    #[error("the message has bits set after its end")]
    Padding,
}

impl Parameters {
    /// Bytes of evaluation keys.
    #[must_use]
    pub fn keys_bytes(&self) -> usize {
        HEADER + self.large_keys_bytes() + packed_bytes(self.small_keys() * SMALL_N, Q2_BITS)
    }

    pub(crate) fn large_keys_bytes(&self) -> usize {
        packed_bytes(self.large_keys() * N, Q_BITS)
    }

    /// Bytes of a query.
    #[must_use]
    pub fn query_bytes(&self) -> usize {
        HEADER + packed_bytes(self.shape.rows + self.selector_coefficients(), Q_BITS)
    }

    /// Bytes of an answer.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        1 + packed_bytes(SMALL_N, ANSWER_A_BITS) + packed_bytes(self.answer_coefficients(), ANSWER_B_BITS)
    }

    /// Bytes that an answer hides.
    pub(crate) fn answer_coefficients(&self) -> usize {
        self.slot_bytes() * self.shape.answers
    }

    /// Which coefficient of the packed answer a byte of a lookup's slot is.
    pub(crate) fn answer_position(&self, lookup: usize, byte: usize) -> usize {
        byte * self.shape.slots / 2 + lookup
    }
}

/// A message taken apart: the seed, and what follows it.
///
/// # Errors
/// When version, name or length are not as told. `other_name` is the error for the name.
pub(crate) fn open<'a>(
    bytes: &'a [u8],
    name: &[u8; 16],
    other_name: DecodeError,
    length: usize,
) -> Result<(&'a [u8; 32], &'a [u8]), DecodeError> {
    let (version, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
    if *version != VERSION {
        return Err(DecodeError::Version);
    }
    let (found, rest) = rest.split_first_chunk::<16>().ok_or(DecodeError::Truncated)?;
    if found != name {
        return Err(other_name);
    }
    if bytes.len() < length {
        return Err(DecodeError::Truncated);
    }
    if bytes.len() > length {
        return Err(DecodeError::Oversized);
    }
    rest.split_first_chunk::<32>().ok_or(DecodeError::Truncated)
}

/// The start of a message, with room for the rest.
pub(crate) fn header(name: &[u8; 16], seed: &[u8; 32], length: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(length);
    message.push(VERSION);
    message.extend_from_slice(name);
    message.extend_from_slice(seed);
    message
}
