//! Reading a shard's file.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Mutex;

use acquaint_pir::{Keyword, KeywordTable, Position, Server};
use sha2::{Digest, Sha256};

use super::format::{self, CHUNK, ENTRY_BYTES, Entry, HEAD_BYTES, Head, Layout, SUM_BYTES, Section};
use super::owners::Owners;
use super::{Shard, ShardError, check_memory, empty_placement, map, memory_needed};

/// Told how far it is: bytes done, and bytes to do. `false` ends it.
pub type Watch<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// What a file's head says.
#[derive(Debug, Clone)]
pub struct Stat {
    /// Which shard, and how recent.
    pub head: Head,
    /// The name of the configuration (`acquaint-pir`).
    pub configuration: [u8; 16],
    /// The shape of the table.
    pub shape: acquaint_pir::Shape,
    /// Records.
    pub records: u64,
    /// Places for records.
    pub places: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of memory that the shard takes when it is full.
    pub memory_bytes: u64,
}

impl Shard {
    /// Opens a file for a server's configuration and a label: both must be those that it was saved with. The table is mapped
    /// copy-on-write: what changes is in memory alone, and the file stays as it was written. Everything is held against its
    /// checksums first, so the whole file is read. Blocks.
    ///
    /// The file must not be written to while the shard is there. [`Shard::save`] replaces it, and that is fine.
    ///
    /// # Errors
    /// The reason by name; nothing of the file is used then.
    pub fn open(path: &Path, server: &Server, label: &[u8]) -> Result<(Self, Head), ShardError> {
        Self::open_watched(path, server, label, &mut |_, _| true)
    }

    /// As [`Shard::open`], and tells how far it is.
    ///
    /// # Errors
    /// As [`Shard::open`], and [`ShardError::Ended`].
    pub fn open_watched(
        path: &Path,
        server: &Server,
        label: &[u8],
        watch: Watch<'_>,
    ) -> Result<(Self, Head), ShardError> {
        let source = Source::open(path)?;
        if source.layout.configuration.id() != server.configuration().id() {
            return Err(ShardError::OtherConfiguration(path.to_owned()));
        }
        if source.layout.head.label != label {
            return Err(ShardError::OtherLabel(path.to_owned()));
        }
        source.read(server, watch)
    }
}

/// What a file says of itself. Only its head is read and held against its checksum.
///
/// # Errors
/// When it is no whole file of a shard.
pub fn stat(path: &Path) -> Result<Stat, ShardError> {
    let Source { layout, .. } = Source::open(path)?;
    Ok(Stat {
        configuration: *layout.configuration.id().as_bytes(),
        shape: layout.shape(),
        records: layout.records,
        places: super::limits::places(layout.shape()) as u64,
        bytes: layout.file_bytes(),
        memory_bytes: memory_needed(layout.shape()),
        head: layout.head,
    })
}

/// Opens a file as what it says that it is, with a server of its own.
pub(super) fn open_any(path: &Path, watch: Watch<'_>) -> Result<(Server, Shard, Head), ShardError> {
    let source = Source::open(path)?;
    let server = Server::new(source.layout.configuration.clone());
    let (shard, head) = source.read(&server, watch)?;
    Ok((server, shard, head))
}

/// A file whose head is good and whose length is that of its head.
struct Source<'a> {
    path: &'a Path,
    file: File,
    layout: Layout,
}

impl<'a> Source<'a> {
    fn open(path: &'a Path) -> Result<Self, ShardError> {
        let unusable = |source| ShardError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unusable)?;
        let metadata = file.metadata().map_err(unusable)?;
        if !metadata.is_file() {
            return Err(ShardError::Foreign(path.to_owned()));
        }
        // Whoever writes to a file that is mapped changes what is read, and whoever cuts it ends the process.
        if metadata.mode() & 0o022 != 0 {
            return Err(ShardError::Permissions { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
        }
        let mut bytes = [0; HEAD_BYTES];
        let length = metadata.len();
        // A shorter one is told by what it begins with.
        let there = HEAD_BYTES.min(usize::try_from(length).unwrap_or(HEAD_BYTES));
        file.read_exact(bytes.get_mut(..there).unwrap_or_default()).map_err(unusable)?;
        let layout = match format::read_head(&bytes) {
            Err(format::HeadError::Damaged) if there < HEAD_BYTES => {
                return Err(ShardError::Length {
                    path: path.to_owned(),
                    expected: HEAD_BYTES as u64,
                    found: length,
                });
            }
            outcome => outcome.map_err(|error| ShardError::of_head(path, error))?,
        };
        if layout.file_bytes() != length {
            let expected = layout.file_bytes();
            return Err(ShardError::Length { path: path.to_owned(), expected, found: length });
        }
        Ok(Self { path, file, layout })
    }

    fn damaged(&self, section: Section) -> ShardError {
        ShardError::Damaged { path: self.path.to_owned(), section }
    }

    fn read(self, server: &Server, watch: Watch<'_>) -> Result<(Shard, Head), ShardError> {
        // Before anything of the size that a file claims is allocated.
        check_memory(memory_needed(self.layout.shape()))?;
        let mut placement = empty_placement(&self.layout.configuration)?;
        let sums = self.sums()?;
        let mut sums = sums.iter();
        let mut is_sound = |bytes: &[u8]| sums.next().is_some_and(|sum| Sha256::digest(bytes)[..] == sum[..]);
        let mut done = HEAD_BYTES as u64;
        let total = self.layout.file_bytes();

        let words = self.layout.configuration.parameters().table_words();
        let unusable = |source| ShardError::Io { path: self.path.to_owned(), source };
        let mut pages = map::of_file(&self.file, HEAD_BYTES as u64, words).map_err(unusable)?;
        for chunk in bytemuck::cast_slice::<u32, u8>(pages.words()).chunks(CHUNK) {
            if !is_sound(chunk) {
                return Err(self.damaged(Section::Table));
            }
            done += chunk.len() as u64;
            if !watch(done, total) {
                return Err(ShardError::Ended);
            }
        }
        if cfg!(target_endian = "big") {
            pages.words_mut().iter_mut().for_each(|word| *word = u32::from_le(*word));
        }

        let wrong = || self.damaged(Section::Records);
        let shape = self.layout.shape();
        let (entries, buckets) = (placement.entries() as u64, (shape.columns * shape.slots) as u64);
        let mut owners: Vec<(u64, [u8; 16])> = Vec::new();
        let end = done + self.layout.records_bytes();
        while done < end {
            let bytes = self.bytes_at(done, (end - done).min(CHUNK as u64))?;
            if !is_sound(&bytes) {
                return Err(wrong());
            }
            for bytes in bytes.as_chunks::<ENTRY_BYTES>().0 {
                let Entry { owner, place, keyword } = Entry::read(bytes).map_err(|_| wrong())?;
                let bucket = place / entries;
                let [row, bucket, entry] = [bucket / buckets, bucket % buckets, place % entries]
                    .map(|number| usize::try_from(number).unwrap_or(usize::MAX));
                let position = Position { row, bucket, entry };
                placement.restore(position, &Keyword::new(keyword)).map_err(|_| wrong())?;
                if owners.last().is_some_and(|(former, _)| *former >= owner) {
                    return Err(wrong());
                }
                owners.push((owner, keyword));
            }
            done += bytes.len() as u64;
            if !watch(done, total) {
                return Err(ShardError::Ended);
            }
        }
        let owners = Owners::from_sorted(owners);
        let table = KeywordTable::open(server, pages, placement)?;
        watch(total, total);
        let configuration = server.configuration().clone();
        Ok((Shard { table, owners: Mutex::new(owners), configuration }, self.layout.head))
    }

    /// The checksums, which are held against the last of them.
    fn sums(&self) -> Result<Vec<[u8; SUM_BYTES]>, ShardError> {
        let length = self.layout.checksum_bytes();
        let bytes = self.bytes_at(self.layout.file_bytes().saturating_sub(length), length)?;
        let (last, sums) =
            bytes.as_chunks().0.split_last().ok_or_else(|| self.damaged(Section::Checksums))?;
        if format::sum_of_sums(&self.layout.sum, sums) != *last {
            return Err(self.damaged(Section::Checksums));
        }
        Ok(sums.to_vec())
    }

    fn bytes_at(&self, offset: u64, length: u64) -> Result<Vec<u8>, ShardError> {
        let unusable = |source| ShardError::Io { path: self.path.to_owned(), source };
        // Not more than the file has.
        let mut bytes =
            vec![0; usize::try_from(length).map_err(|_| unusable(std::io::ErrorKind::FileTooLarge.into()))?];
        self.file.read_exact_at(&mut bytes, offset).map_err(unusable)?;
        Ok(bytes)
    }
}
