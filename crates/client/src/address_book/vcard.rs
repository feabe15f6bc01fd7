//! vCard 2.1 (versit, 1996), 3.0 (RFC 2426) and 4.0 (RFC 6350).
//!
//! calcard reads the cards. Before that, the file is cut at them, so that a broken card takes no other with it, and only
//! the lines that are needed are kept: photographs, notes and what programs add of their own cannot spoil a card then.

use calcard::vcard::{VCard, VCardProperty};
use calcard::{Entry, Parser};

use super::{AddressBook, Contact, Format, SkipReason};

const BEGIN: &str = "BEGIN:VCARD";
const END: &str = "END:VCARD";

/// What a contact is made of.
const NEEDED: [&str; 7] = ["VERSION", "FN", "N", "NICKNAME", "ORG", "TEL", "EMAIL"];

/// Whether a card begins anywhere.
pub(super) fn is_vcard(text: &str) -> bool {
    text.lines().any(|line| is(line, BEGIN))
}

pub(super) fn read(text: &str) -> AddressBook {
    let mut book = AddressBook { format: Format::VCard, ..AddressBook::default() };
    // More than one is open while the card of an agent stands inside another (vCard 2.1, section 2.4.4).
    let mut open: Vec<Card> = Vec::new();
    for line in text.lines() {
        if is(line, BEGIN) || begins_agent(line) {
            let nested = begins_agent(line) || open.last().is_some_and(|card| card.awaits_agent);
            if !nested {
                open.drain(..).for_each(|_| book.unreadable.add(SkipReason::CutOff));
            }
            open.push(Card::default());
        } else if is(line, END) {
            if let Some(card) = open.pop() {
                match card.finish() {
                    Ok(contact) => book.contacts.push(contact),
                    Err(reason) => book.unreadable.add(reason),
                }
            }
        } else if let Some(card) = open.last_mut() {
            card.line(line);
        }
    }
    open.drain(..).for_each(|_| book.unreadable.add(SkipReason::CutOff));
    book
}

fn is(line: &str, wanted: &str) -> bool {
    line.trim().eq_ignore_ascii_case(wanted)
}

/// `AGENT:BEGIN:VCARD` on one line.
fn begins_agent(line: &str) -> bool {
    let value = line.trim().split_once(':').filter(|(head, _)| name_of(head).eq_ignore_ascii_case("AGENT"));
    value.is_some_and(|(_, value)| is(value, BEGIN))
}

/// The property's name: what stands before parameters and value, less a group as in `item1.TEL`.
fn name_of(line: &str) -> &str {
    let name = line.split([':', ';']).next().unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default().trim()
}

/// The needed lines of one card, up to now.
#[derive(Default)]
struct Card {
    lines: Vec<String>,
    /// Whether the line before is one that is kept, for what continues it.
    keeps: bool,
    /// Whether the line before ends with a soft line break of quoted-printable.
    soft_break: bool,
    /// Whether the last line was `AGENT:`, after which a card may follow.
    awaits_agent: bool,
}

impl Card {
    fn line(&mut self, line: &str) {
        // RFC 6350, section 3.2: what begins with white space continues the line before; RFC 2045, section 6.7: so does
        // what follows a `=` at the end of a quoted-printable line.
        let folded = line.starts_with([' ', '\t']);
        let continues = folded || self.soft_break;
        if !continues {
            if line.trim().is_empty() {
                return;
            }
            let name = name_of(line);
            self.keeps = NEEDED.iter().any(|needed| name.eq_ignore_ascii_case(needed)) && line.contains(':');
            self.awaits_agent = name.eq_ignore_ascii_case("AGENT") && line.trim_end().ends_with(':');
        }
        let is_quoted_printable = match self.lines.last() {
            Some(whole) if continues && self.keeps => quoted_printable(whole),
            _ if continues => self.soft_break,
            _ => quoted_printable(line),
        };
        if self.keeps {
            match self.lines.last_mut() {
                // The soft break goes, and so does the white space of a fold; but after a soft break alone all is text.
                Some(whole) if self.soft_break => {
                    whole.pop();
                    whole.push_str(
                        line.strip_prefix([' ', '\t']).filter(|_| folded).unwrap_or(line).trim_end(),
                    );
                }
                Some(whole) if folded => whole.push_str(line.get(1..).unwrap_or_default()),
                _ => self.lines.push(line.to_owned()),
            }
        }
        self.soft_break = is_quoted_printable && line.trim_end().ends_with('=');
        if self.soft_break && self.keeps {
            // So that the `=` is the last character, whatever follows it in the file.
            if let Some(whole) = self.lines.last_mut() {
                whole.truncate(whole.trim_end().len());
            }
        }
    }

    fn finish(self) -> Result<Contact, SkipReason> {
        let lines = self.lines.into_iter().map(with_charset);
        let text: String = [BEGIN.to_owned()]
            .into_iter()
            .chain(lines)
            .chain([END.to_owned()])
            .map(|line| line + "\r\n")
            .collect();
        // Strict: what calcard cannot make out is told, not dropped.
        match Parser::new(&text).strict().entry() {
            Entry::VCard(card) => Ok(contact(&card)),
            _ => Err(SkipReason::Malformed),
        }
    }
}

/// Whether the line's parameters declare quoted-printable, with or without `ENCODING=`.
fn quoted_printable(line: &str) -> bool {
    let (head, _) = line.split_once(':').unwrap_or_default();
    head.split(';').skip(1).any(|parameter| {
        let value = parameter.rsplit('=').next().unwrap_or_default();
        value.trim().eq_ignore_ascii_case("QUOTED-PRINTABLE")
    })
}

/// Phones write UTF-8 without saying so, where vCard 2.1 has ASCII and calcard takes Latin-1: it is said for them, if the
/// bytes are UTF-8. `QUOTED-PRINTABLE` alone becomes `ENCODING=QUOTED-PRINTABLE`, the form that calcard knows.
fn with_charset(line: String) -> String {
    if !quoted_printable(&line) {
        return line;
    }
    let Some((head, value)) = line.split_once(':') else { return line };
    let mut parameters: Vec<String> = head
        .split(';')
        .filter(|parameter| !parameter.trim().eq_ignore_ascii_case("QUOTED-PRINTABLE"))
        .filter(|parameter| !parameter.trim().eq_ignore_ascii_case("ENCODING=QUOTED-PRINTABLE"))
        .map(str::to_owned)
        .collect();
    parameters.push("ENCODING=QUOTED-PRINTABLE".into());
    let declares = parameters.iter().any(|p| p.trim().to_ascii_uppercase().starts_with("CHARSET="));
    if !declares && is_utf8(value) {
        parameters.push("CHARSET=UTF-8".into());
    }
    format!("{}:{value}", parameters.join(";"))
}

/// Whether the bytes behind a quoted-printable text are UTF-8.
fn is_utf8(quoted: &str) -> bool {
    let bytes = mail_parser::decoders::quoted_printable::quoted_printable_decode(quoted.as_bytes());
    bytes.is_some_and(|bytes| str::from_utf8(&bytes).is_ok())
}

fn contact(card: &VCard) -> Contact {
    let texts = |property: &VCardProperty| {
        let entries = card.entries.iter().filter(|entry| entry.name == *property);
        let values = entries.flat_map(|entry| &entry.values).filter_map(|value| value.as_text());
        let values = values.map(str::trim).filter(|value| !value.is_empty());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = |property| texts(property).into_iter().next();
    Contact {
        name: first(&VCardProperty::Fn)
            .or_else(|| name(card))
            .or_else(|| first(&VCardProperty::Nickname))
            .or_else(|| first(&VCardProperty::Org)),
        phones: texts(&VCardProperty::Tel),
        emails: texts(&VCardProperty::Email),
    }
}

/// Given, additional and family name, from `N:family;given;additional;…`.
fn name(card: &VCard) -> Option<String> {
    let name = card.entries.iter().find(|entry| entry.name == VCardProperty::N)?;
    let part =
        |place: usize| name.values.get(place).and_then(|value| value.as_text()).unwrap_or_default().trim();
    let parts: Vec<_> = [1, 2, 0].into_iter().map(part).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}
