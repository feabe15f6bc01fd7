use super::*;
use crate::identifier::Sii;

const PROVIDER: &str = "contacts.example";

/// Computed with Python: see the file.
fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../../vectors/lookup/v1.json")).unwrap()
}

fn text<'a>(vector: &'a serde_json::Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

fn bytes(vector: &serde_json::Value, field: &str) -> Vec<u8> {
    hex::decode(text(vector, field)).unwrap()
}

fn epoch(vector: &serde_json::Value) -> u32 {
    vector["epoch"].as_u64().unwrap().try_into().unwrap()
}

fn keys(seed: u8) -> Keys {
    Keys::derive(&Scope::new(PROVIDER, "psm", 1).unwrap(), &[seed; 64])
}

#[test]
fn inputs_and_outputs_are_those_of_another_implementation() {
    let file = vectors();
    let vectors = file["inputs"].as_array().unwrap();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let sii = Sii::parse(text(vector, "sii")).unwrap();
        let input = input(&sii, vector["index"].as_u64().unwrap().try_into().unwrap());
        assert_eq!(*input, bytes(vector, "input"));
        for output in vector["pir_outputs"].as_array().unwrap() {
            let scope = Scope::new(text(output, "provider"), "pir", epoch(output)).unwrap();
            assert_eq!(pir_output(&scope, &input)[..], bytes(output, "output"));
        }
    }
}

#[test]
fn keys_and_records_are_those_of_another_implementation() {
    let file = vectors();
    let vectors = file["records"].as_array().unwrap();
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let (provider, account) = (text(vector, "provider"), text(vector, "account"));
        let mode = Mode::from_profile(text(vector, "profile")).unwrap();
        let scope = Scope::new(provider, mode.profile(), epoch(vector)).unwrap();
        assert_eq!(scope.as_bytes(), bytes(vector, "scope"));
        let keys = Keys::derive(&scope, &bytes(vector, "output").try_into().unwrap());
        assert_eq!(keys.shard().to_be_bytes()[..], bytes(vector, "shard"));
        let shards = [0, 1, 7, 16].map(|bits| shard_of(keys.shard(), bits));
        assert_eq!(serde_json::json!(shards), vector["shards"]);
        assert_eq!(keys.keyword()[..], bytes(vector, "keyword"));
        assert_eq!(keys.record_key[..], bytes(vector, "record_key"));
        assert_eq!(keys.record_tag[..], bytes(vector, "record_tag"));
        let record = seal_record(&keys, mode, provider, account).unwrap();
        assert_eq!(record[..], bytes(vector, "record"));
        assert_eq!(open_record(&keys, mode, provider, &record).as_deref(), Some(account));
    }
}

#[test]
fn what_is_not_ours_does_not_open() {
    let file = &vectors()["refused_records"];
    let records = file["records"].as_array().unwrap();
    assert_eq!(records.len(), 26);
    for vector in records {
        let mode = Mode::from_profile(text(vector, "profile")).unwrap();
        let scope = Scope::new(PROVIDER, mode.profile(), epoch(file)).unwrap();
        let keys = Keys::derive(&scope, &bytes(file, "output").try_into().unwrap());
        let why = text(vector, "why");
        let record = bytes(vector, "record");
        assert_eq!(open_record(&keys, mode, PROVIDER, &record), None, "{why}");
        // What stands before it is found all the same.
        let good = seal_record(&keys, mode, PROVIDER, "alice").unwrap();
        if record.len() == RECORD_BYTES {
            let slot = [&good[..], &record].concat();
            assert_eq!(find_record(&keys, mode, PROVIDER, &[slot]).as_deref(), Some("alice"), "{why}");
        }
    }
}

#[test]
fn shards_are_the_first_bits() {
    for (bits, shard) in
        [(0, 0), (1, 1), (4, 0xc), (16, 0xc0de), (31, 0x606f_0081), (32, 0xc0de_0102), (255, 0xc0de_0102)]
    {
        assert_eq!(shard_of(0xc0de_0102, bits), shard, "{bits}");
    }
}

#[test]
fn names_have_room_or_are_refused() {
    let keys = keys(1);
    assert_eq!(most_account_bytes(PROVIDER), 95);
    for mode in Mode::ALL {
        let seal = |provider: &str, account: &str| seal_record(&keys, mode, provider, account);
        assert!(seal(PROVIDER, &"x".repeat(95)).is_ok());
        assert_eq!(seal(PROVIDER, &"x".repeat(96)), Err(RecordError::TooLong(95)));
        assert!(seal(&"p".repeat(110), "x").is_ok());
        assert_eq!(seal(&"p".repeat(111), "x"), Err(RecordError::TooLong(0)));
        assert_eq!(seal(&"p".repeat(300), "x"), Err(RecordError::TooLong(0)));
        for (provider, account) in [("", "a"), (PROVIDER, ""), ("a\0b", "c"), (PROVIDER, "a\0")] {
            assert_eq!(seal(provider, account), Err(RecordError::NotAName));
        }
        // A provider that no record can be of.
        let record = seal(PROVIDER, "alice").unwrap();
        for provider in ["", "contacts\0example", &"p".repeat(112)] {
            assert_eq!(open_record(&keys, mode, provider, &record), None);
        }
    }
}

#[test]
fn the_record_is_found_wherever_it_stands_and_others_are_not() {
    for mode in Mode::ALL {
        let (mine, others) = (keys(1), keys(2));
        let other = seal_record(&others, mode, PROVIDER, "bob").unwrap();
        let record = seal_record(&mine, mode, PROVIDER, "alice").unwrap();
        for place in 0..8 {
            let mut records = vec![other; 8];
            let slots = |records: &[[u8; 128]]| records.chunks(4).map(<[_]>::concat).collect::<Vec<_>>();
            assert_eq!(find_record(&mine, mode, PROVIDER, &slots(&records)), None);
            records[place] = record;
            assert_eq!(find_record(&mine, mode, PROVIDER, &slots(&records)).as_deref(), Some("alice"));
            // Of two that open it is the first: nobody but who has the OPRF's key can make a second.
            records[7] = seal_record(&mine, mode, PROVIDER, "carol").unwrap();
            let wanted = if place == 7 { "carol" } else { "alice" };
            assert_eq!(find_record(&mine, mode, PROVIDER, &slots(&records)).as_deref(), Some(wanted));
        }
        let bits = 8 * RECORD_BYTES;
        for bit in (0..bits).step_by(if mode == Mode::Psm { 1 } else { 4 * bits }) {
            let mut broken = record;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_record(&mine, mode, PROVIDER, &broken), None, "{bit}");
        }
        for slots in [vec![], vec![vec![]], vec![record[..127].to_vec()], vec![[&[0], &record[..]].concat()]]
        {
            assert_eq!(find_record(&mine, mode, PROVIDER, &slots), None);
        }
    }
}

#[test]
fn of_two_that_are_ours_the_first_counts_also_if_it_names_no_account() {
    let keys = keys(1);
    let good = seal_record(&keys, Mode::Pir, PROVIDER, "alice").unwrap();
    let mut bad = good;
    bad[16 + PROVIDER.len() + 1] = 0xff;
    assert_eq!(open_record(&keys, Mode::Pir, PROVIDER, &bad), None);
    let find =
        |records: [[u8; RECORD_BYTES]; 2]| find_record(&keys, Mode::Pir, PROVIDER, &[records.concat()]);
    assert_eq!(find([bad, good]), None);
    assert_eq!(find([good, bad]).as_deref(), Some("alice"));
}

#[test]
fn modes_and_kinds_have_one_number_each() {
    for number in 0..=u8::MAX {
        assert_eq!(Mode::from_number(number).map(Mode::number), (number < 2).then_some(number));
        assert_eq!(Kind::from_number(number).map(Kind::number), (number < 2).then_some(number));
    }
    assert_eq!(Mode::ALL.map(|mode| Mode::from_profile(mode.profile())), Mode::ALL.map(Some));
    assert_eq!(Mode::from_profile("PSM"), None);
}

proptest::proptest! {
    /// The key stream that is taken off here is the crate's.
    #[test]
    fn what_is_sealed_opens(seed: [u8; 32], account in "[a-z:.ü]{1,40}", pir: bool) {
        let mode = if pir { Mode::Pir } else { Mode::Psm };
        let mut output = [0; 64];
        output[..32].copy_from_slice(&seed);
        let keys = Keys::derive(&Scope::new(PROVIDER, mode.profile(), 1).unwrap(), &output);
        let record = seal_record(&keys, mode, PROVIDER, &account).unwrap();
        proptest::prop_assert_eq!(open_record(&keys, mode, PROVIDER, &record), Some(account));
    }

    /// Whatever a server answers with.
    #[test]
    fn noise_does_not_open(slots: Vec<Vec<u8>>, seed: u8) {
        for mode in Mode::ALL {
            proptest::prop_assert_eq!(find_record(&keys(seed), mode, PROVIDER, &slots), None);
        }
    }
}
