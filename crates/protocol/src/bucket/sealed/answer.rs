/// Bytes before the buckets.
pub const HEADER_BYTES: usize = 16;

const VERSION: u8 = 1;

/// What stands before the buckets of an answer: everything about its size. The same for hit and miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerShape {
    /// The epoch that was asked for.
    pub epoch: u32,
    /// The layout that was asked for.
    pub layout: u32,
    /// Bits of a location that name a bucket, 0 to 32.
    pub prefix_bits: u8,
    /// Bytes of a slot.
    pub slot_bytes: u16,
    /// Slots of each bucket.
    pub slots: u16,
    /// Buckets.
    pub count: u16,
}

impl AnswerShape {
    /// The bytes before the buckets.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        let Self { epoch, layout, prefix_bits, slot_bytes, slots, count } = *self;
        let ([e0, e1, e2, e3], [l0, l1, l2, l3]) = (epoch.to_be_bytes(), layout.to_be_bytes());
        let [[b0, b1], [s0, s1], [c0, c1]] = [slot_bytes, slots, count].map(u16::to_be_bytes);
        [VERSION, e0, e1, e2, e3, l0, l1, l2, l3, prefix_bits, b0, b1, s0, s1, c0, c1]
    }

    /// Bytes of a bucket.
    #[must_use]
    pub fn bucket_bytes(&self) -> u64 {
        u64::from(self.slot_bytes) * u64::from(self.slots)
    }

    /// Bytes of the whole answer.
    #[must_use]
    pub fn answer_bytes(&self) -> u64 {
        // 2^4 + (2^16)^3 at most.
        16 + self.bucket_bytes() * u64::from(self.count)
    }
}

/// An answer that was read. It borrows what was received: nothing is made as large as a number in it says.
#[derive(Clone, Copy)]
pub struct Buckets<'a> {
    shape: AnswerShape,
    buckets: &'a [u8],
}

/// Why bytes are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is shorter than its own header, or of another version.
    #[error("this is no answer of buckets, version 1")]
    NotAnAnswer,
    /// It is not of the epoch, the layout, the sizes and the count that were asked for.
    #[error("the answer is not of the shape that was asked for")]
    OtherShape,
    /// It is shorter or longer than its header says.
    #[error("the answer is not as long as its header says")]
    Length,
}

impl<'a> Buckets<'a> {
    /// Reads an answer of any shape. Its length must be the one that its header gives, to the byte.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn decode(answer: &'a [u8]) -> Result<Self, AnswerError> {
        let (header, buckets) = answer.split_first_chunk::<HEADER_BYTES>().ok_or(AnswerError::NotAnAnswer)?;
        let [version, e0, e1, e2, e3, l0, l1, l2, l3, prefix_bits, b0, b1, s0, s1, c0, c1] = *header;
        if version != VERSION || prefix_bits > super::MAX_PREFIX_BITS {
            return Err(AnswerError::NotAnAnswer);
        }
        let shape = AnswerShape {
            epoch: u32::from_be_bytes([e0, e1, e2, e3]),
            layout: u32::from_be_bytes([l0, l1, l2, l3]),
            prefix_bits,
            slot_bytes: u16::from_be_bytes([b0, b1]),
            slots: u16::from_be_bytes([s0, s1]),
            count: u16::from_be_bytes([c0, c1]),
        };
        if u64::try_from(answer.len()).ok() != Some(shape.answer_bytes()) {
            return Err(AnswerError::Length);
        }
        // Slots and buckets of no bytes cannot be counted.
        if shape.slot_bytes == 0 || shape.slots == 0 {
            return Err(AnswerError::NotAnAnswer);
        }
        Ok(Self { shape, buckets })
    }

    /// Reads the answer to a question: it has to be of this shape.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn decode_as(answer: &'a [u8], asked: AnswerShape) -> Result<Self, AnswerError> {
        let read = Self::decode(answer)?;
        if read.shape == asked { Ok(read) } else { Err(AnswerError::OtherShape) }
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> AnswerShape {
        self.shape
    }

    /// The slots of each bucket, in the order of the prefixes that were asked for.
    pub fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a>> + use<'a>
    {
        let slot_bytes = usize::from(self.shape.slot_bytes).max(1);
        let bucket_bytes = usize::from(self.shape.slots) * usize::from(self.shape.slot_bytes);
        self.buckets.chunks_exact(bucket_bytes.max(1)).map(move |bucket| bucket.chunks_exact(slot_bytes))
    }
}
