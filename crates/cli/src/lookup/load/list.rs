//! The list of all refused rows, where one is wanted: CSV with the columns `line,reason`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::places::resolved;
use super::state::{Refused, State, lock};
use crate::failure::Failure;

const HEADER: &str = "line,reason\n";

pub(super) struct List {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl List {
    /// Goes on behind what the state knows of: a run that was stopped may have written more. Nothing but such a list is
    /// written over.
    pub(super) fn open(path: PathBuf, state: &mut State) -> Result<Self, Failure> {
        let shown = path.display();
        let told = |error: io::Error| format!("cannot write {shown}: {error}");
        let own = resolved(&path).to_string_lossy().into_owned();
        if let Some(other) = state.list.as_ref().filter(|list| **list != own) {
            return Err(format!(
                "the list of this load is {other}: `--refused` names that one, or is left out, as a load goes on"
            )
            .into());
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(told)?;
        let there = file.metadata().map_err(told)?;
        if !there.is_file() {
            return Err(format!("{shown} is no file").into());
        }
        // Loads with states of their own may name one list.
        lock(&file, &path)?;
        if !begins_as_list(&mut file, there.len()).map_err(told)? {
            return Err(format!(
                "{shown} is there and is no list of refused rows: it is left as it is, name another file"
            )
            .into());
        }
        let bytes = state.listed_bytes;
        if there.len() < bytes {
            return Err(format!(
                "{shown} is shorter than a run that was stopped has left it: without --refused, or with another state, \
                 it can go on"
            )
            .into());
        }
        file.set_len(bytes).map_err(told)?;
        file.seek(io::SeekFrom::End(0)).map_err(told)?;
        let mut list = Self { file, path, bytes };
        if list.bytes == 0 {
            list.write(HEADER)?;
        }
        state.list = Some(own);
        Ok(list)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How long it is then.
    pub(super) fn add(&mut self, refused: &[Refused]) -> Result<u64, Failure> {
        let lines = refused
            .iter()
            .map(|Refused { line, reason }| format!("{line},\"{}\"\n", reason.replace('"', "\"\"")));
        self.write(&lines.collect::<String>())?;
        Ok(self.bytes)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.file
            .write_all(text.as_bytes())
            .map_err(|error| format!("cannot write {}: {error}", self.path.display()))?;
        self.bytes += u64::try_from(text.len())?;
        Ok(())
    }
}

/// An empty file does, and one whose header was cut off by a kill.
fn begins_as_list(file: &mut File, length: u64) -> io::Result<bool> {
    let mut begin = Vec::new();
    file.take(HEADER.len() as u64).read_to_end(&mut begin)?;
    Ok(HEADER.as_bytes().starts_with(&begin) && (length == begin.len() as u64 || begin.len() == HEADER.len()))
}
