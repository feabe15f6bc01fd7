//! Opaque tokens, by asking the server that has given them (RFC 7662).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acquaint_service::{Clock, Millis};
use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{StatusCode, Url};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::bounded::Bounded;
use super::jws::Claims;
use super::strict::object;
use super::{Credential, Proven, SessionError, SessionsError, Through, Verifier};
use crate::config::Config;
use crate::outbound::{Body, Http};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(3);
/// Questions at once; more wait for as long as an answer may take.
const AT_ONCE: usize = 16;
/// How long a good answer is kept: for so long a token that was taken back is still taken.
const KEPT_FOR: Millis = 30_000;
/// How many are kept.
const KEPT: usize = 10_000;

pub(super) struct Introspection {
    http: Http,
    url: Url,
    /// The header `authorization` of the client.
    client: Zeroizing<String>,
    audience: String,
    leeway: Millis,
    clock: Arc<dyn Clock>,
    turns: Semaphore,
    /// Accounts by the digest of their token, with when that has to be asked about again.
    known: Mutex<Bounded<[u8; 32], (String, Millis)>>,
}

impl Introspection {
    pub(super) fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, SessionsError> {
        let tokens = &config.tokens;
        let url: Url = tokens.introspection_url.parse().map_err(|_| SessionsError::Section("tokens"))?;
        Ok(Self {
            http: Http::new(&url, WITHIN)?,
            url,
            client: basic(&tokens.introspection_client_id, tokens.introspection_client_secret.expose()),
            audience: tokens.introspection_audience.clone(),
            leeway: Millis::from(config.sessions.leeway_s) * 1000,
            clock,
            turns: Semaphore::new(AT_ONCE),
            known: Mutex::new(Bounded::new(KEPT)),
        })
    }

    /// What the server says of `token`.
    async fn ask(&self, token: &str) -> Result<Claims, SessionError> {
        let turn = tokio::time::timeout(WITHIN, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(SessionError::Unavailable) };
        let request = self.http.client().post(self.url.clone());
        let request =
            request.header("authorization", self.client.as_str()).header("accept", "application/json");
        let request = request.form(&[("token", token), ("token_type_hint", "access_token")]);
        let answer = self.http.send(request, WITHIN).await.map_err(|_| SessionError::Unavailable)?;
        // Section 2.3: it answers 200 for tokens that are not good too. Whatever else it says, it has judged nothing.
        match (answer.status, &answer.body) {
            (StatusCode::OK, Body::Whole(bytes)) => {
                object(bytes).map(Claims::from).ok_or(SessionError::Unavailable)
            }
            _ => Err(SessionError::Unavailable),
        }
    }

    /// Whose token it is, and until when, if the answer is that it is good (section 2.2).
    fn judge(&self, answer: &Claims) -> Option<(String, Millis)> {
        let now = self.clock.now();
        let until = match answer.has("exp") {
            true => answer.valid_until(now, self.leeway)?,
            false => Millis::MAX,
        };
        let has_begun =
            answer.time("nbf").ok()?.is_none_or(|begins| begins <= now.saturating_add(self.leeway));
        // `cnf` and the kind tell of a token that is worth nothing without a key of the caller's (RFC 9449, section 6.2).
        let is_bearer = !answer.has("cnf")
            && match answer.has("token_type") {
                true => answer.text("token_type")?.eq_ignore_ascii_case("bearer"),
                false => true,
            };
        let is_good = answer.is_true("active")
            && has_begun
            && is_bearer
            && (self.audience.is_empty() || answer.is_for(&self.audience));
        is_good.then_some((answer.text("sub")?.to_owned(), until.min(now.saturating_add(KEPT_FOR))))
    }

    fn known(&self) -> MutexGuard<'_, Bounded<[u8; 32], (String, Millis)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Verifier for Introspection {
    fn through(&self) -> Through {
        Through::Introspection
    }

    fn takes(&self, credential: &Credential<'_>) -> bool {
        matches!(credential, Credential::Opaque(_))
    }

    async fn verify(&self, credential: &Credential<'_>, _: Option<&str>) -> Result<Proven, SessionError> {
        let Credential::Opaque(token) = credential else { return Err(SessionError::Refused) };
        let provider = "introspection".to_owned();
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = self.clock.now();
        let known =
            self.known().get(&digest).filter(|(_, until)| now < *until).map(|(account, _)| account.clone());
        if let Some(account) = known {
            return Ok(Proven { account, provider });
        }
        let answer = self.ask(token).await?;
        let judged = self.judge(&answer);
        match judged {
            Some((account, until)) => {
                self.known().put(digest, (account.clone(), until));
                Ok(Proven { account, provider })
            }
            None => {
                self.known().remove(&digest);
                Err(SessionError::Refused)
            }
        }
    }
}

/// The header of a client with a secret; both are form-encoded first (RFC 6749, section 2.3.1).
fn basic(id: &str, secret: &str) -> Zeroizing<String> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret)));
    Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*pair)))
}
