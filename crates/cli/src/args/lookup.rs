//! The arguments of `acquaint lookup` and `acquaint directory`.

use std::path::PathBuf;

use clap::Subcommand;

use super::ServerAddress;

/// Who calls.
#[derive(Debug, clap::Args)]
pub(crate) struct Who {
    /// The account's session token; better in the environment than on the command line
    #[arg(long, env = "ACQUAINT_SESSION", hide_env_values = true)]
    pub(crate) session: Option<String>,
    /// The account: with --api-key, for whom a back end calls; with --profile rocketchat, the user's id
    #[arg(long, env = "ACQUAINT_ACTOR")]
    pub(crate) actor: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerAddress,
}

impl Who {
    /// Whether the command line names an account or an API key, and the session is only the environment's.
    pub(crate) fn is_back_end(&self) -> bool {
        let of_environment = |name: &str, value: &Option<String>| {
            value.as_ref().is_none_or(|value| std::env::var(name).is_ok_and(|there| there == *value))
        };
        let is_named = !of_environment("ACQUAINT_ACTOR", &self.actor)
            || !of_environment("ACQUAINT_API_KEY", &self.server.api_key);
        is_named && self.actor.is_some() && of_environment("ACQUAINT_SESSION", &self.session)
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  export ACQUAINT_URL=https://contacts.example.com ACQUAINT_SESSION=…
      where the server is, and your session token: on a command line, others on the machine see it
  acquaint lookup +12125550123 bob@example.com
      who of these wants to be found; nothing is kept
  acquaint lookup --vcf contacts.vcf --region US --book friends.book
      a whole address book; the next time, only what is new or older than a day is asked for
  ACQUAINT_API_KEY=… acquaint lookup --actor did:plc:alice --book alice.book +12125550123
      a back end, for one of its accounts
  acquaint lookup --mode psm --vcf contacts.vcf --region US --book friends.psm.book
      privately: the server learns neither who is asked for nor who is found
  acquaint lookup --profile rocketchat --actor USERID --digits 4 +918888888888
      by weak hashes, as Rocket.Chat's page has it

The profile `sealed`: the server evaluates blinded elements, proves that it used the key that it
publishes, and gives whole buckets of sealed entries; only the right number opens one. The server
learns for each contact the number of its bucket (`prefix_bits` bits) and nothing else. What is
published must be signed by the provider's key: give it with --provider-key, as the provider shows
it elsewhere (a web page, an app); otherwise the first one that is met is kept in the book, and any
other is refused from then on. Each new key of the OPRF (an epoch) tells the server more of the same
contacts, so that it is refused for --min-epoch-days after the one before; a book keeps that.

The profile `rocketchat`: the server sees 16 or 24 bits of the hash of every contact, and answers
hashes that are as good as the numbers of strangers. For servers that offer nothing else.

The modes `psm` and `pir` ask by private information retrieval, where the server offers it: it computes
over its whole table and learns when you ask and roughly how much. 1 MB of keys (1,023,537 bytes) is sent
once a run to each of its servers (and never stored), and 2 KB up and 4 KB down for each query. What is
asked is that of 10, 50, 150, 500 or a multiple of 500 contacts, and the same for every part (shard) of
the directory: one contact costs 10 evaluations, and 10 queries on each shard. A directory of more than
--max-shards shards is not asked.

  psm  each contact is blinded and evaluated first, which counts against your quota, once for each key
       of the server's; only the right number opens a record. If one of 500 is new, 500 are evaluated:
       how many are new does not show
  pir  no evaluation; but records stand in clear: with each contact you read up to seven strangers'
       accounts, as everybody can who asks, and every query counts against your quota. Use `psm`
       where there is one

If the quota has no room, less is asked at once: 150, 50, 10 contacts. Whoever is left waits for another
time, or, with --unpadded, is asked for without anything that only fills up, and that is told
(`unpadded`). A book is of one mode, and of one --index.

For each person a line is printed: the name in your address book (or what you gave), a tab, the
account. With --json, one object: asked, fresh, postponed, evaluated, buckets, round_trips, sent, received (bytes),
skipped (counts by reason), provider_key, first_use, found (name, contact, account); with --mode psm or pir, mode,
queries, unpadded and keys_sent in the place of buckets, and all of that also if it fails: then the exit code is 1.")]
pub(crate) struct Lookup {
    #[command(flatten)]
    pub(crate) who: Who,
    /// How people are looked up
    #[arg(long, default_value = "bucket", value_parser = ["bucket", "psm", "pir"])]
    pub(crate) mode: String,
    /// The kind of buckets
    #[arg(long, default_value = "sealed", value_parser = ["sealed", "rocketchat"])]
    pub(crate) profile: String,
    /// Remember here what was learnt; made if it is not there, for your eyes alone. Without it nothing is kept
    #[arg(long, value_name = "FILE")]
    pub(crate) book: Option<PathBuf>,
    /// Look up an address book (.vcf or .csv); `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) vcf: Option<PathBuf>,
    /// Where numbers without a country code are from, as US
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// The provider's key, in base64url: parameters that another one signed are refused
    #[arg(long, value_name = "KEY")]
    pub(crate) provider_key: Option<String>,
    /// The most bits of a prefix that are told; each one more halves the people that a prefix leaves [default: 24]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=32))]
    pub(crate) max_prefix_bits: Option<u8>,
    /// How many days an epoch must have been used before a newer one is, as the book has it; 0 for none [default: 7]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(0..=3650))]
    pub(crate) min_epoch_days: Option<u16>,
    /// The most shards of a directory that are asked, each of them as much, with --mode psm or pir [default: 64]
    #[arg(long, value_name = "SHARDS", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) max_shards: Option<u32>,
    /// Tell the server how many contacts there are, where the quota has no room for 10, with --mode psm or pir
    #[arg(long)]
    pub(crate) unpadded: bool,
    /// Digits of a weak hash, with --profile rocketchat: 4 as the page has it, 6 as its program had [default: 6]
    #[arg(long, value_parser = digits)]
    pub(crate) digits: Option<u8>,
    /// Which of an identifier's accounts, where it has several, with --mode psm or pir [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<u8>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Phone numbers and e-mail addresses
    pub(crate) identifiers: Vec<String>,
}

fn digits(text: &str) -> Result<u8, &'static str> {
    match text {
        "4" => Ok(4),
        "6" => Ok(6),
        _ => Err("a weak hash has 4 digits, or 6"),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Directory {
    #[command(subcommand)]
    pub(crate) command: DirectoryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Prove that a phone number, or an e-mail address, is yours, and print a token for one listing
    #[command(after_help = "Examples:
  acquaint directory verify +12125550101
      sends a code, asks for it, and prints the token on standard output
  acquaint directory verify --send +12125550101
  acquaint directory verify --code 123456 +12125550101
      the same in two steps, for scripts

Your session token is read from the environment, ACQUAINT_SESSION.

This says nothing to anybody: only `acquaint directory enrol` makes you findable. A token of `acquaint
verify` is none here, nor the other way round.

With --json: {\"token\", \"expires_at\"}, and with --send {\"sent\": true}.")]
    Verify(Verify),
    /// Be found by what the token is of, by everybody who knows it
    #[command(after_help = "Example:
  acquaint directory enrol --token \"$(acquaint directory verify +12125550101)\"

The listing ends by itself when the number is not verified again in the time that the server sets, and when
another account verifies the same number and enrols it.

With --json: {\"id\", \"identifier\", \"username\"?, \"index\"?, \"verified_at\", \"expires_at\"}.")]
    Enrol(Enrol),
    /// Show by what you are found
    #[command(after_help = "Example:
  acquaint directory list

One line for each listing: its id, what it is of, and when it ends. With --json: {\"listings\": [{\"id\",
\"identifier\", \"username\"?, \"index\"?, \"verified_at\", \"expires_at\"}]}.")]
    List(List),
    /// Be found no more, by one listing or by any
    #[command(after_help = "Examples:
  acquaint directory withdraw ID
      with an id of `acquaint directory list`
  acquaint directory withdraw --all

Answers that others have already may be kept for 60 seconds. With --json: {\"withdrawn\": true}.")]
    Withdraw(Withdraw),
    /// For operators: load a CSV of mappings, which identifier is whose, for accounts that the operator knows
    #[command(after_help = "Examples:
  acquaint directory load --config /etc/acquaint/acquaint.toml users.csv
  acquaint directory load --url https://contacts.example.com --refused refused.csv users.csv

The first line of the file names its columns, in any order: `identifier` (a phone number in international form, or
an e-mail address) and `account`; perhaps `index` (0 to 255: an identifier may have several mappings, and most
ways of looking up show the first, which is 0) and `username`. Up to 1,000 rows go in one request. Nobody
has to verify anything: the file says whose identifiers are whose, as the provider knows it. A mapping that is
there already gives way to the file's.

users.csv.loaded, beside the file, says how far it is. After a stop the same command goes on. It is deleted at the
end. Rows that the server does not take are told by their lines and stop no others; then the exit code is 1.

With --json: {\"rows\", \"loaded\", \"unchanged\", \"refused\", \"first_refused\": [{\"line\", \"reason\"}]}.")]
    Load(Load),
    /// For operators: show the provider's key, and the keys that identifiers are looked up by
    #[command(after_help = "Example:
  acquaint directory status --config /etc/acquaint/acquaint.toml

With --json: {\"signing_key\", \"epochs\": [{\"profile\" (`sealed-buckets`, `psm` or `pir`), \"epoch\", \"stage\"
(`filling`, `current` or `former`), \"listings\", \"made_at\" (milliseconds since 1970)}]}.")]
    Status(Operate),
    /// For operators: make a new key that identifiers are looked up by
    #[command(after_help = "Example:
  acquaint directory rotate --config /etc/acquaint/acquaint.toml --profile psm

Every listing is placed under the new key in the background, then the key is published; the one before is
answered for `directory.former_epoch_hours` more. Clients have all their contacts evaluated anew.

With --json: {\"epoch\"}.")]
    Rotate(RotateDirectory),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) server: ServerAddress,
    /// The mappings
    pub(crate) file: PathBuf,
    /// Where to keep how far it is, in place of FILE.loaded
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Write the lines of all rows that are refused into this file, as CSV: a new one, or a list of an earlier load
    #[arg(long, value_name = "FILE")]
    pub(crate) refused: Option<PathBuf>,
    /// Requests that are under way at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) at_once: u8,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Operate {
    #[command(flatten)]
    pub(crate) server: ServerAddress,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RotateDirectory {
    #[command(flatten)]
    pub(crate) operate: Operate,
    /// Which lookups the key is for
    #[arg(long, value_enum, default_value_t = KeyProfile::SealedBuckets)]
    pub(crate) profile: KeyProfile,
}

/// What a key of the directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KeyProfile {
    /// Lookups by prefix
    SealedBuckets,
    /// Private lookup, private set membership
    Psm,
    /// Private lookup, private information retrieval
    Pir,
}

impl KeyProfile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SealedBuckets => "sealed-buckets",
            Self::Psm => "psm",
            Self::Pir => "pir",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) who: Who,
    /// The number, in international form; or an e-mail address
    pub(crate) identifier: String,
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
pub(crate) struct Enrol {
    #[command(flatten)]
    pub(crate) who: Who,
    /// What `acquaint directory verify` printed; good for one listing
    #[arg(long)]
    pub(crate) token: String,
    /// The name that others find, where the server takes one
    #[arg(long)]
    pub(crate) username: Option<String>,
    /// Which of the number's or address's mappings to be; it may have several, and most ways of looking up show
    /// the first, which is 0
    #[arg(long, default_value_t = 0)]
    pub(crate) index: u8,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) who: Who,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Withdraw {
    #[command(flatten)]
    pub(crate) who: Who,
    /// Which listing
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) id: Option<String>,
    /// All of the account's
    #[arg(long)]
    pub(crate) all: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
