//! The chart as PNG, with letters of its own: a machine without fonts draws the same.

use font8x8::legacy::BASIC_LEGACY;

use super::plot::{Anchor, HEIGHT, Shape, WIDTH};
use crate::failure::Failure;

/// Pixels of the picture for one of the chart, so that letters of eight by eight are read.
const SCALE: f64 = 2.0;

/// Pixels of a letter's dot.
const DOT: u16 = 2;

/// Pixels from one letter to the next.
const ADVANCE: f64 = 8.0 * DOT as f64;

pub(super) fn write(shapes: &[Shape]) -> Result<Vec<u8>, Failure> {
    let mut canvas = Canvas::new();
    for shape in shapes {
        match shape {
            Shape::Line { points, width, colour } => {
                for pair in points.windows(2) {
                    if let [from, to] = pair {
                        canvas.line(scaled(*from), scaled(*to), width * SCALE, *colour);
                    }
                }
            }
            Shape::Dot { at, radius, colour } => {
                canvas.line(scaled(*at), scaled(*at), radius * SCALE * 2.0, *colour);
            }
            Shape::Text { at, anchor, text } => canvas.text(scaled(*at), *anchor, text),
        }
    }
    canvas.png()
}

fn scaled((x, y): (f64, f64)) -> (f64, f64) {
    (x * SCALE, y * SCALE)
}

/// Red, green and blue of every pixel, row by row.
struct Canvas {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Canvas {
    fn new() -> Self {
        let (width, height) = (whole(WIDTH * SCALE), whole(HEIGHT * SCALE));
        Self { width, height, bytes: vec![255; width * height * 3] }
    }

    /// A line with round ends and smooth edges: how much of a pixel it covers goes by the pixel's distance.
    fn line(&mut self, from: (f64, f64), to: (f64, f64), width: f64, colour: [u8; 3]) {
        let reach = width / 2.0 + 1.0;
        let range = |one: f64, other: f64, end: usize| {
            whole((one.min(other) - reach).max(0.0))..(whole(one.max(other) + reach) + 1).min(end)
        };
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx * dx + dy * dy;
        for y in range(from.1, to.1, self.height) {
            for x in range(from.0, to.0, self.width) {
                let (px, py) = (middle(x) - from.0, middle(y) - from.1);
                let along = if length > 0.0 { ((px * dx + py * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
                let distance = (px - along * dx).hypot(py - along * dy);
                self.blend(x, y, (width / 2.0 + 0.5 - distance).clamp(0.0, 1.0), colour);
            }
        }
    }

    /// A text whose foot is at `y`.
    fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let length = f64::from(u16::try_from(text.chars().count()).unwrap_or(u16::MAX)) * ADVANCE;
        let mut left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - length / 2.0,
            Anchor::End => x - length,
        };
        let top = y - 7.0 * f64::from(DOT);
        for letter in text.chars() {
            // Every text of the chart is ASCII; another letter would be a gap.
            let rows = usize::try_from(u32::from(letter)).ok().and_then(|code| BASIC_LEGACY.get(code));
            for (row, bits) in (0_u16..).zip(rows.into_iter().flatten()) {
                for column in (0..8_u16).filter(|column| bits >> column & 1 == 1) {
                    self.dot(left + f64::from(column * DOT), top + f64::from(row * DOT));
                }
            }
            left += ADVANCE;
        }
    }

    fn dot(&mut self, x: f64, y: f64) {
        for dy in 0..DOT {
            for dx in 0..DOT {
                let (x, y) = (x + f64::from(dx), y + f64::from(dy));
                if x >= 0.0 && y >= 0.0 {
                    self.blend(whole(x), whole(y), 1.0, [40, 40, 40]);
                }
            }
        }
    }

    fn blend(&mut self, x: usize, y: usize, part: f64, colour: [u8; 3]) {
        if x >= self.width {
            return;
        }
        let place = (y * self.width + x) * 3;
        let pixel = self.bytes.get_mut(place..place + 3).unwrap_or_default();
        for (to, from) in pixel.iter_mut().zip(colour) {
            let mixed = f64::from(*to) + (f64::from(from) - f64::from(*to)) * part;
            *to = u8::try_from(whole(mixed.clamp(0.0, 255.0))).unwrap_or(u8::MAX);
        }
    }

    fn png(self) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        let mut encoder =
            png::Encoder::new(&mut out, u32::try_from(self.width)?, u32::try_from(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.bytes)?;
        writer.finish()?;
        Ok(out)
    }
}

/// The middle of a pixel.
fn middle(pixel: usize) -> f64 {
    f64::from(u16::try_from(pixel).unwrap_or(u16::MAX)) + 0.5
}

fn whole(number: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to some thousand pixels")]
    let whole = number as usize;
    whole
}
