//! Writing a file anew, all of it or nothing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Puts `bytes` at `path`, mode 0600, in place of what was there. Durable when it returns; after a crash there is the
/// old file or the new one, and a draft may lie beside it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = draft(path, bytes)?;
    let renamed = std::fs::rename(&draft, path);
    if renamed.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    renamed.and_then(|()| sync_folder(path))
}

/// As [`replace`], and overwrites the old file's bytes, which not every disk and no snapshot honours.
#[cfg(feature = "wrapped")]
pub(crate) fn replace_and_overwrite(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let old = OpenOptions::new().write(true).open(path);
    replace(path, bytes)?;
    // The best that can be done from here; the name stands for the new file whether or not this succeeds.
    if let Ok(mut old) = old
        && let Ok(length) = old.metadata().map(|metadata| metadata.len())
    {
        let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
        let _ = old.write_all(&zeros).and_then(|()| old.sync_all());
    }
    Ok(())
}

/// Writes `bytes` beside `path`, mode 0600 and durable, over a draft that a crash left there.
pub(crate) fn draft(path: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".draft-{}", std::process::id()));
    let draft = path.with_file_name(name);
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written.map(|()| draft)
}

/// Makes what was renamed or linked at `path` durable.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
