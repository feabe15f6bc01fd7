//! Address books as phones, mail programs and web services export them: vCard 2.1, 3.0 and 4.0, and the CSV of Google
//! Contacts (both layouts), Outlook and Thunderbird.
//!
//! [`read`] takes the bytes of a file and tells by its content what it is.

mod csv;
mod decode;
#[cfg(test)]
mod tests;
mod vcard;

use crate::skipped::{SkipReason, Skipped};

/// An address book as read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressBook {
    /// What the file was.
    pub format: Format,
    /// The contacts, in the order of the file.
    pub contacts: Vec<Contact>,
    /// Cards or rows that could not be read, counted by reason.
    pub unreadable: Skipped,
}

/// What an address book is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// vCard, whichever version each card has.
    #[default]
    VCard,
    /// Comma-separated values of Google Contacts, Outlook or Thunderbird.
    Csv,
}

/// One card or row. Its `Debug` tells how much there is, not what.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contact {
    /// The name: as formatted, or put together from its parts, or else the nickname or the organisation.
    pub name: Option<String>,
    /// Phone numbers as written.
    pub phones: Vec<String>,
    /// E-mail addresses as written.
    pub emails: Vec<String>,
}

impl std::fmt::Debug for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contact")
            .field("phones", &self.phones.len())
            .field("emails", &self.emails.len())
            .finish_non_exhaustive()
    }
}

/// Why a file gives no contacts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressBookError {
    /// There is nothing in it.
    #[error("the file is empty: export your contacts as vCard (.vcf) or as Google or Outlook CSV")]
    Empty,
    /// It holds neither a vCard nor the columns of a known CSV export.
    #[error("this is no address book: export your contacts as vCard (.vcf) or as Google or Outlook CSV")]
    NotAnAddressBook,
    /// It is one, but holds no contact.
    #[error("there are no contacts in the file: it has only the names of its columns")]
    NoContacts,
    /// It is one, but nothing in it can be read; the counts say why.
    #[error("no contact in the file can be read ({0}): export it again")]
    Unreadable(Skipped),
}

/// Reads an address book. What is no text in Unicode is taken for what its line declares (`CHARSET`), or for Windows-1252,
/// of which Latin-1 is a part.
///
/// A card without an end and a row with too few or too many columns are left out and counted in
/// [`AddressBook::unreadable`]: their last number may be a part of one.
///
/// ```
/// let file = b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ada\r\nTEL;TYPE=CELL:(212) 555-0101\r\nEND:VCARD\r\n";
/// let book = acquaint_client::address_book::read(file)?;
/// assert_eq!(book.contacts[0].name.as_deref(), Some("Ada"));
/// assert_eq!(book.contacts[0].phones, ["(212) 555-0101"]);
/// # Ok::<_, acquaint_client::address_book::AddressBookError>(())
/// ```
///
/// # Errors
/// [`AddressBookError`] when there is no contact in it.
pub fn read(bytes: &[u8]) -> Result<AddressBook, AddressBookError> {
    let text = decode::text(bytes);
    if text.trim().is_empty() {
        return Err(AddressBookError::Empty);
    }
    let book = if vcard::is_vcard(&text) {
        vcard::read(&text)
    } else {
        csv::read(&text).ok_or(AddressBookError::NotAnAddressBook)?
    };
    match (book.contacts.is_empty(), book.unreadable.total()) {
        (false, _) => Ok(book),
        (true, 0) => Err(AddressBookError::NoContacts),
        (true, _) => Err(AddressBookError::Unreadable(book.unreadable)),
    }
}
