//! From an identifier to the place of its record, and to what opens it.

use hkdf::Hkdf;
use sha2::{Digest, Sha256, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Scope;
use crate::identifier::Sii;

const SALT: &[u8] = b"acquaint private lookup v1";

const PIR_LABEL: &[u8] = b"acquaint pir keyword v1\0";

/// What an output is made of. `index` is 0 unless an identifier has several accounts, each of which is looked up alone.
#[must_use]
pub fn input(sii: &Sii, index: u8) -> Zeroizing<Vec<u8>> {
    let mut input = Zeroizing::new(Vec::with_capacity(sii.as_bytes().len() + 2));
    input.extend_from_slice(sii.as_bytes());
    input.extend_from_slice(&[0, index]);
    input
}

/// The output of an [`input`] in mode `pir`: a plain hash, as good as the identifier to whoever sees it.
#[must_use]
pub fn pir_output(scope: &Scope, input: &[u8]) -> [u8; 64] {
    Sha512::new().chain_update(PIR_LABEL).chain_update(scope.as_bytes()).chain_update(input).finalize().into()
}

/// The shard of a number from [`Keys::shard`]: its first `shard_bits` bits; 0 for none. Over 32 it is that many.
#[must_use]
pub fn shard_of(shard: u32, shard_bits: u8) -> u32 {
    shard.checked_shr(u32::BITS - u32::from(shard_bits).min(u32::BITS)).unwrap_or(0)
}

/// Where an identifier's record is and what opens it, in one scope. Overwritten when it goes, and never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    shard: u32,
    keyword: [u8; 16],
    pub(super) record_key: [u8; 32],
    pub(super) record_tag: [u8; 16],
}

impl Keys {
    /// The keys that `output` gives in `scope`: the OPRF's output, or [`pir_output`].
    #[must_use]
    pub fn derive(scope: &Scope, output: &[u8; 64]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(SALT), output);
        let mut keys = Self { shard: 0, keyword: [0; 16], record_key: [0; 32], record_tag: [0; 16] };
        let mut shard = [0; 4];
        // HKDF fails for outputs of over 8160 bytes alone (RFC 5869, section 2.3).
        let expand = |label: &[u8], bytes: &mut [u8]| {
            let _ = hkdf.expand_multi_info(&[label, scope.as_bytes()], bytes);
        };
        expand(b"shard\0", &mut shard);
        expand(b"position\0", &mut keys.keyword);
        expand(b"record key\0", &mut keys.record_key);
        expand(b"record tag\0", &mut keys.record_tag);
        keys.shard = u32::from_be_bytes(shard);
        shard.zeroize();
        keys
    }

    /// What [`shard_of`] takes the shard from.
    #[must_use]
    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// Under what the record stands in its table (`Keyword` of `acquaint-pir`).
    #[must_use]
    pub fn keyword(&self) -> [u8; 16] {
        self.keyword
    }
}
