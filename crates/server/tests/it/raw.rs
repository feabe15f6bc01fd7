//! HTTP by hand: requests that no client would send.

use acquaint_testkit::API_KEY;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// `details[0].debug.reason` of a Connect error.
    pub(crate) fn reason(&self) -> Option<String> {
        let error: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(error.get("details")?.get(0)?.get("debug")?.get("reason")?.as_str()?.to_owned())
    }
}

/// Sends bytes as they are on a connection of their own and reads until the server closes it.
pub(crate) async fn exchange(url: &str, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    // A server that has refused may close before all is written.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    Answer {
        status,
        head: String::from_utf8_lossy(&bytes[..end]).to_lowercase(),
        body: bytes[end..].to_vec(),
    }
}

/// Calls a method with a body of the given content type and the operator's key.
pub(crate) async fn call(url: &str, method: &str, content_type: &str, body: &[u8]) -> Answer {
    let head = format!(
        "POST /rolodex.RolodexService/{method} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {API_KEY}\r\nconnect-protocol-version: 1\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    exchange(url, &[head.as_bytes(), body].concat()).await
}

/// Calls a method with JSON.
pub(crate) async fn json(url: &str, method: &str, message: &serde_json::Value) -> Answer {
    call(url, method, "application/json", message.to_string().as_bytes()).await
}
