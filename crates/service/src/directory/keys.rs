//! The directory's own keys and layouts. They stand in the store, sealed by custody, so that all servers have the same.
//!
//! | record | versions | what |
//! |---|---|---|
//! | `signing` | 1 | the provider's key: signs parameters, and clients pin it |
//! | `data` | 1 | seals listings |
//! | `oprf/sealed-buckets` | epochs | the OPRF key of the profile |
//! | `layout/sealed-buckets/EPOCH` | layouts | prefix bits and slots, in clear |
//! | `published/sealed-buckets` | epochs | since when an epoch is published |
//! | `pepper/matrix` | 1 | of the Matrix face, in clear: everybody may ask for it |

use std::collections::BTreeMap;
use std::sync::Arc;

use acquaint_custody::{KeyCustody, Purpose};
use acquaint_protocol::bucket::parameters::SigningKey;
use acquaint_protocol::bucket::sealed::Filler;
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
pub(crate) const OPRF: &str = "oprf/sealed-buckets";
pub(crate) const LAYOUT: &str = "layout/sealed-buckets/";
pub(crate) const PUBLISHED: &str = "published/sealed-buckets";
pub(crate) const PEPPER: &str = "pepper/matrix";
/// The lasting number of the profile of sealed buckets in the store.
pub(crate) const SEALED_BUCKETS: u8 = 1;

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
    /// Newest last.
    pub(crate) layouts: Vec<Layout>,
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
    /// By number; without retired ones.
    pub(crate) epochs: BTreeMap<u32, Epoch>,
    pub(crate) pepper: Option<Pepper>,
    records: Vec<DirectoryRecord>,
}

impl Keyring {
    /// Opens what the store has, and takes what did not change from `before`.
    pub(crate) fn open(
        custody: &dyn KeyCustody,
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
        for record in records.iter().filter(|record| record.name == OPRF) {
            let stage = EpochStage::of(record.state)?;
            if stage == EpochStage::Retired {
                continue;
            }
            let known = before.and_then(|before| before.epochs.get(&record.version));
            let key = match known {
                Some(known) => Arc::clone(&known.key),
                None => Arc::new(EpochKey::new(record.version, &*secret(record)?)?),
            };
            let layouts = layouts(&records, record.version)?;
            let published = records
                .iter()
                .find(|published| published.name == PUBLISHED && published.version == record.version);
            let published_at = published.map_or(record.made_at, |published| published.made_at);
            epochs
                .insert(record.version, Epoch { key, stage, made_at: record.made_at, published_at, layouts });
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

    /// What is published: the newest that is current.
    pub(crate) fn current(&self) -> Option<&Epoch> {
        self.epochs.values().rev().find(|epoch| epoch.stage == EpochStage::Current)
    }
}

impl EpochKey {
    fn new(epoch: u32, seed: &[u8; 32]) -> Result<Self, Internal> {
        let key = ServerKey::derive(seed, OPRF.as_bytes())
            .map_err(|_| Internal::Unreadable("a key of the directory"))?;
        let public = key.public_key();
        let mut hash = Sha256::new_with_prefix(FILLER);
        hash.update(*key.to_bytes());
        let filler = Filler::new(hash.finalize().into());
        Ok(Self { epoch, key, public, filler })
    }

    pub(crate) fn index(&self) -> IndexId {
        IndexId { profile: SEALED_BUCKETS, epoch: self.epoch }
    }
}

impl Epoch {
    /// How buckets are cut now; `None` for a moment after the key was made.
    pub(crate) fn layout(&self) -> Option<Layout> {
        self.layouts.last().copied()
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

fn layouts(records: &[DirectoryRecord], epoch: u32) -> Result<Vec<Layout>, Internal> {
    let name = format!("{LAYOUT}{epoch}");
    let mut layouts = records
        .iter()
        .filter(|record| record.name == name)
        .map(|record| Layout::decode(record).ok_or(Internal::Unreadable("a layout of the directory")))
        .collect::<Result<Vec<_>, _>>()?;
    layouts.sort_unstable_by_key(|layout| layout.number);
    Ok(layouts)
}

/// Makes the first keys, unless another server has.
pub(crate) async fn make_first(
    store: &dyn Store,
    custody: &dyn KeyCustody,
    entropy: &dyn Entropy,
    now: Millis,
) -> Result<(), Internal> {
    let records = store.directory_records().await?;
    for name in [SIGNING, DATA, OPRF] {
        if records.iter().all(|record| record.name != name) {
            make_secret(store, custody, entropy, (name, 1), now).await?;
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

/// Adds a layout to an epoch: `false` if another server was faster.
pub(crate) async fn add_layout(
    store: &dyn Store,
    epoch: u32,
    layout: Layout,
    now: Millis,
) -> Result<bool, Internal> {
    let Layout { number, bits, slots, account_bytes } = layout;
    let record = DirectoryRecord {
        name: format!("{LAYOUT}{epoch}"),
        version: number,
        state: 0,
        content: [&[bits], slots.to_be_bytes().as_slice(), &account_bytes.to_be_bytes()].concat(),
        made_at: now,
    };
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
