//! What a client remembers between lookups.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use acquaint_protocol::bucket::Bytes;
use acquaint_protocol::bucket::sealed::Keys;
use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::Mode;
use acquaint_protocol::oprf::Output;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::FRESH_S;

const FORMAT: &str = "acquaint book";
/// The newest version: books of private lookups are of this one, so that a program that does not know them says that it is too
/// old.
const VERSION: u32 = 2;

/// The largest file that is read: a book of a million people is smaller.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// How long a contact is kept that is not asked for any more, in seconds.
const KEPT_S: u64 = 90 * 86_400;

/// How a directory is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// Sealed buckets.
    #[serde(rename = "sealed-buckets")]
    Sealed,
    /// Rocket.Chat's weak hashes.
    #[serde(rename = "rocketchat")]
    Weak,
    /// Private lookup of sealed records.
    #[serde(rename = "psm")]
    Psm,
    /// Private lookup of records in clear.
    #[serde(rename = "pir")]
    Pir,
}

impl Profile {
    /// The mode of private lookup, if it is one.
    #[must_use]
    pub fn mode(self) -> Option<Mode> {
        match self {
            Self::Sealed | Self::Weak => None,
            Self::Psm => Some(Mode::Psm),
            Self::Pir => Some(Mode::Pir),
        }
    }

    /// The version that its books are of.
    fn version(self) -> u32 {
        if self.mode().is_some() { VERSION } else { 1 }
    }
}

impl From<Mode> for Profile {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Psm => Self::Psm,
            Mode::Pir => Self::Pir,
        }
    }
}

/// What was learnt of a directory: for each identifier the keys of the epoch, the account that was found, and when.
///
/// It is a file of the person's own, made readable for nobody else: it holds identifiers in the clear. Its `Debug` tells
/// nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Book {
    pub(super) profile: Profile,
    /// Which of an identifier's accounts is looked up; 0 but in private lookups that ask for another.
    pub(super) index: u8,
    /// Whose directory it is.
    pub(super) provider: Option<String>,
    /// The provider's key.
    pub(super) signing_key: Option<Bytes<32>>,
    /// The newest epoch that was accepted.
    pub(super) epoch: Option<Epoch>,
    /// The newest epoch of a private lookup.
    pub(super) tables: Option<Tables>,
    pub(super) people: BTreeMap<Sii, Person>,
}

/// An epoch, and its newest layout.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Epoch {
    pub(super) number: u32,
    pub(super) key: Bytes<32>,
    /// When it was met, in Unix seconds.
    pub(super) accepted_at: u64,
    pub(super) layout: u32,
    pub(super) prefix_bits: u8,
    pub(super) slots: u16,
    pub(super) account_bytes: u16,
}

/// An epoch of a private lookup, and its newest layout.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tables {
    pub(super) number: u32,
    pub(super) key: Bytes<32>,
    pub(super) layout: u32,
    pub(super) shard_bits: u8,
    pub(super) rows: u16,
    pub(super) columns: u32,
    pub(super) batch_tables: u16,
    pub(super) batch_queries: u8,
    pub(super) batch_rows: u16,
    pub(super) batch_columns: u32,
}

/// What is known of an identifier.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Person {
    /// Of the newest epoch.
    pub(super) keys: Option<Keys>,
    /// Of the newest epoch, in mode `psm`.
    pub(super) output: Option<Output>,
    pub(super) account: Option<String>,
    /// Unix seconds.
    pub(super) looked_up_at: Option<u64>,
}

/// Why there is no book.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// The file cannot be read or written.
    #[error("cannot {what} the book {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is no book of Acquaint's: name another file, which is then made", .0.display())]
    Foreign(PathBuf),
    /// The file is a book of another version.
    #[error("{} is a book of version {version}, and this program reads versions 1 and 2: use a newer one", path.display())]
    OtherVersion {
        /// Which file.
        path: PathBuf,
        /// The version.
        version: u32,
    },
    /// The file is damaged.
    #[error("the book {} is damaged: remove it, and everything is asked for anew", .0.display())]
    Damaged(PathBuf),
    /// The book is one of another profile.
    #[error("the book {} is one of another profile: name another file, which is then made", .0.display())]
    OtherProfile(PathBuf),
    /// The book is of other accounts of its identifiers.
    #[error("the book {} was made with another index: name another file, which is then made", .0.display())]
    OtherIndex(PathBuf),
}

/// What tells a book from another file, and its version.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    version: u32,
    profile: Profile,
    #[serde(default, skip_serializing_if = "is_zero")]
    index: u8,
    provider: Option<String>,
    signing_key: Option<Bytes<32>>,
    epoch: Option<Epoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tables: Option<Tables>,
    people: BTreeMap<String, WrittenPerson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPerson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<Bytes<8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry_key: Option<Bytes<32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<Bytes<64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    looked_up_at: Option<u64>,
}

impl Book {
    /// An empty one.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let (provider, signing_key, epoch, tables) = (None, None, None, None);
        Self { profile, index: 0, provider, signing_key, epoch, tables, people: BTreeMap::new() }
    }

    /// An empty one for the accounts number `index` of identifiers that have several, in private lookups.
    #[must_use]
    pub fn with_index(profile: Profile, index: u8) -> Self {
        Self { index, ..Self::new(profile) }
    }

    /// As [`open`](Self::open), for the accounts number `index`.
    ///
    /// # Errors
    /// See [`BookError`].
    pub fn open_index(path: &Path, profile: Profile, index: u8) -> Result<Self, BookError> {
        let book = Self::open(path, profile)?;
        match book.index == index {
            true => Ok(book),
            // Nothing is known yet: it may become one of any index.
            false if book.provider.is_none() && book.is_empty() => Ok(Self { index, ..book }),
            false => Err(BookError::OtherIndex(path.to_owned())),
        }
    }

    /// Which of an identifier's accounts it is about.
    #[must_use]
    pub fn index(&self) -> u8 {
        self.index
    }

    /// Reads the book at `path`; an empty one if there is no file, or one of no bytes.
    ///
    /// # Errors
    /// See [`BookError`]. A file that is no book is never written over.
    pub fn open(path: &Path, profile: Profile) -> Result<Self, BookError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::new(profile)),
            Err(source) => return Err(BookError::Io { what: "read", path: path.to_owned(), source }),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|source| BookError::Io {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        // As `mktemp` makes them.
        if bytes.is_empty() {
            return Ok(Self::new(profile));
        }
        let book = Self::parse(&bytes).map_err(|wrong| wrong.of(path))?;
        if book.profile == profile { Ok(book) } else { Err(BookError::OtherProfile(path.to_owned())) }
    }

    /// Writes the book to `path`, for its owner's eyes alone: beside its place first, so that a crash leaves the old book or
    /// the new one. Two that write at the same time each leave a whole one.
    ///
    /// # Errors
    /// [`BookError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), BookError> {
        let failed = |source| BookError::Io { what: "write", path: path.to_owned(), source };
        let written = self.written();
        let bytes = serde_json::to_vec_pretty(&written).map(Zeroizing::new);
        let bytes = bytes.map_err(|error| failed(error.into()))?;
        let name = path.file_name().ok_or_else(|| failed(ErrorKind::InvalidInput.into()))?;
        let random = getrandom::u64().map_err(|error| failed(io::Error::other(error)))?;
        let part = path.with_file_name(format!(".{}.{random:016x}.part", name.to_string_lossy()));
        let outcome = write_new(&part, &bytes).and_then(|()| fs::rename(&part, path));
        if let Err(source) = outcome {
            // Nothing of it is to stay; that it may not even have been made is no other failure.
            let _ = fs::remove_file(&part);
            return Err(failed(source));
        }
        sync_folder(path).map_err(failed)
    }

    /// The account that was found for an identifier.
    #[must_use]
    pub fn found(&self, identifier: &Sii) -> Option<&str> {
        self.people.get(identifier)?.account.as_deref()
    }

    /// When an identifier was looked up last, in Unix seconds.
    #[must_use]
    pub fn looked_up_at(&self, identifier: &Sii) -> Option<u64> {
        self.people.get(identifier)?.looked_up_at
    }

    /// How many identifiers it knows of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Whether it knows of none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// The provider's key, once it was met.
    #[must_use]
    pub fn signing_key(&self) -> Option<[u8; 32]> {
        self.signing_key.map(|key| key.0)
    }

    /// Which of `identifiers` are to be asked for at `now`: those that never were, and those that were [`FRESH_S`] ago or
    /// more. Each once, in an order that is not the address book's. What was learnt in the future was learnt by a wrong clock.
    #[must_use]
    pub fn due(&self, identifiers: &[Sii], now: u64) -> Vec<Sii> {
        let is_due = |identifier: &&Sii| match self.looked_up_at(identifier) {
            Some(at) => at > now || now - at >= FRESH_S,
            None => true,
        };
        let mut due: Vec<Sii> = identifiers.iter().filter(is_due).cloned().collect();
        due.sort_unstable();
        due.dedup();
        due
    }

    /// The outputs of the epoch before are of no use; what was found stays.
    pub(super) fn begin_epoch(&mut self) {
        for person in self.people.values_mut() {
            (person.keys, person.output) = (None, None);
        }
        self.people.retain(|_, person| person.looked_up_at.is_some());
    }

    /// Forgets whom nobody asked for in the last 90 days, nor asks for now: a contact that was removed from the address book
    /// is not to stay here for ever.
    pub(super) fn forget(&mut self, wanted: &[Sii], now: u64) {
        let is_old = |person: &Person| person.looked_up_at.is_some_and(|at| now.saturating_sub(at) > KEPT_S);
        if !self.people.values().any(is_old) {
            return;
        }
        let wanted: HashSet<&Sii> = wanted.iter().collect();
        self.people.retain(|identifier, person| !is_old(person) || wanted.contains(identifier));
    }

    pub(super) fn learn(&mut self, identifier: &Sii, account: Option<String>, now: u64) {
        let person = self.people.entry(identifier.clone()).or_default();
        person.account = account;
        person.looked_up_at = Some(now);
    }

    fn written(&self) -> Written {
        let Self { profile, index, provider, signing_key, epoch, tables, people } = self;
        let people = people.iter().map(|(identifier, Person { keys, output, account, looked_up_at })| {
            let person = WrittenPerson {
                location: keys.as_ref().map(|keys| Bytes(keys.location().to_be_bytes())),
                entry_key: keys.as_ref().map(|keys| Bytes(*keys.entry_key())),
                output: output.as_ref().map(|output| Bytes(*output.as_bytes())),
                account: account.clone(),
                looked_up_at: *looked_up_at,
            };
            (identifier.as_str().to_owned(), person)
        });
        Written {
            format: FORMAT.to_owned(),
            version: profile.version(),
            profile: *profile,
            index: *index,
            provider: provider.clone(),
            signing_key: *signing_key,
            epoch: *epoch,
            tables: *tables,
            people: people.collect(),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Wrong> {
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
            return Err(Wrong::Foreign);
        }
        let head: Head = match serde_json::from_slice(bytes) {
            Ok(head) => head,
            // A book that was cut off begins as one.
            Err(_) if starts_as_book(bytes) => return Err(Wrong::Damaged),
            Err(_) => return Err(Wrong::Foreign),
        };
        if head.format != FORMAT {
            return Err(Wrong::Foreign);
        }
        if !(1..=VERSION).contains(&head.version) {
            return Err(Wrong::OtherVersion(head.version));
        }
        let written: Written = serde_json::from_slice(bytes).map_err(|_| Wrong::Damaged)?;
        let Written { format: _, version, profile, index, provider, signing_key, epoch, tables, people } =
            written;
        if version > profile.version() {
            return Err(Wrong::OtherVersion(version));
        }
        let people = people.into_iter().map(|(identifier, person)| {
            let identifier = Sii::parse(&identifier).map_err(|_| Wrong::Damaged)?;
            let WrittenPerson { location, entry_key, output, account, looked_up_at } = person;
            let output = output.map(|output| Output::from_bytes(output.0));
            let keys = match (location, entry_key) {
                (Some(location), Some(entry)) => {
                    Some(Keys::from_parts(u64::from_be_bytes(location.0), entry.0))
                }
                (None, None) => None,
                _ => return Err(Wrong::Damaged),
            };
            Ok((identifier, Person { keys, output, account, looked_up_at }))
        });
        let people = people.collect::<Result<_, Wrong>>()?;
        Ok(Self { profile, index, provider, signing_key, epoch, tables, people })
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book")
            .field("profile", &self.profile)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// What is wrong with bytes, without the file's name.
enum Wrong {
    Foreign,
    OtherVersion(u32),
    Damaged,
}

impl Wrong {
    fn of(self, path: &Path) -> BookError {
        let path = path.to_owned();
        match self {
            Self::Foreign => BookError::Foreign(path),
            Self::OtherVersion(version) => BookError::OtherVersion { path, version },
            Self::Damaged => BookError::Damaged(path),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(index: &u8) -> bool {
    *index == 0
}

fn starts_as_book(bytes: &[u8]) -> bool {
    let beginning = bytes.get(..bytes.len().min(64)).unwrap_or_default();
    String::from_utf8_lossy(beginning).contains(&format!("\"format\": \"{FORMAT}\""))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// So that the new name survives a power cut; not every system can.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
