//! The content of a cursor, as if somebody had the key.

#![no_main]

use acquaint_service::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Some(again) = fuzzing::cursor(content) {
        assert_eq!(again, content);
    }
});
