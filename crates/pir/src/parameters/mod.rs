//! The numbers that client and server must agree on, what they are chosen for, and what they are called.
//!
//! # Rings
//!
//! Queries and keys are RLWE ciphertexts of degree 2048 modulo Q, 50 bits. After the expansion the server goes on modulo
//! q1, 32 bits, and packs answers into a ring of degree 1024 modulo q2, 27 bits. All three are primes that are 1 modulo
//! 4096, for the number-theoretic transform. Secrets are uniform over −1, 0, 1; errors are centred binomial with
//! variance 10.5 (σ = 3.24).
//!
//! # Security
//!
//! lattice-estimator (commit 27a581b, Sage 9.5, default cost model MATZOV), uniform ternary secret, σ = 3.2:
//!
//! | degree | modulus | classical bits |
//! |---|---|---|
//! | 2048 | Q, 50 bits | **137.1** (dual hybrid; bdd 137.1, usvp 138.1) |
//! | 1024 | q2, 27 bits | **131** |
//!
//! That is `LWE.estimate` of `LWE.Parameters(n=2048, q=2**50, Xs=ND.Uniform(-1, 1), Xe=ND.DiscreteGaussian(3.2))`, and of
//! the same with 1024 and 2**27. The lower bound called core-SVP (ADPS16, no lower-order terms) is 108.8 bits for the first. At 2048
//! and 52 bits the estimate is 131.3, at 54 bits 126.4, so Q may grow to 52 bits and no more. Circular security
//! is assumed, as in every scheme of the family: keys encrypt functions of the secret that they belong to.
//!
//! # Correctness
//!
//! [`Parameters::noise`] follows the noise from the query to the answer, and [`Parameters::new`] refuses a shape whose
//! answers are wrong more often than once in 2^40 queries. Measured over 106,496 coefficients of answers of
//! [`Shape::MILLION_KEYWORDS`], the standard deviation was 0.05048 of the distance between two bytes, where 0.05052 is
//! predicted, and the largest error 0.244 of the 0.5 that is too much (with answers of 17 and 13 bits).

mod gadget;
mod noise;
#[cfg(test)]
mod tests;

pub(crate) use gadget::Gadget;
#[cfg(test)]
pub(crate) use noise::ERROR_VARIANCE;
pub use noise::Noise;

use sha2::{Digest, Sha256};

/// The degree of the ring.
pub(crate) const N: usize = 2048;
/// The degree of the ring that answers are packed into.
pub(crate) const SMALL_N: usize = 1024;
/// Base-2 logarithm of the degree: the levels of a full expansion.
pub(crate) const LEVELS: usize = 11;
/// The modulus of queries and keys, the largest prime below 2^50 that is 1 modulo 4096.
pub(crate) const Q: u64 = 1_125_899_906_826_241;
/// Bits of a coefficient modulo Q.
pub(crate) const Q_BITS: u32 = 50;
/// The modulus of the table, the largest prime below 2^32 that is 1 modulo 4096.
pub(crate) const Q1: u64 = 4_294_955_009;
/// The modulus of packed answers, the largest prime below 2^27 that is 1 modulo 4096.
pub(crate) const Q2: u64 = 134_176_769;
/// Bits of a coefficient modulo q2.
pub(crate) const Q2_BITS: u32 = 27;
/// A coefficient of the table is a byte.
pub(crate) const P: u64 = 256;
/// Low bits of a query's coefficients that are rounded away before they are sent. The expansion adds so much noise that
/// theirs does not count.
pub(crate) const QUERY_DROPPED: u32 = 13;
/// Bits of a query's coefficient as it is sent.
pub(crate) const QUERY_BITS: u32 = Q_BITS - QUERY_DROPPED;
/// What a query's coefficients are below, as they are sent: each is below Q when the dropped bits are zeros.
pub(crate) const QUERY_BELOW: u64 = (Q >> QUERY_DROPPED) + 1;
/// The largest failure probability of a query, as a power of two.
const FAILURE_LOG2: f64 = -40.0;
/// Answers have the fewest bits with which the probability is no larger than this.
const WANTED_FAILURE_LOG2: f64 = -44.0;

/// How records lie in a table. All but the rows are powers of two.
///
/// A table is a matrix of polynomials of 2048 bytes, each divided into slots of equal length. A query looks up one slot,
/// or several in polynomials of the same row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows, 1 to 2048. They cost upload and the time of expansion.
    pub rows: usize,
    /// Columns, 1 to 65,536. They cost the time of folding.
    pub columns: usize,
    /// Slots of a polynomial, at least twice `answers`.
    pub slots: usize,
    /// Lookups that a query makes: 1, 2 or 4. The answer hides them all in one ciphertext.
    pub answers: usize,
}

impl Shape {
    /// 2^20 records of 128 bytes, in slots of one record, one for each query.
    pub const MILLION_RECORDS: Self = Self { rows: 256, columns: 256, slots: 16, answers: 1 };
    /// 2^20 records of 128 bytes by keyword, in slots of four records (512 bytes), two for each query. There is room for
    /// 1,179,648, of which chance uses some 93 of 100 until a row is full ([`crate::Placement`]).
    pub const MILLION_KEYWORDS: Self = Self { rows: 288, columns: 256, slots: 4, answers: 2 };
    /// 10,000,000 records of 128 bytes by keyword, with room for 10,747,904.
    pub const TEN_MILLION_KEYWORDS: Self = Self { rows: 328, columns: 2048, slots: 4, answers: 2 };
    /// Records of 128 bytes that a slot of a keyword table has.
    pub const KEYWORD_ENTRIES: usize = 4;

    /// Rows of [`Shape::for_records`] that cost too much upload and noise to be more.
    const MOST_ROWS: usize = 512;
    /// What a row costs of a query's time, and what a column costs: the expansion, and the folding.
    const COSTS: [usize; 2] = [115, 90];

    /// Room for `count` records of 128 bytes by keyword ([`crate::KeywordTable`] with [`Shape::KEYWORD_ENTRIES`]), where a
    /// query takes the least time. For 2^20 it is [`Shape::MILLION_KEYWORDS`], and for 10,000,000
    /// [`Shape::TEN_MILLION_KEYWORDS`]. It has 16 rows and columns at least. If `count` is more than any table has room for,
    /// it is a shape that [`Parameters::new`] refuses.
    #[must_use]
    pub fn for_records(count: u64) -> Self {
        Self::with_room(count, 16, Self { rows: 0, columns: 0, slots: 4, answers: 2 })
    }

    /// The same with at least so many rows and columns, a power of two, and slots as `like` has them.
    pub(crate) fn with_room(count: u64, least: usize, like: Self) -> Self {
        let columns = (least.ilog2()..=16).map(|log| 1 << log);
        let shapes = columns.map(|columns| {
            let shape = Self { columns, ..like };
            let rows = (count as f64 / shape.most_per_row()).ceil() as usize;
            Self { rows: rows.max(least), ..shape }
        });
        let [row, column] = Self::COSTS;
        let cost = |shape: &Self| shape.rows.saturating_mul(row).saturating_add(shape.columns * column);
        let fastest = shapes.filter(|shape| shape.rows <= Self::MOST_ROWS).min_by_key(cost);
        fastest.unwrap_or(Self { rows: usize::MAX, columns: 1 << 16, ..like })
    }

    /// Records of 128 bytes that a slot has.
    pub(crate) fn entries(self) -> usize {
        (N / self.slots.max(1)) / 128
    }

    /// How many records a row may have on average.
    ///
    /// A row has a place for everybody until it is 97 % full with two buckets of four entries each, 89 % with two of two
    /// (Dietzfelbinger and Weidling, "Balanced allocation and dictionaries with tightly packed constant size bins",
    /// 2007), and one with few buckets a little less. Chance gives it √mean more or less, of which 4.4 times is left free:
    /// of 300 rows one has more with a probability of 2^-9, and then it is rather full and not over.
    fn most_per_row(self) -> f64 {
        let part = if self.entries() < Self::KEYWORD_ENTRIES { 0.87 } else { 0.955 };
        let full = part * (self.columns * self.slots * self.entries()) as f64;
        // mean + 4.4 √mean = full.
        ((4.4f64.powi(2) + 4.0 * full).sqrt() - 4.4).powi(2) / 4.0
    }
}

/// Why there are no such parameters.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// A number of the shape is no power of two or out of its range.
    #[error("{0} are out of range or no power of two")]
    Range(&'static str),
    /// The columns, slots and answers take more selectors than fit into a query.
    #[error("the selectors of {0} coefficients do not fit into a query")]
    Selectors(usize),
    /// Answers would be wrong too often.
    #[error("a query fails with probability 2^{failure_log2:.1}, more than 2^-40")]
    Failure {
        /// Base-2 logarithm of the probability.
        failure_log2: f64,
    },
}

/// The gadgets of the evaluation keys and of the selectors.
///
/// Noise of an early level of the expansion is doubled by each later one, and most of the work is in the last ones: so
/// the early levels have fine digits and the last ones coarse digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gadgets {
    pub(crate) expansion: [Gadget; LEVELS],
    pub(crate) conversion: Gadget,
    pub(crate) selection: Gadget,
    pub(crate) packing: Gadget,
}

impl Gadgets {
    pub(crate) const STANDARD: Self = Self {
        expansion: [
            Gadget::new(7, 6, 8),
            Gadget::new(7, 6, 8),
            Gadget::new(7, 6, 8),
            Gadget::new(7, 6, 8),
            Gadget::new(6, 7, 8),
            Gadget::new(6, 7, 8),
            Gadget::new(6, 7, 8),
            Gadget::new(5, 8, 10),
            Gadget::new(5, 8, 10),
            Gadget::new(4, 10, 10),
            Gadget::new(4, 10, 10),
        ],
        conversion: Gadget::new(3, 14, 8),
        selection: Gadget::new(3, 7, 12),
        packing: Gadget::new(4, 6, 3),
    };
}

/// A shape whose answers are right, and all that follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    pub(crate) shape: Shape,
    pub(crate) gadgets: Gadgets,
    /// Lookups that a query makes, each in a row of its own.
    pub(crate) together: usize,
    pub(crate) bits: AnswerBits,
}

/// Bits that the coefficients of an answer are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerBits {
    /// Of the half that does not depend on the record.
    pub(crate) a: u32,
    /// Of the half that hides the record.
    pub(crate) b: u32,
}

impl AnswerBits {
    /// From the fewest to the most.
    const ALL: [Self; 7] = [
        Self { a: 16, b: 10 },
        Self { a: 16, b: 11 },
        Self { a: 16, b: 12 },
        Self { a: 17, b: 11 },
        Self { a: 17, b: 12 },
        Self { a: 17, b: 13 },
        Self::MOST,
    ];
    pub(crate) const MOST: Self = Self { a: 18, b: 14 };
}

impl Parameters {
    /// # Errors
    /// When a number is out of its range, or answers would fail with a probability above 2^-40.
    pub fn new(shape: Shape) -> Result<Self, ParameterError> {
        Self::with_gadgets(shape, 1, Gadgets::STANDARD)
    }

    /// For queries that make `together` lookups each, in whatever rows: they share the work of the expansion, and answers
    /// of small slots share ciphertexts. Evaluation keys are the same.
    ///
    /// # Errors
    /// When a number is out of its range, or answers would fail with a probability above 2^-40.
    pub fn together(shape: Shape, together: usize) -> Result<Self, ParameterError> {
        Self::with_gadgets(shape, together, Gadgets::STANDARD)
    }

    pub(crate) fn with_gadgets(
        shape: Shape,
        together: usize,
        gadgets: Gadgets,
    ) -> Result<Self, ParameterError> {
        let power = |value: usize, most: usize| value.is_power_of_two() && value <= most;
        for (name, fits) in [
            ("lookups of a query", power(together, N)),
            ("rows", (1..=N / together.clamp(1, N)).contains(&shape.rows)),
            ("columns", power(shape.columns, 1 << 16)),
            ("answers", power(shape.answers, 4)),
            ("slots", power(shape.slots, N) && shape.slots >= 2 * shape.answers.min(N)),
        ] {
            if !fits {
                return Err(ParameterError::Range(name));
            }
        }
        let mut parameters = Self { shape, gadgets, together, bits: AnswerBits::MOST };
        let selectors = parameters.selector_coefficients();
        if selectors > N {
            return Err(ParameterError::Selectors(selectors));
        }
        let failure_log2 = parameters.noise().failure_log2;
        if failure_log2 > FAILURE_LOG2 {
            return Err(ParameterError::Failure { failure_log2 });
        }
        let enough = AnswerBits::ALL.into_iter().find(|bits| {
            let fewer = Self { bits: *bits, ..parameters.clone() };
            fewer.noise().failure_log2 <= WANTED_FAILURE_LOG2
        });
        parameters.bits = enough.unwrap_or(AnswerBits::MOST);
        Ok(parameters)
    }

    /// The shape of the table.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The noise of an answer.
    #[must_use]
    pub fn noise(&self) -> Noise {
        Noise::of(self)
    }

    /// Bytes of a slot.
    #[must_use]
    pub fn slot_bytes(&self) -> usize {
        N / self.shape.slots
    }

    /// Polynomials of the table.
    #[must_use]
    pub fn polynomials(&self) -> usize {
        self.shape.rows * self.shape.columns
    }

    /// Words of 32 bits that the table takes in memory: four times the bytes of its records.
    #[must_use]
    pub fn table_words(&self) -> usize {
        self.polynomials().saturating_mul(N)
    }

    /// Bits of a position in a row: which column, and which slot.
    pub(crate) fn selectors_each(&self) -> usize {
        (self.shape.columns.ilog2() + self.shape.slots.ilog2()) as usize
    }

    /// Coefficients of a query that choose columns and slots.
    pub(crate) fn selector_coefficients(&self) -> usize {
        self.selectors_of_lookup().saturating_mul(self.together)
    }

    /// Those of one lookup.
    pub(crate) fn selectors_of_lookup(&self) -> usize {
        self.shape.answers * self.selectors_each() * self.gadgets.selection.digits
    }

    /// Coefficients of a query that choose rows.
    pub(crate) fn row_coefficients(&self) -> usize {
        self.shape.rows * self.together
    }

    /// Lookups that a query makes.
    #[must_use]
    pub fn lookups(&self) -> usize {
        self.together
    }

    /// Slots that an answer's ciphertext has room for: those of one lookup, or of two if they are small.
    pub(crate) fn packed(&self) -> usize {
        let twice = 2 * self.shape.answers;
        let fit = self.together > 1 && twice <= MOST_PACKED && twice * self.slot_bytes() <= SMALL_N;
        if fit { twice } else { self.shape.answers }
    }

    /// Ciphertexts of an answer.
    pub(crate) fn answer_ciphertexts(&self) -> usize {
        self.shape.answers * self.together / self.packed()
    }

    /// The number that a selector's digit holds before the expansion if its bit is set.
    pub(crate) fn selector_value(&self, digit: usize) -> u64 {
        let weight = 1u128 << self.gadgets.selection.weight_log(digit);
        let value = (weight * u128::from(Q) + u128::from(Q1 / 2)) / u128::from(Q1);
        before_expansion(value)
    }

    /// How many slots a ciphertext may take, for each of which keys have a set for packing: those of one lookup, and twice
    /// as many.
    pub(crate) fn packings(&self) -> impl Iterator<Item = usize> + use<> {
        let answers = self.shape.answers;
        [answers, 2 * answers].into_iter().take(if 2 * answers <= MOST_PACKED { 2 } else { 1 })
    }

    /// Ciphertexts of the evaluation keys modulo Q.
    pub(crate) fn large_keys(&self) -> usize {
        self.gadgets.expansion.iter().map(|gadget| gadget.digits).sum::<usize>()
            + self.gadgets.conversion.digits
    }

    /// Ciphertexts of the evaluation keys modulo q2.
    pub(crate) fn small_keys(&self) -> usize {
        self.packings().map(|slots| parts(slots) * self.gadgets.packing.digits).sum()
    }

    /// All that keys depend on, and then the shape.
    fn digest(&self, label: &[u8], shape: bool) -> Sha256 {
        let mut digest = Sha256::new();
        digest.update(label);
        let mut number = |value: u64| digest.update(value.to_le_bytes());
        for value in [N as u64, SMALL_N as u64, Q, Q1, Q2, P, self.shape.answers as u64] {
            number(value);
        }
        let others = [self.gadgets.conversion, self.gadgets.selection, self.gadgets.packing];
        for gadget in self.gadgets.expansion.iter().chain(&others) {
            number(gadget.digits as u64);
            number(u64::from(gadget.width));
            number(u64::from(gadget.dropped));
        }
        if shape {
            number(self.shape.rows as u64);
            number(self.shape.columns as u64);
            number(self.shape.slots as u64);
            number(self.together as u64);
            number(u64::from(QUERY_BITS));
            number(u64::from(self.bits.a));
            number(u64::from(self.bits.b));
        }
        digest
    }

    /// What evaluation keys of these parameters are called. Tables of different shapes can share keys, if they have as
    /// many answers.
    #[must_use]
    pub fn keys_id(&self) -> [u8; 16] {
        first_half(self.digest(b"acquaint-pir keys 1", false))
    }
}

/// Names parameters and epoch of a table: SHA-256 of both, cut to 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConfigurationId([u8; 16]);

impl ConfigurationId {
    /// As it is sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Parameters, and the epoch of the table that is asked.
///
/// The epoch stands for the layout of the table and whatever turns keywords into positions. It does not stand for the
/// content: a changed record is no new epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    parameters: Parameters,
    id: ConfigurationId,
}

impl Configuration {
    /// Any bytes name an epoch.
    #[must_use]
    pub fn new(parameters: Parameters, epoch: &[u8]) -> Self {
        let mut digest = parameters.digest(b"acquaint-pir configuration 1", true);
        digest.update(epoch);
        Self { id: ConfigurationId(first_half(digest)), parameters }
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What every query of this configuration carries.
    #[must_use]
    pub fn id(&self) -> ConfigurationId {
        self.id
    }
}

/// The number that marks the row before the expansion: Q / 256 after it.
pub(crate) fn row_value() -> u64 {
    before_expansion(u128::from((Q + P / 2) / P))
}

/// The expansion doubles a value at each level.
fn before_expansion(value: u128) -> u64 {
    let halves = crate::ring::power(N as u64, Q - 2, Q);
    (value * u128::from(halves) % u128::from(Q)) as u64
}

/// The most slots that a ciphertext of an answer takes.
const MOST_PACKED: usize = 4;

/// How many parts the secret has for packing so many slots: an answer is the part 0 of a polynomial taken apart by the
/// residues of its exponents modulo this number.
pub(crate) fn parts(slots: usize) -> usize {
    2 * slots
}

/// Levels of the expansion of `count` values.
pub(crate) fn levels(count: usize) -> usize {
    count.next_power_of_two().ilog2() as usize
}

/// The exponent at which the value number `at` of `count` stands in a query.
///
/// The expansion parts even and odd exponents first. In bit-reversed order the unused ones are whole branches of its tree,
/// and left out.
pub(crate) fn exponent(at: usize, count: usize) -> usize {
    if at == 0 {
        return 0;
    }
    let levels = levels(count);
    (at.reverse_bits() >> (usize::BITS as usize - levels)) << (LEVELS - levels)
}

fn first_half(digest: Sha256) -> [u8; 16] {
    let full: [u8; 32] = digest.finalize().into();
    std::array::from_fn(|at| full[at])
}
