//! What a listing says, sealed under the directory's data key: the key itself is sealed by custody, so that an index can be
//! made anew without asking the key holder for each listing.

use acquaint_protocol::identifier::{AccountFormat, AccountId, Sii};
use acquaint_store::{IndexId, ListingId};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::ambient::{Entropy, bytes};
use crate::codec::{Reader, put_text};
use crate::error::Internal;

/// First byte of a sealed listing: nonce (24), then XChaCha20-Poly1305 with the listing's place as associated data.
const SEALED_V1: u8 = 1;
/// First byte of a listing's content: of one at index 0 …
const CONTENT_V1: u8 = 1;
/// … and of any other, whose last byte is its index.
const CONTENT_V2: u8 = 2;

/// Seals listings.
#[derive(ZeroizeOnDrop)]
pub(crate) struct DataKey([u8; 32]);

/// What a listing says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) sii: Sii,
    pub(crate) account: AccountId,
    /// How the account is called, where it has given a name for the directory.
    pub(crate) username: Option<Username>,
    /// Which of the identifier's mappings it is (seed 002, section 8.1: an identifier may map to several accounts).
    pub(crate) index: u8,
}

/// A name that an account has given for the directory.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Username(String);

impl std::fmt::Debug for Username {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Username(redacted)")
    }
}

impl Username {
    /// The most bytes that it may have.
    pub(crate) const MOST: usize = 64;

    /// 1 to [`MOST`](Self::MOST) bytes without spaces and control characters.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MOST).contains(&text.len())
            && !text.chars().any(|character| character.is_whitespace() || character.is_control());
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl DataKey {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn seal(
        &self,
        entropy: &dyn Entropy,
        id: ListingId,
        content: &Content,
    ) -> Result<Vec<u8>, Internal> {
        let nonce: [u8; 24] = bytes(entropy)?;
        // Room for all of it at once, so that no half-written copy is left behind unwiped.
        let mut clear = Zeroizing::new(Vec::with_capacity(4096));
        let Content { sii, account, username, index } = content;
        clear.push(if *index == 0 { CONTENT_V1 } else { CONTENT_V2 });
        let username = username.as_ref().map_or("", Username::as_str);
        for text in [sii.as_str(), account.as_str(), username] {
            put_text(&mut clear, text).ok_or(Internal::Unreadable("a listing is too long"))?;
        }
        if *index != 0 {
            clear.push(*index);
        }
        let payload = Payload { msg: &clear, aad: &place(id) };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Internal::Unreadable("a listing cannot be sealed"))?;
        Ok([&[SEALED_V1], nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&self, id: ListingId, sealed: &[u8]) -> Result<Content, Internal> {
        self.opened(id, sealed).ok_or(Internal::Unreadable("a listing"))
    }

    fn opened(&self, id: ListingId, sealed: &[u8]) -> Option<Content> {
        let mut reader = Reader(sealed);
        if reader.array()? != [SEALED_V1] {
            return None;
        }
        let nonce = XNonce::from(reader.array::<24>()?);
        let payload = Payload { msg: reader.0, aad: &place(id) };
        let clear = Zeroizing::new(self.cipher().decrypt(&nonce, payload).ok()?);
        Content::decode(&clear)
    }

    /// Seals where a listing stands in an index, and what is found there. In clear, whoever has the database and may look
    /// up could find the row of a number, and so its account's pseudonym.
    pub(crate) fn seal_place(
        &self,
        entropy: &dyn Entropy,
        index: IndexId,
        id: ListingId,
        (location, slot): (u64, &[u8]),
    ) -> Result<Vec<u8>, Internal> {
        let nonce: [u8; 24] = bytes(entropy)?;
        let clear = [location.to_be_bytes().as_slice(), slot].concat();
        let payload = Payload { msg: &clear, aad: &index_place(index, id) };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Internal::Unreadable("a place in the directory cannot be sealed"))?;
        Ok([&[SEALED_V1], nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open_place(
        &self,
        index: IndexId,
        id: ListingId,
        sealed: &[u8],
    ) -> Result<(u64, Vec<u8>), Internal> {
        let opened = || {
            let mut reader = Reader(sealed);
            if reader.array()? != [SEALED_V1] {
                return None;
            }
            let nonce = XNonce::from(reader.array::<24>()?);
            let payload = Payload { msg: reader.0, aad: &index_place(index, id) };
            let clear = self.cipher().decrypt(&nonce, payload).ok()?;
            let (location, slot) = clear.split_first_chunk()?;
            Some((u64::from_be_bytes(*location), slot.to_vec()))
        };
        opened().ok_or(Internal::Unreadable("a place in the directory"))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&self.0).into())
    }
}

impl Content {
    /// Layout, after the version: SII, account and username, each behind its length as u16; then, in version 2, the index,
    /// which is not 0.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let [version] = reader.array()?;
        if !matches!(version, CONTENT_V1 | CONTENT_V2) {
            return None;
        }
        let sii = Sii::parse(reader.text()?).ok()?;
        // Validated in its own format when it came in; the format may have been changed since.
        let account = AccountId::parse(reader.text()?, AccountFormat::Opaque).ok()?;
        let username = match reader.text()? {
            "" => None,
            name => Some(Username::parse(name)?),
        };
        let index = match version {
            CONTENT_V1 => 0,
            _ => reader.array().map(|[index]| index).filter(|index| *index != 0)?,
        };
        reader.end()?;
        Some(Self { sii, account, username, index })
    }
}

/// Binds a sealed listing to its table and row.
fn place(id: ListingId) -> Vec<u8> {
    [b"listings/".as_slice(), id.as_bytes()].concat()
}

/// Binds a sealed place to its table and row.
fn index_place(index: IndexId, id: ListingId) -> Vec<u8> {
    [b"placements/".as_slice(), &[index.profile], &index.epoch.to_be_bytes(), id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    fn content() -> Content {
        Content {
            sii: Sii::parse("mailto:ada@example.com").unwrap(),
            account: AccountId::parse("did:plc:ada", AccountFormat::Opaque).unwrap(),
            username: Username::parse("countess"),
            index: 0,
        }
    }

    #[test]
    fn opens_in_its_own_row_with_its_own_key_alone_and_shows_nothing() {
        let key = DataKey::from_bytes([1; 32]);
        let (own, other) = (ListingId::from_bytes([1; 16]), ListingId::from_bytes([2; 16]));
        let sealed = key.seal(&SystemEntropy, own, &content()).unwrap();
        assert_eq!(key.open(own, &sealed).unwrap(), content());
        assert!(key.open(other, &sealed).is_err());
        assert!(DataKey::from_bytes([2; 32]).open(own, &sealed).is_err());
        assert!((0..sealed.len()).all(|length| key.open(own, &sealed[..length]).is_err()));
        assert_ne!(sealed, key.seal(&SystemEntropy, own, &content()).unwrap());
        for shown in ["ada", "countess"] {
            assert!(!sealed.windows(shown.len()).any(|window| window == shown.as_bytes()));
            assert!(!format!("{:?}", content()).contains(shown));
        }
    }

    #[test]
    fn the_index_is_written_where_there_is_one() {
        let key = DataKey::from_bytes([1; 32]);
        let id = ListingId::from_bytes([1; 16]);
        let length = |index| key.seal(&SystemEntropy, id, &Content { index, ..content() }).unwrap().len();
        assert_eq!([length(1), length(255)], [length(0) + 1; 2], "rows of index 0 stay as they were");
        for index in [0, 1, 255] {
            let content = Content { index, ..content() };
            let sealed = key.seal(&SystemEntropy, id, &content).unwrap();
            assert_eq!(key.open(id, &sealed).unwrap(), content);
        }
        // What the last release wrote, and what nobody writes.
        let rest: Vec<u8> = ["mailto:ada@example.com", "did:plc:ada", ""]
            .iter()
            .flat_map(|text| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat())
            .collect();
        let decode = |version: u8, tail: &[u8]| Content::decode(&[&[version], &*rest, tail].concat());
        assert_eq!(decode(1, &[]).unwrap().index, 0);
        assert_eq!(decode(2, &[7]).unwrap().index, 7);
        for (version, tail) in [(0, &[][..]), (1, &[7]), (2, &[]), (2, &[0]), (2, &[1, 1]), (3, &[7])] {
            assert!(decode(version, tail).is_none(), "{version} {tail:?}");
        }
    }

    #[test]
    fn places_open_in_their_own_row_alone() {
        let key = DataKey::from_bytes([1; 32]);
        let (index, id) = (IndexId { profile: 1, epoch: 2 }, ListingId::from_bytes([1; 16]));
        let sealed = key.seal_place(&SystemEntropy, index, id, (7, b"entry")).unwrap();
        assert_eq!(key.open_place(index, id, &sealed).unwrap(), (7, b"entry".to_vec()));
        assert!(!sealed.windows(5).any(|window| window == b"entry"));
        assert!(key.open_place(IndexId { epoch: 3, ..index }, id, &sealed).is_err());
        assert!(key.open_place(index, ListingId::from_bytes([2; 16]), &sealed).is_err());
        assert!((0..sealed.len()).all(|length| key.open_place(index, id, &sealed[..length]).is_err()));
    }

    #[test]
    fn names_have_no_spaces() {
        for bad in ["", " ", "a b", "a\u{0}b", "a\u{85}b", &"a".repeat(65)] {
            assert!(Username::parse(bad).is_none(), "{bad:?}");
        }
        assert!(Username::parse(&"a".repeat(64)).is_some());
    }
}
