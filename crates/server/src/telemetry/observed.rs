//! The store, the key holder and the sender, watched: what failed is counted, what limits refused is counted, and each
//! call is a span of the trace. They do what those behind them do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use acquaint_custody::budget::KeyUsage;
use acquaint_custody::{CustodyError, KeyCustody, KeyId, Purpose, ShareTag, Stretching};
use acquaint_protocol::identifier::Identifier;
use acquaint_protocol::pair::{EpochId, PairHash};
use acquaint_service::{Code, CodeSender, DeliveryError, Parts};
use acquaint_store::{
    ChangeId, Charge, Charged, CodeGuess, CodeHash, CodePut, CodeTaken, DeadNotice, DirectoryRecord,
    Enrolled, EpochRecord, EpochRows, Event, EventId, EventOutcome, Fence, ImportAccepted, ImportId,
    ImportProgress, ImportStep, IndexId, KeyRecord, LeasedDeparture, LeasedEvent, LeasedImport, LeasedNotice,
    Listing, ListingId, LiveToken, Loaded, LoadedListing, Match, MatchPosition, Millis, NewCode, NewEvent,
    NewImport, NewListing, NoticeCounts, NoticeId, NoticeOutcome, NumberKey, OnceId, PendingImport, Permit,
    Pick, Placement, Pseudonym, Removal, Retirement, Revision, ServerId, StepOutcome, Store, StoreError,
    StreamStep, SyncStatus, TokenUse,
};
use async_trait::async_trait;
use metrics::{counter, gauge};
use tracing::Instrument;
use zeroize::Zeroizing;

use super::metrics::{CODES, CUSTODY_FAILURES, GUESSES, IMPORTS, STORE_FAILURES};
use super::traces::{ended, step};

/// The same parts, watched. `waits` says whether custody waits for somebody else, as an HSM.
pub(crate) fn observed(parts: Parts, waits: bool) -> Parts {
    Parts {
        store: Arc::new(ObservedStore { store: parts.store, failures: Failures::of(STORE_FAILURES) }),
        custody: Arc::new(ObservedCustody {
            custody: parts.custody,
            failures: Failures::of(CUSTODY_FAILURES),
            waits,
        }),
        sender: Arc::new(ObservedSender(parts.sender)),
        ..parts
    }
}

/// Failures of one part, in all and in a row.
struct Failures {
    names: [&'static str; 2],
    in_a_row: AtomicU32,
}

impl Failures {
    fn of(names: [&'static str; 2]) -> Self {
        Self { names, in_a_row: AtomicU32::new(0) }
    }

    fn note(&self, failed: bool) {
        let [total, consecutive] = self.names;
        if failed {
            counter!(total).increment(1);
            gauge!(consecutive).set(self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1));
        } else if self.in_a_row.load(Ordering::Relaxed) > 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
            gauge!(consecutive).set(0);
        }
    }
}

fn code_put(outcome: &CodePut) {
    let outcome = match outcome {
        CodePut::Stored => "stored",
        CodePut::TooRecent => "too_recent",
        CodePut::GuessesUsedUp => "guesses_used_up",
        CodePut::Exhausted(exhausted) => exhausted.limit.name(),
    };
    counter!(CODES, "outcome" => outcome).increment(1);
}

fn code_taken(outcome: &CodeTaken) {
    let outcome = match outcome {
        CodeTaken::Taken { .. } => "right",
        CodeTaken::Wrong => "wrong",
        CodeTaken::NoCode => "no_code",
        CodeTaken::GuessesUsedUp => "guesses_used_up",
        CodeTaken::Exhausted(exhausted) => exhausted.limit.name(),
    };
    counter!(GUESSES, "outcome" => outcome).increment(1);
}

fn import_accepted(outcome: &ImportAccepted) {
    let outcome = match outcome {
        ImportAccepted::Accepted => "accepted",
        ImportAccepted::InvalidToken => "invalid_token",
        ImportAccepted::AlreadyPending => "already_pending",
        ImportAccepted::Exhausted(exhausted) => exhausted.limit.name(),
        ImportAccepted::QueueFull { .. } => "queue_full",
    };
    counter!(IMPORTS, "outcome" => outcome).increment(1);
}

fn nothing<T>(_: &T) {}

struct ObservedStore {
    store: Arc<dyn Store>,
    failures: Failures,
}

/// Each verb with what its outcome is counted by.
macro_rules! observe {
    ($($count:ident: $verb:ident($($name:ident: $kind:ty),*) -> $told:ty;)*) => {
        #[async_trait]
        impl Store for ObservedStore {
            $(async fn $verb(&self, $($name: $kind),*) -> Result<$told, StoreError> {
                let span = step(concat!("store ", stringify!($verb)));
                let outcome = self.store.$verb($($name),*).instrument(span.clone()).await;
                self.failures.note(outcome.is_err());
                ended(&span, outcome.is_err());
                if let Ok(told) = &outcome {
                    $count(told);
                }
                outcome
            })*

            fn is_shared(&self) -> bool {
                self.store.is_shared()
            }
        }
    };
}

observe! {
    nothing: key_records() -> Vec<KeyRecord>;
    nothing: record_keys(records: Vec<KeyRecord>) -> ();
    nothing: epochs() -> Vec<EpochRecord>;
    nothing: check_in(server: ServerId, held: Vec<EpochId>, now: Millis, until: Millis) -> Vec<EpochRecord>;
    nothing: check_out(server: ServerId) -> ();
    nothing: servers(now: Millis) -> Vec<Vec<EpochId>>;
    nothing: retire_epoch(epoch: EpochId) -> Retirement;
    nothing: clear_epoch(epoch: EpochId, after: Option<PairHash>, limit: u32) -> Option<PairHash>;
    nothing: epoch_rows(epoch: EpochId) -> EpochRows;
    code_put: put_code(code: NewCode, now: Millis) -> CodePut;
    nothing: withdraw_code(account: Pseudonym, code_hash: CodeHash, permits: Vec<Permit>, now: Millis) -> ();
    code_taken: take_code(guess: CodeGuess, now: Millis) -> CodeTaken;
    nothing: charge(charge: Charge, now: Millis) -> Charged;
    nothing: use_once(id: OnceId, expires_at: Millis, now: Millis) -> bool;
    nothing: append_events(events: Vec<NewEvent>, now: Millis) -> ();
    nothing: events(after: Option<EventId>, limit: u32) -> Vec<Event>;
    nothing: sweep_events(before: Millis, limit: u32) -> u64;
    nothing: lease_events(limit: u32, now: Millis, lease_until: Millis) -> Vec<LeasedEvent>;
    nothing: settle_event(id: EventId, attempt: u32, outcome: EventOutcome) -> ();
    nothing: waiting_events() -> u64;
    nothing: lease_stream(stream: String, server: ServerId, now: Millis, lease_until: Millis) -> Option<Option<i64>>;
    nothing: stream_step(step: StreamStep, now: Millis) -> bool;
    nothing: release_stream(stream: String, server: ServerId) -> ();
    nothing: lease_departures(limit: u32, now: Millis, lease_until: Millis) -> Vec<LeasedDeparture>;
    nothing: settle_departure(account: Pseudonym, attempt: u32, again_at: Option<Millis>) -> ();
    nothing: levels(permits: Vec<Permit>, now: Millis) -> Vec<u32>;
    nothing: live_tokens(account: Pseudonym, token_use: TokenUse, now: Millis) -> Vec<LiveToken>;
    nothing: has_proof(account: Pseudonym, now: Millis) -> bool;
    import_accepted: accept_import(import: NewImport, now: Millis) -> ImportAccepted;
    nothing: next_import(now: Millis, lease_until: Millis) -> Option<LeasedImport>;
    nothing: match_or_insert(step: ImportStep, now: Millis) -> StepOutcome;
    nothing: prolong_import(import: ImportId, fence: Fence, lease_until: Millis) -> bool;
    nothing: release_import(import: ImportId, fence: Fence) -> ();
    nothing: import_progress(account: Pseudonym, import: ImportId) -> ImportProgress;
    nothing: abandon_import(import: ImportId, fence: Fence) -> ();
    nothing: waiting_pairs() -> u64;
    nothing: matches(account: Pseudonym, after: Option<MatchPosition>, limit: u32, now: Millis) -> Vec<Match>;
    nothing: sealed_accounts(accounts: Vec<Pseudonym>) -> Vec<Option<Vec<u8>>>;
    nothing: sync_status(account: Pseudonym, now: Millis) -> Option<SyncStatus>;
    nothing: dismiss(account: Pseudonym, other: Pseudonym, now: Millis) -> u32;
    nothing: lease_notices(limit: u32, now: Millis, lease_until: Millis) -> Vec<LeasedNotice>;
    nothing: settle_notice(id: NoticeId, attempt: u32, outcome: NoticeOutcome) -> ();
    nothing: cancel_notices(account: Pseudonym, others: Vec<Pseudonym>) -> ();
    nothing: notice_counts(now: Millis) -> NoticeCounts;
    nothing: dead_notices(limit: u32, now: Millis) -> Vec<DeadNotice>;
    nothing: revive_notices(now: Millis) -> u64;
    nothing: pending_import(account: Pseudonym) -> Option<PendingImport>;
    nothing: enrol(listing: NewListing, now: Millis) -> Enrolled;
    nothing: load_listings(listings: Vec<LoadedListing>, now: Millis) -> Vec<Loaded>;
    nothing: listings_of(account: Pseudonym, now: Millis) -> Vec<Listing>;
    nothing: withdraw(account: Pseudonym, id: Option<ListingId>, now: Millis) -> u32;
    nothing: listings(pick: Pick, now: Millis) -> Vec<Listing>;
    nothing: placements(index: IndexId, pick: Pick, now: Millis) -> Vec<(ListingId, Placement)>;
    nothing: unplaced(index: IndexId, after: Option<ListingId>, limit: u32, now: Millis) -> Vec<Listing>;
    nothing: place(placements: Vec<(ListingId, Revision, Placement)>, now: Millis) -> u32;
    nothing: clear_index(index: IndexId, limit: u32) -> u32;
    nothing: count_listings(index: Option<IndexId>, now: Millis) -> u64;
    nothing: listing_changes(after: Option<ChangeId>, limit: u32) -> Vec<(ChangeId, ListingId)>;
    nothing: directory_records() -> Vec<DirectoryRecord>;
    nothing: add_directory_record(record: DirectoryRecord) -> bool;
    nothing: change_directory_record(name: String, version: u32, states: (u8, u8), content: Option<Vec<u8>>) -> bool;
    nothing: remove_data(account: Pseudonym, pending: Option<(ImportId, Vec<NumberKey>)>, now: Millis) -> Removal;
    nothing: sweep(limit: u32, now: Millis) -> u64;
    nothing: ping() -> ();
}

struct ObservedCustody {
    custody: Arc<dyn KeyCustody>,
    failures: Failures,
    waits: bool,
}

impl ObservedCustody {
    fn watched<T>(
        &self,
        call: impl FnOnce(&dyn KeyCustody) -> Result<T, CustodyError>,
    ) -> Result<T, CustodyError> {
        use tokio::runtime::{Handle, RuntimeFlavor};
        let several = |handle: Handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread;
        // While an HSM is silent the thread's other requests go on elsewhere.
        let outcome = if self.waits && Handle::try_current().is_ok_and(several) {
            tokio::task::block_in_place(|| call(&*self.custody))
        } else {
            call(&*self.custody)
        };
        // Bytes from outside that are not ours are the caller's fault, and a spent budget is counted for itself.
        let failed =
            |error: &CustodyError| !matches!(error, CustodyError::NotOurs | CustodyError::OverBudget { .. });
        self.failures.note(outcome.as_ref().is_err_and(failed));
        outcome
    }
}

impl KeyCustody for ObservedCustody {
    fn keys(&self) -> Vec<KeyId> {
        self.custody.keys()
    }

    fn refresh(&self) -> Result<(), CustodyError> {
        self.watched(|custody| custody.refresh())
    }

    fn stretching(&self, key: KeyId) -> Result<Stretching, CustodyError> {
        self.watched(|custody| custody.stretching(key))
    }

    fn hmac(&self, key: KeyId, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        self.watched(|custody| custody.hmac(key, inputs))
    }

    fn hmac_for(&self, key: KeyId, share: ShareTag, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        self.watched(|custody| custody.hmac_for(key, share, inputs))
    }

    fn seal(&self, purpose: Purpose, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        self.watched(|custody| custody.seal(purpose, aad, plaintext))
    }

    fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        self.watched(|custody| custody.open(purpose, aad, sealed))
    }

    fn audit_count(&self, key: KeyId) -> Result<Option<u64>, CustodyError> {
        self.watched(|custody| custody.audit_count(key))
    }

    fn usage(&self) -> Result<Vec<KeyUsage>, CustodyError> {
        self.watched(|custody| custody.usage())
    }
}

struct ObservedSender(Arc<dyn CodeSender>);

#[async_trait]
impl CodeSender for ObservedSender {
    async fn send(&self, to: &Identifier, code: &Code) -> Result<(), DeliveryError> {
        let span = step("deliver a code");
        let sent = self.0.send(to, code).instrument(span.clone()).await;
        ended(&span, sent.is_err());
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_end_with_a_success() {
        let failures = Failures::of(STORE_FAILURES);
        for _ in 0..3 {
            failures.note(true);
        }
        assert_eq!(failures.in_a_row.load(Ordering::Relaxed), 3);
        failures.note(false);
        assert_eq!(failures.in_a_row.load(Ordering::Relaxed), 0);
    }
}
