//! Import: token taken → quota charged → list sealed and stored → hashed by the pool → matches (walkthrough 2).

mod list;
#[cfg(feature = "fuzzing")]
pub(crate) use list::again;
mod progress;
mod runner;
mod work;

use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::KeyCustody;
use acquaint_protocol::identifier::AccountId;
use acquaint_store::{
    EventKind, ImportAccepted, ImportId, ImportProgress, Limit, LiveToken, NewImport, NumberKey,
    PendingImport, Pseudonym, TokenId, TokenUse,
};
use serde_json::json;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::ambient::bytes;
use crate::audit::{Noter, to_its_end};
use crate::error::{ImportError, Internal, RateLimited};
use crate::policy::millis;
use crate::token::Token;
use crate::verified::Verified;
use crate::{Discovery, account, notices};

use list::ContactList;
pub(crate) use progress::Waiters;
use progress::Waiting;
pub(crate) use runner::run_imports;
pub use work::STEP_PAIRS;

/// Entries that one import may have (contract, `app.bsky.contact.importContacts`).
pub const MAX_CONTACTS: usize = 1000;

/// Own identifiers that one import pairs its contacts with.
const MAX_IDENTIFIERS: usize = 4;

/// When to ask again whether a running import has ended, and whether a full queue has room: some of both will have passed.
const PENDING_PAUSE: Duration = Duration::from_secs(2);
const QUEUE_PAUSE: Duration = Duration::from_secs(60);

/// A contact that turned out to be a mutual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportMatch {
    /// Position in the list as sent.
    pub input_index: u16,
    /// The account that is matched.
    pub subject: AccountId,
}

impl Discovery {
    /// Imports an address book: written forms of phone numbers (and e-mail addresses, if the policy takes those), in the
    /// order that `input_index` counts. Each is paired with what `token` was given for, and with every other identifier
    /// that the account has verified and whose token is still valid; all those tokens are used up.
    ///
    /// Once accepted, an import is finished whatever happens to this call or this process. The answer comes when it is
    /// finished or at the deadline, with what has matched so far; the rest arrives through [`Discovery::matches`].
    ///
    /// # Errors
    /// [`ImportError`]; then nothing was stored and the token can be used again (unless it is the token that is
    /// refused).
    pub async fn import(
        &self,
        account: &AccountId,
        token: &str,
        contacts: Vec<String>,
    ) -> Result<Vec<ImportMatch>, ImportError> {
        match contacts.len() {
            0 => return Err(ImportError::NoContacts),
            1..=MAX_CONTACTS => {}
            _ => return Err(ImportError::TooManyContacts),
        }
        let deadline = tokio::time::Instant::now() + self.policy.import_deadline;
        let whose = account::pseudonym(&*self.custody, account)?;
        let token =
            Token::open(&*self.custody, TokenUse::Matching, token)?.ok_or(ImportError::InvalidToken)?;
        if token.account != whose || token.expires_at <= self.clock.now() {
            return Err(ImportError::InvalidToken);
        }
        let (id, waiting) = {
            let _wake = Wake(&self.new_import);
            self.accept(token, contacts, self.noter(Some(account))?).await?
        };
        let mut found = waiting.found_by(deadline, || self.progress_elsewhere(whose, id)).await;
        // One contact can be matched over several own identifiers.
        found.sort_unstable();
        found.dedup();
        let learnt: Vec<Pseudonym> = found.iter().map(|(_, other)| *other).collect();
        let matches = self.with_names(found).await?;
        // Not before the answer is there: else nobody would tell the importer.
        if self.notifies && !learnt.is_empty() {
            notices::learnt(&*self.store, whose, learnt).await;
        }
        Ok(matches)
    }

    /// How far an import is that nobody here works on; `None` where nobody else can, or the store does not tell.
    async fn progress_elsewhere(&self, account: Pseudonym, import: ImportId) -> Option<ImportProgress> {
        if !self.store.is_shared() {
            return None;
        }
        let progress = self.store.import_progress(account, import).await;
        progress
            .inspect_err(|error| {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "an import's progress cannot be read"
                );
            })
            .ok()
    }

    /// What the account has verified just now: what `token` was given for, and each other identifier with a valid token,
    /// the latest first.
    async fn verified(&self, token: &Token) -> Result<Option<Vec<(TokenId, Verified)>>, Internal> {
        let mut live = self.store.live_tokens(token.account, TokenUse::Matching, self.clock.now()).await?;
        let Some(presented) = live.iter().position(|live| live.token == token.id) else { return Ok(None) };
        live[..=presented].rotate_right(1);
        let mut verified: Vec<(TokenId, Verified)> = Vec::new();
        for LiveToken { token: id, sealed_identifier } in live {
            let own = match Verified::open(&*self.custody, id, &sealed_identifier) {
                Ok(own) => own,
                Err(error) if id == token.id => return Err(error),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "a further verified identifier cannot be read and is left out");
                    continue;
                }
            };
            if verified.iter().all(|(_, known)| known.sii != own.sii) {
                verified.push((id, own));
            }
        }
        verified.truncate(MAX_IDENTIFIERS);
        Ok(Some(verified))
    }

    async fn accept(
        &self,
        token: Token,
        texts: Vec<String>,
        noter: Noter,
    ) -> Result<(ImportId, Waiting), ImportError> {
        let noter = Arc::new(noter);
        // Overwritten when the last owner is done, whatever becomes of the import.
        let texts = Arc::new(Zeroizing::new(texts));
        let verified = self.verified(&token).await?.ok_or(ImportError::InvalidToken)?;
        let several = verified.len() > 1;
        let own: Vec<(TokenId, Verified)> = verified.first().cloned().into_iter().collect();
        match self.try_accept(&token, verified, Arc::clone(&texts), &noter).await {
            // A further identifier must not stand in the way of the one that the token was given for: its limit can be
            // spent, an import with it can run, or its token can have been taken meanwhile.
            Err(ImportError::RateLimited(_) | ImportError::InvalidToken) if several => {
                self.try_accept(&token, own, texts, &noter).await
            }
            outcome => outcome,
        }
    }

    async fn try_accept(
        &self,
        token: &Token,
        verified: Vec<(TokenId, Verified)>,
        texts: Arc<Zeroizing<Vec<String>>>,
        noter: &Arc<Noter>,
    ) -> Result<(ImportId, Waiting), ImportError> {
        let Token { id: _, account, generation, expires_at: _ } = *token;
        let id = ImportId::from_bytes(bytes(&*self.entropy)?);
        let (tokens, own): (Vec<TokenId>, Vec<Verified>) = verified.into_iter().unzip();
        let (custody, emails) = (Arc::clone(&self.custody), self.policy.emails);
        // Off the request threads: a thousand numbers take some milliseconds.
        let prepared = tokio::task::spawn_blocking(move || {
            let contacts = list::normalise(&own, &texts, emails);
            let list = ContactList { own, contacts };
            Ok::<_, Internal>((list.seal(&*custody, id)?, list))
        });
        let (sealed, list) = prepared.await.map_err(|_| Internal::Interrupted)??;
        let total = list.pairs().ok_or(Internal::Unreadable("a list is too long"))?;
        let contacts = u32::try_from(list.contacts.len()).unwrap_or(u32::MAX);
        let numbers = list.numbers();
        let mut permits =
            vec![self.policy.account_pairs.permit(Limit::AccountPairs, account.as_bytes(), total)];
        permits.extend(
            numbers.iter().map(|number| {
                self.policy.number_pairs.permit(Limit::NumberPairs, number.as_bytes(), contacts)
            }),
        );
        let import = NewImport {
            id,
            tokens,
            account,
            generation,
            numbers,
            sealed,
            total,
            forget_account_at: self.clock.now().saturating_add(millis(self.policy.pair_ttl)),
            permits,
            max_waiting: self.pairs_in(self.policy.max_queue_wait),
        };
        // Before acceptance, so that no result can come before somebody listens.
        let waiting = self.waiters.join(id, total == 0);
        let (store, noter, now) = (Arc::clone(&self.store), Arc::clone(noter), self.clock.now());
        let accepted = to_its_end(async move {
            let accepted = store.accept_import(import, now).await;
            if let Ok(ImportAccepted::Accepted) = accepted {
                noter.note(EventKind::ImportAccepted, json!({})).await;
            }
            accepted
        });
        match accepted.await {
            Ok(ImportAccepted::Accepted) => {
                if total == 0 {
                    metrics::counter!("acquaint_imports_finished_total").increment(1);
                }
                Ok((id, waiting))
            }
            Ok(ImportAccepted::InvalidToken) => Err(ImportError::InvalidToken),
            Ok(ImportAccepted::AlreadyPending) => {
                let what = "an import of this account or number is still running: wait for its end";
                Err(RateLimited::passing(what, self.clock.now(), PENDING_PAUSE).into())
            }
            Ok(ImportAccepted::Exhausted(exhausted)) => Err(RateLimited::exhausted(exhausted).into()),
            Ok(ImportAccepted::QueueFull { waiting: _ }) => {
                let what = "too many imports are waiting: try again in some minutes";
                Err(RateLimited::passing(what, self.clock.now(), QUEUE_PAUSE).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Names for pseudonyms; an account that was removed meanwhile is left out.
    async fn with_names(&self, found: Vec<(u16, Pseudonym)>) -> Result<Vec<ImportMatch>, Internal> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let whose = found.iter().map(|(_, other)| *other).collect();
        let sealed = self.store.sealed_accounts(whose).await?;
        let named = found.into_iter().zip(sealed).filter_map(|((input_index, other), sealed)| {
            let subject = account::open(&*self.custody, other, &sealed?);
            Some(subject.map(|subject| ImportMatch { input_index, subject }))
        });
        let mut matches = named.collect::<Result<Vec<_>, _>>()?;
        matches.sort_by_key(|found| found.input_index);
        Ok(matches)
    }
}

/// Wakes the worker, also when the caller hangs up the moment an import has been accepted.
struct Wake<'a>(&'a Notify);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// The identifiers that a pending import holds.
pub(crate) fn open_numbers(
    custody: &dyn KeyCustody,
    pending: &PendingImport,
) -> Result<Vec<NumberKey>, Internal> {
    ContactList::open(custody, pending.id, &pending.sealed).map(|list| list.numbers())
}
