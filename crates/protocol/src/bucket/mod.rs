//! Lookups in buckets (seed 003): a client names a part of a hash, and gets all that the directory has under it.
//!
//! Two profiles. `sealed-buckets` ([`sealed`], [`parameters`], [`layout`], [`wire`]) has its hashes from the
//! [OPRF](crate::oprf), its entries sealed to whoever knows the identifier, and its buckets all of one size; it is described in
//! docs/protocol/directory.md. `rocketchat` ([`weak`]) is the page of the seed, byte for byte, with all that it leaks.
//! [`matrix`] is the hash of Matrix's identity service. [`payload`] reckons what a lookup costs in bytes.

mod base64url;
pub mod layout;
pub mod matrix;
pub mod parameters;
pub mod payload;
pub mod sealed;
pub mod weak;
pub mod wire;

pub use base64url::Bytes;

/// The name of the sealed profile, on the wire and in what is derived and signed.
pub const SEALED: &str = "sealed-buckets";
