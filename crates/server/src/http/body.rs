//! Reading request bodies within bounds.
//!
//! A refusal that is sent while the client still writes is often lost: HTTP/1.1 closes the connection under it, and an
//! HTTP/2 client may hang. So what is refused is read to its end all the same, within bounds, and thrown away.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;

/// How much of a refused body is read and thrown away, and for how long. Beyond that the connection is cut.
const DISCARDED_BYTES: usize = 16 * 1024 * 1024;
const DISCARDING: Duration = Duration::from_secs(5);

/// What a request's body may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    TooSlow,
    Broken,
}

/// The whole body, if it keeps within `limits`.
pub(super) async fn read(mut body: Body, limits: BodyLimits) -> Result<Bytes, Unread> {
    let reading = async {
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
            if whole.len() + data.len() > limits.bytes {
                return Err(Unread::TooLarge);
            }
            whole.extend_from_slice(&data);
        }
        Ok(Bytes::from(whole))
    };
    let outcome = tokio::time::timeout(limits.time, reading).await.unwrap_or(Err(Unread::TooSlow));
    if outcome == Err(Unread::TooLarge) {
        discard(body).await;
    }
    outcome
}

/// Reads a refused body to its end, so that the refusal arrives.
pub(super) async fn discard(mut body: Body) {
    let discarding = async {
        let mut left = DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = rest;
        }
    };
    // Over the time: the answer goes out, and may get lost.
    let _ = tokio::time::timeout(DISCARDING, discarding).await;
}
