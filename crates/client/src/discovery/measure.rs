//! What lookups of this build really send, to hold the [arithmetic](super::payload) against: bytes of bodies, without HTTP's
//! heads and TLS. The messages are made and counted, of people who do not exist.

pub mod engine;

use std::collections::HashMap;

use acquaint_protocol::bucket::layout::Layout;
use acquaint_protocol::bucket::parameters::Terms;
use acquaint_protocol::bucket::payload::Page;
use acquaint_protocol::bucket::weak::{Candidate, ContactsFound, Strong, Weak, WeakLength};
use acquaint_protocol::bucket::wire::OprfAnswer;
use acquaint_protocol::bucket::{Bytes, SEALED};
use acquaint_protocol::identifier::Sii;
use acquaint_protocol::oprf::{BlindedElement, ServerKey};

use super::http::unreadable;
use super::refresh::random;
use super::round::{BucketRound, OprfRound};
use super::weak::WeakRound;
use super::{Book, DiscoveryError, Profile};

/// Contacts that are made up at most: each costs some tenths of a millisecond.
pub const MAX_CONTACTS: usize = 50_000;

/// Listings that are made up at most.
pub const MAX_LISTINGS: u64 = 5_000_000;

/// Bytes of usernames, and of what stands around them, that are made up at most in one measurement.
pub const MAX_NAME_BYTES: f64 = 64.0 * 1024.0 * 1024.0;

/// Bytes of a user's id in Rocket.Chat.
const ID: &str = "aobEdbYhXfu5hkeqG";

/// Bytes of all bodies of a lookup of which nothing is known from before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// Requests.
    pub requests: usize,
    /// Bytes of their bodies.
    pub sent: u64,
    /// Bytes of the answers' bodies.
    pub received: u64,
}

impl Measured {
    fn add(&mut self, sent: usize, received: u64) {
        self.requests += 1;
        self.sent += u64::try_from(sent).unwrap_or_default();
        self.received += received;
    }
}

/// A refresh of sealed buckets for so many contacts, with names of `account_bytes`.
///
/// # Errors
/// [`DiscoveryError::Randomness`], and [`DiscoveryError::OtherAnswer`] for sizes that cannot be.
pub fn sealed(contacts: usize, layout: Layout, account_bytes: u16) -> Result<Measured, DiscoveryError> {
    let mut seed = [0; 32];
    random(&mut seed).map_err(|_| DiscoveryError::Randomness)?;
    let key = ServerKey::derive(&seed, b"").map_err(|_| DiscoveryError::Randomness)?;
    let terms = Terms {
        provider: "contacts.example".into(),
        profile: SEALED.into(),
        epoch: 1,
        layout: 1,
        prefix_bits: layout.prefix_bits,
        slots: layout.slots,
        account_bytes,
        max_batch: 1000,
        oprf_public_key: Bytes(key.public_key().0),
        issued_at: 0,
        expires_at: u64::MAX,
    };
    let mut book = Book::new(Profile::Sealed);
    let mut due = book.due(&(0..contacts).filter_map(number).collect::<Vec<_>>(), 0);
    let mut measured = Measured::default();
    while let Some(round) = OprfRound::next(&book, &terms, &due, random)? {
        let sent = serde_json::to_vec(&round.request).map_err(unreadable)?.len();
        let elements = round.request.elements.iter().map(|element| BlindedElement::from_bytes(&element.0));
        let elements: Vec<_> = elements.collect::<Result<_, _>>().map_err(unreadable)?;
        let (elements, proof) = key.evaluate(&elements, random).map_err(unreadable)?;
        let elements = elements.iter().map(|element| Bytes(element.0)).collect();
        let answer = OprfAnswer { epoch: 1, elements, proof: Bytes(proof.0) };
        let received = serde_json::to_vec(&answer).map_err(unreadable)?.len();
        measured.add(sent, u64::try_from(received).unwrap_or_default());
        round.finish(&mut book, &terms, &answer)?;
    }
    while let Some(round) = BucketRound::next(&book, &terms, &due, random)? {
        let sent = serde_json::to_vec(&round.request).map_err(unreadable)?.len();
        // An answer of any other length is refused.
        measured.add(sent, round.answer_bytes());
        let looked_for = round.identifiers();
        due.retain(|identifier| !looked_for.contains(identifier));
    }
    Ok(measured)
}

/// Bytes of usernames that [`rocketchat`] would make up: those of everyone who shares a weak hash with a contact.
#[must_use]
pub fn name_bytes(page: &Page) -> f64 {
    let shared = page.contacts * (page.listings() / page.weak_hashes + page.known);
    page.username_bytes * shared.min(page.listings()).max(1.0)
}

/// A query by weak hashes, with the page's numbers of users, contacts, and contacts that are there, and its length of
/// usernames.
///
/// # Errors
/// None but those of JSON.
pub fn rocketchat(page: &Page, length: WeakLength) -> Result<Measured, DiscoveryError> {
    let (contacts, listings) = (whole(page.contacts), whole(page.listings()));
    let known = whole(page.contacts * page.known).min(listings);
    // Those who are there come first in the directory; the others' numbers begin behind it.
    let wanted = (0..known).chain(listings..listings + contacts.saturating_sub(known));
    let wanted: Vec<Sii> = wanted.filter_map(number).collect();
    let name = "u".repeat(whole(page.username_bytes));
    let rounds = WeakRound::all(&wanted, length);
    let round_of: HashMap<Weak, usize> = rounds
        .iter()
        .enumerate()
        .flat_map(|(place, round)| round.weak().iter().map(move |weak| (*weak, place)))
        .collect();
    let mut found: Vec<Vec<Candidate>> = Vec::new();
    found.resize_with(rounds.len(), Vec::new);
    for strong in (0..listings).filter_map(|listing| Some(Strong::of(&number(listing)?))) {
        let candidates = round_of.get(&strong.weak(length)).and_then(|place| found.get_mut(*place));
        if let Some(candidates) = candidates {
            candidates.push(Candidate { h: strong.hex(), u: name.clone(), id: ID.into() });
        }
    }
    let mut measured = Measured::default();
    for (round, strong_hashes) in rounds.iter().zip(found) {
        let sent = serde_json::to_vec(&round.request()).map_err(unreadable)?.len();
        let answer = ContactsFound { strong_hashes, success: true };
        let received = serde_json::to_vec(&answer).map_err(unreadable)?.len();
        measured.add(sent, u64::try_from(received).unwrap_or_default());
    }
    Ok(measured)
}

/// The number of somebody who does not exist.
fn number(who: usize) -> Option<Sii> {
    Sii::parse(&format!("tel:+999{who:010}")).ok()
}

fn whole(number: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is below 0 or beyond the largest becomes that"
    )]
    let whole = number.round() as usize;
    whole
}

#[cfg(test)]
mod tests {
    use acquaint_protocol::bucket::layout::choose;
    use acquaint_protocol::bucket::payload::Sealed;

    use super::*;

    #[test]
    fn sealed_lookups_are_as_large_as_reckoned() {
        let page = Page { users: 2_000.0, contacts: 300.0, ..Page::default() };
        let layout = choose(4_000, 100).unwrap();
        let measured = sealed(300, layout, 40).unwrap();
        assert_eq!(measured.requests, 2);
        let reckoned = Sealed::new(&page, 100, 40).unwrap();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let near = |bytes: u64, wanted: f64| (bytes as f64 / wanted - 1.0).abs() < 0.05;
        assert!(near(measured.sent, reckoned.request()), "{measured:?}");
        assert!(near(measured.received, reckoned.response()), "{measured:?}");
        assert_eq!(sealed(2_500, layout, 40).unwrap().requests, 4, "three of the OPRF, one for 32 buckets");
        assert_eq!(sealed(0, layout, 40).unwrap(), Measured::default());
    }

    #[test]
    fn weak_lookups_answer_every_candidate() {
        let page =
            Page { users: 20.0, identifiers: 1.0, discoverable: 1.0, contacts: 10.0, ..Page::default() };
        let measured = rocketchat(&page, WeakLength::Six).unwrap();
        // One of the ten is there, and no other shares 24 bits with any of so few.
        let entry = r#"{"h":"","u":"","_id":""}"#.len() + 40 + 10 + ID.len();
        let answer = r#"{"strongHashes":[],"success":true}"#.len() + entry;
        let request = r#"{"weakHashes":[]}"#.len() + 10 * 9 - 1;
        let wanted = (1, u64::try_from(request).unwrap(), u64::try_from(answer).unwrap());
        assert_eq!((measured.requests, measured.sent, measured.received), wanted);
    }
}
