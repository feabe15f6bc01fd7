//! The first dimension: every word of the table times the query's.

use std::sync::Arc;

use super::Database;
use crate::parameters::N;
use crate::ring::Ciphertext;

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

        for difference in pending.iter() {
            let half = |half: usize| {
                let blocks = rows.iter().skip(difference.row).step_by(shape.rows).take(N / 8);
                blocks.flat_map(move |block| block[half].map(u64::from))
            };
            if let Some(column) = columns.get_mut(difference.column) {
                kernel.multiply_add(&*difference.transform, half(0), &mut column.a);
                kernel.multiply_add(&*difference.transform, half(1), &mut column.b);
            }
        }
        columns
    }
}
