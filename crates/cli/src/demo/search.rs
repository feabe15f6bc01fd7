//! What a thief of the database would try first.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::failure::Failure;

/// Digits that end each of the numbers: enough to be told from chance, and part of every written form.
const TAIL: usize = 9;

/// Searches every file under `folder` for the numbers' last nine digits as text, and for the number as a 64-bit
/// integer in either byte order. Returns how many bytes were searched, and the files: closing one would end the locks
/// that the server, in this same process, holds on it (fcntl(2)), so they stay open until it has stopped.
pub(super) fn find_any(folder: &Path, numbers: &[String]) -> Result<(usize, Vec<File>), Failure> {
    let tails: HashSet<&[u8]> = numbers
        .iter()
        .filter_map(|number| number.as_bytes().last_chunk::<TAIL>())
        .map(<[u8; TAIL]>::as_slice)
        .collect();
    let integers: Vec<u64> =
        numbers.iter().filter_map(|number| number.trim_start_matches('+').parse().ok()).collect();
    let binary: HashSet<[u8; 8]> =
        integers.iter().flat_map(|number| [number.to_be_bytes(), number.to_le_bytes()]).collect();
    let (mut searched, mut opened) = (0, Vec::new());
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let mut file = File::open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        opened.push(file);
        let found = bytes.windows(TAIL).any(|window| tails.contains(window))
            || bytes.array_windows::<8>().any(|window| binary.contains(window));
        if found {
            return Err(format!("the demo did not go as told: {} holds a number", path.display()).into());
        }
        searched += bytes.len();
    }
    Ok((searched, opened))
}
