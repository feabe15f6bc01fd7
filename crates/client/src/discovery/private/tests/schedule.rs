use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Runs a schedule for some days, with an address book that changes, and takes each round at its time.
fn run(rounds: usize, seed: u8, books: &[Vec<Sii>]) -> Vec<Planned> {
    let mut random = random(seed);
    let mut schedule = Schedule::new(&books[0], rounds, NOW, &mut random).unwrap();
    let (mut planned, mut changed) = (Vec::new(), 0);
    while schedule.next_at() < NOW + 4 * FRESH_S {
        // A book a third of a day, from the first on.
        let day_part = usize::try_from((schedule.next_at() - NOW) / (FRESH_S / 3)).unwrap();
        // Rounds may be further apart: then some books are passed over, but for the last.
        let due = day_part.min(books.len() - 1);
        if due > changed {
            changed = due;
            schedule.set_contacts(&books[due]);
        }
        let at = schedule.next_at();
        assert_eq!(schedule.take(at - 1, &mut random), None, "not before its time");
        planned.push(schedule.take(at, &mut random).unwrap());
        assert_eq!(planned.last().unwrap().at, at);
    }
    planned
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_contact_is_looked_up_at_least_once_in_a_day(
        rounds in 1_usize..30,
        seed: u8,
        sizes in proptest::collection::vec((0_usize..900, 0_usize..900), 1..9),
    ) {
        let books: Vec<Vec<Sii>> = sizes.iter().map(|(from, to)| contacts(*from.min(to)..*from.max(to))).collect();
        let planned = run(rounds, seed, &books);
        let mut last: HashMap<&Sii, u64> = HashMap::new();
        for round in &planned {
            prop_assert!(round.contacts.len() <= round.size && round.size == batch_size(round.size));
            prop_assert!(round.size <= MAX_BATCH);
            for contact in &round.contacts {
                // Gone in between is another matter.
                if let Some(before) = last.insert(contact, round.at) && books.iter().all(|book| book.contains(contact)) {
                    prop_assert!(round.at - before <= FRESH_S, "{} s", round.at - before);
                }
            }
        }
        // Who is in the last book was looked up in the last day, and within a day of being new.
        let end = planned.last().unwrap().at;
        if books.len() < 9 {
            for contact in books.last().unwrap() {
                prop_assert!(end - last[contact] <= FRESH_S);
            }
        }
        for contact in books.iter().filter(|_| books.len() == 1).flatten() {
            let first = planned.iter().find(|round| round.contacts.contains(contact)).unwrap();
            prop_assert!(first.at - NOW <= FRESH_S);
        }
    }

    #[test]
    fn when_and_how_much_is_asked_depends_on_sizes_and_chance_alone(
        rounds in 1_usize..30,
        seed: u8,
        count in 0_usize..400,
        shift in 0_usize..5000,
    ) {
        let shape = |planned: Vec<Planned>| -> Vec<(u64, usize)> {
            planned.into_iter().map(|round| (round.at, round.size)).collect()
        };
        let one = shape(run(rounds, seed, &[contacts(0..count)]));
        let others = shape(run(rounds, seed, &[contacts(shift..shift + count)]));
        prop_assert_eq!(&one, &others);
        // One who is new in the middle of a cycle comes with a round that is planned already.
        let more = shape(run(rounds, seed, &[contacts(0..count), contacts(0..count + 1)]));
        let of_first_cycle = one.iter().take(rounds);
        prop_assert!(of_first_cycle.eq(more.iter().take(rounds)));
        // Sizes do not change within a cycle, and times rise.
        for cycle in one.chunks(rounds) {
            prop_assert!(cycle.iter().all(|(_, size)| *size == cycle[0].1));
        }
        prop_assert!(one.is_sorted_by_key(|(at, _)| *at));
        let spread = shape(run(rounds, seed.wrapping_add(1), &[contacts(0..count)]));
        prop_assert!(one != spread, "times are drawn");
    }
}

#[test]
fn whoever_is_new_comes_with_the_next_round_that_has_room() {
    let mut random = random(1);
    let mut schedule = Schedule::new(&contacts(0..30), 4, NOW, &mut random).unwrap();
    let first = schedule.take(schedule.next_at(), &mut random).unwrap();
    assert_eq!((first.size, first.contacts), (10, contacts(0..8)));
    let (next_at, people) =
        (schedule.next_at(), contacts([0, 2, 8, 9, 500, 501, 502, 503, 504, 505, 506, 507, 508]));
    schedule.set_contacts(&people);
    assert_eq!(schedule.next_at(), next_at);
    let second = schedule.take(next_at, &mut random).unwrap();
    assert_eq!(second.contacts, contacts([8, 9, 500, 501, 502, 503, 504, 505, 506, 507]));
    let third = schedule.take(schedule.next_at(), &mut random).unwrap();
    assert_eq!((third.size, third.contacts), (10, contacts([508])));
    assert_eq!(schedule.take(schedule.next_at(), &mut random).unwrap().contacts, []);
}

#[test]
fn missed_rounds_come_and_after_a_cycle_a_new_one_begins() {
    let mut random = random(1);
    let mut schedule = Schedule::new(&contacts(0..3), 3, NOW, &mut random).unwrap();
    let late = NOW + 10 * FRESH_S;
    for number in 0..3 {
        assert_eq!(schedule.take(late, &mut random).unwrap().contacts, contacts([number]));
    }
    assert!(schedule.next_at() >= late && schedule.next_at() < late + FRESH_S / 4);
    // A little late is no new beginning.
    let mut schedule = Schedule::new(&[], 1, NOW, &mut random).unwrap();
    assert_eq!(schedule.take(NOW + FRESH_S / 2, &mut random).unwrap().size, 10);
    assert!((NOW + FRESH_S / 2..NOW + FRESH_S).contains(&schedule.next_at()));
    for rounds in [0, 97] {
        assert_eq!(Schedule::new(&[], rounds, NOW, &mut random).err(), Some(ScheduleError));
    }
    assert!(!format!("{schedule:?}").contains("tel:"));
}

#[test]
fn a_clock_that_was_wrong_does_not_stop_lookups() {
    let mut random = random(1);
    let mut schedule = Schedule::new(&contacts(0..3), 3, NOW + 365 * FRESH_S, &mut random).unwrap();
    assert!(schedule.next_at() > NOW + 364 * FRESH_S);
    assert_eq!(schedule.take(NOW, &mut random), None);
    assert!((NOW..NOW + FRESH_S / 4).contains(&schedule.next_at()));
    let everybody: Vec<Sii> =
        (0..3).flat_map(|_| schedule.take(schedule.next_at(), &mut random).unwrap().contacts).collect();
    assert_eq!(everybody, contacts(0..3));
}
