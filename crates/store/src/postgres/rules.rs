//! The rules of matching, as [`crate::Store`] states them, on locked places.

use super::ledger::{Ledger, Link, Place, Side, Telling};
use crate::{Half, HalfOutcome, ImportStep, Millis, NoticeTimes, Pseudonym};

/// A half and where it stands.
type Standing = (Place, Side);

/// What of a pair is there already, under every epoch that the submitter knows.
#[derive(Default)]
struct Met {
    halves: Vec<Standing>,
    /// The submitter's own matches: where, and with whom.
    matches: Vec<(Place, Pseudonym)>,
}

/// What one half became, with dismissed accounts among the matched.
pub(super) fn submit(ledger: &mut Ledger, step: &ImportStep, half: &Half, now: Millis) -> HalfOutcome {
    let places: Vec<Place> = half.hashes.iter().map(|hash| Place::from(*hash)).collect();
    let Some(newest) = places.first().copied() else { return HalfOutcome::default() };
    let submitted = Side {
        account: step.account,
        bit: half.bit,
        verified_at: step.verified_at,
        expires_at: step.expires_at,
    };
    let mut met = meet(ledger, step.account, &places, now);
    let held = !met.matches.is_empty() || met.halves.iter().any(|(_, half)| half.account == step.account);
    // What has expired counts as absent, also on its way in.
    if submitted.expires_at > now {
        apply(ledger, newest, submitted, &mut met, step.notices, now);
    }
    let mut matched = Vec::new();
    for (_, other) in met.matches {
        if !matched.contains(&other) {
            matched.push(other);
        }
    }
    HalfOutcome { matched, held }
}

fn meet(ledger: &mut Ledger, me: Pseudonym, places: &[Place], now: Millis) -> Met {
    let mut met = Met::default();
    for place in places {
        ledger.settle(*place, now);
        let mut mine: Vec<(Millis, Pseudonym)> = ledger
            .links(*place)
            .iter()
            .filter_map(|link| link.seen_by(me).map(|(_, other)| (link.found_at, other.account)))
            .collect();
        mine.sort_unstable();
        met.matches.extend(mine.into_iter().map(|(_, other)| (*place, other)));
        met.halves.extend(ledger.standing(*place, now).map(|half| (*place, half)));
    }
    met
}

fn apply(
    ledger: &mut Ledger,
    newest: Place,
    submitted: Side,
    met: &mut Met,
    notices: Option<NoticeTimes>,
    now: Millis,
) {
    let me = submitted.account;
    let (same, rest): (Vec<_>, Vec<_>) =
        met.halves.iter().partition(|(_, half)| half.account == me && half.bit == submitted.bit);
    // Held already: verification and expiry move to the later of the two.
    let mut mine = submitted;
    for (_, held) in &same {
        mine.renew(*held);
    }
    for (place, other) in &met.matches {
        if let Some((held, _)) = link_between(ledger, *place, me, *other).and_then(|link| link.seen_by(me))
            && held.bit == mine.bit
        {
            mine.renew(held);
        }
    }
    for (place, other) in &mut met.matches {
        if let Some(link) = link_between(ledger, *place, me, *other) {
            link.renew(mine);
        }
        // So that a re-import takes a match out of an older epoch, as it does a half.
        if *place != newest {
            ledger.move_link(*place, newest, me, *other);
            *place = newest;
        }
    }
    let was_matched = !met.matches.is_empty();

    // Another account's opposite half: a match, or a further one.
    let (opposite, rivals): (Vec<Standing>, Vec<Standing>) =
        rest.into_iter().partition(|(_, half)| half.account != me && half.bit != mine.bit);
    for (place, theirs) in &opposite {
        ledger.take_out(*place);
        join(ledger, newest, mine, *theirs, met, notices, now);
    }

    if !opposite.is_empty() {
        same.iter().for_each(|(place, _)| ledger.take_out(*place));
    } else if !same.is_empty() {
        hold(ledger, newest, mine, &same, &rivals);
    } else if !was_matched && rivals.iter().all(|(_, rival)| rival.verified_at < mine.verified_at) {
        rivals.iter().for_each(|(place, _)| ledger.take_out(*place));
        ledger.stand(newest, mine);
    }
    // Else in a match already; or the number is claimed twice, and the standing claim is no older.
}

/// Renews a half that stands, and moves it to the newest epoch if that is free.
fn hold(ledger: &mut Ledger, newest: Place, mine: Side, same: &[Standing], rivals: &[Standing]) {
    if rivals.iter().any(|(place, _)| *place == newest) {
        return same.iter().for_each(|(place, _)| ledger.stand(*place, mine));
    }
    same.iter().for_each(|(place, _)| ledger.take_out(*place));
    ledger.stand(newest, mine);
}

/// Makes `mine` and `theirs` a match under the submitter's newest epoch. If the two are matched over this pair
/// already, their half only renews their side.
fn join(
    ledger: &mut Ledger,
    newest: Place,
    mine: Side,
    theirs: Side,
    met: &mut Met,
    notices: Option<NoticeTimes>,
    now: Millis,
) {
    if let Some((place, other)) = met.matches.iter().find(|(_, other)| *other == theirs.account) {
        if let Some(link) = link_between(ledger, *place, mine.account, *other) {
            link.renew(theirs);
        }
        return;
    }
    let telling = notices.map(|times| {
        // The other side at once; the importer unless it learns it from its import's answer.
        let (importer, other) = (times.importer_due_at, now);
        let (low_at, high_at) =
            if mine.account < theirs.account { (importer, other) } else { (other, importer) };
        Telling { low_at, high_at, until: times.expires_at }
    });
    ledger.link(newest, Link::new(mine, theirs, now, telling));
    met.matches.push((newest, theirs.account));
}

fn link_between(ledger: &mut Ledger, place: Place, me: Pseudonym, other: Pseudonym) -> Option<&mut Link> {
    ledger
        .links_mut(place)
        .iter_mut()
        .find(|link| link.seen_by(me).is_some_and(|(_, theirs)| theirs.account == other))
}
