//! When to ask, and for whom, without looking at anything that happens.

use acquaint_protocol::identifier::Sii;
use rand_core::CryptoRng;

use super::{MAX_BATCH, batch_size};
use crate::discovery::FRESH_S;

/// Plans lookups so that each contact is looked up at least once in 24 hours, and when and how much is asked tells as little as
/// can be: the times and the numbers of queries depend on the size of the address book (by the classes of [`batch_size`]) and on
/// chance, and neither on messages nor on what was found. A new contact waits for a lookup that comes anyway.
///
/// One thing shows in mode `psm`: evaluations are asked for in just those rounds in which somebody has no output of the epoch,
/// so that the server sees, up to a day later, that somebody is new (not how many, nor who), or that the book was lost. They
/// are as many as the round's size, all of which the quota is charged for.
///
/// A day is cut into one part more than there are rounds in a cycle, so that a contact's next turn comes within a day however the
/// moments in its parts are drawn: those of a whole cycle are, when it begins. All rounds of a cycle have one size; a
/// larger address book shows at the next cycle, and a smaller one in sizes alone.
///
/// A pure planner: it has no clock and does nothing. Its owner asks it [`next_at`](Self::next_at) and, then, for the round
/// ([`take`](Self::take)), and hands that to [`Directory::lookup`](super::Directory::lookup).
pub struct Schedule {
    rounds: usize,
    /// For each round of a cycle.
    groups: Vec<Vec<Sii>>,
    size: usize,
    /// Contacts that are in no group yet.
    waiting: Vec<Sii>,
    /// When the cycle began, in Unix seconds.
    began_at: u64,
    /// When the rounds of this cycle are.
    times: Vec<u64>,
    /// The next of them.
    next: usize,
}

/// A round: who is to be looked up, and how much is asked. Fewer contacts than its size, or none at all, are no reason to ask
/// less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// When it was planned for, in Unix seconds.
    pub at: u64,
    /// How many contacts are asked for, dummies among them.
    pub size: usize,
    /// For whom; at most `size`.
    pub contacts: Vec<Sii>,
}

/// There is no such schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a schedule has 1 to 96 rounds in a cycle")]
pub struct ScheduleError;

/// Rounds of a cycle at most: parts of a day are a quarter of an hour at least.
const MAX_ROUNDS: usize = 96;

impl Schedule {
    /// From `now` (Unix seconds) on, with at least `rounds` rounds in a cycle, and more where the contacts need them. Those who
    /// come first in `contacts` are looked up first: begin with whoever waited longest.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn new(
        contacts: &[Sii],
        rounds: usize,
        now: u64,
        random: &mut impl CryptoRng,
    ) -> Result<Self, ScheduleError> {
        if !(1..=MAX_ROUNDS).contains(&rounds) {
            return Err(ScheduleError);
        }
        let (groups, times) = (Vec::new(), Vec::new());
        let mut schedule =
            Self { rounds, groups, size: 0, waiting: Vec::new(), began_at: now, times, next: 0 };
        schedule.set_contacts(contacts);
        schedule.begin(now, random);
        Ok(schedule)
    }

    /// The address book as it is now. Whoever is new waits for a round that has room; who is gone is forgotten. Nothing of what
    /// is planned changes.
    pub fn set_contacts(&mut self, contacts: &[Sii]) {
        let wanted: std::collections::HashSet<&Sii> = contacts.iter().collect();
        for group in self.groups.iter_mut().chain([&mut self.waiting]) {
            group.retain(|contact| wanted.contains(contact));
        }
        let mut known: std::collections::HashSet<Sii> =
            self.groups.iter().chain([&self.waiting]).flatten().cloned().collect();
        for contact in contacts {
            if known.insert(contact.clone()) {
                self.waiting.push(contact.clone());
            }
        }
    }

    /// When the next round is, in Unix seconds. A clock that is set back makes it far away: whoever waits looks again now and then,
    /// with [`take`](Self::take).
    #[must_use]
    pub fn next_at(&self) -> u64 {
        self.times.get(self.next).copied().unwrap_or(self.began_at)
    }

    /// The next round, if `now` (Unix seconds) is its time. Rounds that were missed, since nobody asked, come one after the
    /// other; after a whole cycle without any, a new one begins, and so it does if the next is more than a day away, which a clock
    /// that was wrong planned.
    pub fn take(&mut self, now: u64, random: &mut impl CryptoRng) -> Option<Planned> {
        if self.next_at() > now.saturating_add(FRESH_S) {
            self.begin(now, random);
        }
        let at = self.next_at();
        if now < at {
            return None;
        }
        let room = self.size;
        let group = self.groups.get_mut(self.next)?;
        let fitting = room.saturating_sub(group.len()).min(self.waiting.len());
        group.extend(self.waiting.drain(..fitting));
        let planned = Planned { at, size: self.size, contacts: group.clone() };
        self.next += 1;
        if self.next == self.groups.len() {
            let ends_at = self.began_at.saturating_add(self.cycle_s());
            let is_behind = now > ends_at.saturating_add(self.cycle_s());
            self.begin(if is_behind { now } else { ends_at }, random);
        }
        Some(planned)
    }

    /// Seconds of a part of a day, in each of which there is one round.
    fn part_s(&self) -> u64 {
        FRESH_S / (u64::try_from(self.groups.len()).unwrap_or(u64::MAX).saturating_add(1)).max(1)
    }

    fn cycle_s(&self) -> u64 {
        self.part_s().saturating_mul(u64::try_from(self.groups.len()).unwrap_or(u64::MAX))
    }

    /// Gives those who wait a round, and each round a moment. Nobody who has a round gets a later one, and there are never
    /// fewer rounds: otherwise a turn could come more than a day after the last.
    fn begin(&mut self, at: u64, random: &mut impl CryptoRng) {
        let grouped: usize = self.groups.iter().map(Vec::len).sum();
        let total = grouped + self.waiting.len();
        let rounds = total.div_ceil(MAX_BATCH).max(self.rounds).max(self.groups.len());
        self.groups.resize_with(rounds, Vec::new);
        let each = total.div_ceil(rounds);
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        for group in &mut self.groups {
            group.extend(waiting.by_ref().take(each.saturating_sub(group.len())));
        }
        self.size = batch_size(self.groups.iter().map(Vec::len).max().unwrap_or(0));
        self.began_at = at;
        self.next = 0;
        let part = self.part_s().max(1);
        let begins = (0..rounds).map(|round| u64::try_from(round).unwrap_or(u64::MAX).saturating_mul(part));
        // Of 64 random bits the remainder is uniform but for 2⁻⁴⁰.
        let moments = begins.map(|begin| at.saturating_add(begin).saturating_add(random.next_u64() % part));
        self.times = moments.collect();
    }
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schedule").field("size", &self.size).finish_non_exhaustive()
    }
}
