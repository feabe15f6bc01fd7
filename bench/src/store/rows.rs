//! Rows of `pairs` that look random and are the same for the same number.

use acquaint_protocol::pair::{EpochId, PairHash};
use acquaint_store::{Half, Millis, Pseudonym};

/// 2026-01-01T00:00:00Z.
pub(super) const NOW: Millis = 1_767_225_600_000;
pub(super) const DAY: Millis = 24 * 60 * 60 * 1000;
/// How long a pair is kept.
pub(super) const KEPT: Millis = 365 * DAY;
/// Pairs of one account.
const BOOK: u64 = 500;

/// `N` bytes for `what`, by SplitMix64.
pub(super) fn bytes<const N: usize>(what: u64) -> [u8; N] {
    let mut state = what.wrapping_mul(0x2545_F491_4F6C_DD1D);
    let mut bytes = [0; N];
    for part in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let mixed = (mixed ^ (mixed >> 31)).to_be_bytes();
        part.copy_from_slice(&mixed[..part.len()]);
    }
    bytes
}

/// The `number`th row: halves of many accounts, verified on any day of the last year.
pub(super) struct Row {
    pub(super) hash: [u8; 32],
    pub(super) account: [u8; 16],
    pub(super) bit: bool,
    pub(super) verified_at: Millis,
}

pub(super) fn row(number: u64) -> Row {
    let account = number / BOOK;
    let days = i64::try_from(account.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).unwrap_or(0) % 365;
    Row {
        hash: bytes(number),
        // Far from the numbers of rows.
        account: bytes(account + (1 << 60)),
        bit: number.is_multiple_of(2),
        verified_at: NOW - days * DAY,
    }
}

/// A half that meets nothing, or the opposite one of the `number`th row.
pub(super) fn half(number: u64, meets: bool) -> Half {
    let Row { hash, bit, .. } = row(number);
    Half { hashes: vec![(EpochId::new(1), PairHash::from_bytes(hash))], bit: bit != meets }
}

/// Of an account that imports.
pub(super) fn account(number: u64) -> Pseudonym {
    Pseudonym::from_bytes(bytes(number + (1 << 61)))
}
