//! The JSON of the sealed profile (docs/protocol/directory.md).

use serde::{Deserialize, Serialize};

use super::Bytes;

/// What names a request, so that who asks the same again is not charged again: 16 random bytes.
pub type RequestId = Bytes<16>;

/// `POST /v1/directory/oprf`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OprfRequest {
    /// Of which epoch's key.
    pub epoch: u32,
    /// Blinded elements; whether they are points is looked at by [`BlindedElement`](crate::oprf::BlindedElement).
    pub elements: Vec<Bytes<32>>,
    /// Names the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OprfAnswer {
    /// As asked for.
    pub epoch: u32,
    /// Evaluated elements, in the order of the blinded ones.
    pub elements: Vec<Bytes<32>>,
    /// One proof for all of them.
    pub proof: Bytes<64>,
}

/// `POST /v1/directory/buckets`; answered by bytes ([`Buckets`](super::sealed::Buckets)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketsRequest {
    /// Of which epoch.
    pub epoch: u32,
    /// Of which layout.
    pub layout: u32,
    /// Which buckets.
    pub prefixes: Vec<u32>,
    /// Names the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
}
