//! An e-mail address as somebody wrote it.

#![no_main]

use acquaint_protocol::identifier::{Email, Sii};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(email) = Email::parse(text) else { return };
    let canonical = email.as_str();
    assert!(canonical.len() <= 254 && canonical.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!canonical.bytes().any(|byte| byte.is_ascii_uppercase()));
    let (local, domain) = canonical.rsplit_once('@').expect("an address has an @");
    assert!(!local.is_empty() && local.len() <= 64 && domain.contains('.'));
    // The canonical form is a fixed point.
    assert_eq!(Email::parse(canonical).expect("it is an address").as_str(), canonical);
    let sii = Sii::from(&email);
    assert_eq!(Sii::parse(sii.as_str()).expect("it is canonical").as_bytes(), sii.as_bytes());
    assert!(!format!("{email:?}{sii:?}").contains(canonical));
});
