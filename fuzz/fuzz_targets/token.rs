//! The content of a token, as if somebody had the key; and any text as a token.

#![no_main]

use std::sync::LazyLock;

use acquaint_custody::software::SoftwareCustody;
use acquaint_protocol::pair::Suite;
use acquaint_service::fuzzing;
use libfuzzer_sys::fuzz_target;

static CUSTODY: LazyLock<SoftwareCustody> =
    LazyLock::new(|| SoftwareCustody::generate(Suite::DEVELOPMENT).expect("there is randomness"));

fuzz_target!(|content: &[u8]| {
    if let Some(again) = fuzzing::token(&*CUSTODY, content) {
        assert_eq!(again.expect("what was decoded can be sealed"), content);
    }
    if let Ok(text) = std::str::from_utf8(content) {
        // Nobody guesses what these keys seal.
        assert!(!fuzzing::is_token(&*CUSTODY, text).expect("software custody does not fail"));
    }
});
