//! What crosses the wire, and what comes out.

use std::fmt;

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::traits::Identity;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Point;

/// An input that a client has blinded: any element of the group but the identity. It tells nothing of the input.
#[derive(Clone, Copy)]
pub struct BlindedElement {
    pub(super) point: Point,
    pub(super) bytes: [u8; 32],
}

/// Why bytes are no element that a server evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// An element has 32 bytes.
    #[error("a blinded element is 32 bytes")]
    Length,
    /// It is no point, or not written as points are (RFC 9496, section 4.3.1).
    #[error("a blinded element is a point of ristretto255 in canonical form")]
    NotAPoint,
    /// The identity hides nothing (RFC 9497, section 3.3).
    #[error("a blinded element is not the identity")]
    Identity,
}

impl BlindedElement {
    /// Reads an element as a client sends it.
    ///
    /// # Errors
    /// See [`ElementError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ElementError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| ElementError::Length)?;
        let point = CompressedRistretto(bytes).decompress().ok_or(ElementError::NotAPoint)?;
        if point == Point::identity() {
            return Err(ElementError::Identity);
        }
        Ok(Self { point, bytes })
    }

    /// As it is sent.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.bytes
    }
}

impl fmt::Debug for BlindedElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindedElement(..)")
    }
}

/// What a server made of a [`BlindedElement`]; not looked at before [`Blinding::finalize`](super::Blinding::finalize).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EvaluatedElement(pub [u8; 32]);

impl fmt::Debug for EvaluatedElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EvaluatedElement(..)")
    }
}

/// That all elements of an answer were evaluated with the published key: two scalars, `c` and `s`. Not looked at before
/// [`Blinding::finalize`](super::Blinding::finalize).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof(pub [u8; 64]);

/// A server's public key, as it is published: not looked at before [`Blinding::finalize`](super::Blinding::finalize).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// The function's value. Whoever has it can find the listing of its input, so it is kept as a key is: overwritten when it
/// goes, and never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Output([u8; 64]);

impl Output {
    /// An output that was kept.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}
