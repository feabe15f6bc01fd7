//! What the Matrix face needs: tokens of its own, and lookups by hashes with a pepper (Matrix identity service API, v2).

use std::collections::{BTreeMap, BTreeSet};

use acquaint_custody::{CustodyError, Purpose};
use acquaint_protocol::identifier::{AccountFormat, AccountId};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::DirectoryError;
use crate::Discovery;
use crate::codec::{Reader, put_text};
use crate::error::Internal;
use crate::lookups::{Bill, Seeker};
use crate::policy::millis;

const TOKEN_V1: u8 = 1;
const AAD: &[u8] = b"matrix identity token";
/// How long a token is good.
const TTL: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
/// Text beyond this length is no token.
const MOST: usize = 1024;

/// Why hashes with a pepper were not looked up.
#[derive(Debug, thiserror::Error)]
pub enum PeppersError {
    /// They were made with another pepper.
    #[error("lookup_pepper is not the present one")]
    OtherPepper {
        /// The present one.
        pepper: String,
    },
    /// As any lookup.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl Discovery {
    /// A token for an account whose homeserver has vouched for it.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn matrix_token(&self, account: &AccountId) -> Result<String, DirectoryError> {
        self.has_matrix()?;
        let expires_at = self.clock.now().saturating_add(millis(TTL));
        let mut bytes = vec![TOKEN_V1];
        put_text(&mut bytes, account.as_str()).ok_or(Internal::Unreadable("an account's name"))?;
        bytes.extend_from_slice(&expires_at.to_be_bytes());
        let sealed = self.custody.seal(Purpose::Token, AAD, &bytes).map_err(Internal::from)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Whose token this is; `None` if it is nobody's, or is over.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn matrix_account(&self, token: &str) -> Result<Option<AccountId>, DirectoryError> {
        self.has_matrix()?;
        let Some(sealed) = Some(token).filter(|token| token.len() <= MOST) else { return Ok(None) };
        let Ok(sealed) = URL_SAFE_NO_PAD.decode(sealed) else { return Ok(None) };
        let content = match self.custody.open(Purpose::Token, AAD, &sealed) {
            Ok(content) => content,
            Err(CustodyError::NotOurs) => return Ok(None),
            Err(error) => return Err(Internal::from(error).into()),
        };
        let now = self.clock.now();
        Ok(decode(&content).filter(|(_, expires_at)| *expires_at > now).map(|(account, _)| account))
    }

    /// The pepper that hashes are to be made with now.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn matrix_pepper(&self) -> Result<String, DirectoryError> {
        self.has_matrix()?;
        let directory = self.directory()?;
        self.freshen(directory).await;
        let live = self.fresh(directory)?;
        let pepper = live.named.as_ref().and_then(|named| named.pepper());
        pepper.map(str::to_owned).ok_or(DirectoryError::Unavailable)
    }

    /// Whose these hashes are: accounts by hash. Charges an identifier and a query for each different hash.
    ///
    /// # Errors
    /// [`PeppersError`]; then nothing was charged.
    pub async fn matrix_lookup(
        &self,
        seeker: &Seeker,
        pepper: &str,
        hashes: Vec<String>,
    ) -> Result<BTreeMap<String, String>, PeppersError> {
        let present = self.matrix_pepper().await?;
        if pepper != present {
            return Err(PeppersError::OtherPepper { pepper: present });
        }
        let directory = self.directory()?;
        let hashes: BTreeSet<String> = hashes.into_iter().collect();
        if hashes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let amount = directory.within("addresses", hashes.len())?;
        // Before it is charged: the pepper may change meanwhile, and then there would be nothing to find any more.
        let found = {
            let (live, now) = (self.fresh(directory)?, self.clock.now());
            let named = live.named.as_ref().ok_or(DirectoryError::Unavailable)?;
            match named.pepper() {
                Some(other) if other != pepper => {
                    return Err(PeppersError::OtherPepper { pepper: other.to_owned() });
                }
                Some(_) => {}
                None => return Err(DirectoryError::Unavailable.into()),
            }
            let known = hashes.into_iter().filter_map(|hash| {
                let account = named.by_peppered(&hash, now)?.to_owned();
                Some((hash, account))
            });
            known.collect()
        };
        let bill = Bill { identifiers: amount, queries: amount, request: None };
        self.charge_lookup(seeker, bill).await.map_err(DirectoryError::from)?;
        Ok(found)
    }

    fn has_matrix(&self) -> Result<(), DirectoryError> {
        self.directory()?.policy.matrix.map(drop).ok_or(DirectoryError::NotConfigured)
    }
}

/// Layout, after the version: the account's name behind its length, when the token ends (i64).
fn decode(bytes: &[u8]) -> Option<(AccountId, i64)> {
    let mut reader = Reader(bytes);
    if reader.array()? != [TOKEN_V1] {
        return None;
    }
    let account = AccountId::parse(reader.text()?, AccountFormat::Opaque).ok()?;
    let expires_at = reader.i64()?;
    reader.end()?;
    Some((account, expires_at))
}
