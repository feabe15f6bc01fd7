//! Checks of the configured providers that send nothing.

use acquaint_service::DeliveryError;

use super::providers::{adapter, attempt, names};
use super::{Failure, Fate};
use crate::Ambient;
use crate::config::Config;

/// What a check of one provider found.
#[derive(Debug)]
pub struct Probe {
    /// The provider, as the configuration names it.
    pub provider: &'static str,
    /// What is right with it, or why it would take no code; both for the operator.
    pub outcome: Result<String, DeliveryError>,
}

/// Asks every provider in use whether it would take codes, one after the other, each within `attempt_timeout_s`: account
/// or login at Twilio, Plivo and the mail server, a signed `{"type":"ping"}` at the webhook, an open file for the
/// outbox. Nobody is sent anything.
pub async fn probe(config: &Config) -> Vec<Probe> {
    let clock = Ambient::default().clock;
    let mut probes = Vec::new();
    for provider in names(config) {
        let outcome = match adapter(provider, config, &clock) {
            Ok(adapter) => adapter.probe(attempt(config)).await.map_err(DeliveryError::from),
            Err(error) => Err(Failure::new(Fate::Refused, "it is not set up").by(error).into()),
        };
        probes.push(Probe { provider, outcome });
    }
    probes
}
