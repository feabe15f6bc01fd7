//! The network's stream: Jetstream's JSON over a WebSocket (<https://github.com/bluesky-social/jetstream>).
//!
//! One server reads it at a time, by a lease in the store; what it has worked through stands there too, so another, or a
//! restart, goes on from there. It is unsigned: see `service::network` for what is believed.

mod departure;
pub(crate) mod message;

use std::sync::Arc;
use std::time::Duration;

use acquaint_service::{Clock, Discovery, Internal, NetworkEvent};
use futures::StreamExt;
use metrics::{counter, gauge};
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::outbound::tls;
pub(crate) use departure::Departures;

/// The stream's name in the store.
const NAME: &str = "jetstream";
/// How long a server has the stream to itself after a step.
const LEASE: Duration = Duration::from_secs(60);
/// How often a server that does not have it asks for it.
const ASK: Duration = Duration::from_secs(15);
/// Events of one step, and how long it is waited for them.
const STEP_EVENTS: usize = 500;
const STEP_TIME: Duration = Duration::from_secs(1);
/// Without any message the connection is given up: the network is never that quiet.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a connection may take to stand.
const CONNECTING: Duration = Duration::from_secs(15);
/// Pauses between connections.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How far it goes back for what came between two connections (the same file, "Consuming Jetstream").
const REWIND_US: i64 = 5_000_000;
/// Bytes of the largest message that is asked for. Those that matter have some hundreds; anybody may write a longer one.
const WANTED_MESSAGE: usize = 64 * 1024;
/// Bytes of the largest message that is read. One that breaks the connection would be met again after each connection.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the stream cannot be connected to")]
    NotConnected(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the stream broke")]
    Broken(#[source] Box<Error>),
    #[error("the stream was closed, or said nothing for a minute")]
    Quiet,
    #[error("what the stream said cannot be stored")]
    Internal(#[from] Internal),
    #[error("another server reads the stream")]
    Elsewhere,
}

/// Reads the stream until `stop`.
pub(crate) async fn follow(
    discovery: Arc<Discovery>,
    clock: Arc<dyn Clock>,
    url: Url,
    mut stop: watch::Receiver<bool>,
) {
    // There before there is one, so that an alert can see it rise.
    counter!("acquaint_stream_disconnects_total").increment(0);
    gauge!("acquaint_stream_reading").set(0);
    let mut pause = FIRST_PAUSE;
    while !*stop.borrow() {
        let cursor = match discovery.lease_stream(NAME, LEASE).await {
            Ok(Some(cursor)) => cursor,
            Ok(None) => {
                // Another server's to tell.
                gauge!("acquaint_stream_lag_seconds").set(0);
                rest(ASK, &mut stop).await;
                continue;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the stream cannot be taken");
                rest(ASK, &mut stop).await;
                continue;
            }
        };
        lags(&*clock, cursor);
        let began = Instant::now();
        let ended = tokio::select! {
            ended = read(&discovery, &*clock, &url, cursor) => ended,
            _ = stop.changed() => break,
        };
        gauge!("acquaint_stream_reading").set(0);
        counter!("acquaint_stream_disconnects_total").increment(1);
        tracing::warn!(error = &ended as &dyn std::error::Error, "the stream is connected to again");
        pause = if began.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { pause };
        rest(pause, &mut stop).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    if let Err(error) = discovery.release_stream(NAME).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "another server has to wait for the stream");
    }
}

/// How far what was worked through is behind; also while nothing comes.
fn lags(clock: &dyn Clock, cursor: Option<i64>) {
    let Some(cursor) = cursor else { return };
    let lag = clock.now().saturating_sub(cursor / 1000).max(0);
    gauge!("acquaint_stream_lag_seconds").set(lag as f64 / 1000.0);
}

async fn rest(time: Duration, stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = sleep(time) => {}
        _ = stop.changed() => {}
    }
}

async fn read(discovery: &Discovery, clock: &dyn Clock, url: &Url, cursor: Option<i64>) -> Ended {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("wantedCollections", message::FOLLOW);
    url.query_pairs_mut().append_pair("maxMessageSizeBytes", &WANTED_MESSAGE.to_string());
    if let Some(cursor) = cursor {
        url.query_pairs_mut().append_pair("cursor", &cursor.saturating_sub(REWIND_US).to_string());
    }
    let outcome = match url.scheme() {
        "wss" => match timeout(CONNECTING, encrypted(&url)).await {
            Ok(Ok(stream)) => steps(discovery, clock, stream).await,
            Ok(Err(error)) => Err(error),
            Err(late) => Err(Ended::NotConnected(late.into())),
        },
        _ => match timeout(CONNECTING, plain(&url)).await {
            Ok(Ok(stream)) => steps(discovery, clock, stream).await,
            Ok(Err(error)) => Err(error),
            Err(late) => Err(Ended::NotConnected(late.into())),
        },
    };
    match outcome {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

fn not_connected(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Ended {
    Ended::NotConnected(error.into())
}

async fn connect(url: &Url, port: u16) -> Result<(TcpStream, String), Ended> {
    let host = url.host_str().ok_or_else(|| not_connected("the URL has no host"))?.to_owned();
    let address = (host.trim_matches(['[', ']']), url.port().unwrap_or(port));
    Ok((TcpStream::connect(address).await.map_err(not_connected)?, host))
}

async fn plain(url: &Url) -> Result<WebSocketStream<TcpStream>, Ended> {
    let (stream, _) = connect(url, 80).await?;
    speak(url, stream).await
}

async fn encrypted(url: &Url) -> Result<WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>, Ended> {
    let (stream, host) = connect(url, 443).await?;
    let config = tls("https").map_err(not_connected)?;
    let name = host.try_into().map_err(|_| not_connected("the URL's host is no name"))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(not_connected)?;
    speak(url, stream).await
}

async fn speak<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    url: &Url,
    stream: S,
) -> Result<WebSocketStream<S>, Ended> {
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let (stream, _) =
        client_async_with_config(url.as_str(), stream, Some(config)).await.map_err(not_connected)?;
    Ok(stream)
}

/// Commits one piece after another.
async fn steps<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    discovery: &Discovery,
    clock: &dyn Clock,
    mut stream: WebSocketStream<S>,
) -> Result<std::convert::Infallible, Ended> {
    gauge!("acquaint_stream_reading").set(1);
    loop {
        let (mut events, mut cursor) = (Vec::<NetworkEvent>::new(), None);
        let mut until = Instant::now() + SILENCE;
        let mut ended = None;
        while events.len() < STEP_EVENTS {
            let text = match timeout_at(until, stream.next()).await {
                Ok(Some(Ok(message @ (Message::Text(_) | Message::Binary(_))))) => message.into_data(),
                // Answered by the library.
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
                Ok(Some(Ok(Message::Close(_) | Message::Frame(_))) | None) => {
                    ended = Some(Ended::Quiet);
                    break;
                }
                Ok(Some(Err(error))) => {
                    ended = Some(Ended::Broken(Box::new(error)));
                    break;
                }
                Err(_) if cursor.is_none() => {
                    ended = Some(Ended::Quiet);
                    break;
                }
                Err(_) => break,
            };
            let Some((at, event)) = message::read(&text) else {
                counter!("acquaint_stream_messages_total", "outcome" => "unreadable").increment(1);
                continue;
            };
            counter!("acquaint_stream_messages_total", "outcome" => if event.is_some() { "used" } else { "passed_over" })
                .increment(1);
            if cursor.is_none() {
                until = Instant::now() + STEP_TIME;
            }
            cursor = cursor.max(Some(at));
            events.extend(event);
        }
        if let Some(cursor) = cursor {
            if !discovery.stream_step(NAME, (cursor, LEASE), &events).await? {
                return Err(Ended::Elsewhere);
            }
            lags(clock, Some(cursor));
        }
        if let Some(ended) = ended {
            return Err(ended);
        }
    }
}
