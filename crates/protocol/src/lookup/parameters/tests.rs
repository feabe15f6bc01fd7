use super::*;

const NOW: u64 = 1_790_000_000;

fn terms(mode: Mode) -> Terms {
    Terms {
        provider: "contacts.example".into(),
        profile: mode.profile().into(),
        epoch: 1,
        layout: 3,
        shard_bits: 2,
        rows: 288,
        columns: 256,
        batch_tables: 96,
        batch_queries: 2,
        batch_rows: 64,
        batch_columns: 32,
        max_elements: 1000,
        max_queries: 64,
        keys_ttl_s: 86_400,
        oprf_public_key: Bytes(if mode == Mode::Psm { [7; 32] } else { [0; 32] }),
        servers: vec![server(0, 1), server(2, 3)],
        issued_at: NOW,
        expires_at: NOW + 86_400,
    }
}

fn server(first: u32, last: u32) -> Server {
    Server { first, last, url: format!("https://{first}.contacts.example") }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn check(mode: Mode, change: impl FnOnce(&mut Terms)) -> Result<(), ParametersError> {
    let mut terms = terms(mode);
    change(&mut terms);
    let checked = terms.check();
    let signed = terms.sign(&key()).unwrap();
    assert_eq!(signed.verify(mode, &key().public(), NOW), checked);
    checked
}

#[test]
fn parameters_are_those_of_another_implementation() {
    let text = include_str!("../../../../../vectors/lookup/v1.json");
    let file: serde_json::Value = serde_json::from_str(text).unwrap();
    let vectors = file["parameters"].as_array().unwrap();
    assert_eq!(vectors.len(), 2);
    let mut modes = Vec::new();
    for (vector, mode) in vectors.iter().zip(Mode::ALL) {
        let seed: [u8; 32] = hex::decode(vector["seed"].as_str().unwrap()).unwrap().try_into().unwrap();
        let given: Parameters = serde_json::from_value(vector["parameters"].clone()).unwrap();
        assert_eq!(
            hex::encode(given.terms.signed_bytes().unwrap()),
            vector["signed_bytes"].as_str().unwrap()
        );
        for kind in [Kind::Shard, Kind::Batch] {
            let wanted = &vector["epoch_bytes"][usize::from(kind.number())];
            assert_eq!(hex::encode(given.terms.epoch_bytes(kind).unwrap()), wanted.as_str().unwrap());
        }
        let key = SigningKey::from_seed(&seed);
        assert_eq!(given.terms.clone().sign(&key).unwrap(), given);
        given.verify(mode, &key.public(), NOW).unwrap();
        assert_eq!(serde_json::to_value(&given).unwrap(), vector["parameters"]);
        modes.push(given);
    }
    let published = serde_json::json!({ "modes": modes });
    let published: Published = serde_json::from_value(published).unwrap();
    for (mode, parameters) in Mode::ALL.into_iter().zip(&modes) {
        assert_eq!(published.of(mode), Some(parameters));
    }
    assert_eq!(Published { modes: vec![] }.of(Mode::Pir), None);
}

#[test]
fn whatever_is_changed_is_noticed() {
    let good = terms(Mode::Psm).sign(&key()).unwrap();
    let verify = |parameters: &Parameters| parameters.verify(Mode::Psm, &key().public(), NOW);
    assert_eq!(verify(&good), Ok(()));
    let changes: [fn(&mut Terms); 22] = [
        |terms| terms.provider.push('x'),
        |terms| terms.profile = "pir".into(),
        |terms| terms.epoch += 1,
        |terms| terms.layout += 1,
        |terms| terms.shard_bits += 1,
        |terms| terms.rows += 1,
        |terms| terms.columns *= 2,
        |terms| terms.batch_tables += 1,
        |terms| terms.batch_queries += 1,
        |terms| terms.batch_rows += 1,
        |terms| terms.batch_columns *= 2,
        |terms| terms.max_elements += 1,
        |terms| terms.max_queries += 1,
        |terms| terms.keys_ttl_s += 1,
        |terms| terms.oprf_public_key.0[31] ^= 1,
        |terms| terms.servers[0].first += 1,
        |terms| terms.servers[0].last += 1,
        |terms| terms.servers[0].url.push('x'),
        |terms| terms.servers.swap(0, 1),
        |terms| terms.servers.clear(),
        |terms| terms.issued_at -= 1,
        |terms| terms.expires_at += 1,
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut other = good.clone();
        change(&mut other.terms);
        assert_eq!(verify(&other), Err(ParametersError::Signature), "{place}");
        // Signed anew, it is a matter of what is asked for.
        assert_ne!(other.terms.signed_bytes(), good.terms.signed_bytes());
    }
    let stranger = terms(Mode::Psm).sign(&SigningKey::from_seed(&[2; 32])).unwrap();
    assert_eq!(verify(&stranger), Err(ParametersError::OtherKey));
    let mixed = Parameters { signing_key: good.signing_key, ..stranger };
    assert_eq!(verify(&mixed), Err(ParametersError::Signature));
}

#[test]
fn parameters_are_good_for_their_mode_and_time_alone() {
    let verify = |mode, now| terms(Mode::Psm).sign(&key()).unwrap().verify(mode, &key().public(), now);
    assert_eq!(verify(Mode::Pir, NOW), Err(ParametersError::OtherProfile));
    assert_eq!(verify(Mode::Psm, NOW - CLOCK_SKEW_S), Ok(()));
    assert_eq!(verify(Mode::Psm, NOW - CLOCK_SKEW_S - 1), Err(ParametersError::NotYetValid));
    assert_eq!(verify(Mode::Psm, NOW + 86_399), Ok(()));
    assert_eq!(verify(Mode::Psm, NOW + 86_400), Err(ParametersError::Expired));
    assert_eq!(
        check(Mode::Psm, |terms| terms.profile = "sealed-buckets".into()),
        Err(ParametersError::OtherProfile)
    );
}

#[test]
fn sizes_are_those_of_the_document() {
    let good: [fn(&mut Terms); 14] = [
        |_| {},
        |terms| terms.rows = 1,
        |terms| terms.rows = 2048,
        |terms| terms.columns = 1,
        |terms| terms.columns = 65_536,
        |terms| {
            (terms.batch_tables, terms.batch_queries, terms.batch_rows, terms.batch_columns) = (0, 0, 0, 0)
        },
        |terms| {
            (terms.batch_tables, terms.batch_queries, terms.batch_rows, terms.batch_columns) = (2, 1, 1, 1)
        },
        |terms| (terms.batch_queries, terms.batch_rows) = (2, 1024),
        |terms| (terms.batch_tables, terms.batch_queries) = (65_535, 4),
        |terms| terms.servers.clear(),
        |terms| terms.servers = vec![server(0, 3)],
        |terms| terms.servers = vec![server(2, 3), server(0, 1)],
        |terms| terms.servers = vec![server(1, 3), server(0, 2), server(0, 0)],
        |terms| (terms.shard_bits, terms.servers) = (16, vec![server(0, 65_535)]),
    ];
    let bad: [fn(&mut Terms); 25] = [
        |terms| terms.rows = 0,
        |terms| terms.rows = 2049,
        |terms| terms.columns = 0,
        |terms| terms.columns = 3,
        |terms| terms.columns = 131_072,
        |terms| terms.batch_tables = 0,
        |terms| terms.batch_tables = 1,
        |terms| terms.batch_queries = 0,
        |terms| terms.batch_rows = 0,
        |terms| terms.batch_rows = 2049,
        |terms| terms.batch_columns = 0,
        |terms| terms.batch_columns = 33,
        |terms| terms.batch_queries = 3,
        |terms| (terms.batch_queries, terms.batch_rows) = (2, 1025),
        |terms| (terms.batch_queries, terms.batch_rows) = (128, 512),
        |terms| terms.max_elements = 0,
        |terms| terms.max_queries = 0,
        |terms| terms.keys_ttl_s = 0,
        |terms| (terms.shard_bits, terms.servers) = (17, vec![]),
        |terms| terms.shard_bits = 255,
        |terms| terms.servers = vec![server(0, 2)],
        |terms| terms.servers = vec![server(1, 3)],
        |terms| terms.servers = vec![server(0, 0), server(2, 3)],
        |terms| terms.servers = vec![server(0, 4)],
        |terms| terms.servers = vec![server(0, 3), server(2, 1)],
    ];
    for mode in Mode::ALL {
        for (place, change) in good.into_iter().enumerate() {
            assert_eq!(check(mode, change), Ok(()), "{place}");
        }
        for (place, change) in bad.into_iter().enumerate() {
            assert_eq!(check(mode, change), Err(ParametersError::Sizes), "{place}");
        }
    }
    // A key where there is an OPRF, and only there.
    assert_eq!(check(Mode::Psm, |terms| terms.oprf_public_key.0 = [0; 32]), Err(ParametersError::Sizes));
    assert_eq!(check(Mode::Pir, |terms| terms.oprf_public_key.0 = [1; 32]), Err(ParametersError::Sizes));
}

#[test]
fn names_that_cannot_be_written_are_not_signed() {
    let refused = |change: fn(&mut Terms)| {
        let mut terms = terms(Mode::Psm);
        change(&mut terms);
        terms.sign(&key()).unwrap_err()
    };
    assert_eq!(refused(|terms| terms.provider.clear()), TermsError::Scope(ScopeError));
    assert_eq!(refused(|terms| terms.provider = "x".repeat(256)), TermsError::Scope(ScopeError));
    assert_eq!(refused(|terms| terms.servers[1].url.clear()), TermsError::Servers);
    assert_eq!(refused(|terms| terms.servers[1].url = "x".repeat(256)), TermsError::Servers);
    assert_eq!(refused(|terms| terms.servers = vec![server(0, 3); 65_536]), TermsError::Servers);
}

#[test]
fn shards_have_the_first_server_that_names_them() {
    let mut terms = terms(Mode::Psm);
    terms.servers = vec![server(1, 3), server(0, 2)];
    let first = |shard| terms.server_of(shard).map(|server| server.first);
    assert_eq!([0, 1, 2, 3, 4].map(first), [Some(0), Some(1), Some(1), Some(1), None]);
    assert_eq!((terms.shards(), terms.batch_request()), (4, 96));
}
