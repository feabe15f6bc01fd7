//! `acquaint audit`.

use acquaint_client::{AuditEvent, Operator};
use serde_json::json;

use super::address;
use crate::args;
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(args: args::Audit) -> Result<(), Failure> {
    let args::Audit { server, after, json } = args;
    let (url, settings) = address(&server)?;
    let operator = Operator::new(&url, settings)?;
    let (mut after, mut told) = (after, 0_usize);
    loop {
        let events = operator.audit_events(after).await?;
        let Some(last) = events.last() else { break };
        after = Some(last.id);
        for event in &events {
            line(event, json)?;
        }
        told = told.saturating_add(events.len());
    }
    if !json {
        let hint = after.map(|id| format!(" Later: --after {id}.")).unwrap_or_default();
        output::note(&format!("{}.{hint}", output::counted(told, "event", "events")));
    }
    Ok(())
}

fn line(event: &AuditEvent, json: bool) -> Result<(), Failure> {
    let AuditEvent { id, at, kind, account_identifier, details } = event;
    if json {
        let mut whole = details.clone();
        whole.insert("id".into(), json!(id));
        whole.insert("at".into(), json!(at));
        whole.insert("type".into(), json!(kind));
        whole.insert("account_identifier".into(), json!(account_identifier));
        return output::json(&serde_json::Value::Object(whole));
    }
    let account = account_identifier.as_deref().unwrap_or("-");
    let details = serde_json::Value::Object(details.clone());
    output::line(&format!("{}  {kind:40}{account:34}{details}", output::moment(*at)))
}
