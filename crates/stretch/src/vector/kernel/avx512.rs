//! G with AVX-512: a vector holds one column, a lane for each row.

#![expect(unsafe_code, reason = "vector instructions that only some processors have, and prefetches")]

use std::arch::x86_64::{
    __m512i, _MM_HINT_T1, _mm_prefetch, _mm512_add_epi64, _mm512_mul_epu32, _mm512_ror_epi64,
    _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_ternarylogic_epi64, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use super::Compress;

/// Proof that the processor has AVX-512F.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        std::is_x86_feature_detected!("avx512f").then_some(Self(()))
    }
}

type Block = [__m512i; 16];

impl Compress for Avx512 {
    type Block = Block;

    fn position(word: usize) -> usize {
        (word % 16) * 8 + word / 16
    }

    #[inline(always)]
    fn compress<const OVER: bool>(self, previous: &Block, reference: &Block, next: &mut Block) {
        // SAFETY: `detect` alone makes a value of this type, and it found AVX-512F.
        unsafe { compress::<OVER>(previous, reference, next) }
    }

    #[inline(always)]
    fn prefetch(self, block: &Block) {
        for vector in block {
            // SAFETY: every x86-64 processor has SSE, and the address is that of a reference.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(vector).cast()) }
        }
    }
}

/// x + y + 2 · low half of x · low half of y (RFC 9106, section 3.6).
#[inline]
#[target_feature(enable = "avx512f")]
fn add(x: __m512i, y: __m512i) -> __m512i {
    let product = _mm512_mul_epu32(x, y);
    _mm512_add_epi64(_mm512_add_epi64(x, y), _mm512_add_epi64(product, product))
}

/// Half of GB on four quadruples (a, b, c, d): the rotations are 32 and 24, then 16 and 63 (RFC 9106, figure 19).
macro_rules! half {
    ($v:ident, [$($a:literal $b:literal $c:literal $d:literal),+], $first:literal, $second:literal) => {
        $($v[$a] = add($v[$a], $v[$b]);)+
        $($v[$d] = _mm512_ror_epi64::<$first>(_mm512_xor_si512($v[$d], $v[$a]));)+
        $($v[$c] = add($v[$c], $v[$d]);)+
        $($v[$b] = _mm512_ror_epi64::<$second>(_mm512_xor_si512($v[$b], $v[$c]));)+
    };
}

/// P on the 16 words of each lane.
macro_rules! permute {
    ($v:ident) => {
        half!($v, [0 4 8 12, 1 5 9 13, 2 6 10 14, 3 7 11 15], 32, 24);
        half!($v, [0 4 8 12, 1 5 9 13, 2 6 10 14, 3 7 11 15], 16, 63);
        half!($v, [0 5 10 15, 1 6 11 12, 2 7 8 13, 3 4 9 14], 32, 24);
        half!($v, [0 5 10 15, 1 6 11 12, 2 7 8 13, 3 4 9 14], 16, 63);
    };
}

/// Swaps lane r of pair of columns i with lane i of row r, eight vectors at a time. Its own inverse.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(x: [__m512i; 8]) -> [__m512i; 8] {
    let mut y = x;
    let mut t = x;
    for k in 0..4 {
        t[2 * k] = _mm512_unpacklo_epi64(x[2 * k], x[2 * k + 1]);
        t[2 * k + 1] = _mm512_unpackhi_epi64(x[2 * k], x[2 * k + 1]);
    }
    for k in 0..2 {
        // Even and odd quarters (128 bits each) of the first four columns and of the last four.
        let low_even = _mm512_shuffle_i64x2::<0x88>(t[k], t[2 + k]);
        let low_odd = _mm512_shuffle_i64x2::<0xdd>(t[k], t[2 + k]);
        let high_even = _mm512_shuffle_i64x2::<0x88>(t[4 + k], t[6 + k]);
        let high_odd = _mm512_shuffle_i64x2::<0xdd>(t[4 + k], t[6 + k]);
        y[k] = _mm512_shuffle_i64x2::<0x88>(low_even, high_even);
        y[4 + k] = _mm512_shuffle_i64x2::<0xdd>(low_even, high_even);
        y[2 + k] = _mm512_shuffle_i64x2::<0x88>(low_odd, high_odd);
        y[6 + k] = _mm512_shuffle_i64x2::<0xdd>(low_odd, high_odd);
    }
    y
}

macro_rules! transpose {
    ($v:ident) => {
        [$v[0], $v[2], $v[4], $v[6], $v[8], $v[10], $v[12], $v[14]] =
            transpose([$v[0], $v[2], $v[4], $v[6], $v[8], $v[10], $v[12], $v[14]]);
        [$v[1], $v[3], $v[5], $v[7], $v[9], $v[11], $v[13], $v[15]] =
            transpose([$v[1], $v[3], $v[5], $v[7], $v[9], $v[11], $v[13], $v[15]]);
    };
}

#[target_feature(enable = "avx512f")]
fn compress<const OVER: bool>(previous: &Block, reference: &Block, next: &mut Block) {
    let mut v = [_mm512_setzero_si512(); 16];
    for k in 0..16 {
        v[k] = _mm512_xor_si512(previous[k], reference[k]);
    }
    let mixed = v;
    permute!(v);
    transpose!(v);
    permute!(v);
    transpose!(v);
    for k in 0..16 {
        // 0x96 is the truth table of a three-way XOR.
        next[k] = if OVER {
            _mm512_ternarylogic_epi64::<0x96>(v[k], mixed[k], next[k])
        } else {
            _mm512_xor_si512(v[k], mixed[k])
        };
    }
}
