//! TLS: what is spoken, what is refused at the start, and certificates that change under way.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use acquaint_server::config::{Config, Tls};
use acquaint_server::{Ambient, Server, ServerError};
use acquaint_testkit::API_KEY;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What may take long on a busy machine, and never takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate for `localhost`, and its key, in two files.
pub(crate) fn certificate() -> (TempDir, Tls) {
    let folder = TempDir::new().unwrap();
    let tls = Tls { certificate: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
    write(&tls, &generated());
    (folder, tls)
}

fn generated() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn write(tls: &Tls, pair: &CertifiedKey<rcgen::KeyPair>) {
    std::fs::write(&tls.certificate, pair.cert.pem()).unwrap();
    std::fs::write(&tls.key, pair.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&tls.key, Permissions::from_mode(0o600)).unwrap();
}

/// A server that stops when this is dropped.
pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

fn config(folder: &Path, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    config.listen.set_port(0);
    config.auth.api_key = API_KEY.into();
    config.data_dir = folder.join("data");
    config.keys.file = folder.join("keys.json");
    config.keys.suite = "development".into();
    config.delivery.outbox_file = folder.join("outbox.txt");
    change(&mut config);
    config
}

/// A server in a folder of its own.
pub(crate) async fn serve(change: impl FnOnce(&mut Config)) -> (TempDir, Running) {
    let folder = TempDir::new().unwrap();
    let server = Server::start(config(folder.path(), change), Ambient::default()).await.unwrap();
    let (address, url) = (server.address().unwrap(), server.url().unwrap());
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    (folder, Running { address, url, stop, task })
}

async fn refusal(change: impl FnOnce(&mut Config)) -> String {
    let folder = TempDir::new().unwrap();
    match Server::start(config(folder.path(), change), Ambient::default()).await {
        Err(ServerError::Tls(error)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it starts"),
    }
}

/// Opens a connection that trusts `root`.
pub(crate) async fn connect(
    address: std::net::SocketAddr,
    root: CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

fn root(tls: &Tls) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(&tls.certificate).unwrap()
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

/// An RPC over HTTP/1.1 on a connection that stays open: its status.
async fn ping(stream: &mut TlsStream<TcpStream>) -> u16 {
    let request = format!(
        "POST /rolodex.RolodexService/Ping HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {API_KEY}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"{}\r\n0\r\n\r\n") {
        let read = stream.read_buf(&mut bytes).await.unwrap_or(0);
        assert!(read > 0, "closed after {}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8_lossy(&bytes).split(' ').nth(1).unwrap().parse().unwrap()
}

/// An RPC over HTTP/2: its status.
async fn ping_http2(stream: TlsStream<TcpStream>) -> u16 {
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("https://localhost/rolodex.RolodexService/Ping")
        .header("authorization", format!("Bearer {API_KEY}"))
        .header("content-type", "application/json")
        .body(())
        .unwrap();
    let (answer, mut body) = send.send_request(request, false).unwrap();
    body.send_data("{}".into(), true).unwrap();
    answer.await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_tls_and_of_http_are_spoken() {
    let (_files, tls) = certificate();
    let root = root(&tls);
    let (_folder, server) = serve(|config| config.tls = tls).await;
    assert!(server.url.starts_with("https://127.0.0.1:"));
    for (version, name) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut stream = connect(server.address, root.clone(), &[version], &[b"http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(name));
        assert_eq!(ping(&mut stream).await, 200);
        let mut stream = connect(server.address, root.clone(), &[version], &[]).await.unwrap();
        assert_eq!(ping(&mut stream).await, 200, "without ALPN it is HTTP/1.1");
        let stream = connect(server.address, root.clone(), &[version], &[b"h2", b"http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        assert_eq!(ping_http2(stream).await, 200);
    }
    // RFC 7301, section 3.2: nothing in common is an error.
    connect(server.address, root.clone(), BOTH, &[b"smtp"]).await.unwrap_err();
    // No plain HTTP beside it.
    let answer = crate::raw::exchange(
        &format!("http://{}", server.address),
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(answer.status, 0, "{answer:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_files_is_told_by_its_key() {
    let (files, good) = certificate();
    let with = |tls: Tls| refusal(|config| config.tls = tls);
    let path = |name: &str, content: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let pem = |name: &str| std::fs::read_to_string(files.path().join(name)).unwrap();
    let certificate = |path| Tls { certificate: path, key: good.key.clone() };
    let key = |path| Tls { certificate: good.certificate.clone(), key: path };

    let error = with(certificate(files.path().join("nowhere.pem"))).await;
    assert!(error.contains("`tls.certificate`") && error.contains("nowhere.pem"), "{error}");
    let error = with(key(files.path().join("nowhere.pem"))).await;
    assert!(error.contains("`tls.key`") && error.contains("cannot be read"), "{error}");
    for content in
        ["", "not PEM", &pem("key.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        let error = with(certificate(path("bad.pem", content))).await;
        assert!(
            error.contains("`tls.certificate`") && error.contains("BEGIN CERTIFICATE"),
            "{content}: {error}"
        );
    }
    let sealed = pem("key.pem").replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for content in [
        "",
        "not PEM",
        &pem("chain.pem"),
        &sealed,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        let error = with(key(path("bad.pem", content))).await;
        assert!(error.contains("`tls.key`") && error.contains("BEGIN PRIVATE KEY"), "{content}: {error}");
    }
    let other = generated().signing_key.serialize_pem();
    let error = with(key(path("bad.pem", &other))).await;
    assert!(error.contains("`tls.key` does not fit"), "{error}");
    assert!(!error.contains("PRIVATE"), "{error}");
}

/// Waits until new connections get the certificate that `tls` has.
async fn is_served(address: std::net::SocketAddr, root: CertificateDer<'static>) {
    let serving = async {
        while connect(address, root.clone(), BOTH, &[b"http/1.1"]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, serving).await.expect("the new certificate is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_and_a_bad_one_is_not() {
    // As certbot has it: links into a folder of renewals.
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let renewal =
        |n: usize| Tls { certificate: at(&format!("chain{n}.pem")), key: at(&format!("key{n}.pem")) };
    for n in 1..=2 {
        write(&renewal(n), &generated());
    }
    let live = Tls { certificate: at("chain.pem"), key: at("key.pem") };
    let link = |n: usize| {
        for (from, to) in [(renewal(n).certificate, &live.certificate), (renewal(n).key, &live.key)] {
            symlink(from, at("new")).unwrap();
            std::fs::rename(at("new"), to).unwrap();
        }
    };
    link(1);
    let (first, second) = (root(&renewal(1)), root(&renewal(2)));
    let tls = live.clone();
    let (_folder, server) = serve(|config| {
        config.tls = tls;
        // So long may a connection be idle.
        config.http.header_timeout_s = 600;
    })
    .await;
    let mut stands = connect(server.address, first.clone(), BOTH, &[b"http/1.1"]).await.unwrap();
    assert_eq!(ping(&mut stands).await, 200);

    link(2);
    is_served(server.address, second.clone()).await;
    connect(server.address, first.clone(), BOTH, &[]).await.unwrap_err();
    assert_eq!(ping(&mut stands).await, 200, "connections that stand are not touched");

    // A key of another renewal, then none at all; then mended, by rename.
    std::fs::remove_file(&live.key).unwrap();
    symlink(renewal(1).key, &live.key).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    connect(server.address, second.clone(), BOTH, &[]).await.expect("the former pair stays");
    std::fs::remove_file(&live.key).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    connect(server.address, second, BOTH, &[]).await.expect("the former pair stays");
    let third = generated();
    std::fs::remove_file(&live.certificate).unwrap();
    write(&live, &third);
    is_served(server.address, third.cert.der().clone()).await;
    assert_eq!(ping(&mut stands).await, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_cut_off_and_takes_a_place_until_then() {
    let (_files, tls) = certificate();
    let root = root(&tls);
    let (_folder, server) = serve(|config| {
        config.tls = tls;
        // Honest handshakes have to end within it too.
        config.http.header_timeout_s = 5;
        config.http.max_connections = 4;
    })
    .await;
    // Silent; the beginning of a ClientHello; and with all of TLS and HTTP/2, but nothing after it.
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut begun = TcpStream::connect(server.address).await.unwrap();
    begun.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    let mut http1 = connect(server.address, root.clone(), BOTH, &[b"http/1.1"]).await.unwrap();
    let mut http2 = connect(server.address, root.clone(), BOTH, &[b"h2"]).await.unwrap();
    // All places are taken: this one waits for one, and then is served.
    let honest = async {
        let mut stream = connect(server.address, root.clone(), BOTH, &[b"http/1.1"]).await.unwrap();
        ping(&mut stream).await
    };
    let status = tokio::time::timeout(PATIENCE, honest).await.expect("a place becomes free");
    assert_eq!(status, 200);
    let mut rest = Vec::new();
    let ends = async {
        let _ = silent.read_to_end(&mut rest).await;
        let _ = begun.read_to_end(&mut rest).await;
        let _ = http1.read_to_end(&mut rest).await;
        let _ = http2.read_to_end(&mut rest).await;
    };
    tokio::time::timeout(PATIENCE, ends).await.expect("each is closed");
    server.stop().await;
}
