/// What one hash costs: memory and passes (RFC 9106, section 3.1: m and t). Always one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
}

/// Argon2 knows no such cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostError {
    /// Less than [`Cost::MIN_MEMORY_KIB`], or more than [`Cost::MAX_MEMORY_KIB`].
    #[error("memory_kib is {0}: it has to be 8 to {max}", max = Cost::MAX_MEMORY_KIB)]
    Memory(u32),
    /// No pass at all.
    #[error("passes is 0: it has to be at least 1")]
    Passes,
}

impl Cost {
    /// The least memory, in KiB (RFC 9106, section 3.1: 8 for each lane).
    pub const MIN_MEMORY_KIB: u32 = 8;
    /// The most memory, in KiB: 64 GiB. RFC 9106 allows 2^32 - 1 KiB, which no machine has for a hash.
    pub const MAX_MEMORY_KIB: u32 = 1 << 26;

    /// A cost of so many KiB and passes.
    ///
    /// # Errors
    /// [`CostError`] if one of the two is out of its range.
    pub const fn new(memory_kib: u32, passes: u32) -> Result<Self, CostError> {
        if memory_kib < Self::MIN_MEMORY_KIB || memory_kib > Self::MAX_MEMORY_KIB {
            return Err(CostError::Memory(memory_kib));
        }
        if passes == 0 {
            return Err(CostError::Passes);
        }
        Ok(Self { memory_kib, passes })
    }

    /// Memory of one hash, in KiB, as it enters the hash; what is used is a multiple of 4 KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Blocks of 1 KiB in use: m' of RFC 9106, section 3.2.
    pub(crate) const fn blocks(self) -> usize {
        (self.memory_kib / 4 * 4) as usize
    }
}
