//! Arguments of `acquaint keys` and `acquaint custody`.

use std::path::PathBuf;

use clap::Subcommand;

use super::ServerAddress;

#[derive(Debug, clap::Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make the keys, once: in a key file, or in an HSM's token
    #[command(
        after_help = "Where they are made, the configuration says: `keys.custody` is `file` (sealed, if \
                      `keys.passphrase_file` or\n`keys.identity_file` is set) or `pkcs11` (`[pkcs11]` names module, \
                      token and the PIN's file). Keys that\nare there already are never made anew. What an interrupted \
                      call has begun in a token, the next one ends.\n\n\
                      Examples:\n  acquaint keys init --config /etc/acquaint/acquaint.toml\n  \
                      ACQUAINT_PKCS11__PIN=… acquaint keys init --custody pkcs11 --config acquaint.toml\n\n\
                      With --json: {\"made\": [{\"purpose\", \"version\"}]}."
    )]
    Init(Init),
    /// Show each key: what it is for, its version, when it was made, Argon2id's cost; never the key
    #[command(
        after_help = "Also what an interruption or a loss has left in a token. With `keys.custody = \"process\"` \
                      the custody\nprocess is asked, and what is used of its budgets is shown too.\n\n\
                      Example:\n  acquaint keys list --config /etc/acquaint/acquaint.toml\n\n\
                      With --json: {\"keys\": [{\"purpose\", \"version\", \"made_at\" (milliseconds since 1970, or null), \
                      \"suite\" (or null),\n\"state\" (`usable`, or what is the matter)}], \"budgets\": [{\"purpose\", \
                      \"version\", \"used_today\", \"per_day\",\n\"per_second\", \"refused\", \"unaccounted\"}]}. Exit \
                      code 1 if a key cannot be used."
    )]
    List(List),
    /// Make the next pair key; the servers take it up by themselves
    #[command(
        after_help = "A rotation has two phases. First every running server takes the new key up and looks for matches \
                      under it too;\nonce all do, they insert under it. What stands under the older one still matches, and \
                      moves over as people\nimport again. `acquaint keys retire` ends the older one when enough has moved.\n\n\
                      The new key keeps the pepper and Argon2id's cost, so an import costs one more HMAC a pair \
                      meanwhile. With\n--new-pepper, or another `keys.suite` in the configuration, each pair is stretched \
                      twice.\n\n\
                      Examples:\n  acquaint keys rotate --config /etc/acquaint/acquaint.toml\n  \
                      acquaint keys epochs --config /etc/acquaint/acquaint.toml\n\n\
                      With --json: {\"version\", \"suite\", \"new_pepper\"}."
    )]
    Rotate(Rotate),
    /// End an older epoch: delete what stands under it, then destroy its key
    #[command(
        after_help = "Asks a running server, which deletes the rows; then the key is destroyed where the configuration says \
                      the keys\nare. It asks before it does, and says how much is left under the epoch: what nobody has \
                      imported again since\nthe rotation. After `import.pair_ttl_days` nothing is. An interrupted call can be \
                      made again. An epoch that\nwaits to become the current one is forgotten, as when its key was lost. Run \
                      it as the user that the keys\nbelong to.\n\n\
                      Examples:\n  acquaint keys retire 1 --config /etc/acquaint/acquaint.toml\n  \
                      acquaint keys retire 1 --config /etc/acquaint-custody/custody.toml --url http://127.0.0.1:3200\n  \
                      acquaint keys retire 1 --lost --config /etc/acquaint/acquaint.toml\n\n\
                      With --json: {\"version\", \"destroyed\"}."
    )]
    Retire(Retire),
    /// Show the epochs of the pair keys on a running server: which is current, and what stands under each
    #[command(after_help = "Example:\n  acquaint keys epochs --config /etc/acquaint/acquaint.toml\n\n\
                      With --json: {\"servers\", \"epochs\": [{\"version\", \"state\" (`next`, `current`, `older`, \
                      `retired` or `cleared`), \"suite\",\n\"halves\", \"matches\", \"servers\"}]}.")]
    Epochs(Epochs),
    /// Make the keys of an audience of credentials, or carry its signing key to who checks them
    #[command(
        after_help = "Credentials are for one discovery service each, an audience with two keys of its own: one makes \
                      usernames\nand never leaves; the other signs, and whoever checks credentials without asking needs it \
                      too. Without\n--share and --take, both are made and the audience's number is told.\n\n\
                      Examples:\n  acquaint keys audience --config /etc/acquaint/acquaint.toml\n  \
                      acquaint keys audience --share 1 --to audience.key    (who issues)\n  \
                      acquaint keys audience --take audience.key            (who runs the discovery service)\n\n\
                      With --json: {\"number\", \"file\" (with --share)}."
    )]
    Audience(Audience),
    /// Seal the key file, so that a stolen back-up of it is of no use by itself
    #[command(
        after_help = "With a passphrase of six random words or more, which is asked for twice; or with the key in an \
                      identity\nfile, as age-keygen writes it, on another disk. The file becomes an age file. Keep what \
                      opens it in two\nplaces that are not the back-up: without it the keys are gone, and so is the data. A \
                      running server is\nnot disturbed; its next start needs `keys.passphrase_file` or \
                      `keys.identity_file`.\n\n\
                      Examples:\n  acquaint keys wrap --config /etc/acquaint/acquaint.toml\n  \
                      acquaint keys wrap --identity /mnt/other/acquaint.identity --make-identity"
    )]
    Wrap(Wrap),
    /// Write a sealed key file in clear again
    #[command(after_help = "Asks before it does: from then on whoever reads the file has the keys.\n\n\
                      Example:\n  acquaint keys unwrap --config /etc/acquaint/acquaint.toml")]
    Unwrap(Unwrap),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The configuration file, of the server or of the custody process
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Where to make them, in place of `keys.custody`
    #[arg(long, value_parser = ["file", "pkcs11"])]
    pub(crate) custody: Option<String>,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// The configuration file, of the server or of the custody process
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Print one JSON object in place of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// The configuration file, of the server or of the custody process
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Draw a new pepper too: what was stretched before is of no use for the new key
    #[arg(long)]
    pub(crate) new_pepper: bool,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Retire {
    /// Which epoch; its number is its pair key's version
    pub(crate) version: u32,
    #[command(flatten)]
    pub(crate) server: ServerAddress,
    /// Its key is lost, so that no server starts: give up what stands under it, with all servers stopped
    #[arg(long)]
    pub(crate) lost: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Epochs {
    #[command(flatten)]
    pub(crate) server: ServerAddress,
    /// Print one JSON object in place of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Audience {
    /// The configuration file, of the server or of the custody process
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Write the key that this audience signs with into a new file of mode 0600
    #[arg(long, value_name = "NUMBER", requires = "to")]
    pub(crate) share: Option<u32>,
    /// Where to
    #[arg(long, value_name = "FILE", requires = "share")]
    pub(crate) to: Option<PathBuf>,
    /// Take up the key that such a file holds
    #[arg(long, value_name = "FILE", conflicts_with = "share")]
    pub(crate) take: Option<PathBuf>,
    /// Destroy this audience's keys for good: after a theft, or once nothing names the number any more
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["share", "take"])]
    pub(crate) destroy: Option<u32>,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wrap {
    /// The configuration file; its `keys.file` is sealed
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// A file of mode 0600 with the passphrase, in place of being asked
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// A file of mode 0600 with an age identity, in place of a passphrase
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Make the identity file first; it must not be there yet
    #[arg(long, requires = "identity")]
    pub(crate) make_identity: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Unwrap {
    /// The configuration file; its `keys.file` is opened
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// A file of mode 0600 with the passphrase, in place of the configured one or of being asked
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// A file of mode 0600 with the age identity
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Custody {
    #[command(subcommand)]
    pub(crate) command: CustodyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CustodyCommand {
    /// Hold the keys and their budget, and answer the server on the Unix socket `keys.socket`
    #[command(
        after_help = "Run it as a user of its own, who alone can read the PIN or the key file. Its configuration \
                      needs [keys],\nand [pkcs11] and [budget] if they are used; no API key. The server's says `custody = \
                      \"process\"` and\nnames the same socket. SIGTERM ends it once what is being answered is \
                      answered.\n\n\
                      Example of its configuration:\n  [keys]\n  custody = \"pkcs11\"\n  socket = \
                      \"/run/acquaint-custody/socket\"\n  allowed_uids = [\"998\"]     # `id -u acquaint`\n  [pkcs11]\n  \
                      module = \"/usr/lib/softhsm/libsofthsm2.so\"\n  token = \"acquaint\"\n  pin_file = \
                      \"/etc/acquaint-custody/pin\"\n  [budget]\n  file = \"/var/lib/acquaint-custody/budget.json\"\n  \
                      pair_per_day = 10000000\n\n\
                      Example:\n  acquaint keys init --config /etc/acquaint-custody/custody.toml\n  \
                      acquaint custody serve --config /etc/acquaint-custody/custody.toml"
    )]
    Serve(CustodyServe),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CustodyServe {
    /// The custody process's configuration file
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "custody.toml")]
    pub(crate) config: PathBuf,
}
