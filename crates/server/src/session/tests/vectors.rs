//! What atproto's own programs have signed.

use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::Deserialize;

use super::signing::{document, own};
use super::site::Site;
use super::*;
use crate::session::did::Resolver;
use crate::session::jws::Algorithm;

#[derive(Deserialize)]
struct Vectors {
    tokens: Vec<Token>,
    message: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Token {
    did: String,
    key: String,
    token: String,
}

#[derive(Deserialize)]
struct Signature {
    algorithm: String,
    suite: String,
    point: String,
    multikey: String,
    signature: String,
    valid: bool,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../../vectors/session/atproto.json")).unwrap()
}

#[tokio::test]
async fn tokens_of_the_real_servers_library_are_taken() {
    let (site, tokens) = (Site::start().await, vectors().tokens);
    let world = World::new(|config| {
        config.atproto.service_did = SERVICE.into();
        config.atproto.plc_url = site.url.clone();
    });
    for Token { did, key, token } in tokens {
        site.put(&format!("/{did}"), own(&did, key));
        assert_eq!(whose(world.bearer(&token).await).as_deref(), Ok(did.as_str()));
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "used twice");
    }
}

#[tokio::test]
async fn signatures_are_judged_as_atproto_judges_them() {
    let (site, Vectors { message, signatures, .. }) = (Site::start().await, vectors());
    let mut config = Config::default();
    config.atproto.plc_url = site.url.clone();
    let resolver = Resolver::new(&config, Arc::new(HandClock::default())).unwrap();
    let message = BASE64_STANDARD_NO_PAD.decode(message).unwrap();
    assert_eq!(signatures.len(), 4);
    for Signature { algorithm, suite, point, multikey, signature, valid } in signatures {
        let algorithm = Algorithm::by_name(&algorithm).unwrap();
        let signature = BASE64_STANDARD_NO_PAD.decode(signature).unwrap();
        for (kind, key) in [(suite.as_str(), point), ("Multikey", multikey)] {
            site.put(&format!("/{ALICE}"), document(ALICE, &[("#atproto", kind, key)]));
            let document = resolver.resolve_now(ALICE).await.unwrap();
            assert_eq!(document.key.verifies_low_s(algorithm, &message, &signature), valid, "{kind}");
        }
    }
}
