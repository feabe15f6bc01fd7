//! Plivo's Messaging API (<https://www.plivo.com/docs/messaging/api/message/send-a-message>).

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::{Adapter, Failure, Fate, Message, http_status};
use crate::config;
use crate::outbound::{Answer, Http};

/// One account with its sender.
pub(super) struct Plivo {
    pub(super) http: Http,
    pub(super) url: Url,
    pub(super) account: config::Plivo,
}

/// What we read of the answer to a message (status 202).
#[derive(Deserialize)]
struct Queued {
    #[serde(default)]
    message_uuid: Vec<String>,
    #[serde(default)]
    invalid_number: Vec<serde::de::IgnoredAny>,
}

/// What we read of an account.
#[derive(Deserialize)]
struct Account {
    account_type: Option<String>,
    auth_id: String,
}

#[async_trait]
impl Adapter for Plivo {
    async fn send(&self, message: &Message<'_>, within: Duration) -> Result<(), Failure> {
        let body = json!({
            "src": self.account.from,
            "dst": message.to.as_str(),
            "text": message.text.as_str(),
            // Keeps text and number out of its logs (https://www.plivo.com/docs/messaging/concepts/sms-data-redaction).
            "log": false,
        });
        let request = self.http.client().post(self.endpoint("Message/"));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = self.http.send(self.authorised(request), within).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        match answer.json::<Queued>() {
            Some(Queued { message_uuid, .. }) if !message_uuid.is_empty() => Ok(()),
            Some(Queued { invalid_number, .. }) if !invalid_number.is_empty() => {
                Err(Failure::new(Fate::Recipient, "it takes the number for invalid"))
            }
            _ => Err(Failure::new(Fate::Unknown, answer.body.fault())),
        }
    }

    async fn probe(&self, within: Duration) -> Result<String, Failure> {
        let answer =
            self.http.send(self.authorised(self.http.client().get(self.endpoint(""))), within).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        match answer.json::<Account>() {
            Some(Account { auth_id, .. }) if auth_id != self.account.auth_id => {
                Err(Failure::new(Fate::Refused, "it answers for another account than `plivo.auth_id`"))
            }
            Some(Account { account_type: Some(kind), .. }) if kind == "developer" => {
                Ok("the account is a trial: it sends to numbers that you verified there only".into())
            }
            Some(_) => Ok("the account is known".into()),
            None => Err(Failure::new(Fate::Refused, answer.body.fault())),
        }
    }
}

impl Plivo {
    fn endpoint(&self, rest: &str) -> String {
        let base = self.url.as_str().trim_end_matches('/');
        format!("{base}/v1/Account/{}/{rest}", self.account.auth_id)
    }

    /// HTTP Basic with auth ID and auth token (<https://www.plivo.com/docs/messaging/api/request>).
    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.account.auth_id, Some(self.account.auth_token.expose()))
    }
}

/// Plivo documents no codes for refusals, only an `error` in words that repeat what was sent
/// (<https://www.plivo.com/docs/messaging/api/response>): the status has to do.
fn refusal(answer: &Answer) -> Failure {
    if answer.status == StatusCode::BAD_REQUEST && !answer.body.is_page() {
        let reason =
            "it refuses the request: are `plivo.from` and the number's region enabled for the account?";
        return Failure::new(Fate::Refused, reason);
    }
    http_status::failure(answer)
}
