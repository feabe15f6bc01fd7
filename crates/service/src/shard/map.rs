//! Memory for tables: anonymous, or a part of a file that is mapped. The crate's only `unsafe` is here.

use std::fs::File;
use std::io;

use acquaint_pir::Storage;
#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::{MmapMut, MmapOptions};

use super::{ShardError, check_memory};

/// Pages that hold a table's words.
pub(super) struct Pages(MmapMut);

/// Memory for a table of so many words of 32 bits ([`acquaint_pir::Parameters::table_words`]), zeros, on huge pages where
/// the system has them.
///
/// # Errors
/// [`ShardError::Memory`] when there is not so much; then none was taken.
pub fn anonymous(words: usize) -> Result<Box<dyn Storage>, ShardError> {
    let bytes = words.saturating_mul(size_of::<u32>());
    check_memory(bytes as u64)?;
    let pages = MmapMut::map_anon(bytes).map_err(ShardError::Unavailable)?;
    Ok(Box::new(Pages(on_huge_pages(pages))))
}

/// So many words of a file, from an offset of whole pages on. What is written to them stays in memory.
#[expect(unsafe_code, reason = "a file is mapped: somebody else could write to it")]
pub(super) fn of_file(file: &File, offset: u64, words: usize) -> io::Result<Box<dyn Storage>> {
    let mut options = MmapOptions::new();
    options.offset(offset).len(words.saturating_mul(size_of::<u32>()));
    // SAFETY: bytes of a mapping must not change behind the program's back, and must not go away. A shard's file is never
    // written to: it is renamed to its name when it is whole, and another takes the name, not the bytes (`save.rs`). Others
    // than its owner may not write to it, or it is not opened (`open.rs`). All that is left is the operator, who could cut
    // it: the process ends then. Any bytes are words.
    let pages = unsafe { options.map_copy(file) }?;
    Ok(Box::new(Pages(pages)))
}

/// A table is read from one end to the other for each query: fewer pages, fewer looks at the tables of pages. A system that
/// has none says so, and it works without.
fn on_huge_pages(pages: MmapMut) -> MmapMut {
    #[cfg(target_os = "linux")]
    let _refused = pages.advise(Advice::HugePage);
    pages
}

impl Storage for Pages {
    fn words(&self) -> &[u32] {
        // Pages begin at a multiple of four, and are as many bytes as words were asked for.
        bytemuck::try_cast_slice(&self.0).unwrap_or_default()
    }

    fn words_mut(&mut self) -> &mut [u32] {
        bytemuck::try_cast_slice_mut(&mut self.0).unwrap_or_default()
    }
}
