//! Slow, huge, many and crooked: what a hostile client can do to a whole server, and that an honest one is served
//! meanwhile.

use std::io::Write;
use std::time::Duration;

use acquaint_server::config::Config;
use acquaint_testkit::{API_KEY, App, did};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http2::{self, frame};
use crate::raw::{Answer, call, exchange};

/// What may take long on a busy machine, and never takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

async fn hasty(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        // Honest calls have to end within these too.
        config.http.header_timeout_s = 5;
        config.http.request_timeout_s = 10;
        change(config);
    })
    .await
}

/// An honest client is served, on a connection that stands and on a new one.
async fn is_served(app: &App) {
    timeout(PATIENCE, app.client.ping()).await.expect("it is answered").unwrap();
    let answer = timeout(PATIENCE, call(&app.url, "Ping", "application/json", b"{}")).await;
    assert_eq!(answer.expect("it is answered").status, 200);
}

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap()
}

fn head(method: &str, more: &str) -> String {
    format!(
        "POST /rolodex.RolodexService/{method} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {API_KEY}\r\n\
         content-type: application/json\r\n{more}\r\n"
    )
}

/// What the server says until it closes.
async fn heard(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends `piece` again and again until the server has closed.
async fn trickle(stream: TcpStream, piece: &[u8], pause: Duration) -> String {
    let (mut read, mut write) = stream.into_split();
    let hearing = async {
        let mut bytes = Vec::new();
        let _ = read.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let sending = async {
        while write.write_all(piece).await.is_ok() {
            tokio::time::sleep(pause).await;
        }
        std::future::pending::<()>().await;
    };
    let either = async {
        tokio::select! {
            heard = hearing => heard,
            () = sending => String::new(),
        }
    };
    timeout(PATIENCE, either).await.expect("the server closes")
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_bodies_that_trickle_are_cut_off() {
    let app = hasty(|_| {}).await;
    let mut headers = connect(&app).await;
    headers.write_all(b"POST /rolodex.RolodexService/Ping HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut body = connect(&app).await;
    body.write_all(head("Ping", "content-length: 1000\r\n").as_bytes()).await.unwrap();
    let mut chunks = connect(&app).await;
    chunks.write_all(head("Ping", "transfer-encoding: chunked\r\n").as_bytes()).await.unwrap();
    let mut nobody = connect(&app).await;
    nobody
        .write_all(b"POST /rolodex.RolodexService/Ping HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n")
        .await
        .unwrap();
    let pause = Duration::from_millis(50);
    let (headers, body, chunks, nobody, ()) = tokio::join!(
        trickle(headers, b"x: y\r\n", pause),
        trickle(body, b" ", pause),
        trickle(chunks, b"1\r\n \r\n", pause),
        trickle(nobody, b" ", pause),
        is_served(&app),
    );
    assert!(headers.is_empty() || headers.starts_with("HTTP/1.1 408 "), "{headers}");
    for told in [body, chunks] {
        // Whichever of the two limits, for the body and for the request, comes first.
        assert!(told.starts_with("HTTP/1.1 408 ") || told.starts_with("HTTP/1.1 504 "), "{told}");
    }
    assert!(nobody.starts_with("HTTP/1.1 401 ") || nobody.starts_with("HTTP/1.1 504 "), "{nobody}");
    is_served(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_end_is_refused_and_not_read_for_ever() {
    let app = App::start_with(|config| config.http.max_body_kib = 64).await;
    for more in ["transfer-encoding: chunked\r\n", "content-length: 99999999999\r\n"] {
        let mut stream = connect(&app).await;
        stream.write_all(head("ImportContacts", more).as_bytes()).await.unwrap();
        let piece = if more.starts_with('t') {
            [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat()
        } else {
            vec![b'x'; 0x10000]
        };
        // The server takes a bounded part of it, although it has all the time of a request.
        let (mut read, mut write) = stream.into_split();
        let sending = async {
            let mut sent = 0;
            while write.write_all(&piece).await.is_ok() {
                sent += piece.len();
                assert!(sent < 200_000_000, "it is read without an end");
            }
        };
        let mut told = Vec::new();
        let hearing = async {
            let _ = read.read_to_end(&mut told).await;
        };
        timeout(PATIENCE, async { tokio::join!(sending, hearing, is_served(&app)) })
            .await
            .expect("the server closes");
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(told.starts_with("HTTP/1.1 413 ") && told.contains("TOO_MANY_CONTACTS"), "{told}");
    }
    // Small enough for the limit on what is thrown away: told in both ways of sending.
    let body = vec![b'x'; 100_000];
    let answer = call(&app.url, "VerifyPhone", "application/json", &body).await;
    assert_eq!((answer.status, answer.reason().as_deref()), (413, Some("INVALID_CODE")));
    let chunked = head("VerifyPhone", "connection: close\r\ntransfer-encoding: chunked\r\n");
    let chunked = [chunked.as_bytes(), b"186a0\r\n", &body, b"\r\n0\r\n\r\n"].concat();
    let answer = exchange(&app.url, &chunked).await;
    assert_eq!(answer.status, 413);
    is_served(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_bomb_is_not_unpacked() {
    let app = App::start_with(|config| config.http.max_body_kib = 64).await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..50 {
        packed.write_all(&[b' '; 1 << 20]).unwrap();
    }
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 64 * 1024, "it must pass the limit of what is sent: {}", packed.len());
    for method in ["ImportContacts", "Ping"] {
        let more =
            format!("content-encoding: gzip\r\nconnection: close\r\ncontent-length: {}\r\n", packed.len());
        let answer = exchange(&app.url, &[head(method, &more).as_bytes(), &packed].concat()).await;
        let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(error["code"], "resource_exhausted", "{answer:?}");
    }
    is_served(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_bound_wait_and_are_served_when_others_go() {
    let app = App::start_with(|config| {
        config.http.max_connections = 8;
        config.http.header_timeout_s = 600;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(connect(&app).await);
    }
    let waits = |time| timeout(time, call(&app.url, "Ping", "application/json", b"{}"));
    waits(Duration::from_secs(1)).await.expect_err("every place is taken");
    held.clear();
    assert_eq!(waits(PATIENCE).await.expect("a place is free").status, 200);
    // Many more than there are places, coming and going.
    for _ in 0..20 {
        let crowd: Vec<_> = futures::future::join_all((0..40).map(|_| connect(&app))).await;
        drop(crowd);
    }
    is_served(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_and_too_large_headers_are_refused() {
    let app = App::start().await;
    let health = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let many = format!("{health}{}\r\n", "x: y\r\n".repeat(5000));
    let huge = format!("{health}x: {}\r\n\r\n", "y".repeat(1_000_000));
    let target = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(100_000));
    for request in [many, huge, target] {
        let answer = timeout(PATIENCE, exchange(&app.url, request.as_bytes())).await.expect("it is answered");
        // The refusal may be lost while the client still writes.
        assert!([0, 414, 431].contains(&answer.status), "{answer:?}");
    }
    // HTTP/2: what decodes to more than the limit, from few bytes on the wire.
    let mut stream = http2::connect(&app.url).await;
    // The first goes into the table (RFC 7541, section 6.2.1), the rest names it by one byte each.
    let indexed = [vec![0x40], http2::field("x", &"y".repeat(3000))[1..].to_vec(), vec![0xbe; 4000]].concat();
    let block = [http2::call("Ping"), indexed].concat();
    stream
        .write_all(&frame(http2::HEADERS, http2::END_HEADERS | http2::END_STREAM, 1, &block))
        .await
        .unwrap();
    let refused = async {
        loop {
            match http2::next(&mut stream).await {
                None => return true,
                Some(frame) if frame.kind == http2::GOAWAY || frame.kind == http2::RST_STREAM => return true,
                // 431, from the table of static fields' names as a literal.
                Some(frame) if frame.kind == http2::HEADERS => return !frame.payload.contains(&0x88),
                Some(_) => {}
            }
        }
    };
    assert!(timeout(PATIENCE, refused).await.expect("it is answered"));
    is_served(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_tells_its_limits() {
    let app = App::start().await;
    let mut stream = http2::connect(&app.url).await;
    let settings = http2::next(&mut stream).await.unwrap();
    assert_eq!((settings.kind, settings.flags), (http2::SETTINGS, 0));
    let value = |id: u16| {
        let mut pairs = settings.payload.chunks(6);
        let pair = pairs.find(|pair| pair[..2] == id.to_be_bytes())?;
        Some(u32::from_be_bytes(pair[2..].try_into().unwrap()))
    };
    // RFC 9113, section 6.5.2: MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE (65,535 need not be told),
    // MAX_HEADER_LIST_SIZE.
    assert_eq!(value(3), Some(256));
    assert!(value(4).is_none_or(|window| window <= 65_536));
    assert_eq!(value(6), Some(16 * 1024));
}

/// Sends `flood` and returns how the server ended the connection.
async fn goaway(app: &App, flood: &[u8]) -> Option<u32> {
    let stream = http2::connect(&app.url).await;
    let (mut read, mut write) = stream.into_split();
    let sending = async {
        // The server may close before it has taken all.
        let _ = write.write_all(flood).await;
    };
    let hearing = async {
        let mut bytes = Vec::new();
        let _ = read.read_to_end(&mut bytes).await;
        bytes
    };
    let both = async { tokio::join!(sending, hearing, is_served(app)) };
    let ((), heard, ()) = timeout(PATIENCE, both).await.expect("the server closes");
    let mut frames = heard.as_slice();
    while frames.len() >= 9 {
        let length = u32::from_be_bytes([0, frames[0], frames[1], frames[2]]) as usize;
        if frames[3] == http2::GOAWAY {
            return Some(u32::from_be_bytes(frames[13..17].try_into().unwrap()));
        }
        frames = &frames[9 + length..];
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn continuations_without_an_end_close_the_connection() {
    let app = App::start().await;
    // CVE-2024-27316 and its like: header blocks that never end, from empty and from small pieces.
    for piece in [&b""[..], &http2::field("x", "y")] {
        let mut flood = frame(http2::HEADERS, http2::END_STREAM, 1, &http2::call("Ping"));
        for _ in 0..50_000 {
            flood.extend(frame(http2::CONTINUATION, 0, 1, piece));
        }
        let code = goaway(&app, &flood).await;
        assert!(code.is_none_or(|code| code != 0), "{code:?}");
    }
    is_served(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_close_the_connection() {
    let app = App::start().await;
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(http2::HEADERS, http2::END_HEADERS, stream, &http2::call("Ping")));
        flood.extend(frame(http2::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    assert_eq!(goaway(&app, &flood).await, Some(http2::ENHANCE_YOUR_CALM));
    // The mirror: errors of the peer's that make the server reset (windows that overflow, RFC 9113, section 6.9.1).
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(http2::HEADERS, http2::END_HEADERS, stream, &http2::call("Ping")));
        flood.extend(frame(http2::WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
    }
    let code = goaway(&app, &flood).await;
    assert_eq!(code, Some(http2::ENHANCE_YOUR_CALM));
    is_served(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_and_settings_that_nobody_reads_the_answers_of_are_not_piled_up() {
    let app = App::start().await;
    for piece in [frame(http2::PING, 0, 0, &[7; 8]), frame(http2::SETTINGS, 0, 0, &[])] {
        let mut stream = http2::connect(&app.url).await;
        let piece = piece.repeat(10_000);
        // Far more than the sockets' buffers hold: the server stops to read when its answers do not leave.
        let flooding = async {
            for _ in 0..64_000_000 / piece.len() {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
            }
            panic!("everything was taken, so the answers are kept somewhere");
        };
        let both = async {
            tokio::select! {
                () = flooding => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
            is_served(&app).await;
        };
        timeout(PATIENCE, both).await.expect("honest calls are answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_the_bound_are_refused_and_the_rest_goes_on() {
    let app = App::start().await;
    let mut stream = http2::connect(&app.url).await;
    let ids: Vec<u32> = (0..300).map(|n| 2 * n + 1).collect();
    for id in &ids {
        stream
            .write_all(&frame(http2::HEADERS, http2::END_HEADERS, *id, &http2::call("Ping")))
            .await
            .unwrap();
    }
    is_served(&app).await;
    for id in &ids[..256] {
        stream.write_all(&frame(http2::DATA, http2::END_STREAM, *id, b"{}")).await.unwrap();
    }
    let (mut refused, mut answered) = (0, 0);
    while refused + answered < 300 {
        let frame = timeout(PATIENCE, http2::next(&mut stream)).await.expect("it is answered").unwrap();
        match frame.kind {
            http2::RST_STREAM if frame.code() == http2::REFUSED_STREAM => refused += 1,
            http2::HEADERS if frame.payload.contains(&0x88) && frame.stream <= ids[255] => answered += 1,
            http2::GOAWAY => panic!("{frame:?}"),
            _ => {}
        }
    }
    assert_eq!((refused, answered), (44, 256));
}

/// How many answers come on one connection.
fn answers(answer: &Answer) -> usize {
    let all = format!("{}{}", answer.head, String::from_utf8_lossy(&answer.body));
    all.to_lowercase().matches("http/1.1 ").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_two_servers_could_read_in_two_ways_are_refused() {
    let app = App::start().await;
    let smuggled = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = |more: &str, body: &str| head("Ping", more) + body;
    let refused = [
        post("content-length: 2\r\ncontent-length: 3\r\n", "{}"),
        post("content-length: 2, 3\r\n", "{}"),
        post("content-length: +2\r\n", "{}"),
        post("content-length: 0x2\r\n", "{}"),
        post("content-length: -1\r\n", "{}"),
        post("content-length : 2\r\n", "{}"),
        post("transfer-encoding: chunked, identity\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        post("transfer-encoding: identity\r\n", "{}"),
        post("transfer-encoding: xchunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        post("x: y\r\n z\r\ncontent-length: 2\r\n", "{}"),
        post("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"),
        post("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        head("Ping", "content-length: 2\r\n")
            .replace("HTTP/1.1", "HTTP/1.0")
            .replace("content-length: 2", "transfer-encoding: chunked")
            + "2\r\n{}\r\n0\r\n\r\n",
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\n\0: y\r\n\r\n{smuggled}"),
    ];
    for request in refused {
        let answer = timeout(PATIENCE, exchange(&app.url, (request.clone() + smuggled).as_bytes())).await;
        let answer = answer.unwrap_or_else(|_| panic!("the connection stays open: {request}"));
        assert!([0, 400].contains(&answer.status), "{request}: {answer:?}");
        assert!(answers(&answer) <= 1, "what follows is taken for a request: {request}: {answer:?}");
    }
    // Both lengths: the chunks count, and the connection ends there (RFC 9112, section 6.1).
    for more in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let request = post(more, "2\r\n{}\r\n0\r\n\r\n") + smuggled;
        let answer = timeout(PATIENCE, exchange(&app.url, request.as_bytes())).await.expect("it is closed");
        assert_eq!((answer.status, answers(&answer)), (200, 1), "{answer:?}");
    }
    is_served(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_may_be_absolute_and_the_host_must_be_one() {
    let app = App::start().await;
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\n{host}connection: close\r\n\r\n");
    for (target, host, status) in [
        ("/healthz", "host: acquaint.example\r\n", 200),
        ("/healthz", "host: acquaint.example:3200\r\n", 200),
        ("/healthz", "host: [::1]:3200\r\n", 200),
        ("/healthz", "host:\r\n", 200),
        ("http://acquaint.example/healthz", "host: acquaint.example\r\n", 200),
        ("/healthz", "", 400),
        ("/healthz", "host: a\r\nhost: a\r\n", 400),
        ("/healthz", "host: a b\r\n", 400),
        ("/healthz", "host: a/b\r\n", 400),
        ("/healthz", "host: user@a\r\n", 400),
        ("/healthz", "host: a:port\r\n", 400),
        ("/healthz", "host: \u{fc}\r\n", 400),
        ("http://acquaint.example/healthz", "", 400),
    ] {
        let answer = exchange(&app.url, get(target, host).as_bytes()).await;
        assert_eq!(answer.status, status, "{target} {host}");
    }
    let old = exchange(&app.url, b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status, 200, "HTTP/1.0 knows no Host");
    // Whatever the target's form, it is not told back.
    for target in
        ["*", "acquaint.example:443", "//etc/passwd", "/../../etc/passwd", "/rolodex.RolodexService/Ping%2e"]
    {
        let answer = exchange(&app.url, get(target, "host: x\r\n").as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{target}: {answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("passwd"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_half_frees_its_place() {
    let app = hasty(|config| config.http.max_connections = 2).await;
    // As soon as the client has said all, and in the middle of it.
    let whole = head("GetSyncStatus", &format!("content-length: {}\r\n", json(1).len())) + &json(1);
    for request in [whole.as_str(), &whole[..whole.len() - 5], &whole[..60], ""] {
        for _ in 0..4 {
            let mut stream = connect(&app).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let told = heard(&mut stream).await;
            let status = told.split(' ').nth(1).unwrap_or_default();
            assert!(["", "200", "400"].contains(&status), "{told}");
        }
    }
    is_served(&app).await;
}

fn json(person: usize) -> String {
    serde_json::json!({ "actor": did(person) }).to_string()
}
