//! A mail server for tests: speaks SMTP (RFC 5321) with AUTH PLAIN (RFC 4954), STARTTLS and implicit TLS, keeps what it
//! is sent, and fails where it is told to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// How it is encrypted.
#[derive(Clone)]
pub enum Encryption {
    /// Not at all.
    None,
    /// From the first byte.
    Implicit(Arc<ServerConfig>),
    /// After STARTTLS; it takes nothing else before.
    StartTls(Arc<ServerConfig>),
}

/// Something else than the usual answer.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// This line.
    Line(&'static str),
    /// The end of the connection.
    HangUp,
    /// No answer.
    Silence,
}

/// What it was sent.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Every command, in order, with what followed AUTH.
    pub commands: Vec<String>,
    /// Every message that it took or was left with, dots undone.
    pub messages: Vec<String>,
    /// Connections.
    pub connections: usize,
}

/// The running server.
pub struct MailServer {
    /// On `localhost`.
    pub port: u16,
    log: Arc<Mutex<Log>>,
    server: JoinHandle<()>,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Script {
    encryption: Encryption,
    /// Where: `greeting`, a command's verb, or `.` for the end of a message.
    faults: Vec<(&'static str, Fault)>,
    log: Arc<Mutex<Log>>,
}

impl MailServer {
    /// Starts it on a private port.
    pub async fn start(encryption: Encryption, faults: impl Into<Vec<(&'static str, Fault)>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let log = Arc::new(Mutex::new(Log::default()));
        let script = Script { encryption, faults: faults.into(), log: Arc::clone(&log) };
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                script.log.lock().expect("no test panicked with it").connections += 1;
                let script = script.clone();
                tokio::spawn(async move {
                    match script.encryption.clone() {
                        Encryption::Implicit(tls) => {
                            let stream = TlsAcceptor::from(tls).accept(stream).await.ok()?;
                            script.converse(BufStream::new(stream), true, true).await.map(drop)
                        }
                        Encryption::StartTls(tls) => {
                            let plain = script.converse(BufStream::new(stream), true, false).await?;
                            let stream = TlsAcceptor::from(tls).accept(plain.into_inner()).await.ok()?;
                            script.converse(BufStream::new(stream), false, true).await.map(drop)
                        }
                        Encryption::None => {
                            script.converse(BufStream::new(stream), true, true).await.map(drop)
                        }
                    }
                });
            }
        });
        Self { port, log, server }
    }

    /// What it was sent so far.
    #[must_use]
    pub fn log(&self) -> Log {
        self.log.lock().expect("no test panicked with it").clone()
    }
}

impl Script {
    /// Talks until QUIT or the end, which gives `None`, or until STARTTLS, which gives the stream. It is `ready` for
    /// messages, or offers STARTTLS only.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: BufStream<S>,
        greet: bool,
        ready: bool,
    ) -> Option<BufStream<S>> {
        if greet {
            self.say(&mut stream, "greeting", "220 mail.test ESMTP").await?;
        }
        loop {
            let line = line(&mut stream).await?;
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            self.log.lock().expect("no test panicked with it").commands.push(line);
            let usual = match (verb.as_str(), ready) {
                ("EHLO", true) => "250-mail.test\r\n250-AUTH LOGIN PLAIN\r\n250 ENHANCEDSTATUSCODES",
                ("EHLO", false) => "250-mail.test\r\n250 STARTTLS",
                ("STARTTLS", false) => "220 go ahead",
                ("QUIT", _) => "221 bye",
                ("AUTH", true) => "235 2.7.0 welcome",
                ("MAIL" | "RCPT", true) => "250 2.1.0 fine",
                ("DATA", true) => "354 go ahead",
                (_, false) => "530 5.7.0 STARTTLS first",
                _ => "502 5.5.1 what?",
            };
            let told = self.say(&mut stream, &verb, usual).await?;
            match verb.as_str() {
                "STARTTLS" if told.starts_with("220") => return Some(stream),
                "DATA" if told.starts_with('3') => {
                    let message = message(&mut stream).await?;
                    self.log.lock().expect("no test panicked with it").messages.push(message);
                    self.say(&mut stream, ".", "250 2.0.0 queued").await?;
                }
                "QUIT" => return None,
                _ => {}
            }
        }
    }

    async fn say<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        place: &str,
        usual: &'static str,
    ) -> Option<&'static str> {
        let said = match self.faults.iter().find(|(fault, _)| *fault == place) {
            None => usual,
            Some((_, Fault::Line(line))) => line,
            Some((_, Fault::HangUp)) => return None,
            Some((_, Fault::Silence)) => {
                while line(stream).await.is_some() {}
                return None;
            }
        };
        stream.write_all(format!("{said}\r\n").as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        Some(said)
    }
}

async fn line<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufStream<S>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end_matches("\r\n").to_owned())
}

async fn message<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufStream<S>) -> Option<String> {
    let mut message = String::new();
    loop {
        let line = line(stream).await?;
        if line == "." {
            return Some(message);
        }
        // RFC 5321, section 4.5.2.
        message.push_str(line.strip_prefix('.').unwrap_or(&line));
        message.push_str("\r\n");
    }
}
