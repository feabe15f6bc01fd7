//! Calls against a real server on a local port that answers as it is told: repetition, deadlines, errors, TLS.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests: a failure is a panic")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acquaint_client::{Client, ClientError, Reason, Settings};
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};

const ME: &str = "did:plc:me";

/// What the server does with one request.
enum Answer {
    /// An empty message.
    Well,
    /// A status, headers and a body.
    Status(u16, &'static [(&'static str, &'static str)], String),
    /// The connection is closed without an answer.
    HangUp,
    /// No answer.
    Silence,
}

/// A request as it came.
struct Seen {
    path: String,
    at: Instant,
    version: Version,
    authorization: Option<String>,
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answers)
    }

    fn on(listener: TcpListener, answers: impl IntoIterator<Item = Answer>) -> Self {
        let server = Self { url: format!("http://{}", listener.local_addr().unwrap()), seen: Arc::default() };
        let script = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::clone(&server.seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        server
    }

    fn client(&self) -> Client {
        client(&self.url)
    }

    /// The methods that were called, in order.
    fn calls(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|seen| seen.path.rsplit('/').next().unwrap().to_owned()).collect()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    script: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
        async move {
            let authorization =
                request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
            seen.lock().unwrap().push(Seen {
                path: request.uri().path().to_owned(),
                at: Instant::now(),
                version: request.version(),
                authorization,
            });
            request.into_body().collect().await.unwrap();
            let answer = script.lock().unwrap().pop_front().expect("one more request than expected");
            match answer {
                Answer::Well => {
                    let answer = Response::builder().header("content-type", "application/proto");
                    Ok(answer.body(Full::new(Bytes::new())).unwrap())
                }
                Answer::Status(status, headers, body) => {
                    let mut answer = Response::builder().status(status);
                    for (name, value) in headers {
                        answer = answer.header(*name, *value);
                    }
                    Ok(answer.body(Full::new(Bytes::from(body))).unwrap())
                }
                Answer::HangUp => Err("hang up"),
                Answer::Silence => {
                    std::future::pending::<Infallible>().await;
                    unreachable!()
                }
            }
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

fn settings() -> Settings {
    Settings { pause: Duration::from_millis(20), ..Settings::default() }
}

fn client(url: &str) -> Client {
    Client::with_settings(url, settings()).unwrap()
}

fn unavailable() -> Answer {
    Answer::Status(503, &[], "busy".into())
}

fn refusal(status: u16, headers: &'static [(&'static str, &'static str)], reason: &str) -> Answer {
    let body = format!(
        r#"{{"code":"resource_exhausted","message":"words","details":[{{"type":"google.rpc.ErrorInfo","value":"","debug":{{"reason":"{reason}"}}}}]}}"#
    );
    Answer::Status(status, headers, body)
}

#[tokio::test]
async fn what_does_no_harm_is_repeated() {
    let server = Server::start([Answer::HangUp, unavailable(), Answer::Well]).await;
    server.client().ping().await.unwrap();
    assert_eq!(server.calls(), ["Ping"; 3]);

    let server = Server::start([
        Answer::HangUp,
        Answer::Well,
        unavailable(),
        Answer::Well,
        unavailable(),
        Answer::Well,
        unavailable(),
        Answer::Well,
    ])
    .await;
    let client = server.client();
    client.matches(ME, 10, "").await.unwrap();
    client.sync_status(ME).await.unwrap();
    client.dismiss(ME, "did:plc:other").await.unwrap();
    client.remove_data(ME).await.unwrap();
    let twice = ["GetMatches", "GetSyncStatus", "DismissMatch", "RemoveData"];
    assert_eq!(server.calls(), twice.map(|method| [method; 2]).concat());
}

#[tokio::test]
async fn repetition_is_bounded() {
    let server = Server::start([unavailable(), unavailable(), unavailable()]).await;
    let error = server.client().ping().await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { retry_after: None }), "{error:?}");
    assert_eq!(server.calls().len(), 3);

    let server = Server::start([unavailable()]).await;
    let once = Client::with_settings(&server.url, Settings { attempts: 1, ..settings() }).unwrap();
    once.ping().await.unwrap_err();
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_server_that_says_how_long_to_wait_is_obeyed() {
    let later = &[("retry-after", "1")];
    let server = Server::start([Answer::Status(503, later, String::new()), Answer::Well]).await;
    server.client().ping().await.unwrap();
    let times: Vec<_> = server.seen.lock().unwrap().iter().map(|seen| seen.at).collect();
    assert!(times[1] - times[0] >= Duration::from_secs(1));

    // Longer than the deadline: the caller is told at once.
    let much_later = &[("retry-after", "3600")];
    let server = Server::start([Answer::Status(503, much_later, String::new())]).await;
    let error = server.client().ping().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)), "{error:?}");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn what_could_do_harm_is_not_repeated() {
    let server = Server::start([
        Answer::HangUp,
        unavailable(),
        Answer::HangUp,
        unavailable(),
        Answer::HangUp,
        unavailable(),
    ])
    .await;
    let client = server.client();
    for _ in 0..2 {
        let error = client.start_verification(ME, "+12125550101").await.unwrap_err();
        assert!(!error.nothing_was_done(), "{error:?}");
    }
    for _ in 0..2 {
        assert!(!client.verify(ME, "+12125550101", "123456").await.unwrap_err().nothing_was_done());
    }
    for _ in 0..2 {
        assert!(
            !client.import(ME, "token", vec!["+12125550102".into()]).await.unwrap_err().nothing_was_done()
        );
    }
    let twice = ["StartPhoneVerification", "VerifyPhone", "ImportContacts"];
    assert_eq!(server.calls(), twice.map(|method| [method; 2]).concat());
}

/// A port that is nobody else's, at which nobody listens yet: connections are refused.
fn not_yet() -> (String, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (format!("http://{}", socket.local_addr().unwrap()), socket)
}

#[tokio::test]
async fn without_a_connection_an_import_is_repeated_and_a_code_is_not() {
    let (url, socket) = not_yet();
    let patient = Settings { attempts: 8, ..settings() };
    let client = Client::with_settings(&url, patient).unwrap();
    let error = client.start_verification(ME, "+12125550101").await.unwrap_err();
    assert!(matches!(error, ClientError::NotConnected(_)) && error.nothing_was_done(), "{error:?}");
    // A while after the next call has begun, and well before its attempts are used up.
    let server = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Server::on(socket.listen(16).unwrap(), [Answer::Well, Answer::Well])
    });
    client.verify(ME, "+12125550101", "123456").await.unwrap();
    client.import(ME, "token", vec!["+12125550102".into()]).await.unwrap();
    let server = server.await.unwrap();
    assert_eq!(server.calls(), ["VerifyPhone", "ImportContacts"]);
}

#[tokio::test]
async fn a_silent_server_is_left_at_the_deadline() {
    let server = Server::start([Answer::Silence, Answer::Silence]).await;
    // Long enough for the calls to arrive.
    let short = Duration::from_secs(2);
    let hasty = Settings { deadline: short, import_deadline: short, ..settings() };
    let client = Client::with_settings(&server.url, hasty).unwrap();
    assert!(matches!(client.ping().await, Err(ClientError::TimedOut)));
    assert!(matches!(client.import(ME, "t", vec!["x".into()]).await, Err(ClientError::TimedOut)));
    assert_eq!(server.calls(), ["Ping", "ImportContacts"]);
}

#[tokio::test]
async fn errors_can_be_matched() {
    let page = format!("<html>{}</html>\nsecond line", "x".repeat(5000));
    let server = Server::start([
        refusal(429, &[("retry-after", "42")], "RATE_LIMIT_EXCEEDED"),
        refusal(400, &[], "SOMETHING_NEW"),
        Answer::Status(401, &[], r#"{"code":"unauthenticated","message":"no"}"#.into()),
        Answer::Status(404, &[], page),
    ])
    .await;
    // A call can be moved to another thread.
    let client = server.client();
    let refused = tokio::spawn(async move { client.ping().await }).await.unwrap().unwrap_err();
    let ClientError::Refused { reason, message, retry_after } = &refused else { panic!("{refused:?}") };
    assert_eq!((reason, message.as_str()), (&Reason::RateLimitExceeded, "words"));
    assert_eq!((*retry_after, refused.nothing_was_done()), (Some(Duration::from_secs(42)), true));

    let client = server.client();
    let unknown = client.ping().await.unwrap_err();
    assert!(
        matches!(&unknown, ClientError::Refused { reason: Reason::Unknown(name), .. } if name == "SOMETHING_NEW")
    );
    assert!(matches!(client.ping().await, Err(ClientError::Unauthenticated)));
    let ClientError::Unreachable(cause) = client.ping().await.unwrap_err() else { panic!() };
    assert!(cause.to_string().len() < 300);
    // None of these is repeated.
    assert_eq!(server.calls().len(), 4);

    for url in ["", "localhost:3200", "ftp://localhost", "http://", "https:///x"] {
        assert!(matches!(Client::new(url, ""), Err(ClientError::Config(_))), "{url}");
    }
    assert!(matches!(Client::new("http://localhost", "a\nb"), Err(ClientError::Config(_))));
    let in_clear = Settings { extra_ca: authority().pem.into_bytes(), ..settings() };
    assert!(matches!(Client::with_settings("http://localhost", in_clear), Err(ClientError::Config(_))));
}

#[tokio::test]
async fn the_key_is_sent_and_not_shown() {
    let server = Server::start([Answer::Well]).await;
    let with_key = Settings { api_key: "the-key".into(), ..settings() };
    assert!(!format!("{with_key:?}").contains("the-key"));
    Client::with_settings(&server.url, with_key).unwrap().ping().await.unwrap();
    assert_eq!(server.seen.lock().unwrap()[0].authorization.as_deref(), Some("Bearer the-key"));
}

/// A certificate authority, and a server's certificate for `localhost` that it signed.
struct Authority {
    pem: String,
    server: Arc<tokio_rustls::rustls::ServerConfig>,
}

fn authority() -> Authority {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = params.signed_by(&server_key, &issuer).unwrap();
    let private = rustls_pki_types::PrivatePkcs8KeyDer::from(server_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private.into())
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Authority { pem, server: Arc::new(server) }
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let authority = authority();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&authority.server));
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let script = Arc::new(Mutex::new(VecDeque::from([Answer::Well])));
    let seen_by_server = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, script, seen) =
                (acceptor.clone(), Arc::clone(&script), Arc::clone(&seen_by_server));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, script, seen).await;
                }
            });
        }
    });
    let trusting = |pem: &str| Settings { extra_ca: pem.as_bytes().to_vec(), attempts: 1, ..settings() };
    let url = format!("https://localhost:{port}");
    Client::with_settings(&url, trusting(&authority.pem)).unwrap().ping().await.unwrap();
    assert_eq!(seen.lock().unwrap()[0].version, Version::HTTP_2);

    let stranger = self::authority();
    let distrust = Client::with_settings(&url, trusting(&stranger.pem)).unwrap().ping().await.unwrap_err();
    assert!(matches!(distrust, ClientError::Certificate(_)) && distrust.nothing_was_done(), "{distrust:?}");
    let other_name = format!("https://127.0.0.1:{port}");
    let other_name = Client::with_settings(&other_name, trusting(&authority.pem)).unwrap().ping().await;
    assert!(matches!(other_name, Err(ClientError::Certificate(_))), "{other_name:?}");
    assert_eq!(seen.lock().unwrap().len(), 1);

    let plain = Server::start([]).await;
    let url = plain.url.replace("http://127.0.0.1", "https://localhost");
    let error = Client::with_settings(&url, trusting(&authority.pem)).unwrap().ping().await.unwrap_err();
    assert!(matches!(error, ClientError::NotConnected(_)), "{error:?}");
    for no_pem in ["x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(Client::with_settings(&url, trusting(no_pem)), Err(ClientError::Config(_))));
    }
}
