//! Rows and layouts as bytes, and bytes that are none.

use super::{Column, Form, KINDS, Kind, Layout, Reader, Row, TransferError, Value, encode, key_records};

fn value(column: &Column, number: i64) -> Value {
    match column.form {
        _ if column.null && number % 2 == 0 => Value::Null,
        Form::Whole => Value::Whole(number.wrapping_mul(i64::MAX)),
        Form::Narrow(_) | Form::Bit => Value::Whole(number % 2),
        Form::Epoch => Value::Whole(i64::from(u32::MAX)),
        Form::Exactly(length) => Value::Bytes(vec![7; length]),
        Form::Bytes => Value::Bytes(vec![8; usize::try_from(number).unwrap()]),
        Form::Text => Value::Text("é".repeat(usize::try_from(number).unwrap())),
    }
}

fn row(kind: &Kind, number: i64) -> Row {
    kind.columns.iter().map(|column| value(column, number)).collect()
}

fn own() -> Vec<u8> {
    let mut bytes = Vec::new();
    Layout::own().encode(&mut bytes).unwrap();
    bytes
}

#[test]
fn rows_come_back_from_their_bytes() {
    let bytes = own();
    let mut from = Reader::new(&bytes);
    let layout = Layout::decode(&mut from).unwrap();
    assert!(from.is_empty() && layout == Layout::own());
    for (index, kind) in KINDS.iter().enumerate() {
        let rows: Vec<Row> = (0..9).map(|number| row(kind, number)).collect();
        let mut bytes = Vec::new();
        rows.iter().for_each(|row| encode(row, &mut bytes).unwrap());
        let mut from = Reader::new(&bytes);
        for row in rows {
            assert!(layout.row(index, &mut from).unwrap() == row, "{}", kind.name);
        }
        assert!(from.is_empty());
    }
}

#[test]
fn bytes_that_are_no_rows_are_refused_and_never_panic() {
    let mut state = 1_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let layout = Layout::own();
    let mut refused = 0;
    for round in 0..20_000 {
        let index = round % KINDS.len();
        let mut bytes = if round % 7 == 0 { own() } else { Vec::new() };
        if bytes.is_empty() {
            encode(&row(&KINDS[index], 3), &mut bytes).unwrap();
        }
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            bytes[at] = u8::try_from(below(256)).unwrap();
        }
        bytes.truncate(1 + below(2 * bytes.len()));
        refused += usize::from(Layout::decode(&mut Reader::new(&bytes)).is_err());
        refused += usize::from(layout.row(index, &mut Reader::new(&bytes)).is_err());
    }
    assert!(refused > 20_000, "{refused}");
    assert!(layout.row(KINDS.len(), &mut Reader::new(&[])).is_err());
    // A length that nobody has.
    assert!(Reader::new(&[2, 255, 255, 255, 255, 1]).value().is_err());
}

#[test]
fn values_of_another_form_are_refused() {
    let layout = Layout::own();
    let pairs = KINDS.iter().position(|kind| kind.name == "pairs").unwrap();
    let good = row(&KINDS[pairs], 3);
    for (at, bad) in [
        (0, Value::Whole(-1)),
        (0, Value::Whole(1 << 32)),
        (1, Value::Bytes(vec![0; 31])),
        (1, Value::Text("a".repeat(32))),
        (3, Value::Whole(2)),
        (4, Value::Null),
        (5, Value::Bytes(vec![])),
    ] {
        let mut row = good.clone();
        row[at] = bad;
        let mut bytes = Vec::new();
        encode(&row, &mut bytes).unwrap();
        assert!(layout.row(pairs, &mut Reader::new(&bytes)).is_err(), "column {at}");
    }
}

/// The columns of a file, by name.
fn layout_of(kind: &str, columns: &[&str]) -> Result<Layout, TransferError> {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut values = vec![Value::Whole(1), text(kind), Value::Whole(i64::try_from(columns.len()).unwrap())];
    values.extend(columns.iter().map(|name| text(name)));
    let mut bytes = Vec::new();
    encode(&values, &mut bytes).unwrap();
    Layout::decode(&mut Reader::new(&bytes))
}

#[test]
fn other_releases_are_told_by_their_columns() {
    let columns: Vec<&str> = KINDS[0].columns.iter().map(|column| column.name).collect();
    layout_of("keys", &columns).unwrap();
    let newer = [columns.as_slice(), &["colour"]].concat();
    assert!(matches!(layout_of("keys", &newer), Err(TransferError::Newer)));
    assert!(matches!(layout_of("keys", &columns[1..]), Err(TransferError::Older)));
}

/// A file of a release that knew no directory.
#[test]
fn a_token_of_an_older_release_is_for_importing() {
    let layout = layout_of("tokens", &["token", "account", "sealed", "expires_at"]).unwrap();
    let old = [Value::Bytes(vec![1; 16]), Value::Bytes(vec![2; 16]), Value::Bytes(vec![3]), Value::Whole(4)];
    let mut bytes = Vec::new();
    encode(&old, &mut bytes).unwrap();
    let row = layout.row(0, &mut Reader::new(&bytes)).unwrap();
    assert!(row == [old.as_slice(), &[Value::Whole(0)]].concat());
    assert!(matches!(
        layout_of("tokens", &["token", "account", "sealed", "token_use"]),
        Err(TransferError::Older)
    ));
}

#[test]
fn a_retired_epoch_needs_no_key() {
    let row = |version, state| {
        let check = Value::Bytes(vec![1]);
        vec![Value::Text("pair".into()), Value::Whole(version), check, Value::Whole(state)]
    };
    let rows = [row(1, 3), row(2, 2), row(3, 1), row(4, 0)];
    let needed: Vec<u32> = key_records(&rows).unwrap().iter().map(|record| record.version).collect();
    assert_eq!(needed, [3, 4]);
    assert!(key_records(&[row(-1, 0)]).is_err());
    assert!(key_records(&[vec![Value::Null]]).is_err());
}
