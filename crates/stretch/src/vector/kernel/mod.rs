//! The compression function G (RFC 9106, section 3.5) on vectors of the processor. The crate's only `unsafe` is here.
//!
//! A block of 128 words is a matrix of 8 rows and 16 columns (row r holds the words 16r to 16r + 15). G permutes each
//! row, and then each pair of columns, with P: BLAKE2b's round with multiplications. Here words are stored so that the
//! lanes of a vector belong to different rows. Then P of all rows at once takes no shuffle, and one transposition turns
//! rows into pairs of columns for the second half.

pub(crate) mod avx2;
pub(crate) mod avx512;

use bytemuck::Pod;
use zeroize::Zeroizing;

/// A block as RFC 9106 numbers its words.
pub(crate) type Words = [u64; WORDS];
/// Words in a block: 1 KiB.
pub(crate) const WORDS: usize = 128;

/// G on one kind of processor. A value of an implementing type is the proof that this processor is of that kind.
pub(crate) trait Compress: Copy {
    /// A block as it stands in memory: 1024 bytes, words in the kernel's order.
    type Block: Pod;

    /// Where a block has the RFC's word `word`. Word 0 stands first.
    fn position(word: usize) -> usize;

    /// Writes G(previous, reference) to `next`, or if `OVER` what the later passes want: the same XORed with what `next`
    /// holds.
    fn compress<const OVER: bool>(
        self,
        previous: &Self::Block,
        reference: &Self::Block,
        next: &mut Self::Block,
    );

    /// Starts to bring a block into the second cache: more requests can be under way to it than to the first.
    fn prefetch(self, block: &Self::Block);
}

/// The block's first word, which says what the next block refers to (RFC 9106, section 3.4.1.2).
pub(crate) fn first_word<B: Pod>(block: &B) -> u64 {
    bytemuck::cast_ref::<B, Words>(block)[0]
}

/// Brings a block into the kernel's order.
pub(crate) fn arrange<K: Compress>(words: &Words) -> K::Block {
    let mut arranged = Zeroizing::new([0; WORDS]);
    for (word, value) in words.iter().enumerate() {
        arranged[K::position(word)] = *value;
    }
    bytemuck::cast(*arranged)
}

/// The inverse of [`arrange`].
pub(crate) fn words<K: Compress>(block: &K::Block) -> Zeroizing<Words> {
    let arranged: &Words = bytemuck::cast_ref(block);
    let mut words = Zeroizing::new([0; WORDS]);
    for (word, value) in words.iter_mut().enumerate() {
        *value = arranged[K::position(word)];
    }
    words
}
