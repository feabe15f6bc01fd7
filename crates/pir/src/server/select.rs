//! Choosing with encrypted bits: folding columns and rotating slots (Spiral's second dimension, eprint 2022/368).

use super::keys::EvaluationKeys;
use super::{Scratch, Server};
use crate::parameters::{Q, Q1};
use crate::ring::Ciphertext;

impl Server {
    /// Makes of an expanded ciphertext the rows of a selector for one digit: what it encrypts into `plain`, and the same times
    /// minus the secret into `times_secret`.
    ///
    /// A selector is an encrypted bit (RGSW), modulo q1 and transformed: rows that meet the digits of b, then those that meet
    /// the digits of a.
    pub(super) fn selector_rows(
        &self,
        expanded: &mut Ciphertext,
        keys: &EvaluationKeys,
        scratch: &mut Scratch,
        [plain, times_secret]: [&mut Ciphertext; 2],
    ) {
        scratch.poly.0.copy_from_slice(&expanded.a.0);
        self.switch_key(self.tables.parameters().gadgets.conversion, &keys.conversion, scratch);
        self.tables.kernel.selector_row(expanded, &mut scratch.image);
        times_secret.copy_from(&scratch.image);
        self.to_table_modulus(times_secret);
        self.to_table_modulus(expanded);
        plain.copy_from(expanded);
    }

    /// From modulus Q to q1, and transformed.
    pub(super) fn to_table_modulus(&self, ciphertext: &mut Ciphertext) {
        for half in [&mut ciphertext.a, &mut ciphertext.b] {
            self.tables.kernel.switch(half);
            self.tables.kernel.forward(&self.tables.table_ring, half);
        }
    }

    /// The slots of a lookup, which its selectors name: from the sums of all columns, transformed, of which nothing remains.
    /// For each of its answers the selectors are those of the columns, and then those of the slots.
    pub(super) fn choose(
        &self,
        columns: &mut [Ciphertext],
        selectors: &[Ciphertext],
        scratch: &mut Scratch,
        out: &mut [Ciphertext],
    ) {
        let parameters = self.tables.parameters();
        for half in columns.iter_mut().flat_map(|column| [&mut column.a, &mut column.b]) {
            self.tables.kernel.inverse(&self.tables.table_ring, half);
        }
        let folds = parameters.shape.columns.ilog2() as usize;
        let rows = 2 * parameters.gadgets.selection.digits;
        let answers = selectors.chunks_exact(parameters.selectors_each() * rows);
        let answers: Vec<_> = answers.map(|selectors| selectors.split_at(folds * rows)).collect();

        let mut others = std::mem::take(&mut scratch.others);
        self.first_fold(columns, &answers, rows, &mut others, scratch);
        let half = columns.len().div_ceil(2);
        let folded = std::iter::once(columns).chain(others.chunks_exact_mut(half));
        for ((folded, (of_columns, of_slots)), out) in folded.zip(&answers).zip(out) {
            let mut left = half;
            for selector in of_columns.rchunks_exact(rows).skip(1) {
                left /= 2;
                let (low, high) = folded.split_at_mut(left);
                for (low, high) in low.iter_mut().zip(&*high) {
                    self.difference(low, high, scratch);
                    self.choose_between(low, selector, scratch);
                }
            }
            let Some(slot) = folded.first_mut() else { continue };
            self.rotate(slot, of_slots.chunks_exact(rows), scratch);
            out.copy_from(slot);
        }
        scratch.others = others;
    }

    /// The first step of folding, which takes the same differences apart for all answers: into the first half of the columns
    /// for the first answer, into `others` for the others.
    fn first_fold(
        &self,
        columns: &mut [Ciphertext],
        answers: &[(&[Ciphertext], &[Ciphertext])],
        rows: usize,
        others: &mut [Ciphertext],
        scratch: &mut Scratch,
    ) {
        let half = columns.len().div_ceil(2);
        let (low, high) = columns.split_at_mut(half);
        for (at, low) in low.iter_mut().enumerate() {
            for (other, _) in others.iter_mut().skip(at).step_by(half).zip(answers.iter().skip(1)) {
                other.copy_from(low);
            }
            // With a single column there is nothing to choose.
            let Some(high) = high.get(at) else { continue };
            self.difference(low, high, scratch);
            self.take_apart(scratch);
            let chosen = std::iter::once(low).chain(others.iter_mut().skip(at).step_by(half));
            for (chosen, (of_columns, _)) in chosen.zip(answers) {
                if let Some(selector) = of_columns.rchunks_exact(rows).next() {
                    self.add_chosen(chosen, selector, scratch);
                }
            }
        }
    }

    /// Turns a polynomial so that the slot that the selectors name comes first.
    fn rotate<'a>(
        &self,
        ciphertext: &mut Ciphertext,
        selectors: impl Iterator<Item = &'a [Ciphertext]>,
        scratch: &mut Scratch,
    ) {
        let kernel = self.tables.kernel;
        for (bit, selector) in selectors.enumerate() {
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
    fn choose_between(&self, ciphertext: &mut Ciphertext, selector: &[Ciphertext], scratch: &mut Scratch) {
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
    fn add_chosen(&self, ciphertext: &mut Ciphertext, selector: &[Ciphertext], scratch: &mut Scratch) {
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
