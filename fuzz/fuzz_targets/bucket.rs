//! What lookups in buckets read of others: answers and parameters as a client gets them, elements, weak hashes and requests
//! as a server does. The first byte says which.

#![no_main]

use acquaint_protocol::bucket::parameters::Parameters;
use acquaint_protocol::bucket::sealed::{Buckets, HEADER_BYTES};
use acquaint_protocol::bucket::weak::{QueryContacts, Weak, WeakLength};
use acquaint_protocol::bucket::wire::{BucketsRequest, OprfAnswer, OprfRequest};
use acquaint_protocol::oprf::BlindedElement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [which, rest @ ..] = bytes else { return };
    match which % 7 {
        0 => {
            let Ok(buckets) = Buckets::decode(rest) else { return };
            let shape = buckets.shape();
            assert_eq!(shape.answer_bytes(), rest.len() as u64);
            assert_eq!(shape.header(), rest[..HEADER_BYTES]);
            let slots: usize = buckets.iter().map(Iterator::count).sum();
            assert_eq!(slots, usize::from(shape.count) * usize::from(shape.slots));
        }
        1 => {
            if let Ok(element) = BlindedElement::from_bytes(rest) {
                assert_eq!(element.to_bytes(), rest);
            }
        }
        2 => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            for digits in [4, 6] {
                let length = WeakLength::new(digits).expect("4 and 6 are lengths");
                if let Ok(weak) = Weak::parse(text, length) {
                    assert_eq!(format!("{:0width$x}", weak.value(), width = usize::from(digits)), text);
                }
            }
        }
        3 => {
            let Ok(parameters) = serde_json::from_slice::<Parameters>(rest) else { return };
            // Nobody has signed it.
            assert!(parameters.verify(&[7; 32], 1_790_000_000).is_err());
            let again = serde_json::to_vec(&parameters).expect("it can be written");
            assert_eq!(serde_json::from_slice::<Parameters>(&again).expect("and read"), parameters);
        }
        4 => drop(serde_json::from_slice::<OprfRequest>(rest)),
        5 => drop(serde_json::from_slice::<OprfAnswer>(rest)),
        _ => {
            drop(serde_json::from_slice::<BucketsRequest>(rest));
            drop(serde_json::from_slice::<QueryContacts>(rest));
        }
    }
});
