//! The calls of a round, and the servers that they go to.

use std::time::Duration;

use acquaint_protocol::lookup::Kind;
use acquaint_protocol::lookup::wire::{ANSWER_HEADER_BYTES, KEYS_ANSWER_BYTES, KeysAnswer};
use chacha20::ChaCha20Rng;
use http::Method;

use super::super::round::{QueryMessage, QueryRound};
use super::super::{Session, Tables};
use super::{Directory, Now, Progress};
use crate::discovery::http::{Call, Content, Http};
use crate::discovery::{DiscoveryError, TrustError};
use crate::retry::Repeat;
use crate::{ClientError, Reason};

/// How often keys are sent in one round to servers that say they do not have them.
const MAX_KEYS_SENT: usize = 3;

/// How much longer an answer may take for each query, beside [`Settings::import_deadline`]: a pass over a table of ten million
/// records takes about a second, and others wait for one too.
const QUERY_DEADLINE: Duration = Duration::from_secs(4);

/// The same for a query of a batch table: a pass over one takes some 40 ms.
const BATCH_QUERY_DEADLINE: Duration = Duration::from_millis(400);

/// How much longer an answer may take at most, however many queries a provider lets a request have.
const MAX_QUERIES_DEADLINE: Duration = Duration::from_secs(300);

/// Seconds that a server may forget keys before it said.
const MARGIN_S: u64 = 60;

impl Directory {
    /// All requests of a round.
    pub(super) async fn requests(
        &mut self,
        round: &mut QueryRound,
        tables: &Tables,
        session: &mut Session,
        random: &mut ChaCha20Rng,
        now: &mut Now<'_>,
    ) -> Result<(), DiscoveryError> {
        let before = self.done.queries;
        let queries = before + round.queries();
        let mut forgotten = 0;
        (now.progress)(Progress { answered: before, queries });
        loop {
            if !session.is_good(tables, now.seconds()) {
                *session = Session::new(tables, now.seconds(), random);
            }
            let Some(message) = round.request(tables, session, random)? else { return Ok(()) };
            let server = server_of(&self.url, tables, message.shard)?;
            let answer = loop {
                if !session.is_held(&server, now.seconds()) {
                    self.send_keys(&server, session).await?;
                    self.done.keys_sent += 1;
                }
                let answered = self.done.queries;
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
            self.done.queries += message.count;
            self.done.round_trips += 1;
        }
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
}

/// How much longer a request of so many queries may take.
pub(in super::super) fn queries_deadline(kind: Kind, count: usize) -> Duration {
    let each = match kind {
        Kind::Shard => QUERY_DEADLINE,
        Kind::Batch => BATCH_QUERY_DEADLINE,
    };
    each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)).min(MAX_QUERIES_DEADLINE)
}

/// The address of the server that has a shard, for whoever calls `home`.
pub(in super::super) fn server_of(home: &str, tables: &Tables, shard: u32) -> Result<String, TrustError> {
    let Some(server) = tables.terms().server_of(shard) else { return Ok(home.to_owned()) };
    let url = server.url.trim_end_matches('/');
    // Whoever came by TLS does not go on in clear: the session token goes along.
    let is_encrypted = |url: &str| url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    if is_encrypted(home) && !is_encrypted(url) {
        return Err(TrustError::Server);
    }
    Ok(url.to_owned())
}

pub(super) fn bytes_call(
    method: Method,
    path: &'static str,
    body: Vec<u8>,
    limit: usize,
    deadline: Duration,
) -> Call<'static> {
    let repeat = Repeat::Idempotent;
    Call { method, path, body: Some(body), content: Content::Bytes, limit, repeat, deadline }
}

fn is_unknown(error: &DiscoveryError) -> bool {
    matches!(error, DiscoveryError::Call(ClientError::Refused { reason: Reason::KeysUnknown, .. }))
}
