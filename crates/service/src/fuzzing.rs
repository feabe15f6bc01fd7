//! Decoders of what is sealed, for the fuzz targets: nothing else can reach them without the keys.

use crate::{Internal, import, matches, token, verified};
use acquaint_custody::KeyCustody;
use acquaint_store::TokenUse;

/// Decodes the content of a token and makes a token of it again; `None` where it is none. A token that was decoded comes
/// back as the same bytes.
pub fn token(custody: &dyn KeyCustody, content: &[u8]) -> Option<Result<Vec<u8>, Internal>> {
    token::again(custody, content)
}

/// Whether a text is a token that these keys sealed.
///
/// # Errors
/// When custody fails.
pub fn is_token(custody: &dyn KeyCustody, text: &str) -> Result<bool, Internal> {
    Ok(token::Token::open(custody, TokenUse::Matching, text)?.is_some())
}

/// As [`token()`] for the content of a cursor.
#[must_use]
pub fn cursor(content: &[u8]) -> Option<Vec<u8>> {
    matches::again(content)
}

/// As [`token()`] for the content of an identifier that was verified. `Some(None)`: it was decoded and cannot be encoded.
#[must_use]
pub fn verified(content: &[u8]) -> Option<Option<Vec<u8>>> {
    verified::again(content)
}

/// As [`verified()`] for the content of an accepted address book; one of an older version comes back in the newest.
#[must_use]
pub fn contact_list(content: &[u8]) -> Option<Option<Vec<u8>>> {
    import::again(content)
}
