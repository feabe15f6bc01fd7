use std::collections::HashMap;

use chacha20::ChaCha20Rng;
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::{Client, Configuration, KeywordTable, Placement, SecretKey, Server};

fn random(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn keywords(count: usize, random: &mut ChaCha20Rng) -> Vec<Keyword> {
    (0..count).map(|_| Keyword::random(random)).collect()
}

fn shape(tables: usize, queries: usize) -> BatchShape {
    let shape = Shape { rows: 4, columns: 8, slots: 8, answers: 2 };
    BatchShape { tables, queries, shape }
}

#[test]
fn the_two_tables_of_a_keyword_differ_and_all_are_used() {
    let shape = shape(7, 4);
    let mut used = [[0; 7]; 7];
    for keyword in keywords(4200, &mut random(1)) {
        let [first, second] = shape.tables_of(&keyword);
        assert_ne!(first, second);
        used[first][second] += 1;
    }
    // 100 for each pair.
    assert!(used.iter().flatten().all(|count| *count == 0 || (60..150).contains(count)), "{used:?}");
    assert_eq!(used.iter().flatten().filter(|count| **count > 0).count(), 42);
}

#[test]
fn tables_do_not_follow_from_places_in_the_table() {
    // Where tables and rows follow from the same bits, the keywords of a table leave rows empty.
    let shape = BatchShape { tables: 4, ..shape(4, 4) };
    let mut rows = [0; 4];
    for keyword in keywords(2000, &mut random(2)) {
        if shape.tables_of(&keyword)[0] == 0 {
            rows[keyword.lookup(shape.shape).row] += 1;
        }
    }
    assert!(rows.iter().all(|count| (80..170).contains(count)), "{rows:?}");
}

/// Whether every plan has what it must have.
fn check(plan: &Plan, keywords: &[Keyword], shape: &BatchShape) {
    assert_eq!((plan.placed.len(), plan.keywords.len()), (shape.total(), shape.total()));
    let mut seen = vec![0; keywords.len()];
    for (query, place) in plan.placed.iter().enumerate() {
        let Some(place) = *place else { continue };
        seen[place] += 1;
        assert!(shape.tables_of(&keywords[place]).contains(&(query / shape.queries)));
        assert_eq!(plan.keywords[query].as_bytes(), keywords[place].as_bytes());
    }
    for place in &plan.left {
        seen[*place] += 1;
    }
    assert!(seen.iter().all(|count| *count == 1), "each is placed once or left");
}

/// How many can be placed at most: a maximum flow, by brute force over all choices.
fn most(keywords: &[Keyword], shape: &BatchShape) -> usize {
    (0..3usize.pow(keywords.len() as u32))
        .filter_map(|mut choices| {
            let mut held = vec![0; shape.tables];
            let mut count = 0;
            for keyword in keywords {
                let choice = choices % 3;
                choices /= 3;
                if choice < 2 {
                    held[shape.tables_of(keyword)[choice]] += 1;
                    count += 1;
                }
            }
            held.iter().all(|held| *held <= shape.queries).then_some(count)
        })
        .max()
        .unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_keyword_is_placed_once_or_left(
        tables in 1usize..40, queries in 1usize..6, count in 0usize..200, seed: [u8; 32],
    ) {
        let mut random = ChaCha20Rng::from_seed(seed);
        let (keywords, shape) = (keywords(count, &mut random), shape(tables, queries));
        check(&Plan::new(&keywords, &shape, &mut random), &keywords, &shape);
    }

    #[test]
    fn no_plan_places_more(tables in 2usize..5, queries in 1usize..3, count in 0usize..7, seed: [u8; 32]) {
        let mut random = ChaCha20Rng::from_seed(seed);
        let (keywords, shape) = (keywords(count, &mut random), shape(tables, queries));
        let plan = Plan::new(&keywords, &shape, &mut random);
        prop_assert_eq!(keywords.len() - plan.left.len(), most(&keywords, &shape));
    }
}

#[test]
fn five_hundred_keywords_nearly_always_have_a_place() {
    let shape = BatchShape::for_records(1 << 20);
    let mut random = random(3);
    let mut left = 0;
    for _ in 0..400 {
        let keywords = keywords(500, &mut random);
        let plan = Plan::new(&keywords, &shape, &mut random);
        check(&plan, &keywords, &shape);
        left += plan.left.len();
    }
    println!("{left} of 200,000 are left");
    assert!(left <= 2, "{left}");
}

#[test]
fn queries_that_fill_up_are_for_something_else_each_time() {
    let (shape, mut random) = (shape(8, 4), random(4));
    let one = Plan::new(&[], &shape, &mut random);
    let other = Plan::new(&[], &shape, &mut random);
    let mut all: Vec<_> =
        one.keywords.iter().chain(&other.keywords).map(|keyword| *keyword.as_bytes()).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 64);
}

#[test]
fn tables_have_room_for_what_falls_to_them() {
    for count in [0, 1, 100, 20_000] {
        let shape = BatchShape::for_records(count);
        let mut tables: Vec<_> =
            (0..shape.tables).map(|_| Placement::new(shape.shape, BatchShape::ENTRIES)).collect();
        for keyword in keywords(count as usize, &mut random(5)) {
            for table in shape.tables_of(&keyword) {
                tables[table].insert(&keyword).unwrap();
            }
        }
    }
}

#[test]
fn records_are_found_in_a_batch() {
    let batch = shape(3, 2);
    let mut random = random(6);
    let records: HashMap<[u8; 16], [u8; 128]> = keywords(300, &mut random)
        .into_iter()
        .map(|keyword| {
            let mut record = [0; 128];
            random.fill_bytes(&mut record);
            (*keyword.as_bytes(), record)
        })
        .collect();
    let configuration = Configuration::new(batch.parameters().unwrap(), b"batch");
    let server = Server::new(configuration.clone());
    let tables: Vec<_> = (0..batch.tables)
        .map(|table| {
            let mut placement = Placement::new(batch.shape, BatchShape::ENTRIES);
            for bytes in records.keys() {
                let keyword = Keyword::new(*bytes);
                if batch.tables_of(&keyword).contains(&table) {
                    placement.insert(&keyword).unwrap();
                }
            }
            let words = Box::new(vec![0; configuration.parameters().table_words()]);
            let fill = |keyword: Option<&Keyword>, bytes: &mut [u8]| {
                if let Some(keyword) = keyword {
                    bytes.copy_from_slice(&records[keyword.as_bytes()]);
                }
            };
            KeywordTable::build(&server, words, placement, fill).unwrap()
        })
        .collect();
    let secret = SecretKey::generate(&mut random);
    let client = Client::new(configuration);
    let keys = server.read_keys(&client.evaluation_keys(&secret, &mut random)).unwrap();

    let mut asked: Vec<Keyword> = records.keys().take(3).map(|bytes| Keyword::new(*bytes)).collect();
    asked.push(Keyword::random(&mut random));
    let plan = Plan::new(&asked, &batch, &mut random);
    assert_eq!(plan.left.len(), 0);
    let mut found = vec![false; asked.len()];
    let lookups: Vec<_> = plan.keywords.iter().map(|keyword| keyword.lookup(batch.shape)).collect();
    let slots: Vec<_> = lookups
        .chunks(batch.queries)
        .zip(&tables)
        .flat_map(|(lookups, table)| {
            let query = client.query_all(&secret, lookups, &mut random).unwrap();
            let query = server.read_query(&query).unwrap();
            let answer = server.answer(table.database(), &keys, &query).unwrap();
            client.recover_all(&secret, lookups, &answer).unwrap()
        })
        .collect();
    for ((place, keyword), slots) in plan.placed.iter().zip(&plan.keywords).zip(&slots) {
        let Some(record) = records.get(keyword.as_bytes()) else { continue };
        found[place.unwrap()] = slots.concat().chunks_exact(128).any(|other| other == record);
    }
    assert_eq!(found, [true, true, true, false]);
}
