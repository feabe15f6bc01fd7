//! The arithmetic of the server on what the processor has. All kernels give the same results, bit for bit. The crate's
//! only `unsafe` is in this folder.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod elementwise;
pub(crate) mod portable;
#[cfg(test)]
mod tests;

use crate::parameters::Gadget;
use crate::ring::{Automorphism, Ciphertext, Poly, Ring};

#[cfg(target_arch = "x86_64")]
use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use avx512::Avx512;
use portable::Portable;

/// Instructions that the server's arithmetic uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Inner);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inner {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Kernel {
    /// Plain integers.
    pub const PORTABLE: Self = Self(Inner::Portable(Portable));

    /// Those that this processor can run, the fastest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        kernels.extend(Avx512::detect().map(|kernel| Self(Inner::Avx512(kernel))));
        #[cfg(target_arch = "x86_64")]
        kernels.extend(Avx2::detect().map(|kernel| Self(Inner::Avx2(kernel))));
        kernels.push(Self::PORTABLE);
        kernels
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
            Inner::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Inner::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Inner::Avx512(_) => "avx512",
        }
    }
}

/// Makes each step a method that does it with the kernel at hand.
macro_rules! dispatch {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $kind:ty),*);)+) => {
        impl Kernel {
            $($(#[$attribute])*
            pub(crate) fn $name(self, $($argument: $kind),*) {
                match self.0 {
                    Inner::Portable(kernel) => kernel.$name($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    Inner::Avx2(kernel) => kernel.$name($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    Inner::Avx512(kernel) => kernel.$name($($argument),*),
                }
            })+
        }
    };
}

dispatch! {
    /// The transform, in place.
    fn forward(ring: &Ring, x: &mut Poly);
    /// Its inverse.
    fn inverse(ring: &Ring, x: &mut Poly);
    /// Point by point, the sum of `digits` times `rows`, all transformed.
    fn inner_product(ring: &Ring, digits: &[Poly], rows: &[Ciphertext], out: &mut Ciphertext);
    /// The sums of columns over all rows, for one block of eight coefficients: the table's words times both halves of the
    /// query's. `table` has one column after the other.
    fn scan(ring: &Ring, table: &[[u32; 8]], query: &[[[u32; 8]; 2]], out: &mut [[[u64; 8]; 2]]);
    /// From modulus Q to q1: x · q1 / Q, rounded.
    fn switch(x: &mut Poly);
    /// The digits of `x`, taken around zero, as numbers modulo q.
    fn digits(x: &[u64], gadget: Gadget, q: u64, out: &mut [Poly]);
    /// x + y into x.
    fn add(x: &mut Poly, y: &Poly, q: u64);
    /// x − y into `out`.
    fn subtract(x: &Poly, y: &Poly, q: u64, out: &mut Poly);
    /// The image of `x` under an automorphism.
    fn automorphism(x: &Poly, map: &Automorphism, q: u64, out: &mut Poly);
    /// x · X^(−shift) − x into `out`, for 0 < shift < n.
    fn rotate_subtract(x: &Poly, shift: usize, q: u64, out: &mut Poly);
    /// x + t into `even`, (x − t) · X^(−shift) into `odd`, modulo Q.
    fn split(x: &Poly, t: &Poly, shift: usize, even: &mut Poly, odd: &mut Poly);
    /// (b − a', −b') into (a', b'), modulo Q.
    fn selector_row(ciphertext: &Ciphertext, switched: &mut Ciphertext);
    /// out + x · y modulo q1.
    fn multiply_add(x: &[u32], y: &Poly, out: &mut Poly);
}

/// Makes each step a method of a kernel's type, compiled for the instructions that a value of the type is proof of.
#[cfg(target_arch = "x86_64")]
macro_rules! methods {
    ($kernel:ident with $features:literal:
     $(fn $name:ident($($argument:ident: $kind:ty),*) = $body:expr;)+) => {
        impl $kernel {
            $(pub(super) fn $name(self, $($argument: $kind),*) {
                #[target_feature(enable = $features)]
                fn run($($argument: $kind),*) {
                    $body
                }
                // SAFETY: `detect` alone makes a value of this type, and it found these instructions.
                unsafe { run($($argument),*) }
            })+
        }
    };
}

#[cfg(target_arch = "x86_64")]
use methods;
