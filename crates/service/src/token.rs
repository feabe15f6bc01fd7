//! The token of verifyPhone (house plan, decision 6): sealed and opaque, bound to account, identifier and generation.

use acquaint_custody::{CustodyError, KeyCustody, Purpose};
use acquaint_store::{Generation, Millis, Pseudonym, TokenId, TokenUse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::codec::Reader;
use crate::error::Internal;

const TOKEN_V2: u8 = 2;
/// A token for one use is none for another.
const fn aad(token_use: TokenUse) -> &'static [u8] {
    match token_use {
        TokenUse::Matching => b"verification token",
        TokenUse::Directory => b"directory token",
    }
}
/// Text beyond this length is no token; a real one is below 200 characters.
const MAX_TEXT: usize = 512;

/// What a token says. For what identifier it was given stands sealed in the store (see `verified.rs`): the token passes
/// through other people's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: TokenId,
    pub(crate) account: Pseudonym,
    pub(crate) generation: Generation,
    pub(crate) expires_at: Millis,
}

impl Token {
    /// Layout: version, id (16), account (16), generation, expires_at (i64 each); sealed; base64url without padding.
    pub(crate) fn seal(&self, custody: &dyn KeyCustody, token_use: TokenUse) -> Result<String, Internal> {
        let Self { id, account, generation, expires_at } = self;
        let mut bytes = vec![TOKEN_V2];
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(account.as_bytes());
        for field in [generation.0, *expires_at] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        Ok(URL_SAFE_NO_PAD.encode(custody.seal(Purpose::Token, aad(token_use), &bytes)?))
    }

    /// `None` for anything but a token that [`seal`](Self::seal) made with keys that still exist.
    pub(crate) fn open(
        custody: &dyn KeyCustody,
        token_use: TokenUse,
        text: &str,
    ) -> Result<Option<Self>, Internal> {
        if text.len() > MAX_TEXT {
            return Ok(None);
        }
        let Ok(sealed) = URL_SAFE_NO_PAD.decode(text) else { return Ok(None) };
        match custody.open(Purpose::Token, aad(token_use), &sealed) {
            Ok(bytes) => Ok(Self::decode(&bytes)),
            Err(CustodyError::NotOurs) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.array()? != [TOKEN_V2] {
            return None;
        }
        let token = Self {
            id: TokenId::from_bytes(reader.array()?),
            account: Pseudonym::from_bytes(reader.array()?),
            generation: Generation(reader.i64()?),
            expires_at: reader.i64()?,
        };
        reader.end()?;
        Some(token)
    }
}

/// What decoding and sealing again makes of a token's content; `None` where it is none.
#[cfg(feature = "fuzzing")]
pub(crate) fn again(custody: &dyn KeyCustody, bytes: &[u8]) -> Option<Result<Vec<u8>, Internal>> {
    let text = Token::decode(bytes)?.seal(custody, TokenUse::Matching);
    Some(text.and_then(|text| {
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| Internal::Unreadable("a token"))?;
        Ok(custody.open(Purpose::Token, aad(TokenUse::Matching), &sealed)?.to_vec())
    }))
}

#[cfg(test)]
mod tests {
    use acquaint_custody::software::SoftwareCustody;
    use acquaint_protocol::pair::Suite;

    use super::*;

    fn token() -> Token {
        Token {
            id: TokenId::from_bytes([1; 16]),
            account: Pseudonym::from_bytes([2; 16]),
            generation: Generation(-3),
            expires_at: 4,
        }
    }

    #[test]
    fn says_what_it_said_and_shows_nothing() {
        let custody = SoftwareCustody::generate(Suite::STANDARD).unwrap();
        let text = token().seal(&custody, TokenUse::Matching).unwrap();
        assert_eq!(Token::open(&custody, TokenUse::Matching, &text).unwrap(), Some(token()));
        let sealed = URL_SAFE_NO_PAD.decode(&text).unwrap();
        assert!(!sealed.windows(4).any(|window| window == [2; 4]));
        let other = SoftwareCustody::generate(Suite::STANDARD).unwrap();
        assert_eq!(Token::open(&other, TokenUse::Matching, &text).unwrap(), None);
        // What is sealed for another use is no token.
        assert_eq!(Token::open(&custody, TokenUse::Directory, &text).unwrap(), None);
        let cursor = custody.seal(Purpose::Token, b"cursor", b"\x01").unwrap();
        assert_eq!(Token::open(&custody, TokenUse::Matching, &URL_SAFE_NO_PAD.encode(cursor)).unwrap(), None);
    }
}
