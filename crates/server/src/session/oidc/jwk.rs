//! The keys that a provider publishes (RFC 7517): those that sign tokens here, and no others.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::session::jws::Algorithm;
use crate::session::key::PublicKey;

/// Keys of one set that are looked at. Providers have two or three.
const MOST: usize = 100;
/// Fewest bits of an RSA modulus (RFC 7518, section 3.3).
const RSA_BITS: usize = 2048;

/// A set of keys, each for one algorithm.
pub(in crate::session) struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: Arc<PublicKey>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde_json::Value>,
    k: Option<serde_json::Value>,
}

impl KeySet {
    /// `None` if it is no set. Keys that are not for this are left out (section 5).
    pub(in crate::session) fn parse(bytes: &[u8]) -> Option<Self> {
        let Set { keys } = serde_json::from_slice(bytes).ok()?;
        let keys = keys.into_iter().take(MOST).filter_map(|key| serde_json::from_value(key).ok());
        Some(Self(keys.filter_map(key).collect()))
    }

    /// The only key for `algorithm` with this id, or at all if a token names none.
    pub(in crate::session) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<Arc<PublicKey>> {
        let is_it =
            |key: &&Key| key.algorithm == algorithm && id.is_none_or(|id| key.id.as_deref() == Some(id));
        let mut found = self.0.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(key), None) => Some(Arc::clone(&key.key)),
            _ => None,
        }
    }
}

/// A key for signatures, with the one algorithm that it is for: what it says, or else the usual one of its kind.
fn key(jwk: Jwk) -> Option<Key> {
    let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|usage| usage == "verify"));
    // Somebody has published what should be secret: others can sign with it too.
    let is_secret = jwk.d.is_some() || jwk.k.is_some();
    if !signs || is_secret {
        return None;
    }
    let decode = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
    let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref(), jwk.alg.as_deref()) {
        ("RSA", _, None | Some("RS256")) => (Algorithm::Rs256, rsa(&decode(&jwk.n)?, &decode(&jwk.e)?)?),
        ("RSA", _, Some("PS256")) => (Algorithm::Ps256, rsa(&decode(&jwk.n)?, &decode(&jwk.e)?)?),
        ("EC", Some("P-256"), None | Some("ES256")) => {
            let (x, y) = (decode(&jwk.x)?, decode(&jwk.y)?);
            let is_point = x.len() == 32 && y.len() == 32;
            // SEC 1, section 2.3.3: an uncompressed point.
            let point = [&[4], &*x, &*y].concat();
            (Algorithm::Es256, PublicKey::p256(&point).filter(|_| is_point)?)
        }
        ("OKP", Some("Ed25519"), None | Some("EdDSA")) => {
            (Algorithm::EdDsa, PublicKey::Ed25519(decode(&jwk.x)?.try_into().ok()?))
        }
        _ => return None,
    };
    Some(Key { id: jwk.kid, algorithm, key: Arc::new(key) })
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<PublicKey> {
    // Some providers write the zero byte that DER puts before a number.
    let trimmed = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number.get(zeros..).map(<[u8]>::to_vec)
    };
    let (modulus, exponent) = (trimmed(modulus)?, trimmed(exponent)?);
    let unused = modulus.first()?.leading_zeros();
    let bits = modulus.len().checked_mul(8)?.checked_sub(usize::try_from(unused).ok()?)?;
    (bits >= RSA_BITS && !exponent.is_empty()).then_some(PublicKey::Rsa { modulus, exponent })
}
