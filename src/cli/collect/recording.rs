//! The sources that are recorded now, each by a worker of its own, and how another configuration takes the place of
//! the one that holds.
//!
//! First all is done that may fail or take its time, while everything goes on as it was; then, without waiting for
//! anything, the new configuration holds. So a tick is never without its source.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::vacancies::Vacancies;
use super::{outside, slots, worker};
use crate::cli::Globals;
use crate::cli::ledger::Ledger;
use crate::cli::sources::{Prepared, Ready, Visits, prepare};
use crate::clock::Clock;
use crate::collector::spool::Spool;
use crate::collector::{Cycle, Ticker};
use crate::config::{Config, MetricsSettings, SourceConfig, WebhookConfig};
use crate::domain::Source;
use crate::error::usage;
use crate::metrics::Watch;
use crate::notify::Teller;
use crate::store::StoreError;
use crate::workspace::{Accounts, Client};

/// A source that is taken up: what is configured, where it is, and what visits and keeps it.
pub(super) struct Taken {
    pub source: SourceConfig,
    pub place: Source,
    pub cycle: Cycle<Client>,
}

impl Taken {
    /// # Errors
    /// See [`slots::keeper`].
    pub async fn up(ledger: &Ledger, spool: &Spool, ready: Ready) -> anyhow::Result<Self> {
        let Ready { source, client, place } = ready;
        let keeper = slots::keeper(ledger, spool, &place, source.schedule.shortest_step()).await?;
        let cycle = Cycle::new(&source.name, client, keeper, Clock::System, source.max_gap);
        Ok(Self { source, place, cycle })
    }
}

/// The names of the sources that this process records.
#[derive(Clone, Debug, Default)]
pub(super) struct Ours(Arc<Mutex<BTreeSet<String>>>);

impl Ours {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn insert(&self, name: &str) {
        self.lock().insert(name.to_owned());
    }

    fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    pub fn contains(&self, name: &str) -> bool {
        self.lock().contains(name)
    }
}

/// What a worker is to do otherwise. Of several that come during one visit the last holds.
#[derive(Debug, Default)]
pub(super) struct Change {
    latest: Mutex<Option<Box<(SourceConfig, Client)>>>,
    come: Notify,
}

impl Change {
    fn give(&self, source: SourceConfig, client: Client) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Box::new((source, client)));
        self.come.notify_one();
    }

    /// Waits for the next one.
    pub async fn next(&self) -> Box<(SourceConfig, Client)> {
        loop {
            self.come.notified().await;
            let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(latest) = latest {
                return latest;
            }
        }
    }
}

/// The configuration that was started with, and how it is read again.
pub(super) struct Origin<'a> {
    pub globals: &'a Globals,
    pub metrics_listen: Option<String>,
    pub config: &'a Config,
    pub metrics: MetricsSettings,
}

impl Origin<'_> {
    /// Reads it again, from the same file.
    fn again(&self) -> anyhow::Result<Config> {
        let mut globals = self.globals.clone();
        // If it is gone, that is a mistake and not another place to look in.
        globals.config = self.config.file.clone().or(globals.config);
        Ok(globals.configuration()?)
    }

    /// What has changed, and holds only from the next start on.
    fn unchangeable(&self, config: &Config) -> anyhow::Result<Vec<&'static str>> {
        let expose =
            |url: &Option<SecretString>| url.as_ref().map(|url| url.expose_secret().to_owned());
        let metrics = config.metrics(self.metrics_listen.clone())?;
        // Refused now, rather than when it is started again.
        config.spool_config()?;
        let changed = [
            (
                "`url` of `[database]`",
                expose(&config.database_url) != expose(&self.config.database_url),
            ),
            ("`data_dir` of `[private]`", config.data_dir != self.config.data_dir),
            ("`[spool]`", config.spool != self.config.spool),
            ("`[retention]`", config.retention != self.config.retention),
            ("`listen` of `[metrics]`", metrics != self.metrics),
        ];
        Ok(changed.into_iter().filter(|(_, is)| *is).map(|(what, _)| what).collect())
    }
}

/// What workers are given.
pub(super) struct Recording<'a> {
    pub ledger: &'a Ledger,
    pub spool: &'a Spool,
    pub watch: &'a Watch,
    pub ours: Ours,
    pub accounts: Accounts,
    teller: Teller,
    webhooks: Vec<WebhookConfig>,
    /// Ends visits under way.
    pub halt: &'a CancellationToken,
    ticker: Arc<Ticker>,
    vacancies: Arc<Vacancies>,
    stop: CancellationToken,
    workers: TaskTracker,
    recorded: BTreeMap<String, Recorded>,
    /// Workers of sources that were taken out, until they are through.
    leaving: HashMap<String, JoinHandle<()>>,
}

/// A source and its worker.
struct Recorded {
    source: SourceConfig,
    place: Source,
    change: Arc<Change>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

/// What became of the sources, by name.
#[derive(Debug, Default)]
struct Summary {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
    same: usize,
    has_other_webhooks: bool,
}

impl<'a> Recording<'a> {
    pub fn new(
        ledger: &'a Ledger,
        spool: &'a Spool,
        watch: &'a Watch,
        (ours, accounts): (Ours, Accounts),
        (teller, webhooks): (Teller, Vec<WebhookConfig>),
        halt: &'a CancellationToken,
    ) -> Self {
        Self {
            ledger,
            spool,
            watch,
            ours,
            accounts,
            teller,
            webhooks,
            halt,
            ticker: Arc::new(Ticker::new(Clock::System)),
            vacancies: Arc::new(Vacancies::new(ledger.store.clone())),
            stop: CancellationToken::new(),
            workers: TaskTracker::new(),
            recorded: BTreeMap::new(),
            leaving: HashMap::new(),
        }
    }

    pub fn ticker(&self) -> &Arc<Ticker> {
        &self.ticker
    }

    /// Ends workers and ticks, once it is cancelled.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits for all workers.
    pub async fn end(&self) {
        self.workers.close();
        self.workers.wait().await;
    }

    /// Records a source from here on.
    pub fn begin(&mut self, taken: Taken) {
        let Taken { source, place, cycle } = taken;
        let name = source.name.clone();
        let (stop, change) = (self.stop.child_token(), Arc::new(Change::default()));
        let recording = worker::record(
            source.clone(),
            cycle,
            worker::Told {
                ticks: self.ticker.add(&name, source.schedule.clone()),
                change: Arc::clone(&change),
                stop: stop.clone(),
            },
            Arc::clone(&self.vacancies),
            (self.watch.begin(&name), self.teller.clone()),
        );
        let (ours, of) = (self.ours.clone(), name.clone());
        let worker = self.workers.spawn(async move {
            recording.await;
            ours.remove(&of);
        });
        self.recorded.insert(name, Recorded { source, place, change, stop, worker });
    }

    /// Has the configuration take the place of the one that holds.
    ///
    /// # Errors
    /// It cannot be used, for whichever reason a start would not be made with it; then nothing has changed.
    pub async fn reload(&mut self, origin: &Origin<'_>) -> anyhow::Result<()> {
        let config = origin.again()?;
        let unchangeable = origin.unchangeable(&config)?;
        let webhooks = config.webhooks()?;
        let mut accounts = self.accounts.renewed();
        let prepared = prepare(config.sources()?, &accounts, Visits::OnSchedule, self.halt)?;
        let names: BTreeSet<String> =
            prepared.iter().map(|prepared| prepared.source.name.clone()).collect();
        let is_same = |source: &SourceConfig| {
            self.recorded.get(&source.name).is_some_and(|recorded| recorded.source == *source)
        };
        let others: Vec<_> =
            prepared.into_iter().filter(|prepared| !is_same(&prepared.source)).collect();
        let mut summary = Summary { same: names.len() - others.len(), ..Summary::default() };

        // A ledger that is away answers late, and is not asked for nothing.
        let places = match others.iter().all(Prepared::has_project) {
            true => Vec::new(),
            false => self.places().await,
        };
        let resolving = others.into_iter().map(|prepared| prepared.resolve(&places));
        let ready = futures_util::future::try_join_all(resolving).await?;
        let (changed, added): (Vec<_>, Vec<_>) =
            ready.into_iter().partition(|ready| self.recorded.contains_key(&ready.source.name));
        for ready in &changed {
            self.may_be_at(&ready.place).await?;
        }
        let mut taken: Vec<Taken> = Vec::with_capacity(added.len());
        for ready in added {
            let name = ready.source.name.clone();
            // It was taken out a moment ago: its part of the spool is one worker's.
            if let Some(worker) = self.leaving.get_mut(&name) {
                let _ = worker.await;
                self.leaving.remove(&name);
            }
            self.ours.insert(&name);
            match Taken::up(self.ledger, self.spool, ready).await {
                Ok(one) => taken.push(one),
                Err(error) => {
                    for name in taken.iter().map(|one| &one.source.name).chain([&name]) {
                        self.ours.remove(name);
                    }
                    return Err(error);
                }
            }
        }

        // From here on nothing fails, and nothing is waited for.
        accounts.begin();
        self.accounts = accounts;
        let gone: Vec<String> =
            self.recorded.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            self.remove(&name);
            summary.removed.push(name);
        }
        for Ready { source, client, place } in changed {
            let recorded = self.recorded.get_mut(&source.name).expect("it was found");
            self.watch.change(&outside::watched(&source));
            self.ticker.change(&source.name, source.schedule.clone());
            recorded.change.give(source.clone(), client);
            (recorded.source, recorded.place) = (source.clone(), place);
            summary.changed.push(source.name);
        }
        for taken in taken {
            summary.added.push(taken.source.name.clone());
            self.watch.add(outside::watched(&taken.source));
            self.begin(taken);
        }
        summary.has_other_webhooks = webhooks != self.webhooks;
        // Also the same ones: what a receiver has ended begins again.
        self.teller.configure(webhooks.clone());
        self.webhooks = webhooks;
        summary.say(&unchangeable);
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        let Some(recorded) = self.recorded.remove(name) else { return };
        self.watch.remove(name);
        self.ticker.remove(name);
        self.teller.leaves(name);
        recorded.stop.cancel();
        self.leaving.retain(|_, worker| !worker.is_finished());
        self.leaving.insert(name.to_owned(), recorded.worker);
    }

    /// Where all sources are that were ever recorded, as far as that is known.
    async fn places(&self) -> Vec<Source> {
        let ours = self.recorded.values().map(|recorded| recorded.place.clone());
        let ledgers = self.ledger.store.sources().await.unwrap_or_default();
        ours.chain(ledgers.into_iter().map(|(_, place)| place)).collect()
    }

    /// Whether a source that is recorded may be where it is configured to be now: it is pinned to its place.
    async fn may_be_at(&self, place: &Source) -> anyhow::Result<()> {
        let before = &self.recorded[&place.name].place;
        if before == place {
            return Ok(());
        }
        // Whatever the ledger says, or whether it answers: what waits in the spool is of the old one.
        for (what, recorded, given) in [
            ("region", &before.region, &place.region),
            ("project_id", &before.project_id, &place.project_id),
            ("endpoint", &before.endpoint, &place.endpoint),
        ] {
            if let (Some(recorded), Some(given)) = (recorded, given)
                && recorded != given
            {
                return Err(usage(StoreError::Pinned {
                    name: place.name.clone(),
                    what,
                    recorded: recorded.clone(),
                    given: given.clone(),
                }));
            }
        }
        match self.ledger.store.register_source(place).await {
            Ok(_) => Ok(()),
            Err(error @ StoreError::Pinned { .. }) => Err(usage(error)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Summary {
    fn say(&self, unchangeable: &[&str]) {
        let quoted = |names: &[String]| {
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let parts =
            [("added", &self.added), ("changed", &self.changed), ("taken out", &self.removed)];
        let mut said: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{} {what}", quoted(names)))
            .collect();
        said.push(match (self.same, said.is_empty()) {
            (_, true) => "nothing of the sources has changed".to_owned(),
            (1, false) => "1 source as before".to_owned(),
            (same, false) => format!("{same} sources as before"),
        });
        if self.has_other_webhooks {
            said.push("other webhooks".to_owned());
        }
        tracing::info!("read the configuration again: {}", said.join("; "));
        if !unchangeable.is_empty() {
            tracing::warn!(
                "{} changed too, which holds only once `collect` is started again",
                unchangeable.join(", ")
            );
        }
    }
}
