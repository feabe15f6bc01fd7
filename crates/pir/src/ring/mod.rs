//! Polynomials modulo X^n + 1 and a prime, and the tables of their number-theoretic transform.

#[cfg(test)]
mod tests;

use zeroize::Zeroize;

use crate::parameters::N;

/// A polynomial of at most [`N`] coefficients, or its transform. Aligned for the widest vectors.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Poly(pub(crate) [u64; N]);

impl Poly {
    pub(crate) const ZERO: Self = Self([0; N]);
}

impl Zeroize for Poly {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// An RLWE ciphertext: b = a · s + error + message.
#[derive(Clone)]
pub(crate) struct Ciphertext {
    pub(crate) a: Poly,
    pub(crate) b: Poly,
}

impl Ciphertext {
    pub(crate) const ZERO: Self = Self { a: Poly::ZERO, b: Poly::ZERO };

    /// A copy that does not go over the stack.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.a.0.copy_from_slice(&other.a.0);
        self.b.0.copy_from_slice(&other.b.0);
    }
}

/// A prime below 2^50 that is 1 modulo 2n, and what the transforms need.
///
/// Products with a constant w are reduced as Shoup does it: with w' = ⌊w · 2^52 / q⌋, x · w − ⌊x · w' / 2^52⌋ · q is less
/// than 2q for every x below 2^52. All kernels use the same tables, because 52 bits are what AVX-512 IFMA multiplies.
pub(crate) struct Ring {
    pub(crate) q: u64,
    pub(crate) n: usize,
    /// Powers of the 2n-th root of unity in bit-reversed order.
    pub(crate) forward: Vec<Constant>,
    /// Those of its inverse.
    pub(crate) inverse: Vec<Constant>,
    /// 1 / n.
    pub(crate) scale: Constant,
    /// 1, for reductions.
    pub(crate) one: Constant,
    /// 2^52, for the upper halves of products.
    pub(crate) high: Constant,
    /// The same powers as vectors want them for the last three levels of the forward transform: one for each lane of eight.
    #[cfg(target_arch = "x86_64")]
    pub(crate) forward_lanes: [Lanes; 3],
    /// Those of the inverse.
    #[cfg(target_arch = "x86_64")]
    pub(crate) inverse_lanes: [Lanes; 3],
}

/// A number below q, and the quotient that speeds up products with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constant {
    pub(crate) value: u64,
    pub(crate) quotient: u64,
}

impl Constant {
    pub(crate) fn new(value: u64, q: u64) -> Self {
        Self { value, quotient: ((u128::from(value) << 52) / u128::from(q)) as u64 }
    }
}

/// Constants for each lane: of blocks of 16 coefficients, and of levels that pair coefficients 4, 2 and 1 apart.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Lanes {
    pub(crate) values: Vec<[u64; 8]>,
    pub(crate) quotients: Vec<[u64; 8]>,
}

impl Ring {
    /// `n` is a power of two from 16 to [`N`].
    pub(crate) fn new(q: u64, n: usize) -> Self {
        let bits = n.ilog2();
        let order = 2 * n as u64;
        // A root of unity of order 2n: its n-th power is −1. Every second element gives one, so the search is short.
        let root = (2..q)
            .map(|base| power(base, (q - 1) / order, q))
            .find(|root| power(*root, n as u64, q) == q - 1)
            .unwrap_or(1);
        let table = |root: u64| -> Vec<Constant> {
            let mut powers = vec![1; n];
            for at in 1..n {
                powers[at] = product(powers[at - 1], root, q);
            }
            let reversed = |at: usize| at.reverse_bits() >> (usize::BITS - bits);
            (0..n).map(|at| Constant::new(powers[reversed(at)], q)).collect()
        };
        let forward = table(root);
        let inverse = table(power(root, q - 2, q));
        Self {
            q,
            n,
            #[cfg(target_arch = "x86_64")]
            forward_lanes: [4, 2, 1].map(|distance| Lanes::new(&forward, n, distance)),
            #[cfg(target_arch = "x86_64")]
            inverse_lanes: [4, 2, 1].map(|distance| Lanes::new(&inverse, n, distance)),
            forward,
            inverse,
            scale: Constant::new(power(n as u64, q - 2, q), q),
            one: Constant::new(1, q),
            high: Constant::new(((1u128 << 52) % u128::from(q)) as u64, q),
        }
    }

    /// a · b. Slow, and not for secrets.
    #[cfg(test)]
    pub(crate) fn multiply(&self, a: u64, b: u64) -> u64 {
        product(a, b, self.q)
    }

    /// A constant of this ring.
    pub(crate) fn constant(&self, value: u64) -> Constant {
        Constant::new(value, self.q)
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes {
    fn new(table: &[Constant], n: usize, distance: usize) -> Self {
        // The level has n / 2 / distance constants, each for `distance` neighbours.
        let first = n / 2 / distance;
        let constant = |lane: usize| table[first + lane / distance];
        let blocks = 0..n / 16;
        Self {
            values: blocks
                .clone()
                .map(|block| std::array::from_fn(|l| constant(8 * block + l).value))
                .collect(),
            quotients: blocks
                .map(|block| std::array::from_fn(|l| constant(8 * block + l).quotient))
                .collect(),
        }
    }
}

fn product(a: u64, b: u64, q: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(q)) as u64
}

/// `base` to the power of `exponent` modulo `q`. Not for secrets.
pub(crate) fn power(base: u64, mut exponent: u64, q: u64) -> u64 {
    let modulus = u128::from(q);
    let (mut result, mut square) = (1u128, u128::from(base) % modulus);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % modulus;
        }
        square = square * square % modulus;
        exponent >>= 1;
    }
    result as u64
}

/// `value`, which is less than 2q, modulo q. Takes the same time for every value.
#[inline(always)]
pub(crate) fn reduce_once(value: u64, q: u64) -> u64 {
    value.min(value.wrapping_sub(q))
}

/// `value` modulo q. Takes the same time for every value.
#[inline(always)]
pub(crate) fn from_signed(value: i64, q: u64) -> u64 {
    (value as u64).wrapping_add(q & ((value >> 63) as u64))
}

/// x ↦ X^(1 + n / 2^level): where each coefficient of the image comes from, and whether it changes its sign.
pub(crate) struct Automorphism {
    /// Twice the index, and 1 if the sign changes.
    pub(crate) sources: Vec<u16>,
}

impl Automorphism {
    pub(crate) fn new(level: usize) -> Self {
        let exponent = (N >> level) + 1;
        let mut sources = vec![0; N];
        for from in 0..N {
            let to = from * exponent % (2 * N);
            sources[to % N] = (2 * from + to / N) as u16;
        }
        Self { sources }
    }
}
