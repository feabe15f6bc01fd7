//! The content of an accepted address book, as it lies sealed in the database.

#![no_main]

use acquaint_service::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Some(again) = fuzzing::contact_list(content) {
        let again = again.expect("what was decoded can be encoded");
        match content {
            // Version 1 has one own identifier, and no count of them.
            [1, rest @ ..] => assert_eq!(again, [&[2, 1], rest].concat()),
            _ => assert_eq!(again, content),
        }
        assert_eq!(fuzzing::contact_list(&again), Some(Some(again)));
    }
});
