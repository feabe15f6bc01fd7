//! Choosing with encrypted bits: folding columns and rotating slots (Spiral's second dimension, eprint 2022/368).

use super::keys::EvaluationKeys;
use super::{Scratch, Server};
use crate::parameters::{Q, Q1};
use crate::ring::Ciphertext;

/// An encrypted bit (RGSW), modulo q1 and transformed: rows that meet the digits of b, then those that meet the digits
/// of a.
pub(super) type Selector = Vec<Ciphertext>;

impl Server {
    /// Makes of an expanded ciphertext the rows of a selector for one digit: what it encrypts, and the same times minus the
    /// secret.
    pub(super) fn selector_rows(
        &self,
        plain: &mut Ciphertext,
        keys: &EvaluationKeys,
        scratch: &mut Scratch,
    ) -> Ciphertext {
        let kernel = self.tables.kernel;
        scratch.poly.0.copy_from_slice(&plain.a.0);
        self.switch_key(self.tables.parameters().gadgets.conversion, &keys.conversion, scratch);
        kernel.selector_row(plain, &mut scratch.image);
        let mut times_secret = scratch.image.clone();
        self.to_table_modulus(plain);
        self.to_table_modulus(&mut times_secret);
        times_secret
    }

    /// From modulus Q to q1, and transformed.
    pub(super) fn to_table_modulus(&self, ciphertext: &mut Ciphertext) {
        for half in [&mut ciphertext.a, &mut ciphertext.b] {
            self.tables.kernel.switch(half);
            self.tables.kernel.forward(&self.tables.table_ring, half);
        }
    }

    /// For each lookup, the column that its selectors name, of columns that are not transformed.
    pub(super) fn fold(
        &self,
        columns: Vec<Ciphertext>,
        lookups: &[&[&Selector]],
        scratch: &mut Scratch,
    ) -> Vec<Ciphertext> {
        let (low, high) = columns.split_at(columns.len() / 2);
        let mut halves: Vec<Vec<Ciphertext>> =
            lookups.iter().map(|_| Vec::with_capacity(low.len())).collect();
        // The first step takes the same differences apart for all lookups.
        for (low, high) in low.iter().zip(high) {
            self.difference(low, high, scratch);
            self.take_apart(scratch);
            for (half, selectors) in halves.iter_mut().zip(lookups) {
                let mut chosen = low.clone();
                if let Some(selector) = selectors.last() {
                    self.add_chosen(&mut chosen, selector, scratch);
                }
                half.push(chosen);
            }
        }
        let single = columns.into_iter().next().unwrap_or(Ciphertext::ZERO);
        halves
            .into_iter()
            .zip(lookups)
            .map(|(mut folded, selectors)| {
                for selector in selectors.iter().rev().skip(1) {
                    let half = folded.len() / 2;
                    let (low, high) = folded.split_at_mut(half);
                    for (low, high) in low.iter_mut().zip(&*high) {
                        self.difference(low, high, scratch);
                        self.choose_between(low, selector, scratch);
                    }
                    folded.truncate(half);
                }
                folded.pop().unwrap_or_else(|| single.clone())
            })
            .collect()
    }

    /// Turns a polynomial so that the slot that the selectors name comes first.
    pub(super) fn rotate(&self, ciphertext: &mut Ciphertext, selectors: &[&Selector], scratch: &mut Scratch) {
        let kernel = self.tables.kernel;
        for (bit, selector) in selectors.iter().enumerate() {
            kernel.rotate_subtract(&ciphertext.a, 1 << bit, Q1, &mut scratch.difference.a);
            kernel.rotate_subtract(&ciphertext.b, 1 << bit, Q1, &mut scratch.difference.b);
            self.choose_between(ciphertext, selector, scratch);
        }
    }

    fn difference(&self, low: &Ciphertext, high: &Ciphertext, scratch: &mut Scratch) {
        let kernel = self.tables.kernel;
        kernel.subtract(&high.a, &low.a, Q1, &mut scratch.difference.a);
        kernel.subtract(&high.b, &low.b, Q1, &mut scratch.difference.b);
    }

    /// Adds `scratch.difference` times the selector's bit (the external product).
    fn choose_between(&self, ciphertext: &mut Ciphertext, selector: &Selector, scratch: &mut Scratch) {
        self.take_apart(scratch);
        self.add_chosen(ciphertext, selector, scratch);
    }

    /// The transformed digits of `scratch.difference`, those of b first, into `scratch.digits`.
    fn take_apart(&self, scratch: &mut Scratch) {
        let (kernel, gadget) = (self.tables.kernel, self.tables.parameters().gadgets.selection);
        let digits = &mut scratch.digits[..2 * gadget.digits];
        let (of_b, of_a) = digits.split_at_mut(gadget.digits);
        kernel.digits(&scratch.difference.b.0, gadget, Q1, of_b);
        kernel.digits(&scratch.difference.a.0, gadget, Q1, of_a);
        for digit in digits {
            kernel.forward(&self.tables.table_ring, digit);
        }
    }

    /// Adds what the digits stand for times the selector's bit.
    fn add_chosen(&self, ciphertext: &mut Ciphertext, selector: &Selector, scratch: &mut Scratch) {
        let (kernel, ring) = (self.tables.kernel, &self.tables.table_ring);
        kernel.inner_product(ring, &scratch.digits[..selector.len()], selector, &mut scratch.image);
        for (half, product) in
            [(&mut ciphertext.a, &mut scratch.image.a), (&mut ciphertext.b, &mut scratch.image.b)]
        {
            kernel.inverse(ring, product);
            kernel.add(half, product, Q1);
        }
    }
}

const _: () = assert!(Q1 < Q);
