//! The audit log's events, posted to a webhook of the operator's own, signed by Standard Webhooks.

use std::time::Duration;

use acquaint_service::{AuditEvent, EventSink, NotifyError};
use async_trait::async_trait;
use reqwest::Url;

use super::{refused, unanswered};
use crate::http::audit;
use crate::outbound::{Http, Signer};

pub(super) struct EventWebhook {
    pub(super) http: Http,
    pub(super) url: Url,
    pub(super) signer: Signer,
    pub(super) within: Duration,
}

#[async_trait]
impl EventSink for EventWebhook {
    async fn tell(&self, event: &AuditEvent) -> Result<(), NotifyError> {
        // A store that is restored gives numbers again; with its time, an event's is its own.
        let id = format!("event_{}_{}", event.id, event.at);
        let body = audit::event(event).to_string().into_bytes();
        let request = self.signer.sign(self.http.client().post(self.url.clone()), &id, body);
        let answer = self.http.send(request, self.within).await.map_err(unanswered)?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(refused(answer.status))
    }
}
