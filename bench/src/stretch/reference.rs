//! The reference implementation of Argon2 in C, as a process of its own: built from the sources that a package on
//! crates.io bundles, which `bench/reference` names and pins.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use acquaint_stretch::{Cost, Kernel};
use tempfile::TempDir;

use super::Result;
use super::contestant::Turn;
use super::input::{LENGTH, Tag};

/// Where, in the package, the sources are.
const BUNDLED: &str = "phc-winner-argon2-20190702";
const SOURCES: [&str; 6] = ["argon2.c", "core.c", "opt.c", "blake2/blake2b.c", "thread.c", "encoding.c"];
const FLAGS: [&str; 4] = ["-std=gnu11", "-O3", "-march=native", "-pthread"];
/// What makes opt.c take its branch for AVX-512, whatever the compiler knows of this processor; the driver checks it.
const AVX512_FLAGS: [&str; 2] = ["-mavx512f", "-DWANT_AVX512"];

/// Packages for other platforms alone are not fetched.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// What was compiled. Gone from the disk when this is dropped.
pub(super) struct Program(TempDir);

/// The program, running. It ends when its standard input does.
pub(super) struct Process {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Program {
    /// Compiles it, in a folder beside the build's outputs. An error says what is missing.
    pub(super) fn build() -> Result<Self> {
        if !cfg!(target_arch = "x86_64") {
            return Err("opt.c is for x86-64".into());
        }
        let bundled = bundled()?;
        let outputs = std::env::current_exe()?;
        let outputs = outputs.parent().ok_or("the program stands nowhere")?;
        let program = Self(tempfile::Builder::new().prefix("bench-reference-").tempdir_in(outputs)?);
        let compiled = Command::new("cc")
            .args(flags())
            .arg("-I")
            .arg(bundled.join("include"))
            .arg("-o")
            .arg(program.path())
            .arg(here().join("driver.c"))
            .args(SOURCES.map(|source| bundled.join("src").join(source)))
            .output()
            .map_err(|error| {
                format!("cc (on Debian: apt-get install gcc libc6-dev) does not start: {error}")
            })?;
        if !compiled.status.success() {
            return Err(format!("cc: {}", String::from_utf8_lossy(&compiled.stderr)).into());
        }
        Ok(program)
    }

    pub(super) fn start(&self) -> Result<Process> {
        let mut child = Command::new(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("what cc made does not start: {error}"))?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Process { child, requests, answers })
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("reference")
    }
}

impl Process {
    /// Hashes so many passwords, the first of this number. With `wipe` the library overwrites its memory after each, as
    /// it does by default.
    pub(super) fn turn(&mut self, cost: Cost, first: u64, count: usize, wipe: bool) -> Result<Turn> {
        let requests = self.requests.as_mut().ok_or("no standard input")?;
        writeln!(requests, "{} {} {first} {count} {}", cost.memory_kib(), cost.passes(), u8::from(wipe))?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer = line
            .trim()
            .split_once(' ')
            .and_then(|(seconds, tags)| Some(Turn { seconds: seconds.parse().ok()?, tags: tag(tags)? }));
        answer.ok_or_else(|| format!("the reference in C answered {line:?}, not seconds and a tag").into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}

/// What it is compiled with, in words.
pub(super) fn compiled_with() -> String {
    format!("cc {}", flags().join(" "))
}

fn tag(hexadecimal: &str) -> Option<Tag> {
    let mut tag = [0; LENGTH];
    if hexadecimal.len() != 2 * LENGTH {
        return None;
    }
    for (byte, at) in tag.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(hexadecimal.get(at..at + 2)?, 16).ok()?;
    }
    Some(tag)
}

fn flags() -> Vec<&'static str> {
    let avx512 = if Kernel::Avx512.is_available() { &AVX512_FLAGS[..] } else { &[] };
    [&FLAGS, avx512].concat()
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference")
}

/// The reference's own folder in the package, which cargo fetches and checks where it is not there yet.
fn bundled() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let told = Command::new(cargo)
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", PLATFORM])
        .arg("--manifest-path")
        .arg(here().join("Cargo.toml"))
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !told.status.success() {
        let why = String::from_utf8_lossy(&told.stderr);
        return Err(format!("cargo cannot fetch the package with its sources: {why}").into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&told.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == "argon2-kdf")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata does not list argon2-kdf")?;
    let bundled = Path::new(manifest).with_file_name(BUNDLED);
    if bundled.is_dir() { Ok(bundled) } else { Err(format!("no {} in the package", BUNDLED).into()) }
}
