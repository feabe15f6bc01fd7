//! How a client calls.

use std::time::Duration;

/// How a [`Client`](crate::Client) calls its server. [`Settings::default`] fits a server with the default configuration.
#[derive(Clone)]
pub struct Settings {
    /// The operator's key; empty sends none. Printable ASCII.
    pub api_key: String,
    /// How long an import may take, in all. Longer than the server's own deadline for its answer (8 s by default).
    /// Default 30 s.
    pub import_deadline: Duration,
    /// How long any other call may take, with all its attempts and the pauses between them. Default 10 s.
    pub deadline: Duration,
    /// How often a call is tried at most, if it can be repeated without harm and the server cannot be reached or says that
    /// it is unavailable. 1 never repeats. Default 3.
    pub attempts: u32,
    /// The pause before the second attempt; each further one is twice as long. Half of it and up to all of it, at random,
    /// is waited, so that many clients do not come back at the same moment. A server that says how long to wait
    /// (`Retry-After`) is obeyed instead. Default 200 ms.
    pub pause: Duration,
    /// Certificates (PEM, one or more) of authorities to trust beside the system's, for a server with a certificate of
    /// one's own making. Empty for none.
    pub extra_ca: Vec<u8>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_key: String::new(),
            import_deadline: Duration::from_secs(30),
            deadline: Duration::from_secs(10),
            attempts: 3,
            pause: Duration::from_millis(200),
            extra_ca: Vec::new(),
        }
    }
}

/// Without the key.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("import_deadline", &self.import_deadline)
            .field("deadline", &self.deadline)
            .field("attempts", &self.attempts)
            .field("pause", &self.pause)
            .finish_non_exhaustive()
    }
}
