//! The arguments of `acquaint payload`.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  acquaint payload
      the example of Rocket.Chat's page: 6000 bytes of request, about 17,080 of response
  acquaint payload --n 10000000 --u 500 --p 16777216
      a larger server, fewer contacts, weak hashes of six digits
  acquaint payload --plot payload.svg
      how much is received against the number of users; .png does as well

The page's arithmetic (seed 003):
  d = n · f                                      users that may be found
  c = max(d · a / p, 1)                          listings under a weak hash, in the mean
  y = (c − 1) · d / (all possible identifiers)   0 without --possible, as in the page's example
  request  ≈ u · sw
  response ≈ u · (b + (1 − b) · y) · c · (sw + ss + su)

The sealed profile's, with k candidates wanted, names of l bytes, and so a prefix of B bits and
S slots in each of 2^B buckets:
  w = 2^B · (1 − (1 − 2^−B)^u)                   buckets that are asked for
  request  ≈ u · 46 + w · (digits of a prefix + 1)
  response ≈ u · 46 + w · S · (l + 16)

`as written` rounds c to two digits first, as the page does. `measured` is what this build sends: real
messages of people who do not exist are made and counted. It is more than the page says: where c is over 1,
nearly every contact's weak hash meets somebody's listing, and the page counts only those who are there.

With --json: one object, {\"page\": {…}, \"sealed\": {…}, \"measured\": {…}}.")]
pub(crate) struct Payload {
    /// Bytes of a weak hash
    #[arg(long, default_value_t = 6.0, value_parser = amount)]
    pub(crate) sw: f64,
    /// Bytes of a strong hash
    #[arg(long, default_value_t = 40.0, value_parser = amount)]
    pub(crate) ss: f64,
    /// Bytes of a username, in the mean
    #[arg(long, default_value_t = 10.0, value_parser = amount)]
    pub(crate) su: f64,
    /// Users of the server
    #[arg(long, default_value_t = 100_000.0, value_parser = amount)]
    pub(crate) n: f64,
    /// Phone numbers and e-mail addresses of a user, in the mean
    #[arg(long, default_value_t = 2.5, value_parser = amount)]
    pub(crate) a: f64,
    /// Which part of the users may be found, 0 to 1
    #[arg(long, default_value_t = 0.8, value_parser = part)]
    pub(crate) f: f64,
    /// Contacts of a client
    #[arg(long, default_value_t = 1_000.0, value_parser = amount)]
    pub(crate) u: f64,
    /// Which part of the contacts may be found on the server, 0 to 1
    #[arg(long, default_value_t = 0.1, value_parser = part)]
    pub(crate) b: f64,
    /// Possible weak hashes: 65536 (four digits) or 16777216 (six) in what was built
    #[arg(long, default_value_t = 65_536.0, value_parser = positive)]
    pub(crate) p: f64,
    /// All possible phone numbers and e-mail addresses, for y; without it y is 0
    #[arg(long, value_parser = positive)]
    pub(crate) possible: Option<f64>,
    /// Candidates wanted under a prefix of the sealed profile
    #[arg(long, default_value_t = 100)]
    pub(crate) k: u16,
    /// Bytes of a name in an entry of the sealed profile
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=65_519))]
    pub(crate) l: u16,
    /// Draw what is received against the number of users, into this .svg or .png
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn amount(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && (0.0..=1e15).contains(number));
    number.ok_or_else(|| "a number from 0 to 10^15".into())
}

fn positive(text: &str) -> Result<f64, String> {
    amount(text).ok().filter(|number| *number >= 1.0).ok_or_else(|| "a number from 1 to 10^15".into())
}

fn part(text: &str) -> Result<f64, String> {
    amount(text).ok().filter(|part| *part <= 1.0).ok_or_else(|| "a part: a number from 0 to 1".into())
}
