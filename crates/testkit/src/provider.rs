//! A service of somebody else, for tests: an HTTP server on a private port that keeps every request and answers as told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// As `POST`.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

/// What the service does with a request that it has read.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers with a status and JSON.
    Json(u16, String),
    /// Answers with a status and a web page.
    Page(u16),
    /// Answers with a status, and a header, and nothing else.
    Header(u16, &'static str),
    /// Answers with a status and a body of 1 MiB.
    Huge(u16),
    /// Answers with a status and the beginning of a body, and hangs up.
    CutOff(u16),
    /// Answers with a status and the beginning of a body, and falls silent.
    Stuck(u16),
    /// Answers what is not HTTP.
    Garbage,
    /// Hangs up without an answer.
    HangUp,
    /// Never answers.
    Silence,
}

/// The running service.
pub struct Provider {
    /// Where it is, as `http://127.0.0.1:port`.
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    server: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A URL at which nobody listens, for as long as this process lives.
pub async fn nobody() -> String {
    // Bound and not listening: connections are refused, and nobody else can take the port.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::mem::forget(socket);
    format!("http://{address}")
}

impl Provider {
    /// Answers the first request with the first of `replies` and so on; the last of them answers all that follow.
    pub async fn start(replies: impl Into<Vec<Reply>>) -> Self {
        Self::listen(replies.into(), None).await
    }

    /// As [`Provider::start`], with TLS, at `https://localhost:port`.
    pub async fn start_tls(replies: impl Into<Vec<Reply>>, tls: ServerConfig) -> Self {
        Self::listen(replies.into(), Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn listen(replies: Vec<Reply>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let url = match tls {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, tls.clone(), replies.clone(), Arc::clone(&kept)));
            }
        });
        Self { url, requests, server }
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panicked with it").clone()
    }
}

impl Request {
    /// The value of the only header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let (_, value) = values.next().unwrap_or_else(|| panic!("no header {name}"));
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    replies: Vec<Reply>,
    kept: Arc<Mutex<Vec<Request>>>,
) {
    match tls {
        None => answer(stream, &replies, &kept).await,
        // A client that does not trust the certificate ends the handshake.
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => answer(stream, &replies, &kept).await,
            Err(_) => None,
        },
    };
}

/// Answers one request and closes; `None` if the client went away first.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    replies: &[Reply],
    kept: &Mutex<Vec<Request>>,
) -> Option<()> {
    let request = read(&mut stream).await?;
    let reply = {
        let mut kept = kept.lock().expect("no test panicked with it");
        kept.push(request);
        replies.get(kept.len() - 1).or(replies.last()).expect("a reply").clone()
    };
    let head = |status: u16, kind: &str, length: usize| {
        format!(
            "HTTP/1.1 {status} Any\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        )
    };
    let bytes = match &reply {
        Reply::Json(status, body) => head(*status, "application/json", body.len()) + body,
        Reply::Page(status) => {
            let page = "<!DOCTYPE html><html><body>What was asked: it is not here.</body></html>";
            head(*status, "text/html", page.len()) + page
        }
        Reply::Header(status, header) => {
            format!("HTTP/1.1 {status} Any\r\n{header}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        Reply::Huge(status) => head(*status, "application/json", 1 << 20) + &" ".repeat(1 << 20),
        Reply::CutOff(status) | Reply::Stuck(status) => head(*status, "application/json", 1000) + "{\"sid\":",
        Reply::Garbage => "220 ready when you are\r\n".into(),
        Reply::HangUp | Reply::Silence => String::new(),
    };
    stream.write_all(bytes.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    if matches!(reply, Reply::Silence | Reply::Stuck(_)) {
        // Until the client has had enough.
        while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
    }
    stream.shutdown().await.ok()
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(head_end + 4);
    let head = String::from_utf8(bytes).expect("a head of ASCII");
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().expect("a length"));
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { method: first.next()?, path: first.next()?, headers, body })
}
