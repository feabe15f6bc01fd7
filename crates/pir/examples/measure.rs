//! Prints what a lookup costs for 2^20 records of 128 bytes by keyword, or by place, or for 10 million by keyword, on one
//! thread: `cargo run --release -p acquaint-pir --example measure [keywords|records|millions|batch|288x256x4x2] [kernel]
//! [rounds]`. `batch` is one of the tables for 500 lookups at once in 2^20 records, with all lookups that it gets.

use std::time::Duration;

use acquaint_pir::{
    BatchShape, Change, Client, Configuration, Database, Kernel, Lookup, Parameters, Place, SecretKey,
    Server, Shape, Storage,
};
use memmap2::{Advice, MmapMut};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// Queries of a pass.
const TOGETHER: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let parameters = match arguments.next().as_deref() {
        None | Some("keywords") => Parameters::new(Shape::MILLION_KEYWORDS)?,
        Some("records") => Parameters::new(Shape::MILLION_RECORDS)?,
        Some("millions") => Parameters::new(Shape::TEN_MILLION_KEYWORDS)?,
        Some("batch") => BatchShape::for_records(1 << 20).parameters()?,
        Some(other) => {
            let numbers: Result<Vec<usize>, _> = other.split('x').map(str::parse).collect();
            let &[rows, columns, slots, answers] = numbers?.as_slice() else {
                return Err("a shape is rows x columns x slots x answers, as 288x256x4x2".into());
            };
            Parameters::new(Shape { rows, columns, slots, answers })?
        }
    };
    let shape = parameters.shape();
    let kernel = match arguments.next() {
        None => Kernel::best(),
        Some(name) => Kernel::available()
            .into_iter()
            .find(|kernel| kernel.name() == name)
            .ok_or("this processor has no such kernel")?,
    };
    let rounds: usize = arguments.next().map_or(Ok(20), |rounds| rounds.parse())?;

    let configuration = Configuration::new(parameters.clone(), b"measured");
    let lookups = parameters.lookups();
    let mut random = StdRng::seed_from_u64(1);
    let mut records = vec![0; parameters.polynomials() * 2048];
    random.fill_bytes(&mut records);

    println!("{shape:?}, kernel {}", kernel.name());
    println!("failure probability 2^{:.1} a query", parameters.noise().failure_log2);
    let server = Server::with_kernel(configuration.clone(), kernel);
    let words = Pages::new(parameters.table_words())?;
    let started = Clock::start();
    let database = Database::build(&server, Box::new(words), |row, column, bytes| {
        let index = row + shape.rows * column;
        bytes.copy_from_slice(&records[2048 * index..2048 * (index + 1)]);
    })?;
    println!("preprocessing {:.2} s", started.elapsed().as_secs_f64());
    let stored = match shape {
        Shape::MILLION_KEYWORDS | Shape::MILLION_RECORDS => 1 << 20,
        Shape::TEN_MILLION_KEYWORDS => 10_000_000,
        _ => records.len() / 128,
    };
    println!(
        "memory {:.2} of {stored} records",
        parameters.table_words() as f64 * 4.0 / (stored * 128) as f64
    );

    let client = Client::new(configuration);
    let secret = SecretKey::generate(&mut random);
    let started = Clock::start();
    let keys = client.evaluation_keys(&secret, &mut random);
    println!("keys {} bytes, made in {:.1} ms", keys.len(), milliseconds(started.elapsed()));
    let started = Clock::start();
    let keys = server.read_keys(&keys)?;
    println!("keys read in {:.1} ms", milliseconds(started.elapsed()));

    let (mut asking, mut answering, mut recovering) = (Vec::new(), Vec::new(), Vec::new());
    let slot_bytes = parameters.slot_bytes();
    for round in 0..rounds {
        let asked: Vec<Lookup> = (0..lookups)
            .map(|_| Lookup {
                row: random.random_range(0..shape.rows),
                places: (0..shape.answers)
                    .map(|_| Place {
                        column: random.random_range(0..shape.columns),
                        slot: random.random_range(0..shape.slots),
                    })
                    .collect(),
            })
            .collect();
        let started = Clock::start();
        let query = client.query_all(&secret, &asked, &mut random)?;
        asking.push(started.elapsed());
        let started = Clock::start();
        let answer = server.answer(&database, &keys, &server.read_query(&query)?)?;
        answering.push(started.elapsed());
        let started = Clock::start();
        let found = client.recover_all(&secret, &asked, &answer)?;
        recovering.push(started.elapsed());
        for (lookup, found) in asked.iter().zip(found) {
            for (place, found) in lookup.places.iter().zip(found) {
                let at = 2048 * (lookup.row + shape.rows * place.column) + slot_bytes * place.slot;
                if found != records[at..at + slot_bytes] {
                    return Err("an answer is wrong".into());
                }
            }
        }
        if round == 0 {
            println!("upload {} bytes, download {} bytes", query.len(), answer.len());
        }
    }
    print("client asks", asking);
    print("client reads", recovering);
    print(&format!("server, {lookups} lookups"), answering);

    let mut passes = Vec::new();
    for _ in 0..3 {
        let lookup = Lookup { row: 0, places: vec![Place { column: 0, slot: 0 }; shape.answers] };
        let query = client.query_all(&secret, &vec![lookup; lookups], &mut random)?;
        let query = server.read_query(&query)?;
        let started = Clock::start();
        server.answer_all(&database, &[(&keys, &query); TOGETHER])?;
        passes.push(started.elapsed() / TOGETHER as u32);
    }
    print("server, each of eight queries in one pass", passes);

    let mut updating = Vec::new();
    for _ in 0..2000 {
        let bytes = vec![random.random(); slot_bytes];
        let change = Change {
            row: random.random_range(0..shape.rows),
            column: random.random_range(0..shape.columns),
            slot: random.random_range(0..shape.slots),
            offset: 0,
            bytes: &bytes,
        };
        let started = Clock::start();
        database.apply(&[change])?;
        updating.push(started.elapsed());
    }
    updating.sort();
    println!("changed record {:.0} us (median)", milliseconds(updating[1000]) * 1e3);
    Ok(())
}

/// Counts the time of the processor that this thread takes, where the system tells: what others do on the machine counts
/// less then.
struct Clock(Duration);

impl Clock {
    fn start() -> Self {
        Self(Self::now())
    }

    fn elapsed(&self) -> Duration {
        Self::now() - self.0
    }

    #[cfg(unix)]
    fn now() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
    }

    #[cfg(not(unix))]
    fn now() -> Duration {
        static STARTED: std::sync::LazyLock<std::time::Instant> =
            std::sync::LazyLock::new(std::time::Instant::now);
        STARTED.elapsed()
    }
}

/// Memory on huge pages, where the system has them.
struct Pages(MmapMut);

impl Pages {
    fn new(words: usize) -> std::io::Result<Self> {
        let pages = MmapMut::map_anon(words * 4)?;
        #[cfg(target_os = "linux")]
        pages.advise(Advice::HugePage)?;
        Ok(Self(pages))
    }
}

impl Storage for Pages {
    fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.0)
    }

    fn words_mut(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn print(what: &str, mut durations: Vec<Duration>) {
    durations.sort();
    let (best, median) = (durations[0], durations[durations.len() / 2]);
    println!("{what} {:.2} ms (median), {:.2} ms (best)", milliseconds(median), milliseconds(best));
}
