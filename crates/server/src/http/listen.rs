//! The accept loop: HTTP/1.1 and HTTP/2 on one port, with TLS or without, bounded connections, slow clients cut off, and
//! a shutdown that lets requests finish.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use super::face::Peer;
use super::prompt::Prompt;
use crate::config::Http;
use crate::telemetry::metrics;

/// Streams at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// Header bytes of one request, decoded; HTTP/1.1 reads at most four times as much before it gives up.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Bytes of bodies that an HTTP/2 peer may have sent and nobody has read: for a stream, for a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait for an HTTP/2 peer to take them, for a stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that an HTTP/2 peer reset before they were dealt with: more end the connection ("rapid reset",
/// CVE-2023-44487).
const MAX_PEER_RESETS: usize = 32;
/// Streams that this side reset for the peer's errors (CVE-2025-8671). A client that has not read the settings yet may
/// open more streams than it may have, and is refused by resets.
const MAX_OWN_RESETS: usize = 512;
/// Silence after which an HTTP/2 peer is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Pause after the system refused a connection, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often a connection that has sent a part of that is looked at again.
const LOOK: Duration = Duration::from_millis(20);

/// Where connections come from.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// Encrypts them.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Whether the metrics count them: the main port's are.
    pub(crate) counted: bool,
}

/// Serves `router` on `port` until `stop`, then lets running requests finish within the drain time.
pub(crate) async fn serve(port: Port, router: Router, http: &Http, stop: impl Future<Output = ()>) {
    let Port { listener, tls, counted } = port;
    let places = Arc::new(Semaphore::new(usize::try_from(http.max_connections).unwrap_or(usize::MAX)));
    let header_time = Duration::from_secs(u64::from(http.header_timeout_s));
    let server = builder(http);
    let shutdown = GracefulShutdown::new();
    let (closing, closed) = watch::channel(());
    let mut stop = std::pin::pin!(stop);
    loop {
        // Beyond the bound, connections wait in the system's queue.
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let place = (place, counted.then(metrics::Connection::opened));
        let router = router.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let router = router.clone();
            request.extensions_mut().insert(Peer(peer));
            async move {
                Ok::<_, Infallible>(
                    router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}),
                )
            }
        });
        let (server, tls, watcher, mut closed) =
            (server.clone(), tls.clone(), shutdown.watcher(), closed.clone());
        tokio::spawn(async move {
            let began = tokio::select! {
                began = begin(stream, tls, header_time) => began,
                _ = closed.changed() => None,
            };
            let ended = match began {
                Some(Began::Plain(stream)) => {
                    watcher.watch(server.serve_connection(TokioIo::new(stream), service).into_owned()).await
                }
                // ALPN has chosen, so nothing is guessed from the first bytes.
                Some(Began::Http1(stream)) => {
                    let server = server.http1_only();
                    watcher.watch(server.serve_connection(TokioIo::new(*stream), service).into_owned()).await
                }
                Some(Began::Http2(stream)) => {
                    let (server, stream) =
                        (server.http2_only(), Prompt::new(*stream, PREFACE.len(), header_time));
                    watcher.watch(server.serve_connection(TokioIo::new(stream), service).into_owned()).await
                }
                None => Ok(()),
            };
            if ended.is_err() {
                tracing::debug!("a connection ended early");
            }
            drop(place);
        });
    }
    drop((listener, closing));
    let drain = Duration::from_secs(u64::from(http.drain_s));
    if timeout(drain, shutdown.shutdown()).await.is_err() {
        tracing::warn!("requests still ran when the drain time was over");
    }
}

/// A connection that is ready for HTTP.
enum Began {
    Plain(TcpStream),
    Http1(Box<TlsStream<TcpStream>>),
    Http2(Box<TlsStream<TcpStream>>),
}

/// Brings a connection to where HTTP begins; `None` if it does not come there in `time`.
async fn begin(stream: TcpStream, tls: Option<TlsAcceptor>, time: Duration) -> Option<Began> {
    let Some(tls) = tls else {
        return timeout(time, speaks_http(&stream)).await.unwrap_or(false).then_some(Began::Plain(stream));
    };
    match timeout(time, tls.accept(stream)).await {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            Some(Began::Http2(Box::new(stream)))
        }
        Ok(Ok(stream)) => Some(Began::Http1(Box::new(stream))),
        Ok(Err(_)) | Err(_) => {
            metrics::handshake_failed();
            tracing::debug!("a TLS handshake failed");
            None
        }
    }
}

/// Whether the peer has sent enough to choose a protocol. The server that chooses does not bound that time itself.
async fn speaks_http(stream: &TcpStream) -> bool {
    let mut first = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return false,
            Ok(length) if length == PREFACE.len() || first[..length] != PREFACE[..length] => return true,
            Ok(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small: waiting to fill a segment only delays them. A refusal costs nothing but that.
            let _ = stream.set_nodelay(true);
            Some((stream, peer.ip(), place))
        }
        Err(_) => {
            tracing::warn!("a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn builder(http: &Http) -> Builder<TokioExecutor> {
    let header_time = Duration::from_secs(u64::from(http.header_timeout_s));
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_buf_size(usize::try_from(MAX_HEADER_BYTES).unwrap_or(usize::MAX).saturating_mul(4));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PEER_RESETS)
        .max_local_error_reset_streams(MAX_OWN_RESETS)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(header_time);
    builder
}
