//! `acquaint lookup` and `acquaint directory`, as far as no directory is asked.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;

use tempfile::TempDir;

use crate::operation::example;
use crate::support::{program, run};

const NOWHERE: [&str; 2] = ["--url", "http://127.0.0.1:9"];

/// A command that must fail with all of `words`.
pub(crate) fn refused(command: &mut Command, words: &[&str]) {
    let told = run(command);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert_eq!(told.out, "");
    for word in words {
        assert!(told.err.contains(word), "no {word:?} in {told:?}");
    }
}

#[test]
fn commands_teach() {
    for command in [
        &["lookup"][..],
        &["payload"],
        &["directory", "verify"],
        &["directory", "enrol"],
        &["directory", "list"],
        &["directory", "withdraw"],
    ] {
        let help = run(program().args(command).arg("--help"));
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""), "{command:?}");
        assert!(help.out.contains("Example") && help.out.contains("--json"), "{command:?}");
    }
}

#[test]
fn nothing_is_asked_of_anyone_before_all_is_well() {
    let folder = TempDir::new().unwrap();
    let foreign = folder.path().join("notes.txt");
    std::fs::write(&foreign, "notes").unwrap();
    let lookup = |args: &[&str]| {
        let mut command = program();
        command.arg("lookup").args(NOWHERE).args(args);
        command
    };
    for (args, words) in [
        (&["+12125550123"][..], "who looks up?"),
        (&["--session", "x", "311"], "place 1: not a phone number"),
        (&["--session", "x", "+12125550123", "2125550124"], "place 2"),
        (&["--session", "x", "--provider-key", "abc", "+12125550123"], "43 characters"),
        (&["--session", "x", "--profile", "rocketchat", "+12125550123"], "--actor USERID"),
        (&["--session", "x", "--digits", "4", "+12125550123"], "--digits does nothing"),
        (
            &[
                "--session",
                "x",
                "--actor",
                "u",
                "--profile",
                "rocketchat",
                "--provider-key",
                "k",
                "+12125550123",
            ],
            "--provider-key does nothing",
        ),
        (&["--session", "x"], "who is looked up?"),
        (&["--mode", "psm", "+12125550123"], "who looks up?"),
        (&["--session", "x", "--mode", "psm", "311"], "place 1: not a phone number"),
        (
            &["--session", "x", "--mode", "psm", "--digits", "4", "+12125550123"],
            "does nothing with --mode psm",
        ),
        (
            &["--session", "x", "--mode", "pir", "--profile", "rocketchat", "+12125550123"],
            "--profile rocketchat does nothing with --mode pir",
        ),
        (
            &["--session", "x", "--mode", "pir", "--max-prefix-bits", "4", "+12125550123"],
            "--max-prefix-bits does nothing",
        ),
        (&["--session", "x", "--index", "1", "+12125550123"], "--index does nothing with --mode bucket"),
        (&["--session", "x", "--mode", "pir", "+12125550123"], "cannot be reached"),
        (
            &["--session", "x", "--book", foreign.to_str().unwrap(), "+12125550123"],
            "is no book of Acquaint's",
        ),
        (&["--session", "x", "+12125550123"], "cannot be reached"),
    ] {
        refused(&mut lookup(args), &[words]);
    }
    assert_eq!(std::fs::read(&foreign).unwrap(), b"notes");
    let five = ["--session", "x", "--profile", "rocketchat", "--actor", "u", "--digits", "5", "+12125550123"];
    assert_eq!(run(&mut lookup(&five)).code, Some(2));
    // A book that cannot be written is found out before anything is asked.
    let nowhere = folder.path().join("no/such.book");
    let book = nowhere.to_str().unwrap();
    refused(&mut lookup(&["--session", "x", "--book", book, "+12125550123"]), &["cannot write the book"]);
    assert_eq!(run(&mut lookup(&["--session", "x", "--mode", "guess", "+12125550123"])).code, Some(2));
}

#[test]
fn an_address_book_is_read_and_what_is_left_out_is_told() {
    let mut command = program();
    command.arg("lookup").args(NOWHERE).args(["--session", "x", "--vcf"]).arg(example("ada.vcf"));
    refused(&mut command, &["cannot be reached"]);
    let folder = TempDir::new().unwrap();
    let book = folder.path().join("a.vcf");
    std::fs::write(&book, "BEGIN:VCARD\nVERSION:3.0\nFN:A\nTEL:2125550101\nTEL:311\nEND:VCARD\n").unwrap();
    let mut command = program();
    command.arg("lookup").args(NOWHERE).args(["--session", "x", "--vcf"]).arg(&book);
    refused(&mut command, &["Left out:", "(--region US)", "no phone number or e-mail address"]);
}

#[test]
fn a_book_is_made_for_its_owner_alone_even_if_nobody_answers() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let book = folder.path().join("friends.book");
    let mut command = program();
    command.arg("lookup").args(NOWHERE).args(["--session", "x", "+12125550123", "--book"]).arg(&book);
    refused(&mut command, &["cannot be reached"]);
    assert_eq!(std::fs::metadata(&book).unwrap().permissions().mode() & 0o777, 0o600);
    // It is one of sealed buckets.
    let mut command = program();
    command.arg("lookup").args(NOWHERE).args(["--session", "x", "--actor", "u", "--profile", "rocketchat"]);
    refused(command.args(["+12125550123", "--book"]).arg(&book), &["another profile"]);
    for (mode, index, word) in [
        ("psm", "0", "another profile"),
        ("psm", "3", "cannot be reached"),
        ("psm", "3", "cannot be reached"),
    ] {
        let book = if word.starts_with("cannot") { folder.path().join("psm.book") } else { book.clone() };
        let mut command = program();
        command.arg("lookup").args(NOWHERE).args(["--session", "x", "--mode", mode, "--index", index]);
        refused(command.args(["+12125550123", "--book"]).arg(&book), &[word]);
    }
}

#[test]
fn listings_are_asked_for_by_somebody() {
    for args in [&["list"][..], &["withdraw", "--all"], &["withdraw", "id"], &["enrol", "--token", "t"]] {
        let mut command = program();
        command.arg("directory").args(args).args(NOWHERE);
        refused(&mut command, &["who looks up?"]);
        refused(command.args(["--session", "x"]), &["cannot be reached"]);
    }
    let mut command = program();
    command.args(["directory", "withdraw", "../all", "--session", "x"]).args(NOWHERE);
    refused(&mut command, &["a listing's id"]);
    let mut neither = program();
    assert_eq!(run(neither.args(["directory", "withdraw", "--session", "x"]).args(NOWHERE)).code, Some(2));
}

/// The heads of the request that a command makes to a server that knows nothing.
fn heads(command: &mut Command) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(&stream).lines().map(Result::unwrap);
        let heads: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        (&stream).write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n").unwrap();
        heads
    });
    let told = run(command.args(["--url", &url]));
    assert_eq!(told.code, Some(1), "{told:?}");
    heard.join().unwrap()
}

#[test]
fn whoever_names_an_account_does_not_call_with_the_environments_session() {
    let list = |args: &[&str], environment: &[(&str, &str)]| {
        let mut command = program();
        command.args(["directory", "list"]).args(args).envs(environment.iter().copied());
        let heads = heads(&mut command);
        let value = |name: &str| heads.iter().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        (value("authorization: Bearer "), value("acquaint-account: "))
    };
    let session = ("ACQUAINT_SESSION", "s");
    let (back_end, person) = ((Some("k".into()), Some("u".into())), (Some("s".into()), None));
    assert_eq!(list(&["--actor", "u", "--api-key", "k"], &[session]), back_end);
    assert_eq!(list(&["--api-key", "k"], &[session, ("ACQUAINT_ACTOR", "u")]), back_end);
    assert_eq!(list(&["--actor", "u"], &[session, ("ACQUAINT_API_KEY", "k")]), back_end);
    assert_eq!(list(&[], &[session, ("ACQUAINT_API_KEY", "k"), ("ACQUAINT_ACTOR", "u")]), person);
    assert_eq!(list(&["--session", "s", "--actor", "u", "--api-key", "k"], &[]), person);
}
