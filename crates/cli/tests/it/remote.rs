//! The commands against a server with TLS, with e-mail addresses, and with notifications that fail.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{PATIENCE, Server, Told, number, program, run};

fn remote(server: &Server, args: &[&str]) -> Command {
    let mut command = program();
    command.args(args).args(["--url", server.url()]).env("ACQUAINT_API_KEY", server.api_key());
    command
}

fn told_well(told: &Told) -> &str {
    assert_eq!(told.code, Some(0), "{told:?}");
    told.out.trim_end()
}

#[test]
fn tls_with_a_certificate_of_ones_own() {
    let mut server = Server::new();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let (chain, key) = (server.home().join("chain.pem"), server.home().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    server.set("ACQUAINT_TLS__CERTIFICATE", "chain.pem");
    server.set("ACQUAINT_TLS__KEY", "key.pem");
    server.set("ACQUAINT_TELEMETRY__LISTEN", "127.0.0.1:0");
    server.start();
    let metrics = metrics(&server);
    assert!(metrics.contains("\nacquaint_certificate_expiry_timestamp_seconds "), "{metrics}");
    let address =
        server.url().strip_prefix("https://").expect("the server tells that it speaks TLS").to_owned();
    let matches = ["matches", "--actor", "did:plc:ada"];

    let trusting = run(remote(&server, &matches).arg("--ca").arg(&chain));
    told_well(&trusting);
    assert!(trusting.err.contains("Nothing is stored"), "{trusting:?}");
    // The configuration tells address, key and TLS.
    let mut by_file = program();
    by_file.args(matches).arg("--config").arg(server.config()).arg("--ca").arg(&chain);
    by_file.env("ACQUAINT_LISTEN", &address).env("ACQUAINT_TLS__CERTIFICATE", &chain);
    told_well(&run(by_file.env("ACQUAINT_TLS__KEY", &key)));

    let wary = run(&mut remote(&server, &matches));
    assert_eq!(wary.code, Some(1), "{wary:?}");
    assert!(wary.err.contains("certificate is not accepted"), "{wary:?}");
    let url = format!("http://{address}");
    let in_clear =
        run(program().args(matches).args(["--url", &url]).env("ACQUAINT_API_KEY", server.api_key()));
    assert_eq!(in_clear.code, Some(1), "{in_clear:?}");
    let absent = run(remote(&server, &matches).args(["--ca", "/nonexistent.pem"]));
    assert!(absent.err.contains("--ca: cannot read /nonexistent.pem"), "{absent:?}");
}

/// What the operator's port of a server tells.
fn metrics(server: &Server) -> String {
    let began = std::time::Instant::now();
    let address = loop {
        let log = server.log();
        let told = log.lines().find_map(|line| line.strip_prefix("metrics on http://"));
        if let Some(address) = told.and_then(|url| url.strip_suffix("/metrics")) {
            break address.to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "{log}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_stopped_import_goes_on_where_it_was_whatever_is_left_out_this_time() {
    let mut server = Server::without_limits();
    server.set("ACQUAINT_VERIFICATION__RESEND_S", "0");
    server.start();
    let own = number(0);
    // The own number first, in national form; then 1100 others.
    let mut book = format!("Name,Phone 1 - Value\nMe,({}) 555-{}\n", &own[2..5], &own[8..]);
    for index in 0..1100 {
        book.push_str(&format!("P{index},(2{:02}) 555-{:04}\n", 1 + index / 100, 100 + index % 100));
    }
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("contacts.csv");
    std::fs::write(&file, book).unwrap();
    let verify = |server: &Server| {
        told_well(&run(&mut remote(server, &["verify", "--actor", "did:plc:me", "--send", &own])));
        server.outbox().pop().unwrap().1
    };
    let code = verify(&server);
    let token = run(&mut remote(&server, &["verify", "--actor", "did:plc:me", "--code", &code, &own]));
    let import = ["import", "--actor", "did:plc:me", "--json", "--region", "US"];
    // With a token the own number is not known, so it is an entry like all others.
    let first = run(remote(&server, &import).args(["--token", told_well(&token)]).arg(&file));
    let first: serde_json::Value = serde_json::from_str(&first.out).unwrap();
    let rest = first["go_on_from"].as_u64().expect("1000 are sent, and some are left").to_string();
    let code = verify(&server);
    let then = ["--phone", &own, "--code", &code, "--from", &rest];
    let then = run(remote(&server, &import).args(then).arg(&file));
    let then: serde_json::Value = serde_json::from_str(told_well(&then)).unwrap();
    assert_eq!(
        first["sent"].as_u64().unwrap() + then["sent"].as_u64().unwrap(),
        first["entries"].as_u64().unwrap()
    );
    assert!(then["go_on_from"].is_null());
}

#[test]
fn an_address_book_of_e_mail_addresses() {
    let mut server = Server::without_limits();
    server.set("ACQUAINT_VERIFICATION__EMAILS", "true");
    server.start();
    let folder = tempfile::TempDir::new().unwrap();
    let books = [
        ("did:plc:ada", "ada@example.com", "Bob", "bob@example.com"),
        ("did:plc:bob", "Bob@Example.com", "Ada", "ada@example.com"),
    ];
    for (actor, own, name, contact) in books {
        let file = folder.path().join("contacts.vcf");
        let card = format!(
            "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:{name}\r\nEMAIL;TYPE=INTERNET:{contact}\r\nEND:VCARD\r\n"
        );
        std::fs::write(&file, card).unwrap();
        told_well(&run(&mut remote(&server, &["verify", "--actor", actor, "--send", own])));
        let (_, code) = server.outbox().pop().unwrap();
        let import = ["import", "--actor", actor, "--phone", own, "--code", &code];
        let told = run(remote(&server, &import).arg(&file));
        let out = told_well(&told);
        if actor == "did:plc:bob" {
            assert_eq!(out, "Ada\tdid:plc:ada", "{told:?}");
        }
    }
}

/// An AppView that refuses for good, once, and then takes everything.
fn appview() -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (taken, told) = mpsc::channel();
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            // Head and body come in a packet or two; the body ends with a brace.
            while !request.ends_with(b"}") {
                let mut part = [0; 1024];
                match stream.read(&mut part).unwrap() {
                    0 => break,
                    read => request.extend_from_slice(&part[..read]),
                }
            }
            let status = if count == 0 { "400 Bad Request" } else { "200 OK" };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            if taken.send(()).is_err() {
                return;
            }
        }
    });
    (url, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_and_retried() {
    let (appview, asked) = appview();
    let mut server = Server::without_limits();
    server.set("ACQUAINT_NOTIFICATIONS__TO", "appview");
    server.set("ACQUAINT_NOTIFICATIONS__APPVIEW_URL", &appview);
    server.set("ACQUAINT_NOTIFICATIONS__APPVIEW_PASSWORD", "a password");
    server.start();
    let people: Vec<_> =
        (0..2).map(|index| server.person(&format!("did:plc:p{index}"), &number(index))).collect();
    people[0].import(vec![number(1)]).await.unwrap();
    people[1].import(vec![number(0)]).await.unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    // The outcome is stored a moment after the answer.
    let mut told = run(&mut remote(&server, &["notifications"]));
    let began = std::time::Instant::now();
    while !told.err.contains("Dead letters: 1") {
        assert!(began.elapsed() < PATIENCE, "{told:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        told = run(&mut remote(&server, &["notifications"]));
    }
    let letter: Vec<_> = told_well(&told).split('\t').collect();
    assert_eq!(
        (letter.len(), letter[0].len(), letter[1], letter[2]),
        (4, 32, "0 days", "1 attempt"),
        "{told:?}"
    );
    assert!(!told.out.contains("did:plc"), "{told:?}");
    assert!(told.err.contains("--retry tries them again"), "{told:?}");

    let told = run(&mut remote(&server, &["notifications", "--retry"]));
    told_well(&told);
    assert!(told.err.contains("1 notification is tried again now."), "{told:?}");
    asked.recv_timeout(PATIENCE).unwrap();
    let json = loop {
        let told = run(&mut remote(&server, &["notifications", "--json"]));
        let json: serde_json::Value = serde_json::from_str(told_well(&told)).unwrap();
        if json["waiting"] == 0 {
            break json;
        }
        assert!(began.elapsed() < PATIENCE, "{told:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(json, serde_json::json!({ "waiting": 0, "dead": 0, "letters": [] }));
    let refused = run(program().args(["notifications", "--url", server.url(), "--api-key", "wrong"]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("refuses the API key"), "{refused:?}");
}
