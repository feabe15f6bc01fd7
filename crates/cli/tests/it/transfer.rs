//! Moving all data between stores, as an operator does it: also through kills, and with everything that can be in the way.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use acquaint_testkit::postgres::PostgresServer;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::disk::SmallDisk;
use crate::operation::mode;
use crate::support::{PATIENCE, Server, Told, files, number, program, run, until};

/// Halves enough that a transfer takes a while, of an account that is there.
const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
    INSERT INTO pairs SELECT 1, randomblob(32), (SELECT account FROM accounts LIMIT 1), i % 2, 1, 32503680000000 FROM n";

fn json(told: &Told) -> Value {
    assert_eq!(told.code, Some(0), "{told:?}");
    serde_json::from_str(&told.out).unwrap()
}

fn refused(told: &Told, words: &[&str]) {
    assert_eq!(told.code, Some(1), "{told:?}");
    for word in words {
        assert!(told.err.contains(word), "no {word:?} in {told:?}");
    }
    assert!(!told.err.contains("internal error"), "{told:?}");
}

/// A PostgreSQL database for a server.
struct There {
    connection: String,
    database: String,
}

impl There {
    fn new() -> Self {
        let postgres = PostgresServer::shared();
        let database = postgres.database(None);
        Self { connection: postgres.connection(&database), database }
    }

    fn one(&self, sql: &str) -> String {
        PostgresServer::shared().sql(&self.database, sql)
    }

    /// In the middle of a transfer.
    fn is_half_full(&self) -> bool {
        self.one("SELECT to_regclass('acquaint_transfer') IS NOT NULL") == "t"
            && self.one("SELECT count(*) > 1000 FROM pairs") == "t"
    }

    fn set(&self, command: &mut Command) {
        command.env("ACQUAINT_STORE__KIND", "postgres").env("ACQUAINT_STORE__POSTGRES", &self.connection);
    }
}

/// A command on a server's configuration, with its store or PostgreSQL.
fn command(server: &Server, words: &[&str], file: Option<&Path>, there: Option<&There>) -> Command {
    let mut command = program();
    command.args(words).args(file).arg("--config").arg(server.config());
    if let Some(there) = there {
        there.set(&mut command);
    }
    command
}

/// Starts a command, kills it as soon as `when` is so, and says how it had begun.
fn kill(command: &mut Command, when: impl Fn() -> bool) {
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !when() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it was killed");
        assert!(began.elapsed() < PATIENCE, "it does not come to that");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "it had ended: {status:?}");
}

/// Every table of an embedded store, as text; leases apart.
fn tables(data: &Path) -> Vec<String> {
    let database = Connection::open(data.join("acquaint.db")).unwrap();
    let list = |sql: &str| -> Vec<String> {
        let mut select = database.prepare(sql).unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut told = Vec::new();
    for table in list("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name") {
        let columns = list(&format!(
            "SELECT 'quote(' || '\"' || name || '\")' FROM pragma_table_info('{table}') WHERE name <> 'leased_until'"
        ));
        told.push(table.clone());
        told.extend(list(&format!("SELECT {} FROM {table} ORDER BY 1", columns.join(" || ',' || "))));
    }
    told
}

fn bytes(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = files(data).into_iter().map(|file| (file.path, file.bytes)).collect();
    // What SQLite keeps in memory only.
    found.retain(|(path, _)| !path.ends_with("acquaint.db-shm"));
    found.sort();
    found
}

/// Ada and Bob are matched, Ada has Cem in her book, Dora's import has begun: then the server was killed.
async fn in_the_middle() -> Server {
    let mut server = Server::without_limits();
    server.set("ACQUAINT_POOL__THREADS", "1");
    server.set("ACQUAINT_IMPORT__DEADLINE_MS", "10");
    server.start();
    let (ada, bob) = (server.person("did:plc:ada", &number(0)), server.person("did:plc:bob", &number(1)));
    let eve = server.person("did:plc:eve", &number(4));
    ada.import(vec![number(1), number(2)]).await.unwrap();
    bob.import(vec![number(0)]).await.unwrap();
    until("the match", || {
        let waiting: i64 =
            server.database().query_row("SELECT count(*) FROM imports", [], |row| row.get(0)).unwrap();
        (waiting == 0).then_some(())
    })
    .await;
    // A code that waits, and a token.
    eve.client.start_verification(&eve.did, &eve.phone).await.unwrap();
    server.stop();
    Connection::open(server.data().join("acquaint.db")).unwrap().execute_batch(MANY).unwrap();
    server.start();
    let dora = server.person("did:plc:dora", &number(3));
    let book = (5..905).map(number).chain([number(0)]).collect();
    dora.import(book).await.unwrap();
    until("the middle of an import", || {
        let database = server.database();
        let done = "SELECT count(*) FROM imports WHERE done BETWEEN 1 AND 800";
        (database.query_row(done, [], |row| row.get::<_, i64>(0)).unwrap() == 1).then_some(())
    })
    .await;
    server.kill();
    server
}

#[tokio::test]
async fn a_migration_that_is_killed_goes_on_and_matching_with_it() {
    let mut server = in_the_middle().await;
    let there = There::new();
    let before = bytes(&server.data());
    assert!(before.iter().any(|(path, _)| path.ends_with("acquaint.db-wal")), "it was no kill");
    let migrate = || command(&server, &["migrate", "--json"], None, Some(&there));
    refused(
        &run(&mut command(&server, &["migrate"], None, None)),
        &["set `store.kind` to `postgres`", "docs/operations/postgresql.md"],
    );
    kill(&mut migrate(), || there.is_half_full());
    // Nobody serves half of it.
    let mut serve = server.serve_command();
    there.set(&mut serve);
    refused(&run(&mut serve), &["an import into this database was not finished: run it again", "empty one"]);
    let told = run(&mut command(&server, &["doctor", "--json"], None, Some(&there)));
    assert!(told.code == Some(1) && told.out.contains("run the same import again"), "{told:?}");
    refused(
        &run(&mut command(&server, &["store", "export"], Some(&server.home().join("x")), Some(&there))),
        &["was not finished", "finish it first"],
    );
    let half = there.one("SELECT count(*) FROM pairs");
    let report = json(&run(&mut migrate()));
    assert!(report["ok"] == true && report["resumed"] == true, "{report}");
    assert!(half != "0" && report["rows"]["pairs"].as_u64() > half.parse().ok(), "{half} {report}");
    assert_eq!(bytes(&server.data()), before, "the source was changed");
    refused(&run(&mut migrate()), &["holds data", "only carried into an empty store", "has ended"]);

    server.set("ACQUAINT_STORE__KIND", "postgres");
    server.set("ACQUAINT_STORE__POSTGRES", &there.connection);
    server.start();
    until("the end of the import", || (there.one("SELECT count(*) FROM imports") == "0").then_some(())).await;
    assert_eq!(there.one("SELECT count(*) FROM pairs"), (60_000 + 1 + 901).to_string());
    let (ada, cem) = (server.person("did:plc:ada", &number(0)), server.person("did:plc:cem", &number(2)));
    assert_eq!(ada.matches().await, ["did:plc:bob"]);
    // Whoever imported before meets whoever imports after: over what was stored, and over what waited.
    cem.import(vec![number(0)]).await.unwrap();
    ada.import(vec![number(3)]).await.unwrap();
    until("the end of the imports", || (there.one("SELECT count(*) FROM imports") == "0").then_some(()))
        .await;
    assert_eq!(ada.matches().await, ["did:plc:bob", "did:plc:cem", "did:plc:dora"]);
    // And a code that was sent before is taken after.
    let eve = server.person("did:plc:eve", &number(4));
    eve.client.verify(&eve.did, &eve.phone, &eve.last_code()).await.unwrap();
    // A server's heart-beat.
    there.one("INSERT INTO servers VALUES (32503680000000, 'a', '{1}')");
    refused(
        &run(&mut command(&server, &["store", "export"], Some(&server.home().join("x")), Some(&there))),
        &["on this database: stop all servers first"],
    );
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test]
async fn an_export_goes_through_kills_into_either_store() {
    let mut server = in_the_middle().await;
    let file = server.home().join("all.export");
    let part = server.home().join("all.export.part");
    let export = || command(&server, &["store", "export", "--json"], Some(&file), None);
    let written = || std::fs::metadata(&part).map_or(0, |part| part.len());
    kill(&mut export(), || written() > 1 << 20);
    assert_eq!((mode(&part), file.exists()), (0o600, false));
    let half = written();
    // Half of a chunk.
    std::fs::OpenOptions::new().write(true).open(&part).unwrap().set_len(half - 1000).unwrap();
    let before = bytes(&server.data());
    let report = json(&run(&mut export()));
    assert!(report["resumed"] == true && report["bytes"].as_u64() > Some(half), "{report}");
    assert_eq!((mode(&file), part.exists()), (0o600, false));
    assert_eq!(bytes(&server.data()), before, "the source was changed");
    refused(&run(&mut export()), &["all.export is there already", "never overwritten"]);

    // Into PostgreSQL.
    let there = There::new();
    let import = || command(&server, &["store", "import", "--json"], Some(&file), Some(&there));
    kill(&mut import(), || there.is_half_full());
    let mut serve = server.serve_command();
    there.set(&mut serve);
    refused(&run(&mut serve), &["an import into this database was not finished: run it again"]);
    let imported = json(&run(&mut import()));
    assert!(imported["resumed"] == true && imported["rows"] == report["rows"], "{imported}");
    refused(&run(&mut import()), &["holds data"]);

    // From there, into another folder.
    let back = server.home().join("back.export");
    let exported =
        json(&run(&mut command(&server, &["store", "export", "--json"], Some(&back), Some(&there))));
    assert_eq!(exported["rows"], report["rows"]);
    let other = server.beside();
    let import = || command(&other, &["store", "import", "--json"], Some(&back), None);
    let marked = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(other.data().join("acquaint.db"), flags)
            .and_then(|database| {
                database.query_row("SELECT place IS NOT NULL FROM transfer", [], |row| row.get::<_, bool>(0))
            })
            .unwrap_or(false)
    };
    kill(&mut import(), marked);
    refused(&run(&mut other.serve_command()), &["was not finished: run it again", "empty folder"]);
    let told = run(&mut command(&other, &["store", "check"], None, None));
    assert!(told.code == Some(1) && told.out.contains("run the import again"), "{told:?}");
    let told = run(&mut command(&other, &["store", "import"], Some(&file), None));
    refused(&told, &["holds an unfinished import of something else"]);
    assert_eq!(json(&run(&mut import()))["resumed"], true);
    assert!(tables(&other.data()) == tables(&server.data()));
    refused(&run(&mut import()), &["holds data"]);
    let told = run(&mut command(&other, &["store", "check"], None, None));
    assert_eq!(told.code, Some(0), "{told:?}");

    // And it is served.
    let mut other = other;
    other.start();
    assert_eq!(other.person("did:plc:ada", &number(0)).matches().await, ["did:plc:bob"]);
    until("the end of the import", || {
        let waiting: i64 =
            other.database().query_row("SELECT count(*) FROM imports", [], |row| row.get(0)).unwrap();
        (waiting == 0).then_some(())
    })
    .await;
    assert_eq!(other.stop().code(), Some(0));
    server.start();
}

#[tokio::test]
async fn what_is_in_the_way_of_a_transfer_is_told_and_nothing_is_changed() {
    let mut server = Server::without_limits();
    server.start();
    server.person("did:plc:ada", &number(0)).import(vec![number(1)]).await.unwrap();
    let file = server.home().join("all.export");
    let there = There::new();
    let export = |file: &Path| run(&mut command(&server, &["store", "export"], Some(file), None));
    for told in [export(&file), run(&mut command(&server, &["migrate"], None, Some(&there)))] {
        refused(&told, &["a server runs on", "stop it first"]);
    }
    assert_eq!(server.stop().code(), Some(0));
    let export = |file: &Path| run(&mut command(&server, &["store", "export"], Some(file), None));
    let import = |server: &Server, file: &Path| {
        run(&mut command(server, &["store", "import"], Some(file), Some(&there)))
    };
    // A folder that is not there, a file that is.
    refused(&export(&server.home().join("nowhere/x")), &["cannot use", "nowhere/x.part", "No such file"]);
    std::fs::write(server.home().join("note.part"), "something that is not an export").unwrap();
    refused(&export(&server.home().join("note")), &["note.part is there", "delete it if nobody needs it"]);
    assert_eq!(std::fs::read(server.home().join("note.part")).unwrap(), b"something that is not an export");
    std::fs::write(server.home().join("note"), "mine").unwrap();
    refused(&export(&server.home().join("note")), &["note is there already"]);
    // A full disk, and then room.
    let small = server.home().join("small");
    let disk = SmallDisk::on(&small, 512);
    disk.fill();
    refused(&export(&small.join("x")), &["cannot use", "x.part", "No space left"]);
    disk.make_room();
    assert_eq!(export(&small.join("x")).code, Some(0));
    drop(disk);

    // Changed after an export was begun.
    assert_eq!(export(&file).code, Some(0));
    let begun = server.home().join("begun.part");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&begun, &whole[..whole.len() - 10]).unwrap();
    Connection::open(server.data().join("acquaint.db"))
        .unwrap()
        .execute_batch("UPDATE accounts SET synced_at = 1")
        .unwrap();
    refused(&export(&server.home().join("begun")), &["the data was changed since", "export anew"]);

    // Other keys; nothing, something else, half of it, and one bit.
    let stranger = Server::new();
    refused(&import(&stranger, &file), &["made with other keys", "use its own keys"]);
    std::fs::copy(server.home().join("keys.json"), stranger.home().join("kept.json")).unwrap();
    refused(&import(&server, &server.home().join("absent")), &["cannot use", "No such file"]);
    refused(&import(&server, &server.home().join("note")), &["is no export of this program"]);
    let damaged = server.home().join("damaged.export");
    std::fs::write(&damaged, &whole[..whole.len() - 10]).unwrap();
    refused(&import(&server, &damaged), &["cut off", "use another copy"]);
    let mut flipped = whole.clone();
    // In the last chunk with rows: the last of all has 50 bytes.
    flipped[whole.len() - 60] ^= 1;
    std::fs::write(&damaged, &flipped).unwrap();
    refused(&import(&server, &damaged), &["is damaged", "Use another copy"]);
    assert_eq!(there.one("SELECT to_regclass('pairs') IS NULL"), "t", "something was made");

    // A migration with keys that are not the data's.
    let mut migrate = command(&stranger, &["migrate", "--from"], Some(&server.data()), Some(&there));
    refused(&run(&mut migrate), &["not the one that the stored data was made with"]);
    let mut migrate = command(&server, &["migrate", "--from", "/nowhere/at/all"], None, Some(&there));
    refused(&run(&mut migrate), &["there is no data in /nowhere/at/all"]);
    let nowhere = There { connection: "host=/nowhere user=x dbname=x".into(), database: String::new() };
    refused(
        &run(&mut command(&server, &["migrate"], None, Some(&nowhere))),
        &["PostgreSQL cannot be used", "its socket is not there"],
    );
    // A role that may not make tables.
    there.one("CREATE ROLE poor LOGIN");
    let poor = There {
        connection: there.connection.replace("user=postgres", "user=poor"),
        database: there.database.clone(),
    };
    refused(&run(&mut command(&server, &["migrate"], None, Some(&poor))), &["the role lacks a privilege"]);
    // What a person reads.
    let told = run(&mut command(&server, &["migrate"], None, Some(&there)));
    assert_eq!(told.code, Some(0), "{told:?}");
    for words in
        ["Carried", "Start the servers on PostgreSQL now", "Keep it until you are satisfied", "delete it"]
    {
        assert!(told.out.contains(words), "no {words:?} in {told:?}");
    }
}
