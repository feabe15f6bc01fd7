//! Tokens of the operator's own: JWTs by HMAC (RFC 7515, appendix A.1), for a back end that knows its accounts already.

use std::sync::Arc;

use acquaint_service::{Clock, Millis};
use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::jws::{Algorithm, Kind};
use super::{Credential, Proven, SessionError, Through, Verifier};
use crate::config::{Config, Secret};

pub(super) struct HmacTokens {
    key: Secret,
    audience: String,
    leeway: Millis,
    clock: Arc<dyn Clock>,
}

impl HmacTokens {
    pub(super) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            key: config.tokens.hmac_secret.clone(),
            audience: config.tokens.audience.clone(),
            leeway: Millis::from(config.sessions.leeway_s) * 1000,
            clock,
        }
    }

    fn is_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        // HMAC takes a key of any length; the comparison takes the same time wherever it fails.
        Hmac::<Sha256>::new_from_slice(self.key.expose().as_bytes())
            .is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok())
    }
}

#[async_trait]
impl Verifier for HmacTokens {
    fn through(&self) -> Through {
        Through::Token
    }

    fn takes(&self, credential: &Credential<'_>) -> bool {
        matches!(credential, Credential::Signed(token) if token.algorithm == Algorithm::Hs256)
    }

    async fn verify(&self, credential: &Credential<'_>, _: Option<&str>) -> Result<Proven, SessionError> {
        let Credential::Signed(token) = credential else { return Err(SessionError::Refused) };
        let claims = &token.claims;
        let is_good = token.algorithm == Algorithm::Hs256
            && self.is_signed(token.signed, &token.signature)
            && matches!(token.kind, Kind::Plain | Kind::Access)
            && claims.is_for(&self.audience)
            // Bound to another key that the caller would have to prove (RFC 7800).
            && !claims.has("cnf")
            && claims.valid_until(self.clock.now(), self.leeway).is_some();
        match claims.text("sub") {
            Some(account) if is_good => {
                Ok(Proven { account: account.to_owned(), provider: "token".to_owned() })
            }
            _ => Err(SessionError::Refused),
        }
    }
}
