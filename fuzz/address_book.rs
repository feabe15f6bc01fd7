//! What holds of every address book, whatever it is written in.

use std::collections::HashSet;

use acquaint_client::MAX_CONTACTS;
use acquaint_client::address_book::{AddressBook, AddressBookError, Contact, read};
use acquaint_client::identifier::{Identifier, Region};
use acquaint_client::prepare::{Prepared, Wanted, prepare};

/// Reads a file, and prepares what was read in each way, holding both to their rules.
///
/// # Panics
/// When one is broken.
pub fn hold(bytes: &[u8]) -> Result<AddressBook, AddressBookError> {
    let outcome = read(bytes);
    assert_eq!(read(bytes), outcome);
    let book = outcome?;
    assert!(!book.contacts.is_empty());
    for Contact { name, phones, emails } in &book.contacts {
        let texts = phones.iter().chain(emails).chain(name);
        assert!(texts.into_iter().all(|text| !text.trim().is_empty()), "a text without anything");
    }
    let american = Region::parse("US").ok();
    for (region, emails) in [(None, false), (None, true), (american, false), (american, true)] {
        let list = hold_list(&book.contacts, Wanted { region, emails, own: &[] });
        // What is one's own is not sent, and nothing else comes in its place.
        let own: Vec<_> = list.entries.into_iter().take(1).map(|entry| entry.identifier).collect();
        let rest = hold_list(&book.contacts, Wanted { region, emails, own: &own });
        assert!(rest.entries.iter().all(|entry| !own.contains(&entry.identifier)));
    }
    Ok(book)
}

fn hold_list(contacts: &[Contact], wanted: Wanted<'_>) -> Prepared {
    let list = prepare(contacts, wanted);
    let texts: usize = contacts.iter().map(|contact| contact.phones.len() + contact.emails.len()).sum();
    assert_eq!(list.entries.len() + list.skipped.total(), texts, "something is neither sent nor counted");
    let distinct: HashSet<String> = list.entries.iter().map(|entry| entry.text()).collect();
    assert_eq!(distinct.len(), list.entries.len());
    for entry in &list.entries {
        assert_eq!(Identifier::parse(&entry.text(), None).as_ref(), Ok(&entry.identifier), "not canonical");
        assert!(wanted.emails || matches!(entry.identifier, Identifier::Phone(_)));
    }
    assert!(list.batches().all(|batch| (1..=MAX_CONTACTS).contains(&batch.len())));
    assert_eq!(list.batches().flatten().collect::<Vec<_>>(), list.entries.iter().collect::<Vec<_>>());
    list
}
