//! `POST /v1/discovery/query`.

use super::{Reader, RequestId, VERSION, WireError};
use crate::lookup::{Kind, Mode};

/// Bytes of a request before its queries.
pub const QUERY_HEADER_BYTES: usize = 49;

/// Bytes of an answer before the answers to its queries.
pub const ANSWER_HEADER_BYTES: usize = 3;

/// What a request is about. All of its queries are for one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryHeader {
    /// In which mode.
    pub mode: Mode,
    /// Of which epoch.
    pub epoch: u32,
    /// Of which layout.
    pub layout: u32,
    /// Which tables.
    pub kind: Kind,
    /// Which shard.
    pub shard: u32,
    /// Which evaluation keys ([`keys_id`](super::keys_id)).
    pub keys: [u8; 16],
    /// Names the request.
    pub request: RequestId,
    /// How many queries; not 0.
    pub count: u16,
}

impl QueryHeader {
    /// As it is sent, before the queries.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { mode, epoch, layout, kind, shard, keys, request, count } = self;
        let mut bytes = Vec::with_capacity(QUERY_HEADER_BYTES);
        bytes.extend_from_slice(&[VERSION, mode.number()]);
        bytes.extend_from_slice(&epoch.to_be_bytes());
        bytes.extend_from_slice(&layout.to_be_bytes());
        bytes.push(kind.number());
        bytes.extend_from_slice(&shard.to_be_bytes());
        bytes.extend_from_slice(keys);
        bytes.extend_from_slice(request);
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes
    }

    /// Reads the header, from which it follows how long queries are, and gives what stands behind it.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let mut reader = Reader::new(bytes)?;
        let mode = Mode::from_number(reader.u8("mode")?)
            .ok_or(WireError::Value { field: "mode", expected: "0 (psm) or 1 (pir)" })?;
        let (epoch, layout) = (reader.u32("epoch")?, reader.u32("layout")?);
        let kind = Kind::from_number(reader.u8("kind")?)
            .ok_or(WireError::Value { field: "kind", expected: "0 (shard) or 1 (batch)" })?;
        let shard = reader.u32("shard")?;
        let (keys, request) = (reader.array("keys id")?, reader.array("request id")?);
        let count = reader.count()?;
        Ok((Self { mode, epoch, layout, kind, shard, keys, request, count }, reader.rest()))
    }
}

/// A request. It borrows its queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryRequest<'a> {
    /// What it is about.
    pub header: QueryHeader,
    queries: &'a [u8],
    query_bytes: usize,
}

impl<'a> QueryRequest<'a> {
    /// Reads a request whose queries have `query_bytes` each, which follow from its header ([`QueryHeader::decode`]).
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn decode(bytes: &'a [u8], query_bytes: usize) -> Result<Self, WireError> {
        let (header, queries) = QueryHeader::decode(bytes)?;
        let wanted = query_bytes.saturating_mul(usize::from(header.count));
        match queries.len().cmp(&wanted) {
            std::cmp::Ordering::Less => Err(WireError::Truncated("query")),
            std::cmp::Ordering::Greater => Err(WireError::Trailing("query")),
            std::cmp::Ordering::Equal => Ok(Self { header, queries, query_bytes }),
        }
    }

    /// The queries, in their order: [`QueryHeader::count`] of them, each of the length that was told. None if that is 0.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.queries.chunks_exact(self.query_bytes.max(1))
    }
}

/// What stands before the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHeader {
    /// How many answers follow: as many as there were queries.
    pub count: u16,
}

impl AnswerHeader {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> [u8; ANSWER_HEADER_BYTES] {
        let [high, low] = self.count.to_be_bytes();
        [VERSION, high, low]
    }

    /// Reads one, of exactly its bytes.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes)?;
        let count = reader.count()?;
        reader.end("count")?;
        Ok(Self { count })
    }
}
