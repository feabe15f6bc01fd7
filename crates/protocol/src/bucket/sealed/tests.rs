use super::*;

fn keys(seed: u8) -> Keys {
    let scope = Scope::new("contacts.example", crate::bucket::SEALED, 1).unwrap();
    Keys::derive(&scope, &Output::from_bytes([seed; 64]))
}

/// Computed with Python's hmac and cryptography's AESGCMSIV: see the file.
#[test]
fn keys_and_entries_are_those_of_another_implementation() {
    #[derive(serde::Deserialize)]
    struct Vector {
        provider: String,
        profile: String,
        epoch: u32,
        output: String,
        location: String,
        entry_key: String,
        account: String,
        account_bytes: u16,
        entry: String,
    }

    #[derive(serde::Deserialize)]
    struct File {
        vectors: Vec<Vector>,
    }

    let file: File = serde_json::from_str(include_str!("../../../../../vectors/bucket/sealed.json")).unwrap();
    assert_eq!(file.vectors.len(), 4);
    for vector in file.vectors {
        let scope = Scope::new(&vector.provider, &vector.profile, vector.epoch).unwrap();
        let output = Output::from_bytes(hex::decode(vector.output).unwrap().try_into().unwrap());
        let keys = Keys::derive(&scope, &output);
        assert_eq!(format!("{:016x}", keys.location()), vector.location);
        assert_eq!(hex::encode(keys.entry_key()), vector.entry_key);
        let entry = seal_entry(&keys, &vector.account, vector.account_bytes).unwrap();
        assert_eq!(hex::encode(&entry), vector.entry);
        assert_eq!(open_entry(&keys, &entry).as_deref(), Some(vector.account.as_str()));
    }
}

#[test]
fn only_the_right_keys_open_an_entry() {
    let (right, wrong) = (keys(1), keys(2));
    let entry = seal_entry(&right, "did:plc:alice", 40).unwrap();
    assert_eq!(entry.len(), 40 + TAG_BYTES);
    assert_eq!(open_entry(&right, &entry).as_deref(), Some("did:plc:alice"));
    assert_eq!(open_entry(&wrong, &entry), None);
    for place in 0..entry.len() {
        let mut broken = entry.clone();
        broken[place] ^= 1;
        assert_eq!(open_entry(&right, &broken), None);
    }
    for length in 0..entry.len() {
        assert_eq!(open_entry(&right, &entry[..length]), None);
    }
    let other = seal_entry(&wrong, "did:plc:bob", 40).unwrap();
    assert_eq!(open_bucket(&right, [&other[..], &[7; 56], &entry]).as_deref(), Some("did:plc:alice"));
    assert_eq!(open_bucket(&right, [&other[..], &[7; 56], &[]]), None);
}

#[test]
fn names_have_bounds() {
    let keys = keys(1);
    assert!(seal_entry(&keys, &"a".repeat(40), 40).is_ok());
    assert_eq!(seal_entry(&keys, &"a".repeat(41), 40), Err(SealError::TooLong));
    assert_eq!(seal_entry(&keys, "", 40), Err(SealError::NotAName));
    assert_eq!(seal_entry(&keys, "a\0b", 40), Err(SealError::NotAName));
    assert_eq!(Scope::new("", "p", 1), Err(ScopeError));
    assert_eq!(Scope::new("a", &"p".repeat(256), 1), Err(ScopeError));
    assert!(Scope::new("a", &"p".repeat(255), 1).is_ok());
}

#[test]
fn every_part_of_the_scope_makes_other_keys() {
    let output = Output::from_bytes([1; 64]);
    let scopes = [("ab", "c", 1), ("a", "bc", 1), ("ab", "c", 2), ("ab", "d", 1), ("abc", "c", 1)];
    let all = scopes.map(|(provider, profile, epoch)| {
        let keys = Keys::derive(&Scope::new(provider, profile, epoch).unwrap(), &output);
        (keys.location(), *keys.entry_key())
    });
    for (place, one) in all.iter().enumerate() {
        assert!(all[place + 1..].iter().all(|other| one.0 != other.0 && one.1 != other.1));
    }
}

#[test]
fn prefixes_are_the_first_bits() {
    let location = 0x8123_4567_89ab_cdef;
    let expected = [(0, 0), (1, 1), (4, 8), (9, 0x102), (16, 0x8123), (32, 0x8123_4567), (33, 0x8123_4567)];
    for (bits, wanted) in expected {
        assert_eq!(prefix(location, bits), wanted, "{bits}");
    }
    assert_eq!(prefix(u64::MAX, 32), u32::MAX);
}

#[test]
fn filler_is_the_same_for_a_bucket_and_differs_between_them() {
    let filler = Filler::new([1; 32]);
    let made = |filler: &Filler, bits, prefix, length: usize| {
        let mut slots = vec![0xaa; length];
        filler.fill(bits, prefix, &mut slots);
        slots
    };
    let slots = made(&filler, 3, 17, 560);
    assert_eq!(made(&filler, 3, 17, 560), slots);
    assert_eq!(made(&filler, 3, 17, 280), slots[..280]);
    for other in [
        made(&filler, 4, 17, 560),
        made(&filler, 3, 18, 560),
        made(&filler, 17, 3, 560),
        made(&Filler::new([2; 32]), 3, 17, 560),
    ] {
        assert!(slots.iter().zip(&other).filter(|(one, other)| one == other).count() < 20);
    }
    assert!(slots.chunks(56).all(|slot| slot.iter().any(|byte| *byte != slot[0])));
}

fn shape() -> AnswerShape {
    AnswerShape { epoch: 1, layout: 3, prefix_bits: 9, slot_bytes: 5, slots: 3, count: 2 }
}

fn answer() -> Vec<u8> {
    shape().header().into_iter().chain(0..30).collect()
}

#[test]
fn an_answer_is_read_as_it_was_written() {
    let bytes = answer();
    assert_eq!(hex::encode(&bytes[..16]), "01000000010000000309000500030002");
    assert_eq!(u64::try_from(bytes.len()).unwrap(), shape().answer_bytes());
    let read = Buckets::decode_as(&bytes, shape()).unwrap();
    let slots: Vec<Vec<&[u8]>> = read.iter().map(Iterator::collect).collect();
    assert_eq!(slots.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    assert_eq!((slots[0][0], slots[1][2]), (&[0, 1, 2, 3, 4][..], &[25, 26, 27, 28, 29][..]));
}

#[test]
fn an_answer_of_another_shape_or_length_is_refused() {
    let good = answer();
    for length in 0..good.len() {
        let wanted = if length < 16 { AnswerError::NotAnAnswer } else { AnswerError::Length };
        assert_eq!(Buckets::decode(&good[..length]).err(), Some(wanted), "{length}");
    }
    let longer: Vec<u8> = good.iter().copied().chain([0]).collect();
    assert_eq!(Buckets::decode(&longer).err(), Some(AnswerError::Length));
    // Buckets without bytes would be any number of buckets.
    for (slot_bytes, slots) in [(0, 4), (4, 0)] {
        let empty = AnswerShape { epoch: 1, layout: 1, prefix_bits: 0, slot_bytes, slots, count: 9 };
        assert_eq!(Buckets::decode(&empty.header()).err(), Some(AnswerError::NotAnAnswer));
    }
    for (place, wanted) in [
        (0, AnswerError::NotAnAnswer),
        (1, AnswerError::OtherShape),
        (8, AnswerError::OtherShape),
        (9, AnswerError::NotAnAnswer),
        (11, AnswerError::Length),
        (13, AnswerError::Length),
        (15, AnswerError::Length),
    ] {
        let mut other = good.clone();
        other[place] ^= if place == 9 { 0x80 } else { 1 };
        assert_eq!(Buckets::decode_as(&other, shape()).err(), Some(wanted), "{place}");
    }
    // Numbers as large as they can be ask for 256 TiB, and nothing of it is made.
    let largest = AnswerShape { slot_bytes: u16::MAX, slots: u16::MAX, count: u16::MAX, ..shape() };
    assert_eq!(Buckets::decode(&largest.header()).err(), Some(AnswerError::Length));
}
