//! HTTP below the calls: HTTP/1.1 for `http://`; for `https://` TLS by rustls with ring, and HTTP/2 where the server has
//! it.

use std::time::Duration;

use connectrpc::client::{ClientBody, ServiceTransport};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::ClientError;

/// Pooled connections to one server.
pub(crate) type Transport = ServiceTransport<Client<HttpsConnector<HttpConnector>, ClientBody>>;

/// How long one address may take to answer a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn transport(url: &Uri, extra_ca: &[u8]) -> Result<Transport, ClientError> {
    Ok(ServiceTransport::new(Client::builder(TokioExecutor::new()).build(connector(url, extra_ca)?)))
}

/// Makes connections to one server.
pub(crate) fn connector(url: &Uri, extra_ca: &[u8]) -> Result<HttpsConnector<HttpConnector>, ClientError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let encrypted = url.scheme_str() == Some("https");
    if !encrypted && !extra_ca.is_empty() {
        return Err(ClientError::Config("an extra CA is for URLs that begin with `https://`"));
    }
    let https = HttpsConnectorBuilder::new().with_tls_config(tls(encrypted, extra_ca)?);
    // A client made for an encrypted server never speaks in clear.
    let https = if encrypted { https.https_only() } else { https.https_or_http() };
    Ok(https.enable_all_versions().wrap_connector(http))
}

fn tls(encrypted: bool, extra_ca: &[u8]) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    if encrypted {
        // Certificates of the system that cannot be read are passed over, as browsers do.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(extra_ca) {
            let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
            added.ok_or(ClientError::Config("the extra CA must be one or more certificates in PEM"))?;
        }
        if !extra_ca.is_empty() && roots.len() == before {
            return Err(ClientError::Config("the extra CA must be one or more certificates in PEM"));
        }
        if roots.is_empty() {
            return Err(ClientError::Config(
                "no certificate authority is trusted: install the system's (ca-certificates), or give an extra CA",
            ));
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ClientError::Config("this build has no usable version of TLS"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
