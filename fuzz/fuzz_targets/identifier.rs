//! A text that is one or the other kind of identifier, and a text that claims to be canonical.

#![no_main]

use acquaint_protocol::identifier::{AccountFormat, AccountId, Identifier, Sii};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: acquaint_fuzz::let_caught_panics_pass(), |text: &str| {
    if let Ok(identifier) = Identifier::parse(text, None) {
        let again = Identifier::parse(identifier.as_str(), None).expect("the canonical form is one");
        assert_eq!(again.as_str(), identifier.as_str());
        assert_eq!(matches!(identifier, Identifier::Email(_)), text.contains('@'));
        let sii = Sii::from(&identifier);
        assert_eq!(Sii::parse(sii.as_str()).expect("it is canonical").as_bytes(), sii.as_bytes());
    }
    if let Ok(sii) = Sii::parse(text) {
        // Canonical text is the only way to write one, and 0x00 can join two.
        assert_eq!(sii.as_str(), text);
        assert!(sii.as_bytes().iter().all(|byte| (0x21..0x7f).contains(byte)));
        assert!(Identifier::parse(text, None).is_ok() || text.starts_with("tel:"));
    }
    for format in [AccountFormat::Did, AccountFormat::Opaque] {
        if let Ok(account) = AccountId::parse(text, format) {
            let again = AccountId::parse(account.as_str(), format).expect("a name stays one");
            assert_eq!(again.as_str(), account.as_str());
        }
    }
});
