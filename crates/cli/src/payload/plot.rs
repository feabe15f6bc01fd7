//! A chart of what is received against the number of users, both on logarithmic scales.

use std::path::Path;

use acquaint_client::discovery::payload::{Page, Sealed};

use super::{raster, svg};
use crate::args::payload::Payload;
use crate::failure::Failure;

/// Pixels of the whole chart.
pub(crate) const WIDTH: f64 = 960.0;
pub(crate) const HEIGHT: f64 = 600.0;

const LEFT: f64 = 90.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 130.0;

/// Powers of ten of the users, from and to.
const USERS: (u8, u8) = (2, 9);

const STEPS: u16 = 280;

/// Where a text stands from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// What a chart is made of; both formats draw the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Line { points: Vec<(f64, f64)>, width: f64, colour: [u8; 3] },
    Dot { at: (f64, f64), radius: f64, colour: [u8; 3] },
    Text { at: (f64, f64), anchor: Anchor, text: String },
}

const INK: [u8; 3] = [40, 40, 40];
const GRID: [u8; 3] = [215, 215, 215];

/// What a chart is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Svg,
    Png,
}

impl Format {
    /// The one that a file's ending names.
    pub(crate) fn of(file: &Path) -> Result<Self, Failure> {
        let ending = file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err("--plot: name a file that ends in .svg or .png".into()),
        }
    }
}

/// Draws into `file`.
pub(super) fn draw(file: &Path, format: Format, page: &Page, args: &Payload) -> Result<(), Failure> {
    write(file, format, &chart(page, args))
}

/// Writes a chart into `file`.
pub(crate) fn write(file: &Path, format: Format, shapes: &[Shape]) -> Result<(), Failure> {
    let bytes = match format {
        Format::Svg => svg::write(shapes).into_bytes(),
        Format::Png => raster::write(shapes)?,
    };
    std::fs::write(file, bytes)
        .map_err(|error| format!("--plot: cannot write {}: {error}", file.display()).into())
}

/// A curve: its name, its colour, and its value for a page; none where there is none.
type Curve<'a> = (&'static str, [u8; 3], Box<dyn Fn(&Page) -> Option<f64> + 'a>);

fn chart(page: &Page, args: &Payload) -> Vec<Shape> {
    let curves: [Curve<'_>; 3] = [
        ("page, as it is reckoned there", [214, 39, 40], Box::new(|page| Some(page.response()))),
        // Every contact meets the listings under its weak hash, whether they are its own or not.
        ("page, all candidates", [255, 127, 14], Box::new(|page| Some(all_candidates(page)))),
        (
            "sealed buckets",
            [31, 119, 180],
            Box::new(|page| Sealed::new(page, args.k, args.l).ok().map(|sealed| sealed.response())),
        ),
    ];
    let at = |users: f64| Page { users, ..*page };
    let users: Vec<f64> = (0..=STEPS)
        .map(|step| {
            let (from, to) = (f64::from(USERS.0), f64::from(USERS.1));
            10_f64.powf(from + (to - from) * f64::from(step) / f64::from(STEPS))
        })
        .collect();
    let values: Vec<Vec<(f64, f64)>> = curves
        .iter()
        .map(|(_, _, value)| {
            let points = users.iter().filter_map(|users| Some((*users, value(&at(*users))?)));
            points.filter(|(_, bytes)| *bytes >= 1.0).collect()
        })
        .collect();
    let bytes = values.iter().flatten().map(|(_, bytes)| bytes.log10());
    let (lowest, highest) = bytes.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), bytes| {
        (low.min(bytes.floor()), high.max(bytes.ceil()))
    });
    // Without any value, as for no contacts, one decade is shown.
    let (lowest, highest) = if lowest < highest { (lowest, highest) } else { (0.0, 1.0) };
    let scale = Scale { lowest, highest };

    let mut shapes = scale.axes(page);
    for ((place, (name, colour, value)), points) in (0_u8..).zip(&curves).zip(&values) {
        let points = points.iter().map(|(users, bytes)| scale.point(*users, *bytes)).collect();
        shapes.push(Shape::Line { points, width: 2.5, colour: *colour });
        let here = value(page).filter(|bytes| *bytes >= 1.0 && scale.holds(page.users));
        if let Some(bytes) = here {
            shapes.push(Shape::Dot { at: scale.point(page.users, bytes), radius: 5.0, colour: *colour });
        }
        let y = HEIGHT - 62.0 + 20.0 * f64::from(place);
        shapes.push(Shape::Line { points: vec![(LEFT, y), (LEFT + 30.0, y)], width: 2.5, colour: *colour });
        let told = here.map(|bytes| {
            format!(": {} bytes at n = {}", super::number(bytes.round()), super::number(page.users))
        });
        let text = format!("{name}{}", told.unwrap_or_default());
        shapes.push(Shape::Text { at: (LEFT + 40.0, y + 4.0), anchor: Anchor::Start, text });
    }
    shapes
}

/// `u · c · (sw + ss + su)`, and fewer where weak hashes are empty.
fn all_candidates(page: &Page) -> f64 {
    let under_a_hash = page.listings() / page.weak_hashes;
    let known = page.contacts * page.known;
    let entry = page.weak_bytes + page.strong_bytes + page.username_bytes;
    (page.contacts * under_a_hash + known) * entry
}

/// Powers of ten of the bytes.
struct Scale {
    lowest: f64,
    highest: f64,
}

impl Scale {
    fn point(&self, users: f64, bytes: f64) -> (f64, f64) {
        let (from, to) = (f64::from(USERS.0), f64::from(USERS.1));
        let x = LEFT + (users.log10() - from) / (to - from) * (WIDTH - LEFT - RIGHT);
        let y = (bytes.log10() - self.lowest) / (self.highest - self.lowest);
        (x, HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM))
    }

    fn holds(&self, users: f64) -> bool {
        (f64::from(USERS.0)..=f64::from(USERS.1)).contains(&users.log10())
    }

    fn axes(&self, page: &Page) -> Vec<Shape> {
        let mut shapes = Vec::new();
        let (left, right) = (LEFT, WIDTH - RIGHT);
        let (bottom, top) = (HEIGHT - BOTTOM, TOP);
        for power in USERS.0..=USERS.1 {
            let (x, _) = self.point(10_f64.powi(i32::from(power)), 1.0);
            shapes.push(Shape::Line { points: vec![(x, bottom), (x, top)], width: 1.0, colour: GRID });
            let text = tens(f64::from(power));
            shapes.push(Shape::Text { at: (x, bottom + 20.0), anchor: Anchor::Middle, text });
        }
        let mut power = self.lowest;
        while power <= self.highest {
            let (_, y) = self.point(1.0, 10_f64.powf(power));
            shapes.push(Shape::Line { points: vec![(left, y), (right, y)], width: 1.0, colour: GRID });
            shapes.push(Shape::Text { at: (left - 10.0, y + 4.0), anchor: Anchor::End, text: tens(power) });
            power += 1.0;
        }
        let frame = vec![(left, top), (left, bottom), (right, bottom)];
        shapes.push(Shape::Line { points: frame, width: 1.5, colour: INK });
        let title = format!("Bytes received for {} contacts", super::number(page.contacts));
        shapes.push(Shape::Text { at: (left, 32.0), anchor: Anchor::Start, text: title });
        let users = "users of the server (n)".to_owned();
        shapes.push(Shape::Text { at: (right, bottom + 42.0), anchor: Anchor::End, text: users });
        shapes
    }
}

/// A power of ten as a person reads it.
fn tens(power: f64) -> String {
    let units = ["", " k", " M", " G", " T", " P", " E"];
    let thousands = (power / 3.0).floor();
    let unit = (0_u8..).map(f64::from).zip(units).find(|(place, _)| *place == thousands);
    match unit {
        Some((_, unit)) => format!("{:.0}{unit}", 10_f64.powf(power - thousands * 3.0)),
        None => format!("1e{power:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten_are_read_at_a_glance() {
        for (power, text) in
            [(0.0, "1"), (2.0, "100"), (3.0, "1 k"), (7.0, "10 M"), (20.0, "100 E"), (21.0, "1e21")]
        {
            assert_eq!(tens(power), text);
        }
    }
}
