//! The key file's JSON.

#![no_main]

use acquaint_custody::software::again;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match again(text) {
        Ok(written) => {
            // What was read is written in one form, and that form is read as the same keys.
            let written = String::from_utf8(written).expect("JSON is text");
            let twice = again(&written).expect("what was written can be read");
            assert_eq!(twice, written.as_bytes());
        }
        // A message shows nothing of a secret: no run of digits as long as one.
        Err(message) => {
            let hex = |byte: &u8| byte.is_ascii_hexdigit();
            assert!(!message.as_bytes().split(|byte| !hex(byte)).any(|run| run.len() >= 16), "{message}");
        }
    }
});
