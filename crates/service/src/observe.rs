//! Gauges that only the service can tell, refreshed every few seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::KeyId;
use acquaint_custody::budget::KeyUsage;
use acquaint_store::{Limit, StoreError};
use tokio::sync::watch;

use crate::Discovery;
use crate::start::wait;

const EVERY: Duration = Duration::from_secs(5);
/// From this on, the use of a budget is told in the log: somebody may be pumping SMS.
const ALARM: f64 = 0.8;

/// The budgets of keys are asked for once in so many rounds: an HSM's own counter can be slow to read.
const KEY_ROUNDS: u32 = 3;

/// Sets `acquaint_code_budget_used_ratio{budget}`, `acquaint_notifications_waiting` and `acquaint_notifications_dead`, and
/// those of the keys' budgets.
pub(crate) async fn observe(discovery: Arc<Discovery>, mut stop: watch::Receiver<bool>) {
    let mut alarmed = false;
    let mut refused = BTreeMap::new();
    let mut round = 0;
    while !*stop.borrow() {
        match look(&discovery).await {
            Ok(used) => {
                if used >= ALARM && !alarmed {
                    tracing::warn!(used, "the day's budget for codes is nearly used up");
                }
                alarmed = used >= ALARM;
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "gauges are not refreshed")
            }
        }
        if round % KEY_ROUNDS == 0 {
            let custody = Arc::clone(&discovery.custody);
            match tokio::task::spawn_blocking(move || custody.usage()).await {
                Ok(Ok(usage)) => keys(&usage, &mut refused),
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the budgets of the keys cannot be read");
                }
                // The process ends.
                Err(_) => {}
            }
        }
        round = round.wrapping_add(1);
        wait(EVERY, &mut stop).await;
    }
}

/// Sets `acquaint_custody_budget_used_ratio` and `acquaint_custody_unaccounted_operations`, and counts
/// `acquaint_custody_refusals_total` on from `before`.
fn keys(usage: &[KeyUsage], before: &mut BTreeMap<(KeyId, &'static str), u64>) {
    let mut used: BTreeMap<&'static str, f64> = BTreeMap::new();
    let mut unaccounted: BTreeMap<&'static str, i64> = BTreeMap::new();
    for usage in usage {
        let purpose = usage.key.purpose.name();
        let ratio = usage.used_today as f64 / usage.per_day.max(1) as f64;
        let most = used.entry(purpose).or_default();
        *most = most.max(ratio);
        if let Some(more) = usage.unaccounted {
            let sum = unaccounted.entry(purpose).or_default();
            *sum = sum.saturating_add(more);
        }
        let refused = [("second", usage.over_second), ("day", usage.over_day), ("account", usage.over_share)];
        for (budget, now) in refused {
            let before = before.entry((usage.key, budget)).or_default();
            // A custody process that was started again counts from 0.
            let more = now.checked_sub(*before).unwrap_or(now);
            *before = now;
            let labels = [("purpose", purpose), ("budget", budget)];
            metrics::counter!("acquaint_custody_refusals_total", &labels).increment(more);
        }
    }
    for (purpose, ratio) in used {
        metrics::gauge!("acquaint_custody_budget_used_ratio", "purpose" => purpose).set(ratio);
    }
    for (purpose, more) in unaccounted {
        metrics::gauge!("acquaint_custody_unaccounted_operations", "purpose" => purpose).set(more as f64);
    }
}

/// Returns how much of the fuller budget is used.
async fn look(discovery: &Discovery) -> Result<f64, StoreError> {
    let now = discovery.clock.now();
    let policy = &discovery.policy;
    let mut budgets = vec![("sms", policy.sms_codes.permit(Limit::SmsCodes, &[], 0))];
    if policy.emails {
        budgets.push(("email", policy.email_codes.permit(Limit::EmailCodes, &[], 0)));
    }
    // A budget of nothing is a channel that is switched off.
    budgets.retain(|(_, permit)| permit.capacity > 0);
    let permits = budgets.iter().map(|(_, permit)| permit.clone()).collect();
    let levels = discovery.store.levels(permits, now).await?;
    let mut most = 0.0_f64;
    for ((budget, permit), level) in budgets.iter().zip(levels) {
        let used = f64::from(level) / f64::from(permit.capacity);
        metrics::gauge!("acquaint_code_budget_used_ratio", "budget" => *budget).set(used);
        most = most.max(used);
    }
    let notices = discovery.store.notice_counts(now).await?;
    metrics::gauge!("acquaint_events_waiting").set(approximate(discovery.store.waiting_events().await?));
    metrics::gauge!("acquaint_notifications_waiting").set(approximate(notices.waiting));
    metrics::gauge!("acquaint_notifications_dead").set(approximate(notices.dead));
    Ok(most)
}

fn approximate(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
