//! What only the embedded store promises.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use acquaint_protocol::pair::{EpochId, PairHash};
use rusqlite::Connection;

use super::{OpenError, SqliteStore};
use crate::{
    CodeGuess, CodeHash, CodeTaken, Generation, Half, ImportAccepted, ImportId, ImportStep, NewCode,
    NewImport, NumberKey, Pseudonym, Removal, StepOutcome, Store, StoreError, TokenId, conformance,
};

const FAR: i64 = 1_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    conformance::run(|| async {
        let own = directory.path().join(count.fetch_add(1, Ordering::Relaxed).to_string());
        Arc::new(SqliteStore::open(&own).unwrap()) as Arc<dyn Store>
    })
    .await;
}

/// An account of the erasure tests. Everything of it is made of bytes that occur nowhere else.
struct Person {
    seed: u64,
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

    async fn verify(&self, store: &SqliteStore) -> (TokenId, Generation) {
        let account = self.account();
        let code_hash = CodeHash::from_bytes(self.bytes(3));
        let code = NewCode {
            account,
            code_hash,
            expires_at: FAR,
            too_recent_after: FAR,
            max_wrong: 3,
            permits: vec![],
        };
        store.put_code(code, 0).await.unwrap();
        let token = TokenId::from_bytes(self.bytes(4));
        let guess = CodeGuess {
            account,
            code_hash,
            max_wrong: 3,
            wrong_permits: vec![],
            sealed_account: self.bytes::<70>(5).to_vec(),
            fresh_generation: Generation(i64::from_be_bytes(self.bytes(6))),
            token,
            token_expires_at: FAR,
        };
        let CodeTaken::Taken { generation } = store.take_code(guess, 0).await.unwrap() else {
            unreachable!("the right code is taken")
        };
        (token, generation)
    }

    async fn accept(&self, store: &SqliteStore, total: u32) -> NewImport {
        let (token, generation) = self.verify(store).await;
        let import = NewImport {
            id: ImportId::from_bytes(self.bytes(7)),
            token,
            account: self.account(),
            generation,
            number: self.number(),
            sealed: self.bytes::<9000>(8).to_vec(),
            total,
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
            number: self.number(),
        };
        assert!(matches!(store.match_or_insert(step, 0).await.unwrap(), StepOutcome::Committed(_)));
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
        ];
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

const CONTACTS: u64 = 20;

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
    let people = populate(&store).await;

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
        let mut traces = removed.traces(10);
        assert!(found(directory.path(), &traces).0 > 500, "the search must find what is there");
        let pending = Some((import.id, removed.number()));
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

    let store = SqliteStore::open(copy.path()).unwrap();
    drop((raw, left_open));
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

#[tokio::test(flavor = "multi_thread")]
async fn reopening_keeps_data_and_ends_leases() {
    let directory = tempfile::tempdir().unwrap();
    let person = Person { seed: 1 };
    let store = SqliteStore::open(directory.path()).unwrap();
    person.accept(&store, 3).await;
    let leased = store.next_import(0, FAR).await.unwrap().unwrap();
    assert!(store.next_import(1, FAR).await.unwrap().is_none());
    drop(store);
    assert!(!directory.path().join("acquaint.db-wal").exists(), "a clean end leaves no log");

    let store = SqliteStore::open(directory.path()).unwrap();
    let again = store.next_import(1, FAR).await.unwrap().unwrap();
    assert!(again.id == leased.id && again.fence > leased.fence && again.sealed == leased.sealed);
    assert_eq!(store.waiting_pairs().await.unwrap(), 3);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let error = SqliteStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("another process uses this store"), "{error}");
    drop(store);
    SqliteStore::open(directory.path()).unwrap();
}

#[test]
fn foreign_newer_and_damaged_files_are_refused() {
    let refused = |prepare: &dyn Fn(&Path)| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acquaint.db");
        prepare(&file);
        let before = fs::read(&file).unwrap();
        let error = SqliteStore::open(directory.path()).unwrap_err();
        assert!(fs::read(&file).unwrap() == before, "left as it is");
        error
    };
    let sql = |text: &'static str| {
        move |file: &Path| Connection::open(file).unwrap().execute_batch(text).unwrap()
    };
    let foreign = refused(&sql("CREATE TABLE notes (text)"));
    assert!(matches!(foreign, OpenError::Foreign { application_id: 0 }), "{foreign}");
    let foreign = refused(&sql("PRAGMA application_id = 7"));
    assert!(foreign.to_string().contains("another program"), "{foreign}");
    let newer = refused(&|file| {
        drop(SqliteStore::open(file.parent().unwrap()).unwrap());
        sql("PRAGMA user_version = 99")(file);
        sql("PRAGMA wal_checkpoint(TRUNCATE)")(file);
    });
    assert!(matches!(newer, OpenError::Newer { found: 99, known: 1 }), "{newer}");
    let damaged = refused(&|file| fs::write(file, [b'x'; 5000]).unwrap());
    assert!(matches!(damaged, OpenError::Damaged(_)), "{damaged}");
}

#[tokio::test]
async fn files_are_private() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/b");
    let store = SqliteStore::open(&directory).unwrap();
    store.record_keys(vec![]).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for name in ["acquaint.db", "acquaint.db-wal", "acquaint.db-shm", "acquaint.lock"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_job_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(directory.path()).unwrap());
    let insert = "INSERT INTO dismissals VALUES (randomblob(16), randomblob(16))";
    // Together in the queue: these wait while the first job sleeps.
    let mut jobs = Vec::new();
    for number in 0..30 {
        let store = Arc::clone(&store);
        jobs.push(tokio::spawn(async move {
            let work = move |connection: &Connection| {
                if number == 0 {
                    std::thread::sleep(Duration::from_millis(100));
                }
                connection.execute(insert, [])?;
                assert!(number % 3 != 1, "as this test wants it");
                if number % 3 == 2 { connection.execute("nonsense", []) } else { Ok(0) }
            };
            store.writer.write(work).await.is_ok()
        }));
    }
    let mut fine = 0;
    for job in jobs {
        fine += i64::from(job.await.unwrap());
    }
    let count = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM dismissals", [], |row| row.get::<_, i64>(0))
    };
    assert_eq!((fine, store.readers.read(count).await.unwrap()), (10, 10));
    // A job that ends the transaction takes its batch down, and only that.
    assert!(store.writer.write(|connection| connection.execute_batch("ROLLBACK")).await.is_err());
    store.writer.write(move |connection| connection.execute(insert, [])).await.unwrap();
    assert!(store.readers.read(|_| -> rusqlite::Result<()> { panic!("as this test wants it") }).await.is_err());
    for _ in 0..10 {
        assert_eq!(store.readers.read(count).await.unwrap(), 11);
    }
}
