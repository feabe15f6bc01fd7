//! `acquaint doctor` against set-ups that are broken, each in its own way, and one that is not.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use acquaint_testkit::provider::{Provider, Reply, nobody};
use rusqlite::Connection;

use crate::disk::SmallDisk;
use crate::support::{Server, Told, program, run};

/// A secret as the specification of Standard Webhooks has it, of 24 bytes.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";

type Variables<'a> = &'a [(&'a str, &'a str)];

fn doctor(server: &Server, variables: Variables<'_>) -> Told {
    let mut command = program();
    command.arg("doctor").arg("--config").arg(server.config());
    run(command.env("ACQUAINT_LISTEN", "127.0.0.1:0").envs(variables.iter().copied()))
}

/// The line about `what` is `verdict`, and has all of `words`; nothing else is wrong.
fn says(told: &Told, verdict: &str, what: &str, words: &[&str]) {
    let line = told.out.lines().find(|line| line.starts_with(&format!("{verdict:8}{what}: ")));
    let line = line.unwrap_or_else(|| panic!("no {verdict} {what}: {told:?}"));
    for word in words {
        assert!(line.contains(word), "no {word:?} in {line:?}");
    }
    let wrong = told.out.lines().filter(|line| line.starts_with("WRONG")).count();
    assert_eq!(wrong, usize::from(verdict == "WRONG"), "{told:?}");
    assert_eq!(told.code, Some(i32::from(wrong > 0)), "{told:?}");
    if verdict != "ok" {
        assert!(line.contains("To do: "), "no advice in {line:?}");
    }
}

/// A folder that a server has been on.
fn used() -> Server {
    let mut server = Server::new();
    server.start();
    assert_eq!(server.stop().code(), Some(0));
    server
}

fn database(server: &Server) -> Connection {
    Connection::open(server.data().join("acquaint.db")).unwrap()
}

fn private(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_healthy_set_up_is_told_so() {
    let mut server = Server::new();
    let told = doctor(&server, &[]);
    says(&told, "ok", "database", &["none yet"]);
    assert!(!server.data().exists(), "the doctor made something");

    server.start();
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let told = doctor(&server, &[("ACQUAINT_LISTEN", &address)]);
    for (what, word) in [
        ("configuration", "acquaint.toml"),
        ("key file", "is the one that the data was made with"),
        ("database", "is whole"),
        ("data folder", "is private"),
        ("process", "process "),
        ("port", "our server answers at"),
        ("clock", "not behind the database"),
        ("TLS", "only this machine can connect"),
        ("disk", "free"),
        ("memory", "hashing thread"),
    ] {
        says(&told, "ok", what, &[word]);
    }
    says(&told, "warning", "delivery", &["outbox.txt", "not sent", "delivery.sms"]);
    assert!(!told.out.contains(&server.api_key()));
    // Not on every file system can the kernel tell which one it is.
    if let Some(pid) = told.out.lines().find_map(|line| line.strip_prefix("ok      process: process ")) {
        let pid: u32 = pid.split(' ').next().unwrap().parse().unwrap();
        assert!(std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().starts_with("acquaint"));
    }

    assert_eq!(server.stop().code(), Some(0));
    let before: Vec<_> = crate::support::files(&server.home()).into_iter().map(|file| file.path).collect();
    let json = run(program()
        .args(["doctor", "--json", "--config"])
        .arg(server.config())
        .env("ACQUAINT_LISTEN", "127.0.0.1:0"));
    let report: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &report["ok"]), (Some(0), &true.into()));
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() >= 12);
    for check in checks {
        let advised = check["advice"].is_string();
        assert_eq!(advised, check["verdict"] != "ok", "{check}");
    }
    let after: Vec<_> = crate::support::files(&server.home()).into_iter().map(|file| file.path).collect();
    assert_eq!(after, before, "the doctor left something behind");
}

#[test]
fn configurations_that_cannot_be_read() {
    let server = Server::new();
    let told = run(program().args(["doctor", "--config", "/nowhere/acquaint.toml"]));
    says(&told, "WRONG", "configuration", &["/nowhere/acquaint.toml", "acquaint init"]);
    says(
        &doctor(&server, &[("ACQUAINT_LISTN", "x")]),
        "WRONG",
        "configuration",
        &["ACQUAINT_LISTN", "ACQUAINT_LISTEN"],
    );
    private(&server.config(), 0o644);
    says(&doctor(&server, &[]), "warning", "configuration", &["API key", "chmod 600"]);
}

#[test]
fn key_files_that_do_not_fit() {
    let server = used();
    let keys = server.home().join("keys.json");
    private(&keys, 0o644);
    says(&doctor(&server, &[]), "WRONG", "key file", &["mode 0644", "chmod 600"]);
    private(&keys, 0o600);
    let own = std::fs::read(&keys).unwrap();
    std::fs::remove_file(&keys).unwrap();
    says(&doctor(&server, &[]), "WRONG", "key file", &["is missing", "put it back"]);
    let other = Server::new();
    std::fs::copy(other.home().join("keys.json"), &keys).unwrap();
    says(&doctor(&server, &[]), "WRONG", "key file", &["not the one that the stored data was made with"]);
    std::fs::write(&keys, "{}").unwrap();
    says(&doctor(&server, &[]), "WRONG", "key file", &["is not a key file"]);
    std::fs::write(&keys, own).unwrap();
    says(
        &doctor(&server, &[("ACQUAINT_KEYS__SUITE", "hard")]),
        "WRONG",
        "key file",
        &["keys.suite", "set it back"],
    );
    says(&doctor(&server, &[]), "ok", "key file", &[]);
}

#[test]
fn databases_that_cannot_be_used() {
    let server = used();
    let file = server.data().join("acquaint.db");
    let whole = std::fs::read(&file).unwrap();
    let mut torn = whole.clone();
    let last = torn.len() - 3 * 4096;
    torn[last..].fill(0xa5);
    std::fs::write(&file, torn).unwrap();
    says(&doctor(&server, &[]), "WRONG", "database", &["damaged", "acquaint store restore"]);
    std::fs::write(&file, b"no database".repeat(500)).unwrap();
    says(&doctor(&server, &[]), "WRONG", "database", &["damaged", "acquaint store restore"]);
    std::fs::write(&file, &whole).unwrap();
    database(&server).pragma_update(None, "user_version", 999).unwrap();
    says(&doctor(&server, &[]), "WRONG", "database", &["schema version 999", "newer program"]);
    std::fs::write(&file, &whole).unwrap();
    database(&server).pragma_update(None, "application_id", 5).unwrap();
    says(&doctor(&server, &[]), "WRONG", "database", &["another program"]);
    std::fs::write(&file, &whole).unwrap();
    private(&server.data(), 0o755);
    says(&doctor(&server, &[]), "warning", "data folder", &["chmod 700"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_a_port_of_others() {
    let mut server = Server::new();
    server.start();
    // A server has the folder, and does not answer where the configuration says.
    // At an address of its own: the ports of 127.0.0.1 that are free now are taken by other tests.
    let free = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap().to_string();
    let told = doctor(&server, &[("ACQUAINT_LISTEN", &free)]);
    says(&told, "WRONG", "process", &["uses the data folder", &free, "only one server"]);
    // It answers, and knows another key.
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let key = ("ACQUAINT_AUTH__API_KEY", "another-key-of-enough-characters");
    let told = doctor(&server, &[("ACQUAINT_LISTEN", &address), key]);
    says(&told, "WRONG", "port", &["another API key"]);
    // One that has this port, but another folder.
    let other = used();
    let own_key = server.api_key();
    let told = doctor(&other, &[("ACQUAINT_LISTEN", &address), ("ACQUAINT_AUTH__API_KEY", &own_key)]);
    says(&told, "WRONG", "port", &["does not use this data folder"]);
    // Another program.
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    std::thread::spawn(move || stranger.incoming().for_each(drop));
    let told = doctor(&other, &[("ACQUAINT_LISTEN", &address)]);
    says(&told, "WRONG", "port", &["another program has", &address]);
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    let provider = Provider::start([Reply::Json(200, "{}".into())]).await;
    let outside = [
        ("ACQUAINT_LISTEN", "192.0.2.1:3200"),
        ("ACQUAINT_DELIVERY__SMS", "webhook"),
        ("ACQUAINT_WEBHOOK__URL", &provider.url),
        ("ACQUAINT_WEBHOOK__SECRET", SECRET),
        ("ACQUAINT_KEYS__SUITE", "standard"),
        ("ACQUAINT_KEYS__FILE", "none-yet.json"),
        ("ACQUAINT_DATA_DIR", "none-yet"),
    ];
    let told = doctor(&other, &outside);
    says(&told, "WRONG", "port", &["192.0.2.1:3200", "an address of this machine"]);
}

#[test]
fn a_clock_that_is_behind_the_data() {
    let server = used();
    let ahead = "strftime('%s', 'now') * 1000 + 5 * 3600 * 1000";
    database(&server)
        .execute_batch(&format!("INSERT INTO limits VALUES (1, randomblob(16), 1, {ahead}, {ahead} + 1)"))
        .unwrap();
    says(&doctor(&server, &[]), "WRONG", "clock", &["4 h behind", "set the clock"]);
}

#[test]
fn a_clock_that_differs_from_a_provider() {
    let server = used();
    let provider = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/codes?secret=1", provider.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in provider.incoming() {
            let mut connection = connection.unwrap();
            let _ = std::io::Read::read(&mut connection, &mut [0; 4096]);
            let answer = "HTTP/1.1 405 No\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = std::io::Write::write_all(&mut connection, answer.as_bytes());
        }
    });
    let to = [("ACQUAINT_NOTIFICATIONS__TO", "webhook"), ("ACQUAINT_NOTIFICATIONS__WEBHOOK_SECRET", SECRET)];
    let told = doctor(&server, &[to[0], to[1], ("ACQUAINT_NOTIFICATIONS__WEBHOOK_URL", &url)]);
    says(&told, "warning", "clock", &["days away from that of 127.0.0.1", "set the clock"]);
    says(&told, "ok", "notifications", &["127.0.0.1", "can be connected to"]);
    assert!(!told.out.contains("secret=1"), "{told:?}");
    let nobody = ("ACQUAINT_NOTIFICATIONS__WEBHOOK_URL", "http://127.0.0.1:9/?secret=1");
    let told = doctor(&server, &[to[0], to[1], nobody]);
    assert!(
        told.out.contains("clock: not behind the database; 127.0.0.1:9 did not tell its time"),
        "{told:?}"
    );
    let words = ["127.0.0.1:9 cannot be connected to", "refused", "notifications.webhook_url", "wait"];
    says(&told, "WRONG", "notifications", &words);
    assert!(!told.out.contains("secret=1"), "{told:?}");
    says(&doctor(&server, &[]), "ok", "notifications", &["off"]);
}

#[test]
fn an_outbox_that_cannot_be_written() {
    let server = used();
    let told = doctor(&server, &[("ACQUAINT_DELIVERY__OUTBOX_FILE", "absent/outbox.txt")]);
    says(&told, "WRONG", "delivery", &["absent/outbox.txt", "delivery.outbox_file"]);
    std::fs::create_dir(server.home().join("folder")).unwrap();
    let told = doctor(&server, &[("ACQUAINT_DELIVERY__OUTBOX_FILE", "folder")]);
    says(&told, "WRONG", "delivery", &["folder", "cannot be written"]);
    assert!(!server.home().join("outbox.txt").exists(), "the doctor wrote codes");
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_that_take_codes_and_that_do_not() {
    let server = used();
    let at = |url: &str| {
        let url = format!("{url}/codes?key=4711");
        let webhook = [
            ("ACQUAINT_DELIVERY__SMS", "webhook"),
            ("ACQUAINT_WEBHOOK__URL", &url),
            ("ACQUAINT_WEBHOOK__SECRET", SECRET),
        ];
        let told = doctor(&server, &webhook);
        assert!(!told.out.contains("4711") && !told.out.contains(SECRET), "{told:?}");
        assert!(!told.out.contains("outbox"), "{told:?}");
        told
    };
    let healthy = Provider::start([Reply::Json(200, "{}".into())]).await;
    says(&at(&healthy.url), "ok", "delivery", &["webhook: it takes what we sign"]);
    let asked = healthy.requests();
    let asked: Vec<_> = asked.iter().filter(|request| request.method == "POST").collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].path.as_str(), asked[0].body.as_slice()),
        ("/codes?key=4711", &br#"{"type":"ping"}"#[..])
    );

    let refusing = Provider::start([Reply::Json(401, "{}".into())]).await;
    let words = ["webhook: it refuses the credentials", "section `webhook`", "sms-and-email.md"];
    says(&at(&refusing.url), "WRONG", "delivery", &words);

    let words = ["webhook: it cannot be connected to", "Connection refused", "section `webhook`"];
    says(&at(&nobody().await), "WRONG", "delivery", &words);
}

#[test]
fn a_disk_that_is_too_small() {
    let server = Server::new();
    let data = server.data();
    let _disk = SmallDisk::on(&data, 16 * 1024);
    says(&doctor(&server, &[]), "WRONG", "disk", &["MiB free", "make room"]);
}

#[test]
fn certificates_that_cannot_be_used() {
    let server = used();
    let pair = |name: &str, days: i32| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        // Anchored far away, so that no clock of a machine matters.
        if days < 0 {
            parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let certificate = parameters.self_signed(&made.signing_key).unwrap();
        std::fs::write(server.home().join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(server.home().join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    };
    pair("own", 1);
    pair("other", 1);
    pair("old", -1);
    let with = |certificate: &str, key: &str| {
        doctor(&server, &[("ACQUAINT_TLS__CERTIFICATE", certificate), ("ACQUAINT_TLS__KEY", key)])
    };
    says(&with("own.pem", "own.key"), "ok", "TLS", &["fit"]);
    says(&with("own.pem", "other.key"), "WRONG", "TLS", &["tls.key", "does not fit"]);
    says(&with("old.pem", "old.key"), "WRONG", "TLS", &["ended", "renew"]);
    says(&with("absent.pem", "own.key"), "WRONG", "TLS", &["tls.certificate"]);
    says(&with("own.key", "own.key"), "WRONG", "TLS", &["holds no certificate"]);
    says(&with("own.pem", "own.pem"), "WRONG", "TLS", &["tls.key", "a private key"]);
}

#[test]
fn memory_that_does_not_hold_a_hash() {
    // With keys of the dear suite, which take no hash to make.
    let server = Server::new();
    std::fs::remove_file(server.home().join("keys.json")).unwrap();
    let told = doctor(&server, &[("ACQUAINT_KEYS__SUITE", "hard"), ("ACQUAINT_POOL__MEMORY_MIB", "50")]);
    says(&told, "WRONG", "memory", &["`pool.memory_mib` is 50", "64 MiB", "set `pool.memory_mib` to 64"]);
}

#[test]
fn core_dumps_are_warned_of() {
    let server = used();
    let told = |limit: &str| {
        let script = format!("ulimit -c {limit}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.env_clear().args(["-c", &script, "sh", env!("CARGO_BIN_EXE_acquaint"), "doctor", "--config"]);
        run(command.arg(server.config()).env("ACQUAINT_LISTEN", "127.0.0.1:0"))
    };
    says(&told("unlimited"), "warning", "core dumps", &["LimitCORE=0"]);
    says(&told("0"), "ok", "core dumps", &["off"]);
}
