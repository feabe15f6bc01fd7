use std::time::Instant;

use acquaint_custody::remote::{RemoteCustody, RemoteOptions, ServeOptions, Server};
use acquaint_custody::software::SoftwareCustody;
use acquaint_custody::{KeyCustody, Purpose, newest};
use acquaint_protocol::pair::Suite;

use crate::softhsm::alone;
use crate::support::custody;

/// Prints what one HMAC costs in batches of 32. A figure for documents; nothing is asserted of it.
#[test]
#[ignore = "a measurement: cargo test --release -p acquaint-custody --test it speed -- --ignored --nocapture"]
fn of_hashing_in_batches_of_32() {
    alone("speed::of_hashing_in_batches_of_32", |hsm| {
        let software = SoftwareCustody::generate(Suite::STANDARD).unwrap();
        let token = custody(hsm, "acquaint");
        measure("software", &software);
        measure("SoftHSM", &token);
        let path = hsm.config().with_file_name("custody.sock");
        for (name, behind) in [
            ("software in its own process", &software as &dyn KeyCustody),
            ("SoftHSM behind a socket", &token),
        ] {
            let server = Server::bind(&path, ServeOptions::default()).unwrap();
            let stop = server.stopper();
            std::thread::scope(|scope| {
                scope.spawn(|| server.serve(behind, &|event| panic!("{event:?}")));
                let remote = RemoteCustody::connect(RemoteOptions::new(path.clone())).unwrap();
                measure(name, &remote);
                stop.stop();
            });
        }
    });
}

fn measure(name: &str, custody: &dyn KeyCustody) {
    const BATCHES: u64 = 1000;
    let key = newest(custody, Purpose::Pair).unwrap();
    let inputs = vec![[7; 32]; 32];
    let inputs: Vec<&[u8]> = inputs.iter().map(<[u8; 32]>::as_slice).collect();
    let (begun, used) = (Instant::now(), ticks());
    for _ in 0..BATCHES {
        custody.hmac(key, &inputs).unwrap();
    }
    let each = |nanoseconds: u128| nanoseconds / u128::from(BATCHES * 32);
    let passed = each(begun.elapsed().as_nanos());
    // A tick is a hundredth of a second on Linux, whatever the kernel's own is.
    let worked = each(u128::from(ticks() - used) * 10_000_000);
    println!("{name}: {passed} ns for each HMAC, {worked} ns of them at work on both sides");
}

/// Processor time of this process, all threads: fields 14 and 15 of proc_pid_stat(5).
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
