//! Several servers on one PostgreSQL: none of them, nor the database, can take an accepted pair with it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acquaint_client::ClientError;
use acquaint_testkit::postgres::PostgresServer;
use tokio::task::JoinSet;

use crate::custody::{Hsm, made};
use crate::support::{PATIENCE, Person, Random, Server, number, until, written};

const PEOPLE: usize = 10;
/// A permit as leaky buckets weigh it (`limits.level`).
const PERMIT: usize = 86_400_000;

/// Two servers and their database.
struct Site {
    postgres: PostgresServer,
    database: String,
    servers: Vec<Server>,
    /// Whom to ask at each server, as it was started last.
    places: Arc<Vec<Mutex<Person>>>,
}

impl Site {
    fn start() -> Self {
        Self::start_on(Server::without_limits())
    }

    fn start_on(mut first: Server) -> Self {
        let postgres = PostgresServer::start();
        let database = postgres.database(None);
        for (name, value) in [
            ("STORE__KIND", "postgres"),
            ("STORE__POSTGRES", &postgres.connection(&database)),
            ("STORE__POOL_SIZE", "8"),
            ("STORE__POOL_WAIT_S", "2"),
            // No leak, so that the levels tell at the end how many pairs were charged.
            ("IMPORT__ACCOUNT_PAIRS_PER_DAY", "0"),
            ("IMPORT__NUMBER_PAIRS_PER_DAY", "0"),
            ("IMPORT__DEADLINE_MS", "50"),
            ("POOL__THREADS", "1"),
        ] {
            first.set(&format!("ACQUAINT_{name}"), value);
        }
        let mut servers = vec![first.beside(), first];
        servers.iter_mut().for_each(Server::start);
        let places = servers.iter().map(|server| Mutex::new(server.person("", ""))).collect();
        Self { postgres, database, servers, places: Arc::new(places) }
    }

    fn start_again(&mut self, which: usize) {
        self.servers[which].start();
        *self.places[which].lock().unwrap() = self.servers[which].person("", "");
    }

    fn one(&self, sql: &str) -> usize {
        self.postgres.sql(&self.database, sql).parse().unwrap()
    }

    /// Until an import is in its middle, or some time has passed.
    async fn wait_for_work(&self) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1500)
            && self.one("SELECT count(*) FROM imports WHERE done > 0") == 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn finish(&self) {
        until("the end of all imports", || (self.one("SELECT count(*) FROM imports") == 0).then_some(()))
            .await;
    }
}

/// Somebody with an address book.
#[derive(Clone)]
struct Someone {
    did: String,
    phone: String,
    number: usize,
    contacts: BTreeSet<usize>,
    texts: Vec<String>,
}

fn people(random: &mut Random, entries: usize) -> Vec<Someone> {
    let numbers: Vec<usize> = (0..PEOPLE).map(|index| index * 83 + 7).collect();
    let someone = |(index, own): (usize, usize)| {
        let mut book: BTreeSet<usize> = numbers.iter().copied().filter(|_| random.percent(60)).collect();
        while book.len() < entries {
            book.insert(usize::try_from(random.below(1000)).unwrap());
        }
        let mut texts: Vec<String> =
            book.iter().map(|index| written(&number(*index), random.below(8))).collect();
        for last in (1..texts.len()).rev() {
            texts.swap(last, usize::try_from(random.below(last as u64 + 1)).unwrap());
        }
        book.remove(&own);
        Someone {
            did: format!("did:plc:several{index}"),
            phone: number(own),
            number: own,
            contacts: book,
            texts,
        }
    };
    numbers.iter().copied().enumerate().map(someone).collect()
}

/// Tries at one server and the other until the import is accepted. `rough`: servers and database are killed meanwhile, so
/// that a call can fail inside as well.
async fn get_accepted(someone: Someone, places: Arc<Vec<Mutex<Person>>>, first: usize, rough: bool) {
    let began = Instant::now();
    for attempt in first.. {
        assert!(began.elapsed() < PATIENCE, "{}: nobody takes the import", someone.did);
        let mut person = places[attempt % places.len()].lock().unwrap().clone();
        person.did.clone_from(&someone.did);
        person.phone.clone_from(&someone.phone);
        match person.import(someone.texts.clone()).await {
            Ok(_) => return,
            Err(
                ClientError::NotConnected(_) | ClientError::Unreachable(_) | ClientError::Unavailable { .. },
            ) => {}
            Err(error) => assert!(rough, "{error:?}"),
        }
        // What was not answered may have been accepted.
        if matches!(person.client.sync_status(&person.did).await, Ok(Some(_))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn begin_all(site: &Site, people: &[Someone], rough: bool) -> JoinSet<()> {
    let mut calls = JoinSet::new();
    for (index, someone) in people.iter().enumerate() {
        calls.spawn(get_accepted(someone.clone(), Arc::clone(&site.places), index, rough));
    }
    calls
}

async fn all_accepted(mut calls: JoinSet<()>) {
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

/// Two rows for each mutual pair, one half for each other, each charged once, and nothing else.
async fn check(site: &Site, people: &[Someone]) {
    site.finish().await;
    let mutual = |one: &Someone, other: &Someone| {
        one.contacts.contains(&other.number) && other.contacts.contains(&one.number)
    };
    let mut matches = 0;
    let mut halves = 0;
    for (index, someone) in people.iter().enumerate() {
        let expected: Vec<String> =
            people.iter().filter(|other| mutual(someone, other)).map(|other| other.did.clone()).collect();
        for place in site.places.iter() {
            let mut person = place.lock().unwrap().clone();
            person.did.clone_from(&someone.did);
            assert_eq!(person.matches().await, expected, "of {index}");
        }
        matches += expected.len();
        halves += someone.contacts.len() - expected.len();
    }
    assert_eq!(site.one("SELECT count(*) FROM matches"), matches);
    assert_eq!(site.one("SELECT count(*) FROM links") * 2, matches);
    assert_eq!(site.one("SELECT count(*) FROM links WHERE NOT settled"), 0);
    assert_eq!(site.one("SELECT count(*) FROM pairs"), halves);
    assert_eq!(site.one("SELECT count(*) FROM pending_numbers"), 0);
    let mut charged: Vec<usize> = people.iter().map(|someone| someone.contacts.len() * PERMIT).collect();
    charged.sort_unstable();
    for kind in [5, 6] {
        let levels = site
            .postgres
            .sql(&site.database, &format!("SELECT level FROM limits WHERE limit_kind = {kind} ORDER BY 1"));
        let levels: Vec<usize> = levels.lines().map(|level| level.parse().unwrap()).collect();
        assert_eq!(levels, charged, "an entry was charged twice, or not");
    }
    for server in &site.servers {
        let log = server.log();
        assert!(!log.contains("panicked") && !log.contains("internal error"), "{log}");
        assert!(
            !log.contains(&site.postgres.connection(&site.database)),
            "a connection string is in the log"
        );
    }
}

#[tokio::test]
async fn what_a_killed_server_had_accepted_another_finishes() {
    let mut random = Random::new();
    let mut site = Site::start();
    let people = people(&mut random, 900);
    for someone in &people[..2] {
        get_accepted(someone.clone(), Arc::clone(&site.places), 0, false).await;
    }
    site.wait_for_work().await;
    site.servers[0].kill();
    assert!(
        site.one("SELECT count(*) FROM imports WHERE leased_until IS NOT NULL") > 0,
        "it had none in work"
    );
    *site.places[0].lock().unwrap() = site.places[1].lock().unwrap().clone();
    let [first, second, ..] = &people[..] else { unreachable!("there are ten") };
    check(&site, &[first.clone(), second.clone()]).await;
    assert_eq!(site.servers[1].stop().code(), Some(0));
}

#[tokio::test]
async fn a_rolling_restart_loses_nothing() {
    let mut random = Random::new();
    let mut site = Site::start();
    let people = people(&mut random, 400);
    let calls = begin_all(&site, &people, false);
    for which in [0, 1, 0] {
        site.wait_for_work().await;
        assert_eq!(site.servers[which].stop().code(), Some(0));
        // A newer release may have added something meanwhile.
        if which == 1 {
            site.postgres.sql(
                &site.database,
                "ALTER TABLE accounts ADD COLUMN later bigint; UPDATE acquaint_schema SET version = version + 1",
            );
        }
        site.start_again(which);
    }
    all_accepted(calls).await;
    check(&site, &people).await;
    for server in &mut site.servers {
        assert_eq!(server.stop().code(), Some(0));
    }
}

#[tokio::test]
async fn servers_database_and_custody_are_killed_in_turn() {
    let mut random = Random::new();
    let folder = tempfile::tempdir().unwrap();
    let mut hsm = Hsm::new(folder.path());
    made(&hsm);
    hsm.start();
    let mut site = Site::start_on(hsm.behind());
    let people = people(&mut random, 600);
    let calls = begin_all(&site, &people, true);
    let mut met = 0;
    for which in [2, 3, 0, 2, 1, 3] {
        site.wait_for_work().await;
        met += usize::from(site.one("SELECT count(*) FROM imports") > 0);
        tokio::time::sleep(random.millis(100)).await;
        if which == 2 {
            site.postgres.crash();
            tokio::time::sleep(random.millis(1500)).await;
            site.postgres.restart();
        } else if which == 3 {
            hsm.kill();
            tokio::time::sleep(random.millis(1500)).await;
            hsm.start();
        } else {
            site.servers[which].kill();
            tokio::time::sleep(random.millis(300)).await;
            site.start_again(which);
        }
    }
    assert!(met >= 3, "only {met} kills met a running import");
    all_accepted(calls).await;
    check(&site, &people).await;
    for server in &mut site.servers {
        assert_eq!(server.stop().code(), Some(0));
    }
}
