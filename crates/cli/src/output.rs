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

/// A date as 2026-01-31, in UTC (Howard Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn day(at: i64) -> String {
    let days = at.div_euclid(86_400_000) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A moment as 2026-01-31T12:34:56Z.
pub(crate) fn moment(at: i64) -> String {
    let seconds = at.div_euclid(1000).rem_euclid(86_400);
    format!("{}T{:02}:{:02}:{:02}Z", day(at), seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (at, date) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (1_767_225_599_999, "2025-12-31"),
            (1_767_225_600_000, "2026-01-01"),
        ] {
            assert_eq!(day(at), date);
        }
    }
}
