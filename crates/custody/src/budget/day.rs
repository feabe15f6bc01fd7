//! What has been used of a day's budgets, kept over restarts.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{KeyId, Purpose};

/// The file is written this often for a day's budget, at least.
const STEPS: u64 = 100;

/// What is wrong with the file that keeps what was used of a day's budgets.
#[derive(Debug, thiserror::Error)]
pub enum BudgetFileError {
    /// It is not such a file.
    #[error("{} is not a file of used budgets: name another one, or remove it and so begin the day anew", .0.display())]
    Malformed(PathBuf),
    /// The file system refused.
    #[error("cannot keep the used budgets in {}", .path.display())]
    Io {
        /// Where the file is.
        path: PathBuf,
        /// The file system's reason.
        #[source]
        source: std::io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileV1 {
    version: u32,
    /// Days since 1970.
    day: i64,
    used: Vec<UsedV1>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsedV1 {
    purpose: String,
    version: u32,
    operations: u64,
}

pub(super) struct Days {
    file: Option<PathBuf>,
    day: i64,
    used: BTreeMap<KeyId, Used>,
}

#[derive(Default, Clone, Copy)]
struct Used {
    operations: u64,
    /// What the file says, which is never less.
    written: u64,
}

impl Days {
    pub(super) fn open(file: Option<PathBuf>) -> Result<Self, BudgetFileError> {
        let mut days = Self { file, day: i64::MIN, used: BTreeMap::new() };
        let Some(path) = &days.file else { return Ok(days) };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // So that a place that cannot be written to is noticed now.
                days.write()?;
                return Ok(days);
            }
            Err(source) => return Err(BudgetFileError::Io { path: path.clone(), source }),
        };
        let malformed = || BudgetFileError::Malformed(path.clone());
        let read: FileV1 = serde_json::from_slice(&bytes).map_err(|_| malformed())?;
        if read.version != 1 {
            return Err(malformed());
        }
        days.day = read.day;
        for UsedV1 { purpose, version, operations } in read.used {
            let purpose = Purpose::by_name(&purpose).ok_or_else(malformed)?;
            days.used.insert(KeyId { purpose, version }, Used { operations, written: operations });
        }
        Ok(days)
    }

    /// The day that is counted; before all others when nothing was.
    pub(super) fn day(&self) -> i64 {
        self.day
    }

    /// What of `key` was used on `day`.
    pub(super) fn used(&self, day: i64, key: KeyId) -> u64 {
        self.used.get(&key).filter(|_| day == self.day).map_or(0, |used| used.operations)
    }

    /// Counts `operations` of `key` on `day`. When this returns no restart forgets them; if it fails, nothing counts.
    pub(super) fn take(
        &mut self,
        day: i64,
        key: KeyId,
        operations: u64,
        per_day: u64,
    ) -> Result<(), BudgetFileError> {
        let before = (self.day, self.used.clone());
        if self.day != day {
            self.day = day;
            self.used.clear();
        }
        let used = self.used.entry(key).or_default();
        used.operations = used.operations.saturating_add(operations);
        if used.operations <= used.written && before.0 == day {
            return Ok(());
        }
        used.written = used.operations.saturating_add((per_day / STEPS).max(1) - 1);
        let written = self.write();
        if written.is_err() {
            (self.day, self.used) = before;
        }
        written
    }

    /// Takes back what was counted today. The file keeps what it was told: only a crash would leave it so.
    pub(super) fn give_back(&mut self, key: KeyId, operations: u64) {
        if let Some(used) = self.used.get_mut(&key) {
            used.operations = used.operations.saturating_sub(operations);
        }
    }

    fn write(&self) -> Result<(), BudgetFileError> {
        let Some(path) = &self.file else { return Ok(()) };
        let io = |source| BudgetFileError::Io { path: path.clone(), source };
        let used = self.used.iter().map(|(key, used)| UsedV1 {
            purpose: key.purpose.name().into(),
            version: key.version,
            operations: used.written,
        });
        let file = FileV1 { version: 1, day: self.day, used: used.collect() };
        let text = serde_json::to_vec(&file).map_err(|error| io(error.into()))?;
        crate::replace::replace(path, &text).map_err(io)
    }
}

impl Drop for Days {
    /// After an orderly end the file has what was used exactly.
    fn drop(&mut self) {
        for used in self.used.values_mut() {
            used.written = used.operations;
        }
        // What was written ahead stands, if this fails.
        let _ = self.write();
    }
}
