//! Light calls over HTTP/2, sent when they are due and not when the last is answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{Result, server};

/// One HTTP/2 connection.
#[derive(Clone)]
pub(super) struct Connection {
    url: String,
    send: SendRequest<bytes::Bytes>,
}

impl Connection {
    pub(super) async fn open(url: &str) -> Result<Self> {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(async move {
            // It ends when the server or this side lets go.
            let _ = connection.await;
        });
        Ok(Self { url: url.to_owned(), send })
    }

    /// Calls a method with JSON and reads the whole answer; its status.
    pub(super) async fn call(&self, method: &str, message: &str) -> Result<u16> {
        let request = http::Request::post(format!("{}/rolodex.RolodexService/{method}", self.url))
            .header("authorization", format!("Bearer {}", server::API_KEY))
            .header("content-type", "application/json")
            .body(())?;
        let mut send = self.send.clone().ready().await?;
        let (answer, mut body) = send.send_request(request, false)?;
        body.send_data(message.to_owned().into(), true)?;
        let (head, mut body) = answer.await?.into_parts();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        Ok(head.status.as_u16())
    }
}

/// The calls that are sent, in turn. The last one hides nobody.
pub(super) const KINDS: [&str; 4] = ["GetSyncStatus", "GetMatches", "Ping", "DismissMatch"];

/// What became of a time of calls.
#[derive(Default)]
pub(super) struct Told {
    /// From when each was due to its answer, by the kind in [`KINDS`].
    pub(super) millis: [Vec<f64>; KINDS.len()],
    pub(super) errors: u64,
    /// From the first to the last answer.
    pub(super) seconds: f64,
}

/// Sends `rate` calls a second for `time`.
pub(super) async fn send(connections: &[Connection], rate: u32, time: Duration, actor: &str) -> Result<Told> {
    let messages = Arc::new([
        format!("{{\"actor\":\"{actor}\"}}"),
        format!("{{\"actor\":\"{actor}\",\"limit\":50}}"),
        "{}".to_owned(),
        format!("{{\"actor\":\"{actor}\",\"subject\":\"did:plc:nobody\"}}"),
    ]);
    let told = Arc::new(Mutex::new(Told::default()));
    let began = Instant::now();
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = tokio::task::JoinSet::new();
    let total = u64::from(rate) * time.as_secs();
    let mut sent = 0;
    while sent < total {
        tick.tick().await;
        let due_now = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while sent < due_now.min(total) {
            let due = began + Duration::from_secs_f64(sent as f64 / f64::from(rate));
            let n = usize::try_from(sent)?;
            let Some(connection) = connections.get(n / KINDS.len() % connections.len()).cloned() else {
                continue;
            };
            let (messages, told) = (Arc::clone(&messages), Arc::clone(&told));
            running.spawn(async move {
                let kind = n % KINDS.len();
                let good = matches!(connection.call(KINDS[kind], &messages[kind]).await, Ok(200));
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.millis[kind].push(due.elapsed().as_secs_f64() * 1e3);
                told.errors += u64::from(!good);
            });
            sent += 1;
        }
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
    let mut told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    told.seconds = began.elapsed().as_secs_f64();
    Ok(told)
}
