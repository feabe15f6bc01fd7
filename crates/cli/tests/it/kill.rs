//! Nothing that was accepted is lost or done twice, whenever the process dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use acquaint_client::{ClientError, Found, Reason};
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::support::{NUMBERS, PATIENCE, Person, Random, Server, number, until, written};

const PEOPLE: usize = 12;
const KILLS: usize = 12;
/// A permit as leaky buckets weigh it (`limits.level`).
const PERMIT: i64 = 86_400_000;

/// Which numbers are in an address book, and how its owner wrote them.
#[derive(Clone, Default)]
struct Book {
    texts: Vec<String>,
    numbers: BTreeSet<usize>,
}

/// Someone with two address books, to be imported one after the other.
struct Someone {
    person: Person,
    number: usize,
    pseudonym: Vec<u8>,
    books: [Book; 2],
    /// How many of them the server has accepted for certain.
    accepted: usize,
    /// When it said that it had, in seconds.
    synced_at: Option<i64>,
}

impl Someone {
    /// Everybody whose number is in a book, less oneself.
    fn contacts(&self) -> BTreeSet<usize> {
        let [first, second] = &self.books;
        first.numbers.union(&second.numbers).copied().collect()
    }
}

#[derive(Debug)]
enum Outcome {
    Accepted(Vec<Found>),
    /// Another import of the same person still runs.
    Pending,
    /// The server died.
    Unknown,
}

#[tokio::test]
async fn accepted_imports_survive_any_kill() {
    let mut random = Random::new();
    let mut server = Server::without_limits();
    // No leak, so that the levels tell at the end how many pairs were charged.
    server.set("ACQUAINT_IMPORT__ACCOUNT_PAIRS_PER_DAY", "0");
    server.set("ACQUAINT_IMPORT__NUMBER_PAIRS_PER_DAY", "0");
    server.set("ACQUAINT_POOL__THREADS", "1");
    server.start();
    let mut people = meet(&server, &mut random).await;
    server.kill();

    let mut cut_short = 0;
    for kill in 0..KILLS {
        server.set("ACQUAINT_IMPORT__DEADLINE_MS", if random.percent(50) { "30" } else { "8000" });
        server.start();
        ask_what_was_accepted(&server, &mut people).await;
        check_matches_so_far(&people).await;
        let mut calls = JoinSet::new();
        for (index, someone) in people.iter().enumerate() {
            // All of the first books at some time, and then the second ones.
            let is_due = someone.accepted * KILLS / 2 <= kill;
            if someone.accepted < 2 && is_due && random.percent(35) {
                let (person, texts) = (someone.person.clone(), someone.books[someone.accepted].texts.clone());
                calls.spawn(async move { (index, import(&person, texts).await) });
            }
        }
        if random.percent(70) {
            wait_for_work(&server, random.below(300)).await;
        }
        tokio::time::sleep(random.millis(120)).await;
        server.kill();
        cut_short += u32::from(count(&server.remains().database, "imports") > 0);
        while let Some(called) = calls.join_next().await {
            let (index, outcome) = called.unwrap();
            note(&mut people[index], &outcome);
        }
    }
    assert!(cut_short >= 3, "only {cut_short} kills met a running import");

    server.start();
    finish(&server, &mut people).await;
    check_matches(&people).await;
    assert_eq!(server.stop().code(), Some(0));
    check_database(&server.remains().database, &people);
}

/// Everybody verifies once, which shows under which pseudonym.
async fn meet(server: &Server, random: &mut Random) -> Vec<Someone> {
    let mut people: Vec<Someone> = Vec::new();
    for index in 0..PEOPLE {
        let number_index = index * 83 + 7;
        let person = server.person(&format!("did:plc:kill{index}"), &number(number_index));
        person.verify().await.unwrap();
        let known: BTreeSet<_> = people.iter().map(|someone| someone.pseudonym.clone()).collect();
        let pseudonym = blobs(&server.database(), "SELECT account FROM accounts")
            .into_iter()
            .find(|it| !known.contains(it));
        people.push(Someone {
            person,
            number: number_index,
            pseudonym: pseudonym.unwrap(),
            books: Default::default(),
            accepted: 0,
            synced_at: None,
        });
    }
    let everybody: Vec<usize> = people.iter().map(|someone| someone.number).collect();
    for someone in &mut people {
        for (book, size) in [(0, 600), (1, 350)] {
            someone.books[book] = address_book(someone.number, &everybody, size, random);
        }
    }
    people
}

/// About half of the people, and others; some of them twice, and some that are no numbers.
fn address_book(own: usize, everybody: &[usize], size: usize, random: &mut Random) -> Book {
    let mut wanted: Vec<usize> = everybody.iter().copied().filter(|_| random.percent(45)).collect();
    while wanted.len() < size {
        wanted.push(usize::try_from(random.below(NUMBERS as u64)).unwrap());
    }
    for last in (1..wanted.len()).rev() {
        wanted.swap(last, usize::try_from(random.below(last as u64 + 1)).unwrap());
    }
    let mut book = Book::default();
    for index in wanted {
        book.texts.push(written(&number(index), random.below(8)));
        if index != own {
            book.numbers.insert(index);
        }
        if random.percent(3) {
            book.texts.push(
                ["311", "", "someone@example.com", "+1 555", "\u{1F4DE}"]
                    [usize::try_from(random.below(5)).unwrap()]
                .into(),
            );
        }
    }
    book
}

async fn import(person: &Person, texts: Vec<String>) -> Outcome {
    let outcome = match person.verify().await {
        Ok(token) => person.client.import(&person.did, &token, texts).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(found) => Outcome::Accepted(found),
        Err(ClientError::Refused { reason: Reason::RateLimitExceeded, message, .. })
            if message.contains("still running") =>
        {
            Outcome::Pending
        }
        Err(ClientError::NotConnected(_) | ClientError::Unreachable(_) | ClientError::Unavailable { .. }) => {
            Outcome::Unknown
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn note(someone: &mut Someone, outcome: &Outcome) {
    if let Outcome::Accepted(_) = outcome {
        someone.accepted += 1;
        // To be learnt from the next answer.
        someone.synced_at = None;
    }
}

/// Lets the worker come as far as `pairs` pairs into some import, or to the end of all.
async fn wait_for_work(server: &Server, pairs: u64) {
    let done = |database: &Connection| -> Option<i64> {
        database.query_row("SELECT max(done) FROM imports", [], |row| row.get(0)).unwrap()
    };
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        if done(&server.database()).is_some_and(|done| u64::try_from(done).unwrap() >= pairs) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// After a start: what was answered is still so, and what was not answered may have been accepted.
async fn ask_what_was_accepted(server: &Server, people: &mut [Someone]) {
    let client = server.client();
    for someone in people {
        someone.person.client = client.clone();
        let status = client.sync_status(&someone.person.did).await.unwrap();
        let synced_at = status.map(|status| status.synced_at);
        if someone.accepted == 0 && synced_at.is_some() {
            someone.accepted = 1;
        }
        assert_eq!(someone.accepted > 0, synced_at.is_some(), "an accepted import is forgotten");
        assert!(synced_at >= someone.synced_at, "time went back");
        // A second import within the same second is not seen here: it is repeated, and changes nothing.
        if someone.accepted == 1 && someone.synced_at.is_some() && synced_at > someone.synced_at {
            someone.accepted = 2;
        }
        someone.synced_at = synced_at;
    }
}

/// Imports what is left, and waits until the server has worked through all of it.
async fn finish(server: &Server, people: &mut [Someone]) {
    ask_what_was_accepted(server, people).await;
    let began = Instant::now();
    while let Some(index) = people.iter().position(|someone| someone.accepted < 2) {
        let (person, texts) =
            (people[index].person.clone(), people[index].books[people[index].accepted].texts.clone());
        let outcome = import(&person, texts.clone()).await;
        match &outcome {
            Outcome::Accepted(found) => check_answer(people, &texts, found),
            Outcome::Pending => tokio::time::sleep(Duration::from_millis(50)).await,
            Outcome::Unknown => panic!("the server is gone"),
        }
        note(&mut people[index], &outcome);
        assert!(began.elapsed() < PATIENCE, "an import runs without end");
    }
    until("the end of all imports", || (count(&server.database(), "imports") == 0).then_some(())).await;
}

/// What an import tells at once is where it stood in the list.
fn check_answer(people: &[Someone], texts: &[String], found: &[Found]) {
    for found in found {
        let subject = people.iter().find(|someone| someone.person.did == found.subject).unwrap();
        let digits: String = texts[found.input_index].chars().filter(char::is_ascii_digit).collect();
        assert_eq!(format!("+{digits}"), subject.person.phone);
    }
}

/// Who has whom, both ways: index to indexes.
fn mutual(people: &[Someone]) -> BTreeMap<usize, BTreeSet<usize>> {
    let contacts: Vec<_> = people.iter().map(Someone::contacts).collect();
    let has = |one: usize, other: usize| contacts[one].contains(&people[other].number);
    (0..people.len())
        .map(|one| (one, (0..people.len()).filter(|&other| has(one, other) && has(other, one)).collect()))
        .collect()
}

fn expected_matches(people: &[Someone]) -> Vec<Vec<String>> {
    let names = |others: &BTreeSet<usize>| {
        let mut names: Vec<_> = others.iter().map(|&other| people[other].person.did.clone()).collect();
        names.sort();
        names
    };
    mutual(people).values().map(names).collect()
}

async fn check_matches_so_far(people: &[Someone]) {
    for (someone, expected) in people.iter().zip(expected_matches(people)) {
        let matches = someone.person.matches().await;
        assert!(
            matches.iter().all(|other| expected.contains(other)),
            "{matches:?} is not all in {expected:?}"
        );
    }
}

async fn check_matches(people: &[Someone]) {
    for (someone, expected) in people.iter().zip(expected_matches(people)) {
        assert_eq!(someone.person.matches().await, expected);
        let status = someone.person.client.sync_status(&someone.person.did).await.unwrap().unwrap();
        assert_eq!(status.matches as usize, expected.len());
    }
}

/// Two rows for each mutual pair, one half for each other, each charged once, and nothing else.
fn check_database(database: &Connection, people: &[Someone]) {
    for table in ["imports", "import_lists", "pending_numbers", "codes", "dismissals"] {
        assert_eq!(count(database, table), 0, "{table}");
    }
    assert_eq!(count(database, "accounts"), PEOPLE as i64);
    let mutual = mutual(people);
    let all_matches: usize = mutual.values().map(BTreeSet::len).sum();
    assert_eq!(count(database, "matches"), all_matches as i64);
    let paired = "SELECT count(*) FROM matches AS mine JOIN matches AS theirs
                  ON theirs.epoch = mine.epoch AND theirs.hash = mine.hash
                  AND theirs.account = mine.other AND theirs.other = mine.account AND theirs.bit <> mine.bit
                  AND theirs.expires_at = mine.other_expires_at";
    assert_eq!(one(database, paired, []), all_matches as i64);
    let hashes = "SELECT count(*) FROM (SELECT DISTINCT epoch, hash FROM matches)";
    assert_eq!(one(database, hashes, []), all_matches as i64 / 2);
    let both = "SELECT count(*) FROM pairs JOIN matches USING (epoch, hash)";
    assert_eq!(one(database, both, []), 0, "a half stands beside its match");
    let mut all_halves = 0;
    for (index, someone) in people.iter().enumerate() {
        for (other, stranger) in people.iter().enumerate() {
            let rows = "SELECT count(*) FROM matches WHERE account = ?1 AND other = ?2";
            let rows = one(database, rows, [&someone.pseudonym, &stranger.pseudonym]);
            assert_eq!(rows, i64::from(mutual[&index].contains(&other)), "{index} and {other}");
        }
        let distinct = someone.contacts().len();
        let halves = distinct - mutual[&index].len();
        assert_eq!(
            one(database, "SELECT count(*) FROM pairs WHERE account = ?1", [&someone.pseudonym]),
            halves as i64
        );
        all_halves += halves;
        let level = "SELECT level FROM limits WHERE limit_kind = 5 AND key = ?1";
        assert_eq!(
            one(database, level, [&someone.pseudonym]),
            distinct as i64 * PERMIT,
            "an entry was charged twice, or not"
        );
    }
    assert_eq!(count(database, "pairs"), all_halves as i64);
    let mut expected: Vec<i64> =
        people.iter().map(|someone| someone.contacts().len() as i64 * PERMIT).collect();
    expected.sort_unstable();
    let mut numbers =
        database.prepare("SELECT level FROM limits WHERE limit_kind = 6 ORDER BY level").unwrap();
    let numbers: Vec<i64> = numbers.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(numbers, expected);
    assert_eq!(
        database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(),
        "ok"
    );
}

fn count(database: &Connection, table: &str) -> i64 {
    one(database, &format!("SELECT count(*) FROM {table}"), [])
}

fn one(database: &Connection, sql: &str, params: impl rusqlite::Params) -> i64 {
    database.query_row(sql, params, |row| row.get(0)).unwrap()
}

fn blobs(database: &Connection, sql: &str) -> Vec<Vec<u8>> {
    let mut statement = database.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
