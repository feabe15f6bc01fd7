//! The database is killed, stopped, full, or short of connections.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::private_server::PostgresServer;
use super::scene::{FAR, Person};
use super::tests::{fresh, options};
use super::{DatabaseError, Options, PostgresStore};
use crate::{
    CodeGuess, Half, ImportStep, LeasedImport, Millis, NewCode, StepOutcome, Store, StoreError, TokenUse,
};

const IMPORTS: u64 = 6;
const STEPS: u32 = 40;
const STEP: u32 = 25;

/// The whole chain of an error, as a log would have it, and as a debugger would.
fn told(error: &StoreError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error} {error:?}");
        source = error.source();
    }
    text
}

fn class(error: &StoreError) -> &DatabaseError {
    error.source().and_then(|source| source.downcast_ref()).unwrap_or_else(|| panic!("{error:?}"))
}

fn halves(person: Person, done: u32) -> Vec<Half> {
    (done..done + STEP).map(|contact| person.half(u64::from(contact), true)).collect()
}

/// Steps until the end or an error; how far it was told to be.
async fn work(
    store: Arc<PostgresStore>,
    person: Person,
    leased: LeasedImport,
    now: Millis,
    acknowledged: Arc<AtomicU32>,
    committed: Arc<AtomicU32>,
) -> Result<(), StoreError> {
    let mut done = leased.done;
    acknowledged.store(done, Ordering::SeqCst);
    while done < STEPS * STEP {
        // The lease is over when the next round begins.
        let step =
            ImportStep { lease_until: now + 1, ..person.next_step(&leased, done, halves(person, done)) };
        let StepOutcome::Committed(_) = store.match_or_insert(step, now).await? else {
            unreachable!("nobody else has the lease")
        };
        done += STEP;
        acknowledged.store(done, Ordering::SeqCst);
        committed.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_loses_and_doubles_nothing() {
    let server = Arc::new(PostgresServer::start());
    let database = server.database(None);
    let open = Options { pool_size: 8, ..Options::new(server.connection(&database)) };
    let store = Arc::new(PostgresStore::open(&open).await.unwrap());
    let people: Vec<Person> = (0..IMPORTS).map(|seed| Person { seed: 900 + seed }).collect();
    for person in &people {
        person.accept(store.as_ref(), STEPS * STEP).await;
    }
    let acknowledged: Vec<Arc<AtomicU32>> = people.iter().map(|_| Arc::default()).collect();
    let whose = |leased: &LeasedImport| people.iter().position(|p| p.account() == leased.account).unwrap();

    let mut broken = 0;
    // Each round leases what is left, and is cut off when it has got somewhere.
    for round in 0_i64.. {
        let committed = Arc::new(AtomicU32::new(0));
        let mut works = Vec::new();
        let now = 1 + round;
        while let Some(leased) = store.next_import(now, now + 1).await.unwrap() {
            let place = whose(&leased);
            // What was acknowledged is there.
            assert!(leased.done >= acknowledged[place].load(Ordering::SeqCst));
            let told = Arc::clone(&acknowledged[place]);
            let committed = Arc::clone(&committed);
            let store = Arc::clone(&store);
            let person = people[place];
            works.push(tokio::spawn(work(store, person, leased, now, told, committed)));
        }
        if works.is_empty() {
            break;
        }
        if round < 3 {
            let server = Arc::clone(&server);
            let until = 10 * (u32::try_from(round).unwrap() + 1);
            while committed.load(Ordering::SeqCst) < until {
                tokio::task::yield_now().await;
            }
            // Killed, stopped by its operator, killed.
            let end = move || if round == 1 { server.stop() } else { server.crash() };
            tokio::task::spawn_blocking(end).await.unwrap();
        }
        for work in works {
            if let Err(error) = work.await.unwrap() {
                broken += 1;
                let text = told(&error);
                assert!(
                    matches!(
                        class(&error),
                        DatabaseError::Lost
                            | DatabaseError::Unknown
                            | DatabaseError::Unreachable { .. }
                            | DatabaseError::Refused { .. }
                    ),
                    "{text}"
                );
                assert!(text.contains("the database"), "{text}");
            }
        }
        if round < 3 {
            let error = store.ping().await.unwrap_err();
            assert!(told(&error).contains("no connection to the database: it"), "{}", told(&error));
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || server.restart()).await.unwrap();
            store.ping().await.unwrap();
        }
    }
    assert!(broken > 0, "the database was killed in the middle of the work");
    let all = u64::from(STEPS * STEP) * IMPORTS;
    assert_eq!(server.sql(&database, "SELECT count(*) FROM pairs"), all.to_string());
    assert_eq!(store.waiting_pairs().await.unwrap(), 0);
    for person in &people {
        let removed = store.remove_data(person.account(), None, 2).await.unwrap();
        let crate::Removal::Removed(removed) = removed else { unreachable!("nothing is pending") };
        assert_eq!(removed.contacts, STEPS * STEP);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_cut_off_are_made_again() {
    let (database, store) = fresh().await;
    let server = PostgresServer::shared();
    let person = Person { seed: 700 };
    person.accept(&store, 10).await;
    for _ in 0..5 {
        server.sql(
            "postgres",
            &format!(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{database}'"
            ),
        );
        assert_eq!(store.waiting_pairs().await.unwrap(), 10);
        store.levels(vec![], 0).await.unwrap();
    }
    let leased = store.next_import(1, FAR).await.unwrap().unwrap();
    Person::step(&store, &leased, 0, (0..10).map(|contact| person.half(contact, true)).collect(), 1).await;
    assert_eq!(server.sql(&database, "SELECT count(*) FROM pairs"), "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_cut_off_is_done_again() {
    let (database, store) = fresh().await;
    let store = Arc::new(store);
    let server = PostgresServer::shared();
    let person = Person { seed: 701 };
    person.accept(store.as_ref(), 10).await;
    let leased = store.next_import(1, FAR).await.unwrap().unwrap();
    // Somebody else holds a place that the step needs.
    let blocker = store.connections.begin().await.unwrap();
    let other = Person { seed: 702 };
    let held = person.half(3, true).hashes[0];
    blocker
        .execute(
            "INSERT INTO pairs VALUES (0, 1, 1, false, $1, $2)",
            &[&held.1.as_bytes().as_slice(), &other.account().as_bytes().as_slice()],
        )
        .await
        .unwrap();
    let stepping = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let halves = (0..10).map(|contact| person.half(contact, true)).collect();
            Person::step(store.as_ref(), &leased, 0, halves, 1).await
        })
    };
    let waiting = format!(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
         WHERE datname = '{database}' AND wait_event_type = 'Lock'"
    );
    while server.sql("postgres", &waiting) != "t" {
        tokio::task::yield_now().await;
    }
    blocker.undo();
    blocker.end(Ok(())).await.unwrap();
    assert_eq!(stepping.await.unwrap().len(), 10);
    assert_eq!(server.sql(&database, "SELECT count(*) FROM pairs"), "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_nothing_free_says_so() {
    let (database, store) = fresh().await;
    drop(store);
    let small = Options { pool_size: 2, wait: Duration::from_millis(50), ..options(&database) };
    let store = PostgresStore::open(&small).await.unwrap();
    let held = (store.connections.lend().await.unwrap(), store.connections.begin().await.unwrap());
    let error = store.waiting_pairs().await.unwrap_err();
    assert_eq!(class(&error), &DatabaseError::PoolExhausted { waited: Duration::from_millis(50), size: 2 });
    drop(held);
    assert_eq!(store.waiting_pairs().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_in_the_middle_is_undone() {
    let (database, store) = fresh().await;
    let server = PostgresServer::shared();
    let unit = store.connections.begin().await.unwrap();
    unit.execute("DELETE FROM gates", &[]).await.unwrap();
    drop(unit);
    // Waits for the lock that the dropped transaction may still hold, but not until an idle one is ended.
    let update = "SET lock_timeout = '30s'; UPDATE gates SET name = name RETURNING name";
    assert_eq!(server.sql(&database, update), "accept");
    store.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_passes() {
    let (database, store) = fresh().await;
    let server = PostgresServer::shared();
    let person = Person { seed: 703 };
    person.accept(&store, 2).await;
    let leased = store.next_import(1, FAR).await.unwrap().unwrap();
    server.sql(
        &database,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE EXCEPTION 'no space for %', encode(NEW.account, 'hex')
             USING ERRCODE = '53100', DETAIL = encode(NEW.hash, 'hex');
         END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON pairs FOR EACH ROW EXECUTE FUNCTION full_disk()",
    );
    let halves = || vec![person.half(0, true), person.half(1, true)];
    let error = store.match_or_insert(person.next_step(&leased, 0, halves()), 1).await.unwrap_err();
    assert!(told(&error).contains("its disk is full (SQLSTATE 53100)"), "{}", told(&error));
    server.sql(&database, "DROP TRIGGER full_disk ON pairs");
    Person::step(&store, &leased, 0, halves(), 1).await;
    assert_eq!(server.sql(&database, "SELECT count(*) FROM pairs"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_hold_nothing_of_a_row() {
    let (database, store) = fresh().await;
    let server = PostgresServer::shared();
    let person = Person { seed: 704 };
    person.verify(&store).await;
    // The same token again: PostgreSQL's detail says which key is there already.
    let token = store.live_tokens(person.account(), TokenUse::Matching, 1).await.unwrap()[0].token;
    store.put_code(NewCode { too_recent_after: FAR, ..person.code() }, 1).await.unwrap();
    let error = store.take_code(CodeGuess { token, ..person.guess() }, 1).await.unwrap_err();
    assert!(server.log().contains("duplicate key"));
    let text = told(&error).to_lowercase();
    assert!(text.contains("23505"), "{text}");
    for (what, bytes) in person.traces() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!text.contains(&hex[..16]), "{what}: {text}");
    }
    let token: String = token.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(server.log().contains(&token) && !text.contains(&token), "{text}");
    assert_eq!(server.sql(&database, "SELECT count(*) FROM codes"), "1", "nothing of the verb was written");
}
