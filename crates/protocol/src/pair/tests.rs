use acquaint_stretch::{Job, Worker};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use serde::Deserialize;
use sha2::Sha256;

use super::*;
use crate::identifier::Sii;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    submitter: String,
    contact: String,
    stretch_pepper: String,
    hsm_key: String,
    argon2id: Cost,
    stretched: String,
    pair_hash: String,
    order_bit: bool,
}

#[derive(Deserialize)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    version: String,
}

fn bytes(hex_digits: &str) -> [u8; 32] {
    hex::decode(hex_digits).unwrap().try_into().unwrap()
}

fn sii(uri: &str) -> Sii {
    Sii::parse(uri).unwrap()
}

#[test]
fn agrees_with_the_c_reference_of_argon2_and_pythons_hmac() {
    let file: File = serde_json::from_str(include_str!("../../../../vectors/pair/v1_python.json")).unwrap();
    assert_eq!(file.vectors.len(), 24);
    for (index, vector) in file.vectors.iter().enumerate() {
        let (submitter, contact) = (sii(&vector.submitter), sii(&vector.contact));
        let cost = &vector.argon2id;
        assert_eq!((cost.lanes, cost.version.as_str()), (1, "0x13"), "vector {index}");

        let pepper = StretchPepper::from_bytes(bytes(&vector.stretch_pepper));
        let pair = Pair::new(&submitter, &contact).unwrap();
        let mut tag = [0; 32];
        let job = Job { password: pair.as_bytes(), salt: pepper.as_bytes(), tag: &mut tag };
        let cost = acquaint_stretch::Cost::new(cost.memory_kib, cost.passes).unwrap();
        Worker::new(cost).unwrap().hash(&mut [job], || true).unwrap();
        let stretched = Stretched::from_bytes(tag);
        assert_eq!(hex::encode(stretched.as_bytes()), vector.stretched, "vector {index}");

        let pair_hash = pair_hash_with_key(&bytes(&vector.hsm_key), &stretched);
        assert_eq!(hex::encode(pair_hash.as_bytes()), vector.pair_hash, "vector {index}");
        assert_eq!(order_bit(&submitter, &contact), vector.order_bit, "vector {index}");
        assert_eq!(order_bit(&contact, &submitter), !vector.order_bit, "vector {index}");
    }
}

#[test]
fn nobody_is_their_own_contact() {
    let a = sii("tel:+12125550199");
    assert_eq!(Pair::new(&a, &a), Err(SameIdentifier));
    assert!(!order_bit(&a, &a));
}

#[test]
fn hmac_with_a_padded_key_is_rfc_2104s() {
    // RFC 4231 has no 32-byte key; the vectors above have. Here: another implementation's key handling.
    let (key, message) = ([0xaa; 32], [0x55; 32]);
    let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key).unwrap();
    hmac.update(&message);
    let expected: [u8; 32] = hmac.finalize().into_bytes().into();
    assert_eq!(pair_hash_with_key(&key, &Stretched::from_bytes(message)).as_bytes(), &expected);
}

#[test]
fn suites_have_names_and_sizes() {
    for suite in Suite::ALL {
        assert_eq!(Suite::by_name(suite.name), Some(suite));
    }
    assert_eq!(Suite::by_name("Standard"), None);
    let table = Suite::ALL.map(|suite| (suite.name, suite.memory_bytes() >> 20, suite.passes));
    assert_eq!(table, [("standard", 19, 2), ("hard", 64, 3), ("development", 1, 1)]);
}

#[test]
fn epochs_are_ordered_and_print_their_number() {
    assert!(EpochId::new(2) > EpochId::new(1));
    assert_eq!(EpochId::new(10).to_string(), "10");
    assert_eq!((EpochId::new(3).get(), Canonicalisation::CURRENT.get()), (3, 1));
}

#[test]
fn nothing_here_prints_what_it_holds() {
    let (a, b) = (sii("tel:+12125550199"), sii("tel:+12125550198"));
    let pair = Pair::new(&a, &b).unwrap();
    let (pepper, stretched) = (StretchPepper::from_bytes([0xab; 32]), Stretched::from_bytes([0xab; 32]));
    let printed = format!("{pair:?} {pepper:?} {stretched:?} {:?}", PairHash::from_bytes([0xab; 32]));
    let errors = format!("{SameIdentifier} {SameIdentifier:?}");
    for needle in ["55501", "171", "ab, ", "abab", "ABAB"] {
        assert!(!format!("{printed} {errors}").contains(needle), "{needle} in {printed} {errors}");
    }
}

fn any_sii() -> impl Strategy<Value = Sii> {
    prop_oneof![
        "[1-9][0-9]{1,14}".prop_map(|digits| sii(&format!("tel:+{digits}"))),
        "[a-z0-9]{1,8}@[a-z]{1,8}\\.example".prop_map(|address| sii(&format!("mailto:{address}"))),
    ]
}

proptest! {
    #[test]
    fn a_pair_has_no_order_and_its_bit_has(a in any_sii(), b in any_sii()) {
        prop_assume!(a != b);
        let pair = Pair::new(&a, &b).unwrap();
        prop_assert_eq!(&pair, &Pair::new(&b, &a).unwrap());
        let parts: Vec<&[u8]> = pair.as_bytes().split(|&byte| byte == 0).collect();
        prop_assert_eq!(parts, [a.as_bytes().min(b.as_bytes()), a.as_bytes().max(b.as_bytes())]);
        prop_assert_ne!(order_bit(&a, &b), order_bit(&b, &a));
    }
}
