//! Address books from every exporter through the built program, more entries than one import takes, and what the commands
//! print for people and for programs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{PATIENCE, Server, Told, finish, program, run, until};

/// How many entries were left out, by reason.
type Counts<'a> = &'a [(&'a str, u64)];

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/address_books").join(name)
}

fn remote(server: &Server, command: &str, actor: &str) -> Command {
    let mut remote = program();
    remote.args([command, "--actor", actor, "--url", server.url()]).env("ACQUAINT_API_KEY", server.api_key());
    remote
}

fn piped(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn json(told: &Told) -> String {
    assert_eq!(told.out.lines().count(), 1, "{told:?}");
    told.out.trim().to_owned()
}

/// The value of a key on the top level of an object in `text`, as JSON.
fn field(told: &Told, key: &str) -> serde_json::Value {
    let mut object: serde_json::Value = serde_json::from_str(&json(told)).unwrap();
    object.get_mut(key).unwrap_or_else(|| panic!("no {key} in {told:?}")).take()
}

/// The `nth` code (from 0) that was sent to a number.
async fn code(server: &Server, phone: &str, nth: usize) -> String {
    let sent = || server.outbox().into_iter().filter(|(to, _)| to == phone).nth(nth);
    until("the code", sent).await.1
}

/// 2300 numbers for fiction (555-0100 to 555-0199) as an address book in CSV, in national form.
fn many() -> String {
    let areas = [
        201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228,
        229, 231, 234,
    ];
    let mut book = "Name,Phone 1 - Value\n".to_owned();
    for (place, area) in areas.into_iter().enumerate() {
        for last in 0..100 {
            book.push_str(&format!("Person {},({area}) 555-{:04}\n", place * 100 + last + 1, 100 + last));
        }
    }
    book
}

#[tokio::test]
async fn every_exporter_is_imported_and_what_is_skipped_is_told() {
    let mut server = Server::without_limits();
    server.start();
    let phone = "+19175550198";
    let samples: [(&str, u64, Counts<'_>); 12] = [
        ("icloud_3.0.vcf", 6, &[("email_not_wanted", 2)]),
        ("google_3.0.vcf", 4, &[("email_not_wanted", 3)]),
        ("android_2.1.vcf", 4, &[("email_not_wanted", 1), ("not_a_number", 1)]),
        ("samsung_2.1.vcf", 4, &[("email_not_wanted", 2), ("repeated", 1)]),
        ("nokia_2.1.vcf", 4, &[("email_not_wanted", 1), ("not_a_number", 1)]),
        ("outlook_2.1.vcf", 4, &[("email_not_wanted", 1)]),
        ("thunderbird_4.0.vcf", 2, &[("email_not_wanted", 2)]),
        ("kde_4.0.vcf", 3, &[("email_not_wanted", 3)]),
        ("nextcloud_4.0.vcf", 2, &[("email_not_wanted", 1)]),
        ("google_old.csv", 4, &[("email_not_wanted", 3)]),
        ("google_new.csv", 4, &[("email_not_wanted", 3)]),
        ("outlook.csv", 4, &[("email_not_wanted", 2)]),
    ];
    let files = std::fs::read_dir(sample("")).unwrap().count();
    assert_eq!(files, samples.len(), "every sample is tested");
    for (nth, (file, sent, skipped)) in samples.into_iter().enumerate() {
        let mut child = piped(
            remote(&server, "import", "did:plc:a").args(["--json", "--phone", phone]).arg(sample(file)),
        );
        let code = code(&server, phone, nth).await;
        writeln!(child.stdin.as_mut().unwrap(), "{code}").unwrap();
        let told = finish(child);
        assert_eq!(told.code, Some(0), "{file}: {told:?}");
        assert_eq!((field(&told, "sent"), field(&told, "imports")), (sent.into(), 1.into()), "{file}");
        let expected: serde_json::Map<_, _> =
            skipped.iter().map(|(reason, count)| ((*reason).to_owned(), (*count).into())).collect();
        assert_eq!(field(&told, "skipped"), serde_json::Value::Object(expected), "{file}");
        assert!(field(&told, "go_on_from").is_null());
    }
}

#[tokio::test]
async fn more_than_one_import_takes_goes_in_several_with_a_code_each() {
    let mut server = Server::without_limits();
    server.set("ACQUAINT_VERIFICATION__RESEND_S", "2");
    // So that an import can still be running when the next one is asked for.
    server.set("ACQUAINT_IMPORT__DEADLINE_MS", "1");
    server.set("ACQUAINT_POOL__THREADS", "1");
    server.start();
    let (phone, friend) = ("+19175550198", server.person("did:plc:friend", "+12345550199"));
    friend.import(vec![phone.to_owned()]).await.unwrap();

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("many.csv");
    // Person 2300 is the friend.
    std::fs::write(&file, many()).unwrap();
    // A code that nobody enters: until the pause is over there is no other. Whether the pauses are met depends on the
    // machine; what is told then does not.
    assert_eq!(run(remote(&server, "verify", "did:plc:a").args(["--send", phone])).code, Some(0));
    let mut child =
        piped(remote(&server, "import", "did:plc:a").args(["--phone", phone, "--region", "US"]).arg(&file));
    for nth in 1..4 {
        let code = code(&server, phone, nth).await;
        writeln!(child.stdin.as_mut().unwrap(), "{code}").unwrap();
    }
    let told = finish(child);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(told.err.matches("A code was sent.").count(), 1, "{told:?}");
    assert_eq!(told.err.matches("A further code was sent.").count(), 2, "{told:?}");
    assert!(told.err.contains("2300 entries to send: 1000 in one import"), "{told:?}");
    for wait in told.err.lines().filter(|line| line.contains("Waiting ")) {
        let reasons = ["a code was sent a moment ago", "still running"];
        assert!(reasons.iter().any(|reason| wait.contains(reason)), "a wait without a reason: {told:?}");
    }
    assert!(told.err.contains("Sent: 2300 entries in 3 imports."), "{told:?}");
    let halves = || -> i64 {
        server.database().query_row("SELECT count(*) FROM pairs", [], |row| row.get(0)).unwrap()
    };
    until("every pair", || (halves() == 2299).then_some(())).await;
    let told = run(remote(&server, "matches", "did:plc:a").arg("--json"));
    assert_eq!(field(&told, "matches"), serde_json::json!(["did:plc:friend"]));

    // Again, and only the last part: the answer's positions are still those of the file.
    server.stop();
    server.set("ACQUAINT_IMPORT__DEADLINE_MS", "20000");
    server.start();
    let mut child = piped(
        remote(&server, "import", "did:plc:a")
            .args(["--phone", phone, "--from", "2001", "--json"])
            .arg(&file),
    );
    let last = code(&server, phone, 4).await;
    writeln!(child.stdin.as_mut().unwrap(), "{last}").unwrap();
    let told = finish(child);
    assert_eq!((told.code, field(&told, "sent")), (Some(0), 300.into()), "{told:?}");
    let expected = serde_json::json!([{ "name": "Person 2300", "contact": "+12345550199", "subject": "did:plc:friend" }]);
    assert_eq!(field(&told, "matches"), expected);
    let told =
        run(remote(&server, "import", "did:plc:a").args(["--phone", phone, "--from", "2301"]).arg(&file));
    assert!(
        told.code == Some(1) && told.err.contains("--from: there is nothing to send from there on"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_wait_is_told_with_its_reason() {
    let mut server = Server::without_limits();
    // Longer than any machine takes for the second call.
    server.set("ACQUAINT_VERIFICATION__RESEND_S", "600");
    server.start();
    let phone = "+19175550198";
    assert_eq!(run(remote(&server, "verify", "did:plc:a").args(["--send", phone])).code, Some(0));
    let folder = TempDir::new().unwrap();
    let told = folder.path().join("told");
    let mut child = remote(&server, "import", "did:plc:a")
        .args(["--phone", phone])
        .arg(sample("icloud_3.0.vcf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    until("a wait that is told", || {
        let told = std::fs::read_to_string(&told).unwrap();
        let ended = child.try_wait().unwrap();
        assert_eq!(ended, None, "it did not wait: {told}");
        let line = told.lines().find(|line| line.starts_with("Waiting "))?;
        line.contains("a code was sent a moment ago").then_some(())
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_stop_in_between_says_how_to_go_on() {
    let mut server = Server::without_limits();
    server.start();
    let phone = "+19175550198";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("many.csv");
    std::fs::write(&file, many()).unwrap();
    let begin = || {
        let mut command = remote(&server, "import", "did:plc:a");
        command.args(["--phone", phone]).arg(&file);
        command
    };
    let words = ["1000 of 2300 entries were sent", "--from 1001", "Sent: 1000 entries in 1 import."];
    let has = |told: &Told, words: &[&str]| {
        assert_eq!(told.code, Some(1), "{told:?}");
        for word in words {
            assert!(told.err.contains(word), "no {word:?} in {told:?}");
        }
    };

    // The end of the input in place of the second code.
    let mut child = piped(&mut begin());
    let first = code(&server, phone, 0).await;
    writeln!(child.stdin.as_mut().unwrap(), "{first}").unwrap();
    code(&server, phone, 1).await;
    drop(child.stdin.take());
    has(&finish(child), &[words.as_slice(), &["no code was entered"]].concat());

    // Wrong codes until no more are taken.
    let mut child = piped(&mut begin());
    let first = code(&server, phone, 2).await;
    writeln!(child.stdin.as_mut().unwrap(), "{first}").unwrap();
    let second = code(&server, phone, 3).await;
    let wrong = (second.parse::<u32>().unwrap() + 1) % 1_000_000;
    for _ in 0..6 {
        writeln!(child.stdin.as_mut().unwrap(), "{wrong:06}").unwrap();
    }
    has(&finish(child), &[words.as_slice(), &["too many wrong codes"]].concat());

    // Ctrl-C while a code is asked for, of another account: that one's guesses are used up.
    let child = piped(remote(&server, "import", "did:plc:b").args(["--phone", "+19175550197"]).arg(&file));
    code(&server, "+19175550197", 0).await;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    has(&finish(child), &["stopped", "0 of 2300 entries were sent", "--from 1"]);
}

#[tokio::test]
async fn standard_input_and_steps_for_scripts() {
    let mut server = Server::without_limits();
    server.start();
    let phone = "+19175550198";
    let verify = |more: &[&str]| run(remote(&server, "verify", "did:plc:a").args(more).arg(phone));
    let told = verify(&["--send", "--json"]);
    assert_eq!((told.code, json(&told).as_str()), (Some(0), r#"{"sent":true}"#));
    let told = verify(&["--json", "--code", &code(&server, phone, 0).await]);
    let token = field(&told, "token").as_str().unwrap().to_owned();

    let book = std::fs::read(sample("icloud_3.0.vcf")).unwrap();
    let import = |more: &[&str]| {
        let mut child = piped(remote(&server, "import", "did:plc:a").args(more).arg("-"));
        // A command that refuses at once reads nothing.
        let _ = child.stdin.take().unwrap().write_all(&book);
        finish(child)
    };
    let told = import(&["--token", &token, "--json"]);
    assert_eq!((told.code, field(&told, "sent")), (Some(0), 4.into()), "{told:?}");
    assert_eq!(field(&told, "skipped")["no_region"], 2);
    assert!(told.err.contains("--region"), "{told:?}");

    assert_eq!(verify(&["--send"]).code, Some(0));
    let told = import(&["--phone", phone, "--code", &code(&server, phone, 1).await]);
    assert_eq!((told.code, told.out.as_str()), (Some(0), ""), "{told:?}");
    assert!(told.err.contains("Sent: 6 entries in 1 import."), "{told:?}");
    let told = import(&["--phone", phone]);
    assert!(told.code == Some(1) && told.err.contains("--code"), "{told:?}");

    let told = run(remote(&server, "dismiss", "did:plc:a").args(["--json", "did:plc:b"]));
    assert_eq!(json(&told), r#"{"matches_left":0}"#);
    let told = run(remote(&server, "matches", "did:plc:a").arg("--json"));
    assert!(field(&told, "synced_at").as_i64().unwrap() > 1_700_000_000, "{told:?}");
    let told = run(remote(&server, "remove", "did:plc:a").arg("--json"));
    assert_eq!(json(&told), r#"{"contacts":6,"matches":0}"#);
}

#[test]
fn what_is_no_address_book_is_refused_before_anything_is_asked() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let table: [(PathBuf, &[&str]); 6] = [
        (folder.path().join("absent.vcf"), &["cannot read", "absent.vcf"]),
        (file("photo.vcf", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0"), &["no address book", "export"]),
        (file("empty.csv", b""), &["is empty"]),
        (folder.path().to_owned(), &["is a folder"]),
        (file("head.csv", b"Name,Phone 1 - Value\n"), &["no contacts"]),
        (file("cut.vcf", b"BEGIN:VCARD\nTEL:+12125550101\n"), &["1 cards or rows without an end"]),
    ];
    for (file, words) in table {
        // Nothing listens there: a call would be told.
        let told = run(program()
            .args([
                "import",
                "--actor",
                "did:plc:a",
                "--url",
                "http://127.0.0.1:9",
                "--phone",
                "+19175550198",
            ])
            .arg(file));
        assert_eq!((told.code, told.out.as_str()), (Some(1), ""), "{told:?}");
        for word in words {
            assert!(told.err.contains(word), "no {word:?} in {told:?}");
        }
    }
}

#[test]
fn normalise_shows_the_form_that_is_compared() {
    let told =
        run(program().args(["normalise", "--region", "us", "(212) 555-0101", "Ada@Example.com", "311"]));
    assert_eq!(told.code, Some(1));
    let lines: Vec<_> = told.out.lines().collect();
    assert_eq!(lines[..2], ["+12125550101", "ada@example.com"]);
    assert!(lines[2].starts_with("refused: not a"), "{told:?}");
    assert_eq!(told.err, "error: 1 of 3 refused\n");

    for arguments in [&["normalise", "--json"][..], &["normalise", "--json", "-"]] {
        let mut child = piped(program().args(arguments));
        child.stdin.take().unwrap().write_all(b"+1 212 555 0101\r\n\n\xff@x\n").unwrap();
        let told = finish(child);
        assert_eq!((told.code, field(&told, "refused")), (Some(1), 2.into()), "{told:?}");
        let results = field(&told, "results");
        assert_eq!(
            results[0],
            serde_json::json!({ "line": 1, "canonical": "+12125550101", "kind": "phone" })
        );
        assert_eq!((results[1]["line"].as_i64(), results.as_array().unwrap().len()), (Some(2), 3));
    }
    let told = run(program().args(["normalise", "+12125550101"]));
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (Some(0), "+12125550101\n", ""));
    assert!(run(program().args(["normalise", "--region", "Mars", "1"])).err.contains("--region"));
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let mut child = piped(program().args(["normalise", "--region", "US", "-"]));
    let mut line = [0; 13];
    let mut out = child.stdout.take().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"2125550101\n").unwrap();
    out.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"+12125550101\n");
    drop(out);
    let mut input = child.stdin.take().unwrap();
    // Until the program notices; it may end before the last of these.
    for _ in 0..1000 {
        if input.write_all(b"2125550102\n").is_err() {
            break;
        }
    }
    drop(input);
    let began = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((status.code(), told.as_str()), (Some(0), ""));
}

#[test]
fn shells_are_told_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let told = run(program().args(["completions", shell]));
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{shell}");
        assert!(told.out.contains("normalise") && told.out.contains("region"), "{shell}");
    }
    assert_eq!(run(program().args(["completions", "cmd"])).code, Some(2));
    for command in ["verify", "import", "matches", "dismiss", "remove", "normalise", "completions"] {
        let help = run(program().args([command, "--help"]));
        assert!(help.out.contains("Example"), "{command}: {}", help.out);
    }
}
