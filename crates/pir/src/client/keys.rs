//! Evaluation keys: what the server needs to turn one ciphertext into others of the same secret.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Client;
use super::encrypt::Encryption;
use super::secret::{SecretKey, reduced, transformed};
use crate::kernel::{Kernel, portable};
use crate::parameters::{Gadget, LEVELS, N, Q_BITS, Q2_BITS, SMALL_N, parts};
use crate::ring::{Automorphism, Poly, Ring, power, reduce_once};
use crate::wire::{header, pack};

impl Client {
    /// The evaluation keys of a secret, as they are sent to the server. They are some 1 MB, serve for all queries of the
    /// session and tell nothing to whoever does not have the secret.
    pub fn evaluation_keys(&self, secret: &SecretKey, random: &mut impl CryptoRng) -> Vec<u8> {
        let parameters = self.configuration.parameters();
        let gadgets = &parameters.gadgets;
        let mut encryption = Encryption::new(random);
        let under = transformed(&self.ring, &*secret.large);
        let coefficients = reduced(&self.ring, &*secret.large);

        let mut halves = Vec::with_capacity(parameters.large_keys() * N);
        let mut source = Box::new(Zeroizing::new(Poly::ZERO));
        for (level, gadget) in gadgets.expansion.iter().enumerate().take(LEVELS) {
            let map = Automorphism::new(level);
            Kernel::PORTABLE.automorphism(&coefficients, &map, self.ring.q, &mut source);
            switch_key(&self.ring, *gadget, &source, &under, &mut encryption, &mut halves);
        }
        **source = Poly(under.0);
        portable::multiply_points(&self.ring, &mut source.0, &under.0);
        portable::inverse(&self.ring, &mut source.0);
        switch_key(&self.ring, gadgets.conversion, &source, &under, &mut encryption, &mut halves);

        let mut small_halves = Vec::with_capacity(parameters.small_keys() * SMALL_N);
        let under = transformed(&self.small_ring, &*secret.small);
        let coefficients = reduced(&self.small_ring, &*secret.large);
        let parts = parameters.packings().flat_map(|slots| (0..parts(slots)).map(move |part| (slots, part)));
        for (slots, part) in parts {
            let source = self.part_of(&coefficients, slots, part);
            switch_key(
                &self.small_ring,
                gadgets.packing,
                &source,
                &under,
                &mut encryption,
                &mut small_halves,
            );
        }

        let mut message = header(&parameters.keys_id(), &encryption.seed, parameters.keys_bytes());
        pack(halves, Q_BITS, &mut message);
        pack(small_halves, Q2_BITS, &mut message);
        message
    }

    /// What a part of a ciphertext's half a meets of the secret.
    ///
    /// With Y = X^parts, the part 0 of a · s is a₀ s₀ plus, for each other part t, a_t · Y s_(parts − t). The small ring
    /// holds polynomials in Y at exponents that are multiples of the number of slots that it takes.
    fn part_of(&self, secret: &Poly, slots: usize, part: usize) -> Box<Zeroizing<Poly>> {
        let parts = parts(slots);
        let mut out = Box::new(Zeroizing::new(Poly::ZERO));
        let (residue, shift) = if part == 0 { (0, 0) } else { (parts - part, 1) };
        for (at, value) in secret.0.iter().skip(residue).step_by(parts).enumerate() {
            let to = (at + shift) * slots;
            if to < SMALL_N {
                out.0[to] = *value;
            } else {
                // Only the last wraps, and changes its sign.
                out.0[0] = reduce_once(self.small_ring.q - *value, self.small_ring.q);
            }
        }
        out
    }
}

/// Encryptions of −`source` times the weight of each digit.
fn switch_key(
    ring: &Ring,
    gadget: Gadget,
    source: &Poly,
    under: &Poly,
    encryption: &mut Encryption,
    halves: &mut Vec<u64>,
) {
    let mut message = Box::new(Zeroizing::new(Poly::ZERO));
    for digit in 0..gadget.digits {
        let weight = ring.constant(ring.q - power(2, u64::from(gadget.weight_log(digit)), ring.q));
        for (message, value) in message.0.iter_mut().zip(&source.0) {
            *message = portable::multiply(*value, weight, ring.q);
        }
        encryption.encrypt(ring, under, &mut message.0[..ring.n]);
        halves.extend_from_slice(&message.0[..ring.n]);
    }
}
