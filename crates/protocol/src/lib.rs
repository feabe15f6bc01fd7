//! What a server, a phone and a browser must agree on, byte for byte: identifiers, pair hashes and wire messages.
//!
//! Pure functions: no I/O, no clock, no global randomness. The same inputs give the same bytes everywhere.
//!
//! - [`identifier`]: phone numbers, e-mail addresses, service-independent identifiers and accounts. `parse` is the only
//!   way in, and no type here prints what it holds.
//! - [`pair`]: from two identifiers to a pair hash and an order bit ("Canonical bytes, version 1").
//! - [`oprf`]: what a server computes with its key without seeing of what (RFC 9497).
//! - [`bucket`]: lookups in buckets, sealed and as Rocket.Chat's page has them.
//! - [`lookup`]: private lookup, of which the server learns neither who is asked for nor who is found.
//! - [`message`]: every message that crosses the wire.
//!
//! ```
//! use acquaint_protocol::identifier::{Phone, Region, Sii};
//! use acquaint_protocol::pair::{Pair, order_bit};
//!
//! let mine = Sii::from(&Phone::parse("(212) 555-0123", Some(Region::parse("US")?))?);
//! let theirs = Sii::parse("mailto:alice@example.com")?;
//! assert_eq!(mine.as_str(), "tel:+12125550123");
//! assert_eq!(Pair::new(&mine, &theirs)?.as_bytes(), b"mailto:alice@example.com\0tel:+12125550123");
//! assert_ne!(order_bit(&mine, &theirs), order_bit(&theirs, &mine));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bucket;
pub mod credential;
pub mod identifier;
pub mod lookup;
pub mod message;
pub mod oprf;
pub mod pair;
