//! `bench custody`: what keys in a PKCS#11 token (SoftHSM), and in a process of their own, add to the hashing of an
//! import; and what a second key epoch adds to a pair.

pub(crate) mod hmac;

use std::path::Path;
use std::process::Command;

use acquaint_server::config::Config;
use acquaint_testkit::did;
use acquaint_testkit::softhsm::SoftHsm;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tempfile::TempDir;

use crate::server::{Child, Process, write_config};
use crate::{Result, contact, machine};
use hmac::Measured;

/// Contacts of an import, and how often one is run with each custody, in turn.
const CONTACTS: usize = 1000;
const ROUNDS: usize = 7;
/// How often batches of each custody are measured, in turn.
const BATCH_ROUNDS: u32 = 21;

const TOKEN: &str = "acquaint";
const PIN: &str = "a-pin-of-the-bench";

/// Keys as they are compared from run to run.
#[derive(Debug, Serialize)]
struct Results {
    /// Time of one HMAC of a batch of 32, less that of software in this process, over the time of one Argon2id hash. Taken
    /// from batches because what it is does not show in whole imports, which differ by more from one to the next; from time
    /// and not from CPU time because it is the greater.
    pkcs11_overhead: f64,
    /// The same with the token in a process of its own, behind its socket.
    process_overhead: f64,
    /// CPU time of a pair in a whole import, all processes, over that with keys in software, less 1; median.
    import_pkcs11_overhead: f64,
    import_process_overhead: f64,
    #[serde(flatten)]
    batches: Measured,
}

/// Who holds the keys, in the order of measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Software,
    Token,
    Process,
}

pub(crate) async fn run(quick: bool, json: bool) -> Result<()> {
    let (rounds, contacts, batch_rounds) = if quick { (1, 100, 3) } else { (ROUNDS, CONTACTS, BATCH_ROUNDS) };
    let bar = ProgressBar::new(1 + 3 * rounds as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?);
    let hsm = SoftHsm::new();
    hsm.token(TOKEN, PIN);
    let folder = TempDir::new()?;
    let place = |name: &str| folder.path().join(name);
    for name in ["token", "process", "software", "software-process"] {
        std::fs::create_dir(place(name))?;
        write_config(&place(name), "standard", |config| {
            match name {
                "token" => in_token(config, &hsm),
                // What asks the process that has the token.
                "process" => return behind(config, &place("token").join("socket")),
                "software-process" => return behind(config, &place("software").join("socket")),
                _ => {}
            }
            config.keys.socket = place(name).join("socket");
        })?;
    }
    let with_hsm = |command: &mut Command| {
        command.env("SOFTHSM2_CONF", hsm.config());
    };
    let software = Process::start("serve-custody", &place("software"), with_hsm)?;
    let token = Process::start("serve-custody", &place("token"), with_hsm)?;
    bar.set_message("batches");
    let batches = hmac::start(folder.path(), batch_rounds, [&software, &token], with_hsm)?;
    software.stop()?;
    bar.inc(1);
    let mut cpu = [vec![], vec![], vec![]];
    for round in 1..=rounds {
        for (holder, cpu) in [Holder::Software, Holder::Token, Holder::Process].into_iter().zip(&mut cpu) {
            bar.set_message(format!("an import of {contacts}, keys: {holder:?}, round {round}"));
            cpu.push(import(holder, &hsm, &place("token"), &token, contacts).await?);
            bar.inc(1);
        }
    }
    token.stop()?;
    bar.finish_and_clear();
    let over = |cpu: &[f64], software: &[f64]| {
        let ratios: Vec<f64> = cpu.iter().zip(software).map(|(cpu, software)| cpu / software - 1.0).collect();
        machine::median(&ratios)
    };
    let results = Results {
        pkcs11_overhead: (batches.token_us - batches.software_us) / batches.argon2_us,
        process_overhead: (batches.token_process_us - batches.software_us) / batches.argon2_us,
        import_pkcs11_overhead: over(&cpu[1], &cpu[0]),
        import_process_overhead: over(&cpu[2], &cpu[0]),
        batches,
    };
    print(&results, cpu.each_ref().map(|cpu| machine::median(cpu)));
    if json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(())
}

fn print(results: &Results, cpu: [f64; 3]) {
    println!("{}", machine::describe());
    println!("{:<72} {:>9} {:>9}", "suite `standard` (19 MiB, t = 2)", "measured", "wanted");
    let row = |what: &str, value: f64, wanted: &str| println!("{what:<72} {value:>9.4} {wanted:>9}");
    let each = &results.batches;
    row("one Argon2id hash, us", each.argon2_us, "");
    println!("one HMAC, batches of 32, us:");
    row("  software", each.software_us, "");
    row("  SoftHSM", each.token_us, "");
    row("    its CPU time", each.token_cpu_us, "");
    row("  software in a process of its own", each.software_process_us, "");
    row("  SoftHSM in a process of its own", each.token_process_us, "");
    row("    CPU time of both sides", each.token_process_cpu_us, "");
    row("SoftHSM over software, as a share of a hash", results.pkcs11_overhead, "< 0.02");
    row("SoftHSM in a process of its own, likewise", results.process_overhead, "< 0.05");
    row("CPU of a pair in whole imports: software, us", cpu[0] * 1e6, "");
    row("  SoftHSM, over software, less 1", results.import_pkcs11_overhead, "");
    row("  SoftHSM in a process of its own, over software, less 1", results.import_process_overhead, "");
    row("a second epoch of the same pepper and suite, as a share of a pair", each.overlap_hmac, "");
    row("a second epoch with a pepper of its own", each.overlap_stretch, "");
}

fn in_token(config: &mut Config, hsm: &SoftHsm) {
    config.keys.custody = "pkcs11".into();
    config.pkcs11.module = hsm.module();
    config.pkcs11.token = TOKEN.into();
    config.pkcs11.pin = PIN.into();
}

fn behind(config: &mut Config, socket: &Path) {
    config.keys.custody = "process".into();
    config.keys.socket = socket.into();
}

/// CPU seconds of a pair in an import on every core, of the server and of who holds its keys.
async fn import(
    holder: Holder,
    hsm: &SoftHsm,
    token: &Path,
    process: &Process,
    contacts: usize,
) -> Result<f64> {
    let folder = TempDir::new()?;
    write_config(folder.path(), "standard", |config| match holder {
        Holder::Software => {}
        Holder::Token => in_token(config, hsm),
        Holder::Process => behind(config, &token.join("socket")),
    })?;
    let server = Child::start_with(folder.path(), |command| {
        command.env("SOFTHSM2_CONF", hsm.config());
    })?;
    let client = server.client()?;
    let bearer = server.verify(&client, 0).await?;
    let used = || Ok::<_, crate::Error>(server.process.cpu_seconds()? + process.cpu_seconds()?);
    let before = used()?;
    client.import(&did(0), &bearer, (0..contacts).map(contact).collect()).await?;
    server.settle().await?;
    let spent = used()? - before;
    server.stop()?;
    Ok(spent / contacts as f64)
}
