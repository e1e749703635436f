//! Hears what was recorded, and puts what is to be told of it into the outbox of each place.
//!
//! It has a task of its own, asks the ledger and the disk there, and is waited for by nobody. What goes on is held against
//! what is open in each outbox; so a place that is added later, and a recorder that was started again, tell what goes on
//! then, and nothing twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use nix::unistd::gethostname;
use tokio::task::JoinHandle;
use tokio::time::{Instant as Moment, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::event::{Condition, Event, data, or_null};
use super::state::{Ongoing, Resumed, State, closed, recovered};
use super::tally::Tally;
use super::target::Target;
use super::teller::{Heard, Rest, Said, Teller};
use crate::clock::Clock;
use crate::config::{Topic, WebhookConfig};
use crate::domain::Instant;
use crate::domain::beliefs::Head;
use crate::error::Chain;
use crate::store::{FailedVisits, Store, StoreError};

/// How often what only time brings about is looked for.
const ROUND: Duration = Duration::from_secs(1);
/// How long the ledger's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the ledger is asked again for the end of what other recorders have seen the end of, and the disk for what other
/// processes have put there.
const LOOK: Duration = Duration::from_secs(30);
/// What came about so short a time before a recorder leads may have been seen by one that ended before it could tell.
const UNTOLD: TimeDelta = TimeDelta::hours(1);
/// How long an end waits for what can be delivered at once.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// The parts of the spool's room, in percent, above which it is more than half full, and below which it is so no more: a
/// spool that goes up and down around its half is told of once.
const OVER: u64 = 50;
const BELOW: u64 = 40;

/// The one that notifies, until it is told to end.
#[derive(Debug)]
pub struct Notifier {
    /// Hears what is recorded.
    pub teller: Teller,
    /// Counts what became of events.
    pub tally: Arc<Tally>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What of this process's spool has to be known.
#[derive(Clone, Debug)]
pub struct SpoolPart {
    /// The part that is this process's.
    pub slot: String,
    /// The bytes that it may take.
    pub max_bytes: u64,
}

impl Notifier {
    /// Begins to notify; outboxes are kept in `folder`.
    #[must_use]
    pub fn start(
        folder: PathBuf,
        webhooks: Vec<WebhookConfig>,
        store: Store,
        spool: SpoolPart,
        clock: Clock,
    ) -> Self {
        let teller = Teller::new(clock.clone(), webhooks);
        let (tally, stop) = (Arc::<Tally>::default(), CancellationToken::new());
        let work = Work {
            folder,
            store,
            spool,
            clock,
            tally: Arc::clone(&tally),
            states: BTreeMap::new(),
            targets: Vec::new(),
            checked: HashMap::new(),
            asked: HashMap::new(),
            looked: None,
        };
        let task = tokio::spawn(work.run(teller.clone(), stop.clone()));
        Self { teller, tally, stop, task }
    }

    /// Takes in what was said last, tries for a moment to deliver it, and ends. What waits then is on disk.
    pub async fn end(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

struct Work {
    folder: PathBuf,
    store: Store,
    spool: SpoolPart,
    clock: Clock,
    tally: Arc<Tally>,
    states: BTreeMap<String, State>,
    targets: Vec<Target>,
    /// Up to when many disconnects were looked for, by source.
    checked: HashMap<String, Instant>,
    /// When the ledger was asked for an end, by subject.
    asked: HashMap<String, Moment>,
    /// When the outboxes were read.
    looked: Option<Moment>,
}

impl Work {
    async fn run(mut self, teller: Teller, stop: CancellationToken) {
        loop {
            self.round(teller.hear()).await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = teller.come() => {}
                () = sleep(ROUND) => {}
            }
        }
        self.round(teller.hear()).await;
        let emptied = futures_util::future::join_all(self.targets.iter().map(Target::emptied));
        let _ = timeout(LAST_PATIENCE, emptied).await;
        let ends = self.targets.into_iter().map(Target::end);
        let _ = timeout(LAST_PATIENCE, futures_util::future::join_all(ends)).await;
    }

    async fn round(&mut self, heard: Heard) {
        if let Some(webhooks) = heard.configured {
            self.configure(webhooks).await;
        }
        if heard.given_up > 0 {
            tracing::error!(
                "{} things that were seen could not be looked at in time: webhooks may not tell of them",
                heard.given_up
            );
        }
        self.follow(heard.rests);
        for (source, said) in heard.said {
            self.hear(&source, said).await;
        }
        if self.targets.is_empty() {
            return;
        }
        if self.looked.is_none_or(|at| at.elapsed() > LOOK) {
            self.look().await;
        }
        let now = self.clock.now();
        let names: Vec<String> = self.states.keys().cloned().collect();
        for name in names {
            self.settle(&name, now).await;
        }
        self.settle_spool(now).await;
    }

    /// Has other webhooks take the place of those that hold; one that is the same goes on, unless it is over.
    async fn configure(&mut self, webhooks: Vec<WebhookConfig>) {
        let names: Vec<&str> = webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
        self.tally.known(&names);
        let mut before: Vec<Target> = std::mem::take(&mut self.targets);
        for webhook in webhooks {
            let same =
                before.iter().position(|target| target.config == webhook && !target.is_over());
            match same {
                Some(at) => self.targets.push(before.swap_remove(at)),
                None => {
                    let (clock, tally) = (self.clock.clone(), Arc::clone(&self.tally));
                    self.targets.extend(Target::start(&self.folder, webhook, clock, tally).await);
                }
            }
        }
        for target in before {
            // Should it be at an attempt, that is not broken off; who comes after waits for it.
            target.stop();
        }
        self.looked = None;
    }

    fn follow(&mut self, rests: BTreeMap<String, Rest>) {
        let names: BTreeSet<&String> = rests.keys().collect();
        self.states.retain(|name, _| names.contains(name));
        for (name, rest) in rests {
            let state = self.state(&name);
            state.standing = Some(rest.standing);
            state.backlog = rest.backlog;
            state.max_gap = rest.max_gap.unwrap_or(state.max_gap);
        }
    }

    fn state(&mut self, name: &str) -> &mut State {
        self.states.entry(name.to_owned()).or_insert_with(|| State::new(name, TimeDelta::zero()))
    }

    async fn look(&mut self) {
        self.looked = Some(Moment::now());
        for target in &mut self.targets {
            target.look().await;
        }
    }

    async fn hear(&mut self, source: &str, said: Said) {
        match said {
            Said::Begun(at) => self.state(source).under_way = Some(at),
            Said::Learned(head) => self.learn(source, &head).await,
            Said::Visited { visit, is_written } => {
                let state = self.state(source);
                state.visited(&visit);
                let (resumed, name) = (state.resumed.take(), source.to_owned());
                if let Some(resumed) = resumed {
                    self.resume(&name, &resumed).await;
                }
                if is_written && visit.has_listing {
                    self.check_disconnects(&name, visit.at).await;
                }
            }
        }
    }

    /// Takes over what the ledger says, and what may not have been told of it.
    async fn learn(&mut self, source: &str, head: &Head) {
        let usable = head.usable.map(|mark| mark.at);
        let failed = match self.targets.is_empty() {
            true => FailedVisits::default(),
            false => asked(self.store.failed_visits(source, usable)).await.unwrap_or_default(),
        };
        self.state(source).learn(head, failed);
        self.look().await;
        let Some(usable) = usable else { return };
        self.check_disconnects(source, usable).await;
        if !self.wants(Topic::Gap) {
            return;
        }
        let since = self.clock.now() - UNTOLD;
        let gaps = asked(self.store.gaps_closed(source, since)).await.unwrap_or_default();
        for gap in gaps {
            let resumed = Resumed {
                since: gap.gap_from,
                at: gap.gap_to,
                is_gap: true,
                max_gap: head.usable.map_or(TimeDelta::zero(), |mark| mark.max_gap),
                failed: FailedVisits::default(),
            };
            self.tell_gap(source, &resumed, false).await;
        }
    }

    fn wants(&self, topic: Topic) -> bool {
        self.targets.iter().any(|target| target.wants(topic))
    }

    /// A listing came: what ended with it is over.
    async fn resume(&mut self, source: &str, resumed: &Resumed) {
        let now = self.clock.now();
        let condition = |topic| Condition { topic, about: source.to_owned(), since: resumed.since };
        let failing = condition(Topic::Failing);
        for target in &mut self.targets {
            if target.has_open(&failing) {
                let event = failing.ends(resumed.at, recovered(&failing, resumed.at));
                target.end_of(&failing, event, now).await;
            }
        }
        if resumed.is_gap {
            self.tell_gap(source, resumed, true).await;
            return;
        }
        // The visit that joins what was before began in time, and took longer than anybody waits.
        let gap = condition(Topic::Gap);
        for target in &mut self.targets {
            if target.has_open(&gap) {
                let event = gap.ends(resumed.at, closed(&gap, gap.since));
                target.end_of(&gap, event, now).await;
            }
        }
    }

    /// Tells of a gap that is over, its beginning first where that was not told.
    async fn tell_gap(&mut self, source: &str, resumed: &Resumed, is_counted: bool) {
        let now = self.clock.now();
        let Some(state) = self.states.get(source) else { return };
        let failed = is_counted.then_some(&resumed.failed);
        let gap = state.gap_since(resumed.since, resumed.max_gap, failed);
        for target in self.targets.iter_mut().filter(|target| target.wants(Topic::Gap)) {
            // Of an earlier one the end is still to be learnt, and is told first.
            if target.has_any(&gap.condition) && !target.has_open(&gap.condition) {
                continue;
            }
            let event = gap.condition.ends(resumed.at, closed(&gap.condition, resumed.at));
            if !target.has_open(&gap.condition) && !target.was_told(&event.id).await {
                target.begin(&gap, now).await;
            }
            target.end_of(&gap.condition, event, now).await;
        }
    }

    /// Looks for steps in which many disconnected, up to a listing that is in the ledger.
    async fn check_disconnects(&mut self, source: &str, until: Instant) {
        let wanting = || self.targets.iter().filter(|target| target.wants(Topic::MassDisconnect));
        let min = wanting().map(|target| target.config.disconnect_min).min();
        let share = wanting().map(|target| target.config.disconnect_share).min();
        let (Some(min), Some(share)) = (min, share) else { return };
        let first = until - UNTOLD;
        // What is older than a day wakes nobody.
        let after = self.checked.get(source).copied().unwrap_or(first).max(until - super::LIFE);
        if after >= until {
            return;
        }
        let Some(outages) = asked(self.store.outages(source, (after, until), min, share)).await
        else {
            return;
        };
        self.checked.insert(source.to_owned(), until);
        let now = self.clock.now();
        for outage in outages {
            let (connected, disconnects) = (outage.connected_before, outage.disconnects);
            let data = data([
                ("source", source.into()),
                ("after", or_null(outage.after)),
                ("observed_at", or_null(Some(outage.observed_at))),
                ("connected_before", connected.into()),
                ("disconnects", disconnects.into()),
            ]);
            let (kind, at) = (Topic::MassDisconnect.begins_as(), outage.observed_at);
            let event = Event::new(kind, source, at, at, data);
            for target in &mut self.targets {
                let (min, share) = (target.config.disconnect_min, target.config.disconnect_share);
                let is_mass = disconnects >= i64::from(min)
                    && 100 * disconnects >= i64::from(share) * connected;
                if is_mass && target.wants(Topic::MassDisconnect) {
                    target.tell(event.clone(), now).await;
                }
            }
        }
    }

    /// Begins to tell what has begun of a source, and ends what others have seen the end of.
    async fn settle(&mut self, source: &str, now: Instant) {
        self.end_what_ended(source, now).await;
        let Some(state) = self.states.get(source).filter(|state| state.decides()) else { return };
        for target in &mut self.targets {
            let ongoing: [Option<Ongoing>; 3] =
                [state.failing(target.config.failing_after), state.gap(now), state.waiting(now)];
            for ongoing in ongoing.into_iter().flatten() {
                let topic = ongoing.condition.topic;
                if target.wants(topic) && !target.has_any(&ongoing.condition) {
                    target.begin(&ongoing, now).await;
                }
            }
            let waited = target.open_one(Topic::SpoolWaiting, source);
            if let Some(waited) = waited.filter(|_| state.is_caught_up()) {
                let data = data([("source", source.into()), ("caught_up_at", or_null(Some(now)))]);
                target.end_of(&waited, waited.ends(now, data), now).await;
            }
        }
    }

    /// Ends what began before the newest listing, or may have ended under another recorder: by what the ledger says.
    async fn end_what_ended(&mut self, source: &str, now: Instant) {
        let Some(state) = self.states.get(source) else { return };
        for topic in [Topic::Failing, Topic::Gap] {
            let open = self.targets.iter().filter_map(|target| target.open_one(topic, source));
            let is_over = |open: &Condition| {
                !state.decides() || state.listing.is_some_and(|listing| listing.at > open.since)
            };
            let Some(open) = open.filter(is_over).min_by_key(|open| open.since) else { continue };
            let key = format!("{}-{}", open.subject(), open.since);
            if self.asked.get(&key).is_some_and(|at| at.elapsed() < LOOK) {
                continue;
            }
            self.asked.retain(|_, at| at.elapsed() < LOOK);
            self.asked.insert(key, Moment::now());
            let next = asked(self.store.next_listing(source, open.since)).await;
            let Some(at) = next.flatten() else { continue };
            let data = if topic == Topic::Gap { closed(&open, at) } else { recovered(&open, at) };
            for target in &mut self.targets {
                if target.has_open(&open) {
                    target.end_of(&open, open.ends(at, data.clone()), now).await;
                }
            }
        }
    }

    /// Whether the spool of this process is more than half full.
    async fn settle_spool(&mut self, now: Instant) {
        let backlogs: Vec<_> = self.states.values().map(|state| state.backlog).collect();
        if backlogs.is_empty() || backlogs.iter().any(Option::is_none) || self.spool.max_bytes == 0
        {
            return;
        }
        let backlogs = || backlogs.iter().flatten();
        let bytes: u64 = backlogs().map(|backlog| backlog.bytes).sum();
        let percent = u128::from(bytes) * 100;
        let of_max = |part: u64| u128::from(self.spool.max_bytes) * u128::from(part);
        let host = gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let about = format!("{host}/{}", self.spool.slot);
        let data = data([
            ("host", host.into()),
            ("bytes", bytes.into()),
            ("max_bytes", self.spool.max_bytes.into()),
            ("snapshots", backlogs().map(|backlog| backlog.snapshots).sum::<usize>().into()),
            ("oldest_snapshot_at", or_null(backlogs().filter_map(|backlog| backlog.oldest).min())),
        ]);
        for target in &mut self.targets {
            let open = target.open_one(Topic::SpoolOverHalf, &about);
            match open {
                None if percent > of_max(OVER) && target.wants(Topic::SpoolOverHalf) => {
                    let about = about.clone();
                    let condition = Condition { topic: Topic::SpoolOverHalf, about, since: now };
                    let over = Ongoing { condition, at: now, data: data.clone() };
                    target.begin(&over, now).await;
                }
                Some(open) if percent < of_max(BELOW) => {
                    target.end_of(&open, open.ends(now, data.clone()), now).await;
                }
                _ => {}
            }
        }
    }
}

/// What the ledger answers; `None`: nothing in time.
async fn asked<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!("webhooks: {}", Chain(&error));
            None
        }
        Err(_) => None,
    }
}
