//! Who waits for which import: from the worker that finds matches to the request that reports them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acquaint_store::{ImportId, Pseudonym};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// The requests that wait for an import.
#[derive(Clone, Default)]
pub(crate) struct Waiters(Arc<Mutex<HashMap<ImportId, Waiter>>>);

struct Waiter {
    found: Vec<(u16, Pseudonym)>,
    finished: watch::Sender<bool>,
}

/// One request's wait; dropping it, as when the caller hangs up, ends it.
pub(crate) struct Waiting {
    id: ImportId,
    waiters: Waiters,
    finished: watch::Receiver<bool>,
}

impl Waiters {
    /// Begins to collect what the import finds.
    pub(crate) fn join(&self, id: ImportId, finished: bool) -> Waiting {
        let (sender, receiver) = watch::channel(finished);
        self.lock().insert(id, Waiter { found: Vec::new(), finished: sender });
        Waiting { id, waiters: self.clone(), finished: receiver }
    }

    /// Adds what a step found, if anybody still waits.
    pub(crate) fn report(&self, id: ImportId, found: impl IntoIterator<Item = (u16, Pseudonym)>) {
        if let Some(waiter) = self.lock().get_mut(&id) {
            waiter.found.extend(found);
        }
    }

    /// Wakes whoever waits: the import is finished, or gone.
    pub(crate) fn finish(&self, id: ImportId) {
        if let Some(waiter) = self.lock().get(&id) {
            waiter.finished.send_replace(true);
        }
    }

    /// Every change to the map is one call, so a panic leaves it whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<ImportId, Waiter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// What was found when the import is finished, or at `deadline`.
    pub(crate) async fn found_by(mut self, deadline: Instant) -> Vec<(u16, Pseudonym)> {
        // Too late, or a sender that is gone: the wait is over either way.
        let _ = timeout_at(deadline, self.finished.wait_for(|finished| *finished)).await;
        self.waiters.lock().remove(&self.id).map(|waiter| waiter.found).unwrap_or_default()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ImportId = ImportId::from_bytes([1; 16]);

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_import_or_at_its_deadline_and_leaves_nothing() {
        let waiters = Waiters::default();
        let other = Pseudonym::from_bytes([2; 16]);
        let soon = Instant::now() + std::time::Duration::from_secs(8);
        for finished in [true, false] {
            let waiting = waiters.join(ID, false);
            waiters.report(ID, [(3, other)]);
            if finished {
                waiters.finish(ID);
            }
            assert_eq!(waiting.found_by(soon).await, [(3, other)]);
            assert_eq!(Instant::now() < soon, finished, "the clock moves only for who has to wait");
            assert!(waiters.lock().is_empty());
        }
        // A caller that hangs up.
        drop(waiters.join(ID, false));
        assert!(waiters.lock().is_empty());
        waiters.report(ID, [(3, other)]);
        assert!(waiters.lock().is_empty(), "nobody listens any more");
    }
}
