//! The transforms and products in plain integers, for every processor. Nothing here branches on a coefficient, so it is
//! also what clients use on secrets.

use super::elementwise;
use crate::parameters::{Gadget, Q1};
use crate::ring::{Automorphism, Ciphertext, Constant, Poly, Ring, reduce_once};

/// Every processor has what this kernel needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Portable;

macro_rules! methods {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) = $body:expr;)+) => {
        impl Portable {
            $(pub(super) fn $name(self, $($argument: $kind),*) {
                $body
            })+
        }
    };
}

methods! {
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

const LOW: u64 = (1 << 52) - 1;

/// x · w modulo q, less than 2q, for x below 2^52.
#[inline(always)]
fn shoup(x: u64, w: Constant, q: u64) -> u64 {
    let quotient = ((u128::from(x) * u128::from(w.quotient)) >> 52) as u64;
    x.wrapping_mul(w.value).wrapping_sub(quotient.wrapping_mul(q))
}

/// x · w modulo q, for x below 2^52.
#[inline(always)]
pub(crate) fn multiply(x: u64, w: Constant, q: u64) -> u64 {
    reduce_once(shoup(x, w, q), q)
}

/// Cooley and Tukey's butterflies with Harvey's lazy reduction: values stay below 4q until the end.
pub(crate) fn forward(ring: &Ring, x: &mut [u64]) {
    let q = ring.q;
    let (mut distance, mut blocks) = (ring.n / 2, 1);
    while distance > 0 {
        for (pairs, w) in x.chunks_exact_mut(2 * distance).zip(&ring.forward[blocks..2 * blocks]) {
            let (low, high) = pairs.split_at_mut(distance);
            for (a, b) in low.iter_mut().zip(high) {
                let (u, v) = (reduce_once(*a, 2 * q), shoup(*b, *w, q));
                (*a, *b) = (u + v, u + 2 * q - v);
            }
        }
        (distance, blocks) = (distance / 2, blocks * 2);
    }
    for x in x {
        *x = reduce_once(reduce_once(*x, 2 * q), q);
    }
}

/// Gentleman and Sande's butterflies, the inverse of [`forward`]: values stay below 2q until the end.
pub(crate) fn inverse(ring: &Ring, x: &mut [u64]) {
    let q = ring.q;
    let (mut distance, mut blocks) = (1, ring.n / 2);
    while blocks > 0 {
        for (pairs, w) in x.chunks_exact_mut(2 * distance).zip(&ring.inverse[blocks..2 * blocks]) {
            let (low, high) = pairs.split_at_mut(distance);
            for (a, b) in low.iter_mut().zip(high) {
                let (u, v) = (*a, *b);
                (*a, *b) = (reduce_once(u + v, 2 * q), shoup(u + 2 * q - v, *w, q));
            }
        }
        (distance, blocks) = (distance * 2, blocks / 2);
    }
    for x in x {
        *x = multiply(*x, ring.scale, q);
    }
}

/// x · y into x, point by point.
pub(crate) fn multiply_points(ring: &Ring, x: &mut [u64], y: &[u64]) {
    for (x, y) in x.iter_mut().zip(y) {
        let product = u128::from(*x) * u128::from(*y);
        *x = reduce(ring, product as u64 & LOW, (product >> 52) as u64);
    }
}

/// low + high · 2^52 modulo q, for a low half below 2^63 and a high half below 2^51.
#[inline(always)]
pub(super) fn reduce(ring: &Ring, low: u64, high: u64) -> u64 {
    let high = high + (low >> 52);
    let sum = shoup(high, ring.high, ring.q) + shoup(low & LOW, ring.one, ring.q);
    reduce_once(reduce_once(sum, 2 * ring.q), ring.q)
}

/// Point by point, the sum of digits times key rows.
fn inner_product(ring: &Ring, digits: &[Poly], rows: &[Ciphertext], out: &mut Ciphertext) {
    for (half, out) in [&mut out.a, &mut out.b].into_iter().enumerate() {
        for (at, out) in out.0[..ring.n].iter_mut().enumerate() {
            let (mut low, mut high) = (0, 0);
            for (digit, row) in digits.iter().zip(rows) {
                let row = if half == 0 { &row.a } else { &row.b };
                let product = u128::from(digit.0[at]) * u128::from(row.0[at]);
                low += product as u64 & LOW;
                high += (product >> 52) as u64;
            }
            *out = reduce(ring, low, high);
        }
    }
}

fn scan(ring: &Ring, table: &[[u32; 8]], query: &[[[u32; 8]; 2]], out: &mut [[[u64; 8]; 2]]) {
    for (column, out) in table.chunks_exact(query.len()).zip(out) {
        scan_column(ring, column, query, out);
    }
}

/// The sum over all rows of the table's words times the query's.
fn scan_column(ring: &Ring, table: &[[u32; 8]], query: &[[[u32; 8]; 2]], out: &mut [[u64; 8]; 2]) {
    let (mut low, mut high) = ([[0u64; 8]; 2], [[0u64; 8]; 2]);
    for (words, halves) in table.iter().zip(query) {
        for half in 0..2 {
            for lane in 0..8 {
                let product = u64::from(words[lane]) * u64::from(halves[half][lane]);
                low[half][lane] += product & u64::from(u32::MAX);
                high[half][lane] += product >> 32;
            }
        }
    }
    debug_assert_eq!(ring.q, Q1, "words of 32 bits");
    for half in 0..2 {
        for lane in 0..8 {
            // Sums of at most 2048 products: both are less than 2^43.
            let (low, high) = (low[half][lane], high[half][lane]);
            let (low, high) = (low + ((high & 0xf_ffff) << 32), high >> 20);
            out[half][lane] = reduce(ring, low, high);
        }
    }
}
