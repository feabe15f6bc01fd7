//! Rocket.Chat's weak hashes (seed 003): the page, byte for byte.
//!
//! A strong hash is the SHA-1 of a number with its plus, or of a lower-cased e-mail address, in hexadecimal. A weak hash is
//! four digits of it from the fourth on, as the page says, or six, as the code did that shipped.
//!
//! **It leaks what it is meant to hide.** There are few enough phone numbers to hash all of them, so a strong hash is its number
//! to whoever sees it, and a weak hash is one of some thousands of numbers (some dozens with six digits). The sealed profile
//! has neither.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::identifier::Sii;

/// Where a weak hash begins in the strong one.
const FROM: usize = 3;

/// Digits of a weak hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeakLength {
    /// 16 bits: the page's text.
    Four,
    /// 24 bits: the code that shipped, and the page's reckoning.
    Six,
}

impl WeakLength {
    /// From a number of digits; `None` unless it is 4 or 6.
    #[must_use]
    pub fn new(digits: u8) -> Option<Self> {
        match digits {
            4 => Some(Self::Four),
            6 => Some(Self::Six),
            _ => None,
        }
    }

    /// How many digits it is.
    #[must_use]
    pub fn digits(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Six => 6,
        }
    }
}

/// The SHA-1 of an identifier, which is as good as the identifier: never printed by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Strong([u8; 20]);

/// Four or six digits of a [`Strong`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weak {
    value: u32,
    digits: u8,
}

/// Why a text is no weak hash. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakError {
    /// It is not as long as the server's weak hashes are.
    #[error("a weak hash has {0} digits here")]
    Length(usize),
    /// It holds what is no hexadecimal digit.
    #[error("a weak hash is written in hexadecimal")]
    NotHex,
    /// It holds a digit in upper case: JavaScript's `toString('hex')`, which the page's server compares with, writes none.
    #[error("a weak hash is written in lower case")]
    UpperCase,
}

impl Strong {
    /// Of an identifier in canonical form: what follows `tel:` or `mailto:` is hashed.
    #[must_use]
    pub fn of(identifier: &Sii) -> Self {
        let text = identifier.as_str();
        let bare = text.strip_prefix("tel:").or_else(|| text.strip_prefix("mailto:")).unwrap_or(text);
        Self(Sha1::digest(bare).into())
    }

    /// From 40 digits as a server answers them, in either case; `None` for other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        let digits: &[u8; 40] = text.as_bytes().try_into().ok()?;
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
        }
        Some(Self(bytes))
    }

    /// In hexadecimal, as it crosses the wire.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Its weak hash.
    #[must_use]
    pub fn weak(&self, length: WeakLength) -> Weak {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]).skip(FROM).take(length.digits());
        Weak { value: digits.fold(0, |value, digit| value << 4 | u32::from(digit)), digits: tag(length) }
    }
}

impl fmt::Debug for Strong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Strong(redacted)")
    }
}

impl Weak {
    /// From a text of `length` digits.
    ///
    /// # Errors
    /// See [`WeakError`].
    pub fn parse(text: &str, length: WeakLength) -> Result<Self, WeakError> {
        if text.len() != length.digits() {
            return Err(WeakError::Length(length.digits()));
        }
        let mut value = 0;
        for byte in text.bytes() {
            value = value << 4 | digit(byte).ok_or(WeakError::NotHex)?;
        }
        // After the whole text was read: `G` is no digit, in whatever case.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(WeakError::UpperCase);
        }
        Ok(Self { value, digits: tag(length) })
    }

    /// As a number: below 2¹⁶ for four digits, below 2²⁴ for six.
    #[must_use]
    pub fn value(self) -> u32 {
        self.value
    }
}

/// As it crosses the wire.
impl fmt::Display for Weak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.value, width = usize::from(self.digits))
    }
}

impl fmt::Debug for Weak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Weak(redacted)")
    }
}

fn tag(length: WeakLength) -> u8 {
    match length {
        WeakLength::Four => 4,
        WeakLength::Six => 6,
    }
}

fn digit(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(16)
}

/// What is sent to `POST /api/v1/query.contacts`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryContacts {
    /// The weak hashes. Not there, or null: answered by [`Refused::no_weak_hashes`].
    #[serde(rename = "weakHashes", default)]
    pub weak_hashes: Option<Vec<String>>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactsFound {
    /// All of the directory under the weak hashes.
    #[serde(rename = "strongHashes")]
    pub strong_hashes: Vec<Candidate>,
    /// True.
    pub success: bool,
}

/// One of the directory's people.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The strong hash, in hexadecimal.
    pub h: String,
    /// The username.
    pub u: String,
    /// The user's id.
    #[serde(rename = "_id")]
    pub id: String,
}

/// What Rocket.Chat answers to a request that it refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// False.
    pub success: bool,
    /// Why.
    pub error: String,
}

impl Refused {
    /// With any reason.
    #[must_use]
    pub fn because(error: impl Into<String>) -> Self {
        Self { success: false, error: error.into() }
    }

    /// Without the parameter, in the words of the code that shipped.
    #[must_use]
    pub fn no_weak_hashes() -> Self {
        Self::because("weakHashes param not present.")
    }
}

#[cfg(test)]
mod tests;
