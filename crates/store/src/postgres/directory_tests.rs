//! What the directory promises where several servers work on one database.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::private_server::PostgresServer;
use super::scene::{FAR, Person};
use super::tests::{fresh, options, two, until_waiting};
use super::{Options, PostgresStore, directory, indexes, removal};
use crate::{
    ChangeId, CodeGuess, CodeTaken, Enrolled, Generation, IndexId, Listing, ListingId, Load, LoadedListing,
    Millis, NewCode, NewContent, NewListing, Pick, Placement, Removal, Store, StoreError, TokenId, TokenUse,
};

const INDEX: IndexId = IndexId { profile: 1, epoch: u32::MAX };
const NEXT: IndexId = IndexId { profile: 1, epoch: 7 };

fn person(who: u64) -> Person {
    Person { seed: 90_000 + who }
}

fn id(n: u8) -> ListingId {
    ListingId::from_bytes([n; 16])
}

fn placement(index: IndexId, n: u8) -> Placement {
    Placement { index, sealed: vec![n; 68] }
}

async fn token(store: &dyn Store, who: u64) -> TokenId {
    loop {
        store.put_code(NewCode { ..person(who).code() }, 0).await.unwrap();
        let guess = CodeGuess { token_use: TokenUse::Directory, ..person(who).guess() };
        let token = guess.token;
        // Else the account was removed in between.
        if let CodeTaken::Taken { .. } = store.take_code(guess, 0).await.unwrap() {
            return token;
        }
    }
}

async fn new(store: &dyn Store, who: u64, n: u8, verified_at: Millis) -> NewListing {
    NewListing {
        id: id(n),
        account: person(who).account(),
        token: token(store, who).await,
        sealed: vec![n; 80],
        verified_at,
        expires_at: FAR,
        placements: vec![placement(INDEX, n)],
        most: 100,
    }
}

async fn enrol(store: &dyn Store, who: u64, n: u8, verified_at: Millis) {
    let new = new(store, who, n, verified_at).await;
    assert_eq!(store.enrol(new, 1).await.unwrap(), Enrolled::Listed);
}

async fn owner(store: &dyn Store, n: u8) -> Option<Listing> {
    store.listings(Pick::These(vec![id(n)]), 1).await.unwrap().pop()
}

async fn changed(store: &dyn Store) -> Vec<ListingId> {
    let changes = store.listing_changes(Some(ChangeId(0)), 100).await.unwrap();
    changes.into_iter().map(|(_, id)| id).collect()
}

/// Both prove the same number; whichever server is first, the later verification has it.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_enrol_one_identifier() {
    for (first, second, told) in [(5, 6, Enrolled::Listed), (6, 5, Enrolled::NewerOwner)] {
        let (database, stores) = two().await;
        let (one, other) =
            (new(stores[0].as_ref(), 1, 9, first).await, new(stores[1].as_ref(), 2, 9, second).await);
        let unit = stores[0].connections.begin().await.unwrap();
        assert_eq!(directory::enrol(&unit, &one, 1).await.unwrap(), Enrolled::Listed);
        let store = Arc::clone(&stores[1]);
        let enrolling = tokio::spawn(async move { store.enrol(other, 1).await.unwrap() });
        until_waiting(&database, 1).await;
        assert_eq!(owner(stores[1].as_ref(), 9).await, None, "what is not committed is not there");
        unit.end(Ok(())).await.unwrap();
        assert_eq!(enrolling.await.unwrap(), told);
        let there = owner(stores[0].as_ref(), 9).await.unwrap();
        assert_eq!(there.verified_at, 6);
        let placed = stores[0].placements(INDEX, Pick::After(None, 9), 1).await.unwrap();
        assert_eq!(placed, [(id(9), placement(INDEX, 9))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_waits_for_who_enrols_and_the_other_way_round() {
    let (database, stores) = two().await;
    let late = new(stores[0].as_ref(), 1, 1, 5).await;
    let unit = stores[0].connections.begin().await.unwrap();
    assert_eq!(directory::enrol(&unit, &late, 1).await.unwrap(), Enrolled::Listed);
    let store = Arc::clone(&stores[1]);
    let account = person(1).account();
    let removing = tokio::spawn(async move { store.remove_data(account, None, 1).await.unwrap() });
    until_waiting(&database, 1).await;
    unit.end(Ok(())).await.unwrap();
    assert!(matches!(removing.await.unwrap(), Removal::Removed(_)));
    let rows = "SELECT (SELECT count(*) FROM listings), (SELECT count(*) FROM placements), (SELECT count(*) FROM tokens)";
    assert_eq!(PostgresServer::shared().sql(&database, rows), "0|0|0");
    assert_eq!(changed(stores[0].as_ref()).await, [id(1), id(1)]);

    let late = new(stores[0].as_ref(), 1, 2, 5).await;
    let unit = stores[1].connections.begin().await.unwrap();
    assert!(matches!(removal::remove(&unit, account, None, 1).await.unwrap(), Removal::Removed(_)));
    let store = Arc::clone(&stores[0]);
    let enrolling = tokio::spawn(async move { store.enrol(late, 1).await.unwrap() });
    until_waiting(&database, 1).await;
    unit.end(Ok(())).await.unwrap();
    assert_eq!(enrolling.await.unwrap(), Enrolled::InvalidToken);
    assert_eq!(PostgresServer::shared().sql(&database, rows), "0|0|0");
}

/// What passes to another account meanwhile is not taken down.
#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_waits_for_who_enrols() {
    for all in [false, true] {
        let (database, stores) = two().await;
        enrol(stores[0].as_ref(), 1, 1, 5).await;
        let later = new(stores[0].as_ref(), 2, 1, 6).await;
        let unit = stores[0].connections.begin().await.unwrap();
        assert_eq!(directory::enrol(&unit, &later, 1).await.unwrap(), Enrolled::Listed);
        let store = Arc::clone(&stores[1]);
        let what = (!all).then_some(id(1));
        let withdrawing =
            tokio::spawn(async move { store.withdraw(person(1).account(), what, 1).await.unwrap() });
        until_waiting(&database, 1).await;
        unit.end(Ok(())).await.unwrap();
        assert_eq!(withdrawing.await.unwrap(), 0);
        assert_eq!(owner(stores[1].as_ref(), 1).await.unwrap().account, person(2).account());
        assert_eq!(stores[1].count_listings(Some(INDEX), 1).await.unwrap(), 1);
    }
}

/// What it seals is made of what the listing was.
#[tokio::test(flavor = "multi_thread")]
async fn a_placement_of_an_earlier_state_is_not_put() {
    let (database, stores) = two().await;
    enrol(stores[0].as_ref(), 1, 1, 5).await;
    enrol(stores[0].as_ref(), 3, 3, 5).await;
    let found = stores[1].unplaced(NEXT, None, 9, 1).await.unwrap();
    let renewed = new(stores[0].as_ref(), 1, 1, 6).await;
    let unit = stores[0].connections.begin().await.unwrap();
    assert_eq!(directory::enrol(&unit, &renewed, 1).await.unwrap(), Enrolled::Listed);
    let store = Arc::clone(&stores[1]);
    let placing = tokio::spawn(async move {
        let placements = found.iter().map(|it| (it.id, it.revision, placement(NEXT, 7))).collect();
        store.place(placements, 1).await.unwrap()
    });
    until_waiting(&database, 1).await;
    unit.end(Ok(())).await.unwrap();
    assert_eq!(placing.await.unwrap(), 1);
    let placed = stores[0].placements(NEXT, Pick::After(None, 9), 1).await.unwrap();
    assert_eq!(placed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id(3)]);

    // And who enrols waits for a placement, and takes it away.
    let (revision, renewed) =
        (owner(stores[0].as_ref(), 1).await.unwrap().revision, new(stores[0].as_ref(), 1, 1, 7).await);
    let unit = stores[0].connections.begin().await.unwrap();
    let one = [(id(1), revision, placement(NEXT, 8))];
    assert_eq!(indexes::place(&unit, &one, 1).await.unwrap(), 1);
    let store = Arc::clone(&stores[1]);
    let enrolling = tokio::spawn(async move { store.enrol(renewed, 1).await.unwrap() });
    until_waiting(&database, 1).await;
    unit.end(Ok(())).await.unwrap();
    assert_eq!(enrolling.await.unwrap(), Enrolled::Listed);
    let placed = stores[0].placements(NEXT, Pick::After(None, 9), 1).await.unwrap();
    assert_eq!(placed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id(3)]);
}

/// A number is given only when all lower ones are there or never come, so a reader waits for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn changes_come_in_the_order_of_their_numbers() {
    let (database, stores) = two().await;
    let (one, other) = (new(stores[0].as_ref(), 1, 1, 5).await, new(stores[0].as_ref(), 2, 2, 5).await);
    let unit = stores[0].connections.begin().await.unwrap();
    assert_eq!(directory::enrol(&unit, &one, 1).await.unwrap(), Enrolled::Listed);
    let store = Arc::clone(&stores[1]);
    let enrolling = tokio::spawn(async move { store.enrol(other, 1).await.unwrap() });
    until_waiting(&database, 1).await;
    let none: [ListingId; 0] = [];
    assert_eq!(changed(stores[1].as_ref()).await, none);
    unit.end(Ok(())).await.unwrap();
    assert_eq!(enrolling.await.unwrap(), Enrolled::Listed);
    assert_eq!(changed(stores[1].as_ref()).await, [id(1), id(2)]);
    // One that is undone leaves a gap and holds nobody up.
    let third = new(stores[0].as_ref(), 1, 3, 5).await;
    let unit = stores[0].connections.begin().await.unwrap();
    assert_eq!(directory::enrol(&unit, &third, 1).await.unwrap(), Enrolled::Listed);
    drop(unit);
    assert_eq!(stores[0].withdraw(person(2).account(), None, 1).await.unwrap(), 1);
    assert_eq!(changed(stores[1].as_ref()).await, [id(1), id(2), id(2)]);
}

/// Done over where nothing was written; and it is told where nobody can know.
#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_that_is_cut_off_is_done_again() {
    let (database, stores) = two().await;
    enrol(stores[0].as_ref(), 2, 1, 5).await;
    let new = new(stores[0].as_ref(), 1, 1, 6).await;
    let blocker = stores[1].connections.begin().await.unwrap();
    blocker.query("SELECT 1 FROM listings FOR UPDATE", &[]).await.unwrap();
    let store = Arc::clone(&stores[0]);
    let again = new.clone();
    let enrolling = tokio::spawn(async move { store.enrol(new, 1).await.unwrap() });
    let cut = format!(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
         WHERE datname = '{database}' AND wait_event_type = 'Lock'"
    );
    while PostgresServer::shared().sql("postgres", &cut) != "t" {
        tokio::task::yield_now().await;
    }
    blocker.undo();
    blocker.end(Ok(())).await.unwrap();
    assert_eq!(enrolling.await.unwrap(), Enrolled::Listed);
    assert_eq!(stores[0].enrol(again, 1).await.unwrap(), Enrolled::InvalidToken, "it was once");
    assert_eq!(changed(stores[1].as_ref()).await, [id(1), id(1)]);
    assert_eq!(stores[1].count_listings(Some(INDEX), 1).await.unwrap(), 1);
}

/// All or nothing, wherever it fails; and no error names what it was about.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_the_middle_is_undone() {
    let (database, store) = fresh().await;
    let server = PostgresServer::shared();
    enrol(&store, 2, 1, 5).await;
    let before = owner(&store, 1).await;
    server.sql(
        &database,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE EXCEPTION 'no space for %', encode(NEW.listing, 'hex')
             USING ERRCODE = '53100', DETAIL = encode(NEW.listing, 'hex');
         END $$",
    );
    let later = new(&store, 1, 1, 6).await;
    for (when, table) in [("INSERT", "placements"), ("INSERT", "listing_changes"), ("UPDATE", "listings")] {
        server.sql(
            &database,
            &format!(
                "CREATE TRIGGER full_disk BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION full_disk()"
            ),
        );
        let error: StoreError = store.enrol(later.clone(), 1).await.unwrap_err();
        let text = format!("{error} {error:?} {:?}", std::error::Error::source(&error));
        assert!(text.contains("53100") && !text.contains("0101"), "{table}: {text}");
        assert_eq!(owner(&store, 1).await, before, "{table}");
        assert_eq!(store.count_listings(Some(INDEX), 1).await.unwrap(), 1, "{table}");
        if table == "listing_changes" {
            store.withdraw(person(2).account(), None, 1).await.unwrap_err();
            store.remove_data(person(2).account(), None, 1).await.unwrap_err();
            store.sweep(9, FAR).await.unwrap_err();
            assert_eq!(owner(&store, 1).await, before);
        }
        server.sql(&database, &format!("DROP TRIGGER full_disk ON {table}"));
    }
    assert_eq!(store.enrol(later, 1).await.unwrap(), Enrolled::Listed, "the token was not consumed");
}

const PEOPLE: u64 = 24;
const IDENTIFIERS: u64 = 40;

/// Everything that touches listings at once, on two servers, in orders that cross: nobody waits in a circle.
#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_makes_no_deadlock() {
    let (database, first) = fresh().await;
    let server = PostgresServer::shared();
    drop(first);
    let wide = Options { pool_size: 30, wait: std::time::Duration::from_secs(120), ..options(&database) };
    let stores = [
        Arc::new(PostgresStore::open(&wide).await.unwrap()),
        Arc::new(PostgresStore::open(&wide).await.unwrap()),
    ];
    let working: Vec<_> = (0..PEOPLE)
        .map(|who| tokio::spawn(work(Arc::clone(&stores[usize::from(who.is_multiple_of(2))]), who)))
        .collect();
    for working in working {
        working.await.unwrap();
    }
    // Both sides fit: no placement without its listing, no listing without its account, each with a number of its own.
    let sql = |text: &str| server.sql(&database, text);
    assert_eq!(
        sql("SELECT count(*) FROM placements WHERE listing NOT IN (SELECT listing FROM listings)"),
        "0"
    );
    assert_eq!(sql("SELECT count(*) FROM listings WHERE account NOT IN (SELECT account FROM accounts)"), "0");
    let numbers = "SELECT count(*) = count(DISTINCT revision) AND count(*) = count(id)
                   FROM listings LEFT JOIN listing_changes ON id = revision AND listing_changes.listing = listings.listing";
    assert_eq!(sql(numbers), "t");
    let changed: BTreeSet<ListingId> = changed(stores[0].as_ref()).await.into_iter().collect();
    assert!(!changed.is_empty());
    // A session's count of deadlocks is seen at its end at the latest.
    drop(stores);
    let end =
        format!("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{database}'");
    server.sql("postgres", &end);
    let deadlocks = format!("SELECT deadlocks FROM pg_stat_database WHERE datname = '{database}'");
    assert_eq!(server.sql("postgres", &deadlocks), "0");
}

/// Loads half of all identifiers, for this account and two others, in no order.
async fn load(store: &dyn Store, who: u64, turn: u64) {
    let standing = store.listings(Pick::After(None, 1000), 1).await.unwrap();
    let new = (0..IDENTIFIERS / 2).map(|n| {
        let n = u8::try_from((n * 7 + who + turn) % IDENTIFIERS).unwrap();
        let there = standing.iter().find(|it| it.id == id(n)).filter(|_| n.is_multiple_of(3));
        let account =
            there.map_or_else(|| person((who + u64::from(n) % 3) % PEOPLE).account(), |it| it.account);
        let content = NewContent {
            sealed: vec![n; 80],
            placements: vec![placement(NEXT, n), placement(INDEX, n)],
            sealed_account: vec![n; 30],
            fresh_generation: Generation(i64::from(n)),
            forget_at: FAR,
        };
        LoadedListing {
            id: id(n),
            account,
            verified_at: Millis::try_from(turn).unwrap(),
            expires_at: FAR,
            load: there.map_or(Load::New(content), |it| Load::Same(it.revision)),
        }
    });
    let new: Vec<LoadedListing> = new.collect();
    assert_eq!(store.load_listings(new.clone(), 1).await.unwrap().len(), new.len());
}

async fn work(store: Arc<PostgresStore>, who: u64) {
    let store = store.as_ref();
    let account = person(who).account();
    for turn in 0..8 {
        for step in 0..4 {
            // Each in an order of its own.
            let n = u8::try_from((who * 7 + turn * 11 + step * (1 + who % 5)) % IDENTIFIERS).unwrap();
            let new = NewListing {
                placements: vec![placement(NEXT, n), placement(INDEX, n)],
                expires_at: if (turn + step) % 3 == 0 { 2 } else { FAR },
                ..new(store, who, n, Millis::try_from(turn).unwrap()).await
            };
            let told = store.enrol(new, 1).await.unwrap();
            assert!(matches!(told, Enrolled::Listed | Enrolled::NewerOwner), "{told:?}");
        }
        match (who + turn) % 6 {
            0 => drop(store.withdraw(account, None, 1).await.unwrap()),
            1 => drop(store.remove_data(account, None, 1).await.unwrap()),
            2 => drop(store.sweep(50, 2).await.unwrap()),
            3 => drop(store.clear_index(NEXT, 30).await.unwrap()),
            4 => load(store, who, turn).await,
            _ => {
                let mut unplaced = store.unplaced(NEXT, None, 50, 1).await.unwrap();
                // In any order.
                unplaced.reverse();
                let place = |it: &Listing| (it.id, it.revision, placement(NEXT, 1));
                store.place(unplaced.iter().map(place).collect(), 1).await.unwrap();
            }
        }
    }
}
