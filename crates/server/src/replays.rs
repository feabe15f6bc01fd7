//! Used tokens, in the store: what one server has seen, no other takes.

use std::sync::Arc;

use acquaint_service::Discovery;
use async_trait::async_trait;

use crate::session::{Replays, ReplaysUnavailable};

/// Asks the store.
pub(crate) struct StoredReplays(pub(crate) Arc<Discovery>);

#[async_trait]
impl Replays for StoredReplays {
    async fn first_use(&self, id: [u8; 32], expires_at: i64) -> Result<bool, ReplaysUnavailable> {
        self.0.first_use(id, expires_at).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "used tokens cannot be looked at");
            ReplaysUnavailable
        })
    }
}
