//! What the program tells an operator of PostgreSQL, and what it never tells.

use std::process::Command;

use acquaint_testkit::postgres::PostgresServer;
use serde_json::Value;

use crate::support::{Server, program, run};

const PASSWORD: &str = "hunter2-hunter2";

fn command(server: &Server, connection: &str, words: &[&str]) -> Command {
    let mut command = program();
    command.args(words).arg("--config").arg(server.config());
    command.env("ACQUAINT_LISTEN", "127.0.0.1:0");
    command.env("ACQUAINT_STORE__KIND", "postgres").env("ACQUAINT_STORE__POSTGRES", connection);
    command
}

/// What `doctor` says of the database: verdict, finding, and what to do.
fn doctor(server: &Server, connection: &str) -> (String, String, String) {
    let told = run(&mut command(server, connection, &["doctor", "--json"]));
    assert!(!format!("{told:?}").contains(PASSWORD), "{told:?}");
    let report: Value = serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["what"] == "database").unwrap();
    let text = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(told.code == Some(0), report["ok"] == true);
    (text("verdict"), text("told"), text("advice"))
}

/// The same trouble ends a start with the same words, and without a secret.
fn no_start(server: &Server, connection: &str, part: &str) {
    let told = run(&mut command(server, connection, &["serve"]));
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains(part), "{part}: {told:?}");
    assert!(!format!("{told:?}").contains(PASSWORD), "{told:?}");
}

#[test]
fn doctor_names_what_is_wrong_with_the_database() {
    let postgres = PostgresServer::start();
    let database = postgres.database(None);
    let mut server = Server::new();
    let owner = postgres.connection(&database);
    let (verdict, told, _) = doctor(&server, &owner);
    assert!(verdict == "ok" && told.contains("the first start makes the tables"), "{told}");
    server.set("ACQUAINT_STORE__KIND", "postgres");
    server.set("ACQUAINT_STORE__POSTGRES", &owner);
    server.start();
    assert_eq!(server.stop().code(), Some(0));
    let (verdict, told, _) = doctor(&server, &owner);
    assert!(verdict == "ok" && told.contains("schema version 5"), "{told}");

    // Nobody there.
    let nowhere = format!("host=/nowhere/at/all user=postgres password={PASSWORD} dbname={database}");
    let (verdict, told, advice) = doctor(&server, &nowhere);
    assert!(verdict == "wrong" && told.contains("its socket is not there"), "{told}");
    assert!(advice.contains("start PostgreSQL"), "{advice}");
    no_start(&server, &nowhere, "its socket is not there");
    // No such database.
    let missing = format!("{} password={PASSWORD}", postgres.connection("nowhere"));
    let (verdict, told, advice) = doctor(&server, &missing);
    assert!(verdict == "wrong" && told.contains("there is no such database"), "{told}");
    assert!(advice.contains("make the database"), "{advice}");
    // A role without rights.
    postgres
        .sql(&database, "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    let reader = owner.replace("user=postgres", "user=reader");
    let (verdict, told, advice) = doctor(&server, &reader);
    assert!(verdict == "wrong" && told.contains("may not INSERT, UPDATE or DELETE on accounts"), "{told}");
    assert!(advice.contains("grant it"), "{advice}");
    // A wrong password.
    postgres.sql("postgres", "CREATE ROLE guarded LOGIN PASSWORD 'another one'");
    let rules = postgres.data().join("pg_hba.conf");
    let before = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, format!("local all guarded scram-sha-256\n{before}")).unwrap();
    postgres.sql("postgres", "SELECT pg_reload_conf()");
    let guarded = format!("{} password={PASSWORD}", owner.replace("user=postgres", "user=guarded"));
    let (verdict, told, advice) = doctor(&server, &guarded);
    assert!(verdict == "wrong" && told.contains("the role or its password is wrong"), "{told}");
    assert!(advice.contains("password"), "{advice}");
    no_start(&server, &guarded, "the role or its password is wrong");
    // A newer release has taken something away.
    postgres.sql(&database, "UPDATE acquaint_schema SET version = 9, usable_from = 9");
    let (verdict, told, advice) = doctor(&server, &owner);
    assert!(verdict == "wrong" && told.contains("schema version 9"), "{told}");
    assert!(advice.contains("newer program"), "{advice}");
    no_start(&server, &owner, "use a newer program");
}

#[test]
fn store_commands_say_what_postgresql_has_for_it() {
    let postgres = PostgresServer::shared();
    let database = postgres.database(None);
    let mut server = Server::new();
    let connection = postgres.connection(&database);
    for (words, instead) in [
        (&["store", "backup", "/nowhere/file"][..], "pg_dump"),
        (&["store", "restore", "/nowhere/file"], "pg_restore"),
        (&["store", "check"], "acquaint doctor"),
    ] {
        let told = run(&mut command(&server, &connection, words));
        assert!(told.code == Some(1) && told.err.contains(instead), "{told:?}");
        assert!(!told.err.contains(&connection), "{told:?}");
    }
    let embedded = run(program().args(["store", "rewrite", "--config"]).arg(server.config()));
    assert!(embedded.code == Some(1) && embedded.err.contains("embedded"), "{embedded:?}");

    server.set("ACQUAINT_STORE__KIND", "postgres");
    server.set("ACQUAINT_STORE__POSTGRES", &connection);
    server.start();
    // Beside a server that runs.
    let told = run(&mut command(&server, &connection, &["store", "rewrite", "--json"]));
    let report: Value = serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    assert!(report["ok"] == true && report["rewritten"] == report["tables"], "{report}");
    assert!(report["tables"].as_u64().unwrap() > 60, "{report}");
    postgres.sql(
        &database,
        &format!(
            "CREATE ROLE {database}_server LOGIN;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {database}_server"
        ),
    );
    let not_owner = connection.replace("user=postgres", &format!("user={database}_server"));
    let told = run(&mut command(&server, &not_owner, &["store", "rewrite"]));
    assert!(told.code == Some(1) && told.err.contains("the role lacks a privilege"), "{told:?}");
    assert_eq!(server.stop().code(), Some(0));
}
