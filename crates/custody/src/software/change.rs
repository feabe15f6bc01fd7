//! Making and destroying keys in a key file. Who does so waits for others who do.

use std::path::Path;

use zeroize::Zeroizing;

use super::sealed::{self, SealingKey};
use super::{Key, KeyFileError, Keys, file};
use crate::random::random;
use crate::{KeyId, NewStretching, Purpose};

/// Makes the next version of a purpose's key and puts it into the file; `how` counts for keys that stretch. The file is
/// sealed as before. After a crash it is the old or the new one, whole.
///
/// # Errors
/// [`KeyFileError::NoMoreVersions`]; otherwise as [`SoftwareCustody::open`](super::SoftwareCustody::open) and
/// `open_sealed`.
pub fn add_version(
    path: &Path,
    sealing: Option<&SealingKey>,
    purpose: Purpose,
    how: NewStretching,
) -> Result<KeyId, KeyFileError> {
    let _alone =
        crate::replace::alone(path).map_err(|source| KeyFileError::Io { path: path.into(), source })?;
    let mut keys = read(path, sealing)?;
    let newest = keys.keys().copied().filter(|key| key.purpose == purpose).max();
    let version = match newest {
        Some(newest) => newest.version.checked_add(1).ok_or(KeyFileError::NoMoreVersions(newest))?,
        None => 1,
    };
    let stretch = if purpose.stretches() {
        let newest = newest.and_then(|newest| keys.get(&newest)).and_then(|key| key.stretch.as_ref());
        Some(how.after(newest).map_err(KeyFileError::NoRandomness)?)
    } else {
        None
    };
    let id = KeyId { purpose, version };
    keys.insert(id, Key { secret: random().map_err(KeyFileError::NoRandomness)?, stretch });
    write(path, sealing, &keys, crate::replace::replace)?;
    Ok(id)
}

/// Takes a key out of the file, and overwrites the bytes of the file of before, which not every disk and no snapshot
/// honours: a copy of the old file has the key.
///
/// # Errors
/// [`KeyFileError::NoSuchKey`], [`KeyFileError::Only`] for the last key of its purpose; otherwise as [`add_version`].
pub fn destroy(path: &Path, sealing: Option<&SealingKey>, key: KeyId) -> Result<(), KeyFileError> {
    let _alone =
        crate::replace::alone(path).map_err(|source| KeyFileError::Io { path: path.into(), source })?;
    let mut keys = read(path, sealing)?;
    if keys.remove(&key).is_none() {
        return Err(KeyFileError::NoSuchKey(key));
    }
    if keys.keys().all(|other| other.purpose != key.purpose) {
        return Err(KeyFileError::Only(key));
    }
    write(path, sealing, &keys, crate::replace::replace_and_overwrite)
}

fn read(path: &Path, sealing: Option<&SealingKey>) -> Result<Keys, KeyFileError> {
    match sealing {
        None => file::read(path),
        Some(key) => sealed::read(path, key),
    }
}

fn write(
    path: &Path,
    sealing: Option<&SealingKey>,
    keys: &Keys,
    replace: impl FnOnce(&Path, &[u8]) -> std::io::Result<()>,
) -> Result<(), KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.into(), source };
    let text = file::text(keys).map_err(|error| io(error.into()))?;
    let bytes = match sealing {
        None => text,
        Some(key) => Zeroizing::new(sealed::sealed(&text, key).map_err(io)?),
    };
    replace(path, &bytes).map_err(io)
}
