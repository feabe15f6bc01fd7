//! Steps that treat every coefficient alike. They are inlined into functions of each kernel, where the compiler makes
//! vectors of them.
//!
//! No step branches on a coefficient.

use crate::parameters::{Gadget, N, Q, Q1};
use crate::ring::{Automorphism, Ciphertext, Poly, from_signed, reduce_once};

/// The digits of `x` modulo `q`, taken around zero.
#[inline(always)]
pub(super) fn digits(x: &[u64], gadget: Gadget, q: u64, out: &mut [Poly]) {
    let half_digit = 1u64 << (gadget.width - 1);
    // Half of each digit but the last makes them balanced, and half of what is dropped rounds.
    let mut offset = (1u64 << gadget.dropped) >> 1;
    for digit in 0..gadget.digits - 1 {
        offset += half_digit << gadget.weight_log(digit);
    }
    let mask = (1u64 << gadget.width) - 1;
    for (digit, out) in out.iter_mut().enumerate().take(gadget.digits) {
        let shift = gadget.weight_log(digit);
        let last = digit + 1 == gadget.digits;
        for (out, x) in out.0.iter_mut().zip(x) {
            let above = (*x > q / 2) as u64;
            let centred = x.wrapping_sub(q & above.wrapping_neg()).wrapping_add(offset) as i64;
            let shifted = centred >> shift;
            let value = if last { shifted } else { (shifted as u64 & mask) as i64 - half_digit as i64 };
            *out = from_signed(value, q);
        }
    }
}

/// x + y into x.
#[inline(always)]
pub(super) fn add(x: &mut Poly, y: &Poly, q: u64) {
    for (x, y) in x.0.iter_mut().zip(&y.0) {
        *x = reduce_once(*x + y, q);
    }
}

/// x − y into `out`.
#[inline(always)]
pub(super) fn subtract(x: &Poly, y: &Poly, q: u64, out: &mut Poly) {
    for ((out, x), y) in out.0.iter_mut().zip(&x.0).zip(&y.0) {
        *out = reduce_once(x + q - y, q);
    }
}

/// The image of `x` under an automorphism.
#[inline(always)]
pub(super) fn automorphism(x: &Poly, map: &Automorphism, q: u64, out: &mut Poly) {
    for (out, source) in out.0.iter_mut().zip(&map.sources) {
        let value = x.0[usize::from(source / 2) % N];
        let sign = u64::from(source & 1).wrapping_neg();
        *out = reduce_once((value ^ sign).wrapping_sub(sign).wrapping_add(q & sign), q);
    }
}

/// x · X^(−shift) − x into `out`, for 0 < shift < n.
#[inline(always)]
pub(super) fn rotate_subtract(x: &Poly, shift: usize, q: u64, out: &mut Poly) {
    let (low, high) = x.0.split_at(shift);
    let (out_low, out_high) = out.0.split_at_mut(N - shift);
    for ((out, rotated), x) in out_low.iter_mut().zip(high).zip(&x.0) {
        *out = reduce_once(rotated + q - x, q);
    }
    for ((out, rotated), x) in out_high.iter_mut().zip(low).zip(&x.0[N - shift..]) {
        *out = reduce_once(reduce_once(2 * q - rotated - x, q), q);
    }
}

/// x + t into `even`, (x − t) · X^(−shift) into `odd`.
#[inline(always)]
pub(super) fn split(x: &Poly, t: &Poly, shift: usize, even: &mut Poly, odd: &mut Poly) {
    for ((even, x), t) in even.0.iter_mut().zip(&x.0).zip(&t.0) {
        *even = reduce_once(x + t, Q);
    }
    let (x_low, x_high) = x.0.split_at(shift);
    let (t_low, t_high) = t.0.split_at(shift);
    let (odd_low, odd_high) = odd.0.split_at_mut(N - shift);
    for ((odd, x), t) in odd_low.iter_mut().zip(x_high).zip(t_high) {
        *odd = reduce_once(x + Q - t, Q);
    }
    for ((odd, x), t) in odd_high.iter_mut().zip(x_low).zip(t_low) {
        *odd = reduce_once(t + Q - x, Q);
    }
}

/// ⌊q1 · 2^70 / Q⌋, which is less than 2^52.
pub(super) const Q_TO_Q1: u64 = (((Q1 as u128) << 70) / Q as u128) as u64;

/// From modulus Q to q1: x · q1 / Q, rounded.
#[inline(always)]
pub(super) fn switch(x: &mut Poly) {
    for x in &mut x.0 {
        let product = ((u128::from(*x) * u128::from(Q_TO_Q1)) >> 52) as u64;
        *x = reduce_once((product + (1 << 17)) >> 18, Q1);
    }
}

/// The negative of a ciphertext with the roles of its halves as a selector's second rows have them: (b − a', −b').
#[inline(always)]
pub(super) fn selector_row(ciphertext: &Ciphertext, switched: &mut Ciphertext) {
    for (a, b) in switched.a.0.iter_mut().zip(&ciphertext.b.0) {
        *a = reduce_once(b + Q - *a, Q);
    }
    for b in &mut switched.b.0 {
        *b = reduce_once(Q - *b, Q);
    }
}

/// out + x · y modulo q1, for a change of the table that is not part of it yet.
#[inline(always)]
pub(super) fn multiply_add(x: &[u32], y: &Poly, out: &mut Poly) {
    const INVERSE: u128 = (1 << 64) / Q1 as u128;
    for ((out, x), y) in out.0.iter_mut().zip(x).zip(&y.0) {
        let product = u64::from(*x) * y;
        let quotient = ((u128::from(product) * INVERSE) >> 64) as u64;
        let product = reduce_once(product - quotient * Q1, Q1);
        *out = reduce_once(*out + product, Q1);
    }
}
