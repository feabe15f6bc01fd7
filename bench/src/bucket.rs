//! `bench bucket`: the index of sealed buckets with ten million listings, what is answered from it, and the OPRF.
//!
//! Everything is in process: no store, no HTTP. Rates are of one core, by its CPU time; the builds are by the clock on the
//! wall with as many threads as there are cores.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use acquaint_protocol::bucket::SEALED;
use acquaint_protocol::bucket::layout::{self, Layout};
use acquaint_protocol::bucket::sealed::{Filler, Keys, Scope, TAG_BYTES, open_bucket, seal_entry};
use acquaint_protocol::oprf::{Output, ServerKey, blind};
use acquaint_service::directory::BucketIndex;
use acquaint_store::ListingId;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{Result, machine};

/// The default of `directory.account_bytes` …
const ACCOUNT_BYTES: u16 = 40;
/// … and of `directory.candidates`.
const CANDIDATES: u16 = 100;
/// Identifiers of one batch of the OPRF, as a client sends them.
const BATCH: usize = 500;
/// Identifiers that a thread works on at a time.
const CHUNK: usize = 4_096;
/// Rounds of each rate; the median counts.
const ROUNDS: usize = 9;

#[derive(Debug, Serialize)]
struct Results {
    identifiers: usize,
    /// From identifiers: OPRF, entries, index.
    build_10m_s: f64,
    /// From stored OPRF outputs: entries, index.
    build_stored_10m_s: f64,
    bytes_per_identifier: f64,
    prefix_bits: u8,
    slots: u16,
    bucket_bytes: usize,
    /// Buckets gathered, without filling and order.
    answers_per_s: f64,
    /// Buckets as they are sent.
    padded_answers_per_s: f64,
    /// With a proof for each batch of 500.
    oprf_per_s: f64,
    /// Without.
    oprf_bare_per_s: f64,
    /// What one client does for 500 contacts, in milliseconds: blinding, checking, and opening 500 buckets, a
    /// tenth of which has a listing of theirs.
    client_blind_ms: f64,
    client_finalize_ms: f64,
    client_open_ms: f64,
}

pub(crate) fn run(identifiers: usize, json: bool) -> Result<()> {
    let threads = std::thread::available_parallelism()?.get();
    let key = ServerKey::derive(&[7; 32], b"bench").map_err(|error| error.to_string())?;
    let scope = Scope::new("contacts.example", SEALED, 1)?;
    let Layout { prefix_bits, slots } = layout::choose(u64::try_from(identifiers)?, CANDIDATES)?;
    let slot = usize::from(ACCOUNT_BYTES) + TAG_BYTES;

    let began = Instant::now();
    let mut outputs: Vec<Option<Output>> = Vec::new();
    outputs.resize_with(identifiers, || None);
    let index = {
        let mut index = BucketIndex::new(prefix_bits, slot);
        let bar = bar("building from identifiers", identifiers)?;
        std::thread::scope(|threads_of| -> Result<()> {
            let (sender, receiver) = sync_channel(2 * threads);
            for thread in 0..threads {
                let (sender, key, scope) = (sender.clone(), &key, &scope);
                threads_of.spawn(move || {
                    let chunks = (0..identifiers.div_ceil(CHUNK)).skip(thread).step_by(threads);
                    for chunk in chunks {
                        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(identifiers);
                        let texts: Vec<String> = range.clone().map(sii).collect();
                        let Ok(outputs) = key.outputs(&texts) else { return };
                        let placed =
                            outputs.iter().zip(range.clone()).map(|(output, n)| place(scope, output, n));
                        let placed: Vec<_> = placed.collect();
                        if sender.send((range, placed, outputs)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for (range, placed, made) in receiver {
                bar.inc(u64::try_from(range.len())?);
                for ((n, (location, entry)), output) in range.zip(placed).zip(made) {
                    index.put(id(n), location, &entry.ok_or("an account's name is too long")?);
                    if let Some(place) = outputs.get_mut(n) {
                        *place = Some(output);
                    }
                }
            }
            bar.finish_and_clear();
            Ok(())
        })?;
        index.arranged(prefix_bits)
    };
    let build_10m_s = began.elapsed().as_secs_f64();
    if index.len() != identifiers {
        return Err("the index does not have all listings".into());
    }
    drop(index);
    let outputs: Vec<Output> = outputs.into_iter().flatten().collect();

    let began = Instant::now();
    let index = from_outputs(&scope, &outputs, (prefix_bits, slot), threads)?;
    let build_stored_10m_s = began.elapsed().as_secs_f64();
    let bytes_per_identifier = index.memory() as f64 / identifiers.max(1) as f64;
    // What was built is what is found.
    let probe = outputs.first().map(|output| Keys::derive(&scope, output)).ok_or("no identifiers")?;
    if open_bucket(&probe, index.slots(prefix_bits, probe.prefix(prefix_bits))).is_none() {
        return Err("a listing is not found".into());
    }
    drop(outputs);

    let answers_per_s = gathered(&index, prefix_bits, slots)?;
    let padded_answers_per_s = padded(&index, (prefix_bits, slots, slot))?;
    let (oprf_per_s, oprf_bare_per_s) = oprf(&key)?;
    let client = client(&key, &scope, &index, (prefix_bits, slots, slot))?;
    let results = Results {
        identifiers,
        build_10m_s,
        build_stored_10m_s,
        bytes_per_identifier,
        prefix_bits,
        slots,
        bucket_bytes: usize::from(slots) * slot,
        answers_per_s,
        padded_answers_per_s,
        oprf_per_s,
        oprf_bare_per_s,
        client_blind_ms: client.0,
        client_finalize_ms: client.1,
        client_open_ms: client.2,
    };
    table(&results);
    if json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(())
}

/// The `n`th identifier.
fn sii(n: usize) -> String {
    format!("tel:+1{:010}", 2_000_000_000 + n)
}

fn id(n: usize) -> ListingId {
    let mut bytes = [0; 16];
    // As good as random, as the real ones are.
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for (to, from) in bytes.iter_mut().zip(mixed.to_be_bytes()) {
        *to = from;
    }
    ListingId::from_bytes(bytes)
}

fn place(scope: &Scope, output: &Output, n: usize) -> (u64, Option<Vec<u8>>) {
    let keys = Keys::derive(scope, output);
    (keys.location(), seal_entry(&keys, &format!("did:plc:{n:024}"), ACCOUNT_BYTES).ok())
}

fn from_outputs(
    scope: &Scope,
    outputs: &[Output],
    (prefix_bits, slot): (u8, usize),
    threads: usize,
) -> Result<BucketIndex> {
    let mut index = BucketIndex::new(prefix_bits, slot);
    let bar = bar("building from stored outputs", outputs.len())?;
    std::thread::scope(|threads_of| -> Result<()> {
        let (sender, receiver) = sync_channel(2 * threads);
        for thread in 0..threads {
            let sender = sender.clone();
            threads_of.spawn(move || {
                for (at, chunk) in outputs.chunks(CHUNK).enumerate().skip(thread).step_by(threads) {
                    let first = at * CHUNK;
                    let placed = chunk.iter().zip(first..).map(|(output, n)| place(scope, output, n));
                    if sender.send((first, placed.collect::<Vec<_>>())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (first, placed) in receiver {
            bar.inc(u64::try_from(placed.len())?);
            for (n, (location, entry)) in (first..).zip(placed) {
                index.put(id(n), location, &entry.ok_or("an account's name is too long")?);
            }
        }
        bar.finish_and_clear();
        Ok(())
    })?;
    Ok(index.arranged(prefix_bits))
}

/// The median of rounds that each do `count` of something.
fn rate(count: usize, mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut rates = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = machine::thread_cpu_seconds();
        round()?;
        rates.push(count as f64 / (machine::thread_cpu_seconds() - began));
    }
    Ok(machine::median(&rates))
}

/// Prefixes that lie anywhere.
fn prefixes(bits: u8, count: usize) -> Vec<u32> {
    let of = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).checked_shr(64 - u32::from(bits)).unwrap_or(0);
    (1..=count as u64).filter_map(|n| u32::try_from(of(n)).ok()).collect()
}

fn gathered(index: &BucketIndex, bits: u8, slots: u16) -> Result<f64> {
    let prefixes = prefixes(bits, 20_000);
    let mut answer = Vec::with_capacity(usize::from(slots) * 64);
    rate(prefixes.len(), || {
        for prefix in &prefixes {
            answer.clear();
            for slot in index.slots(bits, *prefix) {
                answer.extend_from_slice(slot);
            }
            black_box(&answer);
        }
        Ok(())
    })
}

fn padded(index: &BucketIndex, (bits, slots, slot): (u8, u16, usize)) -> Result<f64> {
    let prefixes = prefixes(bits, 5_000);
    let filler = Filler::new([7; 32]);
    rate(prefixes.len(), || {
        for prefix in &prefixes {
            black_box(bucket(index, &filler, *prefix, (bits, slots, slot))?);
        }
        Ok(())
    })
}

fn bucket(
    index: &BucketIndex,
    filler: &Filler,
    prefix: u32,
    (bits, slots, slot): (u8, u16, usize),
) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    let is_whole =
        index.padded((bits, prefix), usize::from(slots), |fill| filler.fill(bits, prefix, fill), &mut answer);
    if !is_whole || answer.len() != usize::from(slots) * slot {
        return Err("a bucket has more listings than slots".into());
    }
    Ok(answer)
}

fn oprf(key: &ServerKey) -> Result<(f64, f64)> {
    let inputs: Vec<String> = (0..BATCH).map(sii).collect();
    let (_, elements) = blind(&inputs, fill).map_err(|error| error.to_string())?;
    // As they come off the wire.
    let bytes: Vec<[u8; 32]> =
        elements.iter().map(acquaint_protocol::oprf::BlindedElement::to_bytes).collect();
    let read = || -> Result<Vec<_>> {
        let element = |bytes: &[u8; 32]| acquaint_protocol::oprf::BlindedElement::from_bytes(bytes);
        Ok(bytes.iter().map(element).collect::<std::result::Result<_, _>>()?)
    };
    let proved = rate(4 * BATCH, || {
        for _ in 0..4 {
            black_box(key.evaluate(&read()?, fill).map_err(|error| error.to_string())?);
        }
        Ok(())
    })?;
    let bare = rate(4 * BATCH, || {
        for _ in 0..4 {
            black_box(key.evaluate_bare(&read()?));
        }
        Ok(())
    })?;
    Ok((proved, bare))
}

/// Milliseconds of blinding, checking, and opening, for 500 contacts of whom a tenth is listed.
fn client(
    key: &ServerKey,
    scope: &Scope,
    index: &BucketIndex,
    (bits, slots, slot): (u8, u16, usize),
) -> Result<(f64, f64, f64)> {
    // Those who are not listed have numbers behind the last one that is: their whole bucket is tried.
    let hits = (BATCH / 10).min(index.len());
    let inputs: Vec<String> = (0..hits).chain(index.len()..index.len() + BATCH - hits).map(sii).collect();
    let blinding = rate(1, || {
        black_box(blind(&inputs, fill).map_err(|error| error.to_string())?);
        Ok(())
    })?;
    let (client, elements) = blind(&inputs, fill).map_err(|error| error.to_string())?;
    let (evaluated, proof) = key.evaluate(&elements, fill).map_err(|error| error.to_string())?;
    let public = key.public_key();
    let finalizing = rate(1, || {
        black_box(client.finalize(&evaluated, &proof, &public)?);
        Ok(())
    })?;
    let keys: Vec<Keys> = client
        .finalize(&evaluated, &proof, &public)?
        .iter()
        .map(|output| Keys::derive(scope, output))
        .collect();
    let filler = Filler::new([7; 32]);
    let buckets = keys.iter().map(|keys| bucket(index, &filler, keys.prefix(bits), (bits, slots, slot)));
    let buckets = buckets.collect::<Result<Vec<_>>>()?;
    let opening = rate(1, || {
        let opened = keys.iter().zip(&buckets);
        let found = opened
            .filter_map(|(keys, bucket)| black_box(open_bucket(keys, bucket.chunks_exact(slot))))
            .count();
        if found == hits { Ok(()) } else { Err("not as many are found as are listed".into()) }
    })?;
    Ok((1e3 / blinding, 1e3 / finalizing, 1e3 / opening))
}

/// Bytes that are no secret, for keys that nobody has.
fn fill(bytes: &mut [u8]) -> std::result::Result<(), std::convert::Infallible> {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    for (at, byte) in (0_u64..).zip(bytes.iter_mut()) {
        let mixed = (count * 64 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (count << 7);
        *byte = mixed.to_be_bytes()[at as usize % 4];
    }
    Ok(())
}

fn bar(what: &'static str, length: usize) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}")?;
    Ok(ProgressBar::new(u64::try_from(length)?).with_style(style).with_message(what))
}

fn table(results: &Results) {
    println!("{}", machine::describe());
    let Results {
        identifiers,
        build_10m_s,
        build_stored_10m_s,
        bytes_per_identifier,
        prefix_bits,
        slots,
        bucket_bytes,
        answers_per_s,
        padded_answers_per_s,
        oprf_per_s,
        oprf_bare_per_s,
        client_blind_ms,
        client_finalize_ms,
        client_open_ms,
    } = results;
    let rows: BTreeMap<u8, (String, String, &str)> = BTreeMap::from([
        (0, ("listings".into(), identifiers.to_string(), "")),
        (1, ("built from identifiers".into(), format!("{build_10m_s:.1} s"), "< 300 s on two cores")),
        (
            2,
            ("built from stored outputs".into(), format!("{build_stored_10m_s:.1} s"), "< 60 s on two cores"),
        ),
        (3, ("memory for each".into(), format!("{bytes_per_identifier:.1} bytes"), "< 100 bytes")),
        (4, ("bucket".into(), format!("{prefix_bits} bits, {slots} slots, {bucket_bytes} bytes"), "")),
        (5, ("buckets gathered".into(), format!("{answers_per_s:.0} /s and core"), "≥ 50,000")),
        (6, ("buckets as they are sent".into(), format!("{padded_answers_per_s:.0} /s and core"), "")),
        (7, ("OPRF with proof, batches of 500".into(), format!("{oprf_per_s:.0} /s and core"), "≥ 10,000")),
        (8, ("OPRF without proof".into(), format!("{oprf_bare_per_s:.0} /s and core"), "≥ 20,000")),
        (9, ("client, 500 contacts: blind".into(), format!("{client_blind_ms:.1} ms"), "")),
        (10, ("client: check the proof".into(), format!("{client_finalize_ms:.1} ms"), "")),
        (11, ("client: open 500 buckets".into(), format!("{client_open_ms:.1} ms"), "")),
    ]);
    for (what, figure, wanted) in rows.values() {
        println!("{what:<34}{figure:>36}   {wanted}");
    }
}
