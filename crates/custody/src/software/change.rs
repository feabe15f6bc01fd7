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
    let (newest, version) = next_version(&keys, purpose)?;
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

/// Makes both keys of the next audience of credentials and puts them into the file, or `auth` in place of one of them:
/// the key that somebody else's audience signs with. Returns the audience's number.
///
/// # Errors
/// As [`add_version`].
pub fn add_audience(
    path: &Path,
    sealing: Option<&SealingKey>,
    auth: Option<Zeroizing<[u8; 32]>>,
) -> Result<u32, KeyFileError> {
    let _alone =
        crate::replace::alone(path).map_err(|source| KeyFileError::Io { path: path.into(), source })?;
    let mut keys = read(path, sealing)?;
    let (_, user) = next_version(&keys, Purpose::CredentialUser)?;
    let (_, signs) = next_version(&keys, Purpose::CredentialAuth)?;
    let version = user.max(signs);
    let draw = || random().map_err(KeyFileError::NoRandomness);
    let secret = match &auth {
        Some(auth) => **auth,
        None => {
            let id = KeyId { purpose: Purpose::CredentialUser, version };
            keys.insert(id, Key { secret: draw()?, stretch: None });
            draw()?
        }
    };
    keys.insert(KeyId { purpose: Purpose::CredentialAuth, version }, Key { secret, stretch: None });
    write(path, sealing, &keys, crate::replace::replace)?;
    Ok(version)
}

/// The key that an audience signs with, for whoever else is to check its credentials.
///
/// # Errors
/// [`KeyFileError::NoSuchKey`]; otherwise as [`add_version`].
pub fn audience_key(
    path: &Path,
    sealing: Option<&SealingKey>,
    version: u32,
) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let id = KeyId { purpose: Purpose::CredentialAuth, version };
    let keys = read(path, sealing)?;
    keys.get(&id).map(|key| Zeroizing::new(key.secret)).ok_or(KeyFileError::NoSuchKey(id))
}

fn next_version(keys: &Keys, purpose: Purpose) -> Result<(Option<KeyId>, u32), KeyFileError> {
    match keys.keys().copied().filter(|key| key.purpose == purpose).max() {
        Some(newest) => {
            let next = newest.version.checked_add(1).ok_or(KeyFileError::NoMoreVersions(newest))?;
            Ok((Some(newest), next))
        }
        None => Ok((None, 1)),
    }
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
    if key.purpose.is_needed() && keys.keys().all(|other| other.purpose != key.purpose) {
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
