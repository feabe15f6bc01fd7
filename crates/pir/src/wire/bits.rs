//! Numbers of some bits each, one after the other, the lowest bit first.

use super::DecodeError;

/// Bytes of `count` numbers of `width` bits.
pub(crate) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends numbers of `width` bits, at most 56. What is above these bits is cut off.
pub(crate) fn pack(values: impl IntoIterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let mask = (1u64 << width) - 1;
    let (mut buffer, mut filled) = (0u64, 0);
    for value in values {
        buffer |= (value & mask) << filled;
        filled += width;
        while filled >= 8 {
            out.push(buffer as u8);
            buffer >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(buffer as u8);
    }
}

/// Reads numbers of `width` bits, at most 56, until `out` is full.
///
/// # Errors
/// When there are not just as many bytes as that takes, a number is not below `below`, or a bit after the last is set.
pub(crate) fn unpack<'a>(
    bytes: &[u8],
    width: u32,
    below: u64,
    out: impl ExactSizeIterator<Item = &'a mut u64>,
) -> Result<(), DecodeError> {
    let expected = packed_bytes(out.len(), width);
    if bytes.len() < expected {
        return Err(DecodeError::Truncated);
    }
    if bytes.len() > expected {
        return Err(DecodeError::Oversized);
    }
    let mask = (1u64 << width) - 1;
    let mut bytes = bytes.iter();
    let (mut buffer, mut filled) = (0u64, 0);
    for out in out {
        while filled < width {
            buffer |= u64::from(*bytes.next().ok_or(DecodeError::Truncated)?) << filled;
            filled += 8;
        }
        let value = buffer & mask;
        if value >= below {
            return Err(DecodeError::Range);
        }
        *out = value;
        buffer >>= width;
        filled -= width;
    }
    if buffer == 0 { Ok(()) } else { Err(DecodeError::Padding) }
}
