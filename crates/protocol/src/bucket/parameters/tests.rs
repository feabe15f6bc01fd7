use super::*;

const NOW: u64 = 1_790_000_000;

fn terms() -> Terms {
    Terms {
        provider: "contacts.example".into(),
        profile: SEALED.into(),
        epoch: 1,
        layout: 3,
        prefix_bits: 9,
        slots: 240,
        account_bytes: 40,
        max_batch: 1000,
        oprf_public_key: Bytes([7; 32]),
        issued_at: NOW,
        expires_at: NOW + 86_400,
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn signed(change: impl FnOnce(&mut Terms)) -> Parameters {
    let mut terms = terms();
    change(&mut terms);
    terms.sign(&key()).unwrap()
}

#[test]
fn parameters_are_those_of_another_implementation() {
    let text = include_str!("../../../../../vectors/bucket/parameters.json");
    let file: serde_json::Value = serde_json::from_str(text).unwrap();
    let seed: [u8; 32] = hex::decode(file["seed"].as_str().unwrap()).unwrap().try_into().unwrap();
    let given: Parameters = serde_json::from_value(file["parameters"].clone()).unwrap();
    assert_eq!(hex::encode(given.terms.signed_bytes().unwrap()), file["signed_bytes"].as_str().unwrap());
    let key = SigningKey::from_seed(&seed);
    assert_eq!(given.terms.clone().sign(&key).unwrap(), given);
    given.verify(&key.public(), NOW).unwrap();
    assert_eq!(serde_json::to_value(&given).unwrap(), file["parameters"]);
}

#[test]
fn whatever_is_changed_is_noticed() {
    let good = signed(|_| {});
    assert_eq!(good.verify(&key().public(), NOW), Ok(()));
    let changes: [fn(&mut Terms); 11] = [
        |terms| terms.provider.push('x'),
        |terms| terms.profile.push('x'),
        |terms| terms.epoch += 1,
        |terms| terms.layout += 1,
        |terms| terms.prefix_bits += 1,
        |terms| terms.slots += 1,
        |terms| terms.account_bytes += 1,
        |terms| terms.max_batch += 1,
        |terms| terms.oprf_public_key.0[31] ^= 1,
        |terms| terms.issued_at += 1,
        |terms| terms.expires_at += 1,
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut other = good.clone();
        change(&mut other.terms);
        assert_eq!(other.verify(&key().public(), NOW), Err(ParametersError::Signature), "{place}");
    }
    let mut other = good.clone();
    other.signature.0[0] ^= 1;
    assert_eq!(other.verify(&key().public(), NOW), Err(ParametersError::Signature));
    let stranger = terms().sign(&SigningKey::from_seed(&[2; 32])).unwrap();
    assert_eq!(stranger.verify(&key().public(), NOW), Err(ParametersError::OtherKey));
    // The pinned key's name on a stranger's signature.
    let mixed = Parameters { signing_key: good.signing_key, ..stranger };
    assert_eq!(mixed.verify(&key().public(), NOW), Err(ParametersError::Signature));
}

#[test]
fn parameters_are_good_for_their_time_alone() {
    let verify = |now| signed(|_| {}).verify(&key().public(), now);
    assert_eq!(verify(NOW - CLOCK_SKEW_S), Ok(()));
    assert_eq!(verify(NOW - CLOCK_SKEW_S - 1), Err(ParametersError::NotYetValid));
    assert_eq!(verify(NOW + 86_399), Ok(()));
    assert_eq!(verify(NOW + 86_400), Err(ParametersError::Expired));
}

#[test]
fn sizes_that_cannot_be_are_refused_even_if_they_are_signed() {
    let verify = |change: fn(&mut Terms)| signed(change).verify(&key().public(), NOW);
    assert_eq!(verify(|terms| terms.prefix_bits = 33), Err(ParametersError::Sizes));
    assert_eq!(verify(|terms| terms.slots = 0), Err(ParametersError::Sizes));
    assert_eq!(verify(|terms| terms.account_bytes = 0), Err(ParametersError::Sizes));
    assert_eq!(verify(|terms| terms.account_bytes = 65_520), Err(ParametersError::Sizes));
    assert_eq!(verify(|terms| terms.max_batch = 0), Err(ParametersError::Sizes));
    assert_eq!(verify(|terms| terms.profile = "rocketchat".into()), Err(ParametersError::OtherProfile));
    let mut nameless = terms();
    nameless.provider.clear();
    assert!(nameless.sign(&key()).is_err());
}

#[test]
fn texts_that_are_no_bytes_are_refused_without_repeating_them() {
    let good = serde_json::to_value(signed(|_| {})).unwrap();
    for text in ["", "AAAA", "secret%secret-secret-secret-secret-secret-s", &"A".repeat(44), &"=".repeat(43)]
    {
        let mut other = good.clone();
        other["oprf_public_key"] = text.into();
        let error = serde_json::from_value::<Parameters>(other).unwrap_err().to_string();
        assert!(error.contains("32 bytes in base64url"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
