//! Gauges that only the service can tell, refreshed every few seconds.

use std::sync::Arc;
use std::time::Duration;

use acquaint_store::{Limit, StoreError};
use tokio::sync::watch;

use crate::Discovery;
use crate::start::wait;

const EVERY: Duration = Duration::from_secs(5);
/// From this on, the use of a budget is told in the log: somebody may be pumping SMS.
const ALARM: f64 = 0.8;

/// Sets `acquaint_code_budget_used_ratio{budget}`, `acquaint_notifications_waiting` and `acquaint_notifications_dead`.
pub(crate) async fn observe(discovery: Arc<Discovery>, mut stop: watch::Receiver<bool>) {
    let mut alarmed = false;
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
        wait(EVERY, &mut stop).await;
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
    metrics::gauge!("acquaint_notifications_waiting").set(approximate(notices.waiting));
    metrics::gauge!("acquaint_notifications_dead").set(approximate(notices.dead));
    Ok(most)
}

fn approximate(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
