use super::{Email, EmailError, Phone, PhoneError, Region, Sii};

/// A phone number or an e-mail address, whichever a text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identifier {
    /// A phone number.
    Phone(Phone),
    /// An e-mail address.
    Email(Email),
}

/// Why a text is neither. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// It has no `@` and is no phone number.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// It has an `@` and is no e-mail address.
    #[error(transparent)]
    Email(#[from] EmailError),
}

impl Identifier {
    /// Reads what has an `@` as an e-mail address (a `mailto:` in front is dropped) and all else as a phone number; one
    /// in national form is taken to be of `region`.
    ///
    /// # Errors
    /// See [`IdentifierError`].
    pub fn parse(text: &str, region: Option<Region>) -> Result<Self, IdentifierError> {
        if !text.contains('@') {
            return Ok(Self::Phone(Phone::parse(text, region)?));
        }
        let text = text.trim_ascii();
        let address = match text.get(..MAILTO.len()) {
            Some(scheme) if scheme.eq_ignore_ascii_case(MAILTO) => &text[MAILTO.len()..],
            _ => text,
        };
        Ok(Self::Email(Email::parse(address)?))
    }

    /// The canonical form, without a scheme: `+12125550123` or `alice@example.com`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Phone(phone) => phone.as_str(),
            Self::Email(email) => email.as_str(),
        }
    }
}

const MAILTO: &str = "mailto:";

impl From<&Identifier> for Sii {
    fn from(identifier: &Identifier) -> Self {
        match identifier {
            Identifier::Phone(phone) => phone.into(),
            Identifier::Email(email) => email.into(),
        }
    }
}
