use acquaint_pir::{Client, Configuration, Parameters, SecretKey, Server, Shape};
use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

fn some_keys(count: u8) -> Vec<EvaluationKeys> {
    let shape = Shape { rows: 4, columns: 4, slots: 4, answers: 2 };
    let configuration = Configuration::new(Parameters::new(shape).unwrap(), b"");
    let (server, client) = (Server::new(configuration.clone()), Client::new(configuration));
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let secret = SecretKey::generate(&mut random);
    let message = client.evaluation_keys(&secret, &mut random);
    (0..count).map(|_| server.read_keys(&message).unwrap()).collect()
}

fn who(number: u32) -> Pseudonym {
    let [a, b, c, d] = number.to_be_bytes();
    Pseudonym::from_bytes([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

#[test]
fn keys_are_their_owners_alone_and_end() {
    let held = SessionKeys::new(1 << 30);
    let mut keys = some_keys(5);
    held.put(who(1), ([1; 16], keys.pop().unwrap()), (0, 100)).unwrap();
    assert!(held.get(who(1), [1; 16], 99).is_some());
    assert!(held.get(who(1), [2; 16], 99).is_none(), "another id");
    assert!(held.get(who(2), [1; 16], 99).is_none(), "another session's");
    assert!(held.get(who(1), [1; 16], 100).is_none(), "expired");
    // Those of some devices stand beside each other; of too many, the ones that were not used for longest go.
    for (number, keys) in (2..=5).zip(keys) {
        held.put(who(1), ([number; 16], keys), (i64::from(number), 110)).unwrap();
        held.touch(who(1), [2; 16], 50);
    }
    let there =
        |now| (1..=5).filter(|number| held.get(who(1), [*number; 16], now).is_some()).collect::<Vec<u8>>();
    assert_eq!(there(60), [2, 3, 4, 5], "1 has expired");
    let keys = some_keys(1).pop().unwrap();
    held.put(who(1), ([6; 16], keys), (60, 120)).unwrap();
    assert_eq!(there(60), [2, 4, 5], "3 was not used for longest");
    held.sweep(110);
    assert_eq!(held.held().of.len(), 1);
}

#[test]
fn many_sessions_take_no_more_memory_than_they_may_and_push_out_nobody_who_is_at_it() {
    let mut keys = some_keys(1);
    let each = u64::try_from(keys[0].memory_bytes()).unwrap();
    let held = SessionKeys::new(3 * each);
    let expiry = 24 * 60 * 60 * 1000;
    held.put(who(0), ([0; 16], keys.pop().unwrap()), (0, expiry)).unwrap();
    let (mut kept, mut refused) = (1, 0);
    for (number, keys) in (1..).zip(some_keys(20)) {
        match held.put(who(number), ([0; 16], keys), (i64::from(number), expiry)) {
            Ok(()) => kept += 1,
            Err(NoRoom(pause)) => {
                assert_eq!(pause, IDLE_MS - i64::from(number), "until the first is idle");
                refused += 1;
            }
        }
        assert!(held.held().bytes <= 3 * each);
    }
    assert_eq!((kept, refused), (3, 18));
    assert!(held.get(who(0), [0; 16], 21).is_some(), "still there");
    held.touch(who(0), [0; 16], 21);
    // When some are idle they make room, those that were used last staying; the first was used at 21.
    let mut keys = some_keys(2);
    held.put(who(100), ([0; 16], keys.pop().unwrap()), (IDLE_MS + 1, expiry)).unwrap();
    held.put(who(101), ([0; 16], keys.pop().unwrap()), (IDLE_MS + 2, expiry)).unwrap();
    assert!(held.get(who(0), [0; 16], IDLE_MS + 3).is_some());
    assert!(held.get(who(1), [0; 16], IDLE_MS + 3).is_none());
    // Expired ones need not be idle.
    let keys = some_keys(1).pop().unwrap();
    held.put(who(102), ([0; 16], keys), (expiry, 2 * expiry)).unwrap();
    assert_eq!(held.held().of.len(), 1);
    assert_eq!(held.held().bytes, each);
}
