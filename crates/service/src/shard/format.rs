//! A shard's file, version 1. All integers are little-endian.
//!
//! | section | bytes | content |
//! |---|---|---|
//! | head | 4096 | below |
//! | table | 4 × words | the words of the table (`acquaint-pir`), as they lie in memory |
//! | records | 32 × records | owner u64 ‖ place u64 ‖ keyword (16), owners ascending |
//! | checksums | 32 × chunks + 32 | SHA-256 of each chunk of 4 MiB of the table, then of the records; SHA-256 of the head's checksum and these |
//!
//! The last chunk of a section can be shorter. A place is (row × buckets of a row + bucket) × records of a bucket + entry.
//!
//! ```text
//! head = "acquaint shard\r\n" ‖ version u32 ‖ rows u32 ‖ columns u32 ‖ slots u32 ‖ answers u32 ‖ lookups u32 ‖ record bytes u32 ‖
//!        configuration id (16) ‖ records u64 ‖ change u64 ‖ made_at i64 ‖
//!        length u16 ‖ epoch bytes ‖ length u16 ‖ label ‖ zeros ‖ SHA-256 of the 4064 bytes before (32)
//! ```
//!
//! The table begins at a whole page, so that it can be mapped. Checksums tell what broke by itself; who may write the file
//! can write checksums too.

use std::path::Path;

use acquaint_pir::{Configuration, Parameters, Shape};
use acquaint_store::Millis;
use sha2::{Digest, Sha256};

use super::{RECORD_BYTES, ShardError};

/// Ends as a file that was carried as text no longer does.
const MAGIC: &[u8; 16] = b"acquaint shard\r\n";
const VERSION: u32 = 1;
/// A multiple of the smallest page.
pub(super) const HEAD_BYTES: usize = 4096;
pub(super) const SUM_BYTES: usize = 32;
/// What a checksum is of: a broken one is found to a few megabytes.
pub(super) const CHUNK: usize = 4 << 20;
/// Owner, place and keyword. A chunk has a whole number of them.
pub(super) const ENTRY_BYTES: usize = 32;
/// The longest epoch bytes and the longest label.
const MAX_NAME: usize = 1024;

/// Which shard a file has, and how recent it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the configuration was made of besides the shape ([`Configuration::new`]): with it a file can be asked without
    /// the server. At most 1024 bytes.
    pub epoch: Vec<u8>,
    /// What the shard is called: provider, profile, epoch, layout and number. At most 1024 bytes.
    pub label: Vec<u8>,
    /// The last change of the directory that is in it.
    pub change: u64,
    /// When it was saved, milliseconds since 1970.
    pub made_at: Millis,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What it is.
    Head,
    /// The words of the table.
    Table,
    /// Owners, keywords and their places.
    Records,
    /// The checksums of the others.
    Checksums,
}

impl std::fmt::Display for Section {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Head => "head",
            Self::Table => "table",
            Self::Records => "records",
            Self::Checksums => "checksums",
        })
    }
}

/// The head of a file, and what follows from it.
pub(super) struct Layout {
    pub(super) head: Head,
    pub(super) configuration: Configuration,
    pub(super) records: u64,
    /// The head's checksum.
    pub(super) sum: [u8; SUM_BYTES],
}

impl Layout {
    pub(super) fn shape(&self) -> Shape {
        self.configuration.parameters().shape()
    }

    pub(super) fn table_bytes(&self) -> u64 {
        self.configuration.parameters().table_words() as u64 * 4
    }

    pub(super) fn records_bytes(&self) -> u64 {
        self.records.saturating_mul(ENTRY_BYTES as u64)
    }

    /// How many chunks the table has, and how many the records.
    pub(super) fn chunks(&self) -> [u64; 2] {
        [self.table_bytes(), self.records_bytes()].map(|bytes| bytes.div_ceil(CHUNK as u64))
    }

    pub(super) fn checksum_bytes(&self) -> u64 {
        self.chunks().iter().sum::<u64>().saturating_add(1).saturating_mul(SUM_BYTES as u64)
    }

    /// The whole file.
    pub(super) fn file_bytes(&self) -> u64 {
        (HEAD_BYTES as u64)
            .saturating_add(self.table_bytes())
            .saturating_add(self.records_bytes())
            .saturating_add(self.checksum_bytes())
    }
}

/// The head as it stands in a file.
pub(super) fn write_head(
    head: &Head,
    configuration: &Configuration,
    records: u64,
) -> Result<Vec<u8>, ShardError> {
    if head.epoch.len().max(head.label.len()) > MAX_NAME {
        return Err(ShardError::Name(MAX_NAME));
    }
    if Configuration::new(configuration.parameters().clone(), &head.epoch).id() != configuration.id() {
        return Err(ShardError::Epoch);
    }
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    bytes.extend_from_slice(MAGIC);
    let Shape { rows, columns, slots, answers } = configuration.parameters().shape();
    let lookups = configuration.parameters().lookups();
    let numbers = [VERSION as usize, rows, columns, slots, answers, lookups, RECORD_BYTES];
    for number in numbers {
        bytes.extend_from_slice(&u32::try_from(number).map_err(|_| ShardError::Shape)?.to_le_bytes());
    }
    bytes.extend_from_slice(configuration.id().as_bytes());
    bytes.extend_from_slice(&records.to_le_bytes());
    bytes.extend_from_slice(&head.change.to_le_bytes());
    bytes.extend_from_slice(&head.made_at.to_le_bytes());
    for name in [&head.epoch, &head.label] {
        // Not longer than `MAX_NAME`.
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name);
    }
    bytes.resize(HEAD_BYTES - SUM_BYTES, 0);
    let sum: [u8; SUM_BYTES] = Sha256::digest(&bytes).into();
    bytes.extend_from_slice(&sum);
    Ok(bytes)
}

/// Why a head is not one. The path comes from who read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// It does not begin like a shard's file.
    Foreign,
    /// It is of a version that this program does not know.
    Version(u32),
    /// It is not whole.
    Damaged,
}

/// Reads a head. Version and checksum come before all else.
pub(super) fn read_head(bytes: &[u8; HEAD_BYTES]) -> Result<Layout, HeadError> {
    let mut reader = Reader(bytes);
    if &reader.array()? != MAGIC {
        return Err(HeadError::Foreign);
    }
    let version = reader.u32()?;
    if version != VERSION {
        return Err(HeadError::Version(version));
    }
    let (covered, sum) = bytes.split_last_chunk::<SUM_BYTES>().ok_or(HeadError::Damaged)?;
    if Sha256::digest(covered).as_slice() != sum {
        return Err(HeadError::Damaged);
    }
    let mut number = || Ok(reader.u32()? as usize);
    let shape = Shape { rows: number()?, columns: number()?, slots: number()?, answers: number()? };
    let lookups = number()?;
    if number()? != RECORD_BYTES {
        return Err(HeadError::Damaged);
    }
    let id: [u8; 16] = reader.array()?;
    let records = u64::from_le_bytes(reader.array()?);
    let change = u64::from_le_bytes(reader.array()?);
    let made_at = Millis::from_le_bytes(reader.array()?);
    let mut name = || {
        let length = usize::from(u16::from_le_bytes(reader.array()?));
        Ok(reader.take(length)?.to_vec())
    };
    let (epoch, label) = (name()?, name()?);
    let parameters = Parameters::together(shape, lookups).map_err(|_| HeadError::Damaged)?;
    let configuration = Configuration::new(parameters, &epoch);
    let behind = reader.0.strip_suffix(sum).ok_or(HeadError::Damaged)?;
    let is_filled = behind.iter().all(|byte| *byte == 0);
    if configuration.id().as_bytes() != &id || records > super::limits::places(shape) as u64 || !is_filled {
        return Err(HeadError::Damaged);
    }
    Ok(Layout { head: Head { epoch, label, change, made_at }, configuration, records, sum: *sum })
}

/// The last checksum: of the head's and all others.
pub(super) fn sum_of_sums(head: &[u8; SUM_BYTES], sums: &[[u8; SUM_BYTES]]) -> [u8; SUM_BYTES] {
    let mut digest = Sha256::new();
    digest.update(head);
    sums.iter().for_each(|sum| digest.update(sum));
    digest.finalize().into()
}

/// An owner, a place and a keyword.
pub(super) struct Entry {
    pub(super) owner: u64,
    pub(super) place: u64,
    pub(super) keyword: [u8; 16],
}

impl Entry {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.owner.to_le_bytes());
        out.extend_from_slice(&self.place.to_le_bytes());
        out.extend_from_slice(&self.keyword);
    }

    pub(super) fn read(bytes: &[u8; ENTRY_BYTES]) -> Result<Self, HeadError> {
        let mut reader = Reader(bytes);
        Ok(Self {
            owner: u64::from_le_bytes(reader.array()?),
            place: u64::from_le_bytes(reader.array()?),
            keyword: reader.array()?,
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], HeadError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(HeadError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], HeadError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(HeadError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, HeadError> {
        Ok(u32::from_le_bytes(self.array()?))
    }
}

impl ShardError {
    pub(super) fn of_head(path: &Path, error: HeadError) -> Self {
        let path = path.to_owned();
        match error {
            HeadError::Foreign => Self::Foreign(path),
            HeadError::Version(version) => Self::Version { path, version },
            HeadError::Damaged => Self::Damaged { path, section: Section::Head },
        }
    }
}
