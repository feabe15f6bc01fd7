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
