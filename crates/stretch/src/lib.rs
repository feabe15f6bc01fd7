//! Argon2id (RFC 9106, version 0x13, one lane) for whoever computes many at once.
//!
//! The usual call hashes one password and gives its memory back. Here a [`Worker`] keeps its memory (for the
//! vector kernels on huge pages where the system has them) and advances several independent hashes block by block in turn: while one computes, the blocks
//! that the others need come from memory. The compression function runs on AVX-512 or AVX2 where the processor has them;
//! elsewhere, and as the reference in tests, it is RustCrypto's `argon2`. The tags are the same everywhere.
//!
//! ```
//! use acquaint_stretch::{Cost, Job, Worker};
//!
//! let mut worker = Worker::new(Cost::new(19 * 1024, 2)?)?;
//! let mut tags = [[0; 32]; 2];
//! let [first, second] = &mut tags;
//! worker.hash(
//!     &mut [
//!         Job { password: b"a password", salt: b"sixteen bytes or", tag: first },
//!         Job { password: b"another one", salt: b"more of salt....", tag: second },
//!     ],
//!     || true,
//! )?;
//! assert_ne!(tags[0], tags[1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! No secret value (K) and no associated data (X) are taken: both are empty. A hash allocates nothing.

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod cost;
mod job;
mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vector;
mod worker;

pub use cost::{Cost, CostError};
pub use job::{Field, HashError, Job};
pub use worker::{Kernel, Worker, WorkerError};
