//! Sessions for the fuzz targets: every verifier, with keys that are known here and no network but refused connections to
//! this machine.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use acquaint_protocol::identifier::AccountFormat;
use acquaint_service::{Clock, Millis};
use acquaint_store::StoreError;
use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use k256::ecdsa::signature::Signer;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};

use super::api_key::ApiKeys;
use super::atproto::Atproto;
use super::did::Resolver;
use super::hmac_token::HmacTokens;
use super::introspection::Introspection;
use super::oidc::Oidc;
use super::{Presented, Replays, Sessions, SessionsError, Verifier};
use crate::config::Config;
use crate::outbound::{Lookup, PublicHttp};

/// The account whose document is known.
pub const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
/// The issuer whose keys are known.
pub const ISSUER: &str = "http://127.0.0.1:1/realm";
/// The API key that is known.
pub const API_KEY: &str = "aqk_fuzz";
/// Now, in seconds since 1970.
pub const NOW: i64 = 1_767_225_600;

const SECRET: &str = "a fuzz secret of thirty-two bytes";

/// Sessions that stand at [`NOW`].
pub struct FuzzSessions {
    sessions: Sessions,
    seen: Arc<Seen>,
    runtime: tokio::runtime::Runtime,
}

/// Whose session a header is: the account, and who stands for it.
pub type Accepted = (String, String);

/// What a token is signed with.
#[derive(Debug, Clone, Copy)]
pub enum Key {
    /// The key of [`DID`].
    Atproto,
    /// A key of [`ISSUER`].
    Oidc,
    /// The operator's own.
    Hmac,
}

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Millis {
        NOW * 1000
    }
}

#[derive(Default)]
struct Seen(Mutex<HashSet<[u8; 32]>>);

#[async_trait]
impl Replays for Seen {
    async fn first_use(&self, id: [u8; 32], _: Millis) -> Result<bool, StoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id))
    }
}

impl FuzzSessions {
    /// Sets everything up.
    ///
    /// # Errors
    /// When the system has no certificates or starts no runtime.
    pub fn new() -> Result<Self, SessionsError> {
        let mut config = Config { account_format: AccountFormat::Opaque, ..Config::default() };
        config.atproto.service_did = "did:web:contacts.example.com#acquaint".into();
        config.atproto.plc_url = "http://127.0.0.1:1".into();
        config.oidc.issuer = ISSUER.into();
        config.oidc.audience = "acquaint".into();
        config.tokens.hmac_secret = SECRET.into();
        config.tokens.audience = "acquaint".into();
        config.tokens.introspection_url = "http://127.0.0.1:1/introspect".into();
        config.tokens.introspection_client_id = "acquaint".into();
        config.tokens.introspection_client_secret = "secret".into();
        config.sessions.api_keys = vec![format!("fuzz:{}", hex::encode(Sha256::digest(API_KEY)))];
        let clock: Arc<dyn Clock> = Arc::new(Standing);
        let nowhere: Lookup = Arc::new(|_| Err(std::io::ErrorKind::NotFound.into()));
        let public = PublicHttp::with_lookup(false, Duration::from_secs(1), 4, nowhere)?;
        let resolver = Resolver::with_public(&config, Arc::clone(&clock), public)?;
        resolver.keep(DID, document().as_bytes());
        let oidc = Oidc::new(&config, Arc::clone(&clock))?;
        oidc.keep(keys().as_bytes());
        let seen = Arc::new(Seen::default());
        let verifiers: Vec<Box<dyn Verifier>> = vec![
            Box::new(ApiKeys::new(&config.sessions.api_keys)?),
            Box::new(oidc),
            Box::new(HmacTokens::new(&config, Arc::clone(&clock))),
            Box::new(Introspection::new(&config, Arc::clone(&clock))?),
            Box::new(Atproto::with(&config, resolver, clock, seen.clone())),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| SessionsError::Section("runtime"))?;
        Ok(Self {
            sessions: Sessions {
                format: config.account_format,
                keys: ApiKeys::new(&config.sessions.api_keys)?,
                verifiers,
            },
            seen,
            runtime,
        })
    }

    /// What becomes of a header `authorization` and a header `acquaint-account`; `None` if it is refused, or cannot be
    /// judged.
    pub fn verify(&self, authorization: &[u8], account: Option<&[u8]>) -> Option<Accepted> {
        let authorization = HeaderValue::from_bytes(authorization).ok()?;
        let account = match account {
            Some(account) => Some(HeaderValue::from_bytes(account).ok()?),
            None => None,
        };
        let presented = Presented {
            authorization: Some(&authorization),
            account: account.as_ref(),
            lxm: Some("app.acquaint.discovery.getMatches"),
        };
        let session = self.runtime.block_on(self.sessions.verify(presented)).ok()?;
        Some((session.account.as_str().to_owned(), session.provider))
    }

    /// Forgets which tokens were used.
    pub fn forget(&self) {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A token of these parts as they stand, rightly signed.
pub fn sign(key: Key, header: &[u8], claims: &[u8]) -> String {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = match key {
        Key::Atproto => signing_key().map(|key| {
            let signature: k256::ecdsa::Signature = key.sign(signed.as_bytes());
            signature.normalize_s().to_bytes().to_vec()
        }),
        Key::Oidc => ed25519().map(|key| key.sign(signed.as_bytes()).as_ref().to_vec()),
        Key::Hmac => Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())
            .map(|mac| mac.chain_update(&signed).finalize().into_bytes().to_vec())
            .ok(),
    };
    format!("{signed}.{}", encode(&signature.unwrap_or_default()))
}

fn signing_key() -> Option<k256::ecdsa::SigningKey> {
    k256::ecdsa::SigningKey::from_slice(&[1; 32]).ok()
}

fn ed25519() -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&[1; 32]).ok()
}

fn document() -> String {
    let point = signing_key().map(|key| key.verifying_key().to_sec1_point(true).as_bytes().to_vec());
    let key = bs58::encode([&[0xe7, 0x01], &*point.unwrap_or_default()].concat()).into_string();
    format!(
        r##"{{"id":"{DID}","verificationMethod":[{{"id":"#atproto","type":"Multikey","publicKeyMultibase":"z{key}"}}]}}"##
    )
}

fn keys() -> String {
    let key = ed25519().map(|key| BASE64_URL_SAFE_NO_PAD.encode(key.public_key()));
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"1","x":"{}"}}]}}"#, key.unwrap_or_default())
}
