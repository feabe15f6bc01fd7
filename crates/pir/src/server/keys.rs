//! Evaluation keys as the server uses them.

use super::Server;
use crate::parameters::{N, Parameters, Q_BITS, Q2_BITS, SMALL_N, parts};
use crate::ring::{Ciphertext, Ring};
use crate::sample::public;
use crate::wire::{DecodeError, open, unpack};

/// The evaluation keys of a session, transformed: some 3 MB ([`EvaluationKeys::memory_bytes`]).
///
/// They belong to a session of at most 24 hours and are kept in memory only: a stored key would link the queries of a
/// device for life.
pub struct EvaluationKeys {
    /// For each level of the expansion, a row for each digit.
    pub(super) expansion: Vec<Vec<Ciphertext>>,
    pub(super) conversion: Vec<Ciphertext>,
    /// For each number of slots that a ciphertext of an answer takes: for each part of the secret, a row for each digit.
    pub(super) packing: Vec<(usize, Vec<Ciphertext>)>,
    pub(super) id: [u8; 16],
}

impl EvaluationKeys {
    /// What they take in memory, for whoever keeps some of them.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let packing: usize = self.packing.iter().map(|(_, rows)| rows.len()).sum();
        let rows = self.expansion.iter().map(Vec::len).sum::<usize>() + self.conversion.len() + packing;
        rows * size_of::<Ciphertext>()
    }
}

impl std::fmt::Debug for EvaluationKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("EvaluationKeys")
    }
}

impl Server {
    /// Reads evaluation keys.
    ///
    /// # Errors
    /// When the bytes are not keys for these parameters. Version, name and length are checked before any work is done.
    pub fn read_keys(&self, bytes: &[u8]) -> Result<EvaluationKeys, DecodeError> {
        let parameters = self.configuration().parameters();
        let id = parameters.keys_id();
        let (seed, halves) = open(bytes, &id, DecodeError::Parameters, parameters.keys_bytes())?;
        let (large, small) =
            halves.split_at_checked(parameters.large_keys_bytes()).ok_or(DecodeError::Truncated)?;

        let mut rows = vec![Ciphertext::ZERO; parameters.large_keys()];
        unpack(large, Q_BITS, self.tables.ring.q, coefficients(&mut rows, N))?;
        let mut packing = vec![Ciphertext::ZERO; parameters.small_keys()];
        unpack(small, Q2_BITS, self.tables.small_ring.q, coefficients(&mut packing, SMALL_N))?;

        let first_small = rows.len();
        self.complete(&self.tables.ring, seed, 0, &mut rows);
        self.complete(&self.tables.small_ring, seed, first_small, &mut packing);
        let (expansion, conversion) = split_rows(parameters, rows);
        let mut packing = packing.into_iter();
        let packing = parameters.packings().map(|slots| {
            (slots, packing.by_ref().take(parts(slots) * parameters.gadgets.packing.digits).collect())
        });
        let packing = packing.collect();
        Ok(EvaluationKeys { expansion, conversion, packing, id })
    }

    /// Draws the halves a, and transforms both.
    fn complete(&self, ring: &Ring, seed: &[u8; 32], first: usize, rows: &mut [Ciphertext]) {
        for (index, row) in rows.iter_mut().enumerate() {
            public(seed, (first + index) as u64, ring.q, &mut row.a.0[..ring.n]);
            self.tables.kernel.forward(ring, &mut row.a);
            self.tables.kernel.forward(ring, &mut row.b);
        }
    }
}

/// The coefficients of all halves b.
fn coefficients(rows: &mut [Ciphertext], n: usize) -> Coefficients<'_> {
    Coefficients { left: rows.len() * n, rows: rows.iter_mut(), current: [].iter_mut(), n }
}

struct Coefficients<'a> {
    rows: std::slice::IterMut<'a, Ciphertext>,
    current: std::slice::IterMut<'a, u64>,
    n: usize,
    left: usize,
}

impl<'a> Iterator for Coefficients<'a> {
    type Item = &'a mut u64;

    fn next(&mut self) -> Option<&'a mut u64> {
        self.left = self.left.saturating_sub(1);
        if let Some(next) = self.current.next() {
            return Some(next);
        }
        self.current = self.rows.next()?.b.0[..self.n].iter_mut();
        self.current.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Coefficients<'_> {}

fn split_rows(parameters: &Parameters, rows: Vec<Ciphertext>) -> (Vec<Vec<Ciphertext>>, Vec<Ciphertext>) {
    let mut rows = rows.into_iter();
    let expansion = parameters
        .gadgets
        .expansion
        .iter()
        .map(|gadget| rows.by_ref().take(gadget.digits).collect())
        .collect();
    (expansion, rows.collect())
}
