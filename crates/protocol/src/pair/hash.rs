use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// SHA-256's block, in bytes (FIPS 180-4).
const BLOCK: usize = 64;

/// The secret that stands where Argon2id has its salt: one for all pairs of an epoch, or pairs would not match.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StretchPepper([u8; 32]);

impl StretchPepper {
    /// Takes 32 random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for StretchPepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StretchPepper(redacted)")
    }
}

/// What Argon2id made of a pair or of one identifier: 32 bytes that whoever has the pepper can guess from.
///
/// On its way to custody only; never stored, never printed, overwritten when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Stretched([u8; 32]);

impl Stretched {
    /// Takes Argon2id's output.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes: the message of custody's HMAC.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Stretched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stretched(redacted)")
    }
}

/// What stands for a pair in the store: HMAC-SHA-256(key of the epoch, stretched pair), 32 bytes.
///
/// Without the key it says nothing about the pair, but it links rows: it is never printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairHash([u8; 32]);

impl PairHash {
    /// Takes custody's or the store's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PairHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairHash(redacted)")
    }
}

/// HMAC-SHA-256 of a stretched pair under a key in plain memory: for software custody and for vectors. An HSM does the
/// same with a key that never leaves it.
#[must_use]
pub fn pair_hash_with_key(key: &[u8; 32], stretched: &Stretched) -> PairHash {
    // RFC 2104, section 2: a key shorter than a block is padded with zeroes. Doing so here leaves no error to handle.
    let mut block = [0; BLOCK];
    block[..key.len()].copy_from_slice(key);
    let tag = Hmac::<Sha256>::new(&block.into()).chain_update(stretched.as_bytes()).finalize();
    block.zeroize();
    PairHash(tag.into_bytes().into())
}
