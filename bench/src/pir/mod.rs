//! `bench pir`: whole private lookups of the keyword engine, beside Spiral and YPIR on the same core.
//!
//! Everything is in process and on one core; times are CPU time. Rounds of the engine, of Spiral and of YPIR follow each other
//! in turn, because the speed of a shared host drifts: ratios are of medians over the same rounds. The engine chooses its
//! kernel when it runs, the others when they are compiled, and its tables are on huge pages: to see them at their best,
//!
//! ```text
//! GLIBC_TUNABLES=glibc.malloc.hugetlb=1 RUSTFLAGS="-C target-cpu=native" cargo run --release -p bench -- pir
//! ```

mod baselines;

use acquaint_client::discovery::measure::engine::{self, Directory, median};
use acquaint_pir::Storage;
use memmap2::MmapMut;
use serde::Serialize;

use crate::{Result, machine};

/// Rounds of the table of 2^20.
const ROUNDS: usize = 15;
/// Of the larger one, and of batches.
const FEW_ROUNDS: usize = 5;
/// Contacts of a batch.
const CONTACTS: usize = 500;
/// Records that are changed.
const UPDATES: usize = 500;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many records the small table has, to try it out: the large one has ten times as many
    #[arg(long, default_value_t = 1 << 20)]
    records: usize,
    /// Leave the large table out, which takes 6 GB of memory
    #[arg(long)]
    without_large: bool,
}

/// One of the tables. Times are medians.
#[derive(Debug, Default, Serialize)]
struct Figures {
    records: usize,
    upload_bytes: usize,
    download_bytes: usize,
    client_ms: f64,
    server_ms: f64,
    /// Spiral's time over ours, in rounds that alternate. It is to be quoted with `baselines_simd` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_spiral: Option<f64>,
    key_bytes: usize,
    key_memory_bytes: usize,
    client_storage_bytes: usize,
    preprocess_s: f64,
    update_us: f64,
    /// Bytes of tables, placements and owners for each byte of a record.
    memory_ratio: f64,
    /// With the table for single lookups, which a server has beside batch tables.
    whole_memory_ratio: f64,
}

#[derive(Debug, Default, Serialize)]
struct BatchFigures {
    #[serde(flatten)]
    all: Figures,
    server_ms_per_contact: f64,
    bytes_per_contact: f64,
    queries: usize,
    /// Contacts that found no place in a batch, of all batches.
    left: usize,
}

#[derive(Debug, Default, Serialize)]
struct Results {
    lookup_1m: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    psm_10m: Option<Figures>,
    batch_500: BatchFigures,
    /// Without a proof.
    oprf_per_s: f64,
    /// With one for each batch of 500.
    oprf_with_proof_per_s: f64,
    spiral_ms: f64,
    ypir_ms: f64,
    kernel: &'static str,
    /// Which vector instructions Spiral and YPIR were compiled for.
    baselines_simd: &'static str,
    /// Whether their tables were asked to be on huge pages, as the engine's are.
    baselines_huge_pages: bool,
}

/// Spiral and YPIR choose their kernels by what they are compiled for.
const BASELINES_SIMD: &str = if cfg!(target_feature = "avx512f") {
    "avx512"
} else if cfg!(target_feature = "avx2") {
    "avx2"
} else {
    "none"
};

/// They take their memory from the allocator, which asks for huge pages when its tunables say so (glibc 2.35).
fn baselines_huge_pages() -> bool {
    std::env::var("GLIBC_TUNABLES").is_ok_and(|text| text.split(':').any(|it| it == "glibc.malloc.hugetlb=1"))
}

/// What makes comparing unfair.
fn warn() {
    if BASELINES_SIMD == "none" {
        println!(
            "WARNING: Spiral and YPIR were compiled without vector instructions, while the engine uses what it finds. \
             `ratio_spiral` is NOT TO BE QUOTED: compile with RUSTFLAGS=\"-C target-cpu=native\"."
        );
    }
    if !baselines_huge_pages() {
        println!(
            "WARNING: Spiral's and YPIR's tables are not on huge pages, and the engine's are: set \
             GLIBC_TUNABLES=glibc.malloc.hugetlb=1."
        );
    }
}

pub(crate) fn run(options: &Options, json: bool) -> Result<()> {
    // For libraries that take all cores, and so that the scheduler moves nothing.
    println!("{}, of which one is used", machine::describe());
    machine::keep_to(machine::two_cores()?[1])?;
    warn();
    let mut results = Results {
        kernel: acquaint_pir::Kernel::best().name(),
        baselines_simd: BASELINES_SIMD,
        baselines_huge_pages: baselines_huge_pages(),
        ..Results::default()
    };
    [results.oprf_per_s, results.oprf_with_proof_per_s] =
        engine::oprf_per_second(machine::thread_cpu_seconds, 9)?;

    let mut small = Directory::with_table(options.records, machine::thread_cpu_seconds, pages)?;
    let mut batch = Directory::with_batch_tables(options.records, machine::thread_cpu_seconds, pages)?;
    let [single, many] = baselines::with(|spiral, ypir| {
        let (mut single, mut many) = (Measured::default(), Measured::default());
        let (mut spirals, mut ypirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            single.add(look_up(&mut small, round)?);
            spirals.push(spiral()?);
            ypirs.push(ypir()?);
            if round % (ROUNDS / FEW_ROUNDS) == 0 {
                let (found, left) = batch.look_up_all(&numbers(&batch, round))?;
                many.add(found);
                results.batch_500.left += left;
            }
        }
        (results.spiral_ms, results.ypir_ms) = (1e3 * median(spirals), 1e3 * median(ypirs));
        Ok([single, many])
    })?;
    results.lookup_1m = figures(&mut small, &single, Some(results.spiral_ms))?;
    drop(small);
    results.batch_500.all = figures(&mut batch, &many, Some(CONTACTS as f64 * results.spiral_ms))?;
    results.batch_500.queries = batch.batch().map_or(0, |batch| batch.total());
    let all = &results.batch_500.all;
    results.batch_500.server_ms_per_contact = all.server_ms / CONTACTS as f64;
    results.batch_500.bytes_per_contact = (all.upload_bytes + all.download_bytes) as f64 / CONTACTS as f64;
    println!("batch tables: {:?}", batch.batch());
    drop(batch);

    if !options.without_large {
        let records = if options.records == 1 << 20 { 10_000_000 } else { 10 * options.records };
        let mut large = Directory::with_table(records, machine::thread_cpu_seconds, pages)?;
        let mut measured = Measured::default();
        for round in 0..FEW_ROUNDS {
            measured.add(look_up(&mut large, round)?);
        }
        results.psm_10m = Some(figures(&mut large, &measured, None)?);
    }

    table(&results);
    if json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(())
}

/// What rounds took, each one of [`engine::Round`].
#[derive(Default)]
struct Measured {
    client: Vec<f64>,
    server: Vec<f64>,
    upload: usize,
    download: usize,
}

impl Measured {
    fn add(&mut self, round: engine::Round) {
        self.client.push(round.client_s);
        self.server.push(round.server_s);
        (self.upload, self.download) = (round.upload, round.download);
    }
}

/// Every third identifier has no record.
fn look_up(directory: &mut Directory, round: usize) -> Result<engine::Round> {
    let number = if round % 3 == 2 { directory.listed() + round } else { round };
    directory.look_up(number)
}

/// Contacts of whom half have a record.
fn numbers(directory: &Directory, round: usize) -> Vec<usize> {
    let first = directory.listed().saturating_sub(CONTACTS / 2 + round);
    (first..first + CONTACTS).collect()
}

fn figures(directory: &mut Directory, measured: &Measured, spiral_ms: Option<f64>) -> Result<Figures> {
    let updates = (0..UPDATES)
        .map(|number| directory.update(number % directory.listed().max(1)))
        .collect::<Result<Vec<_>>>()?;
    let server_ms = 1e3 * median(measured.server.clone());
    Ok(Figures {
        records: directory.records(),
        upload_bytes: measured.upload,
        download_bytes: measured.download,
        client_ms: 1e3 * median(measured.client.clone()),
        server_ms,
        ratio_spiral: spiral_ms.map(|spiral_ms| spiral_ms / server_ms),
        key_bytes: directory.key_bytes,
        key_memory_bytes: directory.key_memory_bytes(),
        client_storage_bytes: directory.client_storage_bytes(),
        preprocess_s: directory.preprocess_s,
        update_us: 1e6 * median(updates),
        memory_ratio: directory.memory_ratio(),
        whole_memory_ratio: directory.whole_memory_ratio(),
    })
}

/// Memory on huge pages, where the system has them.
struct Pages(MmapMut);

impl Storage for Pages {
    fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.0)
    }

    fn words_mut(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

fn pages(words: usize) -> Result<Box<dyn Storage>> {
    let pages = MmapMut::map_anon(words * 4)?;
    #[cfg(target_os = "linux")]
    pages.advise(memmap2::Advice::HugePage)?;
    Ok(Box::new(Pages(pages)))
}

fn table(results: &Results) {
    let Results { lookup_1m, psm_10m, batch_500, .. } = results;
    println!("kernel {}, that of Spiral and YPIR: {}", results.kernel, results.baselines_simd);
    warn();
    for (name, figures, wanted) in [
        (
            "one lookup",
            Some(lookup_1m),
            [
                "<= 2.5 KB",
                "<= 5 KB",
                "<= 3",
                "<= 120",
                ">= 6",
                "<= 1.05 MB",
                "",
                "<= 3",
                "<= 100",
                "<= 5",
                "",
            ],
        ),
        (
            "one lookup, large table",
            psm_10m.as_ref(),
            ["<= 10 KB", "with it", "", "<= 800", "", "", "", "", "", "", ""],
        ),
        ("500 contacts", Some(&batch_500.all), ["", "", "", "", "", "", "", "", "", "<= 13", ""]),
    ] {
        let Some(figures) = figures else { continue };
        println!("\n{name}, {} records", figures.records);
        let rows = [
            ("upload, bytes", figures.upload_bytes.to_string()),
            ("download, bytes", figures.download_bytes.to_string()),
            ("client, ms", format!("{:.2}", figures.client_ms)),
            ("server, ms", format!("{:.1}", figures.server_ms)),
            (
                "Spiral's time over it",
                figures.ratio_spiral.map_or("-".to_owned(), |ratio| format!("{ratio:.1}, {BASELINES_SIMD}")),
            ),
            ("keys, bytes of the message", figures.key_bytes.to_string()),
            ("keys, bytes at the server", figures.key_memory_bytes.to_string()),
            ("preprocessing, s", format!("{:.2}", figures.preprocess_s)),
            ("changed record, us", format!("{:.0}", figures.update_us)),
            ("memory over records", format!("{:.2}", figures.memory_ratio)),
            ("with the single table", format!("{:.2}", figures.whole_memory_ratio)),
        ];
        for ((what, figure), wanted) in rows.into_iter().zip(wanted) {
            println!("  {what:<26}{figure:>14}   {wanted}");
        }
    }
    println!("  {:<26}{:>14.2}   <= 10", "server, ms a contact", batch_500.server_ms_per_contact);
    println!("  {:<26}{:>14.0}   <= 1500", "traffic, bytes a contact", batch_500.bytes_per_contact);
    println!("  {:<26}{:>14}", "queries", batch_500.queries);
    println!("  {:<26}{:>14}", "left for another batch", batch_500.left);
    println!("\nOPRF {:.0} /s, with proof {:.0} /s", results.oprf_per_s, results.oprf_with_proof_per_s);
    println!(
        "Spiral {:.0} ms, YPIR {:.0} ms, over as large a table as the first",
        results.spiral_ms, results.ypir_ms
    );
}
