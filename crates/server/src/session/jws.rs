//! Signed tokens in compact form (RFC 7515, section 7.1; RFC 7519), taken apart. Nothing here says that one is good.

use std::collections::BTreeMap;

use acquaint_service::Millis;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::strict::{Json, object};

/// Longest header as it is sent, in bytes.
const MAX_HEADER: usize = 2 * 1024;
/// Longest key id that is looked for, in bytes.
const MAX_KEY_ID: usize = 256;
/// The last second that is a time: the end of the year 9999.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// Header parameters that would let a token bring its own key, or be something else than it seems: an embedded or linked
/// key (RFC 7515, sections 4.1.2 to 4.1.6), extensions (4.1.11), a payload that is not encoded (RFC 7797), and those of
/// encryption (RFC 7516).
const REFUSED: [&str; 9] = ["jwk", "jku", "x5u", "x5c", "crit", "b64", "enc", "zip", "epk"];

/// Every algorithm that any verifier takes (RFC 7518, section 3.1; RFC 8812; RFC 8037). Each verifier takes some of these
/// and says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// ECDSA by secp256k1 and SHA-256.
    Es256k,
    /// ECDSA by P-256 and SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 and SHA-256.
    Rs256,
    /// RSASSA-PSS and SHA-256.
    Ps256,
    /// Ed25519.
    EdDsa,
    /// HMAC and SHA-256.
    Hs256,
}

impl Algorithm {
    /// By its registered name, which is case-sensitive. `none` is none of them.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "ES256K" => Self::Es256k,
            "ES256" => Self::Es256,
            "RS256" => Self::Rs256,
            "PS256" => Self::Ps256,
            "EdDSA" => Self::EdDsa,
            "HS256" => Self::Hs256,
            _ => return None,
        })
    }
}

/// What a token says that it is (RFC 7515, section 4.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or `JWT`.
    Plain,
    /// `at+jwt`: an access token (RFC 9068, section 2.1).
    Access,
    /// Something else, as `dpop+jwt` or `refresh+jwt`.
    Other,
}

/// A token, not verified.
pub(super) struct Jws<'token> {
    pub(super) algorithm: Algorithm,
    pub(super) kind: Kind,
    pub(super) key_id: Option<String>,
    pub(super) claims: Claims,
    /// What is signed.
    pub(super) signed: &'token [u8],
    pub(super) signature: Vec<u8>,
}

/// What a token says.
pub(super) struct Claims(BTreeMap<String, Json>);

impl From<BTreeMap<String, Json>> for Claims {
    fn from(members: BTreeMap<String, Json>) -> Self {
        Self(members)
    }
}

impl<'token> Jws<'token> {
    /// `None` if `token` is malformed, or has a header that no token here may have.
    pub(super) fn parse(token: &'token str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if header.len() > MAX_HEADER {
            return None;
        }
        // The engine refuses padding and trailing bits, so that a token has one spelling only.
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let header = Claims(object(&decode(header)?)?);
        if REFUSED.into_iter().any(|name| header.has(name)) {
            return None;
        }
        Some(Self {
            algorithm: Algorithm::by_name(header.text("alg")?)?,
            kind: kind(&header)?,
            key_id: match header.has("kid") {
                true => Some(header.text("kid").filter(|id| id.len() <= MAX_KEY_ID)?.to_owned()),
                false => None,
            },
            claims: Claims(object(&decode(claims)?)?),
            signed: signed.as_bytes(),
            signature: decode(signature)?,
        })
    }
}

fn kind(header: &Claims) -> Option<Kind> {
    if !header.has("typ") {
        return Some(Kind::Plain);
    }
    // Media types are not case-sensitive, and `application/` may be left out (RFC 7515, section 4.1.9).
    let kind = header.text("typ")?.to_ascii_lowercase();
    Some(match kind.strip_prefix("application/").unwrap_or(&kind) {
        "jwt" => Kind::Plain,
        "at+jwt" => Kind::Access,
        _ => Kind::Other,
    })
}

impl Claims {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A claim that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is there and true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Json::Bool(true)))
    }

    /// Whether `aud` is `audience`, or a list with it (RFC 7519, section 4.1.3).
    pub(super) fn is_for(&self, audience: &str) -> bool {
        let is_it = |entry: &Json| matches!(entry, Json::Text(text) if text == audience);
        match self.0.get("aud") {
            Some(Json::List(entries)) => entries.iter().any(is_it),
            Some(entry) => is_it(entry),
            None => false,
        }
    }

    /// A time (RFC 7519, section 2, "NumericDate"): `Ok(None)` if there is none.
    pub(super) fn time(&self, name: &str) -> Result<Option<Millis>, NotATime> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Json::Number(seconds)) if (0.0..=LAST_SECOND).contains(seconds) => {
                Ok(Some((seconds * 1000.0) as Millis))
            }
            Some(_) => Err(NotATime),
        }
    }

    /// When it expires, if `exp` is there and not reached at `now`, and neither `nbf` nor `iat` lies in the future (RFC
    /// 7519, sections 4.1.4 to 4.1.6). `leeway` is how far clocks may be off.
    pub(super) fn valid_until(&self, now: Millis, leeway: Millis) -> Option<Millis> {
        let expires = self.time("exp").ok()??;
        let begins = [self.time("nbf").ok()?, self.time("iat").ok()?];
        let has_begun = begins.into_iter().flatten().all(|begins| begins <= now.saturating_add(leeway));
        (has_begun && now < expires.saturating_add(leeway)).then_some(expires)
    }
}

/// A claim that has to be a time is something else.
#[derive(Debug)]
pub(super) struct NotATime;
