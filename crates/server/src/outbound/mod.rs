//! Calls to services of others over HTTP: bounded in time and size, and exact about whether a request was received.

mod address;
mod answer;
mod public;
mod signature;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, RequestBuilder, Url, redirect};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;

pub(crate) use answer::{Answer, Body};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use public::Lookup;
pub(crate) use public::{PublicFault, PublicHttp};
pub(crate) use signature::{Signer, decode_secret};

/// Largest answer that is read, in bytes. What these services answer has a few hundred.
const MAX_ANSWER: usize = 64 * 1024;

/// The system's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the system's certificates, which providers are checked with, cannot be read: install `ca-certificates`, or name a file of them in SSL_CERT_FILE"
)]
pub struct CertificatesError(#[source] pub(crate) Box<dyn Error + Send + Sync>);

/// A client for one service.
pub(crate) struct Http {
    client: Client,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No request left: nothing was received.
    NotSent(&'static str, Box<dyn Error + Send + Sync>),
    /// The request may have been received.
    NoAnswer(&'static str, Box<dyn Error + Send + Sync>),
}

impl Http {
    /// A client for the service at `url`. A connection has to stand within half of `attempt`.
    pub(crate) fn new(url: &Url, attempt: Duration) -> Result<Self, CertificatesError> {
        let client = builder(url.scheme(), attempt)?;
        Ok(Self { client: client.build().map_err(|error| CertificatesError(Box::new(error)))? })
    }

    /// The client, to build a request with.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends `request` once; the answer must be whole within `within`.
    pub(crate) async fn send(&self, request: RequestBuilder, within: Duration) -> Result<Answer, Fault> {
        match request.timeout(within).send().await {
            Ok(response) => Ok(Answer::read(response).await),
            // URLs can hold secrets of a webhook.
            Err(error) => Err(fault(error.without_url())),
        }
    }
}

/// What all clients share: they follow no redirects, which would carry codes elsewhere, and ask the environment for no
/// proxy.
fn builder(scheme: &str, attempt: Duration) -> Result<ClientBuilder, CertificatesError> {
    Ok(Client::builder()
        .user_agent(concat!("acquaint/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        // A kept connection may be closed while a request is on its way; nobody could tell then whether it arrived.
        .pool_max_idle_per_host(0)
        .connect_timeout(attempt / 2)
        .tls_backend_preconfigured(tls(scheme)?))
}

/// TLS by ring with the system's certificates; an `http` URL, which is one of loopback, needs none.
pub(crate) fn tls(scheme: &str) -> Result<rustls::ClientConfig, CertificatesError> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| CertificatesError(Box::new(error)))?;
    let builder = match scheme {
        "http" => builder.with_root_certificates(RootCertStore::empty()),
        _ => builder.with_platform_verifier().map_err(|error| CertificatesError(Box::new(error)))?,
    };
    Ok(builder.with_no_client_auth())
}

fn fault(error: reqwest::Error) -> Fault {
    if error.is_builder() {
        return Fault::NotSent("no request could be made of its URL", Box::new(error));
    }
    if error.is_connect() {
        let reason = if is_certificate(&error) {
            "its certificate is not trusted, not for this name, or has expired"
        } else if error.is_timeout() {
            "it cannot be connected to in time"
        } else {
            "it cannot be connected to: is it down, or is the URL wrong, or the network?"
        };
        return Fault::NotSent(reason, Box::new(error));
    }
    let reason = if error.is_timeout() {
        "it did not answer in time"
    } else {
        "the connection broke before it answered, or it does not speak HTTP"
    };
    Fault::NoAnswer(reason, Box::new(error))
}

/// Whether a certificate was the reason of a failed connection.
pub(crate) fn is_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // `source` of an I/O error passes over the error inside it.
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests;
