//! The arithmetic of the server on what the processor has. All kernels give the same results, bit for bit.

mod elementwise;
pub(crate) mod portable;

use crate::parameters::Gadget;
use crate::ring::{Automorphism, Ciphertext, Poly, Ring};

/// Instructions that the server's arithmetic uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Inner);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inner {
    Portable,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Kernel {
    /// Plain integers.
    pub const PORTABLE: Self = Self(Inner::Portable);

    /// Those that this processor can run, the fastest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        vec![Self::PORTABLE]
    }

    /// The fastest.
    #[must_use]
    pub fn best() -> Self {
        Self::available().first().copied().unwrap_or(Self::PORTABLE)
    }

    /// What it is called in figures and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Inner::Portable => "portable",
        }
    }

    /// The transform, in place.
    pub(crate) fn forward(self, ring: &Ring, x: &mut Poly) {
        match self.0 {
            Inner::Portable => portable::forward(ring, &mut x.0[..ring.n]),
        }
    }

    /// Its inverse.
    pub(crate) fn inverse(self, ring: &Ring, x: &mut Poly) {
        match self.0 {
            Inner::Portable => portable::inverse(ring, &mut x.0[..ring.n]),
        }
    }

    /// Point by point, the sum of `digits` times `rows`, all transformed.
    pub(crate) fn inner_product(
        self,
        ring: &Ring,
        digits: &[Poly],
        rows: &[Ciphertext],
        out: &mut Ciphertext,
    ) {
        match self.0 {
            Inner::Portable => portable::inner_product(ring, digits, rows, out),
        }
    }

    /// Blocks of eight coefficients of neighbouring columns, for one block of coefficients: `table` has the rows of one
    /// column after those of the other.
    pub(crate) fn scan(
        self,
        ring: &Ring,
        table: &[[u32; 8]],
        query: &[[[u32; 8]; 2]],
        out: &mut [[[u64; 8]; 2]],
    ) {
        match self.0 {
            Inner::Portable => {
                for (column, out) in table.chunks_exact(query.len()).zip(out) {
                    portable::scan(ring, column, query, out);
                }
            }
        }
    }

    /// The digits of `x`, taken around zero, as numbers modulo q.
    pub(crate) fn digits(self, x: &[u64], gadget: Gadget, q: u64, out: &mut [Poly]) {
        match self.0 {
            Inner::Portable => elementwise::digits(x, gadget, q, out),
        }
    }

    /// x + y into x.
    pub(crate) fn add(self, x: &mut Poly, y: &Poly, q: u64) {
        match self.0 {
            Inner::Portable => elementwise::add(&mut x.0, &y.0, q),
        }
    }

    /// x − y into `out`.
    pub(crate) fn subtract(self, x: &Poly, y: &Poly, q: u64, out: &mut Poly) {
        match self.0 {
            Inner::Portable => elementwise::subtract(&x.0, &y.0, q, &mut out.0),
        }
    }

    /// The image of `x` under an automorphism.
    pub(crate) fn automorphism(self, x: &Poly, map: &Automorphism, q: u64, out: &mut Poly) {
        match self.0 {
            Inner::Portable => elementwise::automorphism(x, map, q, out),
        }
    }

    /// x · X^(−shift) − x into `out`.
    pub(crate) fn rotate_subtract(self, x: &Poly, shift: usize, q: u64, out: &mut Poly) {
        match self.0 {
            Inner::Portable => elementwise::rotate_subtract(x, shift, q, out),
        }
    }

    /// x + t into `even`, (x − t) · X^(−shift) into `odd`, modulo Q.
    pub(crate) fn split(self, x: &Poly, t: &Poly, shift: usize, even: &mut Poly, odd: &mut Poly) {
        match self.0 {
            Inner::Portable => elementwise::split(x, t, shift, even, odd),
        }
    }

    /// From modulus Q to q1: x · q1 / Q, rounded.
    pub(crate) fn switch(self, x: &mut Poly) {
        match self.0 {
            Inner::Portable => elementwise::switch(&mut x.0),
        }
    }

    /// (b − a', −b') into (a', b'), modulo Q.
    pub(crate) fn selector_row(self, ciphertext: &Ciphertext, switched: &mut Ciphertext) {
        match self.0 {
            Inner::Portable => elementwise::selector_row(ciphertext, switched),
        }
    }

    /// out + x · y modulo q1.
    pub(crate) fn multiply_add(self, x: &[u32], y: impl Iterator<Item = u64>, out: &mut Poly) {
        match self.0 {
            Inner::Portable => elementwise::multiply_add(x, y, &mut out.0),
        }
    }
}
