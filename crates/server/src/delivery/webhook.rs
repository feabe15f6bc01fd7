//! A webhook of the operator's own, signed by Standard Webhooks. What it is sent and what it may answer is in
//! `docs/operations/sms-and-email.md`.

use std::time::Duration;

use acquaint_protocol::identifier::Identifier;
use async_trait::async_trait;
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};

use super::{Adapter, Failure, Fate, Message, http_status};
use crate::outbound::{Answer, Http, Signer};

/// The id of a check, which is for no message.
const PING: &str = "ping";

pub(super) struct Webhook {
    pub(super) http: Http,
    pub(super) url: Url,
    pub(super) signer: Signer,
}

#[async_trait]
impl Adapter for Webhook {
    async fn send(&self, message: &Message<'_>, within: Duration) -> Result<(), Failure> {
        let to = match message.to {
            Identifier::Phone(phone) => json!({ "phone": phone.as_str() }),
            Identifier::Email(email) => json!({ "email": email.as_str() }),
        };
        let body = json!({
            "type": "code",
            "to": to,
            "code": message.code,
            "text": message.text.as_str(),
            "id": message.id,
        });
        let answer = self.post(&message.id, &body, within).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            // Our own contract with the webhook.
            StatusCode::UNPROCESSABLE_ENTITY => {
                Err(Failure::new(Fate::Recipient, "it says that the recipient cannot be reached (422)"))
            }
            _ => Err(http_status::failure(&answer)),
        }
    }

    /// It keeps `webhook-id`, by the specification.
    fn is_idempotent(&self) -> bool {
        true
    }

    async fn probe(&self, within: Duration) -> Result<String, Failure> {
        let answer = self.post(PING, &json!({ "type": "ping" }), within).await?;
        if answer.status.is_success() {
            return Ok("it takes what we sign".into());
        }
        Err(http_status::failure(&answer))
    }
}

impl Webhook {
    async fn post(&self, id: &str, body: &Value, within: Duration) -> Result<Answer, Failure> {
        let request = self.http.client().post(self.url.clone());
        let request = self.signer.sign(request, id, body.to_string().into_bytes());
        Ok(self.http.send(request, within).await?)
    }
}
