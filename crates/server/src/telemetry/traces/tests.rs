use std::io::Write;
use std::sync::{Arc, Mutex};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn span() -> SpanData {
    let mut events = SpanEvents::default();
    events.events.push(opentelemetry::trace::Event::with_name("+12125550101"));
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(1),
            SpanId::from(2),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "step".into(),
        start_time: std::time::UNIX_EPOCH,
        end_time: std::time::UNIX_EPOCH,
        attributes: vec![KeyValue::new("rpc.method", "Ping"), KeyValue::new("phone", "+12125550101")],
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: Status::error("+12125550101"),
        instrumentation_scope: Default::default(),
    }
}

#[test]
fn what_is_not_on_the_list_is_taken_out() {
    let plain = plain(span());
    assert_eq!(plain.attributes, [KeyValue::new("rpc.method", "Ping")]);
    assert!(!format!("{plain:?}").contains("2125550101"), "{plain:?}");
}

/// Answers one request, whatever it is, with `status`.
async fn answer_once(listener: &tokio::net::TcpListener, status: &str) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 4096];
    let _ = stream.read(&mut buffer).await.unwrap();
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_collector_that_refuses_is_told_once_and_its_return_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let exporter = exporter(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _until_the_end = tracing::subscriber::set_default(log);
    for (status, sent) in
        [("400 Bad Request", false), ("400 Bad Request", false), ("200 OK", true), ("200 OK", true)]
    {
        let (outcome, ()) = tokio::join!(exporter.export(vec![span()]), answer_once(&listener, status));
        assert_eq!(outcome.is_ok(), sent, "{outcome:?}");
    }
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("does not take traces").count(), 1, "{log}");
    assert_eq!(log.matches("takes traces again").count(), 1, "{log}");
    assert_eq!(log.lines().count(), 2, "{log}");
}
