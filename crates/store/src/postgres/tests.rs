//! What the store for several servers promises beyond the contract.

use std::sync::Arc;

use acquaint_protocol::pair::{EpochId, PairHash};

use super::private_server::PostgresServer;
use super::scene::{FAR, Person};
use super::{OpenError, Options, PostgresStore, epochs, events, look, streams};
use crate::{
    ChangeId, Charge, Charged, CodeGuess, CodeTaken, Enrolled, EpochState, EventKind, EventOutcome,
    FollowChange, FollowRecord, Half, ImportAccepted, KeyRecord, Limit, ListingId, NewEvent, NewImport,
    NewListing, NoticeOutcome, Permit, Removal, ServerId, StepOutcome, Store, StreamStep, TokenUse,
    conformance,
};

/// A store in a database of its own.
pub(super) async fn fresh() -> (String, PostgresStore) {
    let server = PostgresServer::shared();
    let database = server.database(Some(template().await));
    let store = PostgresStore::open(&options(&database)).await.unwrap();
    (database, store)
}

pub(super) fn options(database: &str) -> Options {
    let connection = PostgresServer::shared().connection(database);
    Options { pool_size: 8, ..Options::new(connection) }
}

/// A database with the schema and nothing else.
async fn template() -> &'static str {
    static MADE: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    MADE.get_or_init(|| async {
        let server = PostgresServer::shared();
        let database = server.database(None);
        drop(PostgresStore::open(&options(&database)).await.unwrap());
        // A database can be copied while nobody is connected to it.
        server.sql(
            "postgres",
            &format!(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{database}'"
            ),
        );
        database
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    conformance::run(|| async {
        let (_, store) = fresh().await;
        Arc::new(store) as Arc<dyn Store>
    })
    .await;
}

/// As two servers have it.
pub(super) async fn two() -> (String, [Arc<PostgresStore>; 2]) {
    let (database, first) = fresh().await;
    let second = PostgresStore::open(&options(&database)).await.unwrap();
    (database, [Arc::new(first), Arc::new(second)])
}

/// Twenty calls at once, by turns on one server and the other.
async fn by_turns<T: Send + 'static, F>(
    stores: &[Arc<PostgresStore>; 2],
    call: impl Fn(Arc<PostgresStore>) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let calls: Vec<_> = (0..20).map(|turn| tokio::spawn(call(Arc::clone(&stores[turn % 2])))).collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

/// Returns when so many sessions of the database wait for a lock.
pub(super) async fn until_waiting(database: &str, sessions: usize) {
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
    );
    let began = std::time::Instant::now();
    while PostgresServer::shared().sql("postgres", &waiting).parse::<usize>().unwrap() < sessions {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "nobody waits for a lock");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_across_servers() {
    let (_, stores) = two().await;
    let permit =
        |limit, key: &[u8], amount| Permit { limit, key: key.to_vec(), amount, capacity: 7, per_day: 0 };
    // Named in different orders: nobody waits in a circle.
    let taken = by_turns(&stores, |store| async move {
        let mut permits =
            vec![permit(Limit::AllGuesses, b"", 1), permit(Limit::AccountPairs, b"somebody", 1)];
        if store.levels(permits.clone(), 0).await.unwrap()[0] % 2 == 0 {
            permits.reverse();
        }
        let charge = Charge { alternatives: vec![permits], ..Charge::default() };
        store.charge(charge, 0).await.unwrap() == Charged::Taken(0)
    })
    .await;
    assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 7);
    assert_eq!(stores[0].levels(vec![permit(Limit::AllGuesses, b"", 0)], 0).await.unwrap(), [7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_and_tokens_are_taken_once_across_servers() {
    let (database, stores) = two().await;
    let person = Person { seed: 10 };
    stores[0].put_code(person.code(), 0).await.unwrap();
    // All at once: they wait for who holds the code.
    let holder = stores[0].connections.begin().await.unwrap();
    holder.query("SELECT 1 FROM codes FOR UPDATE", &[]).await.unwrap();
    let taking = {
        let (stores, person) = (stores.clone(), person);
        tokio::spawn(async move {
            by_turns(&stores, |store| async move { store.take_code(person.guess(), 1).await.unwrap() }).await
        })
    };
    until_waiting(&database, 10).await;
    holder.end(Ok(())).await.unwrap();
    let taken = taking.await.unwrap();
    let right = taken.iter().filter(|taken| matches!(taken, CodeTaken::Taken { .. })).count();
    assert_eq!((right, taken.iter().filter(|taken| **taken == CodeTaken::NoCode).count()), (1, 19));

    let CodeTaken::Taken { generation } = taken.iter().find(|taken| **taken != CodeTaken::NoCode).unwrap()
    else {
        unreachable!("it was counted")
    };
    let token = stores[1].live_tokens(person.account(), TokenUse::Matching, 1).await.unwrap()[0].token;
    let import = person.import_of(token, *generation, 5);
    let accepted = by_turns(&stores, |store| {
        let import = import.clone();
        async move { store.accept_import(import, 1).await.unwrap() }
    })
    .await;
    assert_eq!(accepted.iter().filter(|accepted| **accepted == ImportAccepted::Accepted).count(), 1);
    assert!(accepted.iter().all(|a| matches!(a, ImportAccepted::Accepted | ImportAccepted::InvalidToken)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_and_the_numbers_hold_across_servers() {
    let (_, stores) = two().await;
    let mut imports = Vec::new();
    for seed in 0..20 {
        let person = Person { seed: 100 + seed };
        let import = person.new_import(stores[0].as_ref(), 10).await;
        // At most 50 wait before it: six are accepted. And three share one number.
        let numbers = if seed < 3 { vec![Person { seed: 99 }.number()] } else { import.numbers.clone() };
        imports.push(NewImport { max_waiting: 50, numbers, ..import });
    }
    let imports = Arc::new(std::sync::Mutex::new(imports));
    let accepted = by_turns(&stores, |store| {
        let import = imports.lock().unwrap().pop().unwrap();
        async move { store.accept_import(import, 1).await.unwrap() }
    })
    .await;
    assert_eq!(accepted.iter().filter(|accepted| **accepted == ImportAccepted::Accepted).count(), 6);
    assert_eq!(stores[1].waiting_pairs().await.unwrap(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_of_one_server_and_outlive_a_restart() {
    let (database, stores) = two().await;
    for seed in 0..20 {
        Person { seed: 200 + seed }.accept(stores[0].as_ref(), 1).await;
    }
    let leased =
        by_turns(&stores, |store| async move { store.next_import(0, 100).await.unwrap().unwrap() }).await;
    let mut ids: Vec<_> = leased.iter().map(|import| *import.id.as_bytes()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    drop(stores);
    let again = PostgresStore::open(&options(&database)).await.unwrap();
    assert!(again.next_import(99, FAR).await.unwrap().is_none());
    let leased = again.next_import(100, FAR).await.unwrap().unwrap();
    assert_eq!(leased.fence.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_leased_to_one_server() {
    let (_, stores) = two().await;
    let hub = Person { seed: 300 };
    hub.import(stores[0].as_ref(), (0..30).map(|contact| hub.half(contact, true)).collect()).await;
    for contact in 0..30 {
        Person { seed: 301 + contact }.import(stores[0].as_ref(), vec![hub.half(contact, false)]).await;
    }
    assert_eq!(stores[1].notice_counts(1).await.unwrap().waiting, 60);
    let leased =
        by_turns(&stores, |store| async move { store.lease_notices(4, 1, 100).await.unwrap() }).await;
    let mut ids: Vec<_> =
        leased.iter().flatten().map(|notice| (notice.id.account, notice.id.other)).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!((ids.len(), stores[0].lease_notices(60, 1, 100).await.unwrap().len()), (count, 60 - count));
    for notice in leased.into_iter().flatten() {
        stores[1].settle_notice(notice.id, 1, NoticeOutcome::Told).await.unwrap();
    }
    assert_eq!(stores[0].notice_counts(1).await.unwrap().waiting, u64::try_from(60 - count).unwrap());
}

/// As an engine leaves it that commits partition by partition, and stops between two: the pair side is there, marked,
/// and the account side is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_match_that_is_marked_is_settled_once() {
    let (database, store) = fresh().await;
    let server = PostgresServer::shared();
    let (first, second) = (Person { seed: 20 }, Person { seed: 21 });
    first.import(&store, vec![first.half(1, true)]).await;
    second.import(&store, vec![first.half(1, false)]).await;
    let stop_between =
        "UPDATE links SET settled = false, notify_low_at = 3, notify_high_at = 4, notify_until = 1000;
         DELETE FROM matches; DELETE FROM notices";
    let whole = async |store: &PostgresStore| {
        for (one, other) in [(first, second), (second, first)] {
            let listed = store.matches(one.account(), None, 9, 1).await.unwrap();
            assert!(listed.len() == 1 && listed[0].position.other == other.account());
        }
        assert_eq!(store.notice_counts(1).await.unwrap().waiting, 2);
        let marks =
            "SELECT count(*), count(notify_until) FROM links WHERE NOT settled OR notify_until IS NOT NULL";
        assert_eq!(server.sql(&database, marks), "0|0");
    };
    whole(&store).await;
    // By the sweep,
    server.sql(&database, stop_between);
    assert_eq!(store.matches(first.account(), None, 9, 1).await.unwrap(), []);
    assert_eq!(store.sweep(10, 1).await.unwrap(), 0);
    whole(&store).await;
    store.sweep(10, 1).await.unwrap();
    whole(&store).await;
    // by the next step that comes by,
    server.sql(&database, stop_between);
    let again = second.import(&store, vec![first.half(1, false)]).await;
    assert!(again[0].held && again[0].matched == [first.account()]);
    whole(&store).await;
    // and a removal takes it away as if it were settled; the other side stands again.
    server.sql(&database, stop_between);
    let removal = store.remove_data(first.account(), None, 1).await.unwrap();
    assert!(matches!(removal, Removal::Removed(removed) if removed.contacts == 1));
    let rows =
        "SELECT (SELECT count(*) FROM links), (SELECT count(*) FROM matches), (SELECT count(*) FROM pairs)";
    assert_eq!(server.sql(&database, rows), "0|0|1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_waits_for_a_running_step() {
    let (database, stores) = two().await;
    let person = Person { seed: 40 };
    let import = person.accept(stores[0].as_ref(), 10).await;
    let leased = stores[0].next_import(1, FAR).await.unwrap().unwrap();
    // The step has put some halves down, and waits for a place that somebody else holds.
    let halves: Vec<_> = (0..5).map(|contact| person.half(contact, true)).collect();
    let last = halves.iter().map(|half| half.hashes[0].1).max().unwrap();
    let holder = stores[1].connections.begin().await.unwrap();
    let (hash, nobody) = (last.as_bytes().as_slice(), [0_u8; 16].as_slice());
    holder.execute("INSERT INTO pairs VALUES (0, 1, 1, false, $1, $2)", &[&hash, &nobody]).await.unwrap();
    let step = person.next_step(&leased, 0, halves);
    let store = Arc::clone(&stores[0]);
    let stepping = tokio::spawn(async move { store.match_or_insert(step, 1).await.unwrap() });
    until_waiting(&database, 1).await;
    let store = Arc::clone(&stores[1]);
    let named = Some((import.id, import.numbers));
    let removing = tokio::spawn(async move { store.remove_data(person.account(), named, 2).await.unwrap() });
    while !removing.is_finished() && PostgresServer::shared().sql("postgres", &format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
    )) != "2" {
        tokio::task::yield_now().await;
    }
    holder.undo();
    holder.end(Ok(())).await.unwrap();
    assert!(matches!(stepping.await.unwrap(), StepOutcome::Committed(_)));
    let removed = removing.await.unwrap();
    assert!(matches!(removed, Removal::Removed(removed) if removed.contacts == 5));
    assert_eq!(PostgresServer::shared().sql(&database, "SELECT count(*) FROM pairs"), "0");
}

/// Locking puts rows for what is not there; what is only asked for leaves none.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_leaves_rows_only_of_what_it_took() {
    let (database, store) = fresh().await;
    let rows =
        "SELECT string_agg(limit_kind || '=' || level / 86400000, ' ' ORDER BY limit_kind) FROM limits";
    let permit = |limit, amount| Permit { limit, key: vec![], amount, capacity: 5, per_day: 1 };
    let charge = async |first, second, refused: bool| {
        let alternatives = vec![
            vec![permit(Limit::GuaranteedLookups, first), permit(Limit::AccountQueries, 0)],
            vec![permit(Limit::AccountLookups, second), permit(Limit::AllLookups, second)],
        ];
        let refused = refused.then(|| event(EventKind::LookupsRefused));
        store.charge(Charge { alternatives, refused, ..Charge::default() }, 0).await.unwrap()
    };
    for noted in [true, false] {
        assert!(matches!(charge(6, 6, noted).await, Charged::Exhausted(_)));
        assert_eq!(PostgresServer::shared().sql(&database, rows), "");
    }
    assert_eq!(charge(2, 2, true).await, Charged::Taken(0));
    assert_eq!(PostgresServer::shared().sql(&database, rows), "17=2");
    assert_eq!(charge(4, 3, true).await, Charged::Taken(1));
    assert!(matches!(charge(4, 3, true).await, Charged::Exhausted(_)));
    assert_eq!(PostgresServer::shared().sql(&database, rows), "16=3 17=2 20=3");
}

/// What a stream says of an account beside its removal is not left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_waits_for_a_step_of_a_stream() {
    let (database, stores) = two().await;
    let (leaver, other) = (Person { seed: 43 }, Person { seed: 44 });
    leaver.import(stores[0].as_ref(), vec![leaver.half(1, true)]).await;
    other.import(stores[0].as_ref(), vec![leaver.half(1, false)]).await;
    let server = ServerId([1; 16]);
    stores[0].lease_stream("a".into(), server, 0, FAR).await.unwrap().unwrap();
    let follow = |account, other| FollowChange {
        account,
        record: FollowRecord::from_bytes([1; 16]),
        other: Some(other),
    };
    let (one, two) = (leaver.account(), other.account());
    let step = StreamStep {
        stream: "a".into(),
        server,
        cursor: 5,
        lease_until: FAR,
        follows: vec![follow(one, two), follow(two, one)],
        departures: vec![one],
    };
    let stepping = stores[0].connections.begin().await.unwrap();
    assert!(streams::step(&stepping, &step, 1).await.unwrap());
    let store = Arc::clone(&stores[1]);
    let removing = tokio::spawn(async move { store.remove_data(one, None, 2).await.unwrap() });
    until_waiting(&database, 1).await;
    stepping.end(Ok(())).await.unwrap();
    assert!(matches!(removing.await.unwrap(), Removal::Removed(removed) if removed.matches == 1));
    let left = "SELECT (SELECT count(*) FROM follows), (SELECT count(*) FROM departures)";
    assert_eq!(PostgresServer::shared().sql(&database, left), "0|0");
    // The same again afterwards names nobody who is there.
    assert!(stores[0].stream_step(step, 3).await.unwrap());
    assert_eq!(PostgresServer::shared().sql(&database, left), "0|0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_follows_a_half_that_moves_to_a_new_epoch() {
    let (database, stores) = two().await;
    let place = |epoch: u8| (EpochId::new(u32::from(epoch)), PairHash::from_bytes([epoch; 32]));
    let (leaver, importer) = (Person { seed: 41 }, Person { seed: 42 });
    leaver.import(stores[0].as_ref(), vec![Half { hashes: vec![place(1)], bit: true }]).await;
    importer.accept(stores[0].as_ref(), 2).await;
    let leased = stores[0].next_import(1, FAR).await.unwrap().unwrap();
    // The importer's step has the leaver's place, and waits for another one.
    let holder = stores[1].connections.begin().await.unwrap();
    let (hash, nobody) = ([9_u8; 32].as_slice(), [0_u8; 16].as_slice());
    holder.execute("INSERT INTO pairs VALUES (0, 1, 9, false, $1, $2)", &[&hash, &nobody]).await.unwrap();
    let halves = vec![
        Half { hashes: vec![place(2), place(1)], bit: false },
        Half { hashes: vec![place(9)], bit: false },
    ];
    let step = importer.next_step(&leased, 0, halves);
    let store = Arc::clone(&stores[0]);
    let stepping = tokio::spawn(async move { store.match_or_insert(step, 1).await.unwrap() });
    until_waiting(&database, 1).await;
    let store = Arc::clone(&stores[1]);
    let removing = tokio::spawn(async move { store.remove_data(leaver.account(), None, 2).await.unwrap() });
    until_waiting(&database, 2).await;
    holder.undo();
    holder.end(Ok(())).await.unwrap();
    let StepOutcome::Committed(outcomes) = stepping.await.unwrap() else {
        unreachable!("nobody else has the lease")
    };
    assert!(outcomes[0].matched == [leaver.account()]);
    let removed = removing.await.unwrap();
    assert!(matches!(removed, Removal::Removed(removed) if (removed.contacts, removed.matches) == (1, 1)));
    let rows =
        "SELECT (SELECT count(*) FROM links), (SELECT count(*) FROM matches), (SELECT count(*) FROM pairs)";
    assert_eq!(PostgresServer::shared().sql(&database, rows), "0|0|2", "the importer's halves");
}

fn event(kind: EventKind) -> NewEvent {
    NewEvent { kind, account: None, details: "{}".into(), tell: true }
}

/// An event has its number before it is committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_audit_log_waits_for_who_adds_to_it() {
    let (database, stores) = two().await;
    let adding = stores[0].connections.begin().await.unwrap();
    events::append(&adding, &[event(EventKind::CodeSent)], 1).await.unwrap();
    // Those that add do not wait for each other.
    stores[1].append_events(vec![event(EventKind::WrongCode)], 2).await.unwrap();
    let reader = Arc::clone(&stores[1]);
    let reading = tokio::spawn(async move { reader.events(None, 9).await.unwrap() });
    until_waiting(&database, 1).await;
    // The webhook's worker does not wait: it will see the other one when it is there.
    assert_eq!(stores[1].lease_events(9, 5, 50).await.unwrap().len(), 1);
    adding.end(Ok(())).await.unwrap();
    let kinds: Vec<EventKind> = reading.await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::CodeSent, EventKind::WrongCode]);
    assert_eq!(stores[0].lease_events(9, 5, 50).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_only_added_to() {
    let (_, store) = fresh().await;
    store.append_events(vec![event(EventKind::CodeSent)], 1).await.unwrap();
    let before = store.events(None, 9).await.unwrap();
    let connection = store.connections.lend().await.unwrap();
    // Also where it would change no row.
    for change in ["UPDATE events SET details = '[]'", "UPDATE events SET at = 0 WHERE id = 0"] {
        let error = connection.execute(change, &[]).await.unwrap_err();
        assert_eq!(error.code(), Some("23001"), "{change}");
    }
    assert_eq!(store.events(None, 9).await.unwrap(), before);
}

/// Over TCP, with a certificate of an authority of its own.
#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified() {
    let server = PostgresServer::start();
    let database = server.database(None);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    // Free until a moment ago; PostgreSQL takes no port of the system's choice.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let key = made.signing_key.serialize_pem();
    for sql in [
        format!(
            "COPY (SELECT '') TO PROGRAM $$cat > /dev/null; umask 077; echo '{}' > server.crt$$",
            made.cert.pem()
        ),
        format!("COPY (SELECT '') TO PROGRAM $$cat > /dev/null; umask 077; echo '{key}' > server.key$$"),
        "ALTER SYSTEM SET ssl = on".to_owned(),
        "ALTER SYSTEM SET listen_addresses = 'localhost'".to_owned(),
        format!("ALTER SYSTEM SET port = {port}"),
    ] {
        server.sql(&database, &sql);
    }
    server.stop();
    server.restart();
    let open = async |host: &str, mode: &str, ca_file: Option<&std::path::PathBuf>| {
        let connection = format!("postgresql://postgres@{host}:{port}/{database}?sslmode={mode}");
        PostgresStore::open(&Options { pool_size: 2, ca_file: ca_file.cloned(), ..Options::new(connection) })
            .await
    };
    let store = open("localhost", "require", Some(&ca_file)).await.unwrap();
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = store.connections.lend().await.unwrap().row(encrypted, &[]).await.unwrap().unwrap();
    assert!(row.get::<_, bool>(0));
    for (host, ca_file) in [("localhost", None), ("127.0.0.1", Some(&ca_file))] {
        let error = open(host, "require", ca_file).await.unwrap_err();
        assert!(error.to_string().contains("its certificate is not trusted, not for this name"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_at_once_migrate_once() {
    let server = PostgresServer::shared();
    let database = server.database(None);
    let options = options(&database);
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { PostgresStore::open(&options).await.unwrap().ping().await.unwrap() })
        })
        .collect();
    for start in starts {
        start.await.unwrap();
    }
    assert_eq!(server.sql(&database, "SELECT version, usable_from FROM acquaint_schema"), "5|1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expanded_schema_is_worked_on_and_a_contracted_one_refused() {
    let (database, store) = fresh().await;
    let server = PostgresServer::shared();
    drop(store);
    // A newer release beside this one has added something.
    server.sql(
        &database,
        "ALTER TABLE accounts ADD COLUMN later bigint; UPDATE acquaint_schema SET version = 6",
    );
    let store = PostgresStore::open(&options(&database)).await.unwrap();
    let person = Person { seed: 30 };
    person.import(&store, vec![person.half(1, true)]).await;
    // And then taken something away.
    server.sql(&database, "UPDATE acquaint_schema SET usable_from = 6");
    let error = PostgresStore::open(&options(&database)).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 6, usable_from: 6, known: 5 }), "{error}");
    assert!(error.to_string().contains("use a newer program"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_first_version_is_migrated_with_its_data() {
    let server = PostgresServer::shared();
    let database = server.database(None);
    server.sql(
        &database,
        &format!(
            "CREATE TABLE acquaint_schema (one boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
                                           version integer NOT NULL, usable_from integer NOT NULL);
             INSERT INTO acquaint_schema (version, usable_from) VALUES (1, 1);
             {}
             INSERT INTO keys VALUES ('seal', 1, '\\x01'), ('pair', 1, '\\x02'), ('pair', 2, '\\x03')",
            include_str!("v1.sql")
        ),
    );
    let options = options(&database);
    let before = look(&options).await.unwrap();
    assert_eq!((before.version, before.known_version, before.keys.len()), (1, 5, 3));
    let store = PostgresStore::open(&options).await.unwrap();
    assert_eq!(store.key_records().await.unwrap().len(), 3);
    let states: Vec<_> = store.epochs().await.unwrap().into_iter().map(|record| record.state).collect();
    assert_eq!(states, [EpochState::Current, EpochState::Live]);
    let after = look(&options).await.unwrap();
    assert_eq!((after.version, after.lacks, after.keys.len()), (5, None, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_changes_nothing_and_tells_what_is_missing() {
    let server = PostgresServer::shared();
    let database = server.database(None);
    let empty = look(&options(&database)).await.unwrap();
    assert_eq!((empty.version, empty.newest, empty.lacks), (0, None, None));
    assert_eq!(server.sql(&database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");

    let role = format!("reader_{database}");
    let (database, store) = fresh().await;
    let person = Person { seed: 31 };
    person.import(&store, vec![person.half(1, true)]).await;
    server.sql(
        &database,
        &format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"),
    );
    let options =
        Options::new(server.connection(&database).replace("user=postgres", &format!("user={role}")));
    let seen = look(&options).await.unwrap();
    assert_eq!(seen.lacks.as_deref(), Some("INSERT, UPDATE or DELETE on accounts"));
    assert!(seen.newest.is_some() && seen.max_connections == 200 && !seen.read_only, "{seen:?}");
    let missing = Options::new(server.connection("nowhere"));
    assert!(look(&missing).await.unwrap_err().to_string().contains("no such database"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_refused() {
    let server = PostgresServer::shared();
    let database = server.database(None);
    server.sql(&database, "CREATE TABLE accounts (mine text)");
    let error = PostgresStore::open(&options(&database)).await.unwrap_err();
    assert!(matches!(error, OpenError::Foreign), "{error}");
    assert_eq!(server.sql(&database, "SELECT to_regclass('acquaint_schema') IS NULL"), "t", "left as it is");
    let error = PostgresStore::open(&options("nowhere")).await.unwrap_err();
    assert!(error.to_string().contains("there is no such database"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_owns_nothing_can_do_all_but_migrate() {
    let (database, store) = fresh().await;
    let server = PostgresServer::shared();
    drop(store);
    server.sql(
        &database,
        &format!(
            "CREATE ROLE {database}_server LOGIN;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {database}_server"
        ),
    );
    let connection =
        server.connection(&database).replace("user=postgres", &format!("user={database}_server"));
    let store = PostgresStore::open(&Options { connection, ..options(&database) }).await.unwrap();
    let person = Person { seed: 31 };
    person.import(&store, vec![person.half(1, true)]).await;
    // Also to number the audit log, which it need not be allowed to change.
    server.sql(&database, &format!("REVOKE UPDATE ON events FROM {database}_server"));
    let charge = Charge { granted: Some(event(EventKind::CodeSent)), ..Charge::default() };
    assert_eq!(store.charge(charge, 1).await.unwrap(), Charged::Taken(0));
    let leased = store.lease_events(9, 1, 2).await.unwrap().remove(0);
    store.settle_event(leased.event.id, 1, EventOutcome::Done).await.unwrap();
    assert_eq!(store.events(None, 9).await.unwrap(), [leased.event]);
    assert_eq!(store.sweep_events(9, 9).await.unwrap(), 1);
    let guess = CodeGuess { token_use: TokenUse::Directory, ..person.guess() };
    store.put_code(person.code(), 1).await.unwrap();
    let (token, id) = (guess.token, ListingId::from_bytes([1; 16]));
    store.take_code(guess, 1).await.unwrap();
    let listing = NewListing {
        id,
        account: person.account(),
        token,
        sealed: vec![1],
        verified_at: 1,
        expires_at: 5,
        placements: vec![],
        most: 1,
    };
    assert_eq!(store.enrol(listing, 1).await.unwrap(), Enrolled::Listed);
    store.sweep(10, 6).await.unwrap();
    assert_eq!(store.listing_changes(Some(ChangeId(0)), 9).await.unwrap().len(), 2);
    let error =
        std::error::Error::source(&store.rewrite(|_, _| true).await.unwrap_err()).unwrap().to_string();
    assert!(error.contains("the role lacks a privilege"), "{error}");
}

#[tokio::test]
async fn options_that_leak_or_cannot_be_read_are_refused() {
    let refused = async |connection: &str| {
        let options = Options { pool_size: 2, ..Options::new(connection) };
        assert!(!format!("{options:?}").contains("hunter2"));
        PostgresStore::open(&options).await.unwrap_err()
    };
    for connection in
        ["", "postgresql://user:hunter2@host:port/db", "host=a hunter2", "user=a password=hunter2"]
    {
        let error = refused(connection).await;
        assert!(matches!(error, OpenError::Connection), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    for host in ["db.example", "192.0.2.1", "db.example?sslmode=prefer", "db.example?sslmode=disable"] {
        let error = refused(&format!("postgresql://user:hunter2@{host}")).await;
        assert!(matches!(error, OpenError::Cleartext), "{host}: {error}");
    }
    let error =
        PostgresStore::open(&Options { pool_size: 1, ..Options::new("host=/tmp") }).await.unwrap_err();
    assert!(matches!(error, OpenError::PoolSize));
    let options = Options { ca_file: Some("/dev/null".into()), ..Options::new("host=/tmp") };
    let error = PostgresStore::open(&options).await.unwrap_err();
    assert!(matches!(error, OpenError::Certificates { .. }), "{error}");
    let error = refused("host=/nowhere/at/all user=a").await;
    assert!(error.to_string().contains("its socket is not there"), "{error}");
}

/// What began before an epoch became the current one ends before any step inserts under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_waits_for_running_steps() {
    let (database, store) = fresh().await;
    let store = Arc::new(store);
    let record = |version| KeyRecord { purpose: "pair".into(), version, check: vec![1] };
    store.record_keys(vec![record(1)]).await.unwrap();
    store.record_keys(vec![record(2)]).await.unwrap();
    let step = store.connections.begin().await.unwrap();
    let held = epochs::held(&step).await.unwrap();
    assert_eq!(held[1].state, EpochState::Current);
    let (all, rotating) = (vec![EpochId::new(1), EpochId::new(2)], Arc::clone(&store));
    let rotation =
        tokio::spawn(async move { rotating.check_in(ServerId([1; 16]), all, 0, 9).await.unwrap() });
    until_waiting(&database, 1).await;
    assert_eq!(store.epochs().await.unwrap()[1].state, EpochState::Current);
    // A later step does not pass it, or it would wait for as long as one follows another.
    let later = Arc::clone(&store);
    let later = tokio::spawn(async move {
        let step = later.connections.begin().await.unwrap();
        let held = epochs::held(&step).await.unwrap();
        step.end(Ok(held)).await.unwrap()
    });
    until_waiting(&database, 2).await;
    step.end(Ok(())).await.unwrap();
    assert_eq!(rotation.await.unwrap()[0].state, EpochState::Current);
    assert_eq!(later.await.unwrap()[0].state, EpochState::Current);
}
