//! Vectors of eight words, with the 52-bit products of AVX-512 IFMA.

#![expect(unsafe_code, reason = "vector instructions that only some processors have")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_cvtepu32_epi64, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_min_epu64, _mm512_permutex2var_epi64, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_srli_epi64, _mm512_sub_epi64, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64,
};

use bytemuck::cast;

use super::elementwise::{self, Q_TO_Q1};
use crate::parameters::{Gadget, N, Q1};
use crate::ring::{Automorphism, Ciphertext, Constant, Lanes, Poly, Ring};

/// Proof that the processor has the instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let found = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512ifma")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl");
        found.then_some(Self(()))
    }
}

super::methods! { Avx512 with "avx512f,avx512ifma,avx512dq,avx512vl":
    fn forward(ring: &Ring, x: &mut Poly) = if_small(ring, x, forward::<true>, forward::<false>);
    fn inverse(ring: &Ring, x: &mut Poly) = if_small(ring, x, inverse::<true>, inverse::<false>);
    fn inner_product(ring: &Ring, digits: &[Poly], rows: &[Ciphertext], out: &mut Ciphertext) = inner_product(ring, digits, rows, out);
    fn scan(ring: &Ring, table: &[[u32; 8]], query: &[[[u32; 8]; 2]], out: &mut [[[u64; 8]; 2]]) = scan(ring, table, query, out);
    fn switch(x: &mut Poly) = switch(x);
    fn digits(x: &[u64], gadget: Gadget, q: u64, out: &mut [Poly]) = elementwise::digits(x, gadget, q, out);
    fn add(x: &mut Poly, y: &Poly, q: u64) = elementwise::add(x, y, q);
    fn subtract(x: &Poly, y: &Poly, q: u64, out: &mut Poly) = elementwise::subtract(x, y, q, out);
    fn automorphism(x: &Poly, map: &Automorphism, q: u64, out: &mut Poly) = elementwise::automorphism(x, map, q, out);
    fn rotate_subtract(x: &Poly, shift: usize, q: u64, out: &mut Poly) = elementwise::rotate_subtract(x, shift, q, out);
    fn split(x: &Poly, t: &Poly, shift: usize, even: &mut Poly, odd: &mut Poly) = elementwise::split(x, t, shift, even, odd);
    fn selector_row(ciphertext: &Ciphertext, switched: &mut Ciphertext) = elementwise::selector_row(ciphertext, switched);
    fn multiply_add(x: &[u32], y: &Poly, out: &mut Poly) = elementwise::multiply_add(x, y, out);
}

type Vector = __m512i;
/// A butterfly's constant in all lanes, or one for each.
#[derive(Clone, Copy)]
struct Factor {
    value: Vector,
    quotient: Vector,
}

/// A modulus in all lanes.
#[derive(Clone, Copy)]
struct Modulus {
    q: Vector,
    twice: Vector,
    /// 2^52 − q.
    negative: Vector,
    /// 2^52 − 1.
    low: Vector,
}

/// A prime of no more bits than this leaves so much room in 52 bits that butterflies need no reductions.
const SMALL: u64 = 1 << 32;

#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn all(value: u64) -> Vector {
    _mm512_set1_epi64(value.cast_signed())
}

impl Modulus {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
    fn new(q: u64) -> Self {
        Self { q: all(q), twice: all(2 * q), negative: all((1 << 52) - q), low: all((1 << 52) - 1) }
    }

    /// x · w modulo q, less than 2q, for x below 2^52.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
    fn multiply(self, x: Vector, w: Factor) -> Vector {
        let zero = _mm512_setzero_si512();
        let quotient = _mm512_madd52hi_epu64(zero, w.quotient, x);
        let low = _mm512_madd52lo_epu64(zero, w.value, x);
        _mm512_and_si512(_mm512_madd52lo_epu64(low, quotient, self.negative), self.low)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
    fn below_twice(self, x: Vector) -> Vector {
        _mm512_min_epu64(x, _mm512_sub_epi64(x, self.twice))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
    fn below_once(self, x: Vector) -> Vector {
        _mm512_min_epu64(x, _mm512_sub_epi64(x, self.q))
    }

    /// Cooley and Tukey's butterfly. If `SMALL`, values grow by 2q with each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
    fn forward<const SMALL: bool>(self, a: Vector, b: Vector, w: Factor) -> (Vector, Vector) {
        let a = if SMALL { a } else { self.below_twice(a) };
        let b = self.multiply(b, w);
        (_mm512_add_epi64(a, b), _mm512_add_epi64(_mm512_sub_epi64(a, b), self.twice))
    }

    /// Gentleman and Sande's butterfly. If `SMALL`, values double with each, and `bound` is what they are below.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
    fn inverse<const SMALL: bool>(self, a: Vector, b: Vector, w: Factor, bound: Vector) -> (Vector, Vector) {
        let sum = _mm512_add_epi64(a, b);
        let sum = if SMALL { sum } else { self.below_twice(sum) };
        let bound = if SMALL { bound } else { self.twice };
        (sum, self.multiply(_mm512_add_epi64(_mm512_sub_epi64(a, b), bound), w))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn same(constant: Constant) -> Factor {
    Factor { value: all(constant.value), quotient: all(constant.quotient) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn each(lanes: &Lanes, block: usize) -> Factor {
    Factor { value: cast(lanes.values[block]), quotient: cast(lanes.quotients[block]) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn if_small(ring: &Ring, x: &mut Poly, small: fn(&Ring, &mut [u64]), large: fn(&Ring, &mut [u64])) {
    if ring.q < SMALL { small(ring, &mut x.0[..ring.n]) } else { large(ring, &mut x.0[..ring.n]) }
}

/// One level whose pairs are at least eight apart.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn forward_level<const SMALL: bool>(ring: &Ring, m: Modulus, x: &mut [u64], distance: usize) {
    let blocks = ring.n / 2 / distance;
    for (pairs, w) in x.chunks_exact_mut(2 * distance).zip(&ring.forward[blocks..2 * blocks]) {
        let (low, high) = pairs.split_at_mut(distance);
        let w = same(*w);
        for (a, b) in low.as_chunks_mut::<8>().0.iter_mut().zip(high.as_chunks_mut::<8>().0) {
            let (u, v) = m.forward::<SMALL>(cast(*a), cast(*b), w);
            (*a, *b) = (cast(u), cast(v));
        }
    }
}

/// Two levels at once: `distance` of the first, and half of it.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn forward_levels<const SMALL: bool>(ring: &Ring, m: Modulus, x: &mut [u64], distance: usize) {
    let blocks = ring.n / 2 / distance;
    let first = &ring.forward[blocks..2 * blocks];
    let second = ring.forward[2 * blocks..4 * blocks].as_chunks::<2>().0;
    for ((pairs, w), [w_low, w_high]) in x.chunks_exact_mut(2 * distance).zip(first).zip(second) {
        let (w, w_low, w_high) = (same(*w), same(*w_low), same(*w_high));
        let [a, b, c, d] = quarters(pairs);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let (e, g) = m.forward::<SMALL>(cast(*a), cast(*c), w);
            let (f, h) = m.forward::<SMALL>(cast(*b), cast(*d), w);
            let (e, f) = m.forward::<SMALL>(e, f, w_low);
            let (g, h) = m.forward::<SMALL>(g, h, w_high);
            (*a, *b, *c, *d) = (cast(e), cast(f), cast(g), cast(h));
        }
    }
}

/// Four equal parts, in vectors.
#[inline(always)]
fn quarters(x: &mut [u64]) -> [&mut [[u64; 8]]; 4] {
    let half = x.len() / 2;
    let (low, high) = x.split_at_mut(half);
    let (a, b) = low.split_at_mut(half / 2);
    let (c, d) = high.split_at_mut(half / 2);
    [a, b, c, d].map(|part| part.as_chunks_mut::<8>().0)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn indices(order: [u64; 8]) -> Vector {
    cast(order)
}

#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn forward<const SMALL: bool>(ring: &Ring, x: &mut [u64]) {
    let m = Modulus::new(ring.q);
    let mut distance = ring.n / 2;
    if ring.n.ilog2().is_multiple_of(2) {
        forward_level::<SMALL>(ring, m, x, distance);
        distance /= 2;
    }
    while distance >= 16 {
        forward_levels::<SMALL>(ring, m, x, distance);
        distance /= 4;
    }
    let (mix_low, mix_high) = (indices([0, 1, 8, 9, 4, 5, 12, 13]), indices([2, 3, 10, 11, 6, 7, 14, 15]));
    let (weave_low, weave_high) =
        (indices([0, 8, 1, 9, 2, 10, 3, 11]), indices([4, 12, 5, 13, 6, 14, 7, 15]));
    let [by_4, by_2, by_1] = &ring.forward_lanes;
    for (block, pair) in x.as_chunks_mut::<8>().0.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (u, v): (Vector, Vector) = (cast(pair[0]), cast(pair[1]));
        let (a, b) = (_mm512_shuffle_i64x2::<0x44>(u, v), _mm512_shuffle_i64x2::<0xee>(u, v));
        let (a, b) = m.forward::<SMALL>(a, b, each(by_4, block));
        let (c, d) = (_mm512_permutex2var_epi64(a, mix_low, b), _mm512_permutex2var_epi64(a, mix_high, b));
        let (c, d) = m.forward::<SMALL>(c, d, each(by_2, block));
        let (e, f) = (_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
        let (e, f) = m.forward::<SMALL>(e, f, each(by_1, block));
        let (u, v) =
            (_mm512_permutex2var_epi64(e, weave_low, f), _mm512_permutex2var_epi64(e, weave_high, f));
        let one = same(ring.one);
        let end = |x| {
            let x = if SMALL { m.multiply(x, one) } else { m.below_twice(x) };
            m.below_once(x)
        };
        *pair = [cast(end(u)), cast(end(v))];
    }
}

#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn inverse<const SMALL: bool>(ring: &Ring, x: &mut [u64]) {
    let m = Modulus::new(ring.q);
    // What the values of each level are below, if nothing is reduced.
    let bound = |level: u32| all(ring.q << level);
    let (mix_low, mix_high) = (indices([0, 1, 8, 9, 4, 5, 12, 13]), indices([2, 3, 10, 11, 6, 7, 14, 15]));
    let (even, odd) = (indices([0, 2, 4, 6, 8, 10, 12, 14]), indices([1, 3, 5, 7, 9, 11, 13, 15]));
    let [by_4, by_2, by_1] = &ring.inverse_lanes;
    for (block, pair) in x.as_chunks_mut::<8>().0.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (u, v): (Vector, Vector) = (cast(pair[0]), cast(pair[1]));
        let (a, b) = (_mm512_permutex2var_epi64(u, even, v), _mm512_permutex2var_epi64(u, odd, v));
        let (a, b) = m.inverse::<SMALL>(a, b, each(by_1, block), bound(1));
        let (c, d) = (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        let (c, d) = m.inverse::<SMALL>(c, d, each(by_2, block), bound(2));
        let (e, f) = (_mm512_permutex2var_epi64(c, mix_low, d), _mm512_permutex2var_epi64(c, mix_high, d));
        let (e, f) = m.inverse::<SMALL>(e, f, each(by_4, block), bound(3));
        *pair = [cast(_mm512_shuffle_i64x2::<0x44>(e, f)), cast(_mm512_shuffle_i64x2::<0xee>(e, f))];
    }
    let (mut distance, mut level) = (8, 4);
    while 2 * distance < ring.n {
        let blocks = ring.n / 4 / distance;
        let first = ring.inverse[2 * blocks..4 * blocks].as_chunks::<2>().0;
        let second = &ring.inverse[blocks..2 * blocks];
        let (bound, next_bound) = (bound(level), bound(level + 1));
        for ((pairs, [w_low, w_high]), w) in x.chunks_exact_mut(4 * distance).zip(first).zip(second) {
            let (w, w_low, w_high) = (same(*w), same(*w_low), same(*w_high));
            let [a, b, c, d] = quarters(pairs);
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                let (e, f) = m.inverse::<SMALL>(cast(*a), cast(*b), w_low, bound);
                let (g, h) = m.inverse::<SMALL>(cast(*c), cast(*d), w_high, bound);
                let (e, g) = m.inverse::<SMALL>(e, g, w, next_bound);
                let (f, h) = m.inverse::<SMALL>(f, h, w, next_bound);
                (*a, *b, *c, *d) = (cast(e), cast(f), cast(g), cast(h));
            }
        }
        (distance, level) = (distance * 4, level + 2);
    }
    if distance < ring.n {
        let (low, high) = x.split_at_mut(distance);
        let w = same(ring.inverse[1]);
        for (a, b) in low.as_chunks_mut::<8>().0.iter_mut().zip(high.as_chunks_mut::<8>().0) {
            let (u, v) = m.inverse::<SMALL>(cast(*a), cast(*b), w, bound(level));
            (*a, *b) = (cast(u), cast(v));
        }
    }
    let scale = same(ring.scale);
    for vector in x.as_chunks_mut::<8>().0 {
        *vector = cast(m.below_once(m.multiply(cast(*vector), scale)));
    }
}

/// low + high · 2^52 modulo q, for a low half below 2^63 and a high half below 2^51.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn reduce(m: Modulus, one: Factor, high_one: Factor, low: Vector, high: Vector) -> Vector {
    let high = _mm512_add_epi64(high, _mm512_srli_epi64::<52>(low));
    let low = m.multiply(_mm512_and_si512(low, m.low), one);
    let sum = _mm512_add_epi64(m.multiply(high, high_one), low);
    m.below_once(m.below_twice(sum))
}

#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn inner_product(ring: &Ring, digits: &[Poly], rows: &[Ciphertext], out: &mut Ciphertext) {
    let (m, one, high_one) = (Modulus::new(ring.q), same(ring.one), same(ring.high));
    let zero = _mm512_setzero_si512();
    let (a, b) = (out.a.0.as_chunks_mut::<8>().0, out.b.0.as_chunks_mut::<8>().0);
    for (at, (a, b)) in a.iter_mut().zip(b).enumerate().take(ring.n / 8) {
        let (mut a_low, mut a_high, mut b_low, mut b_high) = (zero, zero, zero, zero);
        for (digit, row) in digits.iter().zip(rows) {
            let digit: Vector = cast(digit.0.as_chunks::<8>().0[at]);
            let row_a: Vector = cast(row.a.0.as_chunks::<8>().0[at]);
            let row_b: Vector = cast(row.b.0.as_chunks::<8>().0[at]);
            a_low = _mm512_madd52lo_epu64(a_low, digit, row_a);
            a_high = _mm512_madd52hi_epu64(a_high, digit, row_a);
            b_low = _mm512_madd52lo_epu64(b_low, digit, row_b);
            b_high = _mm512_madd52hi_epu64(b_high, digit, row_b);
        }
        *a = cast(reduce(m, one, high_one, a_low, a_high));
        *b = cast(reduce(m, one, high_one, b_low, b_high));
    }
}

#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn scan(ring: &Ring, table: &[[u32; 8]], query: &[[[u32; 8]; 2]], out: &mut [[[u64; 8]; 2]]) {
    let rows = query.len();
    let (groups, rest) = out.as_chunks_mut::<4>();
    for (table, out) in table.chunks_exact(4 * rows).zip(groups.iter_mut()) {
        columns(ring, table, query, out);
    }
    let done = 4 * rows * groups.len();
    for (table, out) in table[done..].chunks_exact(rows).zip(rest) {
        columns(ring, table, query, std::array::from_mut(out));
    }
}

/// The sums of some columns at once, so that a word of the query is read once for all of them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn columns<const C: usize>(
    ring: &Ring,
    table: &[[u32; 8]],
    query: &[[[u32; 8]; 2]],
    out: &mut [[[u64; 8]; 2]; C],
) {
    let rows = query.len();
    let mut sums = [[_mm512_setzero_si512(); 4]; C];
    let table: [&[[u32; 8]]; C] = std::array::from_fn(|column| &table[column * rows..][..rows]);
    for (row, [a, b]) in query.iter().enumerate() {
        let (a, b) = (_mm512_cvtepu32_epi64(cast(*a)), _mm512_cvtepu32_epi64(cast(*b)));
        for (sums, table) in sums.iter_mut().zip(table) {
            let word = _mm512_cvtepu32_epi64(cast(table[row]));
            sums[0] = _mm512_madd52lo_epu64(sums[0], word, a);
            sums[1] = _mm512_madd52hi_epu64(sums[1], word, a);
            sums[2] = _mm512_madd52lo_epu64(sums[2], word, b);
            sums[3] = _mm512_madd52hi_epu64(sums[3], word, b);
        }
    }
    let (m, one, high_one) = (Modulus::new(ring.q), same(ring.one), same(ring.high));
    for (out, sums) in out.iter_mut().zip(sums) {
        let [a_low, a_high, b_low, b_high] = sums;
        *out = [cast(reduce(m, one, high_one, a_low, a_high)), cast(reduce(m, one, high_one, b_low, b_high))];
    }
}

#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
fn switch(x: &mut Poly) {
    let (factor, half, zero) = (all(Q_TO_Q1), all(1 << 17), _mm512_setzero_si512());
    let m = Modulus::new(Q1);
    for vector in x.0.as_chunks_mut::<8>().0 {
        let product = _mm512_madd52hi_epu64(zero, cast(*vector), factor);
        let rounded = _mm512_srli_epi64::<18>(_mm512_add_epi64(product, half));
        *vector = cast(m.below_once(rounded));
    }
}

const _: () = assert!(N.is_multiple_of(16) && Q_TO_Q1 < 1 << 52);
