use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::{
    Client, Configuration, Database, Kernel, Lookup, Parameters, Place, SecretKey, Server, Shape,
};

/// A table of random records with a client and a server.
struct World {
    client: Client,
    secret: SecretKey,
    server: Server,
    database: Database,
    records: Vec<u8>,
    random: ChaCha20Rng,
}

impl World {
    fn new(shape: Shape, kernel: Kernel, seed: u8) -> Self {
        let mut random = ChaCha20Rng::from_seed([seed; 32]);
        let configuration = Configuration::new(Parameters::new(shape).unwrap(), b"test");
        let server = Server::with_kernel(configuration.clone(), kernel);
        let mut records = vec![0; configuration.parameters().polynomials() * 2048];
        random.fill_bytes(&mut records);
        let words = vec![0; configuration.parameters().table_words()];
        let database = Database::build(&server, Box::new(words), |row, column, bytes| {
            let index = row + shape.rows * column;
            bytes.copy_from_slice(&records[2048 * index..2048 * (index + 1)]);
        })
        .unwrap();
        let secret = SecretKey::generate(&mut random);
        Self { client: Client::new(configuration), secret, server, database, records, random }
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
}

#[test]
fn what_is_asked_is_answered() {
    let shapes = [
        Shape { rows: 8, columns: 4, slots: 4, answers: 2 },
        Shape { rows: 16, columns: 8, slots: 16, answers: 1 },
        Shape { rows: 1, columns: 1, slots: 2, answers: 1 },
        Shape { rows: 2, columns: 2, slots: 8, answers: 4 },
        Shape { rows: 4, columns: 1, slots: 2048, answers: 1 },
    ];
    for (shape, seed) in shapes.into_iter().zip(1..) {
        let mut world = World::new(shape, Kernel::best(), seed);
        let keys = world.client.evaluation_keys(&world.secret, &mut world.random);
        assert_eq!(keys.len(), world.client.configuration().parameters().keys_bytes());
        let keys = world.server.read_keys(&keys).unwrap();
        for _ in 0..4 {
            let lookup = world.random_lookup();
            let query = world.client.query(&world.secret, &lookup, &mut world.random).unwrap();
            assert_eq!(query.len(), world.client.configuration().parameters().query_bytes());
            let query = world.server.read_query(&query).unwrap();
            let answer = world.server.answer(&world.database, &keys, &query).unwrap();
            assert_eq!(answer.len(), world.client.configuration().parameters().answer_bytes());
            let found = world.client.recover(&world.secret, &lookup, &answer).unwrap();
            for (place, found) in lookup.places.iter().zip(&found) {
                assert!(found == world.stored(lookup.row, *place), "{shape:?}");
            }
        }
    }
}
