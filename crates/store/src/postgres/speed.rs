//! Measures: `cargo test -p acquaint-store --lib postgres::speed -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use acquaint_protocol::pair::{EpochId, PairHash};

use super::PostgresStore;
use super::scene::Person;
use super::tests::fresh;
use crate::{Half, Store};

const STEP: u32 = 1000;

/// Random enough for an index, and the same for the same number.
fn half(number: u64) -> Half {
    let mut state = number.wrapping_mul(4);
    let mut hash = [0; 32];
    for part in hash.chunks_exact_mut(8) {
        state = state.wrapping_add(1);
        let mut mixed = state.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        part.copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes());
    }
    Half { hashes: vec![(EpochId::new(1), PairHash::from_bytes(hash))], bit: number.is_multiple_of(2) }
}

/// `workers` accounts at once, each with `steps` steps of new pairs.
async fn import(store: &Arc<PostgresStore>, first: u64, workers: u64, steps: u32) -> f64 {
    let mut leased = Vec::new();
    for worker in 0..workers {
        let person = Person { seed: first + worker };
        person.accept(store.as_ref(), steps * STEP).await;
        leased.push(store.next_import(0, 1_000_000_000).await.unwrap().unwrap());
    }
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for import in leased {
        let store = Arc::clone(store);
        tasks.push(tokio::spawn(async move {
            for step in 0..steps {
                let person = u64::from_be_bytes(import.account.as_bytes()[..8].try_into().unwrap());
                let base = person.wrapping_mul(1 << 20).wrapping_add(u64::from(step * STEP));
                let halves = (0..u64::from(STEP)).map(|number| half(base.wrapping_add(number))).collect();
                Person::step(store.as_ref(), &import, step * STEP, halves, 0).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let pairs = u32::try_from(workers).unwrap() * steps * STEP;
    f64::from(pairs) / begun.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn pairs_per_second() {
    let (database, store) = fresh().await;
    let store = Arc::new(store);
    let wanted: u64 = std::env::var("ROWS").map_or(1_000_000, |rows| rows.parse().unwrap());
    let mut rows = 0;
    let mut seed = 1000;
    while rows < wanted {
        let speed = import(&store, seed, 4, 50).await;
        seed += 4;
        rows += 200_000;
        println!("{rows} rows: {speed:.0} pairs/s on 4 connections");
    }
    let one = import(&store, seed, 1, 20).await;
    println!("{one:.0} pairs/s on 1 connection");
    let server = super::private_server::PostgresServer::shared();
    let sizes =
        "SELECT regexp_replace(i.relname, '_[0-9]+_', '_'), pg_size_pretty(sum(pg_relation_size(i.oid)))
         FROM pg_class i WHERE relkind IN ('i', 'r') AND relname LIKE 'pairs%' GROUP BY 1 ORDER BY 1";
    println!("{}", server.sql(&database, sizes));
}
