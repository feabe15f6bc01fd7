//! The whole application over HTTP, with a clock set by hand.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests: a failure is a panic")]

mod bad_input;
mod clock;
mod delivery;
mod deploy;
mod emails;
mod enumeration;
mod hardening;
mod hsm;
mod http2;
mod import;
mod limits;
mod matching;
mod notifications;
mod privacy;
mod raw;
mod telemetry;
mod tls;
mod verification;

use acquaint_client::ClientError;

/// The contract's reason of a refused call.
fn reason<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    match outcome {
        Err(ClientError::Refused { reason, .. }) => reason.to_string(),
        other => panic!("not refused with a reason: {other:?}"),
    }
}
