//! The first dimension: every word of the table times the query's.

use std::sync::Arc;

use super::Database;
use crate::ring::{Ciphertext, Poly};

impl Database {
    /// For each column, the sum of its polynomials times the encrypted choice of a row; transformed. `rows` has, for each
    /// block of eight coefficients, both halves of each row.
    pub(crate) fn first_dimension(&self, rows: &[[[u32; 8]; 2]]) -> Vec<Ciphertext> {
        let shape = self.tables.parameters().shape;
        let (kernel, ring) = (self.tables.kernel, &self.tables.table_ring);
        let mut columns = vec![Ciphertext::ZERO; shape.columns];
        let mut sums = vec![[[0; 8]; 2]; shape.columns];

        let words = self.words();
        let pending = Arc::clone(&self.pending());
        let table = words.words().as_chunks::<8>().0.chunks_exact(shape.columns * shape.rows);
        for ((block, table), query) in table.enumerate().zip(rows.chunks_exact(shape.rows)) {
            kernel.scan(ring, table, query, &mut sums);
            for (column, [a, b]) in columns.iter_mut().zip(&sums) {
                column.a.0[8 * block..8 * block + 8].copy_from_slice(a);
                column.b.0[8 * block..8 * block + 8].copy_from_slice(b);
            }
        }
        drop(words);

        let mut chosen = Box::new(Poly::ZERO);
        for difference in pending.iter() {
            let Some(column) = columns.get_mut(difference.column) else { continue };
            for (half, sums) in [&mut column.a, &mut column.b].into_iter().enumerate() {
                let of_row = rows.iter().skip(difference.row).step_by(shape.rows);
                for (out, lanes) in chosen.0.as_chunks_mut::<8>().0.iter_mut().zip(of_row) {
                    *out = lanes[half].map(u64::from);
                }
                kernel.multiply_add(&*difference.transform, &chosen, sums);
            }
        }
        columns
    }
}
