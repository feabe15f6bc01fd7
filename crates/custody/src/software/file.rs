//! The key file: JSON of version 1, mode 0600, in clear or inside an age file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use acquaint_protocol::pair::{Canonicalisation, StretchPepper, Suite};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Key, Keys, SoftwareCustody};
use crate::{KeyId, Purpose, Stretching};

/// A key file holds a few keys of some 200 bytes; anything larger is something else.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// What a sealed key file begins with: <https://c2sp.org/age>.
const AGE: &[u8] = b"age-encryption.org/";

/// What is wrong with a key file, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file is not there.
    #[error("there is no key file at {}: `acquaint init` or `acquaint keys init` makes one", .0.display())]
    Absent(PathBuf),
    /// A file is there already; keys are never overwritten.
    #[error("a key file is already at {}: it is never overwritten", .0.display())]
    Exists(PathBuf),
    /// Others than the owner may read or write the file.
    #[error("the key file {} has mode {mode:04o}, so others can read it: run `chmod 600 {}`", .path.display(), .path.display())]
    Permissions {
        /// Where the file is.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key file, or not a whole one.
    #[error("{} is not a key file: {reason}", .path.display())]
    Malformed {
        /// Where the file is.
        path: PathBuf,
        /// What is wrong, without any of its content.
        reason: String,
    },
    /// The file is sealed, and nothing was given to open it with.
    #[error("the key file {} is sealed: name what opens it, in `keys.passphrase_file` or `keys.identity_file`", .0.display())]
    Sealed(PathBuf),
    /// The file is not sealed, and was expected to be.
    #[error("the key file {} is not sealed: seal it, or name nothing to open it with", .0.display())]
    NotSealed(PathBuf),
    /// The passphrase or key does not open the file.
    #[error("the key file {} was sealed with another passphrase or key", .0.display())]
    WrongKey(PathBuf),
    /// What is to open or seal key files is not a key for that.
    #[error("{} is not a key to seal with: it needs one line that begins with AGE-SECRET-KEY-1, as age-keygen writes it", .0.display())]
    NoIdentity(PathBuf),
    /// The file system refused.
    #[error("cannot use the key file {}", .path.display())]
    Io {
        /// Where the file is.
        path: PathBuf,
        /// The file system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Under the name of a key that was read before there is another one now.
    #[error("the key file {} has other keys than before: put the right one back, or start this process again", .0.display())]
    OtherKeys(PathBuf),
    /// There is no such key.
    #[error("the key file has no {0}")]
    NoSuchKey(KeyId),
    /// A purpose needs a key.
    #[error("the {0} is the only one of its purpose: make another first, with `acquaint keys rotate`")]
    Only(KeyId),
    /// The highest number is taken.
    #[error("there can be no key after the {0}")]
    NoMoreVersions(KeyId),
    /// The operating system has no randomness.
    #[error("the operating system gives no randomness for new keys")]
    NoRandomness(#[source] getrandom::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileV1 {
    version: u32,
    keys: Vec<KeyV1>,
}

#[derive(Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
#[serde(deny_unknown_fields)]
struct KeyV1 {
    purpose: String,
    version: u32,
    /// 32 bytes, hexadecimal.
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stretch: Option<StretchV1>,
}

#[derive(Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
#[serde(deny_unknown_fields)]
struct StretchV1 {
    /// 32 bytes, hexadecimal.
    pepper: String,
    suite: String,
    canonicalisation: u32,
}

/// What a key file is opened with.
pub(super) enum Opener {
    InClear,
    #[cfg(feature = "wrapped")]
    Sealed(super::sealed::SealingKey),
}

/// A key file, and how to read it again.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) opener: Opener,
    /// Which file it was that was read last.
    pub(super) seen: Mutex<Option<Stamp>>,
}

/// Inode, length, and seconds and nanoseconds of the last change: another file, or another content, differs in one.
type Stamp = (u64, u64, i64, i64);

impl Source {
    pub(super) fn open(self) -> Result<SoftwareCustody, KeyFileError> {
        let keys = self.read_if_changed()?.unwrap_or_default();
        Ok(SoftwareCustody { keys: RwLock::new(Arc::new(keys)), source: Some(self) })
    }

    /// The keys, if the file is not the one that was read last.
    pub(super) fn read_if_changed(&self) -> Result<Option<Keys>, KeyFileError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before it is read: what is changed in between is read again.
        let stamp = self.stamp();
        if stamp.is_some() && *seen == stamp {
            return Ok(None);
        }
        let keys = match &self.opener {
            Opener::InClear => read(&self.path)?,
            #[cfg(feature = "wrapped")]
            Opener::Sealed(key) => super::sealed::read(&self.path, key)?,
        };
        *seen = stamp;
        Ok(Some(keys))
    }

    /// Has the file read again next time, whether or not it has changed.
    pub(super) fn forget(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = std::fs::metadata(&self.path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
    }
}

pub(super) fn read(path: &Path) -> Result<Keys, KeyFileError> {
    let bytes = read_private(path)?;
    if is_sealed(&bytes) {
        return Err(KeyFileError::Sealed(path.into()));
    }
    parse_bytes(path, &bytes)
}

pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(AGE)
}

pub(super) fn parse_bytes(path: &Path, bytes: &[u8]) -> Result<Keys, KeyFileError> {
    let malformed = |reason: String| KeyFileError::Malformed { path: path.into(), reason };
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is no text".into()))?;
    parse(text).map_err(malformed)
}

/// The content of a file that nobody but its owner may read.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(KeyFileError::Absent(path.into()));
        }
        Err(error) => return Err(io(error)),
    };
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Permissions { path: path.into(), mode });
    }
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        let reason = "it is no regular file of at most 1 MiB".into();
        return Err(KeyFileError::Malformed { path: path.into(), reason });
    }
    // Room for all of it, so that no half of it is left where a growing buffer was.
    let room = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

fn parse(text: &str) -> Result<Keys, String> {
    // serde's own message can quote the input, so only the place is passed on.
    let file: FileV1 = serde_json::from_str(text).map_err(|error| {
        format!("line {}, column {} is not as version 1 has it", error.line(), error.column())
    })?;
    if file.version != 1 {
        return Err(format!("its version is {}, and this program reads version 1", file.version));
    }
    let mut keys = BTreeMap::new();
    for entry in &file.keys {
        let purpose = Purpose::by_name(&entry.purpose).ok_or("a key has an unknown purpose")?;
        let id = KeyId { purpose, version: entry.version };
        let secret =
            bytes(&entry.secret).ok_or_else(|| format!("the {id} is not 32 bytes in hexadecimal"))?;
        let stretch = entry.stretch.as_ref().map(|stretch| parse_stretch(id, stretch)).transpose()?;
        if stretch.is_some() != purpose.stretches() || entry.version == 0 {
            return Err(format!("the {id} is not as its purpose wants it"));
        }
        if keys.insert(id, Key { secret, stretch }).is_some() {
            return Err(format!("the {id} is there twice"));
        }
    }
    for purpose in Purpose::needed() {
        if keys.keys().all(|key: &KeyId| key.purpose != purpose) {
            return Err(format!("there is no {}", KeyId { purpose, version: 1 }));
        }
    }
    Ok(keys)
}

fn parse_stretch(id: KeyId, stretch: &StretchV1) -> Result<Stretching, String> {
    let pepper = bytes(&stretch.pepper).ok_or_else(|| format!("the pepper of the {id} is not 32 bytes"))?;
    let suite = Suite::by_name(&stretch.suite).ok_or_else(|| format!("the {id} has an unknown suite"))?;
    Ok(Stretching {
        pepper: StretchPepper::from_bytes(pepper),
        suite,
        canonicalisation: Canonicalisation::new(stretch.canonicalisation),
    })
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Writes a file that must not be there yet.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.into(), source };
    // Written beside its place and linked into it, so that the name never stands for half a file.
    let draft = crate::replace::draft(path, bytes).map_err(io)?;
    let linked = std::fs::hard_link(&draft, path);
    let _ = std::fs::remove_file(&draft);
    match linked {
        Ok(()) => crate::replace::sync_folder(path).map_err(io),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(KeyFileError::Exists(path.into()))
        }
        Err(error) => Err(io(error)),
    }
}

pub(super) fn text(keys: &Keys) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let file = FileV1 { version: 1, keys: keys.iter().map(|(id, key)| entry(*id, key)).collect() };
    serde_json::to_vec_pretty(&file).map(Zeroizing::new)
}

/// Reads the text of a key file and writes it again; for the fuzz target.
///
/// # Errors
/// What is wrong with it, without any of it.
#[cfg(feature = "fuzzing")]
pub fn again(text_of_file: &str) -> Result<Vec<u8>, String> {
    let written = text(&parse(text_of_file)?).map_err(|error| error.to_string())?;
    Ok(written.to_vec())
}

fn entry(id: KeyId, key: &Key) -> KeyV1 {
    KeyV1 {
        purpose: id.purpose.name().into(),
        version: id.version,
        secret: hex::encode(key.secret),
        stretch: key.stretch.as_ref().map(|stretch| StretchV1 {
            pepper: hex::encode(stretch.pepper.as_bytes()),
            suite: stretch.suite.name.into(),
            canonicalisation: stretch.canonicalisation.get(),
        }),
    }
}
