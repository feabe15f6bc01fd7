//! What becomes of an OPRF output: where its listing is, and the key that opens it.

mod answer;
mod filler;

pub use answer::{AnswerError, AnswerShape, Buckets, HEADER_BYTES};
pub use filler::Filler;

use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::oprf::Output;

/// Bytes that sealing adds to an account's name.
pub const TAG_BYTES: usize = 16;

/// Most bits of a location that name a bucket.
pub const MAX_PREFIX_BITS: u8 = 32;

const SALT: &[u8] = b"acquaint bucket v1";

/// What keys are good for: one epoch of one profile of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    bytes: Vec<u8>,
}

/// A provider's or a profile's name is empty or over 255 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the names of a provider and of a profile are 1 to 255 bytes")]
pub struct ScopeError;

impl Scope {
    /// The epoch `epoch` of the profile `profile` of the provider `provider`.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn new(provider: &str, profile: &str, epoch: u32) -> Result<Self, ScopeError> {
        let mut bytes = Vec::with_capacity(provider.len() + profile.len() + 6);
        for name in [provider, profile] {
            bytes.push(length(name)?);
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.extend_from_slice(&epoch.to_be_bytes());
        Ok(Self { bytes })
    }

    /// As it stands in what is derived.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// `len8` of docs/protocol/directory.md.
pub(crate) fn length(name: &str) -> Result<u8, ScopeError> {
    u8::try_from(name.len()).ok().filter(|length| *length > 0).ok_or(ScopeError)
}

/// Where an identifier's listing is and what opens it, in one scope. Overwritten when it goes, and never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    location: u64,
    entry: [u8; 32],
}

/// Why an account's name cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It has more bytes than entries have.
    #[error("the account's name is longer than the directory's entries")]
    TooLong,
    /// It is empty, or holds a 0x00, which fills entries up.
    #[error("the account's name is empty or holds a zero byte")]
    NotAName,
}

impl Keys {
    /// The keys that `output` gives in `scope`.
    #[must_use]
    pub fn derive(scope: &Scope, output: &Output) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(SALT), output.as_bytes());
        let (mut location, mut entry) = (Zeroizing::new([0; 8]), [0; 32]);
        // HKDF fails for outputs of over 8160 bytes alone (RFC 5869, section 2.3).
        let _ = hkdf.expand_multi_info(&[b"location\0", &scope.bytes], &mut *location);
        let _ = hkdf.expand_multi_info(&[b"entry key\0", &scope.bytes], &mut entry);
        let keys = Self { location: u64::from_be_bytes(*location), entry };
        entry.zeroize();
        keys
    }

    /// Keys that were kept.
    #[must_use]
    pub fn from_parts(location: u64, entry: [u8; 32]) -> Self {
        Self { location, entry }
    }

    /// Where the listing is. A secret: all of it names the identifier to whoever holds the OPRF's key.
    #[must_use]
    pub fn location(&self) -> u64 {
        self.location
    }

    /// What opens the listing.
    #[must_use]
    pub fn entry_key(&self) -> &[u8; 32] {
        &self.entry
    }

    /// The bucket of this location.
    #[must_use]
    pub fn prefix(&self, bits: u8) -> u32 {
        prefix(self.location, bits)
    }
}

/// The first `bits` bits of a location, as an integer; 0 for no bits. Over [`MAX_PREFIX_BITS`] it is that many.
#[must_use]
pub fn prefix(location: u64, bits: u8) -> u32 {
    let bits = u32::from(bits.min(MAX_PREFIX_BITS));
    let prefix = location.checked_shr(u64::BITS - bits).unwrap_or(0);
    u32::try_from(prefix).unwrap_or(u32::MAX)
}

/// An account's name as it stands in a bucket: `account_bytes` and [`TAG_BYTES`].
///
/// # Errors
/// See [`SealError`].
pub fn seal_entry(keys: &Keys, account: &str, account_bytes: u16) -> Result<Vec<u8>, SealError> {
    let bytes = usize::from(account_bytes);
    if account.is_empty() || account.contains('\0') {
        return Err(SealError::NotAName);
    }
    if account.len() > bytes {
        return Err(SealError::TooLong);
    }
    let mut slot = Vec::with_capacity(bytes + TAG_BYTES);
    slot.extend_from_slice(account.as_bytes());
    slot.resize(bytes, 0);
    let tag = cipher(keys).encrypt_inout_detached(&Nonce::from(NONCE), &[], slot.as_mut_slice().into());
    // AES-GCM-SIV fails for over 64 GiB alone (RFC 8452, section 4), and a name is below 64 KiB.
    let tag = tag.map_err(|_| SealError::TooLong)?;
    slot.extend_from_slice(&tag);
    Ok(slot)
}

/// The account's name, if these are the keys of this slot.
#[must_use]
pub fn open_entry(keys: &Keys, slot: &[u8]) -> Option<String> {
    let (sealed, tag) = slot.split_last_chunk::<TAG_BYTES>()?;
    open(&cipher(keys), sealed, tag)
}

/// The first name among the slots of one bucket that these keys open.
#[must_use]
pub fn open_bucket<'a>(keys: &Keys, slots: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let cipher = cipher(keys);
    slots.into_iter().find_map(|slot| {
        let (sealed, tag) = slot.split_last_chunk::<TAG_BYTES>()?;
        open(&cipher, sealed, tag)
    })
}

/// One key seals one listing, and the mode stands a nonce that comes twice (RFC 8452, section 1).
const NONCE: [u8; 12] = [0; 12];

fn cipher(keys: &Keys) -> Aes256GcmSiv {
    Aes256GcmSiv::new(&keys.entry.into())
}

fn open(cipher: &Aes256GcmSiv, sealed: &[u8], tag: &[u8; TAG_BYTES]) -> Option<String> {
    let mut name = sealed.to_vec();
    cipher
        .decrypt_inout_detached(&Nonce::from(NONCE), &[], name.as_mut_slice().into(), &Tag::from(*tag))
        .ok()?;
    let end = name.iter().rposition(|byte| *byte != 0)?;
    name.truncate(end + 1);
    String::from_utf8(name).ok().filter(|name| !name.contains('\0'))
}

#[cfg(test)]
mod tests;
