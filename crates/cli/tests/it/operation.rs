//! Starting, stopping and the commands, as an operator meets them.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{self, Server, Told, finish, init, number, program, run, until};

/// A command that must fail with one line for the person, which has all of `words`.
fn refused(command: &mut Command, words: &[&str]) {
    told_refusal(&run(command), words);
}

fn told_refusal(told: &Told, words: &[&str]) {
    assert_eq!(told.code, Some(1), "{told:?}");
    assert_eq!(told.out, "");
    assert!(told.err.contains("error: "), "{told:?}");
    for word in words {
        assert!(told.err.contains(word), "no {word:?} in {told:?}");
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

type Variables<'a> = &'a [(&'a str, &'a str)];

/// A data directory that a server has been on.
fn used() -> Server {
    let mut server = Server::new();
    server.start();
    assert_eq!(server.stop().code(), Some(0));
    server
}

#[test]
fn init_makes_private_files_once_and_prints_what_an_appview_reads() {
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("deep/home");
    let told = init(&home);
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{told:?}");
    let config = std::fs::read_to_string(home.join("acquaint.toml")).unwrap();
    let key = config.lines().find_map(|line| line.strip_prefix("api_key = ")).unwrap().trim_matches('"');
    assert_eq!(key.len(), 64);
    let lines: Vec<_> = told.out.lines().map(str::trim).filter(|line| line.starts_with("BSKY_")).collect();
    let expected = [
        "BSKY_ROLODEX_URL=http://127.0.0.1:3200".to_owned(),
        format!("BSKY_ROLODEX_API_KEY={key}"),
        "BSKY_ROLODEX_HTTP_VERSION=2".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(mode(&home), 0o700);
    let mut made: Vec<_> = support::files(&home).into_iter().map(|file| file.path).collect();
    made.sort();
    assert_eq!(made, [home.join("acquaint.toml"), home.join("keys.json")]);
    assert!(made.iter().all(|file| mode(file) == 0o600));

    let before: Vec<_> = support::files(&home).into_iter().map(|file| file.bytes).collect();
    told_refusal(&init(&home), &["is there already", "acquaint.toml"]);
    // Keys are kept when the configuration is gone: an interrupted `init` can be repeated.
    std::fs::remove_file(home.join("acquaint.toml")).unwrap();
    let told = init(&home);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(before.contains(&std::fs::read(home.join("keys.json")).unwrap()));
}

#[test]
fn a_server_makes_private_files() {
    let mut server = Server::new();
    server.start();
    assert_eq!(mode(&server.data()), 0o700);
    let files = support::files(&server.data());
    assert!(files.len() >= 3);
    for file in files {
        assert_eq!(mode(&file.path), 0o600, "{}", file.path.display());
    }
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let server = Server::new();
    let keys = server.home().join("keys.json");
    for mode in [0o644, 0o640, 0o602] {
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode)).unwrap();
        refused(&mut server.serve_command(), &["keys.json", &format!("mode {mode:04o}"), "chmod 600"]);
    }
}

#[test]
fn data_is_not_opened_without_its_own_keys() {
    let server = used();
    let keys = server.home().join("keys.json");
    let own = std::fs::read(&keys).unwrap();
    std::fs::remove_file(&keys).unwrap();
    refused(&mut server.serve_command(), &["keys.json", "put it back"]);
    assert!(!keys.exists(), "new keys were made beside old data");

    let other = TempDir::new().unwrap();
    init(other.path());
    std::fs::copy(other.path().join("keys.json"), &keys).unwrap();
    refused(
        &mut server.serve_command(),
        &["not the one that the stored data was made with", "put the right key file back"],
    );
    std::fs::write(&keys, &own[..own.len() / 2]).unwrap();
    refused(&mut server.serve_command(), &["is not a key file"]);
    std::fs::write(&keys, own).unwrap();
    refused(
        server.serve_command().env("ACQUAINT_KEYS__SUITE", "standard"),
        &["keys.suite", "`development`", "set it back"],
    );
    let mut server = server;
    server.start();
}

#[test]
fn one_server_to_a_directory_and_to_a_port() {
    let mut server = Server::new();
    server.start();
    refused(&mut server.serve_command(), &["another process uses"]);
    let address = server.url().strip_prefix("http://").unwrap();
    let other = Server::new();
    refused(
        other.serve_command().env("ACQUAINT_LISTEN", address),
        &[&format!("cannot listen on {address}"), "in use"],
    );
    assert!(!other.data().exists(), "a refused start leaves data");
}

#[test]
fn unsafe_or_mistaken_configurations_are_refused() {
    let server = Server::new();
    let outside = ("ACQUAINT_LISTEN", "0.0.0.0:0");
    let table: [(Variables<'_>, &[&str]); 13] = [
        (&[outside], &["keys.suite", "`standard` or `hard`", "loopback"]),
        (&[outside, ("ACQUAINT_KEYS__SUITE", "standard")], &["listen", "loopback", "outbox"]),
        (&[("ACQUAINT_LISTEN", "[::]:0")], &["loopback"]),
        (&[("ACQUAINT_LISTEN", "localhost:3200")], &["listen", "127.0.0.1:3200"]),
        (&[("ACQUAINT_AUTH__API_KEY", "")], &["auth.api_key", "acquaint init"]),
        (&[("ACQUAINT_AUTH__API_KEY", "short")], &["auth.api_key", "16"]),
        (
            &[("ACQUAINT_DELIVERY__OUTBOX_FILE", "data/outbox.txt")],
            &["delivery.outbox_file", "outside `data_dir`"],
        ),
        (&[("ACQUAINT_DELIVERY__OUTBOX_FILE", "./data/deep/outbox.txt")], &["outside `data_dir`"]),
        (&[("ACQUAINT_KEYS__FILE", "data/keys.json")], &["keys.file", "outside `data_dir`"]),
        (
            &[("ACQUAINT_IMPORT__DEADLNE_MS", "4")],
            &["ACQUAINT_IMPORT__DEADLNE_MS", "did you mean `ACQUAINT_IMPORT__DEADLINE_MS`"],
        ),
        (&[("ACQUAINT_IMPORT__DEADLINE_MS", "soon")], &["ACQUAINT_IMPORT__DEADLINE_MS", "whole number"]),
        (&[("ACQUAINT_IMPORT__DEADLINE_MS", "30000")], &["import.deadline_ms", "http.request_timeout_s"]),
        (&[("ACQUAINT_LOG__LEVEL", "acquaint=loud")], &["log.level"]),
    ];
    for (variables, words) in table {
        refused(server.serve_command().envs(variables.iter().copied()), words);
    }
    let text = std::fs::read_to_string(server.config()).unwrap();
    let with = |line: &str| std::fs::write(server.config(), format!("{line}\n{text}")).unwrap();
    with("lissten = \"127.0.0.1:1\"");
    refused(&mut server.serve_command(), &["`lissten`", "did you mean `listen`"]);
    with("[pol]\nthreads = 1");
    refused(&mut server.serve_command(), &["`pol`", "did you mean `pool`"]);
    with("this is no TOML");
    refused(&mut server.serve_command(), &["not TOML at line 1"]);
    std::fs::remove_file(server.config()).unwrap();
    refused(&mut server.serve_command(), &["cannot read the configuration", "acquaint init"]);
    assert!(!server.data().exists(), "a refused start leaves data");
}

#[test]
fn a_mistyped_log_level_is_refused() {
    let server = Server::new();
    refused(server.serve_command().env("ACQUAINT_LOG__LEVEL", "inof"), &["log.level", "`info`"]);
}

#[test]
fn a_roundabout_path_into_the_data_is_refused() {
    let server = Server::new();
    for path in ["x/../data/outbox.txt", "../home/data/outbox.txt"] {
        refused(server.serve_command().env("ACQUAINT_DELIVERY__OUTBOX_FILE", path), &["outside `data_dir`"]);
    }
}

#[test]
fn a_variable_that_is_no_text_disturbs_nobody() {
    let mut server = Server::new();
    server.start();
    let odd = std::ffi::OsString::from_vec(vec![0x6f, 0xff]);
    let mut command = program();
    command.args(["matches", "--actor", "did:plc:a", "--config"]).arg(server.config()).env("ODD", odd);
    let address = server.url().strip_prefix("http://").unwrap();
    assert_eq!(run(command.env("ACQUAINT_LISTEN", address)).code, Some(0));
}

#[test]
fn every_command_has_help() {
    let told = run(program().arg("--help"));
    assert_eq!(told.code, Some(0));
    for command in ["demo", "init", "serve", "doctor", "verify", "import", "matches", "dismiss", "remove"] {
        assert!(
            told.out.lines().any(|line| line.trim_start().starts_with(command)),
            "{command} is not listed"
        );
        let help = run(program().args([command, "--help"]));
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
        assert!(help.out.contains("Usage:"));
        assert!(
            help.out.contains("Example") || help.out.contains("Without --url"),
            "{command}: {}",
            help.out
        );
    }
    assert_eq!(run(&mut program()).code, Some(2));
}

#[test]
fn a_cut_off_address_book_is_told() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("cut.vcf");
    let cut = "BEGIN:VCARD\nVERSION:3.0\nFN:A\nTEL:+12125560001\nEND:VCARD\nBEGIN:VCARD\nVERSION:3.0\nFN:B\nTEL:+12125560002\n";
    std::fs::write(&file, cut).unwrap();
    let mut command = program();
    command
        .args(["import", "--actor", "did:plc:a", "--token", "x", "--url", "http://127.0.0.1:9"])
        .arg(&file);
    refused(&mut command, &["1  cards or rows without an end", "cannot be reached"]);
}

/// A sample address book.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn remote(server: &Server, command: &str, actor: &str) -> Command {
    let mut remote = program();
    remote.args([command, "--actor", actor, "--url", server.url()]).env("ACQUAINT_API_KEY", server.api_key());
    remote
}

/// Starts a command that asks for a code.
fn asking(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Enters the code that was sent, after a wrong one and an odd one.
async fn answer(server: &Server, child: &mut Child, phone: &str, sent_before: usize) {
    let sent = || server.outbox().into_iter().filter(|(to, _)| to == phone).nth(sent_before);
    let (_, code) = until("the code", sent).await;
    let wrong = (code.parse::<u32>().unwrap() + 1) % 1_000_000;
    write!(child.stdin.as_mut().unwrap(), "{wrong:06}\nabc\n {code} \n").unwrap();
}

async fn import(server: &Server, actor: &str, phone: &str, book: &str, sent_before: usize) -> Told {
    let mut child = asking(remote(server, "import", actor).args(["--phone", phone]).arg(example(book)));
    answer(server, &mut child, phone, sent_before).await;
    finish(child)
}

#[tokio::test]
async fn the_commands_tell_what_they_did() {
    let mut server = Server::new();
    server.set("ACQUAINT_VERIFICATION__RESEND_S", "0");
    server.start();
    let (ada, bob) = (("did:plc:ada", "+12125550101"), ("did:plc:bob", "+12125550102"));

    let told = run(&mut remote(&server, "matches", ada.0));
    assert_eq!((told.code, told.out.as_str()), (Some(0), ""));
    assert!(told.err.contains("has not imported"), "{told:?}");

    let told = import(&server, ada.0, ada.1, "ada.vcf", 0).await;
    assert_eq!((told.code, told.out.as_str()), (Some(0), ""), "{told:?}");
    assert!(told.err.contains("1  no valid phone numbers"), "{told:?}");
    assert_eq!(told.err.matches("Enter its six digits: ").count(), 3, "{told:?}");
    assert_eq!(told.err.matches("verification_code is wrong").count(), 2, "{told:?}");
    assert!(told.err.contains("0 of your contacts have you in theirs"), "{told:?}");

    // In two steps: the token goes to standard output alone.
    let mut child = asking(remote(&server, "verify", bob.0).arg("+1 (212) 555-0102"));
    answer(&server, &mut child, bob.1, 0).await;
    let told = finish(child);
    assert_eq!((told.code, told.out.lines().count()), (Some(0), 1), "{told:?}");
    let token = told.out.trim();
    let told = run(remote(&server, "import", bob.0)
        .args(["--token", token, "--region", "US"])
        .arg(example("bob.vcf")));
    assert_eq!((told.code, told.out.as_str()), (Some(0), "Ada Lovelace\tdid:plc:ada\n"), "{told:?}");
    assert!(told.err.contains("1 of your contacts have you in theirs"), "{told:?}");
    let told = run(remote(&server, "import", bob.0).args(["--token", token]).arg(example("bob.vcf")));
    told_refusal(&told, &["token is not valid"]);

    // Without --url, from the server's configuration.
    let address = server.url().strip_prefix("http://").unwrap();
    let told = run(program()
        .args(["matches", "--actor", ada.0, "--config"])
        .arg(server.config())
        .env("ACQUAINT_LISTEN", address));
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (Some(0), "did:plc:bob\n", "1 match.\n"));

    let told = run(remote(&server, "dismiss", ada.0).arg(bob.0));
    assert_eq!((told.code, told.err.as_str()), (Some(0), "Hidden for good. Left: 0 matches.\n"));
    let told = run(&mut remote(&server, "matches", ada.0));
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (Some(0), "", "0 matches.\n"));

    let told = run(&mut remote(&server, "remove", bob.0));
    assert_eq!(told.code, Some(0));
    assert!(told.err.contains("Removed 2 contacts and 1 match;"), "{told:?}");
    let told = run(&mut remote(&server, "remove", bob.0));
    assert!(told.err.contains("Removed 0 contacts and 0 matches"), "{told:?}");
}

#[tokio::test]
async fn the_commands_say_why_not() {
    let mut server = Server::new();
    server.start();
    let matches = |url: &str| {
        let mut command = program();
        command.args(["matches", "--actor", "did:plc:a", "--url", url]);
        command
    };
    refused(
        matches(server.url()).env("ACQUAINT_API_KEY", "another key that is wrong"),
        &["refuses the API key", "[auth]"],
    );
    refused(&mut matches(server.url()), &["refuses the API key"]);
    refused(&mut matches("http://127.0.0.1:9"), &["is it running"]);
    refused(&mut matches("ftp://127.0.0.1:9"), &["http://127.0.0.1:3200"]);
    refused(&mut matches("not a url"), &["http://127.0.0.1:3200"]);
    refused(
        program().args(["matches", "--actor", "did:plc:a", "--config", "/nowhere.toml"]),
        &["/nowhere.toml", "--url"],
    );
    refused(&mut remote(&server, "matches", "alice"), &["DID"]);
    refused(remote(&server, "verify", "did:plc:a").arg("+33199001234"), &["mobile"]);
    refused(remote(&server, "verify", "did:plc:a").arg("555"), &["international form"]);
    // The end of the input instead of a code.
    let told = run(remote(&server, "verify", "did:plc:a").arg(number(0)));
    told_refusal(&told, &["no code was entered"]);

    let folder = TempDir::new().unwrap();
    let file = |text: &str| {
        let path = folder.path().join("book.vcf");
        std::fs::write(&path, text).unwrap();
        path
    };
    let import = |file: PathBuf| run(remote(&server, "import", "did:plc:a").args(["--token", "x"]).arg(file));
    let card = |index: usize| {
        format!("BEGIN:VCARD\nVERSION:3.0\nFN:Someone {index}\nTEL:+1212556{index:04}\nEND:VCARD\n")
    };
    let many: String = (0..1001).map(card).collect();
    told_refusal(
        &import(file(&many)),
        &["1001 entries to send", "token is not valid", "0 of 1001 entries were sent", "--from 1"],
    );
    told_refusal(&import(file("name,colour\nAda,red\n")), &["no address book", "export"]);
    told_refusal(&import(file("")), &["is empty", "export"]);
    told_refusal(&import(file("BEGIN:VCARD\nVERSION:3.0\nFN:Nobody\nEND:VCARD\n")), &["no phone number"]);
    told_refusal(&import(folder.path().join("absent.vcf")), &["absent.vcf", "cannot read"]);
    // Told, and what can be read goes on: the rest is the token's fault.
    let junk = format!("{}BEGIN:VCARD\nnothing of a card\n{}", card(1), card(2));
    told_refusal(&import(file(&junk)), &["1  cards or rows without an end", "token is not valid"]);
    let told = run(remote(&server, "import", "did:plc:a")
        .args(["--token", "x", "--region", "Mars"])
        .arg(example("ada.vcf")));
    told_refusal(&told, &["--region"]);
    assert_eq!(run(remote(&server, "import", "did:plc:a").arg(example("ada.vcf"))).code, Some(2));
}

#[tokio::test]
async fn a_stop_ends_cleanly_and_loses_nothing() {
    let mut server = Server::without_limits();
    server.set("ACQUAINT_POOL__THREADS", "1");
    server.set("ACQUAINT_IMPORT__DEADLINE_MS", "10");
    server.start();
    let person = server.person("did:plc:stopped", &number(0));
    person.import((0..1000).map(|index| format!("+1212558{index:04}")).collect()).await.unwrap();
    assert_eq!(server.stop().code(), Some(0));
    let left: i64 = server
        .remains()
        .database
        .query_row("SELECT sum(total - done) FROM imports", [], |row| row.get(0))
        .unwrap();
    assert!(left > 0, "the import was too short for this test");
    assert!(!server.data().join("acquaint.db-wal").exists(), "a clean stop leaves a log");
    server.start();
    let halves = || -> i64 {
        server.database().query_row("SELECT count(*) FROM pairs", [], |row| row.get(0)).unwrap()
    };
    until("the rest of the import", || (halves() == 1000).then_some(())).await;
    assert_eq!(server.stop().code(), Some(0));
}
