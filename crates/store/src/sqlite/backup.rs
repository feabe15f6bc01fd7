//! Back-up and restore of a whole database.
//!
//! A back-up is made in two steps. The pages are copied in one read of the running database, which takes as long as the
//! disk needs; then the copy is written anew, apart from the server, so that nothing lies in it but what stands in its
//! rows. Whatever is put in place was checked and is on the disk.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::check::{self, Depth, Finding, Health};
use super::open::{self, DATABASE, LOCK, OpenError};

/// Pages copied between two looks at [`Watch`]: 16 MiB.
const PAGES: std::ffi::c_int = 4096;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Pages are copied.
    Copying,
    /// The copy is written anew.
    Rewriting,
    /// What was written is checked.
    Checking,
}

/// How far it is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes done of this phase.
    pub done: u64,
    /// Bytes to do, as far as that is known.
    pub total: u64,
}

/// Told now and then how far it is; `false` ends the work, which then leaves nothing behind.
pub type Watch = Arc<dyn Fn(Progress) -> bool + Send + Sync>;

/// Why there is no back-up, or why it was not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file is there already.
    #[error("{} is there already: it is never overwritten; choose another name", .0.display())]
    Exists(PathBuf),
    /// The database or the back-up cannot be opened.
    #[error("{} cannot be used", .0.display())]
    Open(PathBuf, #[source] OpenError),
    /// A log lies beside what should be a finished file.
    #[error(
        "{} is no finished back-up: a log lies beside it. Take a file that `acquaint store backup` made", .0.display()
    )]
    Unfinished(PathBuf),
    /// It is empty.
    #[error("{} holds no data", .0.display())]
    Empty(PathBuf),
    /// What was copied is not sound.
    #[error("{} is not sound, so nothing was put in place. {}", path.display(), told(findings))]
    Unsound {
        /// Which database.
        path: PathBuf,
        /// What is wrong with it.
        findings: Vec<Finding>,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Files {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite could not copy.
    #[error("the copy could not be made")]
    Database(#[from] rusqlite::Error),
    /// [`Watch`] ended it.
    #[error("ended before it was done; nothing was put in place")]
    Ended,
}

fn told(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{}: {}. ", finding.what, finding.advice))
        .collect::<String>()
        .trim_end()
        .into()
}

fn files(path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Files { path, source }
}

/// Copies the database in `directory` into a new file of mode 0600 at `to`, while a server may use it. The file is
/// checked and durable when this returns, and its name never stands for half of it.
///
/// While the pages are copied the server's log cannot be cut, so a removal waits for up to [`open::BUSY`].
///
/// # Errors
/// [`BackupError`]; then nothing is left at `to`.
pub fn backup(directory: &Path, to: &Path, watch: &Watch) -> Result<Health, BackupError> {
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.into()));
    }
    let database = directory.join(DATABASE);
    let unusable = |error| BackupError::Open(database.clone(), error);
    let quick = check::check(directory, Depth::Quick).map_err(unusable)?;
    sound(&database, &quick)?;
    let raw = Draft::new(to, "copy")?;
    copy_pages(directory, &raw.path, watch)?;
    let whole = Draft::new(to, "part")?;
    rewrite(&raw.path, &whole.path, watch)?;
    drop(raw);
    let health = checked(&whole.path, watch)?;
    whole.put_at(to)?;
    Ok(health)
}

/// A back-up that was copied beside the database, checked, and is not in its place yet.
pub struct Restore {
    /// What the look at the copy showed.
    pub health: Health,
    draft: Draft,
    directory: PathBuf,
    _lock: File,
}

/// A database that was put in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where the former database is; `None` if there was none.
    pub aside: Option<PathBuf>,
}

impl Restore {
    /// Takes the folder, which no server may use, and copies and checks the back-up.
    ///
    /// # Errors
    /// [`BackupError`]; then nothing has changed.
    pub fn prepare(from: &Path, directory: &Path, watch: &Watch) -> Result<Self, BackupError> {
        let unusable = |error| BackupError::Open(from.into(), error);
        let quick = check::check_file(from, Depth::Quick).map_err(unusable)?;
        if open::log_of(from).exists() {
            return Err(BackupError::Unfinished(from.into()));
        }
        sound(from, &quick)?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(files(directory))?;
        let path = directory.join(LOCK);
        let lock = open::private_file(&path).map_err(files(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BackupError::Open(directory.into(), OpenError::Locked { path }));
            }
            Err(TryLockError::Error(source)) => return Err(BackupError::Files { path, source }),
        }
        let draft = Draft::new(&directory.join(DATABASE), "restored")?;
        copy_file(from, &draft.path, watch)?;
        let health = checked(&draft.path, watch)?;
        Ok(Self { health, draft, directory: directory.into(), _lock: lock })
    }

    /// Keeps the present database aside and puts the copy in its place. A crash leaves the one or the other.
    ///
    /// # Errors
    /// [`BackupError::Files`].
    pub fn put_in_place(self) -> Result<Restored, BackupError> {
        let Self { health: _, draft, directory, _lock } = self;
        let database = directory.join(DATABASE);
        let aside = if database.exists() { Some(set_aside(&directory, &database)?) } else { None };
        // A log belongs to the database that it lay beside: it must be gone before the other one is there.
        for suffix in ["-wal", "-shm"] {
            let mut name = database.as_os_str().to_owned();
            name.push(suffix);
            match fs::remove_file(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(files(Path::new(&name))(error));
                }
                _ => {}
            }
        }
        sync_folder(&directory)?;
        fs::rename(&draft.path, &database).map_err(files(&database))?;
        sync_folder(&directory)?;
        Ok(Restored { aside })
    }
}

/// The present database and its log, under a second name each, in a folder of their own.
fn set_aside(directory: &Path, database: &Path) -> Result<PathBuf, BackupError> {
    // As much as goes is copied back from the log first, so that a crash below costs nothing.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copied_back = Connection::open_with_flags(database, flags)
        .and_then(|present| present.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    if copied_back.is_err() {
        tracing::warn!("the present database is damaged; it is kept as it is, with its log");
    }
    for number in 1_u32.. {
        let aside = directory.join(format!("before-restore-{number}"));
        match DirBuilder::new().mode(0o700).create(&aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made.map_err(files(&aside))?,
        }
        for file in [database.to_owned(), open::log_of(database)] {
            let Some(name) = file.file_name() else { continue };
            match fs::hard_link(&file, aside.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(()) => {}
                // A file system without links.
                Err(_) => drop(fs::copy(&file, aside.join(name)).map_err(files(&aside))?),
            }
        }
        sync_folder(&aside)?;
        sync_folder(directory)?;
        return Ok(aside);
    }
    Err(files(directory)(io::Error::other("there are too many former databases here")))
}

/// A file that goes away unless it is put in its place.
struct Draft {
    path: PathBuf,
}

impl Draft {
    /// A new private file beside `place`.
    fn new(place: &Path, kind: &str) -> Result<Self, BackupError> {
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{kind}-{}", std::process::id()));
        let path = place.with_file_name(name);
        // What a killed process of the same number left.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(files(&path)(error)),
            _ => {}
        }
        drop(open::private_file(&path).map_err(files(&path))?);
        Ok(Self { path })
    }

    /// Durably, and never over another file.
    fn put_at(&self, place: &Path) -> Result<(), BackupError> {
        match fs::hard_link(&self.path, place) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists(place.into()));
            }
            // A file system without links, as on a memory stick.
            Err(_) if place.symlink_metadata().is_err() => {
                fs::rename(&self.path, place).map_err(files(place))?;
            }
            Err(error) => return Err(files(place)(error)),
        }
        sync_folder(place.parent().unwrap_or(Path::new("")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}

fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(files(folder))
}

fn sound(path: &Path, health: &Health) -> Result<(), BackupError> {
    if !health.findings.is_empty() {
        return Err(BackupError::Unsound { path: path.into(), findings: health.findings.clone() });
    }
    if health.version == 0 { Err(BackupError::Empty(path.into())) } else { Ok(()) }
}

/// One read of the source, however long it takes: a copy that lets the server write in between has to begin anew
/// whenever it did.
fn copy_pages(directory: &Path, to: &Path, watch: &Watch) -> Result<(), BackupError> {
    let database = directory.join(DATABASE);
    let unusable = |error| BackupError::Open(database.clone(), error);
    let (_lock, held) = check::hold(directory).map_err(unusable)?;
    let source = check::open_to_look(&database, held).map_err(unusable)?;
    let mut copy = Connection::open(to)?;
    // Made durable at the end, or not needed.
    copy.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    copy.pragma_update(None, "synchronous", "OFF")?;
    let page: u64 =
        source.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0).map(u64::from))?;
    let snapshot = source.unchecked_transaction()?;
    snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let copying = Backup::new(&snapshot, &mut copy)?;
    loop {
        let step = copying.step(PAGES)?;
        let pages = copying.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * page;
        let progress = Progress {
            phase: Phase::Copying,
            done: bytes(pages.pagecount - pages.remaining),
            total: bytes(pages.pagecount),
        };
        if !watch(progress) {
            return Err(BackupError::Ended);
        }
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            // The server is at its checkpoint.
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// `VACUUM INTO` copies rows, not pages: bytes of deleted rows stay behind.
fn rewrite(from: &Path, to: &Path, watch: &Watch) -> Result<(), BackupError> {
    let unusable = |error| BackupError::Open(from.into(), error);
    let source = check::open_to_look(from, false).map_err(unusable)?;
    let total = fs::metadata(from).map_err(files(from))?.len();
    let (watched, growing) = (Arc::clone(watch), to.to_owned());
    let ended = move || {
        let done = fs::metadata(&growing).map_or(0, |file| file.len()).min(total);
        !watched(Progress { phase: Phase::Rewriting, done, total })
    };
    source.progress_handler(1_000_000, Some(ended))?;
    let target = check::uri(to).map_err(unusable)?;
    match source.execute("VACUUM INTO ?1", [target]) {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
            Err(BackupError::Ended)
        }
        written => Ok(written.map(drop)?),
    }
}

fn copy_file(from: &Path, to: &Path, watch: &Watch) -> Result<(), BackupError> {
    let mut source = File::open(from).map_err(files(from))?;
    let total = source.metadata().map_err(files(from))?.len();
    let mut target = fs::OpenOptions::new().write(true).open(to).map_err(files(to))?;
    let mut done = 0;
    loop {
        let copied = io::copy(&mut io::Read::take(&mut source, 1 << 24), &mut target).map_err(files(to))?;
        done += copied;
        if !watch(Progress { phase: Phase::Copying, done, total }) {
            return Err(BackupError::Ended);
        }
        if copied == 0 {
            return Ok(());
        }
    }
}

/// What was written, made durable and looked at from all sides.
fn checked(file: &Path, watch: &Watch) -> Result<Health, BackupError> {
    if !watch(Progress { phase: Phase::Checking, done: 0, total: 0 }) {
        return Err(BackupError::Ended);
    }
    File::open(file).and_then(|file| file.sync_all()).map_err(files(file))?;
    let health =
        check::check_file(file, Depth::Full).map_err(|error| BackupError::Open(file.into(), error))?;
    sound(file, &health)?;
    Ok(health)
}
