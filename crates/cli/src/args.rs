//! The command line.

pub(crate) mod bench;
pub(crate) mod keys;
pub(crate) mod lookup;
pub(crate) mod payload;
pub(crate) mod shard;
pub(crate) mod transfer;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Private contact discovery that anyone can run.
///
/// People find those in their address books who have *them* in theirs. A stranger with a list of numbers finds
/// nobody, and the database holds no number. Begin with `acquaint demo`; to serve a Bluesky AppView, `acquaint init`
/// and `acquaint serve`.
#[derive(Debug, Parser)]
#[command(name = "acquaint", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work: a private server in a temporary folder, some people, and a stranger who finds nobody
    Demo(Demo),
    /// Write a configuration, keys and an API key, and print the lines for an AppView
    Init(Init),
    /// Run the server
    Serve(Serve),
    /// Show the notifications that wait or were given up on a running server, and retry them
    Notifications(Notifications),
    /// Show a running server's audit log: who did what and when, under pseudonyms
    Audit(Audit),
    /// Make an API key for a back end that calls for its accounts
    ApiKey(MakeApiKey),
    /// Look for what keeps the server from running well, and say what to do
    Doctor(Doctor),
    /// Back up, restore, check, export or import the database
    Store(Store),
    /// Move from the embedded store to PostgreSQL
    Migrate(transfer::Migrate),
    /// Make, show, seal or open the keys
    Keys(keys::Keys),
    /// Hold the keys in a process of its own
    Custody(keys::Custody),
    /// Verify a phone number, or an e-mail address, on a running server and print a token for one import
    Verify(Verify),
    /// Import an address book (.vcf or .csv) on a running server
    Import(Import),
    /// List an account's matches
    Matches(Matches),
    /// Hide a match for good
    Dismiss(Dismiss),
    /// Remove everything that is stored of an account
    Remove(Remove),
    /// Look people up in a server's directory: who of these wants to be found
    Lookup(lookup::Lookup),
    /// Be found in a server's directory, or no more
    Directory(lookup::Directory),
    /// Look at the files that a server keeps its shards of private lookup in; needs no server
    Shard(shard::Shard),
    /// Reckon what lookups cost in bytes, by Rocket.Chat's page and with sealed buckets; needs no server
    Payload(payload::Payload),
    /// Measure on this machine what a private lookup costs
    Bench(bench::Bench),
    /// Show the form in which numbers and e-mail addresses are compared; needs no server
    Normalise(Normalise),
    /// Print a script that completes these commands in your shell
    Completions(Completions),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  acquaint demo --keep    and then, in another terminal, the commands that it prints"
)]
pub(crate) struct Demo {
    /// Leave the server running until Ctrl-C, and print how to talk to it
    #[arg(long)]
    pub(crate) keep: bool,
    /// Port for the server; 0 takes any free one
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  acquaint init /etc/acquaint\n  acquaint serve --config /etc/acquaint/acquaint.toml"
)]
pub(crate) struct Init {
    /// Folder to write into; made if it is not there
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Argon2id's cost: `standard` (19 MiB, two passes), `hard` (64 MiB, three passes), or `development`
    /// (cheap, on loopback only)
    #[arg(long, default_value = "standard", value_parser = ["standard", "hard", "development"])]
    pub(crate) suite: String,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every key of the file can be overridden by the environment: ACQUAINT_LISTEN for `listen`,\n\
                  ACQUAINT_IMPORT__DEADLINE_MS for `deadline_ms` in [import].\n\n\
                  Example:\n  ACQUAINT_LISTEN=127.0.0.1:8080 acquaint serve --config acquaint.toml"
)]
pub(crate) struct Serve {
    /// The configuration file
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "One line for each thing that is looked at: ok, warning or wrong, with what to do. The exit code is 1 if\n\
                  something is wrong. Nothing is changed, and a running server is not disturbed. Run it as the\n\
                  user that runs the server.\n\n\
                  Example:\n  acquaint doctor --config /etc/acquaint/acquaint.toml"
)]
pub(crate) struct Doctor {
    /// The server's configuration file
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Print one JSON object in place of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "One line for each event, in order: when, what, to whose account (a pseudonym that stands nowhere else),\n\
                  and what more there is. Events are kept for `audit.keep_days`.\n\n\
                  Examples:\n  acquaint audit --config /etc/acquaint/acquaint.toml\n  \
                  acquaint audit --after 1234 --json\n\n\
                  With --json: one object a line, {\"id\", \"at\" (milliseconds since 1970), \"type\",\n\
                  \"account_identifier\" (or null), …}."
)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) server: ServerAddress,
    /// Only what came after the event of this id
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<i64>,
    /// Print one JSON object for each event
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The key is shown once; the configuration holds its hash only. Whoever has it can call in the name of\n\
                  every account.\n\n\
                  Example:\n  acquaint api-key billing\n\n\
                  With --json: {\"key\", \"entry\"}."
)]
pub(crate) struct MakeApiKey {
    /// What the key is called, in the configuration and in limits: up to 32 of `a-z`, `0-9`, `-` and `_`
    pub(crate) name: String,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Store {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy the database into one file, while the server runs
    #[command(
        after_help = "The file is checked before it gets its name, and is never written over another. Room for two copies is\n\
                      needed beside it while it is made. The key file is not in it: back that up once, elsewhere.\n\n\
                      Example:\n  acquaint store backup --config /etc/acquaint/acquaint.toml /backup/$(date +%F).db"
    )]
    Backup(OneFile),
    /// Put a back-up in the place of the database; the server must be stopped
    #[command(
        after_help = "The present database is kept in a folder beside it. What people removed after the back-up was made\n\
                      comes back: remove it again before the server is reachable (docs/operations/backup.md).\n\n\
                      Example:\n  acquaint store restore --config /etc/acquaint/acquaint.toml /backup/2026-01-31.db"
    )]
    Restore(OneFile),
    /// Look whether the database, or a back-up, is whole and keeps its own rules
    #[command(
        after_help = "Works while the server runs, and changes nothing. The exit code is 1 if something is wrong.\n\n\
                      Examples:\n  acquaint store check --config /etc/acquaint/acquaint.toml\n  \
                      acquaint store check /backup/2026-01-31.db"
    )]
    Check(Check),
    /// Seal all data into one file that either store can import; the server must be stopped
    #[command(
        after_help = "The file is of use only with the keys, and is never written over another. It is FILE.part\n\
                      until it is whole: interrupted, the same command goes on with that, unless the data was\n\
                      changed. For PostgreSQL, pg_dump is quicker and needs no stop; this is for moving, and\n\
                      for copies that a thief cannot read.\n\n\
                      Example:\n  acquaint store export --config /etc/acquaint/acquaint.toml /backup/$(date +%F).export\n\n\
                      With --json: {\"ok\": true, \"file\", \"bytes\", \"resumed\", \"rows\": {\"accounts\": 3, …}}."
    )]
    Export(transfer::Transfer),
    /// Put an export into the configured store, which must be empty; the server must be stopped
    #[command(
        after_help = "The file is checked whole before anything is written. Interrupted, the same command goes\n\
                      on; until it has ended, no server starts on the store. PostgreSQL needs the role that owns\n\
                      the tables. What people removed after the export was made comes back\n\
                      (docs/operations/backup.md).\n\n\
                      Example:\n  acquaint store import --config /etc/acquaint/acquaint.toml /backup/2026-01-31.export\n\n\
                      With --json: {\"ok\": true, \"file\", \"resumed\", \"rows\": {\"accounts\": 3, …}}."
    )]
    Import(transfer::Transfer),
    /// Write PostgreSQL's tables anew, so that no byte of what was removed is left in their files
    #[command(
        after_help = "One partition after another is locked, and needs its size once more on the disk. Needs the role that owns\n\
                      the tables. Its log, back-ups and replicas keep such bytes longer (docs/operations/postgresql.md,\n\
                      \"Erasure\"). Stopped, it leaves what it has done; the embedded store does this with each removal.\n\n\
                      Example:\n  ACQUAINT_STORE__POSTGRES=postgresql://acquaint_owner:… acquaint store rewrite --config acquaint.toml"
    )]
    Rewrite(Rewrite),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rewrite {
    /// The server's configuration file
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OneFile {
    /// The back-up
    pub(crate) file: PathBuf,
    /// The server's configuration file
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// A back-up to look at in place of the configured database
    pub(crate) file: Option<PathBuf>,
    /// The server's configuration file
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which server, and for whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Remote {
    /// The account that acts, as a DID
    #[arg(long, env = "ACQUAINT_ACTOR")]
    pub(crate) actor: String,
    #[command(flatten)]
    pub(crate) server: ServerAddress,
}

/// Which server.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerAddress {
    /// The server, as http://127.0.0.1:3200 or https://contacts.example.com; without it, the address and the API key are
    /// read from the configuration file
    #[arg(long, env = "ACQUAINT_URL")]
    pub(crate) url: Option<String>,
    /// The operator's API key; better in the environment than on the command line
    #[arg(long, env = "ACQUAINT_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// The server's configuration file, for the address and the key
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Certificates (PEM) to trust beside the system's, for a server with a certificate of your own making
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  acquaint verify --actor did:plc:alice +12125550101
      sends a code, asks for it, and prints the token on standard output

  acquaint verify --actor did:plc:alice --send +12125550101
  acquaint verify --actor did:plc:alice --code 123456 +12125550101
      the same in two steps, for scripts

With --json: {\"token\": …}, and with --send {\"sent\": true}.")]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The number, in international form; or an e-mail address, where the server takes them
    pub(crate) phone: String,
    /// Have the code sent, and no more
    #[arg(long, conflicts_with = "code")]
    pub(crate) send: bool,
    /// The code that was sent before; no other is sent
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  acquaint import --actor did:plc:alice --phone +12125550101 contacts.vcf
      has a code sent to the number, asks for it, and imports
  acquaint import --actor did:plc:alice --token TOKEN --region US contacts.csv
      with a token of `acquaint verify`
  acquaint import --actor did:plc:alice --phone +12125550101 --from 1001 contacts.vcf
      goes on where an import of more than 1000 stopped
  export-contacts | acquaint import --actor did:plc:alice --phone +12125550101 --code 123456 -
      from another program, with the code of `acquaint verify --send`

Address books: vCard 2.1, 3.0 and 4.0; the CSV of Google Contacts, Outlook and Thunderbird, with
English titles. Numbers are sent in canonical form, each once; what is left out is told.

For each match a line is printed: the name in your address book, a tab, the account. With --json,
one object: entries, sent, imports, skipped (counts by reason), matches (name, contact, subject),
and go_on_from (null when all was sent).")]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Verify this number, or e-mail address, first (asks for the code); anew for each 1000 entries
    #[arg(long, conflicts_with = "token", required_unless_present = "token")]
    pub(crate) phone: Option<String>,
    /// A token that `acquaint verify` printed; it allows one import, of at most 1000 entries
    #[arg(long, conflicts_with = "code")]
    pub(crate) token: Option<String>,
    /// A code that was sent to --phone before; none is sent for the first import then
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// Where numbers without a country code are from (as US); by default, where --phone is from
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Send e-mail addresses too, if the server takes them; done by itself if --phone is one
    #[arg(long)]
    pub(crate) emails: bool,
    /// Begin with this number or address of the file, counted from 1: what a stopped import told
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) from: NonZeroU32,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The address book; `-` for standard input, with --token or --code
    pub(crate) file: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  acquaint matches --actor did:plc:alice
  acquaint matches --actor did:plc:alice --url https://contacts.example.com --ca our-ca.pem

Prints a line for each account, newest match first. With --json: {\"matches\": […], \"synced_at\":
seconds since 1970, or null if nothing is stored}.")]
pub(crate) struct Matches {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  acquaint dismiss --actor did:plc:alice did:plc:bob
      alice is not shown bob again; he still sees her

With --json: {\"matches_left\": 3}.")]
pub(crate) struct Dismiss {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The account to hide, as a DID
    pub(crate) subject: String,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  acquaint remove --actor did:plc:alice

With --json: {\"contacts\": 3, \"matches\": 1}, what was removed.")]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  acquaint notifications
      how many wait, and each dead letter: its age, its attempts, why the last one failed
  acquaint notifications --retry
      every dead letter is tried again, once you have mended what was wrong

Whom a notification is about is not shown. With --json: {\"waiting\", \"dead\", \"letters\": [{\"id\",
\"found_at\" (seconds since 1970), \"attempts\", \"reason\"}]}, and with --retry {\"retried\": 2}.")]
pub(crate) struct Notifications {
    #[command(flatten)]
    pub(crate) server: ServerAddress,
    /// Have every dead letter tried again
    #[arg(long)]
    pub(crate) retry: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  acquaint normalise --region US '(212) 555-0101' Ada@Example.com
      prints +12125550101 and ada@example.com
  cut -f 2 numbers.tsv | acquaint normalise --region FR -
      one line out for each line in

A text that is refused gives a line `refused: why`, and exit code 1 at the end. With --json:
{\"results\": [{\"line\", \"canonical\", \"kind\": \"phone\" or \"email\"} or {\"line\", \"error\"}],
\"refused\": 0}.")]
pub(crate) struct Normalise {
    /// Phone numbers and e-mail addresses; none, or `-`, reads lines of standard input
    pub(crate) texts: Vec<String>,
    /// Where numbers without a country code are from, as US
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  acquaint completions bash > ~/.local/share/bash-completion/completions/acquaint
  acquaint completions fish > ~/.config/fish/completions/acquaint.fish")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
