//! An export's file: rows sealed by the keys' holder, so that a thief of it has nothing without the keys.
//!
//! | bytes | what |
//! |---|---|
//! | 8, 1 | `acquaint`, version 1 |
//! | 16 | id, random |
//! | then chunks: 1 | 1 for the last, else 0 |
//! | 4 | length of what follows, big-endian |
//! | rest | sealed, with `export/` ‖ id ‖ the chunk's number from 0, as u64 ‖ the first byte as context |
//!
//! The first chunk holds the columns of the rows, the mark of the source's state and how many rows there are; each but the
//! last then a kind (u8, its number in the first chunk) and rows of it; the last is empty. So no part can be left out, moved, cut off,
//! added or taken from another export without a chunk that does not open.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use acquaint_custody::{CustodyError, KeyCustody, Purpose};
use acquaint_service::{Entropy, SystemEntropy};
use acquaint_store::transfer::{Layout, Reader, Row, TransferError, Value, encode};

const MAGIC: [u8; 8] = *b"acquaint";
const VERSION: u8 = 1;
/// A chunk gets no further row from here on: 192 KiB. One row can be larger than what is left of 256.
const FULL: usize = 192 << 10;
/// More than the largest chunk: one with a list of a thousand e-mail addresses.
const MOST: usize = 2 << 20;

/// Why an export cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file is there already.
    #[error("{} is there already: it is never overwritten; choose another name", .0.display())]
    Exists(PathBuf),
    /// Cannot be read or written.
    #[error("cannot use {}", path.display())]
    Files {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something else.
    #[error("{} is no export of this program", .0.display())]
    Foreign(PathBuf),
    /// A form that this program does not know.
    #[error("{} was made by a newer release of this program: use that one", .0.display())]
    Newer(PathBuf),
    /// The first chunk does not open.
    #[error("{} was made with other keys than these, or its beginning is damaged: use its own keys, or another copy", .0.display())]
    OtherKeys(PathBuf),
    /// A chunk does not open.
    #[error("{} is damaged: chunk {chunk} was changed, or is not from here. Use another copy", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which chunk, from 0.
        chunk: u64,
    },
    /// It ends before the last chunk.
    #[error("{} is cut off behind chunk {chunk}: use another copy, or let the export end", path.display())]
    CutOff {
        /// Which file.
        path: PathBuf,
        /// The last whole chunk, from 0.
        chunk: u64,
    },
    /// Its rows cannot be used.
    #[error("{} cannot be used", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: TransferError,
    },
    /// The unfinished export is of an earlier state.
    #[error("the data was changed since {} was begun: delete that file, and export anew", .0.display())]
    Changed(PathBuf),
    /// What should be an unfinished export is not one of these keys.
    #[error(
        "{} is there, and is no export that these keys have begun: delete it if nobody needs it, or choose another name", .0.display()
    )]
    NoPart(PathBuf),
    /// Another process writes it.
    #[error("another process writes {}: wait for its end", .0.display())]
    Busy(PathBuf),
    /// The keys' holder failed.
    #[error("the keys cannot be used")]
    Custody(#[from] CustodyError),
    /// The system gave no randomness.
    #[error("the system gives no randomness")]
    Entropy,
}

fn files(path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |source| FileError::Files { path, source }
}

fn unreadable(path: &Path) -> impl FnOnce(TransferError) -> FileError + use<> {
    let path = path.to_owned();
    move |source| FileError::Unreadable { path, source }
}

/// What the first chunk says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) layout: Layout,
    /// Of the source's state.
    pub(super) mark: Vec<u8>,
    /// Rows of each kind of the layout.
    pub(super) counts: Vec<u64>,
}

impl Head {
    fn encode(&self) -> Result<Vec<u8>, TransferError> {
        let mut bytes = Vec::new();
        self.layout.encode(&mut bytes)?;
        encode(&[Value::Bytes(self.mark.clone())], &mut bytes)?;
        for count in &self.counts {
            encode(&[Value::Whole(i64::try_from(*count).unwrap_or(i64::MAX))], &mut bytes)?;
        }
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, TransferError> {
        let mut from = Reader::new(bytes);
        let layout = Layout::decode(&mut from)?;
        let Value::Bytes(mark) = from.value()? else {
            return Err(TransferError::Unreadable("its source is not told"));
        };
        let mut counts = Vec::new();
        for _ in 0..layout.len() {
            let count =
                if let Value::Whole(count) = from.value()? { u64::try_from(count).ok() } else { None };
            counts.push(count.ok_or(TransferError::Unreadable("its number of rows is not told"))?);
        }
        Ok(Self { layout, mark, counts })
    }
}

/// Rows of one kind: their kind's number in the layout, and themselves.
pub(super) type Chunk = (usize, Vec<Row>);

fn chunk(layout: &Layout, bytes: &[u8]) -> Result<Chunk, TransferError> {
    let mut from = Reader::new(bytes);
    let [kind] = from.array()?;
    let kind = usize::from(kind);
    let mut rows = Vec::new();
    while !from.is_empty() {
        rows.push(layout.row(kind, &mut from)?);
    }
    Ok((kind, rows))
}

fn context(id: &[u8; 16], number: u64, last: bool) -> Vec<u8> {
    [b"export/".as_slice(), id, &number.to_be_bytes(), &[u8::from(last)]].concat()
}

/// An export that is read from its beginning.
pub(super) struct Import {
    path: PathBuf,
    file: BufReader<File>,
    custody: Arc<dyn KeyCustody>,
    pub(super) id: [u8; 16],
    pub(super) head: Head,
    /// Of the next chunk.
    pub(super) number: u64,
    /// Where the next chunk begins.
    at: u64,
    pub(super) ended: bool,
}

impl Import {
    /// Opens the file and its first chunk.
    pub(super) fn open(path: &Path, custody: Arc<dyn KeyCustody>) -> Result<Self, FileError> {
        let file = File::open(path).map_err(files(path))?;
        Self::read(path, file, custody)
    }

    fn read(path: &Path, file: File, custody: Arc<dyn KeyCustody>) -> Result<Self, FileError> {
        let mut file = BufReader::with_capacity(1 << 16, file);
        let (mut magic, mut version, mut id) = ([0; 8], [0], [0; 16]);
        let read = file
            .read_exact(&mut magic)
            .and_then(|()| file.read_exact(&mut version))
            .and_then(|()| file.read_exact(&mut id));
        match read {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(files(path)(error)),
            Err(_) => return Err(FileError::Foreign(path.into())),
            Ok(()) if magic != MAGIC => return Err(FileError::Foreign(path.into())),
            Ok(()) if version != [VERSION] => return Err(FileError::Newer(path.into())),
            Ok(()) => {}
        }
        let head = Head { layout: Layout::own(), mark: Vec::new(), counts: Vec::new() };
        let mut import = Self { path: path.into(), file, custody, id, head, number: 0, at: 25, ended: false };
        let first = match import.chunk() {
            Err(FileError::Damaged { path, .. }) => return Err(FileError::OtherKeys(path)),
            first => first?,
        };
        let Some((false, bytes)) = first else {
            return Err(FileError::CutOff { path: path.into(), chunk: 0 });
        };
        import.head = Head::decode(&bytes).map_err(unreadable(path))?;
        Ok(import)
    }

    /// The next chunk, and whether it is the last; `None` where the file ends in it or before it.
    fn chunk(&mut self) -> Result<Option<(bool, Vec<u8>)>, FileError> {
        let damaged = |number| FileError::Damaged { path: self.path.clone(), chunk: number };
        let (mut last, mut length) = ([0], [0; 4]);
        if !whole(self.file.read_exact(&mut last), &self.path)?
            || !whole(self.file.read_exact(&mut length), &self.path)?
        {
            return Ok(None);
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if last[0] > 1 || length > MOST {
            return Err(damaged(self.number));
        }
        let last = last[0] == 1;
        let mut sealed = vec![0; length];
        if !whole(self.file.read_exact(&mut sealed), &self.path)? {
            return Ok(None);
        }
        match self.custody.open(Purpose::Seal, &context(&self.id, self.number, last), &sealed) {
            Ok(bytes) => {
                self.number += 1;
                self.at += 5 + sealed.len() as u64;
                Ok(Some((last, bytes.to_vec())))
            }
            Err(CustodyError::NotOurs) => Err(damaged(self.number)),
            Err(error) => Err(error.into()),
        }
    }

    /// The next rows, or `None` at the file's proper end.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, FileError> {
        if self.ended {
            return Ok(None);
        }
        let Some((last, bytes)) = self.chunk()? else {
            return Err(FileError::CutOff { path: self.path.clone(), chunk: self.number.saturating_sub(1) });
        };
        if !last {
            return Ok(Some(chunk(&self.head.layout, &bytes).map_err(unreadable(&self.path))?));
        }
        self.ended = true;
        let mut more = [0];
        if !bytes.is_empty() || whole(self.file.read_exact(&mut more), &self.path)? {
            return Err(FileError::Damaged { path: self.path.clone(), chunk: self.number });
        }
        Ok(None)
    }
}

/// Whether everything could be read.
fn whole(read: io::Result<()>, path: &Path) -> Result<bool, FileError> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(files(path)(error)),
    }
}

/// An export that is written: `FILE.part` until it is whole.
pub(super) struct Export {
    to: PathBuf,
    part: PathBuf,
    file: File,
    custody: Arc<dyn KeyCustody>,
    id: [u8; 16],
    number: u64,
    /// The next chunk.
    rows: Vec<u8>,
    /// The last one is written.
    ended: bool,
}

/// How far an interrupted export had come.
pub(super) struct Standing {
    /// Rows of each kind.
    pub(super) done: Vec<u64>,
    /// The last kind, and its last row.
    pub(super) last: Option<(usize, Row)>,
}

impl Export {
    /// Begins the export, or goes on with the one that was begun of the same state of the data.
    pub(super) fn open(
        to: &Path,
        head: &Head,
        custody: Arc<dyn KeyCustody>,
    ) -> Result<(Self, Option<Standing>), FileError> {
        if to.symlink_metadata().is_ok() {
            return Err(FileError::Exists(to.into()));
        }
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = to.with_file_name(name);
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = open.open(&part).map_err(files(&part))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FileError::Busy(part)),
            Err(TryLockError::Error(source)) => return Err(FileError::Files { path: part, source }),
        }
        let mut id = [0; 16];
        SystemEntropy.fill(&mut id).map_err(|_| FileError::Entropy)?;
        let (number, rows) = (0, Vec::new());
        let mut export = Self { to: to.into(), part, file, custody, id, number, rows, ended: false };
        let standing = export.go_on(head)?;
        if standing.is_none() {
            export.begin(head)?;
        }
        Ok((export, standing))
    }

    /// What is there, cut behind its last whole chunk. None where not even the first is.
    fn go_on(&mut self, head: &Head) -> Result<Option<Standing>, FileError> {
        let length = self.file.metadata().map_err(files(&self.part))?.len();
        if length == 0 {
            return Ok(None);
        }
        let file = self.file.try_clone().map_err(files(&self.part))?;
        let mut written = match Import::read(&self.part, file, Arc::clone(&self.custody)) {
            // An export that was killed before its first chunk was whole.
            Err(FileError::CutOff { .. }) => return Ok(None),
            Err(FileError::Foreign(_) | FileError::OtherKeys(_) | FileError::Unreadable { .. }) => {
                return Err(FileError::NoPart(self.part.clone()));
            }
            written => written?,
        };
        if written.head != *head {
            return Err(FileError::Changed(self.part.clone()));
        }
        let mut standing = Standing { done: vec![0; head.layout.len()], last: None };
        loop {
            match written.next() {
                Ok(Some((kind, mut rows))) => {
                    if let Some(done) = standing.done.get_mut(kind) {
                        *done += rows.len() as u64;
                    }
                    standing.last = rows.pop().map(|row| (kind, row)).or(standing.last);
                }
                // Whatever a crash has left behind the last whole chunk is written again.
                Ok(None) | Err(FileError::CutOff { .. } | FileError::Damaged { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        self.file.set_len(written.at).map_err(files(&self.part))?;
        self.file.seek(SeekFrom::Start(written.at)).map_err(files(&self.part))?;
        (self.id, self.number, self.ended) = (written.id, written.number, written.ended);
        Ok(Some(standing))
    }

    fn begin(&mut self, head: &Head) -> Result<(), FileError> {
        self.file.set_len(0).map_err(files(&self.part))?;
        self.file.seek(SeekFrom::Start(0)).map_err(files(&self.part))?;
        let preamble = [MAGIC.as_slice(), &[VERSION], &self.id].concat();
        self.file.write_all(&preamble).map_err(files(&self.part))?;
        let head = head.encode().map_err(unreadable(&self.part))?;
        self.write(false, &head)
    }

    fn write(&mut self, last: bool, bytes: &[u8]) -> Result<(), FileError> {
        let sealed = self.custody.seal(Purpose::Seal, &context(&self.id, self.number, last), bytes)?;
        let length = u32::try_from(sealed.len()).ok().filter(|_| sealed.len() <= MOST);
        let length = length.ok_or(TransferError::TooLarge).map_err(unreadable(&self.part))?;
        let chunk = [[u8::from(last)].as_slice(), &length.to_be_bytes(), &sealed].concat();
        self.file.write_all(&chunk).map_err(files(&self.part))?;
        self.number += 1;
        Ok(())
    }

    /// Puts rows of the kind with this number in the layout.
    pub(super) fn put(&mut self, kind: usize, rows: &[Row]) -> Result<(), FileError> {
        let number =
            u8::try_from(kind).map_err(|_| TransferError::TooLarge).map_err(unreadable(&self.part))?;
        for row in rows {
            if self.rows.is_empty() {
                self.rows.push(number);
            }
            encode(row, &mut self.rows).map_err(unreadable(&self.part))?;
            if self.rows.len() >= FULL {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what waits for a full chunk: at the end of a kind.
    pub(super) fn flush(&mut self) -> Result<(), FileError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.write(false, &rows)
    }

    /// Ends the file and gives it its name, durably. How many bytes it has.
    pub(super) fn finish(mut self) -> Result<u64, FileError> {
        if !self.ended {
            self.write(true, &[])?;
        }
        self.file.sync_all().map_err(files(&self.part))?;
        let bytes = self.file.metadata().map_err(files(&self.part))?.len();
        // Not by renaming, which would put it over another file.
        match fs::hard_link(&self.part, &self.to) {
            Ok(()) => fs::remove_file(&self.part).map_err(files(&self.part))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(FileError::Exists(self.to));
            }
            // A file system without links, as on a memory stick.
            Err(_) if self.to.symlink_metadata().is_err() => {
                fs::rename(&self.part, &self.to).map_err(files(&self.to))?;
            }
            Err(error) => return Err(files(&self.to)(error)),
        }
        let folder = self.to.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(files(folder))?;
        Ok(bytes)
    }
}
