//! The operator's choices. Defaults are the house plan's decisions 5, 8 and 9.

use std::collections::BTreeSet;
use std::time::Duration;

use acquaint_protocol::identifier::Region;
use acquaint_store::{Limit, Permit};

use crate::credentials::CredentialPolicy;
use crate::directory::DirectoryPolicy;
use crate::lookups::LookupPolicy;

/// A leaky bucket: how much it holds and how much leaks out in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The level that may not be exceeded.
    pub capacity: u32,
    /// How much leaks out in 24 hours: on every full hour, or without steps where the limit is exact.
    pub per_day: u32,
}

/// Times, limits and numbers that the use cases keep to.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Regions whose numbers may be verified; empty means every region.
    pub regions: BTreeSet<Region>,
    /// Whether e-mail addresses are taken too.
    pub emails: bool,
    /// How long a code is valid.
    pub code_ttl: Duration,
    /// Wrong guesses that end a code.
    pub code_guesses: u32,
    /// Pause between two codes for one account.
    pub code_resend: Duration,
    /// Codes sent for an account.
    pub account_codes: Bucket,
    /// Codes sent to a number, across accounts.
    pub number_codes: Bucket,
    /// Codes sent to the numbers of one region.
    pub region_codes: Bucket,
    /// Codes sent to phones in total.
    pub sms_codes: Bucket,
    /// Codes sent to e-mail addresses in total.
    pub email_codes: Bucket,
    /// Wrong guesses of one account.
    pub account_guesses: Bucket,
    /// Wrong guesses about codes to the numbers of one region.
    pub region_guesses: Bucket,
    /// Wrong guesses about codes to one number, across accounts.
    pub number_guesses: Bucket,
    /// Wrong guesses in total.
    pub all_guesses: Bucket,
    /// How long the delivery of one code may take.
    pub delivery_timeout: Duration,
    /// How long a token is valid.
    pub token_ttl: Duration,
    /// Distinct pairs per account.
    pub account_pairs: Bucket,
    /// Distinct pairs per verified number, across accounts.
    pub number_pairs: Bucket,
    /// When an import's answer goes out at the latest; the AppView's own client is cut off after 10 s.
    pub import_deadline: Duration,
    /// An import is refused while what waits would take longer than this.
    pub max_queue_wait: Duration,
    /// How long one attempt to tell of a match may take.
    pub notice_timeout: Duration,
    /// Attempts to tell of a match, until it is a dead letter.
    pub notice_attempts: u32,
    /// How long a half, and so a match, lives without a new import.
    pub pair_ttl: Duration,
    /// Calls of one account to the faces for people; no limit with a capacity of 0, as for the next.
    pub account_calls: Bucket,
    /// The same for one address prefix.
    pub prefix_calls: Bucket,
    /// Refused tokens of one address prefix, after which its tokens are not looked into; no limit with a capacity of 0.
    pub prefix_failures: Bucket,
    /// How long the audit log keeps an event.
    pub keep_events: Duration,
    /// Credentials.
    pub credentials: CredentialPolicy,
    /// Lookups.
    pub lookups: LookupPolicy,
    /// The directory, if there is one.
    pub directory: Option<DirectoryPolicy>,
}

impl Bucket {
    /// A request for `amount` in this bucket of `key`.
    pub(crate) fn permit(self, limit: Limit, key: &[u8], amount: u32) -> Permit {
        Permit { limit, key: key.to_vec(), amount, capacity: self.capacity, per_day: self.per_day }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Policy {
    fn default() -> Self {
        Self {
            regions: BTreeSet::new(),
            emails: false,
            code_ttl: Duration::from_secs(10 * 60),
            code_guesses: 5,
            code_resend: Duration::from_secs(30),
            account_codes: Bucket { capacity: 10, per_day: 10 },
            number_codes: Bucket { capacity: 10, per_day: 10 },
            region_codes: Bucket { capacity: 1_000, per_day: 1_000 },
            sms_codes: Bucket { capacity: 5_000, per_day: 5_000 },
            email_codes: Bucket { capacity: 5_000, per_day: 5_000 },
            account_guesses: Bucket { capacity: 15, per_day: 15 },
            region_guesses: Bucket { capacity: 2_000, per_day: 2_000 },
            number_guesses: Bucket { capacity: 15, per_day: 15 },
            all_guesses: Bucket { capacity: 10_000, per_day: 10_000 },
            delivery_timeout: Duration::from_secs(7),
            token_ttl: Duration::from_secs(10 * 60),
            account_pairs: Bucket { capacity: 5_000, per_day: 100 },
            number_pairs: Bucket { capacity: 5_000, per_day: 100 },
            import_deadline: Duration::from_secs(8),
            max_queue_wait: Duration::from_secs(10 * 60),
            notice_timeout: Duration::from_secs(10),
            notice_attempts: 12,
            pair_ttl: DAY * 365,
            account_calls: Bucket { capacity: 300, per_day: 86_400 },
            prefix_calls: Bucket { capacity: 3_000, per_day: 1_728_000 },
            prefix_failures: Bucket { capacity: 3_000, per_day: 86_400 },
            keep_events: DAY * 365,
            credentials: CredentialPolicy::default(),
            lookups: LookupPolicy::default(),
            directory: None,
        }
    }
}

/// The pause after so many attempts: it doubles with each, up to the longest.
pub(crate) fn doubled(first: Duration, attempts: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1))).min(longest)
}

/// A duration in the store's milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
