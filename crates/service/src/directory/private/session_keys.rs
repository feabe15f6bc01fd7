//! The evaluation keys of sessions, in memory and nowhere else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acquaint_pir::EvaluationKeys;
use acquaint_store::{Millis, Pseudonym};

/// Keys that were not used for so long make room for others when there is none left.
const IDLE_MS: Millis = 10 * 60 * 1000;

/// Sets that an account may have: of some devices, in both modes. A further one takes the place of the one that was not used
/// for longest.
const SETS: usize = 4;

/// A few sets for each account, up to a size in memory.
pub(crate) struct SessionKeys {
    most_bytes: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    of: HashMap<Name, Entry>,
    bytes: u64,
}

/// Whose keys, and which.
type Name = (Pseudonym, [u8; 16]);

struct Entry {
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

    /// Keeps keys of an account. Of its others that were not used for longest make room, if there are too many.
    pub(super) fn put(
        &self,
        account: Pseudonym,
        (id, keys): ([u8; 16], EvaluationKeys),
        (now, expires_at): (Millis, Millis),
    ) -> Result<(), NoRoom> {
        let bytes = u64::try_from(keys.memory_bytes()).unwrap_or(u64::MAX);
        let mut held = self.held();
        held.remove_where(|entry| entry.expires_at <= now);
        let mut own: Vec<_> = held
            .of
            .iter()
            .filter(|(name, _)| name.0 == account)
            .map(|(name, entry)| (entry.used_at, *name))
            .collect();
        own.sort_unstable();
        // In whose place it comes.
        let replaced: Vec<Name> =
            own.iter().rev().skip(SETS - 1).map(|(_, name)| *name).chain([(account, id)]).collect();
        let freed: u64 = replaced.iter().filter_map(|name| held.of.get(name)).map(|entry| entry.bytes).sum();
        while held.bytes.saturating_sub(freed).saturating_add(bytes) > self.most_bytes {
            let others = held.of.iter().filter(|(name, _)| name.0 != account);
            let Some((idle, used_at)) =
                others.map(|(name, entry)| (*name, entry.used_at)).min_by_key(|(_, used_at)| *used_at)
            else {
                return Err(NoRoom(IDLE_MS));
            };
            let idle_at = used_at.saturating_add(IDLE_MS);
            if idle_at > now {
                return Err(NoRoom(idle_at.saturating_sub(now)));
            }
            held.remove(&idle);
        }
        replaced.iter().for_each(|name| held.remove(name));
        held.bytes = held.bytes.saturating_add(bytes);
        held.of.insert((account, id), Entry { keys: Arc::new(keys), bytes, expires_at, used_at: now });
        metrics::gauge!("acquaint_private_keys_bytes").set(held.bytes as f64);
        Ok(())
    }

    /// The keys of this account under this id, and until when they are kept.
    pub(super) fn get(
        &self,
        account: Pseudonym,
        id: [u8; 16],
        now: Millis,
    ) -> Option<(Arc<EvaluationKeys>, Millis)> {
        let held = self.held();
        let entry = held.of.get(&(account, id)).filter(|entry| entry.expires_at > now)?;
        Some((Arc::clone(&entry.keys), entry.expires_at))
    }

    /// Notes that keys are in use, which is for who has paid for it.
    pub(super) fn touch(&self, account: Pseudonym, id: [u8; 16], now: Millis) {
        if let Some(entry) = self.held().of.get_mut(&(account, id)) {
            entry.used_at = entry.used_at.max(now);
        }
    }

    /// Overwrites what has expired.
    pub(crate) fn sweep(&self, now: Millis) {
        let mut held = self.held();
        held.remove_where(|entry| entry.expires_at <= now);
        metrics::gauge!("acquaint_private_keys_bytes").set(held.bytes as f64);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Changed whole or not at all.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn remove(&mut self, name: &Name) {
        if let Some(entry) = self.of.remove(name) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    fn remove_where(&mut self, is_over: impl Fn(&Entry) -> bool) {
        let over: Vec<_> =
            self.of.iter().filter(|(_, entry)| is_over(entry)).map(|(name, _)| *name).collect();
        over.iter().for_each(|name| self.remove(name));
    }
}

#[cfg(test)]
mod tests;
