//! Short-lived credentials for a discovery service (seed 001): issued to accounts that have shown who they are, and
//! checked by anybody who has the audience's key.

use std::time::Duration;

use acquaint_custody::{CustodyError, KeyId, Purpose};
use acquaint_protocol::credential::{CredentialFormat, CredentialKey, Credentials};
use acquaint_protocol::identifier::AccountId;
use acquaint_store::{Charge, Charged, EventKind, Limit, NewEvent, Permit, Pseudonym};
use metrics::counter;
use serde_json::json;

use crate::caller::{Caller, Tags, tags};
use crate::error::{CredentialsError, Internal, RateLimited};
use crate::limiter::Refused;
use crate::policy::Bucket;
use crate::{Discovery, Millis};

/// A discovery service that credentials are for. Its keys are custody's credential keys of this number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    /// What callers name it.
    pub name: String,
    /// Which keys. One name with several numbers is checked under each, and issued under the first.
    pub number: u32,
    /// Whether credentials are issued here; else they are only checked.
    pub issues: bool,
}

/// The operator's choices for credentials.
#[derive(Debug, Clone)]
pub struct CredentialPolicy {
    /// For whom. Empty turns credentials off.
    pub audiences: Vec<Audience>,
    /// How they are written.
    pub format: CredentialFormat,
    /// How long they are good for.
    pub ttl: Duration,
    /// Whether only accounts get them that have verified a number here.
    pub needs_identifier: bool,
    /// For one account.
    pub account: Bucket,
    /// For one address prefix; no limit with a capacity of 0, as for the next two.
    pub prefix: Bucket,
    /// For all accounts for which one provider of sessions stands.
    pub provider: Bucket,
    /// In total.
    pub all: Bucket,
}

impl Default for CredentialPolicy {
    /// Seed 001's 24 hours; Signal's capacity for this call, 100 and one each 15 minutes.
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            format: CredentialFormat::default(),
            ttl: Duration::from_secs(86_400),
            needs_identifier: false,
            account: Bucket { capacity: 100, per_day: 96 },
            prefix: Bucket { capacity: 10_000, per_day: 10_000 },
            provider: Bucket { capacity: 0, per_day: 0 },
            all: Bucket { capacity: 0, per_day: 0 },
        }
    }
}

/// Credentials that were just issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Username and password.
    pub credentials: Credentials,
    /// For whom they are.
    pub audience: String,
    /// How long they are good for.
    pub ttl: Duration,
}

/// Credentials that are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// For whom they are.
    pub audience: String,
    /// When they were issued, in Unix seconds.
    pub issued_at: u64,
    /// The last second in which they are good.
    pub expires_at: u64,
}

impl Discovery {
    /// Issues credentials to an account for `audience`, or for the first that there is.
    ///
    /// # Errors
    /// [`CredentialsError`]. Nothing is charged unless credentials are issued.
    pub async fn issue_credentials(
        &self,
        caller: &Caller,
        audience: Option<&str>,
    ) -> Result<Issued, CredentialsError> {
        let audience = self.issuing(audience)?;
        let policy = &self.policy.credentials;
        let tags = tags(&*self.custody, caller)?;
        let permits = self.credential_permits(&tags);
        let now = self.clock.now();
        let own = permits.first().cloned().ok_or(Internal::Unreadable("no limit of the account"))?;
        let repeated = match self.limiter.look(&own, now) {
            Ok(repeated) => repeated,
            Err(Refused { limit, retry_at }) => {
                counter!("acquaint_credentials_total", "outcome" => limit.name()).increment(1);
                return Err(RateLimited::credentials(retry_at).into());
            }
        };
        if policy.needs_identifier && !self.has_number(tags.account).await.map_err(limiter_unavailable)? {
            counter!("acquaint_credentials_total", "outcome" => "no_identifier").increment(1);
            return Err(CredentialsError::NoIdentifier);
        }
        // Before they are noted as issued.
        let credentials = policy.format.issue(caller.account.as_str(), seconds(now), |key, input| {
            self.credential_hmac(key, audience.number, input)
        })?;
        let ttl = policy.ttl.as_secs();
        let issued =
            json!({ "audience": audience.name, "token_expiry_seconds": ttl, "refused_since": repeated });
        let refused = json!({ "audience": audience.name, "refused_since": repeated });
        let note = |kind, details: &serde_json::Value| {
            Some(NewEvent { kind, account: Some(tags.audit), details: details.to_string(), tell: self.tells })
        };
        let charge = Charge {
            alternatives: vec![permits],
            request: None,
            granted: note(EventKind::CredentialsIssued, &issued),
            refused: note(EventKind::RateLimited, &refused),
        };
        match self.store.charge(charge, now).await {
            Ok(Charged::Taken(_) | Charged::Repeated | Charged::OtherRequest) => {
                self.event_noted(EventKind::CredentialsIssued);
                self.limiter.forget(&own);
                counter!("acquaint_credentials_total", "outcome" => "issued").increment(1);
                Ok(Issued { credentials, audience: audience.name.clone(), ttl: policy.ttl })
            }
            Ok(Charged::Exhausted(exhausted)) => {
                self.event_noted(EventKind::RateLimited);
                self.limiter.remember(&own, exhausted, now);
                counter!("acquaint_credentials_total", "outcome" => exhausted.limit.name()).increment(1);
                Err(RateLimited::credentials(exhausted.retry_at).into())
            }
            Err(error) => Err(limiter_unavailable(error.into())),
        }
    }

    /// Checks credentials for `audience`, or for the first that there is: `None` if they are not good, for whatever
    /// reason.
    ///
    /// # Errors
    /// [`CredentialsError::NotConfigured`], [`CredentialsError::UnknownAudience`], or custody's failure.
    pub fn check_credentials(
        &self,
        audience: Option<&str>,
        username: &str,
        password: &str,
    ) -> Result<Option<Checked>, CredentialsError> {
        let policy = &self.policy.credentials;
        let first = policy.audiences.first().ok_or(CredentialsError::NotConfigured)?;
        let name = audience.unwrap_or(&first.name);
        let (now, ttl) = (seconds(self.clock.now()), policy.ttl.as_secs());
        let mut known = false;
        let mut good = None;
        // Each number, also after one was right.
        for audience in policy.audiences.iter().filter(|audience| audience.name == name) {
            known = true;
            let issued_at = policy.format.verify(username, password, (now, ttl), |key, input| {
                self.credential_hmac(key, audience.number, input)
            })?;
            good = good.or(issued_at);
        }
        if !known {
            return Err(CredentialsError::UnknownAudience);
        }
        let outcome = if good.is_some() { "good" } else { "bad" };
        counter!("acquaint_credentials_checked_total", "outcome" => outcome).increment(1);
        Ok(good.map(|issued_at| Checked {
            audience: name.to_owned(),
            issued_at,
            expires_at: issued_at.saturating_add(ttl),
        }))
    }

    /// Whether credentials are issued or checked here.
    #[must_use]
    pub fn has_audiences(&self) -> bool {
        !self.policy.credentials.audiences.is_empty()
    }

    fn issuing(&self, name: Option<&str>) -> Result<&Audience, CredentialsError> {
        let mut issuing = self.policy.credentials.audiences.iter().filter(|audience| audience.issues);
        match name {
            Some(name) => {
                issuing.find(|audience| audience.name == name).ok_or(CredentialsError::UnknownAudience)
            }
            None => issuing.next().ok_or(CredentialsError::NotConfigured),
        }
    }

    fn credential_permits(&self, tags: &Tags) -> Vec<Permit> {
        let policy = &self.policy.credentials;
        let mut permits = vec![policy.account.permit(Limit::AccountCredentials, tags.account.as_bytes(), 1)];
        let mut also = |bucket: Bucket, limit, key: &[u8]| {
            if bucket.capacity > 0 {
                permits.push(bucket.permit(limit, key, 1));
            }
        };
        if let Some(prefix) = tags.prefix {
            also(policy.prefix, Limit::PrefixCredentials, &prefix);
        }
        also(policy.provider, Limit::ProviderCredentials, &tags.provider);
        also(policy.all, Limit::AllCredentials, &[]);
        permits
    }

    fn credential_hmac(
        &self,
        key: CredentialKey,
        number: u32,
        input: &[u8],
    ) -> Result<[u8; 32], CustodyError> {
        let purpose = match key {
            CredentialKey::User => Purpose::CredentialUser,
            CredentialKey::Auth => Purpose::CredentialAuth,
        };
        let key = KeyId { purpose, version: number };
        let made = self.custody.hmac(key, &[input])?;
        // Custody's contract: one output for each input.
        made.first().copied().ok_or(CustodyError::NoSuchKey(key))
    }

    /// Whether the account has verified a number, not too long ago.
    pub(crate) async fn has_number(&self, account: Pseudonym) -> Result<bool, Internal> {
        Ok(self.store.has_proof(account, self.clock.now()).await?)
    }

    /// The account's username at the audience that lookups here are for, if this service issues those.
    pub(crate) fn lookup_username(
        &self,
        account: &AccountId,
    ) -> Result<Option<(&Audience, String)>, Internal> {
        let policy = &self.policy.credentials;
        let Some(audience) = policy.audiences.first().filter(|audience| audience.issues) else {
            return Ok(None);
        };
        let issued = policy.format.issue(account.as_str(), 0, |key, input| match key {
            CredentialKey::User => self.credential_hmac(key, audience.number, input),
            // What is signed is thrown away.
            CredentialKey::Auth => Ok([0; 32]),
        })?;
        Ok(Some((audience, issued.username)))
    }
}

fn limiter_unavailable(error: Internal) -> CredentialsError {
    counter!("acquaint_credentials_total", "outcome" => "limiter_unavailable").increment(1);
    CredentialsError::LimiterUnavailable(error)
}

fn seconds(now: Millis) -> u64 {
    u64::try_from(now.div_euclid(1000)).unwrap_or(0)
}
