//! A number as somebody wrote it. The first two letters are the region that it is read for, if they are one.

#![no_main]

use acquaint_protocol::identifier::{Phone, Region, Sii};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: acquaint_fuzz::let_caught_panics_pass(), |text: &str| {
    let (region, text) = match text.split_at_checked(2) {
        Some((code, rest)) => (Region::parse(code).ok(), rest),
        None => (None, text),
    };
    let Ok(phone) = Phone::parse(text, region) else { return };
    let canonical = phone.as_str();
    let digits = canonical.strip_prefix('+').expect("E.164 begins with a plus");
    assert!((2..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit()));
    // The canonical form is a fixed point, wherever it is read.
    for region in [None, region] {
        let again = Phone::parse(canonical, region).expect("the canonical form is a number");
        assert_eq!(again.as_str(), canonical);
        assert_eq!((again.kind(), again.region()), (phone.kind(), phone.region()));
    }
    let sii = Sii::from(&phone);
    assert_eq!(Sii::parse(sii.as_str()).expect("it is canonical").as_bytes(), sii.as_bytes());
    assert!(!format!("{phone:?}{sii:?}").contains(digits));
});
