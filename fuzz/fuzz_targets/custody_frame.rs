//! What the two sides of a custody socket send each other.

#![no_main]

use acquaint_custody::remote::fuzzing::{answer, request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    // There is one way to write each question and answer: what is read is written as the same bytes.
    for written in [request(frame), answer(frame)].into_iter().flatten() {
        assert_eq!(written, frame);
    }
});
