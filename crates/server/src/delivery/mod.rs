//! How codes reach people: providers in order, each tried as often as a person can certainly not get a code twice.
//!
//! What a provider did with a code is one of the fates below, and decides who is tried next; the table for operators is
//! in `docs/operations/sms-and-email.md`.

mod http_status;
mod outbox;
mod plivo;
mod probe;
mod providers;
mod smtp;
mod twilio;
mod webhook;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use acquaint_protocol::identifier::Identifier;
use acquaint_service::{Code, CodeSender, Entropy};
use async_trait::async_trait;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use crate::outbound::CertificatesError;
pub use acquaint_service::DeliveryError;
pub use probe::{Probe, probe};
pub use providers::ProviderError;
pub(crate) use providers::sender;
pub(crate) use twilio::{is_messaging_service, is_sid};

/// Pause before the one further attempt with a provider.
const PAUSE: Duration = Duration::from_millis(300);

/// What is sent, to whom.
struct Message<'a> {
    to: &'a Identifier,
    code: &'a str,
    /// With the code in it.
    text: Zeroizing<String>,
    /// 32 hexadecimal digits: the same for every attempt at this code, by any provider.
    id: String,
}

/// What became of a code that a provider did not clearly take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Certainly not taken, for a reason that lies in the recipient: no provider is tried any more.
    Recipient,
    /// Certainly not taken, and would not be a moment later: the next provider is tried.
    Refused,
    /// Certainly not taken, but may be a moment later: one further attempt, then the next provider.
    Unavailable,
    /// Perhaps taken: nobody sends it again, but for a provider that knows a message that it has had.
    Unknown,
}

impl Fate {
    /// As the metric's label `outcome`.
    fn label(self) -> &'static str {
        match self {
            Self::Recipient => "recipient_refused",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a provider did not take a code. Holds neither it nor the recipient.
#[derive(Debug)]
struct Failure {
    fate: Fate,
    /// For the operator.
    reason: &'static str,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    fn new(fate: Fate, reason: &'static str) -> Self {
        Self { fate, reason, source: None }
    }

    fn by(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

impl From<Failure> for DeliveryError {
    fn from(Failure { fate, reason, source }: Failure) -> Self {
        Self { reason, may_arrive: fate == Fate::Unknown, recipient_refused: fate == Fate::Recipient, source }
    }
}

/// A way to send.
#[async_trait]
trait Adapter: Send + Sync {
    /// Makes one attempt, which ends within `within`.
    async fn send(&self, message: &Message<'_>, within: Duration) -> Result<(), Failure>;

    /// Whether it knows a message that it has had by its id, so that a further attempt sends nothing twice.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Checks that it would take a code, without sending one, and says what it found.
    async fn probe(&self, within: Duration) -> Result<String, Failure>;
}

/// An adapter under the name that the configuration has for it.
struct Provider {
    name: &'static str,
    adapter: Box<dyn Adapter>,
    consecutive_failures: AtomicU32,
}

impl Provider {
    fn count(&self, outcome: Option<Fate>) {
        let label = outcome.map_or("sent", Fate::label);
        metrics::counter!("acquaint_deliveries_total", "provider" => self.name, "outcome" => label)
            .increment(1);
        // A provider that refuses a recipient works.
        let failures = match outcome {
            None | Some(Fate::Recipient) => {
                self.consecutive_failures.store(0, Ordering::Relaxed);
                0
            }
            Some(Fate::Refused | Fate::Unavailable | Fate::Unknown) => {
                self.consecutive_failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
            }
        };
        metrics::gauge!("acquaint_delivery_consecutive_failures", "provider" => self.name).set(failures);
    }
}

/// Sends by the providers of a channel, in order.
struct Chain {
    sms: Vec<Arc<Provider>>,
    email: Vec<Arc<Provider>>,
    /// With `{code}` in it.
    text: String,
    /// For one attempt.
    attempt: Duration,
    /// For all of them.
    budget: Duration,
    entropy: Arc<dyn Entropy>,
}

#[async_trait]
impl CodeSender for Chain {
    async fn send(&self, to: &Identifier, code: &Code) -> Result<(), DeliveryError> {
        let mut id = [0; 16];
        let drawn = self.entropy.fill(&mut id);
        drawn.map_err(|error| Failure::new(Fate::Refused, "there is no randomness for its id").by(error))?;
        let message = Message {
            to,
            code: code.digits(),
            text: Zeroizing::new(self.text.replace("{code}", code.digits())),
            id: format!("{:032x}", u128::from_be_bytes(id)),
        };
        Ok(self.deliver(&message).await?)
    }
}

impl Chain {
    async fn deliver(&self, message: &Message<'_>) -> Result<(), Failure> {
        let end = Instant::now() + self.budget;
        let providers = match message.to {
            Identifier::Phone(_) => &self.sms,
            Identifier::Email(_) => &self.email,
        };
        let mut last = Failure::new(Fate::Refused, "no provider is configured for it");
        for provider in providers {
            let Some(within) = self.time_for_one(end, Duration::ZERO) else { break };
            let Err(failure) = self.send_by(provider, message, within, end).await else { return Ok(()) };
            let ends = matches!(failure.fate, Fate::Recipient | Fate::Unknown);
            last = failure;
            if ends {
                break;
            }
        }
        Err(last)
    }

    /// One attempt with one provider, and a second where the person cannot get the code twice by it.
    async fn send_by(
        &self,
        provider: &Provider,
        message: &Message<'_>,
        within: Duration,
        end: Instant,
    ) -> Result<(), Failure> {
        let mut outcome = self.attempt(provider, message, within).await;
        let fate = outcome.as_ref().err().map(|failure| failure.fate);
        let again = fate == Some(Fate::Unavailable)
            || fate == Some(Fate::Unknown) && provider.adapter.is_idempotent();
        if let (true, Some(within)) = (again, self.time_for_one(end, PAUSE)) {
            tokio::time::sleep(PAUSE).await;
            outcome = self.attempt(provider, message, within).await;
            // What the second attempt met says nothing about the first.
            if let (Some(Fate::Unknown), Err(failure)) = (fate, &mut outcome) {
                failure.fate = Fate::Unknown;
            }
        }
        provider.count(outcome.as_ref().err().map(|failure| failure.fate));
        outcome
    }

    async fn attempt(
        &self,
        provider: &Provider,
        message: &Message<'_>,
        within: Duration,
    ) -> Result<(), Failure> {
        let outcome = provider.adapter.send(message, within).await;
        if let Err(Failure { fate, reason, source }) = &outcome {
            let error = source.as_ref().map(|source| &**source as &(dyn Error + 'static));
            let (provider, outcome) = (provider.name, fate.label());
            tracing::warn!(provider, outcome, reason, error, "a provider did not take a code");
        }
        outcome
    }

    /// How long an attempt may take that begins after `pause`; none begins with less than half of an attempt's time, because it
    /// would more likely end as unknown than as sent.
    fn time_for_one(&self, end: Instant, pause: Duration) -> Option<Duration> {
        let left = end.saturating_duration_since(Instant::now()).saturating_sub(pause);
        (left * 2 >= self.attempt.min(self.budget)).then(|| left.min(self.attempt))
    }
}

#[cfg(test)]
mod tests;
