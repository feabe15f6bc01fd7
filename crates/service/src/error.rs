//! One error enum per use case. No text here carries a number, an address, a code or an account.

use std::time::Duration;

use acquaint_custody::CustodyError;
use acquaint_protocol::identifier::IdentifierError;
use acquaint_store::{Exhausted, Millis, StoreError};

use crate::ambient::EntropyError;
use crate::delivery::DeliveryError;
use crate::policy::millis;
use crate::pool::PoolError;

/// Something that the caller cannot help: a part of the service failed.
#[derive(Debug, thiserror::Error)]
pub enum Internal {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Custody failed.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The hashing pool failed or is shutting down.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A part of the work ended unexpectedly; nothing of it was kept.
    #[error("a part of the work ended unexpectedly")]
    Interrupted,
    /// The store checks an epoch whose key this server does not have, or does not use yet.
    #[error(
        "the store needs a pair key that this server does not have or cannot use: the log says which, and `acquaint keys list`"
    )]
    StaleEpochs,
    /// Stored bytes that this program wrote cannot be read back.
    #[error("stored bytes are not as they were written: {0}")]
    Unreadable(&'static str),
}

/// A limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct RateLimited {
    /// What to tell the person.
    pub what: &'static str,
    /// When trying again makes sense, if that is known.
    pub retry_at: Option<Millis>,
}

impl RateLimited {
    /// The blueprint's words (seed 001).
    pub(crate) fn credentials(retry_at: Option<Millis>) -> Self {
        Self { what: "Too many contact discovery requests. Please wait before trying again.", retry_at }
    }

    /// A quota of lookups is used up. When somebody else's calls leak out is not told.
    pub(crate) fn lookups(exhausted: Exhausted) -> Self {
        use acquaint_store::Limit;
        let own = matches!(
            exhausted.limit,
            Limit::AccountLookups
                | Limit::GuaranteedLookups
                | Limit::AccountQueries
                | Limit::AccountWeakHashes
        );
        let what = "the quota of lookups is used up: try again later, or ask for fewer";
        Self { what, retry_at: exhausted.retry_at.filter(|_| own) }
    }

    /// Passes within `pause`.
    pub(crate) fn passing(what: &'static str, now: Millis, pause: Duration) -> Self {
        Self { what, retry_at: Some(now.saturating_add(millis(pause))) }
    }

    pub(crate) fn exhausted(exhausted: Exhausted) -> Self {
        use acquaint_store::Limit;
        let what = match exhausted.limit {
            Limit::AccountCodes
            | Limit::NumberCodes
            | Limit::RegionCodes
            | Limit::SmsCodes
            | Limit::EmailCodes => "too many codes were sent: try again later",
            Limit::AccountGuesses | Limit::NumberGuesses | Limit::RegionGuesses | Limit::AllGuesses => {
                "too many wrong codes: try again later"
            }
            Limit::AccountPairs | Limit::NumberPairs => {
                "the limit of different contacts is reached: try again later, or with fewer contacts"
            }
            Limit::AccountCredentials
            | Limit::PrefixCredentials
            | Limit::ProviderCredentials
            | Limit::AllCredentials => return Self::credentials(exhausted.retry_at),
            Limit::AccountCalls
            | Limit::PrefixCalls
            | Limit::PrefixFailures
            | Limit::NumberProofs
            | Limit::Unsealings => "too many calls: try again later",
            Limit::AccountLookups
            | Limit::GuaranteedLookups
            | Limit::PrefixLookups
            | Limit::ProviderLookups
            | Limit::AllLookups
            | Limit::AccountQueries
            | Limit::AccountWeakHashes => return Self::lookups(exhausted),
        };
        // How long a number's or everybody's limit lasts would tell what others did.
        let own =
            matches!(exhausted.limit, Limit::AccountCodes | Limit::AccountGuesses | Limit::AccountPairs);
        Self { what, retry_at: exhausted.retry_at.filter(|_| own) }
    }
}

/// Why an identifier cannot be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentifier {
    /// It is no number, and no e-mail address either.
    #[error(transparent)]
    Unreadable(#[from] IdentifierError),
    /// It is an e-mail address, and those are not taken.
    #[error("phone must be a phone number: this service takes no e-mail addresses")]
    NoEmails,
    /// It is no mobile-type number.
    #[error("phone must be a mobile number: no message can be sent to this kind of number")]
    NotMobile,
    /// Its region is not served.
    #[error("phone is of a country or region that this service does not serve")]
    RegionNotServed,
}

/// Why no code was sent.
#[derive(Debug, thiserror::Error)]
pub enum StartVerificationError {
    /// The identifier cannot be verified.
    #[error(transparent)]
    InvalidIdentifier(#[from] InvalidIdentifier),
    /// Too many codes, or too many guesses.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The provider did not take the code.
    #[error("the code could not be sent: try again later")]
    NotSent(#[source] DeliveryError),
    /// The service failed.
    #[error("internal error")]
    Internal(#[source] Internal),
}

/// Why a code was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The identifier cannot be verified.
    #[error(transparent)]
    InvalidIdentifier(#[from] InvalidIdentifier),
    /// Not the code that was sent last to this number for this account, or no longer valid.
    #[error("verification_code is wrong or no longer valid: it is the six digits that were sent last")]
    InvalidCode,
    /// Too many guesses.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The service failed.
    #[error("internal error")]
    Internal(#[source] Internal),
}

/// Why an import was not accepted. The token stays valid, unless it is the token that is refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The list is empty.
    #[error("contacts must have 1 to 1000 entries: it has none")]
    NoContacts,
    /// The list is too long.
    #[error("contacts must have 1 to 1000 entries: it has more")]
    TooManyContacts,
    /// Not a valid token of this account.
    #[error("token is not valid: it is used, expired or another account's; verify the number again")]
    InvalidToken,
    /// A quota, the queue or a pending import.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The service failed.
    #[error("internal error")]
    Internal(#[source] Internal),
}

/// Why matches were not listed.
#[derive(Debug, thiserror::Error)]
pub enum MatchesError {
    /// Not 1 to 100.
    #[error("limit must be 1 to 100")]
    InvalidLimit,
    /// Not a cursor that this service gave to this account.
    #[error("cursor is not one that this service gave to this account: leave it empty to begin")]
    InvalidCursor,
    /// The service failed.
    #[error("internal error")]
    Internal(#[source] Internal),
}

/// Why no credentials were issued, or none could be checked.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// There is no audience here.
    #[error("this service issues and checks no credentials")]
    NotConfigured,
    /// There is none of that name.
    #[error("audience is none that this service has: leave it out, or ask the operator for its name")]
    UnknownAudience,
    /// The account has verified no identifier, and the operator asks for that.
    #[error("verify a number first: this service issues credentials to accounts with a verified number only")]
    NoIdentifier,
    /// A bucket is empty.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The limits cannot be looked at, so nothing is granted.
    #[error("the limits cannot be looked at, so nothing is granted: try again later")]
    LimiterUnavailable(#[source] Internal),
    /// The service failed.
    #[error("internal error")]
    Internal(#[source] Internal),
}

/// Why a lookup was not charged, and so not answered.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Another request was paid for under this id.
    #[error("request_id was used for another request: draw a new one")]
    OtherRequest,
    /// Not the receipt that was given to this account for these identifiers.
    #[error("receipt is not the one that was given for the identifiers that are said to be paid for")]
    InvalidReceipt,
    /// A meter is used up.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The limits cannot be looked at, so nothing is granted.
    #[error("the limits cannot be looked at, so nothing is granted: try again later")]
    LimiterUnavailable(#[source] Internal),
    /// The service failed.
    #[error("internal error")]
    Internal(#[source] Internal),
}

macro_rules! internal_from {
    ($error:ident: $($source:ty),*) => {$(
        impl From<$source> for $error {
            fn from(error: $source) -> Self {
                Self::Internal(error.into())
            }
        }
    )*};
}
internal_from!(StartVerificationError: Internal, StoreError, CustodyError, EntropyError, PoolError);
internal_from!(VerifyError: Internal, StoreError, CustodyError, EntropyError, PoolError);
internal_from!(ImportError: Internal, StoreError, CustodyError, EntropyError, PoolError);
internal_from!(MatchesError: Internal, StoreError, CustodyError);
internal_from!(CredentialsError: Internal, CustodyError);
internal_from!(LookupError: Internal);

#[cfg(test)]
mod tests {
    use acquaint_store::Limit;

    use super::*;

    #[test]
    fn only_limits_of_the_caller_tell_their_end() {
        use Limit::{AccountCodes, AccountPairs, AllGuesses, NumberCodes, NumberGuesses, NumberPairs};
        let told = |limit| RateLimited::exhausted(Exhausted { limit, retry_at: Some(7) }).retry_at;
        assert_eq!([AccountCodes, AccountPairs].map(told), [Some(7); 2]);
        assert_eq!([NumberCodes, NumberGuesses, AllGuesses, NumberPairs].map(told), [None; 4]);
    }
}
