//! Repeating calls that failed on the way.

use std::time::Duration;

use connectrpc::client::CallOptions;
use connectrpc::{ConnectError, ErrorCode};
use tokio::time::Instant;

use crate::{ClientError, Settings};

/// When a call may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Whenever the server cannot be reached or is unavailable: it does the same however often it is called.
    Idempotent,
    /// Only if no connection came about.
    Unconnected,
    /// Never: a second call would send a second code.
    Never,
}

impl Repeat {
    pub(crate) fn allows(self, error: &ClientError) -> bool {
        match (self, error) {
            (Self::Never, _) => false,
            (_, ClientError::NotConnected(_)) => true,
            (Self::Unconnected, _) => false,
            (Self::Idempotent, ClientError::Unavailable { .. }) => true,
            // These are a connection that broke; another code is another kind of server's, which will not change.
            (Self::Idempotent, ClientError::Unreachable(cause)) => {
                matches!(cause.code, ErrorCode::Unavailable | ErrorCode::Internal)
            }
            (Self::Idempotent, _) => false,
        }
    }
}

/// Calls until it succeeds, may not be repeated, has been tried often enough, or the next pause would pass the deadline.
pub(crate) async fn repeated<T, F>(
    settings: &Settings,
    repeat: Repeat,
    deadline: Duration,
    call: impl Fn(CallOptions) -> F,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    let end = Instant::now() + deadline;
    let mut attempt = 1;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let error = match call(CallOptions::default().with_timeout(left)).await {
            Ok(answer) => return Ok(answer),
            Err(error) => ClientError::from(error),
        };
        let pause = error.retry_after().unwrap_or_else(|| pause(settings.pause, attempt));
        let in_time = Instant::now().checked_add(pause).is_some_and(|then| then < end);
        if attempt >= settings.attempts || !repeat.allows(&error) || !in_time {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

/// From half of `first · 2^(attempt − 1)` up to all of it, at random. Without randomness, all of it.
pub(crate) fn pause(first: Duration, attempt: u32) -> Duration {
    let longest = first.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
    let part = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    longest.mul_f64(0.5 + part / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_differ() {
        let first = Duration::from_millis(100);
        let bounds = [(50, 100), (100, 200), (200, 400)];
        for (attempt, (shortest, longest)) in (1..).zip(bounds) {
            let pauses: Vec<_> = (0..50).map(|_| pause(first, attempt)).collect();
            let range = Duration::from_millis(shortest)..=Duration::from_millis(longest);
            assert!(pauses.iter().all(|pause| range.contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
        assert!(pause(first, u32::MAX) > first);
    }
}
