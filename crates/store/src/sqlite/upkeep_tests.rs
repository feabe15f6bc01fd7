//! Each rule that a check knows, broken.

use rusqlite::Connection;
use tempfile::TempDir;

use super::{Depth, Health, SqliteStore, check, check_file, database_in};

/// A match with an import beside it, in a database that was closed.
fn store() -> TempDir {
    let folder = TempDir::new().unwrap();
    drop(SqliteStore::open(folder.path()).unwrap());
    sql(
        &folder,
        "INSERT INTO keys VALUES ('pair', 1, x'00', 1);
         INSERT INTO accounts VALUES (zeroblob(16), x'01', 1, 5, 9), (randomblob(16), x'02', 2, 7, 9);
         INSERT INTO matches SELECT a.account, 1, zeroblob(32), b.account, a.account < b.account, 3, 40 + a.generation, 40 + b.generation, 6
             FROM accounts AS a JOIN accounts AS b ON a.account <> b.account;
         INSERT INTO pairs SELECT 1, randomblob(32), account, 1, 3, 40 FROM accounts;
         INSERT INTO imports SELECT randomblob(16), account, generation, 5, 4, 0, NULL, 8 FROM accounts LIMIT 1;
         INSERT INTO import_lists SELECT id, x'03' FROM imports;
         INSERT INTO tokens SELECT randomblob(16), account, x'04', 50, 0 FROM accounts LIMIT 1;
         INSERT INTO notices SELECT account, other, 10, iif(bit, NULL, 11), 0, NULL, 60 FROM matches;
         INSERT INTO paid SELECT account, randomblob(16), randomblob(32), 9 FROM accounts;
         INSERT INTO used VALUES (randomblob(32), 9);
         INSERT INTO events VALUES (1, 12, 3, zeroblob(16), '{}'), (2, 11, 9, NULL, '{}');
         INSERT INTO event_queue VALUES (1, 0, 5);
         INSERT INTO follows SELECT account, randomblob(16), other, 9 FROM matches;
         INSERT INTO streams VALUES ('a', NULL, NULL, NULL), ('b', 1, zeroblob(16), 9);
         INSERT INTO departures SELECT account, 3, 0 FROM accounts LIMIT 1;
         INSERT INTO proofs SELECT account, 3 FROM accounts LIMIT 1;
         INSERT INTO listing_changes VALUES (6, 13, zeroblob(16)), (7, 12, x'01010101010101010101010101010101');
         INSERT INTO listings SELECT zeroblob(16), account, x'05', 3, 40, 6 FROM accounts LIMIT 1;
         INSERT INTO placements VALUES (1, 2, zeroblob(16), x'06');
         INSERT INTO directory_records VALUES ('oprf/a', 1, 0, x'07', 5);",
    );
    folder
}

fn sql(folder: &TempDir, sql: &str) {
    Connection::open(database_in(folder.path())).unwrap().execute_batch(sql).unwrap();
}

fn look(folder: &TempDir) -> Health {
    check(folder.path(), Depth::Full).unwrap()
}

#[tokio::test]
async fn a_sound_database_has_no_findings() {
    let folder = store();
    let health = look(&folder);
    assert_eq!(health.findings, []);
    assert_eq!((health.newest, health.held, health.version), (Some(13), false, health.known_version));
    assert!(health.tables.contains(&("matches".into(), 2)), "{:?}", health.tables);
    assert_eq!(check_file(&database_in(folder.path()), Depth::Full).unwrap().findings, []);
    let quick = check(folder.path(), Depth::Quick).unwrap();
    assert_eq!((quick.findings, quick.tables, quick.keys.len()), (vec![], vec![], 1));
    let store = SqliteStore::open(folder.path()).unwrap();
    assert!(look(&folder).held);
    drop(store);
}

#[tokio::test]
async fn every_rule_finds_what_breaks_it() {
    for (broken, told) in [
        ("DELETE FROM matches WHERE account = zeroblob(16)", "matches without their other side: 1"),
        ("UPDATE matches SET other_expires_at = 1", "matches whose two sides tell different ends: 2"),
        ("UPDATE matches SET bit = 1", "matches whose two sides claim the same number: 2"),
        (
            "INSERT INTO matches SELECT account, 2, zeroblob(32), account, 0, 1, 1, 1, 1 FROM accounts LIMIT 1",
            "accounts matched with themselves: 1",
        ),
        ("PRAGMA foreign_keys = OFF; DELETE FROM import_lists", "imports without their list: 1"),
        ("UPDATE imports SET done = 5", "imports beyond their end: 1"),
        ("UPDATE imports SET generation = 77", "imports of another life of their account: 1"),
        (
            "INSERT INTO pairs VALUES (1, randomblob(32), randomblob(16), 0, 1, 1)",
            "rows of accounts that have no name: 1",
        ),
        ("UPDATE pairs SET bit = 2", "values of the wrong form: 2"),
        ("INSERT INTO limits VALUES (1, x'00', -5, 1, 1)", "values of the wrong form: 1"),
        ("UPDATE tokens SET sealed = x''", "values of the wrong form: 1"),
        ("UPDATE tokens SET token = x'01'", "values of the wrong form: 1"),
        ("UPDATE notices SET due_at = -1 WHERE due_at IS NOT NULL", "values of the wrong form: 1"),
        ("UPDATE notices SET attempts = -1", "values of the wrong form: 2"),
        ("UPDATE notices SET other = x'01'", "values of the wrong form: 2"),
        ("UPDATE paid SET digest = x'01'", "values of the wrong form: 2"),
        ("UPDATE used SET id = x'01'", "values of the wrong form: 1"),
        ("INSERT INTO events VALUES (3, 1, 1, NULL, 'no object')", "values of the wrong form: 1"),
        ("UPDATE event_queue SET attempts = -1", "values of the wrong form: 1"),
        ("UPDATE follows SET other = x'01'", "values of the wrong form: 2"),
        ("UPDATE streams SET server = zeroblob(16)", "values of the wrong form: 1"),
        ("UPDATE departures SET due_at = -1", "values of the wrong form: 1"),
        ("UPDATE proofs SET account = x'01'", "values of the wrong form: 1"),
        ("UPDATE tokens SET token_use = 2", "values of the wrong form: 1"),
        ("UPDATE listings SET sealed = x''", "values of the wrong form: 1"),
        ("UPDATE placements SET sealed = x''", "values of the wrong form: 1"),
        ("UPDATE listing_changes SET listing = x'01'", "values of the wrong form: 2"),
        ("UPDATE directory_records SET version = 0", "values of the wrong form: 1"),
        ("DELETE FROM listings", "placements of listings that are not there: 1"),
        ("UPDATE listings SET revision = 8", "listings with the number of a change to come: 1"),
        ("UPDATE listings SET account = randomblob(16)", "listings of accounts that have no name: 1"),
        ("INSERT INTO event_queue VALUES (9, 0, 5)", "events that the webhook is to be told of and"),
        ("UPDATE follows SET other = account", "accounts that follow themselves: 2"),
        ("DROP TRIGGER events_stay_as_they_are", "`events_stay_as_they_are` is missing"),
        ("UPDATE notices SET other = account", "accounts that are to be told of themselves: 2"),
        ("DELETE FROM keys", "accounts in a database that names no keys: 2"),
        (
            "PRAGMA foreign_keys = OFF; INSERT INTO import_lists VALUES (x'07', x'07')",
            "rows that refer to absent ones: 1",
        ),
        ("DROP TABLE dismissals", "`dismissals` is missing"),
        ("CREATE TABLE mine (x)", "`mine` is not this program's"),
        (
            "DROP INDEX codes_by_expiry; CREATE INDEX codes_by_expiry ON codes (wrong)",
            "`codes_by_expiry` is not as",
        ),
    ] {
        let folder = store();
        sql(&folder, broken);
        let findings = look(&folder).findings;
        assert!(findings.iter().any(|finding| finding.what.starts_with(told)), "no {told:?} in {findings:?}");
        assert!(findings.iter().all(|finding| !finding.advice.is_empty()));
    }
}

/// A look comes before the migration.
#[tokio::test]
async fn an_older_database_is_looked_at_as_it_is() {
    let folder = store();
    sql(
        &folder,
        "DROP TABLE paid; DROP TABLE used; DROP TABLE events; DROP TABLE event_queue; DROP TABLE follows;
         DROP TABLE streams; DROP TABLE departures; DROP TABLE proofs; DROP TABLE listings; DROP TABLE placements;
         DROP TABLE listing_changes; DROP TABLE directory_records; ALTER TABLE tokens DROP COLUMN token_use;
         PRAGMA user_version = 3",
    );
    let health = look(&folder);
    assert_eq!((health.findings, health.newest), (vec![], Some(10)));
    drop(SqliteStore::open(folder.path()).unwrap());
    let health = look(&folder);
    assert_eq!((health.findings, health.version), (vec![], health.known_version));
}
