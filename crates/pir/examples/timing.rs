//! Whether client and server take the same time whatever is asked for, found and answered, as dudect does it (Reparaz,
//! Balasch and Verbauwhede, "Dude, is my code constant time?"): two classes of inputs in random order, and Welch's t of
//! their times. Queries that a server answers are fewer, one for each forty of the client's samples. `cargo run --release -p acquaint-pir --example timing [samples]`; |t| above 4.5 wants a look.

use std::hint::black_box;
use std::time::Instant;

use acquaint_pir::{
    Client, Configuration, Keyword, KeywordTable, Lookup, Parameters, Place, Placement, SecretKey, Server,
    Shape,
};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

const SHAPE: Shape = Shape { rows: 256, columns: 16, slots: 4, answers: 2 };
/// Queries of each class that are made before they are timed.
const PREPARED: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let samples: usize = std::env::args().nth(1).map_or(Ok(20_000), |samples| samples.parse())?;
    let mut random = StdRng::seed_from_u64(1);
    let configuration = Configuration::new(Parameters::new(SHAPE)?, b"timed");
    let server = Server::new(configuration.clone());
    let words = vec![0; configuration.parameters().table_words()];
    let mut placement = Placement::new(SHAPE, Shape::KEYWORD_ENTRIES);
    let stored: Vec<Keyword> = (0..40_000).map(|_| Keyword::random(&mut random)).collect();
    for keyword in &stored {
        placement.insert(keyword)?;
    }
    let table =
        KeywordTable::build(&server, Box::new(words), placement, |_, bytes| random.fill_bytes(bytes))?;
    let database = table.database();
    let client = Client::new(configuration);
    let secret = SecretKey::generate(&mut random);
    let keys = server.read_keys(&client.evaluation_keys(&secret, &mut random))?;

    let first = Lookup { row: 0, places: vec![Place { column: 0, slot: 0 }; 2] };
    let any = |random: &mut StdRng| Lookup {
        row: random.random_range(0..256),
        places: (0..2)
            .map(|_| Place { column: random.random_range(0..16), slot: random.random_range(0..4) })
            .collect(),
    };
    let asked = compare(samples, &mut random, |other, random| {
        let lookup = if other { any(random) } else { first.clone() };
        let started = Instant::now();
        black_box(client.query(&secret, &lookup, random).is_ok());
        started.elapsed().as_secs_f64()
    });
    println!("asking for the first place or for any: t = {asked:.2}");

    let query = server.read_query(&client.query(&secret, &first, &mut random)?)?;
    let right = server.answer(database, &keys, &query)?;
    let read = compare(samples, &mut random, |other, random| {
        let mut answer = right.clone();
        if other {
            random.fill_bytes(&mut answer[1..]);
        }
        let started = Instant::now();
        black_box(client.recover(&secret, &first, &answer).is_ok());
        started.elapsed().as_secs_f64()
    });
    println!("reading a right answer or a random one: t = {read:.2}");

    // Prepared before, so that the server's time is all that counts.
    let mut prepare = |keyword: Keyword| -> Result<_, Box<dyn std::error::Error>> {
        let lookup = keyword.lookup(SHAPE);
        let query = server.read_query(&client.query(&secret, &lookup, &mut random)?)?;
        let answer = server.answer(database, &keys, &query)?;
        Ok((lookup, query, answer))
    };
    let hits =
        stored.iter().take(PREPARED).map(|keyword| prepare(*keyword)).collect::<Result<Vec<_>, _>>()?;
    let mut others = StdRng::seed_from_u64(2);
    let misses =
        (0..PREPARED).map(|_| prepare(Keyword::random(&mut others))).collect::<Result<Vec<_>, _>>()?;
    // As one that fills up a batch of nothing: the same for each.
    let nothing = Keyword::random(&mut others);
    let fillers = (0..PREPARED).map(|_| prepare(nothing)).collect::<Result<Vec<_>, _>>()?;

    for (name, class) in [("nothing is found", &misses), ("a query only fills up", &fillers)] {
        let answered = compare(samples / 40, &mut random, |other, random| {
            let class = if other { class } else { &hits };
            let Some((_, query, _)) = class.get(random.random_range(0..PREPARED)) else { return 0.0 };
            let started = Instant::now();
            black_box(server.answer(database, &keys, query).is_ok());
            started.elapsed().as_secs_f64()
        });
        println!("answering where something is found or {name}: t = {answered:.2}");
    }
    let recovered = compare(samples, &mut random, |other, random| {
        let class = if other { &misses } else { &hits };
        let Some((lookup, _, answer)) = class.get(random.random_range(0..PREPARED)) else { return 0.0 };
        let started = Instant::now();
        black_box(client.recover(&secret, lookup, answer).is_ok());
        started.elapsed().as_secs_f64()
    });
    println!("reading where something is found or nothing: t = {recovered:.2}");
    Ok(())
}

/// Welch's t of the times of both classes, without the slowest tenth: those are the system's.
fn compare(samples: usize, random: &mut StdRng, mut time: impl FnMut(bool, &mut StdRng) -> f64) -> f64 {
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..samples {
        let other = random.random();
        times[usize::from(other)].push(time(other, random));
    }
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let most = all[all.len() * 9 / 10];
    let [(mean, error), (other_mean, other_error)] = times.map(|times| {
        let kept: Vec<f64> = times.into_iter().filter(|time| *time <= most).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (mean - other_mean) / (error + other_error).sqrt()
}
