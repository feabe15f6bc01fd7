//! The content of an accepted address book, as it lies sealed in the database.

#![no_main]

use acquaint_service::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Some(again) = fuzzing::contact_list(content) {
        assert_eq!(again.expect("what was decoded can be encoded"), content);
    }
});
