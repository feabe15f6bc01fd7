//! Hundreds of imports at once, over lists that cross, on several servers, with removals and sweeps in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use acquaint_protocol::pair::{EpochId, PairHash};

use super::private_server::PostgresServer;
use super::scene::{FAR, Person};
use super::tests::{fresh, options};
use super::{Options, PostgresStore};
use crate::{Half, ImportId, LeasedImport, NewImport, Removal, StepOutcome, Store};

const PEOPLE: u64 = 300;
/// With how many others each is mutual: those who stand next to it in a ring.
const REACH: u64 = 20;
const STEP: usize = 13;

fn person(who: u64) -> Person {
    Person { seed: 50_000 + who }
}

/// Every seventh leaves in the middle.
const fn leaves(who: u64) -> bool {
    who.is_multiple_of(7)
}

fn half(who: u64, other: u64) -> Half {
    let (low, high) = (who.min(other), who.max(other));
    let mut hash = [0; 32];
    // Spread, so that the order of the hashes is not that of the people.
    hash[..8].copy_from_slice(&(low * PEOPLE + high).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    hash[8..16].copy_from_slice(&low.to_be_bytes());
    hash[16..24].copy_from_slice(&high.to_be_bytes());
    Half { hashes: vec![(EpochId::new(1), PairHash::from_bytes(hash))], bit: who < other }
}

/// Everybody's list begins elsewhere, and every other runs the other way.
fn list(who: u64) -> Vec<Half> {
    let mut others: Vec<u64> =
        (1..=REACH / 2).flat_map(|step| [(who + step) % PEOPLE, (who + PEOPLE - step) % PEOPLE]).collect();
    let turn = usize::try_from(who).unwrap() % others.len();
    others.rotate_left(turn);
    if who.is_multiple_of(2) {
        others.reverse();
    }
    others.into_iter().map(|other| half(who, other)).collect()
}

/// One import, from its lease to its end; who leaves does so beside the second step.
async fn work(store: Arc<PostgresStore>, leased: LeasedImport, import: NewImport, who: u64) -> u64 {
    let mut found = 0;
    let mut done = 0;
    for halves in list(who).chunks(STEP) {
        let step = person(who).next_step(&leased, done, halves.to_vec());
        let stepping = store.match_or_insert(step, 1);
        let outcome = if leaves(who) && done > 0 {
            futures::join!(stepping, leave(&store, who, Some(import.id))).0
        } else {
            stepping.await
        };
        match outcome.unwrap() {
            StepOutcome::Committed(outcomes) => {
                found += outcomes.iter().map(|outcome| outcome.matched.len() as u64).sum::<u64>();
            }
            StepOutcome::Fenced | StepOutcome::Stale => {
                assert!(leaves(who), "nobody else has the lease");
                return found;
            }
        }
        done += u32::try_from(halves.len()).unwrap();
    }
    found
}

async fn leave(store: &PostgresStore, who: u64, mut pending: Option<ImportId>) {
    loop {
        let named = pending.map(|id| (id, vec![person(who).number()]));
        match store.remove_data(person(who).account(), named, 1).await.unwrap() {
            Removal::Removed(_) => return,
            Removal::OtherPending => {
                pending = store.pending_import(person(who).account()).await.unwrap().map(|import| import.id);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_imports_cross_without_a_deadlock() {
    let (database, first) = fresh().await;
    let server = PostgresServer::shared();
    let wide = Options { pool_size: 40, wait: std::time::Duration::from_secs(120), ..options(&database) };
    drop(first);
    let stores = [
        Arc::new(PostgresStore::open(&wide).await.unwrap()),
        Arc::new(PostgresStore::open(&wide).await.unwrap()),
    ];
    let store = |who: u64| Arc::clone(&stores[usize::from(who.is_multiple_of(3))]);
    let accepted: Vec<NewImport> = futures::future::join_all((0..PEOPLE).map(async |who| {
        person(who).accept(store(who).as_ref(), u32::try_from(list(who).len()).unwrap()).await
    }))
    .await;
    let whose = |id: ImportId| accepted.iter().position(|import| import.id == id).unwrap();

    // Leased all at once, by two servers: each import goes to one of them.
    let leases = (0..PEOPLE).map(async |who| store(who).next_import(1, FAR).await.unwrap().unwrap());
    let leased = futures::future::join_all(leases).await;
    let distinct: BTreeSet<usize> = leased.iter().map(|import| whose(import.id)).collect();
    assert_eq!(distinct.len(), accepted.len());

    let over = Arc::new(AtomicBool::new(false));
    let others =
        tokio::spawn(bystand(PostgresStore::open(&options(&database)).await.unwrap(), Arc::clone(&over)));
    let works: Vec<_> = leased
        .into_iter()
        .map(|leased| {
            let place = whose(leased.id);
            let who = u64::try_from(place).unwrap();
            tokio::spawn(work(store(who), leased, accepted[place].clone(), who))
        })
        .collect();
    let found = AtomicU64::new(0);
    for work in works {
        found.fetch_add(work.await.unwrap(), Ordering::Relaxed);
    }
    over.store(true, Ordering::Relaxed);
    others.await.unwrap();

    // Among those who stayed, every mutual pair is matched once, and seen by both.
    let stayed: Vec<u64> = (0..PEOPLE).filter(|who| !leaves(*who)).collect();
    let mut mutual = 0;
    for who in &stayed {
        let near = (1..=REACH / 2).flat_map(|step| [(who + step) % PEOPLE, (who + PEOPLE - step) % PEOPLE]);
        let expected: BTreeSet<_> =
            near.filter(|other| !leaves(*other)).map(|other| person(other).account()).collect();
        let account = person(*who).account();
        let listed: BTreeSet<_> = stores[0]
            .matches(account, None, 1000, 2)
            .await
            .unwrap()
            .into_iter()
            .map(|found| found.position.other)
            .collect();
        assert!(listed == expected, "account {who}: {} of {}", listed.len(), expected.len());
        mutual += expected.len();
    }
    assert!(found.load(Ordering::Relaxed) >= u64::try_from(mutual / 2).unwrap());
    // The two sides hold the same, nothing is unsettled, no matched half stands, and nothing names who left.
    let sql = |text: &str| server.sql(&database, text);
    assert_eq!(
        sql("SELECT count(*), count(*) FILTER (WHERE settled) FROM links"),
        format!("{0}|{0}", mutual / 2)
    );
    assert_eq!(sql("SELECT count(*) FROM matches"), mutual.to_string());
    assert_eq!(sql("SELECT count(*) FROM pairs JOIN links USING (hash, epoch)"), "0");
    let named = "SELECT count(*) FROM (SELECT account FROM pairs UNION ALL SELECT account FROM matches
         UNION ALL SELECT other FROM matches UNION ALL SELECT account FROM notices UNION ALL SELECT other FROM notices
         UNION ALL SELECT account FROM imports UNION ALL SELECT account FROM tokens) AS named
         WHERE account NOT IN (SELECT account FROM accounts)";
    assert_eq!(sql(named), "0");
    assert_eq!(sql("SELECT count(*) FROM imports"), "0");

    // A session's count of deadlocks is seen at its end at the latest.
    drop(stores);
    server.sql(
        "postgres",
        &format!(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{database}'"
        ),
    );
    let deadlocks = server
        .sql("postgres", &format!("SELECT deadlocks FROM pg_stat_database WHERE datname = '{database}'"));
    assert_eq!(deadlocks, "0");
    assert!(!server.log().contains("deadlock detected"), "{}", server.log());
}

/// What other servers do meanwhile.
async fn bystand(store: PostgresStore, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        store.sweep(100, 1).await.unwrap();
        for notice in store.lease_notices(50, 1, 2).await.unwrap() {
            store.cancel_notices(notice.id.other, vec![notice.id.account]).await.unwrap();
        }
        store.revive_notices(1).await.unwrap();
        store.waiting_pairs().await.unwrap();
    }
}
