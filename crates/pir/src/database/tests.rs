use std::sync::atomic::{AtomicBool, Ordering};

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::{Client, Configuration, EvaluationKeys, Lookup, Parameters, Place, SecretKey, Shape};

const SHAPE: Shape = Shape { rows: 4, columns: 8, slots: 4, answers: 2 };

struct World {
    client: Client,
    server: Server,
    secret: SecretKey,
    keys: EvaluationKeys,
    database: Database,
}

/// A table whose slots hold nothing but the byte that `fill` gives for row, column and slot.
fn world(fill: impl Fn(usize, usize, usize) -> u8) -> World {
    let configuration = Configuration::new(Parameters::new(SHAPE).unwrap(), b"epoch");
    let server = Server::new(configuration.clone());
    let words = Box::new(vec![0; configuration.parameters().table_words()]);
    let database = Database::build(&server, words, |row, column, bytes| {
        for (slot, bytes) in bytes.chunks_exact_mut(512).enumerate() {
            bytes.fill(fill(row, column, slot));
        }
    })
    .unwrap();
    let mut random = ChaCha20Rng::from_seed([9; 32]);
    let secret = SecretKey::generate(&mut random);
    let client = Client::new(configuration);
    let keys = server.read_keys(&client.evaluation_keys(&secret, &mut random)).unwrap();
    World { client, server, secret, keys, database }
}

impl World {
    fn look_up(&self, row: usize, places: [(usize, usize); 2], random: &mut ChaCha20Rng) -> Vec<Vec<u8>> {
        let places = places.map(|(column, slot)| Place { column, slot }).to_vec();
        let lookup = Lookup { row, places };
        let query = self.client.query(&self.secret, &lookup, random).unwrap();
        let query = self.server.read_query(&query).unwrap();
        let answer = self.server.answer(&self.database, &self.keys, &query).unwrap();
        self.client.recover(&self.secret, &lookup, &answer).unwrap()
    }
}

fn change(row: usize, column: usize, slot: usize, bytes: &[u8]) -> Change<'_> {
    Change { row, column, slot, offset: 0, bytes }
}

#[test]
fn a_table_reads_as_it_was_filled() {
    let world = world(|row, column, slot| (row * 32 + column * 4 + slot) as u8);
    for (row, column, slot) in [(0, 0, 0), (3, 7, 3), (1, 5, 2)] {
        let expected = vec![(row * 32 + column * 4 + slot) as u8; 512];
        assert_eq!(world.database.read(row, column, slot), Ok(expected));
    }
}

#[test]
fn a_part_of_a_slot_can_change() {
    let world = world(|_, _, _| 9);
    let bytes = [1; 128];
    let middle = Change { offset: 128, ..change(3, 3, 3, &bytes) };
    let end = Change { offset: 500, ..change(3, 3, 3, &bytes[..12]) };
    let nothing = Change { offset: 512, ..change(3, 3, 3, &[]) };
    world.database.apply(&[middle, end, nothing]).unwrap();
    let mut expected = [9; 512];
    expected[128..256].fill(1);
    expected[500..].fill(1);
    assert_eq!(world.database.read(3, 3, 3).unwrap(), expected);
    assert_eq!(world.database.read(3, 3, 2).unwrap(), [9; 512]);
}

#[test]
fn changes_are_answered_before_and_after_they_become_words() {
    let world = world(|_, _, slot| slot as u8);
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let (first, second) = ([200; 512], [100; 512]);
    {
        // A query that runs.
        let _reading = world.database.words();
        world.database.apply(&[change(2, 5, 1, &first), change(2, 5, 3, &second)]).unwrap();
        world.database.apply(&[change(2, 6, 1, &second)]).unwrap();
        // Two slots of one polynomial are one change.
        assert_eq!(world.database.pending().len(), 2);
        assert!(world.look_up(2, [(5, 1), (5, 3)], &mut random) == [first, second]);
        assert!(world.look_up(2, [(6, 1), (6, 0)], &mut random) == [second, [0; 512]]);
        assert_eq!(world.database.read(2, 5, 3).unwrap(), second);
        // Changed back.
        world.database.apply(&[change(2, 5, 3, &[3; 512])]).unwrap();
    }
    world.database.snapshot(|_| ());
    assert!(world.database.pending().is_empty());
    assert!(world.look_up(2, [(5, 1), (5, 3)], &mut random) == [first, [3; 512]]);
    assert!(world.look_up(2, [(6, 1), (5, 2)], &mut random) == [second, [2; 512]]);
    // Nobody reads: at once.
    world.database.apply(&[change(0, 0, 0, &first)]).unwrap();
    assert!(world.database.pending().is_empty());
    assert!(world.look_up(0, [(0, 0), (0, 1)], &mut random) == [first, [1; 512]]);
}

#[test]
fn a_table_with_merged_changes_is_the_one_built_with_them() {
    let changed = world(|_, _, _| 1);
    changed.database.apply(&[change(3, 1, 2, &[77; 512])]).unwrap();
    let built = world(|row, column, slot| if (row, column, slot) == (3, 1, 2) { 77 } else { 1 });
    assert!(changed.database.words().words() == built.database.words().words());
}

#[test]
fn a_polynomial_that_changes_often_waits_once() {
    let world = world(|_, _, _| 0);
    let reading = world.database.words();
    for _ in 0..2 * MOST_PENDING {
        world.database.apply(&[change(0, 0, 0, &[5; 512])]).unwrap();
    }
    assert_eq!(world.database.pending().len(), 1);
    drop(reading);
}

#[test]
fn a_writer_with_too_many_changes_waits_for_the_readers() {
    let shape = Shape { rows: 16, columns: 32, ..SHAPE };
    let server = Server::new(Configuration::new(Parameters::new(shape).unwrap(), b"epoch"));
    let words = Box::new(vec![0; server.configuration().parameters().table_words()]);
    let database = Database::build(&server, words, |_, _, _| ()).unwrap();
    let bytes = [5; 512];
    let changes: Vec<_> = (0..MOST_PENDING).map(|at| change(at % 16, at / 16, 1, &bytes)).collect();
    std::thread::scope(|scope| {
        let reading = database.words();
        database.apply(&changes[1..]).unwrap();
        assert_eq!(database.pending().len(), MOST_PENDING - 1);
        let writer = scope.spawn(|| database.apply(&changes[..1]));
        while database.pending().len() < MOST_PENDING {
            std::thread::yield_now();
        }
        drop(reading);
        writer.join().unwrap().unwrap();
        assert!(database.pending().is_empty());
    });
    assert_eq!(database.read(0, 0, 1).unwrap(), bytes);
    assert_eq!(database.read(15, 15, 1).unwrap(), bytes);
    assert_eq!(database.read(15, 15, 0).unwrap(), [0; 512]);
}

/// Tells the other thread to stop, when a test fails as well.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One thread moves a record between two places, all at once; queries of another find it in just one of them.
#[test]
fn queries_see_all_of_a_change_or_nothing() {
    let world = world(|_, _, _| 0);
    let (record, nothing) = ([0xa5; 512], [0; 512]);
    world.database.apply(&[change(1, 2, 0, &record)]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = AtTheEnd(&done);
        scope.spawn(|| {
            let mut here = true;
            while !done.load(Ordering::Relaxed) {
                let (left, right) = if here { (&nothing, &record) } else { (&record, &nothing) };
                world.database.apply(&[change(1, 2, 0, left), change(1, 7, 3, right)]).unwrap();
                here = !here;
            }
        });
        let mut random = ChaCha20Rng::from_seed([2; 32]);
        for _ in 0..50 {
            let found = world.look_up(1, [(2, 0), (7, 3)], &mut random);
            assert!(found == [record, nothing] || found == [nothing, record]);
        }
    });
}

#[test]
fn what_does_not_fit_the_table_is_refused_and_changes_nothing() {
    let world = world(|_, _, _| 6);
    let good = [1; 512];
    for (row, column, slot) in [(4, 0, 0), (0, 8, 0), (0, 0, 4), (usize::MAX, usize::MAX, usize::MAX)] {
        let changes = [change(0, 0, 0, &good), change(row, column, slot, &good)];
        assert_eq!(world.database.apply(&changes), Err(DatabaseError::Place));
        assert_eq!(world.database.read(row, column, slot), Err(DatabaseError::Place));
    }
    for (offset, length) in [(0, 513), (1, 512), (512, 1), (usize::MAX, 1)] {
        let bytes = vec![1; length];
        let changes = [change(0, 0, 0, &good), Change { offset, ..change(1, 1, 1, &bytes) }];
        assert_eq!(world.database.apply(&changes), Err(DatabaseError::Bytes(512)));
    }
    assert_eq!(world.database.read(0, 0, 0).unwrap(), [6; 512]);

    let expected = world.server.configuration().parameters().table_words();
    for found in [0, expected - 1, expected + 1] {
        let refused = Database::open(&world.server, Box::new(vec![0; found])).err();
        assert_eq!(refused, Some(DatabaseError::Storage { expected, found }));
        let refused = Database::build(&world.server, Box::new(vec![0; found]), |_, _, _| ()).err();
        assert_eq!(refused, Some(DatabaseError::Storage { expected, found }));
    }
}

#[test]
fn words_that_were_stored_can_be_opened() {
    let world = world(|_, column, _| column as u8);
    let stored = world.database.snapshot(<[u32]>::to_vec);
    let opened = Database::open(&world.server, Box::new(stored)).unwrap();
    assert_eq!(opened.read(0, 6, 0).unwrap(), [6; 512]);
}
