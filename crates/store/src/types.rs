//! What the store is told and what it tells: ids, stored rows and outcomes. No type here holds a number, an
//! e-mail address or an account's name in clear.

use acquaint_protocol::pair::{EpochId, PairHash};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

macro_rules! bytes_newtype {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            #[doc = concat!("Takes the ", stringify!($length), " bytes as they are.")]
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            #[doc = concat!("The ", stringify!($length), " bytes.")]
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

mod directory;
mod discovery;

pub use directory::*;
pub use discovery::*;

bytes_newtype!(
    /// An account's pseudonym: HMAC of its name under the account key, cut to 16 bytes. Stable for an account, so
    /// that spent quotas and others' dismissals outlive a removal.
    Pseudonym, 16
);
bytes_newtype!(
    /// HMAC under the number key of a single number's Argon2id output: what limits by number are keyed by.
    /// Never stored beside an account (house plan, decision 4).
    NumberKey, 32
);
bytes_newtype!(
    /// Keyed hash of a verification code or of the number that it was sent to, bound to the account.
    CodeHash, 32
);
bytes_newtype!(
    /// Random id of a verification token; the store holds it only while the token is valid.
    TokenId, 16
);
bytes_newtype!(
    /// Random id of an accepted import.
    ImportId, 16
);

/// Which life of an account: drawn at random when the account's row is made, gone with its removal. What carries
/// an older generation can no longer write anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(pub i64);

/// Fencing token of a lease on an import; each new lease has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub i64);

/// What a leaky bucket counts. Part of a bucket's key, with the lasting number given here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Limit {
    /// Codes sent for an account.
    AccountCodes = 1,
    /// Codes sent to a number, across accounts.
    NumberCodes = 2,
    /// Wrong guesses about codes to a number, across accounts.
    NumberGuesses = 3,
    /// Wrong guesses in total.
    AllGuesses = 4,
    /// Distinct pairs that an account may hold or try.
    AccountPairs = 5,
    /// Distinct pairs that a verified number may hold or try, across accounts.
    NumberPairs = 6,
    /// Wrong guesses of an account, at whatever number.
    AccountGuesses = 7,
    /// Codes sent to the numbers of one region.
    RegionCodes = 8,
    /// Codes sent to phones in total.
    SmsCodes = 9,
    /// Codes sent to e-mail addresses in total.
    EmailCodes = 10,
    /// Wrong guesses about codes to the numbers of one region.
    RegionGuesses = 11,
    /// Credentials issued to an account.
    AccountCredentials = 12,
    /// Credentials issued to callers of one address prefix.
    PrefixCredentials = 13,
    /// Credentials issued to accounts for which one provider of sessions stands.
    ProviderCredentials = 14,
    /// Credentials issued in total.
    AllCredentials = 15,
    /// New identifiers that an account looks up, beyond the guaranteed ones.
    AccountLookups = 16,
    /// New identifiers that an account looks up within what everybody is guaranteed.
    GuaranteedLookups = 17,
    /// New identifiers looked up by callers of one address prefix, beyond the guaranteed ones.
    PrefixLookups = 18,
    /// New identifiers looked up by accounts for which one provider stands, beyond the guaranteed ones.
    ProviderLookups = 19,
    /// New identifiers looked up in total, beyond the guaranteed ones.
    AllLookups = 20,
    /// Queries that an account has answered: work, whatever is asked for.
    AccountQueries = 21,
    /// Calls of an account to the faces for people; kept in memory only.
    AccountCalls = 22,
    /// The same of callers of one address prefix.
    PrefixCalls = 23,
    /// Accounts that have verified a number, in units of what a year's end gives one back.
    NumberProofs = 24,
    /// Refused tokens of callers of one address prefix; kept in memory only.
    PrefixFailures = 25,
    /// Weak hashes that an account asks for (seed 003 as written).
    AccountWeakHashes = 26,
    /// Identifiers of the directory that are opened in bulk, in total.
    Unsealings = 27,
}

impl Limit {
    /// A lasting name, for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountCodes => "account_codes",
            Self::NumberCodes => "number_codes",
            Self::NumberGuesses => "number_guesses",
            Self::AllGuesses => "all_guesses",
            Self::AccountPairs => "account_pairs",
            Self::NumberPairs => "number_pairs",
            Self::AccountGuesses => "account_guesses",
            Self::RegionCodes => "region_codes",
            Self::SmsCodes => "sms_codes",
            Self::EmailCodes => "email_codes",
            Self::RegionGuesses => "region_guesses",
            Self::AccountCredentials => "account_credentials",
            Self::PrefixCredentials => "prefix_credentials",
            Self::ProviderCredentials => "provider_credentials",
            Self::AllCredentials => "all_credentials",
            Self::AccountLookups => "account_lookups",
            Self::GuaranteedLookups => "guaranteed_lookups",
            Self::PrefixLookups => "prefix_lookups",
            Self::ProviderLookups => "provider_lookups",
            Self::AllLookups => "all_lookups",
            Self::AccountQueries => "account_queries",
            Self::AccountCalls => "account_calls",
            Self::PrefixCalls => "prefix_calls",
            Self::NumberProofs => "number_proofs",
            Self::PrefixFailures => "prefix_failures",
            Self::AccountWeakHashes => "account_weak_hashes",
            Self::Unsealings => "unsealings",
        }
    }

    /// Whether its buckets leak on every millisecond. The others leak on full hours: a time that stands beside a number's
    /// key must not tell which account's row was written with it (decision 0006).
    #[must_use]
    pub const fn is_exact(self) -> bool {
        match self {
            Self::AccountCodes
            | Self::NumberCodes
            | Self::NumberGuesses
            | Self::AllGuesses
            | Self::AccountPairs
            | Self::NumberPairs
            | Self::AccountGuesses
            | Self::RegionCodes
            | Self::SmsCodes
            | Self::EmailCodes
            | Self::RegionGuesses
            | Self::NumberProofs => false,
            Self::AccountCredentials
            | Self::PrefixCredentials
            | Self::ProviderCredentials
            | Self::AllCredentials
            | Self::AccountLookups
            | Self::GuaranteedLookups
            | Self::PrefixLookups
            | Self::ProviderLookups
            | Self::AllLookups
            | Self::AccountQueries
            | Self::AccountCalls
            | Self::PrefixCalls
            | Self::PrefixFailures
            | Self::AccountWeakHashes
            | Self::Unsealings => true,
        }
    }
}

/// A request for room in one leaky bucket: the level leaks out at `per_day` a day, on every full hour or, where the limit
/// [is exact](Limit::is_exact), on every millisecond.
#[derive(Debug, Clone, PartialEq)]
pub struct Permit {
    /// What is counted.
    pub limit: Limit,
    /// Whom it is counted for: a pseudonym's or number key's bytes, a region's letters, or nothing for a total.
    pub key: Vec<u8>,
    /// How much is asked for, or given back.
    pub amount: u32,
    /// The level that may not be exceeded.
    pub capacity: u32,
    /// How much leaks out in 24 hours.
    pub per_day: u32,
}

/// Refused for want of room in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// Which limit refused.
    pub limit: Limit,
    /// When the same request would fit, if nothing else is taken; `None` if it exceeds the capacity and never will.
    pub retry_at: Option<Millis>,
}

/// A code about to be sent.
#[derive(Debug, Clone)]
pub struct NewCode {
    /// For whom.
    pub account: Pseudonym,
    /// The code, hashed and bound to account and number.
    pub code_hash: CodeHash,
    /// The number that it is sent to, hashed and bound to the account.
    pub number_hash: CodeHash,
    /// When it ceases to be valid.
    pub expires_at: Millis,
    /// A code sent to this account after this moment is too recent for another one: `now` less the resend pause.
    pub too_recent_after: Millis,
    /// How many wrong guesses end it.
    pub max_wrong: u32,
    /// Taken all together or not at all.
    pub permits: Vec<Permit>,
}

/// What became of [`NewCode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodePut {
    /// Stored; any earlier code of the account is invalid.
    Stored,
    /// The last code was sent less than the resend pause ago; nothing changed.
    TooRecent,
    /// The wrong guesses are used up until the current code expires; nothing changed.
    GuessesUsedUp,
    /// A bucket is full; nothing changed.
    Exhausted(Exhausted),
}

/// A guess at a code.
#[derive(Debug, Clone)]
pub struct CodeGuess {
    /// Who guesses.
    pub account: Pseudonym,
    /// The guess, hashed and bound as in [`NewCode::code_hash`].
    pub code_hash: CodeHash,
    /// The number that the guess names, hashed and bound as in [`NewCode::number_hash`].
    pub number_hash: CodeHash,
    /// How many wrong guesses end a code.
    pub max_wrong: u32,
    /// Must have room before the guess is looked at; charged only if the guess is wrong.
    pub wrong_permits: Vec<Permit>,
    /// The account's name, sealed, stored with its row when the guess is right.
    pub sealed_account: Vec<u8>,
    /// The generation that the account gets if it has no row yet.
    pub fresh_generation: Generation,
    /// The token that becomes valid when the guess is right.
    pub token: TokenId,
    /// What it is good for.
    pub token_use: TokenUse,
    /// What the token is given for, sealed, kept beside it.
    pub sealed_identifier: Vec<u8>,
    /// Until when.
    pub token_expires_at: Millis,
    /// What is kept of a right guess for limits that favour verified accounts; `None` if nothing is.
    pub proof: Option<NewProof>,
}

/// That an account has verified a number. It names no number.
#[derive(Debug, Clone)]
pub struct NewProof {
    /// When it ends.
    pub expires_at: Millis,
    /// Taken for an account that has no unexpired one; where they do not fit, the guess is right all the same and no proof
    /// is kept.
    pub permits: Vec<Permit>,
}

/// What became of a [`CodeGuess`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeTaken {
    /// Right: the code is gone, the account exists, the token is valid.
    Taken {
        /// The account's generation, for the token.
        generation: Generation,
    },
    /// Wrong; counted.
    Wrong,
    /// There is no code, or it has expired, or it was sent to another number; nothing changed.
    NoCode,
    /// The wrong guesses at this code are used up; nothing changed.
    GuessesUsedUp,
    /// A bucket is full; the guess was not looked at and nothing changed.
    Exhausted(Exhausted),
}

/// A token that is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveToken {
    /// Its id.
    pub token: TokenId,
    /// What it was given for, sealed.
    pub sealed_identifier: Vec<u8>,
}

/// An import to accept: everything that must become durable before the caller is told yes.
#[derive(Debug, Clone)]
pub struct NewImport {
    /// Its id, new and random.
    pub id: ImportId,
    /// The tokens that allow it, all consumed by acceptance; all must be valid, and there must be one.
    pub tokens: Vec<TokenId>,
    /// Whose address book.
    pub account: Pseudonym,
    /// The generation that the tokens carry.
    pub generation: Generation,
    /// The verified identifiers; stored apart from everything else, to allow one pending import per identifier.
    pub numbers: Vec<NumberKey>,
    /// The list and all that its work needs, sealed.
    pub sealed: Vec<u8>,
    /// How many pairs the list has. With none, the import is complete when accepted.
    pub total: u32,
    /// Until when the account's name is kept at least; not before its last half expires.
    pub forget_account_at: Millis,
    /// Reserved all together or not at all.
    pub permits: Vec<Permit>,
    /// Accept only while no more than this many pairs wait in all accepted imports, this one not counted.
    pub max_waiting: u64,
}

/// What became of a [`NewImport`]. Only `Accepted` consumes the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportAccepted {
    /// Durable; it will be worked on.
    Accepted,
    /// One of the tokens is unknown, used, expired or another account's, or the account was removed since.
    InvalidToken,
    /// The account or one of the identifiers has an import pending.
    AlreadyPending,
    /// A bucket is full.
    Exhausted(Exhausted),
    /// Too much waits already.
    QueueFull {
        /// How many pairs wait.
        waiting: u64,
    },
}

/// An accepted import, leased to a worker.
#[derive(Debug, Clone)]
pub struct LeasedImport {
    /// Its id.
    pub id: ImportId,
    /// Whose.
    pub account: Pseudonym,
    /// The generation it belongs to.
    pub generation: Generation,
    /// The list, sealed.
    pub sealed: Vec<u8>,
    /// How many pairs the list has.
    pub total: u32,
    /// How many of them, from the front, are committed.
    pub done: u32,
    /// To be shown with every step.
    pub fence: Fence,
}

/// Where an epoch stands, from its key's first record to the end of its last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochState {
    /// Checked, and not inserted into: newer than the current one (its rotation waits for every server) or older (its
    /// rows are still matched).
    Live,
    /// Checked and inserted into.
    Current,
    /// Neither; its rows are being deleted.
    Retired,
    /// It has no rows and never will: its key can be destroyed.
    Cleared,
}

impl EpochState {
    /// Whether its rows are matched.
    #[must_use]
    pub const fn is_checked(self) -> bool {
        matches!(self, Self::Live | Self::Current)
    }
}

/// An epoch that the store knows of by its pair key's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochRecord {
    /// Which.
    pub epoch: EpochId,
    /// Where it stands.
    pub state: EpochState,
}

/// What became of an epoch that was to be retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retirement {
    /// It is [`EpochState::Retired`], or was already.
    Retired,
    /// It is newer than the current one, was retired and has no rows: its record is deleted, and its number is free again.
    /// A server that still has its key takes it up anew.
    Forgotten,
    /// It is the current one: only a newer one can take its place.
    IsCurrent,
    /// There is no such epoch.
    Unknown,
}

/// How many rows an epoch has, expired ones that were not swept yet included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EpochRows {
    /// Unmatched halves.
    pub halves: u64,
    /// Matches, each once for its two sides.
    pub matches: u64,
}

/// A server process, by a number that it has drawn at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub [u8; 16]);

/// One half: the submitter's consent to be matched over one pair.
#[derive(Debug, Clone)]
pub struct Half {
    /// The pair's hash under every epoch that the submitter checks; never empty. The store chooses under which it
    /// inserts; where no pair key is recorded, under the first.
    pub hashes: Vec<(EpochId, PairHash)>,
    /// The order bit from the submitter's side (seed 000, "Phone Number Recycling").
    pub bit: bool,
}

/// One step of an import: halves `done .. done + halves.len()`.
#[derive(Debug, Clone)]
pub struct ImportStep {
    /// Which import.
    pub import: ImportId,
    /// Whose.
    pub account: Pseudonym,
    /// The generation it belongs to.
    pub generation: Generation,
    /// The lease's fencing token.
    pub fence: Fence,
    /// How many halves were committed before this step.
    pub done: u32,
    /// The halves of this step.
    pub halves: Vec<Half>,
    /// When the submitter verified the number: a later verification wins.
    pub verified_at: Millis,
    /// When the halves expire.
    pub expires_at: Millis,
    /// Until when the lease is prolonged.
    pub lease_until: Millis,
    /// For each half that the account held already, this is given back (`amount` is ignored).
    pub refunds: Vec<Permit>,
    /// The verified identifiers, released with the last step.
    pub numbers: Vec<NumberKey>,
    /// When to tell of new matches; `None` if nobody is told.
    pub notices: Option<NoticeTimes>,
    /// Set where the request that waits for the import is another process's: what the step finds is put down for it.
    pub report: Option<Report>,
}

/// What [`Store::import_progress`](crate::Store::import_progress) needs to tell what a step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where each half's contact stood in the list as sent; as many as there are halves.
    pub positions: Vec<u16>,
    /// When nobody waits any more, and it can go.
    pub until: Millis,
}

/// How far an import is, for a process that does not work on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportProgress {
    /// It waits or runs; else it is finished, or gone.
    pub pending: bool,
    /// Positions in the list as sent, and whom they matched, as far as steps have reported it.
    pub found: Vec<(u16, Pseudonym)>,
}

/// When notices of a step's matches are due. The other side is told at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoticeTimes {
    /// When the importer is told, unless [`Store::cancel_notices`](crate::Store::cancel_notices) comes first.
    pub importer_due_at: Millis,
    /// When a notice that could not be delivered is given up.
    pub expires_at: Millis,
}

/// Which notice: who is told of whom, and of which match between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NoticeId {
    /// Who is told.
    pub account: Pseudonym,
    /// Of whom.
    pub other: Pseudonym,
    /// When the match was found.
    pub found_at: Millis,
}

/// A notice, leased to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedNotice {
    /// Which.
    pub id: NoticeId,
    /// The how-many-th attempt this is, from 1; to be shown when it is settled.
    pub attempt: u32,
    /// The name of who is told, sealed.
    pub sealed_account: Vec<u8>,
    /// The other's name, sealed.
    pub sealed_other: Vec<u8>,
}

/// How an attempt at a notice ended. Reasons are the program's own words and name nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeOutcome {
    /// Taken: the notice is deleted.
    Told,
    /// To be tried again.
    Again {
        /// When.
        due_at: Millis,
        /// Why this attempt failed.
        reason: &'static str,
    },
    /// A dead letter from now on: tried no more until [`Store::revive_notices`](crate::Store::revive_notices).
    Dead {
        /// Why the last attempt failed.
        reason: &'static str,
    },
}

/// How many notices there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoticeCounts {
    /// Waiting for their next attempt.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// When the next attempt is due.
    pub next_due_at: Option<Millis>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadNotice {
    /// Which.
    pub id: NoticeId,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: String,
}

/// What became of one half.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HalfOutcome {
    /// The accounts that this half is matched with, without those that the submitter dismissed: new matches and
    /// those that stood already. Usually none or one.
    pub matched: Vec<Pseudonym>,
    /// Whether the account held this pair already.
    pub held: bool,
}

/// What became of an [`ImportStep`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// Nothing was done: the halves lack the hash of an epoch that has to be checked. They are to be hashed again.
    Stale,
    /// Committed, halves in order.
    Committed(Vec<HalfOutcome>),
    /// Another worker has the import, the import is gone, or the account was removed: nothing was written.
    Fenced,
}

/// A place in an account's list of matches, which runs from the newest match to the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchPosition {
    /// When the match was found.
    pub found_at: Millis,
    /// With whom.
    pub other: Pseudonym,
}

/// A match as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Its place.
    pub position: MatchPosition,
    /// The other account's name, sealed.
    pub sealed_account: Vec<u8>,
}

/// An account's state of import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncStatus {
    /// When its last import was accepted.
    pub synced_at: Millis,
    /// How many matches it has, without dismissed ones and those that it follows.
    pub matches: u32,
}

/// An import that waits or runs.
#[derive(Debug, Clone)]
pub struct PendingImport {
    /// Its id.
    pub id: ImportId,
    /// The list, sealed.
    pub sealed: Vec<u8>,
}

/// What a removal took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Stored pairs, matched ones included.
    pub contacts: u32,
    /// Matches, without dismissed ones.
    pub matches: u32,
}

/// A removal's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Done; what of it is left in files is told on [`Store::remove_data`](crate::Store::remove_data).
    Removed(Removed),
    /// The account's pending import is not the one named: look again; nothing changed.
    OtherPending,
}

/// Proof of which key stood behind a version when data was first stored with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The purpose's lasting name.
    pub purpose: String,
    /// The key's version.
    pub version: u32,
    /// Bytes that only the same key can confirm.
    pub check: Vec<u8>,
}

/// The store could not do it. Nothing of the verb was written, unless the verb says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or could not be reached.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database holds something that this program did not write there.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(&'static str),
    /// What was removed is gone from the tables, but the log that still holds it could not be cut within the time
    /// allowed: call the verb again.
    #[error("removed, but the store's log still holds it: try again")]
    LogNotCut,
}
