//! The directory: accounts that want to be found by an identifier which they have verified. It is apart from mutual matching,
//! and nothing of that comes in here.
//!
//! Each server keeps an index in memory and follows the store's changes; what it cannot follow it does not answer, so that
//! a withdrawal is gone everywhere within a minute.

mod follow;
mod index;
mod keys;
mod listing;
mod load;
mod lookup;
mod matrix;
mod named;
mod people;
mod private;
mod renewal;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use acquaint_protocol::bucket::weak::WeakLength;
use acquaint_store::{ChangeId, IndexId, Millis};
use tokio::sync::{Mutex, Notify, Semaphore};

pub(crate) use follow::follow;
pub use index::{BucketIndex, MAX_PREFIX_BITS};
pub use load::{MOST_MAPPINGS, Mapped, Mapping, Refusal};
pub use lookup::{BucketAnswer, DirectoryError, Evaluation, WeakAnswer};
pub use matrix::PeppersError;
pub use named::Found;
pub use people::{EnrolError, ListingView};
pub use private::{Answers, PlainFound, PrivatePolicy, ShardRange, StoredKeys};
pub use renewal::DirectoryEpoch;
pub(crate) use renewal::renew;

use keys::{Epoch, Keyring, Profile};
use named::NamedIndex;
use private::{Asking, Passes, SessionKeys, Shards};

use crate::policy::Bucket;

/// How long an answer may be kept by whoever gets it …
pub const MAX_AGE: Duration = Duration::from_secs(30);
/// … how often changes are looked for …
const POLL: Duration = Duration::from_secs(1);
/// … and how long a server answers that cannot look: with the first it stays within a minute.
const MAX_STALE: Duration = Duration::from_secs(25);

/// The operator's choices for the directory.
#[derive(Debug, Clone)]
pub struct DirectoryPolicy {
    /// The name of this provider, which keys are bound to; at most 255 bytes.
    pub provider: String,
    /// How many listings a bucket has at the least, on the average: who asks for one may mean any of them.
    pub candidates: u16,
    /// Bytes of an account's name in an entry; accounts with longer ones cannot be listed.
    pub account_bytes: u16,
    /// How long a listing lives after its identifier was verified.
    pub listing_ttl: Duration,
    /// How many listings an account may have.
    pub listings_of_account: u32,
    /// How many elements, prefixes or hashes one request may have.
    pub max_batch: u16,
    /// Identifiers that may be opened in bulk, for a new key or an index that needs them.
    pub unsealings: Bucket,
    /// How long an epoch is answered once there is a newer one.
    pub former_epoch: Duration,
    /// The profile of seed 003 as it is written, if it is switched on.
    pub weak: Option<WeakPolicy>,
    /// The Matrix face, if it is switched on: how long a pepper lives.
    pub matrix: Option<Duration>,
    /// Private lookup, as far as it is switched on.
    pub private: PrivatePolicy,
}

impl DirectoryPolicy {
    /// What is answered.
    fn profiles(&self) -> Vec<Profile> {
        let mut profiles = vec![Profile::SealedBuckets];
        profiles.extend(self.private.psm.then_some(Profile::Psm));
        profiles.extend(self.private.pir.then_some(Profile::Pir));
        profiles
    }
}

/// The operator's choices for the profile as it is written.
#[derive(Debug, Clone, Copy)]
pub struct WeakPolicy {
    /// How long weak hashes are.
    pub digits: WeakLength,
    /// Weak hashes that an account may ask for.
    pub account: Bucket,
}

/// The directory of a running service.
pub(crate) struct Directory {
    policy: DirectoryPolicy,
    live: Arc<RwLock<Live>>,
    followed: Mutex<Followed>,
    /// Woken when this server changed something: buckets may have to be cut anew.
    changed: Notify,
    /// How many answers are computed at once.
    work: Arc<Semaphore>,
    session_keys: SessionKeys,
    passes: Arc<Passes>,
    /// When it was last looked whether everybody has a place in private lookup.
    completed_at: AtomicI64,
    /// Queries that accounts have in work.
    asking: Asking,
    /// Shards of private lookup did not fit into memory, when it was last tried.
    lacks_memory: AtomicBool,
    /// Shards of private lookup could not be made for another reason, when it was last tried.
    fails_at_shards: AtomicBool,
}

/// What answers are made from.
#[derive(Default)]
struct Live {
    keyring: Option<Arc<Keyring>>,
    /// By epoch.
    sealed: BTreeMap<u32, BucketIndex>,
    private: BTreeMap<IndexId, Arc<Shards>>,
    named: Option<NamedIndex>,
    /// As of when this is what the store has.
    fresh_at: Option<Millis>,
}

/// How far the store's changes were followed.
#[derive(Default)]
struct Followed {
    after: Option<ChangeId>,
    at: Option<Millis>,
}

impl Directory {
    pub(crate) fn new(policy: DirectoryPolicy) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let work = Arc::new(Semaphore::new(cores));
        Self {
            session_keys: SessionKeys::new(policy.private.keys_memory),
            passes: Passes::new(policy.private.gather, Arc::clone(&work)),
            policy,
            live: Arc::default(),
            followed: Mutex::default(),
            changed: Notify::new(),
            work,
            lacks_memory: AtomicBool::new(false),
            completed_at: AtomicI64::new(0),
            asking: Asking::default(),
            fails_at_shards: AtomicBool::new(false),
        }
    }

    fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_mut(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this server can answer for an epoch, once it is published.
    fn answers(&self, epoch: &Epoch) -> bool {
        let live = self.live();
        epoch.key.profile == Profile::SealedBuckets
            || live.private.get(&epoch.key.index()).is_some_and(|shards| shards.is_whole())
    }

    fn keyring(&self) -> Option<Arc<Keyring>> {
        self.live().keyring.clone()
    }
}
