//! API keys of back ends, which act for any account that they name.

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Credential, Proven, SessionError, SessionsError, Through, Verifier};
use crate::config::ApiKey;

pub(super) struct ApiKeys(Vec<ApiKey>);

impl ApiKeys {
    pub(super) fn new(entries: &[String]) -> Result<Self, SessionsError> {
        let keys: Option<Vec<_>> = entries.iter().map(|entry| ApiKey::parse(entry)).collect();
        keys.map(Self).ok_or(SessionsError::Section("sessions"))
    }

    /// The entry that `key` is, found in a time that depends on how many there are and on nothing else.
    pub(super) fn find(&self, key: &str) -> Option<&ApiKey> {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let mut place = u32::MAX;
        for (entry, index) in self.0.iter().zip(0_u32..) {
            let is_it: Choice = entry.digest.ct_eq(&digest);
            place.conditional_assign(&index, is_it);
        }
        self.0.get(usize::try_from(place).ok()?)
    }
}

#[async_trait]
impl Verifier for ApiKeys {
    fn through(&self) -> Through {
        Through::Key
    }

    fn takes(&self, credential: &Credential<'_>) -> bool {
        matches!(credential, Credential::Key { .. })
    }

    async fn verify(&self, credential: &Credential<'_>, _: Option<&str>) -> Result<Proven, SessionError> {
        let Credential::Key { key, account } = credential else { return Err(SessionError::Refused) };
        let entry = self.find(key).ok_or(SessionError::Refused)?;
        Ok(Proven { account: (*account).to_owned(), provider: format!("key:{}", entry.name) })
    }
}
