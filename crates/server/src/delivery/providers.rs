//! The providers that the configuration names.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use acquaint_service::{Clock, CodeSender};
use lettre::transport::smtp::authentication::Credentials;

use super::outbox::Outbox;
use super::plivo::Plivo;
use super::smtp::{Security, Smtp};
use super::twilio::Twilio;
use super::webhook::Webhook;
use super::{Adapter, Chain, Provider};
use crate::Ambient;
use crate::config::{Config, SmtpSecurity};
use crate::outbound::{CertificatesError, Http, Signer};

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// There is nothing to check certificates with.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// A key is missing or malformed; the check of the configuration says which.
    #[error("the section `{0}` of the configuration is not complete")]
    Section(&'static str),
}

/// Sends codes as configured.
pub(crate) fn sender(config: &Config, ambient: &Ambient) -> Result<Arc<dyn CodeSender>, ProviderError> {
    Ok(Arc::new(chain(config, ambient)?))
}

pub(super) fn chain(config: &Config, ambient: &Ambient) -> Result<Chain, ProviderError> {
    let made = made(config, &ambient.clock)?;
    let among = |names: &[String]| {
        let by_name = |name: &String| made.iter().find(|provider| provider.name == name).cloned();
        names.iter().filter_map(by_name).collect()
    };
    let limit = Duration::from_secs(config.verification.delivery_timeout_s.into());
    Ok(Chain {
        sms: among(&config.delivery.sms),
        email: among(&config.delivery.email),
        text: config.delivery.text.clone(),
        attempt: attempt(config),
        // The caller gives up at the limit and then has to take the code for sent.
        budget: limit * 9 / 10,
        entropy: Arc::clone(&ambient.entropy),
    })
}

/// The time for one attempt.
pub(super) fn attempt(config: &Config) -> Duration {
    Duration::from_secs(config.delivery.attempt_timeout_s.into())
}

/// The names of the providers in use, each once. E-mail is not sent while addresses are not taken.
pub(super) fn names(config: &Config) -> Vec<&'static str> {
    let used = |name: &&str| {
        config.delivery.sms.iter().any(|used| used == name)
            || config.verification.emails && config.delivery.email.iter().any(|used| used == name)
    };
    ["twilio", "plivo", "smtp", "webhook", "outbox"].into_iter().filter(used).collect()
}

/// Each provider is made once, so that one that serves both channels has one count of failures.
fn made(config: &Config, clock: &Arc<dyn Clock>) -> Result<Vec<Arc<Provider>>, ProviderError> {
    names(config)
        .into_iter()
        .map(|name| {
            let provider = Provider {
                name,
                adapter: adapter(name, config, clock)?,
                consecutive_failures: AtomicU32::new(0),
            };
            Ok(Arc::new(provider))
        })
        .collect()
}

pub(super) fn adapter(
    name: &'static str,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Box<dyn Adapter>, ProviderError> {
    let attempt = attempt(config);
    let incomplete = || ProviderError::Section(name);
    Ok(match name {
        "twilio" => {
            let url = config.twilio.url.parse().map_err(|_| incomplete())?;
            Box::new(Twilio { http: Http::new(&url, attempt)?, url, account: config.twilio.clone() })
        }
        "plivo" => {
            let url = config.plivo.url.parse().map_err(|_| incomplete())?;
            Box::new(Plivo { http: Http::new(&url, attempt)?, url, account: config.plivo.clone() })
        }
        "webhook" => {
            let url = config.webhook.url.parse().map_err(|_| incomplete())?;
            let signer =
                Signer::new(config.webhook.secret.expose(), Arc::clone(clock)).ok_or_else(incomplete)?;
            Box::new(Webhook { http: Http::new(&url, attempt)?, url, signer })
        }
        "smtp" => Box::new(smtp(config, clock)?),
        "outbox" => Box::new(Outbox { file: config.delivery.outbox_file.clone() }),
        _ => return Err(incomplete()),
    })
}

fn smtp(config: &Config, clock: &Arc<dyn Clock>) -> Result<Smtp, ProviderError> {
    let smtp = &config.smtp;
    let incomplete = || ProviderError::Section("smtp");
    let kind = smtp.kind().ok_or_else(incomplete)?;
    let security = match kind {
        SmtpSecurity::Tls => Security::Tls(Security::tls(&smtp.host)?),
        SmtpSecurity::StartTls => Security::StartTls(Security::tls(&smtp.host)?),
        SmtpSecurity::None => Security::None,
    };
    let port = match smtp.port {
        0 => kind.usual_port(),
        port => u16::try_from(port).map_err(|_| incomplete())?,
    };
    let login = || Credentials::new(smtp.username.clone(), smtp.password.expose().to_owned());
    Ok(Smtp {
        host: smtp.host.clone(),
        port,
        security,
        credentials: (!smtp.username.is_empty()).then(login),
        from: smtp.from.parse().map_err(|_| incomplete())?,
        subject: config.delivery.subject.clone(),
        clock: Arc::clone(clock),
    })
}
