//! Random numbers. None of the samplers of secrets branches on what it draws, or looks anything up by it.
//!
//! *Secrets* are uniform over −1, 0, 1: a word of 64 bits times 3, of which the upper half is the value. A value's
//! probability is off by less than 2^−63, so that a whole secret of 3072 coefficients is within 2^−50 of uniform in
//! statistical distance.
//!
//! *Errors* follow the centred binomial distribution: ones among 21 bits less ones among 21 others. The variance is
//! 42 / 4 = 10.5, so σ = 3.24, a little more than the 3.2 of the security estimate. Attacks on LWE that are known
//! depend on the variance of errors and not on the form of their distribution, and the security of schemes with Gaussian
//! errors carries over at a small loss because no coefficient exceeds 21, which is 6.5 σ (the argument of
//! Kyber's specification, section 1.3 of version 3.02, by Rényi divergence).
//!
//! *Public* coefficients come from ChaCha20: a value is 8 bytes of the keystream, little-endian, cut to the modulus's
//! bits, and drawn anew if it is not less than the modulus.

use chacha20::ChaCha20Rng;
use rand_core::{CryptoRng, Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::ring::from_signed;

/// A stream of secret randomness that is overwritten when it goes out of scope.
pub(crate) fn secret_stream(random: &mut impl CryptoRng) -> ChaCha20Rng {
    let mut seed = Zeroizing::new([0; 32]);
    random.fill_bytes(&mut *seed);
    ChaCha20Rng::from_seed(*seed)
}

/// Fills with −1, 0 and 1.
pub(crate) fn ternary(stream: &mut ChaCha20Rng, out: &mut [i8]) {
    for out in out {
        *out = ((u128::from(stream.next_u64()) * 3) >> 64) as i8 - 1;
    }
}

/// Adds errors modulo `q`, which is less than 2^62.
pub(crate) fn add_errors(stream: &mut ChaCha20Rng, q: u64, out: &mut [u64]) {
    for out in out {
        let error = error(stream.next_u64());
        *out = crate::ring::reduce_once(*out + from_signed(error, q), q);
    }
}

fn error(word: u64) -> i64 {
    const COINS: u64 = (1 << 21) - 1;
    i64::from((word & COINS).count_ones()) - i64::from((word >> 21 & COINS).count_ones())
}

/// Fills with public coefficients below `q`: those of the ciphertext `index` that belong to `seed`.
pub(crate) fn public(seed: &[u8; 32], index: u64, q: u64, out: &mut [u64]) {
    let mut stream = ChaCha20Rng::from_seed(*seed);
    stream.set_stream(index);
    let mask = q.next_power_of_two() - 1;
    let mut bytes = [0; 1024];
    let mut left = out.iter_mut();
    let mut next = left.next();
    while next.is_some() {
        stream.fill_bytes(&mut bytes);
        for word in bytes.as_chunks::<8>().0 {
            let value = u64::from_le_bytes(*word) & mask;
            if value < q
                && let Some(out) = next.take()
            {
                *out = value;
                next = left.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{ERROR_VARIANCE, N, Q, Q2};

    #[test]
    fn ternary_values_are_equally_likely() {
        let mut values = vec![0; 300_000];
        ternary(&mut ChaCha20Rng::from_seed([1; 32]), &mut values);
        for value in -1..=1 {
            let count = values.iter().filter(|found| **found == value).count();
            // Five standard deviations.
            assert!((98_700..101_300).contains(&count), "{value}: {count}");
        }
    }

    #[test]
    fn errors_have_the_variance_that_the_noise_is_reckoned_with() {
        let mut values = vec![0; 400_000];
        add_errors(&mut ChaCha20Rng::from_seed([2; 32]), Q, &mut values);
        let signed = |value: u64| if value > Q / 2 { value as f64 - Q as f64 } else { value as f64 };
        let mean = values.iter().map(|value| signed(*value)).sum::<f64>() / 400_000.0;
        let variance = values.iter().map(|value| signed(*value).powi(2)).sum::<f64>() / 400_000.0;
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((variance - ERROR_VARIANCE).abs() < 0.15, "{variance}");
        // The fourth moment of the binomial distribution over the square of its variance: 3 − 2 / 42.
        let fourth = values.iter().map(|value| signed(*value).powi(4)).sum::<f64>() / 400_000.0;
        assert!((fourth / variance.powi(2) - 2.952).abs() < 0.1, "{fourth}");
    }

    #[test]
    fn all_42_coins_of_an_error_count() {
        for bit in 0..64 {
            let expected = [1, -1, 0][(bit / 21).min(2)];
            assert_eq!(error(1 << bit), if bit == 63 { 0 } else { expected }, "{bit}");
        }
    }

    #[test]
    fn public_coefficients_depend_on_seed_and_index_alone_and_are_reduced() {
        let draw = |seed, index, q| {
            let mut out = vec![0; N];
            public(&[seed; 32], index, q, &mut out);
            assert!(out.iter().all(|value| *value < q));
            out
        };
        assert_eq!(draw(1, 0, Q), draw(1, 0, Q));
        assert_ne!(draw(1, 0, Q), draw(1, 1, Q));
        assert_ne!(draw(1, 0, Q), draw(2, 0, Q));
        // Half of the candidates are refused for a modulus just above a power of two.
        let values = draw(1, 0, 65_537);
        assert!(values.iter().any(|value| *value > 60_000));
        assert!(draw(1, 0, Q2).iter().any(|value| *value > Q2 / 2));
    }
}
