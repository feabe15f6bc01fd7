//! What PostgreSQL's files hold of an account after its removal, and when no more.

use std::fs;
use std::path::Path;

use super::private_server::PostgresServer;
use super::scene::Person;
use super::{Options, PostgresStore};
use crate::{
    Charge, Charged, FollowChange, FollowRecord, IndexId, PaidRequest, Removal, RequestId, ServerId, Store,
    StreamStep,
};

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
        let shared = if person.seed == bystander.seed { bystander } else { leaver };
        halves.extend((300..320).map(|contact| shared.half(contact, bit)));
        person.import(&store, halves).await;
    }
    store.dismiss(leaver.account(), partner.account(), 1).await.unwrap();
    // Follows and is followed, has paid for something, and is said to be gone.
    let server_id = ServerId([1; 16]);
    store.lease_stream("a".into(), server_id, 0, 9).await.unwrap().unwrap();
    let follow = |account, other| FollowChange {
        account,
        record: FollowRecord::from_bytes([1; 16]),
        other: Some(other),
    };
    let (one, two) = (leaver.account(), partner.account());
    let step = StreamStep {
        stream: "a".into(),
        server: server_id,
        cursor: 1,
        lease_until: 9,
        follows: vec![follow(one, two), follow(two, one)],
        departures: vec![one],
    };
    assert!(store.stream_step(step, 1).await.unwrap());
    let request =
        PaidRequest { account: one, id: RequestId::from_bytes([1; 16]), digest: [1; 32], expires_at: 9000 };
    let charge = Charge { request: Some(request), ..Charge::default() };
    assert_eq!(store.charge(charge, 1).await.unwrap(), Charged::Taken(0));
    let about = "SELECT (SELECT count(*) FROM follows), (SELECT count(*) FROM departures), (SELECT count(*) FROM paid)";
    assert_eq!(server.sql(&database, about), "2|1|1");
    // Is listed, and once more, behind others in each partition: else its pages would go with it.
    for seed in 100..140 {
        Person { seed }.enrol(&store).await;
    }
    for person in [bystander, partner, leaver, leaver] {
        person.enrol(&store).await;
    }
    leaver.accept(&store, 7).await;
    let checkpoint = || {
        server.sql(&database, "SELECT pg_switch_wal()");
        server.sql(&database, "CHECKPOINT");
    };
    checkpoint();
    // Before, the files show who is there; so what is searched for below could be found.
    let traces = leaver.traces();
    for (what, found) in traces.iter().zip(found(&server.data(), &traces)) {
        assert!(what.0 == "code" || !found.is_empty(), "{} is not found while it is there", what.0);
    }

    let pending = store.pending_import(leaver.account()).await.unwrap().unwrap();
    let named = Some((pending.id, vec![leaver.number()]));
    let removed = store.remove_data(leaver.account(), named, 2).await.unwrap();
    assert!(matches!(removed, Removal::Removed(removed) if removed.matches == 0 && removed.contacts == 220));
    server.sql(&database, "VACUUM");
    checkpoint();
    // Unreachable by SQL, and still in the pages. Should a later PostgreSQL clear them, the guide can promise more.
    assert!(!found(&server.data(), &traces)[0].is_empty(), "VACUUM alone has taken the pseudonym away");

    store.rewrite(|_, _| true).await.unwrap();
    // The second takes the segments away that the first still needed.
    checkpoint();
    checkpoint();
    for (what, found) in traces.iter().zip(found(&server.data(), &traces)) {
        assert!(found.is_empty(), "{} is in {found:?}", what.0);
    }
    // The others are there as before.
    assert_eq!(server.sql(&database, "SELECT count(*) FROM accounts"), "42");
    assert_eq!(store.count_listings(Some(IndexId { profile: 1, epoch: 1 }), 2).await.unwrap(), 42);
    let partner = [("pseudonym", partner.account().as_bytes().to_vec())];
    assert!(!found(&server.data(), &partner)[0].is_empty());
}

/// For each byte string, the files under a folder that hold it.
fn found(folder: &Path, parts: &[(&str, Vec<u8>)]) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new(); parts.len()];
    let mut begins = [false; 256];
    parts.iter().for_each(|(_, part)| begins[usize::from(part[0])] = true);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // PostgreSQL deletes files at any time.
            let bytes = fs::read(&path).unwrap_or_default();
            for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| begins[usize::from(**byte)]) {
                for (found, (_, part)) in found.iter_mut().zip(parts) {
                    if bytes[at..].starts_with(part) {
                        found.push(path.display().to_string());
                    }
                }
            }
        }
    }
    found
}
