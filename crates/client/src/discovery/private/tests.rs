//! Private lookups against a server on a local port that really computes: the OPRF with a key, and answers over tables.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use acquaint_protocol::bucket::Bytes;
use acquaint_protocol::bucket::parameters::ParametersError;
use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::parameters::SigningKey;
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::discovery::{Book, Caller, DiscoveryError, FRESH_S, Profile, Trust, TrustError};
use crate::{ClientError, Reason};

mod answers;
mod limits;
mod provider;
mod refusals;
mod requests;
mod rounds;
mod schedule;
mod server;

use provider::Provider;
use server::{Fault, TestServer};

const NOW: u64 = 1_790_000_000;

fn sii(number: usize) -> Sii {
    Sii::parse(&format!("tel:+1212555{number:04}")).unwrap()
}

fn account(number: usize) -> String {
    format!("did:plc:{number}")
}

fn contacts(numbers: impl IntoIterator<Item = usize>) -> Vec<Sii> {
    numbers.into_iter().map(sii).collect()
}

fn random(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn book(mode: Mode) -> Book {
    Book::new(mode.into())
}

/// A refresh with the usual trust, that nobody watches.
async fn refresh(
    directory: &mut Directory,
    book: &mut Book,
    contacts: &[Sii],
    now: u64,
) -> Result<Refreshed, DiscoveryError> {
    directory.refresh(book, contacts, &Trust::default(), now, |_| ()).await
}

fn found(book: &Book, contacts: &[Sii]) -> Vec<String> {
    contacts.iter().filter_map(|contact| book.found(contact)).map(str::to_owned).collect()
}
