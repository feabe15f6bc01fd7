//! What PostgreSQL's files hold of an account after its removal, and when no more.

use std::fs;
use std::path::Path;

use super::private_server::PostgresServer;
use super::scene::Person;
use super::{Options, PostgresStore};
use crate::{Removal, Store};

/// As the operator's guide recommends, where a crash needs nothing else.
const SETTINGS: &str = "wal_recycle = off\nautovacuum = off\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_account_leaves_the_files() {
    let server = PostgresServer::start_with(SETTINGS);
    let database = server.database(None);
    let store = PostgresStore::open(&Options::new(server.connection(&database))).await.unwrap();
    let (leaver, partner, bystander) = (Person { seed: 1 }, Person { seed: 2 }, Person { seed: 3 });
    // Shared pages: others' rows come before and after.
    for (person, bit) in [(bystander, true), (leaver, true), (partner, false)] {
        let mut halves: Vec<_> = (0..200).map(|contact| person.half(contact, true)).collect();
        halves.extend((300..320).map(|contact| leaver.half(contact, bit)));
        person.import(&store, halves).await;
    }
    store.dismiss(leaver.account(), partner.account(), 1).await.unwrap();
    leaver.accept(&store, 7).await;
    let checkpoint = || {
        server.sql(&database, "SELECT pg_switch_wal()");
        server.sql(&database, "CHECKPOINT");
    };
    checkpoint();
    // Before, the files show who is there; so what is searched for below could be found.
    let all = || files(&server.data());
    for (what, bytes) in leaver.traces() {
        assert!(what == "code" || holds(&all(), &bytes), "{what} is not found while it is there");
    }

    let pending = store.pending_import(leaver.account()).await.unwrap().unwrap();
    let named = Some((pending.id, vec![leaver.number()]));
    let removed = store.remove_data(leaver.account(), named, 2).await.unwrap();
    assert!(matches!(removed, Removal::Removed(removed) if removed.matches == 0 && removed.contacts > 200));
    server.sql(&database, "VACUUM");
    checkpoint();
    let after_vacuum = leaver.traces().iter().filter(|(_, bytes)| holds(&all(), bytes)).count();

    store.rewrite().await.unwrap();
    checkpoint();
    checkpoint();
    for (what, bytes) in leaver.traces() {
        let found: Vec<_> =
            all().into_iter().filter(|(_, file)| contains(file, &bytes)).map(|(path, _)| path).collect();
        assert!(found.is_empty(), "{what} is in {found:?}; after VACUUM {after_vacuum} were left");
    }
    // The others are there as before.
    assert_eq!(server.sql(&database, "SELECT count(*) FROM accounts"), "2");
    assert!(holds(&all(), partner.account().as_bytes()));
}

fn holds(files: &[(String, Vec<u8>)], part: &[u8]) -> bool {
    files.iter().any(|(_, file)| contains(file, part))
}

fn contains(file: &[u8], part: &[u8]) -> bool {
    file.windows(part.len()).any(|window| window == part)
}

/// Every file under a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            files.push((path.display().to_string(), bytes));
        }
    }
    files
}
