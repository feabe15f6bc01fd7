//! An accepted address book: normalised, and sealed until it is hashed.

use std::collections::HashSet;

use acquaint_custody::{KeyCustody, Purpose};
use acquaint_protocol::identifier::{Phone, Sii};
use acquaint_store::{ImportId, Millis, NumberKey};
use zeroize::Zeroizing;

use crate::codec::{Reader, put_text};
use crate::error::Internal;

const LIST_V1: u8 = 1;

/// All that the work on an import needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContactList {
    /// The verified number that submits.
    pub(super) own: Sii,
    pub(super) number: NumberKey,
    pub(super) verified_at: Millis,
    /// Contacts with their position in the list as sent, in that order.
    pub(super) contacts: Vec<(u16, Sii)>,
}

/// Brings contacts into canonical form; what is no number, the own number and repetitions are left out, and the rest
/// keep their positions.
pub(super) fn normalise(own: &Sii, texts: &[String]) -> Vec<(u16, Sii)> {
    let mut seen = HashSet::with_capacity(texts.len());
    (0_u16..)
        .zip(texts)
        .filter_map(|(position, text)| {
            let sii = Sii::from(&Phone::parse(text, None).ok()?);
            (sii != *own && seen.insert(sii.clone())).then_some((position, sii))
        })
        .collect()
}

impl ContactList {
    /// Layout: version, own SII behind its length, number key (32), verified_at (i64), count (u16), then position (u16)
    /// and SII for each contact.
    pub(super) fn seal(&self, custody: &dyn KeyCustody, id: ImportId) -> Result<Vec<u8>, Internal> {
        let bytes = self.encode().ok_or(Internal::Unreadable("a list is too long"))?;
        Ok(custody.seal(Purpose::Seal, &row(id), &bytes)?)
    }

    pub(super) fn open(custody: &dyn KeyCustody, id: ImportId, sealed: &[u8]) -> Result<Self, Internal> {
        let bytes = custody.open(Purpose::Seal, &row(id), sealed)?;
        Self::decode(&bytes).ok_or(Internal::Unreadable("an accepted list"))
    }

    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let Self { own, number, verified_at, contacts } = self;
        // Room for all of it at once, so that no half-written copy is left behind unwiped.
        let length: usize = contacts.iter().map(|(_, sii)| 4 + sii.as_bytes().len()).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(length + own.as_bytes().len() + 64));
        bytes.push(LIST_V1);
        put_text(&mut bytes, own.as_str())?;
        bytes.extend_from_slice(number.as_bytes());
        bytes.extend_from_slice(&verified_at.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(contacts.len()).ok()?.to_be_bytes());
        for (position, sii) in contacts {
            bytes.extend_from_slice(&position.to_be_bytes());
            put_text(&mut bytes, sii.as_str())?;
        }
        Some(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.array()? != [LIST_V1] {
            return None;
        }
        let own = Sii::parse(reader.text()?).ok()?;
        let number = NumberKey::from_bytes(reader.array()?);
        let verified_at = reader.i64()?;
        let count = reader.u16()?;
        let contact = |_| Some((reader.u16()?, Sii::parse(reader.text()?).ok()?));
        let contacts = (0..count).map(contact).collect::<Option<_>>()?;
        reader.end()?;
        Some(Self { own, number, verified_at, contacts })
    }
}

/// What decoding and encoding again makes of a list's content; `None` where it is none.
#[cfg(feature = "fuzzing")]
pub(crate) fn again(bytes: &[u8]) -> Option<Option<Vec<u8>>> {
    Some(ContactList::decode(bytes)?.encode().map(|bytes| bytes.to_vec()))
}

/// Binds a sealed list to its table and row.
fn row(id: ImportId) -> Vec<u8> {
    [b"imports/".as_slice(), id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use acquaint_custody::software::SoftwareCustody;
    use acquaint_protocol::pair::Suite;

    use super::*;

    fn sii(phone: &str) -> Sii {
        Sii::from(&Phone::parse(phone, None).unwrap())
    }

    fn list() -> ContactList {
        let texts =
            ["x", "+1 212-555-0102", "+12125550101", "+12125550102", "+12125550103"].map(String::from);
        let own = sii("+12125550101");
        let contacts = normalise(&own, &texts);
        ContactList { own, number: NumberKey::from_bytes([7; 32]), verified_at: -5, contacts }
    }

    #[test]
    fn normalising_keeps_positions() {
        assert_eq!(list().contacts, [(1, sii("+12125550102")), (4, sii("+12125550103"))]);
    }

    #[test]
    fn a_sealed_list_opens_in_its_own_row_alone() {
        let custody = SoftwareCustody::generate(Suite::STANDARD).unwrap();
        let (id, other) = (ImportId::from_bytes([1; 16]), ImportId::from_bytes([2; 16]));
        let sealed = list().seal(&custody, id).unwrap();
        assert_eq!(ContactList::open(&custody, id, &sealed).unwrap(), list());
        assert!(ContactList::open(&custody, other, &sealed).is_err());
        assert!(!sealed.windows(4).any(|window| window == b"5550"));
    }

    #[test]
    fn a_list_that_is_cut_or_longer_is_refused() {
        let bytes = list().encode().unwrap();
        assert_eq!(ContactList::decode(&bytes).unwrap(), list());
        assert!((0..bytes.len()).all(|length| ContactList::decode(&bytes[..length]).is_none()));
        assert!(ContactList::decode(&[bytes.as_slice(), &[0]].concat()).is_none());
    }
}
