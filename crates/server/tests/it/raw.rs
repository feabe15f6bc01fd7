//! HTTP by hand: requests that no client would send.

use acquaint_testkit::API_KEY;
pub(crate) use acquaint_testkit::Answer;

/// Sends bytes as they are on a connection of their own and reads until the server closes it.
pub(crate) async fn exchange(url: &str, request: &[u8]) -> Answer {
    Answer::of(url, request).await
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
