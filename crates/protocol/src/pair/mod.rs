//! From two identifiers to a pair hash: "Canonical bytes, version 1".
//!
//! 1. [`Pair`]: both identifiers sorted bytewise, joined by one 0x00 byte.
//! 2. [`Stretched`]: Argon2id of the pair, with the [`StretchPepper`] where a salt would stand, at the cost of a [`Suite`]
//!    (computed by the crate `acquaint-stretch`).
//! 3. [`PairHash`]: HMAC-SHA-256 of that under a key that lives in an HSM ([`pair_hash_with_key`] is for software
//!    custody and for vectors).
//!
//! The pair hash is the same for both people; [`order_bit`] tells who submitted it. Everything that the hash depends on
//! is one [`Epoch`].

mod epoch;
mod hash;
mod suite;
#[cfg(test)]
mod tests;

pub use epoch::{Canonicalisation, Epoch, EpochId};
pub use hash::{PairHash, StretchPepper, Stretched, pair_hash_with_key};
pub use suite::Suite;

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::identifier::Sii;

/// Joins identifiers: no identifier holds a byte below 0x21.
const SEPARATOR: &[u8] = &[0];

/// Two different identifiers, sorted bytewise and joined by one 0x00 byte: the same for (a, b) and (b, a).
///
/// Overwritten when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Pair(Vec<u8>);

/// Both identifiers are one: nobody is their own contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pair takes two different identifiers")]
pub struct SameIdentifier;

impl Pair {
    /// The pair of two people's identifiers, in either order.
    ///
    /// # Errors
    /// [`SameIdentifier`] if they are one.
    pub fn new(a: &Sii, b: &Sii) -> Result<Self, SameIdentifier> {
        let (low, high) = match a.cmp(b) {
            std::cmp::Ordering::Less => (a, b),
            std::cmp::Ordering::Equal => return Err(SameIdentifier),
            std::cmp::Ordering::Greater => (b, a),
        };
        Ok(Self([low.as_bytes(), SEPARATOR, high.as_bytes()].concat()))
    }

    /// The joined bytes: Argon2id's password.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(redacted)")
    }
}

/// Which of the two people submitted the pair: SHA-256(submitter ‖ 0x00 ‖ contact) > SHA-256(contact ‖ 0x00 ‖
/// submitter), digests compared bytewise.
///
/// The other person's bit is the opposite one. For two equal identifiers it is `false`; those make no pair.
#[must_use]
pub fn order_bit(submitter: &Sii, contact: &Sii) -> bool {
    let digest = |first: &Sii, second: &Sii| {
        Sha256::new()
            .chain_update(first.as_bytes())
            .chain_update(SEPARATOR)
            .chain_update(second.as_bytes())
            .finalize()
    };
    digest(submitter, contact) > digest(contact, submitter)
}
