//! The directory's own keys and layouts. They stand in the store, sealed by custody, so that all servers have the same.
//!
//! | record | versions | what |
//! |---|---|---|
//! | `signing` | 1 | the provider's key: signs parameters, and clients pin it |
//! | `data` | 1 | seals listings |
//! | `oprf/PROFILE` | epochs | the OPRF key of the profile |
//! | `layout/PROFILE/EPOCH` | layouts | how its index is cut, in clear |
//! | `published/PROFILE` | epochs | since when an epoch is published |
//! | `pepper/matrix` | 1 | of the Matrix face, in clear: everybody may ask for it |

use std::collections::BTreeMap;
use std::sync::Arc;

use acquaint_custody::{KeyCustody, Purpose};
use acquaint_protocol::bucket::SEALED;
use acquaint_protocol::bucket::parameters::SigningKey;
use acquaint_protocol::bucket::sealed::Filler;
use acquaint_protocol::lookup::Mode;
use acquaint_protocol::oprf::{PublicKey, ServerKey};
use acquaint_store::{DirectoryRecord, IndexId, Millis, Store};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::listing::DataKey;
use crate::ambient::{Entropy, bytes};
use crate::codec::Reader;
use crate::error::Internal;

/// What the key of filler slots is derived with: it is the same at all servers, and nobody else knows it.
const FILLER: &[u8] = b"acquaint bucket filler v1";

pub(crate) const SIGNING: &str = "signing";
pub(crate) const DATA: &str = "data";
pub(crate) const PEPPER: &str = "pepper/matrix";

/// What an index is for; the numbers stand in the store, and the names in what is stored and derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Profile {
    /// Sealed buckets.
    SealedBuckets = 1,
    /// Private lookup, private set membership.
    Psm = 2,
    /// Private lookup, private information retrieval: it has a key as the others have, and its keywords need none.
    Pir = 3,
}

impl Profile {
    /// The profile of a lookup.
    pub(crate) fn of(mode: Mode) -> Self {
        match mode {
            Mode::Psm => Self::Psm,
            Mode::Pir => Self::Pir,
        }
    }

    /// The mode of lookups, of those that have one.
    pub(crate) fn mode(self) -> Option<Mode> {
        match self {
            Self::SealedBuckets => None,
            Self::Psm => Some(Mode::Psm),
            Self::Pir => Some(Mode::Pir),
        }
    }

    /// As it is called on the wire, and in what is derived.
    pub(crate) fn name(self) -> &'static str {
        self.mode().map_or(SEALED, Mode::profile)
    }

    /// The record of its keys.
    pub(crate) fn oprf(self) -> String {
        format!("oprf/{}", self.name())
    }

    /// The record of when each was published.
    pub(crate) fn published(self) -> String {
        format!("published/{}", self.name())
    }

    fn layout(self, epoch: u32) -> String {
        format!("layout/{}/{epoch}", self.name())
    }

    /// One of its indexes.
    pub(crate) fn index(self, epoch: u32) -> IndexId {
        IndexId { profile: self as u8, epoch }
    }
}

/// The logarithm of the most shards that there may be.
pub(crate) const MOST_SHARD_BITS: u8 = 16;

/// How far an epoch is; the numbers stand in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum EpochStage {
    /// Listings are being placed in its index.
    Filling = 0,
    /// What is published.
    Current = 1,
    /// Still answered.
    Former = 2,
    /// Not answered; its index is being deleted, or is.
    Retired = 3,
}

impl EpochStage {
    fn of(state: u8) -> Result<Self, Internal> {
        match state {
            0 => Ok(Self::Filling),
            1 => Ok(Self::Current),
            2 => Ok(Self::Former),
            3 => Ok(Self::Retired),
            _ => Err(Internal::Unreadable("the state of a key of the directory")),
        }
    }
}

/// The OPRF key of an epoch.
pub(crate) struct EpochKey {
    pub(crate) profile: Profile,
    pub(crate) epoch: u32,
    pub(crate) key: ServerKey,
    pub(crate) public: PublicKey,
    pub(crate) filler: Filler,
}

/// An epoch that is answered or will be.
#[derive(Clone)]
pub(crate) struct Epoch {
    pub(crate) key: Arc<EpochKey>,
    pub(crate) stage: EpochStage,
    pub(crate) made_at: Millis,
    /// When it was published; when it was made, where it was not.
    pub(crate) published_at: Millis,
    cuts: Cuts,
}

/// How the index of an epoch was and is cut, newest last.
#[derive(Clone)]
enum Cuts {
    Buckets(Vec<Layout>),
    Shards(Vec<ShardLayout>),
}

/// How the buckets of an epoch are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) number: u32,
    pub(crate) bits: u8,
    pub(crate) slots: u16,
    /// Bytes of an account's name in an entry: the same in all layouts of an epoch.
    pub(crate) account_bytes: u16,
}

/// How the shards of an epoch are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardLayout {
    pub(crate) number: u32,
    /// The logarithm of how many shards there are.
    pub(crate) bits: u8,
    /// Rows and columns of a shard's table.
    pub(crate) rows: u16,
    pub(crate) columns: u32,
    /// Tables for batches, and their queries, rows and columns: all 0 where there are none.
    pub(crate) batch: BatchLayout,
}

/// The second set of tables of a shard, for whole address books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BatchLayout {
    pub(crate) tables: u16,
    pub(crate) queries: u8,
    pub(crate) rows: u16,
    pub(crate) columns: u32,
}

/// The pepper of the Matrix face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pepper {
    pub(crate) text: String,
    pub(crate) made_at: Millis,
    /// Changes with each pepper.
    state: u8,
}

/// All of them, as one state of the store has them.
#[derive(Clone)]
pub(crate) struct Keyring {
    pub(crate) signing: Arc<SigningKey>,
    pub(crate) data: Arc<DataKey>,
    /// Those that are answered or will be, of the profiles that are switched on.
    pub(crate) epochs: BTreeMap<IndexId, Epoch>,
    pub(crate) pepper: Option<Pepper>,
    records: Vec<DirectoryRecord>,
}

impl Keyring {
    /// Opens what the store has, and takes what did not change from `before`.
    pub(crate) fn open(
        custody: &dyn KeyCustody,
        profiles: &[Profile],
        records: Vec<DirectoryRecord>,
        before: Option<&Self>,
    ) -> Result<Self, Internal> {
        let secret = |record: &DirectoryRecord| open(custody, record);
        let only = |name| {
            let found =
                records.iter().filter(|record| record.name == name).max_by_key(|record| record.version);
            found.ok_or(Internal::Unreadable("a key of the directory is missing"))
        };
        let (signing, data) = match before {
            Some(before) => (Arc::clone(&before.signing), Arc::clone(&before.data)),
            None => (
                Arc::new(SigningKey::from_seed(&*secret(only(SIGNING)?)?)),
                Arc::new(DataKey::from_bytes(*secret(only(DATA)?)?)),
            ),
        };
        let mut epochs = BTreeMap::new();
        for profile in profiles {
            let (oprf, published) = (profile.oprf(), profile.published());
            for record in records.iter().filter(|record| record.name == oprf) {
                let stage = EpochStage::of(record.state)?;
                if stage == EpochStage::Retired {
                    continue;
                }
                let index = profile.index(record.version);
                let key = match before.and_then(|before| before.epochs.get(&index)) {
                    Some(known) => Arc::clone(&known.key),
                    None => Arc::new(EpochKey::new(*profile, record.version, &*secret(record)?)?),
                };
                let cuts = Cuts::read(&records, *profile, record.version)?;
                let published_at = records
                    .iter()
                    .find(|other| other.name == published && other.version == record.version)
                    .map_or(record.made_at, |published| published.made_at);
                let made_at = record.made_at;
                epochs.insert(index, Epoch { key, stage, made_at, published_at, cuts });
            }
        }
        let pepper = records.iter().find(|record| record.name == PEPPER);
        let pepper = pepper.map(|record| {
            Pepper::decode(record).ok_or(Internal::Unreadable("the pepper of the Matrix face"))
        });
        Ok(Self { signing, data, epochs, pepper: pepper.transpose()?, records })
    }

    /// Whether the store has nothing else.
    pub(crate) fn is_of(&self, records: &[DirectoryRecord]) -> bool {
        self.records == records
    }

    /// The epochs of a profile, the newest last.
    pub(crate) fn of(&self, profile: Profile) -> impl DoubleEndedIterator<Item = &Epoch> {
        self.epochs.range(profile.index(0)..=profile.index(u32::MAX)).map(|(_, epoch)| epoch)
    }

    /// What is published of a profile: the newest that is current.
    pub(crate) fn current(&self, profile: Profile) -> Option<&Epoch> {
        self.of(profile).rev().find(|epoch| epoch.stage == EpochStage::Current)
    }
}

impl EpochKey {
    fn new(profile: Profile, epoch: u32, seed: &[u8; 32]) -> Result<Self, Internal> {
        let key = ServerKey::derive(seed, profile.oprf().as_bytes())
            .map_err(|_| Internal::Unreadable("a key of the directory"))?;
        let public = key.public_key();
        let mut hash = Sha256::new_with_prefix(FILLER);
        hash.update(*key.to_bytes());
        let filler = Filler::new(hash.finalize().into());
        Ok(Self { profile, epoch, key, public, filler })
    }

    pub(crate) fn index(&self) -> IndexId {
        self.profile.index(self.epoch)
    }
}

impl Epoch {
    /// How buckets are cut now; `None` for a moment after the key was made, and of other profiles.
    pub(crate) fn layout(&self) -> Option<Layout> {
        match &self.cuts {
            Cuts::Buckets(layouts) => layouts.last().copied(),
            Cuts::Shards(_) => None,
        }
    }

    /// How shards are cut now; `None` for a moment after the key was made, and of other profiles.
    pub(crate) fn shards(&self) -> Option<ShardLayout> {
        match &self.cuts {
            Cuts::Buckets(_) => None,
            Cuts::Shards(layouts) => layouts.last().copied(),
        }
    }

    /// Whether lookups are answered.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.stage, EpochStage::Current | EpochStage::Former)
    }

    /// Whether the index is cut, so that listings can be placed.
    pub(crate) fn is_cut(&self) -> bool {
        self.layout().is_some() || self.shards().is_some()
    }
}

impl Layout {
    /// Layout of a record: prefix bits, slots as u16, account bytes as u16.
    fn decode(record: &DirectoryRecord) -> Option<Self> {
        let mut reader = Reader(&record.content);
        let [bits] = reader.array()?;
        let (slots, account_bytes) = (reader.u16()?, reader.u16()?);
        reader.end()?;
        let layout = Self { number: record.version, bits, slots, account_bytes };
        (bits <= super::index::MAX_PREFIX_BITS).then_some(layout)
    }
}

impl ShardLayout {
    /// Layout of a record: bits u8, rows u16, columns u32; of the batch tables: how many u16, queries u8, rows u16, columns
    /// u32.
    fn decode(record: &DirectoryRecord) -> Option<Self> {
        let mut reader = Reader(&record.content);
        let [bits] = reader.array()?;
        let (rows, columns) = (reader.u16()?, u32::from_be_bytes(reader.array()?));
        let tables = reader.u16()?;
        let [queries] = reader.array()?;
        let batch = BatchLayout {
            tables,
            queries,
            rows: reader.u16()?,
            columns: u32::from_be_bytes(reader.array()?),
        };
        reader.end()?;
        let layout = Self { number: record.version, bits, rows, columns, batch };
        (bits <= MOST_SHARD_BITS).then_some(layout)
    }

    fn encode(&self) -> Vec<u8> {
        let Self { number: _, bits, rows, columns, batch } = self;
        let mut content = vec![*bits];
        content.extend(rows.to_be_bytes());
        content.extend(columns.to_be_bytes());
        content.extend(batch.tables.to_be_bytes());
        content.push(batch.queries);
        content.extend(batch.rows.to_be_bytes());
        content.extend(batch.columns.to_be_bytes());
        content
    }
}

impl Cuts {
    fn read(records: &[DirectoryRecord], profile: Profile, epoch: u32) -> Result<Self, Internal> {
        let name = profile.layout(epoch);
        let mut records: Vec<_> = records.iter().filter(|record| record.name == name).collect();
        records.sort_unstable_by_key(|record| record.version);
        let unreadable = Internal::Unreadable("a layout of the directory");
        let cuts = match profile {
            Profile::SealedBuckets => {
                records.into_iter().map(Layout::decode).collect::<Option<_>>().map(Self::Buckets)
            }
            Profile::Psm | Profile::Pir => {
                records.into_iter().map(ShardLayout::decode).collect::<Option<_>>().map(Self::Shards)
            }
        };
        cuts.ok_or(unreadable)
    }
}

impl Pepper {
    /// Layout of a record: when it was made (i64), then the text.
    fn decode(record: &DirectoryRecord) -> Option<Self> {
        let mut reader = Reader(&record.content);
        let made_at = reader.i64()?;
        let text = std::str::from_utf8(reader.0).ok()?.to_owned();
        Some(Self { text, made_at, state: record.state })
    }
}

/// Puts a new pepper in the place of `before`, unless another server has.
pub(crate) async fn change_pepper(
    store: &dyn Store,
    entropy: &dyn Entropy,
    before: Option<&Pepper>,
    now: Millis,
) -> Result<bool, Internal> {
    // Letters and digits, for those who put it into a URL.
    let text = hex(&bytes::<16>(entropy)?);
    let content = [now.to_be_bytes().as_slice(), text.as_bytes()].concat();
    let name = PEPPER.to_owned();
    Ok(match before {
        Some(before) => {
            let states = (before.state, before.state ^ 1);
            store.change_directory_record(name, 1, states, Some(content)).await?
        }
        None => {
            let record = DirectoryRecord { name, version: 1, state: 0, content, made_at: now };
            store.add_directory_record(record).await?
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the first keys, unless another server has.
pub(crate) async fn make_first(
    store: &dyn Store,
    custody: &dyn KeyCustody,
    entropy: &dyn Entropy,
    profiles: &[Profile],
    now: Millis,
) -> Result<(), Internal> {
    let records = store.directory_records().await?;
    let names = profiles.iter().map(|profile| profile.oprf());
    for name in [SIGNING, DATA].map(str::to_owned).into_iter().chain(names) {
        if records.iter().all(|record| record.name != name) {
            make_secret(store, custody, entropy, (&name, 1), now).await?;
        }
    }
    Ok(())
}

/// Makes a key; it is in its first state. `false` if there is one of this version.
pub(crate) async fn make_secret(
    store: &dyn Store,
    custody: &dyn KeyCustody,
    entropy: &dyn Entropy,
    (name, version): (&str, u32),
    now: Millis,
) -> Result<bool, Internal> {
    let secret = Zeroizing::new(bytes::<32>(entropy)?);
    let content = custody.seal(Purpose::Seal, &place(name, version), &*secret)?;
    let record = DirectoryRecord { name: name.to_owned(), version, state: 0, content, made_at: now };
    Ok(store.add_directory_record(record).await?)
}

/// Adds a layout to an epoch of sealed buckets: `false` if another server was faster.
pub(crate) async fn add_layout(
    store: &dyn Store,
    epoch: u32,
    layout: Layout,
    now: Millis,
) -> Result<bool, Internal> {
    let Layout { number, bits, slots, account_bytes } = layout;
    let content = [&[bits], slots.to_be_bytes().as_slice(), &account_bytes.to_be_bytes()].concat();
    add_cut(store, (Profile::SealedBuckets, epoch), number, content, now).await
}

/// As [`add_layout`], for shards.
pub(crate) async fn add_shard_layout(
    store: &dyn Store,
    whose: (Profile, u32),
    layout: ShardLayout,
    now: Millis,
) -> Result<bool, Internal> {
    add_cut(store, whose, layout.number, layout.encode(), now).await
}

async fn add_cut(
    store: &dyn Store,
    (profile, epoch): (Profile, u32),
    version: u32,
    content: Vec<u8>,
    made_at: Millis,
) -> Result<bool, Internal> {
    let record = DirectoryRecord { name: profile.layout(epoch), version, state: 0, content, made_at };
    Ok(store.add_directory_record(record).await?)
}

fn open(custody: &dyn KeyCustody, record: &DirectoryRecord) -> Result<Zeroizing<[u8; 32]>, Internal> {
    let opened = custody.open(Purpose::Seal, &place(&record.name, record.version), &record.content)?;
    let secret: [u8; 32] =
        opened.as_slice().try_into().map_err(|_| Internal::Unreadable("a key of the directory"))?;
    Ok(Zeroizing::new(secret))
}

/// Binds a sealed key to its table and row.
fn place(name: &str, version: u32) -> Vec<u8> {
    [b"directory/".as_slice(), name.as_bytes(), b"/", &version.to_be_bytes()].concat()
}
