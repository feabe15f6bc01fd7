//! Metrics, logs and traces of the whole application, and that none of them has an identifier in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use acquaint_client::Settings;
use acquaint_client::discovery::private::Directory;
use acquaint_client::discovery::{Book, Caller, Profile, Trust};
use acquaint_protocol::identifier::{AccountFormat, AccountId, Identifier, Sii};
use acquaint_protocol::lookup::Mode;
use acquaint_server::config::{Log, Telemetry};
use acquaint_server::telemetry;
use acquaint_service::Bill;
use acquaint_testkit::network::Network;
use acquaint_testkit::provider::{Provider, Reply};
use acquaint_testkit::{API_KEY, App, BACK_END_KEY, back_end, did, holds, number};
use axum::body::Bytes;
use axum::extract::State;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::raw::{exchange, json};
use crate::reason;

/// How many people the story has: their numbers, and those of the contacts that nobody has.
const PEOPLE: usize = 4;

/// Verifies, imports, matches, dismisses, removes, and is refused in the usual ways.
async fn story(app: &App) {
    let book: Vec<String> = (0..PEOPLE).map(number).chain((50..60).map(number)).collect();
    let book: Vec<&str> = book.iter().map(String::as_str).collect();
    for person in 0..PEOPLE {
        app.import(&did(person), &number(person), &book).await;
    }
    assert_eq!(app.matches(&did(0)).await.len(), PEOPLE - 1);
    app.client.dismiss(&did(0), &did(1)).await.unwrap();
    app.client.remove_data(&did(2)).await.unwrap();
    app.client.ping().await.unwrap();
    assert_eq!(reason(app.client.verify(&did(0), &number(0), "000000").await), "INVALID_CODE");
    assert_eq!(reason(app.client.import(&did(0), &number(7), vec![number(1)]).await), "INVALID_TOKEN");
    assert_eq!(reason(app.client.start_verification("+12125550103", &number(0)).await), "INVALID_DID");
    let unknown = format!(
        "POST /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\nauthorization: Bearer {API_KEY}\r\n\r\n",
        number(0)
    );
    assert_eq!(exchange(&app.url, unknown.as_bytes()).await.status, 404);
    let no_key = "POST /rolodex.RolodexService/Ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(exchange(&app.url, no_key.as_bytes()).await.status, 401);
}

/// No digits of a number, with or without its country, and no account's name.
fn names_nobody(what: &str, bytes: &[u8]) {
    for n in (0..PEOPLE).chain(50..60) {
        let (number, did) = (number(n), did(n));
        for part in [&number[1..], &number[2..], &did["did:plc:".len()..]] {
            assert!(!holds(bytes, part.as_bytes()), "{what} tells {part}");
        }
    }
}

async fn scrape(app: &App) -> String {
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(&format!("http://{}", app.operator.unwrap()), request).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    assert!(answer.head.contains("content-length:"), "{}", answer.head);
    String::from_utf8(answer.body).unwrap()
}

/// A metric's type and labels.
type Shape = (String, BTreeSet<String>);

/// Every metric of an exposition.
fn exported(text: &str) -> BTreeMap<String, Shape> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') && !line.is_empty() {
            let name = line.split(['{', ' ']).next().unwrap();
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let name = of_histogram.filter(|name| found.contains_key(*name)).unwrap_or(name);
            let labels = line
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'))
                .map_or("", |(labels, _)| labels);
            let labels =
                labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
            found.get_mut(name).unwrap().1.extend(labels.filter(|name| name != "le"));
        }
    }
    found
}

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The table of docs/operations/monitoring.md.
fn documented() -> BTreeMap<String, Shape> {
    let text = repository("docs/operations/monitoring.md");
    let rows = text.lines().filter(|line| line.starts_with("| `acquaint_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let shape = (cells[2].to_owned(), labels.filter(|label| !label.is_empty()).collect());
        (cells[1].trim_matches('`').to_owned(), shape)
    })
    .collect()
}

/// Credentials issued and checked, and a lookup charged.
async fn credentials_and_lookups(app: &App) {
    let issued = app.as_account(&did(1), "GET", "/v1/contact-discovery/credentials", "").await;
    assert_eq!(issued.status, 200);
    let key = format!("authorization: Bearer {BACK_END_KEY}\r\n");
    let body = issued.json().to_string();
    assert_eq!(app.ask("POST", "/v1/credentials/verify", &key, &body).await.status, 200);
    let account = AccountId::parse(&did(1), AccountFormat::Did).unwrap();
    let caller = acquaint_service::Caller { account, provider: "tests".into(), address: None };
    let seeker = app.discovery().seeker(&caller).await.unwrap();
    let bill = Bill { identifiers: 1, queries: 1, request: None };
    app.discovery().charge_lookup(&seeker, bill).await.unwrap();
    while app.discovery().count_call(&caller).is_ok() {}
}

/// An account listed, looked up, and placed under a new key.
async fn directory(app: &App) {
    let number = number(3);
    let call = async |method: &str, path: &str, body: serde_json::Value| {
        let answer = app.as_account(&did(3), method, path, &body.to_string()).await;
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        answer
    };
    call("POST", "/v1/directory/verifications", serde_json::json!({ "identifier": number })).await;
    let guess = serde_json::json!({ "identifier": number, "code": app.code(&number) });
    let confirmed = call("POST", "/v1/directory/verifications/confirm", guess).await;
    let listing = serde_json::json!({ "token": confirmed.text("token") });
    call("POST", "/v1/directory/listings", listing).await;
    // RFC 9496's generator.
    let element = "4vKuCmq8TnGohKlhxQBRX1jjC2qlgt2NtqZZReCNLXY";
    call("POST", "/v1/directory/oprf", serde_json::json!({ "epoch": 1, "elements": [element] })).await;
    let told = app.ask("GET", "/v1/directory/parameters", "", "").await.json();
    let buckets = serde_json::json!({ "epoch": 1, "layout": told["layout"], "prefixes": [0] });
    call("POST", "/v1/directory/buckets", buckets).await;
    app.discovery().rotate_directory("sealed-buckets").await.unwrap();
}

/// A mapping loaded, and looked up privately.
async fn private_lookup(app: &App) {
    let body =
        serde_json::json!({ "mappings": [{ "identifier": number(4), "account": did(4) }] }).to_string();
    let key = format!("authorization: Bearer {API_KEY}\r\n");
    let loaded = app.ask("POST", "/operator/directory/mappings", &key, &body).await;
    assert_eq!(loaded.status, 200, "{loaded:?}");
    let settings = Settings { api_key: BACK_END_KEY.into(), ..Settings::default() };
    let mut directory = Directory::new(&app.url, settings, Caller::BackEnd(did(5)), Mode::Psm).unwrap();
    let sii = Sii::from(&Identifier::parse(&number(4), None).unwrap());
    let mut book = Book::new(Profile::Psm);
    let now = u64::try_from(app.discovery().now() / 1000).unwrap();
    let people = [sii.clone()];
    directory.refresh(&mut book, &people, &Trust::default(), now, |_| {}).await.unwrap();
    assert_eq!(book.found(&sii), Some(did(4).as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let receiver = Provider::start([Reply::Json(200, "{}".into())]).await;
    let network = Network::start().await;
    let app = App::start_with(|config| {
        config.telemetry.listen = "127.0.0.1:0".into();
        config.budget.pair_per_second = 1_000_000;
        back_end(config);
        config.credentials.audiences = vec!["discovery:1".into()];
        config.directory.provider = "contacts.example".into();
        config.private_lookup.psm = true;
        config.audit.webhook_url = receiver.url.clone();
        config.audit.webhook_secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into();
        config.network.jetstream_url = network.jetstream.clone();
        config.atproto.plc_url = network.url.clone();
        config.notifications.to = "webhook".into();
        config.notifications.webhook_url = receiver.url.clone();
        config.notifications.webhook_secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into();
    })
    .await;
    // A certificate is measured with TLS only; and what is measured is kept from the first server with metrics on.
    let (_files, tls) = crate::tls::certificate();
    let (_folder, encrypted) = crate::tls::serve(|config| config.tls = tls).await;
    story(&app).await;
    credentials_and_lookups(&app).await;
    directory(&app).await;
    private_lookup(&app).await;
    while network.subscriptions().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    network.gone(1, &did(1), "deleted");
    // Told by a worker, some moments later.
    let late = [
        "acquaint_notifications_total{",
        "acquaint_code_budget_used_ratio{",
        "acquaint_event_deliveries_total{",
        "acquaint_departures_total{",
        "acquaint_stream_lag_seconds ",
        "acquaint_identifiers_unsealed_total{",
        "acquaint_private_records ",
    ];
    let mut text = scrape(&app).await;
    for _ in 0..600 {
        if late.iter().all(|metric| text.contains(metric)) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        text = scrape(&app).await;
    }
    let (found, table) = (exported(&text), documented());
    for (name, shape) in &table {
        // Needs an HSM that counts.
        if name == "acquaint_custody_unaccounted_operations" {
            continue;
        }
        let there = found.get(name).unwrap_or_else(|| panic!("{name} is documented and not there:\n{text}"));
        assert_eq!(there, shape, "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    let unknown: Vec<_> = found.keys().filter(|name| !table.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "not documented: {unknown:?}");
    names_nobody("the metrics", text.as_bytes());
    drop(encrypted);
}

/// The sum of the series of `text` that begin with `series`.
fn value(text: &str, series: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(series));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let app = App::start_with(|config| config.telemetry.listen = "127.0.0.1:0".into()).await;
    let before = scrape(&app).await;
    story(&app).await;
    let mut after = scrape(&app).await;
    // The worker counts an import a moment after its last pair.
    let finished = "acquaint_imports_finished_total";
    for _ in 0..1200 {
        if value(&after, finished) - value(&before, finished) >= PEOPLE as f64 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        after = scrape(&app).await;
    }
    // Other tests of this process count into the same series: at least so much more.
    for (series, more) in [
        ("acquaint_requests_total{method=\"ImportContacts\",outcome=\"ok\"}", PEOPLE),
        ("acquaint_requests_total{method=\"ImportContacts\",outcome=\"invalid_argument\"}", 1),
        ("acquaint_requests_total{method=\"unknown\",outcome=\"unimplemented\"}", 1),
        ("acquaint_requests_total{method=\"Ping\",outcome=\"unauthenticated\"}", 1),
        ("acquaint_request_duration_seconds_count{method=\"VerifyPhone\"}", PEOPLE + 1),
        ("acquaint_codes_total{outcome=\"stored\"}", PEOPLE),
        ("acquaint_guesses_total{outcome=\"right\"}", PEOPLE),
        ("acquaint_imports_total{outcome=\"accepted\"}", PEOPLE),
        (finished, PEOPLE),
    ] {
        let counted = value(&after, series) - value(&before, series);
        assert!(counted >= more as f64, "{series}: {counted}");
    }
    // The largest of this process's servers'.
    assert!(value(&after, "acquaint_pool_hashes_total") > 0.0);
    assert_eq!(value(&after, "acquaint_ready "), 1.0);
    assert_eq!(value(&after, "acquaint_waiting_pairs "), 0.0);
    assert!(value(&after, "acquaint_process_resident_memory_bytes ") > 1e6);
    assert!(value(&after, "acquaint_process_open_fds ") > 3.0);
    // It may have been idle for long meanwhile, and servers of other tests that start set the same gauge to nothing.
    let mut stands = false;
    for _ in 0..100 {
        app.client.sync_status(&did(0)).await.unwrap();
        stands |= value(&scrape(&app).await, "acquaint_connections ") >= 1.0;
    }
    assert!(stands, "the client's connection stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_a_limit_is_counted_by_its_name() {
    let app = App::start_with(|config| {
        config.telemetry.listen = "127.0.0.1:0".into();
        config.verification.number_codes_per_day = 1;
    })
    .await;
    let series = "acquaint_codes_total{outcome=\"number_codes\"}";
    let before = value(&scrape(&app).await, series);
    app.client.start_verification(&did(1), &number(1)).await.unwrap();
    assert_eq!(reason(app.client.start_verification(&did(1), &number(1)).await), "RATE_LIMIT_EXCEEDED");
    // Other tests of this process count into the same series.
    assert!(value(&scrape(&app).await, series) >= before + 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_port_answers_health_and_nothing_of_the_rpc() {
    let app = App::start_with(|config| config.telemetry.listen = "127.0.0.1:0".into()).await;
    let operator = format!("http://{}", app.operator.unwrap());
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    for (url, path, status) in [
        (&operator, "/healthz", 200),
        (&operator, "/readyz", 200),
        (&operator, "/", 404),
        (&app.url, "/healthz", 200),
        // Without a key, the main port tells nothing but that.
        (&app.url, "/metrics", 401),
    ] {
        assert_eq!(exchange(url, get(path).as_bytes()).await.status, status, "{url}{path}");
    }
    assert_eq!(json(&operator, "Ping", &serde_json::json!({})).await.status, 404);
}

#[test]
fn every_metric_of_an_alert_is_documented() {
    let text = repository("deploy/prometheus/alerts.yml");
    let rules: serde_norway::Value = serde_norway::from_str(&text).unwrap();
    let table = documented();
    let described = repository("docs/operations/monitoring.md");
    let mut alerts = 0;
    for rule in rules["groups"][0]["rules"].as_sequence().unwrap() {
        let (alert, expression) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        let words =
            expression.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        let metrics: Vec<&str> = words.filter(|word| word.starts_with("acquaint_")).collect();
        assert!(!metrics.is_empty() || alert == "AcquaintDown", "{alert} is about nothing");
        for metric in metrics {
            assert!(table.contains_key(metric), "{alert}: {metric} is not documented");
        }
        assert!(
            rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(),
            "{alert}"
        );
        assert!(described.contains(&format!("| `{alert}` |")), "{alert} is not described");
        alerts += 1;
    }
    assert_eq!(alerts, described.matches("| `Acquaint").count(), "an alert is described and not there");
}

/// A log that can be read.
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

impl Lines {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

/// An OpenTelemetry collector: takes traces over HTTP and keeps what was sent.
async fn collector() -> (String, Arc<Mutex<Vec<Bytes>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let take = async |State(kept): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes| {
        kept.lock().unwrap().push(body);
    };
    let router =
        axum::Router::new().route("/v1/traces", axum::routing::post(take)).with_state(Arc::clone(&kept));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum_serve(listener, router).await });
    (url, kept)
}

/// axum's own server is a feature that the product does not need.
async fn axum_serve(listener: tokio::net::TcpListener, router: axum::Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let io = hyper_util::rt::TokioIo::new(stream);
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

fn spans(sent: &[Bytes]) -> Vec<Span> {
    let requests = sent.iter().map(|bytes| ExportTraceServiceRequest::decode(bytes.clone()).unwrap());
    let resources = requests.flat_map(|request| request.resource_spans);
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

// On one thread, so that what this test begins is told to this test alone.
#[tokio::test(flavor = "current_thread")]
async fn logs_and_traces_tell_of_requests_and_of_nobody() {
    let (url, sent) = collector().await;
    let log = Log { level: "debug".into(), format: "json".into() };
    let lines = Lines::default();
    let writer = lines.clone();
    let wanted = Telemetry { otlp_url: url, ..Telemetry::default() };
    let (subscriber, sending) = telemetry::subscriber(&log, &wanted, move || writer.clone()).unwrap();
    let until_here = tracing::subscriber::set_default(subscriber);
    let app = App::start().await;
    story(&app).await;
    let mut traced = format!(
        "POST /rolodex.RolodexService/GetSyncStatus HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
         tracestate: phone={}\r\nbaggage: actor={}\r\n",
        &number(0)[1..],
        did(0),
    );
    let body = serde_json::json!({ "actor": did(0) }).to_string();
    traced += &format!("content-length: {}\r\n\r\n{body}", body.len());
    let answer = exchange(&app.url, traced.as_bytes()).await;
    assert_eq!(answer.status, 200);
    let unsampled = traced.replace("4bf92f3577b34da6a3ce929d0e0e4736", "11112222333344445555666677778888");
    exchange(&app.url, unsampled.replace("902b7-01", "902b7-00").as_bytes()).await;
    app.stop().await;
    drop(until_here);
    sending.stop().await;

    let sent = sent.lock().unwrap().clone();
    let spans = spans(&sent);
    let of = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let imports = of("ImportContacts");
    assert_eq!(imports.len(), PEOPLE + 1);
    let outcomes: BTreeSet<_> =
        imports.iter().map(|span| attribute(span, "rpc.response.status_code").unwrap()).collect();
    assert_eq!(outcomes, ["invalid_argument", "ok"].map(str::to_owned).into());
    assert_eq!(of("unknown").len(), 1);
    // A store's call stands below its request.
    let accepted = of("store accept_import");
    assert!(imports.iter().any(|import| import.span_id == accepted[0].parent_span_id));
    assert!(!of("store match_or_insert").is_empty());
    assert_eq!(of("deliver a code").len(), PEOPLE);
    // The caller's trace goes on, and a trace that is not wanted is not sent.
    let parent = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];
    let status = of("GetSyncStatus");
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].parent_span_id, parent);
    assert_eq!(status[0].trace_id[..4], [0x4b, 0xf9, 0x2f, 0x35]);
    assert_eq!(status[0].trace_state, "");
    let id = attribute(status[0], "request.id").unwrap();
    assert!(answer.head.contains(&format!("x-request-id: {id}")));
    let allowed = [
        "rpc.system.name",
        "rpc.method",
        "rpc.response.status_code",
        "http.response.status_code",
        "request.id",
    ];
    for span in &spans {
        assert!(
            span.attributes.iter().all(|attribute| allowed.contains(&attribute.key.as_str())),
            "{span:?}"
        );
        assert!(span.events.is_empty() && span.links.is_empty(), "{span:?}");
        assert!(span.status.as_ref().is_none_or(|status| status.message.is_empty()), "{span:?}");
    }
    for bytes in &sent {
        names_nobody("a trace", bytes);
    }

    let log = lines.bytes();
    names_nobody("the log", &log);
    let lines: Vec<serde_json::Value> =
        String::from_utf8(log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered: Vec<_> = lines.iter().filter(|line| line["message"] == "answered").collect();
    let line = answered.iter().find(|line| line["span"]["id"] == id.as_str()).unwrap();
    assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"ok".into()));
    assert_eq!(line["span"]["method"], "GetSyncStatus");
    assert!(line["millis"].is_u64() && line["timestamp"].is_string());
    assert_eq!(answered.iter().filter(|line| line["span"]["method"] == "ImportContacts").count(), PEOPLE + 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_collector_that_does_not_answer_delays_no_request_and_no_stop() {
    // Takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wanted =
        Telemetry { otlp_url: format!("http://{}", silent.local_addr().unwrap()), ..Telemetry::default() };
    let (subscriber, sending) = telemetry::subscriber(&Log::default(), &wanted, std::io::sink).unwrap();
    let until_here = tracing::subscriber::set_default(subscriber);
    let app = App::start().await;
    // More spans than the queue holds.
    for _ in 0..3000 {
        app.client.sync_status(&did(1)).await.unwrap();
    }
    app.stop().await;
    drop(until_here);
    let stopping = tokio::time::timeout(std::time::Duration::from_secs(60), sending.stop());
    stopping.await.expect("the end is bounded");
    drop(silent);
}
