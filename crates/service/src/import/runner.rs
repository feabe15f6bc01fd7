//! The worker: leases accepted imports and carries them through, a step at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::{CustodyError, KeyId, ShareTag, Stretching, epochs};
use acquaint_protocol::pair::{EpochId, Pair, PairHash, Stretched, order_bit};
use acquaint_store::{
    Fence, Half, ImportId, ImportStep, LeasedImport, Limit, NoticeTimes, Pseudonym, Report, StepOutcome,
    StoreError,
};
use futures::StreamExt;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::list::ContactList;
use crate::Discovery;
use crate::error::Internal;
use crate::policy::millis;
use crate::pool::Lane;
use crate::start::wait;

/// Imports worked on at once: many, so that a short one need not wait for a long one.
const RUNNING: usize = 16;
/// A step is committed when it has this many pairs …
const STEP_PAIRS: usize = 32;
/// … or is this old, so that matches reach the person who waits.
const STEP_TIME: Duration = Duration::from_secs(1);
/// After a crash this is what others wait for. Whoever loses a lease that it still works under is fenced, so a short one
/// costs work and never a pair.
const LEASE: Duration = Duration::from_secs(20);
/// How often a lease is prolonged beside the steps, which can be slow.
const HEART_BEAT: Duration = Duration::from_secs(4);
/// How long an import waits after each failure of the store; together less than the lease.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10)];
/// A budget that has some again within this time is waited for, with the lease kept meanwhile.
const BUDGET_WAIT: Duration = Duration::from_secs(30);
/// How long no import is begun once a key's budget for the day is spent; then it is looked at again.
const BUDGET_REST: Duration = Duration::from_secs(300);
/// After an import's deadline, by then its answer is out: what it told need not be told again.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// How long it is worth telling of a match.
const NOTICE_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
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
        Ok(Progress::Stopped) => discovery.waiters.leave(id, fence),
        // Its lease runs out, and it is begun again from what is committed.
        Err(Internal::Custody(CustodyError::OverBudget { key, retry_after })) => {
            discovery.waiters.leave(id, fence);
            tracing::warn!(
                "an import waits: the budget of the {key} is spent for {} s",
                retry_after.as_secs()
            );
            if spent_for_all(discovery, key).await {
                return Some(retry_after.min(BUDGET_REST));
            }
        }
        Err(error) => {
            discovery.waiters.leave(id, fence);
            tracing::error!(error = &error as &dyn std::error::Error, "an import is interrupted");
        }
    }
    None
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
            Internal::Store(StoreError::Unavailable(_)) | Internal::Custody(CustodyError::Unavailable(_))
        );
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
    work(discovery, leased, &list, stop).await
}

const TOO_SHORT: Internal = Internal::Unreadable("an accepted list is shorter than its total");

/// Where the work on an import ended.
enum Progress {
    /// Finished.
    Over,
    /// Not ours any more: removed, or leased to another.
    Lost,
    /// To be resumed.
    Stopped,
}

async fn work(
    discovery: &Discovery,
    leased: &mut LeasedImport,
    list: &Arc<ContactList>,
    stop: &mut watch::Receiver<bool>,
) -> Result<Progress, Internal> {
    let keys = live_keys(discovery)?;
    // Enough in flight to keep every thread busy while a step is committed.
    let in_flight = discovery.pool.at_a_time() * 4;
    let stretched = {
        let (keys, list) = (Arc::clone(&keys), Arc::clone(list));
        let rest = leased.done..leased.total;
        rest.map(move |index| stretch(discovery, Arc::clone(&keys), Arc::clone(&list), index))
    };
    let mut stretched = std::pin::pin!(futures::stream::iter(stretched).buffered(in_flight));
    while leased.done < leased.total {
        if *stop.borrow() {
            return Ok(Progress::Stopped);
        }
        let Some((own, left)) = list.own_at(leased.done) else { return Err(TOO_SHORT) };
        // A step is of one own identifier: its verification, and what is given back to it.
        let largest = left.min(STEP_PAIRS);
        let began = Instant::now();
        let mut pairs = Vec::with_capacity(largest);
        while pairs.len() < largest && (pairs.is_empty() || began.elapsed() < STEP_TIME) {
            match stretched.next().await {
                Some(pair) => pairs.push(pair?),
                None => break,
            }
        }
        if pairs.is_empty() {
            return Err(TOO_SHORT);
        }
        let positions: Vec<u16> = pairs.iter().map(|pair| pair.position).collect();
        let pairs = Arc::new(pairs);
        let halves = loop {
            match seal_pairs(discovery, leased.account, &keys, &pairs).await {
                // What was stretched is kept meanwhile. The lease holds for many of these waits; should it end, whoever
                // takes the import fences this one off.
                Err(Internal::Custody(CustodyError::OverBudget { key: _, retry_after }))
                    if retry_after <= BUDGET_WAIT && began.elapsed() < LEASE / 2 =>
                {
                    wait(retry_after, stop).await;
                    if *stop.borrow() {
                        return Ok(Progress::Stopped);
                    }
                }
                outcome => break outcome?,
            }
        };
        let now = discovery.clock.now();
        let policy = &discovery.policy;
        let mut step = ImportStep {
            import: leased.id,
            account: leased.account,
            generation: leased.generation,
            fence: leased.fence,
            done: leased.done,
            halves,
            verified_at: own.verified_at,
            expires_at: own.verified_at.saturating_add(millis(policy.pair_ttl)),
            lease_until: now.saturating_add(millis(LEASE)),
            refunds: vec![
                policy.account_pairs.permit(Limit::AccountPairs, leased.account.as_bytes(), 1),
                policy.number_pairs.permit(Limit::NumberPairs, own.number.as_bytes(), 1),
            ],
            numbers: list.numbers(),
            notices: discovery.notifies.then(|| NoticeTimes {
                importer_due_at: now.saturating_add(millis(policy.import_deadline + ANSWER_MARGIN)),
                expires_at: now.saturating_add(millis(NOTICE_TTL)),
            }),
            report: None,
        };
        if discovery.store.is_shared() && !discovery.waiters.is_waited_for(leased.id) {
            // The request may wait at another server.
            let until = now.saturating_add(millis(policy.import_deadline + ANSWER_MARGIN));
            step.report = Some(Report { positions: positions.clone(), until });
        }
        match discovery.store.match_or_insert(step, now).await? {
            StepOutcome::Fenced => return Ok(Progress::Lost),
            StepOutcome::Committed(outcomes) => {
                leased.done = leased.done.saturating_add(u32::try_from(outcomes.len()).unwrap_or(u32::MAX));
                let found = positions.into_iter().zip(outcomes);
                let found: Vec<_> = found
                    .flat_map(|(position, half)| half.matched.into_iter().map(move |other| (position, other)))
                    .collect();
                if !found.is_empty() {
                    discovery.new_notice.notify_one();
                }
                discovery.waiters.report(leased.id, found);
            }
        }
    }
    metrics::counter!("acquaint_imports_finished_total").increment(1);
    Ok(Progress::Over)
}

type LiveKeys = Arc<Vec<(KeyId, EpochId, Stretching)>>;

/// Every live epoch's way of hashing, newest first.
fn live_keys(discovery: &Discovery) -> Result<LiveKeys, Internal> {
    let custody = &*discovery.custody;
    let with_stretching = |epoch: acquaint_protocol::pair::Epoch| {
        let key = KeyId::pair(epoch.id);
        Ok((key, epoch.id, custody.stretching(key)?))
    };
    Ok(Arc::new(epochs(custody)?.into_iter().map(with_stretching).collect::<Result<_, Internal>>()?))
}

/// A pair, stretched for every live epoch.
struct StretchedPair {
    position: u16,
    bit: bool,
    stretched: Vec<Stretched>,
}

async fn stretch(
    discovery: &Discovery,
    keys: LiveKeys,
    list: Arc<ContactList>,
    index: u32,
) -> Result<StretchedPair, Internal> {
    let (own, position, contact) = list.pair_at(index).ok_or(TOO_SHORT)?;
    let bit = order_bit(own, contact);
    let pair =
        Pair::new(own, contact).map_err(|_| Internal::Unreadable("an own number in an accepted list"))?;
    let mut stretched = Vec::with_capacity(keys.len());
    for (_, _, Stretching { pepper, suite, canonicalisation: _ }) in keys.iter() {
        let pool = &discovery.pool;
        stretched.push(pool.stretch(Lane::Bulk, *suite, pepper.clone(), pair.as_bytes()).await?);
    }
    Ok(StretchedPair { position, bit, stretched })
}

/// Finishes a step's pairs in custody, on behalf of the account: one batch for each epoch.
async fn seal_pairs(
    discovery: &Discovery,
    account: Pseudonym,
    keys: &LiveKeys,
    pairs: &Arc<Vec<StretchedPair>>,
) -> Result<Vec<Half>, Internal> {
    let custody = Arc::clone(&discovery.custody);
    let (keys, pairs) = (Arc::clone(keys), Arc::clone(pairs));
    let share = ShareTag(*account.as_bytes());
    let sealing = tokio::task::spawn_blocking(move || {
        let mut halves: Vec<Half> =
            pairs.iter().map(|pair| Half { hashes: Vec::with_capacity(keys.len()), bit: pair.bit }).collect();
        for (index, (key, epoch, _)) in keys.iter().enumerate() {
            let batch: Vec<&[u8]> = pairs
                .iter()
                .filter_map(|pair| pair.stretched.get(index))
                .map(|hash| hash.as_bytes().as_slice())
                .collect();
            for (half, hash) in halves.iter_mut().zip(custody.hmac_for(*key, share, &batch)?) {
                half.hashes.push((*epoch, PairHash::from_bytes(hash)));
            }
        }
        Ok::<_, Internal>(halves)
    });
    sealing.await.map_err(|_| Internal::Interrupted)?
}
