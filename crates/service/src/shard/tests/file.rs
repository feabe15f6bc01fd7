use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::*;
use crate::shard::format::{self, CHUNK, HEAD_BYTES};
use crate::{Entropy, EntropyError};

/// A shard's file in a folder of its own.
struct Saved {
    server: Server,
    shard: Shard,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

/// A table of 2 chunks less a bit, so that the last one is short.
const LARGER: Shape = Shape { rows: 15, columns: 64, slots: 4, answers: 2 };

fn saved(shape: Shape, records: u64) -> Saved {
    let (server, folder) = (server_of(shape), tempfile::tempdir().unwrap());
    let shard = build(&server, numbered(0..records)).unwrap();
    let path = folder.path().join("0.shard");
    shard.save(&path, &head()).unwrap();
    Saved { server, shard, path, _folder: folder }
}

impl Saved {
    fn open(&self) -> Result<Shard, ShardError> {
        Ok(Shard::open(&self.path, &self.server, LABEL)?.0)
    }

    fn refusal(&self) -> ShardError {
        self.open().map(|_| ()).unwrap_err()
    }

    /// Where each section begins and ends.
    fn sections(&self) -> [(Section, u64, u64); 4] {
        let table = HEAD_BYTES as u64 + 4 * self.server.configuration().parameters().table_words() as u64;
        let records = table + 32 * self.shard.len() as u64;
        let end = fs::metadata(&self.path).unwrap().len();
        [
            (Section::Head, 0, HEAD_BYTES as u64),
            (Section::Table, HEAD_BYTES as u64, table),
            (Section::Records, table, records),
            (Section::Checksums, records, end),
        ]
    }
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

struct Seeded;

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(5);
        Ok(())
    }
}

#[test]
fn a_file_gives_the_shard_back_and_stays_as_it_is() {
    let saved = saved(LARGER, 12_000);
    assert_eq!(fs::metadata(&saved.path).unwrap().permissions().mode() & 0o7777, 0o600);
    let before = fs::read(&saved.path).unwrap();
    let told = stat(&saved.path).unwrap();
    assert_eq!((told.head, told.records, told.places), (head(), 12_000, 15_360));
    assert_eq!((told.bytes, told.shape), (before.len() as u64, LARGER));
    assert_eq!(&told.configuration, saved.server.configuration().id().as_bytes());

    let mut steps = Vec::new();
    let (opened, found) = Shard::open_watched(&saved.path, &saved.server, LABEL, &mut |done, total| {
        steps.push(done);
        total == before.len() as u64
    })
    .unwrap();
    assert_eq!(found, head());
    assert_eq!(steps.last(), Some(&(before.len() as u64)));
    assert!(steps.is_sorted() && steps.len() > 3);
    for (_, keyword, record) in numbered(0..12_000).step_by(7) {
        assert_eq!(times(&opened, &keyword, &record), 1);
    }
    opened.check(&saved.server, 2, &mut random(1)).unwrap();
    // Changes are in memory.
    for number in 0..300 {
        assert!(opened.remove(Owner(number), &VACANT).unwrap());
        opened.put(Owner(20_000 + number), &keyword(20_000 + number), &record(number), &VACANT).unwrap();
    }
    opened.check(&saved.server, 2, &mut random(1)).unwrap();
    assert_eq!(fs::read(&saved.path).unwrap(), before);
    assert_eq!(saved.open().unwrap().len(), 12_000);
    // A second save takes the name, and the first shard goes on with what it has mapped.
    opened.save(&saved.path, &Head { change: 78, ..head() }).unwrap();
    assert_eq!(stat(&saved.path).unwrap().head.change, 78);
    opened.check(&saved.server, 2, &mut random(2)).unwrap();
    assert!(!saved.open().unwrap().remove(Owner(5), &VACANT).unwrap());
    let verified = verify(&saved.path, 3, &Seeded, &mut |_, _| true).unwrap();
    assert_eq!((verified.records, verified.queries, verified.head.change), (12_000, 5, 78));
    assert_eq!(fs::read_dir(saved.path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_flipped_bit_is_told_with_its_section() {
    let saved = saved(LARGER, 9000);
    for (section, begin, end) in saved.sections() {
        // Beyond the first chunk too.
        for at in [begin, begin + 5, begin.midpoint(end), end - 33, end - 1] {
            flip(&saved.path, at);
            let refused = saved.refusal();
            match &refused {
                // What it begins with, and its version.
                ShardError::Foreign(_) => assert!(at < 16),
                ShardError::Damaged { section: told, .. } => assert_eq!(*told, section, "at {at}"),
                other => panic!("{other} at {at}"),
            }
            assert!(verify(&saved.path, 1, &Seeded, &mut |_, _| true).is_err());
            flip(&saved.path, at);
        }
    }
    let [_, (_, table, _), ..] = saved.sections();
    flip(&saved.path, table + CHUNK as u64 + 1);
    assert!(matches!(saved.refusal(), ShardError::Damaged { section: Section::Table, .. }));
    flip(&saved.path, table + CHUNK as u64 + 1);
    saved.open().unwrap();
}

#[test]
fn a_cut_file_is_refused_wherever_it_is_cut() {
    let saved = saved(SHAPE, 100);
    let whole = fs::read(&saved.path).unwrap();
    let mut ends: Vec<usize> = saved.sections().iter().map(|(_, _, end)| *end as usize).collect();
    ends.extend([0, 1, 15, 16, 17, 20, 21, 4000]);
    for end in ends {
        for end in [end.saturating_sub(1), end, end + 1].into_iter().filter(|end| *end != whole.len()) {
            let mut bytes = whole.clone();
            bytes.resize(end, 0);
            fs::write(&saved.path, &bytes).unwrap();
            let refused = saved.refusal();
            match &refused {
                ShardError::Foreign(_) => assert!(end < 16),
                // Zeros in place of the version.
                ShardError::Version { version: 0, .. } => assert!(end < 20),
                ShardError::Length { found, .. } => assert_eq!(*found, end as u64),
                other => panic!("{other} at {end}"),
            }
            assert!(stat(&saved.path).is_err());
        }
    }
    fs::write(&saved.path, &whole).unwrap();
    saved.open().unwrap();
}

#[test]
fn a_file_of_something_else_is_refused_by_name() {
    let saved = saved(SHAPE, 10);
    let other = Server::new(Configuration::new(Parameters::new(SHAPE).unwrap(), b"epoch 2"));
    assert!(matches!(Shard::open(&saved.path, &other, LABEL), Err(ShardError::OtherConfiguration(_))));
    let other = server_of(LARGER);
    assert!(matches!(Shard::open(&saved.path, &other, LABEL), Err(ShardError::OtherConfiguration(_))));
    assert!(matches!(Shard::open(&saved.path, &saved.server, b"x"), Err(ShardError::OtherLabel(_))));

    let file = OpenOptions::new().write(true).open(&saved.path).unwrap();
    file.write_all_at(&2_u32.to_le_bytes(), 16).unwrap();
    let newer = saved.refusal();
    assert!(matches!(newer, ShardError::Version { version: 2, .. }));
    assert!(newer.to_string().contains("version 2"), "{newer}");
    fs::write(&saved.path, [b"SQLite format 3\0".as_slice(), &[0; 9000]].concat()).unwrap();
    assert!(matches!(saved.refusal(), ShardError::Foreign(_)));
    fs::remove_file(&saved.path).unwrap();
    assert!(matches!(saved.refusal(), ShardError::Io { .. }));
    fs::create_dir(&saved.path).unwrap();
    assert!(matches!(saved.refusal(), ShardError::Foreign(_)));
}

#[test]
fn a_file_that_others_can_write_to_is_not_mapped() {
    let saved = saved(SHAPE, 10);
    for (mode, opens) in [(0o620, false), (0o602, false), (0o644, true), (0o400, true)] {
        fs::set_permissions(&saved.path, fs::Permissions::from_mode(mode)).unwrap();
        let opened = saved.open();
        assert_eq!(opened.is_ok(), opens, "{mode:o}");
        if let Err(refused) = opened {
            assert!(matches!(refused, ShardError::Permissions { mode: told, .. } if told == mode));
        }
    }
}

#[test]
fn a_save_that_fails_leaves_the_former_file() {
    let saved = saved(SHAPE, 10);
    let before = fs::read(&saved.path).unwrap();
    let other = Head { epoch: b"epoch 2".to_vec(), ..head() };
    assert!(matches!(saved.shard.save(&saved.path, &other), Err(ShardError::Epoch)));
    let long = Head { label: vec![b'x'; 1025], ..head() };
    assert!(matches!(saved.shard.save(&saved.path, &long), Err(ShardError::Name(1024))));
    let longest = Head { label: vec![b'x'; 1024], ..head() };
    let elsewhere = saved.path.with_file_name("1.shard");
    saved.shard.save(&elsewhere, &longest).unwrap();
    assert_eq!(stat(&elsewhere).unwrap().head, longest);
    // What a crash left is in nobody's way, and what cannot be taken away is told.
    fs::write(saved.path.with_file_name("1.shard.part"), b"half").unwrap();
    saved.shard.save(&elsewhere, &head()).unwrap();
    fs::create_dir(saved.path.with_file_name("0.shard.part")).unwrap();
    assert!(matches!(saved.shard.save(&saved.path, &head()), Err(ShardError::Io { .. })));
    let nowhere = saved.path.with_file_name("no").join("folder");
    assert!(matches!(saved.shard.save(&nowhere, &head()), Err(ShardError::Io { .. })));
    assert_eq!(fs::read(&saved.path).unwrap(), before);
    // Written whole, and its name cannot be had: it does not stay.
    let taken = saved.path.with_file_name("2.shard");
    fs::create_dir(&taken).unwrap();
    assert!(matches!(saved.shard.save(&taken, &head()), Err(ShardError::Io { .. })));
    assert!(!saved.path.with_file_name("2.shard.part").exists());
}

#[test]
fn whoever_watches_can_end_it() {
    let saved = saved(SHAPE, 10);
    let ended = Shard::open_watched(&saved.path, &saved.server, LABEL, &mut |_, _| false);
    assert!(matches!(ended, Err(ShardError::Ended)));
}

/// Changes a file as somebody would who can make checksums.
fn forge(path: &Path, of_sections: &[(Section, u64, u64); 4], change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    let sum = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    let head = sum(&bytes[..HEAD_BYTES - 32]);
    bytes[HEAD_BYTES - 32..HEAD_BYTES].copy_from_slice(&head);
    let mut sums = Vec::new();
    for (_, begin, end) in &of_sections[1..3] {
        sums.extend(bytes[*begin as usize..*end as usize].chunks(CHUNK).map(sum));
    }
    let last = format::sum_of_sums(&head, &sums);
    bytes[of_sections[3].1 as usize..].copy_from_slice(&[sums.as_flattened(), &last].concat());
    fs::write(path, bytes).unwrap();
}

#[test]
fn records_that_cannot_stand_so_are_refused_though_their_checksums_are_right() {
    let saved = saved(SHAPE, 50);
    let sections = saved.sections();
    let records = sections[2].1 as usize;
    let whole = fs::read(&saved.path).unwrap();
    forge(&saved.path, &sections, |_| {});
    assert_eq!(fs::read(&saved.path).unwrap(), whole);
    let forgeries: [(&str, &dyn Fn(&mut [u8])); 6] = [
        ("no such place", &|record| record[8..16].fill(0xff)),
        ("a place behind the last", &|record| record[8..16].copy_from_slice(&256_u64.to_le_bytes())),
        ("another keyword's place", &|record| record[16..32].copy_from_slice(keyword(99).as_bytes())),
        ("the place of two", &|records| records.copy_within(8..32, 40)),
        ("the owner of two", &|records| records.copy_within(0..8, 32)),
        ("an order of its own", &|records| records[0..8].fill(0xff)),
    ];
    for (what, change) in forgeries {
        forge(&saved.path, &sections, |bytes| change(&mut bytes[records..]));
        let refused = saved.refusal();
        assert!(
            matches!(refused, ShardError::Damaged { section: Section::Records, .. }),
            "{what}: {refused}"
        );
        fs::write(&saved.path, &whole).unwrap();
    }
}

#[test]
fn no_head_makes_it_panic_though_its_checksum_is_right() {
    let saved = saved(SHAPE, 3);
    let (sections, whole) = (saved.sections(), fs::read(&saved.path).unwrap());
    let mut opened = 0;
    for at in 0..140 {
        for value in [1, 0x80, 0xff] {
            forge(&saved.path, &sections, |bytes| bytes[at] = value);
            if whole[at] == value {
                continue;
            }
            match verify(&saved.path, 0, &Seeded, &mut |_, _| true) {
                // The change, the time and the label are anybody's.
                Ok(verified) => {
                    assert_ne!(verified.head, head(), "byte {at}");
                    opened += 1;
                }
                Err(refused) => assert!(!matches!(refused, ShardError::Io { .. }), "byte {at}: {refused}"),
            }
            fs::write(&saved.path, &whole).unwrap();
        }
    }
    assert!((50..200).contains(&opened), "{opened}");
}

/// A word is wrong and the checksum is right: no file tells, but a query does, whatever it asks for.
#[test]
fn a_check_finds_a_word_that_was_changed() {
    let server = server_of(SHAPE);
    let words = server.configuration().parameters().table_words();
    let shard = build(&server, numbered(0..150)).unwrap();
    shard.check(&server, 4, &mut random(3)).unwrap();
    let mut copy = anonymous(words).unwrap();
    shard.table.snapshot(|words, _| copy.words_mut().copy_from_slice(words));
    // Of the last row and column.
    copy.words_mut()[words - 3] ^= 1 << 20;
    let mut placement = Placement::new(SHAPE, 4);
    shard.table.snapshot(|_, kept| {
        for (position, keyword) in kept.iter() {
            placement.restore(position, keyword).unwrap();
        }
    });
    let table = KeywordTable::open(&server, copy, placement).unwrap();
    let owners = std::mem::take(&mut *shard.owners());
    let broken = Shard { table, owners: Mutex::new(owners), configuration: server.configuration().clone() };
    assert!(matches!(broken.check(&server, 8, &mut random(3)), Err(ShardError::Wrong)));
}

#[test]
fn an_empty_shard_is_saved_and_checked_too() {
    let saved = saved(SHAPE, 0);
    let opened = saved.open().unwrap();
    assert!(opened.is_empty());
    opened.check(&saved.server, 3, &mut random(1)).unwrap();
    opened.put(Owner(1), &keyword(1), &record(1), &VACANT).unwrap();
    assert_eq!(opened.len(), 1);
    let other = Server::new(Configuration::new(Parameters::new(SHAPE).unwrap(), b"epoch 2"));
    assert!(matches!(opened.check(&other, 1, &mut random(1)), Err(ShardError::Asked(_))));
}
