//! Private lookups over HTTP: the rounds, with parameters and keys sent and fetched when they are needed.

mod calls;
mod limits;

use std::collections::HashMap;

use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::Mode;
use acquaint_protocol::lookup::parameters::{Parameters, Published};
use http::Method;
use tokio::time::Instant;

#[cfg(test)]
pub(super) use self::calls::{queries_deadline, server_of};
use super::{MAX_BATCH, Session, Tables, batch_size};
use crate::discovery::http::Http;
use crate::discovery::refresh::is_limit;
use crate::discovery::{Book, Caller, DiscoveryError, Trust, TrustError};
use crate::retry::Repeat;
use crate::{ClientError, Reason, Settings};

/// A server's private lookup in one mode, for one caller.
pub struct Directory {
    mode: Mode,
    url: String,
    caller: Caller,
    settings: Settings,
    home: Http,
    /// The same server for what everybody may see, without the caller's credentials.
    open: Http,
    /// Servers that have shards, by their addresses.
    servers: HashMap<String, Http>,
    parameters: Option<Parameters>,
    session: Option<Session>,
    /// What the last lookup did, and what was transferred before it.
    done: Refreshed,
    before: (u64, u64),
}

/// What a refresh or a planned lookup did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Identifiers that were asked for.
    pub asked: usize,
    /// Identifiers whose results were younger than a day.
    pub fresh: usize,
    /// Identifiers that are left for the next time, for want of a query in their shard.
    pub postponed: usize,
    /// Blinded elements that were evaluated, dummies among them.
    pub evaluated: usize,
    /// Queries that were answered, dummies among them.
    pub queries: usize,
    /// Whether a limit left no room for dummies, so that the server learnt of some contacts how many they were
    /// ([`Trust::unpadded`]).
    pub unpadded: bool,
    /// How often evaluation keys were sent.
    pub keys_sent: usize,
    /// Requests for evaluations and of queries; those that were sent again are not counted.
    pub round_trips: usize,
    /// Bytes of bodies that were sent, keys, parameters and repetitions among them.
    pub sent: u64,
    /// Bytes of bodies that were received.
    pub received: u64,
    /// The provider's key, if it is trusted for no better reason than that it was met first.
    pub first_use: Option<[u8; 32]>,
}

/// How far a refresh is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Queries that were answered.
    pub answered: usize,
    /// Queries of the rounds that have begun.
    pub queries: usize,
}

/// What a refresh goes by.
struct Now<'a> {
    trust: &'a Trust,
    at: u64,
    progress: &'a mut (dyn FnMut(Progress) + Send),
    has_changed: bool,
    began: Instant,
    /// A limit that left some contacts for another time.
    limit: Option<DiscoveryError>,
}

impl<'a> Now<'a> {
    fn new(trust: &'a Trust, at: u64, progress: &'a mut (dyn FnMut(Progress) + Send)) -> Self {
        Self { trust, at, progress, has_changed: false, began: Instant::now(), limit: None }
    }

    /// A limit is told at the end: the next round is asked for whether or not this one had somebody for whom there was no room.
    fn at_limit(&mut self, outcome: Result<(), DiscoveryError>) -> Result<(), DiscoveryError> {
        match outcome {
            Err(DiscoveryError::Call(error)) if is_limit(&error) => {
                self.limit.get_or_insert(error.into());
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// The time as it goes on while answers are waited for, in Unix seconds.
    fn seconds(&self) -> u64 {
        self.at.saturating_add(self.began.elapsed().as_secs())
    }
}

impl Directory {
    /// The private lookup of the server at `url`. [`Settings::import_deadline`] is how long one request may take, beside 4 s for
    /// each query of a shard's table and 0.4 s for each of a batch table, but at most 5 minutes for all of them.
    ///
    /// # Errors
    /// [`ClientError::Config`].
    pub fn new(url: &str, settings: Settings, caller: Caller, mode: Mode) -> Result<Self, ClientError> {
        let home = Http::new(url, settings.clone(), &caller)?;
        let open = Http::new(url, settings.clone(), &Caller::Nobody)?;
        let url = url.trim_end_matches('/').to_owned();
        let (servers, parameters, session) = (HashMap::new(), None, None);
        let (done, before) = (Refreshed::default(), (0, 0));
        Ok(Self { mode, url, caller, settings, home, open, servers, parameters, session, done, before })
    }

    /// What the last refresh or planned lookup did, or what it had done when it failed or was dropped: what the server has
    /// learnt it has learnt, and who was found is in the book.
    #[must_use]
    pub fn done(&self) -> Refreshed {
        let (sent, received) = self.transferred();
        Refreshed { sent: sent - self.before.0, received: received - self.before.1, ..self.done.clone() }
    }

    /// What the provider publishes, not looked at. It is asked for without the caller's credentials.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn parameters(&mut self) -> Result<Published, ClientError> {
        self.open.json(Method::GET, "/v1/discovery/parameters", None::<&()>, Repeat::Idempotent).await
    }

    /// Looks up those of `identifiers` that are new or were looked up a day ago or more, at `now` (Unix seconds), in rounds of at
    /// most [`MAX_BATCH`]. `progress` is called as answers come. The book is to be saved whatever comes of it, and
    /// [`done`](Self::done) says what was done also if it fails.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn refresh(
        &mut self,
        book: &mut Book,
        identifiers: &[Sii],
        trust: &Trust,
        now: u64,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Refreshed, DiscoveryError> {
        self.begin();
        self.check(book)?;
        book.forget(identifiers, now);
        let mut due = book.due(identifiers, now);
        // Whoever waited longest, for there may not be quota for all.
        due.sort_by_key(|identifier| (book.looked_up_at(identifier), identifier.clone()));
        let mut distinct: Vec<&Sii> = identifiers.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        self.done.fresh = distinct.len() - due.len();
        let mut now = Now::new(trust, now, &mut progress);
        // The last may be of a smaller size if it is the only one.
        let least = batch_size(due.len()).min(MAX_BATCH);
        for contacts in due.chunks(MAX_BATCH) {
            self.round(book, contacts, least, &mut now).await?;
        }
        now.limit.map_or_else(|| Ok(self.done()), Err)
    }

    /// Looks up `contacts` in one round of `size`, as a [`Schedule`](super::Schedule) planned it: whether they are fresh, and
    /// whether there are any, makes no difference to the server, but that in mode `psm` it sees a request for `size` evaluations
    /// if, and only if, one of them has no output of the epoch: somebody is new, or the epoch is.
    ///
    /// # Errors
    /// See [`DiscoveryError`]; [`DiscoveryError::TooManyContacts`] for more contacts than `size`, or a `size` that is 0 or above
    /// [`MAX_BATCH`].
    pub async fn lookup(
        &mut self,
        book: &mut Book,
        contacts: &[Sii],
        size: usize,
        trust: &Trust,
        now: u64,
    ) -> Result<Refreshed, DiscoveryError> {
        self.begin();
        self.check(book)?;
        if size == 0 || size > MAX_BATCH || contacts.len() > size {
            return Err(DiscoveryError::TooManyContacts);
        }
        book.forget(contacts, now);
        let mut nobody = |_| ();
        let mut now = Now::new(trust, now, &mut nobody);
        self.round(book, contacts, size, &mut now).await?;
        now.limit.map_or_else(|| Ok(self.done()), Err)
    }

    fn begin(&mut self) {
        self.done = Refreshed::default();
        self.before = self.transferred();
    }

    fn check(&self, book: &Book) -> Result<(), DiscoveryError> {
        if book.profile.mode() == Some(self.mode) { Ok(()) } else { Err(DiscoveryError::OtherProfile) }
    }

    /// One round, once more if epoch or layout have changed.
    async fn round(
        &mut self,
        book: &mut Book,
        contacts: &[Sii],
        size: usize,
        now: &mut Now<'_>,
    ) -> Result<(), DiscoveryError> {
        loop {
            let tables = self.accepted(book, now).await?;
            match self.ask(book, &tables, contacts, size, now).await {
                Err(DiscoveryError::Call(error)) if is_change(&error) => {
                    self.parameters = None;
                    if std::mem::replace(&mut now.has_changed, true) {
                        return Err(DiscoveryError::KeepsChanging);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// The parameters that are good now. Those of before are looked at again: book and trust may be others.
    async fn accepted(&mut self, book: &mut Book, now: &Now<'_>) -> Result<Tables, DiscoveryError> {
        let newest = book.tables.map_or((0, 0), |tables| (tables.number, tables.layout));
        let is_good = |kept: &Parameters| {
            kept.terms.expires_at > now.at && (kept.terms.epoch, kept.terms.layout) >= newest
        };
        let mut is_second = false;
        loop {
            let parameters = match self.parameters.take().filter(is_good) {
                Some(kept) => kept,
                None => {
                    let published = self.parameters().await?;
                    let of_mode = published.of(self.mode).cloned();
                    of_mode.ok_or(DiscoveryError::NoMode(self.mode.profile()))?
                }
            };
            match book.accept_private(&parameters, self.mode, now.trust, now.at) {
                // Of several servers one has made its shards anew, and this one has not yet.
                Err(TrustError::OldLayout) if is_second => return Err(DiscoveryError::BehindLayout),
                Err(TrustError::OldLayout) => is_second = true,
                accepted => {
                    self.done.first_use = accepted?.or(self.done.first_use);
                    let tables = Tables::new(parameters.terms.clone())?;
                    self.parameters = Some(parameters);
                    return Ok(tables);
                }
            }
        }
    }

    /// Queries are sent also where a limit has no room for evaluations: otherwise it would show that somebody lacks one.
    async fn ask(
        &mut self,
        book: &mut Book,
        tables: &Tables,
        contacts: &[Sii],
        size: usize,
        now: &mut Now<'_>,
    ) -> Result<(), DiscoveryError> {
        if self.mode == Mode::Psm {
            let outcome = self.outputs(book, tables, contacts, size, now.trust.unpadded).await;
            now.at_limit(outcome)?;
        }
        let outcome = self.queries(book, tables, contacts, size, now).await;
        now.at_limit(outcome)
    }

    fn transferred(&self) -> (u64, u64) {
        let all = || self.servers.values().chain([&self.home, &self.open]);
        (all().map(|http| http.sent).sum(), all().map(|http| http.received).sum())
    }
}

fn is_change(error: &ClientError) -> bool {
    use Reason::{EpochChanged, LayoutChanged, ShardElsewhere};
    matches!(error, ClientError::Refused { reason: EpochChanged | LayoutChanged | ShardElsewhere, .. })
}
