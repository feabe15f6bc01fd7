//! Rows and columns of an export's chunks, as if somebody had the keys.

#![no_main]

use acquaint_store::transfer::{KINDS, Layout, Reader, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // There is one way to write each: what is read is written as the same bytes.
    let mut written = Vec::new();
    if let Ok(layout) = Layout::decode(&mut Reader::new(bytes)) {
        layout.encode(&mut written).expect("it was short enough to be read");
        assert!(bytes.starts_with(&written));
    }
    let Some((kind, rows)) = bytes.split_first() else { return };
    let (layout, kind) = (Layout::own(), usize::from(*kind));
    let mut from = Reader::new(rows);
    written.clear();
    while let Ok(row) = layout.row(kind, &mut from) {
        assert_eq!(row.len(), KINDS[kind].columns.len());
        encode(&row, &mut written).expect("it was short enough to be read");
    }
    assert!(rows.starts_with(&written));
});
