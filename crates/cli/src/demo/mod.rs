//! `acquaint demo`: the whole way on a private server, told in plain lines. It fails loudly if anything is not as told.

mod people;
mod search;

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use acquaint_client::{Client, Found};
use acquaint_server::config::Config;
use acquaint_server::{Ambient, Discovery, Server};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::oneshot;

use crate::args;
use crate::failure::Failure;
use crate::{init, serve};
use people::{ADA, BOB, CAROL, DORA, ERIN, EVERYBODY, MARCO, Person, STRANGER};

pub(crate) async fn run(args: &args::Demo) -> Result<(), Failure> {
    let began = Instant::now();
    let folder = tempfile::Builder::new().prefix("acquaint-demo-").tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700))?;
    let demo = Demo::start(folder.path(), args.port).await?;
    let searched_files = demo.story().await?;
    println!("\nThat is all: {:.0} seconds.", began.elapsed().as_secs_f64());
    if args.keep {
        demo.tell_how_to_go_on();
        serve::stop_signal()?.await;
    }
    demo.stop().await?;
    drop(searched_files);
    Ok(())
}

struct Demo {
    client: Client,
    discovery: Arc<Discovery>,
    url: String,
    api_key: String,
    data: PathBuf,
    outbox: PathBuf,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
}

impl Demo {
    async fn start(folder: &Path, port: u16) -> Result<Self, Failure> {
        let mut config = Config::default();
        config.listen.set_port(port);
        config.auth.api_key = init::api_key()?;
        config.data_dir = folder.join("data");
        config.keys.file = folder.join("keys.json");
        config.delivery.outbox_file = folder.join("outbox.txt");
        let (api_key, data, outbox) =
            (config.auth.api_key.clone(), config.data_dir.clone(), config.delivery.outbox_file.clone());
        let server = Server::start(config, Ambient::default()).await?;
        let url = format!("http://{}", server.address()?);
        let discovery = server.discovery();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        println!("A private server runs at {url}, with its data in {}.", data.display());
        Ok(Self { client: Client::new(&url, &api_key)?, discovery, url, api_key, data, outbox, stop, server })
    }

    async fn stop(self) -> Result<(), Failure> {
        // The server may have ended by itself.
        let _ = self.stop.send(());
        Ok(self.server.await?)
    }

    /// Returns the files that were searched, which must stay open as long as the server runs.
    async fn story(&self) -> Result<Vec<File>, Failure> {
        println!("\nA mutual pair");
        let found = self.import(&ADA).await?;
        expect(found.is_empty(), "nobody is found before the other side has imported")?;
        say(
            "Ada verifies her number and imports her address book: Bob, Carol and Marco are in it. Nobody is found yet.",
        );
        let found = self.import(&BOB).await?;
        expect(subjects(&found) == [ADA.did], "Bob finds Ada")?;
        say("Bob does the same, and has Ada in his: each is shown the other.");
        self.expect_matches(&ADA, &[&BOB]).await?;

        println!("\nA one-sided contact");
        let found = self.import(&CAROL).await?;
        expect(found.is_empty(), "Carol finds nobody")?;
        self.expect_matches(&ADA, &[&BOB]).await?;
        say(
            "Carol imports too. Ada has Carol's number, but Carol does not have Ada's: neither learns of the other.",
        );

        println!("\nA recycled number");
        self.import(&DORA).await?;
        say("Dora has a number, and Marco's pizzeria in her address book. She gives the number up.");
        let found = self.import(&ERIN).await?;
        expect(found.is_empty(), "the number's former owner is not shown")?;
        say(
            "Erin gets that number, and has Marco too: she is not taken for Dora's acquaintance, though the pair is the same.",
        );
        let found = self.import(&MARCO).await?;
        expect(subjects(&found) == [ERIN.did], "Marco finds who has the number now")?;
        self.expect_matches(&DORA, &[]).await?;
        say("Marco has that number in his address book: he finds Erin, who verified it last, and not Dora.");

        println!("\nA stranger");
        self.sweep().await?;
        say("A stranger imports 1000 numbers, everybody's here among them, and finds nobody.");

        println!("\nThe database's thief");
        let numbers = people::every_number();
        let (searched, files) = search::find_any(&self.data, &numbers)?;
        say(&format!(
            "A search through all {} KiB of the database's files for {} numbers, in three written forms each, finds none.",
            searched / 1024,
            numbers.len()
        ));

        println!("\nRemoval");
        let removed = self.client.remove_data(ADA.did).await?;
        expect(removed.contacts > 0 && removed.matches == 1, "Ada had contacts and a match")?;
        expect(self.client.sync_status(ADA.did).await?.is_none(), "nothing is left of Ada's import")?;
        self.expect_matches(&ADA, &[]).await?;
        self.expect_matches(&BOB, &[]).await?;
        say(&format!(
            "Ada removes her data: {} contacts and {} match are gone, and Bob no longer sees her.",
            removed.contacts, removed.matches
        ));
        let again = self.client.remove_data(ADA.did).await?;
        expect(again.contacts == 0 && again.matches == 0, "a second removal finds nothing")?;
        say("A second removal finds nothing left to remove.");
        Ok(files)
    }

    /// Verifies the person's number and imports their address book.
    async fn import(&self, person: &Person) -> Result<Vec<Found>, Failure> {
        let token = self.verify(person).await?;
        Ok(self.client.import(person.did, &token, person.numbers()?).await?)
    }

    async fn verify(&self, person: &Person) -> Result<String, Failure> {
        self.client.start_verification(person.did, person.phone).await?;
        let outbox = std::fs::read_to_string(&self.outbox)?;
        let line = outbox.lines().rev().find_map(|line| line.strip_prefix(person.phone));
        let code = line.ok_or("the outbox has no code for the person")?.trim().to_owned();
        Ok(self.client.verify(person.did, person.phone, &code).await?)
    }

    /// A thousand numbers, which include everybody's.
    async fn sweep(&self) -> Result<(), Failure> {
        let token = self.verify(&STRANGER).await?;
        let numbers = people::swept_numbers();
        let total = u64::try_from(numbers.len())?;
        let bar = ProgressBar::new(total)
            .with_style(ProgressStyle::with_template("  {bar:40} {pos}/{len} pairs hashed, {eta} left")?);
        let mut import = std::pin::pin!(self.client.import(STRANGER.did, &token, numbers));
        let mut answer = None;
        loop {
            tokio::select! {
                found = &mut import, if answer.is_none() => answer = Some(found?),
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
            let waiting = self.discovery.waiting_pairs().await?;
            bar.set_position(total.saturating_sub(waiting));
            // The answer comes at the deadline; the work goes on.
            if answer.is_some() && waiting == 0 {
                break;
            }
        }
        bar.finish_and_clear();
        expect(answer.is_some_and(|found| found.is_empty()), "the stranger is told of nobody")?;
        self.expect_matches(&STRANGER, &[]).await
    }

    async fn expect_matches(&self, person: &Person, others: &[&Person]) -> Result<(), Failure> {
        let matches = self.client.all_matches(person.did).await?;
        let wanted: Vec<_> = others.iter().map(|other| other.did).collect();
        expect(matches == wanted, &format!("{} has exactly the matches told", person.name))
    }

    fn tell_how_to_go_on(&self) {
        println!("\nThe server stays up until Ctrl-C. In another terminal:");
        let program =
            std::env::current_exe().map_or_else(|_| "acquaint".into(), |path| path.display().to_string());
        println!("  export ACQUAINT_URL={} ACQUAINT_API_KEY={}", self.url, self.api_key);
        println!("  {program} matches --actor {}", MARCO.did);
        println!("  {program} import --actor {} --phone {} examples/ada.vcf", ADA.did, ADA.phone);
        println!("Codes are written to {}.", self.outbox.display());
        println!("An AppView finds it with:");
        for line in init::appview_lines(&self.url, &self.api_key) {
            println!("  {line}");
        }
        println!("Accounts: {}.", EVERYBODY.map(|person| person.did).join(", "));
    }
}

fn subjects(found: &[Found]) -> Vec<&str> {
    found.iter().map(|found| found.subject.as_str()).collect()
}

fn say(line: &str) {
    println!("  {line}");
}

/// The demo shows nothing that it has not checked.
fn expect(is_so: bool, claim: &str) -> Result<(), Failure> {
    if is_so { Ok(()) } else { Err(format!("the demo did not go as told: {claim}").into()) }
}
