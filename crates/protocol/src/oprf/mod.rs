//! The oblivious pseudorandom function of sealed buckets: RFC 9497, mode VOPRF (0x01), suite `ristretto255-SHA512`.
//!
//! A client blinds its inputs ([`blind`]), the server evaluates what it cannot read ([`ServerKey::evaluate`]) and proves
//! that it used the key that it published, and the client makes outputs of the answer ([`Blinding::finalize`]). Who
//! holds the key computes the same outputs without a client ([`ServerKey::output`]).
//!
//! The client's half is the crate `voprf`. The server's half takes its hashes to the group and to scalars from there, and
//! computes with the points itself: it shares one inversion among all elements that it writes, and one multiplication among
//! all weights of a proof, which are public. That is more than twice as fast. RFC 9497's vectors hold both to the same bytes.
//!
//! Randomness is an argument: a closure that fills bytes, or fails.

mod client;
mod element;
mod server;

pub use client::{BlindError, Blinding, FinalizeError, blind};
pub use element::{BlindedElement, ElementError, EvaluatedElement, Output, Proof, PublicKey};
pub use server::{EvaluateError, InputError, KeyError, ServerKey};

use voprf::{CipherSuite, Group, Ristretto255};

/// Elements that one proof can stand for at most (RFC 9497, section 2.2: their count is written in two bytes).
pub const MAX_BATCH: usize = u16::MAX as usize;

/// Bytes of an input at most (RFC 9497, section 1.2).
pub const MAX_INPUT: usize = u16::MAX as usize;

/// The suite's hash, in the version of its traits that `voprf` takes.
type Hash = <Ristretto255 as CipherSuite>::Hash;
type Point = <Ristretto255 as Group>::Elem;
type Scalar = <Ristretto255 as Group>::Scalar;

/// `contextString` (RFC 9497, section 3.1) for this mode and suite, behind the label of each use.
const HASH_TO_GROUP: &[u8] = b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512";
const HASH_TO_SCALAR: &[u8] = b"HashToScalar-OPRFV1-\x01-ristretto255-SHA512";
const SEED: &[u8] = b"Seed-OPRFV1-\x01-ristretto255-SHA512";

#[cfg(test)]
mod tests;
