//! What every [`KeyCustody`] must do. An implementation's tests call [`run`].

use std::collections::BTreeSet;

use crate::{CustodyError, KeyCustody, KeyId, Purpose, ShareTag, key_check, matches_check, newest};

/// Runs the whole suite on `custody`, which must have a key of every purpose that is [needed](Purpose::is_needed); `other` has different keys.
///
/// # Panics
/// When the implementation does not keep the contract, with what it did.
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "a test suite: a failure is a panic")]
pub fn run(custody: &dyn KeyCustody, other: &dyn KeyCustody) {
    let hashing = || Purpose::needed().filter(|purpose| !purpose.seals());
    let sealing = || Purpose::needed().filter(|purpose| purpose.seals());

    // Each purpose has its own key: the same input never gives the same output twice.
    let mut outputs = BTreeSet::new();
    for source in [custody, other] {
        for purpose in hashing() {
            let key = newest(source, purpose).unwrap();
            let batch = source.hmac(key, &[b"a", b"", b"a", &[7; 10_000]]).unwrap();
            assert_eq!(batch.len(), 4, "one output for each input");
            assert_eq!(batch[0], batch[2], "the same input gives the same output");
            assert_eq!(
                source.hmac(key, &[b"a"]).unwrap()[0],
                batch[0],
                "a batch is no different from single calls"
            );
            assert_eq!(
                source.hmac_for(key, ShareTag([7; 16]), &[b"a", b""]).unwrap(),
                batch[..2],
                "for whom it is done changes nothing"
            );
            assert!(
                batch.iter().take(2).all(|made| outputs.insert(*made)),
                "outputs differ by key and input"
            );
        }
    }
    for purpose in hashing() {
        let key = newest(custody, purpose).unwrap();
        assert!(custody.hmac(key, &[]).unwrap().is_empty());
        let absent = KeyId { purpose, version: u32::MAX };
        let for_somebody = custody.hmac_for(absent, ShareTag([7; 16]), &[b"a"]);
        assert!(matches!(for_somebody, Err(CustodyError::NoSuchKey(id)) if id == absent));
        assert!(matches!(custody.hmac(absent, &[b"a"]), Err(CustodyError::NoSuchKey(id)) if id == absent));
        assert!(matches!(custody.seal(purpose, b"", b""), Err(CustodyError::WrongPurpose(_))));
        assert!(matches!(custody.open(purpose, b"", &[1; 64]), Err(CustodyError::WrongPurpose(_))));
    }

    for purpose in sealing() {
        let key = newest(custody, purpose).unwrap();
        assert!(matches!(custody.hmac(key, &[b"a"]), Err(CustodyError::WrongPurpose(_))));
        for plaintext in [&b""[..], b"x", &[9; 100_000]] {
            let sealed = custody.seal(purpose, b"table/row", plaintext).unwrap();
            assert_ne!(
                sealed,
                custody.seal(purpose, b"table/row", plaintext).unwrap(),
                "sealing is randomised"
            );
            assert_eq!(custody.open(purpose, b"table/row", &sealed).unwrap().as_slice(), plaintext);
            assert!(matches!(custody.open(purpose, b"table/other", &sealed), Err(CustodyError::NotOurs)));
            assert!(matches!(other.open(purpose, b"table/row", &sealed), Err(CustodyError::NotOurs)));
            for elsewhere in sealing().filter(|elsewhere| *elsewhere != purpose) {
                assert!(matches!(custody.open(elsewhere, b"table/row", &sealed), Err(CustodyError::NotOurs)));
            }
        }
        let sealed = custody.seal(purpose, b"aad", b"secret").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(custody.open(purpose, b"aad", &changed).is_err(), "a changed byte {index} is noticed");
            assert!(custody.open(purpose, b"aad", &sealed[..index]).is_err(), "a cut at {index} is noticed");
        }
    }

    for key in custody.keys() {
        let stretching = custody.stretching(key);
        assert_eq!(stretching.is_ok(), key.purpose.stretches(), "{key}");
        let check = key_check(custody, key).expect("a check of a key that exists");
        assert!(matches_check(custody, key, &check).unwrap(), "{key} matches its own check");
        assert!(!matches_check(other, key, &check).unwrap(), "{key} of another custody does not");
        let absent = KeyId { purpose: key.purpose, version: u32::MAX };
        assert!(key.purpose.seals() || !matches_check(custody, absent, &check).unwrap());
    }
    let epochs = crate::epochs(custody).unwrap();
    let pair_keys = custody.keys().into_iter().filter(|key| key.purpose == Purpose::Pair);
    let newest_first: Vec<_> = pair_keys.rev().collect();
    assert_eq!(epochs.iter().map(|epoch| KeyId::pair(epoch.id)).collect::<Vec<_>>(), newest_first);
    assert!(!epochs.is_empty());
}
