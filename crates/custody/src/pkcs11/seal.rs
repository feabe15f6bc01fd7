//! Sealing with a key that only hashes.
//!
//! Each message has a key of its own: HMAC, in the token, of 24 random bytes. With it the message is sealed here, by
//! XChaCha20-Poly1305. Against AES-GCM in the token that has no limit of 2^32 random nonces a key (24 bytes repeat by
//! chance after some 2^96), costs the token one short operation whatever the length, and needs no mechanism beside the
//! HMAC that every HSM has. What it gives up: a message and its key are in this process while it is sealed or opened.
//! The message is there in any case, and its key opens nothing else, so whoever owns the process still needs one
//! operation of the token for each message, and meets the budget.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 2 |
//! | 4 | key version, big-endian |
//! | 24 | random: what the message's key is made of, and its nonce |
//! | rest | ciphertext and 16-byte tag |
//!
//! The message's key is HMAC-SHA-256(sealing key, `acquaint message key` ‖ 0x00 ‖ the 24 bytes). Authenticated
//! besides: the purpose's name ‖ 0x00 ‖ the caller's context.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::{CustodyError, Purpose};

const VERSION: u8 = 2;
pub(super) const NONCE: usize = 24;
const HEADER: usize = 1 + 4 + NONCE;

/// What the token hashes into a message's key.
pub(super) fn key_input(nonce: &[u8; NONCE]) -> Vec<u8> {
    [&b"acquaint message key\0"[..], nonce].concat()
}

pub(super) fn seal(
    purpose: Purpose,
    version: u32,
    nonce: &[u8; NONCE],
    message_key: &[u8; 32],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CustodyError> {
    let ciphertext = XChaCha20Poly1305::new(message_key.into())
        .encrypt(&XNonce::from(*nonce), Payload { msg: plaintext, aad: &bound(purpose, aad) })
        .map_err(|_| CustodyError::Unavailable("the message is too long to seal".into()))?;
    let mut sealed = Vec::with_capacity(HEADER + ciphertext.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&version.to_be_bytes());
    sealed.extend_from_slice(nonce);
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// Key version, nonce, and the ciphertext with its tag; `None` for what was not made here.
pub(super) fn split(sealed: &[u8]) -> Option<(u32, [u8; NONCE], &[u8])> {
    let (header, ciphertext) = sealed.split_first_chunk::<HEADER>()?;
    let [VERSION, a, b, c, d, nonce @ ..] = header else { return None };
    Some((u32::from_be_bytes([*a, *b, *c, *d]), *nonce, ciphertext))
}

pub(super) fn open(
    purpose: Purpose,
    nonce: &[u8; NONCE],
    message_key: &[u8; 32],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
    XChaCha20Poly1305::new(message_key.into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: &bound(purpose, aad) })
        .map(Zeroizing::new)
        .map_err(|_| CustodyError::NotOurs)
}

fn bound(purpose: Purpose, aad: &[u8]) -> Vec<u8> {
    [purpose.name().as_bytes(), &[0], aad].concat()
}
