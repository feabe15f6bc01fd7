//! A PostgreSQL server of the tests' own: its data in a temporary folder, reached over a Unix socket there and by no port.
//!
//! PostgreSQL does not run as root: for root it runs as the user `postgres`. A shell beside it holds the end of a pipe
//! from the test process; when that process ends, in whatever way, the shell stops the server and deletes the folder.
//! Needs nothing of ours, so that the store's tests can use this file without the server's crates.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Settings of every server. A test's crash is that of a process, not of the machine: nothing needs to reach the disk.
const SETTINGS: &str = "\
listen_addresses = ''
max_connections = 200
fsync = off
full_page_writes = off
shared_buffers = 128MB
deadlock_timeout = 100ms
log_min_messages = warning
";

/// `$1` the folder, `$2` PostgreSQL's programs, `$3` further settings.
const KEEPER: &str = r#"
folder=$1 bin=$2
data="$folder/data"
control() { "$bin/pg_ctl" -D "$data" -l "$folder/log" -s -w -t 120 "$@" </dev/null >>"$folder/control" 2>&1; }
init() {
  "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync </dev/null >"$folder/init" 2>&1 &&
    printf "%s\nunix_socket_directories = '%s'\n" "$3" "$folder" >>"$data/postgresql.conf"
}
# After a crash the last of the old processes may still hold the shared memory.
start() {
  tries=0
  until control start; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || return 1
    sleep 0.2
  done
}
crash() {
  pid=$(head -n 1 "$data/postmaster.pid") && kill -9 "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
}
while read -r what; do
  case $what in
    init) init "$@" ;;
    start) start ;;
    crash) crash ;;
    stop) control -m fast stop ;;
  esac && echo done || echo failed
done
control -m immediate stop
# Where it stands may be another user's; then who started this takes the empty folder away.
cd / && rm -rf "$folder" 2>/dev/null
"#;

/// A running server. Dropping it stops it and deletes its data.
pub struct PostgresServer {
    folder: PathBuf,
    programs: PathBuf,
    keeper: Mutex<Keeper>,
    databases: AtomicU32,
}

struct Keeper {
    process: Child,
    /// Closed to end it.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl PostgresServer {
    /// Starts one.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with further lines of `postgresql.conf`.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start_with(settings: &str) -> Self {
        Self::start_in(&std::env::temp_dir(), settings)
    }

    /// As [`start_with`](Self::start_with), with its data in a folder of its own in `parent`, which every user must be
    /// able to enter if this process runs as root.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start_in(parent: &Path, settings: &str) -> Self {
        let programs = programs();
        let made = tempfile::Builder::new().prefix("pg").tempdir_in(parent);
        let folder = made.expect("a temporary folder").keep();
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(&folder).arg(&programs);
        command.arg(format!("{SETTINGS}{settings}"));
        if fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
            let (user, group) = postgres_user();
            chown(&folder, Some(user), Some(group)).expect("the folder is given to the user postgres");
            command.uid(user).gid(group);
        }
        // Of a group of its own: Ctrl-C is for this process, and the keeper cleans up after it.
        command.process_group(0).current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("a shell");
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("the keeper's answers"));
        let keeper = Mutex::new(Keeper { process, commands, answers });
        let server = Self { folder, programs, keeper, databases: AtomicU32::new(0) };
        server.tell("init");
        server.tell("start");
        server
    }

    /// The one that the tests of this process share.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// The connection string of a database.
    #[must_use]
    pub fn connection(&self, database: &str) -> String {
        format!("host={} user=postgres dbname={database}", self.folder.display())
    }

    /// Makes a database for one test, as a copy of `template` or empty, and returns its name.
    ///
    /// # Panics
    /// If it cannot be made, as when somebody is connected to the template.
    #[must_use]
    pub fn database(&self, template: Option<&str>) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let template = template.unwrap_or("template0");
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        name
    }

    /// Runs SQL as the superuser and returns what psql prints: a line for each row, columns parted by `|`.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let psql = self.psql(database).args(["-c", sql]).output().expect("psql runs");
        assert!(psql.status.success(), "{sql}: {}", String::from_utf8_lossy(&psql.stderr));
        String::from_utf8_lossy(&psql.stdout).trim_end().to_owned()
    }

    /// psql as the superuser, to be told what to run: it prints values alone and ends at an error.
    #[must_use]
    pub fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database])
            .arg("-h")
            .arg(&self.folder);
        psql
    }

    /// Where its files are.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Kills it as `kill -9` does; when this returns it answers nobody.
    ///
    /// # Panics
    /// If it was not running.
    pub fn crash(&self) {
        self.tell("crash");
    }

    /// Stops it in good order, its sessions cut off.
    ///
    /// # Panics
    /// If it was not running.
    pub fn stop(&self) {
        self.tell("stop");
    }

    /// Starts it again on its data; when this returns it answers.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&self) {
        self.tell("start");
    }

    fn tell(&self, what: &str) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let Keeper { commands: Some(commands), answers, .. } = &mut *keeper else {
            panic!("the keeper has ended");
        };
        writeln!(commands, "{what}").expect("the keeper listens");
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("the keeper answers");
        let told = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        assert!(
            answer.trim() == "done",
            "PostgreSQL could not {what}:\n{}{}{}",
            told("init"),
            told("control"),
            told("log")
        );
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(keeper.commands.take());
        let _ = keeper.process.wait();
        // The keeper has emptied it, and may not be allowed to change the folder that it stands in.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Where `initdb` and the others are: in PATH, or where Debian has them, the highest version.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    debian.sort();
    places.extend(debian.into_iter().rev().map(|(_, place)| place));
    let whole = |place: &&PathBuf| ["initdb", "pg_ctl", "psql"].iter().all(|name| place.join(name).is_file());
    let found = places.iter().find(whole).cloned();
    found.expect("PostgreSQL's server is missing: install it (on Debian: apt-get install postgresql)")
}

/// User and group.
fn postgres_user() -> (u32, u32) {
    let users = fs::read_to_string(Path::new("/etc/passwd")).expect("the list of users");
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == "postgres").then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    found.expect("PostgreSQL does not run as root, and there is no user postgres: apt-get install postgresql")
}
