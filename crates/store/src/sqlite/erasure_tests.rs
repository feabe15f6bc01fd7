//! Nothing of a removed account is left in the files.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acquaint_protocol::pair::{EpochId, PairHash};
use rusqlite::Connection;

use super::SqliteStore;
use crate::{
    Charge, Charged, CodeGuess, CodeHash, CodeTaken, Enrolled, FollowChange, FollowRecord, Generation, Half,
    ImportAccepted, ImportId, ImportStep, IndexId, ListingId, NewCode, NewImport, NewListing, NoticeTimes,
    NumberKey, PaidRequest, Placement, Pseudonym, Removal, RequestId, ServerId, StepOutcome, Store,
    StoreError, StreamStep, TokenId, TokenUse,
};

const FAR: i64 = 1_000_000_000;

/// An account. Everything of it is made of bytes that occur nowhere else.
pub(super) struct Person {
    pub(super) seed: u64,
}

impl Person {
    fn bytes<const N: usize>(&self, what: u64) -> [u8; N] {
        let mut state = self.seed.wrapping_mul(1000).wrapping_add(what);
        std::array::from_fn(|_| {
            // SplitMix64.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ (mixed >> 31)).to_be_bytes()[0]
        })
    }

    fn account(&self) -> Pseudonym {
        Pseudonym::from_bytes(self.bytes(1))
    }

    fn number(&self) -> NumberKey {
        NumberKey::from_bytes(self.bytes(2))
    }

    fn half(&self, contact: u64, bit: bool) -> Half {
        Half { hashes: vec![(EpochId::new(1), PairHash::from_bytes(self.bytes(100 + contact)))], bit }
    }

    async fn verify(&self, store: &SqliteStore, token_use: TokenUse) -> (TokenId, Generation) {
        let account = self.account();
        let code_hash = CodeHash::from_bytes(self.bytes(3));
        let code = NewCode {
            account,
            code_hash,
            number_hash: CodeHash::from_bytes([0xAA; 32]),
            expires_at: FAR,
            too_recent_after: FAR,
            max_wrong: 3,
            permits: vec![],
        };
        store.put_code(code, 0).await.unwrap();
        let token = TokenId::from_bytes(self.bytes(if token_use == TokenUse::Matching { 4 } else { 13 }));
        let guess = CodeGuess {
            account,
            code_hash,
            number_hash: CodeHash::from_bytes([0xAA; 32]),
            max_wrong: 3,
            wrong_permits: vec![],
            proof: None,
            sealed_account: self.bytes::<70>(5).to_vec(),
            fresh_generation: Generation(i64::from_be_bytes(self.bytes(6))),
            token,
            token_use,
            sealed_identifier: self.bytes::<60>(9).to_vec(),
            token_expires_at: FAR,
        };
        let CodeTaken::Taken { generation } = store.take_code(guess, 0).await.unwrap() else {
            unreachable!("the right code is taken")
        };
        (token, generation)
    }

    pub(super) async fn accept(&self, store: &SqliteStore, total: u32) -> NewImport {
        let (token, generation) = self.verify(store, TokenUse::Matching).await;
        let import = NewImport {
            id: ImportId::from_bytes(self.bytes(7)),
            tokens: vec![token],
            account: self.account(),
            generation,
            numbers: vec![self.number()],
            sealed: self.bytes::<9000>(8).to_vec(),
            total,
            forget_account_at: i64::MAX,
            permits: vec![],
            max_waiting: 1_000_000,
        };
        let accepted = store.accept_import(import.clone(), 0).await.unwrap();
        assert_eq!(accepted, ImportAccepted::Accepted);
        import
    }

    async fn import(&self, store: &SqliteStore, halves: Vec<Half>) {
        self.accept(store, u32::try_from(halves.len()).unwrap()).await;
        let leased = store.next_import(0, FAR).await.unwrap().unwrap();
        let step = ImportStep {
            import: leased.id,
            account: leased.account,
            generation: leased.generation,
            fence: leased.fence,
            done: 0,
            halves,
            verified_at: 0,
            expires_at: FAR,
            lease_until: FAR,
            refunds: vec![],
            numbers: vec![self.number()],
            notices: Some(NoticeTimes { importer_due_at: 0, expires_at: FAR }),
            report: None,
        };
        assert!(matches!(store.match_or_insert(step, 0).await.unwrap(), StepOutcome::Committed(_)));
    }

    /// Follows and is followed, has paid for something, and is said to be gone.
    async fn be_about(&self, store: &SqliteStore, other: &Self) {
        let server = ServerId([1; 16]);
        store.lease_stream("a".into(), server, 0, FAR).await.unwrap().unwrap();
        let follow = |account: &Self, other: &Self| FollowChange {
            account: account.account(),
            record: FollowRecord::from_bytes(account.bytes(10)),
            other: Some(other.account()),
        };
        let step = StreamStep {
            stream: "a".into(),
            server,
            cursor: 1,
            lease_until: FAR,
            follows: vec![follow(self, other), follow(other, self)],
            departures: vec![self.account()],
        };
        assert!(store.stream_step(step, 0).await.unwrap());
        assert_eq!(store.lease_departures(1, 0, 0).await.unwrap()[0].account, self.account());
        let request = PaidRequest {
            account: self.account(),
            id: RequestId::from_bytes(self.bytes(11)),
            digest: self.bytes(12),
            expires_at: FAR,
        };
        let charge = Charge { request: Some(request), ..Charge::default() };
        assert_eq!(store.charge(charge, 0).await.unwrap(), Charged::Taken(0));
        self.enrol(store).await;
    }

    /// Is listed, and once more: what the first listing was made of goes with it.
    async fn enrol(&self, store: &SqliteStore) {
        for turn in 0..2 {
            let (token, _) = self.verify(store, TokenUse::Directory).await;
            let listing = NewListing {
                // Stays for a day among the changes.
                id: ListingId::from_bytes(self.bytes(14)),
                account: self.account(),
                token,
                sealed: self.bytes::<5000>(15 + turn).to_vec(),
                verified_at: 0,
                expires_at: FAR,
                placements: vec![Placement {
                    index: IndexId { profile: 1, epoch: 1 },
                    sealed: self.bytes::<90>(17 + turn).to_vec(),
                }],
                most: 1,
            };
            assert_eq!(store.enrol(listing, 0).await.unwrap(), Enrolled::Listed);
        }
    }

    /// Every byte string that may not be left, each as long as is telling.
    fn traces(&self, contacts: u64) -> Vec<Vec<u8>> {
        let mut traces = vec![
            self.bytes::<16>(1).to_vec(),
            self.bytes::<32>(2).to_vec(),
            self.bytes::<32>(3).to_vec(),
            self.bytes::<16>(4).to_vec(),
            self.bytes::<70>(5).to_vec(),
            self.bytes::<8>(6).to_vec(),
            self.bytes::<16>(7).to_vec(),
            self.bytes::<60>(9).to_vec(),
            self.bytes::<16>(10).to_vec(),
            self.bytes::<16>(11).to_vec(),
            self.bytes::<32>(12).to_vec(),
            self.bytes::<16>(13).to_vec(),
        ];
        for turn in 0..2 {
            traces.extend(self.bytes::<5000>(15 + turn).chunks(12).map(<[u8]>::to_vec));
            traces.push(self.bytes::<90>(17 + turn).to_vec());
        }
        traces.extend(self.bytes::<9000>(8).chunks(12).map(<[u8]>::to_vec));
        traces.extend((0..contacts).map(|contact| self.bytes::<32>(100 + contact).to_vec()));
        traces
    }
}

/// How many of the traces the files hold, and in which file the first was.
fn found(directory: &Path, traces: &[Vec<u8>]) -> (usize, Option<String>) {
    // By their first eight bytes, so that a torn one counts too.
    let starts: HashSet<&[u8]> = traces.iter().map(|trace| &trace[..8]).collect();
    let mut likely = vec![false; 1 << 16];
    for start in &starts {
        likely[usize::from(u16::from_be_bytes([start[0], start[1]]))] = true;
    }
    let mut count = 0;
    let mut first = None;
    for name in ["acquaint.db", "acquaint.db-wal", "acquaint.db-shm"] {
        let bytes = fs::read(directory.join(name)).unwrap_or_default();
        let hits = bytes
            .windows(8)
            .filter(|window| {
                likely[usize::from(u16::from_be_bytes([window[0], window[1]]))] && starts.contains(window)
            })
            .count();
        if hits > 0 {
            first.get_or_insert_with(|| name.to_owned());
        }
        count += hits;
    }
    (count, first)
}

/// Pages of the database that hold anything between their cell pointers and their cells: what `secure_delete` leaves.
fn pages_with_remains(directory: &Path) -> usize {
    let mut bytes = fs::read(directory.join("acquaint.db")).unwrap();
    let pages = bytes.chunks_mut(4096).enumerate();
    pages
        .filter_map(|(index, page)| super::scrub::gap(page, if index == 0 { 100 } else { 0 }))
        .filter(|(_, gap)| gap.iter().any(|byte| *byte != 0))
        .count()
}

const CONTACTS: u64 = 20;
const MANY: u64 = 4000;

/// Many accounts that import one after another, so that pages split under each other's rows. The last 10 contacts of
/// each match the next person's; the import of the last one still waits.
async fn populate(store: &SqliteStore) -> Vec<Person> {
    let people: Vec<Person> = (1..=150).map(|seed| Person { seed }).collect();
    for pair in people.windows(2) {
        let own = (0..CONTACTS).map(|contact| pair[0].half(contact, true));
        let previous = Person { seed: pair[0].seed - 1 };
        let matching = (10..CONTACTS).map(|contact| previous.half(contact, false));
        pair[0].import(store, own.chain(matching).collect()).await;
    }
    people
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_leaves_no_byte() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(directory.path()).unwrap());
    // SQLite alone would leave a handful of so many.
    let many = Person { seed: 5000 };
    many.import(&store, (0..MANY).map(|contact| many.half(contact, true)).collect()).await;
    let people = populate(&store).await;
    assert!(found(directory.path(), &many.traces(MANY)).0 > usize::try_from(MANY).unwrap());
    store.remove_data(many.account(), None, 0).await.unwrap();
    assert_eq!(found(directory.path(), &many.traces(MANY)), (0, None));
    assert_eq!(pages_with_remains(directory.path()), 0);

    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            let account = people[reader].account();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    store.matches(account, None, 10, 0).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for (index, removed) in people.iter().enumerate().take(140).skip(10).step_by(16) {
        // With an import pending, a fresh code's token and all else that there can be.
        let import = removed.accept(&store, 9).await;
        removed.be_about(&store, &people[index + 1]).await;
        let mut traces = removed.traces(10);
        // The log may be copied back and cut between the looks at the two files.
        let is_found = (0..10).any(|_| found(directory.path(), &traces).0 > 500);
        assert!(is_found, "the search must find what is there");
        let pending = Some((import.id, vec![removed.number()]));
        let Removal::Removed(gone) = store.remove_data(removed.account(), pending, 0).await.unwrap() else {
            unreachable!("the import is named")
        };
        assert_eq!((gone.contacts, gone.matches), (30, 2));
        // Hashes 10.. stay: they are the next person's consent now.
        let (count, file) = found(directory.path(), &traces);
        assert_eq!(count, 0, "account {index}: traces in {file:?}");
        let next = &people[index + 1];
        store.remove_data(next.account(), None, 0).await.unwrap();
        traces = removed.traces(CONTACTS);
        traces.extend(next.traces(10));
        let (count, file) = found(directory.path(), &traces);
        assert_eq!(count, 0, "accounts {index} and next: traces in {file:?}");
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    drop(store);
    integrity(directory.path());
}

/// After a crash, nobody knows which pages were not scrubbed yet.
/// A finished list is not removed by anybody, and must not stay in the log for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_store_cuts_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    populate(&store).await;
    let log = || std::fs::metadata(directory.path().join("acquaint.db-wal")).unwrap().len();
    assert!(log() > 0);
    // As the service's sweeper does, but not once a minute.
    for _ in 0..60 {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        store.sweep(1, 0).await.unwrap();
        if log() == 0 {
            return;
        }
    }
    panic!("the log still has {} bytes after half a minute", log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_hides_no_byte() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let people = populate(&store).await;
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    drop(store);
    // SQLite alone copies the log back, and leaves everything in the gaps.
    let raw = Connection::open(copy.path().join("acquaint.db")).unwrap();
    raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let left_open = Connection::open(copy.path().join("acquaint.db")).unwrap();
    left_open.query_row("SELECT count(*) FROM pairs", [], |_| Ok(())).unwrap();

    assert!(pages_with_remains(copy.path()) > 0);
    let store = SqliteStore::open(copy.path()).unwrap();
    drop((raw, left_open));
    assert_eq!(pages_with_remains(copy.path()), 0);
    for removed in [&people[40], &people[41]] {
        store.remove_data(removed.account(), None, 0).await.unwrap();
    }
    let (count, file) = found(copy.path(), &people[40].traces(CONTACTS));
    assert_eq!(count, 0, "traces in {file:?}");
    drop(store);
    integrity(copy.path());
}

fn integrity(directory: &Path) {
    let connection = Connection::open(directory.join("acquaint.db")).unwrap();
    let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stays_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let person = Person { seed: 1 };
    person.import(&store, vec![person.half(0, true)]).await;
    let reader = Connection::open(directory.path().join("acquaint.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM pairs").unwrap();
    reader.query_row("SELECT count(*) FROM pairs", [], |_| Ok(())).unwrap();
    let cut = store.remove_data(person.account(), None, 0).await;
    assert!(matches!(cut, Err(StoreError::LogNotCut)), "{cut:?}");
    reader.execute_batch("COMMIT").unwrap();
    assert!(matches!(store.remove_data(person.account(), None, 0).await, Ok(Removal::Removed(_))));
    assert_eq!(found(directory.path(), &person.traces(1)).0, 0);
}
