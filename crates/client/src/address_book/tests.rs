//! Every exporter's file, and the forms that fields and files come in.

use proptest::prelude::*;

use super::*;
use crate::identifier::Region;
use crate::prepare::{Wanted, prepare};

/// A name, phones and e-mail addresses.
type Row<'a> = (Option<&'a str>, &'a [&'a str], &'a [&'a str]);

/// What is read of a sample, what is sent of it by an American, and how many entries are left out.
struct Sample<'a> {
    file: &'a [u8],
    rows: &'a [Row<'a>],
    sent: &'a [&'a str],
    skipped: &'a [(SkipReason, usize)],
}

fn rows(book: &AddressBook) -> Vec<(Option<&str>, Vec<&str>, Vec<&str>)> {
    book.contacts
        .iter()
        .map(|contact| {
            let phones = contact.phones.iter().map(String::as_str).collect();
            let emails = contact.emails.iter().map(String::as_str).collect();
            (contact.name.as_deref(), phones, emails)
        })
        .collect()
}

fn check(sample: &Sample<'_>) {
    let book = read(sample.file).unwrap();
    let expected: Vec<_> =
        sample.rows.iter().map(|(name, phones, emails)| (*name, phones.to_vec(), emails.to_vec())).collect();
    assert_eq!(rows(&book), expected);
    assert_eq!(book.unreadable, Skipped::default());
    let region = Some(Region::parse("US").unwrap());
    let list = prepare(&book.contacts, Wanted { region, emails: true, own: &[] });
    let sent: Vec<String> = list.entries.iter().map(crate::prepare::Entry::text).collect();
    assert_eq!(sent, sample.sent);
    assert_eq!(list.skipped.iter().collect::<Vec<_>>(), sample.skipped);
}

macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!("../../../../examples/address_books/", $name))
    };
}

#[test]
fn icloud() {
    check(&Sample {
        file: sample!("icloud_3.0.vcf"),
        rows: &[
            (
                Some("Dr. Ada Lovelace"),
                &["+1 (212) 555-0101", "(212) 555-0102", "1-212-555-0103"],
                &["Ada@Example.com", "ada.work@example.com"],
            ),
            (Some("Pizzeria Bella Notte"), &["+1 (312) 555-0150"], &[]),
            (Some("José Núñez"), &["+1 415-555-0104", "+1 415 555 0105"], &[]),
        ],
        sent: &[
            "+12125550101",
            "+12125550102",
            "+12125550103",
            "ada@example.com",
            "ada.work@example.com",
            "+13125550150",
            "+14155550104",
            "+14155550105",
        ],
        skipped: &[],
    });
}

#[test]
fn google_vcard() {
    check(&Sample {
        file: sample!("google_3.0.vcf"),
        rows: &[
            (
                Some("Grace Hopper"),
                &["+1 206-555-0110", "+12065550111", "(206) 555-0112"],
                &["grace@example.com", "grace.hopper@example.org"],
            ),
            (Some("Дмитрий Менделеев"), &["+1 206-555-0113"], &[]),
            (None, &[], &["newsletter@example.com"]),
        ],
        sent: &[
            "+12065550110",
            "+12065550111",
            "+12065550112",
            "grace@example.com",
            "grace.hopper@example.org",
            "+12065550113",
            "newsletter@example.com",
        ],
        skipped: &[],
    });
}

#[test]
fn android() {
    check(&Sample {
        file: sample!("android_2.1.vcf"),
        rows: &[
            (
                Some("Jürgen Müller"),
                &["+12125550120", "212-555-0121", "+12125550122"],
                &["juergen@example.com"],
            ),
            (Some("中文名字很长的一位朋友"), &["+12125550123"], &[]),
            (Some("Voicemail"), &["*86"], &[]),
        ],
        sent: &["+12125550120", "+12125550121", "+12125550122", "juergen@example.com", "+12125550123"],
        skipped: &[(SkipReason::NotANumber, 1)],
    });
}

#[test]
fn samsung() {
    check(&Sample {
        file: sample!("samsung_2.1.vcf"),
        rows: &[
            (
                Some("Marie Skłodowska Curie"),
                &["+13055550130", "3055550131", "305 555 0132"],
                &["marie@example.com", "radium@example.com"],
            ),
            (Some("Mamá"), &["+13055550133", "+13055550133"], &[]),
        ],
        sent: &[
            "+13055550130",
            "+13055550131",
            "+13055550132",
            "marie@example.com",
            "radium@example.com",
            "+13055550133",
        ],
        skipped: &[(SkipReason::Repeated, 1)],
    });
}

#[test]
fn nokia() {
    check(&Sample {
        file: sample!("nokia_2.1.vcf"),
        rows: &[
            // The agent's card stands inside the next one.
            (Some("Eva Ek"), &["+15125550143"], &[]),
            (Some("Åke Ström"), &["+15125550140", "0015125550141", "+15125550142p123"], &["ake@example.com"]),
            (Some("Jörgen Lindström"), &["+15125550144"], &[]),
        ],
        sent: &["+15125550143", "+15125550140", "+15125550142", "ake@example.com", "+15125550144"],
        // 00 is no American prefix for calls abroad.
        skipped: &[(SkipReason::NotANumber, 1)],
    });
}

#[test]
fn outlook_vcard() {
    check(&Sample {
        file: sample!("outlook_2.1.vcf"),
        rows: &[(
            Some("Mr. Alan Mathison Turing OBE"),
            &["(646) 555-0180", "(646) 555-0181", "+1 (646) 555-0182", "(646) 555-0183"],
            &["alan@example.com"],
        )],
        sent: &["+16465550180", "+16465550181", "+16465550182", "+16465550183", "alan@example.com"],
        skipped: &[],
    });
}

#[test]
fn thunderbird() {
    check(&Sample {
        file: sample!("thunderbird_4.0.vcf"),
        rows: &[
            (
                Some("Katherine Johnson"),
                &["+1 617-555-0150", "617.555.0151"],
                &["katherine@example.com", "kj@example.net"],
            ),
            (Some("Ferry line"), &[], &[]),
        ],
        sent: &["+16175550150", "+16175550151", "katherine@example.com", "kj@example.net"],
        skipped: &[],
    });
}

#[test]
fn kde() {
    check(&Sample {
        file: sample!("kde_4.0.vcf"),
        rows: &[
            (
                Some("Emmy Noether"),
                &["+1 702 555 0160", "tel:+1-702-555-0161;ext=42"],
                &["emmy@example.com", "emmy.noether@example.org"],
            ),
            (Some("Sophie Germain"), &["tel:+17025550162"], &["mailto:sophie@example.com"]),
        ],
        sent: &[
            "+17025550160",
            "+17025550161",
            "emmy@example.com",
            "emmy.noether@example.org",
            "+17025550162",
            "sophie@example.com",
        ],
        skipped: &[],
    });
}

#[test]
fn nextcloud() {
    check(&Sample {
        file: sample!("nextcloud_4.0.vcf"),
        rows: &[(Some("Mary Jackson"), &["+1 757-555-0170", "+1 757-555-0171"], &["mary@example.com"])],
        sent: &["+17575550170", "+17575550171", "mary@example.com"],
        skipped: &[],
    });
}

#[test]
fn google_csv_of_both_layouts() {
    check(&Sample {
        file: sample!("google_old.csv"),
        rows: &[
            (
                Some("Dorothy Vaughan"),
                &["+1 718-555-0190", "+1 718-555-0191", "(718) 555-0192"],
                &["dorothy@example.com", "vaughan@example.org"],
            ),
            (Some("Corner Shop"), &["718-555-0193"], &[]),
            (Some("Zoë"), &[], &["zoe@example.com"]),
        ],
        sent: &[
            "+17185550190",
            "+17185550191",
            "+17185550192",
            "dorothy@example.com",
            "vaughan@example.org",
            "+17185550193",
            "zoe@example.com",
        ],
        skipped: &[],
    });
    check(&Sample {
        file: sample!("google_new.csv"),
        rows: &[
            (
                Some("Annie J. Easley"),
                &["+1 206-555-0194", "206-555-0195", "(206) 555-0196"],
                &["annie@example.com"],
            ),
            (Some("Taxi"), &["+12065550197"], &[]),
            (Some("Łukasz"), &[], &["* Other", "lukasz@example.com"]),
        ],
        sent: &[
            "+12065550194",
            "+12065550195",
            "+12065550196",
            "annie@example.com",
            "+12065550197",
            "lukasz@example.com",
        ],
        // Google puts a label in the place of an address that is missing.
        skipped: &[(SkipReason::NotAnAddress, 1)],
    });
}

#[test]
fn outlook_csv() {
    check(&Sample {
        file: sample!("outlook.csv"),
        rows: &[
            (
                Some("Hedy Lamarr"),
                &["(305) 555-0134", "(305) 555-0135", "+1 305 555 0136"],
                &["hedy@example.com", "lamarr@example.org"],
            ),
            (Some("Café René"), &["305-555-0138"], &[]),
        ],
        sent: &[
            "+13055550134",
            "+13055550135",
            "+13055550136",
            "hedy@example.com",
            "lamarr@example.org",
            "+13055550138",
        ],
        skipped: &[],
    });
}

fn card(lines: &str) -> String {
    format!("BEGIN:VCARD\n{lines}\nEND:VCARD\n")
}

/// The only contact of a card with these lines.
fn only(lines: &str) -> Contact {
    let mut book = read(card(lines).as_bytes()).unwrap();
    assert_eq!((book.contacts.len(), book.unreadable.total()), (1, 0));
    book.contacts.remove(0)
}

#[test]
fn field_forms() {
    let phones: [(&str, &str); 13] = [
        ("TEL:+1 212 555 0101", "+1 212 555 0101"),
        ("tel;cell:1", "1"),
        // A note that was not folded, and has what ends a card for calcard.
        ("NOTE:the\nEND: of all\nTEL:1", "1"),
        ("Item1.Tel;PREF:1", "1"),
        ("TEL;VALUE=uri:tel:+1-212-555-0101;ext=7", "tel:+1-212-555-0101;ext=7"),
        ("TEL;TYPE=\"voice,cell\";VALUE=uri:tel:+1-2", "tel:+1-2"),
        ("TEL;TYPE=cell,voice;PREF=1:1", "1"),
        ("TEL;TYPE=\"a:b;c\":1", "1"),
        ("TEL;CELL;ENCODING=QUOTED-PRINTABLE:=2B1=20212", "+1 212"),
        ("TEL;QUOTED-PRINTABLE:=2B1", "+1"),
        ("TEL:+1 212\n  555", "+1 212 555"),
        ("TEL:+1 212\\, 555\\; 1", "+1 212, 555; 1"),
        ("TEL;X-CUSTOM(CHARSET=UTF-8,ENCODING=QUOTED-PRINTABLE,=41):+1=", "+1="),
    ];
    for (line, expected) in phones {
        assert_eq!(only(&format!("VERSION:3.0\nFN:A\n{line}")).phones, [expected], "{line}");
    }
    let names: [(&str, Option<&str>); 12] = [
        ("FN:Ada\\, Countess\\; of \\\\", Some("Ada, Countess; of \\")),
        ("FN:Ada\n  Love\n\tlace", Some("Ada Lovelace")),
        ("N:Love;Ada;K.;;", Some("Ada K. Love")),
        ("FN:\nN:;Ada", Some("Ada")),
        ("NICKNAME:Kat,Katie", Some("Kat")),
        ("ORG:Shop;Floor", Some("Shop")),
        ("FN;ENCODING=QUOTED-PRINTABLE:J=C3=\n=A9", Some("Jé")),
        ("FN;ENCODING=QUOTED-PRINTABLE:J=E9", Some("Jé")),
        ("FN;CHARSET=SHIFT_JIS;ENCODING=QUOTED-PRINTABLE:=83=65", Some("テ")),
        ("FN;LANGUAGE=en;QUOTED-PRINTABLE;CHARSET=UTF-8:A=\n\tB", Some("AB")),
        ("NOTE:no name", None),
        // Lines that break the rules, of properties that nobody needs.
        ("NOTE:first\nsecond without a name\nFN:Ada", Some("Ada")),
    ];
    for (lines, expected) in names {
        assert_eq!(only(&format!("VERSION:2.1\n{lines}\nTEL:1")).name.as_deref(), expected, "{lines}");
    }
    let agents = card("VERSION:2.1\nFN:A\nAGENT:BEGIN:VCARD\nFN:B\nTEL:2\nEND:VCARD\nTEL:1");
    let agents = read(agents.as_bytes()).unwrap();
    assert_eq!(rows(&agents), [(Some("B"), vec!["2"], vec![]), (Some("A"), vec!["1"], vec![])]);
    let agent = only("VERSION:3.0\nFN:A\nAGENT:BEGIN:VCARD\\nFN:B\\nTEL:2\\nEND:VCARD\\n\nTEL:1");
    assert_eq!((agent.name.as_deref(), agent.phones), (Some("A"), vec!["1".to_owned()]));
    assert!(!format!("{:?}", only("FN:Ada\nTEL:5550101\nEMAIL:ada@example.com")).contains("ada"));
}

#[test]
fn file_forms() {
    let lines = card("VERSION:3.0\nFN:Zoë\nTEL:1") + "\n \n" + &card("VERSION:3.0\nFN:Bob\nTEL:2");
    let utf16 = |to_bytes: fn(u16) -> [u8; 2], mark: [u8; 2]| -> Vec<u8> {
        mark.into_iter().chain(lines.encode_utf16().flat_map(to_bytes)).collect()
    };
    let latin1: Vec<u8> = lines.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let forms = [
        lines.clone().into_bytes(),
        lines.replace('\n', "\r\n").into_bytes(),
        lines.replace('\n', "\r").into_bytes(),
        [b"\xef\xbb\xbf".as_slice(), lines.as_bytes()].concat(),
        utf16(u16::to_le_bytes, [0xff, 0xfe]),
        utf16(u16::to_be_bytes, [0xfe, 0xff]),
        latin1,
        lines.replace("BEGIN:VCARD", " begin:vcard ").into_bytes(),
    ];
    for form in forms {
        let book = read(&form).unwrap();
        let names: Vec<_> = book.contacts.iter().map(|contact| contact.name.as_deref()).collect();
        assert_eq!(names, [Some("Zoë"), Some("Bob")]);
        assert_eq!(book.unreadable.total(), 0);
    }
    let japanese = b"BEGIN:VCARD\nVERSION:2.1\nFN;CHARSET=Shift_JIS:\x83\x65\nTEL:1\nEND:VCARD\n";
    assert_eq!(read(japanese).unwrap().contacts[0].name.as_deref(), Some("テ"));
    let semicolons = "First Name;Mobile Phone;E-mail Address\nAda;1;a@example.com\n";
    assert_eq!(
        rows(&read(semicolons.as_bytes()).unwrap()),
        [(Some("Ada"), vec!["1"], vec!["a@example.com"])]
    );
}

#[test]
fn what_cannot_be_read_is_counted_or_told() {
    let counts = |text: &str| {
        let book = read(text.as_bytes()).unwrap();
        let count = |reason| book.unreadable.count(reason);
        (book.contacts.len(), count(SkipReason::CutOff), count(SkipReason::Malformed))
    };
    let (whole, cut) = (card("VERSION:3.0\nFN:A\nTEL:1"), "BEGIN:VCARD\nVERSION:3.0\nFN:B\nTEL:2\n");
    assert_eq!(counts(&[&whole, cut].concat()), (1, 1, 0));
    assert_eq!(counts(&[cut, &whole, cut].concat()), (1, 2, 0));
    // An agent's card without an end takes the one around it along.
    assert_eq!(counts(&[&whole, "BEGIN:VCARD\nAGENT:\n", cut].concat()), (1, 2, 0));
    let csv = "Name,Phone 1 - Value\nA,1\nB\nC,3,4\n\"D,5\nE,6\n";
    assert_eq!(counts(csv), (1, 2, 1));

    // A row of nothing is no contact.
    assert_eq!(counts("Name,Phone 1 - Value\n,\nA,1\n , \n"), (1, 0, 0));
    assert_eq!(read(b"Name,Phone 1 - Value\n,\n"), Err(AddressBookError::NoContacts));

    assert_eq!(read(b""), Err(AddressBookError::Empty));
    assert_eq!(read(b"\xef\xbb\xbf \r\n"), Err(AddressBookError::Empty));
    assert_eq!(read(b"Name,Phone 1 - Value\n"), Err(AddressBookError::NoContacts));
    for other in [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], b"name,colour\nAda,red\n", b"{}", b"hello", b"\0\0"]
    {
        assert_eq!(read(other), Err(AddressBookError::NotAnAddressBook), "{other:?}");
    }
    let mut unreadable = Skipped::default();
    unreadable.add(SkipReason::CutOff);
    assert_eq!(read(cut.as_bytes()), Err(AddressBookError::Unreadable(unreadable)));
}

/// Pieces that break readers, in any order.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        "BEGIN:VCARD\n",
        "END:VCARD\n",
        "BEGIN:VCARD\r",
        "VERSION:2.1\n",
        "VERSION:4.0\n",
        "AGENT:\n",
        "AGENT:BEGIN:VCARD\n",
        "FN",
        "N",
        "TEL",
        "EMAIL",
        "item1.",
        ".",
        ";",
        ":",
        "=",
        "=\n",
        "=C3",
        "=\r\n",
        ",",
        "\\",
        "\\\n",
        "\"",
        "\n",
        " ",
        "\t",
        ";ENCODING=QUOTED-PRINTABLE:",
        ";CHARSET=UTF-8",
        ";CHARSET=x",
        ";ENCODING=BASE64:",
        ";VALUE=uri:",
        ";VALUE=date:",
        ";VALUE=integer:",
        ";TYPE=",
        "tel:",
        "+1 212 555 0101",
        "é",
        "\u{feff}",
        "\u{1f600}",
        "\0",
        "Name,Phone 1 - Value\n",
        "a,1\n",
        "\"",
        " ::: ",
        "Phone 99999999999999999999 - Value,",
    ]);
    let latin = proptest::collection::vec(any::<u8>(), 0..4);
    let part = prop_oneof![8 => piece.prop_map(|text| text.as_bytes().to_vec()), 1 => latin];
    proptest::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_pieces_of_address_books_panic(bytes in pieces()) {
        if let Ok(book) = read(&bytes) {
            let _ = prepare(&book.contacts, Wanted::default());
            // Every card that begins is read or counted; one that was put inside another counts too.
            prop_assert!(book.contacts.len() + book.unreadable.total() > 0);
        }
    }

    #[test]
    fn no_byte_of_a_sample_can_break_it(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        for sample in [&sample!("nokia_2.1.vcf")[..], sample!("android_2.1.vcf"), sample!("google_new.csv")] {
            let mut bytes = sample.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let _ = read(&bytes);
        }
    }
}
