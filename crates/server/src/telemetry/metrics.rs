//! What is counted, for Prometheus. No label can hold an identifier: every value is a `&'static str` of this program's.
//!
//! The recorder belongs to the process, so several servers in one process (as in tests) count into the same series.
//! Gauges that are asked for when somebody reads are those of the server that is asked.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use acquaint_service::Discovery;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::process;
use crate::config::Config;
use crate::database::PoolState;

/// Upper bounds of the duration histogram's buckets, in seconds. The goal for light calls is 20 ms, an import's
/// deadline 8 s.
const SECONDS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// How often samples are sorted into buckets while nobody reads; until then each takes memory.
pub(crate) const UPKEEP: Duration = Duration::from_secs(5);

const REQUESTS: &str = "acquaint_requests_total";
const DURATION: &str = "acquaint_request_duration_seconds";
const IN_FLIGHT: &str = "acquaint_requests_in_flight";
const CONNECTIONS: &str = "acquaint_connections";
const CONNECTIONS_MAX: &str = "acquaint_connections_max";
const HANDSHAKE_FAILURES: &str = "acquaint_tls_handshake_failures_total";
const CERTIFICATE_EXPIRY: &str = "acquaint_certificate_expiry_timestamp_seconds";
const CERTIFICATE_READS: &str = "acquaint_certificate_reads_total";
const READY: &str = "acquaint_ready";
const WAITING_PAIRS: &str = "acquaint_waiting_pairs";
const QUEUE_WAIT: &str = "acquaint_queue_wait_seconds";
const POOL_THREADS: &str = "acquaint_pool_threads";
const POOL_BUSY: &str = "acquaint_pool_threads_busy";
const POOL_HASHES: &str = "acquaint_pool_hashes_total";
pub(super) const CODES: &str = "acquaint_codes_total";
pub(super) const GUESSES: &str = "acquaint_guesses_total";
pub(super) const IMPORTS: &str = "acquaint_imports_total";
const IMPORTS_FINISHED: &str = "acquaint_imports_finished_total";
pub(super) const STORE_FAILURES: [&str; 2] =
    ["acquaint_store_failures_total", "acquaint_store_consecutive_failures"];
const STORE_CONNECTIONS: &str = "acquaint_store_connections";
const STORE_CONNECTIONS_LENT: &str = "acquaint_store_connections_lent";
const STORE_CONNECTIONS_MAX: &str = "acquaint_store_connections_max";
const STORE_WAITING: &str = "acquaint_store_connections_waiting";
pub(super) const CUSTODY_FAILURES: [&str; 2] =
    ["acquaint_custody_failures_total", "acquaint_custody_consecutive_failures"];
const SESSIONS: &str = "acquaint_sessions_total";
const MEMORY: &str = "acquaint_process_resident_memory_bytes";
const CPU: &str = "acquaint_process_cpu_seconds";
const OPEN_FILES: &str = "acquaint_process_open_fds";
const MAX_FILES: &str = "acquaint_process_max_fds";
const BUILD: &str = "acquaint_build_info";

/// The recorder of this process; `None` if another program part has set one of its own.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
/// One reader at a time, so that each gets the gauges of the server that it asked.
static READING: Mutex<()> = Mutex::new(());

/// Another recorder is there already.
#[derive(Debug, thiserror::Error)]
#[error("this process counts for somebody else already: leave `telemetry.listen` empty")]
pub struct RecorderTaken;

/// Begins to count, and makes every series that the configuration lets be, so that none is absent before its first
/// event.
pub(crate) fn begin(config: &Config) -> Result<(), RecorderTaken> {
    RECORDER
        .get_or_init(|| {
            let buckets = Matcher::Full(DURATION.into());
            let builder = PrometheusBuilder::new().set_buckets_for_metric(buckets, &SECONDS).ok()?;
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            describe();
            Some(handle)
        })
        .as_ref()
        .ok_or(RecorderTaken)?;
    for method in crate::http::METHODS {
        counter!(REQUESTS, "method" => method, "outcome" => "ok").increment(0);
    }
    for name in [HANDSHAKE_FAILURES, IMPORTS_FINISHED, STORE_FAILURES[0], CUSTODY_FAILURES[0]] {
        counter!(name).increment(0);
    }
    let store = [STORE_CONNECTIONS, STORE_CONNECTIONS_LENT, STORE_CONNECTIONS_MAX, STORE_WAITING];
    for name in [IN_FLIGHT, CONNECTIONS, STORE_FAILURES[1], CUSTODY_FAILURES[1]].into_iter().chain(store) {
        gauge!(name).increment(0.0);
    }
    for outcome in ["taken", "refused"] {
        counter!(CERTIFICATE_READS, "outcome" => outcome).increment(0);
    }
    for (name, outcome) in [(CODES, "stored"), (GUESSES, "right"), (IMPORTS, "accepted")] {
        counter!(name, "outcome" => outcome).increment(0);
    }
    counter!(SESSIONS, "outcome" => "refused", "verifier" => "none").increment(0);
    gauge!(CONNECTIONS_MAX).set(config.http.max_connections);
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1);
    Ok(())
}

/// Every series as text, in Prometheus's format, with the gauges of `discovery` as they are now.
pub(crate) async fn read(discovery: &Discovery) -> String {
    let ready = discovery.ready().await.is_ok();
    // A store that does not answer shows in `ready`; what waits is then not known and stays as it was.
    let waiting = discovery.waiting_pairs().await.ok();
    let stats = discovery.pool_stats();
    let _one = READING.lock().unwrap_or_else(PoisonError::into_inner);
    gauge!(READY).set(if ready { 1 } else { 0 });
    if let Some(waiting) = waiting {
        gauge!(WAITING_PAIRS).set(waiting as f64);
        gauge!(QUEUE_WAIT).set(discovery.queue_wait(waiting).as_secs_f64());
    }
    gauge!(POOL_THREADS).set(discovery.pool_threads() as f64);
    gauge!(POOL_BUSY).set(stats.busy as f64);
    counter!(POOL_HASHES).absolute(stats.hashes);
    if let Some(usage) = process::usage() {
        gauge!(MEMORY).set(usage.resident_bytes as f64);
        gauge!(CPU).set(usage.cpu_seconds);
        gauge!(OPEN_FILES).set(usage.open_files as f64);
        gauge!(MAX_FILES).set(usage.max_files as f64);
    }
    RECORDER.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default()
}

/// Connections to PostgreSQL, as they are now.
pub(crate) fn connected(state: PoolState) {
    let PoolState { open, lent, waiting, most } = state;
    for (name, value) in [
        (STORE_CONNECTIONS, open),
        (STORE_CONNECTIONS_LENT, lent),
        (STORE_CONNECTIONS_MAX, most),
        (STORE_WAITING, waiting),
    ] {
        gauge!(name).set(value as f64);
    }
}

/// Keeps the histogram's memory small, for ever.
pub(crate) async fn keep_up() {
    loop {
        tokio::time::sleep(UPKEEP).await;
        if let Some(Some(handle)) = RECORDER.get() {
            handle.run_upkeep();
        }
    }
}

/// A request that runs; ends when dropped, also when the caller hangs up.
pub(crate) struct InFlight;

impl InFlight {
    pub(crate) fn began() -> Self {
        gauge!(IN_FLIGHT).increment(1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(IN_FLIGHT).decrement(1);
    }
}

/// A connection to the main port; ends when dropped.
pub(crate) struct Connection;

impl Connection {
    pub(crate) fn opened() -> Self {
        gauge!(CONNECTIONS).increment(1);
        Self
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        gauge!(CONNECTIONS).decrement(1);
    }
}

pub(crate) fn answered(method: &'static str, outcome: &'static str, time: Duration) {
    counter!(REQUESTS, "method" => method, "outcome" => outcome).increment(1);
    histogram!(DURATION, "method" => method).record(time);
}

pub(crate) fn session(verifier: &'static str, outcome: &'static str) {
    counter!(SESSIONS, "outcome" => outcome, "verifier" => verifier).increment(1);
}

pub(crate) fn handshake_failed() {
    counter!(HANDSHAKE_FAILURES).increment(1);
}

/// `at` in seconds since 1970.
pub(crate) fn certificate_expires(at: i64) {
    gauge!(CERTIFICATE_EXPIRY).set(at as f64);
}

pub(crate) fn certificate_read(taken: bool) {
    counter!(CERTIFICATE_READS, "outcome" => if taken { "taken" } else { "refused" }).increment(1);
}

/// What stands in `# HELP`; docs/operations/monitoring.md says more.
fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by method and outcome (a Connect code, or ok)");
    describe_histogram!(DURATION, "Time from a request's headers to its answer");
    describe_gauge!(IN_FLIGHT, "Requests that run");
    describe_gauge!(CONNECTIONS, "Connections to the main port, TLS handshakes included");
    describe_gauge!(CONNECTIONS_MAX, "Connections that http.max_connections allows");
    describe_counter!(HANDSHAKE_FAILURES, "TLS handshakes that failed or took too long");
    describe_gauge!(CERTIFICATE_EXPIRY, "When the certificate in use expires, in seconds since 1970");
    describe_counter!(CERTIFICATE_READS, "Changed certificate files that were taken, or refused");
    describe_gauge!(READY, "1 if the store and the key holder answer, otherwise 0");
    describe_gauge!(WAITING_PAIRS, "Pairs that wait in accepted imports");
    describe_gauge!(QUEUE_WAIT, "How long the pool needs for what waits, going by its recent speed");
    describe_gauge!(POOL_THREADS, "Threads of the hashing pool");
    describe_gauge!(POOL_BUSY, "Threads of the hashing pool that hash");
    describe_counter!(POOL_HASHES, "Argon2id hashes computed");
    describe_counter!(
        CODES,
        "Requests for a code that reached the store, by outcome or by the limit that refused"
    );
    describe_counter!(GUESSES, "Guesses at codes, by outcome or by the limit that refused");
    describe_counter!(IMPORTS, "Imports asked for with a token, by outcome or by the limit that refused");
    describe_counter!(IMPORTS_FINISHED, "Imports worked through to the end");
    describe_counter!(STORE_FAILURES[0], "Calls of the store that failed");
    describe_gauge!(STORE_FAILURES[1], "Calls of the store that failed since the last that did not");
    describe_gauge!(STORE_CONNECTIONS, "Connections to PostgreSQL; 0 with the embedded store");
    describe_gauge!(STORE_CONNECTIONS_LENT, "Connections to PostgreSQL that a verb uses");
    describe_gauge!(STORE_CONNECTIONS_MAX, "Connections to PostgreSQL that store.pool_size allows");
    describe_gauge!(STORE_WAITING, "Verbs that wait for a connection to PostgreSQL");
    describe_counter!(CUSTODY_FAILURES[0], "Calls of the key holder that failed");
    describe_gauge!(CUSTODY_FAILURES[1], "Calls of the key holder that failed since the last that did not");
    // Counted where it happens: `crates/server/src/delivery/mod.rs`, `crates/service/src/{notices,observe}.rs`.
    describe_counter!("acquaint_deliveries_total", "Providers asked to send a code, by provider and outcome");
    describe_gauge!(
        "acquaint_delivery_consecutive_failures",
        "Failures of a provider since it last sent a code"
    );
    describe_gauge!(
        "acquaint_code_budget_used_ratio",
        "Share of the day's budget for codes that is used, 0 to 1"
    );
    describe_gauge!(
        "acquaint_custody_budget_used_ratio",
        "Share of the day's budget of a key that is used, 0 to 1, by purpose"
    );
    describe_counter!(
        "acquaint_custody_refusals_total",
        "Operations that a key's budget refused, by purpose and budget"
    );
    describe_gauge!(
        "acquaint_custody_unaccounted_operations",
        "Operations that the HSM counted beyond those that the budget let through, by purpose"
    );
    describe_gauge!("acquaint_pair_epochs", "Epochs of pair keys that this server hashes for");
    describe_gauge!(
        "acquaint_pair_epochs_missing",
        "Epochs that the data needs and that this server has no key for"
    );
    describe_counter!("acquaint_notifications_total", "Attempts to tell of a match, by outcome");
    describe_gauge!("acquaint_notifications_waiting", "Notifications that wait for their next attempt");
    describe_gauge!("acquaint_notifications_dead", "Notifications that were given up");
    describe_counter!(SESSIONS, "Tokens and API keys presented to the public API, by verifier and outcome");
    describe_counter!(
        "acquaint_credentials_total",
        "Credentials asked for, by outcome or by the limit that refused"
    );
    describe_counter!("acquaint_credentials_checked_total", "Credentials presented, by outcome");
    describe_counter!(
        "acquaint_lookups_charged_total",
        "Lookups charged, by outcome or by the limit that refused"
    );
    describe_gauge!("acquaint_directory_listings", "Listings in the newest index of the directory");
    describe_gauge!("acquaint_directory_index_bytes", "Memory of the directory's indexes");
    describe_gauge!("acquaint_directory_age_seconds", "Since the directory's changes were last seen");
    describe_counter!("acquaint_oprf_evaluations_total", "Blinded identifiers evaluated");
    describe_counter!("acquaint_bucket_answers_total", "Buckets answered");
    describe_counter!("acquaint_identifiers_unsealed_total", "Identifiers opened in bulk, by outcome");
    describe_gauge!("acquaint_private_records", "Records in the shards of private lookup");
    describe_gauge!("acquaint_private_shard_bytes", "Memory of the shards of private lookup");
    describe_gauge!("acquaint_private_keys_bytes", "Memory of evaluation keys");
    describe_counter!("acquaint_private_queries_total", "Queries of private lookup, by mode");
    describe_counter!("acquaint_private_passes_total", "Passes over tables of private lookup");
    describe_counter!("acquaint_mappings_loaded_total", "Mappings that an operator loaded, by outcome");
    describe_counter!("acquaint_calls_refused_total", "Calls of people refused for their number, by limit");
    describe_counter!("acquaint_events_total", "Events noted in the audit log, by kind");
    describe_gauge!("acquaint_events_waiting", "Events that the webhook is still to be told of");
    describe_counter!("acquaint_events_lost_total", "Events that could not be noted");
    describe_counter!(
        "acquaint_event_deliveries_total",
        "Attempts to tell the webhook of an event, by outcome"
    );
    describe_gauge!("acquaint_stream_reading", "1 on the server that reads the network's stream");
    describe_gauge!("acquaint_stream_lag_seconds", "How far the stream's last step was behind");
    describe_counter!("acquaint_stream_messages_total", "Messages of the network's stream, by outcome");
    describe_counter!("acquaint_stream_disconnects_total", "Connections of the network's stream that ended");
    describe_counter!("acquaint_departures_total", "Accounts that the stream said are gone, by outcome");
    describe_gauge!(MEMORY, "Resident memory of the process");
    describe_gauge!(CPU, "CPU time that the process has used");
    describe_gauge!(OPEN_FILES, "Open file descriptors");
    describe_gauge!(MAX_FILES, "File descriptors that the system allows");
    describe_gauge!(BUILD, "Always 1; the label says which version runs");
}
