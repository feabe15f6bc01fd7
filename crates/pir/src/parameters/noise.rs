//! How much noise an answer has, and how likely it is too much. Computed from the parameters alone.
//!
//! Variances are those of one coefficient, averaged over the coefficients of a polynomial, in units of the modulus that
//! is named. Independent terms add, the usual heuristic of the Spiral family (eprint 2022/368, section 2). What the
//! table holds has no part in it: records are masked with a public keystream (`mask.rs`) before they become
//! coefficients, so these are uniform whatever the records are.

use super::{Gadget, LEVELS, N, P, Parameters, Q, Q1, Q2, QUERY_DROPPED};

/// The secret's coefficients are uniform over −1, 0, 1.
const SECRET_VARIANCE: f64 = 2.0 / 3.0;
/// The centred binomial distribution of [`crate::sample`]: 21 coins less 21 coins.
pub(crate) const ERROR_VARIANCE: f64 = 21.0 / 2.0;

/// What the noise of an answer is made of. All are variances but the last two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// After the expansion, in units of Q.
    pub expanded: f64,
    /// After the switch to q1, in units of q1.
    pub switched: f64,
    /// In units of q1: of the rows of a selector that meet b.
    pub selector_b: f64,
    /// In units of q1: of the rows of a selector that meet a.
    pub selector_a: f64,
    /// After the first dimension, in units of q1.
    pub first_dimension: f64,
    /// Added by all steps of folding and rotating, in units of q1.
    pub folding: f64,
    /// Added by packing, in units of q2.
    pub packing: f64,
    /// Of the answer as it is decoded, where 1 is the distance between two values of a byte.
    pub answer: f64,
    /// Base-2 logarithm of the probability that one coefficient of an answer is decoded wrongly.
    pub coefficient_failure_log2: f64,
    /// Base-2 logarithm of the probability that any byte of an answer is wrong, all lookups of a query together.
    pub failure_log2: f64,
}

impl Noise {
    pub(crate) fn of(parameters: &Parameters) -> Self {
        let n = N as f64;
        let gadgets = &parameters.gadgets;
        let (q, q1, q2) = (Q as f64, Q1 as f64, Q2 as f64);
        let rounding = (1.0 + n * SECRET_VARIANCE) / 12.0;

        // Level i's noise is doubled (on average) by each level after it.
        let rounded = 4f64.powi(QUERY_DROPPED as i32) / 12.0;
        let mut expanded = (ERROR_VARIANCE + rounded) * (LEVELS as f64).exp2();
        for (level, gadget) in gadgets.expansion.iter().enumerate() {
            let doubled = ((LEVELS - 1 - level) as f64).exp2();
            expanded += doubled * key_switch(*gadget, q.log2(), n * SECRET_VARIANCE);
        }
        let to_q1 = (q1 / q).powi(2);
        let switched = expanded * to_q1 + rounding;

        // The coefficients of the secret's square have n · (2/3)² for variance.
        let conversion = key_switch(gadgets.conversion, q.log2(), n * n * SECRET_VARIANCE * SECRET_VARIANCE);
        let selector_b = switched;
        let selector_a = (n * SECRET_VARIANCE * expanded + conversion) * to_q1 + rounding;

        let byte_square = (4f64.powi(8) + 2.0) / 12.0;
        let first_dimension = parameters.shape.rows as f64 * n * byte_square * switched;
        let squares = gadgets.selection.digit_squares(q1.log2());
        let step = n * squares * (selector_a + selector_b)
            + gadgets.selection.dropped_variance() * (1.0 + n * SECRET_VARIANCE);
        let folding = parameters.selectors_each() as f64 * step;

        let one = key_switch(gadgets.packing, q2.log2(), n * SECRET_VARIANCE);
        let packing = parameters.packed() as f64 * one + rounding;

        let in_q2 = (first_dimension + folding) * (q2 / q1).powi(2) + packing;
        let half = n / 2.0;
        let of_a = half * SECRET_VARIANCE / 12.0 * 4f64.powi(-(parameters.bits.a as i32));
        let without_b = (in_q2 / (q2 * q2) + of_a) * (P * P) as f64;
        // Between two values that b may have, where 1 is the distance between two bytes. Rounding b takes half of it at most:
        // that is left free, and the rest is as good as normal.
        let step = P as f64 * (-f64::from(parameters.bits.b)).exp2();
        let answer = without_b + step * step / 12.0;

        let coefficient_failure_log2 = tail_log2((0.5 - step / 2.0) / without_b.sqrt());
        let coefficients = (parameters.slot_bytes() * parameters.shape.answers * parameters.together) as f64;
        let failure_log2 = coefficient_failure_log2 + coefficients.log2();
        Self {
            expanded,
            switched,
            selector_b,
            selector_a,
            first_dimension,
            folding,
            packing,
            answer,
            coefficient_failure_log2,
            failure_log2,
        }
    }
}

/// The variance that a key switch adds: `source` is the variance of n · the secret that is switched from.
fn key_switch(gadget: Gadget, bits: f64, source: f64) -> f64 {
    N as f64 * ERROR_VARIANCE * gadget.digit_squares(bits) + source * gadget.dropped_variance()
}

/// Base-2 logarithm of an upper bound on the probability that a normal variable is further than `z` standard
/// deviations from its mean: 2 φ(z) / z. No more than 0.
fn tail_log2(z: f64) -> f64 {
    let density = -z * z / 2.0 * std::f64::consts::LOG2_E - 0.5 * std::f64::consts::TAU.log2();
    (1.0 + density - z.log2()).min(0.0)
}
