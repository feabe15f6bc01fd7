//! The AppView's `app.bsky.contact.sendNotification`, as in the npm package `@atproto/bsky` 0.0.280: the lexicon is in
//! `dist/lexicons/app/bsky/contact/sendNotification.defs.js`, the handler in
//! `dist/api/app/bsky/contact/sendNotification.js`, and who may call in `dist/auth-verifier.js`, `parseRoleCreds`.

use std::time::Duration;

use acquaint_service::{Notice, Notifier, NotifyError};
use async_trait::async_trait;
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::{refused, unanswered};
use crate::config::Secret;
use crate::outbound::{Body, Http};

pub(super) struct AppView {
    pub(super) http: Http,
    pub(super) base: Url,
    pub(super) password: Secret,
    pub(super) within: Duration,
}

#[async_trait]
impl Notifier for AppView {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let url =
            format!("{}/xrpc/app.bsky.contact.sendNotification", self.base.as_str().trim_end_matches('/'));
        let body = json!({ "from": notice.from.as_str(), "to": notice.to.as_str() });
        let request = self.http.client().post(url);
        let request = request
            .basic_auth("admin", Some(self.password.expose()))
            .header("content-type", "application/json")
            .header("idempotency-key", &notice.id)
            .body(body.to_string());
        let answer = self.http.send(request, self.within).await.map_err(unanswered)?;
        if !answer.status.is_success() {
            return Err(refused(answer.status));
        }
        // A whole answer that is no JSON object comes from something else than an AppView, which has told nobody. One
        // that broke off after its status has: to tell again would tell twice.
        match &answer.body {
            Body::Whole(_) if answer.json::<Map<String, Value>>().is_none() => {
                Err(NotifyError { reason: answer.body.fault(), permanent: false, source: None })
            }
            Body::TooLarge => {
                Err(NotifyError { reason: answer.body.fault(), permanent: false, source: None })
            }
            Body::Whole(_) | Body::Slow | Body::CutOff => Ok(()),
        }
    }
}
