//! The shards of an epoch that this server holds: how they are cut, made and followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use acquaint_pir::{AnswerError, BatchShape, EvaluationKeys, Keyword, Query, Server, Shape};
use acquaint_protocol::bucket::sealed::Filler;
use acquaint_protocol::lookup::{ANSWERS, BATCH_SLOTS, Kind, SLOTS, shard_of};
use acquaint_store::{ChangeId, IndexId, ListingId, Millis, Pick};

use super::super::follow::{PAGE, Places, found, unsealed};
use super::super::keys::{
    BatchLayout, Epoch, EpochStage, Keyring, MOST_SHARD_BITS, ShardLayout, add_shard_layout,
};
use super::super::{Directory, DirectoryError, DirectoryPolicy};
use super::making::{Made, Source};
use crate::Discovery;
use crate::ambient::bytes;
use crate::error::Internal;
use crate::shard::{Owner, RECORD_BYTES, Record, Shard};

/// Records that a directory has room for at the least, beyond those that it has …
const LEAST: u64 = 1_000;
/// … and up to which it has room for twice as many as it has.
const GROWTH: u64 = 50_000;

/// A table of one shard: the shard's number, and which of its batch tables, or the one for single lookups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableId {
    pub(crate) shard: u32,
    pub(crate) batch: Option<u16>,
}

/// The shards of an epoch that this server holds, in one layout.
pub(crate) struct Shards {
    pub(super) layout: ShardLayout,
    pub(super) engines: Engines,
    pub(super) tables: BTreeMap<u32, Tables>,
    /// A record found no room: the layout is too small.
    pub(super) full: AtomicBool,
    /// When files were last written of them.
    pub(super) saved_at: AtomicI64,
}

/// What reads and answers queries.
pub(super) struct Engines {
    /// For the tables of single lookups …
    pub(super) single: Server,
    /// … and for those of batches, where there are any.
    pub(super) batch: Option<(BatchShape, Server)>,
}

/// The tables of a shard.
pub(super) struct Tables {
    /// All records, for single lookups.
    pub(super) single: Shard,
    /// All records twice, for batches.
    pub(super) batch: Vec<Shard>,
}

/// A record, and where it belongs.
pub(super) struct Row {
    pub(super) owner: Owner,
    pub(super) shard: u32,
    pub(super) keyword: Keyword,
    pub(super) record: Record,
}

impl Row {
    /// From what a placement says (see [`super::place`]).
    pub(super) fn of(id: ListingId, (location, slot): &(u64, Vec<u8>), bits: u8) -> Option<Self> {
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
        // Room for an eighth more, and for small directories, which grow fast, for twice as many.
        let more = (records / 8).max(records.min(GROWTH)).max(LEAST);
        let most = u64::from(policy.private.shard_records).max(1);
        let shards = records.div_ceil(most).max(1).next_power_of_two();
        let bits = u8::try_from(shards.ilog2()).unwrap_or(u8::MAX).min(MOST_SHARD_BITS);
        // Where servers have shards by their numbers there are as many as those cover.
        let bits = policy.private.shard_bits.unwrap_or(bits);
        // Shards are filled by chance: six standard deviations more than their share.
        let share = records.saturating_add(more).div_ceil(1 << bits);
        let spread = if bits == 0 { 0 } else { 6 * share.isqrt() };
        let narrow = |Shape { rows, columns, .. }: Shape| {
            (u16::try_from(rows).unwrap_or(u16::MAX), u32::try_from(columns).unwrap_or(u32::MAX))
        };
        let (rows, columns) = narrow(Shape::for_records(share + spread));
        let batch = policy.private.batches.then(|| {
            let BatchShape { tables, queries, shape } = BatchShape::for_records(share + spread);
            let (rows, columns) = narrow(shape);
            let tables = u16::try_from(tables).unwrap_or(u16::MAX);
            BatchLayout { tables, queries: u8::try_from(queries).unwrap_or(u8::MAX), rows, columns }
        });
        Self { number, bits, rows, columns, batch: batch.unwrap_or_default() }
    }

    /// The shape of a shard's table.
    pub(super) fn shape(&self) -> Shape {
        let columns = usize::try_from(self.columns).unwrap_or(usize::MAX);
        Shape { rows: self.rows.into(), columns, slots: SLOTS, answers: ANSWERS }
    }

    /// The batch tables, where there are any.
    pub(super) fn batch_shape(&self) -> Option<BatchShape> {
        let BatchLayout { tables, queries, rows, columns } = self.batch;
        let columns = usize::try_from(columns).unwrap_or(usize::MAX);
        let shape = Shape { rows: rows.into(), columns, slots: BATCH_SLOTS, answers: ANSWERS };
        let batch = BatchShape { tables: tables.into(), queries: queries.into(), shape };
        (tables > 0).then_some(batch)
    }

    /// Places for records in all shards.
    fn places(&self) -> u64 {
        places(self.shape()) << self.bits
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

    /// Whether all records found room. What has none would be told apart from what is there, so nothing is answered until
    /// the shards are cut anew.
    pub(crate) fn is_whole(&self) -> bool {
        !self.full.load(Ordering::Relaxed)
    }

    /// Records in all shards that are held.
    pub(crate) fn len(&self) -> usize {
        self.tables.values().map(|tables| tables.single.len()).sum()
    }

    /// Memory of all tables, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.tables.values().flat_map(Tables::all).map(Shard::memory_bytes).sum()
    }

    /// Whether this server holds a shard, if there is one of this number.
    pub(super) fn holds(&self, shard: u32) -> bool {
        self.tables.contains_key(&shard)
    }

    /// Who reads and answers queries for such a table.
    pub(super) fn server(&self, table: TableId) -> &Server {
        match (table.batch, &self.engines.batch) {
            (Some(_), Some((_, server))) => server,
            _ => &self.engines.single,
        }
    }

    /// The table of each query of a request.
    pub(super) fn tables_for(
        &self,
        kind: Kind,
        count: usize,
        most: u16,
    ) -> Result<Vec<Option<u16>>, DirectoryError> {
        if kind == Kind::Batch {
            let tables = self.layout.batch.tables;
            if count != usize::from(tables) || tables == 0 {
                return Err(DirectoryError::BatchCount(tables));
            }
            return Ok((0..tables).map(Some).collect());
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
        let tables = self.tables.get(&table.shard).ok_or(AnswerError::Database)?;
        let shard = match table.batch {
            None => &tables.single,
            Some(number) => tables.batch.get(usize::from(number)).ok_or(AnswerError::Database)?,
        };
        self.server(table).answer_all(shard.database(), asked)
    }

    /// The slots that a keyword may stand in, read without any query.
    pub(super) fn read(&self, shard: u32, keyword: &Keyword) -> Option<Vec<Vec<u8>>> {
        let lookup = keyword.lookup(self.layout.shape());
        let places: Vec<_> =
            lookup.places.iter().map(|place| (lookup.row, place.column, place.slot)).collect();
        self.tables.get(&shard)?.single.database().read_all(&places).ok()
    }

    fn put(&self, row: &Row, vacant: &Record) {
        let Some(tables) = self.tables.get(&row.shard) else { return };
        for shard in tables.of(self.engines.batch_shape(), &row.keyword) {
            let put = shard.put(row.owner, &row.keyword, &row.record, vacant);
            if let Err(error) = put
                && !self.full.swap(true, Ordering::Relaxed)
            {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a shard has no room for a listing: lookups are refused until the shards are cut anew"
                );
            }
        }
    }

    fn remove(&self, owner: Owner, vacant: &Record) {
        // Where it is only its keyword tells, and nobody has that any more.
        for shard in self.tables.values().flat_map(Tables::all) {
            if let Err(error) = shard.remove(owner, vacant) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a listing could not be taken out of a shard"
                );
            }
        }
    }
}

impl Engines {
    pub(super) fn batch_shape(&self) -> Option<BatchShape> {
        self.batch.as_ref().map(|(shape, _)| *shape)
    }
}

impl Tables {
    fn all(&self) -> impl Iterator<Item = &Shard> {
        std::iter::once(&self.single).chain(&self.batch)
    }

    /// Those that a keyword's record stands in.
    fn of(&self, batch: Option<BatchShape>, keyword: &Keyword) -> impl Iterator<Item = &Shard> {
        let two = batch.map(|batch| batch.tables_of(keyword)).into_iter().flatten();
        std::iter::once(&self.single).chain(two.filter_map(|table| self.batch.get(table)))
    }
}

impl Discovery {
    /// Whether shards could not be made when it was last tried, though there was memory for them: a folder for their files
    /// that cannot be written, a full disk, a store that did not answer. The log says which; it is tried again.
    #[must_use]
    pub fn fails_at_shards(&self) -> bool {
        self.directory().is_ok_and(|directory| directory.fails_at_shards.load(Ordering::Relaxed))
    }

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
                let fullest = shards.tables.values().map(|tables| tables.single.len()).max().unwrap_or(0);
                let fullest = u64::try_from(fullest).unwrap_or(u64::MAX);
                let records = fullest.saturating_mul(1 << known.bits);
                let number = known.number.saturating_add(1);
                let fitting = ShardLayout::for_records(number, records, policy);
                let is_full = !shards.is_whole();
                let most = u64::from(policy.private.shard_records).max(1);
                let is_short = places(Shape::for_records(fullest)) > places(known.shape())
                    || (fitting.bits > known.bits && records > most << known.bits);
                let is_large = fitting.places() < known.places() / 8;
                let is_toggled = (known.batch.tables > 0) != policy.private.batches;
                if epoch.stage == EpochStage::Filling && !is_full {
                    // It was cut for all who are being placed.
                    None
                } else if is_toggled && !is_full {
                    Some(fitting)
                } else if is_full {
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
            let mut source = Source::Files;
            loop {
                let made = self.make_shards(directory, keyring, (epoch, layout), source).await;
                directory.fails_at_shards.store(made.is_err(), Ordering::Relaxed);
                let (shards, begun) = match made? {
                    Made::Whole(shards, begun, from) => {
                        source = from;
                        (Arc::new(*shards), begun)
                    }
                    Made::TooSmall => {
                        let number = layout.number.saturating_add(1);
                        let larger = ShardLayout::for_records(number, layout.places(), &directory.policy);
                        let whose = (epoch.key.profile, epoch.key.epoch);
                        add_shard_layout(&*self.store, whose, larger, self.clock.now()).await?;
                        return Ok(true);
                    }
                    Made::NoMemory => {
                        whole = false;
                        break;
                    }
                };
                let begun = self.catch_up(keyring, index, &shards, begun).await?;
                // And what has changed since; while this is held, nothing else is applied.
                let followed = directory.followed.lock().await;
                self.catch_up(keyring, index, &shards, begun).await?;
                if source == Source::Files && !self.are_whole(directory, index, &shards).await? {
                    tracing::warn!("the files of shards are not of this store: the shards are built anew");
                    source = Source::Store;
                    continue;
                }
                directory.live_mut().private.insert(index, shards);
                drop(followed);
                // What the layout before was made of goes with its last query.
                self.tidy_files(directory, keyring).await?;
                break;
            }
        }
        directory.lacks_memory.store(!whole, Ordering::Relaxed);
        Ok(whole)
    }

    /// Follows the changes behind `begun`, and tells the last.
    async fn catch_up(
        &self,
        keyring: &Keyring,
        index: IndexId,
        shards: &Arc<Shards>,
        mut begun: ChangeId,
    ) -> Result<ChangeId, Internal> {
        loop {
            let changes = self.store.listing_changes(Some(begun), PAGE).await?;
            let Some((last, _)) = changes.last() else { return Ok(begun) };
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
        let (changed, was_whole) = (Arc::clone(&shards), shards.is_whole());
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
        applied.await.map_err(|_| Internal::Interrupted)?;
        if was_whole
            && !changed.is_whole()
            && let Ok(directory) = self.directory()
        {
            directory.changed.notify_one();
        }
        Ok(())
    }
}
