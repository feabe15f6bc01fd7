use argon2::{Algorithm, Argon2, AssociatedData, Params, ParamsBuilder, Version};
use proptest::prelude::*;

use crate::{Cost, CostError, Field, HashError, Job, Kernel, Worker, WorkerError};

/// One set of inputs, with the length of the tag.
type Input = (Vec<u8>, Vec<u8>, usize);

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

fn oracle(cost: Cost, (password, salt, length): &Input) -> Vec<u8> {
    let params = Params::new(cost.memory_kib(), cost.passes(), 1, Some(*length)).unwrap();
    let mut tag = vec![0; *length];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, &mut tag)
        .unwrap();
    tag
}

fn hash(worker: &mut Worker, inputs: &[Input]) -> Vec<Vec<u8>> {
    // What stands in a tag beforehand must not matter.
    let mut tags: Vec<Vec<u8>> = inputs.iter().map(|input| vec![0xa5; input.2]).collect();
    let mut jobs: Vec<Job<'_>> =
        inputs.iter().zip(&mut tags).map(|((password, salt, _), tag)| Job { password, salt, tag }).collect();
    worker.hash(&mut jobs, || true).unwrap();
    tags
}

#[test]
fn a_test_machine_has_every_kernel_that_its_processor_has() {
    assert!(kernels().any(|kernel| kernel == Kernel::Portable));
    assert_eq!(Some(Kernel::best()), kernels().next());
    #[cfg(target_arch = "x86_64")]
    for (kernel, has) in [
        (Kernel::Avx512, std::is_x86_feature_detected!("avx512f")),
        (Kernel::Avx2, std::is_x86_feature_detected!("avx2")),
    ] {
        assert_eq!(kernel.is_available(), has);
        assert_eq!(Worker::with(Cost::new(8, 1).unwrap(), kernel, 1).is_ok(), has);
    }
}

/// RFC 9106, section 5.3. It has four lanes, a secret value and associated data, none of which a worker takes: so this
/// ties the oracle to the RFC, and the other tests tie the kernels to the oracle.
#[test]
fn the_oracle_agrees_with_the_rfc() {
    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).unwrap())
        .build()
        .unwrap();
    let mut tag = [0; 32];
    Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params)
        .unwrap()
        .hash_password_into(&[1; 32], &[2; 16], &mut tag)
        .unwrap();
    assert_eq!(hex::encode(tag), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
}

fn input() -> impl Strategy<Value = Input> {
    (
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(any::<u8>(), 8..100),
        prop_oneof![4..200usize, Just(32), Just(64), Just(65), Just(1024)],
    )
}

fn cost() -> impl Strategy<Value = Cost> {
    // Small memories have the most corners: segments of 2 to 130 blocks, two batches of addresses and more.
    (prop_oneof![8..64u32, 64..1100u32, 1100..3000u32], 1..5u32).prop_map(|(m, t)| Cost::new(m, t).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_kernel_agrees_with_the_oracle(
        cost in cost(),
        width in 1..=Worker::MAX_WIDTH,
        inputs in prop::collection::vec(input(), 0..10),
        again in prop::collection::vec(input(), 1..3),
    ) {
        for kernel in kernels() {
            let mut worker = Worker::with(cost, kernel, width).unwrap();
            // The second time on memory that the first has used.
            for inputs in [&inputs, &again] {
                let expected: Vec<_> = inputs.iter().map(|input| oracle(cost, input)).collect();
                prop_assert_eq!(hash(&mut worker, inputs), expected, "{} at width {}", kernel, width);
            }
        }
    }
}

#[test]
fn lengths_out_of_range_are_refused_before_anything_is_computed() {
    let refused = |salt: usize, length: usize| {
        let (salt, mut tag, mut good) = (vec![0; salt], vec![7; length], [7; 32]);
        let mut worker = Worker::new(Cost::new(8, 1).unwrap()).unwrap();
        let mut jobs = [
            Job { password: b"", salt: b"01234567", tag: &mut good },
            Job { password: b"", salt: &salt, tag: &mut tag },
        ];
        let error = worker.hash(&mut jobs, || true).unwrap_err();
        assert_eq!(good, [7; 32]);
        error
    };
    assert_eq!(refused(7, 32), HashError::Length { job: 1, field: Field::Salt, length: 7 });
    let tag = refused(8, 3);
    assert_eq!(tag, HashError::Length { job: 1, field: Field::Tag, length: 3 });
    assert_eq!(tag.to_string(), "job 1: the tag is 3 bytes long: it has to be 4 to 4294967295");
}

#[test]
fn costs_and_workers_out_of_range_are_refused() {
    assert_eq!(Cost::new(7, 1), Err(CostError::Memory(7)));
    assert_eq!(Cost::new(Cost::MAX_MEMORY_KIB + 1, 1), Err(CostError::Memory(Cost::MAX_MEMORY_KIB + 1)));
    assert_eq!(Cost::new(8, 0), Err(CostError::Passes));
    let cost = Cost::new(8, 1).unwrap();
    for width in [0, Worker::MAX_WIDTH + 1] {
        assert_eq!(Worker::with(cost, Kernel::Portable, width).unwrap_err(), WorkerError::Width(width));
    }
}

#[test]
fn cancelled_between_passes() {
    let cost = Cost::new(64, 3).unwrap();
    for kernel in kernels() {
        let mut worker = Worker::with(cost, kernel, 2).unwrap();
        let asked = |jobs: usize, passes_wanted: usize| {
            let mut tags = vec![[7; 32]; jobs];
            let mut jobs: Vec<Job<'_>> =
                tags.iter_mut().map(|tag| Job { password: b"p", salt: b"01234567", tag }).collect();
            let mut asked = 0;
            let outcome = worker.hash(&mut jobs, || {
                asked += 1;
                asked <= passes_wanted
            });
            (outcome, asked, tags)
        };
        let mut asked = asked;
        // Five jobs at width two are three groups of three passes; portable code is asked once for each hash.
        let (wanted, all) = if kernel == Kernel::Portable { (2, 5) } else { (4, 9) };
        let (outcome, times, tags) = asked(5, wanted);
        assert_eq!((outcome, times), (Err(HashError::Cancelled { done: 2 }), wanted + 1), "{kernel}");
        let expected = oracle(cost, &(b"p".to_vec(), b"01234567".to_vec(), 32));
        assert!(tags[..2].iter().all(|tag| tag[..] == expected[..]), "{kernel}");
        assert!(tags[2..].iter().all(|tag| *tag == [7; 32]), "{kernel}");
        // It is as good as new.
        let (outcome, times, tags) = asked(5, usize::MAX);
        assert_eq!((outcome, times), (Ok(()), all), "{kernel}");
        assert!(tags.iter().all(|tag| tag[..] == expected[..]), "{kernel}");
    }
}

#[test]
fn wiped_memory_is_zero() {
    for kernel in kernels() {
        let mut worker = Worker::with(Cost::new(100, 1).unwrap(), kernel, 3).unwrap();
        hash(&mut worker, &vec![(b"password".to_vec(), b"01234567".to_vec(), 32); 3]);
        assert!(!worker.is_zero(), "{kernel}");
        worker.wipe();
        assert!(worker.is_zero(), "{kernel}");
        let input = (b"password".to_vec(), b"01234567".to_vec(), 32);
        assert_eq!(
            hash(&mut worker, std::slice::from_ref(&input)),
            [oracle(worker.cost(), &input)],
            "{kernel}"
        );
    }
}

#[test]
fn nothing_printed_tells_an_input() {
    let mut tag = [0xab; 32];
    let job = Job { password: b"tel:+12125550123", salt: b"01234567", tag: &mut tag };
    assert_eq!(format!("{job:?}"), "Job(redacted)");
    let worker = Worker::new(Cost::new(19 * 1024, 2).unwrap()).unwrap();
    let printed = format!("{worker:?}");
    assert!(printed.contains("19456") && printed.len() < 150, "{printed}");
}
