//! Access tokens of an OpenID provider (RFC 9068, or what older providers give), by the keys that it publishes.

pub(super) mod jwk;
pub(super) mod provider;

use std::sync::Arc;

use acquaint_service::{Clock, Millis};
use async_trait::async_trait;

use super::jws::{Algorithm, Kind};
use super::{Credential, Proven, SessionError, SessionsError, Through, Verifier};
use crate::config::Config;
use provider::Provider;

pub(super) const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

pub(super) struct Oidc {
    issuer: String,
    audience: String,
    account_claim: String,
    leeway: Millis,
    clock: Arc<dyn Clock>,
    provider: Provider,
}

impl Oidc {
    pub(super) fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, SessionsError> {
        let oidc = &config.oidc;
        Ok(Self {
            issuer: oidc.issuer.clone(),
            audience: oidc.audience.clone(),
            account_claim: oidc.account_claim.clone(),
            leeway: Millis::from(config.sessions.leeway_s) * 1000,
            provider: Provider::new(&oidc.issuer, Arc::clone(&clock))?,
            clock,
        })
    }

    /// Puts keys in as if the provider had published them.
    #[cfg(feature = "fuzzing")]
    pub(super) fn keep(&self, keys: &[u8]) {
        self.provider.keep(keys);
    }
}

#[async_trait]
impl Verifier for Oidc {
    fn through(&self) -> Through {
        Through::Oidc
    }

    fn takes(&self, credential: &Credential<'_>) -> bool {
        match credential {
            Credential::Signed(token) => {
                ALGORITHMS.contains(&token.algorithm) && token.claims.text("iss") == Some(&self.issuer)
            }
            Credential::Key { .. } | Credential::Opaque(_) => false,
        }
    }

    async fn verify(&self, credential: &Credential<'_>, _: Option<&str>) -> Result<Proven, SessionError> {
        let Credential::Signed(token) = credential else { return Err(SessionError::Refused) };
        let claims = &token.claims;
        // What needs no key comes first, so that what cannot be good asks the provider for nothing.
        let is_right = ALGORITHMS.contains(&token.algorithm)
            && matches!(token.kind, Kind::Plain | Kind::Access)
            && claims.text("iss") == Some(&self.issuer)
            && claims.is_for(&self.audience)
            // Worth nothing without a key of the caller's (RFC 9449, section 6.1; RFC 8705, section 3.1).
            && !claims.has("cnf")
            && claims.valid_until(self.clock.now(), self.leeway).is_some();
        let account = claims.text(&self.account_claim).filter(|_| is_right).ok_or(SessionError::Refused)?;
        let key = self.provider.key(token.algorithm, token.key_id.as_deref()).await?;
        match key.verifies(token.algorithm, token.signed, &token.signature) {
            true => Ok(Proven { account: account.to_owned(), provider: self.issuer.clone() }),
            false => Err(SessionError::Refused),
        }
    }
}
