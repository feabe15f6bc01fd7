//! Who waits for which import: from the worker that finds matches to the request that reports them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use acquaint_store::{ImportId, Pseudonym};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// The requests that wait for an import.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<HashMap<ImportId, Waiter>>);

struct Waiter {
    found: Vec<(u16, Pseudonym)>,
    finished: watch::Sender<bool>,
}

/// One request's wait.
pub(crate) struct Waiting(watch::Receiver<bool>);

impl Waiters {
    /// Begins to collect what the import finds.
    pub(crate) fn join(&self, id: ImportId, finished: bool) -> Waiting {
        let (sender, receiver) = watch::channel(finished);
        self.lock().insert(id, Waiter { found: Vec::new(), finished: sender });
        Waiting(receiver)
    }

    /// Ends the wait and takes what was found.
    pub(crate) fn leave(&self, id: ImportId) -> Vec<(u16, Pseudonym)> {
        self.lock().remove(&id).map(|waiter| waiter.found).unwrap_or_default()
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
    /// Returns when the import is finished, or at `deadline`.
    pub(crate) async fn finished_by(mut self, deadline: Instant) {
        // Too late, or a sender that is gone: the wait is over either way.
        let _ = timeout_at(deadline, self.0.wait_for(|finished| *finished)).await;
    }
}
