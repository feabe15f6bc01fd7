//! Lookups in the directory: OPRF and sealed buckets, and the hashes of the profile as it is written.

use std::sync::Arc;
use std::time::Duration;

use acquaint_protocol::bucket::parameters::{Parameters, Terms};
use acquaint_protocol::bucket::sealed::{AnswerShape, TAG_BYTES};
use acquaint_protocol::bucket::weak::{Weak, WeakLength};
use acquaint_protocol::bucket::{Bytes, SEALED};
use acquaint_protocol::oprf::{BlindedElement, EvaluateError, EvaluatedElement, Proof};
use acquaint_store::Limit;
use sha2::{Digest, Sha256};

use super::keys::{EpochKey, Layout, Profile};
use super::{Directory, Found, Live, MAX_STALE};
use crate::Discovery;
use crate::error::{Internal, LookupError};
use crate::lookups::{Bill, Seeker};
use crate::policy::millis;

/// How long the same request for buckets is free again: as long as a lost answer takes to be asked for again, and not so
/// long that buckets can be watched for nothing.
const REPEAT: Duration = Duration::from_secs(10 * 60);
/// How long parameters are good for, in seconds.
pub(super) const PARAMETERS_TTL_S: u64 = 24 * 60 * 60;

/// Why the directory does not answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is none, or not this profile.
    #[error("this service has no directory of this kind")]
    NotConfigured,
    /// It is being loaded, or cannot be followed; what it would answer may be withdrawn.
    #[error("the directory cannot be used at the moment: try again later")]
    Unavailable,
    /// Nothing, or more than one request may have.
    #[error("{field} must have 1 to {most} entries")]
    Batch {
        /// Of what.
        field: &'static str,
        /// How many there may be.
        most: u16,
    },
    /// Not a prefix of this layout.
    #[error("prefixes must be below 2^{bits}, as prefix_bits says: entry {at} is not")]
    UnknownPrefix {
        /// How long prefixes are.
        bits: u8,
        /// Which one is not, from 0.
        at: usize,
    },
    /// The epoch is not answered.
    #[error("epoch is not one that is answered: fetch the parameters again")]
    EpochChanged,
    /// There is no shard of this number.
    #[error("shard must be below 2^{0}, as shard_bits says")]
    UnknownShard(u8),
    /// Another server has the shard.
    #[error("this server does not have the shard: `servers` in the parameters says which one has")]
    ShardElsewhere,
    /// The caller has no such evaluation keys here.
    #[error("keys are not known here, or have expired: send evaluation keys again")]
    KeysUnknown,
    /// The account has as many requests in work as it may.
    #[error("other queries of this account are being answered: try again when they are")]
    Busy,
    /// Evaluation keys have another length.
    #[error("evaluation keys have {0} bytes")]
    KeysLength(usize),
    /// They cannot be read.
    #[error("evaluation keys: {0}")]
    Keys(#[source] acquaint_pir::DecodeError),
    /// There is no room for evaluation keys; the first may make room in so many milliseconds.
    #[error("there is no room for further evaluation keys: try again later")]
    NoRoom(acquaint_store::Millis),
    /// The queries do not have the length that their number asks for.
    #[error("queries must be as many as count says, of {0} bytes each")]
    QueriesLength(usize),
    /// There are no batch tables, or a batch has another size.
    #[error("count must be {0}: one query for every batch table")]
    BatchCount(u16),
    /// A query cannot be read.
    #[error("queries: entry {at}: {why}")]
    Query {
        /// Which one, from 0.
        at: usize,
        /// Why.
        why: acquaint_pir::DecodeError,
    },
    /// The layout is not answered.
    #[error("layout is not one that is answered: fetch the parameters again")]
    LayoutChanged,
    /// It was not charged.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The service failed.
    #[error("internal error")]
    Internal(#[source] Internal),
}

impl From<Internal> for DirectoryError {
    fn from(error: Internal) -> Self {
        Self::Internal(error)
    }
}

/// Evaluated elements, in the order of the blinded ones, and their proof.
pub struct Evaluation {
    /// The elements.
    pub elements: Vec<EvaluatedElement>,
    /// One proof for all.
    pub proof: Proof,
}

/// Buckets in the order of the prefixes, as `docs/protocol/directory.md` writes them.
pub struct BucketAnswer(pub Vec<u8>);

/// What is known of weak hashes.
pub type WeakAnswer = Vec<Found>;

impl Discovery {
    /// The signed parameters of sealed buckets.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn bucket_parameters(&self) -> Result<Parameters, DirectoryError> {
        let directory = self.directory()?;
        self.freshen(directory).await;
        let live = self.fresh(directory)?;
        let keyring = live.keyring.as_deref().ok_or(DirectoryError::Unavailable)?;
        let epoch = keyring.current(Profile::SealedBuckets).ok_or(DirectoryError::Unavailable)?;
        let Layout { number, bits, slots, account_bytes } =
            epoch.layout().ok_or(DirectoryError::Unavailable)?;
        let policy = &directory.policy;
        // The same for a whole hour, and for all: who fetched them when cannot be read from them.
        let hour = self.clock.now().div_euclid(3_600_000).saturating_mul(3600);
        let issued_at = u64::try_from(hour).unwrap_or_default();
        let terms = Terms {
            provider: policy.provider.clone(),
            profile: SEALED.to_owned(),
            epoch: epoch.key.epoch,
            layout: number,
            prefix_bits: bits,
            slots,
            account_bytes,
            max_batch: policy.max_batch,
            oprf_public_key: Bytes(epoch.key.public.0),
            issued_at,
            expires_at: issued_at.saturating_add(PARAMETERS_TTL_S),
        };
        terms.sign(&keyring.signing).map_err(|_| Internal::Unreadable("the parameters").into())
    }

    /// Whether there is a directory.
    ///
    /// # Errors
    /// [`DirectoryError::NotConfigured`] if not.
    pub fn has_directory(&self) -> Result<(), DirectoryError> {
        self.directory().map(drop)
    }

    /// Whether a request may have so many entries, before they are looked at.
    ///
    /// # Errors
    /// [`DirectoryError::Batch`] if not.
    pub fn check_batch(&self, field: &'static str, entries: usize) -> Result<(), DirectoryError> {
        self.directory()?.within(field, entries).map(drop)
    }

    /// Evaluates blinded elements, and charges an identifier for each.
    ///
    /// # Errors
    /// [`DirectoryError`]; then nothing was charged, unless it is internal.
    pub async fn evaluate(
        &self,
        seeker: &Seeker,
        epoch: u32,
        elements: Vec<BlindedElement>,
        request: Option<[u8; 16]>,
    ) -> Result<Evaluation, DirectoryError> {
        let directory = self.directory()?;
        directory.within("elements", elements.len())?;
        let (key, _) = self.answered(directory, epoch, None).await?;
        self.evaluate_under(directory, seeker, (key, b"oprf"), elements, request).await
    }

    /// Evaluates under a key; `what` tells its requests from those for other keys.
    pub(super) async fn evaluate_under(
        &self,
        directory: &Directory,
        seeker: &Seeker,
        (key, what): (Arc<EpochKey>, &[u8]),
        elements: Vec<BlindedElement>,
        request: Option<[u8; 16]>,
    ) -> Result<Evaluation, DirectoryError> {
        let identifiers = directory.within("elements", elements.len())?;
        let asked = elements.iter().map(BlindedElement::to_bytes);
        let digest = digest(what, &[key.epoch], asked.flatten());
        let request = request.map(|id| (id, digest));
        self.charge_lookup(seeker, Bill { identifiers, queries: 0, request }).await?;
        let entropy = Arc::clone(&self.entropy);
        let evaluated = directory.compute(move || {
            let (elements, proof) = key.key.evaluate(&elements, |bytes| entropy.fill(bytes))?;
            Ok::<_, EvaluateError<crate::EntropyError>>(Evaluation { elements, proof })
        });
        match evaluated.await? {
            Ok(evaluation) => {
                metrics::counter!("acquaint_oprf_evaluations_total").increment(u64::from(identifiers));
                Ok(evaluation)
            }
            Err(EvaluateError::Randomness(error)) => Err(Internal::from(error).into()),
            Err(EvaluateError::Batch | EvaluateError::Zeros) => {
                Err(Internal::Unreadable("a batch of the OPRF").into())
            }
        }
    }

    /// The buckets of prefixes; charges a query for each.
    ///
    /// # Errors
    /// [`DirectoryError`]; then nothing was charged, unless it is internal.
    pub async fn buckets(
        self: &Arc<Self>,
        seeker: &Seeker,
        (epoch, layout): (u32, u32),
        prefixes: Vec<u32>,
        request: Option<[u8; 16]>,
    ) -> Result<BucketAnswer, DirectoryError> {
        let directory = self.directory()?;
        let queries = directory.within("prefixes", prefixes.len())?;
        let (key, layout) = self.answered(directory, epoch, Some(layout)).await?;
        let bits = layout.bits;
        let beyond = |prefix: &u32| u64::from(*prefix) >> bits != 0;
        if let Some(at) = prefixes.iter().position(beyond) {
            return Err(DirectoryError::UnknownPrefix { bits, at });
        }
        let asked = prefixes.iter().flat_map(|prefix| prefix.to_be_bytes());
        let digest = digest(b"buckets", &[epoch, layout.number], asked);
        let request = request.map(|id| (id, digest));
        let discovery = Arc::clone(self);
        let answer = directory.compute(move || {
            let directory = discovery.directory()?;
            let slot = usize::from(layout.account_bytes) + TAG_BYTES;
            let shape = AnswerShape {
                epoch,
                layout: layout.number,
                prefix_bits: bits,
                slot_bytes: u16::try_from(slot).unwrap_or(u16::MAX),
                slots: layout.slots,
                count: u16::try_from(prefixes.len()).unwrap_or(u16::MAX),
            };
            let slots = usize::from(layout.slots);
            let mut answer = shape.header().to_vec();
            answer.reserve_exact(prefixes.len() * slots * slot);
            for prefix in prefixes {
                // For each anew: whoever changes the index is not kept waiting.
                let live = discovery.fresh(directory)?;
                let index = live.sealed.get(&epoch).ok_or(DirectoryError::Unavailable)?;
                let fill = |slots: &mut [u8]| key.filler.fill(bits, prefix, slots);
                // One that is too full is cut anew in a moment; nobody is left out.
                if !index.padded((bits, prefix), slots, fill, &mut answer) {
                    return Err(DirectoryError::Unavailable);
                }
            }
            Ok::<_, DirectoryError>(BucketAnswer(answer))
        });
        let answer = answer.await??;
        // Only what can be answered is charged.
        let bill = Bill { identifiers: 0, queries, request };
        self.charge_lookup_within(seeker, bill, REPEAT).await?;
        metrics::counter!("acquaint_bucket_answers_total").increment(u64::from(queries));
        Ok(answer)
    }

    /// How long the weak hashes of the profile as it is written are; where it is switched on.
    ///
    /// # Errors
    /// [`DirectoryError::NotConfigured`].
    pub fn weak_digits(&self) -> Result<WeakLength, DirectoryError> {
        let weak = self.directory()?.policy.weak.ok_or(DirectoryError::NotConfigured)?;
        Ok(weak.digits)
    }

    /// Whose identifiers have one of these weak hashes (seed 003); charges each different hash.
    ///
    /// # Errors
    /// [`DirectoryError`]; then nothing was charged.
    pub async fn weak_lookup(
        &self,
        seeker: &Seeker,
        hashes: Vec<Weak>,
    ) -> Result<WeakAnswer, DirectoryError> {
        let directory = self.directory()?;
        let policy = directory.policy.weak.ok_or(DirectoryError::NotConfigured)?;
        let found = {
            let mut hashes = hashes;
            hashes.sort_unstable();
            hashes.dedup();
            let amount = directory.within("weakHashes", hashes.len())?;
            self.freshen(directory).await;
            let found = {
                let (live, now) = (self.fresh(directory)?, self.clock.now());
                let named = live.named.as_ref().ok_or(DirectoryError::Unavailable)?;
                hashes.iter().flat_map(|hash| named.by_weak(hash, now)).collect()
            };
            // Only what can be answered is charged.
            self.charge_hashes(seeker, policy.account.permit(Limit::AccountWeakHashes, &[], amount)).await?;
            found
        };
        Ok(found)
    }

    /// The key of an epoch that is answered, and its layout, which has to be the asked one. What is newer than this server
    /// knows, another may have published a moment ago: then it looks first.
    async fn answered(
        &self,
        directory: &Directory,
        epoch: u32,
        layout: Option<u32>,
    ) -> Result<(Arc<EpochKey>, Layout), DirectoryError> {
        self.freshen(directory).await;
        match self.known(directory, epoch, layout) {
            Err(DirectoryError::EpochChanged | DirectoryError::LayoutChanged)
                if self.is_new(directory, epoch, layout) =>
            {
                self.look(directory).await?;
                self.known(directory, epoch, layout)
            }
            known => known,
        }
    }

    fn known(
        &self,
        directory: &Directory,
        epoch: u32,
        layout: Option<u32>,
    ) -> Result<(Arc<EpochKey>, Layout), DirectoryError> {
        let live = self.fresh(directory)?;
        let keyring = live.keyring.as_deref().ok_or(DirectoryError::Unavailable)?;
        // While one is being filled, it would show what is not filling.
        let epoch =
            keyring.epochs.get(&Profile::SealedBuckets.index(epoch)).filter(|epoch| epoch.is_answered());
        let epoch = epoch.ok_or(DirectoryError::EpochChanged)?;
        // Two layouts side by side would show what is the same in both.
        let present = epoch.layout().ok_or(DirectoryError::Unavailable)?;
        if layout.is_some_and(|asked| asked != present.number) {
            return Err(DirectoryError::LayoutChanged);
        }
        Ok((Arc::clone(&epoch.key), present))
    }

    /// Whether something may be one step ahead of what this server knows.
    fn is_new(&self, directory: &Directory, epoch: u32, layout: Option<u32>) -> bool {
        let Some(keyring) = directory.keyring() else { return false };
        let Some(current) = keyring.current(Profile::SealedBuckets) else { return false };
        let is_next = epoch == current.key.epoch.saturating_add(1);
        let next_layout = current.layout().map(|present| present.number.saturating_add(1));
        is_next || (epoch == current.key.epoch && layout.is_some() && layout == next_layout)
    }

    /// What can be answered now, if it is what the store has, or had a moment ago.
    pub(super) fn fresh<'a>(
        &self,
        directory: &'a Directory,
    ) -> Result<std::sync::RwLockReadGuard<'a, Live>, DirectoryError> {
        let live = directory.live();
        let stale_from = self.clock.now().saturating_sub(millis(MAX_STALE));
        // A clock that was set back says nothing of how old that is.
        if live.fresh_at.is_none_or(|at| at < stale_from || at > self.clock.now()) {
            return Err(DirectoryError::Unavailable);
        }
        Ok(live)
    }
}

impl Directory {
    /// The size of a batch, if it is one that is answered.
    pub(super) fn within(&self, field: &'static str, entries: usize) -> Result<u32, DirectoryError> {
        let most = self.policy.max_batch;
        match u16::try_from(entries) {
            Ok(entries) if (1..=most).contains(&entries) => Ok(entries.into()),
            _ => Err(DirectoryError::Batch { field, most }),
        }
    }

    /// Does what takes a core for a while; as many at once as there are.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Internal> {
        let place = Arc::clone(&self.work).acquire_owned().await.map_err(|_| Internal::Interrupted)?;
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        work.await.map_err(|_| Internal::Interrupted)
    }
}

/// SHA-256 of all that a request asks.
pub(super) fn digest(what: &[u8], numbers: &[u32], asked: impl Iterator<Item = u8>) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(what);
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    hash.update(asked.collect::<Vec<_>>());
    hash.finalize().into()
}
