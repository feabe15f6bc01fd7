use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Makes what fills a bucket up: bytes that look like entries, the same at each asking, and of another key's making for
/// whoever asks. ChaCha20 (RFC 8439) under a key of its own.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Filler {
    key: [u8; 32],
}

impl Filler {
    /// With a secret key; a key for each epoch.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Overwrites all `slots` that no listing fills, which stand one behind the other: the same bytes for the same prefix of
    /// so many bits, and of a shorter run its beginning. What changed with each layout would show what stays, which is the
    /// entries.
    pub fn fill(&self, prefix_bits: u8, prefix: u32, slots: &mut [u8]) {
        slots.fill(0);
        let mut nonce = [0; 12];
        for (to, from) in nonce.iter_mut().zip(prefix.to_be_bytes().into_iter().chain([prefix_bits])) {
            *to = from;
        }
        // The stream is 256 GiB long, and a bucket below 4 GiB (both its numbers are 16 bits).
        let _ = ChaCha20::new(&self.key.into(), &nonce.into()).try_apply_keystream(slots);
    }
}
