use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::{Client, Configuration, EvaluationKeys, Parameters, SecretKey, Server};

const SHAPE: Shape = Shape { rows: 4, columns: 8, slots: 4, answers: 2 };

fn keyword(random: &mut ChaCha20Rng) -> Keyword {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    Keyword::new(bytes)
}

fn random(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

#[test]
fn the_two_buckets_of_a_keyword_differ_and_all_are_used() {
    let mut random = random(1);
    let mut used = [[0; 32]; 4];
    for _ in 0..4000 {
        let keyword = keyword(&mut random);
        let (row, [first, second]) = keyword.candidates(SHAPE);
        assert_ne!(first, second);
        used[row][first] += 1;
        used[row][second] += 1;
        let lookup = keyword.lookup(SHAPE);
        assert_eq!(lookup.row, row);
        for (place, bucket) in lookup.places.iter().zip([first, second]) {
            assert_eq!(place.column * 4 + place.slot, bucket);
        }
    }
    // 62.5 for each on average.
    assert!(used.iter().flatten().all(|count| (30..100).contains(count)), "{used:?}");
    let single = Shape { columns: 1, slots: 1, ..SHAPE };
    assert_eq!(keyword(&mut random).candidates(single).1, [0, 0]);
}

#[test]
fn a_placement_holds_what_was_put_in_and_nothing_else() {
    let mut random = random(2);
    let mut placement = Placement::new(SHAPE, 4);
    let mut present: Vec<Keyword> = Vec::new();
    for step in 0..3000 {
        if step % 3 == 2 && !present.is_empty() {
            let gone = present.swap_remove(random.next_u32() as usize % present.len());
            let position = placement.find(&gone).unwrap();
            assert_eq!(placement.remove(&gone), Some(position));
            assert_eq!(placement.remove(&gone), None);
        } else {
            let new = keyword(&mut random);
            assert_eq!(placement.find(&new), None);
            match placement.insert(&new) {
                Ok(inserted) => {
                    assert_eq!(placement.find(&new), Some(inserted.position));
                    // Again: it stays where it is.
                    assert_eq!(placement.insert(&new).unwrap(), Inserted { moves: Vec::new(), ..inserted });
                    present.push(new);
                }
                Err(Full) => assert_eq!(placement.find(&new), None),
            }
        }
        assert_eq!(placement.len(), present.len());
        assert!(present.iter().all(|keyword| placement.find(keyword).is_some()));
    }
}

/// Until the first keyword finds no room, and to the end of each row.
#[test]
fn a_table_is_full_when_nine_tenths_are_used_and_a_row_at_the_end() {
    let shape = Shape { rows: 16, columns: 256, slots: 4, answers: 2 };
    let mut random = random(3);
    let mut placement = Placement::new(shape, 4);
    let mut present = Vec::new();
    let (mut at_first_refusal, mut longest) = (None, 0);
    for _ in 0..2 * placement.capacity() {
        let new = keyword(&mut random);
        match placement.insert(&new) {
            Ok(inserted) => {
                longest = longest.max(inserted.moves.len());
                present.push(new);
            }
            Err(Full) => {
                at_first_refusal.get_or_insert(placement.len());
            }
        }
    }
    let share = |count: usize| count as f64 / placement.capacity() as f64;
    println!(
        "first refusal at {:.3}, end at {:.3}, longest {longest}",
        share(at_first_refusal.unwrap()),
        share(placement.len())
    );
    assert!(share(at_first_refusal.unwrap()) > 0.93);
    assert!(share(placement.len()) > 0.98);
    assert!(longest < 40);
    assert!(present.iter().all(|keyword| placement.find(keyword).is_some()), "none was dropped");
    assert_eq!(placement.len(), present.len());
}

#[test]
fn a_million_keywords_have_room_in_their_shape() {
    let mut random = random(9);
    let mut placement = Placement::new(Shape::MILLION_KEYWORDS, 4);
    for _ in 0..1 << 20 {
        placement.insert(&keyword(&mut random)).unwrap();
    }
    assert_eq!(placement.capacity(), 1_179_648);
}

struct World {
    table: KeywordTable,
    client: Client,
    server: Server,
    secret: SecretKey,
    keys: EvaluationKeys,
}

const VACANT: [u8; 128] = [0xee; 128];

fn world(records: &HashMap<[u8; 16], Vec<u8>>) -> World {
    world_of(SHAPE, 4, records)
}

fn world_of(shape: Shape, entries: usize, records: &HashMap<[u8; 16], Vec<u8>>) -> World {
    let configuration = Configuration::new(Parameters::new(shape).unwrap(), b"epoch");
    let server = Server::new(configuration.clone());
    let mut placement = Placement::new(shape, entries);
    for bytes in records.keys() {
        placement.insert(&Keyword::new(*bytes)).unwrap();
    }
    let words = Box::new(vec![0; configuration.parameters().table_words()]);
    let table = KeywordTable::build(&server, words, placement, |keyword, bytes| match keyword {
        Some(keyword) => bytes.copy_from_slice(&records[&keyword.0]),
        None => bytes.fill(0xee),
    })
    .unwrap();
    let mut random = random(4);
    let secret = SecretKey::generate(&mut random);
    let client = Client::new(configuration);
    let keys = server.read_keys(&client.evaluation_keys(&secret, &mut random)).unwrap();
    World { table, client, server, secret, keys }
}

impl World {
    /// The records of both buckets.
    fn look_up(&self, keyword: &Keyword, random: &mut ChaCha20Rng) -> Vec<Vec<u8>> {
        let lookup = keyword.lookup(SHAPE);
        let query = self.client.query(&self.secret, &lookup, random).unwrap();
        let query = self.server.read_query(&query).unwrap();
        let answer = self.server.answer(self.table.database(), &self.keys, &query).unwrap();
        let slots = self.client.recover(&self.secret, &lookup, &answer).unwrap();
        slots.iter().flat_map(|slot| slot.chunks_exact(128)).map(<[u8]>::to_vec).collect()
    }
}

fn records(count: usize, random: &mut ChaCha20Rng) -> HashMap<[u8; 16], Vec<u8>> {
    (0..count)
        .map(|_| {
            let mut record = vec![0; 128];
            random.fill_bytes(&mut record);
            (keyword(random).0, record)
        })
        .collect()
}

#[test]
fn records_are_found_by_keyword_while_others_come_and_go() {
    let mut random = random(5);
    let mut expected = records(400, &mut random);
    let world = world(&expected);
    // Until rows are nearly full, so that records move.
    for (bytes, record) in records(70, &mut random) {
        match world.table.put(&Keyword::new(bytes), &record) {
            Ok(()) => drop(expected.insert(bytes, record)),
            Err(error) => assert_eq!(error, TableError::Full(Full)),
        }
    }
    let gone: Vec<_> = expected.keys().take(20).copied().collect();
    for bytes in &gone {
        expected.remove(bytes);
        assert_eq!(world.table.remove(&Keyword::new(*bytes), &VACANT), Ok(true));
        assert_eq!(world.table.remove(&Keyword::new(*bytes), &VACANT), Ok(false));
    }
    // A new record for a keyword that has one.
    let changed: Vec<_> = expected.keys().take(10).copied().collect();
    for bytes in changed {
        let record = vec![bytes[0]; 128];
        world.table.put(&Keyword::new(bytes), &record).unwrap();
        expected.insert(bytes, record);
    }
    assert_eq!(world.table.len(), expected.len());
    assert!(expected.len() > 440, "{}", expected.len());
    for (bytes, record) in &expected {
        let found = world.look_up(&Keyword::new(*bytes), &mut random);
        assert_eq!(found.iter().filter(|other| *other == record).count(), 1);
        // Whatever else is in the buckets is of others, or vacant.
        assert!(found.iter().all(|other| *other == VACANT || expected.values().any(|known| known == other)));
    }
}

/// Tells the other thread to stop, when a test fails as well.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Seven keywords come and go in a row of eight buckets for one record each. The one that stays is often moved, and
/// whoever reads both of its buckets finds it once.
#[test]
fn a_record_that_is_moved_is_found_at_all_times() {
    let shape = Shape { rows: 1, columns: 2, slots: 4, answers: 2 };
    let mut random = random(6);
    let stays = keyword(&mut random);
    let record = vec![0xa5; 512];
    let world = world_of(shape, 1, &HashMap::from([(stays.0, record.clone())]));
    let lookup = stays.lookup(shape);
    let places: Vec<_> = lookup.places.iter().map(|place| (0, place.column, place.slot)).collect();
    let moves = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = AtTheEnd(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let others: Vec<_> = (0..7).map(|_| keyword(&mut random)).collect();
                let before = world.table.placement().find(&stays);
                for other in &others {
                    match world.table.put(other, &[1; 512]) {
                        Ok(()) => (),
                        Err(error) => assert_eq!(error, TableError::Full(Full)),
                    }
                }
                moves.fetch_add(
                    usize::from(world.table.placement().find(&stays) != before),
                    Ordering::Relaxed,
                );
                for other in others {
                    world.table.remove(&other, &[0xee; 512]).unwrap();
                }
            }
        });
        let mut read = 0;
        while read < 2000 || moves.load(Ordering::Relaxed) < 200 {
            let slots = world.table.database().read_all(&places).unwrap();
            assert_eq!(slots.iter().filter(|slot| **slot == record).count(), 1, "after {read}");
            read += 1;
        }
    });
}

#[test]
fn a_table_that_was_stored_can_be_opened() {
    let mut random = random(8);
    let mut expected = records(300, &mut random);
    let World { table, client, server, secret, keys } = world(&expected);
    for (bytes, record) in records(20, &mut random) {
        table.put(&Keyword::new(bytes), &record).unwrap();
        expected.insert(bytes, record);
    }
    let (words, stored) = table.snapshot(|words, placement| {
        let stored: Vec<_> = placement.iter().map(|(position, keyword)| (position, *keyword)).collect();
        (words.to_vec(), stored)
    });
    assert_eq!(stored.len(), 320);
    let mut placement = Placement::new(SHAPE, 4);
    for (position, keyword) in &stored {
        placement.restore(*position, keyword).unwrap();
        assert_eq!(placement.restore(*position, keyword), Err(Misplaced), "there already");
    }
    let fresh = keyword(&mut random);
    let (row, [bucket, _]) = fresh.candidates(SHAPE);
    let taken = placement.keywords(row, bucket).position(|keyword| keyword.is_some()).unwrap();
    for position in [
        Position { row, bucket, entry: taken },
        Position { row, bucket, entry: 4 },
        Position { row: (row + 1) % 4, bucket, entry: 0 },
        Position { row: 4, bucket, entry: 0 },
        Position { row, bucket: 32, entry: 0 },
        Position { row: usize::MAX, bucket: usize::MAX, entry: usize::MAX },
    ] {
        assert_eq!(placement.restore(position, &fresh), Err(Misplaced), "{position:?}");
    }
    assert_eq!(placement.len(), 320);

    let table = KeywordTable::open(&server, Box::new(words), placement).unwrap();
    let world = World { table, client, server, secret, keys };
    for (bytes, record) in expected.iter().take(40) {
        let found = world.look_up(&Keyword::new(*bytes), &mut random);
        assert_eq!(found.iter().filter(|other| *other == record).count(), 1);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let world = world(&HashMap::new());
    let keyword = Keyword::new([1; 16]);
    for length in [0, 127, 129, 512] {
        assert_eq!(world.table.put(&keyword, &vec![1; length]), Err(TableError::Record(128)));
        assert_eq!(world.table.remove(&keyword, &vec![1; length]), Err(TableError::Record(128)));
    }
    assert!(world.table.is_empty());
    for (shape, entries) in [(Shape { rows: 8, ..SHAPE }, 4), (SHAPE, 3), (SHAPE, 0), (SHAPE, 1024)] {
        let words = Box::new(vec![0; world.server.configuration().parameters().table_words()]);
        let refused = KeywordTable::build(&world.server, words, Placement::new(shape, entries), |_, _| ());
        assert_eq!(refused.err(), Some(TableError::Placement), "{shape:?} {entries}");
    }
}
