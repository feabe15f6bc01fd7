use super::*;

#[test]
fn the_standard_shapes_answer_rightly() {
    for shape in [Shape::MILLION_RECORDS, Shape::MILLION_KEYWORDS] {
        let parameters = Parameters::new(shape).unwrap();
        assert!(parameters.noise().failure_log2 < -44.0, "{:?}", parameters.noise());
        let most = Parameters { bits: AnswerBits::MOST, ..parameters };
        assert!(most.noise().failure_log2 < -55.0, "{:?}", most.noise());
    }
    let ten_million = Parameters::new(Shape::TEN_MILLION_KEYWORDS).unwrap();
    assert!(ten_million.noise().failure_log2 < -44.0, "{:?}", ten_million.noise());
    // 8,388,608 records of 128 bytes by their places.
    Parameters::new(Shape { rows: 512, columns: 1024, slots: 16, answers: 1 }).unwrap();
    Parameters::new(Shape { rows: 511, columns: 1, slots: 16, answers: 1 }).unwrap();
}

#[test]
fn noise_above_the_bound_is_refused() {
    let shape = Shape { rows: 2048, columns: 1 << 16, slots: 16, answers: 1 };
    let refused = Parameters::new(shape).unwrap_err();
    assert!(matches!(refused, ParameterError::Failure { failure_log2 } if failure_log2 > -40.0));

    let coarse = Gadgets { selection: Gadget::new(2, 10, 12), ..Gadgets::STANDARD };
    let refused = Parameters::with_gadgets(Shape::MILLION_KEYWORDS, 1, coarse).unwrap_err();
    assert!(matches!(refused, ParameterError::Failure { .. }), "{refused}");
}

#[test]
fn shapes_out_of_range_are_refused_by_name() {
    let good = Shape { rows: 8, columns: 8, slots: 4, answers: 2 };
    Parameters::new(good).unwrap();
    for (shape, name) in [
        (Shape { rows: 0, ..good }, "rows"),
        (Shape { rows: 2049, ..good }, "rows"),
        (Shape { columns: 3, ..good }, "columns"),
        (Shape { columns: 0, ..good }, "columns"),
        (Shape { columns: 1 << 17, ..good }, "columns"),
        (Shape { slots: 2, ..good }, "slots"),
        (Shape { slots: 4096, ..good }, "slots"),
        (Shape { answers: 3, ..good }, "answers"),
        (Shape { answers: 8, slots: 16, ..good }, "answers"),
        (Shape { answers: usize::MAX, ..good }, "answers"),
    ] {
        assert_eq!(Parameters::new(shape), Err(ParameterError::Range(name)));
    }
}

#[test]
fn a_configuration_is_named_by_everything_in_it() {
    let id = |shape, epoch: &[u8]| Configuration::new(Parameters::new(shape).unwrap(), epoch).id();
    let shape = Shape { rows: 8, columns: 16, slots: 8, answers: 1 };
    let ids = [
        id(shape, b"one"),
        id(shape, b"two"),
        id(shape, b""),
        id(Shape { rows: 16, columns: 8, ..shape }, b"one"),
        id(Shape { slots: 4, ..shape }, b"one"),
        id(Shape { answers: 2, ..shape }, b"one"),
    ];
    for (at, one) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(one));
    }
    assert_eq!(ids[0], id(shape, b"one"));
}

#[test]
fn keys_serve_every_shape_with_as_many_answers() {
    let id = |shape| Parameters::new(shape).unwrap().keys_id();
    let shape = Shape { rows: 8, columns: 16, slots: 8, answers: 1 };
    assert_eq!(id(shape), id(Shape { rows: 16, slots: 16, ..shape }));
    assert_ne!(id(shape), id(Shape { answers: 2, ..shape }));
}

#[test]
fn the_shapes_for_records_are_the_measured_ones() {
    assert_eq!(Shape::for_records(1 << 20), Shape::MILLION_KEYWORDS);
    assert_eq!(Shape::for_records(10_000_000), Shape::TEN_MILLION_KEYWORDS);
    for count in [0, 1, 1000] {
        assert_eq!(Shape::for_records(count), Shape { rows: 16, columns: 16, slots: 4, answers: 2 });
    }
    assert!(Parameters::new(Shape::for_records(u64::MAX)).is_err());
    let mut before = 0;
    for log in 0..28 {
        let shape = Shape::for_records(1 << log);
        Parameters::new(shape).unwrap();
        assert!(shape.rows <= 512 && shape.rows * shape.columns >= before, "{shape:?}");
        before = shape.rows * shape.columns;
    }
}

#[test]
fn a_shape_has_room_for_its_records() {
    use rand_core::SeedableRng;
    for count in [1, 1000, 20_000, 100_000] {
        let mut random = chacha20::ChaCha20Rng::from_seed([7; 32]);
        let mut placement = crate::Placement::new(Shape::for_records(count), Shape::KEYWORD_ENTRIES);
        for _ in 0..count {
            placement.insert(&crate::Keyword::random(&mut random)).unwrap();
        }
    }
}

#[test]
fn answers_have_no_more_bits_than_they_need() {
    let shapes = [Shape::MILLION_KEYWORDS, Shape::TEN_MILLION_KEYWORDS, Shape::for_records(1000)];
    let batch = crate::BatchShape::for_records(1 << 20).parameters().unwrap();
    for parameters in shapes.map(|shape| Parameters::new(shape).unwrap()).into_iter().chain([batch]) {
        println!("{:?} {:?} 2^{:.1}", parameters.shape, parameters.bits, parameters.noise().failure_log2);
        println!("{} up, {} down", parameters.query_bytes(), parameters.answer_bytes());
        for fewer in AnswerBits::ALL.into_iter().take_while(|bits| *bits != parameters.bits) {
            assert!(Parameters { bits: fewer, ..parameters.clone() }.noise().failure_log2 > -44.0);
        }
    }
}
