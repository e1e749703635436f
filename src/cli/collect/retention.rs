//! What a recorder does once a day where it is told how old what may grow: archive and prune.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::housekeeping::TURN;
use crate::cli::prune::carry_out;
use crate::clock::Clock;
use crate::config::{Archiving, RetentionSettings};
use crate::domain::Instant;
use crate::error::Chain;
use crate::retention::RetentionError;
use crate::store::Store;

const DAY: Duration = Duration::from_hours(24);

/// Prunes now and once a day, beside the recording, which waits for nothing of it. `None`: nothing says what may go, or where to
/// archive it before.
pub(super) fn daily(store: &Store, settings: &RetentionSettings) -> Option<JoinHandle<()>> {
    if settings.ages.keep_all() {
        return None;
    }
    if settings.archive.is_none() {
        tracing::warn!(
            "`[retention]` says how old what may grow, but not where it is archived before it goes (`archive`, a folder or \
             \"off\"): nothing goes by itself"
        );
        return None;
    }
    let (store, settings) = (store.clone(), settings.clone());
    Some(tokio::spawn(async move {
        let mut days = tokio::time::interval(DAY);
        days.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            days.tick().await;
            if let Err(error) = once(&store, &settings, Clock::System.now()).await {
                tracing::warn!("nothing more is pruned until tomorrow: {}", Chain(&error));
            }
        }
    }))
}

async fn once(
    store: &Store,
    settings: &RetentionSettings,
    now: Instant,
) -> Result<(), RetentionError> {
    let _turn = TURN.lock().await;
    let plan = store.plan(&settings.ages, None, now).await?;
    let folder = match &settings.archive {
        Some(Archiving::Folder(folder)) => Some(folder.as_path()),
        _ => None,
    };
    carry_out(store, &plan, folder, now, |line| tracing::info!("retention: {line}")).await?;
    Ok(())
}
