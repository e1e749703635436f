//! Executes ops: two recorders, each with processes one after another, a disk, a clock and a line to the
//! database.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use deskledger::clock::{Clock, ManualClock};
use deskledger::collector::spool::Spool;
use deskledger::collector::{Cycle, Keeper, Kept, Opening, PATIENCE, Step, Withheld, Written};
use deskledger::config::{SpoolConfig, WhenFull};
use deskledger::domain::{Instant, Snapshot, Source};
use deskledger::store::{Candidate, Recorder, Store};
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tempfile::TempDir;
use tokio::sync::watch;

use super::fleet::{Book, CODE, Eyes};
use super::line::Line;
use super::op::{Dice, Disk, Op};
use crate::support::ledger::ledger;
use crate::support::postgres::TestDatabase;

/// The one source.
pub const SOURCE: &str = "prod";
/// Rounds in which everything has to be caught up once all is well.
const ROUNDS: usize = 8;

type Open =
    dyn Fn() -> BoxFuture<'static, Result<Recorder, deskledger::store::StoreError>> + Send + Sync;

pub struct Run {
    /// A way to the database to which nothing happens.
    pub pool: PgPool,
    pub store: Store,
    pub book: Book,
    pub machines: Vec<Machine>,
    /// What happened how often.
    pub tally: Tally,
    time: Arc<Mutex<i64>>,
    is_down: bool,
    _database: TestDatabase,
}

pub type Tally = BTreeMap<&'static str, u64>;

/// One recorder, across its processes.
pub struct Machine {
    who: usize,
    eyes: Eyes,
    clock: Clock,
    hands: ManualClock,
    line: Line,
    is_cut: bool,
    folder: TempDir,
    disk: Disk,
    /// Whether a process of it has ever dropped visits.
    pub drops: bool,
    /// Whether its clock was ever set back.
    pub is_set_back: bool,
    generation: u32,
    /// Whether its line was struck while its cycle ran last.
    was_struck: bool,
    process: Option<Process>,
}

struct Process {
    name: Arc<str>,
    cycle: Cycle<Eyes>,
    /// Gone when everything of the process is.
    rest: Weak<Open>,
    deaths: watch::Receiver<u64>,
    /// What the next snapshot has to say.
    notes: BTreeSet<&'static str>,
    /// When the visit before began, by the clock and by what had passed.
    before: Option<(Instant, Duration)>,
    /// When the cycle that goes on began, likewise.
    now: Option<(Instant, Duration)>,
    /// The visit that found no place.
    held: Option<(Instant, Instant)>,
}

impl Run {
    pub async fn new(seed: u64) -> Self {
        let (database, _) = ledger().await;
        // Compiling the views' plans would take longer than all the rest.
        let server = PgConnectOptions::clone(&database.pool.connect_options());
        let pool = PgPoolOptions::new().max_connections(2);
        let pool = pool.connect_with(server.clone().options([("jit", "off")])).await.unwrap();
        let store = Store::from_pool(pool.clone());
        let mut dice = Dice::of(&[seed, 8]);
        // Often over the end of a month.
        let start: Instant = "2025-09-30T20:00:00.123456Z".parse().unwrap();
        let start = start + TimeDelta::seconds(dice.below(6 * 3_600) as i64);
        let (book, time) = (Book::default(), Arc::new(Mutex::new(100_000)));
        let mut machines = Vec::new();
        for who in 0..2 {
            let (clock, hands) =
                Clock::manual(start + TimeDelta::milliseconds(dice.below(3) as i64));
            let eyes = Eyes {
                seed,
                who,
                hands: hands.clone(),
                time: Arc::clone(&time),
                fault: Arc::default(),
                tick: Arc::default(),
                book: Arc::clone(&book),
            };
            let mut machine = Machine {
                who,
                eyes,
                clock,
                hands,
                line: Line::new(server.clone()),
                is_cut: false,
                folder: tempfile::tempdir().unwrap(),
                disk: Disk::Roomy,
                drops: false,
                is_set_back: false,
                generation: 0,
                was_struck: false,
                process: None,
            };
            machine.start();
            machines.push(machine);
        }
        Self {
            pool,
            store,
            book,
            machines,
            tally: Tally::new(),
            time,
            is_down: false,
            _database: database,
        }
    }

    pub async fn step(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Advance(seconds) => {
                *self.time.lock().unwrap() += seconds;
                for machine in &self.machines {
                    machine.hands.advance(TimeDelta::seconds(seconds));
                }
            }
            Op::Tick(who) => self.tick(who, true).await?,
            Op::Untimed(who) => self.tick(who, false).await?,
            Op::Both => self.both().await?,
            Op::Api(who, fault) => {
                *self.machines[who].eyes.fault.lock().unwrap() = Some(fault);
            }
            Op::Cut(who) => {
                self.machines[who].is_cut = true;
                self.machines[who].line.cut();
            }
            Op::Heal(who) => {
                self.machines[who].is_cut = false;
                self.connect();
            }
            Op::DatabaseDown => {
                self.is_down = true;
                self.machines.iter().for_each(|machine| machine.line.cut());
            }
            Op::DatabaseUp => {
                self.is_down = false;
                self.connect();
            }
            Op::Strike { who, nth, moment, then } => self.machines[who].line.arm(nth, moment, then),
            Op::Release(who) => {
                self.machines[who].line.release();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Op::Crash { who, torn, disk } => self.crash(who, torn, disk).await?,
            Op::Stop { who, disk } => self.stop(who, disk).await?,
            Op::CatchUp(who) => {
                let machine = &mut self.machines[who];
                let process = machine.process.as_mut().unwrap();
                let mut deaths = process.deaths.clone();
                let catching_up = process.cycle.keeper.catch_up();
                if patiently(&machine.line, &mut deaths, catching_up).await.is_none() {
                    self.die(who).await?;
                }
            }
            Op::LeaseEnds => self.end_lease(None).await,
            Op::SetClock(who, by) => {
                self.machines[who].is_set_back |= by < 0;
                let hands = &self.machines[who].hands;
                hands.set(hands.now() + TimeDelta::seconds(by));
            }
        }
        // A strike is for what comes next, and a cut that it made is a cut.
        for machine in &mut self.machines {
            machine.is_cut |= machine.line.is_cut() && !self.is_down;
            machine.look_at_held(&self.book);
        }
        self.check().await
    }

    /// Brings everything up, and has everything caught up.
    pub async fn end(&mut self) -> Result<(), String> {
        self.is_down = false;
        for who in 0..2 {
            self.machines[who].is_cut = false;
            self.machines[who].line.disarm();
            self.machines[who].line.release();
        }
        self.connect();
        for who in 0..2 {
            self.stop(who, Disk::Roomy).await?;
        }
        for _ in 0..ROUNDS {
            for who in 0..2 {
                let newest =
                    self.book.lock().unwrap().iter().map(|served| served.finished_at).max();
                let now = self.machines[who].hands.now().max(newest.unwrap_or_default());
                self.machines[who].hands.set(now + TimeDelta::minutes(1));
                self.end_lease(None).await;
                self.tick(who, false).await?;
                self.machines[who].look_at_held(&self.book);
                self.check().await?;
            }
            if self.waiting() == 0 {
                break;
            }
        }
        if self.waiting() > 0 {
            return Err(format!("{} visits wait still", self.waiting()));
        }
        for machine in &mut self.machines {
            machine.process.as_mut().unwrap().cycle.keeper.step_down().await;
            machine.kill().await?;
        }
        self.check().await?;
        self.check_everything().await
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// How many visits wait, in spools or for them.
    pub fn waiting(&self) -> usize {
        let processes = self.machines.iter().filter_map(|machine| machine.process.as_ref());
        processes.map(|process| process.cycle.keeper.waiting()).sum()
    }

    fn connect(&mut self) {
        for machine in self.machines.iter().filter(|machine| !machine.is_cut && !self.is_down) {
            machine.line.heal();
        }
    }

    async fn end_lease(&self, of: Option<&str>) {
        sqlx::query(
            "update deskledger_data.head set leased_until = clock_timestamp() - interval '1 s'
              where leader is not null and leader = coalesce($1, leader)",
        )
        .bind(of)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    async fn tick(&mut self, who: usize, is_timed: bool) -> Result<(), String> {
        let machine = &mut self.machines[who];
        let tick = is_timed.then(|| minute(machine.hands.now()));
        let step = machine.drive(tick).await;
        match step {
            None => self.die(who).await,
            Some(step) => self.look_at(who, step, true).await,
        }
    }

    async fn both(&mut self) -> Result<(), String> {
        let [one, other] = &mut *self.machines else { unreachable!("there are two") };
        let ticks = [minute(one.hands.now()), minute(other.hands.now())];
        let steps = tokio::join!(one.drive(Some(ticks[0])), other.drive(Some(ticks[1])));
        for (who, step) in [steps.0, steps.1].into_iter().enumerate() {
            match step {
                None => self.die(who).await?,
                Some(step) => self.look_at(who, step, false).await?,
            }
        }
        Ok(())
    }

    /// Holds what a cycle came to against what it should.
    async fn look_at(&mut self, who: usize, step: Step, is_alone: bool) -> Result<(), String> {
        self.count(match &step {
            Step::StoodBy { .. } => "stood by",
            Step::Withheld(Withheld::ClockBehind { .. }) => "clock behind",
            Step::Withheld(Withheld::Full(_)) => "full",
            Step::Visited(outcome) => match &outcome.kept {
                Kept::Written(Written::Recorded { .. }) => "recorded",
                Kept::Written(Written::Late) => "late",
                Kept::Written(Written::Already) => "already",
                Kept::Spooled { dropped: 0, .. } => "spooled",
                Kept::Spooled { .. } => "spooled and dropped",
                Kept::Held { .. } => "held",
            },
        });
        let leader: Option<Option<String>> =
            sqlx::query_scalar("select leader from deskledger_data.head")
                .fetch_optional(&self.pool)
                .await
                .unwrap();
        let leader = leader.flatten();
        let machine = &mut self.machines[who];
        let is_reachable =
            !machine.line.is_cut() && !machine.line.is_holding() && !machine.was_struck;
        let process = machine.process.as_mut().unwrap();
        match step {
            Step::StoodBy { leader: named, .. } => {
                if *named == *process.name {
                    return Err("it stands by for itself".to_owned());
                }
                if is_alone && is_reachable && leader.as_ref() != Some(&named) {
                    return Err(format!("it stands by for {named}, and {leader:?} leads"));
                }
            }
            Step::Withheld(Withheld::ClockBehind { .. }) => {
                process.notes.insert("clock");
            }
            Step::Withheld(Withheld::Full(_)) => {
                process.notes.insert("spool");
            }
            Step::Visited(outcome) => {
                let mut book = self.book.lock().unwrap();
                let served = book
                    .iter_mut()
                    .rev()
                    .find(|served| served.who == who && served.is_of(&outcome.snapshot))
                    .ok_or("it was not what was visited")?;
                machine.drops |= matches!(outcome.kept, Kept::Spooled { dropped: 1.., .. });
                match &outcome.kept {
                    Kept::Held { .. } => {
                        process.held = Some((served.observed_at, served.finished_at));
                    }
                    Kept::Written(_) | Kept::Spooled { .. } => served.is_kept = true,
                }
                if matches!(outcome.kept, Kept::Written(Written::Recorded { .. }))
                    && is_alone
                    && leader.as_deref() != Some(&*process.name)
                {
                    return Err(format!("it recorded, and {leader:?} leads"));
                }
                served.failure = outcome.snapshot.failure.clone();
                let own = served.visit.failure.clone();
                let has_to_say = process.check_notes(&outcome.snapshot, own.is_some())?;
                if !has_to_say && outcome.snapshot.failure != own {
                    return Err(format!("it says {:?} for no reason", outcome.snapshot.failure));
                }
            }
        }
        Ok(())
    }

    /// A process has died by itself.
    async fn die(&mut self, who: usize) -> Result<(), String> {
        self.count("died");
        let disk = self.machines[who].disk;
        self.crash(who, 0, disk).await
    }

    async fn crash(&mut self, who: usize, torn: u8, disk: Disk) -> Result<(), String> {
        let name = self.machines[who].kill().await?;
        if torn > 0 {
            self.machines[who].tear(torn);
        }
        self.restart(who, &name, disk).await
    }

    async fn stop(&mut self, who: usize, disk: Disk) -> Result<(), String> {
        let machine = &mut self.machines[who];
        let process = machine.process.as_mut().unwrap();
        let mut deaths = process.deaths.clone();
        let keeper = &mut process.cycle.keeper;
        let stopping = async {
            keeper.finish(PATIENCE).await;
            keeper.step_down().await;
        };
        patiently(&machine.line, &mut deaths, stopping).await;
        machine.look_at_held(&self.book);
        let name = machine.kill().await?;
        self.restart(who, &name, disk).await
    }

    async fn restart(&mut self, who: usize, name: &str, disk: Disk) -> Result<(), String> {
        // As whoever is started where the leader is known to have ended.
        self.end_lease(Some(name)).await;
        let machine = &mut self.machines[who];
        machine.disk = disk;
        machine.drops |= matches!(disk, Disk::DropOldest(_));
        machine.start();
        self.connect();
        Ok(())
    }
}

impl Machine {
    fn start(&mut self) {
        self.generation += 1;
        let name: Arc<str> = format!("recorder {}, process {}", self.who, self.generation).into();
        let (max_bytes, when_full) = match self.disk {
            Disk::Roomy => (1 << 30, WhenFull::Stop),
            Disk::Stop(bytes) => (bytes, WhenFull::Stop),
            Disk::DropOldest(bytes) => (bytes, WhenFull::DropOldest),
        };
        let dir = self.folder.path().to_owned();
        let spool = Spool::open(&SpoolConfig { dir, max_bytes, min_free: 0, when_full }).unwrap();
        let queue = spool.queue(SOURCE, None).unwrap();
        let store = Store::connect_later(self.line.options());
        let opening: Opening = Arc::new(move || {
            let store = store.clone();
            let (name, region) = (SOURCE.to_owned(), None);
            let source = Source { name, region, project_id: None, endpoint: None };
            Box::pin(async move { Recorder::open(&store, &source).await })
        });
        let rest = Arc::downgrade(&opening);
        let candidate = Candidate { name: Arc::clone(&name), term: Duration::from_hours(10) };
        let keeper = Keeper::new(SOURCE, queue, opening, Some(candidate), self.clock.clone());
        let max_gap = TimeDelta::minutes(15);
        let eyes = self.eyes.clone();
        self.process = Some(Process {
            name,
            cycle: Cycle::new(SOURCE, eyes, keeper, self.clock.clone(), max_gap),
            rest,
            deaths: self.line.deaths(),
            notes: BTreeSet::new(),
            before: None,
            now: None,
            held: None,
        });
    }

    /// Runs a cycle; `None`: the process died in it.
    async fn drive(&mut self, tick: Option<Instant>) -> Option<Step> {
        *self.eyes.tick.lock().unwrap() = tick;
        let process = self.process.as_mut().unwrap();
        process.expect(self.clock.now(), self.clock.uptime());
        let mut deaths = process.deaths.clone();
        let was_armed = self.line.is_armed();
        let step = patiently(&self.line, &mut deaths, process.cycle.run(tick)).await;
        self.was_struck = was_armed && !self.line.is_armed();
        step
    }

    /// Ends the process without a goodbye; says its name.
    async fn kill(&mut self) -> Result<Arc<str>, String> {
        self.line.disarm();
        self.line.cut();
        let Process { name, cycle, rest, .. } = self.process.take().unwrap();
        drop(cycle);
        // Its tasks end, as their connections are gone.
        for _ in 0..2_000 {
            if rest.strong_count() == 0 {
                return Ok(name);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err("a task does not end though its connections are gone".to_owned())
    }

    /// Leaves the beginning of a record at the end of the last segment, as a kill in the midst of a write does.
    fn tear(&self, bytes: u8) {
        let mut segments: Vec<PathBuf> = walk(self.folder.path());
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        segments.sort();
        let Some(last) = segments.last() else { return };
        let mut content = std::fs::read(last).unwrap();
        content.extend_from_within(..usize::from(bytes).min(content.len()));
        std::fs::write(last, content).unwrap();
    }

    /// A visit that found no place is safe once it is held no more.
    fn look_at_held(&mut self, book: &Book) {
        let Some(process) = &mut self.process else { return };
        let is_held = process.cycle.keeper.is_holding();
        if !is_held && let Some(held) = process.held.take() {
            let mut book = book.lock().unwrap();
            let served =
                book.iter_mut().find(|served| (served.observed_at, served.finished_at) == held);
            served.unwrap().is_kept = true;
        }
    }
}

impl Process {
    /// Works out what a visit that begins now has to say of the clock.
    fn expect(&mut self, now: Instant, uptime: Duration) {
        self.now = Some((now, uptime));
    }

    /// Whether a snapshot says what it has to, once; returns whether that is anything.
    fn check_notes(&mut self, snapshot: &Snapshot, failed: bool) -> Result<bool, String> {
        let now = self.now.unwrap();
        let mut expected: Vec<String> = Vec::new();
        let notes = std::mem::take(&mut self.notes);
        let step = self.before.replace(now).map_or(TimeDelta::zero(), |before| {
            (now.0 - before.0) - TimeDelta::from_std(now.1 - before.1).unwrap()
        });
        if notes.contains("clock") {
            expected.push("the clock was set back to ".to_owned());
        } else if step.abs() > TimeDelta::seconds(10) {
            let way = if step > TimeDelta::zero() { "forward" } else { "back" };
            expected.push(format!("the clock was set {way} by "));
        }
        if notes.contains("spool") {
            expected.push("nothing was visited from ".to_owned());
        }
        let failure = snapshot.failure.clone().unwrap_or_default();
        let message = failure.message.unwrap_or_default();
        for expected in &expected {
            if message.matches(expected.as_str()).count() != 1 {
                return Err(format!("it does not say `{expected}…` once: {message}"));
            }
        }
        let code = failure.code.as_deref();
        let is_right = match code {
            Some(CODE) => failed,
            Some("clock" | "spool") => !failed && !expected.is_empty(),
            None => !failed && expected.is_empty(),
            Some(_) => false,
        };
        if is_right {
            Ok(!expected.is_empty())
        } else {
            Err(format!("its code is {code:?}: {message}"))
        }
    }
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn minute(now: Instant) -> Instant {
    DateTime::from_timestamp(now.timestamp().div_euclid(60) * 60, 0).unwrap()
}

/// Waits for what a process does; where its line holds something back, time flies until it has run out of
/// patience. `None`: the process died.
async fn patiently<T>(
    line: &Line,
    deaths: &mut watch::Receiver<u64>,
    doing: impl Future<Output = T>,
) -> Option<T> {
    let mut doing = pin!(doing);
    let mut flights = 0;
    deaths.mark_unchanged();
    loop {
        let held = async {
            line.holds().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        tokio::select! {
            biased;
            _ = deaths.changed() => return None,
            done = &mut doing => return Some(done),
            () = held, if flights < 2 => {
                flights += 1;
                tokio::time::pause();
                tokio::time::advance(PATIENCE + Duration::from_secs(1)).await;
                tokio::time::resume();
            }
        }
    }
}
