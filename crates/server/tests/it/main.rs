//! The whole application over HTTP, with a clock set by hand.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests: a failure is a panic")]

mod bad_input;
mod deploy;
mod hardening;
mod http2;
mod import;
mod matching;
mod privacy;
mod raw;
mod telemetry;
mod tls;
mod verification;

use acquaint_client::ClientError;

/// The contract's reason of a refused call.
fn reason<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    match outcome {
        Err(ClientError::Refused { reason, .. }) => reason,
        other => panic!("not refused with a reason: {other:?}"),
    }
}
