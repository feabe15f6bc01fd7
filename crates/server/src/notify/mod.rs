//! How accounts are told of matches: the AppView's own endpoint, or a webhook of the operator's.

mod appview;
mod events;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use acquaint_service::{EventSink, Notifier, NotifyError};
use reqwest::{StatusCode, Url};

use crate::Ambient;
use crate::config::Config;
use crate::delivery::ProviderError;
use crate::outbound::{Fault, Http, Signer};
use appview::AppView;
use events::EventWebhook;
use webhook::Webhook;

/// Tells of matches as configured; nobody for `none`.
pub(crate) fn notifier(
    config: &Config,
    ambient: &Ambient,
) -> Result<Option<Arc<dyn Notifier>>, ProviderError> {
    let notifications = &config.notifications;
    let incomplete = || ProviderError::Section("notifications");
    let within = Duration::from_secs(notifications.timeout_s.into());
    Ok(match notifications.to.as_str() {
        "appview" => {
            let base: Url = notifications.appview_url.parse().map_err(|_| incomplete())?;
            let password = notifications.appview_password.clone();
            Some(Arc::new(AppView { http: Http::new(&base, within)?, base, password, within }))
        }
        "webhook" => {
            let url: Url = notifications.webhook_url.parse().map_err(|_| incomplete())?;
            let secret = notifications.webhook_secret.expose();
            let signer = Signer::new(secret, Arc::clone(&ambient.clock)).ok_or_else(incomplete)?;
            Some(Arc::new(Webhook { http: Http::new(&url, within)?, url, signer, within }))
        }
        _ => None,
    })
}

/// Tells the audit log's events to a webhook, if one is configured.
pub(crate) fn event_sink(
    config: &Config,
    ambient: &Ambient,
) -> Result<Option<Arc<dyn EventSink>>, ProviderError> {
    let audit = &config.audit;
    if audit.webhook_url.is_empty() {
        return Ok(None);
    }
    let incomplete = || ProviderError::Section("audit");
    let within = Duration::from_secs(config.notifications.timeout_s.into());
    let url: Url = audit.webhook_url.parse().map_err(|_| incomplete())?;
    let signer = Signer::new(audit.webhook_secret.expose(), Arc::clone(&ambient.clock));
    let signer = signer.ok_or_else(incomplete)?;
    Ok(Some(Arc::new(EventWebhook { http: Http::new(&url, within)?, url, signer, within })))
}

/// There was no answer. The other end may have taken the notice; it is told again with the same id.
fn unanswered(fault: Fault) -> NotifyError {
    let (Fault::NotSent(reason, source) | Fault::NoAnswer(reason, source)) = fault;
    NotifyError { reason, permanent: false, source: Some(source) }
}

/// What a status other than 2xx means (RFC 9110, section 15). A request that is refused for what it is will be refused
/// again; credentials, an outage or too many requests can be mended while the notice waits.
fn refused(status: StatusCode) -> NotifyError {
    let (permanent, reason) = match status.as_u16() {
        401 | 403 => (false, "it refuses the credentials"),
        408 | 429 => (false, "it asks to try again later (408 or 429)"),
        404 | 405 | 410 => (true, "it has nothing at this URL"),
        400..=499 => (true, "it refuses the notification"),
        501 => (false, "it is not set up for contacts (501)"),
        300..=399 => (false, "it answers with a redirect: set the URL that it names"),
        _ => (false, "it failed, or is not available"),
    };
    NotifyError { reason, permanent, source: None }
}

#[cfg(test)]
mod tests;
