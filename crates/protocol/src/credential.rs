//! Short-lived credentials for a discovery service that somebody else may run (seed 001), in the format of Signal's
//! external service credentials.
//!
//! Who runs the accounts and who runs the discovery share two keys for each audience. One makes a username of an
//! account's identifier: lasting, and telling nothing of it. The other signs username and time. The discovery service
//! checks a pair of username and password without asking anybody.
//!
//! | | |
//! |---|---|
//! | username | lower-case hex of the first bytes of HMAC-SHA-256(user key, identifier), 10 by default; or the identifier itself |
//! | signed | username ‖ `:` ‖ Unix seconds in decimal |
//! | password | seconds ‖ `:` ‖ lower-case hex of HMAC-SHA-256(auth key, signed), its first 10 bytes or all 32; before them username ‖ `:` if the format says so |
//!
//! The keys stay where they are: whoever calls gives a function that computes an HMAC with one of them, as custody does.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a signature that is cut.
const CUT: usize = 10;

/// Which of an audience's two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKey {
    /// Makes usernames.
    User,
    /// Signs.
    Auth,
}

/// What stands as username.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Username {
    /// So many bytes of a keyed hash, 10 to 32: see [`CredentialFormat::derived`].
    Derived(usize),
    /// The identifier itself. It then stands in whatever the discovery service keeps.
    Identifier,
}

/// How credentials of an audience are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialFormat {
    username: Username,
    prepends_username: bool,
    cuts_signature: bool,
}

impl Default for CredentialFormat {
    /// The blueprint's: usernames of 10 bytes, not repeated in the password, signatures of 10 bytes.
    fn default() -> Self {
        Self { username: Username::Derived(10), prepends_username: false, cuts_signature: true }
    }
}

/// A username and a password. The password is overwritten when it goes, and never printed.
#[derive(Clone)]
pub struct Credentials {
    /// The account's lasting pseudonym at this audience.
    pub username: String,
    /// Good until the checker's time to live is over.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl CredentialFormat {
    /// With usernames of so many bytes; `None` unless they are 10 to 32.
    #[must_use]
    pub fn derived(bytes: usize) -> Option<Self> {
        let username = Username::Derived(bytes);
        (10..=32).contains(&bytes).then(|| Self { username, ..Self::default() })
    }

    /// With the identifier itself for a username.
    #[must_use]
    pub fn with_identifiers(self) -> Self {
        Self { username: Username::Identifier, ..self }
    }

    /// With the username repeated in the password.
    #[must_use]
    pub fn with_username_in_password(self) -> Self {
        Self { prepends_username: true, ..self }
    }

    /// With signatures of all 32 bytes.
    #[must_use]
    pub fn with_whole_signatures(self) -> Self {
        Self { cuts_signature: false, ..self }
    }

    /// What stands as username.
    #[must_use]
    pub fn username(&self) -> Username {
        self.username
    }

    /// Credentials of the account `identifier`, from `issued_at` on, in Unix seconds. `hmac` is HMAC-SHA-256 under the
    /// audience's key.
    ///
    /// # Errors
    /// Those of `hmac`.
    pub fn issue<E>(
        &self,
        identifier: &str,
        issued_at: u64,
        mut hmac: impl FnMut(CredentialKey, &[u8]) -> Result<[u8; 32], E>,
    ) -> Result<Credentials, E> {
        let username = match self.username {
            Username::Derived(bytes) => {
                let tag = hmac(CredentialKey::User, identifier.as_bytes())?;
                hex(tag.get(..bytes).unwrap_or(&tag))
            }
            Username::Identifier => identifier.to_owned(),
        };
        let tag = hmac(CredentialKey::Auth, format!("{username}:{issued_at}").as_bytes())?;
        let password = self.password(&username, &issued_at.to_string(), &tag);
        Ok(Credentials { username, password })
    }

    /// When the credentials were issued, in Unix seconds, if they were signed by the audience's key and are at most `ttl`
    /// seconds away from `now`, to either side. Of all others none is told from another, and each costs one HMAC.
    ///
    /// # Errors
    /// Those of `hmac`.
    pub fn verify<E>(
        &self,
        username: &str,
        password: &str,
        (now, ttl): (u64, u64),
        mut hmac: impl FnMut(CredentialKey, &[u8]) -> Result<[u8; 32], E>,
    ) -> Result<Option<u64>, E> {
        // The same work whatever was sent.
        let seconds = self.seconds(username, password).unwrap_or("");
        let tag = hmac(CredentialKey::Auth, format!("{username}:{seconds}").as_bytes())?;
        let wanted = self.password(username, seconds, &tag);
        let is_signed = bool::from(wanted.as_bytes().ct_eq(password.as_bytes()));
        let issued_at = canonical(seconds).filter(|issued_at| now.abs_diff(*issued_at) <= ttl);
        Ok(issued_at.filter(|_| is_signed))
    }

    /// As [`verify`](Self::verify), with the audience's auth key at hand: for a discovery service that keeps its keys by
    /// itself.
    #[must_use]
    pub fn verify_with(
        &self,
        key: &[u8; 32],
        username: &str,
        password: &str,
        when: (u64, u64),
    ) -> Option<u64> {
        let verified = self.verify(username, password, when, |_, signed| {
            Hmac::<Sha256>::new_from_slice(key).map(|mut mac| {
                mac.update(signed);
                mac.finalize().into_bytes().into()
            })
        });
        // HMAC takes a key of any length, so there is no error to come of it.
        verified.ok().flatten()
    }

    fn password(&self, username: &str, seconds: &str, tag: &[u8; 32]) -> Zeroizing<String> {
        let signature = hex(if self.cuts_signature { tag.get(..CUT).unwrap_or(tag) } else { tag });
        Zeroizing::new(if self.prepends_username {
            format!("{username}:{seconds}:{signature}")
        } else {
            format!("{seconds}:{signature}")
        })
    }

    /// The time as it stands in a password.
    fn seconds<'a>(&self, username: &str, password: &'a str) -> Option<&'a str> {
        let rest = if self.prepends_username {
            password.strip_prefix(username)?.strip_prefix(':')?
        } else {
            password
        };
        rest.split_once(':').map(|(seconds, _)| seconds)
    }
}

/// A number in decimal without sign, spaces or leading zeros.
fn canonical(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
