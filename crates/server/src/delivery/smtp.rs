//! E-mail by SMTP (RFC 5321), submitted to a mail server of the operator's (RFC 6409).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use acquaint_service::Clock;
use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message as Mime};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Adapter, Failure, Fate, Message};
use crate::outbound::{CertificatesError, is_certificate};

/// How long the server may take to say good-bye after it has taken a message.
const GOODBYE: Duration = Duration::from_millis(200);

const SLOW: &str = "it did not answer in time";

/// How the connection is encrypted.
pub(super) enum Security {
    /// From the first byte (RFC 8314, section 3).
    Tls(TlsParameters),
    /// After STARTTLS (RFC 3207), which must be offered.
    StartTls(TlsParameters),
    /// Not at all.
    None,
}

impl Security {
    pub(super) fn tls(host: &str) -> Result<TlsParameters, CertificatesError> {
        TlsParameters::builder(host.to_owned())
            .build_rustls()
            .map_err(|error| CertificatesError(Box::new(error)))
    }
}

pub(super) struct Smtp {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) credentials: Option<Credentials>,
    pub(super) from: Mailbox,
    pub(super) subject: String,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Adapter for Smtp {
    async fn send(&self, message: &Message<'_>, within: Duration) -> Result<(), Failure> {
        let end = Instant::now() + within;
        let to: Address = message
            .to
            .as_str()
            .parse()
            .map_err(|_| Failure::new(Fate::Recipient, "the address cannot be written in a message"))?;
        let mime = self.mime(to.clone(), message)?;
        let ready = timeout_at(end, async {
            let mut connection = self.connect(within).await?;
            self.envelope(&mut connection, to).await?;
            Ok(connection)
        });
        let mut connection = ready.await.unwrap_or_else(|_| Err(Failure::new(Fate::Unavailable, SLOW)))?;
        // From here on the server may have the message, whatever we hear of it.
        match timeout_at(end, connection.message(&mime)).await {
            Ok(Ok(_taken)) => {}
            Ok(Err(error)) => return Err(after_data(&error)),
            Err(_) => {
                return Err(Failure::new(
                    Fate::Unknown,
                    "it did not answer in time whether it took the message",
                ));
            }
        }
        // The message is taken; a good-bye that fails changes nothing.
        let _ = timeout(GOODBYE, connection.quit()).await;
        Ok(())
    }

    async fn probe(&self, within: Duration) -> Result<String, Failure> {
        let checked = timeout(within, async {
            let mut connection = self.connect(within).await?;
            let _ = timeout(GOODBYE, connection.quit()).await;
            Ok(())
        });
        checked.await.unwrap_or_else(|_| Err(Failure::new(Fate::Unavailable, SLOW)))?;
        let login =
            if self.credentials.is_some() { "it takes the login" } else { "it answers, without a login" };
        Ok(login.into())
    }
}

impl Smtp {
    /// A greeting, EHLO, encryption and login.
    async fn connect(&self, within: Duration) -> Result<AsyncSmtpConnection, Failure> {
        // Our own name is that of the sender's domain: the machine's is nobody's business.
        let hello = ClientId::Domain(self.from.email.domain().to_owned());
        let server = (self.host.as_str(), self.port);
        let implicit = match &self.security {
            Security::Tls(tls) => Some(tls.clone()),
            Security::StartTls(_) | Security::None => None,
        };
        let connected =
            AsyncSmtpConnection::connect_tokio1(server, Some(within / 2), &hello, implicit, None).await;
        let mut connection = connected.map_err(|error| before_data(error, "it refuses the connection"))?;
        if let Security::StartTls(tls) = &self.security {
            if !connection.can_starttls() {
                let reason = "it offers no STARTTLS: set `smtp.security` to `tls`, or mend the server";
                return Err(Failure::new(Fate::Refused, reason));
            }
            let encrypted = connection.starttls(tls.clone(), &hello).await;
            encrypted.map_err(|error| before_data(error, "it refuses STARTTLS"))?;
        }
        if let Some(credentials) = &self.credentials {
            if connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
                let reason = "it offers no login by PLAIN or LOGIN: does it want encryption first, or none?";
                return Err(Failure::new(Fate::Refused, reason));
            }
            let taken = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            taken.map_err(|error| before_data(error, "it refuses user name or password"))?;
        }
        Ok(connection)
    }

    /// MAIL, RCPT and DATA.
    async fn envelope(&self, connection: &mut AsyncSmtpConnection, to: Address) -> Result<(), Failure> {
        let mail = connection.command(Mail::new(Some(self.from.email.clone()), Vec::new())).await;
        mail.map_err(|error| {
            before_data(error, "it refuses the sender `smtp.from`, or wants a login first")
        })?;
        connection.command(Rcpt::new(to, Vec::new())).await.map_err(recipient)?;
        let data = connection.command(Data).await;
        data.map_err(|error| before_data(error, "it refuses the message"))?;
        Ok(())
    }

    fn mime(&self, to: Address, message: &Message<'_>) -> Result<Vec<u8>, Failure> {
        let millis = u64::try_from(self.clock.now()).unwrap_or_default();
        let mime = Mime::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&self.subject)
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
            .message_id(Some(format!("<{}@{}>", message.id, self.from.email.domain())))
            // Nobody's absence is to answer it (RFC 3834, section 5).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".into(),
            ))
            .header(ContentType::TEXT_PLAIN)
            .body(message.text.to_string())
            .map_err(|_| Failure::new(Fate::Refused, "the message cannot be written"))?;
        Ok(mime.formatted())
    }
}

/// A failure before the message was sent: certainly not taken. The server's words are left out, because they repeat
/// addresses.
fn before_data(error: SmtpError, refused: &'static str) -> Failure {
    if let Some(code) = error.status() {
        return match code.to_string().as_str() {
            // RFC 5321, section 4.2.2.
            "421" => Failure::new(Fate::Unavailable, "it is not available (421)"),
            _ => Failure::new(Fate::Refused, refused),
        };
    }
    if error.is_tls() || is_certificate(&error) {
        let reason = if is_certificate(&error) {
            "its certificate is not trusted, not for this name, or has expired"
        } else {
            "TLS failed: are `smtp.port` and `smtp.security` of one kind?"
        };
        return Failure::new(Fate::Refused, reason).by(error);
    }
    if error.is_response() {
        return Failure::new(Fate::Unavailable, "it broke off, or does not speak SMTP at this port");
    }
    let reason = "it cannot be connected to, or the connection broke: is it down, or host or port wrong?";
    Failure::new(Fate::Unavailable, reason).by(error)
}

/// What an answer to RCPT means. A code in the 55x range can also be about us (relaying denied, blocked sender): the
/// enhanced status (RFC 3463), where there is one, tells: x.1 and x.2 are address and mailbox, x.7 is policy.
fn recipient(error: SmtpError) -> Failure {
    let Some(code) = error.status() else { return before_data(error, "") };
    let said = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let mut parts = said.split(['.', ' ']);
    let subject = (parts.next(), parts.next(), parts.next().and_then(|detail| detail.parse::<u16>().ok()));
    match (code.to_string().as_str(), subject) {
        ("550" | "551" | "552" | "553" | "554", (Some("5"), Some("1" | "2"), Some(_))) => {
            Failure::new(Fate::Recipient, "it says that there is no such address or mailbox")
        }
        (_, (Some("4" | "5"), Some("7"), Some(_))) => {
            Failure::new(Fate::Refused, "its policy refuses to take mail from us for the address")
        }
        ("550" | "551" | "553", (class, _, None)) if class != Some("5") => {
            Failure::new(Fate::Recipient, "it says that it cannot deliver to the address")
        }
        ("450" | "451" | "452", _) => Failure::new(
            Fate::Refused,
            "it asks to try the address again much later (45x), as greylisting does",
        ),
        _ => before_data(error, "it refuses the recipient, for a reason that is not the address"),
    }
}

/// A failure after the message was sent. An answer is a definite one (RFC 5321, section 4.2.1); none is not.
fn after_data(error: &SmtpError) -> Failure {
    if error.status().is_some() {
        return Failure::new(Fate::Refused, "it refuses the message");
    }
    Failure::new(Fate::Unknown, "the connection broke before it said whether it took the message")
}
