//! Random sequences of imports, removals, dismissals and sweeps, against a model written from the rules.

use std::collections::{BTreeMap, BTreeSet};

use super::scene::{Scene, account, half_under};
use crate::{HalfOutcome, Millis, Removed};

const ACCOUNTS: u64 = 6;
const PAIRS: u64 = 3;
const STEPS: u64 = 60;

/// Epoch and pair.
type Place = (u8, u8);

#[derive(Debug, Clone, Copy)]
struct Side {
    who: u8,
    bit: bool,
    verified_at: Millis,
    expires_at: Millis,
}

impl Side {
    fn renew(&mut self, by: Side) {
        self.verified_at = self.verified_at.max(by.verified_at);
        self.expires_at = self.expires_at.max(by.expires_at);
    }
}

#[derive(Debug, Clone, Copy)]
struct Pairing {
    place: Place,
    sides: [Side; 2],
    found_at: Millis,
}

impl Pairing {
    fn live(&self, now: Millis) -> bool {
        self.sides.iter().all(|side| side.expires_at > now)
    }

    fn of(&mut self, who: u8) -> Option<(&mut Side, &mut Side)> {
        let [first, second] = &mut self.sides;
        if first.who == who {
            Some((first, second))
        } else if second.who == who {
            Some((second, first))
        } else {
            None
        }
    }
}

#[derive(Default)]
struct Model {
    halves: BTreeMap<Place, Side>,
    matches: Vec<Pairing>,
    dismissed: BTreeSet<(u8, u8)>,
    synced: BTreeSet<u8>,
}

impl Model {
    /// Ends matches at a place; those that `ends` names leave the sides that `stands` says.
    fn end(&mut self, ends: impl Fn(&Pairing) -> bool, stands: impl Fn(&Side) -> bool, now: Millis) {
        let (ended, kept) = self.matches.iter().partition(|pairing| ends(pairing));
        self.matches = kept;
        let ended: Vec<Pairing> = ended;
        let mut back: Vec<(Place, Millis, Side)> = ended
            .iter()
            .flat_map(|pairing| pairing.sides.map(|side| (pairing.place, pairing.found_at, side)))
            .filter(|(_, _, side)| side.expires_at > now && stands(side))
            .collect();
        back.sort_by_key(|(_, found_at, side)| (-side.verified_at, *found_at, side.who));
        for (place, _, side) in back {
            if self.halves.get(&place).is_none_or(|half| half.expires_at <= now) {
                self.halves.insert(place, side);
            }
        }
    }

    fn settle(&mut self, place: Place, now: Millis) {
        self.end(|pairing| pairing.place == place && !pairing.live(now), |_| true, now);
        if self.halves.get(&place).is_some_and(|half| half.expires_at <= now) {
            self.halves.remove(&place);
        }
    }

    fn submit(&mut self, mut new: Side, places: &[Place], now: Millis) -> HalfOutcome {
        places.iter().for_each(|place| self.settle(*place, now));
        let who = new.who;
        let standing: Vec<(Place, Side)> =
            places.iter().filter_map(|place| Some((*place, *self.halves.get(place)?))).collect();
        let is_mine = |side: &Side| side.who == who && side.bit == new.bit;
        let mine: Vec<(Place, Side)> = standing.iter().filter(|(_, s)| is_mine(s)).copied().collect();
        let mut sides: Vec<Side> = mine.iter().map(|(_, side)| *side).collect();
        let mut matched = false;
        for pairing in self.matches.iter_mut().filter(|pairing| places.contains(&pairing.place)) {
            if let Some((my_side, _)) = pairing.of(who) {
                matched = true;
                sides.push(*my_side);
            }
        }
        let held = matched || standing.iter().any(|(_, side)| side.who == who);
        if new.expires_at > now {
            let bit = new.bit;
            sides.iter().filter(|side| side.bit == bit).for_each(|side| new.renew(*side));
            for pairing in self.matches.iter_mut().filter(|pairing| places.contains(&pairing.place)) {
                if let Some((my_side, _)) = pairing.of(who) {
                    my_side.renew(new);
                    pairing.place = places[0];
                }
            }
            let opposite: Vec<(Place, Side)> =
                standing.iter().filter(|(_, s)| s.who != who && s.bit != bit).copied().collect();
            let rivals: Vec<(Place, Side)> =
                standing.iter().filter(|(_, s)| (s.who == who) != (s.bit == bit)).copied().collect();
            for (place, theirs) in &opposite {
                self.halves.remove(place);
                self.join(new, *theirs, places, now);
            }
            if !opposite.is_empty() {
                self.halves.retain(|place, _| mine.iter().all(|(held, _)| held != place));
            } else if !mine.is_empty() {
                if rivals.iter().any(|(place, _)| *place == places[0]) {
                    self.halves.extend(mine.iter().map(|(place, _)| (*place, new)));
                } else {
                    self.halves.retain(|place, _| mine.iter().all(|(held, _)| held != place));
                    self.halves.insert(places[0], new);
                }
            } else if !matched && rivals.iter().all(|(_, rival)| rival.verified_at < new.verified_at) {
                self.halves.retain(|place, _| rivals.iter().all(|(lost, _)| lost != place));
                self.halves.insert(places[0], new);
            }
        }
        let others = self.others(who, |pairing| places.contains(&pairing.place));
        HalfOutcome { matched: others.into_iter().map(account).collect(), held }
    }

    fn join(&mut self, new: Side, theirs: Side, places: &[Place], now: Millis) {
        for pairing in self.matches.iter_mut().filter(|pairing| places.contains(&pairing.place)) {
            if let Some((_, their_side)) = pairing.of(new.who)
                && their_side.who == theirs.who
            {
                their_side.renew(theirs);
                return;
            }
        }
        self.matches.push(Pairing { place: places[0], sides: [new, theirs], found_at: now });
    }

    /// With whom `who` is matched, without dismissed ones.
    fn others(&self, who: u8, wanted: impl Fn(&Pairing) -> bool) -> BTreeSet<u8> {
        let mut matches: Vec<Pairing> = self.matches.iter().filter(|p| wanted(p)).copied().collect();
        let others = matches.iter_mut().filter_map(|pairing| pairing.of(who).map(|(_, other)| other.who));
        others.filter(|other| !self.dismissed.contains(&(who, *other))).collect()
    }

    fn count(&self, who: u8, now: Millis) -> u32 {
        u32::try_from(self.others(who, |pairing| pairing.live(now)).len()).unwrap()
    }

    fn remove(&mut self, who: u8, now: Millis) -> Removed {
        let mut mine = self.matches.clone();
        mine.retain_mut(|pairing| !pairing.live(now) && pairing.of(who).is_some());
        mine.iter().for_each(|pairing| self.settle(pairing.place, now));
        let matches = self.count(who, now);
        let halves = self.halves.values().filter(|half| half.who == who && half.expires_at > now).count();
        self.halves.retain(|_, half| half.who != who);
        let before = self.matches.len();
        self.end(|pairing| pairing.sides.iter().any(|s| s.who == who), |side| side.who != who, now);
        let contacts = halves + before - self.matches.len();
        self.dismissed.retain(|(by, _)| *by != who);
        self.synced.remove(&who);
        Removed { contacts: u32::try_from(contacts).unwrap(), matches }
    }
}

/// A fixed sequence for a seed (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn byte(&mut self, end: u64) -> u8 {
        u8::try_from(self.below(end)).unwrap()
    }

    fn millis(&mut self, end: u64) -> Millis {
        Millis::try_from(self.below(end)).unwrap()
    }
}

pub(super) async fn agrees(scene: Scene, seed: u64) {
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut now = 0;
    for turn in 0..STEPS {
        now += random.millis(12);
        let who = random.byte(ACCOUNTS);
        let told = format!("seed {seed}, turn {turn}, account {who}");
        match random.below(20) {
            0..14 => import(&scene, &mut model, &mut random, who, turn, now, &told).await,
            14..16 => assert_eq!(scene.remove(who, now).await, model.remove(who, now), "{told}"),
            16..18 => {
                let other = random.byte(ACCOUNTS);
                let left = scene.store.dismiss(account(who), account(other), now).await.unwrap();
                if model.others(who, |pairing| pairing.live(now)).contains(&other) {
                    model.dismissed.insert((who, other));
                }
                assert_eq!(left, model.count(who, now), "{told}");
            }
            _ => {
                while scene.store.sweep(2, now).await.unwrap() > 0 {}
                let places: Vec<Place> = (1..=2).flat_map(|e| (0..3).map(move |p| (e, p))).collect();
                places.into_iter().for_each(|place| model.settle(place, now));
            }
        }
        for who in 0..u8::try_from(ACCOUNTS).unwrap() {
            let mut listed: Vec<u8> =
                scene.listed(who, now).await.iter().map(|other| other.as_bytes()[0]).collect();
            listed.sort_unstable();
            let expected: Vec<u8> = model.others(who, |p| p.live(now)).into_iter().collect();
            assert_eq!(listed, expected, "{told}: list of {who}");
            let count = model.synced.contains(&who).then(|| model.count(who, now));
            assert_eq!(scene.count(who, now).await, count, "{told}: status of {who}");
        }
    }
    // Halves show when everybody goes.
    for who in 0..u8::try_from(ACCOUNTS).unwrap() {
        let expected = model.remove(who, now);
        assert_eq!(scene.remove(who, now).await, expected, "seed {seed}: removal of {who}");
    }
}

async fn import(
    scene: &Scene,
    model: &mut Model,
    random: &mut Random,
    who: u8,
    turn: u64,
    now: Millis,
    told: &str,
) {
    // The old epoch alone at first, then both, then the new one alone.
    let epochs: &[u8] = match turn {
        0..20 => &[1],
        20..45 => &[2, 1],
        _ => &[2],
    };
    let verified_at = random.millis(8);
    let expires_at = now + random.millis(80) - 4;
    let mut halves = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..=random.below(2) {
        let (pair, bit) = (random.byte(PAIRS), random.below(2) == 0);
        halves.push(half_under(epochs, pair, bit));
        let places: Vec<Place> = epochs.iter().map(|epoch| (*epoch, pair)).collect();
        expected.push(model.submit(Side { who, bit, verified_at, expires_at }, &places, now));
    }
    model.synced.insert(who);
    let mut outcomes = scene.import(who, halves, (verified_at, expires_at), now).await;
    outcomes.iter_mut().for_each(|outcome| outcome.matched.sort_unstable());
    assert_eq!(outcomes, expected, "{told}");
}
