//! The work on one leased import: pairs stretched, finished in custody, and committed a step at a time.

use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::{CustodyError, ShareTag};
use acquaint_protocol::pair::{EpochId, Pair, PairHash, Stretched, order_bit};
use acquaint_store::{
    Half, ImportStep, LeasedImport, Limit, Millis, NoticeTimes, Pseudonym, Report, StepOutcome,
};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::list::ContactList;
use super::runner::LEASE;
use crate::Discovery;
use crate::epochs::LiveKeys;
use crate::error::Internal;
use crate::policy::millis;
use crate::pool::Lane;
use crate::start::wait;
use crate::verified::Verified;

/// A step is committed when it has this many pairs …
pub const STEP_PAIRS: usize = 32;
/// … or is this old, so that matches reach the person who waits.
const STEP_TIME: Duration = Duration::from_secs(1);
/// A budget that has some again within this time is waited for, with what was stretched kept meanwhile …
const BUDGET_WAIT: Duration = Duration::from_secs(30);
/// … and so often that it does not take longer than this.
const BUDGET_PATIENCE: Duration = Duration::from_secs(60);
/// After an import's deadline, by then its answer is out: what it told need not be told again.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// How long it is worth telling of a match.
const NOTICE_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const TOO_SHORT: Internal = Internal::Unreadable("an accepted list is shorter than its total");

/// Where the work on an import ended.
pub(super) enum Progress {
    /// Finished.
    Over,
    /// Not ours any more: removed, or leased to another.
    Lost,
    /// To be resumed.
    Stopped,
}

/// Works from where the import is to its end, or until `stop`. What was committed shows in `leased.done`.
pub(super) async fn work(
    discovery: &Discovery,
    leased: &mut LeasedImport,
    list: &Arc<ContactList>,
    stop: &mut watch::Receiver<bool>,
) -> Result<Progress, Internal> {
    let keys = discovery.epochs.live();
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
        if !Arc::ptr_eq(&keys, &discovery.epochs.live()) {
            return Err(Internal::StaleEpochs);
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
        let Some(halves) = sealed_in_time(discovery, leased.account, &keys, pairs, stop).await? else {
            return Ok(Progress::Stopped);
        };
        let now = discovery.clock.now();
        let step = step_of(discovery, leased, own, list, (halves, &positions), now);
        match discovery.store.match_or_insert(step, now).await? {
            StepOutcome::Fenced => return Ok(Progress::Lost),
            StepOutcome::Stale => return Err(Internal::StaleEpochs),
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

fn step_of(
    discovery: &Discovery,
    leased: &LeasedImport,
    own: &Verified,
    list: &ContactList,
    (halves, positions): (Vec<Half>, &[u16]),
    now: Millis,
) -> ImportStep {
    let policy = &discovery.policy;
    let answered = now.saturating_add(millis(policy.import_deadline + ANSWER_MARGIN));
    // The request may wait at another server.
    let is_elsewhere = discovery.store.is_shared() && !discovery.waiters.is_waited_for(leased.id);
    ImportStep {
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
            importer_due_at: answered,
            expires_at: now.saturating_add(millis(NOTICE_TTL)),
        }),
        report: is_elsewhere.then(|| Report { positions: positions.to_vec(), until: answered }),
    }
}

/// A pair, stretched in each way that the live epochs want.
struct StretchedPair {
    position: u16,
    bit: bool,
    stretched: Vec<Stretched>,
}

async fn stretch(
    discovery: &Discovery,
    keys: Arc<LiveKeys>,
    list: Arc<ContactList>,
    index: u32,
) -> Result<StretchedPair, Internal> {
    let (own, position, contact) = list.pair_at(index).ok_or(TOO_SHORT)?;
    let bit = order_bit(own, contact);
    let pair =
        Pair::new(own, contact).map_err(|_| Internal::Unreadable("an own number in an accepted list"))?;
    let mut stretched = Vec::with_capacity(keys.stretchings.len());
    for stretching in &keys.stretchings {
        let (pool, pepper) = (&discovery.pool, stretching.pepper.clone());
        stretched.push(pool.stretch(Lane::Bulk, stretching.suite, pepper, pair.as_bytes()).await?);
    }
    Ok(StretchedPair { position, bit, stretched })
}

/// Finishes a step's pairs in custody, and waits for a budget that has some again soon. `None` at `stop`.
async fn sealed_in_time(
    discovery: &Discovery,
    account: Pseudonym,
    keys: &Arc<LiveKeys>,
    pairs: Vec<StretchedPair>,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<Vec<Half>>, Internal> {
    let pairs = Arc::new(pairs);
    let mut halves: Vec<Half> = pairs
        .iter()
        .map(|pair| Half { hashes: Vec::with_capacity(keys.keys.len()), bit: pair.bit })
        .collect();
    let began = Instant::now();
    // What was finished under one key is kept while another's budget is waited for.
    for index in 0..keys.keys.len() {
        loop {
            match sealed(discovery, account, keys, index, &pairs).await {
                // The heart-beat keeps the lease meanwhile.
                Err(Internal::Custody(CustodyError::OverBudget { key: _, retry_after }))
                    if retry_after <= BUDGET_WAIT && began.elapsed() < BUDGET_PATIENCE =>
                {
                    wait(retry_after, stop).await;
                    if *stop.borrow() {
                        return Ok(None);
                    }
                }
                // It was destroyed after its epoch was retired.
                Err(Internal::Custody(CustodyError::NoSuchKey(_))) => return Err(Internal::StaleEpochs),
                outcome => {
                    for (half, hash) in halves.iter_mut().zip(outcome?) {
                        half.hashes.push(hash);
                    }
                    break;
                }
            }
        }
    }
    Ok(Some(halves))
}

/// Finishes a step's pairs under one key, on behalf of the account, in one batch.
async fn sealed(
    discovery: &Discovery,
    account: Pseudonym,
    keys: &Arc<LiveKeys>,
    index: usize,
    pairs: &Arc<Vec<StretchedPair>>,
) -> Result<Vec<(EpochId, PairHash)>, Internal> {
    let custody = Arc::clone(&discovery.custody);
    let (keys, pairs) = (Arc::clone(keys), Arc::clone(pairs));
    let share = ShareTag(*account.as_bytes());
    let sealing = tokio::task::spawn_blocking(move || {
        let Some(live) = keys.keys.get(index) else { return Ok(Vec::new()) };
        let batch: Vec<&[u8]> = pairs
            .iter()
            .filter_map(|pair| pair.stretched.get(live.stretched))
            .map(|hash| hash.as_bytes().as_slice())
            .collect();
        let hashes = custody.hmac_for(live.key, share, &batch)?.into_iter();
        Ok(hashes.map(|hash| (live.epoch, PairHash::from_bytes(hash))).collect())
    });
    sealing.await.map_err(|_| Internal::Interrupted)?
}
