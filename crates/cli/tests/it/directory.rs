//! The directory through the real program: being listed, looking up with a book, keys, and a server that is killed.

use acquaint_testkit::{did, number};
use serde_json::Value;

use crate::support::{Server, Told, program, run};

/// A server with a directory, and the key of a back end that it lets in.
fn server() -> (Server, String) {
    server_with(&[])
}

/// As [`server`], with more of its configuration.
pub(crate) fn server_with(more: &[(&str, &str)]) -> (Server, String) {
    let mut server = Server::without_limits();
    let made = run(program().args(["api-key", "tests", "--json"]));
    let made: Value = serde_json::from_str(&made.out).unwrap();
    server.set("ACQUAINT_SESSIONS__API_KEYS", made["entry"].as_str().unwrap());
    server.set("ACQUAINT_DIRECTORY__PROVIDER", "contacts.example");
    for (name, value) in more {
        server.set(name, value);
    }
    server.start();
    (server, made["key"].as_str().unwrap().to_owned())
}

/// A command for the account `who`, by the back end.
pub(crate) fn called(server: &Server, key: &str, who: usize, words: &[&str]) -> Told {
    let mut command = program();
    command.args(words).args(["--url", server.url(), "--actor", &did(who)]);
    run(command.env("ACQUAINT_API_KEY", key))
}

pub(crate) fn well(told: Told) -> Told {
    assert_eq!(told.code, Some(0), "{told:?}");
    told
}

/// The operator's command.
fn operated(server: &Server, words: &[&str]) -> Told {
    let mut command = program();
    command.args(words).args(["--url", server.url()]);
    well(run(command.env("ACQUAINT_API_KEY", server.api_key())))
}

/// The code that was sent last.
fn code(server: &Server) -> String {
    let outbox = std::fs::read_to_string(server.home().join("outbox.txt")).unwrap();
    outbox.lines().last().unwrap().split_whitespace().last().unwrap().to_owned()
}

pub(crate) fn listed(server: &Server, key: &str, who: usize) -> Value {
    well(called(server, key, who, &["directory", "verify", "--send", &number(who)]));
    let verify = ["directory", "verify", "--code", &code(server), &number(who)];
    let token = well(called(server, key, who, &verify)).out.trim().to_owned();
    let told = well(called(server, key, who, &["directory", "enrol", "--token", &token, "--json"]));
    serde_json::from_str(&told.out).unwrap()
}

#[test]
fn a_person_is_listed_found_and_withdrawn_and_a_killed_server_knows_it() {
    let (mut server, key) = server();
    let listing = listed(&server, &key, 1);
    assert_eq!(listing["identifier"], number(1));
    let list = well(called(&server, &key, 1, &["directory", "list"]));
    assert!(list.out.contains(&number(1)) && list.err.contains("1 listing"), "{list:?}");

    let book = server.home().join("friends.book");
    let book = book.to_str().unwrap();
    let people = ["lookup", "--book", book, &number(1), &number(2)];
    let first = well(called(&server, &key, 9, &people));
    assert_eq!(first.out, format!("{}\t{}\n", number(1), did(1)), "{first:?}");
    let status = operated(&server, &["directory", "status", "--json"]);
    let status: Value = serde_json::from_str(&status.out).unwrap();
    let provider = status["signing_key"].as_str().unwrap();
    assert!(first.err.contains(provider), "the key that was met first is told: {first:?}");
    let again = well(called(&server, &key, 9, &[&people[..], &["--json"]].concat()));
    let again: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!((&again["asked"], &again["fresh"]), (&0.into(), &2.into()), "{again}");
    let pinned = ["lookup", "--provider-key", provider, &number(1)];
    assert_eq!(well(called(&server, &key, 9, &pinned)).out.lines().count(), 1);
    let other = "A".repeat(43);
    let wrong = called(&server, &key, 9, &["lookup", "--provider-key", &other, &number(1)]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(1), ""), "{wrong:?}");

    server.kill();
    server.start();
    assert_eq!(well(called(&server, &key, 9, &pinned)).out.lines().count(), 1, "it is read again");
    let rotated = operated(&server, &["directory", "rotate", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&rotated.out).unwrap()["epoch"], 2);
    well(called(&server, &key, 1, &["directory", "withdraw", "--all"]));
    server.kill();
    server.start();
    let gone = well(called(&server, &key, 9, &pinned));
    assert_eq!(gone.out, "", "{gone:?}");
}

#[test]
fn a_wrong_code_is_told_and_another_try_is_right() {
    let (server, key) = server();
    well(called(&server, &key, 1, &["directory", "verify", "--send", &number(1)]));
    let sent = code(&server);
    let wrong = if sent == "000000" { "000001" } else { "000000" };
    let refused = called(&server, &key, 1, &["directory", "verify", "--code", wrong, &number(1)]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("the six digits that were sent last"), "{refused:?}");
    let right = well(called(&server, &key, 1, &["directory", "verify", "--code", &sent, &number(1)]));
    assert!(right.out.trim().len() > 50, "{right:?}");
    // A token of the one is none of the other.
    let import = called(&server, &key, 1, &["directory", "enrol", "--token", "x"]);
    assert!(import.code == Some(1) && import.err.contains("token is not valid"), "{import:?}");
}

#[test]
fn a_server_without_a_directory_says_so() {
    let mut server = Server::new();
    server.start();
    let status = operated(&server, &["directory", "status"]);
    assert!(status.err.contains("no directory"), "{status:?}");
    let mut rotate = program();
    rotate.args(["directory", "rotate", "--url", server.url()]).env("ACQUAINT_API_KEY", server.api_key());
    let rotate = run(&mut rotate);
    assert!(rotate.code == Some(1) && rotate.err.contains("no directory"), "{rotate:?}");
}
