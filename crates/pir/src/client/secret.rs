//! The client's secret.

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::kernel::portable;
use crate::parameters::{N, SMALL_N};
use crate::ring::{Poly, Ring, from_signed};
use crate::sample::{secret_stream, ternary};

/// The secret of a session: queries and evaluation keys are encrypted under it.
///
/// Keep it for a session and never for the life of a device: at most 24 hours. A stored evaluation key is a pseudonym,
/// and a server that could learn which of its answers were not understood would learn the secret coefficient by
/// coefficient. Overwritten when it is dropped; nothing formats it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretKey {
    pub(super) large: Box<[i8; N]>,
    pub(super) small: Box<[i8; SMALL_N]>,
}

impl SecretKey {
    /// Draws a secret.
    pub fn generate(random: &mut impl CryptoRng) -> Self {
        let mut stream = secret_stream(random);
        let mut secret = Self { large: Box::new([0; N]), small: Box::new([0; SMALL_N]) };
        ternary(&mut stream, &mut *secret.large);
        ternary(&mut stream, &mut *secret.small);
        secret
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SecretKey")
    }
}

/// Coefficients of a secret modulo the ring's prime.
pub(super) fn reduced(ring: &Ring, secret: &[i8]) -> Box<Zeroizing<Poly>> {
    let mut poly = Box::new(Zeroizing::new(Poly::ZERO));
    for (out, value) in poly.0.iter_mut().zip(secret) {
        *out = from_signed(i64::from(*value), ring.q);
    }
    poly
}

/// The transform of a secret.
pub(super) fn transformed(ring: &Ring, secret: &[i8]) -> Box<Zeroizing<Poly>> {
    let mut poly = reduced(ring, secret);
    portable::forward(ring, &mut poly.0[..ring.n]);
    poly
}
