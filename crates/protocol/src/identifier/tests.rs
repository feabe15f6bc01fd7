use std::collections::HashSet;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct File<V> {
    vectors: Vec<V>,
}

#[derive(Deserialize)]
struct WrittenPhone {
    form: String,
    region: Option<String>,
    text: String,
    e164: Option<String>,
}

#[derive(Deserialize)]
struct WrittenEmail {
    case: String,
    text: String,
    canonical: Option<String>,
    error: Option<String>,
}

fn region(code: &str) -> Region {
    Region::parse(code).unwrap()
}

#[test]
fn phone_numbers_are_read_as_googles_library_reads_them() {
    let file: File<WrittenPhone> =
        serde_json::from_str(include_str!("../../../../vectors/identifier/phone_numbers.json")).unwrap();
    assert_eq!(file.vectors.len(), 4000);
    for WrittenPhone { form, region: code, text, e164 } in &file.vectors {
        let phone = Phone::parse(text, code.as_deref().map(region));
        let number = phone.as_ref().ok().map(Phone::as_str);
        assert_eq!(number, e164.as_deref(), "{form}: {text:?} in {code:?}");
        if let Ok(phone) = phone {
            let again = Phone::parse(phone.as_str(), None).unwrap();
            assert!(again == phone, "{form}: {text:?} in {code:?} is no fixpoint");
            assert_eq!(Sii::parse(Sii::from(&phone).as_str()).unwrap(), Sii::from(&phone));
        }
    }
}

#[test]
fn email_addresses_are_canonical_or_refused() {
    let file: File<WrittenEmail> =
        serde_json::from_str(include_str!("../../../../vectors/identifier/email.json")).unwrap();
    assert!(file.vectors.len() > 50);
    for WrittenEmail { case, text, canonical, error } in &file.vectors {
        let email = Email::parse(text);
        assert_eq!(email.as_ref().ok().map(Email::as_str), canonical.as_deref(), "{case}");
        assert_eq!(email.as_ref().err().map(|error| format!("{error:?}")), *error, "{case}");
        let uri = format!("mailto:{}", text);
        assert_eq!(Sii::parse(&uri).is_ok(), canonical.as_ref() == Some(text), "{case}");
    }
}

#[test]
fn kinds_and_regions_follow_from_the_number() {
    let table = [
        ("+447400123456", NumberKind::Mobile, Some("GB")),
        ("+12125550199", NumberKind::FixedLineOrMobile, Some("US")),
        ("+442079460123", NumberKind::FixedLine, Some("GB")),
        ("+18005550199", NumberKind::TollFree, Some("US")),
        ("+19005550199", NumberKind::Premium, Some("US")),
        ("+445612345678", NumberKind::Voip, Some("GB")),
        ("+80012345678", NumberKind::TollFree, None),
    ];
    for (number, kind, code) in table {
        let phone = Phone::parse(number, None).unwrap();
        assert_eq!((phone.kind(), phone.region().as_ref().map(Region::as_str)), (kind, code), "{number}");
        let sms = matches!(kind, NumberKind::Mobile | NumberKind::FixedLineOrMobile);
        assert_eq!(phone.kind().can_receive_sms(), sms, "{number}");
    }
}

#[test]
fn phone_errors_tell_apart_what_is_wrong() {
    let table = [
        ("", PhoneError::Empty),
        (" \u{a0}\n", PhoneError::Empty),
        ("alice", PhoneError::NotANumber),
        ("2125550199", PhoneError::NotANumber),
        ("+10005550199", PhoneError::NotValid),
        (";phone-context=+1tel:2125550199", PhoneError::NotANumber),
        ("2125550199;phone-context=tel:", PhoneError::NotANumber),
    ];
    for (text, error) in table {
        assert_eq!(Phone::parse(text, None), Err(error), "{text:?}");
    }
    let longest = format!("+12125550199{}", " ".repeat(52));
    assert!(Phone::parse(&longest, None).is_ok());
    assert_eq!(Phone::parse(&format!("{longest} "), None), Err(PhoneError::TooLong));
}

#[test]
fn the_texts_that_make_the_phone_library_panic_never_reach_it() {
    for text in [";phone-context=+1;tel:2125550199", "2125550199;phone-context=+1;tel:"] {
        // A panic would be caught one level up, but the panic hook would have printed it.
        assert_eq!(phone::parse_checked(text, None), Err(PhoneError::NotANumber), "{text:?}");
    }
}

#[test]
fn the_phone_librarys_trace_log_is_compiled_out() {
    // rlibphonenumber logs numbers at level `trace`; see Cargo.toml.
    assert_eq!(log::STATIC_MAX_LEVEL, log::LevelFilter::Debug);
}

#[test]
fn regions_are_countries_with_numbers() {
    assert_eq!((region("us"), region("US").as_str()), (region("US"), "US"));
    assert_eq!(format!("{} {:?}", region("xk"), region("GB")), "XK Region(GB)");
    for code in ["", "U", "USA", "ZZ", "AQ", "001", "1A", "é"] {
        assert_eq!(Region::parse(code), Err(RegionError), "{code:?}");
    }
}

#[test]
fn an_sii_is_taken_in_canonical_form_only() {
    for uri in ["tel:+12125550199", "tel:+12", "tel:+999999999999999", "mailto:a@example.com"] {
        let sii = Sii::parse(uri).unwrap();
        assert_eq!((sii.as_str(), sii.as_bytes()), (uri, uri.as_bytes()));
    }
    let table = [
        ("", SiiError::UnknownScheme),
        ("+12125550199", SiiError::UnknownScheme),
        ("TEL:+12125550199", SiiError::UnknownScheme),
        ("sip:a@example.com", SiiError::UnknownScheme),
        (" tel:+12125550199", SiiError::UnknownScheme),
        ("tel:", SiiError::NotE164),
        ("tel:12125550199", SiiError::NotE164),
        ("tel:+1", SiiError::NotE164),
        ("tel:+02125550199", SiiError::NotE164),
        ("tel:+1212555019900000", SiiError::NotE164),
        ("tel:+1-212-555-0199", SiiError::NotE164),
        ("tel:+1212555019\u{661}", SiiError::NotE164),
        ("tel:+12125550199\n", SiiError::NotE164),
        ("tel:%2B12125550199", SiiError::NotE164),
        ("mailto:", SiiError::NotCanonicalEmail),
        ("mailto:A@example.com", SiiError::NotCanonicalEmail),
        ("mailto:a@EXAMPLE.com", SiiError::NotCanonicalEmail),
        ("mailto:a@bücher.example", SiiError::NotCanonicalEmail),
        ("mailto: a@example.com", SiiError::NotCanonicalEmail),
        ("mailto:a@example.com ", SiiError::NotCanonicalEmail),
        ("mailto:a@example.com?subject=hi", SiiError::NotCanonicalEmail),
        ("mailto:a%40example.com", SiiError::NotCanonicalEmail),
    ];
    for (uri, error) in table {
        assert_eq!(Sii::parse(uri), Err(error), "{uri:?}");
    }
}

#[test]
fn accounts_follow_their_format() {
    use AccountFormat::{Did, Opaque};
    use AccountIdError::{ControlCharacter, Empty, NotADid, TooLong};
    let longest = format!("did:plc:{}", "a".repeat(2040));
    let too_long = format!("{longest}a");
    let table = [
        ("did:plc:ewvi7nxzyoun6zhxrhs64oiz", Ok(()), Ok(())),
        ("did:web:localhost%3A1234", Ok(()), Ok(())),
        ("did:a:B._:%-c", Ok(()), Ok(())),
        (longest.as_str(), Ok(()), Ok(())),
        (too_long.as_str(), Err(TooLong), Err(TooLong)),
        ("", Err(Empty), Err(Empty)),
        ("did:plc:", Err(NotADid), Ok(())),
        ("did::abc", Err(NotADid), Ok(())),
        ("did:PLC:abc", Err(NotADid), Ok(())),
        ("did:pl3:abc", Err(NotADid), Ok(())),
        ("DID:plc:abc", Err(NotADid), Ok(())),
        ("did:plc", Err(NotADid), Ok(())),
        ("did:web:example.com:", Err(NotADid), Ok(())),
        ("did:web:example%", Err(NotADid), Ok(())),
        ("did:plc:abc#atproto", Err(NotADid), Ok(())),
        ("did:plc:abc?x=1", Err(NotADid), Ok(())),
        ("did:plc:abc/path", Err(NotADid), Ok(())),
        (" did:plc:abc", Err(NotADid), Ok(())),
        ("did:plc:é", Err(NotADid), Ok(())),
        ("Zoë 42", Err(NotADid), Ok(())),
        ("a\0b", Err(NotADid), Err(ControlCharacter)),
        ("a\u{85}b", Err(NotADid), Err(ControlCharacter)),
        ("a\n", Err(NotADid), Err(ControlCharacter)),
    ];
    for (text, did, opaque) in table {
        assert_eq!(AccountId::parse(text, Did).map(|id| assert_eq!(id.as_str(), text)), did, "{text:?}");
        assert_eq!(
            AccountId::parse(text, Opaque).map(|id| assert_eq!(id.as_str(), text)),
            opaque,
            "{text:?}"
        );
    }
    for format in [Did, Opaque] {
        let word = format.to_string();
        assert_eq!(word.parse(), Ok(format));
        assert_eq!(serde_json::to_string(&format).unwrap(), format!("\"{word}\""));
        assert_eq!(serde_json::from_str::<AccountFormat>(&format!("\"{word}\"")).unwrap(), format);
    }
    assert_eq!("DID".parse::<AccountFormat>(), Err(AccountFormatError));
}

/// Every `Debug` and `Display` of a value or an error made from `text`.
fn printed(text: &str) -> String {
    let phone = Phone::parse(text, Some(region("US")));
    let email = Email::parse(text);
    let mut all = format!("{:?}", (&phone, &email, Sii::parse(text)));
    for format in [AccountFormat::Did, AccountFormat::Opaque] {
        let account = AccountId::parse(text, format);
        all +=
            &format!("{account:?} {}", account.as_ref().err().map(ToString::to_string).unwrap_or_default());
    }
    all += &phone.as_ref().err().map(ToString::to_string).unwrap_or_default();
    all += &email.as_ref().err().map(ToString::to_string).unwrap_or_default();
    all += &Sii::parse(text).err().map(|e| e.to_string()).unwrap_or_default();
    all += &format!("{:?} {:?}", phone.map(|p| Sii::from(&p)), email.map(|e| Sii::from(&e)));
    all + &format!("{:?} {:?}", SecretText::new(text.to_owned()), Region::parse(text))
}

#[test]
fn nothing_prints_the_number_or_the_address() {
    let texts = [
        "+1 212 555 0199",
        "+12125550199",
        "tel:+12125550199",
        "+10005550199",
        "2125550199;phone-context=tel:",
        "0199@example.com",
        "mailto:0199@example.com",
        "0199@localhost",
        "\"0199\"@example.com",
        "did:plc:0199",
        "0199\0",
    ];
    for text in texts {
        let printed = printed(text);
        assert!(!printed.contains("0199"), "{text:?} shows in {printed}");
    }
    let sii = Sii::parse("tel:+12125550199").unwrap();
    assert!(!format!("{:?}", HashSet::from([sii])).contains("0199"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC*|.*") {
        parse_all(&text);
    }

    #[test]
    fn no_text_of_telling_characters_makes_a_parser_panic(
        text in "(tel:|;phone-context=|;isub=|;ext=|mailto:|@|\\.|\\+|[0-9٣x/,#~;() -]|é|xn--|did:|\0){0,20}",
    ) {
        parse_all(&text);
    }

    #[test]
    fn what_was_parsed_parses_to_itself(
        digits in "[+]?[0-9 -]{5,16}",
        address in "[a-zA-Z0-9.+_-]{1,10}@[a-zA-Zäß0-9-]{1,10}\\.[a-zA-Zö]{1,8}",
    ) {
        parse_all(&digits);
        parse_all(&address);
    }
}

/// Parses `text` in every way, and again what came of it.
fn parse_all(text: &str) {
    for default_region in [None, Some(region("US")), Some(region("IT"))] {
        // Below `Phone::parse`, where a panic would be caught.
        if let Ok(phone) = phone::parse_checked(text, default_region) {
            assert!(Phone::parse(phone.as_str(), None) == Ok(phone.clone()), "{text:?}");
            assert_eq!(Sii::parse(Sii::from(&phone).as_str()), Ok(Sii::from(&phone)), "{text:?}");
        }
    }
    if let Ok(email) = Email::parse(text) {
        assert!(Email::parse(email.as_str()) == Ok(email.clone()), "{text:?}");
        let sii = Sii::from(&email);
        assert!(sii.as_bytes().iter().all(|byte| (0x21..0x7f).contains(byte)), "{text:?}");
        assert_eq!(Sii::parse(sii.as_str()), Ok(sii), "{text:?}");
    }
    if let Ok(sii) = Sii::parse(text) {
        assert_eq!(sii.as_str(), text);
    }
    for format in [AccountFormat::Did, AccountFormat::Opaque] {
        if let Ok(account) = AccountId::parse(text, format) {
            assert_eq!(account.as_str(), text);
        }
    }
    let _ = Region::parse(text);
}

#[test]
fn what_has_an_at_is_an_address_and_all_else_a_number() {
    let sii = |text: &str| Identifier::parse(text, None).map(|found| Sii::from(&found));
    assert_eq!(sii("+1 212-555-0123").unwrap().as_str(), "tel:+12125550123");
    for text in ["Alice@Example.com", " mailto:alice@example.com ", "MailTo:alice@example.com"] {
        assert_eq!(sii(text).unwrap().as_str(), "mailto:alice@example.com");
    }
    assert!(matches!(sii("alice@"), Err(IdentifierError::Email(_))));
    assert!(matches!(sii("ä@é"), Err(IdentifierError::Email(EmailError::LocalPart))));
    assert!(matches!(sii("alice"), Err(IdentifierError::Phone(_))));
    let address = Identifier::parse("alice@example.com", None).unwrap();
    assert_eq!(address.as_str(), "alice@example.com");
    assert!(!format!("{address:?}").contains("alice"));
}
