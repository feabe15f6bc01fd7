//! An address book in vCard.

#![no_main]

use acquaint_client::address_book::{AddressBook, AddressBookError, Format, read};
use acquaint_fuzz::address_book::hold;
use libfuzzer_sys::fuzz_target;

const CARD: &[u8] = b"\r\nBEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ada Lovelace\r\nTEL:+12125550101\r\nEND:VCARD\r\n";

fuzz_target!(init: acquaint_fuzz::let_caught_panics_pass(), |bytes: &[u8]| {
    let outcome = hold(bytes);
    if let Some(begins) = begins(bytes) {
        // Every card is either read or counted, none twice.
        match &outcome {
            Ok(AddressBook { format: Format::Csv, .. }) => assert_eq!(begins, 0),
            Ok(book) => assert_eq!(book.contacts.len() + book.unreadable.total(), begins),
            Err(AddressBookError::Unreadable(unreadable)) if begins > 0 => assert_eq!(unreadable.total(), begins),
            Err(_) => assert_eq!(begins, 0),
        }
    }
    // In UTF-16 the card would not be one.
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return;
    }
    // Whatever stands before it, a good card is read whole, and takes none of those before with it.
    let book = read(&[bytes, CARD].concat()).expect("a card was added");
    let last = book.contacts.last().expect("a card was added");
    assert_eq!(
        (last.name.as_deref(), last.phones.as_slice()),
        (Some("Ada Lovelace"), &["+12125550101".to_owned()][..])
    );
    if let Ok(before) = outcome
        && before.format == Format::VCard
    {
        assert_eq!(book.contacts[..book.contacts.len() - 1], before.contacts);
    }
    assert!(!format!("{book:?}").contains("2125550101"));
});

/// How many cards begin, where that is to be seen: in UTF-8, and with no card of an agent inside another.
fn begins(bytes: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}');
    if text.to_ascii_lowercase().contains("agent") {
        return None;
    }
    Some(text.split(['\r', '\n']).filter(|line| line.trim().eq_ignore_ascii_case("BEGIN:VCARD")).count())
}
