use chacha20::ChaCha20Rng;
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};
use sha2::Digest;

use super::*;
use crate::{Client, Configuration, Database, Lookup, Place, SecretKey, Server, Shape};

const SHAPE: Shape = Shape { rows: 8, columns: 4, slots: 4, answers: 2 };

struct Messages {
    server: Server,
    client: Client,
    secret: SecretKey,
    lookup: Lookup,
    query: Vec<u8>,
    keys: Vec<u8>,
}

fn messages() -> Messages {
    let configuration = Configuration::new(Parameters::new(SHAPE).unwrap(), b"epoch");
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let client = Client::new(configuration.clone());
    let secret = SecretKey::generate(&mut random);
    let lookup = Lookup { row: 7, places: vec![Place { column: 3, slot: 3 }; 2] };
    Messages {
        query: client.query(&secret, &lookup, &mut random).unwrap(),
        keys: client.evaluation_keys(&secret, &mut random),
        server: Server::new(configuration),
        client,
        secret,
        lookup,
    }
}

fn changed(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// All that is wrong with `good`, by the decoder's errors. The first coefficient begins after the header.
fn refusals(good: &[u8], other_name: DecodeError, read: impl Fn(&[u8]) -> Option<DecodeError>) {
    assert_eq!(read(good), None);
    for length in [0, 1, 16, 17, 48, 49, good.len() / 2, good.len() - 1] {
        assert_eq!(read(&good[..length]), Some(DecodeError::Truncated), "{length} bytes");
    }
    let longer = [good, &[0]].concat();
    assert_eq!(read(&longer), Some(DecodeError::Oversized));
    assert_eq!(read(&changed(good, 0)), Some(DecodeError::Version));
    for at in 1..17 {
        assert_eq!(read(&changed(good, at)), Some(other_name));
    }
    let mut range = good.to_vec();
    range[HEADER..HEADER + 7].fill(255);
    assert_eq!(read(&range), Some(DecodeError::Range));
}

#[test]
fn a_query_that_is_none_is_refused_by_name() {
    let Messages { server, query, .. } = messages();
    refusals(&query, DecodeError::Configuration, |bytes| server.read_query(bytes).err());
    let parameters = server.configuration().parameters().clone();
    let other_epoch = Server::new(Configuration::new(parameters, b"the next"));
    assert_eq!(other_epoch.read_query(&query).err(), Some(DecodeError::Configuration));
    let other_shape = Parameters::new(Shape { rows: 16, columns: 2, ..SHAPE }).unwrap();
    let other_shape = Server::new(Configuration::new(other_shape, b"epoch"));
    assert_eq!(other_shape.read_query(&query).err(), Some(DecodeError::Configuration));
    // 8 + 2 · 4 · 3 coefficients of 50 bits take 200 bytes, so this shape has none to spare; the next has four bits.
    assert_eq!(server.read_query(&changed(&query, query.len() - 1)).err(), None);
    let configuration = Configuration::new(Parameters::new(Shape { rows: 1, ..SHAPE }).unwrap(), b"epoch");
    let server = Server::new(configuration.clone());
    let mut random = ChaCha20Rng::from_seed([2; 32]);
    let lookup = Lookup { row: 0, places: vec![Place { column: 0, slot: 0 }; 2] };
    let mut query =
        Client::new(configuration).query(&SecretKey::generate(&mut random), &lookup, &mut random).unwrap();
    assert_eq!(server.read_query(&query).err(), None);
    let last = query.len() - 1;
    query[last] |= 0x80;
    assert_eq!(server.read_query(&query).err(), Some(DecodeError::Padding));
}

#[test]
fn keys_that_are_none_are_refused_by_name() {
    let Messages { server, keys, .. } = messages();
    refusals(&keys, DecodeError::Parameters, |bytes| server.read_keys(bytes).err());
    let mut range = keys.clone();
    let small = HEADER + server.configuration().parameters().large_keys_bytes();
    range[small..small + 4].fill(255);
    assert_eq!(server.read_keys(&range).err(), Some(DecodeError::Range));
    let single = Parameters::new(Shape { answers: 1, ..SHAPE }).unwrap();
    let single = Server::new(Configuration::new(single, b"epoch"));
    assert_eq!(single.read_keys(&keys).err(), Some(DecodeError::Parameters));
}

/// Whoever changes one of these changes the version.
#[test]
fn messages_are_what_they_have_always_been() {
    let Messages { server, query, keys, .. } = messages();
    let words = Box::new(vec![0; server.configuration().parameters().table_words()]);
    let database =
        Database::build(&server, words, |row, column, bytes| bytes.fill((16 * row + column) as u8));
    let keys_read = server.read_keys(&keys).unwrap();
    let answer = server.answer(&database.unwrap(), &keys_read, &server.read_query(&query).unwrap()).unwrap();
    let hash = |bytes: &[u8]| {
        let digest: [u8; 32] = sha2::Sha256::digest(bytes).into();
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(
        [hash(&keys), hash(&query), hash(&answer)],
        ["9cd8b62875238dd9", "ed00d8c848a65b53", "7e61b3bb67b8497a"]
    );
}

#[test]
fn an_answer_of_the_right_length_always_decodes() {
    let Messages { client, secret, lookup, .. } = messages();
    let length = client.configuration().parameters().answer_bytes();
    let recover = |answer: &[u8]| client.recover(&secret, &lookup, answer);
    let mut random = ChaCha20Rng::from_seed([3; 32]);
    let mut answer = vec![VERSION; length];
    for _ in 0..20 {
        random.fill_bytes(&mut answer[1..]);
        let slots = recover(&answer).unwrap();
        assert_eq!(slots.iter().map(Vec::len).collect::<Vec<_>>(), [512, 512]);
    }
    for edge in [0, 255] {
        answer[1..].fill(edge);
        recover(&answer).unwrap();
    }
    assert_eq!(recover(&[]), Err(DecodeError::Truncated));
    assert_eq!(recover(&answer[..length - 1]), Err(DecodeError::Truncated));
    assert_eq!(recover(&answer[..100]), Err(DecodeError::Truncated));
    assert_eq!(recover(&[&answer[..], &[0]].concat()), Err(DecodeError::Oversized));
    answer[0] = 2;
    assert_eq!(recover(&answer), Err(DecodeError::Version));
}

#[test]
fn nothing_that_is_formatted_tells_a_secret() {
    let Messages { secret, lookup, query, keys, server, .. } = messages();
    assert_eq!(format!("{secret:?}"), "SecretKey");
    assert_eq!(format!("{lookup:?}"), "Lookup");
    assert_eq!(format!("{:?}", server.read_query(&query).unwrap()), "Query");
    assert_eq!(format!("{:?}", server.read_keys(&keys).unwrap()), "EvaluationKeys");
}

proptest! {
    #[test]
    fn numbers_come_back_as_they_were_packed(width in 1u32..=56, values in prop::collection::vec(any::<u64>(), 0..50)) {
        let mask = (1 << width) - 1;
        let mut bytes = Vec::new();
        pack(values.iter().copied(), width, &mut bytes);
        prop_assert_eq!(bytes.len(), packed_bytes(values.len(), width));
        let mut out = vec![0; values.len()];
        unpack(&bytes, width, mask + 1, out.iter_mut()).unwrap();
        for (out, value) in out.iter().zip(&values) {
            prop_assert_eq!(*out, value & mask);
        }
    }

    #[test]
    fn random_bytes_are_refused_and_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let server = Server::new(Configuration::new(Parameters::new(SHAPE).unwrap(), b"epoch"));
        prop_assert!(server.read_query(&bytes).is_err());
        prop_assert!(server.read_keys(&bytes).is_err());
    }
}
