//! The audit log: who did what and when, under pseudonyms of its own. It is kept in the store, and a webhook can be told
//! of each event.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use acquaint_protocol::identifier::AccountId;
use acquaint_store::{
    AuditId, Event, EventId, EventKind, EventOutcome, LeasedEvent, Millis, NewEvent, Store,
};
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::caller::audit_id;
use crate::error::Internal;
use crate::notify::NotifyError;
use crate::policy::{doubled, millis};
use crate::{Clock, Discovery};

/// Events under way at once.
const AT_ONCE: u32 = 32;
/// How often the queue is looked at without being told.
const POLL: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// An event is given up when it is as old as this.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// An event as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// Its place in the log; later ones are higher.
    pub id: i64,
    /// When it was noted.
    pub at: Millis,
    /// Its lasting name.
    pub kind: &'static str,
    /// The account's name in this log, 32 hexadecimal digits; `None` for the operator's own doing.
    pub account: Option<String>,
    /// What more there is to say; a JSON object.
    pub details: Value,
}

/// Is told of events.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Delivers one event; it may be called again with the same one.
    ///
    /// # Errors
    /// [`NotifyError`] says whether another attempt makes sense.
    async fn tell(&self, event: &AuditEvent) -> Result<(), NotifyError>;
}

impl Discovery {
    /// Up to `limit` events after `after`, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn audit_events(&self, after: Option<i64>, limit: u32) -> Result<Vec<AuditEvent>, Internal> {
        let events = self.store.events(after.map(EventId), limit).await?;
        events.into_iter().map(shown).collect()
    }

    /// What notes events apart from a request, so that a caller who hangs up leaves nothing unnoted.
    pub(crate) fn noter(&self, account: Option<&AccountId>) -> Result<Noter, Internal> {
        Ok(Noter {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            new_event: Arc::clone(&self.new_event),
            tells: self.tells,
            account: account.map(|account| audit_id(&*self.custody, account)).transpose()?,
        })
    }

    /// Counts an event, and wakes who tells of it.
    pub(crate) fn event_noted(&self, kind: EventKind) {
        noted(kind, self.tells.then_some(&*self.new_event));
    }
}

fn noted(kind: EventKind, wake: Option<&Notify>) {
    metrics::counter!("acquaint_events_total", "kind" => kind.name()).increment(1);
    if let Some(wake) = wake {
        wake.notify_one();
    }
}

/// Notes events of one account, or of the operator.
pub(crate) struct Noter {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    new_event: Arc<Notify>,
    tells: bool,
    account: Option<AuditId>,
}

impl Noter {
    /// Notes what has just been done. It is done, so a failure is told in the log and nowhere else.
    pub(crate) async fn note(&self, kind: EventKind, details: Value) {
        let event = NewEvent { kind, account: self.account, details: details.to_string(), tell: self.tells };
        match self.store.append_events(vec![event], self.clock.now()).await {
            Ok(()) => noted(kind, self.tells.then_some(&*self.new_event)),
            Err(error) => {
                metrics::counter!("acquaint_events_lost_total").increment(1);
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, kind = kind.name(), "the audit log cannot be written");
            }
        }
    }
}

/// Does what must not be cut off when its caller hangs up: something, and the note that it was done. It goes on by itself
/// then.
pub(crate) fn to_its_end<F>(work: F) -> ToItsEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    ToItsEnd(Some(Box::pin(work)))
}

/// The work, until it is done.
pub(crate) struct ToItsEnd<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Future for ToItsEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Nobody asks what is done already.
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let outcome = work.as_mut().poll(context);
        if outcome.is_ready() {
            self.0 = None;
        }
        outcome
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        // At the end of the process there is nothing to go on with.
        if let (Some(rest), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _told_to_nobody = rest.await;
            });
        }
    }
}

fn shown(event: Event) -> Result<AuditEvent, Internal> {
    let Event { id, at, kind, account, details } = event;
    let details = serde_json::from_str(&details).map_err(|_| Internal::Unreadable("an event's details"))?;
    let account = account.map(|account| hex(account.as_bytes()));
    Ok(AuditEvent { id: id.0, at, kind: kind.name(), account, details })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tells `sink` of events until `stop`; those under way are finished first.
pub(crate) async fn tell_events(
    discovery: Arc<Discovery>,
    sink: Arc<dyn EventSink>,
    mut stop: watch::Receiver<bool>,
) {
    let lease = millis(discovery.policy.notice_timeout.saturating_add(LEASE_MARGIN));
    while !*stop.borrow() {
        let now = discovery.clock.now();
        let leased = discovery.store.lease_events(AT_ONCE, now, now.saturating_add(lease)).await;
        let leased = leased.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot look for events to tell of");
            Vec::new()
        });
        let found_some = !leased.is_empty();
        let attempts = leased.into_iter().map(|leased| attempt(&discovery, &*sink, leased));
        futures::future::join_all(attempts).await;
        if !found_some {
            tokio::select! {
                () = discovery.new_event.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

async fn attempt(discovery: &Discovery, sink: &dyn EventSink, leased: LeasedEvent) {
    let LeasedEvent { event, attempt } = leased;
    let id = event.id;
    let old = discovery.clock.now().saturating_sub(event.at) > millis(GIVEN_UP_AFTER);
    let told = match shown(event) {
        Ok(event) => {
            timeout(discovery.policy.notice_timeout, sink.tell(&event)).await.unwrap_or(Err(NotifyError {
                reason: "no answer within `notifications.timeout_s`",
                permanent: false,
                source: None,
            }))
        }
        Err(_) => Err(NotifyError { reason: "the event cannot be read", permanent: true, source: None }),
    };
    let count = |outcome| {
        metrics::counter!("acquaint_event_deliveries_total", "outcome" => outcome).increment(1);
    };
    let outcome = match told {
        Ok(()) => {
            count("told");
            EventOutcome::Done
        }
        Err(error) if old || error.permanent || attempt >= discovery.policy.notice_attempts => {
            count("given_up");
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                attempt,
                error,
                "the webhook is not told of an event any more; the audit log has it"
            );
            EventOutcome::Done
        }
        Err(error) => {
            count("failed");
            let error = &error as &dyn std::error::Error;
            tracing::warn!(attempt, error, "the webhook is told of an event again later");
            let pause = millis(doubled(FIRST_PAUSE, attempt, LONGEST_PAUSE));
            EventOutcome::Again(discovery.clock.now().saturating_add(pause))
        }
    };
    if let Err(error) = discovery.store.settle_event(id, attempt, outcome).await {
        // It stays leased, and is due again when that is over.
        tracing::error!(error = &error as &dyn std::error::Error, "an event's outcome cannot be stored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_begun_goes_on_when_its_caller_hangs_up() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut work = to_its_end(async move {
            tokio::task::yield_now().await;
            tell.send(7)
        });
        assert!(futures::future::poll_immediate(&mut work).await.is_none(), "it has begun");
        drop(work);
        assert_eq!(told.await, Ok(7));
        assert_eq!(to_its_end(async { 8 }).await, 8);
    }
}
