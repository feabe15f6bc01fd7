//! What a file says that was cut, changed, mixed or made elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use acquaint_custody::KeyCustody;
use acquaint_custody::software::SoftwareCustody;
use acquaint_protocol::pair::Suite;
use acquaint_store::transfer::{KINDS, Layout, Row, Value};
use tempfile::TempDir;

use super::file::{Export, FileError, Head, Import};

const PAIRS: usize = 7;

fn custody() -> Arc<dyn KeyCustody> {
    Arc::new(SoftwareCustody::generate(Suite::DEVELOPMENT).unwrap())
}

fn rows(count: u32) -> Vec<Row> {
    let row = |number: u32| {
        let mut hash = vec![0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        vec![
            Value::Whole(1),
            Value::Bytes(hash),
            Value::Bytes(vec![2; 16]),
            Value::Whole(1),
            Value::Whole(3),
            Value::Whole(4),
        ]
    };
    (0..count).map(row).collect()
}

fn head() -> Head {
    let mut counts = vec![0; KINDS.len()];
    counts[PAIRS] = 9000;
    Head { layout: Layout::own(), mark: b"mark".to_vec(), counts }
}

/// An export of several chunks.
fn export(folder: &Path, name: &str, custody: &Arc<dyn KeyCustody>) -> Vec<u8> {
    assert_eq!(KINDS[PAIRS].name, "pairs");
    let to = folder.join(name);
    let (mut export, standing) = Export::open(&to, &head(), Arc::clone(custody)).unwrap();
    assert!(standing.is_none());
    export.put(PAIRS, &rows(9000)).unwrap();
    export.flush().unwrap();
    export.finish().unwrap();
    std::fs::read(to).unwrap()
}

/// Reads it to its end.
fn read(path: &Path, custody: &Arc<dyn KeyCustody>) -> Result<usize, FileError> {
    let mut import = Import::open(path, Arc::clone(custody))?;
    let mut count = 0;
    while let Some((kind, rows)) = import.next()? {
        assert_eq!(kind, PAIRS);
        count += rows.len();
    }
    Ok(count)
}

/// Where chunks begin, and the end.
fn chunks(bytes: &[u8]) -> Vec<usize> {
    let mut at = 25;
    let mut begin = vec![at];
    while at < bytes.len() {
        let length: [u8; 4] = bytes[at + 1..at + 5].try_into().unwrap();
        at += 5 + usize::try_from(u32::from_be_bytes(length)).unwrap();
        begin.push(at);
    }
    begin
}

fn put(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("changed");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn only_the_whole_file_as_it_was_written_is_read() {
    let folder = TempDir::new().unwrap();
    let keys = custody();
    let whole = export(folder.path(), "one", &keys);
    assert_eq!(read(&folder.path().join("one"), &keys).unwrap(), 9000);
    let at = chunks(&whole);
    assert!(at.len() > 5, "{at:?}");

    // Cut off anywhere, between two chunks too.
    for end in [0, 7, 20, 26, at[1], at[2] + 3, at[2] + 100, at[3], whole.len() - 1] {
        let error = read(&put(folder.path(), &whole[..end]), &keys).unwrap_err();
        let right = match end {
            0..25 => matches!(error, FileError::Foreign(_)),
            _ => matches!(error, FileError::CutOff { .. }),
        };
        assert!(right, "{end}: {error:?}");
    }
    // A bit flipped, in whatever part; something more behind it.
    for bit in (0..whole.len() * 8).step_by(whole.len()).chain((25 * 8)..(32 * 8)).chain([at[2] * 8 + 7]) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&put(folder.path(), &bytes), &keys).is_err(), "bit {bit}");
    }
    let more = [whole.as_slice(), &[0]].concat();
    assert!(matches!(read(&put(folder.path(), &more), &keys), Err(FileError::Damaged { .. })));
    // Chunks in another order, left out, twice.
    let part = |from: usize| &whole[at[from]..at[from + 1]];
    let last = at.len() - 2;
    let moved = [&whole[..at[1]], part(2), part(1), &whole[at[3]..]].concat();
    assert_eq!(moved.len(), whole.len());
    let out = [&whole[..at[1]], &whole[at[2]..]].concat();
    let twice = [&whole[..at[2]], part(1), &whole[at[2]..]].concat();
    let early = [&whole[..at[1]], part(last)].concat();
    // And from another export of the same rows with the same keys.
    let other = export(folder.path(), "two", &keys);
    let others = chunks(&other);
    let spliced = [&whole[..at[2]], &other[others[2]..others[3]], &whole[at[3]..]].concat();
    let headed = [&other[..others[1]], &whole[at[1]..]].concat();
    for (number, changed) in [moved, out, twice, early, spliced, headed].iter().enumerate() {
        let error = read(&put(folder.path(), changed), &keys).unwrap_err();
        assert!(matches!(error, FileError::Damaged { .. }), "{number}: {error:?}");
    }
    // With other keys.
    let error = read(&folder.path().join("one"), &custody()).unwrap_err();
    assert!(matches!(error, FileError::OtherKeys(_)), "{error:?}");
}

#[test]
fn an_export_goes_on_wherever_it_was_cut() {
    let folder = TempDir::new().unwrap();
    let keys = custody();
    let whole = export(folder.path(), "one", &keys);
    let at = chunks(&whole);
    let (to, part) = (folder.path().join("again"), folder.path().join("again.part"));
    for end in [0, 26, at[1], at[1] + 2, at[2] + 1000, at[3], at[at.len() - 2], whole.len() - 1, whole.len()]
    {
        std::fs::write(&part, &whole[..end]).unwrap();
        let (mut export, standing) = Export::open(&to, &head(), Arc::clone(&keys)).unwrap();
        assert_eq!(standing.is_some(), end >= at[1], "{end}");
        let done = standing.as_ref().map_or(0, |standing| standing.done[PAIRS]);
        let last = standing.and_then(|standing| standing.last);
        let all = rows(9000);
        let (before, rest) = all.split_at(usize::try_from(done).unwrap());
        assert!(last.map(|(_, row)| row).as_ref() == before.last());
        export.put(PAIRS, rest).unwrap();
        export.flush().unwrap();
        export.finish().unwrap();
        assert_eq!(read(&to, &keys).unwrap(), 9000, "{end}");
        std::fs::remove_file(&to).unwrap();
    }
    // What a crash has left behind the last whole chunk, and is longer than what comes.
    std::fs::write(&part, [&whole[..at[at.len() - 2]], &[9; 1000]].concat()).unwrap();
    let (export, standing) = Export::open(&to, &head(), Arc::clone(&keys)).unwrap();
    assert_eq!(standing.unwrap().done[PAIRS], 9000);
    export.finish().unwrap();
    assert_eq!(read(&to, &keys).unwrap(), 9000);
    std::fs::remove_file(&to).unwrap();
    // Nobody else's file, of no other state, and by one at a time.
    std::fs::write(&part, &whole).unwrap();
    let open = |head: &Head, keys: &Arc<dyn KeyCustody>| Export::open(&to, head, Arc::clone(keys)).map(drop);
    assert!(matches!(open(&head(), &custody()), Err(FileError::NoPart(_))));
    assert!(matches!(open(&Head { mark: vec![], ..head() }, &keys), Err(FileError::Changed(_))));
    let writes = Export::open(&to, &head(), Arc::clone(&keys)).unwrap();
    assert!(matches!(open(&head(), &keys), Err(FileError::Busy(_))));
    drop(writes);
    assert_eq!(std::fs::read(&part).unwrap(), whole);
    let there = folder.path().join("one");
    assert!(matches!(Export::open(&there, &head(), keys).map(drop), Err(FileError::Exists(_))));
}
