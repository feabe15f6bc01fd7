//! Find friends: a client of an Acquaint server, for apps.
//!
//! An app reads an address book ([`address_book`]), brings it into the form that is sent ([`prepare`]), verifies the
//! person's own number, and imports:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use acquaint_client::identifier::{Identifier, Region};
//! use acquaint_client::prepare::{Wanted, prepare};
//! use acquaint_client::{Client, address_book};
//!
//! let client = Client::new("https://contacts.example.com", "the operator's API key")?;
//! let (me, my_number) = ("did:plc:me", "+12125550123");
//!
//! client.start_verification(me, my_number).await?;
//! let token = client.verify(me, my_number, "123456").await?; // the code that arrived
//!
//! let book = address_book::read(&std::fs::read("contacts.vcf")?)?;
//! let own = [Identifier::parse(my_number, None)?];
//! let list = prepare(&book.contacts, Wanted { region: Some(Region::parse("US")?), emails: false, own: &own });
//! println!("left out: {}", list.skipped);
//!
//! // One token allows one import, of at most 1000 entries.
//! let batch = list.batches().next().unwrap_or_default();
//! for found in client.import(me, &token, batch.iter().map(|entry| entry.text()).collect()).await? {
//!     let name = batch.get(found.input_index).and_then(|entry| entry.name.as_deref());
//!     println!("{} is {}", name.unwrap_or("somebody"), found.subject);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`discovery`] looks people up who want to be found, without that they have the caller in their address books.
//!
//! `examples/find_friends.rs` is a whole program. Every call has a deadline, and those that can be repeated without harm
//! are repeated when the server cannot be reached ([`Settings`]). [`ClientError`] can be matched: it has the server's
//! reason, and how long to wait where the server says so. No type here prints a number, an address or a key.

pub mod address_book;
mod client;
pub mod discovery;
mod error;
mod operator;
pub mod prepare;
mod retry;
mod rpc;
mod settings;
mod skipped;
mod transport;

pub use acquaint_protocol::identifier;

pub use client::{Client, Found, Page, Removed, SyncStatus};
pub use error::{ClientError, Reason};
pub use operator::{
    AuditEvent, DeadLetter, DirectoryEpoch, DirectoryKeys, DirectoryRotation, Epoch, EpochRows, Epochs,
    LoadedMappings, MAX_MAPPINGS, Mapping, Notifications, Operator, RefusedMapping, Retirement,
};
pub use settings::Settings;
pub use skipped::{SkipReason, Skipped};

/// Entries that one import takes at most (`app.bsky.contact.importContacts`).
pub const MAX_CONTACTS: usize = 1000;
