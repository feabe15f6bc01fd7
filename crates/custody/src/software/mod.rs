//! Keys in a file, for those without an HSM.
//!
//! What it stops: a thief of the database alone learns no number and no account's name. What it does not stop: someone
//! who reads this file too, or owns the running process. `docs/threat-model.md` says what either costs an attacker.
//!
//! The file can be sealed by a passphrase or by a key in another place (`sealed`, with the feature `wrapped`), so that
//! a back-up that holds it is of no use by itself.

#[cfg(feature = "wrapped")]
mod change;
mod file;
#[cfg(feature = "wrapped")]
pub mod sealed;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use acquaint_protocol::pair::Suite;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

#[cfg(feature = "wrapped")]
pub use change::{add_audience, add_version, audience_key, destroy};
pub use file::KeyFileError;
#[cfg(feature = "fuzzing")]
pub use file::again;

use crate::random::random;
use crate::{CustodyError, KeyCustody, KeyId, NewStretching, Purpose, Stretching};
use file::{Opener, Source};

/// First byte of everything sealed here: XChaCha20-Poly1305, key version as u32 big-endian, 24-byte nonce,
/// ciphertext with tag (draft-irtf-cfrg-xchacha-03).
const SEALED_V1: u8 = 1;
const NONCE: usize = 24;
const HEADER: usize = 1 + 4 + NONCE;

/// A [`KeyCustody`] whose keys live in this process, read from a key file.
pub struct SoftwareCustody {
    keys: RwLock<Arc<Keys>>,
    /// The file that they are from.
    source: Option<Source>,
}

type Keys = BTreeMap<KeyId, Key>;

/// One key as held in memory; wiped when dropped, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Key {
    secret: [u8; 32],
    #[zeroize(skip)]
    stretch: Option<Stretching>,
}

impl SoftwareCustody {
    /// Opens the key file at `path`.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong with the file and what to do: absent, readable by others, not a key
    /// file, sealed, of an unknown version, or without a key of every purpose.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        Source { path: path.into(), opener: Opener::InClear, seen: Mutex::new(None) }.open()
    }

    /// Makes a key of every purpose, its pair and number keys with `suite`, and writes the key file at `path`
    /// with mode 0600. Durable when it returns; never overwrites a file; a crash leaves either no file or a
    /// whole one.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], or the file system's refusal.
    pub fn create(path: &Path, suite: Suite) -> Result<Self, KeyFileError> {
        let keys = new_keys(suite).map_err(KeyFileError::NoRandomness)?;
        let text = file::text(&keys)
            .map_err(|error| KeyFileError::Io { path: path.into(), source: error.into() })?;
        file::write_new(path, &text)?;
        Self::open(path)
    }

    /// New keys in memory only, for tests and measurements.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn generate(suite: Suite) -> Result<Self, getrandom::Error> {
        Ok(Self { keys: RwLock::new(Arc::new(new_keys(suite)?)), source: None })
    }

    fn held(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn new_keys(suite: Suite) -> Result<Keys, getrandom::Error> {
    let mut keys = Keys::new();
    for purpose in Purpose::needed() {
        let stretch = if purpose.stretches() { Some(NewStretching::New(suite).after(None)?) } else { None };
        keys.insert(KeyId { purpose, version: 1 }, Key { secret: random()?, stretch });
    }
    Ok(keys)
}

fn key(keys: &Keys, id: KeyId) -> Result<&Key, CustodyError> {
    keys.get(&id).ok_or(CustodyError::NoSuchKey(id))
}

impl KeyCustody for SoftwareCustody {
    fn keys(&self) -> Vec<KeyId> {
        self.held().keys().copied().collect()
    }

    fn refresh(&self) -> Result<(), CustodyError> {
        let Some(source) = &self.source else { return Ok(()) };
        let unavailable = |error: KeyFileError| CustodyError::Unavailable(Box::new(error));
        let Some(new) = source.read_if_changed().map_err(unavailable)? else { return Ok(()) };
        let mut held = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if held.iter().any(|(id, key)| new.get(id).is_some_and(|new| new.secret != key.secret)) {
            source.forget();
            return Err(unavailable(KeyFileError::OtherKeys(source.path.clone())));
        }
        *held = Arc::new(new);
        Ok(())
    }

    fn stretching(&self, key: KeyId) -> Result<Stretching, CustodyError> {
        self::key(&self.held(), key)?.stretch.clone().ok_or(CustodyError::WrongPurpose(key))
    }

    fn hmac(&self, key: KeyId, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        if key.purpose.seals() {
            return Err(CustodyError::WrongPurpose(key));
        }
        let keyed = Hmac::<Sha256>::new_from_slice(&self::key(&self.held(), key)?.secret)
            .map_err(|error| CustodyError::Unavailable(error.into()))?;
        let finish = |input: &&[u8]| keyed.clone().chain_update(input).finalize().into_bytes().into();
        Ok(inputs.iter().map(finish).collect())
    }

    fn seal(&self, purpose: Purpose, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        let id = crate::newest(self, purpose)?;
        if !purpose.seals() {
            return Err(CustodyError::WrongPurpose(id));
        }
        let nonce: [u8; NONCE] = random().map_err(|error| CustodyError::Unavailable(Box::new(error)))?;
        let cipher = XChaCha20Poly1305::new((&key(&self.held(), id)?.secret).into());
        let ciphertext = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plaintext, aad: &bound(purpose, aad) })
            .map_err(|_| CustodyError::Unavailable("the message is too long to seal".into()))?;
        let mut sealed = Vec::with_capacity(HEADER + ciphertext.len());
        sealed.push(SEALED_V1);
        sealed.extend_from_slice(&id.version.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        let (header, ciphertext) = sealed.split_at_checked(HEADER).ok_or(CustodyError::NotOurs)?;
        let (version, nonce) = match header {
            [SEALED_V1, a, b, c, d, nonce @ ..] => (u32::from_be_bytes([*a, *b, *c, *d]), nonce),
            _ => return Err(CustodyError::NotOurs),
        };
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| CustodyError::NotOurs)?;
        let id = KeyId { purpose, version };
        if !purpose.seals() {
            return Err(CustodyError::WrongPurpose(id));
        }
        let held = self.held();
        let Some(key) = held.get(&id) else { return Err(CustodyError::NotOurs) };
        XChaCha20Poly1305::new((&key.secret).into())
            .decrypt(&XNonce::from(nonce), Payload { msg: ciphertext, aad: &bound(purpose, aad) })
            .map(Zeroizing::new)
            .map_err(|_| CustodyError::NotOurs)
    }
}

/// The authenticated data: the purpose's name, a zero byte, the caller's context.
fn bound(purpose: Purpose, aad: &[u8]) -> Vec<u8> {
    [purpose.name().as_bytes(), &[0], aad].concat()
}

impl std::fmt::Debug for SoftwareCustody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoftwareCustody").field("keys", &self.held().keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
