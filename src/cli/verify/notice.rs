//! Tells the webhooks what `verify` has found, before the command ends.

use std::time::Duration;

use crate::cli::webhook::outboxes;
use crate::clock::Clock;
use crate::config::{Config, WebhookConfig};
use crate::error::Chain;
use crate::notify::{Checked, Wrong, tell_verified};
use crate::store::Verdict;

/// How long the command waits for receivers; after that a recorder goes on.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells what is wrong with which source, and that nothing is any more where something was. What cannot be told changes
/// nothing about what was found.
pub(super) async fn tell(
    config: &Config,
    webhooks: &[WebhookConfig],
    verdicts: &[Verdict],
    missing: &[String],
) {
    if webhooks.is_empty() {
        return;
    }
    let clock = Clock::System;
    let mut checked: Vec<Checked> = verdicts.iter().map(of_verdict).collect();
    checked.extend(missing.iter().map(|source| {
        // It has no instant but the one at which it was missed: to the day, so that it is told once a day.
        let day = clock.now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        Checked {
            source: source.clone(),
            wrong: Some(Wrong { at: day, entry: None, snapshot_id: None }),
        }
    }));
    let folder = match config.spool_config() {
        Ok(spool) => outboxes(&spool),
        Err(error) => return tracing::error!("webhooks are told nothing: {}", Chain(&error)),
    };
    match tell_verified(webhooks, &folder, &checked, &clock, PATIENCE).await {
        Ok(waiting) => {
            for webhook in waiting {
                tracing::warn!(
                    webhook,
                    "webhook `{webhook}`: not delivered yet; a recorder on this machine goes on, or the next `verify`"
                );
            }
        }
        Err(error) => tracing::error!("webhooks may be told nothing: {}", Chain(&error)),
    }
}

fn of_verdict(verdict: &Verdict) -> Checked {
    let wrong = verdict.fault.as_ref().map(|fault| Wrong {
        at: fault.at.map_or(verdict.created_at, |place| place.observed_at),
        entry: fault.at.map(|place| place.sequence),
        snapshot_id: fault.at.and_then(|place| place.snapshot_id),
    });
    Checked { source: verdict.source.name.clone(), wrong }
}
