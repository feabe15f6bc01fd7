//! What stands in front of the store's limits in this process: refusals that last are answered from memory.
//!
//! A bucket that refuses goes on refusing until its `retry_at`, whatever other servers do meanwhile: nothing but time
//! empties it faster. So a refusal can be repeated without asking, exactly; what is granted always goes through the
//! store, where it is exact across servers. A flood of refused calls thereby costs the store nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use acquaint_store::{Exhausted, Limit, Millis, Permit};

/// Locks that entries are spread over.
const SHARDS: usize = 64;
/// Entries under one lock; one more and those that are over go, and while none is, further refusals are not kept: the
/// store is asked.
const MOST: usize = 4096;

/// A bucket's place: kind and key.
type Key = (Limit, Vec<u8>);

/// Buckets that are known to refuse.
pub struct Limiter {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<Key, Entry>>>,
}

struct Entry {
    /// What was asked for when it refused: less might fit.
    amount: u32,
    until: Millis,
    /// Refusals from memory since.
    refused: u64,
}

/// Refused from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Which limit refuses.
    pub limit: Limit,
    /// Until when.
    pub retry_at: Option<Millis>,
}

impl Default for Limiter {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

impl Limiter {
    /// Whether none of the buckets is known to refuse what is asked of it. How many calls were refused from memory
    /// because of a bucket of these that is open again now; they are told of once.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn look(&self, permits: &[Permit], now: Millis) -> Result<u64, Refused> {
        let mut repeated = 0_u64;
        for permit in permits {
            let key = (permit.limit, permit.key.clone());
            let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = shard.get_mut(&key) else { continue };
            if entry.until <= now {
                repeated = repeated.saturating_add(entry.refused);
                shard.remove(&key);
            } else if permit.amount >= entry.amount {
                entry.refused = entry.refused.saturating_add(1);
                return Err(Refused { limit: permit.limit, retry_at: Some(entry.until) });
            }
        }
        Ok(repeated)
    }

    /// Keeps a refusal of the store.
    pub fn remember(&self, permits: &[Permit], exhausted: Exhausted, now: Millis) {
        let Some(until) = exhausted.retry_at else { return };
        let Some(permit) = permits.iter().find(|permit| permit.limit == exhausted.limit) else { return };
        let key = (permit.limit, permit.key.clone());
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= MOST {
            shard.retain(|_, entry| entry.until > now);
        }
        if shard.len() < MOST {
            shard.insert(key, Entry { amount: permit.amount, until, refused: 0 });
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, Entry>> {
        let place = usize::try_from(self.hasher.hash_one(key) % 64).unwrap_or(0);
        // There are as many as the remainder can be.
        self.shards.get(place).unwrap_or(&self.shards[0])
    }
}
