//! `bench stretch`: Argon2id of several passwords at a time, against RustCrypto's and against the reference in C.
//!
//! All contestants hash the same passwords, in turn within each round, so that what else the machine does meets all of
//! them; what counts is the median of the rounds' ratios. Time is CPU time of the thread that hashes. Two threads are
//! compared with one by the clock on the wall.

mod contestant;
mod input;
mod reference;
mod table;
mod threads;

use acquaint_stretch::{Cost, Kernel};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::machine;
use contestant::Contestant;
use reference::Program;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// An odd number, so that there is one in the middle.
const ROUNDS: usize = 11;
/// Cycles for a block that are counted as the least: its instructions on 512-bit vectors, two in each cycle.
const FLOOR: f64 = 264.0;
/// Memory that fits the second cache three times, and so many passes that all but filling it hardly counts.
const COMPUTE: (u32, u32) = (256, 64);
/// Passwords of a turn at that cost.
const COMPUTE_COUNT: usize = 12;

/// What is measured: memory, passes, and passwords of one turn, a multiple of the width.
const SETTINGS: [(u32, u32, usize); 3] = [(19 * 1024, 2, 6), (7 * 1024, 5, 6), (64 * 1024, 3, 3)];

/// Keys as they are compared from run to run. `null` is what this machine has not.
#[derive(Debug, Serialize)]
struct Results {
    m19456_t2: Measured,
    m7168_t5: Measured,
    m65536_t3: Measured,
    /// That of `m19456_t2`.
    two_thread_speedup: Option<f64>,
    /// Of the AVX-512 kernel on memory that is in the second cache.
    compute_cycles_per_block: Option<f64>,
    compute_floor_cycles_per_block: f64,
}

/// Hashes a second are per second of CPU time.
#[derive(Debug, Serialize)]
struct Measured {
    /// The AVX-512 kernel.
    per_s: Option<f64>,
    /// The AVX-512 kernel over RustCrypto's call that allocates.
    ratio_rustcrypto: Option<f64>,
    /// The AVX-512 kernel over the C as it is.
    ratio_c: Option<f64>,
    /// The AVX2 kernel over RustCrypto's call that allocates.
    ratio_rustcrypto_avx2: Option<f64>,
    /// Two threads over one, each with a worker of the fastest kernel.
    two_thread_speedup: Option<f64>,
    /// The AVX-512 kernel over RustCrypto with memory that is kept.
    ratio_rustcrypto_kept: Option<f64>,
    /// The AVX-512 kernel over the C without its overwriting the memory after each hash.
    ratio_c_unwiped: Option<f64>,
    /// Of the AVX-512 kernel, what it waits for memory included.
    cycles_per_block: Option<f64>,
    per_s_avx2: Option<f64>,
    per_s_rustcrypto: Option<f64>,
    per_s_rustcrypto_kept: Option<f64>,
    per_s_c: Option<f64>,
    per_s_c_unwiped: Option<f64>,
}

pub(crate) fn run(json: bool) -> Result<()> {
    if !Kernel::Avx512.is_available() {
        eprintln!(
            "This processor has no AVX-512, for which the wanted figures are: what needs it is left out."
        );
    }
    let program = Program::build()
        .inspect_err(|error| {
            eprintln!("There is no reference in C to compare with, so ratio_c is left out: {error}")
        })
        .ok();
    let steps = SETTINGS.len() * (1 + ROUNDS + threads::ROUNDS) + ROUNDS;
    let bar = ProgressBar::new(u64::try_from(steps)?)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?);
    let [first, second, third] = SETTINGS;
    let measure = |setting| measure(setting, program.as_ref(), &bar);
    let m19456_t2 = measure(first)?;
    let results = Results {
        two_thread_speedup: m19456_t2.two_thread_speedup,
        m19456_t2,
        m7168_t5: measure(second)?,
        m65536_t3: measure(third)?,
        compute_cycles_per_block: compute(&bar)?,
        compute_floor_cycles_per_block: FLOOR,
    };
    bar.finish_and_clear();
    table::print(&results, program.is_some());
    if json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(())
}

/// What the contestants took in one round, in CPU seconds, those that there are.
struct Round {
    avx512: Option<f64>,
    avx2: Option<f64>,
    rustcrypto: Option<f64>,
    rustcrypto_kept: Option<f64>,
    c: Option<f64>,
    c_unwiped: Option<f64>,
    /// Cycles in a second.
    hertz: f64,
}

fn measure(
    (memory_kib, passes, count): (u32, u32, usize),
    program: Option<&Program>,
    bar: &ProgressBar,
) -> Result<Measured> {
    let cost = Cost::new(memory_kib, passes)?;
    let mut contestants = [
        Contestant::ours(cost, Kernel::Avx512)?,
        Contestant::ours(cost, Kernel::Avx2)?,
        Some(Contestant::rustcrypto(cost)?),
        Some(Contestant::rustcrypto_kept(cost)?),
        Contestant::reference(cost, program, true)?,
        Contestant::reference(cost, program, false)?,
    ];
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        bar.set_message(format!("{memory_kib} KiB, t = {passes}, round {round}"));
        let hertz = machine::hertz();
        let seconds = in_turn(&mut contestants, u64::try_from(round * count)?, count)?;
        let [avx512, avx2, rustcrypto, rustcrypto_kept, c, c_unwiped] = seconds;
        // The first takes the memory from the system, and is not counted.
        if round > 0 {
            rounds.push(Round { avx512, avx2, rustcrypto, rustcrypto_kept, c, c_unwiped, hertz });
        }
        bar.inc(1);
    }
    let of = |value: &dyn Fn(&Round) -> Option<f64>| median(rounds.iter().filter_map(value).collect());
    let per_s = |seconds: fn(&Round) -> Option<f64>| of(&|round| Some(count as f64 / seconds(round)?));
    // Of the AVX-512 kernel.
    let over = |seconds: fn(&Round) -> Option<f64>| of(&|round| Some(seconds(round)? / round.avx512?));
    let blocks = f64::from(memory_kib) * f64::from(passes) * count as f64;
    Ok(Measured {
        per_s: per_s(|round| round.avx512),
        ratio_rustcrypto: over(|round| round.rustcrypto),
        ratio_c: over(|round| round.c),
        ratio_rustcrypto_avx2: of(&|round| Some(round.rustcrypto? / round.avx2?)),
        ratio_rustcrypto_kept: over(|round| round.rustcrypto_kept),
        ratio_c_unwiped: over(|round| round.c_unwiped),
        cycles_per_block: of(&|round| Some(round.avx512? * round.hertz / blocks)),
        per_s_avx2: per_s(|round| round.avx2),
        per_s_rustcrypto: per_s(|round| round.rustcrypto),
        per_s_rustcrypto_kept: per_s(|round| round.rustcrypto_kept),
        per_s_c: per_s(|round| round.c),
        per_s_c_unwiped: per_s(|round| round.c_unwiped),
        two_thread_speedup: threads::speedup(cost, 2 * count, bar)?,
    })
}

/// The seconds of each contestant that there is. It is an error if two do not agree on the tags.
fn in_turn<const N: usize>(
    contestants: &mut [Option<Contestant>; N],
    first: u64,
    count: usize,
) -> Result<[Option<f64>; N]> {
    let mut seconds = [None; N];
    let mut agreed = None;
    for (contestant, seconds) in contestants.iter_mut().zip(&mut seconds) {
        let Some(contestant) = contestant else { continue };
        let turn = contestant.turn(first, count)?;
        if *agreed.get_or_insert(turn.tags) != turn.tags {
            return Err(format!("{contestant} has other tags than those before it").into());
        }
        *seconds = Some(turn.seconds);
    }
    Ok(seconds)
}

/// Cycles of the AVX-512 kernel for a block, where it waits for no memory.
fn compute(bar: &ProgressBar) -> Result<Option<f64>> {
    let (memory_kib, passes) = COMPUTE;
    let mut worker = Contestant::ours(Cost::new(memory_kib, passes)?, Kernel::Avx512)?;
    let mut cycles = Vec::new();
    for round in 1..=ROUNDS {
        bar.set_message(format!("{memory_kib} KiB, t = {passes}, round {round}"));
        if let Some(worker) = &mut worker {
            let hertz = machine::hertz();
            let seconds = worker.turn(0, COMPUTE_COUNT)?.seconds;
            let hertz = f64::midpoint(hertz, machine::hertz());
            cycles.push(seconds * hertz / (f64::from(memory_kib * passes) * COMPUTE_COUNT as f64));
        }
        bar.inc(1);
    }
    Ok(median(cycles))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
