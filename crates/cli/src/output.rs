//! What a command tells: results on standard output, all else on standard error.

use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Whoever read standard output has read enough, as `head` does: the command ends quietly.
#[derive(Debug)]
pub(crate) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for Closed {}

/// Writes a line to standard output, as `println!` does, but without a panic where nobody reads it any more: what the
/// command does is more than what it tells.
macro_rules! tell {
    () => { $crate::output::tell_line("") };
    ($($arg:tt)*) => { $crate::output::tell_line(&format!($($arg)*)) };
}
pub(crate) use tell;

/// Behind [`tell!`].
pub(crate) fn tell_line(text: &str) {
    match line(text) {
        Err(error) if !error.is::<Closed>() => note(&format!("warning: {error}")),
        _ => {}
    }
}

/// Writes a line to standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes to standard output.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(format!("cannot write to standard output: {error}").into()),
        Ok(()) => Ok(()),
    }
}

/// Writes one JSON object as a line to standard output.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Tells the person something on standard error.
pub(crate) fn note(text: &str) {
    // Nobody can be told that nobody listens.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Asks the person something on standard error, on the line that the answer will be entered on.
pub(crate) fn prompt(text: &str) {
    let mut err = std::io::stderr();
    // As above.
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}

/// "1 match", "2 matches".
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
