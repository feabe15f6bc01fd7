//! What a token keeps beside a key: when it was made, and for a key that stretches, its pepper, suite and form of
//! identifiers. So a token alone brings everything back.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | when the key was made, milliseconds since 1970, signed, big-endian |
//! | 1 | 0: the key does not stretch, and the record ends here; 1: it does |
//! | 4 | canonicalisation, big-endian |
//! | 32 | pepper |
//! | rest | the suite's name |

use acquaint_protocol::pair::{Canonicalisation, StretchPepper, Suite};
use zeroize::Zeroizing;

use crate::Stretching;

const VERSION: u8 = 1;

pub(super) struct Record {
    pub(super) made_at: i64,
    pub(super) stretching: Option<Stretching>,
}

impl Record {
    pub(super) fn write(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it, so that no copy is left where a growing buffer was.
        let mut bytes = Zeroizing::new(Vec::with_capacity(256));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.made_at.to_be_bytes());
        bytes.push(u8::from(self.stretching.is_some()));
        if let Some(Stretching { pepper, suite, canonicalisation }) = &self.stretching {
            bytes.extend_from_slice(&canonicalisation.get().to_be_bytes());
            bytes.extend_from_slice(pepper.as_bytes());
            bytes.extend_from_slice(suite.name.as_bytes());
        }
        bytes
    }

    /// Reads a record, or says what is wrong without any of it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let (head, rest) = bytes.split_first_chunk::<10>().ok_or("it is cut off")?;
        let [version, made_at @ .., stretches] = head;
        if *version != VERSION {
            return Err("its version is not 1, so a newer program made it");
        }
        let mut made = [0; 8];
        made.copy_from_slice(made_at);
        let stretching = match (stretches, rest) {
            (0, []) => None,
            (1, rest) => Some(read_stretching(rest)?),
            _ => return Err("it does not end where it should"),
        };
        Ok(Self { made_at: i64::from_be_bytes(made), stretching })
    }
}

fn read_stretching(bytes: &[u8]) -> Result<Stretching, &'static str> {
    let (canonicalisation, rest) = bytes.split_first_chunk::<4>().ok_or("it is cut off")?;
    let (pepper, suite) = rest.split_first_chunk::<32>().ok_or("it is cut off")?;
    let suite = std::str::from_utf8(suite).ok().and_then(Suite::by_name).ok_or("its suite is not known")?;
    Ok(Stretching {
        pepper: StretchPepper::from_bytes(*pepper),
        suite,
        canonicalisation: Canonicalisation::new(u32::from_be_bytes(*canonicalisation)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_was_written_and_refused_otherwise() {
        let plain = Record { made_at: -2, stretching: None }.write();
        assert_eq!(plain.as_slice(), [1, 255, 255, 255, 255, 255, 255, 255, 254, 0]);
        assert_eq!(Record::read(&plain).unwrap().made_at, -2);
        let stretching = Stretching {
            pepper: StretchPepper::from_bytes([7; 32]),
            suite: Suite::HARD,
            canonicalisation: Canonicalisation::new(3),
        };
        let whole = Record { made_at: 1_700_000_000_000, stretching: Some(stretching) }.write();
        let read = Record::read(&whole).unwrap();
        assert_eq!(read.write(), whole);
        assert_eq!(read.stretching.unwrap().pepper.as_bytes(), &[7; 32]);
        for end in 0..whole.len() {
            assert!(Record::read(&whole[..end]).is_err(), "cut at {end}");
        }
        assert!(Record::read(&[&plain[..], &[0]].concat()).is_err());
        let mut newer = whole.to_vec();
        newer[0] = 2;
        assert!(Record::read(&newer).err().unwrap().contains("version"));
    }
}
