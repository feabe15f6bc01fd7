//! Charges, the audit log, and what the network's stream says.

use super::{Exhausted, Millis, Permit, Pseudonym, ServerId};

bytes_newtype!(
    /// An account's name in the audit log: another keyed hash than its [`Pseudonym`], so that the log joins no row.
    AuditId, 16
);
bytes_newtype!(
    /// An id that a caller drew for one request, to ask it again after a lost answer.
    RequestId, 16
);
bytes_newtype!(
    /// Hash of something that may be used once, as the id of a signed token with who signed it.
    OnceId, 32
);
bytes_newtype!(
    /// Keyed hash of the key of a follow's record, bound to who follows.
    FollowRecord, 16
);

/// Permits to take at once, and what is noted of it.
#[derive(Debug, Clone, Default)]
pub struct Charge {
    /// Tried in this order: the permits of the first alternative that fits as a whole are taken, and no others. Without
    /// any, nothing is taken and it is granted.
    pub alternatives: Vec<Vec<Permit>>,
    /// The request that is paid for: the same again is free.
    pub request: Option<PaidRequest>,
    /// Noted if the permits are taken.
    pub granted: Option<NewEvent>,
    /// Noted if they are not, for want of room.
    pub refused: Option<NewEvent>,
}

/// A request that is paid for once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaidRequest {
    /// Whose.
    pub account: Pseudonym,
    /// Drawn by the caller.
    pub id: RequestId,
    /// SHA-256 of all that was asked.
    pub digest: [u8; 32],
    /// Until when asking it again is free.
    pub expires_at: Millis,
}

/// What became of a [`Charge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charged {
    /// The permits of this alternative are taken.
    Taken(usize),
    /// The request was paid for before; nothing changed and nothing was noted.
    Repeated,
    /// Something else was paid for under this id; nothing changed and nothing was noted.
    OtherRequest,
    /// No alternative fits; nothing was taken. Of all alternatives, the one that would fit soonest is told.
    Exhausted(Exhausted),
}

/// What the audit log holds. Each has a lasting number and a lasting name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// Credentials were issued (seed 001).
    CredentialsIssued = 1,
    /// Credentials were refused because a bucket was empty (seed 001).
    RateLimited = 2,
    /// A code was sent.
    CodeSent = 3,
    /// An identifier was verified.
    IdentifierVerified = 4,
    /// A wrong code was given.
    WrongCode = 5,
    /// An import was accepted.
    ImportAccepted = 6,
    /// A match was dismissed.
    MatchDismissed = 7,
    /// Everything of an account was removed.
    DataRemoved = 8,
    /// An operator ended an epoch.
    EpochRetired = 9,
    /// Lookups were refused because a quota was used up.
    LookupsRefused = 10,
    /// An account is listed in the directory.
    IdentifierListed = 11,
    /// Listings were withdrawn.
    ListingsWithdrawn = 12,
    /// Identifiers of the directory were opened in bulk, for a new key or an index.
    IdentifiersUnsealed = 13,
    /// The directory has a new key.
    DirectoryKeyMade = 14,
    /// An operator loaded mappings into the directory.
    MappingsLoaded = 15,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::CredentialsIssued,
        Self::RateLimited,
        Self::CodeSent,
        Self::IdentifierVerified,
        Self::WrongCode,
        Self::ImportAccepted,
        Self::MatchDismissed,
        Self::DataRemoved,
        Self::EpochRetired,
        Self::LookupsRefused,
        Self::IdentifierListed,
        Self::ListingsWithdrawn,
        Self::IdentifiersUnsealed,
        Self::DirectoryKeyMade,
        Self::MappingsLoaded,
    ];

    /// Its lasting name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CredentialsIssued => "contact_discovery.credentials_issued",
            Self::RateLimited => "contact_discovery.rate_limited",
            Self::CodeSent => "verification.code_sent",
            Self::IdentifierVerified => "verification.verified",
            Self::WrongCode => "verification.wrong_code",
            Self::ImportAccepted => "import.accepted",
            Self::MatchDismissed => "match.dismissed",
            Self::DataRemoved => "account.data_removed",
            Self::EpochRetired => "operator.epoch_retired",
            Self::LookupsRefused => "lookup.refused",
            Self::IdentifierListed => "directory.listed",
            Self::ListingsWithdrawn => "directory.withdrawn",
            Self::IdentifiersUnsealed => "directory.identifiers_unsealed",
            Self::DirectoryKeyMade => "directory.key_made",
            Self::MappingsLoaded => "directory.mappings_loaded",
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn by_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// An event to note in the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventKind,
    /// To whose account; `None` for the operator's own doing.
    pub account: Option<AuditId>,
    /// A JSON object with no identifier in it.
    pub details: String,
    /// Whether the webhook is to be told of it.
    pub tell: bool,
}

/// Where an event stands in the audit log; later ones are higher. Numbers may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

/// An event of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place.
    pub id: EventId,
    /// When it was noted.
    pub at: Millis,
    /// What happened.
    pub kind: EventKind,
    /// To whose account.
    pub account: Option<AuditId>,
    /// A JSON object.
    pub details: String,
}

/// An event that the webhook is to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedEvent {
    /// Which.
    pub event: Event,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// How an attempt to tell of an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOutcome {
    /// Told, or given up: nobody tries again. The log keeps the event.
    Done,
    /// To be tried again at this time.
    Again(Millis),
}

/// Who follows whom no more, or from now on, by the network's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowChange {
    /// Who follows.
    pub account: Pseudonym,
    /// Which record says so.
    pub record: FollowRecord,
    /// Whom; `None` if the record was deleted.
    pub other: Option<Pseudonym>,
}

/// A piece of a stream, worked through.
#[derive(Debug, Clone)]
pub struct StreamStep {
    /// The stream's name.
    pub stream: String,
    /// Who reads it.
    pub server: ServerId,
    /// Where it goes on: the stream's own number (microseconds since 1970 for Jetstream).
    pub cursor: i64,
    /// Until when this server goes on reading it.
    pub lease_until: Millis,
    /// In the stream's order.
    pub follows: Vec<FollowChange>,
    /// Accounts that the stream says are gone.
    pub departures: Vec<Pseudonym>,
}

/// An account that a stream says is gone, to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedDeparture {
    /// Whose.
    pub account: Pseudonym,
    /// Its name, sealed.
    pub sealed_account: Vec<u8>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}
