//! Back-up, restore and check, as an operator runs them.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::operation::{example, mode};
use crate::support::{Search, Server, Told, files, number, program, run, until};

fn store(server: &Server, command: &str, file: &Path) -> Told {
    run(program().args(["store", command]).arg(file).arg("--config").arg(server.config()))
}

fn check(server: &Server) -> Told {
    run(program().args(["store", "check", "--config"]).arg(server.config()))
}

fn refused(told: &Told, words: &[&str]) {
    assert_eq!(told.code, Some(1), "{told:?}");
    for word in words {
        assert!(told.err.contains(word), "no {word:?} in {told:?}");
    }
}

fn json(told: &Told) -> serde_json::Value {
    serde_json::from_str(&told.out).unwrap()
}

/// Two people who found each other, and one who is alone.
async fn with_a_match() -> Server {
    let mut server = Server::without_limits();
    server.start();
    let (ada, bob) = (server.person("did:plc:ada", &number(0)), server.person("did:plc:bob", &number(1)));
    ada.import(vec![number(1), number(7)]).await.unwrap();
    bob.import(vec![number(0)]).await.unwrap();
    until("the end of the imports", || {
        let waiting: i64 =
            server.database().query_row("SELECT count(*) FROM imports", [], |row| row.get(0)).unwrap();
        (waiting == 0).then_some(())
    })
    .await;
    server
}

#[tokio::test]
async fn a_back_up_made_while_the_server_runs_brings_everything_back() {
    let mut server = with_a_match().await;
    let file = server.home().join("one.db");
    let told = store(&server, "backup", &file);
    assert_eq!(told.code, Some(0), "{told:?}");
    for word in ["one.db", "checked", "keys.json", "keeps what people remove later"] {
        assert!(told.out.contains(word), "no {word:?} in {told:?}");
    }
    assert_eq!(mode(&file), 0o600);
    let beside: Vec<PathBuf> =
        std::fs::read_dir(server.home()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let copies = beside.iter().filter(|path| path.to_str().unwrap().contains("one.db"));
    assert_eq!(copies.count(), 1, "drafts are left: {beside:?}");
    refused(&store(&server, "backup", &file), &["one.db is there already", "never overwritten"]);

    // The server went on, and the removal is complete.
    let (ada, bob) = (server.person("did:plc:ada", &number(0)), server.person("did:plc:bob", &number(1)));
    assert_eq!(ada.matches().await, ["did:plc:bob"]);
    assert_eq!(bob.client.remove_data("did:plc:bob").await.unwrap().matches, 1);
    assert!(ada.matches().await.is_empty());

    // A restore under a running server is refused, and changes nothing.
    refused(&store(&server, "restore", &file), &["the server runs", "stop it", "nothing was changed"]);
    assert!(ada.matches().await.is_empty());
    assert_eq!(server.stop().code(), Some(0));
    drop((ada, bob));
    let before = std::fs::read(server.data().join("acquaint.db")).unwrap();

    let told = store(&server, "restore", &file);
    assert_eq!(told.code, Some(0), "{told:?}");
    for word in ["before-restore-1", "acquaint remove", "is back"] {
        assert!(told.out.contains(word), "no {word:?} in {told:?}");
    }
    let aside = server.data().join("before-restore-1");
    assert_eq!(
        (mode(&aside), mode(&aside.join("acquaint.db")), mode(&server.data().join("acquaint.db"))),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(std::fs::read(aside.join("acquaint.db")).unwrap(), before);
    server.start();
    let (ada, bob) = (server.person("did:plc:ada", &number(0)), server.person("did:plc:bob", &number(1)));
    // As it was when the back-up was made, also what was removed since: which is removed again.
    assert_eq!(
        (ada.matches().await, bob.matches().await),
        (vec!["did:plc:bob".into()], vec!["did:plc:ada".into()])
    );
    let told = run(program()
        .args(["remove", "--actor", "did:plc:bob", "--url", server.url()])
        .env("ACQUAINT_API_KEY", server.api_key()));
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(ada.matches().await.is_empty());
}

#[tokio::test]
async fn a_back_up_taken_under_load_is_whole() {
    let mut server = Server::without_limits();
    server.set("ACQUAINT_IMPORT__DEADLINE_MS", "10");
    server.set("ACQUAINT_POOL__THREADS", "1");
    server.start();
    let numbers =
        |from: usize| (from..from + 500).map(|index| format!("+1212558{index:04}")).collect::<Vec<_>>();
    for person in 0..4 {
        let person = server.person(&format!("did:plc:load{person}"), &number(person));
        person.import(numbers(0)).await.unwrap();
    }
    let mut waited = 0;
    for back_up in 0..3 {
        let file = server.home().join(format!("{back_up}.db"));
        let told = run(program()
            .args(["store", "backup", "--json"])
            .arg(&file)
            .arg("--config")
            .arg(server.config()));
        assert_eq!(told.code, Some(0), "{told:?}");
        let report = json(&told);
        assert_eq!(report["ok"], true);
        // One moment of it: what waits and what is done together is all that was accepted.
        let copy = Connection::open(&file).unwrap();
        let sum = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let left = sum("SELECT coalesce(sum(total - done), 0) FROM imports");
        waited += left;
        assert_eq!(sum("SELECT count(*) FROM imports"), sum("SELECT count(*) FROM import_lists"));
        // What waits is not stored yet, and the rest is: four people with 500 contacts each.
        assert_eq!(sum("SELECT count(*) FROM pairs") + left, 2000);
        assert_eq!(report["rows"]["pairs"], sum("SELECT count(*) FROM pairs"));
    }
    assert!(waited > 0, "no back-up met a running import");
    until("the end of the imports", || {
        let left: i64 =
            server.database().query_row("SELECT count(*) FROM imports", [], |row| row.get(0)).unwrap();
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(server.stop().code(), Some(0));
    // The first back-up, with imports that had not ended: a new start ends them.
    let told = store(&server, "restore", &server.home().join("0.db"));
    assert_eq!(told.code, Some(0), "{told:?}");
    server.start();
    until("the rest of the imports", || {
        let database = server.database();
        let count = |table: &str| -> i64 {
            database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        (count("imports") == 0 && count("pairs") == 2000).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_that_was_removed_before_is_in_a_back_up() {
    let server = with_a_match().await;
    let bob = server.person("did:plc:bob", &number(1));
    // Names: the pseudonym of a removed account stays with its spent limits.
    let names = |sql: &str| -> Vec<Vec<u8>> {
        server
            .database()
            .prepare(sql)
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let both = names("SELECT sealed FROM accounts");
    bob.client.remove_data("did:plc:bob").await.unwrap();
    let left = names("SELECT sealed FROM accounts");
    let gone = both.iter().find(|account| !left.contains(account)).unwrap();
    let file = server.home().join("after.db");
    assert_eq!(store(&server, "backup", &file).code, Some(0));
    let mut search = Search::default();
    search.add(gone.clone(), "the removed account");
    search.add(left[0].clone(), "the other account");
    let bytes = std::fs::read(&file).unwrap();
    let found: Vec<_> = search.find(&bytes).into_iter().map(|(_, name)| name).collect();
    assert!(found.contains(&"the other account") && !found.contains(&"the removed account"), "{found:?}");
}

#[tokio::test]
async fn what_cannot_be_restored_is_refused_and_changes_nothing() {
    let mut server = with_a_match().await;
    let good = server.home().join("good.db");
    assert_eq!(store(&server, "backup", &good).code, Some(0));
    assert_eq!(server.stop().code(), Some(0));
    let bad = server.home().join("bad.db");
    let before = files(&server.data()).into_iter().map(|file| (file.path, file.bytes)).collect::<Vec<_>>();
    let refuse = |words: &[&str]| {
        let told = store(&server, "restore", &bad);
        refused(&told, words);
        let after = files(&server.data()).into_iter().map(|file| (file.path, file.bytes)).collect::<Vec<_>>();
        assert!(after == before, "a refused restore changed the data: {told:?}");
    };
    let bytes = std::fs::read(&good).unwrap();
    refuse(&["bad.db", "No such file"]);
    std::fs::write(&bad, b"").unwrap();
    refuse(&["bad.db holds no data"]);
    std::fs::write(&bad, "no database at all, but long enough to be looked at as one".repeat(100)).unwrap();
    refuse(&["bad.db", "damaged or is no SQLite database"]);
    // Cut off, and with a page overwritten.
    std::fs::write(&bad, &bytes[..bytes.len() - 4096]).unwrap();
    refuse(&["damaged"]);
    let mut torn = bytes.clone();
    let middle = torn.len() / 2 / 4096 * 4096;
    torn[middle..middle + 4096].fill(0x5a);
    std::fs::write(&bad, &torn).unwrap();
    refuse(&["damaged"]);
    // Of another program, and of a newer version of this one.
    let changed = |sql: &str| {
        std::fs::write(&bad, &bytes).unwrap();
        Connection::open(&bad).unwrap().execute_batch(sql).unwrap();
    };
    changed("PRAGMA application_id = 7");
    refuse(&["belongs to another program"]);
    changed("PRAGMA user_version = 4000");
    refuse(&["schema version 4000", "use a newer program"]);
    changed("DROP INDEX pairs_by_expiry");
    refuse(&["`pairs_by_expiry` is missing"]);
    changed(
        "DELETE FROM matches WHERE rowid_is_absent = 1"
            .replace(" WHERE rowid_is_absent = 1", " WHERE account = (SELECT min(account) FROM matches)")
            .as_str(),
    );
    refuse(&["matches without their other side: 1"]);
    // A copy of the files in place of a back-up.
    std::fs::write(&bad, &bytes).unwrap();
    std::fs::write(server.home().join("bad.db-wal"), b"x").unwrap();
    refuse(&["bad.db"]);
    std::fs::remove_file(server.home().join("bad.db-wal")).unwrap();

    // Other keys.
    let keys = server.home().join("keys.json");
    let own = std::fs::read(&keys).unwrap();
    let other = Server::new();
    std::fs::copy(other.home().join("keys.json"), &keys).unwrap();
    std::fs::write(&bad, &bytes).unwrap();
    refuse(&["the key file does not fit the back-up", "nothing was changed", "put the right key file back"]);
    std::fs::remove_file(&keys).unwrap();
    let told = store(&server, "restore", &bad);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("There is no key file"), "{told:?}");
    std::fs::write(&keys, own).unwrap();
    set_private(&keys);
    server.start();
    assert_eq!(server.person("did:plc:ada", &number(0)).matches().await, ["did:plc:bob"]);
}

fn set_private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_restore_goes_over_a_damaged_database_and_into_an_empty_folder() {
    let mut server = with_a_match().await;
    let file = server.home().join("good.db");
    assert_eq!(store(&server, "backup", &file).code, Some(0));
    // Killed, so that a log is there, which is kept with its database.
    server.kill();
    let told = store(&server, "restore", &file);
    assert_eq!(told.code, Some(0), "{told:?}");
    let former = Connection::open(server.data().join("before-restore-1/acquaint.db")).unwrap();
    assert_eq!(former.query_row("SELECT count(*) FROM matches", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    drop(former);

    let database = server.data().join("acquaint.db");
    std::fs::write(&database, vec![0x5a; 40_960]).unwrap();
    let told =
        run(program().args(["store", "restore", "--json"]).arg(&file).arg("--config").arg(server.config()));
    assert_eq!(told.code, Some(0), "{told:?}");
    let report = json(&told);
    assert_eq!((&report["ok"], &report["keys_checked"]), (&true.into(), &true.into()), "{report}");
    let former = std::fs::read(server.data().join("before-restore-2/acquaint.db")).unwrap();
    assert!(former == vec![0x5a; 40_960], "the damaged database was changed");
    server.start();
    assert_eq!(server.person("did:plc:ada", &number(0)).matches().await, ["did:plc:bob"]);
    assert_eq!(server.stop().code(), Some(0));

    std::fs::remove_dir_all(server.data()).unwrap();
    let told = store(&server, "restore", &file);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("There was no database before"), "{told:?}");
    assert_eq!(mode(&server.data()), 0o700);
    server.start();
    assert_eq!(server.person("did:plc:ada", &number(0)).matches().await, ["did:plc:bob"]);
}

#[tokio::test]
async fn a_check_tells_what_is_there_and_what_is_wrong() {
    let mut server = with_a_match().await;
    let told = check(&server);
    assert_eq!(told.code, Some(0), "{told:?}");
    for line in [
        "in use by a server",
        "rows of matches: 2",
        "rows of pairs: 1",
        "free on the disk",
        "Nothing is wrong.",
    ] {
        assert!(told.out.contains(line), "no {line:?} in {told:?}");
    }
    assert_eq!(server.stop().code(), Some(0));
    let listed = |server: &Server| {
        let mut names: Vec<_> =
            files(&server.data()).into_iter().map(|file| (file.path, file.bytes)).collect();
        names.sort();
        names
    };
    let before = listed(&server);
    let report = json(&run(program().args(["store", "check", "--json", "--config"]).arg(server.config())));
    assert_eq!(
        (&report["ok"], &report["in_use"], &report["rows"]["matches"]),
        (&true.into(), &false.into(), &2.into())
    );
    assert!(report["free_bytes"].as_u64().unwrap() > 0);
    assert!(listed(&server) == before, "a check left something behind");

    let database = server.data().join("acquaint.db");
    Connection::open(&database).unwrap().execute_batch("UPDATE matches SET other_expires_at = 7").unwrap();
    let told = check(&server);
    refused(&told, &["something is wrong with the database"]);
    assert!(told.out.contains("WRONG: matches whose two sides tell different ends: 2"), "{told:?}");
    let told = run(program().args(["store", "check", "--json"]).arg(&database));
    refused(&told, &[]);
    assert_eq!(json(&told)["ok"], false);
    std::fs::write(&database, b"x".repeat(9000)).unwrap();
    let told = run(program().args(["store", "check", "--json"]).arg(&database));
    refused(&told, &["damaged", "store restore"]);
    assert!(json(&told)["findings"][0]["advice"].as_str().unwrap().contains("store restore"));
    refused(&run(program().args(["store", "check"]).arg(example("ada.vcf"))), &["no SQLite database"]);
}

#[tokio::test]
async fn a_back_up_that_finds_no_room_or_place_leaves_nothing() {
    let server = with_a_match().await;
    let folder = server.home().join("absent");
    refused(&store(&server, "backup", &folder.join("x.db")), &["cannot write", "absent"]);
    // No file of this process may grow beyond 4 KiB: as a full disk, for this command alone.
    let told = run(std::process::Command::new("sh")
        .env_clear()
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 8; exec \"$@\"")
        .arg("sh")
        .arg(env!("CARGO_BIN_EXE_acquaint"))
        .args(["store", "backup"])
        .arg(server.home().join("full.db"))
        .arg("--config")
        .arg(server.config()));
    refused(&told, &["the copy could not be made"]);
    let left: Vec<_> = files(&server.home())
        .into_iter()
        .filter(|file| file.path.to_str().unwrap().contains("full.db"))
        .map(|file| file.path)
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(check(&server).code, Some(0));
}
