//! How shards come to be: from their files, or from the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use acquaint_pir::{BatchShape, Configuration, Parameters, Server};
use acquaint_protocol::bucket::sealed::Filler;
use acquaint_protocol::lookup::Kind;
use acquaint_protocol::lookup::parameters::Terms;
use acquaint_store::{ChangeId, IndexId, Millis, Pick};
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::follow::{PAGE, TOO_LONG_MS, opened_places};
use super::super::keys::{Epoch, Keyring, MOST_SHARD_BITS, ShardLayout};
use super::super::{Directory, DirectoryError, DirectoryPolicy};
use super::answers::terms;
use super::shards::{Engines, Row, Shards, Tables};
use crate::Discovery;
use crate::ambient::bytes;
use crate::error::Internal;
use crate::shard::{
    Head, Record, Shard, ShardError, anonymous, check_memory, memory_needed, memory_to_build,
};

/// Records that a new table looks up itself before it is used …
const SAMPLE: usize = 4;
/// … and how many of the batch tables of a shard do.
const BATCH_SAMPLE: usize = 4;
/// Bytes of a listing on its way from the store, with room to grow.
const ROW_BYTES: u64 = 320;
/// How old files may grow until they are written again.
const SAVE_MS: Millis = TOO_LONG_MS / 2;

/// How making shards ended.
pub(super) enum Made {
    /// They are as of this change.
    Whole(Box<Shards>, ChangeId, Source),
    /// The layout has no room for them.
    TooSmall,
    /// There is not enough memory. Nothing was begun.
    NoMemory,
}

/// What shards are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Their files, if these are there and recent; else as the other.
    Files,
    /// The store.
    Store,
}

impl Discovery {
    /// The shards that this server holds.
    pub(super) async fn make_shards(
        &self,
        directory: &Directory,
        keyring: &Keyring,
        (epoch, layout): (&Epoch, ShardLayout),
        source: Source,
    ) -> Result<Made, Internal> {
        let policy = &directory.policy;
        let terms = terms(policy, epoch, layout, 0).ok_or(Internal::Unreadable("private lookup"))?;
        let held = held(policy, layout.bits);
        let listings = self.store.count_listings(None, self.clock.now()).await?;
        if let Err(error) = check_memory(needed(layout, held, listings)) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the shards of private lookup do not fit into memory: nothing was begun; hold fewer here \
                 (`private_lookup.shards`), or give this server more memory"
            );
            return Ok(Made::NoMemory);
        }
        let engines = engines(layout, &terms).ok_or(Internal::Unreadable("a layout of private lookup"))?;
        let files = policy.private.files.as_ref().map(|folder| Files::new(folder, &terms));
        let files = files.filter(|files| {
            let made = files.make_folder();
            if let Err(error) = &made {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "the folder `private_lookup.files` cannot be made: shards are kept in memory alone"
                );
            }
            made.is_ok()
        });
        // From here on nothing is missed.
        let begun = self.last_change().await?;
        let seed = bytes::<32>(&*self.entropy)?;
        let mut making = Making { layout, engines, files, held, seed, now: self.clock.now() };
        if making.files.is_some() && source == Source::Files {
            let opened = tokio::task::spawn_blocking(move || {
                let opened = making.open(begun);
                (making, opened)
            });
            let (back, opened) = opened.await.map_err(|_| Internal::Interrupted)?;
            making = back;
            if let Some((tables, change)) = opened {
                tracing::info!(shards = tables.len(), "shards were opened from their files");
                return Ok(Made::Whole(Box::new(making.shards(tables)), change, Source::Files));
            }
        }
        let rows = self.rows(keyring, epoch, layout, held).await?;
        let built = tokio::task::spawn_blocking(move || {
            let tables = making.build(rows, begun)?;
            Ok::<_, ShardError>(making.shards(tables))
        });
        match built.await.map_err(|_| Internal::Interrupted)? {
            Ok(shards) => Ok(Made::Whole(Box::new(shards), begun, Source::Store)),
            Err(ShardError::Full) => Ok(Made::TooSmall),
            Err(error @ (ShardError::Memory { .. } | ShardError::Unavailable(_))) => {
                tracing::error!(error = &error as &dyn std::error::Error, "shards could not be made");
                Ok(Made::NoMemory)
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "shards could not be made");
                Err(Internal::Unreadable("a shard of private lookup"))
            }
        }
    }

    /// What the store has for these shards, by shard.
    async fn rows(
        &self,
        keyring: &Keyring,
        epoch: &Epoch,
        layout: ShardLayout,
        held: (u32, u32),
    ) -> Result<BTreeMap<u32, Vec<Row>>, Internal> {
        let index = epoch.key.index();
        let mut rows: BTreeMap<u32, Vec<Row>> = (held.0..=held.1).map(|shard| (shard, Vec::new())).collect();
        let mut after = None;
        loop {
            let page = self.store.placements(index, Pick::After(after, PAGE), self.clock.now()).await?;
            let Some((last, _)) = page.last() else { return Ok(rows) };
            after = Some(*last);
            let data = Arc::clone(&keyring.data);
            let opened = tokio::task::spawn_blocking(move || opened_places(&data, index, page));
            for (id, place) in opened.await.map_err(|_| Internal::Interrupted)?? {
                let row = Row::of(id, &place, layout.bits);
                let row = row.ok_or(Internal::Unreadable("a place in private lookup"))?;
                if let Some(rows) = rows.get_mut(&row.shard) {
                    rows.push(row);
                }
            }
        }
    }

    /// Whether the shards have as many records as the store, where they should have all: files are of another time where a
    /// back-up was restored.
    pub(super) async fn are_whole(
        &self,
        directory: &Directory,
        index: IndexId,
        shards: &Shards,
    ) -> Result<bool, Internal> {
        if directory.policy.private.held.is_some() {
            return Ok(true);
        }
        // Those that have expired and were not swept stand in both.
        let listings = self.store.count_listings(Some(index), 0).await?;
        Ok(u64::try_from(shards.len()).ok() == Some(listings))
    }

    /// Deletes the files of epochs and layouts that are over.
    pub(in super::super) async fn tidy_files(
        &self,
        directory: &Directory,
        keyring: &Keyring,
    ) -> Result<(), Internal> {
        let Some(folder) = directory.policy.private.files.clone() else { return Ok(()) };
        let kept: Vec<String> = keyring
            .epochs
            .values()
            .filter_map(|epoch| terms(&directory.policy, epoch, epoch.shards()?, 0))
            .map(|terms| format!("{}-", Files::new(&folder, &terms).stem))
            .collect();
        let tidied = tokio::task::spawn_blocking(move || {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_ours = ["psm-", "pir-"].iter().any(|profile| name.starts_with(profile))
                    && name.ends_with(".shard");
                let is_ours = is_ours
                    || (name.ends_with(".shard.part") && !kept.iter().any(|stem| name.starts_with(stem)));
                if is_ours && !kept.iter().any(|stem| name.starts_with(stem)) {
                    std::fs::remove_file(entry.path())?;
                }
            }
            Ok::<_, std::io::Error>(())
        });
        if let Err(error) = tidied.await.map_err(|_| Internal::Interrupted)? {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "files of shards that are over could not be deleted: delete them by hand"
            );
        }
        Ok(())
    }

    /// Writes the files of shards again that have grown old.
    pub(in super::super) async fn save_shards(
        &self,
        directory: &Directory,
        keyring: &Keyring,
    ) -> Result<(), Internal> {
        let now = self.clock.now();
        let is_due = |shards: &Shards| now.saturating_sub(shards.saved_at.load(Ordering::Relaxed)) >= SAVE_MS;
        if let Err(error) = self.save_some(directory, keyring, is_due).await? {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "files of shards could not be written: a start builds them anew"
            );
        }
        Ok(())
    }

    /// Brings the files of shards to what the store has now, but for those that are. `false` if they cannot be written; the log
    /// says why.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn save_private(&self) -> Result<bool, DirectoryError> {
        let directory = self.directory()?;
        self.follow_now(directory).await;
        let keyring = directory.keyring().ok_or(DirectoryError::Unavailable)?;
        let saved = self.save_some(directory, &keyring, |_| true).await?;
        if let Err(error) = &saved {
            tracing::error!(error = error as &dyn std::error::Error, "files of shards could not be written");
        }
        Ok(saved.is_ok())
    }

    /// Goes on with the others behind one that cannot be written.
    async fn save_some(
        &self,
        directory: &Directory,
        keyring: &Keyring,
        is_due: impl Fn(&Shards) -> bool,
    ) -> Result<Result<(), ShardError>, Internal> {
        let Some(folder) = &directory.policy.private.files else { return Ok(Ok(())) };
        let now = self.clock.now();
        let mut outcome = Ok(());
        for (index, epoch) in &keyring.epochs {
            let Some(shards) = directory.live().private.get(index).cloned().filter(|it| is_due(it)) else {
                continue;
            };
            let Some(terms) = terms(&directory.policy, epoch, shards.layout, 0) else { continue };
            let files = Files::new(folder, &terms);
            // Changes that come meanwhile are followed again by who opens the files.
            let Some(change) = directory.followed.lock().await.after else { continue };
            if !shards.is_whole() {
                continue;
            }
            let saved = tokio::task::spawn_blocking(move || {
                let behind = shards
                    .tables
                    .iter()
                    .filter(|(number, tables)| !files.are_of(**number, tables, (change, now)));
                let saved = behind
                    .map(|(number, tables)| files.save(*number, tables, change, now))
                    .fold(Ok(()), Result::and);
                // Also where it failed: it is not tried at each look.
                shards.saved_at.store(now, Ordering::Relaxed);
                saved
            });
            outcome = outcome.and(saved.await.map_err(|_| Internal::Interrupted)?);
        }
        Ok(outcome)
    }
}

/// Shards while they are made.
struct Making {
    layout: ShardLayout,
    engines: Engines,
    files: Option<Files>,
    held: (u32, u32),
    seed: [u8; 32],
    now: Millis,
}

impl Making {
    fn shards(self, tables: BTreeMap<u32, Tables>) -> Shards {
        let Self { layout, engines, now, .. } = self;
        Shards { layout, engines, tables, full: AtomicBool::new(false), saved_at: AtomicI64::new(now) }
    }

    /// The tables in their files, and as of which change they are, if all are there and not too old.
    fn open(&mut self, last: ChangeId) -> Option<(BTreeMap<u32, Tables>, ChangeId)> {
        let files = self.files.as_ref()?;
        let mut random = ChaCha20Rng::from_seed(self.seed);
        let (mut tables, mut change) = (BTreeMap::new(), last.max(ChangeId(0)));
        if last == ChangeId(0) {
            change = ChangeId(i64::MAX);
        }
        let mut made_at = self.now;
        for number in self.held.0..=self.held.1 {
            let opened = files.open(number, &self.engines, &mut random);
            let (opened, head) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    if !is_missing(&error) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            shard = number,
                            "the file of a shard is not used: the shards are built anew"
                        );
                    }
                    return None;
                }
            };
            let of = ChangeId(i64::try_from(head.change).ok()?);
            // Of a store whose changes were all swept nobody knows the last.
            let is_ahead = of > last && last > ChangeId(0);
            if head.made_at < self.now.saturating_sub(TOO_LONG_MS) || head.made_at > self.now || is_ahead {
                return None;
            }
            made_at = made_at.min(head.made_at);
            change = change.min(of);
            tables.insert(number, opened);
        }
        self.now = made_at;
        Some((tables, change))
    }

    fn build(
        &self,
        rows: BTreeMap<u32, Vec<Row>>,
        change: ChangeId,
    ) -> Result<BTreeMap<u32, Tables>, ShardError> {
        let mut random = ChaCha20Rng::from_seed(self.seed);
        // What stands where there is no record.
        let (filler, mut next) = (Filler::new(self.seed), 0_u32);
        let mut vacant = |bytes: &mut Record| {
            // Twice the same after 512 GiB of tables, which nobody can compare.
            filler.fill(32, next, bytes);
            next = next.wrapping_add(1);
        };
        let mut made = BTreeMap::new();
        for (number, rows) in rows {
            let mut batch = Vec::new();
            if let Some((shape, server)) = &self.engines.batch {
                let mut parts: Vec<Vec<&Row>> = vec![Vec::new(); shape.tables];
                for row in &rows {
                    for table in shape.tables_of(&row.keyword) {
                        if let Some(part) = parts.get_mut(table) {
                            part.push(row);
                        }
                    }
                }
                for part in parts {
                    let records = part.into_iter().map(|row| (row.owner, row.keyword, row.record));
                    batch.push(built(server, records, &mut vacant)?);
                }
                for table in batch.iter().take(BATCH_SAMPLE) {
                    table.check(server, SAMPLE, &mut random)?;
                }
            }
            let records = rows.into_iter().map(|row| (row.owner, row.keyword, row.record));
            let single = built(&self.engines.single, records, &mut vacant)?;
            single.check(&self.engines.single, SAMPLE, &mut random)?;
            let tables = Tables { single, batch };
            if let Some(files) = &self.files
                && let Err(error) = files.save(number, &tables, change, self.now)
            {
                // They are as good without.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the file of a shard could not be written: a start builds it anew"
                );
            }
            made.insert(number, tables);
        }
        Ok(made)
    }
}

fn built(
    server: &Server,
    records: impl Iterator<Item = (crate::shard::Owner, acquaint_pir::Keyword, Record)>,
    vacant: &mut impl FnMut(&mut Record),
) -> Result<Shard, ShardError> {
    let words = server.configuration().parameters().table_words();
    Shard::build(server, anonymous(words)?, records, vacant)
}

fn engines(layout: ShardLayout, terms: &Terms) -> Option<Engines> {
    let server =
        |parameters, kind| Some(Server::new(Configuration::new(parameters, &terms.epoch_bytes(kind).ok()?)));
    let batch = match layout.batch_shape() {
        None => None,
        Some(batch) => Some((batch, server(batch.parameters().ok()?, Kind::Batch)?)),
    };
    Some(Engines { single: server(Parameters::new(layout.shape()).ok()?, Kind::Shard)?, batch })
}

/// Bytes that the shards take at the most while they are made.
fn needed(layout: ShardLayout, held: (u32, u32), listings: u64) -> u64 {
    let count = u64::from(held.1.saturating_sub(held.0).saturating_add(1));
    let single = memory_to_build(layout.shape(), listings >> layout.bits);
    let tables = |batch: BatchShape| u64::try_from(batch.tables).unwrap_or(u64::MAX);
    let batch = layout.batch_shape();
    let batch = batch.map_or(0, |batch| memory_needed(batch.shape).saturating_mul(tables(batch)));
    // Listings as they are read from the store, and what passes take: a ciphertext of 32 KiB for each column and half of one
    // for each row.
    let rows = listings.saturating_mul(ROW_BYTES);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let shape = layout.shape();
    let pass = (shape.columns as u64) * (32 << 10) + (shape.rows as u64) * (16 << 10);
    let passes = cores.saturating_mul(super::passes::MOST as u64).saturating_mul(pass);
    single.saturating_add(batch).saturating_mul(count).saturating_add(rows).saturating_add(passes)
}

/// The shards that this server holds, of so many.
fn held(policy: &DirectoryPolicy, bits: u8) -> (u32, u32) {
    let last = (1_u32 << bits.min(MOST_SHARD_BITS)) - 1;
    policy.private.held.map_or((0, last), |(first, to)| (first.min(last), to.min(last)))
}

fn is_missing(error: &ShardError) -> bool {
    matches!(error, ShardError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// Where the files of a layout are.
struct Files {
    folder: PathBuf,
    stem: String,
    label: String,
    /// For a shard's table, and for batch tables.
    epoch: [Vec<u8>; 2],
}

impl Files {
    fn new(folder: &Path, terms: &Terms) -> Self {
        let Terms { provider, profile, epoch, layout, .. } = terms;
        let epoch_bytes = |kind| terms.epoch_bytes(kind).unwrap_or_default();
        Self {
            folder: folder.to_owned(),
            stem: format!("{profile}-{epoch}-{layout}"),
            label: format!("{provider} {profile}, epoch {epoch}, layout {layout}"),
            epoch: [Kind::Shard, Kind::Batch].map(epoch_bytes),
        }
    }

    /// Nobody else may read what is in it.
    fn make_folder(&self) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    fn path(&self, shard: u32, table: Option<usize>) -> PathBuf {
        let table = table.map_or_else(String::new, |table| format!("-{table}"));
        self.folder.join(format!("{}-{shard}{table}.shard", self.stem))
    }

    fn label(&self, shard: u32, table: Option<usize>) -> Vec<u8> {
        let table = table.map_or_else(String::new, |table| format!(", batch table {table}"));
        format!("{}, shard {shard}{table}", self.label).into_bytes()
    }

    fn save(&self, shard: u32, tables: &Tables, change: ChangeId, made_at: Millis) -> Result<(), ShardError> {
        let [single, batch] = &self.epoch;
        let change = u64::try_from(change.0).unwrap_or_default();
        let one = (None, &tables.single, single);
        let others = tables.batch.iter().enumerate().map(|(table, held)| (Some(table), held, batch));
        for (table, held, epoch) in std::iter::once(one).chain(others) {
            let label = self.label(shard, table);
            held.save(&self.path(shard, table), &Head { epoch: epoch.clone(), label, change, made_at })?;
        }
        Ok(())
    }

    /// Whether all files of a shard are recent, and as of this change.
    fn are_of(&self, shard: u32, tables: &Tables, (change, now): (ChangeId, Millis)) -> bool {
        let mut numbers = std::iter::once(None).chain((0..tables.batch.len()).map(Some));
        numbers.all(|table| {
            crate::shard::stat(&self.path(shard, table)).is_ok_and(|told| {
                i64::try_from(told.head.change).ok() == Some(change.0)
                    && (0..SAVE_MS).contains(&now.saturating_sub(told.head.made_at))
            })
        })
    }

    /// The tables of a shard, and the head of the first.
    fn open(
        &self,
        shard: u32,
        engines: &Engines,
        random: &mut ChaCha20Rng,
    ) -> Result<(Tables, Head), ShardError> {
        let open =
            |server: &Server, table| Shard::open(&self.path(shard, table), server, &self.label(shard, table));
        let (single, mut head) = open(&engines.single, None)?;
        single.check(&engines.single, SAMPLE, random)?;
        let mut batch = Vec::new();
        if let Some((shape, server)) = &engines.batch {
            for table in 0..shape.tables {
                let (opened, its_head) = open(server, Some(table))?;
                head.change = head.change.min(its_head.change);
                head.made_at = head.made_at.min(its_head.made_at);
                batch.push(opened);
            }
            for table in batch.iter().take(BATCH_SAMPLE) {
                table.check(server, SAMPLE, random)?;
            }
        }
        Ok((Tables { single, batch }, head))
    }
}
