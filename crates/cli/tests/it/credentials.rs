//! Credentials through the real program: an accounts' service that issues, and another operator's service that checks.

use acquaint_testkit::{Answer, did};
use serde_json::Value;

use crate::support::{Server, Told, program, run};

fn command(server: &Server, words: &[&str]) -> Told {
    let mut command = program();
    command.args(words).arg("--config").arg(server.config());
    run(command.env("ACQUAINT_URL", server.url()).env("ACQUAINT_API_KEY", server.api_key()))
}

/// A command that must work, with `--json`.
fn json(server: &Server, words: &[&str]) -> Value {
    let told = run(program().args(words).arg("--json").arg("--config").arg(server.config()));
    assert_eq!(told.code, Some(0), "{told:?}");
    serde_json::from_str(&told.out).unwrap()
}

/// An API key for a back end, let in from the next start on.
fn api_key(server: &mut Server) -> String {
    let made = run(program().args(["api-key", "tests", "--json"]));
    assert_eq!(made.code, Some(0), "{made:?}");
    let made: Value = serde_json::from_str(&made.out).unwrap();
    server.set("ACQUAINT_SESSIONS__API_KEYS", made["entry"].as_str().unwrap());
    made["key"].as_str().unwrap().to_owned()
}

async fn get(server: &Server, path: &str, headers: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    Answer::of(server.url(), request.as_bytes()).await
}

async fn verify(server: &Server, key: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let request = format!(
        "POST /v1/credentials/verify HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    Answer::of(server.url(), request.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_share_a_signing_key_and_nothing_else() {
    let (mut accounts, mut discovery) = (Server::new(), Server::new());
    assert_eq!(json(&accounts, &["keys", "audience"])["number"], 1);
    let file = accounts.home().join("audience.key");
    let path = file.to_str().unwrap();
    json(&accounts, &["keys", "audience", "--share", "1", "--to", path]);
    let again = command(&accounts, &["keys", "audience", "--share", "1", "--to", path]);
    assert_eq!(again.code, Some(1), "it is never written over: {again:?}");
    assert_eq!(json(&discovery, &["keys", "audience", "--take", path])["number"], 1);
    accounts.set("ACQUAINT_CREDENTIALS__AUDIENCES", "discovery:1");
    discovery.set("ACQUAINT_CREDENTIALS__ACCEPTED", "discovery:1");
    let (key, others) = (api_key(&mut accounts), api_key(&mut discovery));
    accounts.start();
    discovery.start();
    let session = format!("authorization: Bearer {key}\r\nacquaint-account: {}\r\n", did(1));
    let issued = get(&accounts, "/v1/contact-discovery/credentials", &session).await;
    assert_eq!(issued.status, 200, "{issued:?}");
    let answer = verify(&discovery, &others, &issued.json()).await;
    assert_eq!((answer.status, &answer.json()["valid"]), (200, &Value::from(true)), "{answer:?}");
    // It takes them, and issues none itself; nor does it let the other's API key in.
    let session = format!("authorization: Bearer {others}\r\nacquaint-account: {}\r\n", did(1));
    assert_eq!(get(&discovery, "/v1/contact-discovery/credentials", &session).await.status, 404);
    assert_eq!(verify(&discovery, &key, &issued.json()).await.status, 401);
    // The audit log, as the operator sees it.
    let told = command(&accounts, &["audit"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(
        told.out.contains("contact_discovery.credentials_issued") && !told.out.contains("did:"),
        "{told:?}"
    );
    let listed = command(&accounts, &["audit", "--json"]);
    let event: Value = serde_json::from_str(listed.out.lines().next().unwrap()).unwrap();
    assert_eq!(event["token_expiry_seconds"], 86_400);
    let after = event["id"].to_string();
    assert_eq!(command(&accounts, &["audit", "--json", "--after", &after]).out, "");
    // Killed at once after an answer: what was charged and noted is there.
    for _ in 0..3 {
        let session = format!("authorization: Bearer {key}\r\nacquaint-account: {}\r\n", did(2));
        assert_eq!(get(&accounts, "/v1/contact-discovery/credentials", &session).await.status, 200);
    }
    accounts.kill();
    accounts.start();
    let listed = command(&accounts, &["audit", "--json", "--after", &after]);
    assert_eq!(listed.out.lines().count(), 3, "{listed:?}");
    for server in [&mut accounts, &mut discovery] {
        assert!(server.stop().success());
        for secret in
            [did(1), did(2), key.clone(), others.clone(), issued.text("password"), issued.text("username")]
        {
            assert!(!server.log().contains(&secret), "the log has it");
        }
    }
}

#[test]
fn what_is_wrong_is_told_before_anybody_asks() {
    let mut server = Server::new();
    server.set("ACQUAINT_CREDENTIALS__AUDIENCES", "discovery:1");
    let told = run(&mut server.serve_command());
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("`acquaint keys audience` makes the keys"), "{told:?}");
    server.set("ACQUAINT_CREDENTIALS__AUDIENCES", "discovery");
    let told = run(&mut server.serve_command());
    assert!(told.err.contains("`credentials.audiences` must be a list of `NAME:NUMBER`"), "{told:?}");
    let file = server.home().join("no.key");
    std::fs::write(&file, "cheese\n").unwrap();
    let take = |server: &Server| command(server, &["keys", "audience", "--take", file.to_str().unwrap()]);
    assert!(take(&server).err.contains("chmod 600"), "{:?}", take(&server));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(take(&server).err.contains("64 hexadecimal digits"), "{:?}", take(&server));
    assert_eq!(json(&server, &["keys", "audience"])["number"], 1);
    assert_eq!(json(&server, &["keys", "audience", "--destroy", "1"])["number"], 1);
    let none = command(&server, &["keys", "audience", "--destroy", "1"]);
    assert!(none.code == Some(1) && none.err.contains("no keys of audience 1"), "{none:?}");
    let name = run(program().args(["api-key", "Not A Name"]));
    assert!(name.code == Some(1) && name.err.contains("`a-z`"), "{name:?}");
}
