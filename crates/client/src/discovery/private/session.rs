use std::collections::HashMap;
use std::fmt;

use acquaint_pir::SecretKey;
use acquaint_protocol::lookup::wire::keys_id;
use rand_core::CryptoRng;

use super::Tables;

/// How long a secret is used at the longest, in seconds.
pub const SESSION_S: u64 = 86_400;

/// Far more than a request may take: it is made with a secret that does until its answer is there.
const REQUEST_S: u64 = 3600;

/// A secret, and the evaluation keys that go with it. It is kept in memory alone: keys that are stored are a pseudonym, and
/// queries of one secret are linked.
pub struct Session {
    pub(super) secret: SecretKey,
    message: Vec<u8>,
    id: [u8; 16],
    /// Of which parameters the keys are.
    parameters: [u8; 16],
    made_at: u64,
    /// Which servers have them, and until when (Unix seconds).
    held: HashMap<String, u64>,
}

impl Session {
    /// Draws a secret at `now` (Unix seconds), and makes its keys: some 1 MB, and some tens of milliseconds.
    pub fn new(tables: &Tables, now: u64, random: &mut impl CryptoRng) -> Self {
        let secret = SecretKey::generate(random);
        let client = tables.for_keys();
        let message = client.evaluation_keys(&secret, random);
        let parameters = client.configuration().parameters().keys_id();
        Self { secret, id: keys_id(&message), message, parameters, made_at: now, held: HashMap::new() }
    }

    /// Whether it can be used for these tables in a request that is sent at `now`: not in the last hour of its day.
    #[must_use]
    pub fn is_good(&self, tables: &Tables, now: u64) -> bool {
        // What was made in the future was made by a wrong clock.
        let is_young = now.checked_sub(self.made_at).is_some_and(|age| age < SESSION_S - REQUEST_S);
        is_young && self.parameters == tables.for_keys().configuration().parameters().keys_id()
    }

    /// The message of evaluation keys, as it is sent.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// What names the keys.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    pub(super) fn is_held(&self, server: &str, now: u64) -> bool {
        self.held.get(server).is_some_and(|until| now < *until)
    }

    pub(super) fn hold(&mut self, server: &str, until: u64) {
        self.held.insert(server.to_owned(), until);
    }

    pub(super) fn forget(&mut self, server: &str) {
        self.held.remove(server);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}
