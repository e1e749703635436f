//! One place that is told: its outbox, what is open there, and the task that posts.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant as Moment, sleep};
use tokio_util::sync::CancellationToken;

use super::deliver::Delivery;
use super::event::{Condition, Event};
use super::outbox::{Added, Opened, Outbox};
use super::post::Poster;
use super::state::Ongoing;
use super::tally::{Outcome, Tally};
use crate::clock::Clock;
use crate::config::{Topic, WebhookConfig};
use crate::domain::Instant;
use crate::error::Chain;

/// How long a disk that takes nothing is left alone.
const PAUSE: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Target {
    pub config: WebhookConfig,
    outbox: Outbox,
    /// What is open there, by subject, as far as was looked.
    opened: BTreeMap<String, Opened>,
    /// Until when its disk is left alone.
    paused_until: Option<Moment>,
    tally: Arc<Tally>,
    come: Arc<Notify>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Target {
    /// Begins to post there; `None`: that cannot be, which is said.
    pub async fn start(
        folder: &Path,
        config: WebhookConfig,
        clock: Clock,
        tally: Arc<Tally>,
    ) -> Option<Self> {
        let name = config.name.clone();
        let (folder, of) = (folder.to_owned(), name.clone());
        let opened = tokio::task::spawn_blocking(move || Outbox::open(&folder, &of)).await;
        let outbox = opened.unwrap_or_else(|error| Err(io::Error::other(error)));
        let outbox = outbox.map_err(|error| complain(&name, &error)).ok()?;
        let poster = Poster::new(config.clone(), clock.clone());
        let poster = poster.map_err(|error| {
            tracing::error!(webhook = name, "webhook `{name}`: cannot post: {}", Chain(&error));
        });
        let (come, stop) = (Arc::<Notify>::default(), CancellationToken::new());
        let delivery = Delivery {
            name,
            outbox: outbox.clone(),
            poster: poster.ok()?,
            tally: Arc::clone(&tally),
            clock,
            come: Arc::clone(&come),
        };
        let task = tokio::spawn(delivery.run(stop.clone()));
        let opened = BTreeMap::new();
        Some(Self { config, outbox, opened, paused_until: None, tally, come, stop, task })
    }

    /// Ends the task once the attempt that is under way is over.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether its task has ended: the receiver is gone.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until nothing waits any more.
    pub async fn emptied(&self) {
        while !self.is_over() && !matches!(self.on_disk(Outbox::depth).await, Ok(0) | Err(_)) {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the task.
    pub async fn end(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }

    pub fn wants(&self, topic: Topic) -> bool {
        self.config.topics.contains(&topic)
    }

    /// Reads what is open: other processes of this machine put things there, too.
    pub async fn look(&mut self) {
        match self.on_disk(Outbox::opened).await {
            Ok(opened) => self.opened = opened.into_iter().collect(),
            Err(error) => complain(&self.config.name, &error),
        }
    }

    /// Whether this very thing is open.
    pub fn has_open(&self, condition: &Condition) -> bool {
        self.opened.get(&condition.subject()).is_some_and(|open| open.since == condition.since)
    }

    /// Whether it is open, or an earlier one of which the end was not told.
    pub fn has_any(&self, condition: &Condition) -> bool {
        self.opened.contains_key(&condition.subject())
    }

    /// What is open of this kind.
    pub fn open_one(&self, topic: Topic, about: &str) -> Option<Condition> {
        let mut open = self.opened.values().filter_map(Opened::condition);
        open.find(|open| open.topic == topic && open.about == about)
    }

    /// Whether an event was delivered, or waits.
    pub async fn was_told(&self, id: &str) -> bool {
        let id = id.to_owned();
        let known = self.on_disk(move |outbox| {
            Ok(outbox.was_told(&id) || outbox.pending()?.iter().any(|event| event.id == id))
        });
        known.await.unwrap_or(false)
    }

    /// Takes in an event of one instant.
    pub async fn tell(&mut self, event: Event, now: Instant) {
        self.put(move |outbox| outbox.tell(&event, now)).await;
    }

    /// Takes in that something has begun.
    pub async fn begin(&mut self, ongoing: &Ongoing, now: Instant) {
        let condition = ongoing.condition.clone();
        let event = condition.begins(ongoing.at, ongoing.data.clone());
        let opened = Opened {
            kind: event.kind.to_owned(),
            about: condition.about.clone(),
            since: condition.since,
            id: event.id.clone(),
        };
        let subject = condition.subject();
        if self.put(move |outbox| outbox.begin(&condition, &event, now)).await {
            self.opened.insert(subject, opened);
        }
    }

    /// Takes in that something is over.
    pub async fn end_of(&mut self, condition: &Condition, event: Event, now: Instant) {
        let (condition, subject) = (condition.clone(), condition.subject());
        if self.put(move |outbox| outbox.end(&condition, &event, now)).await {
            self.opened.remove(&subject);
        }
    }

    /// Works on the outbox; says whether that was done.
    async fn put(
        &mut self,
        work: impl FnOnce(&Outbox) -> io::Result<Added> + Send + 'static,
    ) -> bool {
        if self.paused_until.is_some_and(|until| until > Moment::now()) {
            return false;
        }
        let name = self.config.name.clone();
        match self.on_disk(work).await {
            Ok(Added::Nothing) => {}
            Ok(Added::Waits(given_up)) => {
                self.come.notify_one();
                if !given_up.is_empty() {
                    self.tally.add(&name, Outcome::Dropped, given_up.len());
                    tracing::error!(
                        webhook = name,
                        "webhook `{name}`: {} events wait, and the oldest was GIVEN UP for a new one",
                        super::MOST
                    );
                }
            }
            Err(error) => {
                complain(&name, &error);
                self.tally.add(&name, Outcome::Dropped, 1);
                self.paused_until = Some(Moment::now() + PAUSE);
                return false;
            }
        }
        true
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Outbox) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let outbox = self.outbox.clone();
        let done = tokio::task::spawn_blocking(move || work(&outbox)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

fn complain(name: &str, error: &io::Error) {
    tracing::error!(webhook = name, "webhook `{name}`: cannot keep events: {}", Chain(error));
}
