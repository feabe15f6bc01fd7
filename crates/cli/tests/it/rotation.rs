//! Pair keys are rotated and retired under running servers.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use acquaint_testkit::postgres::PostgresServer;
use serde_json::Value;

use crate::custody::{Hsm, made};
use crate::support::{Person, Server, Told, finish, number, program, run, until};

fn keys(config: &Path, words: &[&str]) -> Told {
    run(program().arg("keys").args(words).arg("--config").arg(config))
}

/// As `keys`, at a server.
fn at(server: &Server, words: &[&str]) -> Told {
    at_with(server, &server.config(), words, "")
}

fn at_with(server: &Server, config: &Path, words: &[&str], typed: &str) -> Told {
    let mut command = program();
    command.arg("keys").args(words).arg("--config").arg(config);
    command.env("ACQUAINT_URL", server.url()).env("ACQUAINT_API_KEY", server.api_key());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    finish(child)
}

/// Version, state, and how many servers check it, newest first.
fn epochs(server: &Server) -> Vec<(u64, String, u64)> {
    let told = at(server, &["epochs", "--json"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let value: Value = serde_json::from_str(&told.out).unwrap();
    let epoch = |epoch: &Value| {
        let number = |field: &str| epoch[field].as_u64().unwrap();
        (number("version"), epoch["state"].as_str().unwrap().to_owned(), number("servers"))
    };
    value["epochs"].as_array().unwrap().iter().map(epoch).collect()
}

async fn until_epochs(server: &Server, expected: &[(u64, &str, u64)]) {
    let expected: Vec<_> = expected.iter().map(|(n, state, by)| (*n, (*state).to_owned(), *by)).collect();
    until(&format!("{expected:?}"), || (epochs(server) == expected).then_some(())).await;
}

fn people<const N: usize>(server: &Server, names: [&str; N]) -> [Person; N] {
    let mut index = 0;
    names.map(|name| {
        index += 1;
        server.person(&format!("did:plc:{name}"), &number(index))
    })
}

/// The first servers' one knows of the other.
async fn import(person: &Person, contacts: &[&Person]) {
    person.import(contacts.iter().map(|contact| contact.phone.clone()).collect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_with_a_key_file_each() {
    let postgres = PostgresServer::start();
    let database = postgres.database(None);
    let mut first = Server::without_limits();
    first.set("ACQUAINT_STORE__KIND", "postgres");
    first.set("ACQUAINT_STORE__POSTGRES", &postgres.connection(&database));
    let mut second = first.beside();
    first.start();
    second.start();
    let [ada, bob, cid, dan, eve, fay] = people(&first, ["ada", "bob", "cid", "dan", "eve", "fay"]);
    let [_, _, _, _, eve_there, _] = people(&second, ["ada", "bob", "cid", "dan", "eve", "fay"]);
    until_epochs(&first, &[(1, "current", 2)]).await;
    import(&ada, &[&bob]).await;
    import(&cid, &[&dan]).await;

    let told = keys(&first.config(), &["rotate"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("Made pair key 2") && !told.out.contains("as long"), "{told:?}");
    until_epochs(&first, &[(2, "next", 1), (1, "current", 2)]).await;
    assert!(at(&first, &["epochs"]).err.contains("put the new key on all of them"));
    // One server hashes for both epochs, the other for the older one; both insert under that.
    import(&bob, &[&ada]).await;
    import(&eve_there, &[&fay]).await;
    assert_eq!(bob.matches().await, ["did:plc:ada"]);
    assert_eq!(postgres.sql(&database, "SELECT count(*) FROM pairs WHERE epoch <> 1"), "0");
    let told = at(&first, &["retire", "1", "--yes"]);
    assert!(told.code == Some(1) && told.err.contains("is the current one"), "{told:?}");
    // A restart in the middle, with the old file.
    assert_eq!(second.stop().code(), Some(0));
    second.start();
    assert!(second.log().contains("a rotation waits for this server: put pair key 2"), "{}", second.log());
    // A rotation can be called off; and whoever still has the key takes it up again.
    let told = at_with(&first, &second.config(), &["retire", "2"], "yes\n");
    assert!(told.code == Some(0) && told.err.contains("Forget epoch 2"), "{told:?}");
    until_epochs(&first, &[(2, "next", 1), (1, "current", 2)]).await;

    // A key of its own under the same number is a stranger's, and no command takes it for the other.
    let told = keys(&second.config(), &["rotate"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let told = at_with(&first, &second.config(), &["retire", "2", "--yes"], "");
    assert!(told.code == Some(1) && told.err.contains("is not the one of the service at"), "{told:?}");
    until("the refusal", || second.log().contains("another one than the other servers have").then_some(()))
        .await;
    until_epochs(&first, &[(2, "next", 1), (1, "current", 2)]).await;
    let fay_there = second.person("did:plc:fay", &number(6));
    import(&fay_there, &[&eve]).await;
    assert_eq!(fay_there.matches().await, ["did:plc:eve"]);
    second.stop();
    std::fs::copy(first.home().join("keys.json"), second.home().join("keys.json")).unwrap();
    second.start();
    until_epochs(&first, &[(2, "current", 2), (1, "older", 2)]).await;

    // From now on under the new one; what stands under the old one is found.
    let there = second.person("did:plc:dan", &number(4));
    import(&ada, &[&bob, &fay]).await;
    assert_eq!(
        postgres.sql(&database, "SELECT epoch, count(*) FROM pairs GROUP BY 1 ORDER BY 1"),
        "1|1\n2|1"
    );
    assert_eq!(
        postgres.sql(&database, "SELECT epoch, count(*) FROM links GROUP BY 1 ORDER BY 1"),
        "1|1\n2|1"
    );

    let told = at_with(&first, &first.config(), &["retire", "1"], "y\n");
    assert!(told.code == Some(1) && told.err.contains("nothing was changed"), "{told:?}");
    assert!(told.err.contains("Delete 1 unmatched contacts and 1 matches"), "{told:?}");
    assert!(told.err.contains("destroy pair key 1"), "{told:?}");
    until_epochs(&second, &[(2, "current", 2), (1, "older", 2)]).await;
    let told = at_with(&first, &first.config(), &["retire", "1"], "yes\n");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("nothing stands under it any more, and its key is destroyed"), "{told:?}");
    for table in ["pairs", "links", "matches"] {
        assert_eq!(postgres.sql(&database, &format!("SELECT count(*) FROM {table} WHERE epoch = 1")), "0");
    }
    assert_eq!(ada.matches().await, ["did:plc:bob"], "it had moved to the new epoch");
    assert_eq!(eve.matches().await, Vec::<String>::new(), "it had not");
    // Who had not imported again is found no more, until they do.
    import(&there, &[&cid]).await;
    assert_eq!(dan.matches().await, Vec::<String>::new());
    import(&cid, &[&dan]).await;
    assert_eq!(dan.matches().await, ["did:plc:cid"]);

    // The doctor knows that the data no longer needs the key.
    let mut doctor = program();
    doctor.args(["doctor", "--config"]).arg(first.config());
    doctor.env("ACQUAINT_STORE__KIND", "postgres");
    doctor.env("ACQUAINT_STORE__POSTGRES", postgres.connection(&database));
    let told = run(&mut doctor);
    assert!(told.out.contains("ok      key file: "), "{told:?}");

    // The file has no such key; where a copy has it, it is used no more. Either starts again.
    let listed = keys(&first.config(), &["list", "--json"]).out;
    assert!(!listed.contains(r#""purpose":"pair","suite":"development","version":1"#), "{listed}");
    let pairs: Value = serde_json::from_str(&listed).unwrap();
    let versions: Vec<_> = pairs["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["purpose"] == "pair")
        .map(|key| key["version"].clone())
        .collect();
    assert_eq!(versions, [2]);
    for server in [&mut first, &mut second] {
        assert_eq!(server.stop().code(), Some(0));
        server.start();
    }
    until_epochs(&second, &[(2, "current", 2), (1, "cleared", 0)]).await;
    let told = at(&second, &["retire", "1"]);
    assert!(
        told.code == Some(1) && told.err.contains("Nothing stands under epoch 1 any more. Destroy"),
        "{told:?}"
    );
    let told = at(&second, &["retire", "1", "--yes"]);
    assert_eq!(told.code, Some(0), "the copy's: {told:?}");
    let told = at(&second, &["retire", "1", "--yes"]);
    assert!(told.code == Some(0) && told.out.contains("was gone from here already"), "{told:?}");
    let told = at(&second, &["retire", "7", "--yes"]);
    assert!(told.code == Some(1) && told.err.contains("knows of no epoch 7"), "{told:?}");

    // A key that is lost while it is needed stops the work, and the start; what stands under it can be given up.
    let told = keys(&first.config(), &["rotate"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    std::fs::copy(first.home().join("keys.json"), second.home().join("keys.json")).unwrap();
    until_epochs(&first, &[(3, "current", 2), (2, "older", 2), (1, "cleared", 0)]).await;
    second.stop();
    let both = std::fs::read_to_string(first.home().join("keys.json")).unwrap();
    let mut lost: Value = serde_json::from_str(&both).unwrap();
    let is_lost = |key: &Value| key["purpose"] == "pair" && key["version"] == 2;
    lost["keys"].as_array_mut().unwrap().retain(|key| !is_lost(key));
    std::fs::write(first.home().join("keys.json"), lost.to_string()).unwrap();
    until("the alarm", || first.log().contains("the data needs pair key 2, and it is gone").then_some(()))
        .await;
    first.stop();
    let told = run(&mut first.serve_command());
    assert!(
        told.code == Some(1) && told.err.contains("needs the pair key, version 2, which is missing"),
        "{told:?}"
    );
    let give_up = |version: &str| {
        let mut command = program();
        command.args(["keys", "retire", version, "--lost", "--yes", "--config"]).arg(first.config());
        command.env("ACQUAINT_STORE__KIND", "postgres");
        run(command.env("ACQUAINT_STORE__POSTGRES", postgres.connection(&database)))
    };
    let told = give_up("3");
    assert!(told.code == Some(1) && told.err.contains("is not lost"), "{told:?}");
    let told = give_up("2");
    assert_eq!(told.code, Some(0), "{told:?}");
    first.start();
    until_epochs(&first, &[(3, "current", 1), (2, "cleared", 0), (1, "cleared", 0)]).await;
    second.start();
    first.stop();
    second.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hsm_behind_a_custody_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut hsm = Hsm::new(folder.path());
    made(&hsm);
    hsm.start();
    let mut server = hsm.behind();
    server.start();
    let [ada, bob, cid] = people(&server, ["ada", "bob", "cid"]);
    import(&ada, &[&bob]).await;
    import(&cid, &[&ada]).await;
    // Where the keys are not, none is made or destroyed.
    for words in [&["rotate"][..], &["retire", "1", "--yes"]] {
        let mut command = program();
        command.arg("keys").args(words).arg("--config").arg(server.config());
        let told =
            run(command.env("ACQUAINT_KEYS__CUSTODY", "process").env("ACQUAINT_KEYS__SOCKET", &hsm.socket));
        assert!(
            told.code == Some(1) && told.err.contains("the custody process's own configuration"),
            "{told:?}"
        );
    }
    let told = run(&mut hsm.command(&["keys", "rotate", "--new-pepper", "--json"]));
    assert_eq!(told.code, Some(0), "{told:?}");
    let made: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((made["version"].clone(), made["new_pepper"].clone()), (2.into(), true.into()));
    until_epochs(&server, &[(2, "current", 1), (1, "older", 1)]).await;
    import(&bob, &[&ada]).await;
    assert_eq!(ada.matches().await, ["did:plc:bob"]);
    // Killed in between, it goes on where it was.
    let retire = |server: &Server| {
        let mut command = hsm.command(&["keys", "retire", "1", "--yes", "--json"]);
        command.env("ACQUAINT_URL", server.url()).env("ACQUAINT_API_KEY", server.api_key());
        command
    };
    let mut child = retire(&server).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the retirement", || epochs(&server).contains(&(1, "cleared".into(), 0)).then_some(())).await;
    let _ = child.kill();
    child.wait().unwrap();
    server.kill();
    server.start();
    let told = run(&mut retire(&server));
    assert_eq!(told.code, Some(0), "{told:?}");
    let listed = run(&mut hsm.command(&["keys", "list", "--json"])).out;
    let pairs: Value = serde_json::from_str(&listed).unwrap();
    let count = pairs["keys"].as_array().unwrap().iter().filter(|key| key["purpose"] == "pair").count();
    assert_eq!(count, 1, "{listed}");
    // A back-up of now is restored without it.
    let copy = folder.path().join("copy.db");
    let config = server.config();
    let store = |word: &str| {
        let mut command = program();
        command.args(["store", word, "--config"]).arg(&config).arg(&copy);
        run(command.env("ACQUAINT_KEYS__CUSTODY", "process").env("ACQUAINT_KEYS__SOCKET", &hsm.socket))
    };
    let told = store("backup");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(server.stop().code(), Some(0));
    let told = store("restore");
    assert_eq!(told.code, Some(0), "{told:?}");
    server.start();
    let [ada, bob, cid] = people(&server, ["ada", "bob", "cid"]);
    assert_eq!(bob.matches().await, ["did:plc:ada"]);
    import(&ada, &[&cid]).await;
    assert_eq!(cid.matches().await, Vec::<String>::new(), "cid's half went with its epoch");
    hsm.kill();
    hsm.start();
    import(&cid, &[&ada]).await;
    assert_eq!(cid.matches().await, ["did:plc:ada"]);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(hsm.stop(), Some(0));
}
