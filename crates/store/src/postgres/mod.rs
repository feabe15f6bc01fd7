//! The store for several servers: one PostgreSQL database.
//!
//! A verb is one transaction at READ COMMITTED that locks the rows it depends on, always in the same order: streams,
//! accounts, gates, then imports, places, notices, follows, paid requests, departures, limits, numbers, listings with their
//! placements, and last the directory's changes or the audit log. Where there is no row to lock, one is put there first. So no two verbs wait for each other in a circle, and what
//! they do is as if one ran after the other. Nothing is kept in this process, and opening ends nobody's lease: any number
//! of servers work on one database.

mod charges;
mod codes;
mod departures;
mod directory;
mod directory_load;
mod epochs;
mod erasure;
mod error;
mod events;
mod imports;
mod indexes;
mod ledger;
mod look;
mod notices;
mod open;
mod quotas;
mod reads;
mod removal;
mod rules;
mod schema;
mod streams;
mod transfer;
mod unit;

// The tests' server, without the rest of the test kit: that would build the whole application for these tests.
#[cfg(test)]
mod crossing_tests;
#[cfg(test)]
mod directory_tests;
#[cfg(test)]
mod erasure_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
#[path = "../../../testkit/src/postgres.rs"]
#[expect(unreachable_pub, reason = "public where it belongs")]
mod private_server;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer_tests;

use acquaint_protocol::pair::{EpochId, PairHash};
use async_trait::async_trait;

pub use error::DatabaseError;
pub use look::{Seen, look};
pub use open::{OpenError, Options};
pub use transfer::{PostgresSink, PostgresSource};

use crate::{
    ChangeId, Charge, Charged, CodeGuess, CodeHash, CodePut, CodeTaken, DeadNotice, DirectoryRecord,
    Enrolled, EpochRecord, EpochRows, Event, EventId, EventOutcome, Fence, ImportAccepted, ImportId,
    ImportProgress, ImportStep, IndexId, KeyRecord, LeasedDeparture, LeasedEvent, LeasedImport, LeasedNotice,
    Listing, ListingId, LiveToken, Loaded, LoadedListing, Match, MatchPosition, Millis, NewCode, NewEvent,
    NewImport, NewListing, NoticeCounts, NoticeId, NoticeOutcome, NumberKey, OnceId, PendingImport, Permit,
    Pick, Placement, Pseudonym, Removal, Retirement, Revision, ServerId, StepOutcome, Store, StoreError,
    StreamStep, SyncStatus, TokenUse,
};
use unit::{Attempts, Connections};

/// A [`Store`] in a PostgreSQL database that other servers may use at the same time. Its verbs need a tokio runtime.
///
/// A verb that is dropped before it has answered is undone, or done if it was committing already.
///
/// # What removal promises here
/// When [`Store::remove_data`] returns, the rows are gone for every reader, in this server and any other. PostgreSQL
/// keeps their bytes for a while: in pages until they are written anew, in the write-ahead log, in replicas and backups.
/// How that is bounded is in `docs/operations/postgresql.md`, "Erasure"; [`PostgresStore::rewrite`] is a part of it.
pub struct PostgresStore {
    connections: Connections,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

/// Does `$work` in a transaction, and over again where that can help.
macro_rules! transact {
    ($self:ident, |$unit:ident| $work:expr) => {{
        let mut attempts = Attempts::new();
        loop {
            let outcome = match $self.connections.begin().await {
                Ok(unit) => {
                    let $unit = &unit;
                    let outcome = $work.await;
                    unit.end(outcome).await
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => break Ok::<_, StoreError>(value),
                Err(error) => attempts.again(error)?,
            }
        }
    }};
}

/// Does `$work` without a transaction: reads that need not see the same, or a single write that may be done twice.
macro_rules! plainly {
    ($self:ident, |$unit:ident| $work:expr) => {{
        let mut attempts = Attempts::new();
        loop {
            let outcome = match $self.connections.lend().await {
                Ok(unit) => {
                    let $unit = &unit;
                    $work.await
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => break Ok::<_, StoreError>(value),
                Err(error) => attempts.again(error)?,
            }
        }
    }};
}

impl PostgresStore {
    /// Connects to the database, and makes or migrates the schema if it is not up to date.
    ///
    /// # Errors
    /// If the options cannot be used, if the database cannot be reached or refuses, or if its schema is foreign or
    /// newer than what this program can work on.
    pub async fn open(options: &Options) -> Result<Self, OpenError> {
        let pool = open::open(options).await?;
        Ok(Self { connections: Connections { pool, wait: options.wait } })
    }

    /// Writes every table anew, one partition after another, so that no byte of a deleted row is left in the tables'
    /// files. Each partition is locked while it is written, and needs its size once more on the disk; verbs that need
    /// it wait. The connection's role must own the tables. What the write-ahead log holds is another matter.
    ///
    /// `watch` is told before each partition how many are done and how many there are; `false` ends it there.
    ///
    /// # Errors
    /// If the database refuses or is lost. What was rewritten until then stays so; calling it again is harmless.
    pub async fn rewrite(&self, mut watch: impl FnMut(usize, usize) -> bool) -> Result<(), StoreError> {
        let partitions = plainly!(self, |unit| erasure::partitions(unit))?;
        let total = partitions.len();
        for (done, partition) in partitions.iter().enumerate() {
            if !watch(done, total) {
                return Ok(());
            }
            plainly!(self, |unit| erasure::rewrite(unit, partition))?;
        }
        watch(total, total);
        Ok(())
    }

    /// Settles the accounts' side of up to `limit` matches that a crash left unsettled. Returns how many places there were.
    pub(crate) async fn settle(&self, limit: u32, now: Millis) -> Result<usize, StoreError> {
        transact!(self, |unit| removal::settle(unit, limit, now))
    }

    /// The connections of this store, as they are now.
    #[must_use]
    pub fn connections(&self) -> PoolState {
        let status = self.connections.pool.status();
        PoolState {
            open: status.size,
            lent: status.size.saturating_sub(status.available),
            waiting: status.waiting,
            most: status.max_size,
        }
    }
}

/// How many connections there are, and who wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// Open ones.
    pub open: usize,
    /// Those of them that a verb uses.
    pub lent: usize,
    /// Verbs that wait for one.
    pub waiting: usize,
    /// How many may be open.
    pub most: usize,
}

#[async_trait]
impl Store for PostgresStore {
    async fn key_records(&self) -> Result<Vec<KeyRecord>, StoreError> {
        plainly!(self, |unit| reads::key_records(unit))
    }

    async fn record_keys(&self, records: Vec<KeyRecord>) -> Result<(), StoreError> {
        transact!(self, |unit| epochs::record(unit, &records))
    }

    async fn epochs(&self) -> Result<Vec<EpochRecord>, StoreError> {
        plainly!(self, |unit| epochs::all(unit))
    }

    async fn check_in(
        &self,
        server: ServerId,
        held: Vec<EpochId>,
        now: Millis,
        until: Millis,
    ) -> Result<Vec<EpochRecord>, StoreError> {
        // For itself, so that it is seen while the other waits.
        plainly!(self, |unit| epochs::check_in(unit, server, &held, until))?;
        transact!(self, |unit| epochs::advance(unit, &held, now))
    }

    async fn check_out(&self, server: ServerId) -> Result<(), StoreError> {
        plainly!(self, |unit| epochs::check_out(unit, server))
    }

    async fn servers(&self, now: Millis) -> Result<Vec<Vec<EpochId>>, StoreError> {
        plainly!(self, |unit| epochs::servers(unit, now))
    }

    async fn retire_epoch(&self, epoch: EpochId) -> Result<Retirement, StoreError> {
        transact!(self, |unit| epochs::retire(unit, epoch))
    }

    async fn clear_epoch(
        &self,
        epoch: EpochId,
        after: Option<PairHash>,
        limit: u32,
    ) -> Result<Option<PairHash>, StoreError> {
        transact!(self, |unit| epochs::clear(unit, epoch, after, limit))
    }

    async fn epoch_rows(&self, epoch: EpochId) -> Result<EpochRows, StoreError> {
        plainly!(self, |unit| epochs::rows(unit, epoch))
    }

    async fn put_code(&self, code: NewCode, now: Millis) -> Result<CodePut, StoreError> {
        transact!(self, |unit| codes::put(unit, &code, now))
    }

    async fn withdraw_code(
        &self,
        account: Pseudonym,
        code_hash: CodeHash,
        permits: Vec<Permit>,
        now: Millis,
    ) -> Result<(), StoreError> {
        transact!(self, |unit| codes::withdraw(unit, account, code_hash, &permits, now))
    }

    async fn take_code(&self, guess: CodeGuess, now: Millis) -> Result<CodeTaken, StoreError> {
        transact!(self, |unit| codes::take(unit, &guess, now))
    }

    async fn charge(&self, charge: Charge, now: Millis) -> Result<Charged, StoreError> {
        transact!(self, |unit| charges::charge(unit, &charge, now))
    }

    async fn use_once(&self, id: OnceId, expires_at: Millis, now: Millis) -> Result<bool, StoreError> {
        // In a transaction, so that it is not done over once it may be committed.
        transact!(self, |unit| charges::use_once(unit, id, expires_at, now))
    }

    async fn append_events(&self, events: Vec<NewEvent>, now: Millis) -> Result<(), StoreError> {
        transact!(self, |unit| events::append(unit, &events, now))
    }

    async fn events(&self, after: Option<EventId>, limit: u32) -> Result<Vec<Event>, StoreError> {
        transact!(self, |unit| events::after(unit, after, limit))
    }

    async fn sweep_events(&self, before: Millis, limit: u32) -> Result<u64, StoreError> {
        plainly!(self, |unit| events::sweep(unit, before, limit))
    }

    async fn lease_events(
        &self,
        limit: u32,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Vec<LeasedEvent>, StoreError> {
        transact!(self, |unit| events::lease(unit, limit, now, lease_until))
    }

    async fn settle_event(&self, id: EventId, attempt: u32, outcome: EventOutcome) -> Result<(), StoreError> {
        plainly!(self, |unit| events::settle(unit, id, attempt, outcome))
    }

    async fn waiting_events(&self) -> Result<u64, StoreError> {
        plainly!(self, |unit| events::waiting(unit))
    }

    async fn lease_stream(
        &self,
        stream: String,
        server: ServerId,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Option<Option<i64>>, StoreError> {
        plainly!(self, |unit| streams::lease(unit, &stream, server, now, lease_until))
    }

    async fn stream_step(&self, step: StreamStep, now: Millis) -> Result<bool, StoreError> {
        transact!(self, |unit| streams::step(unit, &step, now))
    }

    async fn release_stream(&self, stream: String, server: ServerId) -> Result<(), StoreError> {
        plainly!(self, |unit| streams::release(unit, &stream, server))
    }

    async fn lease_departures(
        &self,
        limit: u32,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Vec<LeasedDeparture>, StoreError> {
        transact!(self, |unit| departures::lease(unit, limit, now, lease_until))
    }

    async fn settle_departure(
        &self,
        account: Pseudonym,
        attempt: u32,
        again_at: Option<Millis>,
    ) -> Result<(), StoreError> {
        plainly!(self, |unit| departures::settle(unit, account, attempt, again_at))
    }

    async fn levels(&self, permits: Vec<Permit>, now: Millis) -> Result<Vec<u32>, StoreError> {
        plainly!(self, |unit| quotas::levels(unit, &permits, now))
    }

    async fn has_proof(&self, account: Pseudonym, now: Millis) -> Result<bool, StoreError> {
        plainly!(self, |unit| codes::has_proof(unit, account, now))
    }

    async fn live_tokens(
        &self,
        account: Pseudonym,
        token_use: TokenUse,
        now: Millis,
    ) -> Result<Vec<LiveToken>, StoreError> {
        plainly!(self, |unit| reads::live_tokens(unit, account, token_use, now))
    }

    async fn accept_import(&self, import: NewImport, now: Millis) -> Result<ImportAccepted, StoreError> {
        transact!(self, |unit| imports::accept(unit, &import, now))
    }

    async fn next_import(
        &self,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Option<LeasedImport>, StoreError> {
        transact!(self, |unit| imports::lease_next(unit, now, lease_until))
    }

    async fn match_or_insert(&self, step: ImportStep, now: Millis) -> Result<StepOutcome, StoreError> {
        transact!(self, |unit| imports::step(unit, &step, now))
    }

    async fn prolong_import(
        &self,
        import: ImportId,
        fence: Fence,
        lease_until: Millis,
    ) -> Result<bool, StoreError> {
        plainly!(self, |unit| imports::prolong(unit, import, fence, lease_until))
    }

    async fn release_import(&self, import: ImportId, fence: Fence) -> Result<(), StoreError> {
        plainly!(self, |unit| imports::end_lease(unit, import, fence))
    }

    async fn import_progress(
        &self,
        account: Pseudonym,
        import: ImportId,
    ) -> Result<ImportProgress, StoreError> {
        plainly!(self, |unit| imports::progress(unit, account, import))
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn abandon_import(&self, import: ImportId, fence: Fence) -> Result<(), StoreError> {
        plainly!(self, |unit| imports::abandon(unit, import, fence))
    }

    async fn waiting_pairs(&self) -> Result<u64, StoreError> {
        plainly!(self, |unit| imports::waiting_pairs(unit))
    }

    async fn matches(
        &self,
        account: Pseudonym,
        after: Option<MatchPosition>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Match>, StoreError> {
        plainly!(self, |unit| reads::matches(unit, account, after, limit, now))
    }

    async fn sealed_accounts(&self, accounts: Vec<Pseudonym>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        plainly!(self, |unit| reads::sealed_accounts(unit, &accounts))
    }

    async fn sync_status(&self, account: Pseudonym, now: Millis) -> Result<Option<SyncStatus>, StoreError> {
        plainly!(self, |unit| reads::sync_status(unit, account, now))
    }

    async fn dismiss(&self, account: Pseudonym, other: Pseudonym, now: Millis) -> Result<u32, StoreError> {
        transact!(self, |unit| removal::dismiss(unit, account, other, now))
    }

    async fn pending_import(&self, account: Pseudonym) -> Result<Option<PendingImport>, StoreError> {
        plainly!(self, |unit| reads::pending_import(unit, account))
    }

    async fn lease_notices(
        &self,
        limit: u32,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Vec<LeasedNotice>, StoreError> {
        transact!(self, |unit| notices::lease(unit, limit, now, lease_until))
    }

    async fn settle_notice(
        &self,
        id: NoticeId,
        attempt: u32,
        outcome: NoticeOutcome,
    ) -> Result<(), StoreError> {
        plainly!(self, |unit| notices::settle(unit, id, attempt, outcome))
    }

    async fn cancel_notices(&self, account: Pseudonym, others: Vec<Pseudonym>) -> Result<(), StoreError> {
        plainly!(self, |unit| notices::cancel(unit, account, &others))
    }

    async fn notice_counts(&self, now: Millis) -> Result<NoticeCounts, StoreError> {
        plainly!(self, |unit| notices::counts(unit, now))
    }

    async fn dead_notices(&self, limit: u32, now: Millis) -> Result<Vec<DeadNotice>, StoreError> {
        plainly!(self, |unit| notices::dead(unit, limit, now))
    }

    async fn revive_notices(&self, now: Millis) -> Result<u64, StoreError> {
        plainly!(self, |unit| notices::revive(unit, now))
    }

    async fn enrol(&self, listing: NewListing, now: Millis) -> Result<Enrolled, StoreError> {
        transact!(self, |unit| directory::enrol(unit, &listing, now))
    }

    async fn load_listings(
        &self,
        listings: Vec<LoadedListing>,
        now: Millis,
    ) -> Result<Vec<Loaded>, StoreError> {
        transact!(self, |unit| directory_load::load(unit, &listings, now))
    }

    async fn listings_of(&self, account: Pseudonym, now: Millis) -> Result<Vec<Listing>, StoreError> {
        plainly!(self, |unit| directory::of_account(unit, account, now))
    }

    async fn withdraw(
        &self,
        account: Pseudonym,
        id: Option<ListingId>,
        now: Millis,
    ) -> Result<u32, StoreError> {
        transact!(self, |unit| directory::withdraw(unit, account, id, now))
    }

    async fn listings(&self, pick: Pick, now: Millis) -> Result<Vec<Listing>, StoreError> {
        plainly!(self, |unit| directory::listings(unit, &pick, now))
    }

    async fn placements(
        &self,
        index: IndexId,
        pick: Pick,
        now: Millis,
    ) -> Result<Vec<(ListingId, Placement)>, StoreError> {
        plainly!(self, |unit| indexes::placements(unit, index, &pick, now))
    }

    async fn unplaced(
        &self,
        index: IndexId,
        after: Option<ListingId>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Listing>, StoreError> {
        plainly!(self, |unit| indexes::unplaced(unit, index, after, limit, now))
    }

    async fn place(
        &self,
        placements: Vec<(ListingId, Revision, Placement)>,
        now: Millis,
    ) -> Result<u32, StoreError> {
        transact!(self, |unit| indexes::place(unit, &placements, now))
    }

    async fn clear_index(&self, index: IndexId, limit: u32) -> Result<u32, StoreError> {
        transact!(self, |unit| indexes::clear_index(unit, index, limit))
    }

    async fn count_listings(&self, index: Option<IndexId>, now: Millis) -> Result<u64, StoreError> {
        plainly!(self, |unit| indexes::count(unit, index, now))
    }

    async fn listing_changes(
        &self,
        after: Option<ChangeId>,
        limit: u32,
    ) -> Result<Vec<(ChangeId, ListingId)>, StoreError> {
        plainly!(self, |unit| directory::changes(unit, after, limit))
    }

    async fn directory_records(&self) -> Result<Vec<DirectoryRecord>, StoreError> {
        plainly!(self, |unit| indexes::records(unit))
    }

    async fn add_directory_record(&self, record: DirectoryRecord) -> Result<bool, StoreError> {
        transact!(self, |unit| indexes::add_record(unit, &record))
    }

    async fn change_directory_record(
        &self,
        name: String,
        version: u32,
        states: (u8, u8),
        content: Option<Vec<u8>>,
    ) -> Result<bool, StoreError> {
        transact!(self, |unit| indexes::change_record(unit, &name, version, states, content.as_deref()))
    }

    async fn remove_data(
        &self,
        account: Pseudonym,
        pending: Option<(ImportId, Vec<NumberKey>)>,
        now: Millis,
    ) -> Result<Removal, StoreError> {
        transact!(self, |unit| removal::remove(unit, account, pending.as_ref(), now))
    }

    async fn sweep(&self, limit: u32, now: Millis) -> Result<u64, StoreError> {
        let mut swept: Result<u64, StoreError> =
            transact!(self, |unit| removal::sweep_links(unit, limit, now));
        let ended: Result<u64, StoreError> = transact!(self, |unit| directory::sweep(unit, limit, now));
        swept = Ok(swept?.saturating_add(ended?));
        for statement in removal::SWEEPS.into_iter().chain([epochs::SWEEP_SERVERS]) {
            let deleted: Result<u64, StoreError> =
                plainly!(self, |unit| unit.execute(statement, &[&now, &i64::from(limit)]));
            swept = Ok(swept?.saturating_add(deleted?));
        }
        let looked: Result<u64, StoreError> = plainly!(self, |unit| streams::sweep(unit, limit, now));
        Ok(swept?.saturating_add(looked?))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        plainly!(self, |unit| reads::ping(unit))
    }
}
