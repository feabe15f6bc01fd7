//! The bytes of the protocol. What comes from the other side is untrusted: nothing here panics on it, or allocates more
//! than a frame may hold.

use std::time::Duration;

use acquaint_protocol::pair::{Canonicalisation, StretchPepper, Suite};
use zeroize::Zeroizing;

use super::MAX_FRAME;
use crate::budget::KeyUsage;
use crate::{CustodyError, KeyId, Purpose, ShareTag, Stretching};

const VERSION: u8 = 1;

pub(super) enum Request<'a> {
    Keys,
    Stretching(KeyId),
    Hmac { key: KeyId, share: Option<ShareTag>, inputs: Vec<&'a [u8]> },
    Seal { purpose: Purpose, aad: &'a [u8], plaintext: &'a [u8] },
    Open { purpose: Purpose, aad: &'a [u8], sealed: &'a [u8] },
    Usage,
    Audit(KeyId),
}

pub(super) enum Answer {
    Keys(Vec<KeyId>),
    Stretching(Stretching),
    Hashes(Vec<[u8; 32]>),
    Bytes(Zeroizing<Vec<u8>>),
    Usage(Vec<KeyUsage>),
    Audit(Option<u64>),
    Failure(Failure),
}

pub(super) enum Failure {
    NoSuchKey(KeyId),
    WrongPurpose(KeyId),
    NotOurs,
    Unavailable(String),
    OverBudget { key: KeyId, retry_after: Duration },
    NotUnderstood(String),
}

/// The bytes are no frame of this protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl From<CustodyError> for Failure {
    fn from(error: CustodyError) -> Self {
        match error {
            CustodyError::NoSuchKey(key) => Self::NoSuchKey(key),
            CustodyError::WrongPurpose(key) => Self::WrongPurpose(key),
            CustodyError::NotOurs => Self::NotOurs,
            CustodyError::Unavailable(source) => Self::Unavailable(chain(&*source)),
            CustodyError::OverBudget { key, retry_after } => Self::OverBudget { key, retry_after },
        }
    }
}

/// An error and what lies behind it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        text = format!("{text}: {error}");
        behind = error.source();
    }
    text.truncate(text.floor_char_boundary(1024));
    text
}

impl Request<'_> {
    /// The whole frame, or its length if that is more than [`MAX_FRAME`].
    pub(super) fn frame(&self) -> Result<Zeroizing<Vec<u8>>, usize> {
        let room = match self {
            Self::Hmac { inputs, .. } => inputs.iter().map(|input| 4 + input.len()).sum(),
            Self::Seal { aad, plaintext: text, .. } | Self::Open { aad, sealed: text, .. } => {
                aad.len() + text.len()
            }
            Self::Keys | Self::Stretching(_) | Self::Usage | Self::Audit(_) => 0,
        };
        match self {
            Self::Keys => Writer::new(1, room),
            Self::Stretching(key) => Writer::new(2, room).key(*key),
            Self::Hmac { key, share, inputs } => {
                let writer = Writer::new(3, room).key(*key);
                let writer = match share {
                    None => writer.raw(&[0]),
                    Some(ShareTag(tag)) => writer.raw(&[1]).raw(tag),
                };
                writer.list(inputs, |writer, input| writer.bytes(input))
            }
            Self::Seal { purpose, aad, plaintext } => {
                Writer::new(4, room).raw(&[code(*purpose)]).bytes(aad).bytes(plaintext)
            }
            Self::Open { purpose, aad, sealed } => {
                Writer::new(5, room).raw(&[code(*purpose)]).bytes(aad).bytes(sealed)
            }
            Self::Usage => Writer::new(6, room),
            Self::Audit(key) => Writer::new(7, room).key(*key),
        }
        .frame()
    }
}

impl<'a> Request<'a> {
    /// Reads a frame without its length.
    pub(super) fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(frame);
        let request = match reader.kind()? {
            1 => Self::Keys,
            2 => Self::Stretching(reader.key()?),
            3 => Self::Hmac {
                key: reader.key()?,
                share: reader.perhaps(|reader| reader.array().map(ShareTag))?,
                inputs: reader.list(4, Reader::bytes)?,
            },
            4 => Self::Seal { purpose: reader.purpose()?, aad: reader.bytes()?, plaintext: reader.bytes()? },
            5 => Self::Open { purpose: reader.purpose()?, aad: reader.bytes()?, sealed: reader.bytes()? },
            6 => Self::Usage,
            7 => Self::Audit(reader.key()?),
            _ => return Err(Malformed),
        };
        reader.end().map(|()| request)
    }
}

impl Answer {
    /// The whole frame, or its length if that is more than [`MAX_FRAME`].
    pub(super) fn frame(&self) -> Result<Zeroizing<Vec<u8>>, usize> {
        match self {
            Self::Keys(keys) => {
                Writer::new(129, 4 + 5 * keys.len()).list(keys, |writer, key| writer.key(*key))
            }
            Self::Stretching(Stretching { pepper, suite, canonicalisation }) => Writer::new(130, 128)
                .raw(pepper.as_bytes())
                .raw(&canonicalisation.get().to_be_bytes())
                .bytes(suite.name.as_bytes()),
            Self::Hashes(hashes) => {
                Writer::new(131, 4 + 32 * hashes.len()).list(hashes, |writer, hash| writer.raw(hash))
            }
            Self::Bytes(bytes) => Writer::new(132, 4 + bytes.len()).bytes(bytes),
            Self::Usage(usages) => Writer::new(133, 4 + 80 * usages.len()).list(usages, Writer::usage),
            Self::Audit(count) => Writer::new(134, 9).perhaps(count.map(u64::to_be_bytes)),
            Self::Failure(failure) => Writer::new(135, 2048).failure(failure),
        }
        .frame()
    }

    /// Reads a frame without its length.
    pub(super) fn read(frame: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(frame);
        let answer = match reader.kind()? {
            129 => Self::Keys(reader.list(5, Reader::key)?),
            130 => Self::Stretching(Stretching {
                pepper: StretchPepper::from_bytes(reader.array()?),
                canonicalisation: Canonicalisation::new(reader.u32()?),
                suite: Suite::by_name(reader.text()?).ok_or(Malformed)?,
            }),
            131 => Self::Hashes(reader.list(32, Reader::array)?),
            132 => Self::Bytes(Zeroizing::new(reader.bytes()?.to_vec())),
            133 => Self::Usage(reader.list(58, Reader::usage)?),
            134 => Self::Audit(reader.perhaps(Reader::u64)?),
            135 => Self::Failure(reader.failure()?),
            _ => return Err(Malformed),
        };
        reader.end().map(|()| answer)
    }
}

const fn code(purpose: Purpose) -> u8 {
    match purpose {
        Purpose::Pair => 1,
        Purpose::Number => 2,
        Purpose::Code => 3,
        Purpose::Account => 4,
        Purpose::Token => 5,
        Purpose::Seal => 6,
        Purpose::CredentialUser => 7,
        Purpose::CredentialAuth => 8,
    }
}

struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// With room for a frame of about that content, so that no copy of it is left where a growing buffer was.
    fn new(kind: u8, room: usize) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(room.saturating_add(64)));
        bytes.extend_from_slice(&[0, 0, 0, 0, VERSION, kind]);
        Self(bytes)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn count(self, count: usize) -> Self {
        // What does not fit is far more than a frame holds, and is refused by its length.
        self.raw(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes())
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.count(bytes.len()).raw(bytes)
    }

    fn key(self, key: KeyId) -> Self {
        self.raw(&[code(key.purpose)]).raw(&key.version.to_be_bytes())
    }

    fn list<T>(self, items: &[T], write: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self.count(items.len()), write)
    }

    fn perhaps<const N: usize>(self, value: Option<[u8; N]>) -> Self {
        match value {
            None => self.raw(&[0]),
            Some(value) => self.raw(&[1]).raw(&value),
        }
    }

    fn usage(self, usage: &KeyUsage) -> Self {
        let KeyUsage {
            key,
            allowed,
            used_today,
            per_day,
            per_second,
            over_second,
            over_day,
            over_share,
            unaccounted,
        } = usage;
        self.key(*key)
            .raw(&allowed.to_be_bytes())
            .raw(&used_today.to_be_bytes())
            .raw(&per_day.to_be_bytes())
            .raw(&per_second.to_be_bytes())
            .raw(&over_second.to_be_bytes())
            .raw(&over_day.to_be_bytes())
            .raw(&over_share.to_be_bytes())
            .perhaps(unaccounted.map(i64::to_be_bytes))
    }

    fn failure(self, failure: &Failure) -> Self {
        match failure {
            Failure::NoSuchKey(key) => self.raw(&[1]).key(*key),
            Failure::WrongPurpose(key) => self.raw(&[2]).key(*key),
            Failure::NotOurs => self.raw(&[3]),
            Failure::Unavailable(text) => self.raw(&[4]).bytes(text.as_bytes()),
            Failure::OverBudget { key, retry_after } => {
                let wait = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                self.raw(&[5]).key(*key).raw(&wait.to_be_bytes())
            }
            Failure::NotUnderstood(text) => self.raw(&[6]).bytes(text.as_bytes()),
        }
    }

    fn frame(mut self) -> Result<Zeroizing<Vec<u8>>, usize> {
        let length = self.0.len() - 4;
        let written = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(length)?;
        if let Some(place) = self.0.first_chunk_mut() {
            *place = written.to_be_bytes();
        }
        Ok(self.0)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn kind(&mut self) -> Result<u8, Malformed> {
        match self.array()? {
            [VERSION, kind] => Ok(kind),
            _ => Err(Malformed),
        }
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u32()?).map_err(|_| Malformed)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.count()?;
        self.take(count)
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    fn purpose(&mut self) -> Result<Purpose, Malformed> {
        let [read] = self.array()?;
        Purpose::ALL.into_iter().find(|purpose| code(*purpose) == read).ok_or(Malformed)
    }

    fn key(&mut self) -> Result<KeyId, Malformed> {
        Ok(KeyId { purpose: self.purpose()?, version: self.u32()? })
    }

    fn perhaps<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.array()? {
            [0] => Ok(None),
            [1] => read(self).map(Some),
            _ => Err(Malformed),
        }
    }

    /// A list of elements that take at least `least` bytes each; a count beyond what is there is refused before
    /// anything is allocated for it.
    fn list<T>(
        &mut self,
        least: usize,
        read: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.count()?;
        if count > self.0.len() / least {
            return Err(Malformed);
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn usage(&mut self) -> Result<KeyUsage, Malformed> {
        Ok(KeyUsage {
            key: self.key()?,
            allowed: self.u64()?,
            used_today: self.u64()?,
            per_day: self.u64()?,
            per_second: self.u32()?,
            over_second: self.u64()?,
            over_day: self.u64()?,
            over_share: self.u64()?,
            unaccounted: self.perhaps(|reader| reader.array().map(i64::from_be_bytes))?,
        })
    }

    fn failure(&mut self) -> Result<Failure, Malformed> {
        let [kind] = self.array()?;
        Ok(match kind {
            1 => Failure::NoSuchKey(self.key()?),
            2 => Failure::WrongPurpose(self.key()?),
            3 => Failure::NotOurs,
            4 => Failure::Unavailable(self.text()?.to_owned()),
            5 => Failure::OverBudget { key: self.key()?, retry_after: Duration::from_millis(self.u64()?) },
            6 => Failure::NotUnderstood(self.text()?.to_owned()),
            _ => return Err(Malformed),
        })
    }

    fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// The decoders, for the fuzz target: each reads what either side may be sent and writes it again.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    use super::{Answer, Request};

    /// Reads a question as the serving side does; what it says, as a frame without its length. `None` for what is
    /// refused.
    #[must_use]
    pub fn request(frame: &[u8]) -> Option<Vec<u8>> {
        Some(Request::read(frame).ok()?.frame().ok()?.get(4..)?.to_vec())
    }

    /// Reads an answer as the asking side does; what it says, as a frame without its length. `None` for what is
    /// refused.
    #[must_use]
    pub fn answer(frame: &[u8]) -> Option<Vec<u8>> {
        Some(Answer::read(frame).ok()?.frame().ok()?.get(4..)?.to_vec())
    }
}
