//! The public mask of records.
//!
//! A record is XORed with a keystream that everybody knows before its bytes become coefficients. It hides nothing: it
//! makes coefficients uniform whatever is stored, so that the noise that they add to answers is what
//! [`crate::Noise`] reckons with, and nobody can make answers fail by what he has stored.

use chacha20::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::parameters::{Configuration, N};

pub(crate) struct Mask([u8; 32]);

impl Mask {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        let mut digest = Sha256::new();
        digest.update(b"acquaint-pir mask 1");
        digest.update(configuration.id().as_bytes());
        Self(digest.finalize().into())
    }

    /// The mask of a polynomial: slot after slot.
    pub(crate) fn polynomial(&self, index: usize) -> [u8; N] {
        let mut stream = ChaCha8Rng::from_seed(self.0);
        stream.set_stream(index as u64);
        let mut bytes = [0; N];
        stream.fill_bytes(&mut bytes);
        bytes
    }
}
