//! A webhook of the operator's own, signed by Standard Webhooks; see `docs/operations/notifications.md`.

use std::time::Duration;

use acquaint_service::{Notice, Notifier, NotifyError};
use async_trait::async_trait;
use reqwest::Url;
use serde_json::json;

use super::{refused, unanswered};
use crate::outbound::{Http, Signer};

pub(super) struct Webhook {
    pub(super) http: Http,
    pub(super) url: Url,
    pub(super) signer: Signer,
    pub(super) within: Duration,
}

#[async_trait]
impl Notifier for Webhook {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let body = json!({
            "type": "match",
            "to": notice.to.as_str(),
            "from": notice.from.as_str(),
            "id": notice.id,
        });
        let request = self.http.client().post(self.url.clone());
        let request = self.signer.sign(request, &notice.id, body.to_string().into_bytes());
        let answer = self.http.send(request, self.within).await.map_err(unanswered)?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(refused(answer.status))
    }
}
