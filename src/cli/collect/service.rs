//! What a recorder tells systemd, where that has started it: that it is ready, that it is alive, and how it is.
//!
//! Alive is what `/livez` says: the schedule is looked at and each loop comes round. One that is not is not vouched
//! for, and systemd starts it again.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::error::Chain;
use crate::metrics::Watch;

/// How often the status line is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Without systemd nothing is said.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot tell systemd: {}", Chain(&error));
    }
}

/// The schedule runs; after a reload: again.
pub(super) fn ready(watch: &Watch) {
    tell(&[NotifyState::Ready, NotifyState::Status(&watch.status())]);
}

/// Another configuration is read.
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now().ok();
    let state: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
    tell(&state);
}

/// The visits under way are finished.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing the visits under way")]);
}

/// Says again and again that it lives, as long as it does, and how it is, for as long as it is let.
pub(super) async fn vouch(watch: &Watch) {
    let watched = sd_notify::watchdog_enabled();
    // Twice in each time that it has, as systemd advises, so that one may be late.
    let step = watched.map_or(LOOK, |longest| (longest / 2).min(LOOK));
    let mut rounds = interval(step.max(Duration::from_millis(10)));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        rounds.tick().await;
        let stuck = watch.stuck();
        if watched.is_some() && stuck.is_empty() {
            tell(&[NotifyState::Watchdog]);
        }
        let status = watch.status();
        if status != said {
            tell(&[NotifyState::Status(&status)]);
            said = status;
        }
    }
}
