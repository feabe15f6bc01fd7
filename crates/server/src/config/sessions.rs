//! Who calls the public API, and how it is proved: tokens of atproto, of an OpenID provider, of the operator, API keys.

use acquaint_protocol::identifier::{AccountFormat, AccountId};
use acquaint_service::{Entropy, EntropyError};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::check::bad;
use super::{Config, ConfigError, Secret, delivery};

/// What every API key begins with.
pub const API_KEY_PREFIX: &str = "aqk_";

/// Tokens that accounts of atproto sign (inter-service authentication).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Atproto {
    /// The DID of this service, as `did:web:contacts.example.com`; with a service's name after `#`, tokens for that
    /// service are taken as well. Empty for no tokens of atproto.
    pub service_did: String,
    /// The directory of `did:plc`.
    pub plc_url: String,
    /// Take DID documents from addresses that are not public, and `http` to `localhost`. For development; only on
    /// loopback.
    pub allow_private_addresses: bool,
    /// How long a DID document may take.
    pub did_timeout_ms: u32,
    /// DID documents that are kept.
    pub did_cache_entries: u32,
    /// How long they are kept.
    pub did_cache_s: u32,
    /// What the names of the public methods begin with (an NSID without its last part).
    pub lxm_prefix: String,
}

/// Access tokens of an OpenID provider, or of an OAuth 2.0 server that can be discovered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Oidc {
    /// Its issuer identifier, exactly as in its tokens; empty for none.
    pub issuer: String,
    /// The audience that tokens for this service have.
    pub audience: String,
    /// The claim that holds the account.
    pub account_claim: String,
}

/// Tokens of the operator's own.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// The key of JWTs by HS256, at least 32 bytes; empty for none.
    pub hmac_secret: Secret,
    /// The audience that those have.
    pub audience: String,
    /// Where opaque tokens are asked about (RFC 7662); empty for nowhere.
    pub introspection_url: String,
    /// Who asks.
    pub introspection_client_id: String,
    /// With this secret.
    pub introspection_client_secret: Secret,
    /// The audience that the answer has to name; empty for any.
    pub introspection_audience: String,
}

/// What all of them share, and API keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Sessions {
    /// API keys that act for any account, as `NAME:SHA256`, never the keys themselves.
    pub api_keys: Vec<String>,
    /// How far the clocks of those who sign tokens may be off.
    pub leeway_s: u32,
}

impl Default for Atproto {
    fn default() -> Self {
        Self {
            service_did: String::new(),
            plc_url: "https://plc.directory".into(),
            allow_private_addresses: false,
            did_timeout_ms: 3_000,
            did_cache_entries: 10_000,
            did_cache_s: 600,
            lxm_prefix: "app.acquaint.discovery".into(),
        }
    }
}

impl Default for Oidc {
    fn default() -> Self {
        Self { issuer: String::new(), audience: String::new(), account_claim: "sub".into() }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self { api_keys: Vec::new(), leeway_s: 5 }
    }
}

/// An API key as the configuration has it: its name, and the digest that it is recognised by. A key has 256 random bits,
/// so its digest tells nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// What logs and metrics of the operator's may call it: 1 to 32 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// SHA-256 of the key with its prefix.
    pub digest: [u8; 32],
}

impl ApiKey {
    /// Reads `NAME:SHA256`, the digest in hexadecimal; `None` if it is not that.
    #[must_use]
    pub fn parse(entry: &str) -> Option<Self> {
        let (name, digest) = entry.split_once(':')?;
        let is_name_part =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if !(1..=32).contains(&name.len()) || !name.bytes().all(is_name_part) {
            return None;
        }
        Some(Self { name: name.to_owned(), digest: hex::decode(digest).ok()?.try_into().ok()? })
    }

    /// A new key, and what the configuration has to hold for it.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate(name: &str, entropy: &dyn Entropy) -> Result<(Zeroizing<String>, String), EntropyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(&mut *bytes)?;
        let key = Zeroizing::new(format!("{API_KEY_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(*bytes)));
        let entry = format!("{name}:{}", hex::encode(Sha256::digest(key.as_bytes())));
        Ok((key, entry))
    }
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    atproto(config)?;
    oidc(&config.oidc)?;
    tokens(&config.tokens)?;
    let Sessions { api_keys, leeway_s } = &config.sessions;
    let keys: Vec<_> = api_keys.iter().filter_map(|entry| ApiKey::parse(entry)).collect();
    let is_once = |key: &ApiKey| {
        keys.iter().filter(|other| other.name == key.name || other.digest == key.digest).count() == 1
    };
    if keys.len() != api_keys.len() || !keys.iter().all(is_once) {
        return bad(
            "sessions.api_keys",
            "a list of `NAME:SHA256`: a name of up to 32 small letters, digits, `-` and `_`, and 64 hexadecimal digits, each \
             once",
        );
    }
    if *leeway_s > 60 {
        return bad("sessions.leeway_s", "at most 60");
    }
    Ok(())
}

fn atproto(config: &Config) -> Result<(), ConfigError> {
    let Atproto {
        service_did,
        plc_url,
        allow_private_addresses,
        did_timeout_ms,
        did_cache_entries,
        did_cache_s,
        lxm_prefix,
    } = &config.atproto;
    let (did, service) = service_did.split_once('#').unwrap_or((service_did, "service"));
    let is_service =
        !service.is_empty() && service.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !service_did.is_empty() && (AccountId::parse(did, AccountFormat::Did).is_err() || !is_service) {
        return bad(
            "atproto.service_did",
            "this service's DID, as `did:web:contacts.example.com` or `did:web:contacts.example.com#acquaint`, or empty",
        );
    }
    delivery::base_url("atproto.plc_url", plc_url)?;
    if *allow_private_addresses && !config.is_loopback() {
        return bad("atproto.allow_private_addresses", "false unless `listen` is a loopback address");
    }
    if !(1..=30_000).contains(did_timeout_ms) {
        return bad("atproto.did_timeout_ms", "1 to 30000");
    }
    if !(1..=1_000_000).contains(did_cache_entries) {
        return bad("atproto.did_cache_entries", "1 to 1000000");
    }
    if !(1..=86_400).contains(did_cache_s) {
        return bad("atproto.did_cache_s", "1 to 86400: a key that was taken back stays good for so long");
    }
    // The NSID syntax of atproto, without the method's own name.
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !part.ends_with('-')
            && part.len() <= 63
    };
    if lxm_prefix.split('.').count() < 2 || lxm_prefix.len() > 200 || !lxm_prefix.split('.').all(is_part) {
        return bad("atproto.lxm_prefix", "the beginning of an NSID, as `app.acquaint.discovery`");
    }
    Ok(())
}

fn oidc(oidc: &Oidc) -> Result<(), ConfigError> {
    let Oidc { issuer, audience, account_claim } = oidc;
    if issuer.is_empty() {
        return match audience.is_empty() {
            true => Ok(()),
            false => bad("oidc.issuer", "set where `oidc.audience` is: the provider's issuer identifier"),
        };
    }
    delivery::base_url("oidc.issuer", issuer)?;
    if audience.is_empty() {
        return bad(
            "oidc.audience",
            "set: the audience of tokens for this service, without which those for others were taken",
        );
    }
    if account_claim.is_empty() {
        return bad("oidc.account_claim", "the name of the claim that holds the account, as `sub`");
    }
    Ok(())
}

fn tokens(tokens: &Tokens) -> Result<(), ConfigError> {
    let Tokens {
        hmac_secret,
        audience,
        introspection_url,
        introspection_client_id,
        introspection_client_secret,
        introspection_audience,
    } = tokens;
    // RFC 7518, section 3.2: a key as long as the hash at least.
    if !hmac_secret.is_empty() && hmac_secret.expose().len() < 32 {
        return bad("tokens.hmac_secret", "at least 32 bytes: `openssl rand -hex 32` makes one");
    }
    match (hmac_secret.is_empty(), audience.is_empty()) {
        (true, false) => return bad("tokens.hmac_secret", "set where `tokens.audience` is"),
        (false, true) => return bad("tokens.audience", "set: the audience of tokens for this service"),
        (true, true) | (false, false) => {}
    }
    if introspection_url.is_empty() {
        let unused =
            [introspection_client_id, introspection_audience].into_iter().any(|text| !text.is_empty());
        return match unused || !introspection_client_secret.is_empty() {
            true => bad("tokens.introspection_url", "set where the other keys of introspection are"),
            false => Ok(()),
        };
    }
    delivery::endpoint("tokens.introspection_url", introspection_url)?;
    if introspection_client_id.is_empty() {
        return bad("tokens.introspection_client_id", "set: the client that asks");
    }
    if introspection_client_secret.is_empty() {
        return bad("tokens.introspection_client_secret", "set: that client's secret");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
