//! Every kernel against the reference implementation in C, as argon2-cffi has it.

use acquaint_stretch::{Cost, Job, Kernel, Worker};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    memory_kib: u32,
    passes: u32,
    password: String,
    salt: String,
    tag: String,
}

#[test]
fn known_answers_of_the_reference_in_c() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/stretch/argon2_cffi.json");
    let file: File = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(file.vectors.len() > 70);
    for vector in &file.vectors {
        let cost = Cost::new(vector.memory_kib, vector.passes).unwrap();
        let bytes = |hexadecimal: &str| hex::decode(hexadecimal).unwrap();
        let (password, salt, expected) = (bytes(&vector.password), bytes(&vector.salt), bytes(&vector.tag));
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            let mut tag = vec![0; expected.len()];
            let job = Job { password: &password, salt: &salt, tag: &mut tag };
            Worker::with(cost, kernel, 1).unwrap().hash(&mut [job], || true).unwrap();
            assert_eq!(tag, expected, "{kernel}, {cost:?}");
        }
    }
}
