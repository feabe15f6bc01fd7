//! From an address book to the entries that are sent.

use std::collections::HashSet;

use crate::address_book::Contact;
use crate::identifier::{Email, Identifier, Phone, PhoneError, Region};
use crate::{MAX_CONTACTS, SkipReason, Skipped};

/// What is to be sent of an address book.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Where numbers without a country code are from: as a rule, where one's own number is from. Without it they are left
    /// out.
    pub region: Option<Region>,
    /// Whether e-mail addresses are sent too. A server that does not take them leaves them out.
    pub emails: bool,
    /// One's own numbers and addresses, which are left out.
    pub own: &'a [Identifier],
}

/// The list to send, and what was left out of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// What is sent: canonical, each once, in the order of the address book.
    pub entries: Vec<Entry>,
    /// What is not, and why.
    pub skipped: Skipped,
}

/// Something to send. Its `Debug` tells nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number or address.
    pub identifier: Identifier,
    /// The name of the contact that had it first.
    pub name: Option<String>,
    /// Its place among all numbers and addresses of the address book, from 0, those that are left out among them: the same
    /// whatever is wanted.
    pub place: usize,
}

impl Entry {
    /// The canonical form, as it is sent.
    #[must_use]
    pub fn text(&self) -> String {
        self.identifier.as_str().to_owned()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(redacted)")
    }
}

impl Prepared {
    /// The entries in lists that one import each takes: of [`MAX_CONTACTS`], the last of what is left.
    pub fn batches(&self) -> impl ExactSizeIterator<Item = &[Entry]> {
        self.entries.chunks(MAX_CONTACTS)
    }
}

/// Brings every number, and where it is wanted every address, of `contacts` into canonical form. Nothing is dropped without
/// being counted.
///
/// ```
/// use acquaint_client::{SkipReason, address_book, prepare};
///
/// let book = address_book::read(b"BEGIN:VCARD\nVERSION:3.0\nFN:Ada\nTEL:(212) 555-0101\nTEL:311\nEND:VCARD\n")?;
/// let region = Some("US").map(acquaint_client::identifier::Region::parse).transpose()?;
/// let list = prepare::prepare(&book.contacts, prepare::Wanted { region, ..Default::default() });
/// assert_eq!(list.entries[0].text(), "+12125550101");
/// assert_eq!(list.skipped.count(SkipReason::NotANumber), 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn prepare(contacts: &[Contact], wanted: Wanted<'_>) -> Prepared {
    let mut list = Prepared::default();
    let mut seen: HashSet<Identifier> = HashSet::new();
    let mut places = 0..;
    for contact in contacts {
        let phones = contact.phones.iter().map(|text| phone(text, wanted.region));
        let emails = contact.emails.iter().map(|text| email(text, wanted.emails));
        for (identifier, place) in phones.chain(emails).zip(&mut places) {
            let identifier = match identifier {
                Ok(identifier) if wanted.own.contains(&identifier) => Err(SkipReason::Own),
                Ok(identifier) if seen.contains(&identifier) => Err(SkipReason::Repeated),
                other => other,
            };
            match identifier {
                Ok(identifier) => {
                    seen.insert(identifier.clone());
                    list.entries.push(Entry { identifier, name: contact.name.clone(), place });
                }
                Err(reason) => list.skipped.add(reason),
            }
        }
    }
    list
}

fn phone(text: &str, region: Option<Region>) -> Result<Identifier, SkipReason> {
    let parsed = Phone::parse(text, region);
    match parsed.or_else(|error| before_pause(text).map_or(Err(error), |text| Phone::parse(text, region))) {
        Ok(phone) => Ok(Identifier::Phone(phone)),
        Err(PhoneError::NotANumber) if region.is_none() && is_national(text) => Err(SkipReason::NoRegion),
        Err(_) => Err(SkipReason::NotANumber),
    }
}

/// What is dialled before a pause (`p` or `,`) or a wait (`w` or `;`), as in `+12125550123p42#`.
fn before_pause(text: &str) -> Option<&str> {
    let (number, rest) = text.split_at(text.find(['p', 'P', 'w', 'W', ',', ';'])?);
    let is_dialled = |c: char| c.is_ascii_digit() || "pPwW,;*# -".contains(c);
    (number.ends_with(|c: char| c.is_ascii_digit()) && rest.chars().all(is_dialled)).then_some(number)
}

/// Whether a text looks like a number of some country: no subscriber has fewer than five digits, and short codes do.
fn is_national(text: &str) -> bool {
    !text.contains('+') && text.bytes().filter(u8::is_ascii_digit).count() >= 5
}

fn email(text: &str, wanted: bool) -> Result<Identifier, SkipReason> {
    if !wanted {
        return Err(SkipReason::EmailNotWanted);
    }
    match Identifier::parse(text, None) {
        Ok(Identifier::Email(email)) => Ok(Identifier::Email(email)),
        // Without an @ it was read as a number; an address it is not.
        Ok(Identifier::Phone(_)) | Err(_) => {
            Email::parse(text).map(Identifier::Email).map_err(|_| SkipReason::NotAnAddress)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(name: &str, phones: &[&str], emails: &[&str]) -> Contact {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Contact { name: Some(name.into()), phones: texts(phones), emails: texts(emails) }
    }

    fn texts(list: &Prepared) -> Vec<String> {
        list.entries.iter().map(Entry::text).collect()
    }

    fn skipped(list: &Prepared) -> Vec<(&'static str, usize)> {
        list.skipped.iter().map(|(reason, count)| (reason.name(), count)).collect()
    }

    #[test]
    fn everything_is_sent_once_or_counted() {
        let contacts = [
            contact("Ada", &["(212) 555-0101", "+12125550102p7#", "311"], &["Ada@Example.com", "* Other"]),
            contact(
                "Ada at work",
                &["+1 212 555 0101", "+1 212 555 0199"],
                &["ada@example.com", "me@example.com"],
            ),
        ];
        let own = ["+12125550199", "ME@example.com"].map(|text| Identifier::parse(text, None).unwrap());
        let region = Some(Region::parse("US").unwrap());
        let list = prepare(&contacts, Wanted { region, emails: true, own: &own });
        assert_eq!(texts(&list), ["+12125550101", "+12125550102", "ada@example.com"]);
        assert_eq!(list.entries.iter().map(|entry| entry.place).collect::<Vec<_>>(), [0, 1, 3]);
        assert!(list.entries.iter().all(|entry| entry.name.as_deref() == Some("Ada")));
        let expected = [("not_a_number", 1), ("not_an_address", 1), ("repeated", 2), ("own", 2)];
        assert_eq!(skipped(&list), expected);
        assert!(!format!("{list:?}").contains("555") && !format!("{list:?}").contains("example"));

        let list = prepare(&contacts, Wanted { region: None, emails: false, own: &own });
        assert_eq!(texts(&list), ["+12125550102", "+12125550101"]);
        assert_eq!(list.entries.iter().map(|entry| entry.place).collect::<Vec<_>>(), [1, 5]);
        assert_eq!(
            skipped(&list),
            [("not_a_number", 1), ("no_region", 1), ("email_not_wanted", 4), ("own", 1)]
        );
        assert_eq!(
            list.skipped.to_string(),
            "1 no valid phone numbers, 1 phone numbers without a country code: a region tells where they are from, \
             4 e-mail addresses, which are not wanted, 1 your own"
        );
    }

    #[test]
    fn pauses_are_cut_and_letters_of_words_are_not() {
        assert_eq!(before_pause("+12125550102p7#"), Some("+12125550102"));
        assert_eq!(before_pause("2125550102,,42;1"), Some("2125550102"));
        for whole in ["1-212-PLOWERS", "tel:+12125550102;ext=7", "p12", "+1 212", "pw", ""] {
            assert_eq!(before_pause(whole), None, "{whole}");
        }
    }

    #[test]
    fn batches_take_a_thousand_each() {
        let numbers: Vec<String> = (0..2300).map(|n| format!("+1212556{n:04}")).collect();
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        let list = prepare(&[contact("Many", &numbers, &[])], Wanted::default());
        assert_eq!(list.batches().map(<[Entry]>::len).collect::<Vec<_>>(), [1000, 1000, 300]);
        assert_eq!(Prepared::default().batches().len(), 0);
    }
}
