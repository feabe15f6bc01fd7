//! How far a load is, in a file beside the CSV, so that one that was stopped goes on.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::table::Table;
use crate::failure::Failure;

const VERSION: u8 = 1;

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
    /// How long the list of all refused ones is that was asked for.
    pub(super) listed_bytes: u64,
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

impl State {
    /// What a run that was stopped has left, or a new one.
    pub(super) fn open(at: &Path, file: &Path, table: &Table, server: &str) -> Result<Self, Failure> {
        let (shown, file) = (at.display(), file.display());
        let bytes = match fs::read(at) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    version: VERSION,
                    fingerprint: table.fingerprint.clone(),
                    server: server.to_owned(),
                    rows: 0,
                    loaded: 0,
                    unchanged: 0,
                    refused: 0,
                    first: Vec::new(),
                    listed_bytes: 0,
                });
            }
            Err(error) => return Err(format!("cannot read {shown}: {error}").into()),
        };
        let anew = format!(
            "Delete {shown} to load {file} from its beginning: what the directory has already is found unchanged"
        );
        let state: Self = serde_json::from_slice(&bytes)
            .ok()
            .filter(|state: &Self| state.version == VERSION)
            .ok_or_else(|| format!("{shown} does not say how far a load is. {anew}"))?;
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
        Ok(state)
    }

    /// Puts it in the place of the one before, whole.
    pub(super) fn save(&self, at: &Path) -> Result<(), Failure> {
        let told = |error: io::Error| format!("cannot write {}: {error}", at.display());
        let folder = match at.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = NamedTempFile::new_in(folder).map_err(told)?;
        file.write_all(&serde_json::to_vec(self)?).map_err(told)?;
        file.as_file().sync_data().map_err(told)?;
        file.persist(at).map_err(|error| told(error.error))?;
        Ok(())
    }
}
