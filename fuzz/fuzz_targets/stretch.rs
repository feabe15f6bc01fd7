//! Jobs of Argon2id that every kernel of this processor has to do as RustCrypto's `argon2` does.

#![no_main]

use std::cell::Cell;

use acquaint_stretch::{Cost, Field, HashError, Job, Kernel, Worker};
use argon2::{Algorithm, Argon2, Params, Version};
use libfuzzer_sys::fuzz_target;

/// What stands in a tag beforehand.
const BEFORE: u8 = 0xa5;

struct Input {
    password: Vec<u8>,
    salt: Vec<u8>,
    length: usize,
}

/// Bytes from the front of the fuzzer's, zeroes when there are no more.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next()).collect()
    }

    /// A job: the lengths of password, salt and tag, a byte each, then the first two.
    fn input(&mut self) -> Input {
        let [password, salt, tag] = [(); 3].map(|()| usize::from(self.next()));
        // Most tags are short; the longest have many steps.
        let length = if tag < 200 { tag } else { (tag - 199) * 20 };
        Input { password: self.take(password), salt: self.take(salt % 100), length }
    }
}

fn oracle(cost: Cost, input: &Input) -> Option<Vec<u8>> {
    let params = Params::new(cost.memory_kib(), cost.passes(), 1, Some(input.length)).ok()?;
    let mut tag = vec![0; input.length];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(&input.password, &input.salt, &mut tag).ok()?;
    Some(tag)
}

/// The outcome, the tags, and how often it asked whether to go on, which `questions` times it may.
fn hash(
    worker: &mut Worker,
    inputs: &[Input],
    questions: usize,
) -> (Result<(), HashError>, Vec<Vec<u8>>, usize) {
    let mut tags: Vec<Vec<u8>> = inputs.iter().map(|input| vec![BEFORE; input.length]).collect();
    let mut jobs: Vec<Job<'_>> = inputs
        .iter()
        .zip(&mut tags)
        .map(|(input, tag)| Job { password: &input.password, salt: &input.salt, tag })
        .collect();
    let asked = Cell::new(0);
    let outcome = worker.hash(&mut jobs, || {
        asked.set(asked.get() + 1);
        asked.get() <= questions
    });
    (outcome, tags, asked.get())
}

// Two bytes of memory, one of passes, width and count, one of how often to go on, then the jobs.
fuzz_target!(|content: &[u8]| {
    let mut bytes = Bytes(content);
    let memory_kib = u32::from(u16::from_le_bytes([bytes.next(), bytes.next()])) % 593 + 8;
    let shape = usize::from(bytes.next());
    let (passes, width, count) = (shape % 4 + 1, shape / 4 % 4 + 1, shape / 16 % 7);
    let questions = usize::from(bytes.next());
    let inputs: Vec<Input> = (0..count).map(|_| bytes.input()).collect();

    let cost = Cost::new(memory_kib, passes as u32).expect("it is in range");
    let expected: Vec<Option<Vec<u8>>> = inputs.iter().map(|input| oracle(cost, input)).collect();
    let before: Vec<Vec<u8>> = inputs.iter().map(|input| vec![BEFORE; input.length]).collect();
    let refused = inputs.iter().enumerate().find_map(|(job, input)| {
        let lengths = [(Field::Salt, input.salt.len(), 8), (Field::Tag, input.length, 4)];
        let (field, length, _) = lengths.into_iter().find(|&(_, length, least)| length < least)?;
        Some(HashError::Length { job, field, length })
    });
    assert_eq!(refused.is_some(), expected.contains(&None));

    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        let mut worker =
            Worker::with(cost, kernel, width).expect("there is memory, and the width is in range");
        let (outcome, tags, asked) = hash(&mut worker, &inputs, questions);
        if let Some(error) = refused {
            assert_eq!((outcome, tags, asked), (Err(error), before.clone(), 0), "{kernel}");
            continue;
        }
        // One question for each pass of a group of jobs, or in portable code for each job.
        let groups = count.div_ceil(worker.width());
        let each = if kernel == Kernel::Portable { 1 } else { passes };
        let done = match outcome {
            Ok(()) => {
                assert_eq!(asked, groups * each, "{kernel}");
                count
            }
            Err(HashError::Cancelled { done }) => {
                assert_eq!(asked, questions + 1, "{kernel}");
                assert!(asked <= groups * each, "{kernel}");
                let whole = questions / each;
                assert!((whole..=whole * worker.width()).contains(&done) && done < count, "{kernel}");
                done
            }
            Err(error) => panic!("{kernel}: {error}"),
        };
        for (at, tag) in tags.into_iter().enumerate() {
            let wanted = if at < done { expected[at].as_ref() } else { Some(&before[at]) };
            assert_eq!(Some(&tag), wanted, "{kernel}, job {at}");
        }
        // On memory that was left in the middle of something, or wiped.
        if questions % 2 == 1 {
            worker.wipe();
        }
        let (outcome, tags, _) = hash(&mut worker, &inputs, usize::MAX);
        assert_eq!(outcome, Ok(()), "{kernel}");
        assert!(tags.into_iter().map(Some).eq(expected.iter().cloned()), "{kernel}");
    }
});
