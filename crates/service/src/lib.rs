//! The use cases of Acquaint, without HTTP: verify a number, import an address book, list and dismiss matches, remove
//! everything. Time, randomness, keys, storage and delivery come in through ports; policy lives here.

mod account;
mod ambient;
mod audit;
mod caller;
mod codec;
mod credentials;
mod delivery;
pub mod directory;
mod epochs;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod import;
mod limiter;
mod lookups;
mod matches;
mod network;
mod notices;
mod notify;
mod observe;
mod policy;
mod pool;
mod removal;
pub mod shard;
mod start;
mod token;
mod verified;
mod verify;

use std::sync::Arc;

use acquaint_custody::{KeyCustody, Purpose, newest};
use acquaint_store::{OnceId, Store, StoreError};
use tokio::sync::Notify;

pub use acquaint_store::{EpochRows, Millis, NoticeCounts, Removed, Retirement, SyncStatus};
pub use ambient::{Clock, Entropy, EntropyError, SystemClock, SystemEntropy};
pub use audit::{AuditEvent, EventSink};
pub use caller::{Caller, Stranger};
pub use credentials::{Audience, Checked, CredentialPolicy, Issued};
pub use delivery::{Code, CodeSender, DeliveryError};
pub use epochs::{EpochView, EpochsView};
pub use error::{
    CredentialsError, ImportError, Internal, InvalidIdentifier, LookupError, MatchesError, RateLimited,
    StartVerificationError, VerifyError,
};
pub use import::{ImportMatch, MAX_CONTACTS, STEP_PAIRS};
pub use limiter::{Limiter, Refused};
pub use lookups::{Bill, LookupPolicy, Meter, Quota, Seeker};
pub use matches::{MAX_PAGE, MatchPage};
pub use network::{DepartureCheck, NetworkEvent, Unconfirmed};
pub use notices::DeadLetter;
pub use notify::{Notice, Notifier, NotifyError};
pub use policy::{Bucket, Policy};
pub use pool::{PoolError, PoolPlan, PoolSize, PoolStats, StretchError};
pub use start::{Parts, Running, StartError};

/// The service of contact discovery. Made by [`Running::start`].
pub struct Discovery {
    store: Arc<dyn Store>,
    custody: Arc<dyn KeyCustody>,
    sender: Arc<dyn CodeSender>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    policy: Policy,
    pool: pool::StretchPool,
    epochs: epochs::Epochs,
    waiters: import::Waiters,
    new_import: Notify,
    new_notice: Notify,
    new_event: Arc<Notify>,
    limiter: limiter::Limiter,
    directory: Option<directory::Directory>,
    /// Whether a webhook is told of events.
    tells: bool,
    /// Whether anybody is told of matches.
    notifies: bool,
}

impl Discovery {
    /// Whether the store and the key holder answer.
    ///
    /// # Errors
    /// [`Internal`] of the part that does not.
    pub async fn ready(&self) -> Result<(), Internal> {
        self.store.ping().await?;
        self.custody.hmac(newest(&*self.custody, Purpose::Code)?, &[b"\0ready"])?;
        Ok(())
    }

    /// Notes that something which may be used once is used, and must not be again until `expires_at`. `false` if it was.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn first_use(&self, id: [u8; 32], expires_at: Millis) -> Result<bool, StoreError> {
        let now = self.clock.now();
        self.store.use_once(OnceId::from_bytes(id), expires_at, now).await
    }

    /// The time by the service's clock.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// How many pairs wait in accepted imports.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn waiting_pairs(&self) -> Result<u64, Internal> {
        Ok(self.store.waiting_pairs().await?)
    }

    /// How long the hashing pool, and those of the other servers if they are like it, need for so many waiting pairs, going
    /// by its recent speed.
    pub fn queue_wait(&self, pairs: u64) -> std::time::Duration {
        let (hashes, servers) = self.epochs.hashes_per_pair();
        self.pool.time_for(pairs.saturating_mul(hashes) / servers)
    }

    /// How many pairs are hashed in that time.
    fn pairs_in(&self, time: std::time::Duration) -> u64 {
        let (hashes, servers) = self.epochs.hashes_per_pair();
        self.pool.capacity(time).saturating_mul(servers) / hashes
    }

    /// What the hashing pool has done so far.
    pub fn pool_stats(&self) -> PoolStats {
        self.pool.stats()
    }

    /// How many threads hash.
    pub fn pool_threads(&self) -> usize {
        self.pool.threads()
    }
}
