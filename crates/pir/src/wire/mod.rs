//! What is sent, in bytes. Each message starts with a version and, but for answers, the name of what it belongs to; the
//! length of the rest follows from the parameters.
//!
//! | message | bytes |
//! |---|---|
//! | evaluation keys | version (1), [`Parameters::keys_id`] (16), seed (32), coefficients of all b modulo Q (50 bits each), of all b modulo q2 (27 bits each) |
//! | query | version (1), configuration id (16), seed (32), coefficients of b modulo Q without their lowest 13 bits (37 bits each): one for each row of each lookup, then one for each digit of each selector of each lookup |
//! | answer | version (1), for each ciphertext: coefficients of a (16 to 18 bits each), those of b that are asked for (10 to 14 bits each) |
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

use crate::parameters::{N, Parameters, Q_BITS, Q2_BITS, QUERY_BITS, SMALL_N};

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
        HEADER + packed_bytes(self.row_coefficients() + self.selector_coefficients(), QUERY_BITS)
    }

    /// Bytes of an answer.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        1 + self.answer_ciphertexts() * (self.answer_a_bytes() + self.answer_b_bytes())
    }

    /// Of one ciphertext of an answer, the half a.
    pub(crate) fn answer_a_bytes(&self) -> usize {
        packed_bytes(SMALL_N, self.bits.a)
    }

    /// Of one ciphertext of an answer, the half b.
    pub(crate) fn answer_b_bytes(&self) -> usize {
        packed_bytes(self.slot_bytes() * self.packed(), self.bits.b)
    }

    /// Which coefficient of a packed ciphertext a byte of one of its slots is.
    pub(crate) fn answer_position(&self, slot: usize, byte: usize) -> usize {
        byte * self.shape.slots / 2 + slot
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
