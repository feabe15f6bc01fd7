//! The objects in the token. A key of version 3 for pairs is two objects with the label `acquaint:pair:3`:
//!
//! - a generic secret, sensitive and never extractable, made in the token, which may only sign (HMAC);
//! - a private data object with application `acquaint` and the key's [record](super::record).
//!
//! The record is made last and destroyed first, so it says that the key counts. A key without one was never used, or
//! is being destroyed, or its record was lost; a record without its key tells of a loss.

use std::collections::BTreeMap;

use acquaint_protocol::pair::Suite;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroize;

use super::Pkcs11Error;
use super::record::Record;
use super::token::{Token, Trouble};
use crate::{KeyId, NewStretching, Purpose, Stretching};

const APPLICATION: &str = "acquaint";

/// What the token shows of our keys.
#[derive(Default)]
pub(super) struct Scan {
    keys: BTreeMap<KeyId, KeyObject>,
    records: BTreeMap<KeyId, (ObjectHandle, Result<Record, &'static str>)>,
    /// Keys with two objects of a kind.
    twice: Vec<KeyId>,
}

struct KeyObject {
    handle: ObjectHandle,
    /// It may leave the token.
    exposed: bool,
}

/// A key as it stands in the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// Which key.
    pub key: KeyId,
    /// Whether it can be used.
    pub state: KeyState,
    /// When it was made, in milliseconds since 1970, if its record can be read.
    pub made_at: Option<i64>,
    /// What stretching costs under it, if it stretches.
    pub suite: Option<Suite>,
}

/// Whether a key in the token can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Whole: custody lists it.
    Usable,
    /// The key is there and its record is not: an interrupted creation or destruction, or a lost record.
    WithoutRecord,
    /// The record is there and the key is not: the key was lost.
    WithoutKey,
    /// The record cannot be read.
    Unreadable,
    /// It is not sensitive, or may be extracted.
    Exposed,
    /// There are two objects where one belongs.
    Twice,
}

fn label(key: KeyId) -> String {
    format!("{APPLICATION}:{}:{}", key.purpose.name(), key.version)
}

fn by_label(label: &[u8]) -> Option<KeyId> {
    let mut parts = std::str::from_utf8(label).ok()?.split(':');
    let (APPLICATION, purpose, version, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    let key = KeyId { purpose: Purpose::by_name(purpose)?, version: version.parse().ok()? };
    // One way of writing a number only.
    (key.version > 0 && label == self::label(key).as_bytes()).then_some(key)
}

impl Scan {
    pub(super) fn of(session: &Session) -> Result<Self, Trouble> {
        let mut scan = Self::default();
        let keys = [Attribute::Token(true), Attribute::Class(ObjectClass::SECRET_KEY)];
        let wanted = [AttributeType::Label, AttributeType::Sensitive, AttributeType::Extractable];
        for handle in session.find_objects(&keys)? {
            let attributes = session.get_attributes(handle, &wanted)?;
            let Some(key) = attributes.iter().find_map(labelled) else { continue };
            let exposed = !(attributes.contains(&Attribute::Sensitive(true))
                && attributes.contains(&Attribute::Extractable(false)));
            if scan.keys.insert(key, KeyObject { handle, exposed }).is_some() {
                scan.twice.push(key);
            }
        }
        let records = [Attribute::Token(true), Attribute::Class(ObjectClass::DATA)];
        for handle in session.find_objects(&records)? {
            let labels = session.get_attributes(handle, &[AttributeType::Label])?;
            let Some(key) = labels.iter().find_map(labelled) else { continue };
            let mut record = Err("it has no content");
            for attribute in session.get_attributes(handle, &[AttributeType::Value])? {
                if let Attribute::Value(mut bytes) = attribute {
                    record = Record::read(&bytes);
                    bytes.zeroize();
                }
            }
            if scan.records.insert(key, (handle, record)).is_some() {
                scan.twice.push(key);
            }
        }
        Ok(scan)
    }

    /// Whether custody can work with this: every key that a record tells of is there, and one of every purpose.
    pub(super) fn check(&self) -> Result<(), Pkcs11Error> {
        for (key, (_, record)) in &self.records {
            if let Err(reason) = record {
                return Err(Pkcs11Error::Record { key: *key, reason });
            }
            match self.state(*key) {
                KeyState::Usable => {}
                KeyState::Exposed => return Err(Pkcs11Error::Exposed(*key)),
                KeyState::Twice => return Err(Pkcs11Error::Twice(*key)),
                KeyState::WithoutRecord | KeyState::Unreadable | KeyState::WithoutKey => {
                    return Err(Pkcs11Error::KeyMissing(*key));
                }
            }
        }
        let lacking = Purpose::needed().find(|purpose| self.usable(*purpose).next().is_none());
        lacking.map_or(Ok(()), |purpose| Err(Pkcs11Error::NoKeys(purpose)))
    }

    fn state(&self, key: KeyId) -> KeyState {
        match (self.keys.get(&key), self.records.get(&key)) {
            _ if self.twice.contains(&key) => KeyState::Twice,
            (Some(object), _) if object.exposed => KeyState::Exposed,
            (Some(_), Some((_, Ok(record)))) if record.stretching.is_some() == key.purpose.stretches() => {
                KeyState::Usable
            }
            (_, Some((_, Err(_)))) | (Some(_), Some(_)) => KeyState::Unreadable,
            (Some(_), None) => KeyState::WithoutRecord,
            (None, _) => KeyState::WithoutKey,
        }
    }

    /// Every label that is there, in ascending order.
    fn labels(&self) -> Vec<KeyId> {
        let mut labels: Vec<_> = self.keys.keys().chain(self.records.keys()).copied().collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    fn usable(&self, purpose: Purpose) -> impl Iterator<Item = KeyId> {
        let all = self.keys.keys().copied();
        all.filter(move |key| key.purpose == purpose && self.state(*key) == KeyState::Usable)
    }

    /// The keys that can be used, in ascending order.
    pub(super) fn usable_keys(&self) -> Vec<KeyId> {
        self.keys.keys().copied().filter(|key| self.state(*key) == KeyState::Usable).collect()
    }

    pub(super) fn handle(&self, key: KeyId) -> Option<ObjectHandle> {
        let usable = self.state(key) == KeyState::Usable;
        self.keys.get(&key).filter(|_| usable).map(|object| object.handle)
    }

    pub(super) fn stretching(&self, key: KeyId) -> Option<&Stretching> {
        let (_, record) = self.records.get(&key)?;
        record.as_ref().ok()?.stretching.as_ref()
    }
}

fn labelled(attribute: &Attribute) -> Option<KeyId> {
    match attribute {
        Attribute::Label(label) => by_label(label),
        _ => None,
    }
}

impl Token {
    /// Every key in the token that has one of our labels, as it was when last looked at, in ascending order.
    #[must_use]
    pub fn list(&self) -> Vec<KeyEntry> {
        let scan = self.scan();
        let entry = |key| {
            let record = scan.records.get(&key).and_then(|(_, record)| record.as_ref().ok());
            KeyEntry {
                key,
                state: scan.state(key),
                made_at: record.map(|record| record.made_at),
                suite: record
                    .and_then(|record| record.stretching.as_ref())
                    .map(|stretching| stretching.suite),
            }
        };
        scan.labels().into_iter().map(entry).collect()
    }

    /// Makes a key for every purpose that has none, its pair and number keys with `suite`; `now` is in milliseconds
    /// since 1970. After an interruption it can be called again. The keys that it made.
    ///
    /// # Errors
    /// [`Pkcs11Error::Exists`] if there is nothing to make; otherwise as [`add_version`](Self::add_version).
    pub fn create_keys(&self, suite: Suite, now: i64) -> Result<Vec<KeyId>, Pkcs11Error> {
        self.refresh()?;
        let scan = self.scan();
        let lacking: Vec<_> =
            Purpose::needed().filter(|purpose| scan.usable(*purpose).next().is_none()).collect();
        if lacking.is_empty() {
            return Err(Pkcs11Error::Exists(self.config.label.clone()));
        }
        lacking.into_iter().map(|purpose| self.add_version(purpose, NewStretching::New(suite), now)).collect()
    }

    /// Makes the next version of a purpose's key, in the token; `how` counts for keys that stretch, `now` is in
    /// milliseconds since 1970. Durable when it returns; an interruption leaves a key without record, which is passed
    /// over from then on. Only one process may make keys at a time.
    ///
    /// # Errors
    /// The token's refusal, [`Pkcs11Error::NoRandomness`] for a pepper, or [`Pkcs11Error::NoMoreVersions`].
    pub fn add_version(&self, purpose: Purpose, how: NewStretching, now: i64) -> Result<KeyId, Pkcs11Error> {
        self.refresh()?;
        let scan = self.scan();
        let last = scan.labels().into_iter().rfind(|key| key.purpose == purpose);
        let version = match last {
            Some(last) => last.version.checked_add(1).ok_or(Pkcs11Error::NoMoreVersions(last))?,
            None => 1,
        };
        let key = KeyId { purpose, version };
        let stretching = if purpose.stretches() {
            let newest = scan.usable(purpose).last().and_then(|newest| scan.stretching(newest));
            Some(how.after(newest).map_err(Pkcs11Error::NoRandomness)?)
        } else {
            None
        };
        self.add(key, stretching, now)
    }

    /// Makes both keys of the next audience of credentials, and returns the audience's number. What an interruption has
    /// left of one is passed over.
    ///
    /// # Errors
    /// As [`add_version`](Self::add_version).
    pub fn add_audience(&self, now: i64) -> Result<u32, Pkcs11Error> {
        self.refresh()?;
        let audiences = |key: &KeyId| !key.purpose.is_needed();
        let last = self.scan().labels().into_iter().filter(audiences).max_by_key(|key| key.version);
        let version = match last {
            Some(last) => last.version.checked_add(1).ok_or(Pkcs11Error::NoMoreVersions(last))?,
            None => 1,
        };
        for purpose in [Purpose::CredentialUser, Purpose::CredentialAuth] {
            self.add(KeyId { purpose, version }, None, now)?;
        }
        Ok(version)
    }

    fn add(&self, key: KeyId, stretching: Option<Stretching>, now: i64) -> Result<KeyId, Pkcs11Error> {
        let record = Record { made_at: now, stretching }.write();
        self.change(|session| {
            let made = session.generate_key(&Mechanism::GenericSecretKeyGen, &secret_template(key))?;
            let written = session.create_object(&[
                Attribute::Class(ObjectClass::DATA),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Modifiable(false),
                Attribute::Application(APPLICATION.into()),
                Attribute::Label(label(key).into()),
                Attribute::Value(record.to_vec()),
            ]);
            if let Err(error) = written {
                let _ = session.destroy_object(made);
                return Err(error.into());
            }
            Ok(())
        })?;
        match self.scan().state(key) {
            KeyState::Usable => Ok(key),
            KeyState::Exposed => Err(Pkcs11Error::Exposed(key)),
            KeyState::Twice => Err(Pkcs11Error::Twice(key)),
            KeyState::WithoutKey | KeyState::WithoutRecord | KeyState::Unreadable => {
                Err(Pkcs11Error::KeyMissing(key))
            }
        }
    }

    /// Destroys a key and its record, for good: what was hashed or sealed with it is of no use any more. Also for
    /// what an interruption or a loss has left of one.
    ///
    /// # Errors
    /// [`Pkcs11Error::NoSuchKey`], [`Pkcs11Error::Only`] for the last usable key of its purpose,
    /// [`Pkcs11Error::Twice`], or the token's refusal.
    pub fn destroy(&self, key: KeyId) -> Result<(), Pkcs11Error> {
        self.refresh()?;
        let scan = self.scan();
        let (object, record) = (scan.keys.get(&key), scan.records.get(&key));
        if object.is_none() && record.is_none() {
            return Err(Pkcs11Error::NoSuchKey(key));
        }
        match scan.state(key) {
            KeyState::Twice => return Err(Pkcs11Error::Twice(key)),
            KeyState::Usable if key.purpose.is_needed() && scan.usable(key.purpose).count() == 1 => {
                return Err(Pkcs11Error::Only(key));
            }
            _ => {}
        }
        self.change(|session| {
            if let Some((record, _)) = record {
                session.destroy_object(*record)?;
            }
            if let Some(object) = object {
                session.destroy_object(object.handle)?;
            }
            Ok(())
        })
    }
}

fn secret_template(key: KeyId) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::ValueLen(32.into()),
        Attribute::Label(label(key).into()),
        Attribute::Id(label(key).into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Sign(true),
        Attribute::Verify(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_are_written() {
        let key = KeyId { purpose: Purpose::Pair, version: 3 };
        assert_eq!(label(key), "acquaint:pair:3");
        assert_eq!(by_label(b"acquaint:pair:3"), Some(key));
        for other in [
            "acquaint:pair:03",
            "acquaint:pair:0",
            "acquaint:pair:+3",
            "acquaint:pair",
            "acquaint:cheese:3",
            "acquaint:pair:3:",
            "other:pair:3",
            "acquaint:pair:4294967296",
            "",
        ] {
            assert_eq!(by_label(other.as_bytes()), None, "{other}");
        }
        assert_eq!(by_label(b"acquaint:pair:\xff"), None);
    }
}
