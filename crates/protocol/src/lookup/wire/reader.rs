use super::{VERSION, WireError};

/// What is left of a message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Behind the version, which is looked at.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (version, rest) = bytes.split_first().ok_or(WireError::Truncated("version"))?;
        if *version == VERSION { Ok(Self { rest }) } else { Err(WireError::Version) }
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated(field))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A number of things that follow, which is not 0.
    pub(super) fn count(&mut self) -> Result<u16, WireError> {
        match self.u16("count")? {
            0 => Err(WireError::Value { field: "count", expected: "1 to 65535" }),
            count => Ok(count),
        }
    }

    pub(super) fn bytes(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// That nothing follows `last`.
    pub(super) fn end(self, last: &'static str) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(last)) }
    }
}
