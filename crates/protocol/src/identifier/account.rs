use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest account identifier, in bytes of UTF-8 (atproto DID specification: 2 KB).
const MAX_BYTES: usize = 2048;

/// How a deployment writes its accounts: decides what [`AccountId::parse`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountFormat {
    /// A decentralised identifier in atproto's syntax, such as `did:plc:ewvi7nxzyoun6zhxrhs64oiz`.
    Did,
    /// Any UTF-8 without control characters.
    Opaque,
}

/// A word that names no [`AccountFormat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account format is `did` or `opaque`")]
pub struct AccountFormatError;

impl FromStr for AccountFormat {
    type Err = AccountFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "did" => Ok(Self::Did),
            "opaque" => Ok(Self::Opaque),
            _ => Err(AccountFormatError),
        }
    }
}

impl fmt::Display for AccountFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Did => "did",
            Self::Opaque => "opaque",
        })
    }
}

/// An account of the service that asks (a service-specific identifier), 1..=2048 bytes of UTF-8, compared bytewise.
///
/// Who uses the service is personal data too: there is no `Display`, and `Debug` is redacted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

/// Why a text is no account identifier. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountIdError {
    /// There is nothing in it.
    #[error("the account identifier is empty")]
    Empty,
    /// It is over 2048 bytes.
    #[error("the account identifier is too long: at most 2048 bytes")]
    TooLong,
    /// [`AccountFormat::Did`] is in force and it is no DID by itself (a path, query or fragment makes a DID URL).
    #[error("not a DID: write it like did:plc:… or did:web:example.com, without path, query or fragment")]
    NotADid,
    /// It holds a control character.
    #[error("the account identifier holds a control character")]
    ControlCharacter,
}

impl AccountId {
    /// Checks `text` against `format` and keeps it as it is: nothing is trimmed, folded or decoded.
    ///
    /// # Errors
    /// See [`AccountIdError`].
    pub fn parse(text: &str, format: AccountFormat) -> Result<Self, AccountIdError> {
        if text.is_empty() {
            return Err(AccountIdError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(AccountIdError::TooLong);
        }
        match format {
            AccountFormat::Did if !is_did(text) => Err(AccountIdError::NotADid),
            AccountFormat::Opaque if text.contains(char::is_control) => Err(AccountIdError::ControlCharacter),
            AccountFormat::Did | AccountFormat::Opaque => Ok(Self(text.to_owned())),
        }
    }

    /// The identifier as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountId(redacted)")
    }
}

/// atproto DID syntax: `^did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]$`.
fn is_did(text: &str) -> bool {
    let Some((method, id)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    !method.is_empty()
        && method.bytes().all(|b| b.is_ascii_lowercase())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:%-".contains(&b))
        && id.bytes().last().is_some_and(|b| b != b':' && b != b'%')
}
