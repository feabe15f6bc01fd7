//! How a ciphertext is taken apart into digits before it meets a key.

/// An approximate gadget: a number x is written as `dropped` low bits, which are rounded away, and balanced digits of
/// `width` bits. The digit i weighs 2^(dropped + width · i), and the last one takes whatever is left.
///
/// More digits mean less noise, larger keys and more transforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gadget {
    pub(crate) digits: usize,
    pub(crate) width: u32,
    pub(crate) dropped: u32,
}

impl Gadget {
    pub(crate) const fn new(digits: usize, width: u32, dropped: u32) -> Self {
        Self { digits, width, dropped }
    }

    /// The weight of a digit, as a power of two.
    pub(crate) fn weight_log(self, digit: usize) -> u32 {
        self.dropped + self.width * digit as u32
    }

    /// The sum of the mean squares of all digits of a uniform number below 2^`bits`, taken around zero.
    ///
    /// A full digit is uniform over [−2^(w−1), 2^(w−1)); the last one over ±2^(bits−1) divided by its weight.
    pub(crate) fn digit_squares(self, bits: f64) -> f64 {
        let full = (4f64.powi(self.width as i32) + 2.0) / 12.0;
        let last = (bits - 1.0 - f64::from(self.weight_log(self.digits - 1))).exp2();
        (self.digits - 1) as f64 * full + last * last / 3.0 + 1.0 / 12.0
    }

    /// The variance of what is rounded away.
    pub(crate) fn dropped_variance(self) -> f64 {
        if self.dropped == 0 { 0.0 } else { (4f64.powi(self.dropped as i32) + 2.0) / 12.0 }
    }
}
