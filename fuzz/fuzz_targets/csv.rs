//! An address book in CSV.

#![no_main]

use acquaint_client::address_book::{AddressBookError, Contact, Format, read};
use acquaint_fuzz::address_book::hold;
use libfuzzer_sys::fuzz_target;

const HEAD: &[u8] = b"Name,Phone 1 - Value\nAda Lovelace,+12125550101\n";

fuzz_target!(init: acquaint_fuzz::let_caught_panics_pass(), |bytes: &[u8]| {
    if let Ok(book) = hold(bytes)
        && book.format == Format::Csv
    {
        // A row is a contact or counted, and the first is neither.
        let ends = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
        assert!(book.contacts.len() + book.unreadable.total() <= ends);
        assert!(book.contacts.iter().all(|contact| *contact != Contact::default()), "a contact of nothing");
    }
    // Whatever stands behind it, a good row is read whole.
    match read(&[HEAD, bytes].concat()) {
        Ok(book) if book.format == Format::Csv => {
            let first = book.contacts.first().expect("a row was put in front");
            assert_eq!(
                (first.name.as_deref(), first.phones.as_slice()),
                (Some("Ada Lovelace"), &["+12125550101".to_owned()][..])
            );
            assert!(!format!("{book:?}").contains("2125550101"));
        }
        // Cards began behind it.
        Ok(_) | Err(AddressBookError::Unreadable(_)) => assert!(bytes.to_ascii_uppercase().windows(11).any(|w| w == b"BEGIN:VCARD")),
        Err(error) => panic!("{error}"),
    }
});
