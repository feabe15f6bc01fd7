//! Where a table's words lie.

/// Memory for a table: a vector, or a mapped file on huge pages.
pub trait Storage: Send + Sync {
    /// All words.
    fn words(&self) -> &[u32];
    /// All words, as many as [`Storage::words`] gives.
    fn words_mut(&mut self) -> &mut [u32];
}

impl Storage for Vec<u32> {
    fn words(&self) -> &[u32] {
        self
    }

    fn words_mut(&mut self) -> &mut [u32] {
        self
    }
}
