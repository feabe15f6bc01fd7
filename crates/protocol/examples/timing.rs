//! Whether it shows in the time that a record opens, and which one of its slots' does, as dudect does it (Reparaz, Balasch and
//! Verbauwhede, "Dude, is my code constant time?"): two classes of inputs in random order, and Welch's t of their times.
//! `cargo run --release -p acquaint-protocol --example timing [samples]`; |t| above 4.5 wants a look.

use std::hint::black_box;
use std::time::Instant;

use acquaint_protocol::lookup::{Keys, Mode, Scope, find_record, seal_record};

const PROVIDER: &str = "contacts.example";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let samples: usize = std::env::args().nth(1).map_or(Ok(200_000), |samples| samples.parse())?;
    for mode in Mode::ALL {
        let scope = Scope::new(PROVIDER, mode.profile(), 1)?;
        let (mine, others) = (Keys::derive(&scope, &[1; 64]), Keys::derive(&scope, &[2; 64]));
        let record = seal_record(&mine, mode, PROVIDER, "did:plc:ewvi7nxzyoun6zhxrhs64oiz")?;
        let other = seal_record(&others, mode, PROVIDER, "did:plc:ewvi7nxzyoun6zhxrhs64oiz")?;
        let slots = |place: Option<usize>| -> Vec<Vec<u8>> {
            let records: Vec<[u8; 128]> =
                (0..8).map(|at| if place == Some(at) { record } else { other }).collect();
            records.chunks(4).map(<[_]>::concat).collect()
        };
        for (what, classes) in [
            ("nobody and somebody", [None, Some(3)]),
            ("the first and the last", [Some(0), Some(7)]),
            ("the same", [Some(3), Some(3)]),
        ] {
            // Both in the same place of the memory.
            let classes = classes.map(slots);
            let mut looked = classes[0].clone();
            let t = compare(samples, |class| {
                for (to, from) in looked.iter_mut().zip(&classes[class]) {
                    to.copy_from_slice(from);
                }
                let started = Instant::now();
                black_box(find_record(black_box(&mine), mode, PROVIDER, black_box(&looked)));
                started.elapsed().as_secs_f64()
            });
            println!("{}: {what}: t = {t:.2}", mode.profile());
        }
    }
    Ok(())
}

/// Welch's t of the times of both classes, without the slowest tenth: those are the system's.
fn compare(samples: usize, mut time: impl FnMut(usize) -> f64) -> f64 {
    let mut times: [Vec<f64>; 2] = Default::default();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..samples {
        // Xorshift: the classes' order is all that it is for.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let class = usize::from(state >> 63 == 1);
        times[class].push(time(class));
    }
    let [one, other] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times.truncate(times.len() * 9 / 10);
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}
