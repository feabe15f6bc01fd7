//! Two servers on one store, each kept to one core. PostgreSQL and the client are kept to none, so they take their time
//! from the servers.

use std::path::Path;
use std::time::{Duration, Instant};

use acquaint_store::Store;
use acquaint_store::postgres::{Options, PostgresStore};
use acquaint_testkit::did;
use indicatif::ProgressBar;

use super::database::Database;
use crate::server::{Child, write_config};
use crate::{Result, contact, hashing, machine};

/// Imports of one queue: twice as many as one server works on at once.
const IMPORTS: usize = 32;
const CONTACTS: usize = 150;
const ROUNDS: usize = 5;
/// What bare Argon2id hashes beside it.
const HASHES: usize = 1200;

/// Medians of the rounds.
pub(super) struct Two {
    /// To empty the queue with one server.
    pub(super) one_seconds: f64,
    /// That, over the time with two.
    pub(super) servers: f64,
    /// One thread's time for bare Argon2id, over that of two.
    pub(super) bare: f64,
}

pub(super) async fn speedup(database: &Database, quick: bool, bar: &ProgressBar) -> Result<Two> {
    let cores = machine::two_cores()?;
    let (rounds, contacts) = if quick { (1, 20) } else { (ROUNDS, CONTACTS) };
    let (mut ones, mut servers, mut bare) = (vec![], vec![], vec![]);
    for round in 1..=rounds {
        bar.set_message(format!("one server against two, round {round} of {rounds}"));
        let one = seconds(database, &cores[..1], contacts).await?;
        let two = seconds(database, &cores, contacts).await?;
        ones.push(one);
        servers.push(one / two);
        bare.push(hashing::seconds(1, HASHES)? / hashing::seconds(2, HASHES)?);
    }
    Ok(Two {
        one_seconds: machine::median(&ones),
        servers: machine::median(&servers),
        bare: machine::median(&bare),
    })
}

/// To empty a queue, from the first import to the last pair, with a server on each of the cores.
async fn seconds(database: &Database, cores: &[usize], contacts: usize) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let connection = database.another();
    let store = PostgresStore::open(&Options::new(&connection)).await?;
    let mut servers = Vec::new();
    for core in cores {
        servers.push(server(folder.path(), &connection, *core)?);
    }
    // Tokens before, so that the queue is filled at once.
    let mut imports = Vec::new();
    for (account, server) in (0..IMPORTS).zip(servers.iter().cycle()) {
        let client = server.client()?;
        let token = server.verify(&client, account).await?;
        imports.push((account, client, token));
    }
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (account, client, token) in imports {
        // Answered at the deadline; the work goes on.
        tasks.spawn(async move {
            client.import(&did(account), &token, (0..contacts).map(contact).collect()).await
        });
    }
    let total = u64::try_from(IMPORTS * contacts)?;
    let mut seen = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let waiting = store.waiting_pairs().await?;
        seen = seen.max(waiting);
        if waiting == 0 && seen > 0 {
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    if seen < total * 9 / 10 {
        return Err(
            format!("the queue never had more than {seen} pairs: the figures would mean nothing").into()
        );
    }
    for server in servers {
        let done = server.metric("acquaint_pool_hashes_total").await? as usize;
        if done < IMPORTS * contacts * 8 / 10 / cores.len() {
            return Err(format!("a server hashed only {done} pairs: the figures would mean nothing").into());
        }
        server.stop()?;
    }
    Ok(seconds)
}

fn server(keys: &Path, connection: &str, core: usize) -> Result<Child> {
    let folder = keys.join(core.to_string());
    std::fs::create_dir(&folder)?;
    write_config(&folder, "standard", |config| {
        config.keys.file = keys.join("keys.json");
        config.store.kind = "postgres".into();
        config.store.postgres = connection.into();
        config.import.max_queue_wait_s = 3600;
    })?;
    Child::start_with(&folder, |command| {
        command.args(["--core", &core.to_string()]);
    })
}
