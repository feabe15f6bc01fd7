//! `POST /v1/discovery/oprf`.

use super::{Reader, RequestId, VERSION, WireError};

/// Elements that a message can have.
pub const MAX_ELEMENTS: usize = u16::MAX as usize;

const ELEMENT_BYTES: usize = 32;

/// The request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OprfRequest {
    /// Of which epoch's key.
    pub epoch: u32,
    /// Names the request.
    pub request: RequestId,
    /// Blinded elements, 1 to [`MAX_ELEMENTS`]; whether they are points is looked at by
    /// [`BlindedElement`](crate::oprf::BlindedElement).
    pub elements: Vec<[u8; 32]>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OprfAnswer {
    /// As asked for.
    pub epoch: u32,
    /// Evaluated elements, in the order of the blinded ones.
    pub elements: Vec<[u8; 32]>,
    /// One proof for all of them.
    pub proof: [u8; 64],
}

impl OprfRequest {
    /// As it is sent. What is beyond [`MAX_ELEMENTS`] is refused.
    ///
    /// # Errors
    /// [`WireError::Value`] for no or too many elements.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let Self { epoch, request, elements } = self;
        let mut bytes = Vec::with_capacity(23 + elements.len() * ELEMENT_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&epoch.to_be_bytes());
        bytes.extend_from_slice(request);
        put(&mut bytes, elements)?;
        Ok(bytes)
    }

    /// Reads one.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes)?;
        let (epoch, request) = (reader.u32("epoch")?, reader.array("request id")?);
        let elements = take(&mut reader, "blinded element")?;
        reader.end("blinded element")?;
        Ok(Self { epoch, request, elements })
    }
}

impl OprfAnswer {
    /// Bytes of an answer of so many elements.
    #[must_use]
    pub const fn encoded_bytes(count: usize) -> usize {
        71 + count * ELEMENT_BYTES
    }

    /// As it is sent.
    ///
    /// # Errors
    /// [`WireError::Value`] for no or too many elements.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let Self { epoch, elements, proof } = self;
        let mut bytes = Vec::with_capacity(Self::encoded_bytes(elements.len()));
        bytes.push(VERSION);
        bytes.extend_from_slice(&epoch.to_be_bytes());
        put(&mut bytes, elements)?;
        bytes.extend_from_slice(proof);
        Ok(bytes)
    }

    /// Reads one.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes)?;
        let epoch = reader.u32("epoch")?;
        let elements = take(&mut reader, "evaluated element")?;
        let proof = reader.array("proof")?;
        reader.end("proof")?;
        Ok(Self { epoch, elements, proof })
    }
}

fn put(bytes: &mut Vec<u8>, elements: &[[u8; 32]]) -> Result<(), WireError> {
    let count = u16::try_from(elements.len()).ok().filter(|count| *count > 0);
    let count = count.ok_or(WireError::Value { field: "count", expected: "1 to 65535" })?;
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend(elements.iter().flatten());
    Ok(())
}

fn take(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<[u8; 32]>, WireError> {
    let count = usize::from(reader.count()?);
    let (elements, _) = reader.bytes(count * ELEMENT_BYTES, field)?.as_chunks();
    Ok(elements.to_vec())
}
