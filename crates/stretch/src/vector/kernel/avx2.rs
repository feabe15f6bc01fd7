//! G with AVX2: a vector holds half of a column, a lane for each of four rows; the vectors of rows 0 to 3 come first.

#![expect(unsafe_code, reason = "vector instructions that only some processors have, and prefetches")]

use std::arch::x86_64::{
    __m256i, _MM_HINT_T1, _mm_prefetch, _mm256_add_epi64, _mm256_mul_epu32, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_shuffle_epi32,
    _mm256_srli_epi64, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::Compress;

/// Proof that the processor has AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(Rotations);

/// Bytes in the order that rotates each word right by 24 and by 16 bits.
#[derive(Clone, Copy)]
struct Rotations {
    by_24: __m256i,
    by_16: __m256i,
}

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        let order = |bytes: [u64; 2]| bytemuck::cast([bytes, bytes]);
        let rotations = Rotations {
            by_24: order([0x0201_0007_0605_0403, 0x0a09_080f_0e0d_0c0b]),
            by_16: order([0x0100_0706_0504_0302, 0x0908_0f0e_0d0c_0b0a]),
        };
        // A compiler that knows the orders makes two shuffles of one.
        std::is_x86_feature_detected!("avx2").then_some(Self(std::hint::black_box(rotations)))
    }
}

type Block = [__m256i; 32];

impl Compress for Avx2 {
    type Block = Block;

    fn position(word: usize) -> usize {
        let (row, column) = (word / 16, word % 16);
        (row / 4 * 16 + column) * 4 + row % 4
    }

    #[inline(always)]
    fn compress<const OVER: bool>(self, previous: &Block, reference: &Block, next: &mut Block) {
        // SAFETY: `detect` alone makes a value of this type, and it found AVX2.
        unsafe { compress::<OVER>(&self.0, previous, reference, next) }
    }

    #[inline(always)]
    fn prefetch(self, block: &Block) {
        // Two vectors are a line of the cache.
        for vector in block.iter().step_by(2) {
            // SAFETY: every x86-64 processor has SSE, and the address is that of a reference.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(vector).cast()) }
        }
    }
}

/// x + y + 2 · low half of x · low half of y (RFC 9106, section 3.6).
#[inline]
#[target_feature(enable = "avx2")]
fn add(x: __m256i, y: __m256i) -> __m256i {
    let product = _mm256_mul_epu32(x, y);
    _mm256_add_epi64(_mm256_add_epi64(x, y), _mm256_add_epi64(product, product))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate_32(x: __m256i, _: &Rotations) -> __m256i {
    _mm256_shuffle_epi32::<0b10_11_00_01>(x)
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate_24(x: __m256i, rotations: &Rotations) -> __m256i {
    _mm256_shuffle_epi8(x, rotations.by_24)
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate_16(x: __m256i, rotations: &Rotations) -> __m256i {
    _mm256_shuffle_epi8(x, rotations.by_16)
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate_63(x: __m256i, _: &Rotations) -> __m256i {
    _mm256_or_si256(_mm256_srli_epi64::<63>(x), _mm256_add_epi64(x, x))
}

/// Half of GB on quadruples (a, b, c, d): the rotations are 32 and 24, then 16 and 63 (RFC 9106, figure 19).
macro_rules! half {
    ($v:ident, $orders:ident, [$($a:literal $b:literal $c:literal $d:literal),+], $first:ident, $second:ident) => {
        $($v[$a] = add($v[$a], $v[$b]);)+
        $($v[$d] = $first(_mm256_xor_si256($v[$d], $v[$a]), $orders);)+
        $($v[$c] = add($v[$c], $v[$d]);)+
        $($v[$b] = $second(_mm256_xor_si256($v[$b], $v[$c]), $orders);)+
    };
}

/// P on the 16 words of each lane. There are 16 registers, so no more than two quadruples are mixed at a time.
macro_rules! permute {
    ($v:ident, $orders:ident) => {
        permute!($v, $orders, [0 4 8 12, 1 5 9 13]);
        permute!($v, $orders, [2 6 10 14, 3 7 11 15]);
        permute!($v, $orders, [0 5 10 15, 1 6 11 12]);
        permute!($v, $orders, [2 7 8 13, 3 4 9 14]);
    };
    ($v:ident, $orders:ident, $quadruples:tt) => {
        half!($v, $orders, $quadruples, rotate_32, rotate_24);
        half!($v, $orders, $quadruples, rotate_16, rotate_63);
    };
}

/// Transposes four by four words.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(x: [__m256i; 4]) -> [__m256i; 4] {
    let (a, b) = (_mm256_unpacklo_epi64(x[0], x[1]), _mm256_unpackhi_epi64(x[0], x[1]));
    let (c, d) = (_mm256_unpacklo_epi64(x[2], x[3]), _mm256_unpackhi_epi64(x[2], x[3]));
    [
        _mm256_permute2x128_si256::<0x20>(a, c),
        _mm256_permute2x128_si256::<0x20>(b, d),
        _mm256_permute2x128_si256::<0x31>(a, c),
        _mm256_permute2x128_si256::<0x31>(b, d),
    ]
}

#[target_feature(enable = "avx2")]
fn compress<const OVER: bool>(rotations: &Rotations, previous: &Block, reference: &Block, next: &mut Block) {
    // Row r, column 2i + odd stands at vector 16 (r / 4) + 2i + odd, lane r % 4.
    let mut rows = [_mm256_setzero_si256(); 32];
    for half in 0..2 {
        let at = 16 * half;
        let mut v: [__m256i; 16] =
            std::array::from_fn(|k| _mm256_xor_si256(previous[at + k], reference[at + k]));
        permute!(v, rotations);
        rows[at..at + 16].copy_from_slice(&v);
    }
    for half in 0..2 {
        let at = 8 * half;
        // Row r, column 2i + odd stands at v[2r + odd], lane i % 4; here i / 4 is `half`.
        let mut v = [_mm256_setzero_si256(); 16];
        for group in 0..4 {
            let (quarter, odd) = (group / 2, group % 2);
            let from = 16 * quarter + at + odd;
            let turned = transpose([rows[from], rows[from + 2], rows[from + 4], rows[from + 6]]);
            for k in 0..4 {
                v[8 * quarter + 2 * k + odd] = turned[k];
            }
        }
        permute!(v, rotations);
        for group in 0..4 {
            let (quarter, odd) = (group / 2, group % 2);
            let from = 8 * quarter + odd;
            let turned = transpose([v[from], v[from + 2], v[from + 4], v[from + 6]]);
            for k in 0..4 {
                let at = 16 * quarter + at + 2 * k + odd;
                let mixed = _mm256_xor_si256(turned[k], _mm256_xor_si256(previous[at], reference[at]));
                next[at] = if OVER { _mm256_xor_si256(mixed, next[at]) } else { mixed };
            }
        }
    }
}
