//! Used tokens, in the store: what one server has seen, no other takes.

use std::sync::Arc;

use acquaint_service::{Discovery, Millis};
use acquaint_store::StoreError;
use async_trait::async_trait;

use crate::session::Replays;

/// Asks the store.
pub(crate) struct StoredReplays(pub(crate) Arc<Discovery>);

#[async_trait]
impl Replays for StoredReplays {
    async fn first_use(&self, id: [u8; 32], expires_at: Millis) -> Result<bool, StoreError> {
        self.0.first_use(id, expires_at).await
    }
}
