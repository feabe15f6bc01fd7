//! Writing a shard to a file.
//!
//! It is written beside its place and renamed, so that a crash leaves the former file or the new one. Records cannot come
//! or go meanwhile: who puts one waits until the file is written. Queries wait only while a piece of the table is copied, some
//! milliseconds, for as many times as there are pieces.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use acquaint_pir::{Keyword, Placement};
use sha2::{Digest, Sha256};

use super::format::{self, CHUNK, Entry, Head, SUM_BYTES};
use super::{Owner, Shard, ShardError};

/// Words of a piece: 32 MiB, whole chunks.
const PIECE_WORDS: usize = 8 * CHUNK / size_of::<u32>();
/// Owners whose places are looked up while queries wait.
const PIECE_OWNERS: usize = 1 << 14;

impl Shard {
    /// Writes the shard into a file, over a former one, which is there until the new one is whole and on the disk. `head` is
    /// the caller's word. The file has mode 0600; what is being written is `path` with `.part` behind it. Blocks.
    ///
    /// [`Shard::put`] and [`Shard::remove`] wait until it is written. Queries wait for a copy of 32 MiB at a time.
    ///
    /// # Errors
    /// When the head is not of this configuration, and when the system refuses; then the former file is as it was.
    pub fn save(&self, path: &Path, head: &Head) -> Result<(), ShardError> {
        let unusable = |source| ShardError::Io { path: path.to_owned(), source };
        let owners = self.owners();
        let records = self.table.len() as u64;
        let head = format::write_head(head, &self.configuration, records)?;
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let mut part = Part::create(part.into()).map_err(unusable)?;

        let mut sums = Sums::default();
        part.file.write_all(&head).map_err(unusable)?;
        let words = self.configuration.parameters().table_words();
        let mut piece: Vec<u32> = Vec::with_capacity(PIECE_WORDS.min(words));
        for first in (0..words).step_by(PIECE_WORDS) {
            let last = words.min(first + PIECE_WORDS);
            piece.clear();
            self.table.snapshot(|words, _| {
                piece.extend_from_slice(words.get(first..last).unwrap_or_default());
            });
            if cfg!(target_endian = "big") {
                piece.iter_mut().for_each(|word| *word = word.to_le());
            }
            sums.write(&mut part.file, bytemuck::cast_slice(&piece)).map_err(unusable)?;
        }
        drop(piece);
        sums.next_section();
        let (mut first, mut written) = (Some(0), 0);
        while let Some(from) = first {
            let held: Vec<_> = owners.holders_from(from).take(PIECE_OWNERS).collect();
            first = held
                .last()
                .and_then(|(owner, _)| owner.0.checked_add(1))
                .filter(|_| held.len() == PIECE_OWNERS);
            let bytes = self.table.snapshot(|_, placement| entries(&held, placement));
            written += held.len() as u64;
            sums.write(&mut part.file, &bytes?).map_err(unusable)?;
        }
        if written != records {
            return Err(ShardError::Inconsistent);
        }
        sums.next_section();
        let head_sum = head.last_chunk::<SUM_BYTES>().ok_or(ShardError::Inconsistent)?;
        let last = format::sum_of_sums(head_sum, &sums.done);
        part.file.write_all(sums.done.as_flattened()).map_err(unusable)?;
        part.file.write_all(&last).map_err(unusable)?;
        part.put_in_place(path).map_err(unusable)
    }
}

/// Owners with places and keywords, as they stand in a file.
fn entries(held: &[(Owner, &[u8; 16])], placement: &Placement) -> Result<Vec<u8>, ShardError> {
    let shape = placement.shape();
    let mut bytes = Vec::with_capacity(held.len() * format::ENTRY_BYTES);
    for (owner, keyword) in held {
        let position = placement.find(&Keyword::new(**keyword)).ok_or(ShardError::Inconsistent)?;
        let bucket = position.row * shape.columns * shape.slots + position.bucket;
        let place = (bucket * placement.entries() + position.entry) as u64;
        Entry { owner: owner.0, place, keyword: **keyword }.write(&mut bytes);
    }
    Ok(bytes)
}

/// Checksums of the chunks that went by.
#[derive(Default)]
struct Sums {
    done: Vec<[u8; SUM_BYTES]>,
    digest: Sha256,
    in_chunk: usize,
}

impl Sums {
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (taken, left) = rest.split_at(rest.len().min(CHUNK - self.in_chunk));
            self.digest.update(taken);
            self.in_chunk += taken.len();
            if self.in_chunk == CHUNK {
                self.next_section();
            }
            rest = left;
        }
        file.write_all(bytes)
    }

    /// Ends a chunk that is not full.
    fn next_section(&mut self) {
        if std::mem::take(&mut self.in_chunk) > 0 {
            self.done.push(self.digest.finalize_reset().into());
        }
    }
}

/// A file that is being written. It is gone if it is not put in its place.
struct Part {
    file: File,
    path: PathBuf,
    placed: bool,
}

impl Part {
    fn create(path: PathBuf) -> io::Result<Self> {
        // What a crash left.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, placed: false })
    }

    fn put_in_place(mut self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        self.placed = true;
        // The name is on the disk with the folder.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.placed {
            // Its content is of no use, and nobody is there to be told.
            let _left = fs::remove_file(&self.path);
        }
    }
}
