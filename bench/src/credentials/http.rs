//! Calls over HTTP/1.1 with keep-alive: each connection sends the next call when it has the answer to the last.

use std::time::Duration;

use acquaint_testkit::did;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::KEY;
use crate::Result;

/// Connections at once.
const CONNECTIONS: usize = 32;
/// How long they call, after a time that is not counted.
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);
/// Accounts of each connection; none comes to its limit.
const ACCOUNTS: usize = 200;

pub(super) struct Measured {
    pub(super) per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) errors: u64,
}

pub(super) async fn measure(url: &str) -> Result<Measured> {
    let mut calling = JoinSet::new();
    let from = Instant::now() + WARM_UP;
    for n in 0..CONNECTIONS {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
        stream.set_nodelay(true)?;
        calling.spawn(call(stream, n, from));
    }
    let (mut millis, mut errors) = (Vec::new(), 0);
    while let Some(called) = calling.join_next().await {
        let (of_one, failed) = called??;
        millis.extend(of_one);
        errors += failed;
    }
    millis.sort_by(f64::total_cmp);
    let at = |share: usize| millis.get(millis.len() * share / 100).copied().unwrap_or(f64::NAN);
    let per_s = millis.len() as f64 / MEASURED.as_secs_f64();
    Ok(Measured { per_s, p50_ms: at(50), p95_ms: at(95), errors })
}

/// Calls until the time is over; the time of each call that began after `from`, and how many were refused.
async fn call(mut stream: TcpStream, n: usize, from: Instant) -> Result<(Vec<f64>, u64)> {
    let requests: Vec<String> = (0..ACCOUNTS)
        .map(|account| {
            format!(
                "GET /v1/contact-discovery/credentials HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\n\
                 acquaint-account: {}\r\n\r\n",
                did(n * ACCOUNTS + account)
            )
        })
        .collect();
    let (mut millis, mut errors, mut bytes) = (Vec::new(), 0, vec![0; 4096]);
    for request in requests.iter().cycle() {
        let began = Instant::now();
        if began >= from + MEASURED {
            break;
        }
        stream.write_all(request.as_bytes()).await?;
        let mut read = 0;
        // An answer ends with its body, the only object that there is.
        while !bytes[..read].ends_with(b"}") {
            let more = stream.read(&mut bytes[read..]).await?;
            if more == 0 {
                return Err("the server hung up".into());
            }
            read += more;
        }
        errors += u64::from(!bytes.starts_with(b"HTTP/1.1 200 "));
        if began >= from {
            millis.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok((millis, errors))
}
