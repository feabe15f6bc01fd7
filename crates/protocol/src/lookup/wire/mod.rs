//! What crosses the wire, in bytes (docs/protocol/lookup.md; docs/protocol/lookup.json has the layouts for machines).
//!
//! Decoders look at the length before they believe a number, and borrow what may be long: nothing is made as large as a
//! message says. Errors name the field.

mod oprf;
mod query;
mod reader;

pub use oprf::{MAX_ELEMENTS, OprfAnswer, OprfRequest};
pub use query::{ANSWER_HEADER_BYTES, AnswerHeader, QUERY_HEADER_BYTES, QueryHeader, QueryRequest};

use sha2::{Digest, Sha256};

use reader::Reader;

/// The version of all messages here.
pub const VERSION: u8 = 1;

/// What names a request: who sends the same again under it is not charged again.
pub type RequestId = [u8; 16];

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends before or in this field.
    #[error("the message ends before the end of `{0}`")]
    Truncated(&'static str),
    /// There are bytes behind the last field.
    #[error("the message has bytes behind `{0}`, which is its last field")]
    Trailing(&'static str),
    /// It is of another version.
    #[error("`version` is not 1")]
    Version,
    /// A field has a value that it cannot have.
    #[error("`{field}` is not {expected}")]
    Value {
        /// Which.
        field: &'static str,
        /// What it can be.
        expected: &'static str,
    },
}

/// What names evaluation keys: the first 16 bytes of SHA-256 of the message.
#[must_use]
pub fn keys_id(message: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(message).into();
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
    id
}

/// The answer to evaluation keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeysAnswer {
    /// [`keys_id`] of the message.
    pub id: [u8; 16],
    /// When they are forgotten at the latest, in Unix seconds.
    pub expires_at: u64,
}

/// Bytes of a [`KeysAnswer`].
pub const KEYS_ANSWER_BYTES: usize = 25;

impl KeysAnswer {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(KEYS_ANSWER_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&self.expires_at.to_be_bytes());
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes)?;
        let answer = Self { id: reader.array("keys id")?, expires_at: reader.u64("expires_at")? };
        reader.end("expires_at")?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
