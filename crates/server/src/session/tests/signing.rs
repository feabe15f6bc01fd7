//! Keys, documents and tokens of atproto, made here.

use super::site::{Page, Site};
use super::*;
use k256::ecdsa::signature::Signer as _;

pub(super) type K256 = k256::ecdsa::SigningKey;
pub(super) type P256 = p256::ecdsa::SigningKey;

pub(super) const HEADER: &str = r#"{"typ":"JWT","alg":"ES256K"}"#;

pub(super) fn k256_key(seed: u8) -> K256 {
    K256::from_slice(&[seed; 32]).unwrap()
}

pub(super) fn p256_key(seed: u8) -> P256 {
    P256::from_slice(&[seed; 32]).unwrap()
}

/// r ‖ s with a low s.
pub(super) fn k256_sign(key: &K256) -> impl Fn(&[u8]) -> Vec<u8> + use<> {
    let key = key.clone();
    move |message| {
        let signature: k256::ecdsa::Signature = key.sign(message);
        signature.normalize_s().to_bytes().to_vec()
    }
}

pub(super) fn p256_sign(key: &P256) -> impl Fn(&[u8]) -> Vec<u8> + use<> {
    let key = key.clone();
    move |message| {
        let signature: p256::ecdsa::Signature = key.sign(message);
        signature.normalize_s().to_bytes().to_vec()
    }
}

pub(super) fn multikey(prefix: [u8; 2], point: &[u8]) -> String {
    format!("z{}", bs58::encode([&prefix, point].concat()).into_string())
}

pub(super) fn k256_multikey(key: &K256) -> String {
    multikey([0xe7, 0x01], key.verifying_key().to_sec1_point(true).as_bytes())
}

pub(super) fn p256_multikey(key: &P256) -> String {
    multikey([0x80, 0x24], key.verifying_key().to_sec1_point(true).as_bytes())
}

/// A document as the directory has them, with `methods` of id, type and key.
pub(super) fn document(did: &str, methods: &[(&str, &str, String)]) -> Page {
    let methods: Vec<_> = methods
        .iter()
        .map(|(id, kind, key)| json!({"id": id, "type": kind, "controller": did, "publicKeyMultibase": key}))
        .collect();
    let document = json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "alsoKnownAs": ["at://alice.example.com"],
        "verificationMethod": methods,
        "service": [{
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": "https://pds.example.com",
        }],
    });
    Page::Json(document.to_string())
}

pub(super) fn own(did: &str, key: String) -> Page {
    document(did, &[(&format!("{did}#atproto"), "Multikey", key)])
}

/// Sessions of atproto, with a directory in which Alice has the first key of secp256k1.
pub(super) async fn world() -> (World, Site) {
    let site = Site::start().await;
    site.put(&format!("/{ALICE}"), own(ALICE, k256_multikey(&k256_key(1))));
    let world = World::new(|config| {
        config.atproto.service_did = SERVICE.into();
        config.atproto.plc_url = site.url.clone();
    });
    (world, site)
}

impl World {
    /// What `createServiceJwt` of `@atproto/xrpc-server` says, with an id of its own.
    pub(super) fn service_claims(&self, id: &str) -> Value {
        let now = self.now();
        json!({"iat": now, "iss": ALICE, "aud": SERVICE, "exp": now + 60, "lxm": LXM, "jti": id})
    }
}
