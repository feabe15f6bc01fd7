//! What breaks around a running server: the disk is full, the database is locked, keys change, it is told to stop, and
//! nobody reads what it prints.

use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use acquaint_client::{Client, ClientError};
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::disk::SmallDisk;
use crate::support::{PATIENCE, Person, Server, number, program, reason, run, until};

/// Numbers that nobody here has: a contact list of their own for each person.
fn contacts(person: usize, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("+1212{:03}{index:04}", 560 + person)).collect()
}

fn people(server: &Server, count: usize) -> Vec<Person> {
    (0..count).map(|index| server.person(&format!("did:plc:fault{index}"), &number(index))).collect()
}

fn count(database: &Connection, sql: &str) -> i64 {
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Waits for the end of all accepted imports, and tells how many pairs each account has.
async fn pairs_of_each(server: &Server) -> Vec<i64> {
    until("the end of the imports", || {
        (count(&server.database(), "SELECT count(*) FROM imports") == 0).then_some(())
    })
    .await;
    let database = server.database();
    let mut pairs = database.prepare("SELECT count(*) FROM pairs GROUP BY account").unwrap();
    pairs.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Many small steps, so that whatever happens meets one.
fn slow_server() -> Server {
    let mut server = Server::without_limits();
    server.set("ACQUAINT_POOL__THREADS", "1");
    server.set("ACQUAINT_IMPORT__DEADLINE_MS", "10");
    server
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let mut server = slow_server();
    let data = server.data();
    let disk = SmallDisk::on(&data, 12 * 1024);
    server.start();
    let people = people(&server, 4);
    let reader = server.person("did:plc:reader", &number(50));
    reader.import(contacts(9, 3)).await.unwrap();
    for (index, person) in people.iter().enumerate().take(3) {
        person.import(contacts(index, 900)).await.unwrap();
    }
    let token = people[3].verify().await.unwrap();
    disk.fill();
    // What cannot be written is refused, and nothing says that it was accepted.
    let began = Instant::now();
    loop {
        let refused = people[3].client.start_verification("did:plc:other", &number(60)).await;
        if refused.is_err() {
            assert_eq!(reason(refused), "INTERNAL_ERROR");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the disk is full, and codes are stored");
    }
    assert_eq!(
        reason(people[3].client.import(&people[3].did, &token, contacts(3, 900)).await),
        "INTERNAL_ERROR"
    );
    // Reads go on.
    assert!(reader.matches().await.is_empty());
    assert!(reader.client.sync_status(&reader.did).await.unwrap().is_some());
    assert!(server.log().contains("disk is full"), "the operator is not told");
    let told = run(program()
        .args(["doctor", "--config"])
        .arg(server.config())
        .env("ACQUAINT_LISTEN", server.url().strip_prefix("http://").unwrap()));
    assert!(told.out.contains("WRONG   disk: "), "{told:?}");
    assert_eq!(told.code, Some(1));

    // With room again it recovers by itself; the token was not used up.
    disk.make_room();
    people[3].client.import(&people[3].did, &token, contacts(3, 900)).await.unwrap();
    server.kill();
    server.start();
    let mut pairs = pairs_of_each(&server).await;
    pairs.sort_unstable();
    assert_eq!(pairs, [3, 900, 900, 900, 900]);
    assert_eq!(server.stop().code(), Some(0));
    let told = run(program().args(["store", "check", "--config"]).arg(server.config()));
    assert_eq!(told.code, Some(0), "{told:?}");
}

#[tokio::test]
async fn a_database_that_another_process_locks() {
    let mut server = slow_server();
    server.start();
    let people = people(&server, 2);
    people[0].import(contacts(0, 600)).await.unwrap();
    let lock = Connection::open(server.data().join("acquaint.db")).unwrap();
    lock.busy_timeout(PATIENCE).unwrap();

    // For a while: who asks waits, and is served.
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waits = {
        let person = people[1].clone();
        tokio::spawn(async move { person.verify().await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished(), "something was written through another's lock");
    assert!(people[0].client.sync_status(&people[0].did).await.unwrap().is_some());
    lock.execute_batch("COMMIT").unwrap();
    let token = waits.await.unwrap().unwrap();
    // So that no step of it falls into the longer lock.
    assert_eq!(pairs_of_each(&server).await, [600]);

    // Longer than is waited for: refused, with the token still good.
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        reason(people[1].client.import(&people[1].did, &token, contacts(1, 600)).await),
        "INTERNAL_ERROR"
    );
    assert!(people[0].client.sync_status(&people[0].did).await.unwrap().is_some());
    lock.execute_batch("COMMIT").unwrap();
    drop(lock);
    // No restart is needed.
    people[1].client.import(&people[1].did, &token, contacts(1, 600)).await.unwrap();
    assert_eq!(pairs_of_each(&server).await, [600, 600]);
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test]
async fn a_key_file_that_is_replaced() {
    let mut server = slow_server();
    server.start();
    let (ada, bob) = (server.person("did:plc:ada", &number(0)), server.person("did:plc:bob", &number(1)));
    ada.import(vec![number(1)]).await.unwrap();
    let keys = server.home().join("keys.json");
    let own = std::fs::read(&keys).unwrap();
    let other = Server::new();
    std::fs::copy(other.home().join("keys.json"), &keys).unwrap();
    // The server that runs has its keys, and goes on with them.
    bob.import(vec![number(0)]).await.unwrap();
    assert_eq!(ada.matches().await, ["did:plc:bob"]);
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let told =
        run(program().args(["doctor", "--config"]).arg(server.config()).env("ACQUAINT_LISTEN", address));
    assert!(
        told.out.contains("WRONG   key file: ") && told.out.contains("put the right key file back"),
        "{told:?}"
    );
    assert_eq!(server.stop().code(), Some(0));
    // The next start does not.
    let told = run(&mut server.serve_command());
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("not the one that the stored data was made with"), "{told:?}");
    std::fs::write(&keys, own).unwrap();
    server.start();
    assert_eq!(server.person("did:plc:ada", &number(0)).matches().await, ["did:plc:bob"]);
}

#[tokio::test]
async fn a_stop_under_load_loses_nothing_and_tears_no_answer() {
    let mut server = slow_server();
    server.set("ACQUAINT_HTTP__DRAIN_S", "1");
    server.start();
    let people = people(&server, 12);
    let mut tokens = Vec::new();
    for person in &people {
        tokens.push(person.verify().await.unwrap());
    }
    // Most at once, which is work for far longer than the stop takes; the rest one after another, so that it meets some.
    let (accepted, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut imports = JoinSet::new();
    for (index, (person, token)) in people.iter().cloned().zip(tokens).enumerate() {
        let accepted = Arc::clone(&accepted);
        imports.spawn(async move {
            tokio::time::sleep(Duration::from_millis(40 * index.saturating_sub(8) as u64)).await;
            match person.client.import(&person.did, &token, contacts(index, 900)).await {
                Ok(found) => {
                    assert!(found.is_empty());
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
                Err(
                    ClientError::NotConnected(_)
                    | ClientError::Unreachable(_)
                    | ClientError::Unavailable { .. },
                ) => {}
                Err(error) => panic!("neither an answer nor a closed connection: {error:?}"),
            }
        });
    }
    let mut reads = JoinSet::new();
    for person in people.iter().take(6).cloned() {
        let answered = Arc::clone(&answered);
        reads.spawn(async move {
            loop {
                match person.client.matches(&person.did, 100, "").await {
                    Ok(page) => assert!(page.subjects.is_empty() && page.cursor.is_empty()),
                    Err(
                        ClientError::NotConnected(_)
                        | ClientError::Unreachable(_)
                        | ClientError::Unavailable { .. },
                    ) => {
                        return;
                    }
                    Err(error) => panic!("neither an answer nor a closed connection: {error:?}"),
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // A caller that never ends its request must not hold the server.
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let mut slow = TcpStream::connect(&address).unwrap();
    std::io::Write::write_all(&mut slow, b"POST /rolodex.RolodexService/Ping HTTP/1.1\r\nHost: x\r\n")
        .unwrap();
    until("an accepted import and an answered read", || {
        let both = accepted.load(Ordering::Relaxed) > 0 && answered.load(Ordering::Relaxed) > 0;
        both.then_some(())
    })
    .await;
    let began = Instant::now();
    let ended = tokio::task::spawn_blocking(move || (server.stop(), server));
    let (status, mut server) = ended.await.unwrap();
    assert_eq!(status.code(), Some(0));
    // The drain time and one step of work; far below what would be a hang.
    assert!(began.elapsed() < Duration::from_secs(30), "it took {:?}", began.elapsed());
    while let Some(read) = reads.join_next().await {
        read.unwrap();
    }
    while let Some(import) = imports.join_next().await {
        import.unwrap();
    }
    let accepted = accepted.load(Ordering::Relaxed);
    let left = count(&server.remains().database, "SELECT coalesce(sum(total - done), 0) FROM imports");
    assert!(left > 0, "the stop met no running import: {accepted} accepted");
    // The rest with all threads.
    server.set("ACQUAINT_POOL__THREADS", "0");
    server.start();
    let pairs = pairs_of_each(&server).await;
    // Of each import all or nothing, and all of those that were told to be accepted.
    assert!(pairs.iter().all(|pairs| *pairs == 900) && pairs.len() >= accepted, "{pairs:?}");
}

/// `acquaint serve` on a port of its own, with standard output and error as given, until it answers.
async fn serve_with(server: &Server, out: Stdio, err: Stdio) -> (std::process::Child, Client) {
    // At an address of its own: the ports of 127.0.0.1 that are free now are taken by other tests.
    let address = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap().to_string();
    let mut command = server.serve_command();
    let mut child = command.env("ACQUAINT_LISTEN", &address).stdout(out).stderr(err).spawn().unwrap();
    let client = Client::new(&format!("http://{address}"), &server.api_key()).unwrap();
    let began = Instant::now();
    while client.ping().await.is_err() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended");
        assert!(began.elapsed() < PATIENCE, "it does not answer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (child, client)
}

#[tokio::test]
async fn nobody_reads_what_it_prints() {
    // The ends of pipes whose other end is closed: as a log collector that died.
    let broken = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let server = Server::without_limits();
    let (mut child, client) = serve_with(&server, broken(), broken()).await;
    for _ in 0..3 {
        client.ping().await.unwrap();
        assert!(client.sync_status("did:plc:a").await.unwrap().is_none());
        assert_eq!(reason(client.sync_status("no did").await), "INVALID_DID");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // None at all.
    let mut command = std::process::Command::new("sh");
    command
        .arg("-c")
        .arg("exec \"$@\" >&- 2>&-")
        .arg("sh")
        .arg(env!("CARGO_BIN_EXE_acquaint"))
        .args(["doctor", "--config"]);
    assert_eq!(
        command.arg(server.config()).env("ACQUAINT_LISTEN", "127.0.0.1:0").status().unwrap().code(),
        Some(0)
    );
}
