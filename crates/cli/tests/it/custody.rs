//! Keys in an HSM, in a process of their own, and in a sealed file.

use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Instant;

use acquaint_client::ClientError;
use acquaint_testkit::softhsm::SoftHsm;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, Server, Told, number, program, run, until};

const PIN: &str = "a-pin-to-be-found-nowhere";
/// A permit as leaky buckets weigh it (`limits.level`).
const PERMIT: i64 = 86_400_000;

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A token, and a configuration that names it; no keys yet.
pub(crate) struct Hsm {
    hsm: SoftHsm,
    config: PathBuf,
    pub(crate) socket: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Hsm {
    pub(crate) fn new(folder: &Path) -> Self {
        let hsm = SoftHsm::new();
        hsm.token("acquaint", PIN);
        let (config, socket) = (folder.join("custody.toml"), folder.join("socket"));
        private(&folder.join("pin"), PIN);
        let text = format!(
            "[keys]\ncustody = \"pkcs11\"\nsuite = \"development\"\nsocket = \"{}\"\n[pkcs11]\nmodule = \"{}\"\n\
             token = \"acquaint\"\npin_file = \"pin\"\n[budget]\nfile = \"budget.json\"\npair_per_day = 100000\n",
            socket.display(),
            hsm.module().display()
        );
        std::fs::write(&config, text).unwrap();
        Self { hsm, config, socket, log: folder.join("custody.log"), child: None }
    }

    pub(crate) fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = program();
        command.args(words).arg("--config").arg(&self.config).env("SOFTHSM2_CONF", self.hsm.config());
        command
    }

    pub(crate) fn start(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let before = std::fs::read_to_string(&self.log).unwrap().len();
        let mut command = self.command(&["custody", "serve"]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.child.insert(command.spawn().unwrap());
        let began = Instant::now();
        loop {
            let ended = child.try_wait().unwrap();
            let text = std::fs::read_to_string(&self.log).unwrap();
            if text[before..].contains("serving keys at") {
                return;
            }
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "no start: {}", &text[before..]);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        child.wait().unwrap().code()
    }

    /// A server that asks the custody process.
    pub(crate) fn behind(&self) -> Server {
        let mut server = Server::without_limits();
        std::fs::remove_file(server.home().join("keys.json")).unwrap();
        server.set("ACQUAINT_KEYS__CUSTODY", "process");
        server.set("ACQUAINT_KEYS__SOCKET", self.socket.to_str().unwrap());
        server
    }

    /// A server that uses the token itself.
    fn server(&self) -> Server {
        let mut server = Server::without_limits();
        server.set("SOFTHSM2_CONF", self.hsm.config().to_str().unwrap());
        server.set("ACQUAINT_KEYS__CUSTODY", "pkcs11");
        server.set("ACQUAINT_PKCS11__MODULE", self.hsm.module().to_str().unwrap());
        server.set("ACQUAINT_PKCS11__TOKEN", "acquaint");
        server.set("ACQUAINT_PKCS11__PIN", PIN);
        server
    }
}

impl Drop for Hsm {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

pub(crate) fn made(hsm: &Hsm) {
    let told = run(&mut hsm.command(&["keys", "init"]));
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("6 keys in the token `acquaint`"), "{told:?}");
    assert!(!format!("{told:?}").contains(PIN));
}

fn doctor(server: &Server, variables: &[(&str, &str)]) -> Told {
    let mut command = server.serve_command();
    let environment: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command = program();
    command.arg("doctor").arg("--config").arg(server.config()).envs(environment);
    let told = run(command.envs(variables.iter().copied()));
    assert!(!format!("{told:?}").contains(PIN));
    told
}

fn wrong(told: &Told, what: &str, words: &[&str]) {
    let line = told.out.lines().find(|line| line.starts_with(&format!("WRONG   {what}: ")));
    let line = line.unwrap_or_else(|| panic!("no WRONG {what}: {told:?}"));
    for word in words {
        assert!(line.contains(word), "no {word:?} in {line:?}");
    }
}

fn count(server: &Server, sql: &str) -> i64 {
    server.database().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custody_process_that_is_killed_in_mid_import() {
    let folder = tempfile::tempdir().unwrap();
    let mut hsm = Hsm::new(folder.path());
    made(&hsm);
    let told = run(&mut hsm.command(&["keys", "init"]));
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("never made anew"), "{told:?}");
    hsm.start();

    let mut server = hsm.behind();
    server.set("ACQUAINT_POOL__THREADS", "1");
    server.set("ACQUAINT_IMPORT__DEADLINE_MS", "10");
    server.set("ACQUAINT_IMPORT__ACCOUNT_PAIRS_PER_DAY", "0");
    server.start();
    let ada = server.person("did:plc:ada", &number(0));
    let contacts: Vec<String> = (0..900).map(|index| format!("+1212560{index:04}")).collect();
    ada.import(contacts).await.unwrap();
    until("a first step", || {
        (count(&server, "SELECT coalesce(max(done), 900) FROM imports") > 0).then_some(())
    })
    .await;
    hsm.kill();
    let done = count(&server, "SELECT coalesce(max(done), -1) FROM imports");
    assert!((1..900).contains(&done), "the kill met no running import: {done}");
    // A person is told that it is not their fault, and the operator what is the matter.
    match server.client().start_verification("did:plc:bob", &number(1)).await {
        Err(ClientError::Unavailable { .. }) => {}
        Err(ClientError::Refused { reason, .. }) => assert_eq!(reason.to_string(), "INTERNAL_ERROR"),
        outcome => panic!("{outcome:?}"),
    }
    wrong(&doctor(&server, &[]), "custody", &["socket", "acquaint custody serve"]);

    hsm.start();
    until("the end of the import", || (count(&server, "SELECT count(*) FROM imports") == 0).then_some(()))
        .await;
    assert_eq!(count(&server, "SELECT count(*) FROM pairs"), 900);
    let level = "SELECT max(level) FROM limits WHERE limit_kind = 5";
    assert_eq!(count(&server, level), 900 * PERMIT, "an entry was charged twice, or not");

    // What the process tells of its keys and its budget.
    let mut list = program();
    list.args(["keys", "list", "--json", "--config"]).arg(server.config());
    list.env("ACQUAINT_KEYS__CUSTODY", "process").env("ACQUAINT_KEYS__SOCKET", &hsm.socket);
    let listed: serde_json::Value = serde_json::from_str(&run(&mut list).out).unwrap();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 6);
    let used = listed["budgets"][0]["used_today"].as_u64().unwrap();
    assert!((900..5000).contains(&used), "a restart forgot what was used: {listed}");
    assert_eq!(hsm.stop(), Some(0));
    assert!(!hsm.socket.exists(), "the socket is left behind");
    assert_eq!(server.stop().code(), Some(0));
    let told = std::fs::read_to_string(&hsm.log).unwrap();
    assert!(!told.contains(PIN) && !told.contains(&number(0)[1..]), "{told}");
    assert!(!server.log().contains(PIN));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_used_is_told_at_the_start_and_by_the_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = Hsm::new(folder.path());
    let mut server = hsm.server();
    let told = run(&mut server.serve_command());
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("has no pair key: `acquaint keys init`"), "{told:?}");
    made(&hsm);
    server.start();
    let (ada, bob) = (server.person("did:plc:ada", &number(0)), server.person("did:plc:bob", &number(1)));
    ada.import(vec![number(1)]).await.unwrap();
    bob.import(vec![number(0)]).await.unwrap();
    assert_eq!(ada.matches().await, ["did:plc:bob"]);
    assert_eq!(server.stop().code(), Some(0));
    assert!(doctor(&server, &[]).out.contains("ok      HSM: the token `acquaint` has the keys"));

    let told = run(server.serve_command().env("ACQUAINT_PKCS11__PIN", "another-pin"));
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("refuses the PIN") && !format!("{told:?}").contains("another-pin"), "{told:?}");
    wrong(&doctor(&server, &[("ACQUAINT_PKCS11__PIN", "another-pin")]), "HSM", &["refuses the PIN", "once"]);
    let told = doctor(&server, &[("ACQUAINT_PKCS11__MODULE", "/nowhere/module.so")]);
    wrong(&told, "HSM", &["cannot load the PKCS#11 module", "/nowhere/module.so"]);
    wrong(&doctor(&server, &[("ACQUAINT_PKCS11__TOKEN", "other")]), "HSM", &["no token `other`", "acquaint"]);

    // An object of the token is lost: a key, or the record of one.
    let object = crate::support::files(&hsm.hsm.tokens())
        .into_iter()
        .find(|file| {
            file.path.extension().is_some_and(|end| end == "object") && !file.path.ends_with("token.object")
        })
        .unwrap();
    std::fs::remove_file(&object.path).unwrap();
    let told = run(&mut server.serve_command());
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains(" key"), "{told:?}");
    wrong(&doctor(&server, &[]), "HSM", &[" key"]);
    let listed = run(&mut hsm.command(&["keys", "list"]));
    assert_eq!(listed.code, Some(1), "{listed:?}");
    std::fs::write(&object.path, &object.bytes).unwrap();
    server.start();
    assert_eq!(server.person("did:plc:ada", &number(0)).matches().await, ["did:plc:bob"]);
    assert_eq!(server.stop().code(), Some(0));
    assert!(!server.log().contains(PIN));
}

#[test]
fn a_key_file_is_sealed_and_opened() {
    let mut server = Server::new();
    let file = server.home().join("keys.json");
    let clear = std::fs::read(&file).unwrap();
    let passphrase = server.home().join("passphrase");
    private(&passphrase, "six words that nobody will guess soon\n");
    let keys = |word: &str, more: &[&str]| {
        run(program().args(["keys", word, "--config"]).arg(server.config()).args(more))
    };
    let by_file = ["--passphrase-file", passphrase.to_str().unwrap()];
    let told = keys("wrap", &[]);
    assert!(told.code == Some(1) && told.err.contains("--passphrase-file"), "{told:?}");
    assert_eq!(std::fs::read(&file).unwrap(), clear);
    let told = keys("wrap", &by_file);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(std::fs::read(&file).unwrap().starts_with(b"age-encryption.org/v1"));
    assert_eq!(keys("wrap", &by_file).code, Some(1), "sealed twice");

    wrong(
        &doctor(&server, &[("ACQUAINT_LISTEN", "127.0.0.1:0")]),
        "key file",
        &["sealed", "keys.passphrase_file"],
    );
    let told = run(&mut server.serve_command());
    assert!(told.code == Some(1) && told.err.contains("is sealed"), "{told:?}");
    assert_eq!(keys("init", &[]).code, Some(1), "keys were made anew");

    assert_eq!(keys("unwrap", &by_file).code, Some(1), "nobody agreed");
    assert!(std::fs::read(&file).unwrap().starts_with(b"age-encryption.org/v1"));
    server.set("ACQUAINT_KEYS__PASSPHRASE_FILE", passphrase.to_str().unwrap());
    server.start();
    assert_eq!(server.stop().code(), Some(0));
    let keys = |word: &str, more: &[&str]| {
        run(program().args(["keys", word, "--config"]).arg(server.config()).args(more))
    };
    let told = keys("unwrap", &["--yes", by_file[0], by_file[1]]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(std::fs::read(&file).unwrap(), clear);
    let told = keys("list", &[]);
    assert_eq!((told.code, told.out.lines().count()), (Some(0), 6), "{told:?}");
}
