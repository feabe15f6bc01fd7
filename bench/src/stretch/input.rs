//! What is hashed: the shapes of a pair, its pepper and its hash. `bench/reference/driver.c` makes the same.

/// A tag's length, in bytes.
pub(super) const LENGTH: usize = 32;

pub(super) type Tag = [u8; LENGTH];

pub(super) const SALT: [u8; 32] = [b's'; 32];

/// A password of its own for each number.
pub(super) fn password(number: u64) -> [u8; 33] {
    let mut password = [b'p'; 33];
    password[..8].copy_from_slice(&number.to_ne_bytes());
    password
}

/// The XOR of tags, by which two who hashed the same passwords know that they agree.
pub(super) fn together(tags: &[Tag]) -> Tag {
    let mut all = [0; LENGTH];
    for tag in tags {
        for (all, byte) in all.iter_mut().zip(tag) {
            *all ^= byte;
        }
    }
    all
}
