//! The evaluation keys of sessions, in memory and nowhere else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acquaint_pir::EvaluationKeys;
use acquaint_store::{Millis, Pseudonym};

/// Keys that were not used for so long make room for others when there is none left.
const IDLE_MS: Millis = 10 * 60 * 1000;

/// One set for each account, up to a size in memory.
pub(crate) struct SessionKeys {
    most_bytes: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    of: HashMap<Pseudonym, Entry>,
    bytes: u64,
}

struct Entry {
    id: [u8; 16],
    keys: Arc<EvaluationKeys>,
    bytes: u64,
    expires_at: Millis,
    used_at: Millis,
}

/// All room is taken by keys that are in use: in how many milliseconds the first may make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom(pub(super) Millis);

impl SessionKeys {
    pub(crate) fn new(most_bytes: u64) -> Self {
        Self { most_bytes, held: Mutex::default() }
    }

    /// Keeps the keys of an account in place of those that it had.
    pub(super) fn put(
        &self,
        account: Pseudonym,
        (id, keys): ([u8; 16], EvaluationKeys),
        (now, expires_at): (Millis, Millis),
    ) -> Result<(), NoRoom> {
        let bytes = u64::try_from(keys.memory_bytes()).unwrap_or(u64::MAX);
        let mut held = self.held();
        held.remove_where(|entry| entry.expires_at <= now);
        let before = held.of.get(&account).map_or(0, |entry| entry.bytes);
        while held.bytes.saturating_sub(before).saturating_add(bytes) > self.most_bytes {
            let others = held.of.iter().filter(|(other, _)| **other != account);
            let Some((idle, used_at)) =
                others.map(|(other, entry)| (*other, entry.used_at)).min_by_key(|(_, used_at)| *used_at)
            else {
                return Err(NoRoom(IDLE_MS));
            };
            let idle_at = used_at.saturating_add(IDLE_MS);
            if idle_at > now {
                return Err(NoRoom(idle_at.saturating_sub(now)));
            }
            held.remove(&idle);
        }
        held.remove(&account);
        held.bytes = held.bytes.saturating_add(bytes);
        held.of.insert(account, Entry { id, keys: Arc::new(keys), bytes, expires_at, used_at: now });
        metrics::gauge!("acquaint_private_keys_bytes").set(held.bytes as f64);
        Ok(())
    }

    /// The keys of this account under this id.
    pub(super) fn get(&self, account: Pseudonym, id: [u8; 16], now: Millis) -> Option<Arc<EvaluationKeys>> {
        let mut held = self.held();
        let entry = held.of.get_mut(&account).filter(|entry| entry.id == id && entry.expires_at > now)?;
        entry.used_at = entry.used_at.max(now);
        Some(Arc::clone(&entry.keys))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Changed whole or not at all.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn remove(&mut self, account: &Pseudonym) {
        if let Some(entry) = self.of.remove(account) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    fn remove_where(&mut self, is_over: impl Fn(&Entry) -> bool) {
        let over: Vec<_> =
            self.of.iter().filter(|(_, entry)| is_over(entry)).map(|(account, _)| *account).collect();
        over.iter().for_each(|account| self.remove(account));
    }
}

#[cfg(test)]
mod tests;
