//! `acquaint directory load` through the real program: killed and run again, and every file that is none.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use acquaint_testkit::{did, number};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Server, Told, program, run, until};

fn server() -> Server {
    let mut server = Server::without_limits();
    server.set("ACQUAINT_DIRECTORY__PROVIDER", "contacts.example");
    server.start();
    server
}

fn command(server: &Server, file: &Path) -> std::process::Command {
    let mut command = program();
    command.args(["directory", "load", "--url", server.url()]).arg(file);
    command.env("ACQUAINT_API_KEY", server.api_key());
    command
}

fn load(server: &Server, file: &Path, more: &[&str]) -> Told {
    run(command(server, file).args(more))
}

fn file(server: &Server, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = server.home().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn beside(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}.loaded", file.display()))
}

fn listings(server: &Server) -> i64 {
    let database: Connection = server.database();
    database.query_row("SELECT count(*) FROM listings", [], |row| row.get(0)).unwrap()
}

/// Addresses, as there are only a thousand numbers to be had.
fn many(rows: usize) -> String {
    let mut text = "account,identifier\n".to_owned();
    for n in 0..rows {
        writeln!(text, "{},user{n}@example.com", did(n)).unwrap();
    }
    text
}

#[test]
fn a_file_is_loaded_and_again_finds_it_unchanged() {
    let server = server();
    // In any order, from a spreadsheet, with what a number is written with, and a mapping of another index.
    let text = format!(
        "\u{feff}Username, account ,INDEX,identifier\r\n\
         ada,{},,{}\r\n\"\",{},0,\" +1 (212) 555-0102\"\r\n,{},7,{}\r\n\r\nbob,{},255,Bob@Example.com\r\n",
        did(1),
        number(1),
        did(2),
        did(3),
        number(1),
        did(4)
    );
    let users = file(&server, "users.csv", text);
    let told = load(&server, &users, &[]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(told.out, "4 mappings: 4 loaded, 0 unchanged, 0 refused\n");
    assert!(!beside(&users).exists());
    assert_eq!(listings(&server), 4);
    let told = load(&server, &users, &["--json"]);
    let json: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((&json["rows"], &json["unchanged"]), (&Value::from(4), &Value::from(4)), "{told:?}");
    let empty = file(&server, "empty.csv", "identifier,account\n");
    assert_eq!(load(&server, &empty, &[]).out, "0 mappings: 0 loaded, 0 unchanged, 0 refused\n");
    let log = server.log();
    assert!(!log.contains("5550101") && !log.contains("did:plc:"), "{log}");
}

#[test]
fn rows_that_are_refused_are_told_by_their_lines() {
    let server = server();
    let mut text = format!("identifier,account,index\n{},{},\n", number(1), did(1));
    // Of the file, before anything is sent; and of the server.
    writeln!(
        text,
        "{},{},256\n{},{}\n,{},\nsecret,{},",
        number(2),
        did(2),
        number(2),
        did(2),
        did(2),
        did(2)
    )
    .unwrap();
    writeln!(
        text,
        "{},secret,\n\"+1 212-555-0101\",{},0\n\"{}\",{},+1",
        number(3),
        did(9),
        number(4),
        did(4)
    )
    .unwrap();
    for n in 0..30 {
        writeln!(text, "nobody{n}@,{},", did(n)).unwrap();
    }
    writeln!(text, "{},{},1", number(5), did(5)).unwrap();
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"\xff@example.com,did:plc:a,0\n");
    let users = file(&server, "users.csv", bytes);
    let all = server.home().join("refused.csv");
    let told = load(&server, &users, &["--refused", all.to_str().unwrap()]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert_eq!(told.out, "40 mappings: 2 loaded, 0 unchanged, 38 refused\n");
    for line in [
        "line 3: index: must be a number from 0 to 255",
        "line 4: it has 2 fields, and the first line has 3",
        "line 5: identifier: ",
        "line 6: identifier: ",
        "line 7: account: not a DID",
        "line 8: line 2 has this identifier and index already",
        "line 9: index: must be a number",
        "and 18 more: ",
        "error: 38 rows are not in the directory",
    ] {
        assert!(told.err.contains(line), "{line}: {told:?}");
    }
    assert!(!told.err.contains("line 23:"), "twenty are told");
    let list = std::fs::read_to_string(&all).unwrap();
    assert_eq!(list.lines().count(), 39);
    assert!(
        list.starts_with("line,reason\n3,\"index") && list.contains("\n41,\"it is not UTF-8\""),
        "{list}"
    );
    for text in [&told.err, &list, &server.log()] {
        assert!(!text.contains("secret") && !text.contains("nobody") && !text.contains("5550101"), "{text}");
    }
    assert!(!beside(&users).exists());
}

#[test]
fn a_file_that_is_none_says_why() {
    let server = server();
    let wrong = |name: &str, text: &[u8], wanted: &[&str]| {
        let told = load(&server, &file(&server, name, text), &[]);
        assert_eq!((told.code, told.out.as_str()), (Some(1), ""), "{told:?}");
        assert!(wanted.iter().all(|wanted| told.err.contains(wanted)), "{told:?}");
        assert!(!told.err.contains("5550101") && !beside(&server.home().join(name)).exists(), "{told:?}");
    };
    let columns = "must name the columns `identifier` and `account`";
    wrong("a.csv", b"", &["a.csv is empty", "`identifier,account`"]);
    wrong("b.csv", b"identifier\n+12125550101\n", &[columns]);
    wrong("c.csv", b"phone,account,e mail\n", &[columns, "`phone`, `e mail` is not known"]);
    wrong("d.csv", b"+12125550101,did:plc:a\n", &[columns, "it holds a mapping instead"]);
    wrong("e.csv", b"identifier,account,Account\n", &["the column `account` twice"]);
    wrong("f.csv", b"\xff\xfei\0d\0", &["UTF-16", "save it as UTF-8"]);
    wrong("g.csv", b"identifier;account\n+12125550101;did:plc:a\n", &["`identifier;account` is not known"]);
    let told = load(&server, &server.home(), &[]);
    assert!(told.code == Some(1) && told.err.contains("is no file"), "{told:?}");
    let told = load(&server, Path::new("/no/such.csv"), &[]);
    assert!(told.code == Some(1) && told.err.contains("cannot read /no/such.csv"), "{told:?}");
    // A quotation mark that nobody closed takes the rest of the file into its field.
    let rest = format!("identifier,account\n{},{}\n\"{}", number(1), did(1), many(500));
    let told = load(&server, &file(&server, "h.csv", rest), &[]);
    assert!(told.code == Some(1) && told.err.contains("line 3: it has 1 fields"), "{told:?}");
    assert_eq!(listings(&server), 1);

    let users = file(&server, "users.csv", many(3));
    let mut wrong_key = command(&server, &users);
    let told = run(wrong_key.env("ACQUAINT_API_KEY", "wrong"));
    assert!(told.code == Some(1) && told.err.contains("refuses the API key"), "{told:?}");
    let told = load(&server, &users, &["--state", "/no/such/state"]);
    assert!(told.code == Some(1) && told.err.contains("cannot write /no/such/state"), "{told:?}");
    let told = load(&server, &users, &["--refused", "/no/such/list"]);
    assert!(told.code == Some(1) && told.err.contains("cannot write /no/such/list"), "{told:?}");
    assert_eq!(listings(&server), 1);
    let mut bare = Server::without_limits();
    bare.start();
    let told = load(&bare, &users, &[]);
    assert!(told.code == Some(1) && told.err.contains("this server has no directory"), "{told:?}");
}

/// SIGKILL, whenever it comes: what was in stays in, and the next run goes on behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_goes_on_where_it_was() {
    const ROWS: usize = 12_000;
    let mut server = server();
    let mut text = many(ROWS);
    text.push_str("did:plc:bad,nobody@\n");
    let users = file(&server, "users.csv", text.replace("user3@", "user3"));
    let state = beside(&users);
    let list = server.home().join("refused.csv");
    let done = || -> Option<Value> { serde_json::from_slice(&std::fs::read(&state).ok()?).ok() };
    let begin = |server: &Server| {
        let mut command = command(server, &users);
        command.args(["--at-once", "2", "--refused", list.to_str().unwrap()]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut before = 0;
    for _ in 0..3 {
        let mut loading = begin(&server);
        let rows = until("some rows more", || {
            let rows = done()?["rows"].as_u64()?;
            (rows > before).then_some(rows)
        });
        before = rows.await;
        loading.kill().unwrap();
        loading.wait().unwrap();
        assert!(done().unwrap()["rows"].as_u64().unwrap() >= before);
    }
    let rows = done().unwrap()["rows"].as_u64().unwrap();
    assert!((3_000..ROWS as u64).contains(&rows), "{rows}");
    assert!(listings(&server) >= i64::try_from(rows).unwrap() - 1);
    // Another file of that name, another server, and a state that is none.
    let kept = std::fs::read(&state).unwrap();
    let csv = std::fs::read(&users).unwrap();
    std::fs::write(&users, [csv.as_slice(), b"did:plc:more,more@example.com\n"].concat()).unwrap();
    let told = load(&server, &users, &[]);
    assert!(told.code == Some(1) && told.err.contains("tells of another file"), "{told:?}");
    assert!(told.err.contains(&format!("{rows} rows")), "{told:?}");
    std::fs::write(&users, &csv).unwrap();
    std::fs::write(&state, b"{}").unwrap();
    let told = load(&server, &users, &[]);
    assert!(told.code == Some(1) && told.err.contains("does not say how far a load is"), "{told:?}");
    std::fs::write(&state, &kept).unwrap();
    let mut elsewhere = program();
    elsewhere.args(["directory", "load", "--url", "http://127.0.0.1:9"]).arg(&users);
    let told = run(elsewhere.env("ACQUAINT_API_KEY", server.api_key()));
    assert!(told.code == Some(1) && told.err.contains("tells of a load into"), "{told:?}");
    assert_eq!(std::fs::read(&state).unwrap(), kept);

    // The server is killed as well, and comes back.
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    server.kill();
    server.set("ACQUAINT_LISTEN", &format!("127.0.0.1:{port}"));
    server.start();
    let told = load(&server, &users, &["--refused", list.to_str().unwrap()]);
    assert_eq!(told.code, Some(1), "two rows are wrong: {told:?}");
    assert!(told.err.contains(&format!("Going on behind row {rows}.")), "{told:?}");
    assert!(
        told.err.contains("line 5: identifier") && told.err.contains("line 12002: identifier"),
        "{told:?}"
    );
    assert!(told.out.starts_with("12001 mappings: ") && told.out.ends_with("2 refused\n"), "{told:?}");
    assert!(!state.exists());
    assert_eq!(listings(&server), i64::try_from(ROWS).unwrap() - 1);
    let list = std::fs::read_to_string(&list).unwrap();
    assert_eq!(list.lines().count(), 3, "each once: {list}");
    let again = load(&server, &users, &["--json"]);
    let json: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(
        (&json["unchanged"], &json["refused"]),
        (&Value::from(ROWS - 1), &Value::from(2)),
        "{again:?}"
    );
}

#[test]
fn nothing_is_written_over_that_is_no_list_and_no_state() {
    let server = server();
    let text = format!("{}did:plc:bad,nobody@\n", many(3));
    let users = file(&server, "users.csv", &text);
    let (link, hard) = (server.home().join("link.csv"), server.home().join("hard.csv"));
    std::os::unix::fs::symlink(&users, &link).unwrap();
    std::fs::hard_link(&users, &hard).unwrap();
    let foreign = file(&server, "notes.txt", "line,reasons\n");
    let new = server.home().join("new");
    let text_of = |path: &Path| path.to_str().unwrap().to_owned();
    let refused = |args: &[(&str, &Path)], wanted: &str| {
        let args: Vec<_> = args.iter().flat_map(|(name, path)| [(*name).to_owned(), text_of(path)]).collect();
        let told = load(&server, &users, &args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(told.code == Some(1) && told.err.contains(wanted), "{wanted}: {told:?}");
        assert!(!told.err.contains("Delete"), "{told:?}");
        assert_eq!(std::fs::read_to_string(&users).unwrap(), text, "{told:?}");
        assert!(!beside(&users).exists() && !new.exists(), "{told:?}");
    };
    for same in [&users, &link, &hard] {
        refused(&[("--refused", same)], "the mappings and --refused are the same file");
        refused(&[("--state", same)], "the mappings and --state are the same file");
    }
    refused(&[("--refused", &new), ("--state", &new)], "--state and --refused are the same file");
    refused(&[("--refused", &beside(&users))], "--state and --refused are the same file");
    refused(&[("--refused", &foreign)], "is no list of refused rows");
    refused(&[("--state", &foreign)], "does not say how far a load is");
    refused(&[("--refused", &server.home())], "cannot write");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "line,reasons\n");
    assert_eq!(listings(&server), 0);

    // A list of an earlier load is made anew, once the server has answered.
    let old = "line,reason\n99,\"of another time\"\n";
    let list = file(&server, "refused.csv", old);
    let told =
        run(command(&server, &users).args(["--refused", &text_of(&list)]).env("ACQUAINT_API_KEY", "wrong"));
    assert!(told.code == Some(1) && told.err.contains("refuses the API key"), "{told:?}");
    assert_eq!(std::fs::read_to_string(&list).unwrap(), old);
    let told = load(&server, &users, &["--refused", &text_of(&list)]);
    assert_eq!(told.out, "4 mappings: 3 loaded, 0 unchanged, 1 refused\n", "{told:?}");
    let listed = std::fs::read_to_string(&list).unwrap();
    assert!(listed.starts_with("line,reason\n5,") && listed.lines().count() == 2, "{listed}");
}

/// One at a time; and a list says what it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_under_way_keeps_others_away() {
    let server = server();
    let mut text = "account,identifier\n".to_owned();
    (0..30).for_each(|n| writeln!(text, "{},nobody{n}@", did(n)).unwrap());
    text.push_str(many(9_000).strip_prefix("account,identifier\n").unwrap());
    text.push_str("did:plc:bad,nobody@\n");
    let users = file(&server, "users.csv", text);
    let state = beside(&users);
    let rows = || -> Option<u64> {
        serde_json::from_slice::<Value>(&std::fs::read(&state).ok()?).ok()?["rows"].as_u64()
    };
    let mut first = command(&server, &users);
    let first = first.args(["--at-once", "1"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = first.spawn().unwrap();
    until("some rows", || rows().filter(|rows| *rows > 0)).await;
    // As if it were slow.
    let stopped = std::process::Command::new("kill").args(["-STOP", &first.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    let list = server.home().join("refused.csv");
    let with_list = ["--refused", list.to_str().unwrap()];
    for args in [&with_list[..], &[]] {
        let told = load(&server, &users, args);
        assert!(told.code == Some(1) && told.err.contains("another load is under way"), "{told:?}");
    }
    assert!(!list.exists());
    first.kill().unwrap();
    first.wait().unwrap();
    let done = rows().unwrap();
    assert!((1..9_000).contains(&done), "{done}");

    let told = load(&server, &users, &with_list);
    assert!(told.code == Some(1) && told.out.ends_with("31 refused\n"), "{told:?}");
    assert!(
        told.err.contains("and 11 more: ") && told.err.contains("has all from line 32 on; 30 before it"),
        "{told:?}"
    );
    assert_eq!(std::fs::read_to_string(&list).unwrap().lines().count(), 2);
    // From the beginning, it has them all.
    let told = load(&server, &users, &with_list);
    assert!(told.err.contains("refused.csv has them all"), "{told:?}");
    assert_eq!(std::fs::read_to_string(&list).unwrap().lines().count(), 32);
}

#[test]
fn rows_that_are_long_do_not_make_a_request_too_large() {
    let server = server();
    let long = "a".repeat(4_000);
    let mut text = "account,identifier,username\n".to_owned();
    (0..1_000).for_each(|n| writeln!(text, "did:plc:{long},u{n}{long}@example.com,{long}").unwrap());
    writeln!(text, "{},{},", did(1), number(1)).unwrap();
    let told = load(&server, &file(&server, "users.csv", text), &[]);
    assert_eq!(told.out, "1001 mappings: 1 loaded, 0 unchanged, 1000 refused\n", "{told:?}");
}
