//! Private lookup: an identifier is resolved to an account, and this service learns neither (docs/protocol/lookup.md).
//!
//! What sealed buckets have too, keys, epochs, listings and following the store, is theirs; here is what stands in place of an
//! index of buckets: shards, which are tables of the PIR engine.

mod answers;
mod asking;
mod making;
mod passes;
mod session_keys;
mod shards;

pub use answers::{Answers, PlainFound, StoredKeys};
pub(super) use asking::Asking;
pub(super) use passes::Passes;
pub(super) use session_keys::SessionKeys;
pub(super) use shards::Shards;

use std::path::PathBuf;
use std::time::Duration;

use acquaint_protocol::bucket::sealed::Scope;
use acquaint_protocol::lookup::{self, Keys, Mode, most_account_bytes, seal_record};

use super::DirectoryPolicy;
use super::keys::{Epoch, EpochKey};
use super::listing::Content;
use crate::error::Internal;

/// The operator's choices for private lookup.
#[derive(Debug, Clone)]
pub struct PrivatePolicy {
    /// Answer private set membership.
    pub psm: bool,
    /// Answer private information retrieval: records are in clear to whoever asks for a neighbour of theirs.
    pub pir: bool,
    /// How many records a shard has at the most, about.
    pub shard_records: u32,
    /// Have tables for whole address books too: 3.6 times the memory.
    pub batches: bool,
    /// The shards that this server holds; all of them without.
    pub held: Option<(u32, u32)>,
    /// The logarithm of how many shards there are; as the directory's size wants it without.
    pub shard_bits: Option<u8>,
    /// Which server holds which shards, as clients are told; empty if each server holds all.
    pub servers: Vec<ShardRange>,
    /// Where files of shards are kept, so that a start does not build them anew.
    pub files: Option<PathBuf>,
    /// Queries of one request.
    pub max_queries: u16,
    /// Bytes of memory for evaluation keys.
    pub keys_memory: u64,
    /// How long evaluation keys are kept.
    pub keys_ttl: Duration,
    /// How long a pass over a shard waits for further queries.
    pub gather: Duration,
    /// Answer a back end in the clear.
    pub plain: bool,
}

impl Default for PrivatePolicy {
    /// Nothing is switched on.
    fn default() -> Self {
        Self {
            psm: false,
            pir: false,
            shard_records: 1 << 20,
            batches: false,
            held: None,
            shard_bits: None,
            servers: Vec::new(),
            files: None,
            max_queries: 64,
            keys_memory: 1 << 30,
            keys_ttl: Duration::from_secs(24 * 60 * 60),
            gather: Duration::from_millis(3),
            plain: false,
        }
    }
}

impl PrivatePolicy {
    /// The modes that are switched on.
    pub(super) fn modes(&self) -> impl Iterator<Item = Mode> {
        self.psm.then_some(Mode::Psm).into_iter().chain(self.pir.then_some(Mode::Pir))
    }
}

/// A server, and the shards that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
    /// Where clients reach it.
    pub url: String,
}

/// What an identifier yields in an epoch.
pub(super) fn keys_of(
    policy: &DirectoryPolicy,
    (key, mode): (&EpochKey, Mode),
    (sii, index): (&acquaint_protocol::identifier::Sii, u8),
) -> Result<Keys, Internal> {
    let scope = Scope::new(&policy.provider, mode.profile(), key.epoch)
        .map_err(|_| Internal::Unreadable("the name of the provider"))?;
    let input = lookup::input(sii, index);
    Ok(match mode {
        Mode::Psm => {
            let output = key.key.output(&input);
            let output =
                output.map_err(|_| Internal::Unreadable("an identifier has no place in the directory"))?;
            Keys::derive(&scope, output.as_bytes())
        }
        Mode::Pir => Keys::derive(&scope, &lookup::pir_output(&scope, &input)),
    })
}

/// Where a listing stands in a shard, and its record: the shard's 32 bits, then keyword and record. `None` if the account's
/// name does not fit into a record, or the epoch is just being made.
pub(super) fn place(
    policy: &DirectoryPolicy,
    (epoch, mode): (&Epoch, Mode),
    content: &Content,
) -> Result<Option<(u64, Vec<u8>)>, Internal> {
    let account = content.account.as_str();
    if !epoch.is_cut() {
        return Ok(None);
    }
    if account.len() > most_account_bytes(&policy.provider) {
        tracing::warn!(
            "a listing has no place in private lookup: its account's name and `directory.provider` together do not fit \
             into a record"
        );
        return Ok(None);
    }
    let keys = keys_of(policy, (&epoch.key, mode), (&content.sii, content.index))?;
    let record = seal_record(&keys, mode, &policy.provider, account)
        .map_err(|_| Internal::Unreadable("an account's name is too long for a record"))?;
    let slot = [keys.keyword().as_slice(), &record].concat();
    Ok(Some((keys.shard().into(), slot)))
}
