//! Whole lookups.

use chacha20::ChaCha20Rng;
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};

use crate::parameters::AnswerBits;
use crate::{
    AnswerError, Change, Client, Configuration, Database, EvaluationKeys, Kernel, Lookup, LookupError,
    Parameters, Place, SecretKey, Server, Shape,
};

/// A table of random records with a client and a server.
struct World {
    client: Client,
    secret: SecretKey,
    server: Server,
    database: Database,
    records: Vec<u8>,
    random: ChaCha20Rng,
    keys: EvaluationKeys,
}

impl World {
    fn new(shape: Shape, kernel: Kernel, seed: u8) -> Self {
        let mut random = ChaCha20Rng::from_seed([seed; 32]);
        let mut records = vec![0; shape.rows * shape.columns * 2048];
        random.fill_bytes(&mut records);
        Self::holding(shape, kernel, records, random)
    }

    fn holding(shape: Shape, kernel: Kernel, records: Vec<u8>, random: ChaCha20Rng) -> Self {
        Self::of(Parameters::new(shape).unwrap(), kernel, records, random)
    }

    /// For queries of several lookups.
    fn together(shape: Shape, together: usize, seed: u8) -> Self {
        let mut random = ChaCha20Rng::from_seed([seed; 32]);
        let mut records = vec![0; shape.rows * shape.columns * 2048];
        random.fill_bytes(&mut records);
        Self::of(Parameters::together(shape, together).unwrap(), Kernel::best(), records, random)
    }

    fn of(parameters: Parameters, kernel: Kernel, records: Vec<u8>, mut random: ChaCha20Rng) -> Self {
        let shape = parameters.shape();
        let configuration = Configuration::new(parameters, b"test");
        let server = Server::with_kernel(configuration.clone(), kernel);
        let words = vec![0; configuration.parameters().table_words()];
        let database = Database::build(&server, Box::new(words), |row, column, bytes| {
            let index = row + shape.rows * column;
            bytes.copy_from_slice(&records[2048 * index..2048 * (index + 1)]);
        })
        .unwrap();
        let secret = SecretKey::generate(&mut random);
        let client = Client::new(configuration);
        let keys = client.evaluation_keys(&secret, &mut random);
        assert_eq!(keys.len(), client.configuration().parameters().keys_bytes());
        let keys = server.read_keys(&keys).unwrap();
        Self { client, secret, server, database, records, random, keys }
    }

    fn stored(&self, row: usize, place: Place) -> &[u8] {
        let parameters = self.client.configuration().parameters();
        let size = parameters.slot_bytes();
        let index = row + parameters.shape().rows * place.column;
        &self.records[2048 * index + size * place.slot..][..size]
    }

    fn random_lookup(&mut self) -> Lookup {
        let shape = self.client.configuration().parameters().shape();
        let mut below = |most: usize| self.random.next_u32() as usize % most;
        Lookup {
            row: below(shape.rows),
            places: (0..shape.answers)
                .map(|_| Place { column: below(shape.columns), slot: below(shape.slots) })
                .collect(),
        }
    }

    fn places(&self) -> impl Iterator<Item = (usize, Place)> + use<> {
        let shape = self.client.configuration().parameters().shape();
        (0..shape.rows).flat_map(move |row| {
            (0..shape.columns * shape.slots)
                .map(move |at| (row, Place { column: at / shape.slots, slot: at % shape.slots }))
        })
    }

    /// The answer's bytes.
    fn ask(&mut self, lookup: &Lookup) -> Vec<u8> {
        let parameters = self.client.configuration().parameters();
        let query = self.client.query(&self.secret, lookup, &mut self.random).unwrap();
        assert_eq!(query.len(), parameters.query_bytes());
        let query = self.server.read_query(&query).unwrap();
        let answer = self.server.answer(&self.database, &self.keys, &query).unwrap();
        assert_eq!(answer.len(), parameters.answer_bytes());
        answer
    }

    fn look_up(&mut self, lookup: &Lookup) -> Vec<Vec<u8>> {
        let answer = self.ask(lookup);
        self.client.recover(&self.secret, lookup, &answer).unwrap()
    }
}

const SMALL: Shape = Shape { rows: 8, columns: 4, slots: 4, answers: 2 };

#[test]
fn every_record_of_a_table_is_found() {
    let mut world = World::new(SMALL, Kernel::best(), 1);
    let places: Vec<_> = world.places().collect();
    for (row, place) in places {
        // The second lookup of the query is for the place at the other end of the row.
        let other = Place { column: SMALL.columns - 1 - place.column, slot: SMALL.slots - 1 - place.slot };
        let found = world.look_up(&Lookup { row, places: vec![place, other] });
        assert!(found[0] == world.stored(row, place));
        assert!(found[1] == world.stored(row, other));
    }
}

#[test]
fn every_shape_answers() {
    let shapes = [
        Shape { rows: 16, columns: 8, slots: 16, answers: 1 },
        Shape { rows: 1, columns: 1, slots: 2, answers: 1 },
        Shape { rows: 2, columns: 2, slots: 8, answers: 4 },
        Shape { rows: 4, columns: 1, slots: 2048, answers: 1 },
        Shape { rows: 1, columns: 32, slots: 4, answers: 2 },
        Shape { rows: 128, columns: 2, slots: 4, answers: 1 },
        Shape { rows: 37, columns: 2, slots: 4, answers: 2 },
    ];
    for (shape, seed) in shapes.into_iter().zip(2..) {
        let mut world = World::new(shape, Kernel::best(), seed);
        for _ in 0..4 {
            let lookup = world.random_lookup();
            for (place, found) in lookup.places.iter().zip(world.look_up(&lookup)) {
                assert!(found == world.stored(lookup.row, *place), "{shape:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_stored_is_found(
        (rows, columns, slots, answers) in (1usize..20, 0u32..4, 2u32..8, 0u32..2),
        fill in prop_oneof![Just(None), Just(Some(0)), Just(Some(128)), Just(Some(255))],
        seed: [u8; 32],
    ) {
        let shape = Shape { rows, columns: 1 << columns, slots: 1 << slots, answers: 1 << answers };
        let mut random = ChaCha20Rng::from_seed(seed);
        let mut records = vec![0; shape.rows * shape.columns * 2048];
        match fill {
            Some(byte) => records.fill(byte),
            None => random.fill_bytes(&mut records),
        }
        let mut world = World::holding(shape, Kernel::best(), records, random);
        let lookup = world.random_lookup();
        for (place, found) in lookup.places.iter().zip(world.look_up(&lookup)) {
            prop_assert!(found == world.stored(lookup.row, *place));
        }
    }
}

#[test]
fn all_kernels_answer_alike() {
    let answers = |kernel| {
        let mut world = World::new(Shape { columns: 16, ..SMALL }, kernel, 3);
        let bytes = [7; 512];
        world.database.apply(&[Change { row: 1, column: 2, slot: 3, offset: 0, bytes: &bytes }]).unwrap();
        (0..3)
            .map(|_| {
                let lookup = world.random_lookup();
                world.ask(&lookup)
            })
            .collect::<Vec<_>>()
    };
    let expected = answers(Kernel::PORTABLE);
    for kernel in Kernel::available() {
        assert!(answers(kernel) == expected, "{kernel:?}");
    }
}

#[test]
fn one_pass_answers_many_as_each_alone() {
    // Less than a group of columns, and two groups.
    for columns in [4, 16] {
        let mut world = World::new(Shape { columns, ..SMALL }, Kernel::best(), 9);
        let sessions: Vec<_> = (0..3)
            .map(|_| {
                let secret = SecretKey::generate(&mut world.random);
                let keys = world.client.evaluation_keys(&secret, &mut world.random);
                (world.server.read_keys(&keys).unwrap(), secret)
            })
            .collect();
        let asked: Vec<_> = (0..5)
            .map(|at| {
                let (keys, secret) = &sessions[at % 3];
                let lookup = world.random_lookup();
                let query = world.client.query(secret, &lookup, &mut world.random).unwrap();
                (keys, secret, lookup, world.server.read_query(&query).unwrap())
            })
            .collect();
        let questions: Vec<_> = asked.iter().map(|(keys, _, _, query)| (*keys, query)).collect();
        let answers = world.server.answer_all(&world.database, &questions).unwrap();
        assert_eq!(answers.len(), 5);
        for ((keys, secret, lookup, query), answer) in asked.iter().zip(&answers) {
            assert!(*answer == world.server.answer(&world.database, keys, query).unwrap());
            let found = world.client.recover(secret, lookup, answer).unwrap();
            for (place, found) in lookup.places.iter().zip(found) {
                assert!(found == world.stored(lookup.row, *place));
            }
        }
        assert_eq!(world.server.answer_all(&world.database, &[]), Ok(Vec::new()));
    }
}

#[test]
fn empty_slots_are_answered_with_zeros() {
    let mut world =
        World::holding(SMALL, Kernel::best(), vec![0; 8 * 4 * 2048], ChaCha20Rng::from_seed([4; 32]));
    let lookup = world.random_lookup();
    assert!(world.look_up(&lookup).iter().all(|slot| *slot == [0; 512]));
}

#[test]
fn keys_of_another_session_make_noise_and_nothing_else() {
    let mut world = World::new(SMALL, Kernel::best(), 5);
    let other = SecretKey::generate(&mut world.random);
    let lookup = world.random_lookup();
    let query = world.client.query(&other, &lookup, &mut world.random).unwrap();
    let query = world.server.read_query(&query).unwrap();
    let answer = world.server.answer(&world.database, &world.keys, &query).unwrap();
    for secret in [&world.secret, &other] {
        let found = world.client.recover(secret, &lookup, &answer).unwrap();
        assert!(found[0] != world.stored(lookup.row, lookup.places[0]));
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let mut world = World::new(SMALL, Kernel::best(), 6);
    let other_epoch = {
        let parameters = Parameters::new(SMALL).unwrap();
        Server::new(Configuration::new(parameters, b"another"))
    };
    let lookup = world.random_lookup();
    let query = world.client.query(&world.secret, &lookup, &mut world.random).unwrap();
    let query = world.server.read_query(&query).unwrap();
    let refused = other_epoch.answer(&world.database, &world.keys, &query);
    assert_eq!(refused, Err(AnswerError::Database));

    let words = Box::new(vec![0; Parameters::new(SMALL).unwrap().table_words()]);
    let elsewhere = Database::open(&other_epoch, words).unwrap();
    let refused = other_epoch.answer(&elsewhere, &world.keys, &query);
    assert_eq!(refused, Err(AnswerError::Query));
    let refused = world.server.answer(&elsewhere, &world.keys, &query);
    assert_eq!(refused, Err(AnswerError::Database));

    let single = World::new(Shape { answers: 1, ..SMALL }, Kernel::best(), 6);
    let refused = world.server.answer(&world.database, &single.keys, &query);
    assert_eq!(refused, Err(AnswerError::Keys));
}

#[test]
fn lookups_of_one_query_are_answered_each() {
    // Slots of 512 bytes fill a ciphertext with two; of smaller ones it takes four.
    for (slots, together, ciphertexts) in [(4, 2, 2), (8, 1, 1), (8, 2, 1), (8, 8, 4), (16, 4, 2)] {
        let shape = Shape { slots, ..SMALL };
        let mut world = World::together(shape, together, 8);
        assert_eq!(world.client.configuration().parameters().answer_ciphertexts(), ciphertexts);
        let asked: Vec<_> = (0..2)
            .map(|_| {
                let lookups: Vec<_> = (0..together).map(|_| world.random_lookup()).collect();
                let query = world.client.query_all(&world.secret, &lookups, &mut world.random).unwrap();
                (lookups, world.server.read_query(&query).unwrap())
            })
            .collect();
        let queries: Vec<_> = asked.iter().map(|(_, query)| (&world.keys, query)).collect();
        let answers = world.server.answer_all(&world.database, &queries).unwrap();
        for ((lookups, _), answer) in asked.iter().zip(&answers) {
            assert_eq!(answer.len(), world.client.configuration().parameters().answer_bytes());
            let found = world.client.recover_all(&world.secret, lookups, answer).unwrap();
            assert_eq!(found.len(), together);
            for (lookup, found) in lookups.iter().zip(found) {
                for (place, found) in lookup.places.iter().zip(found) {
                    assert!(found == world.stored(lookup.row, *place), "{slots} {together}");
                }
            }
        }
    }
}

#[test]
fn a_query_makes_as_many_lookups_as_its_parameters_say() {
    let mut world = World::together(SMALL, 2, 9);
    let lookup = world.random_lookup();
    for lookups in [vec![], vec![lookup.clone()], vec![lookup.clone(); 3]] {
        let refused = world.client.query_all(&world.secret, &lookups, &mut world.random);
        assert_eq!(refused, Err(LookupError::Lookups(2)));
    }
    let refused = world.client.query(&world.secret, &lookup, &mut world.random);
    assert_eq!(refused, Err(LookupError::Lookups(2)));
    // Keys are those of a single lookup.
    let single = World::new(SMALL, Kernel::best(), 9);
    let query = world.client.query_all(&world.secret, &[lookup.clone(), lookup], &mut world.random).unwrap();
    let query = world.server.read_query(&query).unwrap();
    assert!(world.server.answer(&world.database, &single.keys, &query).is_ok());
}

/// Over more than 100,000 coefficients, the noise of answers is as large as the parameters say.
#[test]
fn noise_is_as_predicted() {
    let shape = Shape { rows: 64, columns: 16, slots: 4, answers: 2 };
    let mut parameters = Parameters::new(shape).unwrap();
    // Rounded little, it is normal.
    parameters.bits = AnswerBits::MOST;
    let mut random = ChaCha20Rng::from_seed([7; 32]);
    let mut records = vec![0; shape.rows * shape.columns * 2048];
    random.fill_bytes(&mut records);
    noise_of(World::of(parameters, Kernel::best(), records, random), 100);
}

/// The same for batches, whose answers have fewer bits.
#[test]
fn noise_of_several_lookups_is_as_predicted() {
    noise_of(World::together(Shape { rows: 32, columns: 16, slots: 8, answers: 2 }, 4, 7), 50);
}

fn noise_of(mut world: World, queries: usize) {
    let parameters = world.client.configuration().parameters().clone();
    let (shape, slot_bytes, bits) = (parameters.shape(), parameters.slot_bytes(), parameters.bits.a);
    let mut errors = Vec::new();
    for _ in 0..queries {
        let lookups: Vec<_> = (0..parameters.lookups()).map(|_| world.random_lookup()).collect();
        let query = world.client.query_all(&world.secret, &lookups, &mut world.random).unwrap();
        let query = world.server.read_query(&query).unwrap();
        let answer = world.server.answer(&world.database, &world.keys, &query).unwrap();
        let phases = world.client.phases(&world.secret, &answer).unwrap();
        let places = lookups.iter().flat_map(|lookup| lookup.places.iter().map(|place| (lookup.row, *place)));
        for ((row, place), slot) in places.zip(phases.chunks_exact(slot_bytes)) {
            let index = row + shape.rows * place.column;
            let mask = world.server.tables.mask.polynomial(index);
            let mask = &mask[slot_bytes * place.slot..];
            for ((phase, stored), mask) in slot.iter().zip(world.stored(row, place)).zip(mask) {
                let expected = u64::from(stored ^ mask) << (bits - 8);
                // In units of the distance between two bytes, from −128 to 128.
                let error = (phase.wrapping_sub(expected) << (64 - bits)).cast_signed() >> (64 - bits);
                errors.push(error as f64 / f64::from(1 << (bits - 8)));
            }
        }
    }
    assert!(errors.len() > 100_000);
    let count = errors.len() as f64;
    let mean = errors.iter().sum::<f64>() / count;
    let deviation = (errors.iter().map(|error| error * error).sum::<f64>() / count).sqrt();
    let predicted = world.client.configuration().parameters().noise().answer.sqrt();
    let largest = errors.iter().fold(0f64, |largest, error| largest.max(error.abs()));
    println!("mean {mean:.5}, deviation {deviation:.5}, predicted {predicted:.5}, largest {largest:.4}");
    assert!(mean.abs() < 4.0 * predicted / count.sqrt() + 0.001, "{mean}");
    assert!((0.95..1.03).contains(&(deviation / predicted)), "{deviation} against {predicted}");
    println!("{:?}, {:?}", parameters.bits, parameters.noise());
    // Of 100,000 normal variables one is beyond 4.4 deviations.
    let step = 256.0 / f64::from(1 << parameters.bits.b);
    let without_b = (predicted.powi(2) - step.powi(2) / 12.0).sqrt();
    assert!(largest < 5.5 * without_b + step / 2.0, "{largest}");
    if parameters.bits != AnswerBits::MOST {
        return;
    }
    // The distribution is normal: shares within one, two and three deviations.
    for (deviations, share) in [(1.0, 0.6827), (2.0, 0.9545), (3.0, 0.9973)] {
        let within = errors.iter().filter(|error| error.abs() < deviations * deviation).count() as f64;
        assert!((within / count - share).abs() < 0.01, "{deviations}: {}", within / count);
    }
}
