//! Everything that a test's application logs, at the most talkative level, is searched for what may never be in a log.
//! A line that holds it ends the whole test program: so each test of the suite is a test of the log too.

use std::io::Write;
use std::sync::Once;

use acquaint_server::config::{Log, Telemetry};
use acquaint_server::telemetry;
use tracing_subscriber::fmt::MakeWriter;

use crate::API_KEY;

/// The exit code of a test program whose log was not clean.
const UNCLEAN: i32 = 99;

/// Parts of what tests use for people: accounts, the domain of their addresses, the operator's key. Numbers are found by
/// their digits.
const FORBIDDEN: [&str; 4] = ["did:plc:", "@example.", "@EXAMPLE.", API_KEY];

/// Searches this process's log from here on, unless the test program has a log of its own.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let log = Log { level: "trace".into(), format: "text".into() };
        let (subscriber, sending) =
            telemetry::subscriber(&log, &Telemetry::default(), Guard).expect("a level and no collector");
        // Nothing is sent anywhere.
        drop(sending);
        // Another log of the test's own is that test's business.
        let _ = tracing::subscriber::set_global_default(subscriber);
    });
}

/// Why a line may not be logged.
fn fault(line: &str) -> Option<&'static str> {
    if let Some(part) = FORBIDDEN.into_iter().find(|part| line.contains(part)) {
        return Some(part);
    }
    // Numbers for fiction, however they are parted: ten digits in a row whose fourth to sixth are 555 and then 01.
    let digits: String = line.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '+')).collect();
    let runs = digits.split(|c: char| !c.is_ascii_digit());
    let holds_number =
        |run: &str| run.len() >= 10 && run.as_bytes().windows(8).any(|part| part[3..].starts_with(b"55501"));
    runs.into_iter().any(holds_number).then_some("a phone number")
}

struct Guard;

impl Write for Guard {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if let Some(fault) = fault(&text) {
            // Not by `eprintln!`, which the harness keeps to itself until the test ends.
            let _ = writeln!(std::io::stderr(), "LOG NOT CLEAN: {fault} in the line: {text}");
            std::process::exit(UNCLEAN);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Guard {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_numbers_addresses_accounts_and_the_key() {
        for line in [
            "sent to +12125550123",
            "sent to (212) 555-0199 now",
            "number=2125550100 left=3",
            "who=did:plc:account7",
            "to ada@example.com",
            &format!("Bearer {API_KEY}"),
        ] {
            assert!(fault(line).is_some(), "{line}");
        }
        for line in ["answered status=200 millis=5550123", "2026-11-22T01:55:50.123456Z TRACE left 55501", ""]
        {
            assert_eq!(fault(line), None, "{line}");
        }
    }
}
