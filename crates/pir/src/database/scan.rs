//! The first dimension: every word of the table times the query's.

use std::sync::Arc;

use super::{Database, Difference};
use crate::ring::{Ciphertext, Poly};

/// Columns that all queries of a pass use before the next come from memory: they fit into the second cache.
const TOGETHER: usize = 8;

impl Database {
    /// For each query and each column, the sum of the column's polynomials times the encrypted choice of a row;
    /// transformed. A query has, for each block of eight coefficients, both halves of each row. All read one state of the
    /// table, and the table is read from memory once for all of them.
    pub(crate) fn first_dimension(&self, queries: &[Vec<[[u32; 8]; 2]>]) -> Vec<Vec<Ciphertext>> {
        let shape = self.tables.parameters().shape;
        let (kernel, ring) = (self.tables.kernel, &self.tables.table_ring);
        let mut results = vec![vec![Ciphertext::ZERO; shape.columns]; queries.len()];
        let mut sums = [[[0; 8]; 2]; TOGETHER];

        let words = self.words();
        let pending = Arc::clone(&self.pending());
        let table = words.words().as_chunks::<8>().0;
        for (block, table) in table.chunks_exact(shape.columns * shape.rows).enumerate() {
            let rows = block * shape.rows..(block + 1) * shape.rows;
            for (group, table) in table.chunks(TOGETHER * shape.rows).enumerate() {
                for (query, columns) in queries.iter().zip(&mut results) {
                    let columns = columns.iter_mut().skip(group * TOGETHER).take(TOGETHER);
                    let sums = &mut sums[..columns.len()];
                    kernel.scan(ring, table, query.get(rows.clone()).unwrap_or_default(), sums);
                    for (column, [a, b]) in columns.zip(sums) {
                        column.a.0[8 * block..8 * block + 8].copy_from_slice(a);
                        column.b.0[8 * block..8 * block + 8].copy_from_slice(b);
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
