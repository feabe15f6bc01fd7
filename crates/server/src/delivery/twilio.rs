//! Twilio Programmable Messaging (<https://www.twilio.com/docs/messaging/api/message-resource>).

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use super::{Adapter, Failure, Fate, Message, http_status};
use crate::config::{self, Secret};
use crate::outbound::{Answer, Http};

/// One account with its sender.
pub(super) struct Twilio {
    pub(super) http: Http,
    pub(super) url: Url,
    pub(super) account: config::Twilio,
}

/// What we read of a message that was made (status 201).
#[derive(Deserialize)]
struct Made {
    sid: String,
    status: Option<String>,
    error_code: Option<u32>,
}

/// An error (<https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions>). Its `message` repeats
/// the number and is not read.
#[derive(Deserialize)]
struct Refusal {
    code: u32,
}

/// What we read of an account.
#[derive(Deserialize)]
struct Account {
    status: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[async_trait]
impl Adapter for Twilio {
    async fn send(&self, message: &Message<'_>, within: Duration) -> Result<(), Failure> {
        let from = self.account.from.as_str();
        let sender = if is_messaging_service(from) { "MessagingServiceSid" } else { "From" };
        let fields = [("To", message.to.as_str()), (sender, from), ("Body", message.text.as_str())];
        let request = self.http.client().post(self.endpoint("/Messages.json"));
        let answer = self.http.send(self.authorised(request).form(&fields), within).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        let Some(made) = answer.json::<Made>().filter(|made| !made.sid.is_empty()) else {
            return Err(Failure::new(Fate::Unknown, answer.body.fault()));
        };
        match made.status.as_deref() {
            Some("failed" | "undelivered" | "canceled") => Err(by_code(made.error_code.unwrap_or_default())
                .unwrap_or_else(|| Failure::new(Fate::Refused, "it took the message and failed it at once"))),
            _ => Ok(()),
        }
    }

    async fn probe(&self, within: Duration) -> Result<String, Failure> {
        // A standard API key must not read accounts (https://www.twilio.com/docs/iam/api-keys/keys-in-console).
        let by_key = !self.account.api_key_sid.is_empty();
        let path = if by_key { "/IncomingPhoneNumbers.json?PageSize=1" } else { ".json" };
        let request = self.authorised(self.http.client().get(self.endpoint(path)));
        let answer = self.http.send(request, within).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        if by_key {
            let read = answer.json::<serde_json::Map<String, serde_json::Value>>();
            return match read {
                Some(_) => Ok("the API key is taken".into()),
                None => Err(Failure::new(Fate::Refused, answer.body.fault())),
            };
        }
        match answer.json::<Account>() {
            Some(Account { status, kind }) if status == "active" => Ok(match kind.as_deref() {
                Some("Trial") => "the account is a trial: it sends to numbers that you verified there only",
                _ => "the account is active",
            }
            .into()),
            Some(_) => Err(Failure::new(Fate::Refused, "the account is suspended or closed")),
            None => Err(Failure::new(Fate::Refused, answer.body.fault())),
        }
    }
}

impl Twilio {
    fn endpoint(&self, rest: &str) -> String {
        let base = self.url.as_str().trim_end_matches('/');
        format!("{base}/2010-04-01/Accounts/{}{rest}", self.account.account_sid)
    }

    /// HTTP Basic with the account and its auth token, or an API key and its secret
    /// (<https://www.twilio.com/docs/usage/requests-to-twilio#credentials>).
    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        let config::Twilio { account_sid, api_key_sid, secret, .. } = &self.account;
        let user = if api_key_sid.is_empty() { account_sid } else { api_key_sid };
        request.basic_auth(user, Some(Secret::expose(secret)))
    }
}

/// A messaging service is named by its SID, `MG` and 32 hexadecimal digits.
pub(crate) fn is_messaging_service(from: &str) -> bool {
    is_sid(from, "MG")
}

/// Whether `text` is a SID of a kind (<https://www.twilio.com/docs/glossary/what-is-a-sid>).
pub(crate) fn is_sid(text: &str, kind: &str) -> bool {
    text.strip_prefix(kind)
        .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn refusal(answer: &Answer) -> Failure {
    let by_status = http_status::failure(answer);
    // What a 5xx says of the message is not to be relied on.
    if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
        return by_status;
    }
    match answer.json::<Refusal>() {
        Some(Refusal { code }) => by_code(code).unwrap_or(by_status),
        None => by_status,
    }
}

/// Documented errors, each at `https://www.twilio.com/docs/api/errors/` and its number; `None` for another.
fn by_code(code: u32) -> Option<Failure> {
    use Fate::{Recipient, Refused, Unavailable};
    let (fate, reason) = match code {
        20003 => {
            (Refused, "it refuses the credentials (20003): are SID and secret of one account and region?")
        }
        20005 => (Refused, "the account is not active (20005)"),
        20404 => (Refused, "it does not know the account or the messaging service (20404)"),
        20429 | 14107 => (Unavailable, "it takes no more requests for now (20429 or 14107)"),
        21211 | 21217 => (Recipient, "it takes the number for invalid (21211)"),
        21214 => (Recipient, "it cannot reach the number (21214)"),
        21265 => (Recipient, "the number is a short code (21265)"),
        21266 => (Recipient, "the number is the sender's own (21266)"),
        21268 => (Recipient, "the number is a premium one (21268)"),
        21610 => (Recipient, "the person has unsubscribed from this sender (21610)"),
        21614 => (Recipient, "the number is not a mobile one (21614)"),
        21635 => (Recipient, "the number is a landline (21635)"),
        // Another provider would send what this one held back.
        30450 => (Recipient, "its protection against SMS pumping holds the number back (30450)"),
        21408 => (Refused, "the number's region is not enabled under its geographic permissions (21408)"),
        21608 | 21219 => (Refused, "the account is a trial, and the number is not verified there (21608)"),
        21611 => (Refused, "too many messages are queued for the sender (21611)"),
        21612 => (Refused, "it has no way from the sender to the number (21612)"),
        21212 | 21603 | 21606 | 21659 | 21660 | 21661 => {
            (Refused, "it refuses the sender: is `twilio.from` of this account, and able to send SMS?")
        }
        21617 => (Refused, "the message is longer than 1600 characters (21617): shorten `delivery.text`"),
        _ => return None,
    };
    Some(Failure::new(fate, reason))
}
