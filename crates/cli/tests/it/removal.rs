//! Removal holds from the moment that it is answered, whatever was running, and leaves nothing in the files.

use std::collections::BTreeSet;
use std::time::Duration;

use acquaint_client::Found;
use rusqlite::Connection;

use crate::support::{self, NUMBERS, Person, Random, Search, Server, number, until};

const FRIENDS: usize = 5;
/// The last friend has the one who is removed, but not the other way round.
const MUTUAL: usize = FRIENDS - 1;
/// How far the import has come when it is cut, in pairs; 0 does not wait.
const MOMENTS: [u64; 6] = [0, 1, 33, 250, 600, 1000];

/// Rows that name an account, and so may not outlive its removal.
const NAMING: [&str; 12] = [
    "accounts WHERE account",
    "codes WHERE account",
    "tokens WHERE account",
    "imports WHERE account",
    "pairs WHERE account",
    "matches WHERE account",
    "matches WHERE other",
    "follows WHERE account",
    "follows WHERE other",
    "departures WHERE account",
    "paid WHERE account",
    "proofs WHERE account",
];

struct Scene {
    server: Server,
    /// The one who is removed, with everybody's numbers but the last friend's.
    ada: Person,
    book: Vec<String>,
    pseudonym: Vec<u8>,
    friends: Vec<Person>,
    /// Has other numbers, and imports in between.
    bystander: Person,
}

#[tokio::test]
async fn a_removal_stops_a_running_import_and_leaves_nothing() {
    let mut random = Random::new();
    let mut scene = Scene::new().await;
    // What lay on the disk after each removal, and what must not have.
    let mut snapshots = Vec::new();
    let mut gone: Vec<Vec<u8>> = Vec::new();
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        let token = scene.ada.verify().await.unwrap();
        let (ada, book) = (scene.ada.clone(), scene.book.clone());
        let import = tokio::spawn(async move { ada.client.import(&ada.did, &token, book).await });
        if moment > 0 {
            scene.wait_for_progress(moment).await;
        }
        tokio::time::sleep(random.millis(30)).await;
        gone.extend(scene.rows_of_ada());

        scene.ada.client.remove_data(&scene.ada.did).await.unwrap();
        snapshots.push((format!("removal {round}"), support::files(&scene.server.data())));
        scene.check_absence().await;
        // It ended with the removal, or came too late for its token.
        match import.await.unwrap() {
            Ok(_) => {}
            refused => assert_eq!(support::reason(refused), "INVALID_TOKEN"),
        }
        // The worker may still be at a step.
        tokio::time::sleep(Duration::from_millis(150)).await;
        scene.check_absence().await;
        // What is written next to the gap must not bring it back.
        scene
            .bystander
            .import((0..200).map(|index| other_number(round * 200 + index)).collect())
            .await
            .unwrap();
        scene.wait_for_the_end().await;
        snapshots.push((format!("after removal {round}"), support::files(&scene.server.data())));
        if random.percent(50) {
            scene.server.kill();
        } else {
            assert_eq!(scene.server.stop().code(), Some(0));
        }
        scene.restart();
        scene.check_absence().await;
        snapshots.push((format!("restart {round}"), support::files(&scene.server.data())));
        scene.check_consent().await;
    }

    // The same address book, with the same keys, has the same hashes.
    scene.ada.import(scene.book.clone()).await.unwrap();
    scene.wait_for_the_end().await;
    let theirs = blobs(
        &scene.server.database(),
        "SELECT hash FROM pairs WHERE account <> ?1 UNION SELECT hash FROM matches WHERE account <> ?1",
        &scene.pseudonym,
    );
    let theirs: BTreeSet<_> = theirs.into_iter().collect();
    let hashes =
        blobs(&scene.server.database(), "SELECT hash FROM pairs WHERE account = ?1", &scene.pseudonym);
    assert_eq!(hashes.len(), scene.book.len() - MUTUAL);
    let mut search = Search::default();
    for bytes in gone.into_iter().chain(hashes).filter(|bytes| !theirs.contains(bytes)) {
        let name = format!("{:02x?} of {} bytes", &bytes[..4], bytes.len());
        search.add(bytes, name);
    }
    let there = support::files(&scene.server.data()).iter().any(|file| !search.find(&file.bytes).is_empty());
    assert!(there, "the search itself finds nothing");
    let mut found = Vec::new();
    for (when, files) in &snapshots {
        for file in files {
            let there = search.find(&file.bytes);
            if let Some(first) = there.first() {
                found.push(format!(
                    "{when}: {} pieces in {}, as {first:?}",
                    there.len(),
                    file.path.display()
                ));
            }
        }
    }
    assert!(found.is_empty(), "of what was removed, {}", found.join("; "));
}

/// A number for the bystander: valid, and nobody else's.
fn other_number(index: usize) -> String {
    format!("+1212556{index:04}")
}

impl Scene {
    async fn new() -> Self {
        let mut server = Server::without_limits();
        server.set("ACQUAINT_POOL__THREADS", "1");
        server.start();
        let ada = server.person("did:plc:removed-ada", &number(0));
        let friends: Vec<_> = (0..FRIENDS)
            .map(|index| server.person(&format!("did:plc:friend{index}"), &number(150 + index)))
            .collect();
        let bystander = server.person("did:plc:bystander", &number(999));
        for friend in &friends {
            let mut book: Vec<_> = (300..340).map(number).collect();
            book.push(ada.phone.clone());
            friend.import(book).await.unwrap();
        }
        // A well-filled database: what is removed stands between what stays.
        for thousand in 0..4 {
            bystander
                .import((0..1000).map(|index| other_number(3000 + thousand * 1000 + index)).collect())
                .await
                .unwrap();
        }
        let last_friend = friends[MUTUAL].phone.clone();
        let book = (1..NUMBERS).map(number).filter(|number| *number != last_friend).collect();
        let known = blobs(&server.database(), "SELECT account FROM accounts WHERE ?1 = ?1", b"");
        ada.verify().await.unwrap();
        let pseudonym = blobs(&server.database(), "SELECT account FROM accounts WHERE ?1 = ?1", b"")
            .into_iter()
            .find(|account| !known.contains(account))
            .unwrap();
        Self { server, ada, book, pseudonym, friends, bystander }
    }

    fn restart(&mut self) {
        self.server.start();
        let client = self.server.client();
        for person in self.friends.iter_mut().chain([&mut self.ada, &mut self.bystander]) {
            person.client = client.clone();
        }
    }

    async fn wait_for_progress(&self, pairs: u64) {
        until("progress of the import", || {
            let sql = "SELECT max(done) FROM imports WHERE account = ?1";
            let done: Option<i64> =
                self.server.database().query_row(sql, [&self.pseudonym], |row| row.get(0)).unwrap();
            let halves = "SELECT (SELECT count(*) FROM pairs WHERE account = ?1)";
            let halves: i64 =
                self.server.database().query_row(halves, [&self.pseudonym], |row| row.get(0)).unwrap();
            // It may be over before anybody looks.
            (done.is_some_and(|done| done as u64 >= pairs) || done.is_none() && halves > 900).then_some(())
        })
        .await;
    }

    async fn wait_for_the_end(&self) {
        let count = || -> i64 {
            self.server.database().query_row("SELECT count(*) FROM imports", [], |row| row.get(0)).unwrap()
        };
        until("the end of all imports", || (count() == 0).then_some(())).await;
    }

    /// Everything stored that is the removed person's alone.
    fn rows_of_ada(&self) -> Vec<Vec<u8>> {
        let database = self.server.database();
        let queries = [
            "SELECT sealed FROM accounts WHERE account = ?1",
            "SELECT token FROM tokens WHERE account = ?1",
            "SELECT id FROM imports WHERE account = ?1",
            "SELECT sealed FROM imports JOIN import_lists USING (id) WHERE account = ?1",
            "SELECT hash FROM pairs WHERE account = ?1",
        ];
        let rows = queries.into_iter().flat_map(|sql| blobs(&database, sql, &self.pseudonym));
        // A long list spills over several pages: each holds a part.
        rows.flat_map(|row| {
            row.chunks(1000)
                .filter(|part| part.len() >= 16)
                .map(|part| part[..part.len().min(64)].to_vec())
                .collect::<Vec<_>>()
        })
        .collect()
    }

    /// Nothing is told of the removed person, and no row names them.
    async fn check_absence(&self) {
        assert_eq!(self.ada.client.sync_status(&self.ada.did).await.unwrap(), None);
        assert!(self.ada.matches().await.is_empty());
        for friend in &self.friends {
            assert!(friend.matches().await.is_empty(), "{} still sees the removed person", friend.did);
        }
        let database = self.server.database();
        for place in NAMING {
            let sql = format!("SELECT count(*) FROM {place} = ?1");
            let rows: i64 = database.query_row(&sql, [&self.pseudonym], |row| row.get(0)).unwrap();
            assert_eq!(rows, 0, "{place}");
        }
        for table in ["imports", "import_lists", "pending_numbers"] {
            let rows: i64 =
                database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 0, "{table}");
        }
        // The friends' own halves stand.
        let halves = "SELECT count(*) FROM pairs WHERE account IN (SELECT account FROM pairs GROUP BY account HAVING count(*) = 41)";
        let halves: i64 = database.query_row(halves, [], |row| row.get(0)).unwrap();
        assert_eq!(halves, 41 * FRIENDS as i64);
    }

    /// The friends still have the removed person in their address books, so it takes only one side to be found again.
    async fn check_consent(&self) {
        let mutual: Vec<_> = self.friends[..MUTUAL].iter().map(|friend| friend.phone.clone()).collect();
        let found = self.ada.import(mutual).await.unwrap();
        let expected = self.friends[..MUTUAL].iter().enumerate();
        let expected: Vec<_> = expected
            .map(|(input_index, friend)| Found { input_index, subject: friend.did.clone() })
            .collect();
        assert_eq!(found, expected);
        for (index, friend) in self.friends.iter().enumerate() {
            let expected: &[&str] = if index < MUTUAL { &[&self.ada.did] } else { &[] };
            assert_eq!(friend.matches().await, expected);
        }
    }
}

fn blobs(database: &Connection, sql: &str, key: &[u8]) -> Vec<Vec<u8>> {
    let mut statement = database.prepare(sql).unwrap();
    statement.query_map([key], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
