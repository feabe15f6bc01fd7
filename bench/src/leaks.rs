//! `bench leaks`: what a lookup by prefix tells, for the threat model: candidates under a prefix by country, what many contacts
//! tell together, and what filling costs.
//!
//! Numbers are drawn at random and judged by libphonenumber's metadata: "valid" is what a network could have given out, an
//! upper bound of what it has.

use std::collections::HashSet;

use acquaint_protocol::bucket::layout::{self, Layout};
use acquaint_protocol::bucket::payload::Sealed;
use acquaint_protocol::bucket::sealed::TAG_BYTES;
use acquaint_protocol::bucket::weak::{Strong, WeakLength};
use acquaint_protocol::identifier::{Identifier, Sii};
use serde::Serialize;

use crate::Result;

/// Draws for each length of a country's numbers.
const DRAWS: u64 = 60_000;
/// Calling code, lengths of national numbers, country.
const COUNTRIES: [(&str, &[u32], &str); 10] = [
    ("1", &[10], "US"),
    ("91", &[10], "IN"),
    ("55", &[11], "BR"),
    ("234", &[10], "NG"),
    ("49", &[10, 11], "DE"),
    ("44", &[10], "GB"),
    ("41", &[9], "CH"),
    ("354", &[7], "IS"),
    ("356", &[8], "MT"),
    ("688", &[6, 7], "TV"),
];
const DIRECTORIES: [u64; 6] = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const CANDIDATES: u16 = 100;
const ACCOUNT_BYTES: usize = 40;

#[derive(Debug, Serialize)]
struct Results {
    countries: Vec<Country>,
    joint: Vec<Joint>,
    padding: Vec<Padding>,
}

#[derive(Debug, Serialize)]
struct Country {
    country: &'static str,
    /// Valid mobile-type numbers.
    numbers: f64,
    /// Of those, under a prefix of so many bits, in the mean.
    at_9_bits: f64,
    at_16_bits: f64,
    at_24_bits: f64,
}

/// A server that sees the prefixes of one address book and has a list of people whom it suspects in it.
#[derive(Debug, Serialize)]
struct Joint {
    bits: u32,
    contacts: usize,
    suspects: usize,
    /// Suspects who are no contacts and fit all the same, in the mean.
    by_chance: f64,
    /// Bits that the whole query tells: log₂ of how many such sets of distinct prefixes there are.
    bits_in_all: f64,
}

#[derive(Debug, Serialize)]
struct Padding {
    listings: u64,
    prefix_bits: u8,
    /// Listings in a bucket in the mean.
    mean: f64,
    slots: u16,
    bucket_bytes: usize,
    /// What the distinct buckets of 500 contacts take, in the mean.
    answer_500_bytes: f64,
    /// The same without filling.
    unpadded_500_bytes: f64,
}

pub(crate) fn run(json: bool) -> Result<()> {
    let results = Results { countries: countries()?, joint: joint()?, padding: padding()? };
    println!("{:<4}{:>16}{:>18}{:>18}{:>18}", "", "valid numbers", "at 9 bits", "at 16 bits", "at 24 bits");
    for Country { country, numbers, at_9_bits, at_16_bits, at_24_bits } in &results.countries {
        println!("{country:<4}{numbers:>16.0}{at_9_bits:>18.0}{at_16_bits:>18.1}{at_24_bits:>18.2}");
    }
    println!(
        "\n{:<6}{:>10}{:>10}{:>22}{:>16}",
        "bits", "contacts", "suspects", "fit by chance", "bits in all"
    );
    for Joint { bits, contacts, suspects, by_chance, bits_in_all } in &results.joint {
        println!("{bits:<6}{contacts:>10}{suspects:>10}{by_chance:>22.2}{bits_in_all:>16.0}");
    }
    println!(
        "\n{:<10}{:>6}{:>10}{:>8}{:>14}{:>16}{:>16}",
        "listings", "bits", "mean", "slots", "bucket, B", "500, B", "unfilled, B"
    );
    for padding in &results.padding {
        let Padding {
            listings,
            prefix_bits,
            mean,
            slots,
            bucket_bytes,
            answer_500_bytes,
            unpadded_500_bytes,
        } = padding;
        println!(
            "{listings:<10}{prefix_bits:>6}{mean:>10.1}{slots:>8}{bucket_bytes:>14}{answer_500_bytes:>16.0}\
             {unpadded_500_bytes:>16.0}"
        );
    }
    if json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(())
}

fn countries() -> Result<Vec<Country>> {
    let mut draws = Draws(1);
    let mut countries = Vec::new();
    for (code, lengths, country) in COUNTRIES {
        let mut numbers = 0.0;
        for length in lengths {
            let all = 10_u64.pow(*length);
            let mut valid = 0_u64;
            for _ in 0..DRAWS {
                let text =
                    format!("+{code}{:0width$}", draws.next() % all, width = usize::try_from(*length)?);
                let Ok(Identifier::Phone(phone)) = Identifier::parse(&text, None) else { continue };
                let is_its = phone.region().is_some_and(|region| region.as_str() == country);
                valid += u64::from(is_its && phone.kind().can_receive_sms());
            }
            numbers += all as f64 * valid as f64 / DRAWS as f64;
        }
        let at = |bits: i32| numbers / f64::from(bits).exp2();
        countries.push(Country {
            country,
            numbers,
            at_9_bits: at(9),
            at_16_bits: at(16),
            at_24_bits: at(24),
        });
    }
    Ok(countries)
}

fn joint() -> Result<Vec<Joint>> {
    const ROUNDS: usize = 20;
    let mut draws = Draws(7);
    let mut joint = Vec::new();
    // 16 and 24 bits of SHA-1 are the page's; 9 are those of a directory of 100,000, cut from the same hash.
    for (bits, length) in [(9_u32, WeakLength::Four), (16, WeakLength::Four), (24, WeakLength::Six)] {
        for suspects in [1_000_usize, 100_000] {
            for contacts in [100_usize, 500] {
                let mut fit = 0_usize;
                let mut seen = 0_usize;
                let mut bits_in_all = 0.0;
                for _ in 0..ROUNDS {
                    let mut prefix = || -> Result<u32> {
                        let text = format!("tel:+1212{:07}", draws.next() % 10_000_000);
                        let weak = Strong::of(&Sii::parse(&text)?).weak(length).value();
                        Ok(weak >> (4 * u32::try_from(length.digits())? - bits))
                    };
                    let book = (0..contacts).map(|_| prefix()).collect::<Result<HashSet<u32>>>()?;
                    bits_in_all += log2_sets(bits, book.len()) / ROUNDS as f64;
                    // As many as are drawn in good time; the rest are like them.
                    let drawn = suspects.min(5_000);
                    for _ in 0..drawn {
                        fit += usize::from(book.contains(&prefix()?));
                    }
                    seen += drawn;
                }
                joint.push(Joint {
                    bits,
                    contacts,
                    suspects,
                    by_chance: fit as f64 / seen as f64 * suspects as f64,
                    bits_in_all,
                });
            }
        }
    }
    Ok(joint)
}

/// log₂ of C(2ᵇ, k): the order tells nothing, and neither does who shares a prefix.
fn log2_sets(bits: u32, distinct: usize) -> f64 {
    let all = f64::from(bits).exp2();
    (0..distinct).map(|taken| ((all - taken as f64) / (taken + 1) as f64).log2()).sum()
}

fn padding() -> Result<Vec<Padding>> {
    let of = |listings: u64| {
        let layout = layout::choose(listings, CANDIDATES)?;
        let Layout { prefix_bits, slots } = layout;
        let slot = ACCOUNT_BYTES + TAG_BYTES;
        let mean = listings as f64 / f64::from(prefix_bits).exp2();
        let bucket_bytes = usize::from(slots) * slot;
        // Contacts that share a bucket ask for it once.
        let sealed = Sealed { contacts: 500.0, account_bytes: ACCOUNT_BYTES as f64, layout };
        Ok(Padding {
            listings,
            prefix_bits,
            mean,
            slots,
            bucket_bytes,
            answer_500_bytes: sealed.buckets_response() + 16.0,
            unpadded_500_bytes: sealed.buckets() * mean * slot as f64,
        })
    };
    DIRECTORIES.into_iter().map(of).collect()
}

/// SplitMix64, by its author's constants (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
