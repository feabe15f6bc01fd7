use acquaint_protocol::bucket::sealed::AnswerError;
use acquaint_protocol::oprf::FinalizeError;

use super::TrustError;
use crate::ClientError;

/// Why a lookup failed. What was learnt before is in the book.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The call itself.
    #[error(transparent)]
    Call(#[from] ClientError),
    /// What the provider publishes is not to be trusted. Nothing was asked.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Answers of the OPRF that were not made with the published key, or are none.
    #[error("the directory's answer is refused: {0}")]
    Oprf(#[from] FinalizeError),
    /// Buckets of another shape than was asked for, or none.
    #[error("the directory's answer is refused: {0}")]
    Buckets(#[from] AnswerError),
    /// An answer to another question, or of another form.
    #[error("the directory's answer is refused: it is not an answer to what was asked")]
    OtherAnswer,
    /// The directory says again and again that epoch or layout have changed.
    #[error("the directory's parameters keep changing: try again later")]
    KeepsChanging,
    /// The server has an older layout than another server of the directory had: it is still making its shards.
    #[error("the directory's server is still behind its others: try again later")]
    BehindLayout,
    /// The book is one of another profile.
    #[error("the book is one of another profile")]
    OtherProfile,
    /// The directory has no private lookup of this mode.
    #[error("the directory has no private lookup of mode `{0}`")]
    NoMode(&'static str),
    /// The directory says again and again that it does not have the evaluation keys that it was sent.
    #[error("the directory keeps forgetting the evaluation keys that it is sent: try again later")]
    KeysForgotten,
    /// A planned lookup has more contacts than its size has room for, or a size that is none.
    #[error("a planned lookup has more contacts than its batch has room for")]
    TooManyContacts,
    /// An identifier cannot be blinded: it is over 65535 bytes.
    #[error("an identifier is too long to be looked up")]
    Identifier,
    /// The system has no randomness.
    #[error("the operating system gives no randomness")]
    Randomness,
}
