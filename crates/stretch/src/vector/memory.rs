//! A worker's memory, on huge pages where the system has them.

use bytemuck::Pod;
use memmap2::{Advice, MmapMut, MmapOptions};
use zeroize::Zeroize;

/// A huge page of x86-64, in bytes.
const HUGE_PAGE: usize = 2 << 20;
/// A block, in bytes (RFC 9106, section 3.2).
const BLOCK: usize = 1024;

/// Blocks that live as long as their worker, overwritten when dropped.
pub(crate) struct Memory {
    map: MmapMut,
    /// Where the first whole huge page begins.
    start: usize,
    bytes: usize,
}

impl Memory {
    /// Room for so many blocks, zeroed; `None` if the system has none.
    pub(crate) fn new(blocks: usize) -> Option<Self> {
        let bytes = blocks.checked_mul(BLOCK)?;
        // The system makes only whole pages huge, and aligns a mapping to small ones.
        let length = bytes.checked_next_multiple_of(HUGE_PAGE)?.checked_add(HUGE_PAGE)?;
        let map = MmapOptions::new().len(length).map_anon().ok()?;
        let start = map.as_ptr().addr().wrapping_neg() % HUGE_PAGE;
        #[cfg(target_os = "linux")]
        for advice in [Advice::HugePage, Advice::DontDump] {
            // Without huge pages it is slower, and that is all; a core dump is the administrator's to forbid.
            let _ = map.advise(advice);
        }
        Some(Self { map, start, bytes })
    }

    /// The memory as blocks of a kernel.
    pub(crate) fn blocks<B: Pod>(&mut self) -> &mut [B] {
        bytemuck::cast_slice_mut(self.used())
    }

    /// Overwrites all of it with zeroes.
    pub(crate) fn wipe(&mut self) {
        self.blocks::<u64>().zeroize();
    }

    #[cfg(test)]
    pub(crate) fn is_zero(&mut self) -> bool {
        self.blocks::<u64>().iter().all(|&word| word == 0)
    }

    fn used(&mut self) -> &mut [u8] {
        &mut self.map[self.start..self.start + self.bytes]
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.wipe();
    }
}
