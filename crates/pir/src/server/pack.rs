//! Answers of all lookups of a query become one small ciphertext.
//!
//! A slot's bytes stand at the exponents that are multiples of the number of slots, once it is rotated into place. So of
//! a · s only the part at multiples of `parts` exponents matters, which is a ciphertext of several halves a in a subring.
//! A key switch takes it to a ring of half the degree, and there the subrings of two or four answers interleave.

use super::keys::EvaluationKeys;
use super::{Scratch, Server};
use crate::parameters::{Q1, Q2, SMALL_N, parts};
use crate::ring::{Ciphertext, reduce_once};
use crate::wire::{VERSION, pack};

impl Server {
    /// The answer's bytes.
    pub(super) fn pack(
        &self,
        answers: &[Ciphertext],
        keys: &EvaluationKeys,
        scratch: &mut Scratch,
    ) -> Vec<u8> {
        let parameters = self.tables.parameters();
        let mut message = Vec::with_capacity(parameters.answer_bytes());
        message.push(VERSION);
        let rows = keys.packing.iter().find(|(slots, _)| *slots == parameters.packed());
        let rows = rows.map(|(_, rows)| rows.as_slice()).unwrap_or_default();
        for answers in answers.chunks(parameters.packed()) {
            self.pack_ciphertext(answers, rows, scratch, &mut message);
        }
        message
    }

    /// One of an answer's ciphertexts.
    fn pack_ciphertext(
        &self,
        answers: &[Ciphertext],
        rows: &[Ciphertext],
        scratch: &mut Scratch,
        message: &mut Vec<u8>,
    ) {
        let (kernel, ring) = (self.tables.kernel, &self.tables.small_ring);
        let parameters = self.tables.parameters();
        let (parts, gadget, bits) = (parts(answers.len()), parameters.gadgets.packing, parameters.bits);

        let mut digits = Vec::with_capacity(parts * gadget.digits);
        for part in 0..parts {
            interleave(answers, part, parts, |answer| &answer.a.0, &mut scratch.poly.0[..SMALL_N]);
            kernel.digits(&scratch.poly.0[..SMALL_N], gadget, Q2, &mut scratch.digits[..gadget.digits]);
            for digit in &mut scratch.digits[..gadget.digits] {
                kernel.forward(ring, digit);
                digits.push(digit.clone());
            }
        }
        kernel.inner_product(ring, &digits, rows, &mut scratch.image);
        kernel.inverse(ring, &mut scratch.image.a);
        kernel.inverse(ring, &mut scratch.image.b);
        interleave(answers, 0, parts, |answer| &answer.b.0, &mut scratch.poly.0[..SMALL_N]);
        for (b, own) in scratch.image.b.0[..SMALL_N].iter_mut().zip(&scratch.poly.0) {
            *b = reduce_once(*b + own, Q2);
        }

        let a = scratch.image.a.0[..SMALL_N].iter().map(|value| round(*value, bits.a));
        pack(a, bits.a, message);
        let places =
            (0..answers.len()).flat_map(|slot| (0..parameters.slot_bytes()).map(move |byte| (slot, byte)));
        let b = places
            .map(|(slot, byte)| round(scratch.image.b.0[parameters.answer_position(slot, byte)], bits.b));
        pack(b, bits.b, message);
    }
}

/// The coefficients whose exponents leave the rest `part`, of all answers in turn, modulo q2.
fn interleave(
    answers: &[Ciphertext],
    part: usize,
    parts: usize,
    half: impl Fn(&Ciphertext) -> &[u64],
    out: &mut [u64],
) {
    for (number, answer) in answers.iter().enumerate() {
        let values = half(answer).iter().skip(part).step_by(parts);
        for (out, value) in out.iter_mut().skip(number).step_by(answers.len()).zip(values) {
            // A product of 32 and 27 bits.
            *out = reduce_once((value * Q2 + Q1 / 2) / Q1, Q2);
        }
    }
}

/// From modulus q2 to a power of two. What becomes the power itself is cut to 0 when it is packed.
fn round(value: u64, bits: u32) -> u64 {
    ((value << bits) + Q2 / 2) / Q2
}
