//! What private lookup answers: parameters, evaluations, evaluation keys, queries, and a back end in the clear.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use acquaint_pir::{DecodeError, Keyword, Query};
use acquaint_protocol::bucket::Bytes;
use acquaint_protocol::identifier::{Identifier, Sii};
use acquaint_protocol::lookup::parameters::{Parameters, Server, Terms};
use acquaint_protocol::lookup::wire::QueryHeader;
use acquaint_protocol::lookup::{Mode, find_record, shard_of};
use acquaint_protocol::oprf::BlindedElement;
use acquaint_store::IndexId;
use futures::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::passes::MOST;
use super::shards::TableId;
use super::{Shards, keys_of};
use crate::Discovery;
use crate::directory::keys::{Epoch, EpochKey, Keyring, Profile, ShardLayout};
use crate::directory::lookup::{PARAMETERS_TTL_S, digest};
use crate::directory::{Directory, DirectoryError, DirectoryPolicy, Evaluation};
use crate::error::Internal;
use crate::lookups::{Bill, Seeker};
use crate::policy::millis;

/// How long a request may take to be answered and read.
const ANSWERING: Duration = Duration::from_secs(120);
/// How long the same identifiers are free again: as long as a lost answer takes to be asked for again. Work never is.
const REPEAT: Duration = Duration::from_secs(10 * 60);
/// What taking evaluation keys costs, in queries: some 10 ms of work.
const KEYS_WORK: u32 = 1;

/// Evaluation keys that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredKeys {
    /// What queries name them by.
    pub id: [u8; 16],
    /// Until when, in Unix seconds.
    pub expires_at: u64,
}

/// Answers to queries.
pub struct Answers<S> {
    /// Bytes of each.
    pub each: usize,
    /// In the order of the queries, as they are computed.
    pub answers: S,
}

/// An identifier that was found in the clear.
pub struct PlainFound {
    /// Which of those that were asked for, from 0.
    pub at: usize,
    /// Whose it is.
    pub account: String,
}

/// What clients are told of an epoch in a layout; `None` for other profiles. Good from `now`, in milliseconds.
pub(super) fn terms(
    policy: &DirectoryPolicy,
    epoch: &Epoch,
    layout: ShardLayout,
    now: acquaint_store::Millis,
) -> Option<Terms> {
    let mode = epoch.key.profile.mode()?;
    // The same for a whole hour, and for all: who fetched them when cannot be read from them.
    let issued_at = u64::try_from(now.div_euclid(3_600_000).saturating_mul(3600)).unwrap_or_default();
    let ShardLayout { number, bits, rows, columns, batch } = layout;
    let servers = policy.private.servers.iter();
    let servers =
        servers.map(|range| Server { first: range.first, last: range.last, url: range.url.clone() });
    Some(Terms {
        provider: policy.provider.clone(),
        profile: mode.profile().to_owned(),
        epoch: epoch.key.epoch,
        layout: number,
        shard_bits: bits,
        rows,
        columns,
        batch_tables: batch.tables,
        batch_queries: batch.queries,
        batch_rows: batch.rows,
        batch_columns: batch.columns,
        max_elements: policy.max_batch,
        max_queries: policy.private.max_queries,
        keys_ttl_s: u32::try_from(policy.private.keys_ttl.as_secs()).unwrap_or(u32::MAX),
        oprf_public_key: match mode {
            Mode::Psm => Bytes(epoch.key.public.0),
            Mode::Pir => Bytes([0; 32]),
        },
        servers: servers.collect(),
        issued_at,
        expires_at: issued_at.saturating_add(PARAMETERS_TTL_S),
    })
}

/// An epoch that is answered, and the shards that this server has of it.
struct Answered {
    key: Arc<EpochKey>,
    shards: Arc<Shards>,
}

impl Discovery {
    /// Whether private lookup is switched on.
    ///
    /// # Errors
    /// [`DirectoryError::NotConfigured`] if not.
    pub fn has_private_lookup(&self) -> Result<(), DirectoryError> {
        let private = &self.directory()?.policy.private;
        if private.psm || private.pir { Ok(()) } else { Err(DirectoryError::NotConfigured) }
    }

    /// Whether a back end is answered in the clear.
    ///
    /// # Errors
    /// [`DirectoryError::NotConfigured`] if not.
    pub fn has_plain_lookup(&self) -> Result<(), DirectoryError> {
        self.has_private_lookup()?;
        if self.directory()?.policy.private.plain { Ok(()) } else { Err(DirectoryError::NotConfigured) }
    }

    /// Whether shards did not fit into memory when it was last tried.
    #[must_use]
    pub fn lacks_memory(&self) -> bool {
        self.directory().is_ok_and(|directory| directory.lacks_memory.load(Ordering::Relaxed))
    }

    /// The canonical form of a phone number in international form, or of an e-mail address.
    #[must_use]
    pub fn canonical(&self, text: &str) -> Option<Sii> {
        Identifier::parse(text, None).ok().map(|identifier| Sii::from(&identifier))
    }

    /// The signed parameters of the modes that are switched on.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn private_parameters(&self) -> Result<Vec<Parameters>, DirectoryError> {
        self.has_private_lookup()?;
        let directory = self.directory()?;
        self.freshen(directory).await;
        let live = self.fresh(directory)?;
        let keyring = live.keyring.as_deref().ok_or(DirectoryError::Unavailable)?;
        let mut modes = Vec::new();
        for mode in directory.policy.private.modes() {
            // One that is being made does not keep the other from being used.
            let Some(epoch) = keyring.current(Profile::of(mode)) else { continue };
            let shards = live.private.get(&epoch.key.index()).filter(|shards| shards.is_whole());
            let Some(shards) = shards else { continue };
            let terms = terms(&directory.policy, epoch, shards.layout(), self.clock.now());
            let terms = terms.ok_or(DirectoryError::NotConfigured)?;
            let signed = terms.sign(&keyring.signing);
            let signed = signed.map_err(|_| Internal::Unreadable("the parameters"))?;
            signed.terms.check().map_err(|_| Internal::Unreadable("the parameters"))?;
            modes.push(signed);
        }
        if modes.is_empty() { Err(DirectoryError::Unavailable) } else { Ok(modes) }
    }

    /// Evaluates blinded elements for private set membership, and charges an identifier for each.
    ///
    /// # Errors
    /// [`DirectoryError`]; then nothing was charged, unless it is internal.
    pub async fn evaluate_private(
        &self,
        seeker: &Seeker,
        epoch: u32,
        elements: Vec<BlindedElement>,
        request: [u8; 16],
    ) -> Result<Evaluation, DirectoryError> {
        let directory = self.directory()?;
        let Answered { key, .. } = self.private(directory, Mode::Psm, epoch, None).await?;
        self.evaluate_under(directory, seeker, (key, b"psm oprf"), elements, Some(request)).await
    }

    /// Shards of whatever epoch: evaluation keys serve for all.
    async fn any_shards(&self) -> Result<Arc<Shards>, DirectoryError> {
        self.has_private_lookup()?;
        let directory = self.directory()?;
        self.freshen(directory).await;
        let live = self.fresh(directory)?;
        live.private.values().next().cloned().ok_or(DirectoryError::Unavailable)
    }

    /// Keeps a session's evaluation keys beside a few others of the account. They cost as much as a query.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn keep_keys(
        self: &Arc<Self>,
        seeker: &Seeker,
        message: Vec<u8>,
    ) -> Result<StoredKeys, DirectoryError> {
        let directory = self.directory()?;
        let shards = self.any_shards().await?;
        let table = TableId { shard: 0, batch: None };
        let wanted = shards.server(table).configuration().parameters().keys_bytes();
        if message.len() != wanted {
            return Err(DirectoryError::KeysLength(wanted));
        }
        let digest: [u8; 32] = Sha256::digest(&message).into();
        let id = std::array::from_fn(|at| digest[at]);
        let now = self.clock.now();
        let expires_at = now.saturating_add(millis(directory.policy.private.keys_ttl));
        let stored = StoredKeys { id, expires_at: u64::try_from(expires_at / 1000).unwrap_or_default() };
        if let Some((_, expires_at)) = directory.session_keys.get(seeker.account(), id, now) {
            return Ok(StoredKeys { id, expires_at: u64::try_from(expires_at / 1000).unwrap_or_default() });
        }
        let bill = Bill { identifiers: 0, queries: KEYS_WORK, request: None };
        self.charge_lookup(seeker, bill).await?;
        let discovery = Arc::clone(self);
        let account = seeker.account();
        let kept = directory.compute(move || {
            let directory = discovery.directory()?;
            let keys = shards.server(table).read_keys(&message).map_err(DirectoryError::Keys)?;
            let kept = directory.session_keys.put(account, (id, keys), (now, expires_at));
            kept.map_err(|room| DirectoryError::NoRoom(room.0))
        });
        kept.await??;
        Ok(stored)
    }

    /// Answers queries, each as it is computed and in their order. Charges work for each, and identifiers where the mode has
    /// no OPRF that does. Everything is looked at before anything is charged or computed.
    ///
    /// # Errors
    /// [`DirectoryError`]; then nothing was charged.
    pub async fn answer_queries(
        self: &Arc<Self>,
        seeker: &Seeker,
        asked: QueryHeader,
        queries: Vec<u8>,
    ) -> Result<Answers<impl Stream<Item = Result<Vec<u8>, Internal>> + Send + use<>>, DirectoryError> {
        let directory = self.directory()?;
        let QueryHeader { mode, epoch, layout, kind, shard, keys, request, count } = asked;
        let Answered { key, shards } = self.private(directory, mode, epoch, Some(layout)).await?;
        if u64::from(shard) >> shards.layout().bits != 0 {
            return Err(DirectoryError::UnknownShard(shards.layout().bits));
        }
        if !shards.holds(shard) {
            return Err(DirectoryError::ShardElsewhere);
        }
        let tables = shards.tables_for(kind, usize::from(count), directory.policy.private.max_queries)?;
        let (account, keys_id, now) = (seeker.account(), keys, self.clock.now());
        let known = directory.session_keys.get(account, keys_id, now);
        let (keys, _) = known.ok_or(DirectoryError::KeysUnknown)?;
        let digest = digest(
            b"private queries",
            &[epoch, layout, kind.number().into(), shard],
            mode.profile().bytes().chain(queries.iter().copied()),
        );
        let table = TableId { shard, batch: tables.first().copied().flatten() };
        let each = shards.server(table).configuration().parameters().answer_bytes();
        let read = read_queries(&shards, (shard, &tables), &queries)?;
        drop(queries);
        let begun = directory.asking.begin(account).ok_or(DirectoryError::Busy)?;
        let amount = u32::from(count);
        if mode == Mode::Pir {
            // Each lookup reads some records; the same ones again are free for a while, the work is not.
            let lookups = shards.server(table).configuration().parameters().lookups();
            let identifiers = amount.saturating_mul(u32::try_from(lookups).unwrap_or(u32::MAX));
            let bill = Bill { identifiers, queries: 0, request: Some((request, digest)) };
            self.charge_lookup_within(seeker, bill, REPEAT).await?;
        }
        self.charge_lookup(seeker, Bill { identifiers: 0, queries: amount, request: None }).await?;
        directory.session_keys.touch(account, keys_id, now);
        metrics::counter!("acquaint_private_queries_total", "mode" => mode.profile())
            .increment(u64::from(count));
        let (discovery, index) = (Arc::clone(self), key.index());
        let (send, receive) = mpsc::channel(2 * MOST);
        let answering = async move {
            let _begun = begun;
            let computed = stream::iter(read).map(|(table, query)| {
                let (discovery, shards, keys) = (&discovery, &shards, &keys);
                async move {
                    let directory = discovery.directory().map_err(|_| Internal::Interrupted)?;
                    // Nobody follows what happens to tables that others have taken the place of.
                    if !discovery.is_live(directory, index, shards) {
                        return Err(Internal::Interrupted);
                    }
                    let (shards, keys) = (Arc::clone(shards), Arc::clone(keys));
                    directory.passes.answer((index, table), shards, keys, query).await
                }
            });
            // One person's queries do not stand before everybody else's.
            let mut computed = std::pin::pin!(computed.buffered(2 * MOST));
            while let Some(answer) = computed.next().await {
                let is_last = answer.is_err();
                if send.send(answer).await.is_err() || is_last {
                    return;
                }
            }
        };
        // Who reads too slowly gets no more: nothing of it is held any longer.
        tokio::spawn(tokio::time::timeout(ANSWERING, answering));
        let answers =
            stream::unfold(receive, |mut receive| async move { Some((receive.recv().await?, receive)) });
        Ok(Answers { each, answers })
    }

    /// Whether these shards are those that are answered from, and follow the store.
    fn is_live(&self, directory: &Directory, index: IndexId, shards: &Arc<Shards>) -> bool {
        let live = self.fresh(directory);
        live.is_ok_and(|live| live.private.get(&index).is_some_and(|held| Arc::ptr_eq(held, shards)))
    }

    /// Looks identifiers up in the clear, for a provider inside the sender's own platform (seed 002, section 7); each is
    /// charged.
    ///
    /// # Errors
    /// [`DirectoryError`]; then nothing was charged, unless it is internal.
    pub async fn plain_lookup(
        self: &Arc<Self>,
        seeker: &Seeker,
        asked: Vec<(Sii, u8)>,
    ) -> Result<Vec<PlainFound>, DirectoryError> {
        let directory = self.directory()?;
        let private = &directory.policy.private;
        if !private.plain {
            return Err(DirectoryError::NotConfigured);
        }
        let identifiers = directory.within("identifiers", asked.len())?;
        let mode = private.modes().next().ok_or(DirectoryError::NotConfigured)?;
        self.freshen(directory).await;
        let Answered { key, shards } = self.known_private(directory, mode, None, None)?;
        let discovery = Arc::clone(self);
        let found = directory.compute(move || {
            let policy = &discovery.directory()?.policy;
            let mut found = Vec::new();
            for (at, (sii, index)) in asked.iter().enumerate() {
                let keys = keys_of(policy, (&key, mode), (sii, *index))?;
                let shard = shard_of(keys.shard(), shards.layout().bits);
                let slots = shards.read(shard, &Keyword::new(keys.keyword()));
                let slots = slots.ok_or(DirectoryError::ShardElsewhere)?;
                if let Some(account) = find_record(&keys, mode, &policy.provider, &slots) {
                    found.push(PlainFound { at, account });
                }
            }
            Ok::<_, DirectoryError>(found)
        });
        let found = found.await??;
        // Only what can be answered is charged.
        self.charge_lookup(seeker, Bill { identifiers, queries: 0, request: None }).await?;
        Ok(found)
    }

    /// An epoch that is answered and its shards, in the layout that was asked for. What is newer than this server knows,
    /// another may have published a moment ago: then it looks first.
    async fn private(
        &self,
        directory: &Directory,
        mode: Mode,
        epoch: u32,
        layout: Option<u32>,
    ) -> Result<Answered, DirectoryError> {
        self.freshen(directory).await;
        match self.known_private(directory, mode, Some(epoch), layout) {
            Err(DirectoryError::EpochChanged)
                if directory.keyring().is_some_and(|keyring| is_next(&keyring, mode, epoch)) =>
            {
                self.look(directory).await?;
                self.known_private(directory, mode, Some(epoch), layout)
            }
            known => known,
        }
    }

    fn known_private(
        &self,
        directory: &Directory,
        mode: Mode,
        epoch: Option<u32>,
        layout: Option<u32>,
    ) -> Result<Answered, DirectoryError> {
        if !directory.policy.private.modes().any(|known| known == mode) {
            return Err(DirectoryError::NotConfigured);
        }
        let live = self.fresh(directory)?;
        let keyring = live.keyring.as_deref().ok_or(DirectoryError::Unavailable)?;
        let profile = Profile::of(mode);
        let epoch = match epoch {
            Some(epoch) => keyring.epochs.get(&profile.index(epoch)),
            None => keyring.current(profile),
        };
        let epoch = epoch.filter(|epoch| epoch.is_answered()).ok_or(DirectoryError::EpochChanged)?;
        let shards = live.private.get(&epoch.key.index()).filter(|shards| shards.is_whole());
        let shards = shards.ok_or(DirectoryError::Unavailable)?;
        if layout.is_some_and(|asked| asked != shards.layout().number) {
            return Err(DirectoryError::LayoutChanged);
        }
        Ok(Answered { key: Arc::clone(&epoch.key), shards: Arc::clone(shards) })
    }
}

fn is_next(keyring: &Keyring, mode: Mode, epoch: u32) -> bool {
    let current = keyring.current(Profile::of(mode));
    current.is_some_and(|current| epoch == current.key.epoch.saturating_add(1))
}

/// The queries of a request, each with its table.
fn read_queries(
    shards: &Shards,
    (shard, tables): (u32, &[Option<u16>]),
    bytes: &[u8],
) -> Result<Vec<(TableId, Query)>, DirectoryError> {
    let first = TableId { shard, batch: tables.first().copied().flatten() };
    let query_bytes = shards.server(first).configuration().parameters().query_bytes();
    if bytes.len() != query_bytes.saturating_mul(tables.len()) {
        return Err(DirectoryError::QueriesLength(query_bytes));
    }
    let queries = bytes.chunks_exact(query_bytes.max(1)).zip(tables).enumerate();
    let read = queries.map(|(at, (bytes, batch))| {
        let table = TableId { shard, batch: *batch };
        let query = shards.server(table).read_query(bytes);
        let query = query.map_err(|why: DecodeError| DirectoryError::Query { at, why })?;
        Ok((table, query))
    });
    read.collect()
}
