//! Private lookups over HTTP: the rounds, with parameters and keys sent and fetched when they are needed.

use std::collections::HashMap;
use std::time::Duration;

use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::parameters::{Parameters, Published};
use acquaint_protocol::lookup::wire::{ANSWER_HEADER_BYTES, KEYS_ANSWER_BYTES, KeysAnswer};
use acquaint_protocol::lookup::{Kind, Mode};
use chacha20::ChaCha20Rng;
use http::Method;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use super::round::{ElementsRound, QueryMessage, QueryRound};
use super::{MAX_BATCH, Session, Tables, batch_size};
use crate::discovery::http::{Call, Content, Http};
use crate::discovery::refresh::{is_limit, random};
use crate::discovery::{Book, Caller, DiscoveryError, Trust, TrustError};
use crate::retry::Repeat;
use crate::{ClientError, Reason, Settings};

/// How often keys are sent in one round to servers that say they do not have them.
const MAX_KEYS_SENT: usize = 3;

/// A limit that leaves no room for so many elements is taken as one that leaves none.
const MIN_ELEMENTS: usize = 25;

/// How much longer an answer may take for each query, beside [`Settings::import_deadline`]: a pass over a table of ten million
/// records takes about a second, and others wait for one too.
const QUERY_DEADLINE: Duration = Duration::from_secs(4);

/// The same for a query of a batch table: a pass over one takes some 40 ms.
const BATCH_QUERY_DEADLINE: Duration = Duration::from_millis(400);

/// How much longer an answer may take at most, however many queries a provider lets a request have.
const MAX_QUERIES_DEADLINE: Duration = Duration::from_secs(300);

/// Seconds that a server may forget keys before it said.
const MARGIN_S: u64 = 60;

/// A server's private lookup in one mode, for one caller.
pub struct Directory {
    mode: Mode,
    url: String,
    caller: Caller,
    settings: Settings,
    home: Http,
    /// Servers that have shards, by their addresses.
    servers: HashMap<String, Http>,
    parameters: Option<Parameters>,
    session: Option<Session>,
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
    /// Whether a limit left no room for dummies, so that the server learnt how many contacts there were.
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
}

impl Directory {
    /// The private lookup of the server at `url`. [`Settings::import_deadline`] is how long one request may take, beside 4 s for
    /// each query of a shard's table and 0.4 s for each of a batch table, but at most 5 minutes for all of them.
    ///
    /// # Errors
    /// [`ClientError::Config`].
    pub fn new(url: &str, settings: Settings, caller: Caller, mode: Mode) -> Result<Self, ClientError> {
        let home = Http::new(url, settings.clone(), &caller)?;
        let url = url.trim_end_matches('/').to_owned();
        let servers = HashMap::new();
        Ok(Self { mode, url, caller, settings, home, servers, parameters: None, session: None })
    }

    /// What the provider publishes, not looked at.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn parameters(&mut self) -> Result<Published, ClientError> {
        self.home.json(Method::GET, "/v1/discovery/parameters", None::<&()>, Repeat::Idempotent).await
    }

    /// Looks up those of `identifiers` that are new or were looked up a day ago or more, at `now` (Unix seconds), in rounds of at
    /// most [`MAX_BATCH`]. `progress` is called as answers come. The book is to be saved whatever comes of it.
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
        self.check(book)?;
        let before = self.transferred();
        book.forget(identifiers, now);
        let mut due = book.due(identifiers, now);
        // Whoever waited longest, for there may not be quota for all.
        due.sort_by_key(|identifier| (book.looked_up_at(identifier), identifier.clone()));
        let mut distinct: Vec<&Sii> = identifiers.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut done = Refreshed { fresh: distinct.len() - due.len(), ..Refreshed::default() };
        let mut now = Now { trust, at: now, progress: &mut progress, has_changed: false };
        // The last may be of a smaller size if it is the only one.
        let least = batch_size(due.len()).min(MAX_BATCH);
        for contacts in due.chunks(MAX_BATCH) {
            self.round(book, contacts, least, &mut now, &mut done).await?;
        }
        self.count(before, &mut done);
        Ok(done)
    }

    /// Looks up `contacts` in one round of `size`, as a [`Schedule`](super::Schedule) planned it: whether they are fresh, and
    /// whether there are any, makes no difference to the server, but for evaluations of those that never were looked up.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn lookup(
        &mut self,
        book: &mut Book,
        contacts: &[Sii],
        size: usize,
        trust: &Trust,
        now: u64,
    ) -> Result<Refreshed, DiscoveryError> {
        self.check(book)?;
        let before = self.transferred();
        let mut done = Refreshed::default();
        let mut now = Now { trust, at: now, progress: &mut |_| (), has_changed: false };
        self.round(book, contacts, size, &mut now, &mut done).await?;
        self.count(before, &mut done);
        Ok(done)
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
        done: &mut Refreshed,
    ) -> Result<(), DiscoveryError> {
        loop {
            let tables = self.accepted(book, now, done).await?;
            match self.ask(book, &tables, contacts, size, (&mut *now, &mut *done)).await {
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
    async fn accepted(
        &mut self,
        book: &mut Book,
        now: &Now<'_>,
        done: &mut Refreshed,
    ) -> Result<Tables, DiscoveryError> {
        let newest = book.tables.map_or((0, 0), |tables| (tables.number, tables.layout));
        let is_good = |kept: &Parameters| {
            kept.terms.expires_at > now.at && (kept.terms.epoch, kept.terms.layout) >= newest
        };
        let parameters = match self.parameters.take().filter(is_good) {
            Some(kept) => kept,
            None => {
                let published = self.parameters().await?;
                let of_mode = published.of(self.mode).cloned();
                of_mode.ok_or(DiscoveryError::NoMode(self.mode.profile()))?
            }
        };
        let first_use = book.accept_private(&parameters, self.mode, now.trust, now.at)?;
        done.first_use = first_use.or(done.first_use);
        let tables = Tables::new(parameters.terms.clone())?;
        self.parameters = Some(parameters);
        Ok(tables)
    }

    async fn ask(
        &mut self,
        book: &mut Book,
        tables: &Tables,
        contacts: &[Sii],
        size: usize,
        (now, done): (&mut Now<'_>, &mut Refreshed),
    ) -> Result<(), DiscoveryError> {
        if self.mode == Mode::Pir {
            return self.queries(book, tables, contacts, size, (now, done)).await;
        }
        let outputs = self.outputs(book, tables, contacts, done).await;
        // Beyond a limit, whoever has an output can be asked for all the same.
        if matches!(&outputs, Err(DiscoveryError::Call(error)) if is_limit(error)) {
            let has_output =
                |contact: &Sii| book.people.get(contact).is_some_and(|known| known.output.is_some());
            if contacts.iter().any(has_output) {
                self.queries(book, tables, contacts, size, (now, done)).await?;
            }
            return outputs;
        }
        outputs?;
        self.queries(book, tables, contacts, size, (now, done)).await
    }

    /// Outputs for all of `contacts` that lack one, padded; where a limit has no room for that, without dummies, and then half.
    async fn outputs(
        &mut self,
        book: &mut Book,
        tables: &Tables,
        contacts: &[Sii],
        done: &mut Refreshed,
    ) -> Result<(), DiscoveryError> {
        let lacks =
            |book: &Book, contact: &Sii| book.people.get(contact).is_none_or(|known| known.output.is_none());
        let mut missing: Vec<Sii> = contacts.iter().filter(|contact| lacks(book, contact)).cloned().collect();
        let mut most = usize::from(tables.terms.max_elements);
        // How many are still sent, dummies among them.
        let mut left = if missing.is_empty() { 0 } else { batch_size(missing.len()) };
        while left > 0 {
            let count = left.min(most);
            let some: Vec<Sii> = missing.iter().take(count).cloned().collect();
            let learnt = some.len();
            let round = ElementsRound::new(book, tables, some, count, &mut stream()?)?;
            let (body, limit) = (round.request().to_vec(), round.answer_bytes());
            let deadline = self.settings.import_deadline;
            let call = bytes_call(Method::POST, "/v1/discovery/oprf", body, limit, deadline);
            match self.home.call(&call).await {
                Err(error) if is_limit(&error) && left > missing.len() && !missing.is_empty() => {
                    left = missing.len();
                    done.unpadded = true;
                    continue;
                }
                // Dummies alone need not be evaluated.
                Err(error) if is_limit(&error) && missing.is_empty() => {
                    done.unpadded = true;
                    return Ok(());
                }
                Err(error) if is_limit(&error) && count > MIN_ELEMENTS => {
                    most = (count / 2).max(MIN_ELEMENTS);
                    continue;
                }
                answer => round.finish(book, tables, &answer?)?,
            }
            missing.drain(..learnt);
            done.evaluated += count;
            done.round_trips += 1;
            left -= count;
        }
        Ok(())
    }

    /// Queries for all of `contacts` that have an output; where a limit has no room for `size`, for as many as there are.
    async fn queries(
        &mut self,
        book: &mut Book,
        tables: &Tables,
        contacts: &[Sii],
        size: usize,
        (now, done): (&mut Now<'_>, &mut Refreshed),
    ) -> Result<(), DiscoveryError> {
        match self.padded(book, tables, contacts, size, (&mut *now, &mut *done)).await {
            Err((0, DiscoveryError::Call(error)))
                if is_limit(&error) && !contacts.is_empty() && contacts.len() < size =>
            {
                done.unpadded = true;
                let outcome = self.padded(book, tables, contacts, contacts.len(), (now, done)).await;
                outcome.map_err(|(_, error)| error)
            }
            outcome => outcome.map_err(|(_, error)| error),
        }
    }

    /// A failure comes with how many requests were answered before it.
    async fn padded(
        &mut self,
        book: &mut Book,
        tables: &Tables,
        contacts: &[Sii],
        size: usize,
        (now, done): (&mut Now<'_>, &mut Refreshed),
    ) -> Result<(), (usize, DiscoveryError)> {
        let mut random = stream().map_err(|error| (0, error))?;
        let round = QueryRound::new(book, tables, contacts, size, &mut random);
        let mut round = round.map_err(|error| (0, error))?;
        let session = self.session.take().filter(|session| session.is_good(tables, now.at));
        let mut session = session.unwrap_or_else(|| Session::new(tables, now.at, &mut random));
        let requests = round.left();
        let outcome = self.requests(&mut round, tables, &mut session, &mut random, (now, done)).await;
        self.session = Some(session);
        outcome.map_err(|error| (requests - round.left(), error))?;
        let (asked, postponed) = round.finish(book, now.at).map_err(|error| (requests, error))?;
        done.asked += asked;
        done.postponed += postponed;
        Ok(())
    }

    async fn requests(
        &mut self,
        round: &mut QueryRound,
        tables: &Tables,
        session: &mut Session,
        random: &mut ChaCha20Rng,
        (now, done): (&mut Now<'_>, &mut Refreshed),
    ) -> Result<(), DiscoveryError> {
        let before = done.queries;
        let queries = before + round.queries();
        let mut forgotten = 0;
        (now.progress)(Progress { answered: before, queries });
        while let Some(message) = round.request(tables, session, random)? {
            let server = server_of(&self.url, tables, message.shard)?;
            let answer = loop {
                if !session.is_held(&server, now.at) {
                    self.send_keys(&server, session).await?;
                    done.keys_sent += 1;
                }
                let answered = done.queries;
                let mut told = |answers| (now.progress)(Progress { answered: answered + answers, queries });
                match self.query(&server, &message, &mut told).await {
                    Err(error) if is_unknown(&error) => {
                        session.forget(&server);
                        forgotten += 1;
                        if forgotten >= MAX_KEYS_SENT {
                            return Err(DiscoveryError::KeysForgotten);
                        }
                    }
                    answer => break answer?,
                }
            };
            round.answer(tables, session, &answer)?;
            done.queries += message.count;
            done.round_trips += 1;
        }
        Ok(())
    }

    /// Sends the session's keys to a server.
    async fn send_keys(&mut self, server: &str, session: &mut Session) -> Result<(), DiscoveryError> {
        let deadline = self.settings.import_deadline;
        let body = session.message().to_vec();
        let call = bytes_call(Method::PUT, "/v1/discovery/keys", body, KEYS_ANSWER_BYTES, deadline);
        let answer = self.http(server)?.call(&call).await?;
        let answer = KeysAnswer::decode(&answer).map_err(|_| DiscoveryError::OtherAnswer)?;
        if answer.id != session.id() {
            return Err(DiscoveryError::OtherAnswer);
        }
        session.hold(server, answer.expires_at.saturating_sub(MARGIN_S));
        Ok(())
    }

    /// Sends queries, again with the same bytes if no answer comes: they are not charged again.
    async fn query(
        &mut self,
        server: &str,
        message: &QueryMessage,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<bytes::Bytes, DiscoveryError> {
        let QueryMessage { kind, shard: _, count, bytes, answer_bytes } = message;
        let deadline = self.settings.import_deadline.saturating_add(queries_deadline(*kind, *count));
        let call = bytes_call(Method::POST, "/v1/discovery/query", bytes.clone(), *answer_bytes, deadline);
        let each = (answer_bytes.saturating_sub(ANSWER_HEADER_BYTES) / (*count).max(1)).max(1);
        let mut told = |received: usize| progress(received.saturating_sub(ANSWER_HEADER_BYTES) / each);
        Ok(self.http(server)?.read(&call, &mut told).await?)
    }

    fn http(&mut self, server: &str) -> Result<&mut Http, DiscoveryError> {
        if server == self.url {
            return Ok(&mut self.home);
        }
        if !self.servers.contains_key(server) {
            let http = Http::new(server, self.settings.clone(), &self.caller);
            self.servers.insert(server.to_owned(), http.map_err(|_| TrustError::Server)?);
        }
        self.servers.get_mut(server).ok_or_else(|| TrustError::Server.into())
    }

    fn transferred(&self) -> (u64, u64) {
        let all = || self.servers.values().chain([&self.home]);
        (all().map(|http| http.sent).sum(), all().map(|http| http.received).sum())
    }

    fn count(&self, before: (u64, u64), done: &mut Refreshed) {
        let (sent, received) = self.transferred();
        (done.sent, done.received) = (sent - before.0, received - before.1);
    }
}

/// How much longer a request of so many queries may take.
pub(super) fn queries_deadline(kind: Kind, count: usize) -> Duration {
    let each = match kind {
        Kind::Shard => QUERY_DEADLINE,
        Kind::Batch => BATCH_QUERY_DEADLINE,
    };
    each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)).min(MAX_QUERIES_DEADLINE)
}

/// The address of the server that has a shard, for whoever calls `home`.
pub(super) fn server_of(home: &str, tables: &Tables, shard: u32) -> Result<String, TrustError> {
    let Some(server) = tables.terms().server_of(shard) else { return Ok(home.to_owned()) };
    let url = server.url.trim_end_matches('/');
    // Whoever came by TLS does not go on in clear: the session token goes along.
    let is_encrypted = |url: &str| url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    if is_encrypted(home) && !is_encrypted(url) {
        return Err(TrustError::Server);
    }
    Ok(url.to_owned())
}

fn bytes_call(
    method: Method,
    path: &'static str,
    body: Vec<u8>,
    limit: usize,
    deadline: Duration,
) -> Call<'static> {
    let repeat = Repeat::Idempotent;
    Call { method, path, body: Some(body), content: Content::Bytes, limit, repeat, deadline }
}

fn is_change(error: &ClientError) -> bool {
    use Reason::{EpochChanged, LayoutChanged, ShardElsewhere};
    matches!(error, ClientError::Refused { reason: EpochChanged | LayoutChanged | ShardElsewhere, .. })
}

fn is_unknown(error: &DiscoveryError) -> bool {
    matches!(error, DiscoveryError::Call(ClientError::Refused { reason: Reason::KeysUnknown, .. }))
}

/// Random numbers that begin with the system's.
fn stream() -> Result<ChaCha20Rng, DiscoveryError> {
    let mut seed = Zeroizing::new([0; 32]);
    random(&mut *seed).map_err(|_| DiscoveryError::Randomness)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
