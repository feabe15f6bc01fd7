//! The draft's estimates and what was measured as bars on logarithmic scales: bytes on one, seconds on the other.

use super::{Row, amount, is_of, title};
use crate::payload::plot::{Anchor, Shape, WIDTH};

const TITLE: &str = "A private lookup: the MIMI draft and here. From line to line is ten times.";
const DRAFT: [u8; 3] = [214, 39, 40];
const HERE: [u8; 3] = [31, 119, 180];
const GRID: [u8; 3] = [215, 215, 215];

/// Where bars begin and end, in pixels.
const LEFT: f64 = 250.0;
const RIGHT: f64 = WIDTH - 130.0;

/// Powers of ten of the bytes, and of the seconds.
const BYTES: (f64, f64) = (1.0, 8.0);
const SECONDS: (f64, f64) = (-5.0, 2.0);

/// With the size, where the draft's table is of another.
fn here_told(row: &Row, records: u32) -> String {
    let told = amount(row.here, row.in_seconds);
    if is_of(row.table, records) { told } else { format!("{told} ({records})") }
}

pub(super) fn shapes(records: u32, rows: &[Row]) -> Vec<Shape> {
    let text = |x, y, anchor, text: String| Shape::Text { at: (x, y), anchor, text };
    let bar = |from, to, y, colour| Shape::Line { points: vec![(from, y), (to, y)], width: 9.0, colour };
    let mut shapes = vec![text(20.0, 30.0, Anchor::Start, TITLE.into())];
    let mut y = 62.0;
    for (colour, name) in [(DRAFT, "draft".to_owned()), (HERE, format!("here, {records} records"))] {
        let x = if colour == DRAFT { LEFT } else { LEFT + 130.0 };
        shapes.push(bar(x, x + 24.0, y - 5.0, colour));
        shapes.push(text(x + 36.0, y, Anchor::Start, name));
    }
    let mut table = 0;
    for row in rows {
        if row.table != table {
            table = row.table;
            y += 34.0;
            shapes.push(text(20.0, y, Anchor::Start, title(table)));
        }
        y += 46.0;
        let (from, to) = if row.in_seconds { SECONDS } else { BYTES };
        let mut power = from;
        while power <= to {
            let x = LEFT + (power - from) / (to - from) * (RIGHT - LEFT);
            shapes.push(Shape::Line { points: vec![(x, y - 22.0), (x, y + 12.0)], width: 1.0, colour: GRID });
            power += 1.0;
        }
        shapes.push(text(40.0, y, Anchor::Start, row.what.into()));
        let bars = [(row.draft.1, DRAFT, row.draft.0.to_owned()), (row.here, HERE, here_told(row, records))];
        for ((value, colour, told), y) in bars.into_iter().zip([y - 11.0, y + 4.0]) {
            let part = ((value.max(f64::MIN_POSITIVE).log10() - from) / (to - from)).clamp(0.0, 1.0);
            let end = LEFT + part * (RIGHT - LEFT);
            shapes.push(bar(LEFT, end, y, colour));
            shapes.push(text(end + 10.0, y + 5.0, Anchor::Start, told));
        }
    }
    shapes
}
