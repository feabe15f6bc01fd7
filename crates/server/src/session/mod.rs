//! Who calls: a bearer token or an API key is turned into an account.
//!
//! What somebody presents is told apart by its form alone: API keys by their prefix, signed tokens by their three parts,
//! everything else is opaque. Of signed tokens, the algorithm and the issuer that they *say* they have choose the one
//! verifier that then judges them, by its own keys and its own list of algorithms. No two verifiers take the same form, so
//! nothing is tried twice, and what one refuses no other takes.

mod api_key;
mod atproto;
mod bounded;
pub(crate) mod did;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hmac_token;
mod introspection;
mod jws;
mod key;
mod oidc;
mod strict;

use std::sync::Arc;

use acquaint_protocol::identifier::{AccountFormat, AccountId};
use acquaint_service::{Clock, Millis};
use acquaint_store::StoreError;
use async_trait::async_trait;
use http::HeaderValue;

use crate::config::{API_KEY_PREFIX, Config};
use crate::outbound::CertificatesError;
use crate::telemetry::metrics;
use api_key::ApiKeys;
use atproto::Atproto;
use hmac_token::HmacTokens;
use introspection::Introspection;
use jws::Jws;
use oidc::Oidc;

/// Longest token or key, in bytes; what is longer is not looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// What a request presents.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    /// Its header `authorization`, of which there may be one only.
    pub(crate) authorization: Option<&'a HeaderValue>,
    /// Its header `acquaint-account`: the account that an API key acts for. Of no use with anything else.
    pub(crate) account: Option<&'a HeaderValue>,
    /// The NSID of the method that is called, which a token of atproto has to name.
    pub(crate) lxm: Option<&'a str>,
}

/// Who calls.
#[derive(Debug)]
pub(crate) struct Session {
    /// The account.
    pub(crate) account: AccountId,
    /// Who stands for it: `atproto`, the issuer of an OpenID provider, `token`, `introspection` or `key:NAME`. From the
    /// configuration, never from a token.
    pub(crate) provider: String,
    /// How it was proved.
    pub(crate) through: Through,
}

/// How an account is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// A token that the account has signed, by atproto.
    Atproto,
    /// An access token of an OpenID provider.
    Oidc,
    /// A token of the operator's, by HMAC.
    Token,
    /// An opaque token that the operator's server knows.
    Introspection,
    /// An API key, which acts for any account.
    Key,
}

impl Through {
    /// As the metric's label `verifier`.
    fn label(self) -> &'static str {
        match self {
            Self::Atproto => "atproto",
            Self::Oidc => "oidc",
            Self::Token => "token",
            Self::Introspection => "introspection",
            Self::Key => "key",
        }
    }
}

/// Why there is no session. Says no more than this, to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionError {
    /// What was presented is not good, or nothing was.
    #[error("the token or key is missing or not good")]
    Refused,
    /// The store, or the host of a DID document, of keys or of tokens, could not be asked.
    #[error("the token cannot be checked now")]
    Unavailable,
}

/// Why sessions cannot be checked as configured.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// The system's certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// A section of the configuration is not complete.
    #[error("the section `[{0}]` of the configuration is not complete")]
    Section(&'static str),
}

/// Which tokens were used. Kept in the store, so that several servers share it.
#[async_trait]
pub(crate) trait Replays: Send + Sync {
    /// Notes that the token `id` is used, and tells whether that is the first time. May be forgotten at `expires_at`.
    ///
    /// # Errors
    /// When the store cannot be asked; then the token is not taken.
    async fn first_use(&self, id: [u8; 32], expires_at: Millis) -> Result<bool, StoreError>;
}

/// Checks sessions as configured.
pub(crate) struct Sessions {
    format: AccountFormat,
    keys: ApiKeys,
    verifiers: Vec<Box<dyn Verifier>>,
}

/// What was presented, by its form.
enum Credential<'a> {
    /// An API key, with the account that it is to act for.
    Key { key: &'a str, account: &'a str },
    /// A signed token, not verified.
    Signed(Jws<'a>),
    /// Anything else.
    Opaque(&'a str),
}

/// One way to prove an account. The one place where a kind of token is judged.
#[async_trait]
trait Verifier: Send + Sync {
    fn through(&self) -> Through;

    /// Whether a credential of this form is this verifier's to judge. At most one says so.
    fn takes(&self, credential: &Credential<'_>) -> bool;

    /// Judges it. `lxm` is the method that is called.
    async fn verify(&self, credential: &Credential<'_>, lxm: Option<&str>) -> Result<Proven, SessionError>;
}

/// An account as its verifier calls it.
struct Proven {
    account: String,
    provider: String,
}

impl Sessions {
    /// Checks what `config` sets up; with none of it, everything is refused.
    pub(crate) fn new(
        config: &Config,
        clock: Arc<dyn Clock>,
        replays: Arc<dyn Replays>,
    ) -> Result<Self, SessionsError> {
        let mut verifiers: Vec<Box<dyn Verifier>> = Vec::new();
        if !config.sessions.api_keys.is_empty() {
            verifiers.push(Box::new(ApiKeys::new(&config.sessions.api_keys)?));
        }
        if !config.oidc.issuer.is_empty() {
            verifiers.push(Box::new(Oidc::new(config, Arc::clone(&clock))?));
        }
        if !config.tokens.hmac_secret.is_empty() {
            verifiers.push(Box::new(HmacTokens::new(config, Arc::clone(&clock))));
        }
        if !config.tokens.introspection_url.is_empty() {
            verifiers.push(Box::new(Introspection::new(config, Arc::clone(&clock))?));
        }
        if !config.atproto.service_did.is_empty() {
            verifiers.push(Box::new(Atproto::new(config, clock, replays)?));
        }
        let keys = ApiKeys::new(&config.sessions.api_keys)?;
        Ok(Self { format: config.account_format, keys, verifiers })
    }

    /// Whether this is the API key of a back end, which calls for itself.
    ///
    /// # Errors
    /// [`SessionError::Refused`] if not.
    pub(crate) fn back_end(&self, authorization: Option<&HeaderValue>) -> Result<(), SessionError> {
        let key = authorization.and_then(bearer).filter(|token| token.starts_with(API_KEY_PREFIX));
        let is_one = key.is_some_and(|key| self.keys.find(key).is_some());
        metrics::session("key", if is_one { "accepted" } else { "refused" });
        if is_one { Ok(()) } else { Err(SessionError::Refused) }
    }

    /// Who presents this.
    ///
    /// # Errors
    /// [`SessionError`], which is the same for everything that is not good.
    pub(crate) async fn verify(&self, presented: Presented<'_>) -> Result<Session, SessionError> {
        let Some(credential) = credential(&presented) else {
            metrics::session("none", "refused");
            return Err(SessionError::Refused);
        };
        let Some(verifier) = self.verifiers.iter().find(|verifier| verifier.takes(&credential)) else {
            metrics::session("none", "refused");
            return Err(SessionError::Refused);
        };
        let through = verifier.through();
        let outcome = verifier.verify(&credential, presented.lxm).await.and_then(|proven| {
            let Proven { account, provider } = proven;
            match AccountId::parse(&account, self.format) {
                Ok(account) => Ok(Session { account, provider, through }),
                Err(_) => Err(SessionError::Refused),
            }
        });
        let label = match &outcome {
            Ok(_) => "accepted",
            Err(SessionError::Refused) => "refused",
            Err(SessionError::Unavailable) => "unavailable",
        };
        metrics::session(through.label(), label);
        outcome
    }
}

/// What is presented, if it has a form at all.
fn credential<'a>(presented: &Presented<'a>) -> Option<Credential<'a>> {
    let token = bearer(presented.authorization?)?;
    let account = match presented.account {
        Some(account) => Some(std::str::from_utf8(account.as_bytes()).ok()?),
        None => None,
    };
    match (token.starts_with(API_KEY_PREFIX), account) {
        (true, Some(account)) => Some(Credential::Key { key: token, account }),
        // A key acts for an account that is named, and a token for its own alone.
        (true, None) | (false, Some(_)) => None,
        (false, None) if token.bytes().filter(|byte| *byte == b'.').count() == 2 => {
            Jws::parse(token).map(Credential::Signed)
        }
        (false, None) => Some(Credential::Opaque(token)),
    }
}

/// The token of a header `authorization` (RFC 6750, section 2.1).
fn bearer(header: &HeaderValue) -> Option<&str> {
    let scheme = "bearer ";
    if header.len() > scheme.len() + MAX_TOKEN {
        return None;
    }
    let (given, token) = header.to_str().ok()?.split_at_checked(scheme.len())?;
    // RFC 9110, section 11.1: the scheme's name is not case-sensitive.
    let is_bearer = given.eq_ignore_ascii_case(scheme);
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (is_bearer && !token.is_empty() && token.bytes().all(is_part)).then_some(token)
}

#[cfg(test)]
mod tests;
