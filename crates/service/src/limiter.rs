//! What stands in front of the store's limits in this process: refusals that last are answered from memory, and calls are
//! counted there.
//!
//! A bucket that refuses goes on refusing until its `retry_at`, whatever other servers do meanwhile: nothing but time
//! empties it faster. So a refusal can be repeated without asking, exactly; what is granted always goes through the
//! store, where it is exact across servers. A flood of refused calls thereby costs the store nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use acquaint_store::{Exhausted, Level, Limit, Millis, Permit};

/// Locks that entries are spread over.
const SHARDS: usize = 64;
/// Entries under one lock; one more and those that are over go, and while none is, further refusals are not kept: the
/// store is asked.
const MOST: usize = 4096;
/// How often it is looked which are over, so that a flood of callers does not make each call slow.
const LOOK: Millis = 1000;

/// A bucket's place: kind and key.
type Key = (Limit, Vec<u8>);

/// Buckets that are known to refuse, and buckets of calls.
pub struct Limiter {
    hasher: RandomState,
    shards: Vec<Mutex<Shard<Entry>>>,
    calls: Vec<Mutex<Shard<Level>>>,
}

/// What stands under one lock.
struct Shard<T> {
    entries: HashMap<Key, T>,
    /// When it was last looked which are over.
    looked_at: Option<Millis>,
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), looked_at: None }
    }
}

impl<T> Shard<T> {
    /// Keeps an entry, if there is room once those are gone that are over.
    fn put(&mut self, key: Key, entry: T, now: Millis, is_over: impl Fn(&T) -> bool) {
        let full = self.entries.len() >= MOST && !self.entries.contains_key(&key);
        if full && self.looked_at.is_none_or(|looked_at| now.abs_diff(looked_at) >= LOOK.unsigned_abs()) {
            self.entries.retain(|_, entry| !is_over(entry));
            self.looked_at = Some(now);
        }
        if self.entries.len() < MOST || self.entries.contains_key(&key) {
            self.entries.insert(key, entry);
        }
    }
}

struct Entry {
    /// Which limit refused.
    limit: Limit,
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
        let calls = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards, calls }
    }
}

impl Limiter {
    /// Whether what `permit` asks for is not known to be refused, by whatever limit: the permit is the caller's own, and each
    /// caller's first refusal comes from the store, which notes it. How many refusals from memory were not noted yet.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn look(&self, permit: &Permit, now: Millis) -> Result<u64, Refused> {
        let key = (permit.limit, permit.key.clone());
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = shard.entries.get_mut(&key) else { return Ok(0) };
        if entry.until <= now || permit.amount < entry.amount {
            return Ok(entry.refused);
        }
        entry.refused = entry.refused.saturating_add(1);
        Err(Refused { limit: entry.limit, retry_at: Some(entry.until) })
    }

    /// Keeps a refusal of the store, which was noted.
    pub fn remember(&self, permit: &Permit, exhausted: Exhausted, now: Millis) {
        let Some(until) = exhausted.retry_at else { return };
        let key = (permit.limit, permit.key.clone());
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry { limit: exhausted.limit, amount: permit.amount, until, refused: 0 };
        shard.put(key, entry, now, |entry| entry.until <= now);
    }

    /// Says that all refusals from memory were noted.
    pub fn forget(&self, permit: &Permit) {
        let key = (permit.limit, permit.key.clone());
        self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner).entries.remove(&key);
    }

    /// Takes permits of buckets that are kept here alone, all or none. They begin anew with the process, and each server has
    /// its own: for what is to be slowed down, not for what is to be counted. While there is no room for another bucket,
    /// what is asked of it is granted.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn take(&self, permits: &[Permit], now: Millis) -> Result<(), Exhausted> {
        for (n, permit) in permits.iter().enumerate() {
            if let Err(exhausted) = self.take_one(permit, now) {
                permits.iter().take(n).for_each(|taken| self.give_back(taken, now));
                return Err(exhausted);
            }
        }
        Ok(())
    }

    fn take_one(&self, permit: &Permit, now: Millis) -> Result<(), Exhausted> {
        let key = (permit.limit, permit.key.clone());
        let mut shard = place(&self.calls, &self.hasher, &key).lock().unwrap_or_else(PoisonError::into_inner);
        let level = Level::take(shard.entries.get(&key).copied(), permit, now)?;
        shard.put(key, level, now, |level| level.is_empty(permit.per_day, now));
        Ok(())
    }

    /// Gives a permit back that was taken and not needed.
    pub fn give_back(&self, permit: &Permit, now: Millis) {
        let key = (permit.limit, permit.key.clone());
        let mut shard = place(&self.calls, &self.hasher, &key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(level) = shard.entries.get_mut(&key) {
            *level = level.give_back(permit, now);
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<Shard<Entry>> {
        place(&self.shards, &self.hasher, key)
    }
}

fn place<'a, T>(shards: &'a [T], hasher: &RandomState, key: &Key) -> &'a T {
    let place = usize::try_from(hasher.hash_one(key) % 64).unwrap_or(0);
    // There are as many as the remainder can be.
    shards.get(place).unwrap_or(&shards[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(limit: Limit, key: u8, amount: u32) -> Permit {
        Permit { limit, key: vec![key], amount, capacity: 60, per_day: 86_400 }
    }

    /// The contract's vector: capacity 60 leaking 1/s.
    #[test]
    fn calls_leak_without_steps_and_each_caller_has_a_bucket() {
        let limiter = Limiter::default();
        let of = |key, amount, now| limiter.take(&[permit(Limit::AccountCalls, key, amount)], now);
        assert_eq!((of(1, 25, 0), of(1, 25, 0)), (Ok(()), Ok(())));
        let refused = of(1, 25, 0).unwrap_err();
        assert_eq!((refused.limit, refused.retry_at), (Limit::AccountCalls, Some(15_000)));
        assert_eq!(of(2, 60, 0), Ok(()), "another's");
        assert!(of(1, 25, 14_999).is_err());
        assert_eq!(of(1, 25, 15_000), Ok(()), "a refusal takes nothing");
        assert!(of(1, 1, 0).is_err(), "a clock that goes back gives nothing");
    }

    #[test]
    fn a_refusal_is_repeated_until_it_is_over_and_counted_until_it_is_noted() {
        let limiter = Limiter::default();
        let own = permit(Limit::AccountCredentials, 1, 1);
        assert_eq!(limiter.look(&own, 0), Ok(0));
        limiter.remember(&own, Exhausted { limit: Limit::AllCredentials, retry_at: Some(10) }, 0);
        let refused = Refused { limit: Limit::AllCredentials, retry_at: Some(10) };
        assert_eq!((limiter.look(&own, 0), limiter.look(&own, 9)), (Err(refused), Err(refused)));
        assert_eq!(
            limiter.look(&permit(Limit::AccountCredentials, 2, 1), 9),
            Ok(0),
            "another has to be noted"
        );
        assert_eq!((limiter.look(&own, 10), limiter.look(&own, 10)), (Ok(2), Ok(2)), "until it is noted");
        limiter.forget(&own);
        assert_eq!(limiter.look(&own, 10), Ok(0));
        // Less might fit than what was refused, and what never fits is not remembered.
        let exhausted = |retry_at| Exhausted { limit: Limit::AccountCredentials, retry_at };
        limiter.remember(&permit(Limit::AccountCredentials, 1, 9), exhausted(Some(99)), 10);
        assert_eq!(limiter.look(&own, 11), Ok(0));
        limiter.forget(&own);
        limiter.remember(&own, exhausted(None), 10);
        assert_eq!(limiter.look(&own, 11), Ok(0));
    }

    #[test]
    fn permits_are_taken_all_or_none_and_can_be_given_back() {
        let limiter = Limiter::default();
        let (own, shared) = (permit(Limit::AccountCalls, 1, 20), permit(Limit::PrefixCalls, 9, 50));
        limiter.take(&[own.clone(), shared.clone()], 0).unwrap();
        let refused = limiter.take(&[own.clone(), shared.clone()], 0).unwrap_err();
        assert_eq!(refused.limit, Limit::PrefixCalls);
        limiter.take(&[own.clone(), own.clone()], 0).unwrap();
        assert!(limiter.take(std::slice::from_ref(&own), 0).is_err(), "60 are taken, and 20 were given back");
        limiter.give_back(&own, 0);
        limiter.take(&[own], 0).unwrap();
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = Limiter::default();
        for n in 0..400_000_u32 {
            let mut permit = permit(Limit::AccountCalls, 0, 1);
            permit.key = n.to_be_bytes().to_vec();
            limiter.take(std::slice::from_ref(&permit), 0).unwrap();
            limiter.remember(&permit, Exhausted { limit: Limit::AccountCalls, retry_at: Some(10) }, 0);
        }
        let kept = |lengths: Vec<usize>| lengths.into_iter().max();
        let calls = limiter.calls.iter().map(|shard| shard.lock().unwrap().entries.len()).collect();
        let refusals = limiter.shards.iter().map(|shard| shard.lock().unwrap().entries.len()).collect();
        assert_eq!((kept(calls), kept(refusals)), (Some(MOST), Some(MOST)));
        // Room is made of what is over.
        let mut later = permit(Limit::AccountCalls, 0, 60);
        later.key = b"later".to_vec();
        limiter.take(std::slice::from_ref(&later), 1000).unwrap();
        assert!(limiter.take(&[later], 1000).is_err(), "it is kept");
    }
}
