//! Key files sealed by a passphrase or by a key in another place: age files (<https://c2sp.org/age>), so that the
//! `age` program opens one too.
//!
//! What it stops: a thief of the key file, or of a back-up with it, has nothing until they guess the passphrase
//! (scrypt, N = 2^17, r = 8: 128 MiB and some tenths of a second for each guess) or find the other key. What it does
//! not stop: who owns the running process has the keys.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Mutex;

use acquaint_protocol::pair::Suite;
use age::secrecy::{ExposeSecret, SecretString};
use age::{DecryptError, Decryptor, Encryptor, x25519};
use zeroize::Zeroizing;

use super::file::{Opener, Source};
use super::{KeyFileError, Keys, SoftwareCustody, file};
use crate::secret::Secret;

/// scrypt's cost as a power of two.
const WORK: u8 = 17;
/// The most that a file may ask for: 1 GiB.
const MOST_WORK: u8 = 20;

/// What seals a key file, and opens it again.
#[derive(Clone)]
pub enum SealingKey {
    /// A passphrase. Choose one that no machine guesses: six random words or more.
    Passphrase(Secret),
    /// A key that stands in a file in another place than the key file and its back-ups.
    Identity(Identity),
}

/// An X25519 key for sealing, from an identity file as `age-keygen` writes it.
#[derive(Clone)]
pub struct Identity(x25519::Identity);

impl Identity {
    /// Reads an identity file that nobody but its owner may read.
    ///
    /// # Errors
    /// [`KeyFileError::Absent`], [`KeyFileError::Permissions`], [`KeyFileError::NoIdentity`], or the file system's
    /// refusal.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let bytes = file::read_private(path)?;
        let none = || KeyFileError::NoIdentity(path.into());
        let text = std::str::from_utf8(&bytes).map_err(|_| none())?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else { return Err(none()) };
        line.parse().map(Self).map_err(|_| none())
    }

    /// Makes a new one and writes its file with mode 0600. Never overwrites a file.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], or the file system's refusal.
    pub fn create(path: &Path) -> Result<Self, KeyFileError> {
        let identity = x25519::Identity::generate();
        let text = Zeroizing::new(format!("{}\n", identity.to_string().expose_secret()));
        file::write_new(path, text.as_bytes())?;
        Ok(Self(identity))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase(..)",
            Self::Identity(_) => "Identity(..)",
        })
    }
}

impl SoftwareCustody {
    /// Opens the sealed key file at `path`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`KeyFileError::NotSealed`] or [`KeyFileError::WrongKey`].
    pub fn open_sealed(path: &Path, key: &SealingKey) -> Result<Self, KeyFileError> {
        Source { path: path.into(), opener: Opener::Sealed(key.clone()), seen: Mutex::new(None) }.open()
    }

    /// As [`create`](Self::create), sealed: the keys are never on the disk in clear.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_sealed(path: &Path, suite: Suite, key: &SealingKey) -> Result<Self, KeyFileError> {
        let keys = super::new_keys(suite).map_err(KeyFileError::NoRandomness)?;
        let io = |source| KeyFileError::Io { path: path.into(), source };
        let text = file::text(&keys).map_err(|error| io(error.into()))?;
        file::write_new(path, &sealed(&text, key).map_err(io)?)?;
        Self::open_sealed(path, key)
    }
}

/// Seals the key file at `path`. Whenever it is ended, the file is the old or the new one, whole; a draft may be left
/// beside it, which is sealed. The old file's bytes are overwritten, which not every disk and no snapshot honours.
///
/// # Errors
/// As [`SoftwareCustody::open`], also when the file is sealed already.
pub fn wrap(path: &Path, key: &SealingKey) -> Result<(), KeyFileError> {
    let _alone =
        crate::replace::alone(path).map_err(|source| KeyFileError::Io { path: path.into(), source })?;
    let io = |source| KeyFileError::Io { path: path.into(), source };
    let bytes = file::read_private(path)?;
    if file::is_sealed(&bytes) {
        return Err(KeyFileError::Sealed(path.into()));
    }
    // Only what will be of use again is sealed.
    file::parse_bytes(path, &bytes)?;
    crate::replace::replace_and_overwrite(path, &sealed(&bytes, key).map_err(io)?).map_err(io)
}

/// Writes the sealed key file at `path` anew in clear. Whenever it is ended, the file is the old or the new one,
/// whole; a draft may be left beside it, **with the keys in clear** and mode 0600, named as the file with `.draft-` and
/// a number.
///
/// # Errors
/// As [`SoftwareCustody::open_sealed`].
pub fn unwrap(path: &Path, key: &SealingKey) -> Result<(), KeyFileError> {
    let _alone =
        crate::replace::alone(path).map_err(|source| KeyFileError::Io { path: path.into(), source })?;
    let text = whole(path, key)?;
    crate::replace::replace(path, &text).map_err(|source| KeyFileError::Io { path: path.into(), source })
}

/// Seals the key file at `path` with another key than before; it is never in clear on the disk.
///
/// # Errors
/// As [`SoftwareCustody::open_sealed`].
pub fn rewrap(path: &Path, old: &SealingKey, new: &SealingKey) -> Result<(), KeyFileError> {
    let _alone =
        crate::replace::alone(path).map_err(|source| KeyFileError::Io { path: path.into(), source })?;
    let io = |source| KeyFileError::Io { path: path.into(), source };
    let text = whole(path, old)?;
    crate::replace::replace(path, &sealed(&text, new).map_err(io)?).map_err(io)
}

pub(super) fn read(path: &Path, key: &SealingKey) -> Result<Keys, KeyFileError> {
    file::parse_bytes(path, &text_of(path, key)?)
}

/// The text of a sealed key file that is in order.
fn whole(path: &Path, key: &SealingKey) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let text = text_of(path, key)?;
    file::parse_bytes(path, &text)?;
    Ok(text)
}

fn text_of(path: &Path, key: &SealingKey) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let bytes = file::read_private(path)?;
    if !file::is_sealed(&bytes) {
        return Err(KeyFileError::NotSealed(path.into()));
    }
    opened(path, &bytes, key)
}

pub(super) fn sealed(text: &[u8], key: &SealingKey) -> std::io::Result<Vec<u8>> {
    let recipient: Box<dyn age::Recipient> = match key {
        SealingKey::Passphrase(passphrase) => {
            let mut recipient = age::scrypt::Recipient::new(handed(passphrase));
            recipient.set_work_factor(WORK);
            Box::new(recipient)
        }
        SealingKey::Identity(Identity(identity)) => Box::new(identity.to_public()),
    };
    let encryptor =
        Encryptor::with_recipients(std::iter::once(&*recipient)).map_err(std::io::Error::other)?;
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed)?;
    writer.write_all(text)?;
    writer.finish()?;
    Ok(sealed)
}

fn opened(path: &Path, bytes: &[u8], key: &SealingKey) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let malformed = |reason: &str| KeyFileError::Malformed { path: path.into(), reason: reason.into() };
    let refused = |error| match error {
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => {
            KeyFileError::WrongKey(path.into())
        }
        DecryptError::ExcessiveWork { .. } => malformed("its passphrase asks for more than 1 GiB of memory"),
        _ => malformed("its age envelope is damaged, or of a newer kind"),
    };
    let identity: Box<dyn age::Identity> = match key {
        SealingKey::Passphrase(passphrase) => {
            let mut identity = age::scrypt::Identity::new(handed(passphrase));
            identity.set_max_work_factor(MOST_WORK);
            Box::new(identity)
        }
        SealingKey::Identity(Identity(identity)) => Box::new(identity.clone()),
    };
    let decryptor = Decryptor::new_buffered(bytes).map_err(refused)?;
    let reader = decryptor.decrypt(std::iter::once(&*identity)).map_err(refused)?;
    // What is inside is shorter than what holds it.
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    reader
        .take(file::MAX_BYTES)
        .read_to_end(&mut text)
        .map_err(|_| malformed("its age envelope is damaged"))?;
    Ok(text)
}

fn handed(passphrase: &Secret) -> SecretString {
    SecretString::from(passphrase.expose().to_owned())
}

#[cfg(test)]
mod tests;
