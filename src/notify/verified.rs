//! What `deskledger verify` has found, told by the command itself: no recorder need run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::deliver::Delivery;
use super::event::{Condition, data, instant, or_null};
use super::outbox::Outbox;
use super::post::Poster;
use super::tally::Tally;
use crate::clock::Clock;
use crate::config::{Topic, WebhookConfig};
use crate::domain::Instant;

/// What was found of a source.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its name.
    pub source: String,
    /// What is wrong; `None`: nothing is.
    pub wrong: Option<Wrong>,
}

/// The first entry that is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Wrong {
    /// Its instant; of a source without any, the one at which it was registered.
    pub at: Instant,
    /// Its place in the chain.
    pub entry: Option<i64>,
    /// The snapshot's number.
    pub snapshot_id: Option<i64>,
}

/// Takes in what was found, and delivers it within `patience`; says for which webhooks something waits still, which a
/// recorder on this machine goes on with.
///
/// # Errors
/// An outbox cannot be worked in, or TLS cannot be set up.
pub async fn tell_verified(
    webhooks: &[WebhookConfig],
    folder: &Path,
    checked: &[Checked],
    clock: &Clock,
    patience: Duration,
) -> std::io::Result<Vec<String>> {
    let mut deliveries = Vec::new();
    for webhook in webhooks.iter().filter(|one| one.topics.contains(&Topic::VerifyFailed)) {
        let outbox = Outbox::open(folder, &webhook.name)?;
        for one in checked {
            take_in(&outbox, one, clock.now())?;
        }
        let poster = Poster::new(webhook.clone(), clock.clone()).map_err(std::io::Error::other)?;
        let tally = Arc::<Tally>::default();
        let (name, clock, come) = (webhook.name.clone(), clock.clone(), Arc::default());
        deliveries.push(Delivery { name, outbox, poster, tally, clock, come });
    }
    let delivered = deliveries.iter().map(|delivery| delivery.run_briefly(patience));
    let delivered = futures_util::future::join_all(delivered).await;
    let waiting = deliveries.iter().zip(delivered).filter(|(_, is_delivered)| !is_delivered);
    Ok(waiting.map(|(delivery, _)| delivery.name.clone()).collect())
}

fn take_in(outbox: &Outbox, checked: &Checked, now: Instant) -> std::io::Result<()> {
    let (topic, about) = (Topic::VerifyFailed, checked.source.clone());
    let open = outbox.opened()?.into_iter().filter_map(|(_, open)| open.condition());
    let open = { open }.find(|open| open.topic == topic && open.about == about);
    match (&checked.wrong, open) {
        (None, None) => {}
        (None, Some(open)) => {
            let data = data([("source", about.into()), ("verified_at", instant(now).into())]);
            outbox.end(&open, &open.ends(now, data), now)?;
        }
        (Some(wrong), open) => {
            let condition = Condition { topic, about, since: wrong.at };
            if open.as_ref() == Some(&condition) {
                return Ok(());
            }
            let data = data([
                ("source", checked.source.clone().into()),
                ("observed_at", or_null(wrong.entry.map(|_| wrong.at))),
                ("entry", wrong.entry.into()),
                ("snapshot_id", wrong.snapshot_id.into()),
                ("verified_at", instant(now).into()),
            ]);
            outbox.begin(&condition, &condition.begins(now, data), now)?;
        }
    }
    Ok(())
}
