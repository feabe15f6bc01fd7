//! Address books as phones export them: vCard 2.1, 3.0 and 4.0.

use calcard::vcard::{VCard, VCardProperty};
use calcard::{Entry, Parser};

/// An address book as read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressBook {
    /// The cards, in the order of the file.
    pub contacts: Vec<Contact>,
    /// How many cards could not be read.
    pub unreadable: usize,
}

/// One card.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contact {
    /// The formatted name, if there is one.
    pub name: Option<String>,
    /// Phone numbers as written.
    pub phones: Vec<String>,
}

impl std::fmt::Debug for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contact").field("phones", &self.phones.len()).finish_non_exhaustive()
    }
}

/// The text is no address book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no vCard in the file: export your contacts as vCard (.vcf)")]
pub struct NoCards;

/// Reads every card of a vCard file. A card that is cut off is left out and counted: its last number may be a part of one.
///
/// # Errors
/// [`NoCards`] when there is none.
pub fn read_vcards(text: &str) -> Result<AddressBook, NoCards> {
    let mut book = AddressBook::default();
    for piece in pieces(text) {
        // Strict: what has no end is told, not taken for a whole card.
        match Parser::new(piece).strict().entry() {
            Entry::VCard(card) => book.contacts.push(contact(&card)),
            _ => book.unreadable += 1,
        }
    }
    if book.contacts.is_empty() { Err(NoCards) } else { Ok(book) }
}

/// The text, cut before each card's first line, so that a broken card cannot take the next one with it.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let (mut starts, mut at) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        if line.trim().eq_ignore_ascii_case("BEGIN:VCARD") {
            starts.push(at);
        }
        at += line.len();
    }
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([text.len()]).collect();
    starts.into_iter().zip(ends).filter_map(|(start, end)| text.get(start..end))
}

fn contact(card: &VCard) -> Contact {
    let texts = |property: &VCardProperty| -> Vec<String> {
        let entries = card.entries.iter().filter(|entry| entry.name == *property);
        entries
            .flat_map(|entry| &entry.values)
            .filter_map(|value| value.as_text())
            .map(str::to_owned)
            .collect()
    };
    Contact { name: texts(&VCardProperty::Fn).into_iter().next(), phones: texts(&VCardProperty::Tel) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_versions() {
        let text = "BEGIN:VCARD\r\nVERSION:2.1\r\nN:Lovelace;Ada\r\nFN:Ada Lovelace\r\nTEL;CELL;PREF:+33 6 39 98 01 02\r\nEND:VCARD\r\n\
                    BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Bob\r\nitem1.TEL;type=CELL:0639980103\r\nTEL;TYPE=WORK:01 23\r\nEND:VCARD\r\n\
                    BEGIN:VCARD\nVERSION:4.0\nFN:Cy\nTEL;VALUE=uri;TYPE=\"voice,cell\":tel:+33-6-39-98-01-04\nEND:VCARD\n";
        let book = read_vcards(text).unwrap();
        assert_eq!(book.unreadable, 0);
        let phones: Vec<_> = book.contacts.iter().map(|contact| contact.phones.clone()).collect();
        assert_eq!(
            phones,
            [vec!["+33 6 39 98 01 02"], vec!["0639980103", "01 23"], vec!["tel:+33-6-39-98-01-04"]]
        );
        assert_eq!(book.contacts[0].name.as_deref(), Some("Ada Lovelace"));
        assert!(!format!("{book:?}").contains("39 98"));
    }

    #[test]
    fn says_when_there_is_no_card_or_not_all_could_be_read() {
        assert_eq!(read_vcards(""), Err(NoCards));
        assert_eq!(read_vcards("name,phone\nAda,+33639980102\n"), Err(NoCards));
        let card = |end| format!("BEGIN:VCARD\nVERSION:4.0\nFN:A\nTEL:+1\n{end}");
        let book = read_vcards(&[card("END:VCARD\n"), card(""), card("END:VCARD\n")].concat()).unwrap();
        assert_eq!((book.contacts.len(), book.unreadable), (2, 1), "{book:?}");
        let book = read_vcards(&[card("END:VCARD\n"), card("")].concat()).unwrap();
        assert_eq!((book.contacts.len(), book.unreadable), (1, 1), "{book:?}");
    }
}
