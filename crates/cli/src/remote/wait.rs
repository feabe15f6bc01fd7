//! Waiting for limits that pass soon, as long as the server says.

use std::time::Duration;

use acquaint_client::{ClientError, Reason};

use crate::output;

/// Nobody is kept waiting longer than this, in all, for one call. Tokens live ten minutes by default.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// A pause that is over already is waited for this long, so that no call is repeated at once.
const SHORTEST: Duration = Duration::from_secs(1);

/// Calls, and calls again after telling so while the server asks for patience.
pub(super) async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut waited = Duration::ZERO;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(pause) = pause(&error, waited) else { return Err(error) };
        output::note(&format!("Waiting {} s: {error}.", pause.as_secs()));
        tokio::time::sleep(pause).await;
        waited = waited.saturating_add(pause);
    }
}

/// `None` if waiting is of no use, or was long enough.
fn pause(error: &ClientError, waited: Duration) -> Option<Duration> {
    let ClientError::Refused { reason: Reason::RateLimitExceeded, retry_after, .. } = error else {
        return None;
    };
    let pause = (*retry_after)?.max(SHORTEST);
    (waited.saturating_add(pause) <= LONGEST).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_as_long_as_is_said_and_gives_up_on_what_does_not_pass() {
        let pause = |reason, seconds: Option<u64>, waited| {
            let retry_after = seconds.map(Duration::from_secs);
            let error = ClientError::Refused { reason, message: "a limit".into(), retry_after };
            pause(&error, Duration::from_secs(waited)).map(|pause| pause.as_secs())
        };
        assert_eq!(pause(Reason::RateLimitExceeded, Some(40), 0), Some(40));
        assert_eq!(pause(Reason::RateLimitExceeded, Some(0), 0), Some(1));
        assert_eq!(pause(Reason::RateLimitExceeded, None, 0), None);
        assert_eq!(pause(Reason::RateLimitExceeded, Some(86_400), 0), None);
        assert_eq!(pause(Reason::RateLimitExceeded, Some(40), 860), Some(40));
        assert_eq!(pause(Reason::RateLimitExceeded, Some(40), 861), None);
        assert_eq!(pause(Reason::InvalidToken, Some(40), 0), None);
    }
}
