//! How accounts are told of matches: a port that the server's notifiers implement.

use acquaint_protocol::identifier::AccountId;
use async_trait::async_trait;

/// One account is to be told that it is matched with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The same for every attempt at this notice and for no other: 32 hexadecimal digits, an idempotency key.
    pub id: String,
    /// Who is told.
    pub to: AccountId,
    /// Of whom.
    pub from: AccountId,
}

/// Tells of matches.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Delivers one notice; returns when the other end has taken it. It may be called again with the same notice.
    ///
    /// # Errors
    /// [`NotifyError`] says whether another attempt makes sense.
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError>;
}

/// A notice was not taken. Carries no account.
#[derive(Debug, thiserror::Error)]
#[error("the notification was not taken: {reason}")]
pub struct NotifyError {
    /// Why, in words for the operator.
    pub reason: &'static str,
    /// The other end will never take it: there is no use in another attempt until somebody has mended something.
    pub permanent: bool,
    /// The adapter's error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
