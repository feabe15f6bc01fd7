//! Public keys that sign tokens, and what each of them verifies.

use k256::ecdsa::signature::Verifier as _;
use ring::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::jws::Algorithm;

/// A key of one kind. It is good for the algorithms of that kind and for no other, whatever a token says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// A point of secp256k1.
    Secp256k1(Box<k256::ecdsa::VerifyingKey>),
    /// A point of P-256.
    P256(Box<p256::ecdsa::VerifyingKey>),
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// A point of Edwards25519, as RFC 8032 writes it.
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// From a point of secp256k1 as SEC 1 writes it.
    pub(super) fn secp256k1(point: &[u8]) -> Option<Self> {
        k256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(|key| Self::Secp256k1(Box::new(key)))
    }

    /// From a point of P-256 as SEC 1 writes it.
    pub(super) fn p256(point: &[u8]) -> Option<Self> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(|key| Self::P256(Box::new(key)))
    }

    /// Whether `signature` is this key's of `message` by `algorithm`. ECDSA's is r ‖ s (RFC 7518, section 3.4).
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Secp256k1(key), Algorithm::Es256k) => k256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            (Self::P256(key), Algorithm::Es256) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            (Self::Rsa { modulus, exponent }, Algorithm::Rs256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
            (Self::Rsa { modulus, exponent }, Algorithm::Ps256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(&RSA_PSS_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
            (Self::Ed25519(key), Algorithm::EdDsa) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
            (Self::Secp256k1(_) | Self::P256(_) | Self::Rsa { .. } | Self::Ed25519(_), _) => false,
        }
    }

    /// As [`PublicKey::verifies`], and `s` is in the lower half, which atproto demands of every signature
    /// (<https://atproto.com/specs/cryptography>): of the two that fit a message, one is taken.
    pub(super) fn verifies_low_s(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let is_low = match self {
            Self::Secp256k1(_) => k256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| signature.normalize_s() == signature),
            Self::P256(_) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| signature.normalize_s() == signature),
            Self::Rsa { .. } | Self::Ed25519(_) => false,
        };
        is_low && self.verifies(algorithm, message, signature)
    }
}
