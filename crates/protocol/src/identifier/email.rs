use std::fmt;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::SecretText;

/// RFC 5321, section 4.5.3.1.1, in bytes.
const MAX_LOCAL_PART: usize = 64;
/// RFC 5321, section 4.5.3.1.3, less the two angle brackets of a path, in bytes.
const MAX_ADDRESS: usize = 254;
/// No text longer than this, in bytes, is looked at: a domain may shrink when it is mapped, but not without bound.
const MAX_TEXT: usize = 1024;

/// An e-mail address in canonical form, such as `alice@example.com` or `bob@xn--bcher-kva.example`: ASCII, at most 254
/// bytes, overwritten when dropped, never printed.
///
/// The local part is a dot-atom (RFC 5322, section 3.2.3), lower-cased: strictly it may be case-sensitive (RFC 5321,
/// section 2.4), but nobody's address book knows that. Nothing is done for one provider alone: dots and `+` tags stay.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(SecretText);

/// Why a text is no e-mail address that we take. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// There is nothing in it.
    #[error("the e-mail address is empty")]
    Empty,
    /// It is over 254 bytes in canonical form, or its local part is over 64.
    #[error("the e-mail address is too long: at most 254 bytes, of which 64 stand before the @")]
    TooLong,
    /// It has no `@`.
    #[error("not an e-mail address: write it like alice@example.com")]
    MissingAt,
    /// What stands before the `@` is no ASCII dot-atom.
    #[error(
        "before the @ of an e-mail address stand ASCII letters, digits and !#$%&'*+-/=?^_`{{|}}~, parted by single dots"
    )]
    LocalPart,
    /// What stands after the last `@` is no domain name of two labels or more.
    #[error("after the @ of an e-mail address stands a domain name, like example.com, without a final dot")]
    Domain,
}

impl Email {
    /// Reads an address and brings it into canonical form; ASCII whitespace around it is dropped.
    ///
    /// The domain goes through UTS-46 ToASCII: non-transitional, STD3 rules, no hyphen at either end of a label, DNS
    /// lengths verified, no final dot.
    ///
    /// # Errors
    /// See [`EmailError`].
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim_ascii();
        if text.is_empty() {
            return Err(EmailError::Empty);
        }
        if text.len() > MAX_TEXT {
            return Err(EmailError::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::MissingAt)?;
        if !is_dot_atom(local) {
            return Err(EmailError::LocalPart);
        }
        if local.len() > MAX_LOCAL_PART {
            return Err(EmailError::TooLong);
        }
        let domain = Uts46::new()
            .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
            .map_err(|_| EmailError::Domain)?;
        if !domain.contains('.') {
            return Err(EmailError::Domain);
        }
        if local.len() + 1 + domain.len() > MAX_ADDRESS {
            return Err(EmailError::TooLong);
        }
        let mut address = [local, "@", &domain].concat();
        address.make_ascii_lowercase();
        Ok(Self(SecretText::new(address)))
    }

    /// The canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(redacted)")
    }
}

/// RFC 5322, section 3.2.3: `dot-atom-text = 1*atext *("." 1*atext)`.
fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| {
        !atom.is_empty()
            && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    })
}
