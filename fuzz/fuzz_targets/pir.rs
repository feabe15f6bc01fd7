//! Messages of private lookup: queries and evaluation keys as a server reads them, and answers as a client does.
//!
//! The first byte says which message the rest is. Queries and keys are refused or read, and whatever is read is answered;
//! an answer of the right length decodes to something.
#![no_main]

use std::sync::LazyLock;

use acquaint_pir::{
    Client, Configuration, Database, EvaluationKeys, Lookup, Parameters, Place, SecretKey, Server, Shape,
};
use chacha20::ChaCha20Rng;
use libfuzzer_sys::fuzz_target;
use rand_core::SeedableRng;

const SHAPE: Shape = Shape { rows: 2, columns: 2, slots: 8, answers: 2 };

struct World {
    server: Server,
    client: Client,
    secret: SecretKey,
    keys: EvaluationKeys,
    database: Database,
    lookups: Vec<Lookup>,
}

static WORLDS: LazyLock<Option<[World; 2]>> = LazyLock::new(|| Some([world(1)?, world(2)?]));

fn world(together: usize) -> Option<World> {
    let configuration = Configuration::new(Parameters::together(SHAPE, together).ok()?, b"fuzzed");
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let (server, client) = (Server::new(configuration.clone()), Client::new(configuration));
    let secret = SecretKey::generate(&mut random);
    let keys = server.read_keys(&client.evaluation_keys(&secret, &mut random)).ok()?;
    let words = vec![0; server.configuration().parameters().table_words()];
    let database = Database::build(&server, Box::new(words), |_, _, bytes| bytes.fill(7)).ok()?;
    let lookups = vec![Lookup { row: 1, places: vec![Place { column: 1, slot: 3 }; 2] }; together];
    Some(World { server, client, secret, keys, database, lookups })
}

fuzz_target!(|data: &[u8]| {
    let Some(worlds) = &*WORLDS else { panic!("the parameters are refused") };
    let Some((kind, rest)) = data.split_first() else { return };
    let world = &worlds[usize::from(kind & 1)];
    let parameters = world.server.configuration().parameters();
    match kind >> 1 {
        0 => {
            if let Ok(query) = world.server.read_query(rest) {
                assert_eq!(rest.len(), parameters.query_bytes());
                let answer = world.server.answer(&world.database, &world.keys, &query);
                assert_eq!(answer.map(|answer| answer.len()), Ok(parameters.answer_bytes()));
            }
        }
        1 => {
            // Keys are a megabyte: what there is stands at their end, and zeros before it, behind a true head.
            if let Some((head, tail)) = rest.split_first_chunk::<17>() {
                let mut bytes = vec![0; parameters.keys_bytes()];
                bytes[..17].copy_from_slice(head);
                let tail = &tail[..tail.len().min(bytes.len() - 17)];
                let at = bytes.len() - tail.len();
                bytes[at..].copy_from_slice(tail);
                let _ = world.server.read_keys(&bytes);
            }
            assert!(world.server.read_keys(rest).is_err() || rest.len() == parameters.keys_bytes());
        }
        _ => {
            let found = world.client.recover_all(&world.secret, &world.lookups, rest);
            let is_whole = rest.len() == parameters.answer_bytes() && rest.first() == Some(&1);
            assert_eq!(found.is_ok(), is_whole);
            if let Ok(found) = found {
                assert!(found.iter().flatten().all(|slot| slot.len() == parameters.slot_bytes()));
            }
        }
    }
});
