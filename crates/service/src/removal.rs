//! Removal at will: everything that an account left is wiped, also from the files.

use std::sync::Arc;

use acquaint_custody::CustodyError;
use acquaint_protocol::identifier::AccountId;
use acquaint_store::{EventKind, Removal, Removed, StoreError};
use serde_json::json;

use crate::audit::to_its_end;
use crate::error::Internal;
use crate::import::open_numbers;
use crate::{Discovery, account};

/// An import can be accepted between looking and removing, but not without end: there is one for each verification.
const TRIES: usize = 10;

impl Discovery {
    /// Wipes hashes, matches, pending imports, tokens, codes and sync status of an account. When it returns, nothing of
    /// them is left in the store's files, and no import that was running can write any more.
    ///
    /// # Errors
    /// [`Internal`]; calling again is harmless and finishes what was begun.
    pub async fn remove_data(&self, account: &AccountId) -> Result<Removed, Internal> {
        let whose = account::pseudonym(&*self.custody, account)?;
        let noter = Arc::new(self.noter(Some(account))?);
        for _ in 0..TRIES {
            let pending = self.store.pending_import(whose).await?;
            let id = pending.as_ref().map(|pending| pending.id);
            let pending = match pending {
                None => None,
                Some(pending) => match open_numbers(&*self.custody, &pending) {
                    Ok(numbers) => Some((pending.id, numbers)),
                    // Nobody can work on it, nor say which identifiers it holds; they are released within a day.
                    Err(Internal::Custody(CustodyError::NotOurs) | Internal::Unreadable(_)) => {
                        Some((pending.id, Vec::new()))
                    }
                    Err(error) => return Err(error),
                },
            };
            let (store, noter, now) = (Arc::clone(&self.store), Arc::clone(&noter), self.clock.now());
            let removal = to_its_end(async move {
                let was_there = store.sealed_accounts(vec![whose]).await?.iter().any(Option::is_some)
                    || !store.listings_of(whose, now).await?.is_empty();
                let removal = store.remove_data(whose, pending, now).await?;
                // Else anybody could fill the log by removing nothing.
                if was_there && matches!(removal, Removal::Removed(_)) {
                    noter.note(EventKind::DataRemoved, json!({})).await;
                }
                Ok::<_, StoreError>(removal)
            });
            if let Removal::Removed(removed) = removal.await? {
                if let Some(id) = id {
                    self.waiters.finish(id);
                }
                if let Ok(directory) = self.directory() {
                    self.follow_now(directory).await;
                }
                return Ok(removed);
            }
        }
        Err(Internal::Unreadable("imports keep being accepted during a removal"))
    }
}
