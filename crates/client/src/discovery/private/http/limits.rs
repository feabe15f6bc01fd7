//! How much of a round is sent at once: where a quota has no room for its class, smaller classes follow, and what is left out is
//! never seen from how many contacts there are unless [`Trust::unpadded`](crate::discovery::Trust) allows it.

use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::Mode;
use chacha20::ChaCha20Rng;
use http::Method;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use super::super::batch::smaller;
use super::super::round::{ElementsRound, QueryRound};
use super::super::{Session, Tables};
use super::calls::bytes_call;
use super::{Directory, Now};
use crate::discovery::refresh::{is_limit, random};
use crate::discovery::{Book, DiscoveryError};

/// What a round that failed had got before.
#[derive(Default)]
struct Got {
    contacts: Vec<Sii>,
    /// How many contacts there was room for in what was answered.
    places: usize,
}

impl Directory {
    /// Outputs for all of `contacts` that lack one: `size` elements if there is such a contact, in as many requests as that
    /// needs. After a refusal smaller classes are asked for until all places of `size` were.
    pub(super) async fn outputs(
        &mut self,
        book: &mut Book,
        tables: &Tables,
        contacts: &[Sii],
        size: usize,
        may_tell: bool,
    ) -> Result<(), DiscoveryError> {
        let mut missing: Vec<Sii> =
            contacts.iter().filter(|contact| !has_output(book, contact)).cloned().collect();
        let mut class = size.min(usize::from(tables.terms.max_elements));
        let mut left = if missing.is_empty() { 0 } else { size };
        while left > 0 {
            let count = left.min(class);
            match self.elements(book, tables, &mut missing, count).await {
                Err(DiscoveryError::Call(error)) if is_limit(&error) => match smaller(count) {
                    Some(less) => class = less,
                    // Dummies alone need not be evaluated.
                    None if missing.is_empty() => return Ok(()),
                    None if may_tell && missing.len() < count => {
                        self.done.unpadded = true;
                        let all = missing.len();
                        return self.elements(book, tables, &mut missing, all).await;
                    }
                    None => return Err(error.into()),
                },
                outcome => {
                    outcome?;
                    left -= count;
                }
            }
        }
        Ok(())
    }

    /// One request for `count` elements. Those whose outputs came leave `missing`.
    async fn elements(
        &mut self,
        book: &mut Book,
        tables: &Tables,
        missing: &mut Vec<Sii>,
        count: usize,
    ) -> Result<(), DiscoveryError> {
        let some: Vec<Sii> = missing.iter().take(count).cloned().collect();
        let learnt = some.len();
        let round = ElementsRound::new(book, tables, some, count, &mut stream()?)?;
        let (body, limit) = (round.request().to_vec(), round.answer_bytes());
        let deadline = self.settings.import_deadline;
        let call = bytes_call(Method::POST, "/v1/discovery/oprf", body, limit, deadline);
        let answer = self.home.call(&call).await?;
        round.finish(book, tables, &answer)?;
        missing.drain(..learnt);
        self.done.evaluated += count;
        self.done.round_trips += 1;
        Ok(())
    }

    /// Queries for all of `contacts` that have an output, in a round for `size`. After a refusal rounds of smaller classes follow
    /// until all places of `size` were asked for.
    pub(super) async fn queries(
        &mut self,
        book: &mut Book,
        tables: &Tables,
        contacts: &[Sii],
        size: usize,
        now: &mut Now<'_>,
    ) -> Result<(), DiscoveryError> {
        let is_ready = |contact: &&Sii| self.mode == Mode::Pir || has_output(book, contact);
        let mut wanted: Vec<Sii> = contacts.iter().filter(is_ready).cloned().collect();
        let (mut left, mut class) = (size, size);
        while left > 0 {
            let count = left.min(class);
            let some: Vec<Sii> = wanted.iter().take(count).cloned().collect();
            let Err((got, error)) = self.padded(book, tables, &some, count, now).await else {
                wanted.drain(..some.len());
                left -= count;
                continue;
            };
            let DiscoveryError::Call(error) = error else { return Err(error) };
            if !is_limit(&error) {
                return Err(error.into());
            }
            wanted.retain(|contact| !got.contacts.contains(contact));
            left = left.saturating_sub(got.places);
            match smaller(count) {
                Some(less) => class = less,
                // Queries that only fill up need not be answered.
                None if wanted.is_empty() => return Ok(()),
                None if now.trust.unpadded && wanted.len() < count => {
                    self.done.unpadded = true;
                    let outcome = self.padded(book, tables, &wanted, wanted.len(), now).await;
                    return outcome.map_err(|(_, error)| error);
                }
                None => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A round of one size. A failure comes with what was got before it.
    async fn padded(
        &mut self,
        book: &mut Book,
        tables: &Tables,
        contacts: &[Sii],
        size: usize,
        now: &mut Now<'_>,
    ) -> Result<(), (Got, DiscoveryError)> {
        let nothing = |error| (Got::default(), error);
        let mut random = stream().map_err(nothing)?;
        let mut round = QueryRound::new(book, tables, contacts, size, &mut random).map_err(nothing)?;
        let session = self.session.take();
        let mut session = session.unwrap_or_else(|| Session::new(tables, now.seconds(), &mut random));
        let outcome = self.requests(&mut round, tables, &mut session, &mut random, now).await;
        self.session = Some(session);
        match outcome {
            Ok(()) => {
                let (asked, postponed) = round.finish(book, now.at).map_err(nothing)?;
                self.done.asked += asked;
                self.done.postponed += postponed;
                Ok(())
            }
            // Otherwise a round that the quota has no room for would be paid for again and again.
            Err(DiscoveryError::Call(error)) if is_limit(&error) => {
                let (contacts, places) = round.keep(book, now.at);
                self.done.asked += contacts.len();
                Err((Got { contacts, places }, error.into()))
            }
            Err(error) => Err(nothing(error)),
        }
    }
}

fn has_output(book: &Book, contact: &Sii) -> bool {
    book.people.get(contact).is_some_and(|known| known.output.is_some())
}

/// Random numbers that begin with the system's.
fn stream() -> Result<ChaCha20Rng, DiscoveryError> {
    let mut seed = Zeroizing::new([0; 32]);
    random(&mut *seed).map_err(|_| DiscoveryError::Randomness)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
