use std::time::Duration;

use acquaint_protocol::pair::{Canonicalisation, StretchPepper, Suite};
use zeroize::Zeroizing;

use super::wire::{Answer, Failure, Request, fuzzing};
use crate::budget::KeyUsage;
use crate::random::random;
use crate::{KeyId, Purpose, ShareTag, Stretching};

fn requests() -> Vec<Vec<u8>> {
    let key = KeyId { purpose: Purpose::Pair, version: 0x0102_0304 };
    let requests = [
        Request::Keys,
        Request::Stretching(key),
        Request::Hmac { key, share: None, inputs: vec![] },
        Request::Hmac { key, share: Some(ShareTag([9; 16])), inputs: vec![b"", b"a", &[7; 300]] },
        Request::Seal { purpose: Purpose::Seal, aad: b"row", plaintext: b"text" },
        Request::Open { purpose: Purpose::Token, aad: b"", sealed: &[1; 60] },
        Request::Usage,
        Request::Audit(key),
    ];
    requests.iter().map(|request| request.frame().unwrap()[4..].to_vec()).collect()
}

fn answers() -> Vec<Vec<u8>> {
    let key = KeyId { purpose: Purpose::Account, version: 7 };
    let usage = KeyUsage {
        key,
        allowed: 1,
        used_today: 2,
        per_day: 3,
        per_second: 4,
        over_second: 5,
        over_day: 6,
        over_share: 7,
        unaccounted: Some(-8),
    };
    let stretching = Stretching {
        pepper: StretchPepper::from_bytes([5; 32]),
        suite: Suite::HARD,
        canonicalisation: Canonicalisation::new(3),
    };
    let failures = [
        Failure::NoSuchKey(key),
        Failure::WrongPurpose(key),
        Failure::NotOurs,
        Failure::Unavailable("the token is gone".into()),
        Failure::OverBudget { key, retry_after: Duration::from_millis(1234) },
        Failure::NotUnderstood("é".into()),
    ];
    let answers = [
        Answer::Keys(Purpose::ALL.map(|purpose| KeyId { purpose, version: 1 }).to_vec()),
        Answer::Stretching(stretching),
        Answer::Hashes(vec![[1; 32], [2; 32]]),
        Answer::Bytes(Zeroizing::new(vec![3; 99])),
        Answer::Usage(vec![usage, KeyUsage { unaccounted: None, ..usage }]),
        Answer::Audit(None),
        Answer::Audit(Some(u64::MAX)),
    ];
    answers
        .into_iter()
        .chain(failures.map(Answer::Failure))
        .map(|answer| answer.frame().unwrap()[4..].to_vec())
        .collect()
}

#[test]
fn what_is_written_is_read() {
    type Again = fn(&[u8]) -> Option<Vec<u8>>;
    let both: [(_, Again); 2] = [(requests(), fuzzing::request), (answers(), fuzzing::answer)];
    for (frames, again) in both {
        for frame in frames {
            assert_eq!(again(&frame).as_ref(), Some(&frame), "{frame:?}");
            for end in 0..frame.len() {
                assert_eq!(again(&frame[..end]), None, "a cut at {end} of {frame:?}");
            }
            assert_eq!(again(&[&frame[..], &[0]].concat()), None, "a byte too many: {frame:?}");
            let mut newer = frame.clone();
            newer[0] = 2;
            assert_eq!(again(&newer), None);
        }
    }
    // As the module's documentation has it.
    assert_eq!(requests()[1], [1, 2, 1, 1, 2, 3, 4]);
    assert_eq!(requests()[4], b"\x01\x04\x06\0\0\0\x03row\0\0\0\x04text");
    assert_eq!(answers()[13 - 2], [1, 135, 5, 4, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 4, 210]);
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    for frame in requests().into_iter().chain(answers()) {
        for _ in 0..200 {
            let mut bytes = frame.clone();
            let noise: [u8; 8] = random().unwrap();
            for pair in noise.chunks_exact(2) {
                let place = usize::from(pair[0]) % bytes.len();
                bytes[place] = pair[1];
            }
            for again in [fuzzing::request(&bytes), fuzzing::answer(&bytes)].into_iter().flatten() {
                assert_eq!(again, bytes, "what is read is written in the one form");
            }
        }
    }
}
