//! Certificates. What the system trusts is read from SSL_CERT_FILE, which is set for a process of its own: this test
//! binary again.

use acquaint_testkit::mail::{Encryption, MailServer};
use rcgen::CertifiedKey;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

fn server_config(names: &[&str]) -> (ServerConfig, String) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(cert.der().to_vec())], key)
        .unwrap();
    (config, cert.pem())
}

fn made() -> Reply {
    Reply::Json(201, r#"{"sid":"SM01","status":"queued"}"#.into())
}

#[tokio::test]
async fn a_certificate_that_the_system_does_not_trust_is_refused() {
    let (tls, _) = server_config(&["localhost"]);
    let provider = Provider::start_tls([made()], tls.clone()).await;
    let failure = send("twilio", &config(&provider.url), NUMBER).await.unwrap_err();
    assert_eq!((failure.fate, failure.reason.contains("certificate")), (Fate::Refused, true), "{failure:?}");
    assert!(provider.requests().is_empty());

    for (security, encryption) in encryptions(tls) {
        let server = MailServer::start(encryption, []).await;
        let failure = send("smtp", &mail(&server, security), ADDRESS).await.unwrap_err();
        assert_eq!(
            (failure.fate, failure.reason.contains("certificate")),
            (Fate::Refused, true),
            "{failure:?}"
        );
        assert!(!server.log().commands.iter().any(|command| command.starts_with("AUTH")));
    }
}

/// A connection that does not stand in time has carried nothing.
#[tokio::test]
async fn a_handshake_that_never_ends_has_sent_nothing() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let failure = send("twilio", &config(&url), NUMBER).await.unwrap_err();
    let wanted = (Fate::Unavailable, "it cannot be connected to in time");
    assert_eq!((failure.fate, failure.reason), wanted, "{failure:?}");
}

fn encryptions(tls: ServerConfig) -> [(&'static str, Encryption); 2] {
    let tls = Arc::new(tls);
    [("tls", Encryption::Implicit(Arc::clone(&tls))), ("starttls", Encryption::StartTls(tls))]
}

fn mail(server: &MailServer, security: &str) -> Config {
    let mut config = config("https://localhost");
    config.smtp.port = server.port.into();
    config.smtp.security = security.into();
    config.smtp.username = "codes".into();
    config.smtp.password = "mail's password".into();
    config
}

/// Where the second process finds the key of the trusted certificate.
const CERTIFICATE: &str = "TEST_CERTIFICATE_FOLDER";

#[test]
fn a_trusted_certificate_is_taken_for_its_name_only() {
    let folder = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let file = folder.path().join("trusted.pem");
    std::fs::write(&file, cert.pem()).unwrap();
    std::fs::write(folder.path().join("trusted.der"), cert.der()).unwrap();
    std::fs::write(folder.path().join("key.der"), signing_key.serialize_der()).unwrap();
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--ignored", "delivery::tests::tls::with_a_trusted_certificate"])
        .env("SSL_CERT_FILE", &file)
        .env(CERTIFICATE, folder.path())
        .output()
        .unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
}

#[tokio::test]
#[ignore = "run by the test above, in a process that trusts the certificate"]
async fn with_a_trusted_certificate() {
    let folder = std::path::PathBuf::from(std::env::var(CERTIFICATE).unwrap());
    let certificate = CertificateDer::from(std::fs::read(folder.join("trusted.der")).unwrap());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(std::fs::read(folder.join("key.der")).unwrap()));
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let provider = Provider::start_tls([made()], tls.clone()).await;
    send("twilio", &config(&provider.url), NUMBER).await.unwrap();
    assert_eq!(provider.requests().len(), 1);
    let other_name = provider.url.replace("localhost", "127.0.0.1");
    let failure = send("twilio", &config(&other_name), NUMBER).await.unwrap_err();
    assert!(failure.reason.contains("certificate"), "{failure:?}");

    for (security, encryption) in encryptions(tls) {
        let server = MailServer::start(encryption, []).await;
        send("smtp", &mail(&server, security), ADDRESS).await.unwrap();
        assert_eq!(server.log().messages.len(), 1, "{security}");
        let mut other_name = mail(&server, security);
        other_name.smtp.host = "127.0.0.1".into();
        let failure = send("smtp", &other_name, ADDRESS).await.unwrap_err();
        assert!(failure.reason.contains("certificate"), "{security}: {failure:?}");
    }
}
