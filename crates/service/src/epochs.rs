//! Which epochs this server checks, kept in step with the key holder, the store and the other servers.
//!
//! A rotation has two phases (house plan, decision 1). A new pair key is made where the keys are. Each server finds it,
//! checks it against the store's record, hashes for it too, and says so by its heart-beat; once all do, the store inserts
//! under it. A retired epoch goes the other way: the store passes it over at once, each server stops hashing for it,
//! its rows are deleted, and then its key can be destroyed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use acquaint_custody::{KeyCustody, KeyId, Purpose, Stretching, key_check, matches_check};
use acquaint_protocol::pair::{EpochId, PairHash};
use acquaint_store::{EpochRecord, EpochRows, EpochState, EventKind, KeyRecord, Retirement, ServerId};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::Discovery;
use crate::audit::to_its_end;
use crate::error::Internal;
use crate::policy::millis;
use crate::start::wait;

/// How often keys and epochs are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How long after its last heart-beat a server is counted as being there.
const GONE: Duration = Duration::from_secs(30);
/// Places of a retired epoch that are deleted in one go.
const CLEARED_AT_ONCE: u32 = 500;

/// The pair keys to hash for.
#[derive(Debug, Default)]
pub(crate) struct LiveKeys {
    /// What has to be stretched; epochs that differ in nothing but the HMAC key share one.
    pub(crate) stretchings: Vec<Stretching>,
    pub(crate) keys: Vec<LiveKey>,
}

impl LiveKeys {
    /// Whether what is hashed for one serves for the other.
    fn is_same(&self, other: &Self) -> bool {
        let peppers = |keys: &Self| -> Vec<[u8; 32]> {
            keys.stretchings.iter().map(|stretching| *stretching.pepper.as_bytes()).collect()
        };
        self.keys == other.keys && peppers(self) == peppers(other)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LiveKey {
    pub(crate) key: KeyId,
    pub(crate) epoch: EpochId,
    /// Which of the stretchings is its own.
    pub(crate) stretched: usize,
}

/// What this server knows of epochs.
pub(crate) struct Epochs {
    server: ServerId,
    /// Memory of the dearest suite that the hashing pool was sized for.
    memory_kib: u32,
    live: RwLock<Arc<LiveKeys>>,
    /// How many servers work on the store's imports.
    servers: AtomicU64,
    /// An epoch whose key is not here has rows: no step can be done.
    lacking: AtomicBool,
    /// What is known of keys.
    checked: Mutex<Checked>,
    again: Notify,
}

#[derive(Default)]
struct Checked {
    /// The store's check value that each key was found to agree with.
    ours: BTreeMap<EpochId, Vec<u8>>,
    /// What is wrong is told once.
    told: BTreeSet<(EpochId, &'static str)>,
    /// The key holder did not answer when it was last asked.
    silent: bool,
}

/// An epoch as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochView {
    /// Its number, which is its key's version.
    pub version: u32,
    /// `next`, `current`, `older`, `retired` or `cleared`.
    pub state: &'static str,
    /// Argon2id's cost, if this server has the key.
    pub suite: Option<&'static str>,
    /// The store's check value of its key.
    pub check: Vec<u8>,
    /// How many servers hash for it.
    pub servers: usize,
}

/// The epochs, newest first, and how many servers there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochsView {
    /// Each epoch.
    pub epochs: Vec<EpochView>,
    /// Servers that have given a sign of life in the last half minute.
    pub servers: usize,
}

impl Epochs {
    /// This server's name for itself.
    pub(crate) fn server(&self) -> ServerId {
        self.server
    }

    /// `ours` are the check values of pair keys that were found to agree with them already.
    pub(crate) fn new(server: ServerId, memory_kib: u32, ours: BTreeMap<EpochId, Vec<u8>>) -> Self {
        let checked = Mutex::new(Checked { ours, ..Checked::default() });
        Self {
            server,
            memory_kib,
            live: RwLock::default(),
            servers: AtomicU64::new(1),
            lacking: AtomicBool::new(false),
            checked,
            again: Notify::new(),
        }
    }

    /// Whether steps can be done.
    pub(crate) fn can_work(&self) -> bool {
        !self.lacking.load(Ordering::Relaxed)
    }

    /// How many hashes of one of these servers a pair takes, as a fraction: so many for each pair, by so many servers.
    pub(crate) fn hashes_per_pair(&self) -> (u64, u64) {
        let stretchings = u64::try_from(self.live().stretchings.len()).unwrap_or(1);
        (stretchings.max(1), self.servers.load(Ordering::Relaxed).max(1))
    }

    fn checked(&self) -> MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to hash for, as it was when last looked at.
    pub(crate) fn live(&self) -> Arc<LiveKeys> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Discovery {
    /// Every epoch.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn epochs(&self) -> Result<EpochsView, Internal> {
        let records = self.store.epochs().await?;
        let mut checks = checks(self).await?;
        let servers = self.store.servers(self.clock.now()).await?;
        let current = current(&records);
        let view = |EpochRecord { epoch, state }| EpochView {
            version: epoch.get(),
            state: match state {
                EpochState::Current => "current",
                EpochState::Live if Some(epoch) > current => "next",
                EpochState::Live => "older",
                EpochState::Retired => "retired",
                EpochState::Cleared => "cleared",
            },
            suite: self.custody.stretching(KeyId::pair(epoch)).ok().map(|stretching| stretching.suite.name),
            check: checks.remove(&epoch).unwrap_or_default(),
            servers: servers.iter().filter(|held| held.contains(&epoch)).count(),
        };
        Ok(EpochsView { epochs: records.into_iter().map(view).collect(), servers: servers.len() })
    }

    /// How many rows stand under an epoch. Counts them, so it takes its time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn epoch_rows(&self, version: u32) -> Result<EpochRows, Internal> {
        Ok(self.store.epoch_rows(EpochId::new(version)).await?)
    }

    /// Ends an epoch that is older than the current one, and its rows are deleted from now on; or forgets a newer one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retire_epoch(&self, version: u32) -> Result<Retirement, Internal> {
        let retired = self.store.retire_epoch(EpochId::new(version)).await?;
        self.epochs.again.notify_one();
        if matches!(retired, Retirement::Retired | Retirement::Forgotten) {
            let noter = self.noter(None)?;
            to_its_end(async move { noter.note(EventKind::EpochRetired, json!({ "epoch": version })).await })
                .await;
        }
        Ok(retired)
    }
}

/// The check values of pair keys.
async fn checks(discovery: &Discovery) -> Result<BTreeMap<EpochId, Vec<u8>>, Internal> {
    let records = discovery.store.key_records().await?.into_iter();
    let pairs = records.filter(|record| record.purpose == Purpose::Pair.name());
    Ok(pairs.map(|record| (EpochId::new(record.version), record.check)).collect())
}

fn current(records: &[EpochRecord]) -> Option<EpochId> {
    records.iter().find(|record| record.state == EpochState::Current).map(|record| record.epoch)
}

/// Looks at keys and epochs until `stop`, and deletes what stands under retired ones.
pub(crate) async fn keep_epochs(discovery: Arc<Discovery>, mut stop: watch::Receiver<bool>) {
    let mut clearing: JoinSet<()> = JoinSet::new();
    while !*stop.borrow() {
        match look(&discovery).await {
            Ok(records) => {
                let retired = records.into_iter().find(|record| record.state == EpochState::Retired);
                while clearing.try_join_next().is_some() {}
                if let (Some(record), true) = (retired, clearing.is_empty()) {
                    clearing.spawn(clear(Arc::clone(&discovery), record.epoch, stop.clone()));
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the epochs of the keys cannot be looked at");
            }
        }
        tokio::select! {
            () = wait(EVERY, &mut stop) => {}
            () = discovery.epochs.again.notified() => {}
        }
    }
    while clearing.join_next().await.is_some() {}
    // What stays is counted as being there for some seconds more.
    let _ = discovery.store.check_out(discovery.epochs.server).await;
}

/// Takes up keys that are new, tells the store what this server checks, and learns what it is to check.
pub(crate) async fn look(discovery: &Discovery) -> Result<Vec<EpochRecord>, Internal> {
    let custody = Arc::clone(&discovery.custody);
    let refreshed = tokio::task::spawn_blocking(move || custody.refresh());
    let refreshed = refreshed.await.map_err(|_| Internal::Interrupted)?;
    let was_silent = std::mem::replace(&mut discovery.epochs.checked().silent, refreshed.is_err());
    if let Err(error) = refreshed
        && !was_silent
    {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the key holder cannot be asked which keys there are: the known ones stand");
    }
    // The heart-beat goes on when the key holder does not answer.
    match record_new(discovery).await {
        Err(Internal::Custody(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "a new pair key cannot be taken up yet");
        }
        outcome => outcome?,
    }
    let records = discovery.store.epochs().await?;
    let held = held(discovery, &records).await?;
    let now = discovery.clock.now();
    let until = now.saturating_add(millis(GONE));
    let before = current(&records);
    let records = discovery.store.check_in(discovery.epochs.server, held.clone(), now, until).await?;
    if current(&records) != before {
        tracing::info!("every server checks the newest pair key: it is inserted under from now on");
    }
    let servers = discovery.store.servers(now).await?.len();
    discovery.epochs.servers.store(u64::try_from(servers).unwrap_or(1), Ordering::Relaxed);
    let live = live_keys(&*discovery.custody, &records, &held)?;
    name_missing(discovery, &records, &held);
    metrics::gauge!("acquaint_pair_epochs")
        .set(f64::from(u32::try_from(live.keys.len()).unwrap_or(u32::MAX)));
    // An import begins again when this is another one.
    if !discovery.epochs.live().is_same(&live) {
        *discovery.epochs.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }
    Ok(records)
}

/// Tells of epochs that this server should check and cannot.
fn name_missing(discovery: &Discovery, records: &[EpochRecord], held: &[EpochId]) {
    let current = current(records);
    let missing = records.iter().filter(|record| record.state.is_checked() && !held.contains(&record.epoch));
    let (next, needed): (Vec<&EpochRecord>, Vec<_>) =
        missing.partition(|record| Some(record.epoch) > current);
    for record in &next {
        tell_once(discovery, record.epoch, "next", || {
            tracing::warn!(
                "a rotation waits for this server: put pair key {}, as the others have it, where its keys are",
                record.epoch.get()
            );
        });
    }
    for record in &needed {
        tell_once(discovery, record.epoch, "missing", || {
            tracing::error!(
                "no import goes on here: the data needs pair key {}, and it is gone from this server or cannot be used",
                record.epoch.get()
            );
        });
    }
    let mut checked = discovery.epochs.checked();
    // Once it is mended, it is told again should it be lost again.
    checked.told.retain(|(epoch, _)| !held.contains(epoch));
    drop(checked);
    discovery.epochs.lacking.store(!needed.is_empty(), Ordering::Relaxed);
    let count = f64::from(u32::try_from(needed.len()).unwrap_or(u32::MAX));
    metrics::gauge!("acquaint_pair_epochs_missing").set(count);
}

/// Records the pair keys that are newer than all that the store knows.
async fn record_new(discovery: &Discovery) -> Result<(), Internal> {
    let known = discovery.store.epochs().await?.first().map(|newest| newest.epoch);
    let new = pair_keys(&*discovery.custody).into_iter().filter(|epoch| Some(*epoch) > known);
    let new: Vec<EpochId> = new.collect();
    if new.is_empty() {
        return Ok(());
    }
    let custody = Arc::clone(&discovery.custody);
    let checks = tokio::task::spawn_blocking(move || {
        let record = |epoch: EpochId| {
            let check = key_check(&*custody, KeyId::pair(epoch))?;
            Ok(KeyRecord { purpose: Purpose::Pair.name().into(), version: epoch.get(), check })
        };
        new.into_iter().map(record).collect::<Result<Vec<_>, Internal>>()
    });
    let records = checks.await.map_err(|_| Internal::Interrupted)??;
    for record in &records {
        tracing::info!("a new pair key, version {}, is taken up", record.version);
    }
    Ok(discovery.store.record_keys(records).await?)
}

fn pair_keys(custody: &dyn KeyCustody) -> Vec<EpochId> {
    let keys = custody.keys().into_iter().filter(|key| key.purpose == Purpose::Pair);
    keys.map(|key| EpochId::new(key.version)).collect()
}

/// The epochs that this server can and should check: those that are not retired, whose keys are those of the records, and
/// for whose suite the pool has the memory.
async fn held(discovery: &Discovery, records: &[EpochRecord]) -> Result<Vec<EpochId>, Internal> {
    let mut checks = checks(discovery).await?;
    let mut held = Vec::new();
    for epoch in pair_keys(&*discovery.custody) {
        let record = records.iter().find(|record| record.epoch == epoch);
        let Some(check) = checks.remove(&epoch) else { continue };
        if !record.is_some_and(|record| record.state.is_checked()) {
            continue;
        }
        let is_ours = match is_ours(discovery, epoch, check).await {
            Err(Internal::Custody(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "pair key {} cannot be checked against the data yet", epoch.get());
                continue;
            }
            outcome => outcome?,
        };
        if !is_ours {
            tell_once(discovery, epoch, "stranger", || {
                tracing::error!(
                    "pair key {} is another one than the other servers have: put the same keys on all of them, and \
                     restart this one",
                    epoch.get()
                );
            });
            continue;
        }
        let suite = discovery.custody.stretching(KeyId::pair(epoch))?.suite;
        if suite.memory_kib > discovery.epochs.memory_kib {
            tell_once(discovery, epoch, "memory", || {
                tracing::warn!(
                    "pair key {} stretches at {} MiB, and the hashing pool was made for less: restart this server",
                    epoch.get(),
                    suite.memory_kib.div_ceil(1024)
                );
            });
            continue;
        }
        held.push(epoch);
    }
    Ok(held)
}

fn tell_once(discovery: &Discovery, epoch: EpochId, what: &'static str, tell: impl FnOnce()) {
    if discovery.epochs.checked().told.insert((epoch, what)) {
        tell();
    }
}

/// Whether the key is that of the store's check value. Looked at once for each.
async fn is_ours(discovery: &Discovery, epoch: EpochId, check: Vec<u8>) -> Result<bool, Internal> {
    if discovery.epochs.checked().ours.get(&epoch) == Some(&check) {
        return Ok(true);
    }
    let (custody, key, value) = (Arc::clone(&discovery.custody), KeyId::pair(epoch), check.clone());
    let matching = tokio::task::spawn_blocking(move || matches_check(&*custody, key, &value));
    let is_ours = matching.await.map_err(|_| Internal::Interrupted)??;
    if is_ours {
        discovery.epochs.checked().ours.insert(epoch, check);
    }
    Ok(is_ours)
}

fn live_keys(
    custody: &dyn KeyCustody,
    records: &[EpochRecord],
    held: &[EpochId],
) -> Result<LiveKeys, Internal> {
    let mut live = LiveKeys::default();
    for record in records.iter().filter(|record| record.state.is_checked() && held.contains(&record.epoch)) {
        let key = KeyId::pair(record.epoch);
        let stretching = custody.stretching(key)?;
        let is_same = |other: &Stretching| {
            other.pepper.as_bytes() == stretching.pepper.as_bytes() && other.suite == stretching.suite
        };
        let stretched = match live.stretchings.iter().position(is_same) {
            Some(stretched) => stretched,
            None => {
                live.stretchings.push(stretching);
                live.stretchings.len() - 1
            }
        };
        live.keys.push(LiveKey { key, epoch: record.epoch, stretched });
    }
    Ok(live)
}

/// Deletes what stands under a retired epoch, until a pass from the beginning finds nothing.
async fn clear(discovery: Arc<Discovery>, epoch: EpochId, stop: watch::Receiver<bool>) {
    let mut after: Option<PairHash> = None;
    while !*stop.borrow() {
        match discovery.store.clear_epoch(epoch, after, CLEARED_AT_ONCE).await {
            Ok(None) if after.is_none() => {
                tracing::info!("epoch {} is cleared: its key can be destroyed", epoch.get());
                return;
            }
            Ok(next) => after = next,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "a retired epoch is not cleared; it is tried again");
                return;
            }
        }
        // Others write in between.
        tokio::task::yield_now().await;
    }
}
