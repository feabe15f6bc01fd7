//! The embedded store: one SQLite database in a directory of its own.
//!
//! One thread writes and merges what waits into one transaction; a few read-only connections read. A
//! second process is refused by the directory's lock.

mod backup;
mod charges;
mod check;
mod checkpoint;
mod codes;
mod departures;
mod directory;
mod directory_load;
mod epochs;
#[cfg(test)]
mod erasure_tests;
mod events;
mod imports;
mod notices;
mod open;
mod pairs;
mod quotas;
mod reads;
mod removal;
mod schema;
mod scrub;
mod streams;
#[cfg(test)]
mod tests;
mod transfer;
#[cfg(test)]
mod upkeep_tests;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use acquaint_protocol::pair::{EpochId, PairHash};
use async_trait::async_trait;
use rusqlite::ErrorCode;

pub use backup::{BackupError, Phase, Progress, Restore, Restored, Watch, backup};
pub use check::{Depth, Finding, Health, check, check_file, database_in};
pub use open::OpenError;
pub use transfer::{SqliteSink, SqliteSource};

use crate::{
    ChangeId, Charge, Charged, CodeGuess, CodeHash, CodePut, CodeTaken, DeadNotice, DirectoryRecord,
    Enrolled, EpochRecord, EpochRows, Event, EventId, EventOutcome, Fence, ImportAccepted, ImportId,
    ImportProgress, ImportStep, IndexId, KeyRecord, LeasedDeparture, LeasedEvent, LeasedImport, LeasedNotice,
    Listing, ListingId, LiveToken, Loaded, LoadedListing, Match, MatchPosition, Millis, NewCode, NewEvent,
    NewImport, NewListing, NoticeCounts, NoticeId, NoticeOutcome, NumberKey, OnceId, PendingImport, Permit,
    Pick, Placement, Pseudonym, Removal, Retirement, Revision, ServerId, StepOutcome, Store, StoreError,
    StreamStep, SyncStatus, TokenUse,
};
use checkpoint::Log;
use reads::Readers;
use scrub::Scrubber;
use writer::Writer;

/// A [`Store`] in a directory on a local disk. Its verbs need a tokio runtime.
///
/// Dropping it waits until everything accepted is written and the log is copied back.
pub struct SqliteStore {
    readers: Arc<Readers>,
    // Dropped after the readers, so that the last connection to close may delete the log.
    writer: Writer,
    /// The one server that there is, and what it checks: it ends with this process, so it is not stored.
    server: Mutex<Option<(ServerId, Vec<EpochId>, Millis)>>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store in `directory`, or makes a new one there, and holds the directory's lock from then on.
    ///
    /// # Errors
    /// If another process holds it, if the database is foreign, newer or damaged, or if the files cannot be used.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let open::Opened { lock, database, writer, unclean } = open::open(directory)?;
        let files = |source| OpenError::Files { path: database.clone(), source };
        let lock = Arc::new(lock);
        let page_size: u32 = writer.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let scrubber = Scrubber::open(&database, page_size).map_err(files)?;
        let mut log = Log::new(open::log_of(&database), scrubber);
        if unclean {
            log.recover(&writer)?;
        }
        let readers = Arc::new(Readers::open(&database, Arc::clone(&lock))?);
        let writer = Writer::start(writer, log, lock).map_err(files)?;
        Ok(Self { readers, writer, server: Mutex::new(None) })
    }
}

/// What SQLite could not do, in the contract's terms.
fn failed(error: rusqlite::Error) -> StoreError {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    match &error {
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => {
            StoreError::Corrupt("a value has the wrong form")
        }
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt("the database file is damaged")
            }
            _ => unavailable(error),
        },
    }
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(error.into())
}

#[async_trait]
impl Store for SqliteStore {
    async fn key_records(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.readers.read(reads::key_records).await
    }

    async fn record_keys(&self, records: Vec<KeyRecord>) -> Result<(), StoreError> {
        let work = move |connection: &_| {
            reads::record_keys(connection, &records)?;
            epochs::begin(connection)
        };
        self.writer.write(work).await
    }

    async fn epochs(&self) -> Result<Vec<EpochRecord>, StoreError> {
        self.readers.read(epochs::all).await
    }

    async fn check_in(
        &self,
        server: ServerId,
        held: Vec<EpochId>,
        _now: Millis,
        until: Millis,
    ) -> Result<Vec<EpochRecord>, StoreError> {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some((server, held.clone(), until));
        let records = self.readers.read(epochs::all).await?;
        // Most of the time there is nothing to change, and so nothing to write.
        if crate::epochs::next(&records, std::iter::once(held.as_slice())).is_none() {
            return Ok(records);
        }
        self.writer.write(move |connection| epochs::advance(connection, &held)).await
    }

    async fn check_out(&self, server: ServerId) -> Result<(), StoreError> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(there, ..)| *there == server);
        Ok(())
    }

    async fn servers(&self, now: Millis) -> Result<Vec<Vec<EpochId>>, StoreError> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(server.iter().filter(|(_, _, until)| *until > now).map(|(_, held, _)| held.clone()).collect())
    }

    async fn retire_epoch(&self, epoch: EpochId) -> Result<Retirement, StoreError> {
        self.writer.write(move |connection| epochs::retire(connection, epoch)).await
    }

    async fn clear_epoch(
        &self,
        epoch: EpochId,
        after: Option<PairHash>,
        limit: u32,
    ) -> Result<Option<PairHash>, StoreError> {
        self.writer.write(move |connection| epochs::clear(connection, epoch, after, limit)).await
    }

    async fn epoch_rows(&self, epoch: EpochId) -> Result<EpochRows, StoreError> {
        self.readers.read(move |connection| epochs::rows(connection, epoch)).await
    }

    async fn put_code(&self, code: NewCode, now: Millis) -> Result<CodePut, StoreError> {
        self.writer.write(move |connection| codes::put(connection, &code, now)).await
    }

    async fn withdraw_code(
        &self,
        account: Pseudonym,
        code_hash: CodeHash,
        permits: Vec<Permit>,
        now: Millis,
    ) -> Result<(), StoreError> {
        let work = move |connection: &_| codes::withdraw(connection, account, code_hash, &permits, now);
        self.writer.write(work).await
    }

    async fn take_code(&self, guess: CodeGuess, now: Millis) -> Result<CodeTaken, StoreError> {
        self.writer.write(move |connection| codes::take(connection, &guess, now)).await
    }

    async fn charge(&self, charge: Charge, now: Millis) -> Result<Charged, StoreError> {
        self.writer.write(move |connection| charges::charge(connection, &charge, now)).await
    }

    async fn use_once(&self, id: OnceId, expires_at: Millis, now: Millis) -> Result<bool, StoreError> {
        self.writer.write(move |connection| charges::use_once(connection, id, expires_at, now)).await
    }

    async fn append_events(&self, events: Vec<NewEvent>, now: Millis) -> Result<(), StoreError> {
        self.writer.write(move |connection| events::append(connection, &events, now)).await
    }

    async fn events(&self, after: Option<EventId>, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.readers.read(move |connection| events::after(connection, after, limit)).await
    }

    async fn sweep_events(&self, before: Millis, limit: u32) -> Result<u64, StoreError> {
        self.writer.write(move |connection| events::sweep(connection, before, limit)).await
    }

    async fn lease_events(
        &self,
        limit: u32,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Vec<LeasedEvent>, StoreError> {
        if !self.readers.read(move |connection| events::are_due(connection, now)).await? {
            return Ok(Vec::new());
        }
        self.writer.write(move |connection| events::lease(connection, limit, now, lease_until)).await
    }

    async fn settle_event(&self, id: EventId, attempt: u32, outcome: EventOutcome) -> Result<(), StoreError> {
        self.writer.write(move |connection| events::settle(connection, id, attempt, outcome)).await
    }

    async fn waiting_events(&self) -> Result<u64, StoreError> {
        self.readers.read(events::waiting).await
    }

    async fn lease_stream(
        &self,
        stream: String,
        server: ServerId,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Option<Option<i64>>, StoreError> {
        let work = move |connection: &_| streams::lease(connection, &stream, server, now, lease_until);
        self.writer.write(work).await
    }

    async fn stream_step(&self, step: StreamStep, now: Millis) -> Result<bool, StoreError> {
        self.writer.write(move |connection| streams::step(connection, &step, now)).await
    }

    async fn release_stream(&self, stream: String, server: ServerId) -> Result<(), StoreError> {
        self.writer.write(move |connection| streams::release(connection, &stream, server)).await
    }

    async fn lease_departures(
        &self,
        limit: u32,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Vec<LeasedDeparture>, StoreError> {
        if !self.readers.read(move |connection| departures::are_due(connection, now)).await? {
            return Ok(Vec::new());
        }
        self.writer.write(move |connection| departures::lease(connection, limit, now, lease_until)).await
    }

    async fn settle_departure(
        &self,
        account: Pseudonym,
        attempt: u32,
        again_at: Option<Millis>,
    ) -> Result<(), StoreError> {
        self.writer.write(move |connection| departures::settle(connection, account, attempt, again_at)).await
    }

    async fn levels(&self, permits: Vec<Permit>, now: Millis) -> Result<Vec<u32>, StoreError> {
        self.readers.read(move |connection| quotas::levels(connection, &permits, now)).await
    }

    async fn has_proof(&self, account: Pseudonym, now: Millis) -> Result<bool, StoreError> {
        self.readers.read(move |connection| codes::has_proof(connection, account, now)).await
    }

    async fn live_tokens(
        &self,
        account: Pseudonym,
        token_use: TokenUse,
        now: Millis,
    ) -> Result<Vec<LiveToken>, StoreError> {
        self.readers.read(move |connection| reads::live_tokens(connection, account, token_use, now)).await
    }

    async fn accept_import(&self, import: NewImport, now: Millis) -> Result<ImportAccepted, StoreError> {
        self.writer.write(move |connection| imports::accept(connection, &import, now)).await
    }

    async fn next_import(
        &self,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Option<LeasedImport>, StoreError> {
        self.writer.write(move |connection| imports::lease_next(connection, now, lease_until)).await
    }

    async fn match_or_insert(&self, step: ImportStep, now: Millis) -> Result<StepOutcome, StoreError> {
        self.writer.write(move |connection| imports::step(connection, &step, now)).await
    }

    async fn prolong_import(
        &self,
        import: ImportId,
        fence: Fence,
        lease_until: Millis,
    ) -> Result<bool, StoreError> {
        self.writer.write(move |connection| imports::prolong(connection, import, fence, lease_until)).await
    }

    async fn release_import(&self, import: ImportId, fence: Fence) -> Result<(), StoreError> {
        self.writer.write(move |connection| imports::end_lease(connection, import, fence)).await
    }

    async fn import_progress(
        &self,
        _account: Pseudonym,
        import: ImportId,
    ) -> Result<ImportProgress, StoreError> {
        self.readers.read(move |connection| imports::progress(connection, import)).await
    }

    /// The lock file sees to that.
    fn is_shared(&self) -> bool {
        false
    }

    async fn abandon_import(&self, import: ImportId, fence: Fence) -> Result<(), StoreError> {
        self.writer.write(move |connection| imports::abandon(connection, import, fence)).await
    }

    async fn waiting_pairs(&self) -> Result<u64, StoreError> {
        self.readers.read(imports::waiting_pairs).await
    }

    async fn matches(
        &self,
        account: Pseudonym,
        after: Option<MatchPosition>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Match>, StoreError> {
        self.readers.read(move |connection| reads::matches(connection, account, after, limit, now)).await
    }

    async fn sealed_accounts(&self, accounts: Vec<Pseudonym>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.readers.read(move |connection| reads::sealed_accounts(connection, &accounts)).await
    }

    async fn sync_status(&self, account: Pseudonym, now: Millis) -> Result<Option<SyncStatus>, StoreError> {
        self.readers.read(move |connection| reads::sync_status(connection, account, now)).await
    }

    async fn dismiss(&self, account: Pseudonym, other: Pseudonym, now: Millis) -> Result<u32, StoreError> {
        // Nothing to write means not to wait for the disk behind those who write.
        let nobody = move |connection: &_| removal::nobody_to_dismiss(connection, account, other, now);
        match self.readers.read(nobody).await? {
            Some(left) => Ok(left),
            None => {
                self.writer.write(move |connection| removal::dismiss(connection, account, other, now)).await
            }
        }
    }

    async fn lease_notices(
        &self,
        limit: u32,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Vec<LeasedNotice>, StoreError> {
        self.writer.write(move |connection| notices::lease(connection, limit, now, lease_until)).await
    }

    async fn settle_notice(
        &self,
        id: NoticeId,
        attempt: u32,
        outcome: NoticeOutcome,
    ) -> Result<(), StoreError> {
        self.writer.write(move |connection| notices::settle(connection, id, attempt, outcome)).await
    }

    async fn cancel_notices(&self, account: Pseudonym, others: Vec<Pseudonym>) -> Result<(), StoreError> {
        self.writer.write(move |connection| notices::cancel(connection, account, &others)).await
    }

    async fn notice_counts(&self, now: Millis) -> Result<NoticeCounts, StoreError> {
        self.readers.read(move |connection| notices::counts(connection, now)).await
    }

    async fn dead_notices(&self, limit: u32, now: Millis) -> Result<Vec<DeadNotice>, StoreError> {
        self.readers.read(move |connection| notices::dead(connection, limit, now)).await
    }

    async fn revive_notices(&self, now: Millis) -> Result<u64, StoreError> {
        self.writer.write(move |connection| notices::revive(connection, now)).await
    }

    async fn pending_import(&self, account: Pseudonym) -> Result<Option<PendingImport>, StoreError> {
        self.readers.read(move |connection| reads::pending_import(connection, account)).await
    }

    async fn enrol(&self, listing: NewListing, now: Millis) -> Result<Enrolled, StoreError> {
        self.writer.write(move |connection| directory::enrol(connection, &listing, now)).await
    }

    async fn load_listings(
        &self,
        listings: Vec<LoadedListing>,
        now: Millis,
    ) -> Result<Vec<Loaded>, StoreError> {
        self.writer
            .write(move |connection| {
                listings.iter().map(|listing| directory_load::load(connection, listing, now)).collect()
            })
            .await
    }

    async fn listings_of(&self, account: Pseudonym, now: Millis) -> Result<Vec<Listing>, StoreError> {
        self.readers.read(move |connection| directory::of_account(connection, account, now)).await
    }

    async fn withdraw(
        &self,
        account: Pseudonym,
        id: Option<ListingId>,
        now: Millis,
    ) -> Result<u32, StoreError> {
        self.writer.write(move |connection| directory::withdraw(connection, account, id, now)).await
    }

    async fn listings(&self, pick: Pick, now: Millis) -> Result<Vec<Listing>, StoreError> {
        self.readers.read(move |connection| directory::listings(connection, &pick, now)).await
    }

    async fn placements(
        &self,
        index: IndexId,
        pick: Pick,
        now: Millis,
    ) -> Result<Vec<(ListingId, Placement)>, StoreError> {
        self.readers.read(move |connection| directory::placements(connection, index, &pick, now)).await
    }

    async fn unplaced(
        &self,
        index: IndexId,
        after: Option<ListingId>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Listing>, StoreError> {
        self.readers.read(move |connection| directory::unplaced(connection, index, after, limit, now)).await
    }

    async fn place(
        &self,
        placements: Vec<(ListingId, Revision, Placement)>,
        now: Millis,
    ) -> Result<u32, StoreError> {
        self.writer.write(move |connection| directory::place(connection, &placements, now)).await
    }

    async fn clear_index(&self, index: IndexId, limit: u32) -> Result<u32, StoreError> {
        self.writer.write(move |connection| directory::clear_index(connection, index, limit)).await
    }

    async fn count_listings(&self, index: Option<IndexId>, now: Millis) -> Result<u64, StoreError> {
        self.readers.read(move |connection| directory::count(connection, index, now)).await
    }

    async fn listing_changes(
        &self,
        after: Option<ChangeId>,
        limit: u32,
    ) -> Result<Vec<(ChangeId, ListingId)>, StoreError> {
        self.readers.read(move |connection| directory::changes(connection, after, limit)).await
    }

    async fn directory_records(&self) -> Result<Vec<DirectoryRecord>, StoreError> {
        self.readers.read(directory::records).await
    }

    async fn add_directory_record(&self, record: DirectoryRecord) -> Result<bool, StoreError> {
        self.writer.write(move |connection| directory::add_record(connection, &record)).await
    }

    async fn change_directory_record(
        &self,
        name: String,
        version: u32,
        states: (u8, u8),
        content: Option<Vec<u8>>,
    ) -> Result<bool, StoreError> {
        let work = move |connection: &_| {
            directory::change_record(connection, &name, version, states, content.as_deref())
        };
        self.writer.write(work).await
    }

    async fn remove_data(
        &self,
        account: Pseudonym,
        pending: Option<(ImportId, Vec<NumberKey>)>,
        now: Millis,
    ) -> Result<Removal, StoreError> {
        let work = move |connection: &_| removal::remove(connection, account, pending, now);
        self.writer.submit(work, |removal| matches!(removal, Removal::Removed(_))).await
    }

    async fn sweep(&self, limit: u32, now: Millis) -> Result<u64, StoreError> {
        self.writer.write(move |connection| removal::sweep(connection, limit, now)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        if !self.writer.is_running() {
            return Err(unavailable("the writer has stopped"));
        }
        self.readers.read(reads::ping).await
    }
}
