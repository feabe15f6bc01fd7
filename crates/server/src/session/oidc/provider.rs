//! An OpenID provider's keys, found by discovery (OpenID Connect Discovery 1.0, section 4) and kept for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acquaint_service::{Clock, Millis};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use url::Host;

use super::jwk::KeySet;
use crate::outbound::{Body, Http};
use crate::session::jws::Algorithm;
use crate::session::key::PublicKey;
use crate::session::{SessionError, SessionsError};

/// How long an answer may take, of two.
const WITHIN: Duration = Duration::from_secs(3);
/// How long keys are kept: for so long a key that was taken back is still taken.
const KEPT_FOR: Millis = 10 * 60_000;
/// For how long they are still used while the provider does not answer.
const LAST_GOOD_FOR: Millis = 24 * 60 * 60_000;
/// The provider is asked at most so often, whatever tokens name: also for a key that is not known.
const PAUSE: Millis = 30_000;

pub(in crate::session) struct Provider {
    issuer: String,
    configuration: Url,
    http: Http,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held by who asks the provider.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// With when they were fetched.
    keys: Option<(Arc<KeySet>, Millis)>,
    /// When the provider was last asked, and whether it answered.
    asked: Option<(Millis, bool)>,
}

#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

impl Provider {
    pub(in crate::session) fn new(issuer: &str, clock: Arc<dyn Clock>) -> Result<Self, SessionsError> {
        // Section 4.1: a slash at the end of the issuer goes.
        let configuration = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let configuration: Url = configuration.parse().map_err(|_| SessionsError::Section("oidc"))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            http: Http::new(&configuration, WITHIN)?,
            configuration,
            clock,
            state: Mutex::default(),
            asking: tokio::sync::Mutex::new(()),
        })
    }

    /// The key for `algorithm` that has this id.
    pub(super) async fn key(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> Result<Arc<PublicKey>, SessionError> {
        let find = |keys: &KeySet| keys.find(algorithm, id);
        if let Some(key) = self.kept(KEPT_FOR).as_deref().and_then(find) {
            return Ok(key);
        }
        let answered = self.renew().await;
        match self.kept(LAST_GOOD_FOR) {
            Some(keys) => match find(&keys) {
                Some(key) => Ok(key),
                None if answered => Err(SessionError::Refused),
                // It may be a key that cannot be asked for.
                None => Err(SessionError::Unavailable),
            },
            None => Err(SessionError::Unavailable),
        }
    }

    #[cfg(feature = "fuzzing")]
    pub(super) fn keep(&self, keys: &[u8]) {
        let now = self.clock.now();
        let mut state = self.state();
        state.keys = KeySet::parse(keys).map(|keys| (Arc::new(keys), now));
        state.asked = Some((now, true));
    }

    /// The keys, if they were fetched less than `age` ago.
    fn kept(&self, age: Millis) -> Option<Arc<KeySet>> {
        let now = self.clock.now();
        let state = self.state();
        let (keys, fetched) = state.keys.as_ref()?;
        (now.saturating_sub(*fetched) < age).then(|| Arc::clone(keys))
    }

    /// Asks the provider, unless that was done a moment ago; tells whether it answered the last time.
    async fn renew(&self) -> bool {
        let _one = self.asking.lock().await;
        let asked = self.state().asked;
        if let Some((at, answered)) = asked
            && self.clock.now().saturating_sub(at) < PAUSE
        {
            return answered;
        }
        let fetched = self.fetch().await;
        if let Err(reason) = fetched {
            tracing::warn!(reason, "the OpenID provider's keys cannot be fetched");
        }
        let now = self.clock.now();
        let mut state = self.state();
        state.asked = Some((now, fetched.is_ok()));
        match fetched {
            Ok(keys) => {
                state.keys = Some((Arc::new(keys), now));
                true
            }
            Err(_) => false,
        }
    }

    async fn fetch(&self) -> Result<KeySet, &'static str> {
        let bytes = self.get(self.configuration.clone()).await?;
        let Configuration { issuer, jwks_uri } =
            serde_json::from_slice(&bytes).map_err(|_| "its configuration is not of the documented form")?;
        // Section 4.3.
        if issuer != self.issuer {
            return Err(
                "it calls itself otherwise than `oidc.issuer`, which has to be the same to the letter",
            );
        }
        let keys = jwks_uri.parse().ok().filter(|url| self.may_have_keys(url));
        let keys = keys.ok_or("its keys are not at an https URL")?;
        KeySet::parse(&self.get(keys).await?).ok_or("its keys are not of the documented form")
    }

    /// Keys come encrypted, but where the provider is on this machine.
    pub(in crate::session) fn may_have_keys(&self, url: &Url) -> bool {
        let is_here = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        url.scheme() == "https"
            || (url.scheme() == "http" && self.configuration.scheme() == "http" && is_here)
    }

    async fn get(&self, url: Url) -> Result<Vec<u8>, &'static str> {
        let request = self.http.client().get(url).header("accept", "application/json");
        let answer = self.http.send(request, WITHIN).await.map_err(|_| "it does not answer")?;
        match (answer.status, answer.body) {
            (StatusCode::OK, Body::Whole(bytes)) => Ok(bytes),
            (StatusCode::OK, body) => Err(body.fault()),
            _ => Err("it refuses to answer, or leads elsewhere"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
