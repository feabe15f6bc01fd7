//! The files of a load are told apart before one of them is written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Refuses two names of one file.
pub(super) fn apart(files: &[(&str, &Path)]) -> Result<(), Failure> {
    for (at, (one, first)) in files.iter().enumerate() {
        for (other, second) in files.iter().skip(at + 1) {
            if is_same(first, second) {
                return Err(format!("{one} and {other} are the same file, {}", second.display()).into());
            }
        }
    }
    Ok(())
}

/// By another path, a link or a hard link too.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => resolved(one) == resolved(other),
    }
}

/// The path without links, also of a file that is still to be made.
pub(super) fn resolved(path: &Path) -> PathBuf {
    if let Ok(there) = path.canonicalize() {
        return there;
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}
