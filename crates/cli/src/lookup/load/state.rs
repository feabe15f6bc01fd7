//! How far a load is, in a file beside the CSV, so that one that was stopped goes on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::table::Table;
use crate::failure::Failure;

const VERSION: u8 = 2;

/// How far it is. Names no identifier and no account.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u8,
    /// Of the CSV.
    fingerprint: String,
    /// Where it is loaded to.
    server: String,
    /// This many rows, from the first, are in or refused.
    pub(super) rows: u64,
    /// How many the directory has, and had not before.
    pub(super) loaded: u64,
    /// How many it had.
    pub(super) unchanged: u64,
    /// How many are refused …
    pub(super) refused: u64,
    /// … and the first of them.
    pub(super) first: Vec<Refused>,
    /// The list of all refused ones that was asked for …
    pub(super) list: Option<String>,
    /// … how long it is …
    pub(super) listed_bytes: u64,
    /// … how many a run without it has refused, which it lacks …
    pub(super) unlisted: u64,
    /// … and the last line of those.
    pub(super) unlisted_to: u64,
}

/// A row that is refused, by its line.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Refused {
    pub(super) line: u64,
    pub(super) reason: String,
}

/// Where it is kept: `FILE.csv.loaded` unless said otherwise.
pub(super) fn place(file: &Path, given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| {
        let mut name = file.as_os_str().to_owned();
        name.push(".loaded");
        name.into()
    })
}

/// The file of a state, which is locked (flock(2)) while a load is at it. Each save puts another file in its place, locked
/// before anybody sees it.
pub(super) struct Place {
    path: PathBuf,
    /// `None` as long as there is none.
    locked: Option<File>,
}

impl Place {
    /// What stands in it, if it is there.
    fn open(path: PathBuf) -> Result<(Self, Option<Vec<u8>>), Failure> {
        let told = |error: io::Error| format!("cannot read {}: {error}", path.display());
        // For writing too, as NFS locks no others.
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self { path, locked: None }, None));
            }
            Err(error) => return Err(told(error).into()),
        };
        lock(&file, &path)?;
        // The other load may have ended, or saved, between both.
        let own = file.metadata().map_err(told)?;
        let is_it = std::fs::metadata(&path).is_ok_and(|it| (it.dev(), it.ino()) == (own.dev(), own.ino()));
        if !is_it {
            return Err(busy(&path));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(told)?;
        Ok((Self { path, locked: Some(file) }, Some(bytes)))
    }

    /// Deletes it: all is loaded, or nothing was.
    pub(super) fn remove(self) -> Result<(), Failure> {
        std::fs::remove_file(&self.path)
            .map_err(|error| format!("cannot delete {}: {error}", self.path.display()).into())
    }
}

/// For as long as the file is open. `path` is told when another load has it.
pub(super) fn lock(file: &File, path: &Path) -> Result<(), Failure> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(busy(path)),
        // Some file systems have no locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(format!("cannot lock {}: {error}", path.display()).into()),
    }
}

fn busy(path: &Path) -> Failure {
    format!("another load is under way: it keeps {}", path.display()).into()
}

impl State {
    /// What a run that was stopped has left, or a new one.
    pub(super) fn open(
        at: PathBuf,
        file: &Path,
        table: &Table,
        server: &str,
    ) -> Result<(Self, Place), Failure> {
        let (place, bytes) = Place::open(at)?;
        let (shown, file) = (place.path.display(), file.display());
        let Some(bytes) = bytes else {
            let state = Self {
                version: VERSION,
                fingerprint: table.fingerprint.clone(),
                server: server.to_owned(),
                rows: 0,
                loaded: 0,
                unchanged: 0,
                refused: 0,
                first: Vec::new(),
                list: None,
                listed_bytes: 0,
                unlisted: 0,
                unlisted_to: 0,
            };
            return Ok((state, place));
        };
        // Whatever it is, it may be all that somebody has of it.
        let state: Self = serde_json::from_slice(&bytes)
            .ok()
            .filter(|state: &Self| state.version == VERSION)
            .ok_or_else(|| {
                format!(
                    "{shown} does not say how far a load is: it is left as it is, `--state` names another file. From its \
                     beginning, {file} finds unchanged what the directory has already"
                )
            })?;
        let anew = format!(
            "Delete {shown} to load {file} from its beginning: what the directory has already is found unchanged"
        );
        if state.fingerprint != table.fingerprint || state.rows > table.rows {
            return Err(format!(
                "{shown} tells of another file than {file} is now: {} rows of that one are in. {anew}",
                state.rows
            )
            .into());
        }
        if state.server != server {
            return Err(format!(
                "{shown} tells of a load into {}, and this one is into {server}. {anew}",
                state.server
            )
            .into());
        }
        Ok((state, place))
    }

    /// Puts it in the place of the one before, whole.
    pub(super) fn save(&self, place: &mut Place) -> Result<(), Failure> {
        let path = &place.path;
        let told = |error: io::Error| format!("cannot write {}: {error}", path.display());
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = NamedTempFile::new_in(folder).map_err(told)?;
        file.write_all(&serde_json::to_vec(self)?).map_err(told)?;
        file.as_file().sync_data().map_err(told)?;
        lock(file.as_file(), path)?;
        let saved = match place.locked {
            Some(_) => file.persist(path),
            // Another load may have begun since it was looked for.
            None => file.persist_noclobber(path),
        };
        let saved = saved.map_err(|error| match error.error {
            error if error.kind() == io::ErrorKind::AlreadyExists => busy(path),
            error => told(error).into(),
        })?;
        place.locked = Some(saved);
        Ok(())
    }
}
