//! How codes reach people: a port that the server's delivery adapters implement.

use acquaint_protocol::identifier::Identifier;
use async_trait::async_trait;
use zeroize::Zeroizing;

/// Six ASCII digits on their way to a person; wiped after use and never printed.
pub struct Code(Zeroizing<String>);

impl Code {
    pub(crate) fn new(number: u32) -> Self {
        Self(Zeroizing::new(format!("{number:06}")))
    }

    /// The digits, for the message.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(redacted)")
    }
}

/// Sends a code within the request that asked for it; nothing is queued or kept.
#[async_trait]
pub trait CodeSender: Send + Sync {
    /// Sends `code` to a phone or an e-mail address; returns when the provider has taken it.
    ///
    /// # Errors
    /// When it was not taken. The person's attempt is then given back.
    async fn send(&self, to: &Identifier, code: &Code) -> Result<(), DeliveryError>;
}

/// The code could not be sent. Carries no number and no code.
#[derive(Debug, thiserror::Error)]
#[error("the code could not be sent: {reason}")]
pub struct DeliveryError {
    /// Why, in words for the operator's log.
    pub reason: &'static str,
    /// The provider may have taken the code before it failed to say so: it stays valid, and nobody sends it again.
    pub may_arrive: bool,
    /// The provider refuses this recipient: there is no use in another attempt.
    pub recipient_refused: bool,
    /// The adapter's error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
