//! Batches of HMACs as the service asks for them, in turn with Argon2id. In a process of its own, because SoftHSM finds its
//! tokens by a variable of the environment.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use acquaint_custody::{KeyCustody, KeyId, Purpose, newest};
use acquaint_server::config::Config;
use acquaint_server::{Ambient, keys};
use serde::{Deserialize, Serialize};

use crate::server::{Process, config_file};
use crate::{Result, hashing, machine};

/// Pairs of a step of the service.
const BATCH: usize = 32;
/// Pairs that are stretched in a round under each pepper.
const PAIRS: usize = 96;
/// How often their HMACs are asked for in a round.
const ROUND_CALLS: usize = 20;

/// Medians of the rounds, in microseconds by the clock on the wall, for one HMAC or hash.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// One hash on one thread.
    pub(super) argon2_us: f64,
    pub(super) software_us: f64,
    pub(super) token_us: f64,
    pub(super) software_process_us: f64,
    pub(super) token_process_us: f64,
    /// CPU time, of both sides.
    pub(super) token_cpu_us: f64,
    pub(super) token_process_cpu_us: f64,
    /// What a second epoch adds to a pair with its keys in the token, as a share of it: with the same pepper and suite one
    /// more HMAC, …
    pub(super) overlap_hmac: f64,
    /// … and with a pepper of its own one more hash as well.
    pub(super) overlap_stretch: f64,
}

/// Measures in a process of its own; `processes` hold the keys of software and token.
pub(super) fn start(
    folder: &Path,
    rounds: u32,
    processes: [&Process; 2],
    change: impl FnOnce(&mut Command),
) -> Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("hmac").arg(folder).args(["--rounds", &rounds.to_string()]).env_clear();
    for process in processes {
        command.args(["--process", &process.id().to_string()]);
    }
    change(&mut command);
    let ran = command.output()?;
    if !ran.status.success() {
        return Err(format!("batches: {}", String::from_utf8_lossy(&ran.stderr)).into());
    }
    Ok(serde_json::from_slice(&ran.stdout)?)
}

/// Prints what it has measured.
pub(crate) fn run(folder: &Path, rounds: u32, processes: &[u32]) -> Result<()> {
    let open = |name: &str| -> Result<Asked> {
        let config = Config::load(&config_file(&folder.join(name)), [])?;
        Asked::new(keys::open(&config, false, Ambient::default().clock)?)
    };
    let &[software, token] = processes else { return Err("two processes are needed".into()) };
    let mut asked = [open("software")?, open("token")?, open("software-process")?, open("process")?];
    let mut worker = hashing::worker()?;
    let pairs = hashing::pairs(0..PAIRS)?;
    let (mut argon2, mut overlap_hmac, mut overlap_stretch) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        let mut stretched = |pepper: u8| -> Result<(Vec<[u8; 32]>, f64)> {
            let began = Instant::now();
            let hashes = hashing::stretch(&mut worker, &pairs, &[pepper; 32])?;
            Ok((hashes, began.elapsed().as_secs_f64() / PAIRS as f64))
        };
        let ((first, one), (second, other)) = (stretched(1)?, stretched(2)?);
        argon2.push(one);
        for asked in &mut asked {
            asked.round(&first, &[software, token])?;
        }
        let [_, in_token, ..] = &asked;
        let hmac = |key: KeyId, hashes: &[[u8; 32]]| -> Result<f64> {
            let began = Instant::now();
            in_token.batches(key, hashes)?;
            Ok(began.elapsed().as_secs_f64() / hashes.len() as f64)
        };
        // The key of the second epoch is another one in the same token.
        let (finished, again) = (hmac(in_token.pair, &first)?, hmac(in_token.number, &first)?);
        let pair = one + finished;
        overlap_hmac.push(again / pair);
        overlap_stretch.push((other + hmac(in_token.number, &second)?) / pair);
    }
    let [software, token, software_process, token_process] = &asked;
    let measured = Measured {
        argon2_us: machine::median(&argon2) * 1e6,
        software_us: software.each_us(),
        token_us: token.each_us(),
        software_process_us: software_process.each_us(),
        token_process_us: token_process.each_us(),
        token_cpu_us: token.cpu_us(),
        token_process_cpu_us: token_process.cpu_us(),
        overlap_hmac: machine::median(&overlap_hmac),
        overlap_stretch: machine::median(&overlap_stretch),
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// A custody, and what its rounds took.
struct Asked {
    custody: Arc<dyn KeyCustody>,
    pair: KeyId,
    number: KeyId,
    /// Seconds of one HMAC in each round.
    seconds: Vec<f64>,
    /// CPU seconds of all rounds.
    cpu: f64,
}

impl Asked {
    fn new(custody: Arc<dyn KeyCustody>) -> Result<Self> {
        let (pair, number) = (newest(&*custody, Purpose::Pair)?, newest(&*custody, Purpose::Number)?);
        Ok(Self { custody, pair, number, seconds: Vec::new(), cpu: 0.0 })
    }

    fn round(&mut self, hashes: &[[u8; 32]], processes: &[u32]) -> Result<()> {
        let used = || -> Result<f64> {
            let others = processes.iter().map(|process| machine::cpu_seconds_of(*process));
            Ok(machine::cpu_seconds() + others.sum::<std::io::Result<f64>>()?)
        };
        let (before, began) = (used()?, Instant::now());
        for _ in 0..ROUND_CALLS {
            self.batches(self.pair, hashes)?;
        }
        let hmacs = hashes.len() * ROUND_CALLS;
        self.seconds.push(began.elapsed().as_secs_f64() / hmacs as f64);
        self.cpu += (used()? - before) / hmacs as f64;
        Ok(())
    }

    fn batches(&self, key: KeyId, hashes: &[[u8; 32]]) -> Result<()> {
        for batch in hashes.chunks(BATCH) {
            let inputs: Vec<&[u8]> = batch.iter().map(<[u8; 32]>::as_slice).collect();
            self.custody.hmac(key, &inputs)?;
        }
        Ok(())
    }

    fn each_us(&self) -> f64 {
        machine::median(&self.seconds) * 1e6
    }

    fn cpu_us(&self) -> f64 {
        self.cpu / self.seconds.len() as f64 * 1e6
    }
}
