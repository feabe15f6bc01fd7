//! The first dimension: every word of the table times the query's.

use std::sync::Arc;

use super::{Database, Difference};
use crate::ring::{Ciphertext, Poly};

/// Columns that all queries of a pass use before the next come from memory, of [`BLOCKS`] blocks: they fit into the
/// second cache.
const COLUMNS: usize = 8;
/// Blocks of coefficients that are computed before the sums are written, so that they are written in longer pieces.
const BLOCKS: usize = 4;

impl Database {
    /// For each query and each column, the sum of the column's polynomials times the encrypted choice of a row;
    /// transformed. A query has, for each block of eight coefficients, both halves of each row. All read one state of the
    /// table, and the table is read from memory once for all of them.
    pub(crate) fn first_dimension(&self, queries: &[Vec<[[u32; 8]; 2]>]) -> Vec<Vec<Ciphertext>> {
        let shape = self.tables.parameters().shape;
        let (kernel, ring) = (self.tables.kernel, &self.tables.table_ring);
        let mut results = vec![vec![Ciphertext::ZERO; shape.columns]; queries.len()];
        let mut sums = [[[[0; 8]; 2]; COLUMNS]; BLOCKS];

        let words = self.words();
        let pending = Arc::clone(&self.pending());
        let table = words.words().as_chunks::<8>().0;
        let (in_block, in_group) = (shape.columns * shape.rows, COLUMNS * shape.rows);
        for (at, blocks) in table.chunks_exact(BLOCKS * in_block).enumerate() {
            let coefficients = 8 * BLOCKS * at..8 * BLOCKS * (at + 1);
            for first in (0..shape.columns).step_by(COLUMNS) {
                for (query, columns) in queries.iter().zip(&mut results) {
                    let columns = columns.iter_mut().skip(first).take(COLUMNS);
                    let rows = query.chunks_exact(shape.rows).skip(BLOCKS * at);
                    for ((block, rows), sums) in blocks.chunks_exact(in_block).zip(rows).zip(&mut sums) {
                        let group = block.chunks(in_group).nth(first / COLUMNS).unwrap_or_default();
                        kernel.scan(ring, group, rows, &mut sums[..columns.len()]);
                    }
                    for (number, column) in columns.enumerate() {
                        for (half, out) in [&mut column.a, &mut column.b].into_iter().enumerate() {
                            let out = out.0[coefficients.clone()].as_chunks_mut::<8>().0;
                            for (out, sums) in out.iter_mut().zip(&sums) {
                                *out = sums[number][half];
                            }
                        }
                    }
                }
            }
        }
        drop(words);
        for (query, columns) in queries.iter().zip(&mut results) {
            self.add_pending(&pending, query, columns);
        }
        results
    }

    /// What changes that are no part of the words yet add to the sums.
    fn add_pending(&self, pending: &[Arc<Difference>], query: &[[[u32; 8]; 2]], columns: &mut [Ciphertext]) {
        let rows = self.tables.parameters().shape.rows;
        let mut chosen = Box::new(Poly::ZERO);
        for difference in pending {
            let Some(column) = columns.get_mut(difference.column) else { continue };
            for (half, sums) in [&mut column.a, &mut column.b].into_iter().enumerate() {
                let of_row = query.iter().skip(difference.row).step_by(rows);
                for (out, lanes) in chosen.0.as_chunks_mut::<8>().0.iter_mut().zip(of_row) {
                    *out = lanes[half].map(u64::from);
                }
                self.tables.kernel.multiply_add(&*difference.transform, &chosen, sums);
            }
        }
    }
}
