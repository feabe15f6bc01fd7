//! CSV (RFC 4180) of Google Contacts, Outlook and Thunderbird, by the names of their columns in English.

use csv::{ReaderBuilder, StringRecord};

use super::{AddressBook, Contact, Format, SkipReason};

/// Google joins several values of one label with this.
const SEVERAL: &str = " ::: ";

/// Outlook's, Thunderbird's and hand-made columns for phones, in lower case. Not in it are faxes, pagers, and the phones of
/// assistants and switchboards, which are other people's.
const PHONES: [&str; 17] = [
    "primary phone",
    "mobile phone",
    "mobile phone 2",
    "home phone",
    "home phone 2",
    "business phone",
    "business phone 2",
    "other phone",
    "car phone",
    "radio phone",
    "callback",
    "mobile number",
    "work phone",
    "phone number",
    "phone",
    "mobile",
    "telephone",
];

/// Outlook's, Thunderbird's and hand-made columns for e-mail addresses, in lower case.
const EMAILS: [&str; 8] = [
    "e-mail address",
    "e-mail 2 address",
    "e-mail 3 address",
    "email address",
    "primary email",
    "secondary email",
    "email",
    "e-mail",
];

/// What a contact's name is taken from: the first of these whose columns hold anything. Google's old layout has `Name`
/// and `Given Name`, its new one and Outlook `First Name`, Thunderbird `Display Name`.
const NAMES: [&[&str]; 9] = [
    &["name"],
    &["display name"],
    &["first name", "middle name", "last name"],
    &["given name", "additional name", "family name"],
    &["file as"],
    &["nickname"],
    &["organization name"],
    &["organization 1 - name"],
    &["company"],
];

/// Which columns hold what.
struct Columns {
    names: Vec<Vec<usize>>,
    phones: Vec<usize>,
    emails: Vec<usize>,
}

impl Columns {
    /// `None` if there is neither a phone nor an e-mail column.
    fn of(header: &StringRecord) -> Option<Self> {
        let titles: Vec<String> = header.iter().map(|title| title.trim().to_ascii_lowercase()).collect();
        let places = |wanted: &dyn Fn(&str) -> bool| -> Vec<usize> {
            (0..titles.len()).filter(|place| titles.get(*place).is_some_and(|title| wanted(title))).collect()
        };
        let phones = places(&|title| PHONES.contains(&title) || is_numbered(title, "phone"));
        let emails = places(&|title| EMAILS.contains(&title) || is_numbered(title, "e-mail"));
        let names = NAMES.map(|parts| {
            let parts = parts.iter().filter_map(|part| titles.iter().position(|title| title == part));
            parts.collect()
        });
        (!phones.is_empty() || !emails.is_empty()).then(|| Self { names: names.into(), phones, emails })
    }

    fn contact(&self, row: &StringRecord) -> Contact {
        let cell = |place: &usize| row.get(*place).unwrap_or_default().trim();
        let values = |places: &[usize]| -> Vec<String> {
            let values = places.iter().flat_map(|place| cell(place).split(SEVERAL)).map(str::trim);
            values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
        };
        let name = self.names.iter().find_map(|places| {
            let parts: Vec<_> = places.iter().map(cell).filter(|part| !part.is_empty()).collect();
            (!parts.is_empty()).then(|| parts.join(" "))
        });
        Contact { name, phones: values(&self.phones), emails: values(&self.emails) }
    }
}

/// Google's `Phone 1 - Value`, with any number.
fn is_numbered(title: &str, what: &str) -> bool {
    let number = title.strip_prefix(what).and_then(|rest| rest.strip_suffix(" - value")).map(str::trim);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `None` if the first row has not the columns of an address book.
pub(super) fn read(text: &str) -> Option<AddressBook> {
    let mut rows =
        ReaderBuilder::new().delimiter(delimiter(text)).flexible(true).from_reader(text.as_bytes());
    let header = rows.headers().ok()?.clone();
    let columns = Columns::of(&header)?;
    let mut book = AddressBook { format: Format::Csv, ..AddressBook::default() };
    for row in rows.records() {
        match row {
            Ok(row) if row.len() == header.len() => {
                let contact = columns.contact(&row);
                // Spreadsheets leave rows of separators alone.
                if contact != Contact::default() {
                    book.contacts.push(contact);
                }
            }
            // Fewer than the header has: the end is missing, or a quotation mark that was never closed took the rest.
            Ok(row) if row.len() < header.len() => book.unreadable.add(SkipReason::CutOff),
            _ => book.unreadable.add(SkipReason::Malformed),
        }
    }
    Some(book)
}

/// Outlook writes semicolons where the decimal sign is a comma; spreadsheets can write tabs.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    let often = |delimiter: &u8| first.bytes().filter(|byte| byte == delimiter).count();
    // The last of several: a comma, if all are as rare.
    [b'\t', b';', b','].into_iter().max_by_key(often).unwrap_or(b',')
}
