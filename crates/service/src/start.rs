//! Starting and stopping: keys checked against the data, background work begun and ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::{CustodyError, KeyCustody, KeyId, Purpose, key_check, matches_check};
use acquaint_protocol::pair::{Canonicalisation, EpochId, Suite};
use acquaint_store::{EpochRecord, EpochState, KeyRecord, ServerId, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::Discovery;
use crate::ambient::{Clock, Entropy, EntropyError, bytes};
use crate::audit::{EventSink, tell_events};
use crate::delivery::CodeSender;
use crate::directory::{self, Directory};
use crate::epochs::{self, Epochs, keep_epochs};
use crate::error::Internal;
use crate::import::{Waiters, run_imports};
use crate::limiter::Limiter;
use crate::network::{DepartureCheck, confirm_departures};
use crate::notices::tell;
use crate::notify::Notifier;
use crate::observe::observe;
use crate::policy::{Policy, millis};
use crate::pool::{PoolPlan, PoolSize, StretchPool};

/// How often expired rows are deleted, and how many in one go.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_ROWS: u32 = 500;

/// Everything that the service is built from.
pub struct Parts {
    /// Where state is kept.
    pub store: Arc<dyn Store>,
    /// Who holds the keys.
    pub custody: Arc<dyn KeyCustody>,
    /// How codes reach people.
    pub sender: Arc<dyn CodeSender>,
    /// How accounts are told of matches; `None` if nobody is to be told.
    pub notifier: Option<Arc<dyn Notifier>>,
    /// Who is told of the audit log's events; `None` if nobody is.
    pub events: Option<Arc<dyn EventSink>>,
    /// Who confirms that accounts are gone; `None` where no stream says so.
    pub departures: Option<Arc<dyn DepartureCheck>>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// What gives randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The operator's choices.
    pub policy: Policy,
    /// How large the hashing pool may be.
    pub pool: PoolSize,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Stored data was made with a key that custody does not have.
    #[error(
        "the stored data needs the {0}, which is missing: put the right key file back, or the right token; new keys cannot read it"
    )]
    KeyMissing(KeyId),
    /// Custody has another key under this name.
    #[error(
        "the {0} is not the one that the stored data was made with: put the right key file back, or the right token"
    )]
    OtherKey(KeyId),
    /// The store has data of a purpose that this program does not know.
    #[error("the stored data needs a kind of key that this program does not know: use a newer program")]
    UnknownPurpose,
    /// The newest epoch was made for another way of canonicalising.
    #[error(
        "the newest pair key was made for another form of identifiers than this program's: it needs a new epoch"
    )]
    OtherCanonicalisation,
    /// Custody has no key for an audience.
    #[error(
        "credentials for `{audience}` need the {key}, which is missing: `acquaint keys audience` makes the keys of an audience and says its number"
    )]
    NoAudienceKey {
        /// As the configuration calls it.
        audience: String,
        /// Which key is missing.
        key: KeyId,
    },
    /// One hash takes more than the memory allowed.
    #[error("the pool's memory is too small: suite `{}` needs {} MiB for one hash", .0.name, .0.memory_kib.div_ceil(1024))]
    PoolTooSmall(Suite),
    /// The store failed.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// Custody failed.
    #[error("the keys cannot be used")]
    Custody(#[from] CustodyError),
    /// There is no randomness.
    #[error("the server cannot draw a number for itself")]
    Entropy(#[from] EntropyError),
    /// The epochs could not be agreed upon with the store.
    #[error("the epochs of the keys cannot be looked at")]
    Epochs(#[from] Internal),
    /// A part of the start ended unexpectedly.
    #[error("a part of the start ended unexpectedly")]
    Interrupted,
    /// The operating system gave no thread.
    #[error("the hashing pool cannot be started")]
    Threads(#[source] std::io::Error),
}

/// The service and its background work.
pub struct Running {
    /// The service.
    pub discovery: Arc<Discovery>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Checks that the keys are those of the stored data, then starts the pool, the import worker (which resumes what
    /// a former run left) and the sweeper. To be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs and nothing was changed.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts { store, custody, sender, notifier, events, departures, clock, entropy, policy, pool } =
            parts;
        let checked = check_keys(&*store, &*custody).await?;
        check_audiences(&*custody, &policy)?;
        let (plan, dearest) = pool_plan(&*custody, pool)?;
        let pool = StretchPool::start(plan).map_err(StartError::Threads)?;
        let server = ServerId(bytes(&*entropy)?);
        let directory = policy.directory.clone().map(Directory::new);
        let discovery = Arc::new(Discovery {
            store,
            custody,
            sender,
            clock,
            entropy,
            policy,
            pool,
            epochs: Epochs::new(server, dearest.memory_kib, checked),
            waiters: Waiters::default(),
            new_import: Notify::new(),
            new_notice: Notify::new(),
            new_event: Arc::default(),
            limiter: Limiter::default(),
            directory,
            tells: events.is_some(),
            notifies: notifier.is_some(),
        });
        // Before anything is hashed: for which epochs.
        epochs::look(&discovery).await?;
        // There before there is one, so that an alert can see it rise.
        metrics::counter!("acquaint_events_lost_total").increment(0);
        let (stop, stopped) = watch::channel(false);
        // Without it matching goes on, and it is tried again.
        if let Err(error) = discovery.begin_directory(&stopped).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the directory cannot be used yet");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(run_imports(Arc::clone(&discovery), stopped.clone()));
        tasks.spawn(keep_epochs(Arc::clone(&discovery), stopped.clone()));
        if let Some(notifier) = notifier {
            tasks.spawn(tell(Arc::clone(&discovery), notifier, stopped.clone()));
        }
        if let Some(events) = events {
            tasks.spawn(tell_events(Arc::clone(&discovery), events, stopped.clone()));
        }
        if let Some(departures) = departures {
            tasks.spawn(confirm_departures(Arc::clone(&discovery), departures, stopped.clone()));
        }
        tasks.spawn(observe(Arc::clone(&discovery), stopped.clone()));
        tasks.spawn(directory::follow(Arc::clone(&discovery), stopped.clone()));
        tasks.spawn(directory::renew(Arc::clone(&discovery), stopped.clone()));
        tasks.spawn(sweep(Arc::clone(&discovery), stopped));
        Ok(Self { discovery, stop, tasks })
    }

    /// Stops the background work after the step that it is at. Accepted imports stay stored and are resumed by the
    /// next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Refuses keys that are not those of the data, and records keys that are new. Returns the check values that pair keys
/// were found to agree with.
async fn check_keys(
    store: &dyn Store,
    custody: &dyn KeyCustody,
) -> Result<BTreeMap<EpochId, Vec<u8>>, StartError> {
    // Makes the newest epoch the current one should a start have been cut off before that.
    store.record_keys(Vec::new()).await?;
    let epochs = store.epochs().await?;
    let current = epochs.iter().find(|record| record.state == EpochState::Current).map(|record| record.epoch);
    let record_of = |key: KeyId| {
        let is_its =
            |record: &&EpochRecord| key.purpose == Purpose::Pair && record.epoch.get() == key.version;
        epochs.iter().find(is_its)
    };
    let held = custody.keys();
    let mut known = Vec::new();
    let mut checked = BTreeMap::new();
    for KeyRecord { purpose, version, check } in store.key_records().await? {
        let purpose = Purpose::by_name(&purpose).ok_or(StartError::UnknownPurpose)?;
        let key = KeyId { purpose, version };
        let epoch = record_of(key);
        // Of a retired epoch it may be destroyed.
        if epoch.is_some_and(|record| !record.state.is_checked()) {
            continue;
        }
        // In the middle of a rotation this server may not have it yet; nothing stands under it.
        if !held.contains(&key) && epoch.is_some_and(|record| Some(record.epoch) > current) {
            continue;
        }
        if !held.contains(&key) {
            return Err(StartError::KeyMissing(key));
        }
        match matches_check(custody, key, &check) {
            Ok(true) => {}
            // A stranger's: it is not used, and the log says so.
            Ok(false) if epoch.is_some_and(|record| Some(record.epoch) > current) => continue,
            Ok(false) => return Err(StartError::OtherKey(key)),
            // A server that is started again on such a day is still good for what needs no such key.
            Err(CustodyError::OverBudget { .. }) => {
                tracing::warn!("the {key} is not checked against the data: its budget is spent");
            }
            Err(error) => return Err(error.into()),
        }
        known.push(key);
        if key.purpose == Purpose::Pair {
            checked.insert(EpochId::new(key.version), check);
        }
    }
    let newest = acquaint_custody::epochs(custody)?.into_iter().next();
    if newest.is_none_or(|epoch| epoch.canonicalisation != Canonicalisation::CURRENT) {
        return Err(StartError::OtherCanonicalisation);
    }
    let newest_known = epochs.first().map(|newest| newest.epoch.get());
    // A pair key that is older than what the data knows is a retired one, or was never used. No data rests on those for
    // credentials.
    let is_new = |key: &KeyId| {
        key.purpose.is_needed()
            && !known.contains(key)
            && (key.purpose != Purpose::Pair || Some(key.version) > newest_known)
    };
    let mut records = Vec::new();
    for key in held.into_iter().filter(is_new) {
        let check = key_check(custody, key)?;
        records.push(KeyRecord { purpose: key.purpose.name().into(), version: key.version, check });
    }
    if records.is_empty() {
        return Ok(checked);
    }
    store.record_keys(records.clone()).await?;
    // Another server may have been faster, with other keys: a record that is there stays as it is.
    let recorded = store.key_records().await?;
    for KeyRecord { purpose, version, check: _ } in records {
        let there = recorded.iter().find(|there| there.purpose == purpose && there.version == version);
        let purpose = Purpose::by_name(&purpose).ok_or(StartError::UnknownPurpose)?;
        let key = KeyId { purpose, version };
        let is_ours = match there {
            Some(there) => matches_check(custody, key, &there.check)?,
            None => false,
        };
        if !is_ours {
            return Err(StartError::OtherKey(key));
        }
        if let (Purpose::Pair, Some(there)) = (key.purpose, there) {
            checked.insert(EpochId::new(key.version), there.check.clone());
        }
    }
    Ok(checked)
}

/// What fits for the dearest suite in use, and which that is.
fn pool_plan(custody: &dyn KeyCustody, size: PoolSize) -> Result<(PoolPlan, Suite), StartError> {
    let stretching = custody.keys().into_iter().filter(|key| key.purpose.stretches());
    let suites =
        stretching.map(|key| Ok(custody.stretching(key)?.suite)).collect::<Result<Vec<_>, CustodyError>>()?;
    let dearest = suites.into_iter().max_by_key(|suite| suite.memory_kib).unwrap_or(Suite::STANDARD);
    let plan = size.plan_for(dearest).ok_or(StartError::PoolTooSmall(dearest))?;
    Ok((plan, dearest))
}

/// Refuses audiences without keys before anybody asks for credentials.
fn check_audiences(custody: &dyn KeyCustody, policy: &Policy) -> Result<(), StartError> {
    let held = custody.keys();
    for audience in &policy.credentials.audiences {
        let needed = [(Purpose::CredentialAuth, true), (Purpose::CredentialUser, audience.issues)];
        for (purpose, _) in needed.into_iter().filter(|(_, needed)| *needed) {
            let key = KeyId { purpose, version: audience.number };
            if !held.contains(&key) {
                return Err(StartError::NoAudienceKey { audience: audience.name.clone(), key });
            }
        }
    }
    Ok(())
}

async fn sweep(discovery: Arc<Discovery>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let now = discovery.clock.now();
        let old = now.saturating_sub(millis(discovery.policy.keep_events));
        let events = discovery.store.sweep_events(old, SWEEP_ROWS).await;
        let rows = discovery.store.sweep(SWEEP_ROWS, now).await;
        match events.and_then(|events| Ok(rows?.max(events))) {
            // More may be left: go on soon, but let others write in between.
            Ok(swept) if swept >= u64::from(SWEEP_ROWS) => tokio::task::yield_now().await,
            Ok(_) => wait(SWEEP_EVERY, &mut stop).await,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "expired rows cannot be deleted");
                wait(SWEEP_EVERY, &mut stop).await;
            }
        }
    }
}

pub(crate) async fn wait(time: Duration, stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        _ = stop.changed() => {}
    }
}
