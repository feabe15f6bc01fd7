//! What every [`Store`] must do, as tests that an implementation's own tests run.
//!
//! Each case has a fresh store. A failing one panics, as a test does.

#![expect(clippy::unwrap_used, reason = "a failing case panics")]

mod charges;
mod codes;
mod crossing;
mod directory;
mod directory_crossing;
mod directory_model;
mod epochs;
mod events;
mod imports;
mod indexes;
mod listing;
mod load;
mod matching;
mod model;
mod notices;
mod quotas;
mod removal;
mod scene;
mod streams;
mod tokens;

use std::sync::Arc;

use crate::Store;
use scene::Scene;

/// Runs every case, each on a new store from `new_store`. Needs a tokio runtime, better one with several threads.
///
/// # Panics
/// If the store breaks the contract.
pub async fn run<F, Fut>(new_store: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    macro_rules! cases {
        ($($module:ident: $($case:ident),+;)+) => {$($(
            eprintln!("conformance: {}::{}", stringify!($module), stringify!($case));
            $module::$case(Scene::new(new_store().await)).await;
        )+)+};
    }
    cases! {
        codes: wrong_guesses_count, a_guess_for_another_number_is_no_guess, a_resend_carries_wrong_guesses, a_resend_pauses, an_expired_code_is_none,
            a_withdrawn_code_is_none, one_caller_takes_a_code, a_code_takes_permits, guesses_take_permits,
            a_second_verification_keeps_the_generation, a_number_proves_so_many_accounts_for_so_long;
        tokens: works_once, all_of_several_are_taken, the_live_ones_are_listed, survives_every_refusal, foreign_expired_or_older;
        quotas: levels, fit_and_leak, all_or_none, never_fits, clock_going_back, one_bucket_asked_twice;
        charges: exact_buckets_leak_on_every_millisecond, changes_apply_to_buckets_in_use, the_first_alternative_that_fits,
            a_request_is_paid_for_once, what_became_of_it_is_noted, many_at_once_never_exceed_a_bucket,
            many_repetitions_at_once_are_paid_for_once, once_is_once_until_it_expires;
        events: what_is_noted_is_read_in_order, the_old_ones_go_and_numbers_do_not_come_again,
            told_once_tried_again_or_given_up, each_event_is_leased_to_one,
            who_follows_the_log_misses_nothing;
        imports: lease_in_order, fences, a_heart_beat_prolongs_a_lease, a_released_lease_is_free, progress_is_told_elsewhere,
            what_was_reported_goes_with_an_account, a_stale_step_writes_nothing, the_last_step_releases_the_number,
            one_pending_each, a_full_queue, an_empty_list, abandoned, refunds_what_is_held;
        matching: opposite_halves_match, same_bit_later_wins, own_opposite_half, expired_halves_are_absent, replays,
            a_further_match, two_epochs, matches_across_epochs, expiry_ends_a_match, renewal_keeps_a_match,
            late_half_is_absent;
        epochs: one_is_current_from_the_first_record, all_servers_check_before_one_inserts, steps_check_what_has_rows,
            a_match_moves_with_a_re_import, retiring_deletes_and_nothing_stands_again, only_what_is_retired_is_cleared;
        listing: pages, each_other_once, dismissal, statuses, key_records_stay;
        notices: both_sides_of_a_new_match, none_for_who_knows_already, told_or_cancelled, failures_and_dead_letters,
            gone_with_an_account_a_dismissal_or_time;
        removal: takes_everything, turns_matches_back, leaves_what_took_its_place, keeps_what_must_stay,
            during_an_import, names_the_pending_import, sweeps,
            names_are_forgotten_when_nothing_names_them;
        streams: one_server_reads_a_stream, one_of_many_servers_has_it, whom_one_follows_is_counted_no_more,
            a_follow_ends_with_the_account, a_follow_outlives_what_keeps_the_match,
            a_follow_goes_when_its_match_is_gone, departures_are_confirmed_or_not, departures_go_with_their_account;
        directory: a_token_for_the_one_is_none_for_the_other, a_token_lists_once,
            the_later_verification_has_the_identifier, the_own_listing_is_renewed, so_many_for_an_account,
            an_expired_listing_is_absent, what_is_withdrawn_is_gone, goes_with_its_account, is_apart_from_matching,
            expired_listings_and_old_changes_are_swept, a_listing_keeps_the_name_of_its_account;
        indexes: pages_go_on_behind_the_last, what_is_unplaced_is_placed_while_it_is_the_same,
            an_index_is_cleared_and_no_other, changes_are_read_in_pages, records_go_from_state_to_state;
        load: many_at_once_without_tokens_and_beyond_what_an_account_may_have, what_was_verified_later_stays,
            placements_are_those_of_what_is_loaded, what_is_the_same_lives_longer,
            a_loaded_account_is_known_as_long_as_its_listing;
        directory_crossing: of_many_that_enrol_at_once_the_latest_has_it, many_at_once_never_exceed_what_an_account_may_have,
            who_follows_the_changes_misses_nothing;
        crossing: every_mutual_pair_matches_once, rotations_in_the_middle_lose_no_match,
            an_epoch_is_cleared_beside_imports_and_a_removal;
    }
    for seed in 0..24 {
        eprintln!("conformance: model, seed {seed}");
        model::agrees(Scene::new(new_store().await), seed).await;
        directory_model::agrees(Scene::new(new_store().await), seed).await;
    }
}
