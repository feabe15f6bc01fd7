//! Everything is carried from store to store and back, also with interruptions, and nothing else is touched.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use rusqlite::types::Value as Stored;
use tempfile::TempDir;

use super::private_server::PostgresServer;
use super::tests::options;
use super::{OpenError, PostgresSink, PostgresSource, PostgresStore};
use crate::sqlite::{self, Depth, SqliteSink, SqliteSource, SqliteStore, check, database_in};
use crate::transfer::{Carried, KINDS, Progress, Row, Source, TransferError, Watch, carry, counts, named};
use crate::{DirectoryRecord, EventId, EventKind, ListingId, NewEvent, Pick, ServerId, Store};

/// Every table, with the ends of what each column can hold: no time, the largest epoch, the smallest generation, an empty
/// key, a long list, dead letters, withdrawn codes. More pairs and matches than one batch takes.
const SCENE: &str = "
    INSERT INTO keys VALUES ('pair', 1, x'00', 2), ('pair', 4294967295, x'0102', 1), ('seal', 1, zeroblob(70), 0);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
    INSERT INTO accounts SELECT randomblob(16), randomblob(60), random(), iif(i % 3, i, NULL), i * 1000 FROM n;
    INSERT INTO accounts VALUES (zeroblob(16), x'', -9223372036854775808, 9223372036854775807, 9223372036854775807);
    INSERT INTO codes SELECT account, iif(generation % 2, randomblob(32), NULL), randomblob(32),
        iif(generation % 2, 5, NULL), 99, abs(generation % 5) FROM accounts;
    INSERT INTO tokens SELECT randomblob(16), account, randomblob(50), 77, n FROM accounts, (SELECT 0 AS n UNION ALL SELECT 1);
    INSERT INTO limits SELECT 1 + (generation & 7), account, 86400000 * 3, 3600000, 7200000 FROM accounts;
    INSERT INTO limits VALUES (4, x'', 5, 6, NULL), (11, x'5553', 9223372036854775807, 0, NULL);
    INSERT INTO imports SELECT randomblob(16), account, generation, 1000, abs(generation % 1000), 7, 123456, forget_at
        FROM accounts LIMIT 20;
    INSERT INTO import_lists SELECT id, randomblob(300000) FROM imports;
    INSERT INTO pending_numbers SELECT randomblob(32), 86400000 FROM imports;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80)
    INSERT INTO pairs SELECT iif(i % 2, 1, 4294967295), randomblob(32), account, i % 2, i, i + 1000 FROM accounts, n;
    CREATE TABLE links AS SELECT a.account AS low, b.account AS high, iif(random() % 2, 2147483648, 2) AS epoch,
        randomblob(32) AS hash, random() & 1 AS bit FROM accounts AS a JOIN accounts AS b ON a.account < b.account;
    INSERT INTO matches SELECT low, epoch, hash, high, bit, 3, 40, 50, 6 FROM links;
    INSERT INTO matches SELECT high, epoch, hash, low, 1 - bit, 4, 50, 40, 6 FROM links;
    DROP TABLE links;
    INSERT INTO dismissals SELECT account, other FROM matches WHERE abs(random() % 10) < 2;
    INSERT INTO dismissals SELECT account, randomblob(16) FROM accounts;
    INSERT INTO notices SELECT account, other, 6, iif(bit, NULL, 11), 3, iif(bit, 'the webhook answers 500', NULL), 60
        FROM matches WHERE abs(random() % 10) < 2;
    INSERT INTO paid SELECT account, randomblob(16), randomblob(32), 9223372036854775807 FROM accounts;
    INSERT INTO used SELECT randomblob(32), abs(generation / 2) FROM accounts;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
    INSERT INTO events SELECT 7 * i, 3000 - i, 1 + i % 10, iif(i % 3, randomblob(16), NULL), '{\"é\":' || i || '}' FROM n;
    INSERT INTO event_queue SELECT id, id % 4, at FROM events WHERE id % 2;
    INSERT INTO follows SELECT account, randomblob(16), other, 86400000 FROM matches WHERE bit;
    INSERT INTO streams VALUES ('wss://a.example/subscribe', 9223372036854775807, zeroblob(16), 77), ('b', NULL, NULL, NULL);
    INSERT INTO departures SELECT account, abs(generation % 99), 2 FROM accounts LIMIT 9;
    INSERT INTO proofs SELECT account, abs(generation / 2) FROM accounts LIMIT 9;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
    INSERT INTO listings SELECT randomblob(16), account, randomblob(90), i, abs(generation / 2), abs(random() % 8999)
        FROM accounts, n;
    INSERT INTO listings SELECT x'ffffffffffffffffffffffffffffffff', account, x'', 0, 1, 9000 FROM accounts LIMIT 1;
    INSERT INTO listing_changes SELECT revision, 1, listing FROM listings WHERE revision = 9000;
    DELETE FROM listing_changes;
    INSERT INTO placements SELECT p, p * 16843009, listing, randomblob(p)
        FROM listings, (SELECT 0 AS p UNION ALL SELECT 255);
    INSERT INTO directory_records VALUES ('oprf/b', 4294967295, 255, zeroblob(9000), 5), ('oprf/b', 1, 0, x'', -1),
        ('Z', 3, 1, x'07', 9223372036854775807)";

/// The same, as rows of an embedded store that was closed.
fn scene() -> TempDir {
    let folder = TempDir::new().unwrap();
    drop(SqliteStore::open(folder.path()).unwrap());
    sql(folder.path(), SCENE);
    folder
}

fn sql(folder: &Path, sql: &str) {
    Connection::open(database_in(folder)).unwrap().execute_batch(sql).unwrap();
}

fn names(connection: &Connection, sql: &str) -> Vec<String> {
    connection.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// A table's name, and each of its rows as text.
type Table = (String, Vec<String>);

/// Every table as it is, without what this module knows of.
fn everything(folder: &Path) -> Vec<Table> {
    let database = Connection::open(database_in(folder)).unwrap();
    let tables = names(&database, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    let rows = |table: String| {
        let mut select = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns: Vec<String> = select.column_names().into_iter().map(ToOwned::to_owned).collect();
        let row = |row: &rusqlite::Row<'_>| {
            let cells = columns.iter().enumerate().map(|(at, name)| match name.as_str() {
                "leased_until" | "server" => String::new(),
                _ => format!("{:?} ", row.get_unwrap::<_, Stored>(at)),
            });
            Ok(cells.collect::<String>())
        };
        let mut rows: Vec<String> = select.query_map([], row).unwrap().map(Result::unwrap).collect();
        rows.sort();
        (table, rows)
    };
    tables.into_iter().map(rows).collect()
}

/// Every row that a source gives, by kind.
async fn given(source: &mut dyn Source) -> Vec<(&'static str, Vec<Row>)> {
    let mut given = Vec::new();
    for (index, kind) in KINDS.iter().enumerate() {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let batch = source.rows(index, after.as_deref()).await.unwrap();
            let Some(last) = batch.last() else { break };
            after = Some(source.key(index, last).unwrap());
            rows.extend(batch);
        }
        assert_eq!(source.count(index).await.unwrap(), rows.len() as u64, "{}", kind.name);
        rows.sort();
        given.push((kind.name, rows));
    }
    given
}

fn empty() -> String {
    PostgresServer::shared().database(None)
}

async fn to_postgres(from: &Path, database: &str, watch: &Watch) -> Result<Carried, TransferError> {
    let mut sink = PostgresSink::open(&options(database), 1).await?;
    carry(&mut SqliteSource::open(from)?, &mut sink, watch).await
}

async fn to_sqlite(database: &str, to: &Path, watch: &Watch) -> Result<Carried, TransferError> {
    let mut sink = SqliteSink::open(to)?;
    carry(&mut PostgresSource::open(&options(database), 1).await?, &mut sink, watch).await
}

fn on(_: Progress) -> bool {
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_to_postgresql_and_back_is_the_same() {
    let (first, second, third) = (scene(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let before = everything(first.path());
    let database = empty();
    let carried = to_postgres(first.path(), &database, &on).await.unwrap();
    assert!(!carried.resumed && carried.rows.iter().all(|(_, rows)| *rows > 0), "{carried:?}");
    assert_eq!(everything(first.path()), before, "the source was changed");
    let mut source = PostgresSource::open(&options(&database), 1).await.unwrap();
    let (mut embedded, there) =
        (SqliteSource::open(first.path()).unwrap(), named(&counts(&mut source).await.unwrap()));
    assert_eq!(there, carried.rows);
    assert!(given(&mut source).await == given(&mut embedded).await);
    let both = "SELECT (SELECT count(*) FROM matches) = 2 * (SELECT count(*) FROM links WHERE settled)
                AND (SELECT count(*) FROM matches JOIN links USING (hash, epoch)
                     WHERE (account, other, matches.expires_at, other_expires_at) = (low, high, low_expires_at, high_expires_at)
                        OR (account, other, matches.expires_at, other_expires_at) = (high, low, high_expires_at, low_expires_at))
                    = (SELECT count(*) FROM matches)
                AND NOT EXISTS (SELECT 1 FROM imports WHERE leased_until IS NOT NULL)";
    assert_eq!(PostgresServer::shared().sql(&database, both), "t");
    drop((source, embedded));

    to_sqlite(&database, second.path(), &on).await.unwrap();
    assert!(everything(second.path()) == before);
    assert_eq!(
        check(second.path(), Depth::Full).unwrap().findings,
        check(first.path(), Depth::Full).unwrap().findings
    );
    // And without PostgreSQL in between.
    let mut sink = SqliteSink::open(third.path()).unwrap();
    carry(&mut SqliteSource::open(second.path()).unwrap(), &mut sink, &on).await.unwrap();
    drop(sink);
    assert!(everything(third.path()) == before);
    // Numbers of events go on behind the last one, and a lease that somebody held on a stream is nobody's.
    let stores: [Box<dyn Store>; 2] = [
        Box::new(SqliteStore::open(third.path()).unwrap()),
        Box::new(PostgresStore::open(&options(&database)).await.unwrap()),
    ];
    for store in stores {
        let event = NewEvent { kind: EventKind::CodeSent, account: None, details: "{}".into(), tell: false };
        store.append_events(vec![event], 1).await.unwrap();
        let next = store.events(Some(EventId(7 * 2500)), 9).await.unwrap();
        assert_eq!(next.iter().map(|event| event.id).collect::<Vec<_>>(), [EventId(7 * 2500 + 1)]);
        let stream = "wss://a.example/subscribe".to_owned();
        let leased = store.lease_stream(stream, ServerId([9; 16]), 0, 50).await.unwrap();
        assert_eq!(leased, Some(Some(i64::MAX)));
        // No change gets a number that a listing has.
        let last = Pick::These(vec![ListingId::from_bytes([255; 16])]);
        let last = store.listings(last, 0).await.unwrap().remove(0);
        assert_eq!(last.revision.0, 9000);
        assert_eq!(store.withdraw(last.account, Some(last.id), 0).await.unwrap(), 1);
        let changes = store.listing_changes(None, 1).await.unwrap();
        assert!(changes[0].0.0 > 9000 && changes[0].1 == last.id);
    }
}

/// A column that somebody adds to a table is carried, or it is named here.
#[tokio::test(flavor = "multi_thread")]
async fn every_column_is_carried() {
    let carried = |embedded: bool| -> BTreeSet<String> {
        let columns = KINDS.iter().flat_map(|kind| {
            let place = if embedded { &kind.embedded } else { &kind.postgres };
            let table = place.from.split(' ').next().unwrap();
            kind.columns.iter().map(move |column| format!("{table}.{}", column.name))
        });
        columns.collect()
    };
    let folder = scene();
    let database = Connection::open(database_in(folder.path())).unwrap();
    let there = names(
        &database,
        "SELECT t.name || '.' || c.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c
         WHERE t.type = 'table' AND t.name NOT IN ('matches', 'import_lists', 'listing_changes', 'sqlite_sequence') ORDER BY 1",
    );
    let carried_here = carried(true);
    let left: Vec<&String> = there.iter().filter(|column| !carried_here.contains(*column)).collect();
    assert_eq!(left, ["imports.leased_until", "streams.leased_until", "streams.server"]);

    let database = empty();
    drop(PostgresStore::open(&options(&database)).await.unwrap());
    let there = PostgresServer::shared().sql(
        &database,
        "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'
         AND table_name !~ '_[0-9]+$' AND table_name NOT IN ('matches', 'gates', 'answers', 'servers', 'listing_changes', 'acquaint_schema')
         ORDER BY 1",
    );
    let carried_there = carried(false);
    let left: Vec<&str> = there.lines().filter(|column| !carried_there.contains(*column)).collect();
    let known = [
        "imports.leased_until",
        "links.notify_high_at",
        "links.notify_low_at",
        "links.notify_until",
        "links.settled",
        "streams.leased_until",
        "streams.server",
    ];
    assert_eq!(left, known);
}

/// Lets so many calls go on, and ends at the next.
fn after(calls: u64) -> impl Fn(Progress) -> bool + Send + Sync {
    let told = AtomicU64::new(0);
    move |_| told.fetch_add(1, Ordering::Relaxed) < calls
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_transfer_goes_on_and_until_then_nobody_serves() {
    let (first, second) = (scene(), TempDir::new().unwrap());
    let before = everything(first.path());
    let database = empty();
    let mut runs = 0;
    let carried = loop {
        runs += 1;
        match to_postgres(first.path(), &database, &after(1 + runs % 3)).await {
            Ok(carried) => break carried,
            Err(TransferError::Ended) => {}
            Err(error) => panic!("{error:?}"),
        }
        let refused = PostgresStore::open(&options(&database)).await.unwrap_err();
        assert!(matches!(refused, OpenError::Unfinished), "{refused:?}");
        let nothing_whole = PostgresSource::open(&options(&database), 1).await.unwrap_err();
        assert!(matches!(nothing_whole, TransferError::SourceUnfinished(_)), "{nothing_whole:?}");
    };
    assert!(carried.resumed && runs > 5, "{runs}");

    let mut runs = 0;
    loop {
        runs += 1;
        match to_sqlite(&database, second.path(), &after(1 + runs % 3)).await {
            Ok(carried) => break assert!(carried.resumed),
            Err(TransferError::Ended) => {}
            Err(error) => panic!("{error:?}"),
        }
        let refused = SqliteStore::open(second.path()).unwrap_err();
        assert!(matches!(refused, sqlite::OpenError::Unfinished { .. }), "{refused:?}");
        let health = check(second.path(), Depth::Full).unwrap();
        assert!(health.findings[0].what.contains("not finished"), "{health:?}");
    }
    assert!(everything(second.path()) == before && runs > 5, "{runs}");
    drop(SqliteStore::open(second.path()).unwrap());
    drop(PostgresStore::open(&options(&database)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_same_source_goes_on_and_only_into_an_empty_store() {
    let (first, second) = (scene(), scene());
    let database = empty();
    assert!(matches!(to_postgres(first.path(), &database, &after(3)).await, Err(TransferError::Ended)));
    let other = to_postgres(second.path(), &database, &on).await.unwrap_err();
    assert!(matches!(other, TransferError::OtherSource(_)), "{other:?}");
    // One row less is another source, too.
    sql(first.path(), "DELETE FROM pairs WHERE expires_at = 1001");
    let changed = to_postgres(first.path(), &database, &on).await.unwrap_err();
    assert!(matches!(changed, TransferError::OtherSource(_)), "{changed:?}");

    // Somebody's data is left alone.
    for (table, row) in [
        ("limits", "INSERT INTO limits (level, at, limit_kind, key) VALUES (1, 1, 4, '')"),
        ("answers", "INSERT INTO answers VALUES (1, 1, '', '', '')"),
        ("matches", "INSERT INTO matches VALUES (1, 1, 1, 1, '', '', '')"),
        ("listing_changes", "INSERT INTO listing_changes (at, listing) VALUES (1, '')"),
    ] {
        let database = empty();
        drop(PostgresStore::open(&options(&database)).await.unwrap());
        PostgresServer::shared().sql(&database, row);
        let full = to_postgres(second.path(), &database, &on).await.unwrap_err();
        assert!(matches!(&full, TransferError::NotEmpty { table: found, .. } if found == table), "{full:?}");
        drop(PostgresStore::open(&options(&database)).await.unwrap());
    }
    let mut sink = SqliteSink::open(first.path()).unwrap();
    let full = carry(&mut SqliteSource::open(second.path()).unwrap(), &mut sink, &on).await.unwrap_err();
    assert!(matches!(full, TransferError::NotEmpty { .. }), "{full:?}");

    // Keys are what a server leaves that has served nobody: those of the source take their place.
    let database = empty();
    let store = PostgresStore::open(&options(&database)).await.unwrap();
    let record = crate::KeyRecord { purpose: "number".into(), version: 9, check: vec![1] };
    store.record_keys(vec![record]).await.unwrap();
    // And where it began with a stream.
    store.lease_stream("b".into(), ServerId([1; 16]), 0, 1).await.unwrap().unwrap();
    // And a key that it made for the directory.
    let record =
        DirectoryRecord { name: "oprf/b".into(), version: 1, state: 7, content: vec![7], made_at: 7 };
    assert!(store.add_directory_record(record.clone()).await.unwrap());
    to_postgres(second.path(), &database, &on).await.unwrap();
    assert_eq!(store.key_records().await.unwrap().len(), 3);
    let records = store.directory_records().await.unwrap();
    assert!(records.len() == 3 && !records.contains(&record));
    let third = TempDir::new().unwrap();
    let store = SqliteStore::open(third.path()).unwrap();
    store.lease_stream("b".into(), ServerId([1; 16]), 0, 1).await.unwrap().unwrap();
    assert!(store.add_directory_record(record).await.unwrap());
    drop(store);
    to_sqlite(&database, third.path(), &on).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_works_on_either_store_meanwhile() {
    let folder = scene();
    let server = SqliteStore::open(folder.path()).unwrap();
    assert!(matches!(SqliteSource::open(folder.path()).unwrap_err(), TransferError::InUse(_)));
    assert!(matches!(SqliteSink::open(folder.path()).unwrap_err(), TransferError::InUse(_)));
    drop(server);
    let source = SqliteSource::open(folder.path()).unwrap();
    assert!(matches!(SqliteStore::open(folder.path()).unwrap_err(), sqlite::OpenError::Locked { .. }));
    drop(source);
    let database = empty();
    let first = PostgresSink::open(&options(&database), 1).await.unwrap();
    assert!(matches!(PostgresSink::open(&options(&database), 1).await.unwrap_err(), TransferError::Busy));
    drop(first);
    // A server's heart-beat, until its time is over.
    PostgresServer::shared().sql(&database, "INSERT INTO servers VALUES (100, 'a', '{1}')");
    let refused = PostgresSink::open(&options(&database), 99).await.unwrap_err();
    assert!(matches!(refused, TransferError::ServersRun { .. }), "{refused:?}");
    let refused = PostgresSource::open(&options(&database), 99).await.unwrap_err();
    assert!(matches!(refused, TransferError::ServersRun { .. }), "{refused:?}");
    let mut sink = PostgresSink::open(&options(&database), 100).await.unwrap();
    let mut source = SqliteSource::open(folder.path()).unwrap();
    // One that comes in the middle.
    let one = "INSERT INTO servers VALUES (200, 'b', '{1}')";
    let there = database.clone();
    let starts = move |progress: Progress| {
        if progress.done == progress.total {
            PostgresServer::shared().sql(&there, one);
        }
        true
    };
    let refused = carry(&mut source, &mut sink, &starts).await.unwrap_err();
    assert!(matches!(refused, TransferError::ServersRun { .. }), "{refused:?}");
    PostgresServer::shared().sql(&database, "DELETE FROM servers");
    assert!(carry(&mut source, &mut sink, &on).await.unwrap().resumed);
    drop((source, sink));
    let nothing = TempDir::new().unwrap();
    assert!(matches!(SqliteSource::open(nothing.path()).unwrap_err(), TransferError::Nothing(_)));
    assert_eq!(std::fs::read_dir(nothing.path()).unwrap().count(), 0, "something was made");
    let nothing = PostgresSource::open(&options(&empty()), 1).await.unwrap_err();
    assert!(matches!(nothing, TransferError::Nothing(_)), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_moves_the_mark_of_postgresql() {
    let folder = scene();
    let database = empty();
    to_postgres(folder.path(), &database, &on).await.unwrap();
    let mark = async || PostgresSource::open(&options(&database), 1).await.unwrap().mark().await.unwrap();
    let mut marks = vec![mark().await];
    assert_eq!(marks[0], mark().await);
    for change in [
        "UPDATE accounts SET synced_at = synced_at WHERE account = (SELECT account FROM accounts LIMIT 1)",
        "DELETE FROM dismissals WHERE (account, other) = (SELECT account, other FROM dismissals LIMIT 1)",
        "INSERT INTO pending_numbers VALUES (1, '')",
        "WITH gone AS (DELETE FROM pending_numbers WHERE until = 1) INSERT INTO pending_numbers VALUES (1, 'x')",
    ] {
        PostgresServer::shared().sql(&database, change);
        marks.push(mark().await);
        assert_eq!(marks.iter().collect::<BTreeSet<_>>().len(), marks.len(), "{change}");
    }
    PostgresServer::shared().sql(&database, "VACUUM (FULL, FREEZE, ANALYZE) pairs");
    assert_eq!(marks.last(), Some(&mark().await), "nobody wrote anything");
}

/// What a crash between two stages leaves: nothing of it is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_match_that_is_marked_is_carried_with_its_notices() {
    let (folder, back) = (scene(), TempDir::new().unwrap());
    sql(folder.path(), "DELETE FROM notices; DELETE FROM dismissals");
    let database = empty();
    to_postgres(folder.path(), &database, &on).await.unwrap();
    PostgresServer::shared().sql(
        &database,
        "UPDATE links SET settled = false, notify_low_at = 3, notify_high_at = 4, notify_until = 1000;
         DELETE FROM matches",
    );
    let carried = to_sqlite(&database, back.path(), &on).await.unwrap();
    let rows = |name: &str| carried.rows.iter().find(|(kind, _)| *kind == name).unwrap().1;
    assert!(rows("matches") > 1000, "more than are settled at once");
    assert_eq!(rows("notices"), 2 * rows("matches"));
    let [before, after] = [folder.path(), back.path()]
        .map(|folder| everything(folder).into_iter().find(|(table, _)| table == "matches").unwrap());
    assert!(before == after);
}

/// A source that breaks its own rules is no source.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_match_is_told_and_not_carried() {
    for side in ["account < other", "account > other"] {
        let folder = scene();
        let one = format!("SELECT account, hash FROM matches WHERE {side} LIMIT 1");
        sql(folder.path(), &format!("DELETE FROM matches WHERE (account, hash) IN ({one})"));
        let database = empty();
        let told = to_postgres(folder.path(), &database, &on).await.unwrap_err();
        assert!(matches!(told, TransferError::Counts { kind: "matches", .. }), "{told:?}");
        let refused = PostgresStore::open(&options(&database)).await.unwrap_err();
        assert!(matches!(refused, OpenError::Unfinished), "{refused:?}");
    }
}
