//! An address book in vCard.

#![no_main]

use acquaint_client::address_book::read_vcards;
use libfuzzer_sys::fuzz_target;

const CARD: &str = "\r\nBEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ada Lovelace\r\nTEL:+12125550101\r\nEND:VCARD\r\n";

fuzz_target!(|text: &str| {
    let begins = text.lines().filter(|line| line.trim().eq_ignore_ascii_case("BEGIN:VCARD")).count();
    let before = match read_vcards(text) {
        Ok(book) => {
            // Every card is either read or counted, none twice.
            assert_eq!(book.contacts.len() + book.unreadable, begins);
            assert!(!book.contacts.is_empty());
            book.contacts.len()
        }
        Err(_) => 0,
    };
    // Whatever stands before it, a good card is read whole.
    let book = read_vcards(&[text, CARD].concat()).expect("a card was added");
    let last = book.contacts.last().expect("a card was added");
    assert_eq!(
        (last.name.as_deref(), last.phones.as_slice()),
        (Some("Ada Lovelace"), &["+12125550101".to_owned()][..])
    );
    assert!(book.contacts.len() > before.min(begins.saturating_sub(1)));
    assert!(!format!("{book:?}").contains("2125550101"));
});
