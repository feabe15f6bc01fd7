//! `acquaint shard`.

use std::fmt::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use acquaint_pir::{Configuration, Keyword, Parameters, Server, Shape};
use acquaint_server::shard::{Head, Owner, Shard, anonymous};
use acquaint_testkit::did;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Server as Acquaint, Told, program, run};

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

/// A server that was stopped, with so many listings.
fn stopped(listings: usize) -> Acquaint {
    let mut server = Acquaint::without_limits();
    server.set("ACQUAINT_DIRECTORY__PROVIDER", "contacts.example");
    server.start();
    let mut text = "account,identifier\n".to_owned();
    (0..listings).for_each(|n| writeln!(text, "{},user{n}@example.com", did(n)).unwrap());
    let users = server.home().join("users.csv");
    std::fs::write(&users, text).unwrap();
    let mut load = program();
    load.args(["directory", "load", "--url", server.url()]).arg(&users);
    let told = run(load.env("ACQUAINT_API_KEY", server.api_key()));
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(server.stop().success());
    server.set("ACQUAINT_PRIVATE_LOOKUP__PSM", "true");
    server
}

fn build(server: &Acquaint, folder: &Path) -> Told {
    let mut command = program();
    command.envs(server.serve_command().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["shard", "build", "--json", "--config"]).arg(server.config());
    run(command.arg("--out").arg(folder))
}

/// Builds them; the records that it tells of, and the files.
fn built(server: &Acquaint, folder: &Path) -> (u64, Vec<PathBuf>) {
    let told = build(server, folder);
    assert_eq!(told.code, Some(0), "{told:?}");
    let told: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((&told["profiles"][0]["profile"], &told["profiles"][0]["epoch"]), (&"psm".into(), &1.into()));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    (told["profiles"][0]["records"].as_u64().unwrap(), files)
}

/// The records of these files, all of which are good.
fn records(files: &[PathBuf]) -> u64 {
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let (code, verified) = json(&["verify"], &files);
    assert_eq!((code, &verified["ok"]), (Some(0), &true.into()), "{verified}");
    let (code, told) = json(&["stat"], &files);
    assert_eq!((code, &told["ok"]), (Some(0), &true.into()), "{told}");
    told["shards"].as_array().unwrap().iter().map(|shard| shard["records"].as_u64().unwrap()).sum()
}

#[test]
fn the_shards_of_a_stopped_server_are_built() {
    let mut server = stopped(300);
    let mut part = server.beside();
    copy(&server.data(), &part.data());
    let folder = server.home().join("shards");
    let (told, files) = built(&server, &folder);
    assert_eq!((told, files.len(), records(&files)), (300, 1, 300));
    // Found again, not made again.
    let made = std::fs::metadata(&files[0]).unwrap().modified().unwrap();
    assert_eq!(built(&server, &folder), (300, files.clone()));
    assert_eq!(std::fs::metadata(&files[0]).unwrap().modified().unwrap(), made);

    // Cut into several, of which it holds some.
    for (name, value) in [
        ("SHARD_RECORDS", "100"),
        ("SHARDS", "1-2"),
        ("SERVERS", "0-0 https://a.example,1-2 https://b.example,3-3 https://c.example"),
    ] {
        part.set(&format!("ACQUAINT_PRIVATE_LOOKUP__{name}"), value);
    }
    let (told, files) = built(&part, &part.home().join("shards"));
    assert_eq!((files.len(), records(&files)), (2, told), "{files:?}");
    assert!((100..200).contains(&told), "{told} of 300");

    server.set("ACQUAINT_PRIVATE_LOOKUP__PSM", "false");
    let told = build(&server, &folder);
    assert!(told.code == Some(1) && told.err.contains("there is no private lookup"), "{told:?}");
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let name = file.unwrap().file_name();
            copy(&from.join(&name), &to.join(name));
        }
    } else {
        std::fs::copy(from, to).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_written_ends_the_building() {
    let server = stopped(1);
    let file = server.home().join("file");
    std::fs::write(&file, "something else").unwrap();
    for folder in [file.clone(), file.join("below")] {
        let told = build(&server, &folder);
        assert_eq!((told.code, told.out.as_str()), (Some(1), ""), "{told:?}");
        for text in ["`private_lookup.files` cannot be made", "the shards could not be made"] {
            assert!(told.err.contains(text), "{text}: {told:?}");
        }
    }
    // It can be made, and nothing can be put where the file belongs.
    let folder = server.home().join("shards");
    std::fs::create_dir_all(folder.join("psm-1-1-0.shard/full")).unwrap();
    let told = build(&server, &folder);
    assert!(told.code == Some(1) && told.err.contains("the shards could not be made"), "{told:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "something else");
}
