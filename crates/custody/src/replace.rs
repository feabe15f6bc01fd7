//! Writing a file anew, all of it or nothing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Puts `bytes` at `path`, mode 0600 and with the owner of before, in place of what was there; a link stays a link.
/// Durable when it returns; after a crash there is the old file or the new one, and a draft may lie beside it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let path = &real(path)?;
    let draft = draft(path, bytes)?;
    let placed = keep_owner(path, &draft).and_then(|()| std::fs::rename(&draft, path));
    if placed.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    placed.and_then(|()| sync_folder(path))
}

/// As [`replace`], and overwrites the old file's bytes, which not every disk and no snapshot honours. A file that has
/// another name as well, as in a back-up of hard links, is left whole.
#[cfg(feature = "wrapped")]
pub(crate) fn replace_and_overwrite(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let old = OpenOptions::new().write(true).open(path);
    let old = old.and_then(|old| Ok((old.metadata()?, old)));
    replace(path, bytes)?;
    // The best that can be done from here; the name stands for the new file whether or not this succeeds.
    if let Ok((metadata, mut old)) = old
        && metadata.nlink() == 1
    {
        let zeros = vec![0; usize::try_from(metadata.len()).unwrap_or(0)];
        let _ = old.write_all(&zeros).and_then(|()| old.sync_all());
    }
    Ok(())
}

/// Keeps others who do the same out for as long as it lives.
#[cfg(feature = "wrapped")]
pub(crate) fn alone(path: &Path) -> std::io::Result<File> {
    let folder = File::open(folder_of(&real(path)?))?;
    folder.lock()?;
    Ok(folder)
}

/// Where a link leads; the path itself where nothing is yet.
fn real(path: &Path) -> std::io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(path.into()),
        outcome => outcome,
    }
}

/// So that a command that root runs does not take a file from the service.
fn keep_owner(of: &Path, draft: &Path) -> std::io::Result<()> {
    let (old, new) = match std::fs::metadata(of) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        outcome => (outcome?, std::fs::metadata(draft)?),
    };
    if (old.uid(), old.gid()) == (new.uid(), new.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(draft, Some(old.uid()), Some(old.gid()))
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
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
