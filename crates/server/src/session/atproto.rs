//! Inter-service authentication of atproto (<https://atproto.com/specs/xrpc#inter-service-authentication-jwt>): a token
//! that the account's own key has signed, for one method of one service.
//!
//! As `@atproto/xrpc-server` 0.13 (`verifyJwt` in `dist/auth.js`) does it, but stricter, because what it lets pass nobody
//! needs who signs with `createServiceJwt` of the same file:
//!
//! - `iss` is a bare DID. There, one with `#fragment` passes; the AppView then takes the account's own key for every
//!   fragment but `#atproto_labeler`, and `did#fragment` for the name of the caller, which is no account. The revised
//!   specification has no fragments there any more.
//! - `kid`, which the revised specification adds to name the key, is absent or `atproto`: another key of the document, as
//!   a labeller's, does not speak for the account.
//! - `aud` is the configured DID exactly; if that has a fragment, the bare DID too, which older servers send.
//! - `lxm`, `iat` and `jti` have to be there, the lifetime is bounded, and a token is taken once.
//! - A signature is r ‖ s with a low s. There, DER and a high s pass.

use std::sync::Arc;

use acquaint_service::{Clock, Millis};
use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::did::{ResolveError, Resolver};
use super::jws::{Algorithm, Jws, Kind};
use super::{Credential, Proven, Replays, SessionError, SessionsError, Through, Verifier};
use crate::config::Config;

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Es256k, Algorithm::Es256];
/// The farthest that a token's end may lie ahead. Servers make tokens of 60 s for calls that they pass on.
const MAX_LIFETIME: Millis = 5 * 60 * 1000;
/// Longest `jti`, in bytes. Servers write 32 digits.
const MAX_ID: usize = 256;

pub(super) struct Atproto {
    /// The audiences that are this service.
    audiences: Vec<String>,
    leeway: Millis,
    resolver: Resolver,
    clock: Arc<dyn Clock>,
    replays: Arc<dyn Replays>,
}

impl Atproto {
    pub(super) fn new(
        config: &Config,
        clock: Arc<dyn Clock>,
        replays: Arc<dyn Replays>,
    ) -> Result<Self, SessionsError> {
        Ok(Self::with(config, Resolver::new(config, Arc::clone(&clock))?, clock, replays))
    }

    /// The same, with DID documents from `resolver`.
    pub(super) fn with(
        config: &Config,
        resolver: Resolver,
        clock: Arc<dyn Clock>,
        replays: Arc<dyn Replays>,
    ) -> Self {
        let service = &config.atproto.service_did;
        let mut audiences = vec![service.clone()];
        audiences.extend(service.split_once('#').map(|(did, _)| did.to_owned()));
        Self { audiences, leeway: Millis::from(config.sessions.leeway_s) * 1000, resolver, clock, replays }
    }

    /// Whether the account's key has signed it. A key that is kept may have been replaced meanwhile.
    async fn is_signed(&self, token: &Jws<'_>, did: &str) -> Result<bool, ResolveError> {
        let document = self.resolver.resolve(did).await?;
        let signed =
            |key: &super::key::PublicKey| key.verifies_low_s(token.algorithm, token.signed, &token.signature);
        if signed(&document.key) {
            return Ok(true);
        }
        let renewed = self.resolver.renew(did, &document).await?;
        Ok(renewed.is_some_and(|renewed| renewed.key != document.key && signed(&renewed.key)))
    }
}

#[async_trait]
impl Verifier for Atproto {
    fn through(&self) -> Through {
        Through::Atproto
    }

    fn takes(&self, credential: &Credential<'_>) -> bool {
        match credential {
            Credential::Signed(token) => {
                ALGORITHMS.contains(&token.algorithm)
                    && token.claims.text("iss").is_some_and(|issuer| issuer.starts_with("did:"))
            }
            Credential::Key { .. } | Credential::Opaque(_) => false,
        }
    }

    async fn verify(&self, credential: &Credential<'_>, lxm: Option<&str>) -> Result<Proven, SessionError> {
        let Credential::Signed(token) = credential else { return Err(SessionError::Refused) };
        let (expires, did, id) = claims(self, token, lxm).ok_or(SessionError::Refused)?;
        match self.is_signed(token, did).await {
            Ok(true) => {}
            Ok(false) | Err(ResolveError::Gone | ResolveError::NotFound | ResolveError::Invalid) => {
                return Err(SessionError::Refused);
            }
            Err(ResolveError::Unavailable) => return Err(SessionError::Unavailable),
        }
        // Only now: others could use up the ids of tokens that they have not signed. A server whose clock is behind takes the
        // token for longer than this one does.
        let kept_until = expires.saturating_add(self.leeway.saturating_mul(2));
        match self.replays.first_use(replay_id(did, id), kept_until).await {
            Ok(true) => Ok(Proven { account: did.to_owned(), provider: "atproto".to_owned() }),
            Ok(false) => Err(SessionError::Refused),
            Err(_) => Err(SessionError::Unavailable),
        }
    }
}

/// When the token expires, whose it is, and its id, if all that can be seen of it without a key is right.
fn claims<'t>(
    verifier: &Atproto,
    token: &'t Jws<'_>,
    lxm: Option<&str>,
) -> Option<(Millis, &'t str, &'t str)> {
    let Jws { algorithm, kind, key_id, claims, .. } = token;
    let now = verifier.clock.now();
    let expires = claims.valid_until(now, verifier.leeway)?;
    let issuer = claims.text("iss")?;
    let id = claims.text("jti").filter(|id| (1..=MAX_ID).contains(&id.len()))?;
    let is_right = ALGORITHMS.contains(algorithm)
        && *kind == Kind::Plain
        && key_id.as_deref().is_none_or(|key| key == "atproto")
        && claims.text("aud").is_some_and(|audience| verifier.audiences.iter().any(|own| own == audience))
        && lxm.is_some()
        && claims.text("lxm") == lxm
        && claims.has("iat")
        && expires <= now.saturating_add(MAX_LIFETIME).saturating_add(verifier.leeway);
    is_right.then_some((expires, issuer, id))
}

/// A DID has no byte 0x00.
fn replay_id(did: &str, id: &str) -> [u8; 32] {
    Sha256::new().chain_update(did).chain_update([0]).chain_update(id).finalize().into()
}
