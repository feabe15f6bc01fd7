//! Time and randomness in a test's hand.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use acquaint_server::{Clock, Entropy, EntropyError, Millis};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A clock that stands until it is moved.
pub struct HandClock {
    now: AtomicI64,
    starts: AtomicU64,
}

impl Default for HandClock {
    fn default() -> Self {
        Self { now: AtomicI64::new(1_767_225_600_000), starts: AtomicU64::new(0) }
    }
}

impl HandClock {
    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the clock back.
    pub fn turn_back(&self, by: Duration) {
        self.now.fetch_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Counts the starts of the application that it belongs to.
    pub(crate) fn starts(&self) -> u64 {
        self.starts.fetch_add(1, Ordering::SeqCst)
    }
}

impl Clock for HandClock {
    fn now(&self) -> Millis {
        self.now.load(Ordering::SeqCst)
    }
}

/// The same bytes for the same seed.
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// A source that begins at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.lock().map_err(|_| EntropyError("a test panicked".into()))?.fill_bytes(bytes);
        Ok(())
    }
}
