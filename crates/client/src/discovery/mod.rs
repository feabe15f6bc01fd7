//! Finding people who want to be found: lookups in a directory's buckets, and one's own listings there.
//!
//! A [`Book`] remembers what was learnt, so that a refresh asks only for what is new or older than a day. With the sealed
//! profile ([`Directory::refresh`]) the server sees blinded elements and the numbers of buckets; with Rocket.Chat's
//! ([`Directory::refresh_weak`]) it sees weak hashes, and everybody who asks gets strong ones.
//!
//! ```no_run
//! # async fn run(now: u64) -> Result<(), Box<dyn std::error::Error>> {
//! use acquaint_client::Settings;
//! use acquaint_client::discovery::{Book, Caller, Directory, Profile, Trust};
//! use acquaint_client::identifier::Sii;
//!
//! let caller = Caller::Session("the account's session token".into());
//! let mut directory = Directory::new("https://contacts.example.com", Settings::default(), caller)?;
//! let mut book = Book::open("contacts.book".as_ref(), Profile::Sealed)?;
//! let friends = [Sii::parse("tel:+12125550123")?];
//!
//! let outcome = directory.refresh(&mut book, &friends, &Trust::default(), now).await;
//! book.save("contacts.book".as_ref())?; // what was learnt before a failure is kept
//! println!("asked for {}", outcome?.asked);
//! println!("{}", book.found(&friends[0]).unwrap_or("not there"));
//! # Ok(())
//! # }
//! ```
//!
//! A server that learns nothing at all of whom is asked for, not even a bucket, is in [`private`].
//!
//! What is exchanged stands in docs/protocol/directory.md. [`round`] is that without a network, for other transports.

mod book;
mod error;
mod http;
mod listings;
pub mod measure;
pub mod private;
mod refresh;
pub mod round;
mod trust;
mod weak;

pub use book::{Book, BookError, Profile};
pub use error::DiscoveryError;
pub use http::Caller;
pub use listings::{Listing, Verified};
pub use refresh::{Directory, Refreshed};
pub use trust::{Accepted, MAX_BUCKET_BYTES, Trust, TrustError};
pub use weak::WeakLength;

pub use acquaint_protocol::bucket::{layout, payload};

use acquaint_protocol::bucket::Bytes;

/// How long a result is good, in seconds: what is younger is not asked for again.
pub const FRESH_S: u64 = 86_400;

/// A provider's key from its text: 32 bytes in base64url.
#[must_use]
pub fn parse_key(text: &str) -> Option<[u8; 32]> {
    Bytes::parse(text).map(|Bytes(key)| key)
}

/// A provider's key as a person compares it.
#[must_use]
pub fn key_text(key: &[u8; 32]) -> String {
    Bytes(*key).to_string()
}

#[cfg(test)]
mod tests;
