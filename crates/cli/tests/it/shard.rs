//! `acquaint shard`.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use acquaint_pir::{Configuration, Keyword, Parameters, Server, Shape};
use acquaint_server::shard::{Head, Owner, Shard, anonymous};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{program, run};

const SHAPE: Shape = Shape { rows: 4, columns: 4, slots: 4, answers: 2 };

/// A file of so many records.
fn shard(folder: &Path, name: &str, records: u64) -> PathBuf {
    let configuration = Configuration::new(Parameters::new(SHAPE).unwrap(), b"epoch");
    let memory = anonymous(configuration.parameters().table_words()).unwrap();
    let records = (0..records).map(|number| {
        let mut keyword = [0; 16];
        // Odd, so that all differ; the rest only has to be spread.
        let spread = u128::from(2 * number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        keyword.copy_from_slice(&spread.to_be_bytes());
        (Owner(number), Keyword::new(keyword), [number as u8; 128])
    });
    let shard = Shard::build(&Server::new(configuration), memory, records, |bytes| bytes.fill(0xee)).unwrap();
    let path = folder.join(name);
    let label = b"contacts.example/psm/1/1/0".to_vec();
    let head = Head { epoch: b"epoch".to_vec(), label, change: 77, made_at: 1_790_000_000_000 };
    shard.save(&path, &head).unwrap();
    path
}

fn json(args: &[&str], files: &[&Path]) -> (Option<i32>, Value) {
    let told = run(program().arg("shard").args(args).arg("--json").args(files));
    (told.code, serde_json::from_str(&told.out).unwrap_or_else(|_| panic!("{}{}", told.out, told.err)))
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

#[test]
fn a_shard_is_described_and_verified() {
    let folder = TempDir::new().unwrap();
    let file = shard(folder.path(), "0.shard", 100);
    let (code, told) = json(&["stat"], &[&file]);
    assert_eq!(code, Some(0));
    let only = &told["shards"][0];
    assert_eq!((&only["records"], &only["places"], &only["change"]), (&100.into(), &256.into(), &77.into()));
    assert_eq!(only["shard"], "contacts.example/psm/1/1/0");
    assert_eq!(only["bytes"], std::fs::metadata(&file).unwrap().len());
    assert_eq!((told["fits"].as_bool(), only["load"].as_f64()), (Some(true), Some(100.0 / 256.0)));
    assert!(only["memory_bytes"].as_u64().unwrap() > 4 * 256 * 128);

    let told = run(program().args(["shard", "stat"]).arg(&file));
    for text in ["contacts.example/psm/1/1/0", "100 in 256 places, 39.1 %", "2026-09-21T", "They fit."] {
        assert!(told.out.contains(text), "{text} in {}", told.out);
    }
    let (code, told) = json(&["verify", "--sample", "3"], &[&file]);
    assert_eq!(code, Some(0));
    assert_eq!((&told["ok"], &told["shards"][0]["queries"]), (&true.into(), &5.into()), "{told}");
    let told = run(program().args(["shard", "verify", "--sample", "0"]).arg(&file));
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert!(told.out.contains("whole") && told.out.contains("asked for nothing"), "{}", told.out);
}

#[test]
fn a_broken_file_is_told_with_its_section_and_the_others_are_looked_at() {
    let folder = TempDir::new().unwrap();
    let good = shard(folder.path(), "0.shard", 10);
    let broken = shard(folder.path(), "1.shard", 10);
    let cut = shard(folder.path(), "2.shard", 10);
    flip(&broken, 50_000);
    let length = std::fs::metadata(&cut).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(length - 1).unwrap();
    let foreign = folder.path().join("3.shard");
    std::fs::write(&foreign, "something else").unwrap();

    let (code, told) = json(&["verify", "--sample", "1"], &[&broken, &cut, &foreign, &good]);
    assert_eq!((code, &told["ok"]), (Some(1), &false.into()));
    let shards = told["shards"].as_array().unwrap();
    let oks: Vec<_> = shards.iter().map(|shard| shard["ok"].as_bool().unwrap()).collect();
    assert_eq!(oks, [false, false, false, true]);
    assert_eq!(shards[0]["section"], "table");
    for (shard, text) in shards.iter().zip(["damaged in its table", "in place of", "no file of a shard"]) {
        assert!(shard["error"].as_str().unwrap().contains(text), "{shard}");
    }
    let told = run(program().args(["shard", "verify"]).arg(&broken).arg(&good));
    assert_eq!(told.code, Some(1));
    assert!(told.out.contains("WRONG: ") && told.out.contains("whole."), "{}", told.out);
    assert!(told.err.contains("something is wrong with a file"), "{}", told.err);
    // The head is whole.
    let (code, told) = json(&["stat"], &[&broken, &cut]);
    assert_eq!((code, &told["shards"][0]["records"]), (Some(1), &10.into()));
    assert!(told["shards"][1]["error"].is_string());
    let told = run(program().args(["shard", "stat"]).arg(folder.path().join("none")));
    assert_eq!(told.code, Some(1));
    assert!(told.out.contains("No such file"), "{}", told.out);
}
