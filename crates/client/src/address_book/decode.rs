//! From the bytes of a file to text with `\n` as its line ends.

use std::borrow::Cow;

use encoding_rs::{Encoding, WINDOWS_1252};

/// A byte order mark decides (UTF-8, UTF-16 of either order); else what is not UTF-8 is decoded line by line, since in
/// vCard 2.1 each line may have a character set of its own.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => {
            encoding.decode_without_bom_handling(bytes.get(mark..).unwrap_or_default()).0
        }
        None => match str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(by_lines(bytes)),
        },
    };
    // Old Macs end lines with CR alone.
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn by_lines(bytes: &[u8]) -> String {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let lines = bytes.split_inclusive(is_end).map(|line| match str::from_utf8(line) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => declared(line).unwrap_or(WINDOWS_1252).decode_without_bom_handling(line).0,
    });
    lines.collect()
}

/// What `;CHARSET=…` before the value says (vCard 2.1, section 2.1.5).
fn declared(line: &[u8]) -> Option<&'static Encoding> {
    let before_value = line.split(|byte| *byte == b':').next()?;
    let charset = before_value.split(|byte| *byte == b';').find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"CHARSET=".len())?;
        name.eq_ignore_ascii_case(b"CHARSET=").then_some(value)
    })?;
    Encoding::for_label(charset)
}
