//! Memory for tables: anonymous, or a part of a file that is mapped.

use acquaint_pir::Storage;
#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;

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
