//! A worker's memory, on huge pages where the system has them.

use bytemuck::Pod;
use memmap2::{MmapMut, MmapOptions};
use zeroize::Zeroize;

use super::kernel::WORDS;

/// A huge page of x86-64, in bytes.
const HUGE_PAGE: usize = 2 << 20;
/// A block, in bytes.
const BLOCK: usize = 8 * WORDS;

/// Blocks that live as long as their worker.
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
        for advice in [memmap2::Advice::HugePage, memmap2::Advice::DontDump] {
            // Without huge pages it is slower, and that is all; a core dump is the administrator's to forbid.
            let _ = map.advise(advice);
        }
        Some(Self { map, start, bytes })
    }

    /// The memory as blocks of a kernel.
    pub(crate) fn blocks<B: Pod>(&mut self) -> &mut [B] {
        bytemuck::cast_slice_mut(self.used())
    }

    /// Overwrites so many blocks, from the first, with zeroes.
    pub(crate) fn wipe(&mut self, blocks: usize) {
        self.blocks::<[u64; WORDS]>().iter_mut().take(blocks).for_each(|block| block.zeroize());
    }

    #[cfg(test)]
    pub(crate) fn is_zero(&mut self) -> bool {
        self.blocks::<u64>().iter().all(|&word| word == 0)
    }

    fn used(&mut self) -> &mut [u8] {
        &mut self.map[self.start..self.start + self.bytes]
    }
}
