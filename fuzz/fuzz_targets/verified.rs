//! The content of an identifier that was verified, as it lies sealed beside its token.

#![no_main]

use acquaint_service::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Some(again) = fuzzing::verified(content) {
        assert_eq!(again.expect("what was decoded can be encoded"), content);
    }
});
