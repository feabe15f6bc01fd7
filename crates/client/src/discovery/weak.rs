//! Lookups by Rocket.Chat's weak hashes.

use std::collections::HashMap;

pub use acquaint_protocol::bucket::weak::WeakLength;
use acquaint_protocol::bucket::weak::{ContactsFound, QueryContacts, Strong, Weak};
use acquaint_protocol::identifier::Sii;
use http::Method;

use super::http::{Call, Content, unreadable};
use super::{Book, Directory, DiscoveryError, Profile, Refreshed, TrustError};
use crate::retry::Repeat;

/// Weak hashes in one request: what the server's list cap allows by default.
const MAX_BATCH: usize = 1000;

/// Bytes of a username that are kept: more is none that a server gives out.
const MAX_NAME: usize = 255;

/// The largest answer: a thousand weak hashes with a thousand candidates of 128 bytes each.
const MAX_ANSWER: usize = 128 << 20;

impl Directory {
    /// As [`refresh`](Self::refresh), by weak hashes: they are asked for, and the strong ones of the answer compared. **The
    /// server learns of each contact all but some bits, and whoever asks gets what is as good as a number of everyone that
    /// shares the weak hash** (docs/threat-model.md).
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn refresh_weak(
        &mut self,
        book: &mut Book,
        identifiers: &[Sii],
        length: WeakLength,
        now: u64,
    ) -> Result<Refreshed, DiscoveryError> {
        if book.profile != Profile::Weak {
            return Err(DiscoveryError::OtherProfile);
        }
        if book.provider.as_ref().is_some_and(|provider| *provider != self.url) {
            return Err(TrustError::OtherProvider.into());
        }
        let (sent, received) = (self.http.sent, self.http.received);
        book.forget(identifiers, now);
        let due = book.due(identifiers, now);
        let mut distinct: Vec<&Sii> = identifiers.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut done = Refreshed { fresh: distinct.len() - due.len(), ..Refreshed::default() };
        for batch in WeakRound::all(&due, length) {
            let body = serde_json::to_vec(&batch.request()).map_err(unreadable)?;
            let deadline = self.http.settings().import_deadline;
            // These requests have no id: one that arrived may have been charged, and would be again.
            let (method, repeat) = (Method::POST, Repeat::Unconnected);
            let path = "/api/v1/query.contacts";
            let call = Call {
                method,
                path,
                body: Some(body),
                content: Content::Json,
                limit: MAX_ANSWER,
                repeat,
                deadline,
            };
            let answer = self.http.call(&call).await?;
            let answer: ContactsFound = serde_json::from_slice(&answer).map_err(unreadable)?;
            done.buckets += batch.weak.len();
            done.round_trips += 1;
            book.provider = Some(self.url.clone());
            done.asked += batch.finish(book, &answer, now)?;
        }
        done.sent = self.http.sent - sent;
        done.received = self.http.received - received;
        Ok(done)
    }
}

/// One request's weak hashes, sorted and each there once, and whom they are of.
pub(super) struct WeakRound {
    wanted: Vec<(Sii, Strong)>,
    weak: Vec<Weak>,
}

impl WeakRound {
    /// All rounds for `due`.
    pub(super) fn all(due: &[Sii], length: WeakLength) -> Vec<Self> {
        let hashed = due.iter().map(|identifier| (identifier, Strong::of(identifier)));
        let mut hashed: Vec<_> =
            hashed.map(|(identifier, strong)| (strong.weak(length), identifier, strong)).collect();
        hashed.sort_unstable_by_key(|(weak, identifier, _)| (*weak, *identifier));
        let mut rounds: Vec<Self> = Vec::new();
        for (weak, identifier, strong) in hashed {
            let wanted = (identifier.clone(), strong);
            match rounds.last_mut() {
                Some(round) if round.weak.last() == Some(&weak) => round.wanted.push(wanted),
                Some(round) if round.weak.len() < MAX_BATCH => {
                    round.weak.push(weak);
                    round.wanted.push(wanted);
                }
                _ => rounds.push(Self { wanted: vec![wanted], weak: vec![weak] }),
            }
        }
        rounds
    }

    pub(super) fn request(&self) -> QueryContacts {
        QueryContacts { weak_hashes: Some(self.weak.iter().map(Weak::to_string).collect()) }
    }

    pub(super) fn weak(&self) -> &[Weak] {
        &self.weak
    }

    /// Remembers who is there and who is not. Returns for how many.
    pub(super) fn finish(
        self,
        book: &mut Book,
        answer: &ContactsFound,
        now: u64,
    ) -> Result<usize, DiscoveryError> {
        if !answer.success {
            return Err(DiscoveryError::OtherAnswer);
        }
        let mut names = HashMap::new();
        for candidate in &answer.strong_hashes {
            let strong = Strong::parse(&candidate.h).ok_or(DiscoveryError::OtherAnswer)?;
            let name = candidate.u.as_str();
            names.entry(strong).or_insert(&name[..name.floor_char_boundary(MAX_NAME)]);
        }
        let count = self.wanted.len();
        for (identifier, strong) in self.wanted {
            book.learn(&identifier, names.get(&strong).map(|name| (*name).to_owned()), now);
        }
        Ok(count)
    }
}
