//! Who waits for which import: from the worker that finds matches to the request that reports them. The worker can be
//! another server's; then the request asks the store from time to time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acquaint_store::{Fence, ImportId, ImportProgress, Pseudonym};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The first pause between two questions to the store; each is twice the one before …
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long before the deadline the store is asked for the last time.
const LAST_QUESTION: Duration = Duration::from_millis(250);

/// The requests that wait for an import.
#[derive(Clone, Default)]
pub(crate) struct Waiters(Arc<Mutex<HashMap<ImportId, Waiter>>>);

struct Waiter {
    found: Vec<(u16, Pseudonym)>,
    /// The lease under which this process works on it, if it does.
    worked_on: Option<Fence>,
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
        self.lock().insert(id, Waiter { found: Vec::new(), worked_on: None, finished: sender });
        Waiting { id, waiters: self.clone(), finished: receiver }
    }

    /// This process works on the import from here on, under this lease.
    pub(crate) fn begin(&self, id: ImportId, fence: Fence) {
        if let Some(waiter) = self.lock().get_mut(&id) {
            waiter.worked_on = Some(fence);
        }
    }

    /// Whether a request waits for it here.
    pub(crate) fn is_waited_for(&self, id: ImportId) -> bool {
        self.lock().contains_key(&id)
    }

    /// The work under this lease has ended before the import has.
    pub(crate) fn leave(&self, id: ImportId, fence: Fence) {
        if let Some(waiter) = self.lock().get_mut(&id).filter(|waiter| waiter.worked_on == Some(fence)) {
            waiter.worked_on = None;
        }
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

    /// Whether nobody here works on it.
    fn is_elsewhere(&self, id: ImportId) -> bool {
        self.lock().get(&id).is_some_and(|waiter| waiter.worked_on.is_none())
    }

    /// Every change to the map is one call, so a panic leaves it whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<ImportId, Waiter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// What was found when the import is finished, or at `deadline`. While nobody here works on it, `ask` tells how far
    /// it is (`None` if that cannot be told now).
    pub(crate) async fn found_by<F>(mut self, deadline: Instant, ask: impl Fn() -> F) -> Vec<(u16, Pseudonym)>
    where
        F: Future<Output = Option<ImportProgress>>,
    {
        let (id, waiters) = (self.id, self.waiters.clone());
        let elsewhere = watch_elsewhere(id, &waiters, deadline, ask);
        // Too late, or a sender that is gone: the wait is over either way.
        let here = timeout_at(deadline, self.finished.wait_for(|finished| *finished));
        tokio::select! {
            _ = here => {}
            () = elsewhere => {}
        }
        self.waiters.lock().remove(&self.id).map(|waiter| waiter.found).unwrap_or_default()
    }
}

/// Ends when the import has ended in another process, and else never.
async fn watch_elsewhere<F>(id: ImportId, waiters: &Waiters, deadline: Instant, ask: impl Fn() -> F)
where
    F: Future<Output = Option<ImportProgress>>,
{
    let last = deadline.checked_sub(LAST_QUESTION).unwrap_or(deadline).max(Instant::now());
    let mut pause = FIRST_PAUSE;
    loop {
        let at = (Instant::now() + pause).min(last);
        sleep_until(at).await;
        if waiters.is_elsewhere(id) {
            let progress = timeout_at(deadline, ask()).await.ok().flatten();
            if let Some(ImportProgress { pending, found }) = progress {
                // Told again each time; the request leaves repetitions out.
                waiters.report(id, found);
                // This process may have begun, and ended, while it was asked.
                if !pending && waiters.is_elsewhere(id) {
                    return;
                }
            }
        }
        if at >= last {
            return std::future::pending().await;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const ID: ImportId = ImportId::from_bytes([1; 16]);
    const OTHER: Pseudonym = Pseudonym::from_bytes([2; 16]);
    const FENCE: Fence = Fence(1);

    async fn nobody() -> Option<ImportProgress> {
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_import_or_at_its_deadline_and_leaves_nothing() {
        let waiters = Waiters::default();
        let soon = Instant::now() + Duration::from_secs(8);
        for finished in [true, false] {
            let waiting = waiters.join(ID, false);
            waiters.report(ID, [(3, OTHER)]);
            if finished {
                waiters.finish(ID);
            }
            assert_eq!(waiting.found_by(soon, nobody).await, [(3, OTHER)]);
            assert_eq!(Instant::now() < soon, finished, "the clock moves only for who has to wait");
            assert!(waiters.lock().is_empty());
        }
        // A caller that hangs up.
        drop(waiters.join(ID, false));
        assert!(waiters.lock().is_empty());
        waiters.report(ID, [(3, OTHER)]);
        assert!(waiters.lock().is_empty(), "nobody listens any more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_process_works_on_is_asked_for_until_its_end_or_the_deadline() {
        for ends in [true, false] {
            let waiters = Waiters::default();
            let began = Instant::now();
            let deadline = began + Duration::from_secs(8);
            let asked = AtomicU32::new(0);
            let found = waiters
                .join(ID, false)
                .found_by(deadline, async || {
                    let times = asked.fetch_add(1, Ordering::Relaxed);
                    // Not known, nothing yet, something, the end.
                    match times {
                        0 => None,
                        1 => Some(ImportProgress { pending: true, found: vec![] }),
                        times => {
                            Some(ImportProgress { pending: !ends || times < 3, found: vec![(7, OTHER)] })
                        }
                    }
                })
                .await;
            assert!(!found.is_empty() && found.iter().all(|found| *found == (7, OTHER)));
            let asked = asked.load(Ordering::Relaxed);
            // After 0.1, 0.3, 0.7 and 1.5 s, each second, and a quarter of a second before the deadline.
            assert_eq!(asked, if ends { 4 } else { 11 }, "bounded");
            assert_eq!(Instant::now() == deadline, !ends);
            assert!(waiters.lock().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_works_on_it_here_asks_nobody_until_the_lease_is_lost() {
        let waiters = Waiters::default();
        let deadline = Instant::now() + Duration::from_secs(8);
        let waiting = waiters.join(ID, false);
        assert!(waiters.is_waited_for(ID) && waiters.is_elsewhere(ID));
        waiters.begin(ID, FENCE);
        waiters.leave(ID, Fence(0));
        assert!(!waiters.is_elsewhere(ID), "an older lease says nothing");
        assert_eq!(waiting.found_by(deadline, async || panic!("asked")).await, []);
        assert_eq!(Instant::now(), deadline);

        let waiting = waiters.join(ID, false);
        waiters.begin(ID, FENCE);
        waiters.report(ID, [(1, OTHER)]);
        waiters.leave(ID, FENCE);
        let rest = async || Some(ImportProgress { pending: false, found: vec![(2, OTHER)] });
        let deadline = Instant::now() + Duration::from_secs(8);
        assert_eq!(waiting.found_by(deadline, rest).await, [(1, OTHER), (2, OTHER)]);
        assert!(Instant::now() < deadline);
        assert!(!waiters.is_waited_for(ID), "nobody waits here any more");
    }
}
