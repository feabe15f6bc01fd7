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
    let key = newest(custody, Purpose::Pair).unwrap();
    let inputs = vec![[7; 32]; 32];
    let inputs: Vec<&[u8]> = inputs.iter().map(<[u8; 32]>::as_slice).collect();
    let mut best = u128::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        for _ in 0..200 {
            custody.hmac(key, &inputs).unwrap();
        }
        best = best.min(begun.elapsed().as_nanos() / (200 * 32));
    }
    println!("{name}: {best} ns for each HMAC");
}
