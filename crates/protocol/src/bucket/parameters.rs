//! What a provider publishes and signs: the key of an epoch, and the sizes of buckets.

use std::fmt;

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::sealed::{MAX_PREFIX_BITS, Scope, ScopeError, TAG_BYTES, length};
use super::{Bytes, SEALED};
use crate::oprf::PublicKey;

/// Seconds that a server's clock may be ahead of a client's.
pub const CLOCK_SKEW_S: u64 = 300;

const LABEL: &[u8] = b"acquaint bucket parameters v1\0";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Who runs the directory; 1 to 255 bytes.
    pub provider: String,
    /// `sealed-buckets`.
    pub profile: String,
    /// Which OPRF key: a higher one is newer.
    pub epoch: u32,
    /// Which sizes of buckets: a higher one is newer.
    pub layout: u32,
    /// Bits of a location that name a bucket, 0 to 32.
    pub prefix_bits: u8,
    /// Slots of each bucket.
    pub slots: u16,
    /// Bytes of an account's name in an entry, filled up.
    pub account_bytes: u16,
    /// Elements, and prefixes, that one request may have.
    pub max_batch: u16,
    /// The epoch's public key.
    pub oprf_public_key: Bytes<32>,
    /// When they were signed, in Unix seconds.
    pub issued_at: u64,
    /// From when on they are not good any more, in Unix seconds.
    pub expires_at: u64,
}

/// What a provider publishes: terms, and its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// What is signed.
    #[serde(flatten)]
    pub terms: Terms,
    /// Whose signature it is: the Ed25519 key that clients pin.
    pub signing_key: Bytes<32>,
    /// Ed25519 (RFC 8032) over [`Terms::signed_bytes`].
    pub signature: Bytes<64>,
}

/// Why parameters are not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParametersError {
    /// They are signed by another key than the pinned one.
    #[error("the parameters are signed by another key than the pinned one")]
    OtherKey,
    /// The signature is not one of this key over these parameters.
    #[error("the signature of the parameters is wrong")]
    Signature,
    /// They are over.
    #[error("the parameters have expired")]
    Expired,
    /// They begin in the future: one of the two clocks is wrong.
    #[error("the parameters are of the future: is the clock right?")]
    NotYetValid,
    /// They are of another profile.
    #[error("the parameters are of another profile than was asked for")]
    OtherProfile,
    /// A name is empty or over 255 bytes, or a number is 0 or beyond what an answer can have.
    #[error("the parameters have a size that cannot be")]
    Sizes,
}

impl Terms {
    /// What the signature is over (docs/protocol/directory.md, "Parameters").
    ///
    /// # Errors
    /// [`ScopeError`] for names of no or over 255 bytes.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, ScopeError> {
        let Self {
            provider,
            profile,
            epoch,
            layout,
            prefix_bits,
            slots,
            account_bytes,
            max_batch,
            oprf_public_key,
            issued_at,
            expires_at,
        } = self;
        let mut bytes = LABEL.to_vec();
        for name in [provider, profile] {
            bytes.push(length(name)?);
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.extend_from_slice(&epoch.to_be_bytes());
        bytes.extend_from_slice(&layout.to_be_bytes());
        bytes.push(*prefix_bits);
        for size in [slots, account_bytes, max_batch] {
            bytes.extend_from_slice(&size.to_be_bytes());
        }
        bytes.extend_from_slice(&oprf_public_key.0);
        bytes.extend_from_slice(&issued_at.to_be_bytes());
        bytes.extend_from_slice(&expires_at.to_be_bytes());
        Ok(bytes)
    }

    /// Signs them.
    ///
    /// # Errors
    /// [`ScopeError`] for names of no or over 255 bytes.
    pub fn sign(self, key: &SigningKey) -> Result<Parameters, ScopeError> {
        let signature = key.sign(&self.signed_bytes()?);
        Ok(Parameters { terms: self, signing_key: Bytes(key.public()), signature })
    }

    /// What the epoch's keys are good for.
    ///
    /// # Errors
    /// [`ScopeError`] for names of no or over 255 bytes.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        Scope::new(&self.provider, &self.profile, self.epoch)
    }

    /// What proofs are checked with.
    #[must_use]
    pub fn oprf_key(&self) -> PublicKey {
        PublicKey(self.oprf_public_key.0)
    }

    /// Bytes of a slot; `None` if an answer cannot have such slots.
    #[must_use]
    pub fn slot_bytes(&self) -> Option<u16> {
        self.account_bytes.checked_add(u16::try_from(TAG_BYTES).ok()?)
    }

    fn has_possible_sizes(&self) -> bool {
        let Self { prefix_bits, slots, account_bytes, max_batch, .. } = self;
        *prefix_bits <= MAX_PREFIX_BITS
            && ![slots, account_bytes, max_batch].into_iter().any(|size| *size == 0)
            && self.slot_bytes().is_some()
    }
}

impl Parameters {
    /// Whether they are those of the provider whose key is `pinned`, and good at `now`, in Unix seconds. That the epoch is
    /// not an older one, and its key the one that was seen before, is for whoever remembers those.
    ///
    /// # Errors
    /// See [`ParametersError`].
    pub fn verify(&self, pinned: &[u8; 32], now: u64) -> Result<(), ParametersError> {
        let signed = self.terms.signed_bytes().map_err(|_| ParametersError::Sizes);
        check_signature((&self.signing_key, &self.signature), pinned, signed)?;
        if self.terms.profile != SEALED {
            return Err(ParametersError::OtherProfile);
        }
        if !self.terms.has_possible_sizes() {
            return Err(ParametersError::Sizes);
        }
        check_time(self.terms.issued_at, self.terms.expires_at, now)
    }
}

/// Whether `signed` was signed with the pinned key.
pub(crate) fn check_signature(
    (key, signature): (&Bytes<32>, &Bytes<64>),
    pinned: &[u8; 32],
    signed: Result<Vec<u8>, ParametersError>,
) -> Result<(), ParametersError> {
    if key.0 != *pinned {
        return Err(ParametersError::OtherKey);
    }
    let key = VerifyingKey::from_bytes(pinned).map_err(|_| ParametersError::Signature)?;
    key.verify_strict(&signed?, &Signature::from_bytes(&signature.0)).map_err(|_| ParametersError::Signature)
}

/// Whether parameters are good at `now`; all three in Unix seconds.
pub(crate) fn check_time(issued_at: u64, expires_at: u64, now: u64) -> Result<(), ParametersError> {
    if now >= expires_at {
        return Err(ParametersError::Expired);
    }
    if now.saturating_add(CLOCK_SKEW_S) < issued_at {
        return Err(ParametersError::NotYetValid);
    }
    Ok(())
}

/// A provider's key for parameters: Ed25519. Overwritten when it goes, and never printed.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// From 32 random bytes (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// What clients pin.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Bytes<64> {
        Bytes(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

#[cfg(test)]
mod tests;
