//! TLS on the main port: one certificate, read again when its files change.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use crate::config;
use crate::telemetry::metrics;

/// How often the files are looked at. Their content is compared, so it does not matter how they were replaced.
const LOOK: Duration = Duration::from_secs(2);

/// What is wrong with the certificate or its key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("the file of the configuration key `{key}`, {}, cannot be read", path.display())]
    Unreadable {
        /// `tls.certificate` or `tls.key`.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate's file is not what it must be.
    #[error(
        "the file of the configuration key `tls.certificate`, {}, must hold the certificate chain as PEM (`-----BEGIN CERTIFICATE-----`), the server's own certificate first", .0.display()
    )]
    Certificate(PathBuf),
    /// The key's file is not what it must be.
    #[error(
        "the file of the configuration key `tls.key`, {}, must hold one private key as PEM (`-----BEGIN PRIVATE KEY-----`) without a password: RSA, ECDSA on P-256 or P-384, or Ed25519", .0.display()
    )]
    Key(PathBuf),
    /// The two do not belong together.
    #[error(
        "the key of `tls.key` does not fit the first certificate of `tls.certificate`: the server's own certificate comes first, and both files must be of the same renewal"
    )]
    Mismatch,
    /// The library refuses the set-up.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
    /// The system gives no signal handler.
    #[error("SIGHUP cannot be listened for")]
    Signal(#[source] std::io::Error),
}

/// TLS on a port.
pub(crate) struct Tls {
    /// Makes TLS of a connection.
    pub(crate) acceptor: TlsAcceptor,
    /// Reads the certificate again when it changes; to be run as long as the port is served.
    pub(crate) watch: BoxFuture<'static, ()>,
}

impl Tls {
    /// Reads the certificate and its key. To be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`TlsError`] names the configuration key and what would be right.
    pub(crate) fn open(files: &config::Tls) -> Result<Self, TlsError> {
        let certificates = Arc::new(Certificates::open(files)?);
        let hangup = signal(SignalKind::hangup()).map_err(TlsError::Signal)?;
        Ok(Self { acceptor: certificates.acceptor()?, watch: certificates.watch(hangup).boxed() })
    }
}

/// A certificate with its key, as read.
struct Pair {
    key: Arc<CertifiedKey>,
    /// When the server's own certificate expires, in seconds since 1970.
    not_after: i64,
}

/// The certificate that connections are answered with now.
struct Certificates {
    files: config::Tls,
    current: RwLock<Arc<CertifiedKey>>,
    /// Digest of the files as they were looked at last; so that a bad pair is told once.
    seen: Mutex<[u8; 32]>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Every change is one assignment, so a panic leaves it whole.
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificates {
    fn open(files: &config::Tls) -> Result<Self, TlsError> {
        let bytes = read(files)?;
        let pair = pair(files, &bytes)?;
        warn_of_readers(&files.key);
        metrics::certificate_expires(pair.not_after);
        let (current, seen) = (RwLock::new(pair.key), Mutex::new(digest(&bytes)));
        Ok(Self { files: files.clone(), current, seen })
    }

    /// Versions 1.2 and 1.3, HTTP/2 or HTTP/1.1 by ALPN (RFC 7301).
    fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let certificates: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config =
            builder.map_err(TlsError::Setup)?.with_no_client_auth().with_cert_resolver(certificates);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks at the files now and then, and at each SIGHUP, for ever. Connections that stand are not touched.
    async fn watch(self: Arc<Self>, mut hangup: Signal) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = hangup.recv() => {}
            }
            let certificates = Arc::clone(&self);
            // Files can be slow. A look that panicked is followed by the next.
            let _ = tokio::task::spawn_blocking(move || certificates.look()).await;
        }
    }

    /// Takes the files' content if it is new and good.
    fn look(&self) {
        let read = read(&self.files);
        let digest = match &read {
            Ok(bytes) => digest(bytes),
            // Stands for "cannot be read".
            Err(_) => [0; 32],
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == digest {
            return;
        }
        *seen = digest;
        match read.and_then(|bytes| pair(&self.files, &bytes)) {
            Ok(pair) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = pair.key;
                metrics::certificate_expires(pair.not_after);
                metrics::certificate_read(true);
                warn_of_readers(&self.files.key);
                tracing::info!("the certificate was read again");
            }
            Err(error) => {
                metrics::certificate_read(false);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the certificate has changed and cannot be used: the former one stays until it is mended"
                );
            }
        }
    }
}

fn read(files: &config::Tls) -> Result<[Vec<u8>; 2], TlsError> {
    let read = |key, path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::Unreadable { key, path: path.into(), source })
    };
    Ok([read("tls.certificate", &files.certificate)?, read("tls.key", &files.key)?])
}

fn digest([certificate, key]: &[Vec<u8>; 2]) -> [u8; 32] {
    [Sha256::digest(certificate), Sha256::digest(key)]
        .iter()
        .fold(Sha256::new(), |all, part| all.chain_update(part))
        .finalize()
        .into()
}

fn pair(files: &config::Tls, [certificate, key]: &[Vec<u8>; 2]) -> Result<Pair, TlsError> {
    let bad_certificate = || TlsError::Certificate(files.certificate.clone());
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| bad_certificate())?;
    let own = chain.first().ok_or_else(bad_certificate)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(own).map_err(|_| bad_certificate())?;
    let not_after = parsed.validity().not_after.timestamp();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key(files.key.clone()))?;
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
        rustls::Error::InvalidCertificate(_) => bad_certificate(),
        _ => TlsError::Key(files.key.clone()),
    })?;
    Ok(Pair { key: Arc::new(key), not_after })
}

fn warn_of_readers(key: &Path) {
    let mode = std::fs::metadata(key).map_or(0, |file| file.permissions().mode());
    if mode & 0o007 != 0 {
        tracing::warn!(
            path = %key.display(),
            "every user of this machine can read the file of `tls.key`: chmod 600 takes that away"
        );
    }
}
