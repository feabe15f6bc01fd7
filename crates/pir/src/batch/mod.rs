//! Many keywords at once: small tables beside the large one, each asked a few times.
//!
//! Each record stands in two of the batch tables, and a hash of its keyword says in which ([`BatchShape::tables_of`]). A
//! client gives each of its keywords to one of the keyword's two tables so that no table gets more than it answers
//! ([`Plan::new`]), and looks up as many in every table, random keywords where it has none: what it asks for shows
//! nowhere. With 132 tables of four lookups each, 500 keywords nearly always all have a place, and a lookup scans 1/66 of the
//! records. All lookups of a table are one query ([`BatchShape::parameters`]).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

use crate::keyword::Keyword;
use crate::parameters::{ParameterError, Parameters, Shape};

/// How many batch tables there are, how often each is asked, and how they look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShape {
    /// Tables, at least 2. Each record stands in two of them.
    pub tables: usize,
    /// Lookups that each table gets, all in one query; a power of two.
    pub queries: usize,
    /// Of each table. All are alike, with room for records as [`BatchShape::ENTRIES`] says.
    pub shape: Shape,
}

impl BatchShape {
    /// Records of a slot: half of what a slot of the large table has, so that answers are smaller.
    pub const ENTRIES: usize = 2;
    /// Tables for address books of 500 contacts.
    const TABLES: usize = 132;
    /// Lookups of each: 528 for 500 contacts.
    const QUERIES: usize = 4;
    /// What rows and columns have at least.
    const LEAST: usize = 4;
    const LIKE: Shape = Shape { rows: 0, columns: 0, slots: 8, answers: 2 };

    /// Tables for `count` records, each of which stands in two, asked for 500 keywords at a time. Tables are filled by
    /// chance, and even the fullest has room.
    #[must_use]
    pub fn for_records(count: u64) -> Self {
        let mean = 2.0 * count as f64 / Self::TABLES as f64;
        // Five standard deviations: of 132 tables one has more with a probability of 2^-14.
        let most = mean + 5.0 * mean.sqrt();
        Self {
            tables: Self::TABLES,
            queries: Self::QUERIES,
            shape: Shape::with_room(most.ceil() as u64, Self::LEAST, Self::LIKE),
        }
    }

    /// Those of the tables: a query makes all lookups of a table.
    ///
    /// # Errors
    /// When a number is out of range, or answers would fail too often.
    pub fn parameters(&self) -> Result<Parameters, ParameterError> {
        Parameters::together(self.shape, self.queries)
    }

    /// Lookups of a batch.
    #[must_use]
    pub fn total(&self) -> usize {
        self.tables * self.queries
    }

    /// The two tables that a keyword's record stands in. They differ if there are two.
    #[must_use]
    pub fn tables_of(&self, keyword: &Keyword) -> [usize; 2] {
        // Of other bits than row and buckets, which would fill a table's rows unevenly.
        let digest: [u8; 32] = Sha256::new()
            .chain_update(b"acquaint-pir batch tables 1")
            .chain_update(keyword.as_bytes())
            .finalize()
            .into();
        let [first, second, ..] = digest.as_chunks::<8>().0 else { return [0, 0] };
        let tables = self.tables.max(1) as u64;
        let first = u64::from_le_bytes(*first) % tables;
        // Another than the first, each with the same probability.
        let others = (tables - 1).max(1);
        let second = (first + 1 + u64::from_le_bytes(*second) % others) % tables;
        [first as usize, second as usize]
    }
}

/// Which keyword each lookup of a batch is for.
#[derive(Clone)]
pub struct Plan {
    /// For each lookup in the order in which they are sent (those of table 0 first), the place of its keyword in the list
    /// that was planned for, or `None` for a random one that fills up.
    pub placed: Vec<Option<usize>>,
    /// For each lookup, what to ask its table for.
    pub keywords: Vec<Keyword>,
    /// Keywords that found no place, by their places in the list: for the next batch.
    pub left: Vec<usize>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Plan")
    }
}

impl Plan {
    /// Spreads keywords over the tables so that as many as possible have a place.
    pub fn new(keywords: &[Keyword], shape: &BatchShape, random: &mut impl CryptoRng) -> Self {
        let homes: Vec<[usize; 2]> = keywords.iter().map(|keyword| shape.tables_of(keyword)).collect();
        let mut tables: Vec<Vec<usize>> = vec![Vec::with_capacity(shape.queries); shape.tables];
        let left: Vec<usize> =
            (0..keywords.len()).filter(|new| !give_place(&mut tables, &homes, shape.queries, *new)).collect();
        let placed: Vec<Option<usize>> =
            tables.iter().flat_map(|held| (0..shape.queries).map(|query| held.get(query).copied())).collect();
        let random = &mut *random;
        let keywords = placed.iter().map(|place| {
            place.and_then(|place| keywords.get(place).copied()).unwrap_or_else(|| Keyword::random(random))
        });
        Self { keywords: keywords.collect(), placed, left }
    }
}

/// Finds the shortest chain of keywords that can each go to their other table until one has room, breadth first, and moves
/// them. Whether there is one: if not, nothing has changed, and there will be none later.
fn give_place(tables: &mut [Vec<usize>], homes: &[[usize; 2]], most: usize, new: usize) -> bool {
    let home = |keyword: usize| homes.get(keyword).copied().unwrap_or_default();
    // Tables that were reached, each with the keyword that would come and the place in this list of where it is now.
    let mut seen: Vec<(usize, usize, Option<usize>)> = Vec::new();
    let mut known = vec![false; tables.len()];
    let mut queue = VecDeque::new();
    let mut reach = |seen: &mut Vec<_>, queue: &mut VecDeque<usize>, table: usize, keyword, from| {
        if known.get_mut(table).is_some_and(|known| !std::mem::replace(known, true)) {
            queue.push_back(seen.len());
            seen.push((table, keyword, from));
        }
    };
    // The emptier first, so that fewer have to move later.
    let mut own = home(new);
    own.sort_by_key(|table| tables.get(*table).map_or(0, Vec::len));
    for table in own {
        reach(&mut seen, &mut queue, table, new, None);
    }
    while let Some(at) = queue.pop_front() {
        let Some(&(table, ..)) = seen.get(at) else { continue };
        let Some(held) = tables.get(table) else { continue };
        if held.len() < most {
            let mut step = Some(at);
            while let Some(&(table, keyword, from)) = step.and_then(|at| seen.get(at)) {
                if let Some(&(before, ..)) = from.and_then(|from| seen.get(from))
                    && let Some(held) = tables.get_mut(before)
                {
                    held.retain(|other| *other != keyword);
                }
                if let Some(held) = tables.get_mut(table) {
                    held.push(keyword);
                }
                step = from;
            }
            return true;
        }
        for keyword in held {
            let [first, second] = home(*keyword);
            reach(&mut seen, &mut queue, if first == table { second } else { first }, *keyword, Some(at));
        }
    }
    false
}
