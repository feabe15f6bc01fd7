//! What an operator's commands look at: the database and its back-ups, the keys, the certificate, the time elsewhere.
//! Nothing here changes what a server works on, but for [`Restore`].

use std::io;
use std::path::Path;
use std::time::Duration;

use acquaint_custody::{KeyId, Purpose, matches_check};
use acquaint_service::StartError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use acquaint_store::KeyRecord;
pub use acquaint_store::postgres::OpenError as PostgresOpenError;
pub use acquaint_store::sqlite::{
    BackupError, Depth, Finding, Health, OpenError, Phase, Progress, Restore, Restored, Watch, backup, check,
    check_file, database_in,
};

use crate::config::{Config, Tls};
use crate::keys::{self, KeyFileError, KeysError};
use crate::{Millis, ServerError, pool_size};

/// Whether the configured keys are those that data was made with: what a start would refuse is refused here. A PIN is tried
/// once. Blocks.
///
/// # Errors
/// [`ServerError`], as at a start. [`ServerError::Keys`] with [`KeyFileError::Absent`] only where nothing needs keys.
pub fn check_keys(config: &Config, records: &[KeyRecord]) -> Result<(), ServerError> {
    let custody = match keys::look(config) {
        Err(KeysError::File(KeyFileError::Absent(path))) if !records.is_empty() => {
            return Err(ServerError::KeysGone(path));
        }
        outcome => outcome?,
    };
    for KeyRecord { purpose, version, check } in records {
        let purpose = Purpose::by_name(purpose).ok_or(StartError::UnknownPurpose)?;
        let key = KeyId { purpose, version: *version };
        if !custody.keys().contains(&key) {
            return Err(StartError::KeyMissing(key).into());
        }
        if !matches_check(&*custody, key, check).map_err(StartError::from)? {
            return Err(StartError::OtherKey(key).into());
        }
    }
    crate::same_suite(config, &*custody)
}

/// How many hashing threads a server with this configuration runs on this machine, and the MiB that each takes; no
/// thread where the memory does not hold one.
#[must_use]
pub fn pool_plan(config: &Config) -> (usize, u64) {
    let suite = keys::suite(config);
    let plan = pool_size(config).plan_for(suite);
    let (threads, width) = plan.map_or((0, 1), |plan| (plan.threads.get(), plan.width as u64));
    (threads, (suite.memory_bytes() * width).div_ceil(1024 * 1024))
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    /// A file cannot be read, or is not PEM.
    #[error("the configuration key `{key}` does not name a PEM file with {wanted}")]
    Unreadable {
        /// Which configuration key.
        key: &'static str,
        /// What should be in it.
        wanted: &'static str,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in it.
    #[error("the file of `tls.certificate` holds no certificate that can be read")]
    NoCertificate,
    /// The key is of a kind that is not known.
    #[error("the private key of `tls.key` is of a kind that this program does not know")]
    UnknownKey(#[source] rustls::Error),
    /// They are not of each other.
    #[error("the private key of `tls.key` does not fit the first certificate of `tls.certificate`")]
    NotAPair,
}

/// From when to when the server's own certificate is valid, if its files can be used and fit each other; `None` if no TLS
/// is configured.
///
/// # Errors
/// [`TlsFilesError`].
pub fn check_tls(tls: &Tls) -> Result<Option<(Millis, Millis)>, TlsFilesError> {
    if tls.certificate.as_os_str().is_empty() && tls.key.as_os_str().is_empty() {
        return Ok(None);
    }
    let unreadable = |key, wanted| move |source| TlsFilesError::Unreadable { key, wanted, source };
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable("tls.certificate", "the certificate chain"))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(unreadable("tls.key", "a private key"))?;
    let first = chain.first().ok_or(TlsFilesError::NoCertificate)?;
    let (_, certificate) = X509Certificate::from_der(first).map_err(|_| TlsFilesError::NoCertificate)?;
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let provider = rustls::crypto::ring::default_provider();
    match rustls::sign::CertifiedKey::from_der(chain, key, &provider) {
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsFilesError::NotAPair),
        Err(error) => Err(TlsFilesError::UnknownKey(error)),
        Ok(_) => Ok(Some((from.saturating_mul(1000), to.saturating_mul(1000)))),
    }
}

/// What a web server's clock says, from the `Date` of its answer (RFC 9110, section 6.6.1); `None` if it does not
/// answer within `patience`.
pub async fn time_at(url: &str, patience: Duration) -> Option<Millis> {
    // Another part of this process may have chosen one already.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(patience).redirect(reqwest::redirect::Policy::none());
    let answer = client.build().ok()?.head(url).send().await.ok()?;
    let date = answer.headers().get(http::header::DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// Whether something listens at the host and port of a URL, found within `patience`. Nothing is sent there.
///
/// # Errors
/// Why not, without the URL.
pub async fn reach(url: &str, patience: Duration) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the URL names no host and port");
    let url: reqwest::Url = url.parse().map_err(|_| invalid())?;
    let (host, port) = url.host_str().zip(url.port_or_known_default()).ok_or_else(invalid)?;
    let connection = tokio::time::timeout(patience, TcpStream::connect(format!("{host}:{port}")));
    connection.await.map_err(|_| io::ErrorKind::TimedOut)?.map(drop)
}

/// Whether nothing but its owner can use a file or folder.
#[must_use]
pub fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o077 == 0)
}
