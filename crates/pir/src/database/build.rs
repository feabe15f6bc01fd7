//! Filling a table.

use super::{Database, DatabaseError, Storage, coefficients};
use crate::parameters::N;
use crate::ring::Poly;
use crate::server::Server;

/// Polynomials that are written together: their words for a block of coefficients lie side by side.
const TOGETHER: usize = 16;

impl Database {
    /// A table of the records that `fill` gives: it is asked once for each polynomial, by row and column, and writes the
    /// slots one after the other over zeros.
    ///
    /// # Errors
    /// When the storage has another size than [`crate::Parameters::table_words`].
    pub fn build(
        server: &Server,
        mut storage: Box<dyn Storage>,
        mut fill: impl FnMut(usize, usize, &mut [u8]),
    ) -> Result<Self, DatabaseError> {
        let (expected, found) = (server.tables.parameters().table_words(), storage.words().len());
        if found != expected {
            return Err(DatabaseError::Storage { expected, found });
        }
        let words = storage.words_mut();
        let tables = &server.tables;
        let (shape, slot_bytes) = (tables.parameters().shape, tables.parameters().slot_bytes());
        let mut polys = vec![Poly::ZERO; TOGETHER];
        for column in 0..shape.columns {
            for first in (0..shape.rows).step_by(TOGETHER) {
                let together = TOGETHER.min(shape.rows - first);
                for (row, poly) in (first..).zip(&mut polys[..together]) {
                    let mut bytes = [0; N];
                    fill(row, column, &mut bytes);
                    let mask = tables.mask.polynomial(row + shape.rows * column);
                    let mut interleaved = [0; N];
                    let slots = bytes.chunks_exact(slot_bytes).zip(mask.chunks_exact(slot_bytes));
                    for (slot, (bytes, mask)) in slots.enumerate() {
                        let places = interleaved.iter_mut().skip(slot).step_by(shape.slots);
                        for ((place, byte), mask) in places.zip(bytes).zip(mask) {
                            *place = byte ^ mask;
                        }
                    }
                    coefficients(&interleaved, poly);
                    tables.kernel.forward(&tables.table_ring, poly);
                }
                for block in 0..N / 8 {
                    let at = ((block * shape.columns + column) * shape.rows + first) * 8;
                    let lanes =
                        words.get_mut(at..at + 8 * together).unwrap_or_default().as_chunks_mut::<8>().0;
                    for (lanes, poly) in lanes.iter_mut().zip(&polys) {
                        let values = &poly.0[8 * block..8 * block + 8];
                        for (word, value) in lanes.iter_mut().zip(values) {
                            *word = *value as u32;
                        }
                    }
                }
            }
        }
        Self::open(server, storage)
    }
}
