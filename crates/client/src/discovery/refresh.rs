//! Lookups over HTTP: the rounds, with parameters fetched when they are needed.

use std::collections::HashSet;

use acquaint_protocol::bucket::parameters::{Parameters, Terms};
use acquaint_protocol::bucket::wire::OprfAnswer;
use acquaint_protocol::identifier::Sii;
use http::Method;

use super::http::{Call, Caller, Content, Http, unreadable};
use super::round::{BucketRound, OprfRound};
use super::{Accepted, Book, DiscoveryError, Profile, Trust};
use crate::retry::Repeat;
use crate::{ClientError, Reason, Settings};

/// A limit that leaves no room for so many elements is taken as one that leaves none.
const MIN_BATCH: usize = 25;

/// A server's directory, for one caller.
pub struct Directory {
    pub(super) http: Http,
    /// The server, as it was named.
    pub(super) url: String,
    /// The parameters that were fetched last.
    parameters: Option<Parameters>,
}

/// What a refresh did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Identifiers that were asked for.
    pub asked: usize,
    /// Identifiers whose results were younger than a day.
    pub fresh: usize,
    /// Identifiers that are left for the next refresh: the epoch changed in the middle of this one, and their prefixes were
    /// told under the one before.
    pub postponed: usize,
    /// Blinded elements that were evaluated.
    pub evaluated: usize,
    /// Buckets (or weak hashes) that were asked for.
    pub buckets: usize,
    /// Requests for evaluations and for buckets; those that were sent again are not counted.
    pub round_trips: usize,
    /// Bytes of bodies that were sent, parameters and repetitions among them.
    pub sent: u64,
    /// Bytes of bodies that were received.
    pub received: u64,
    /// The provider's key, if it is trusted for no better reason than that it was met first ([`Accepted::first_use`]).
    pub first_use: Option<[u8; 32]>,
}

impl Directory {
    /// The directory of the server at `url`. [`Settings::import_deadline`] is how long one request of a lookup may take.
    ///
    /// # Errors
    /// [`ClientError::Config`].
    pub fn new(url: &str, settings: Settings, caller: Caller) -> Result<Self, ClientError> {
        let http = Http::new(url, settings, &caller)?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), parameters: None })
    }

    /// What the provider publishes, not looked at.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn parameters(&mut self) -> Result<Parameters, ClientError> {
        self.http.json(Method::GET, "/v1/directory/parameters", None::<&()>, Repeat::Idempotent).await
    }

    /// Looks up those of `identifiers` that are new or were looked up a day ago or more, at `now` (Unix seconds): in one round
    /// trip for blinded elements and one for buckets, and in more where there are more than a request may have. The book is
    /// to be saved whatever comes of it.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn refresh(
        &mut self,
        book: &mut Book,
        identifiers: &[Sii],
        trust: &Trust,
        now: u64,
    ) -> Result<Refreshed, DiscoveryError> {
        if book.profile != Profile::Sealed {
            return Err(DiscoveryError::OtherProfile);
        }
        let (sent, received) = (self.http.sent, self.http.received);
        book.forget(identifiers, now);
        let mut due = book.due(identifiers, now);
        let mut distinct: Vec<&Sii> = identifiers.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut done = Refreshed { fresh: distinct.len() - due.len(), ..Refreshed::default() };
        let mut has_changed = false;
        let mut told = Told::default();
        while !due.is_empty() {
            let terms = self.accepted(book, trust, now, &mut done).await?;
            done.postponed += told.spare(&mut due, terms.epoch);
            match self.rounds(book, &terms, &mut due, now, (&mut done, &mut told)).await {
                Err(DiscoveryError::Call(error)) if is_change(&error) => {
                    self.parameters = None;
                    if std::mem::replace(&mut has_changed, true) {
                        return Err(DiscoveryError::KeepsChanging);
                    }
                }
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        done.sent = self.http.sent - sent;
        done.received = self.http.received - received;
        Ok(done)
    }

    /// The parameters that are good now. Those of before are looked at again: book and trust may be others.
    async fn accepted(
        &mut self,
        book: &mut Book,
        trust: &Trust,
        now: u64,
        done: &mut Refreshed,
    ) -> Result<Terms, DiscoveryError> {
        let newest = book.epoch.map_or((0, 0), |epoch| (epoch.number, epoch.layout));
        let is_good = |terms: &Terms| terms.expires_at > now && (terms.epoch, terms.layout) >= newest;
        let parameters = match self.parameters.take().filter(|kept| is_good(&kept.terms)) {
            Some(kept) => kept,
            None => self.parameters().await?,
        };
        let Accepted { terms, first_use } = book.accept(&parameters, trust, now)?;
        done.first_use = first_use.or(done.first_use);
        self.parameters = Some(parameters);
        Ok(terms)
    }

    /// All rounds of one epoch and layout. Whoever was looked up leaves `due`.
    async fn rounds(
        &mut self,
        book: &mut Book,
        terms: &Terms,
        due: &mut Vec<Sii>,
        now: u64,
        (done, told): (&mut Refreshed, &mut Told),
    ) -> Result<(), DiscoveryError> {
        let outputs = self.outputs(book, terms, due, done).await;
        // Beyond a limit, whoever has keys can be asked for all the same.
        if !matches!(&outputs, Err(DiscoveryError::Call(error)) if is_limit(error)) {
            outputs?;
            return self.buckets(book, terms, due, now, (done, told)).await;
        }
        self.buckets(book, terms, due, now, (done, told)).await?;
        outputs
    }

    /// Keys for all of `due` that lack them. Where a limit leaves room for fewer, fewer are asked for.
    async fn outputs(
        &mut self,
        book: &mut Book,
        terms: &Terms,
        due: &[Sii],
        done: &mut Refreshed,
    ) -> Result<(), DiscoveryError> {
        let mut batch = terms.clone();
        while let Some(round) = OprfRound::next(book, &batch, due, random)? {
            let body = serde_json::to_vec(&round.request).map_err(unreadable)?;
            let count = round.request.elements.len();
            // As many elements as were sent, and as much again for whoever writes them with spaces.
            let limit = body.len().saturating_mul(2).saturating_add(1024);
            let answer = match self.post("/v1/directory/oprf", body, limit).await {
                Err(error) if is_limit(&error) && count > MIN_BATCH => {
                    batch.max_batch = u16::try_from((count / 2).max(MIN_BATCH)).map_err(unreadable)?;
                    continue;
                }
                answer => answer?,
            };
            let answer: OprfAnswer = serde_json::from_slice(&answer).map_err(unreadable)?;
            done.evaluated += count;
            done.round_trips += 1;
            round.finish(book, terms, &answer)?;
        }
        Ok(())
    }

    /// Buckets for all of `due` that have keys.
    async fn buckets(
        &mut self,
        book: &mut Book,
        terms: &Terms,
        due: &mut Vec<Sii>,
        now: u64,
        (done, told): (&mut Refreshed, &mut Told),
    ) -> Result<(), DiscoveryError> {
        while let Some(round) = BucketRound::next(book, terms, due, random)? {
            let body = serde_json::to_vec(&round.request).map_err(unreadable)?;
            let limit = usize::try_from(round.answer_bytes()).map_err(unreadable)?;
            told.remember(&round, terms.epoch);
            let answer = self.post("/v1/directory/buckets", body, limit).await?;
            done.buckets += round.request.prefixes.len();
            done.round_trips += 1;
            let learnt = round.finish(book, &answer, now)?;
            done.asked += learnt.len();
            due.retain(|identifier| !learnt.contains(identifier));
        }
        Ok(())
    }

    /// Sent again with the same bytes, and so with the same id, as often as settings say: it is not charged again.
    async fn post(&mut self, path: &str, body: Vec<u8>, limit: usize) -> Result<bytes::Bytes, ClientError> {
        let deadline = self.http.settings().import_deadline;
        let (method, repeat) = (Method::POST, Repeat::Idempotent);
        self.http
            .call(&Call { method, path, body: Some(body), content: Content::Json, limit, repeat, deadline })
            .await
    }
}

/// Whose prefixes went out in this refresh, and in which epoch.
#[derive(Default)]
struct Told {
    epoch: u32,
    identifiers: HashSet<Sii>,
}

impl Told {
    fn remember(&mut self, round: &BucketRound, epoch: u32) {
        self.epoch = epoch;
        self.identifiers.extend(round.identifiers().into_iter().cloned());
    }

    /// Takes from `due` whom another epoch than `epoch` would tell more of. Returns how many.
    fn spare(&self, due: &mut Vec<Sii>, epoch: u32) -> usize {
        let before = due.len();
        if epoch != self.epoch {
            due.retain(|identifier| !self.identifiers.contains(identifier));
        }
        before - due.len()
    }
}

fn is_change(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { reason: Reason::EpochChanged | Reason::LayoutChanged, .. })
}

pub(super) fn is_limit(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { reason: Reason::RateLimitExceeded, .. })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the client that asks for blinds and request ids"
)]
pub(super) fn random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    getrandom::fill(bytes)
}
