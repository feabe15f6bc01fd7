//! A real server in a folder of its own, and eyes for what it leaves on the disk.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use acquaint_client::{Client, ClientError};
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What may take long on a busy machine, and never takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program, without any variable of the caller's environment.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acquaint"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// What a command told before it ended by itself.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end; one that does not end is killed and has no exit code.
pub(crate) fn run(command: &mut Command) -> Told {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

pub(crate) fn finish(mut child: Child) -> Told {
    let began = Instant::now();
    // Read meanwhile: a program that tells more than a pipe holds would wait for its reader.
    let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Told { code: status.code(), out: out.join().unwrap(), err: err.join().unwrap() }
}

fn read(from: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut from) = from {
            from.read_to_string(&mut text).unwrap();
        }
        text
    })
}

/// `acquaint init` in `folder`, with the cheap suite.
pub(crate) fn init(folder: &Path) -> Told {
    run(program().arg("init").arg(folder).args(["--suite", "development"]))
}

/// Polls until `check` gives something.
pub(crate) async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A server on a folder that goes with it.
pub(crate) struct Server {
    folder: TempDir,
    environment: HashMap<String, String>,
    child: Option<Child>,
    url: String,
}

impl Server {
    /// Keys and configuration, but no process yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("acquaint-it-").tempdir().unwrap();
        let told = init(&folder.path().join("home"));
        assert_eq!(told.code, Some(0), "{told:?}");
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        let mut server = Self { folder, environment: HashMap::new(), child: None, url: String::new() };
        server.set("ACQUAINT_LISTEN", "127.0.0.1:0");
        let temporary = server.temporary().to_str().unwrap().to_owned();
        server.set("TMPDIR", &temporary);
        server.set("SQLITE_TMPDIR", &temporary);
        server
    }

    /// Without the limits that many verifications and imports in a row would meet.
    pub(crate) fn without_limits() -> Self {
        let mut server = Self::new();
        for (name, value) in [
            ("VERIFICATION__RESEND_S", "0"),
            ("VERIFICATION__ACCOUNT_CODES_PER_DAY", "100000"),
            ("VERIFICATION__NUMBER_CODES_PER_DAY", "100000"),
            ("IMPORT__ACCOUNT_PAIRS", "1000000"),
            ("IMPORT__NUMBER_PAIRS", "1000000"),
        ] {
            server.set(&format!("ACQUAINT_{name}"), value);
        }
        server
    }

    /// Another server with the same keys, configuration and environment, in a folder of its own.
    pub(crate) fn beside(&self) -> Self {
        let mut server = Self::new();
        std::fs::copy(self.config(), server.config()).unwrap();
        if self.home().join("keys.json").exists() {
            std::fs::copy(self.home().join("keys.json"), server.home().join("keys.json")).unwrap();
        }
        for (name, value) in &self.environment {
            if !name.ends_with("TMPDIR") {
                server.set(name, value);
            }
        }
        server
    }

    /// A variable of the environment from the next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.into(), value.into());
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home().join("acquaint.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    /// Where its temporary files would be.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Everything that it wrote to standard output and standard error, of all starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// `acquaint serve` on this folder.
    pub(crate) fn serve_command(&self) -> Command {
        let mut command = program();
        command.arg("serve").arg("--config").arg(self.config()).envs(&self.environment);
        command
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none());
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let before = self.log().len();
        let mut command = self.serve_command();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.child.insert(command.spawn().unwrap());
        let began = Instant::now();
        loop {
            let ended = child.try_wait().unwrap();
            let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            let new = &text[before..];
            let line = new.split_inclusive('\n').find_map(|line| line.strip_prefix("listening on "));
            if let Some(url) = line.and_then(|line| line.strip_suffix('\n')) {
                self.url = url.to_owned();
                return;
            }
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "no start ({ended:?}): {new}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn api_key(&self) -> String {
        let config = std::fs::read_to_string(self.config()).unwrap();
        let line = config.lines().find_map(|line| line.strip_prefix("api_key = ")).unwrap();
        line.trim_matches('"').to_owned()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, &self.api_key()).unwrap()
    }

    /// A caller that outlives this start.
    pub(crate) fn person(&self, did: &str, phone: &str) -> Person {
        Person {
            client: self.client(),
            outbox: self.home().join("outbox.txt"),
            did: did.into(),
            phone: phone.into(),
        }
    }

    /// Lines of the outbox: a number and a code.
    pub(crate) fn outbox(&self) -> Vec<(String, String)> {
        outbox(&self.home().join("outbox.txt"))
    }

    /// The database as it is now, while the server runs. To be let go at once: a reader holds the log.
    pub(crate) fn database(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(self.data().join("acquaint.db"), flags).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        database
    }

    /// The database as a dead or stopped server left it: a copy, so that looking changes nothing.
    pub(crate) fn remains(&self) -> Remains {
        assert!(self.child.is_none());
        let copy = TempDir::new().unwrap();
        for file in files(&self.data()) {
            std::fs::write(copy.path().join(file.path.file_name().unwrap()), &file.bytes).unwrap();
        }
        let database = Connection::open(copy.path().join("acquaint.db")).unwrap();
        Remains { database, _copy: copy }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A copy of the database.
pub(crate) struct Remains {
    pub(crate) database: Connection,
    _copy: TempDir,
}

fn outbox(file: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let entry = |line: &str| line.split_once(' ').map(|(phone, code)| (phone.to_owned(), code.to_owned()));
    text.lines().map(|line| entry(line).unwrap()).collect()
}

/// An account with a number.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) client: Client,
    outbox: PathBuf,
    pub(crate) did: String,
    pub(crate) phone: String,
}

impl Person {
    pub(crate) async fn verify(&self) -> Result<String, ClientError> {
        self.client.start_verification(&self.did, &self.phone).await?;
        self.client.verify(&self.did, &self.phone, &self.last_code()).await
    }

    /// The code that was sent last to the number.
    pub(crate) fn last_code(&self) -> String {
        outbox(&self.outbox).into_iter().rev().find(|(phone, _)| *phone == self.phone).unwrap().1
    }

    pub(crate) async fn import(
        &self,
        contacts: Vec<String>,
    ) -> Result<Vec<acquaint_client::Found>, ClientError> {
        let token = self.verify().await?;
        self.client.import(&self.did, &token, contacts).await
    }

    /// The accounts that it is matched with, in order; never one twice.
    pub(crate) async fn matches(&self) -> Vec<String> {
        let mut matches = self.client.all_matches(&self.did).await.unwrap();
        matches.sort();
        assert!(matches.windows(2).all(|two| two[0] != two[1]), "a match is listed twice: {matches:?}");
        matches
    }
}

/// The reason of a refusal; anything else fails.
pub(crate) fn reason<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    match outcome.unwrap_err() {
        ClientError::Refused { reason, .. } => reason.to_string(),
        error => panic!("{error:?}"),
    }
}

/// How many numbers for fiction there are.
pub(crate) const NUMBERS: usize = 1000;

/// A number that nobody has: 555-0100 to 555-0199 of ten area codes.
pub(crate) fn number(index: usize) -> String {
    const AREAS: [u32; 10] = [212, 312, 415, 646, 718, 206, 305, 512, 617, 702];
    format!("+1{}5550{}", AREAS[index / 100], 100 + index % 100)
}

/// Another written form of an American number.
pub(crate) fn written(number: &str, form: u64) -> String {
    let (area, line) = (&number[2..5], &number[8..]);
    match form % 4 {
        0 => format!("+1 ({area}) 555-{line}"),
        1 => format!("+1 {area}.555.{line}"),
        2 => format!("tel:+1-{area}-555-{line}"),
        _ => number.to_owned(),
    }
}

/// A file with what it held.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// Every file below a folder. One that goes away meanwhile is left out.
pub(crate) fn files(folder: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(mut file) = File::open(&path) {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            found.push(Found { path, bytes });
        }
    }
    found
}

/// Searches for many things at once.
#[derive(Default)]
pub(crate) struct Search {
    /// By their first four bytes.
    wanted: HashMap<[u8; 4], Vec<(Vec<u8>, String)>>,
    /// Which first two bytes there are: most places end here.
    begin: Vec<bool>,
}

impl Search {
    /// What to look for, and what to call it when it is found.
    pub(crate) fn add(&mut self, bytes: impl Into<Vec<u8>>, name: impl Into<String>) {
        let bytes = bytes.into();
        self.begin.resize(1 << 16, false);
        self.begin[usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))] = true;
        self.wanted.entry([bytes[0], bytes[1], bytes[2], bytes[3]]).or_default().push((bytes, name.into()));
    }

    /// Names of what is in there, with where.
    pub(crate) fn find(&self, haystack: &[u8]) -> Vec<(usize, &str)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at + 4 <= haystack.len() {
            let first = usize::from(haystack[at]) << 8 | usize::from(haystack[at + 1]);
            if self.begin.get(first).is_some_and(|is_begin| *is_begin) {
                let rest = &haystack[at..];
                for (bytes, name) in self.wanted.get(&rest[..4]).into_iter().flatten() {
                    if rest.starts_with(bytes) {
                        found.push((at, name.as_str()));
                    }
                }
            }
            at += 1;
        }
        found
    }
}

/// Small and seeded; the seed is told when a test fails.
pub(crate) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// From `ACQUAINT_IT_SEED`, or another one each time.
    pub(crate) fn new() -> Self {
        let given = std::env::var("ACQUAINT_IT_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        Self { seed, state: seed }
    }

    /// Knuth's 64-bit generator; the low bits are weak.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % bound
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("ACQUAINT_IT_SEED={}", self.seed);
        }
    }
}
