//! What this program needs of a DID document, as `@atproto/identity` reads it (`dist/did/atproto-data.js`) and
//! `findItemById` in `@atproto/common-web` finds it.

use reqwest::Url;
use serde::Deserialize;

use crate::outbound::PublicHttp;
use crate::session::key::PublicKey;

/// Longest key as text. A point in base 58 has 90 characters at most.
const MAX_KEY: usize = 128;
/// Multicodec's prefixes of compressed points (<https://github.com/multiformats/multicodec/blob/master/table.csv>).
const SECP256K1_PUB: [u8; 2] = [0xe7, 0x01];
const P256_PUB: [u8; 2] = [0x80, 0x24];

/// An account's key and host.
pub(crate) struct DidDocument {
    /// The key that signs for the account: `#atproto`.
    pub(crate) key: PublicKey,
    /// The account's server: `#atproto_pds`, if it is one that may be asked.
    pub(crate) pds: Option<Url>,
}

#[derive(Deserialize)]
struct Document {
    id: String,
    #[serde(default, rename = "verificationMethod")]
    methods: Vec<Method>,
    #[serde(default)]
    service: Vec<Service>,
}

#[derive(Deserialize)]
struct Method {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "publicKeyMultibase")]
    key: Option<String>,
}

#[derive(Deserialize)]
struct Service {
    id: String,
    #[serde(rename = "type")]
    kind: serde_json::Value,
    #[serde(rename = "serviceEndpoint")]
    endpoint: serde_json::Value,
}

impl DidDocument {
    /// `None` if it is not a document of `did`, or one without a key that can be used.
    pub(super) fn parse(did: &str, bytes: &[u8], public: &PublicHttp) -> Option<Self> {
        let Document { id, methods, service } = serde_json::from_slice(bytes).ok()?;
        if id != did {
            return None;
        }
        // `#name`, or the DID before it; the first of that name counts.
        let is_named = |id: &str, name: &str| id.strip_prefix(did).unwrap_or(id) == name;
        let method = methods.into_iter().find(|method| is_named(&method.id, "#atproto"))?;
        let service = service.into_iter().find(|service| is_named(&service.id, "#atproto_pds"));
        let pds = service
            .filter(|service| service.kind == "AtprotoPersonalDataServer")
            .and_then(|service| service.endpoint.as_str()?.parse().ok())
            .filter(|url| public.admits(url));
        Some(Self { key: key(&method)?, pds })
    }
}

fn key(method: &Method) -> Option<PublicKey> {
    // Multibase's letter for base 58; nobody writes these keys in another base.
    let text = method.key.as_deref()?.strip_prefix('z').filter(|text| text.len() <= MAX_KEY)?;
    let bytes = bs58::decode(text).into_vec().ok()?;
    let is_compressed = |point: &&[u8]| point.len() == 33;
    match method.kind.as_str() {
        "Multikey" => {
            let secp256k1 = bytes.strip_prefix(&SECP256K1_PUB).filter(is_compressed);
            let p256 = bytes.strip_prefix(&P256_PUB).filter(is_compressed);
            secp256k1.and_then(PublicKey::secp256k1).or_else(|| p256.and_then(PublicKey::p256))
        }
        // Of the time before Multikey: the point alone, compressed or not.
        "EcdsaSecp256k1VerificationKey2019" => PublicKey::secp256k1(&bytes),
        "EcdsaSecp256r1VerificationKey2019" => PublicKey::p256(&bytes),
        _ => None,
    }
}
