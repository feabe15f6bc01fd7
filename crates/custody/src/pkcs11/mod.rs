//! Keys in an HSM, through its PKCS#11 module (PKCS #11 2.40; OASIS).
//!
//! Every key is a generic secret that the token made, that is sensitive and cannot be extracted; all that is asked of
//! the token in service is HMAC-SHA-256. What it stops: nobody who takes the disk, a back-up or the memory of this
//! process has a key, so nothing can be guessed at away from the HSM. What it does not stop: who owns this process
//! has the PIN, and uses the HSM as fast as it answers for as long as they are there. A custody process of its own
//! with a budget ([`crate::remote`], [`crate::budget`]) bounds that. The stretch peppers and the messages that are
//! sealed and opened are in this process.

mod error;
mod module;
mod objects;
mod record;
mod seal;
mod token;

use std::sync::Arc;

use acquaint_protocol::pair::Suite;
use cryptoki::mechanism::Mechanism;
use zeroize::Zeroizing;

pub use error::Pkcs11Error;
pub use objects::{KeyEntry, KeyState};
pub use token::{Token, TokenConfig};

use crate::random::random;
use crate::{CustodyError, KeyCustody, KeyId, Purpose, Stretching};

/// Reads the HSM's own counter of a key's uses. PKCS#11 has none; a vendor's log or command may. `None` for a key
/// that is not counted.
pub type AuditCounter = Arc<dyn Fn(KeyId) -> Result<Option<u64>, std::io::Error> + Send + Sync>;

/// A [`KeyCustody`] whose keys live in a PKCS#11 token.
pub struct Pkcs11Custody {
    token: Token,
    audit: Option<AuditCounter>,
}

impl Pkcs11Custody {
    /// Finds the token, logs in, and checks that every key that a record tells of is there, that none can leave the
    /// token, and that there is one of every purpose.
    ///
    /// # Errors
    /// [`Pkcs11Error`] says what is wrong and what to do.
    pub fn open(config: TokenConfig) -> Result<Self, Pkcs11Error> {
        Ok(Self { token: Token::start(config, true)?, audit: None })
    }

    /// Makes the keys that are lacking, as [`Token::create_keys`], and opens.
    ///
    /// # Errors
    /// As [`Token::create_keys`] and [`open`](Self::open).
    pub fn create(config: TokenConfig, suite: Suite, now: i64) -> Result<Self, Pkcs11Error> {
        Token::open(config.clone())?.create_keys(suite, now)?;
        Self::open(config)
    }

    /// With the HSM's own counter of uses, for [`KeyCustody::audit_count`].
    #[must_use]
    pub fn with_audit(mut self, counter: AuditCounter) -> Self {
        self.audit = Some(counter);
        self
    }

    /// The token, for whoever looks after its keys while they are in use.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    fn hashed(&self, key: KeyId, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        let unavailable = |error: Pkcs11Error| CustodyError::Unavailable(Box::new(error));
        if self.token.scan().handle(key).is_none() {
            return Err(CustodyError::NoSuchKey(key));
        }
        let hashed = self.token.with(|session, scan| {
            // It may have been destroyed while the token was brought back.
            let handle = scan.handle(key).ok_or(Pkcs11Error::NoSuchKey(key))?;
            let mut hashes = Vec::with_capacity(inputs.len());
            for input in inputs {
                let made = Zeroizing::new(session.sign(&Mechanism::Sha256Hmac, handle, input)?);
                let hash = made.as_slice().try_into().map_err(cryptoki::error::Error::from)?;
                hashes.push(hash);
            }
            Ok(hashes)
        });
        match hashed {
            Err(Pkcs11Error::NoSuchKey(key)) => Err(CustodyError::NoSuchKey(key)),
            outcome => outcome.map_err(unavailable),
        }
    }

    /// The key of one sealed message.
    fn message_key(
        &self,
        key: KeyId,
        nonce: &[u8; seal::NONCE],
    ) -> Result<Zeroizing<[u8; 32]>, CustodyError> {
        let hashes = Zeroizing::new(self.hashed(key, &[&seal::key_input(nonce)])?);
        let made = hashes.first().ok_or(CustodyError::NoSuchKey(key))?;
        Ok(Zeroizing::new(*made))
    }
}

impl KeyCustody for Pkcs11Custody {
    fn keys(&self) -> Vec<KeyId> {
        self.token.scan().usable_keys()
    }

    fn refresh(&self) -> Result<(), CustodyError> {
        self.token.refresh().map_err(|error| CustodyError::Unavailable(Box::new(error)))
    }

    fn stretching(&self, key: KeyId) -> Result<Stretching, CustodyError> {
        let scan = self.token.scan();
        if scan.handle(key).is_none() {
            return Err(CustodyError::NoSuchKey(key));
        }
        scan.stretching(key).cloned().ok_or(CustodyError::WrongPurpose(key))
    }

    fn hmac(&self, key: KeyId, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        if key.purpose.seals() {
            return Err(CustodyError::WrongPurpose(key));
        }
        self.hashed(key, inputs)
    }

    fn seal(&self, purpose: Purpose, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        let key = crate::newest(self, purpose)?;
        if !purpose.seals() {
            return Err(CustodyError::WrongPurpose(key));
        }
        let nonce = random().map_err(|error| CustodyError::Unavailable(Box::new(error)))?;
        let message_key = self.message_key(key, &nonce)?;
        seal::seal(purpose, key.version, &nonce, &message_key, aad, plaintext)
    }

    fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        if !purpose.seals() {
            return Err(CustodyError::WrongPurpose(KeyId { purpose, version: 1 }));
        }
        let (version, nonce, ciphertext) = seal::split(sealed).ok_or(CustodyError::NotOurs)?;
        let message_key = match self.message_key(KeyId { purpose, version }, &nonce) {
            Err(CustodyError::NoSuchKey(_)) => return Err(CustodyError::NotOurs),
            outcome => outcome?,
        };
        seal::open(purpose, &nonce, &message_key, aad, ciphertext)
    }

    fn audit_count(&self, key: KeyId) -> Result<Option<u64>, CustodyError> {
        let Some(counter) = &self.audit else { return Ok(None) };
        counter(key).map_err(|error| CustodyError::Unavailable(Box::new(error)))
    }
}

impl std::fmt::Debug for Pkcs11Custody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pkcs11Custody")
            .field("token", &self.token)
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}
