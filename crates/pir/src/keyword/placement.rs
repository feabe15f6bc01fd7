//! Which record stands where: cuckoo hashing with two buckets, inside rows.

use std::collections::VecDeque;

use super::Keyword;
use crate::parameters::Shape;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 0.
    pub row: usize,
    /// From 0: the column times the slots of a polynomial, and the slot.
    pub bucket: usize,
    /// From 0: the record of the bucket.
    pub entry: usize,
}

/// There is no room for a keyword in its row. The table must be divided, or made anew with more columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table has no room for the keyword")]
pub struct Full;

/// A keyword cannot stand where it is said to: there is no such place, it is not the keyword's or not free, or the keyword
/// stands elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a keyword cannot stand where it is said to")]
pub struct Misplaced;

/// The places of all keywords of a table. It holds no records.
pub struct Placement {
    shape: Shape,
    entries: usize,
    residents: Vec<Option<Keyword>>,
    count: usize,
}

impl std::fmt::Debug for Placement {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Placement").field("count", &self.count).finish_non_exhaustive()
    }
}

/// A keyword gets a place, perhaps after others have moved.
#[derive(Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Where it stands now.
    pub position: Position,
    /// Records that move, from and to, in the order in which there is room for them.
    pub moves: Vec<(Position, Position)>,
}

impl Placement {
    /// No keyword yet. `entries` is how many records a bucket holds.
    #[must_use]
    pub fn new(shape: Shape, entries: usize) -> Self {
        let places = shape.rows * shape.columns * shape.slots * entries;
        Self { shape, entries, residents: vec![None; places], count: 0 }
    }

    /// The shape of the table.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Records that a bucket holds.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Keywords that have a place.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no keyword has a place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Places for keywords. Rows are filled by chance, so that about 93 of 100 are used when the first row is full.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.residents.len()
    }

    /// Where a keyword stands.
    #[must_use]
    pub fn find(&self, keyword: &Keyword) -> Option<Position> {
        let (row, buckets) = keyword.candidates(self.shape);
        buckets.into_iter().find_map(|bucket| {
            let held = |resident: &Option<Keyword>| resident.is_some_and(|resident| resident.0 == keyword.0);
            let entry = self.bucket(row, bucket).iter().position(held)?;
            Some(Position { row, bucket, entry })
        })
    }

    /// Gives a keyword a place: the one that it has, or a new one.
    ///
    /// # Errors
    /// When its row is full. Then nothing has changed.
    pub fn insert(&mut self, keyword: &Keyword) -> Result<Inserted, Full> {
        if let Some(position) = self.find(keyword) {
            return Ok(Inserted { position, moves: Vec::new() });
        }
        let path = self.path_to_room(keyword).ok_or(Full)?;
        // From its end: each moves to where the one before has left room.
        let moves: Vec<_> = path.windows(2).rev().map(|step| (step[0], step[1])).collect();
        for (from, to) in &moves {
            let moved = self.resident(*from).take();
            *self.resident(*to) = moved;
        }
        let position = path.first().copied().ok_or(Full)?;
        *self.resident(position) = Some(*keyword);
        self.count += 1;
        Ok(Inserted { position, moves })
    }

    /// Puts a keyword where it stood, for a table that was stored.
    ///
    /// # Errors
    /// When it cannot stand there. Then nothing has changed.
    pub fn restore(&mut self, position: Position, keyword: &Keyword) -> Result<(), Misplaced> {
        let (row, buckets) = keyword.candidates(self.shape);
        let its_own = position.row == row && buckets.contains(&position.bucket);
        let vacant = its_own && matches!(self.bucket(row, position.bucket).get(position.entry), Some(None));
        if !vacant || self.find(keyword).is_some() {
            return Err(Misplaced);
        }
        *self.resident(position) = Some(*keyword);
        self.count += 1;
        Ok(())
    }

    /// All keywords, and where they stand: what [`Placement::restore`] wants of a table that was stored.
    pub fn iter(&self) -> impl Iterator<Item = (Position, &Keyword)> {
        let buckets = self.shape.columns * self.shape.slots;
        let entries = self.entries;
        self.residents.iter().enumerate().filter_map(move |(at, resident)| {
            let (bucket, entry) = (at / entries, at % entries);
            let position = Position { row: bucket / buckets, bucket: bucket % buckets, entry };
            resident.as_ref().map(|keyword| (position, keyword))
        })
    }

    /// Takes a keyword's place away, and tells where it was.
    pub fn remove(&mut self, keyword: &Keyword) -> Option<Position> {
        let position = self.find(keyword)?;
        *self.resident(position) = None;
        self.count -= 1;
        Some(position)
    }

    /// Keywords of one bucket, in their entries.
    pub fn keywords(&self, row: usize, bucket: usize) -> impl Iterator<Item = Option<&Keyword>> {
        self.bucket(row, bucket).iter().map(Option::as_ref)
    }

    /// The shortest way to a free entry of the row, breadth first, or `None` if there is no way at all. The first position is the new keyword's, and each one's resident
    /// moves to the next.
    fn path_to_room(&self, keyword: &Keyword) -> Option<Vec<Position>> {
        let (row, buckets) = keyword.candidates(self.shape);
        // Buckets, each with the entry whose resident would move to it: the place of its bucket in this list, and which.
        let mut seen: Vec<(usize, Option<(usize, usize)>)> =
            buckets.into_iter().map(|bucket| (bucket, None)).collect();
        // Of the keyword's own buckets the emptier comes first.
        seen.sort_by_key(|(bucket, _)| self.bucket(row, *bucket).iter().flatten().count());
        let mut known = vec![false; self.shape.columns * self.shape.slots];
        buckets.into_iter().for_each(|bucket| known[bucket] = true);
        let mut queue: VecDeque<usize> = (0..seen.len()).collect();
        while let Some(at) = queue.pop_front() {
            let bucket = seen[at].0;
            if let Some(entry) = self.bucket(row, bucket).iter().position(Option::is_none) {
                let mut path = vec![Position { row, bucket, entry }];
                let mut step = seen[at].1;
                while let Some((before, entry)) = step {
                    path.push(Position { row, bucket: seen[before].0, entry });
                    step = seen[before].1;
                }
                path.reverse();
                return Some(path);
            }
            for (entry, resident) in self.bucket(row, bucket).iter().enumerate() {
                let Some(resident) = resident else { continue };
                let (_, [first, second]) = resident.candidates(self.shape);
                let other = if first == bucket { second } else { first };
                if !std::mem::replace(&mut known[other], true) {
                    queue.push_back(seen.len());
                    seen.push((other, Some((at, entry))));
                }
            }
        }
        None
    }

    fn bucket(&self, row: usize, bucket: usize) -> &[Option<Keyword>] {
        let at = (row * self.shape.columns * self.shape.slots + bucket) * self.entries;
        self.residents.get(at..at + self.entries).unwrap_or_default()
    }

    fn resident(&mut self, position: Position) -> &mut Option<Keyword> {
        let bucket = position.row * self.shape.columns * self.shape.slots + position.bucket;
        &mut self.residents[bucket * self.entries + position.entry]
    }
}
