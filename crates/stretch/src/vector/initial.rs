//! What surrounds the memory: the first hash, the first blocks, the tag (RFC 9106, sections 3.2 and 3.3).

use blake2::Blake2bVarCore;
use blake2::digest::block_api::{Buffer, UpdateCore, VariableOutputCore};
use zeroize::{Zeroize, Zeroizing};

use super::kernel::{WORDS, Words};
use crate::{Cost, Job};

/// The version of RFC 9106.
const VERSION: u32 = 0x13;
/// The type of Argon2id (RFC 9106, section 3.2).
pub(crate) const ARGON2ID: u32 = 2;
/// BLAKE2b's longest output, in bytes.
const LONGEST: usize = 64;
/// A block, in bytes.
const BLOCK: usize = 8 * WORDS;

/// H0 of one input: no secret value, no associated data, one lane.
pub(crate) fn first_hash(cost: Cost, job: &Job<'_>) -> Zeroizing<[u8; LONGEST]> {
    let mut hash = Zeroizing::new([0; LONGEST]);
    blake2b(
        &[
            &1u32.to_le_bytes(),
            &number(job.tag.len()),
            &cost.memory_kib().to_le_bytes(),
            &cost.passes().to_le_bytes(),
            &VERSION.to_le_bytes(),
            &ARGON2ID.to_le_bytes(),
            &number(job.password.len()),
            job.password,
            &number(job.salt.len()),
            job.salt,
            &number(0),
            &number(0),
        ],
        &mut hash[..],
    );
    hash
}

/// Block 0 or 1 of the memory.
pub(crate) fn first_block(first_hash: &[u8; LONGEST], index: u32) -> Zeroizing<Words> {
    let mut bytes = Zeroizing::new([0; BLOCK]);
    variable([first_hash, &index.to_le_bytes(), &0u32.to_le_bytes()], &mut bytes[..]);
    let mut words = Zeroizing::new([0; WORDS]);
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// The tag, from the last block.
pub(crate) fn tag(last: &Words, tag: &mut [u8]) {
    let mut bytes = Zeroizing::new([0; BLOCK]);
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(last) {
        *bytes = word.to_le_bytes();
    }
    variable([&bytes[..], &[], &[]], tag);
}

/// H': BLAKE2b with an output of any length (RFC 9106, section 3.3).
fn variable(parts: [&[u8]; 3], out: &mut [u8]) {
    let length = number(out.len());
    let [a, b, c] = parts;
    if out.len() <= LONGEST {
        blake2b(&[&length, a, b, c], out);
        return;
    }
    let mut v = Zeroizing::new([0; LONGEST]);
    blake2b(&[&length, a, b, c], &mut v[..]);
    let mut rest = out;
    loop {
        let (half, more) = rest.split_at_mut(LONGEST / 2);
        half.copy_from_slice(&v[..LONGEST / 2]);
        rest = more;
        let mut next = Zeroizing::new([0; LONGEST]);
        let last = rest.len() <= LONGEST;
        let length = if last { rest.len() } else { LONGEST };
        blake2b(&[&v[..]], &mut next[..length]);
        if last {
            rest.copy_from_slice(&next[..length]);
            return;
        }
        v = next;
    }
}

/// A length as it enters a hash. Lengths are checked to be below 2^32.
fn number(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// BLAKE2b of the parts one after another, with an output of 1 to 64 bytes (RFC 7693).
fn blake2b(parts: &[&[u8]], out: &mut [u8]) {
    // Another length is the only thing that it refuses.
    let Ok(mut hash) = Blake2bVarCore::new(out.len()) else { return };
    let mut buffer = Buffer::<Blake2bVarCore>::default();
    for part in parts {
        buffer.digest_blocks(part, |blocks| hash.update_blocks(blocks));
    }
    let mut whole = Default::default();
    hash.finalize_variable_core(&mut buffer, &mut whole);
    out.copy_from_slice(&whole[..out.len()]);
    whole.zeroize();
}
