//! What private lookups read of others: parameters, records and answers as a client gets them, requests as a server does.
//! The first byte says which.

#![no_main]

use acquaint_protocol::lookup::parameters::{Published, Terms};
use acquaint_protocol::lookup::wire::{
    AnswerHeader, KeysAnswer, OprfAnswer, OprfRequest, QUERY_HEADER_BYTES, QueryHeader, QueryRequest,
};
use acquaint_protocol::lookup::{Keys, Mode, Scope, find_record, open_record, seal_record};
use libfuzzer_sys::fuzz_target;

const PROVIDER: &str = "contacts.example";

fuzz_target!(|bytes: &[u8]| {
    let [which, rest @ ..] = bytes else { return };
    match which % 8 {
        0 => {
            if let Ok(request) = OprfRequest::decode(rest) {
                assert!(!request.elements.is_empty());
                assert_eq!(request.encode().expect("it was decoded"), rest);
            }
        }
        1 => {
            if let Ok(answer) = OprfAnswer::decode(rest) {
                assert_eq!(OprfAnswer::encoded_bytes(answer.elements.len()), rest.len());
                assert_eq!(answer.encode().expect("it was decoded"), rest);
            }
        }
        2 => {
            if let Ok(answer) = KeysAnswer::decode(rest) {
                assert_eq!(answer.encode(), rest);
            }
        }
        3 => {
            let [length, rest @ ..] = rest else { return };
            let length = usize::from(*length);
            let header = QueryHeader::decode(rest);
            let Ok(request) = QueryRequest::decode(rest, length) else { return };
            let (header, queries) = header.expect("the request has one");
            assert_eq!((request.header, header.encode().as_slice()), (header, &rest[..QUERY_HEADER_BYTES]));
            let count = if length == 0 { 0 } else { usize::from(header.count) };
            assert_eq!(request.queries().len(), count);
            assert_eq!(request.queries().collect::<Vec<_>>().concat(), queries);
        }
        4 => {
            if let Ok(header) = AnswerHeader::decode(rest) {
                assert_eq!(header.encode(), rest);
            }
        }
        5 => {
            let Ok(published) = serde_json::from_slice::<Published>(rest) else { return };
            for parameters in &published.modes {
                // Nobody has signed it.
                assert!(Mode::ALL.iter().all(|mode| parameters.verify(*mode, &[7; 32], 1_790_000_000).is_err()));
                agree(&parameters.terms);
            }
            let again = serde_json::to_vec(&published).expect("it can be written");
            assert_eq!(serde_json::from_slice::<Published>(&again).expect("and read"), published);
        }
        _ => {
            let mode = if which % 8 == 6 { Mode::Psm } else { Mode::Pir };
            let keys = keys();
            // A record that opens is the one that is made of what it says.
            if let Some(account) = open_record(&keys, mode, PROVIDER, rest) {
                assert_eq!(seal_record(&keys, mode, PROVIDER, &account).expect("it fits").as_slice(), rest);
            }
            let slots: Vec<Vec<u8>> = rest.chunks(512).map(<[u8]>::to_vec).collect();
            let found = find_record(&keys, mode, PROVIDER, &slots);
            // Of those with the keys' tag and of the provider, the first counts, also if what it names is no account. In mode
            // `psm` only the keys can tell which those are.
            let records = || slots.iter().flat_map(|slot| slot.chunks_exact(128));
            let open = |record: &[u8]| open_record(&keys, mode, PROVIDER, record);
            let first = records().filter_map(open).next();
            match mode {
                Mode::Psm => assert!(found.is_none() || found == first),
                Mode::Pir => {
                    let ours = seal_record(&keys, mode, PROVIDER, "x").expect("it fits");
                    let ours = &ours[..16 + PROVIDER.len() + 1];
                    assert_eq!(found, records().find(|record| record.starts_with(ours)).and_then(open));
                }
            }
            if records().next().is_some_and(|record| open(record).is_some()) {
                assert_eq!(found, first);
            }
        }
    }
});

/// The keys that the seeds are made with.
fn keys() -> Keys {
    let scope = Scope::new(PROVIDER, "psm", 1).expect("these names are short");
    Keys::derive(&scope, &[7; 64])
}

/// Terms of good sizes are of a mode, and each shard has its server.
fn agree(terms: &Terms) {
    if terms.check().is_ok() {
        assert!(terms.mode().is_some());
        for shard in [0, terms.shards() - 1] {
            assert!(terms.servers.is_empty() || terms.server_of(shard).is_some());
        }
    }
}
