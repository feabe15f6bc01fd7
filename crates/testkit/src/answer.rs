//! HTTP by hand: requests that no client would send, and what comes back.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status; 0 if there was none.
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Sends bytes as they are on a connection of their own to `url`, and reads until the server closes it.
    pub async fn of(url: &str, request: &[u8]) -> Self {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.expect("a connection");
        // A server that has refused may close before all is written.
        let _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8_lossy(&bytes);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        let (head, body) = bytes.split_at(end);
        Self { status, head: String::from_utf8_lossy(head).to_lowercase(), body: body.to_vec() }
    }

    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// `details[0].debug.reason` of a Connect error.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let error: Value = serde_json::from_slice(&self.body).ok()?;
        Some(error.get("details")?.get(0)?.get("debug")?.get("reason")?.as_str()?.to_owned())
    }

    /// A member of the body, as text.
    #[must_use]
    pub fn text(&self, member: &str) -> String {
        self.json().get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}
