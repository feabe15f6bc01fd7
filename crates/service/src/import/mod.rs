//! Import: token taken → quota charged → list sealed and stored → hashed by the pool → matches (walkthrough 2).

mod list;
mod progress;
mod runner;

use acquaint_custody::KeyCustody;
use acquaint_protocol::identifier::AccountId;
use acquaint_store::{ImportAccepted, ImportId, Limit, NewImport, NumberKey, PendingImport, Pseudonym};
use tokio::sync::Notify;

use crate::ambient::bytes;
use crate::error::{ImportError, Internal, RateLimited};
use crate::policy::millis;
use crate::token::Token;
use crate::{Discovery, account};

use list::ContactList;
pub(crate) use progress::Waiters;
use progress::Waiting;
pub(crate) use runner::run_imports;

/// Entries that one import may have (contract, `app.bsky.contact.importContacts`).
pub const MAX_CONTACTS: usize = 1000;

const PENDING: RateLimited =
    RateLimited::new("an import of this account or number is still running: wait for its end");
const QUEUE_FULL: RateLimited = RateLimited::new("too many imports are waiting: try again in some minutes");

/// A contact that turned out to be a mutual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportMatch {
    /// Position in the list as sent.
    pub input_index: u16,
    /// The account that is matched.
    pub subject: AccountId,
}

impl Discovery {
    /// Imports an address book: written forms of phone numbers, in the order that `input_index` counts.
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
        let token = Token::open(&*self.custody, token)?.ok_or(ImportError::InvalidToken)?;
        if token.account != whose || token.expires_at <= self.clock.now() {
            return Err(ImportError::InvalidToken);
        }
        let waiting = {
            let _wake = Wake(&self.new_import);
            self.accept(token, contacts).await?
        };
        let found = waiting.found_by(deadline).await;
        self.with_names(found).await.map_err(ImportError::from)
    }

    async fn accept(&self, token: Token, texts: Vec<String>) -> Result<Waiting, ImportError> {
        let Token { id: token_id, account, generation, expires_at: _, verified_at, number, sii: own } = token;
        let id = ImportId::from_bytes(bytes(&*self.entropy)?);
        let custody = std::sync::Arc::clone(&self.custody);
        // Off the request threads: a thousand numbers take some milliseconds.
        let prepared = tokio::task::spawn_blocking(move || {
            let contacts = list::normalise(&own, &texts);
            wipe(texts);
            let total =
                u32::try_from(contacts.len()).map_err(|_| Internal::Unreadable("a list is too long"))?;
            let list = ContactList { own, number, verified_at, contacts };
            Ok::<_, Internal>((total, list.seal(&*custody, id)?))
        });
        let (total, sealed) = prepared.await.map_err(|_| Internal::Interrupted)??;
        let import = NewImport {
            id,
            token: token_id,
            account,
            generation,
            number,
            sealed,
            total,
            forget_account_at: self.clock.now().saturating_add(millis(self.policy.pair_ttl)),
            permits: vec![
                self.policy.account_pairs.permit(Limit::AccountPairs, account.as_bytes(), total),
                self.policy.number_pairs.permit(Limit::NumberPairs, number.as_bytes(), total),
            ],
            max_waiting: self.pool.capacity(self.policy.max_queue_wait),
        };
        // Before acceptance, so that no result can come before somebody listens.
        let waiting = self.waiters.join(id, total == 0);
        match self.store.accept_import(import, self.clock.now()).await {
            Ok(ImportAccepted::Accepted) => {
                if total == 0 {
                    metrics::counter!("acquaint_imports_finished_total").increment(1);
                }
                Ok(waiting)
            }
            Ok(ImportAccepted::InvalidToken) => Err(ImportError::InvalidToken),
            Ok(ImportAccepted::AlreadyPending) => Err(PENDING.into()),
            Ok(ImportAccepted::Exhausted(exhausted)) => Err(RateLimited::exhausted(exhausted).into()),
            Ok(ImportAccepted::QueueFull { waiting: _ }) => Err(QUEUE_FULL.into()),
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

/// The number that a pending import holds.
pub(crate) fn open_number(custody: &dyn KeyCustody, pending: &PendingImport) -> Result<NumberKey, Internal> {
    ContactList::open(custody, pending.id, &pending.sealed).map(|list| list.number)
}

fn wipe(texts: Vec<String>) {
    for mut text in texts {
        zeroize::Zeroize::zeroize(&mut text);
    }
}
