//! The worker: leases accepted imports and carries them through, a step at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::{CustodyError, KeyId};
use acquaint_store::{Fence, ImportId, LeasedImport, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::list::ContactList;
use super::work::{Progress, STEP_PAIRS, work};
use crate::Discovery;
use crate::epochs;
use crate::error::Internal;
use crate::policy::millis;
use crate::start::wait;

/// Imports worked on at once: many, so that a short one need not wait for a long one.
const RUNNING: usize = 16;
/// After a crash this is what others wait for. Whoever loses a lease that it still works under is fenced, so a short one
/// costs work and never a pair.
pub(super) const LEASE: Duration = Duration::from_secs(20);
/// How often a lease is prolonged beside the steps, which can be slow.
const HEART_BEAT: Duration = Duration::from_secs(4);
/// How long an import waits after each failure of the store; together less than the lease.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10)];
/// How long an import rests once a key's budget for the day, or its account's share of it, is spent; then it is looked at
/// again.
const BUDGET_REST: Duration = Duration::from_secs(300);
/// How often the queue is looked at without being told: for leases that ran out.
const POLL: Duration = Duration::from_secs(5);

/// Works on imports until `stop`; then each import stops after the step that it is at, and is resumed by the next start.
pub(crate) async fn run_imports(discovery: Arc<Discovery>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(RUNNING));
    let mut tasks = tokio::task::JoinSet::new();
    // Until when no import is begun.
    let (rest, resting) = watch::channel(Instant::now());
    let rest = Arc::new(rest);
    while !*stop.borrow() {
        let until = *resting.borrow();
        if Instant::now() < until {
            wait(until.duration_since(Instant::now()), &mut stop).await;
            continue;
        }
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = stop.changed() => break,
        };
        let Ok(place) = place else { break };
        // Others may have the key that is missing here.
        if !discovery.epochs.can_work() {
            drop(place);
            wait(POLL, &mut stop).await;
            continue;
        }
        let now = discovery.clock.now();
        let leased = discovery.store.next_import(now, now.saturating_add(millis(LEASE))).await;
        if let Ok(Some(leased)) = leased {
            let (discovery, stop, rest) = (Arc::clone(&discovery), stop.clone(), Arc::clone(&rest));
            tasks.spawn(async move {
                if let Some(pause) = carry_through(&discovery, leased, stop).await {
                    rest.send_replace(Instant::now() + pause);
                }
                drop(place);
            });
        } else {
            if let Err(error) = leased {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot look for imports");
            }
            drop(place);
            tokio::select! {
                () = discovery.new_import.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = stop.changed() => {}
            }
        }
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
}

/// Returns for how long no other import need be begun, if a budget is spent for all of them.
async fn carry_through(
    discovery: &Arc<Discovery>,
    mut leased: LeasedImport,
    mut stop: watch::Receiver<bool>,
) -> Option<Duration> {
    let (id, fence) = (leased.id, leased.fence);
    discovery.waiters.begin(id, fence);
    let outcome = tokio::select! {
        outcome = persist(discovery, &mut leased, &mut stop) => outcome,
        never = keep_lease(discovery, id, fence) => match never {},
    };
    let outcome = match outcome {
        Err(Internal::Custody(CustodyError::NotOurs) | Internal::Unreadable(_)) => {
            tracing::error!("an accepted import cannot be read and is given up");
            discovery.store.abandon_import(id, fence).await.map(|()| Progress::Over).map_err(Internal::from)
        }
        outcome => outcome,
    };
    match outcome {
        Ok(Progress::Over) => discovery.waiters.finish(id),
        // Another server may go on with it; the request that waits asks the store.
        Ok(Progress::Lost) if discovery.store.is_shared() => discovery.waiters.leave(id, fence),
        Ok(Progress::Lost) => discovery.waiters.finish(id),
        Ok(Progress::Stopped) => give_back(discovery, id, fence).await,
        Err(Internal::StaleEpochs) => {
            tracing::error!("an import waits for a server that has the keys");
            give_back(discovery, id, fence).await;
        }
        // When its lease is over, it is begun again from what is committed.
        Err(Internal::Custody(CustodyError::OverBudget { key, retry_after })) => {
            discovery.waiters.leave(id, fence);
            // Each attempt hashes a step in vain, so there are few; whoever makes one.
            let rest = retry_after.min(BUDGET_REST);
            let until = discovery.clock.now().saturating_add(millis(rest));
            if let Err(error) = discovery.store.prolong_import(id, fence, until).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a lease is not prolonged");
            }
            tracing::warn!(
                "an import waits: the budget of the {key} is spent for {} s",
                retry_after.as_secs()
            );
            if spent_for_all(discovery, key).await {
                return Some(rest);
            }
        }
        Err(error) => {
            discovery.waiters.leave(id, fence);
            tracing::error!(error = &error as &dyn std::error::Error, "an import is interrupted");
        }
    }
    None
}

/// So that another server, or the next start, need not wait for the lease's end.
async fn give_back(discovery: &Discovery, id: ImportId, fence: Fence) {
    discovery.waiters.leave(id, fence);
    if let Err(error) = discovery.store.release_import(id, fence).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "a lease is not given back");
    }
}

/// Prolongs a lease for as long as it is asked to. Who has lost it learns so from its next step.
async fn keep_lease(discovery: &Discovery, id: ImportId, fence: Fence) -> Infallible {
    loop {
        tokio::time::sleep(HEART_BEAT).await;
        let until = discovery.clock.now().saturating_add(millis(LEASE));
        match discovery.store.prolong_import(id, fence, until).await {
            Ok(true) => {}
            Ok(false) => return std::future::pending().await,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a lease is not prolonged");
            }
        }
    }
}

/// Whether a key's budget for the day does not hold one more step, whoever it is for; else it was one account's share.
async fn spent_for_all(discovery: &Arc<Discovery>, key: KeyId) -> bool {
    let custody = Arc::clone(&discovery.custody);
    let usage = tokio::task::spawn_blocking(move || custody.usage()).await;
    let Ok(Ok(usage)) = usage else { return false };
    let step = u64::try_from(STEP_PAIRS).unwrap_or(u64::MAX);
    usage.iter().any(|usage| usage.key == key && usage.used_today.saturating_add(step) > usage.per_day)
}

/// Works on an import, and goes on after what may pass: a store that somebody else has locked, a key holder that is away, a
/// second's budget that is spent. As long as the lease may still hold; what was committed is not done again.
async fn persist(
    discovery: &Discovery,
    leased: &mut LeasedImport,
    stop: &mut watch::Receiver<bool>,
) -> Result<Progress, Internal> {
    let mut pauses = PAUSES.into_iter();
    let mut list = None;
    let mut done = leased.done;
    loop {
        let error = match attempt(discovery, leased, &mut list, stop).await {
            Err(error) => error,
            progress => return progress,
        };
        if leased.done > done {
            // The lease is new with each step.
            done = leased.done;
            pauses = PAUSES.into_iter();
        }
        let passes = matches!(
            error,
            Internal::Store(StoreError::Unavailable(_))
                | Internal::Custody(CustodyError::Unavailable(_))
                | Internal::StaleEpochs
        );
        // Without a key that is needed another attempt is of no use.
        let passes = passes && (discovery.epochs.can_work() || !matches!(error, Internal::StaleEpochs));
        let pause = if passes { pauses.next() } else { None };
        let Some(pause) = pause else { return Err(error) };
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "an import is interrupted, and goes on in {} s",
            pause.as_secs()
        );
        drop(error);
        wait(pause, stop).await;
        if *stop.borrow() {
            return Ok(Progress::Stopped);
        }
    }
}

async fn attempt(
    discovery: &Discovery,
    leased: &mut LeasedImport,
    list: &mut Option<Arc<ContactList>>,
    stop: &mut watch::Receiver<bool>,
) -> Result<Progress, Internal> {
    let list = match list {
        Some(list) => Arc::clone(list),
        None => {
            let opened = Arc::new(ContactList::open(&*discovery.custody, leased.id, &leased.sealed)?);
            Arc::clone(list.insert(opened))
        }
    };
    let outcome = work(discovery, leased, &list, stop).await;
    if !matches!(outcome, Err(Internal::StaleEpochs)) {
        return outcome;
    }
    // Keys were rotated or retired meanwhile: once more, with those of now.
    epochs::look(discovery).await?;
    work(discovery, leased, &list, stop).await
}
