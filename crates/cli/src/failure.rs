//! How a command fails: one sentence for the person, causes below it, exit code 1.

use std::process::ExitCode;

/// Any error; told with its causes.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn report(error: &Failure) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = error.source();
    let mut told = error.to_string();
    while let Some(error) = cause {
        let text = error.to_string();
        // Transparent errors repeat their source's words.
        if text != told {
            eprintln!("  because: {text}");
        }
        told = text;
        cause = error.source();
    }
    ExitCode::FAILURE
}
