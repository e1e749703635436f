//! What those who record say, without ever waiting for anybody: a queue that gives up its oldest where nobody comes after.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use tokio::sync::Notify;

use super::state::Visit;
use crate::clock::Clock;
use crate::collector::{Backlog, Keeper, Kept, Standing, Step, Withheld};
use crate::config::WebhookConfig;
use crate::domain::beliefs::Head;
use crate::domain::{Beliefs, Instant};

/// Hundreds of sources say two things a visit: with more waiting, whoever is to listen has not come round for minutes.
const MOST: usize = 4_096;

/// What is said.
#[derive(Debug)]
pub(super) enum Said {
    /// A visit begins.
    Begun(Instant),
    /// The ledger says so of the source.
    Learned(Box<Head>),
    /// A visit was made; `is_written`: its snapshot is in the ledger.
    Visited { visit: Visit, is_written: bool },
}

/// How a source stands between two visits.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    pub standing: Standing,
    /// `None`: nobody has looked into the spool yet.
    pub backlog: Option<Backlog>,
    /// `None`: nobody has said so yet.
    pub max_gap: Option<TimeDelta>,
}

/// The ear of the one that notifies.
#[derive(Clone, Debug)]
pub struct Teller(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    queue: Mutex<Queue>,
    come: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    said: VecDeque<(String, Said)>,
    given_up: u64,
    rests: BTreeMap<String, Rest>,
    /// Another configuration, to be taken over.
    configured: Option<Vec<WebhookConfig>>,
}

/// All that was said since it was asked last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub said: VecDeque<(String, Said)>,
    pub given_up: u64,
    pub rests: BTreeMap<String, Rest>,
    pub configured: Option<Vec<WebhookConfig>>,
}

impl Teller {
    pub(super) fn new(clock: Clock, webhooks: Vec<WebhookConfig>) -> Self {
        let queue = Queue { configured: Some(webhooks), ..Queue::default() };
        Self(Arc::new(Shared { clock, queue: Mutex::new(queue), come: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, source: &str, said: Said) {
        let mut queue = self.lock();
        if queue.said.len() >= MOST {
            queue.said.pop_front();
            queue.given_up += 1;
        }
        queue.said.push_back((source.to_owned(), said));
        drop(queue);
        self.0.come.notify_one();
    }

    /// A visit of a source begins.
    pub fn begins(&self, source: &str) {
        self.say(source, Said::Begun(self.0.clock.now()));
    }

    /// Whoever visits leads, or nobody knows of another one.
    fn leads(&self, source: &str) {
        let unknown = Rest { standing: Standing::Unknown, backlog: None, max_gap: None };
        let mut queue = self.lock();
        let rest = queue.rests.entry(source.to_owned()).or_insert(unknown);
        if matches!(rest.standing, Standing::StandingBy { .. }) {
            rest.standing = Standing::Leading;
        }
    }

    /// The ledger says what is believed of a source.
    pub fn learns(&self, source: &str, beliefs: &Beliefs) {
        self.leads(source);
        self.say(source, Said::Learned(Box::new(beliefs.head.clone())));
    }

    /// A cycle of a source was made.
    pub fn made(&self, source: &str, step: &Step, max_gap: TimeDelta) {
        let (visit, is_written) = match step {
            Step::Visited(outcome) => {
                let snapshot = &outcome.snapshot;
                let has_listing = snapshot.desktops.is_some();
                let failure = snapshot.failure.as_ref().filter(|_| !has_listing);
                let code = failure.and_then(|failure| failure.code.clone());
                let visit = Visit {
                    at: snapshot.observed_at,
                    max_gap: snapshot.max_gap,
                    has_listing,
                    code,
                };
                (visit, matches!(outcome.kept, Kept::Written(_)))
            }
            Step::Withheld(withheld) => {
                let code = match withheld {
                    Withheld::ClockBehind { .. } => "clock",
                    Withheld::Full(_) => "spool",
                };
                let at = self.0.clock.now();
                let code = Some(code.to_owned());
                (Visit { at, max_gap, has_listing: false, code }, false)
            }
            Step::StoodBy { .. } => return,
        };
        self.leads(source);
        self.say(source, Said::Visited { visit, is_written });
    }

    /// A source's loop waits for the next thing to do.
    pub fn rests(&self, source: &str, keeper: &Keeper, max_gap: TimeDelta) {
        let (standing, backlog) = (keeper.standing(), Some(keeper.spooled()));
        let rest = Rest { standing, backlog, max_gap: Some(max_gap) };
        self.lock().rests.insert(source.to_owned(), rest);
    }

    /// A source is not recorded here any more.
    pub fn leaves(&self, source: &str) {
        self.lock().rests.remove(source);
    }

    /// These webhooks hold from here on.
    pub fn configure(&self, webhooks: Vec<WebhookConfig>) {
        self.lock().configured = Some(webhooks);
        self.0.come.notify_one();
    }

    /// All that was said since.
    pub(super) fn hear(&self) -> Heard {
        let mut queue = self.lock();
        Heard {
            said: std::mem::take(&mut queue.said),
            given_up: std::mem::take(&mut queue.given_up),
            rests: queue.rests.clone(),
            configured: queue.configured.take(),
        }
    }

    /// Waits until something is said.
    pub(super) async fn come(&self) {
        self.0.come.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_nobody_listening_the_oldest_is_given_up_and_counted() {
        let teller = Teller::new(Clock::System, Vec::new());
        for _ in 0..MOST + 3 {
            teller.begins("prod");
        }
        let heard = teller.hear();
        assert_eq!((heard.said.len(), heard.given_up), (MOST, 3));
        assert!(teller.hear().said.is_empty());
    }
}
