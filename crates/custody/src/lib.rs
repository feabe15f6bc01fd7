//! Custody of keys: who holds them, and the few things that may be done with one.
//!
//! Everything that protects the database after a theft rests on keys that are not in it. [`KeyCustody`] is the
//! contract. [`software`] keeps the keys in a file, in clear or sealed; `pkcs11` leaves them in an HSM; `remote` puts
//! either behind a Unix socket into a process of its own; [`budget`] bounds how often any of them may be asked.
//! Nothing above this crate ever sees a key. Source: seed 000 ("Securing against database leaks"); house plan,
//! decisions 1 to 3.
//!
//! Cargo features only add: `pkcs11`, `remote`, and `wrapped` for sealed key files.

pub mod budget;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
mod random;
#[cfg(feature = "remote")]
pub mod remote;
mod replace;
pub mod secret;
pub mod software;

use std::time::Duration;

use acquaint_protocol::pair::{Canonicalisation, Epoch, EpochId, StretchPepper, Suite};
use zeroize::Zeroizing;

/// What a key is for. One key serves one purpose, so that no output of one can stand in for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Finishes pair hashes: HMAC-SHA-256 over the stretched pair. Its version is the epoch's id.
    Pair,
    /// Finishes the stretched form of a single number, for limits and budgets.
    Number,
    /// Keyed hashes of verification codes.
    Code,
    /// Pseudonyms of accounts.
    Account,
    /// Seals tokens and cursors that leave the service (AEAD).
    Token,
    /// Seals what is stored: account names and accepted address books (AEAD).
    Seal,
    /// Makes the usernames of one audience's credentials (seed 001). Its version is the audience's number.
    CredentialUser,
    /// Signs one audience's credentials (seed 001). Its version is the audience's number.
    CredentialAuth,
}

impl Purpose {
    /// Every purpose, in the order in which keys are created.
    pub const ALL: [Self; 8] = [
        Self::Pair,
        Self::Number,
        Self::Code,
        Self::Account,
        Self::Token,
        Self::Seal,
        Self::CredentialUser,
        Self::CredentialAuth,
    ];

    /// The purposes that no service does without.
    pub fn needed() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|purpose| purpose.is_needed())
    }

    /// Whether no service does without a key of this purpose. Data rests on such keys; credentials' stand apart, a pair
    /// for each audience, and may be made and destroyed at any time.
    #[must_use]
    pub const fn is_needed(self) -> bool {
        !matches!(self, Self::CredentialUser | Self::CredentialAuth)
    }

    /// The purpose's lasting name, as it stands in key files and in the store's key records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Number => "number",
            Self::Code => "code",
            Self::Account => "account",
            Self::Token => "token",
            Self::Seal => "seal",
            Self::CredentialUser => "credential-user",
            Self::CredentialAuth => "credential-auth",
        }
    }

    /// The purpose with this [`name`](Self::name).
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    /// Whether keys of this purpose seal (AEAD) instead of hashing (HMAC).
    #[must_use]
    pub const fn seals(self) -> bool {
        matches!(self, Self::Token | Self::Seal)
    }

    /// Whether keys of this purpose come with a stretch pepper (Argon2id's salt).
    #[must_use]
    pub const fn stretches(self) -> bool {
        matches!(self, Self::Pair | Self::Number)
    }
}

/// One key: its purpose and version. Versions of a purpose count up from 1; the highest is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    /// What the key is for.
    pub purpose: Purpose,
    /// Its version, from 1. For [`Purpose::Pair`] this is the epoch's id.
    pub version: u32,
}

impl KeyId {
    /// The key that finishes pair hashes in `epoch`.
    #[must_use]
    pub fn pair(epoch: EpochId) -> Self {
        Self { purpose: Purpose::Pair, version: epoch.get() }
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} key, version {}", self.purpose.name(), self.version)
    }
}

/// What a stretching key carries beside its secret. With the secret it makes an epoch (house plan, decision 1):
/// changing any part takes a new key version.
#[derive(Debug, Clone)]
pub struct Stretching {
    /// Argon2id's salt, 32 bytes.
    pub pepper: StretchPepper,
    /// Argon2id's cost.
    pub suite: Suite,
    /// How identifiers are brought into canonical form.
    pub canonicalisation: Canonicalisation,
}

/// How a new key that stretches is to stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewStretching {
    /// As the newest one of its purpose does, with the same pepper: then one Argon2id serves both keys.
    Kept,
    /// With a new pepper, at this cost.
    New(Suite),
}

impl NewStretching {
    fn after(self, newest: Option<&Stretching>) -> Result<Stretching, getrandom::Error> {
        let canonicalisation = Canonicalisation::CURRENT;
        let suite = match (self, newest) {
            (Self::Kept, Some(kept)) => return Ok(Stretching { canonicalisation, ..kept.clone() }),
            (Self::Kept, None) => Suite::STANDARD,
            (Self::New(suite), _) => suite,
        };
        Ok(Stretching { pepper: StretchPepper::from_bytes(random::random()?), suite, canonicalisation })
    }
}

/// Why custody did not do what was asked. No variant carries a secret or an input.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// There is no such key.
    #[error("there is no {0}")]
    NoSuchKey(KeyId),
    /// The key exists but its purpose does not allow this operation.
    #[error("the {0} is not for this operation")]
    WrongPurpose(KeyId),
    /// The sealed bytes were not made by these keys for this use, or were changed.
    #[error("sealed bytes cannot be opened: they were made by other keys, for another use, or changed")]
    NotOurs,
    /// The key holder could not be reached or refused; trying later may help.
    #[error("the key holder is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The key's budget of operations, or the caller's share of it, is spent; nothing was computed. It can be had
    /// again after the wait.
    #[error("the operations budget of the {key} is spent: try again in {} s", .retry_after.as_secs().max(1))]
    OverBudget {
        /// Whose budget.
        key: KeyId,
        /// When there will be some again.
        retry_after: Duration,
    },
}

/// For whom an operation is done, so that one account cannot spend everybody's budget: 16 bytes that are the same
/// for one account and tell nothing of it, as its pseudonym.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareTag(pub [u8; 16]);

/// Holds every key and never gives one out.
///
/// All methods are synchronous and may be called from several threads at once; an implementation bounds its own
/// parallelism. Nothing here is stored by the callers except the outputs.
pub trait KeyCustody: Send + Sync {
    /// Every key that can be used now, in ascending order.
    fn keys(&self) -> Vec<KeyId>;

    /// Looks again which keys there are, after somebody made or destroyed some.
    ///
    /// # Errors
    /// [`CustodyError::Unavailable`]; then what was known before stands.
    fn refresh(&self) -> Result<(), CustodyError> {
        Ok(())
    }

    /// How to stretch before [`hmac`](Self::hmac) with a [`Purpose::Pair`] or [`Purpose::Number`] key. The pepper
    /// leaves custody because Argon2id does not run in HSMs (seed 000).
    ///
    /// # Errors
    /// [`CustodyError::NoSuchKey`], or [`CustodyError::WrongPurpose`] for a purpose that does not stretch.
    fn stretching(&self, key: KeyId) -> Result<Stretching, CustodyError>;

    /// HMAC-SHA-256 of each input under `key`, in the order of the inputs (RFC 2104, RFC 6234); 32 bytes each.
    ///
    /// # Errors
    /// [`CustodyError::NoSuchKey`], [`CustodyError::WrongPurpose`] for a sealing key,
    /// [`CustodyError::Unavailable`] or [`CustodyError::OverBudget`]; then nothing was computed.
    fn hmac(&self, key: KeyId, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError>;

    /// As [`hmac`](Self::hmac), on behalf of the account `share`, which a [budget](budget::Budgeted) charges. What
    /// wraps another custody passes this on; what has no budget does not look at the tag.
    ///
    /// # Errors
    /// As [`hmac`](Self::hmac).
    fn hmac_for(&self, key: KeyId, share: ShareTag, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        let _ = share;
        self.hmac(key, inputs)
    }

    /// Seals `plaintext` with the newest key of `purpose`, bound to `aad`, which says where the result stands
    /// (table and row, or the message's kind). The result starts with a version byte and names its key; two
    /// calls never give the same bytes.
    ///
    /// # Errors
    /// [`CustodyError::WrongPurpose`] for a purpose that does not seal, [`CustodyError::Unavailable`], or
    /// [`CustodyError::OverBudget`].
    fn seal(&self, purpose: Purpose, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError>;

    /// Opens what [`seal`](Self::seal) made with any key of `purpose` that still exists.
    ///
    /// # Errors
    /// [`CustodyError::NotOurs`] for anything but the exact bytes, purpose and `aad` of a seal call; otherwise as
    /// [`seal`](Self::seal).
    fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CustodyError>;

    /// How often the key holder itself, out of this process's reach, counted `key` being used since it began to
    /// count; `None` where it does not count. [`budget::Budgeted`] compares it with what went through here.
    ///
    /// # Errors
    /// [`CustodyError::Unavailable`] when the counter cannot be read.
    fn audit_count(&self, key: KeyId) -> Result<Option<u64>, CustodyError> {
        let _ = key;
        Ok(None)
    }

    /// What has been used of each key's budget; empty where there is none.
    ///
    /// # Errors
    /// [`CustodyError::Unavailable`] when whoever keeps the budget cannot be asked.
    fn usage(&self) -> Result<Vec<budget::KeyUsage>, CustodyError> {
        Ok(Vec::new())
    }
}

/// The newest key of a purpose.
///
/// # Errors
/// [`CustodyError::NoSuchKey`] when custody has none, naming version 1.
pub fn newest(custody: &dyn KeyCustody, purpose: Purpose) -> Result<KeyId, CustodyError> {
    custody
        .keys()
        .into_iter()
        .filter(|key| key.purpose == purpose)
        .max()
        .ok_or(CustodyError::NoSuchKey(KeyId { purpose, version: 1 }))
}

/// The epochs that can be used, newest first.
///
/// # Errors
/// As [`KeyCustody::stretching`].
pub fn epochs(custody: &dyn KeyCustody) -> Result<Vec<Epoch>, CustodyError> {
    let pair_keys = custody.keys().into_iter().filter(|key| key.purpose == Purpose::Pair).rev();
    pair_keys
        .map(|key| {
            let Stretching { pepper: _, suite, canonicalisation } = custody.stretching(key)?;
            Ok(Epoch { id: EpochId::new(key.version), suite, canonicalisation })
        })
        .collect()
}

/// Bytes that show which key stands behind `key`, without telling anything of it: a keyed hash or a sealed
/// constant. The store keeps them so that a database is never served with keys that are not its own.
///
/// # Errors
/// As [`KeyCustody::hmac`] and [`KeyCustody::seal`].
pub fn key_check(custody: &dyn KeyCustody, key: KeyId) -> Result<Vec<u8>, CustodyError> {
    if key.purpose.seals() {
        return custody.seal(key.purpose, CHECK, CHECK);
    }
    Ok(custody.hmac(key, &[CHECK])?.concat())
}

/// Whether `check`, made earlier by [`key_check`], was made with the key that custody now has under `key`.
///
/// # Errors
/// [`CustodyError::Unavailable`] or [`CustodyError::OverBudget`]; an absent or different key is `Ok(false)`.
pub fn matches_check(custody: &dyn KeyCustody, key: KeyId, check: &[u8]) -> Result<bool, CustodyError> {
    let outcome = if key.purpose.seals() {
        custody.open(key.purpose, CHECK, check).map(|opened| opened.as_slice() == CHECK)
    } else {
        custody.hmac(key, &[CHECK]).map(|made| made.concat() == check)
    };
    match outcome {
        Ok(same) => Ok(same),
        Err(CustodyError::NoSuchKey(_) | CustodyError::NotOurs) => Ok(false),
        Err(
            error @ (CustodyError::WrongPurpose(_)
            | CustodyError::Unavailable(_)
            | CustodyError::OverBudget { .. }),
        ) => Err(error),
    }
}

/// The constant of [`key_check`]. No caller hashes or seals it otherwise: inputs of pair, number, code and
/// account keys are 32 bytes or start with a version byte below 0x20.
const CHECK: &[u8] = b"acquaint key check";
