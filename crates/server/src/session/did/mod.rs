//! DID documents of `did:plc` and `did:web` (<https://atproto.com/specs/did>): fetched, checked and kept for a while.
//!
//! Who asks for a document may be anybody: a token that nobody has signed yet names a DID. So hosts that a DID names are
//! asked at public addresses only, few at a time, each DID once at a time, and what failed is not asked again at once.

mod document;
mod name;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use acquaint_service::{Clock, Millis};
use reqwest::StatusCode;
use tokio::sync::Semaphore;

use super::bounded::Bounded;
use crate::config::Config;
use crate::outbound::{Answer, Body, CertificatesError, Http, PublicFault, PublicHttp};
pub(crate) use document::DidDocument;
use name::Name;

/// Questions at once to the directory, and to hosts of `did:web`, which may be slow on purpose.
const AT_ONCE: usize = 16;
/// Failures that are kept, apart from the documents: nobody pushes those out by asking for what does not exist.
const FAILURES: usize = 4096;
/// How long a DID counts as gone or its document as wrong.
const GONE_FOR: Millis = 30_000;
/// How long a host that did not answer is not asked for the same document again.
const UNAVAILABLE_FOR: Millis = 5_000;
/// How often a document is fetched again because a signature did not fit.
const RENEWED_EVERY: Millis = 30_000;
/// How many are fetched again so at once, and how long until one more may be.
const RENEWALS: u32 = 20;
const RENEWAL_BACK: Millis = 500;

/// Why a DID has no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// There was one, and it was taken back for good (410, as the directory answers a tombstone).
    #[error("the DID is no longer")]
    Gone,
    /// There is none here (404).
    #[error("the DID does not exist")]
    NotFound,
    /// It could not be asked for.
    #[error("the DID document cannot be had now")]
    Unavailable,
    /// The DID is none that is served, or its document is not one that can be used.
    #[error("the DID or its document is not valid")]
    Invalid,
}

/// Fetches and keeps DID documents.
pub(crate) struct Resolver {
    directory: String,
    http: Http,
    public: PublicHttp,
    private_too: bool,
    within: Duration,
    kept_for: Millis,
    clock: Arc<dyn Clock>,
    turns: Semaphore,
    state: Mutex<State>,
}

struct State {
    documents: Bounded<String, Kept>,
    failures: Bounded<String, (Millis, ResolveError)>,
    /// The DIDs that are being asked for.
    asked: HashMap<String, Weak<tokio::sync::Mutex<()>>>,
    /// What is left of [`RENEWALS`], and since when.
    renewals: (u32, Millis),
}

struct Kept {
    document: Arc<DidDocument>,
    until: Millis,
    /// When it was last asked for, whatever came of it.
    asked_at: Millis,
}

impl Resolver {
    /// Resolves as `config` says.
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, CertificatesError> {
        let within = Duration::from_millis(config.atproto.did_timeout_ms.into());
        let public = PublicHttp::new(config.atproto.allow_private_addresses, within, AT_ONCE)?;
        Self::with_public(config, clock, public)
    }

    /// The same, with hosts of `did:web` asked by `public`.
    pub(super) fn with_public(
        config: &Config,
        clock: Arc<dyn Clock>,
        public: PublicHttp,
    ) -> Result<Self, CertificatesError> {
        let within = Duration::from_millis(config.atproto.did_timeout_ms.into());
        let directory = config.atproto.plc_url.trim_end_matches('/').to_owned();
        let url = directory.parse().map_err(|error| CertificatesError(Box::new(error)))?;
        let state = State {
            documents: Bounded::new(usize::try_from(config.atproto.did_cache_entries).unwrap_or(usize::MAX)),
            failures: Bounded::new(FAILURES),
            asked: HashMap::new(),
            renewals: (RENEWALS, clock.now()),
        };
        Ok(Self {
            // The operator names the directory, so its address may be any.
            http: Http::new(&url, within)?,
            directory,
            public,
            private_too: config.atproto.allow_private_addresses,
            within,
            kept_for: Millis::from(config.atproto.did_cache_s) * 1000,
            clock,
            turns: Semaphore::new(AT_ONCE),
            state: Mutex::new(state),
        })
    }

    /// The document of `did`, at most `atproto.did_cache_s` old.
    ///
    /// # Errors
    /// [`ResolveError`], which is kept for some seconds too.
    pub(crate) async fn resolve(&self, did: &str) -> Result<Arc<DidDocument>, ResolveError> {
        let name = Name::parse(did, self.private_too).ok_or(ResolveError::Invalid)?;
        if let Some(known) = self.known(did) {
            return known;
        }
        let turn = self.turn_of(did);
        let _turn = turn.lock().await;
        // Somebody else has asked meanwhile.
        match self.known(did) {
            Some(known) => known,
            None => self.ask(did, &name).await,
        }
    }

    /// The document of `did` as it is now, which is then kept.
    ///
    /// # Errors
    /// [`ResolveError`]. One that is kept stays if the host does not answer.
    pub(crate) async fn resolve_now(&self, did: &str) -> Result<Arc<DidDocument>, ResolveError> {
        let name = Name::parse(did, self.private_too).ok_or(ResolveError::Invalid)?;
        let turn = self.turn_of(did);
        let _turn = turn.lock().await;
        self.ask(did, &name).await
    }

    /// A newer document of `did` than `known`, because a signature did not fit `known`. Anybody can make that happen, so
    /// each is fetched again only so often, and all of them together too: `None` if it is too early.
    pub(super) async fn renew(
        &self,
        did: &str,
        known: &Arc<DidDocument>,
    ) -> Result<Option<Arc<DidDocument>>, ResolveError> {
        let name = Name::parse(did, self.private_too).ok_or(ResolveError::Invalid)?;
        let turn = self.turn_of(did);
        let _turn = turn.lock().await;
        match self.known(did) {
            Some(Ok(kept)) if !Arc::ptr_eq(&kept, known) => return Ok(Some(kept)),
            Some(Err(error)) => return Err(error),
            Some(Ok(_)) | None => {}
        }
        match self.may_renew(did) {
            true => self.ask(did, &name).await.map(Some),
            false => Ok(None),
        }
    }

    /// The client for URLs that documents name, as a PDS's.
    pub(crate) fn public(&self) -> &PublicHttp {
        &self.public
    }

    /// Puts a document in as if it had been fetched.
    #[cfg(feature = "fuzzing")]
    pub(super) fn keep(&self, did: &str, bytes: &[u8]) {
        let document = DidDocument::parse(did, bytes, &self.public);
        self.note(did, &document.map(Arc::new).ok_or(ResolveError::Invalid));
    }

    /// What is kept of `did` and still good.
    fn known(&self, did: &str) -> Option<Result<Arc<DidDocument>, ResolveError>> {
        let (state, now) = (self.state(), self.clock.now());
        if let Some(kept) = state.documents.get(did).filter(|kept| now < kept.until) {
            return Some(Ok(Arc::clone(&kept.document)));
        }
        state.failures.get(did).filter(|(until, _)| now < *until).map(|(_, error)| Err(*error))
    }

    /// What everybody holds who asks for `did`, one after the other.
    fn turn_of(&self, did: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.state();
        if let Some(turn) = state.asked.get(did).and_then(Weak::upgrade) {
            return turn;
        }
        // What nobody holds any more; there are never more than requests that run.
        state.asked.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        state.asked.insert(did.to_owned(), Arc::downgrade(&turn));
        turn
    }

    fn may_renew(&self, did: &str) -> bool {
        let (mut state, now) = (self.state(), self.clock.now());
        let recent = |kept: &Kept| now < kept.asked_at.saturating_add(RENEWED_EVERY);
        if state.documents.get(did).is_some_and(recent) {
            return false;
        }
        let (left, since) = state.renewals;
        let back = now.saturating_sub(since).max(0) / RENEWAL_BACK;
        let left = left.saturating_add(u32::try_from(back).unwrap_or(u32::MAX)).min(RENEWALS);
        let since = if left == RENEWALS { now } else { since.saturating_add(back * RENEWAL_BACK) };
        state.renewals = (left.saturating_sub(1), since);
        left > 0
    }

    /// Asks for the document of `did`, and keeps what comes of it.
    async fn ask(&self, did: &str, name: &Name) -> Result<Arc<DidDocument>, ResolveError> {
        let outcome = match self.fetch(did, name).await {
            Ok(answer) => read(did, &answer, &self.public).map(Arc::new),
            Err(error) => Err(error),
        };
        self.note(did, &outcome);
        outcome
    }

    fn note(&self, did: &str, outcome: &Result<Arc<DidDocument>, ResolveError>) {
        let (mut state, now) = (self.state(), self.clock.now());
        match outcome {
            Ok(document) => {
                let document = Arc::clone(document);
                let until = now.saturating_add(self.kept_for);
                state.documents.put(did.to_owned(), Kept { document, until, asked_at: now });
                state.failures.remove(did);
            }
            Err(ResolveError::Unavailable) => {
                let until = now.saturating_add(UNAVAILABLE_FOR);
                state.failures.put(did.to_owned(), (until, ResolveError::Unavailable));
                if let Some(kept) = state.documents.get_mut(did) {
                    kept.asked_at = now;
                }
            }
            Err(error @ (ResolveError::Gone | ResolveError::NotFound | ResolveError::Invalid)) => {
                state.documents.remove(did);
                state.failures.put(did.to_owned(), (now.saturating_add(GONE_FOR), *error));
            }
        }
    }

    async fn fetch(&self, did: &str, name: &Name) -> Result<Answer, ResolveError> {
        match name {
            Name::Plc => {
                let turn = tokio::time::timeout(self.within, self.turns.acquire()).await;
                let Ok(Ok(_turn)) = turn else { return Err(ResolveError::Unavailable) };
                let request = self.http.client().get(format!("{}/{did}", self.directory));
                let request = request.header("accept", "application/did+ld+json,application/json");
                self.http.send(request, self.within).await.map_err(|_| ResolveError::Unavailable)
            }
            // One answer for both: else whoever asks could tell names of an inner network from those that are nowhere.
            Name::Web(url) => self.public.get(url.clone()).await.map_err(|fault| match fault {
                PublicFault::Forbidden | PublicFault::Unavailable => ResolveError::Unavailable,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer means. One that leads elsewhere is none.
fn read(did: &str, answer: &Answer, public: &PublicHttp) -> Result<DidDocument, ResolveError> {
    match (answer.status, &answer.body) {
        (StatusCode::OK, Body::Whole(bytes)) => {
            DidDocument::parse(did, bytes, public).ok_or(ResolveError::Invalid)
        }
        (StatusCode::OK, Body::TooLarge) => Err(ResolveError::Invalid),
        (StatusCode::GONE, _) => Err(ResolveError::Gone),
        (StatusCode::NOT_FOUND, _) => Err(ResolveError::NotFound),
        (status, _) if status.is_redirection() => Err(ResolveError::Invalid),
        _ => Err(ResolveError::Unavailable),
    }
}
