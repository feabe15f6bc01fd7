//! An identifier that an account has just verified: kept sealed beside its token, and only while that is valid.

use acquaint_custody::{KeyCustody, Purpose};
use acquaint_protocol::identifier::Sii;
use acquaint_store::{Millis, NumberKey, TokenId};
use zeroize::Zeroizing;

use crate::codec::{Reader, put_text};
use crate::error::Internal;

const VERIFIED_V1: u8 = 1;
/// Longer than any: an e-mail address has at most 254 bytes.
const ROOM: usize = 320;

/// A verified identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) sii: Sii,
    /// What limits by identifier are keyed by.
    pub(crate) number: NumberKey,
    pub(crate) verified_at: Millis,
}

impl Verified {
    pub(crate) fn seal(&self, custody: &dyn KeyCustody, token: TokenId) -> Result<Vec<u8>, Internal> {
        // Room for all of it at once, so that no half-written copy is left behind unwiped.
        let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
        bytes.push(VERIFIED_V1);
        self.put(&mut bytes).ok_or(Internal::Unreadable("an identifier is too long"))?;
        Ok(custody.seal(Purpose::Seal, &row(token), &bytes)?)
    }

    pub(crate) fn open(custody: &dyn KeyCustody, token: TokenId, sealed: &[u8]) -> Result<Self, Internal> {
        let bytes = custody.open(Purpose::Seal, &row(token), sealed)?;
        Self::decode(&bytes).ok_or(Internal::Unreadable("a verified identifier"))
    }

    /// Layout, after the version: SII behind its length, number key (32), verified_at (i64).
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.array()? != [VERIFIED_V1] {
            return None;
        }
        let verified = Self::read(&mut reader)?;
        reader.end()?;
        Some(verified)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            sii: Sii::parse(reader.text()?).ok()?,
            number: NumberKey::from_bytes(reader.array()?),
            verified_at: reader.i64()?,
        })
    }

    pub(crate) fn put(&self, bytes: &mut Vec<u8>) -> Option<()> {
        let Self { sii, number, verified_at } = self;
        put_text(bytes, sii.as_str())?;
        bytes.extend_from_slice(number.as_bytes());
        bytes.extend_from_slice(&verified_at.to_be_bytes());
        Some(())
    }
}

/// What decoding and encoding again makes of a verified identifier's content; `None` where it is none.
#[cfg(feature = "fuzzing")]
pub(crate) fn again(bytes: &[u8]) -> Option<Option<Vec<u8>>> {
    let verified = Verified::decode(bytes)?;
    let mut again = vec![VERIFIED_V1];
    Some(verified.put(&mut again).map(|()| again))
}

/// Binds a sealed identifier to its table and row.
fn row(token: TokenId) -> Vec<u8> {
    [b"tokens/".as_slice(), token.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use acquaint_custody::software::SoftwareCustody;
    use acquaint_protocol::pair::Suite;

    use super::*;

    #[test]
    fn opens_beside_its_own_token_alone_and_shows_nothing() {
        let custody = SoftwareCustody::generate(Suite::DEVELOPMENT).unwrap();
        let verified = Verified {
            sii: Sii::parse("mailto:ada@example.com").unwrap(),
            number: NumberKey::from_bytes([6; 32]),
            verified_at: -5,
        };
        let (own, other) = (TokenId::from_bytes([1; 16]), TokenId::from_bytes([2; 16]));
        let sealed = verified.seal(&custody, own).unwrap();
        assert_eq!(Verified::open(&custody, own, &sealed).unwrap(), verified);
        assert!(Verified::open(&custody, other, &sealed).is_err());
        assert!(!sealed.windows(3).any(|window| window == b"ada"));
        assert!(!format!("{verified:?}").contains("ada"));
        let mut bytes = vec![VERIFIED_V1];
        verified.put(&mut bytes).unwrap();
        assert!((0..bytes.len()).all(|length| Verified::decode(&bytes[..length]).is_none()));
        assert!(Verified::decode(&[bytes.as_slice(), &[0]].concat()).is_none());
    }
}
