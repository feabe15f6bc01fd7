use std::fmt;

use super::{Email, Phone, SecretText};

const TEL: &str = "tel:";
const MAILTO: &str = "mailto:";

/// A service-independent identifier in canonical form: `tel:+12125550123` or `mailto:alice@example.com`.
///
/// The URI form is literal and never percent-encoded, ASCII, and holds no byte below 0x21, so that 0x00 can join two of
/// them. Ordered and compared bytewise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sii(SecretText);

/// Why a text is no canonical service-independent identifier. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SiiError {
    /// It begins with neither scheme (schemes are written in lower case here).
    #[error("an identifier begins with `tel:` or `mailto:`")]
    UnknownScheme,
    /// What follows `tel:` is not E.164.
    #[error("after `tel:` stands a number in E.164: `+`, then 2 to 15 digits, the first not 0")]
    NotE164,
    /// What follows `mailto:` is not an e-mail address in canonical form.
    #[error("after `mailto:` stands an e-mail address in canonical form: lower case, its domain in A-labels")]
    NotCanonicalEmail,
}

impl Sii {
    /// Accepts canonical text only: what this type would write itself.
    ///
    /// A number is checked for its syntax alone, not against phone metadata: that changes over time, and what was
    /// canonical when it was stored must stay readable.
    ///
    /// # Errors
    /// See [`SiiError`].
    pub fn parse(uri: &str) -> Result<Self, SiiError> {
        if let Some(number) = uri.strip_prefix(TEL) {
            if !is_e164(number) {
                return Err(SiiError::NotE164);
            }
        } else if let Some(address) = uri.strip_prefix(MAILTO) {
            if Email::parse(address).map_err(|_| SiiError::NotCanonicalEmail)?.as_str() != address {
                return Err(SiiError::NotCanonicalEmail);
            }
        } else {
            return Err(SiiError::UnknownScheme);
        }
        Ok(Self(SecretText::concat(&[uri])))
    }

    /// The URI form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The bytes of the URI form, as they are hashed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

impl From<&Phone> for Sii {
    fn from(phone: &Phone) -> Self {
        Self(SecretText::concat(&[TEL, phone.as_str()]))
    }
}

impl From<&Email> for Sii {
    fn from(email: &Email) -> Self {
        Self(SecretText::concat(&[MAILTO, email.as_str()]))
    }
}

impl fmt::Debug for Sii {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sii(redacted)")
    }
}

/// ITU-T E.164 with the plus: at most 15 digits, and no country code begins with 0.
pub(super) fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0')
    })
}
