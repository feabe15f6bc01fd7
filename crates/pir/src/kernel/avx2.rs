//! Vectors of four words with AVX2 and FMA.
//!
//! AVX2 has no products of more than 32 bits, so the transforms compute with doubles that hold integers (van der Hoeven and
//! Lecerf, "Modular SIMD arithmetic in Mathemagix"). The product x · w is h + l: h is what the multiplication rounds to,
//! and l, what it loses, comes from a fused multiply-add. With c near x · w / q, both h − c · q, again fused, and its sum
//! with l are integers that doubles hold exactly.
//!
//! Every value below stays within ±4q, that is ±2^52. The quotient c is then wrong by at most half for rounding, a quarter
//! of x / q for the table's precision of 2^−52, and an eighth of x / q for that of the product.

#![expect(unsafe_code, reason = "vector instructions that only some processors have")]

use std::arch::x86_64::{
    __m256d, __m256i, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm256_add_epi64,
    _mm256_add_pd, _mm256_and_pd, _mm256_and_si256, _mm256_castpd_si256, _mm256_castsi256_pd, _mm256_cmp_pd,
    _mm256_cvtepu32_epi64, _mm256_fmsub_pd, _mm256_fnmadd_pd, _mm256_mul_epu32, _mm256_mul_pd,
    _mm256_or_si256, _mm256_permute2f128_pd, _mm256_round_pd, _mm256_set1_epi64x, _mm256_set1_pd,
    _mm256_setzero_pd, _mm256_setzero_si256, _mm256_srli_epi64, _mm256_sub_pd, _mm256_unpackhi_pd,
    _mm256_unpacklo_pd, _mm256_xor_si256,
};

use bytemuck::cast;

use super::{elementwise, portable};
use crate::parameters::Gadget;
use crate::ring::{Automorphism, Ciphertext, Constant, Lanes, Poly, Ring};

/// Proof that the processor has the instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let found = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

super::methods! { Avx2 with "avx2,fma":
    fn forward(ring: &Ring, x: &mut Poly) = forward(ring, &mut x.0[..ring.n]);
    fn inverse(ring: &Ring, x: &mut Poly) = inverse(ring, &mut x.0[..ring.n]);
    fn inner_product(ring: &Ring, digits: &[Poly], rows: &[Ciphertext], out: &mut Ciphertext) = inner_product(ring, digits, rows, out);
    fn scan(ring: &Ring, table: &[[u32; 8]], query: &[[[u32; 8]; 2]], out: &mut [[[u64; 8]; 2]]) = scan(ring, table, query, out);
    fn switch(x: &mut Poly) = elementwise::switch(x);
    fn digits(x: &[u64], gadget: Gadget, q: u64, out: &mut [Poly]) = elementwise::digits(x, gadget, q, out);
    fn add(x: &mut Poly, y: &Poly, q: u64) = elementwise::add(x, y, q);
    fn subtract(x: &Poly, y: &Poly, q: u64, out: &mut Poly) = elementwise::subtract(x, y, q, out);
    fn automorphism(x: &Poly, map: &Automorphism, q: u64, out: &mut Poly) = elementwise::automorphism(x, map, q, out);
    fn rotate_subtract(x: &Poly, shift: usize, q: u64, out: &mut Poly) = elementwise::rotate_subtract(x, shift, q, out);
    fn split(x: &Poly, t: &Poly, shift: usize, even: &mut Poly, odd: &mut Poly) = elementwise::split(x, t, shift, even, odd);
    fn selector_row(ciphertext: &Ciphertext, switched: &mut Ciphertext) = elementwise::selector_row(ciphertext, switched);
    fn multiply_add(x: &[u32], y: &Poly, out: &mut Poly) = elementwise::multiply_add(x, y, out);
}

type Reals = __m256d;

/// A constant and its quotient by the modulus, in all lanes or one for each.
#[derive(Clone, Copy)]
struct Factor {
    value: Reals,
    quotient: Reals,
}

/// A modulus and its inverse in all lanes.
#[derive(Clone, Copy)]
struct Modulus {
    q: Reals,
    inverse: Reals,
}

/// 2^52: the bits of a double between it and twice as much are those of an integer above it.
const MAGIC: f64 = 4_503_599_627_370_496.0;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn nearest(x: Reals) -> Reals {
    _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
}

/// Integers below 2^52.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn to_reals(x: __m256i) -> Reals {
    let magic = _mm256_set1_pd(MAGIC);
    _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(x, _mm256_castpd_si256(magic))), magic)
}

/// Integers from 0 to 2^52 − 1.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn to_integers(x: Reals) -> __m256i {
    let magic = _mm256_set1_pd(MAGIC);
    _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(x, magic)), _mm256_castpd_si256(magic))
}

impl Modulus {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(q: u64) -> Self {
        Self { q: _mm256_set1_pd(q as f64), inverse: _mm256_set1_pd(1.0 / q as f64) }
    }

    /// x · w modulo q.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn multiply(self, x: Reals, w: Factor) -> Reals {
        let high = _mm256_mul_pd(x, w.value);
        let low = _mm256_fmsub_pd(x, w.value, high);
        let quotient = nearest(_mm256_mul_pd(x, w.quotient));
        _mm256_add_pd(_mm256_fnmadd_pd(quotient, self.q, high), low)
    }

    /// x · y modulo q, for factors from 0 to q − 1.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn multiply_any(self, x: Reals, y: Reals) -> Reals {
        let high = _mm256_mul_pd(x, y);
        let low = _mm256_fmsub_pd(x, y, high);
        let quotient = nearest(_mm256_mul_pd(high, self.inverse));
        _mm256_add_pd(_mm256_fnmadd_pd(quotient, self.q, high), low)
    }

    /// Within ±q / 2, and a little more.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduce(self, x: Reals) -> Reals {
        _mm256_fnmadd_pd(nearest(_mm256_mul_pd(x, self.inverse)), self.q, x)
    }

    /// From 0 to q − 1.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn integers(self, x: Reals) -> __m256i {
        let x = self.reduce(x);
        let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(x, _mm256_setzero_pd());
        to_integers(_mm256_add_pd(x, _mm256_and_pd(negative, self.q)))
    }

    /// Cooley and Tukey's butterfly: from within ±1.6q to the same.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn forward(self, a: Reals, b: Reals, w: Factor) -> (Reals, Reals) {
        let (a, b) = (self.reduce(a), self.multiply(b, w));
        (_mm256_add_pd(a, b), _mm256_sub_pd(a, b))
    }

    /// Gentleman and Sande's butterfly: from within ±2q to the same.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn inverse(self, a: Reals, b: Reals, w: Factor) -> (Reals, Reals) {
        (self.reduce(_mm256_add_pd(a, b)), self.multiply(_mm256_sub_pd(a, b), w))
    }
}

/// The quotient of a [`Constant`] is in units of 2^−52.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn same(constant: Constant) -> Factor {
    let quotient = constant.quotient as f64 / MAGIC;
    Factor { value: _mm256_set1_pd(constant.value as f64), quotient: _mm256_set1_pd(quotient) }
}

/// Half of the lanes of eight.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn each(lanes: &Lanes, block: usize) -> Factor {
    let half = |table: &[[u64; 8]]| -> __m256i { cast(table[block / 2].as_chunks::<4>().0[block % 2]) };
    let quotient = _mm256_mul_pd(to_reals(half(&lanes.quotients)), _mm256_set1_pd(1.0 / MAGIC));
    Factor { value: to_reals(half(&lanes.values)), quotient }
}

#[target_feature(enable = "avx2,fma")]
fn forward(ring: &Ring, x: &mut [u64]) {
    let m = Modulus::new(ring.q);
    for vector in x.as_chunks_mut::<4>().0 {
        *vector = cast(to_reals(cast(*vector)));
    }
    let mut distance = ring.n / 2;
    while distance >= 4 {
        let blocks = ring.n / 2 / distance;
        for (pairs, w) in x.chunks_exact_mut(2 * distance).zip(&ring.forward[blocks..2 * blocks]) {
            let (low, high) = pairs.split_at_mut(distance);
            let w = same(*w);
            for (a, b) in low.as_chunks_mut::<4>().0.iter_mut().zip(high.as_chunks_mut::<4>().0) {
                let (u, v) = m.forward(cast(*a), cast(*b), w);
                (*a, *b) = (cast(u), cast(v));
            }
        }
        distance /= 2;
    }
    let [_, by_2, by_1] = &ring.forward_lanes;
    for (block, pair) in x.as_chunks_mut::<4>().0.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (u, v): (Reals, Reals) = (cast(pair[0]), cast(pair[1]));
        let (a, b) = (_mm256_permute2f128_pd::<0x20>(u, v), _mm256_permute2f128_pd::<0x31>(u, v));
        let (a, b) = m.forward(a, b, each(by_2, block));
        let (c, d) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        let (c, d) = m.forward(c, d, each(by_1, block));
        let (low, high) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
        let (u, v) = (_mm256_permute2f128_pd::<0x20>(low, high), _mm256_permute2f128_pd::<0x31>(low, high));
        *pair = [cast(m.integers(u)), cast(m.integers(v))];
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse(ring: &Ring, x: &mut [u64]) {
    let m = Modulus::new(ring.q);
    let [_, by_2, by_1] = &ring.inverse_lanes;
    for (block, pair) in x.as_chunks_mut::<4>().0.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (u, v) = (to_reals(cast(pair[0])), to_reals(cast(pair[1])));
        // The inverse of each exchange of the forward transform is the same exchange.
        let (low, high) = (_mm256_permute2f128_pd::<0x20>(u, v), _mm256_permute2f128_pd::<0x31>(u, v));
        let (c, d) = (_mm256_unpacklo_pd(low, high), _mm256_unpackhi_pd(low, high));
        let (c, d) = m.inverse(c, d, each(by_1, block));
        let (a, b) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
        let (a, b) = m.inverse(a, b, each(by_2, block));
        let (u, v) = (_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b));
        *pair = [cast(u), cast(v)];
    }
    let mut distance = 4;
    while distance < ring.n {
        let blocks = ring.n / 2 / distance;
        for (pairs, w) in x.chunks_exact_mut(2 * distance).zip(&ring.inverse[blocks..2 * blocks]) {
            let (low, high) = pairs.split_at_mut(distance);
            let w = same(*w);
            for (a, b) in low.as_chunks_mut::<4>().0.iter_mut().zip(high.as_chunks_mut::<4>().0) {
                let (u, v) = m.inverse(cast(*a), cast(*b), w);
                (*a, *b) = (cast(u), cast(v));
            }
        }
        distance *= 2;
    }
    let scale = same(ring.scale);
    for vector in x.as_chunks_mut::<4>().0 {
        *vector = cast(m.integers(m.multiply(cast(*vector), scale)));
    }
}

#[target_feature(enable = "avx2,fma")]
fn inner_product(ring: &Ring, digits: &[Poly], rows: &[Ciphertext], out: &mut Ciphertext) {
    let m = Modulus::new(ring.q);
    let (a, b) = (out.a.0.as_chunks_mut::<4>().0, out.b.0.as_chunks_mut::<4>().0);
    for (at, (a, b)) in a.iter_mut().zip(b).enumerate().take(ring.n / 4) {
        let load = |poly: &Poly| to_reals(cast(poly.0.as_chunks::<4>().0[at]));
        let (mut sum_a, mut sum_b) = (_mm256_setzero_pd(), _mm256_setzero_pd());
        for (digit, row) in digits.iter().zip(rows) {
            let digit = load(digit);
            sum_a = m.reduce(_mm256_add_pd(sum_a, m.multiply_any(digit, load(&row.a))));
            sum_b = m.reduce(_mm256_add_pd(sum_b, m.multiply_any(digit, load(&row.b))));
        }
        (*a, *b) = (cast(m.integers(sum_a)), cast(m.integers(sum_b)));
    }
}

#[target_feature(enable = "avx2,fma")]
fn scan(ring: &Ring, table: &[[u32; 8]], query: &[[[u32; 8]; 2]], out: &mut [[[u64; 8]; 2]]) {
    let rows = query.len();
    let (pairs, rest) = out.as_chunks_mut::<2>();
    for (table, out) in table.chunks_exact(2 * rows).zip(pairs.iter_mut()) {
        columns(ring, table, query, out);
    }
    let done = 2 * rows * pairs.len();
    for (table, out) in table[done..].chunks_exact(rows).zip(rest) {
        columns(ring, table, query, std::array::from_mut(out));
    }
}

/// The sums of some columns at once. A word of the query is taken as two of 16 bits, so that sums of products fit into
/// 64 bits: of 48 bits each, and 2048 of them.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn columns<const C: usize>(
    ring: &Ring,
    table: &[[u32; 8]],
    query: &[[[u32; 8]; 2]],
    out: &mut [[[u64; 8]; 2]; C],
) {
    let rows = query.len();
    let table: [&[[u32; 8]]; C] = std::array::from_fn(|column| &table[column * rows..][..rows]);
    let low_bits = _mm256_set1_epi64x(0xffff);
    for part in 0..2 {
        let widen = |lanes: &[u32; 8]| _mm256_cvtepu32_epi64(cast(lanes.as_chunks::<4>().0[part]));
        let mut sums = [[_mm256_setzero_si256(); 4]; C];
        for (row, [a, b]) in query.iter().enumerate() {
            let (a, b) = (widen(a), widen(b));
            let factors = [
                _mm256_and_si256(a, low_bits),
                _mm256_srli_epi64::<16>(a),
                _mm256_and_si256(b, low_bits),
                _mm256_srli_epi64::<16>(b),
            ];
            for (sums, table) in sums.iter_mut().zip(table) {
                let word = widen(&table[row]);
                for (sum, factor) in sums.iter_mut().zip(factors) {
                    *sum = _mm256_add_epi64(*sum, _mm256_mul_epu32(word, factor));
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            for (half, out) in out.iter_mut().enumerate() {
                let low: [u64; 4] = cast(sums[2 * half]);
                let high: [u64; 4] = cast(sums[2 * half + 1]);
                for ((out, low), high) in out.as_chunks_mut::<4>().0[part].iter_mut().zip(low).zip(high) {
                    let below = (high & ((1 << 36) - 1)) << 16;
                    *out = portable::reduce(ring, low + below, high >> 36);
                }
            }
        }
    }
}
