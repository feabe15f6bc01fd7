//! Zeroes the unallocated gaps of b-tree pages in the database's file, behind SQLite's back.
//!
//! Safe because a gap means nothing to SQLite, because only the thread that runs the checkpoints comes here, and
//! because the directory's lock keeps every other process out. A page that the log holds in a newer version is scrubbed
//! again when that version is copied. See <https://www.sqlite.org/fileformat2.html#b_tree_pages>.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The first page begins with the file's header.
const FILE_HEADER: usize = 100;
const WAL_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;
/// From here on, an overflow page's first byte could be taken for a b-tree page's type.
const MAX_PAGES: u32 = 0x0200_0000;

pub(super) struct Scrubber {
    /// Never closed while SQLite has the file open: closing it would drop SQLite's own POSIX locks.
    file: File,
    page_size: usize,
}

impl Scrubber {
    pub(super) fn open(database: &Path, page_size: u32) -> io::Result<Self> {
        let page_size = usize::try_from(page_size).map_err(io::Error::other)?;
        Ok(Self { file: OpenOptions::new().read(true).write(true).open(database)?, page_size })
    }

    /// The numbers of the pages in the log's first `frames` frames.
    pub(super) fn pages_in(&self, log: &Path, frames: u32) -> io::Result<BTreeSet<u32>> {
        let mut pages = BTreeSet::new();
        if frames == 0 {
            return Ok(pages);
        }
        let mut log = File::open(log)?;
        let frame_size = FRAME_HEADER + self.page_size as u64;
        for frame in 0..u64::from(frames) {
            let mut number = [0; 4];
            log.seek(SeekFrom::Start(WAL_HEADER + frame * frame_size))?;
            log.read_exact(&mut number)?;
            pages.insert(u32::from_be_bytes(number));
        }
        Ok(pages)
    }

    /// Zeroes the gaps of these pages, durably.
    pub(super) fn scrub(&mut self, pages: &BTreeSet<u32>) -> io::Result<()> {
        let count = self.page_count()?;
        let mut page = vec![0; self.page_size];
        let mut changed = false;
        for &number in pages.range(1..=count) {
            changed |= self.scrub_page(number, &mut page)?;
        }
        if changed { self.file.sync_data() } else { Ok(()) }
    }

    pub(super) fn scrub_all(&mut self) -> io::Result<()> {
        let count = self.page_count()?;
        let mut page = vec![0; self.page_size];
        for number in 1..=count {
            self.scrub_page(number, &mut page)?;
        }
        self.file.sync_data()
    }

    fn page_count(&self) -> io::Result<u32> {
        let pages = self.file.metadata()?.len() / self.page_size as u64;
        u32::try_from(pages)
            .ok()
            .filter(|pages| *pages < MAX_PAGES)
            .ok_or_else(|| io::Error::other("the database is too large to be scrubbed"))
    }

    fn scrub_page(&mut self, number: u32, page: &mut [u8]) -> io::Result<bool> {
        let start = (u64::from(number) - 1) * self.page_size as u64;
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(page)?;
        let Some((from, gap)) = gap(page, if number == 1 { FILE_HEADER } else { 0 }) else {
            return Ok(false);
        };
        if gap.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        gap.fill(0);
        self.file.seek(SeekFrom::Start(start + from as u64))?;
        self.file.write_all(gap)?;
        Ok(true)
    }
}

/// What lies between a b-tree page's cell pointers and its cells, with where it begins. `None` for other pages.
pub(super) fn gap(page: &mut [u8], header: usize) -> Option<(usize, &mut [u8])> {
    let header_size = match page.get(header)? {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => return None,
    };
    let number = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
    let cells = number(header + 3)?;
    let content = match number(header + 5)? {
        0 => 65_536,
        content => content,
    };
    let from = header + header_size + 2 * cells;
    Some((from, page.get_mut(from..content)?))
}

#[cfg(test)]
mod tests {
    use super::gap;

    #[test]
    fn a_gap_lies_between_pointers_and_cells() {
        let mut page = vec![7; 64];
        page[..12].copy_from_slice(&[10, 0, 0, 0, 2, 0, 40, 0, 0, 50, 0, 40]);
        let (from, found) = gap(&mut page, 0).unwrap();
        assert_eq!((from, found.len()), (12, 28));
    }

    #[test]
    fn overflow_and_malformed_pages_have_none() {
        assert!(gap(&mut [0; 64], 0).is_none());
        let mut page = vec![7; 64];
        page[..8].copy_from_slice(&[10, 0, 0, 0, 200, 0, 40, 0]);
        assert!(gap(&mut page, 0).is_none());
        page[..8].copy_from_slice(&[10, 0, 0, 0, 1, 200, 0, 0]);
        assert!(gap(&mut page, 0).is_none());
    }
}
