//! Encryption under the client's secret, with halves called a that follow from a public seed.

use chacha20::ChaCha20Rng;
use rand_core::CryptoRng;

use crate::kernel::portable;
use crate::ring::{Poly, Ring, reduce_once};
use crate::sample::{add_errors, public, secret_stream};

/// A source of ciphertexts for one message: each has the next number.
pub(super) struct Encryption {
    pub(super) seed: [u8; 32],
    errors: ChaCha20Rng,
    next: u64,
}

impl Encryption {
    pub(super) fn new(random: &mut impl CryptoRng) -> Self {
        let mut seed = [0; 32];
        random.fill_bytes(&mut seed);
        Self { seed, errors: secret_stream(random), next: 0 }
    }

    /// Makes of a message the half b of its ciphertext, under the transformed `secret`.
    pub(super) fn encrypt(&mut self, ring: &Ring, secret: &Poly, message: &mut [u64]) {
        let mut product = Box::new(Poly::ZERO);
        let product = &mut product.0[..ring.n];
        public(&self.seed, self.next, ring.q, product);
        self.next += 1;
        portable::forward(ring, product);
        portable::multiply_points(ring, product, &secret.0);
        portable::inverse(ring, product);
        for (message, product) in message.iter_mut().zip(product) {
            *message = reduce_once(*message + *product, ring.q);
        }
        add_errors(&mut self.errors, ring.q, message);
    }
}
