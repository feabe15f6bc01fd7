//! What only the embedded store promises.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::erasure_tests::Person;
use super::{OpenError, SqliteStore};
use crate::{EventKind, NewEvent, NoticeCounts, Pseudonym, Store, TokenUse, conformance};

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
    let sql =
        |text: &'static str| move |file: &Path| Connection::open(file).unwrap().execute_batch(text).unwrap();
    let foreign = refused(&sql("CREATE TABLE notes (text)"));
    assert!(matches!(foreign, OpenError::Foreign { application_id: 0 }), "{foreign}");
    let foreign = refused(&sql("PRAGMA application_id = 7"));
    assert!(foreign.to_string().contains("another program"), "{foreign}");
    let newer = refused(&|file| {
        drop(SqliteStore::open(file.parent().unwrap()).unwrap());
        sql("PRAGMA user_version = 99")(file);
        sql("PRAGMA wal_checkpoint(TRUNCATE)")(file);
    });
    assert!(matches!(newer, OpenError::Newer { found: 99, known: 5 }), "{newer}");
    let damaged = refused(&|file| fs::write(file, [b'x'; 5000]).unwrap());
    assert!(matches!(damaged, OpenError::Damaged(_)), "{damaged}");
}

#[tokio::test]
async fn data_of_the_first_version_is_carried_over() {
    let directory = tempfile::tempdir().unwrap();
    let old = Connection::open(directory.path().join("acquaint.db")).unwrap();
    old.execute_batch(include_str!("v1.sql")).unwrap();
    old.execute_batch(
        "PRAGMA application_id = 0x41637174; PRAGMA user_version = 1;
         INSERT INTO accounts VALUES (x'01010101010101010101010101010101', x'02', 3, 4, 1000);
         INSERT INTO tokens VALUES (x'05', x'01010101010101010101010101010101', 1000);",
    )
    .unwrap();
    drop(old);
    let store = SqliteStore::open(directory.path()).unwrap();
    let account = Pseudonym::from_bytes([1; 16]);
    assert_eq!(store.sync_status(account, 5).await.unwrap().unwrap().synced_at, 4);
    assert_eq!(store.live_tokens(account, TokenUse::Matching, 5).await.unwrap(), []);
    assert_eq!(store.notice_counts(5).await.unwrap(), NoticeCounts::default());
    drop(store);
    SqliteStore::open(directory.path()).unwrap();
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
    assert!(
        store.readers.read(|_| -> rusqlite::Result<()> { panic!("as this test wants it") }).await.is_err()
    );
    for _ in 0..10 {
        assert_eq!(store.readers.read(count).await.unwrap(), 11);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_program_is_told_to_all_who_wait_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(directory.path()).unwrap());
    let other = Connection::open(directory.path().join("acquaint.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.revive_notices(0).await })
        })
        .collect();
    for outcome in waiting {
        let error = outcome.await.unwrap().unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("locked"), "{error}: {source}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.revive_notices(0).await.unwrap(), 0);
}

#[tokio::test]
async fn the_audit_log_is_only_added_to() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let event = NewEvent { kind: EventKind::CodeSent, account: None, details: "{}".into(), tell: false };
    store.append_events(vec![event], 1).await.unwrap();
    let before = store.events(None, 9).await.unwrap();
    let change = |connection: &Connection| connection.execute("UPDATE events SET details = '[]'", []);
    let error = store.writer.write(change).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("the audit log is only added to"), "{source}");
    assert_eq!(store.events(None, 9).await.unwrap(), before);
}

/// Each page of many millions is found by its key, and nothing is read twice or sorted.
#[test]
fn the_directory_is_paged_by_its_keys() {
    let mut connection = Connection::open_in_memory().unwrap();
    super::schema::migrate(&mut connection).unwrap();
    for (statement, steps) in [
        (
            super::directory::paging(),
            vec![
                "SEARCH placements USING PRIMARY KEY (profile=? AND epoch=? AND listing>?)",
                "SEARCH listings USING PRIMARY KEY (listing=?)",
            ],
        ),
        (
            format!("SELECT 1 FROM listings {}", super::directory::UNPLACED),
            vec![
                "SEARCH listings USING PRIMARY KEY (listing>?)",
                "CORRELATED SCALAR SUBQUERY 1",
                "SEARCH placements USING PRIMARY KEY (profile=? AND epoch=? AND listing=?)",
            ],
        ),
        (
            format!("SELECT 1 FROM listings {}", super::directory::PAGE),
            vec!["SEARCH listings USING PRIMARY KEY (listing>?)"],
        ),
    ] {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let (mut rows, mut found) = (plan.raw_query(), Vec::new());
        while let Some(row) = rows.next().unwrap() {
            found.push(row.get_unwrap::<_, String>(3));
        }
        assert_eq!(found, steps, "{statement}");
    }
}
