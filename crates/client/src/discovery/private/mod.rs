//! Private lookup (docs/protocol/lookup.md): the server learns neither who is asked for nor who is found.
//!
//! What it learns is when somebody asks, and how much; so elements and queries are padded to a few sizes ([`batch_size`]), each
//! shard gets the same number ([`per_shard`]), and a [`Schedule`] says when to ask without looking at anything that happens; that
//! somebody is new shows all the same, in mode `psm`, by a request for evaluations.
//! Whether a record opened changes nothing that the server can see: a client that asked again for what it did not understand
//! would give its secret away, coefficient by coefficient.
//!
//! ```no_run
//! # async fn run(now: u64) -> Result<(), Box<dyn std::error::Error>> {
//! use acquaint_client::Settings;
//! use acquaint_client::discovery::private::{Directory, Mode};
//! use acquaint_client::discovery::{Book, Caller, Profile, Trust};
//! use acquaint_client::identifier::Sii;
//!
//! let caller = Caller::Session("the account's session token".into());
//! let url = "https://contacts.example.com";
//! let mut directory = Directory::new(url, Settings::default(), caller, Mode::Psm)?;
//! let mut book = Book::open("contacts.psm.book".as_ref(), Profile::Psm)?;
//! let friends = [Sii::parse("tel:+12125550123")?];
//!
//! let told = |progress| println!("{progress:?}");
//! let outcome = directory.refresh(&mut book, &friends, &Trust::default(), now, told).await;
//! book.save("contacts.psm.book".as_ref())?; // what was learnt before a failure is kept
//! println!("asked for {}", outcome?.asked);
//! println!("{}", book.found(&friends[0]).unwrap_or("not there"));
//! # Ok(())
//! # }
//! ```
//!
//! [`round`] is that without a network, for other transports.

mod batch;
mod http;
pub mod round;
mod schedule;
mod session;
mod tables;
mod trust;

pub use acquaint_protocol::lookup::Mode;
pub use acquaint_protocol::lookup::parameters::{Parameters, Published, Server, Terms};
pub use batch::{MAX_BATCH, batch_size, per_shard};
pub use http::{Directory, Progress, Refreshed};
pub use schedule::{Planned, Schedule, ScheduleError};
pub use session::{SESSION_S, Session};
pub use tables::Tables;

#[cfg(test)]
mod tests;
