//! The shards of an epoch that this server holds: how they are cut, made and followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acquaint_pir::{AnswerError, Configuration, EvaluationKeys, Keyword, Parameters, Query, Server, Shape};
use acquaint_protocol::bucket::sealed::Filler;
use acquaint_protocol::lookup::parameters::Terms;
use acquaint_protocol::lookup::{Kind, shard_of};
use acquaint_store::{ChangeId, IndexId, ListingId, Millis, Pick};
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::follow::{PAGE, Places, TOO_LONG_MS, found, opened_places, unsealed};
use super::super::keys::{BatchLayout, Epoch, Keyring, MOST_SHARD_BITS, ShardLayout, add_shard_layout};
use super::super::{Directory, DirectoryError, DirectoryPolicy};
use super::answers::terms;
use crate::Discovery;
use crate::ambient::bytes;
use crate::error::Internal;
use crate::shard::{
    Owner, RECORD_BYTES, Record, Shard, ShardError, anonymous, check_memory, memory_to_build,
};

/// Records that a new shard looks up itself before it is used.
const SAMPLE: usize = 4;

/// A table of one shard: the shard's number, and which of its batch tables, or the one for single lookups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableId {
    pub(crate) shard: u32,
    pub(crate) batch: Option<u16>,
}

/// The shards of an epoch, in one layout.
pub(crate) struct Shards {
    layout: ShardLayout,
    /// Reads and answers queries for the tables of single lookups …
    single: Server,
    tables: BTreeMap<u32, Shard>,
    /// A record found no room: the layout is too small.
    full: AtomicBool,
}

/// A record, and where it belongs.
struct Row {
    owner: Owner,
    shard: u32,
    keyword: Keyword,
    record: Record,
}

impl Row {
    /// From what a placement says (see [`super::place`]).
    fn of(id: ListingId, (location, slot): &(u64, Vec<u8>), bits: u8) -> Option<Self> {
        let (keyword, record) = slot.split_first_chunk::<16>()?;
        let shard = shard_of(u32::try_from(*location).ok()?, bits);
        let record = Record::try_from(record).ok()?;
        Some(Self { owner: owner(id), shard, keyword: Keyword::new(*keyword), record })
    }
}

fn owner(id: ListingId) -> Owner {
    let bytes = id.as_bytes();
    Owner(u64::from_be_bytes(std::array::from_fn(|at| bytes[at])))
}

impl ShardLayout {
    /// For so many records.
    pub(super) fn for_records(number: u32, records: u64, policy: &DirectoryPolicy) -> Self {
        // Room for an eighth more.
        let wanted = records.saturating_add(records / 8).max(1);
        let most = u64::from(policy.private.shard_records).max(1);
        let shards = wanted.div_ceil(most).next_power_of_two();
        let bits = u8::try_from(shards.ilog2()).unwrap_or(u8::MAX).min(MOST_SHARD_BITS);
        // Shards are filled by chance: six standard deviations more than their share.
        let share = wanted.div_ceil(1 << bits);
        let spread = if bits == 0 { 0 } else { 6 * share.isqrt() };
        let Shape { rows, columns, .. } = Shape::for_records(share + spread);
        Self {
            number,
            bits,
            rows: u16::try_from(rows).unwrap_or(u16::MAX),
            columns: u32::try_from(columns).unwrap_or(u32::MAX),
            batch: BatchLayout::default(),
        }
    }

    /// The shape of a shard's table.
    pub(super) fn shape(&self) -> Shape {
        let columns = usize::try_from(self.columns).unwrap_or(usize::MAX);
        Shape { rows: self.rows.into(), columns, slots: 4, answers: 2 }
    }

    /// Places for records in all shards.
    fn places(&self) -> u64 {
        places(self.shape()) << self.bits
    }

    fn parameters(&self) -> Result<Parameters, Internal> {
        Parameters::new(self.shape()).map_err(|_| Internal::Unreadable("a layout of private lookup"))
    }
}

/// Places for records in a table.
fn places(shape: Shape) -> u64 {
    let places =
        shape.rows.saturating_mul(shape.columns).saturating_mul(shape.slots * Shape::KEYWORD_ENTRIES);
    u64::try_from(places).unwrap_or(u64::MAX)
}

impl Shards {
    pub(crate) fn layout(&self) -> ShardLayout {
        self.layout
    }

    /// Records in all shards that are held.
    pub(crate) fn len(&self) -> usize {
        self.tables.values().map(Shard::len).sum()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.tables.values().map(Shard::memory_bytes).sum()
    }

    /// Whether this server holds a shard, if there is one of this number.
    pub(super) fn holds(&self, shard: u32) -> bool {
        self.tables.contains_key(&shard)
    }

    /// Who reads queries for such a table.
    pub(super) fn server(&self, _table: TableId) -> &Server {
        &self.single
    }

    /// The table of each query of a request.
    pub(super) fn tables_for(
        &self,
        kind: Kind,
        count: usize,
        most: u16,
    ) -> Result<Vec<Option<u16>>, DirectoryError> {
        if kind == Kind::Batch {
            let BatchLayout { tables, queries, .. } = self.layout.batch;
            let wanted = usize::from(tables) * usize::from(queries);
            if count != wanted || wanted == 0 {
                return Err(DirectoryError::BatchCount(wanted));
            }
            return Ok((0..tables).flat_map(|table| (0..queries).map(move |_| Some(table))).collect());
        }
        if !(1..=usize::from(most)).contains(&count) {
            return Err(DirectoryError::Batch { field: "queries", most });
        }
        Ok(vec![None; count])
    }

    pub(super) fn answer(
        &self,
        table: TableId,
        asked: &[(&EvaluationKeys, &Query)],
    ) -> Result<Vec<Vec<u8>>, AnswerError> {
        let shard = self.tables.get(&table.shard).ok_or(AnswerError::Database)?;
        self.single.answer_all(shard.database(), asked)
    }

    /// The slots that a keyword may stand in, read without any query.
    pub(super) fn read(&self, shard: u32, keyword: &Keyword) -> Option<Vec<Vec<u8>>> {
        let lookup = keyword.lookup(self.layout.shape());
        let places: Vec<_> =
            lookup.places.iter().map(|place| (lookup.row, place.column, place.slot)).collect();
        self.tables.get(&shard)?.database().read_all(&places).ok()
    }

    fn put(&self, row: &Row, vacant: &Record) {
        let Some(shard) = self.tables.get(&row.shard) else { return };
        if let Err(error) = shard.put(row.owner, &row.keyword, &row.record, vacant) {
            self.full.store(true, Ordering::Relaxed);
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a shard has no room for a listing: it is found once the shards are cut anew"
            );
        }
    }

    fn remove(&self, owner: Owner, vacant: &Record) {
        for shard in self.tables.values() {
            match shard.remove(owner, vacant) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a listing could not be taken out of a shard"
                ),
            }
        }
    }
}

impl Discovery {
    /// Cuts the shards of an epoch, or cuts them anew when they are full or much too large.
    pub(in super::super) async fn cut_shards(
        &self,
        directory: &Directory,
        epoch: &Epoch,
        now: Millis,
    ) -> Result<bool, Internal> {
        let policy = &directory.policy;
        let wanted = match epoch.shards() {
            None => {
                let listings = self.store.count_listings(None, now).await?;
                Some(ShardLayout::for_records(1, listings, policy))
            }
            Some(known) => {
                let live = directory.live().private.get(&epoch.key.index()).cloned();
                let live = live.filter(|shards| shards.layout == known);
                let Some(shards) = live else { return Ok(false) };
                // Of a part of the shards one sees how full all are.
                let fullest = shards.tables.values().map(Shard::len).max().unwrap_or(0);
                let fullest = u64::try_from(fullest).unwrap_or(u64::MAX);
                let records = fullest.saturating_mul(1 << known.bits);
                let number = known.number.saturating_add(1);
                let fitting = ShardLayout::for_records(number, records, policy);
                let is_full = shards.full.load(Ordering::Relaxed);
                let is_short = places(Shape::for_records(fullest)) > places(known.shape());
                let is_large = fitting.places() < known.places() / 8;
                if is_full {
                    // By bad luck: it gets more room than its records need.
                    Some(ShardLayout::for_records(number, records.saturating_add(records / 2), policy))
                } else {
                    (is_short || is_large).then_some(fitting)
                }
            }
        };
        let Some(layout) = wanted else { return Ok(false) };
        let whose = (epoch.key.profile, epoch.key.epoch);
        add_shard_layout(&*self.store, whose, layout, now).await
    }

    /// Makes the shards that are not there yet, or in another layout. Lookups go on meanwhile, in the layout before. `false`
    /// if some could not be made.
    pub(in super::super) async fn load_private(
        &self,
        directory: &Directory,
        keyring: &Keyring,
    ) -> Result<bool, Internal> {
        let mut whole = true;
        for epoch in keyring.epochs.values() {
            let Some(layout) = epoch.shards() else { continue };
            let index = epoch.key.index();
            let is_there = directory.live().private.get(&index).is_some_and(|shards| shards.layout == layout);
            if is_there {
                continue;
            }
            let (shards, begun) = match self.make_shards(directory, keyring, epoch, layout).await? {
                Made::Whole(shards, begun) => (Arc::new(*shards), begun),
                Made::TooSmall => {
                    let number = layout.number.saturating_add(1);
                    let larger = ShardLayout::for_records(number, layout.places(), &directory.policy);
                    let whose = (epoch.key.profile, epoch.key.epoch);
                    add_shard_layout(&*self.store, whose, larger, self.clock.now()).await?;
                    return Ok(true);
                }
                Made::NoMemory => {
                    whole = false;
                    continue;
                }
            };
            // What has changed meanwhile; while this is held, nothing else is applied.
            let followed = directory.followed.lock().await;
            self.catch_up(keyring, index, &shards, begun).await?;
            directory.live_mut().private.insert(index, shards);
            drop(followed);
            // What the layout before was made of goes with its last query.
        }
        Ok(whole)
    }

    /// Follows the changes behind `begun`.
    async fn catch_up(
        &self,
        keyring: &Keyring,
        index: IndexId,
        shards: &Arc<Shards>,
        mut begun: ChangeId,
    ) -> Result<(), Internal> {
        loop {
            let changes = self.store.listing_changes(Some(begun), PAGE).await?;
            let Some((last, _)) = changes.last() else { return Ok(()) };
            begun = *last;
            let ids: Vec<ListingId> = changes.into_iter().map(|(_, id)| id).collect();
            let pick = Pick::These(ids.clone());
            let placed = self.store.placements(index, pick, self.clock.now()).await?;
            let placed = unsealed(keyring, index, placed)?;
            self.apply_to_shards(Arc::clone(shards), ids, placed).await?;
        }
    }

    /// Brings these listings to what the store has.
    pub(in super::super) async fn apply_to_shards(
        &self,
        shards: Arc<Shards>,
        ids: Vec<ListingId>,
        placed: Places,
    ) -> Result<(), Internal> {
        // What stands where nothing stands any more.
        let filler = Filler::new(bytes::<32>(&*self.entropy)?);
        let applied = tokio::task::spawn_blocking(move || {
            for (number, id) in (0..).zip(ids) {
                let row = found(&placed, id).and_then(|place| Row::of(id, place, shards.layout.bits));
                let mut vacant = [0; RECORD_BYTES];
                filler.fill(32, number, &mut vacant);
                match row {
                    Some(row) => shards.put(&row, &vacant),
                    None => shards.remove(owner(id), &vacant),
                }
            }
        });
        applied.await.map_err(|_| Internal::Interrupted)
    }

    /// The shards that this server holds, from their files or from the store.
    async fn make_shards(
        &self,
        directory: &Directory,
        keyring: &Keyring,
        epoch: &Epoch,
        layout: ShardLayout,
    ) -> Result<Made, Internal> {
        let policy = &directory.policy;
        let terms = terms(policy, epoch, layout, 0).ok_or(Internal::Unreadable("private lookup"))?;
        let held = held(policy, layout.bits);
        let count = u64::from(held.1.saturating_sub(held.0).saturating_add(1));
        let listings = self.store.count_listings(None, self.clock.now()).await?;
        let each = memory_to_build(layout.shape(), listings >> layout.bits);
        if let Err(error) = check_memory(each.saturating_mul(count)) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                shards = count,
                "the shards of private lookup do not fit into memory: nothing was begun; hold fewer here \
                 (`private_lookup.shards`), or give this server more memory"
            );
            return Ok(Made::NoMemory);
        }
        let epoch_bytes = terms.epoch_bytes(Kind::Shard);
        let epoch_bytes = epoch_bytes.map_err(|_| Internal::Unreadable("the name of the provider"))?;
        let parameters = layout.parameters()?;
        let words = parameters.table_words();
        let single = Server::new(Configuration::new(parameters, &epoch_bytes));
        let index = epoch.key.index();
        // From here on nothing is missed.
        let begun = self.last_change().await?;
        let mut rows: BTreeMap<u32, Vec<Row>> = (held.0..=held.1).map(|shard| (shard, Vec::new())).collect();
        let mut after = None;
        loop {
            let page = self.store.placements(index, Pick::After(after, PAGE), self.clock.now()).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let data = Arc::clone(&keyring.data);
            let opened = tokio::task::spawn_blocking(move || opened_places(&data, index, page));
            for (id, place) in opened.await.map_err(|_| Internal::Interrupted)?? {
                let Some(row) = Row::of(id, &place, layout.bits) else {
                    return Err(Internal::Unreadable("a place in private lookup"));
                };
                if let Some(rows) = rows.get_mut(&row.shard) {
                    rows.push(row);
                }
            }
        }
        let (filler, seed) = (Filler::new(bytes::<32>(&*self.entropy)?), bytes::<32>(&*self.entropy)?);
        let now = self.clock.now();
        let built = tokio::task::spawn_blocking(move || {
            let mut random = ChaCha20Rng::from_seed(seed);
            let mut tables = BTreeMap::new();
            for (number, rows) in rows {
                let mut vacant = 0;
                let rows = rows.into_iter().map(|row| (row.owner, row.keyword, row.record));
                let shard = Shard::build(&single, anonymous(words)?, rows, |bytes| {
                    filler.fill(32, vacant, bytes);
                    vacant = vacant.wrapping_add(1);
                })?;
                tables.insert(number, shard);
            }
            Ok::<_, ShardError>(Shards { layout, single, tables, full: AtomicBool::new(false) })
        });
        match built.await.map_err(|_| Internal::Interrupted)? {
            Ok(shards) => Ok(Made::Whole(Box::new(shards), begun)),
            Err(ShardError::Full) => Ok(Made::TooSmall),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "shards could not be made");
                Err(Internal::Unreadable("a shard of private lookup"))
            }
        }
    }
}

/// How making shards ended.
enum Made {
    Whole(Box<Shards>, ChangeId),
    /// The layout has no room for them.
    TooSmall,
    NoMemory,
}

/// The shards that this server holds, of so many.
fn held(policy: &DirectoryPolicy, bits: u8) -> (u32, u32) {
    let last = (1_u32 << bits.min(MOST_SHARD_BITS)) - 1;
    policy.private.held.map_or((0, last), |(first, to)| (first.min(last), to.min(last)))
}
