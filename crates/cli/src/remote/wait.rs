//! Waiting for limits that pass soon.

use std::time::Duration;

use acquaint_client::{ClientError, Reason};

use crate::output;

/// Nobody is kept waiting longer than this, in all, for one call. Tokens live ten minutes by default.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Where the server does not say how long: from this, doubled each time, …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What the server says of limits that pass in seconds or minutes, where it does not say how long they last
/// (`crates/service/src/verify.rs`, `crates/service/src/import/mod.rs`): the pause between two codes, an earlier import
/// that still runs, a full queue.
const PASSING: [&str; 4] = ["a moment ago", "still running", "are waiting", "is busy"];

/// Calls, and calls again after telling so while the server asks for patience.
pub(super) async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut patience = Patience { waited: Duration::ZERO, next: FIRST_PAUSE };
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(pause) = patience.pause(&error) else { return Err(error) };
        output::note(&format!("Waiting {} s: {error}.", pause.as_secs()));
        tokio::time::sleep(pause).await;
    }
}

/// How long was waited, and how long is waited next where the server does not say.
struct Patience {
    waited: Duration,
    next: Duration,
}

impl Patience {
    /// `None` if waiting is of no use, or was long enough.
    fn pause(&mut self, error: &ClientError) -> Option<Duration> {
        let ClientError::Refused { reason: Reason::RateLimitExceeded, message, retry_after } = error else {
            return None;
        };
        let pause = match retry_after {
            Some(said) => (*said).max(FIRST_PAUSE),
            None if PASSING.iter().any(|words| message.contains(words)) => {
                let pause = self.next;
                self.next = (pause * 2).min(LONGEST_PAUSE);
                pause
            }
            None => return None,
        };
        self.waited = self.waited.saturating_add(pause);
        (self.waited <= LONGEST).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(message: &str, retry_after: Option<u64>) -> ClientError {
        let retry_after = retry_after.map(Duration::from_secs);
        ClientError::Refused { reason: Reason::RateLimitExceeded, message: message.into(), retry_after }
    }

    /// The seconds waited for each error, until waiting is given up.
    fn waits(errors: impl IntoIterator<Item = ClientError>) -> Vec<u64> {
        let mut patience = Patience { waited: Duration::ZERO, next: FIRST_PAUSE };
        errors.into_iter().map_while(|error| patience.pause(&error)).map(|pause| pause.as_secs()).collect()
    }

    #[test]
    fn waits_for_what_passes_and_gives_up_on_what_does_not() {
        let running = || limited("an import is still running: wait for its end", None);
        assert_eq!(waits((0..6).map(|_| running())), [1, 2, 4, 8, 10, 10]);
        assert_eq!(waits([limited("later", Some(40)), limited("now", Some(0)), running()]), [40, 1, 1]);
        let patience: u64 = waits((0..1000).map(|_| running())).iter().sum();
        assert!((LONGEST - LONGEST_PAUSE..=LONGEST).contains(&Duration::from_secs(patience)));
        assert_eq!(waits([limited("too many codes were sent: try again later", None)]), [0; 0]);
        assert_eq!(waits([limited("a limit", Some(86_400))]), [0; 0]);
        assert_eq!(waits([ClientError::TimedOut]), [0; 0]);
    }
}
