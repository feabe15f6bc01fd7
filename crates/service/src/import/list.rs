//! An accepted address book: normalised, and sealed until it is hashed.

use std::collections::HashSet;

use acquaint_custody::{KeyCustody, Purpose};
use acquaint_protocol::identifier::{Identifier, Sii};
use acquaint_store::{ImportId, NumberKey};
use zeroize::Zeroizing;

use crate::codec::{Reader, put_text};
use crate::error::Internal;
use crate::verified::Verified;

/// With one own number; a list that was accepted by an older program may still wait.
const LIST_V1: u8 = 1;
const LIST_V2: u8 = 2;

/// All that the work on an import needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContactList {
    /// The verified identifiers that submit: each is paired with each contact, one after another.
    pub(super) own: Vec<Verified>,
    /// Contacts with their position in the list as sent, in that order.
    pub(super) contacts: Vec<(u16, Sii)>,
}

/// Brings contacts into canonical form; what is no identifier, own identifiers and repetitions are left out, and the rest
/// keep their positions.
pub(super) fn normalise(own: &[Verified], texts: &[String], emails: bool) -> Vec<(u16, Sii)> {
    let mut seen: HashSet<Sii> = own.iter().map(|own| own.sii.clone()).collect();
    (0_u16..)
        .zip(texts)
        .filter_map(|(position, text)| {
            let identifier = Identifier::parse(text, None).ok()?;
            if matches!(identifier, Identifier::Email(_)) && !emails {
                return None;
            }
            let sii = Sii::from(&identifier);
            seen.insert(sii.clone()).then_some((position, sii))
        })
        .collect()
}

impl ContactList {
    /// How many pairs it makes.
    pub(super) fn pairs(&self) -> Option<u32> {
        u32::try_from(self.own.len().checked_mul(self.contacts.len())?).ok()
    }

    /// The `index`th pair: own identifier, position and contact.
    pub(super) fn pair_at(&self, index: u32) -> Option<(&Sii, u16, &Sii)> {
        let index = usize::try_from(index).ok()?;
        let own = self.own.get(index.checked_div(self.contacts.len())?)?;
        let (position, contact) = self.contacts.get(index % self.contacts.len())?;
        Some((&own.sii, *position, contact))
    }

    /// The own identifier of the `index`th pair, and how many pairs from there on are of the same.
    pub(super) fn own_at(&self, index: u32) -> Option<(&Verified, usize)> {
        let index = usize::try_from(index).ok()?;
        let own = self.own.get(index.checked_div(self.contacts.len())?)?;
        Some((own, self.contacts.len() - index % self.contacts.len()))
    }

    /// Layout: version, count of own identifiers (u8), for each its SII behind its length, number key (32) and verified_at
    /// (i64); count of contacts (u16), for each its position (u16) and SII.
    pub(super) fn seal(&self, custody: &dyn KeyCustody, id: ImportId) -> Result<Vec<u8>, Internal> {
        let bytes = self.encode().ok_or(Internal::Unreadable("a list is too long"))?;
        Ok(custody.seal(Purpose::Seal, &row(id), &bytes)?)
    }

    pub(super) fn open(custody: &dyn KeyCustody, id: ImportId, sealed: &[u8]) -> Result<Self, Internal> {
        let bytes = custody.open(Purpose::Seal, &row(id), sealed)?;
        Self::decode(&bytes).ok_or(Internal::Unreadable("an accepted list"))
    }

    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let Self { own, contacts } = self;
        // Room for all of it at once, so that no half-written copy is left behind unwiped.
        let texts = own.iter().map(|own| &own.sii).chain(contacts.iter().map(|(_, sii)| sii));
        let length: usize = texts.map(|sii| 4 + sii.as_bytes().len()).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(length + own.len() * 40 + 16));
        bytes.extend_from_slice(&[LIST_V2, u8::try_from(own.len()).ok()?]);
        own.iter().try_for_each(|own| own.put(&mut bytes))?;
        bytes.extend_from_slice(&u16::try_from(contacts.len()).ok()?.to_be_bytes());
        for (position, sii) in contacts {
            bytes.extend_from_slice(&position.to_be_bytes());
            put_text(&mut bytes, sii.as_str())?;
        }
        Some(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let own = match reader.array()? {
            [LIST_V1] => vec![Verified::read(&mut reader)?],
            [LIST_V2] => {
                let [count] = reader.array()?;
                (0..count).map(|_| Verified::read(&mut reader)).collect::<Option<_>>()?
            }
            _ => return None,
        };
        let count = reader.u16()?;
        let contact = |_| Some((reader.u16()?, Sii::parse(reader.text()?).ok()?));
        let contacts = (0..count).map(contact).collect::<Option<_>>()?;
        reader.end()?;
        Some(Self { own, contacts })
    }

    /// What limits by identifier know the own identifiers by.
    pub(super) fn numbers(&self) -> Vec<NumberKey> {
        self.own.iter().map(|own| own.number).collect()
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

    fn sii(text: &str) -> Sii {
        Sii::from(&Identifier::parse(text, None).unwrap())
    }

    fn own(text: &str, number: u8) -> Verified {
        Verified { sii: sii(text), number: NumberKey::from_bytes([number; 32]), verified_at: -5 }
    }

    fn list() -> ContactList {
        let texts = [
            "x",
            "+1 212-555-0102",
            "+12125550101",
            "Cy@example.com",
            "ada@EXAMPLE.com",
            "+12125550102",
            "+12125550103",
        ];
        let own = vec![own("+12125550101", 7), own("ada@example.com", 8)];
        let contacts = normalise(&own, &texts.map(String::from), true);
        ContactList { own, contacts }
    }

    #[test]
    fn normalising_keeps_positions() {
        let (phones, address) = ([(1, sii("+12125550102")), (6, sii("+12125550103"))], sii("cy@example.com"));
        let [first, second] = phones.clone();
        assert_eq!(list().contacts, [first, (3, address), second]);
        assert_eq!(list().pairs(), Some(6));
        let texts = ["x", "+12125550102", "cy@example.com", "+12125550102", "", "", "+12125550103"];
        assert_eq!(normalise(&[], &texts.map(String::from), false), phones);
    }

    #[test]
    fn each_own_identifier_meets_each_contact() {
        let list = list();
        let pairs: Vec<_> = (0..7).map_while(|index| list.pair_at(index)).collect();
        let [first, second] = [&list.own[0].sii, &list.own[1].sii];
        let positions: Vec<_> = pairs.iter().map(|(own, position, _)| (*own, *position)).collect();
        assert_eq!(positions, [first, second].map(|own| [1, 3, 6].map(|at| (own, at))).concat());
        assert_eq!(pairs[4].2, &sii("cy@example.com"));
        let left: Vec<_> = (0..7).map_while(|index| list.own_at(index)).map(|(_, left)| left).collect();
        assert_eq!(left, [3, 2, 1, 3, 2, 1]);
        assert!(ContactList { own: vec![], contacts: vec![] }.own_at(0).is_none());
    }

    #[test]
    fn a_list_of_an_older_program_is_read() {
        let mut bytes = vec![LIST_V1];
        own("+12125550101", 7).put(&mut bytes).unwrap();
        bytes.extend_from_slice(&[0, 1, 0, 9]);
        put_text(&mut bytes, "tel:+12125550102").unwrap();
        let expected =
            ContactList { own: vec![own("+12125550101", 7)], contacts: vec![(9, sii("+12125550102"))] };
        assert_eq!(ContactList::decode(&bytes).unwrap(), expected);
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
