//! What is stored, and the few atomic verbs on it.
//!
//! [`Store`] is the contract; `sqlite` is the embedded implementation, and `postgres` the one for several servers; the
//! conformance suite in [`conformance`] runs on both. A verb is one transaction: after a crash either all of it or none
//! of it is there, and when it returns it is durable. No verb hands out a transaction.
//!
//! Stored rows never hold an identifier in clear, and what is keyed by a single number names no account (house
//! plan, decisions 2 and 4). Time comes in as `now`; a row past its expiry counts as absent in every verb, and
//! [`Store::sweep`] deletes it.

#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    expect(dead_code, reason = "without a store only what is kept in memory is of use")
)]
mod bucket;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod directory;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod epochs;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod follows;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "fuzzing"))]
pub mod transfer;
mod types;

use acquaint_protocol::pair::{EpochId, PairHash};
use async_trait::async_trait;

pub use bucket::Level;
pub use types::*;

/// Durable state of mutual matching. Every verb is atomic, isolated from the others as if they ran one after
/// another, and durable when it returns.
///
/// # The rules of matching
/// (seed 000 as the house plan's decision 8 sharpens it.) For a pair hash, at most one unmatched half stands per
/// epoch, with its account, order bit, verification time and expiry. A half H of account S meets what stands:
/// - S holds the hash already, as a half with the same bit or in a match: nothing new; verification time and expiry
///   move to the later of the two; the standing matches are reported again.
/// - Nothing, or only something expired: H is stored under the newest epoch.
/// - A half of another account with the opposite bit: a match. The half is taken out and the match stored for both
///   sides, each side with its own bit, verification time and expiry.
/// - A half of another account with the same bit: both claim the same number. The later verification wins; at a tie
///   the standing half stays.
/// - A half of S itself with the opposite bit (one account owns both numbers): no match; the later verification wins.
///
/// If S holds the hash in a match, and an *other* account's opposite half stands too (a new owner of the number),
/// that is a further match. While several epochs live, each rule looks at all of them; a same-bit half of an older
/// epoch is deleted when the newer goes in.
///
/// A match lives as long as both its sides are unexpired. When one side expires or is removed, the other side's half
/// stands again by itself, unless another half has taken its place meanwhile; then the half that stands stays.
#[async_trait]
pub trait Store: Send + Sync {
    /// The keys that stored data was made with.
    async fn key_records(&self) -> Result<Vec<KeyRecord>, StoreError>;

    /// Adds records; one that is there already stays as it is. Where no epoch is current, the newest pair key's becomes
    /// the current one.
    async fn record_keys(&self, records: Vec<KeyRecord>) -> Result<(), StoreError>;

    /// The epochs of recorded pair keys, newest first.
    async fn epochs(&self) -> Result<Vec<EpochRecord>, StoreError>;

    /// Says that `server` checks the epochs `held`, until `until` at the latest. Once every server that said so and
    /// whose time is not over holds the newest [`EpochState::Live`] epoch above the current one, that one becomes the
    /// current: so all check an epoch before any inserts into it. Returns what stands then, newest first.
    async fn check_in(
        &self,
        server: ServerId,
        held: Vec<EpochId>,
        now: Millis,
        until: Millis,
    ) -> Result<Vec<EpochRecord>, StoreError>;

    /// Takes back what `server` said.
    async fn check_out(&self, server: ServerId) -> Result<(), StoreError>;

    /// What each server that is there at `now` holds.
    async fn servers(&self, now: Millis) -> Result<Vec<Vec<EpochId>>, StoreError>;

    /// Ends an epoch other than the current one: from now on no step checks it, and it never becomes the current one. Its
    /// rows are for [`clear_epoch`](Self::clear_epoch). A cleared one that is newer than the current is forgotten.
    async fn retire_epoch(&self, epoch: EpochId) -> Result<Retirement, StoreError>;

    /// Deletes halves and matches of a retired epoch, up to `limit` pair hashes after `after` in the order of the
    /// hashes; no half stands again. Returns where to go on; `None` at the end. A call from the beginning (`after` is
    /// `None`) that finds nothing makes the epoch [`EpochState::Cleared`]. Does nothing to an epoch that is not retired.
    async fn clear_epoch(
        &self,
        epoch: EpochId,
        after: Option<PairHash>,
        limit: u32,
    ) -> Result<Option<PairHash>, StoreError>;

    /// How many rows an epoch has. Counts them, so it takes its time.
    async fn epoch_rows(&self, epoch: EpochId) -> Result<EpochRows, StoreError>;

    /// Stores a code if the account may have another one now: not too soon after the last, not while its wrong
    /// guesses are used up, and with room in every bucket. Replaces the account's earlier code; the count of wrong
    /// guesses goes on with the new code, and ends when a code expires before another is put. Codes are deleted by a right guess, by removal, or by
    /// `sweep` once expired.
    async fn put_code(&self, code: NewCode, now: Millis) -> Result<CodePut, StoreError>;

    /// Takes a code back that could not be sent, if it is still the account's code: it can no longer be guessed, does
    /// not delay the next one, and `permits` are given back. The count of wrong guesses stays.
    async fn withdraw_code(
        &self,
        account: Pseudonym,
        code_hash: CodeHash,
        permits: Vec<Permit>,
        now: Millis,
    ) -> Result<(), StoreError>;

    /// Compares a guess in constant time. A right one deletes the code, makes or refreshes the account's row, and makes
    /// the token valid; a wrong one is counted. At most one caller ever gets `Taken` for a code.
    async fn take_code(&self, guess: CodeGuess, now: Millis) -> Result<CodeTaken, StoreError>;

    /// Takes permits, and notes in the audit log what became of it, all in one: [`Charge`] says how.
    async fn charge(&self, charge: Charge, now: Millis) -> Result<Charged, StoreError>;

    /// Says that `id` is used, until `expires_at`. `false` if it was used before and that is not over.
    async fn use_once(&self, id: OnceId, expires_at: Millis, now: Millis) -> Result<bool, StoreError>;

    /// Adds to the audit log. What is in it never changes; [`sweep_events`](Self::sweep_events) deletes what is old.
    async fn append_events(&self, events: Vec<NewEvent>, now: Millis) -> Result<(), StoreError>;

    /// Up to `limit` events of the audit log after `after`, in order. Who goes on behind the last one that it got misses
    /// none: where several servers add to the log, this waits for those that are doing so.
    async fn events(&self, after: Option<EventId>, limit: u32) -> Result<Vec<Event>, StoreError>;

    /// Deletes up to `limit` events noted before `before` that nobody is still to be told of. Returns how many.
    async fn sweep_events(&self, before: Millis, limit: u32) -> Result<u64, StoreError>;

    /// Leases up to `limit` events that the webhook is to be told of and that are due, the oldest first: until
    /// `lease_until` nobody else gets them, and then they are due again.
    async fn lease_events(
        &self,
        limit: u32,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Vec<LeasedEvent>, StoreError>;

    /// Says how an attempt ended. Does nothing if another attempt has begun.
    async fn settle_event(&self, id: EventId, attempt: u32, outcome: EventOutcome) -> Result<(), StoreError>;

    /// How many events the webhook is still to be told of.
    async fn waiting_events(&self) -> Result<u64, StoreError>;

    /// Takes a stream for `server` to read, until `lease_until`, unless another server has it at `now`: `None`. Returns
    /// where to go on, `Some(None)` for a stream that nobody has read yet.
    async fn lease_stream(
        &self,
        stream: String,
        server: ServerId,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Option<Option<i64>>, StoreError>;

    /// Commits a piece of a stream if `server` still has it (else `false`, and nothing changes): where it goes on, the
    /// prolonged lease, and what it says. A follow is kept if the two are matched at `now`, until `sweep` finds that they are
    /// not any more, one of them is removed, or its record is deleted or names another; a departure if the account has a
    /// row, due at once. A repetition changes nothing.
    async fn stream_step(&self, step: StreamStep, now: Millis) -> Result<bool, StoreError>;

    /// Lets another server have the stream at once.
    async fn release_stream(&self, stream: String, server: ServerId) -> Result<(), StoreError>;

    /// Leases up to `limit` departures that are due, the longest-due first.
    async fn lease_departures(
        &self,
        limit: u32,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Vec<LeasedDeparture>, StoreError>;

    /// Says how an attempt to confirm a departure ended: `Some` for when to try again, `None` if it was not so. Does
    /// nothing if another attempt has begun. Where it was so, [`remove_data`](Self::remove_data) deletes it.
    async fn settle_departure(
        &self,
        account: Pseudonym,
        attempt: u32,
        again_at: Option<Millis>,
    ) -> Result<(), StoreError>;

    /// Whether the account has verified a number and the proof of it has not ended.
    async fn has_proof(&self, account: Pseudonym, now: Millis) -> Result<bool, StoreError>;

    /// How full buckets are, in whole permits, rounded up; what the permits ask for does not count.
    async fn levels(&self, permits: Vec<Permit>, now: Millis) -> Result<Vec<u32>, StoreError>;

    /// The account's valid tokens for this use, those that expire last first.
    async fn live_tokens(
        &self,
        account: Pseudonym,
        token_use: TokenUse,
        now: Millis,
    ) -> Result<Vec<LiveToken>, StoreError>;

    /// Accepts an import: tokens consumed, permits reserved, list stored, the account's `synced_at` set to `now`. A
    /// refusal changes nothing, so the tokens can be used again.
    async fn accept_import(&self, import: NewImport, now: Millis) -> Result<ImportAccepted, StoreError>;

    /// Leases the longest-waiting import that nobody holds a lease on at `now`, with a fencing token higher than every
    /// earlier one of that import. `None` when there is none.
    async fn next_import(&self, now: Millis, lease_until: Millis)
    -> Result<Option<LeasedImport>, StoreError>;

    /// Prolongs the lease to `lease_until` if the import still has this fence; never shortens it. `false` if it has not.
    async fn prolong_import(
        &self,
        import: ImportId,
        fence: Fence,
        lease_until: Millis,
    ) -> Result<bool, StoreError>;

    /// Ends the lease of an import that still has this fence, so that another may take it at once.
    async fn release_import(&self, import: ImportId, fence: Fence) -> Result<(), StoreError>;

    /// Applies the rules of matching to each half in order and commits all their effects, the refunds, the progress and
    /// the prolonged lease together, and with them a notice to each side of a new match if the step says when (not to who
    /// has dismissed the other, and not if the two were matched already), on condition that the import still has this fence and this progress (`done`) and
    /// that the account still has this generation. The step that reaches the import's total deletes the import and
    /// releases its identifiers. Halves are inserted under the current epoch, and have to have the hash of every older
    /// one that is [checked](EpochState::is_checked), else the step is `Stale`; hashes of retired ones are passed over.
    async fn match_or_insert(&self, step: ImportStep, now: Millis) -> Result<StepOutcome, StoreError>;

    /// Gives an import up that can never be worked on (its list cannot be opened): deletes it under its fence.
    async fn abandon_import(&self, import: ImportId, fence: Fence) -> Result<(), StoreError>;

    /// How far an import is. Sees a step with all its effects or not at all: an import that is not pending has
    /// reported all it found. A store that is not [shared](Store::is_shared) reports nothing.
    async fn import_progress(
        &self,
        account: Pseudonym,
        import: ImportId,
    ) -> Result<ImportProgress, StoreError>;

    /// Whether other processes may work on the same rows at the same time.
    fn is_shared(&self) -> bool;

    /// How many pairs wait in accepted imports.
    async fn waiting_pairs(&self) -> Result<u64, StoreError>;

    /// Up to `limit` matches that come after `after` in the list, newest first, each other account once (by its newest
    /// match), dismissed ones left out.
    async fn matches(
        &self,
        account: Pseudonym,
        after: Option<MatchPosition>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Match>, StoreError>;

    /// The sealed names of accounts, in the order asked, `None` for those that have no row.
    async fn sealed_accounts(&self, accounts: Vec<Pseudonym>) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// `None` when the account never imported or removed everything.
    async fn sync_status(&self, account: Pseudonym, now: Millis) -> Result<Option<SyncStatus>, StoreError>;

    /// Hides a match from `account` for good, also when the pair is imported again. Does nothing if the two are not
    /// matched. Returns how many matches are left, without dismissed ones and those that the account follows.
    async fn dismiss(&self, account: Pseudonym, other: Pseudonym, now: Millis) -> Result<u32, StoreError>;

    /// The account's import that waits or runs.
    async fn pending_import(&self, account: Pseudonym) -> Result<Option<PendingImport>, StoreError>;

    /// Leases up to `limit` notices that are due, the longest-due first: until `lease_until` nobody else gets them, and
    /// then they are due again. One that names an account without a row is deleted instead.
    async fn lease_notices(
        &self,
        limit: u32,
        now: Millis,
        lease_until: Millis,
    ) -> Result<Vec<LeasedNotice>, StoreError>;

    /// Says how an attempt ended. Does nothing if the notice is gone or another attempt has begun.
    async fn settle_notice(
        &self,
        id: NoticeId,
        attempt: u32,
        outcome: NoticeOutcome,
    ) -> Result<(), StoreError>;

    /// Deletes the notices to `account` of `others` that nobody has begun to deliver: it has been told by other means.
    async fn cancel_notices(&self, account: Pseudonym, others: Vec<Pseudonym>) -> Result<(), StoreError>;

    /// How many notices there are.
    async fn notice_counts(&self, now: Millis) -> Result<NoticeCounts, StoreError>;

    /// Up to `limit` dead letters, the oldest match first.
    async fn dead_notices(&self, limit: u32, now: Millis) -> Result<Vec<DeadNotice>, StoreError>;

    /// Makes every dead letter due at `now`, its attempts forgotten. Returns how many.
    async fn revive_notices(&self, now: Millis) -> Result<u64, StoreError>;

    /// Puts a listing up and consumes its token. The identifier's listing of another account gives way if it was verified
    /// earlier, or has expired; at a tie it stands. The account's own is renewed: what is sealed is replaced, and
    /// verification and end are those of the later verification. Placements of the identifier's former listing go. A change
    /// is noted, whose number is the listing's revision.
    async fn enrol(&self, listing: NewListing, now: Millis) -> Result<Enrolled, StoreError>;

    /// Puts listings up that the operator vouches for, all or none, and says what became of each, in their order. One that
    /// was verified later stays; at a tie it gives way, whoever has it. What is the same but lives longer keeps its
    /// placements; else those of the identifier's former listing go. A change is noted for each that is listed or lives
    /// longer, whose number is the listing's revision. An account without a row gets one.
    async fn load_listings(
        &self,
        listings: Vec<LoadedListing>,
        now: Millis,
    ) -> Result<Vec<Loaded>, StoreError>;

    /// The account's listings, the oldest verification first.
    async fn listings_of(&self, account: Pseudonym, now: Millis) -> Result<Vec<Listing>, StoreError>;

    /// Takes down the account's listing `id`, or all that it has, with their placements. Returns how many there were; a
    /// change is noted for each, also for one that had expired and was not swept yet.
    async fn withdraw(
        &self,
        account: Pseudonym,
        id: Option<ListingId>,
        now: Millis,
    ) -> Result<u32, StoreError>;

    /// Listings, in the order of their ids, each once.
    async fn listings(&self, pick: Pick, now: Millis) -> Result<Vec<Listing>, StoreError>;

    /// Placements in one index, of listings that stand, in the order of their ids.
    async fn placements(
        &self,
        index: IndexId,
        pick: Pick,
        now: Millis,
    ) -> Result<Vec<(ListingId, Placement)>, StoreError>;

    /// Up to `limit` listings behind `after` that have no placement in this index, in the order of their ids.
    async fn unplaced(
        &self,
        index: IndexId,
        after: Option<ListingId>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Listing>, StoreError>;

    /// Adds placements of listings that still have this revision and are not in that index yet; others are passed over. A
    /// change is noted for each. Returns how many were added.
    async fn place(
        &self,
        placements: Vec<(ListingId, Revision, Placement)>,
        now: Millis,
    ) -> Result<u32, StoreError>;

    /// Deletes up to `limit` placements of an index, and notes no change. Returns how many.
    async fn clear_index(&self, index: IndexId, limit: u32) -> Result<u32, StoreError>;

    /// How many listings there are; with `Some` how many of them have a placement in that index.
    async fn count_listings(&self, index: Option<IndexId>, now: Millis) -> Result<u64, StoreError>;

    /// Which listings were put up, changed, placed or taken down behind `after`, in order, up to `limit`. Who goes on behind
    /// the last that it got misses none. Changes are kept for a day: who has not asked for longer begins anew. Without
    /// `after`, only the last one: where to begin before reading everything; where there is none, that is `ChangeId(0)`.
    async fn listing_changes(
        &self,
        after: Option<ChangeId>,
        limit: u32,
    ) -> Result<Vec<(ChangeId, ListingId)>, StoreError>;

    /// Keys and layouts of the directory, by name and version.
    async fn directory_records(&self) -> Result<Vec<DirectoryRecord>, StoreError>;

    /// Adds a record unless there is one of this name and version: `false`.
    async fn add_directory_record(&self, record: DirectoryRecord) -> Result<bool, StoreError>;

    /// Moves a record from one state to another: `false` if it is not in the first. `content` replaces its content.
    async fn change_directory_record(
        &self,
        name: String,
        version: u32,
        states: (u8, u8),
        content: Option<Vec<u8>>,
    ) -> Result<bool, StoreError>;

    /// Deletes everything of the account: listings with their placements, halves, matches on both sides (the other side's half stands again), code,
    /// tokens, notices to and about it, pending import, sync status, its own dismissals, follows of it and by it, what it paid
    /// for, its departure, its row and so its generation. What stays: spent quota levels until they have leaked out, others'
    /// dismissals of it, the audit log, and for a day the ids of its listings among the [changes](Self::listing_changes), which
    /// name no account and tell that these are gone. The caller names the pending import that
    /// it saw, with its identifiers, which are thereby released; if that is no longer so, nothing happens. When it returns
    /// `Removed`, nobody can read it any more. The embedded store has then left no byte of it in the database's files;
    /// [`StoreError::LogNotCut`] means that the rows are gone but the files may still hold them. PostgreSQL's files hold
    /// such bytes until the operator's rewrite of its tables and the end of its log and back-ups
    /// (`docs/operations/postgresql.md`, "Erasure"). Calling it again is harmless and cuts the log again.
    async fn remove_data(
        &self,
        account: Pseudonym,
        pending: Option<(ImportId, Vec<NumberKey>)>,
        now: Millis,
    ) -> Result<Removal, StoreError>;

    /// Deletes up to `limit` expired rows of each kind: codes, tokens, notices, halves, matches (the unexpired side's half stands
    /// again), listings with their placements (a change is noted for each), changes of listings that are a day old, empty
    /// buckets, numbers of imports that are a day old, and accounts (name and sync status) whose time to be forgotten has
    /// come and that no half, match, import, listing or token names; also what was paid for or used and is over, and
    /// departures of accounts that are gone. It looks at follows once a day, and deletes those whose match is gone. Returns
    /// how many it deleted or looked at; call again while that is not zero.
    async fn sweep(&self, limit: u32, now: Millis) -> Result<u64, StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
