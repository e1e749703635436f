//! Builds a long history: out of the simulated world, with no text between, through the code that records.
//!
//! One thread moves the world and takes its snapshots, while another records those before. A source's history is one
//! chain, written in time order, so there is no more to do at a time than that.

use std::time::Instant;

use chrono::TimeDelta;
use deskledger::domain::{Instant as Moment, Snapshot};
use deskledger::simulator::World;
use deskledger::store::{Recorder, Store};
use tokio::sync::mpsc;

use super::figures::Figures;
use super::server::{LOG_POSITION, Ledger};
use super::writecost::Fleet;
use super::{Asked, Outcome, workload};

/// A transaction holds so many snapshots, or so many rows.
const BATCH: (usize, usize) = (1_440, 100_000);
/// How many days are packed at a time, as by a recorder.
const PACKED_DAYS: i32 = 3;
/// Snapshots that may wait for the recorder: of 100,000 desktops one takes 7 MB.
const AHEAD: usize = 4;

/// A history that grows.
pub struct Building {
    store: Store,
    recorder: Recorder,
    coming: mpsc::Receiver<(Snapshot, usize)>,
    interval: TimeDelta,
    newest: Option<Snapshot>,
    /// When days were packed last; `None`: they never are.
    packed_at: Option<Moment>,
    grown: Grown,
}

/// What a history has come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Grown {
    /// Snapshots.
    pub snapshots: u32,
    /// Desktops in them.
    pub observations: usize,
    /// What happened to desktops; what began and ended between two snapshots counts, and was not seen.
    pub happened: usize,
    /// Seconds that it took.
    pub took: f64,
    /// Seconds of these that went by waiting for the world, and for the database.
    pub waited: (f64, f64),
    /// Spans that were packed, and the seconds of these that it took.
    pub packed: (u64, f64),
    /// Bytes of the write-ahead log: in all, and of these for what was packed.
    pub logged: (f64, f64),
}

impl Building {
    pub async fn begin(ledger: &Ledger, asked: &Asked) -> Outcome<Self> {
        let days = asked.days.iter().copied().max().unwrap_or_default();
        let (config, interval) = (workload::config(asked, days), workload::interval(asked));
        let (sender, coming) = mpsc::channel(AHEAD);
        std::thread::spawn(move || {
            let mut world = World::new(&config);
            let mut at = workload::start();
            loop {
                let happened = world.advance_to(at);
                let snapshot = workload::snapshot(&world, at, interval);
                // Nobody wants more: the history is as long as it should be.
                if sender.blocking_send((snapshot, happened)).is_err() {
                    return;
                }
                at += interval;
            }
        });
        let store = ledger.another_store().await?;
        let recorder = Recorder::open(&store, &workload::source()).await?;
        let packed_at = (!asked.unpacked).then(workload::start);
        let grown = Grown::default();
        Ok(Self { store, recorder, coming, interval, newest: None, packed_at, grown })
    }

    /// Records up to an instant, and says what the history has come to.
    pub async fn up_to(&mut self, end: Moment) -> Outcome<Grown> {
        let begun = Instant::now();
        let logged = self.log_position().await?;
        while self.next_at() < end {
            let begun = Instant::now();
            let (snapshot, happened) = self.coming.recv().await.ok_or("the world has ended")?;
            self.grown.waited.0 += begun.elapsed().as_secs_f64();
            self.grown.happened += happened;
            self.grown.observations +=
                snapshot.desktops.as_ref().map_or(0, |listing| listing.desktops().len());
            self.grown.snapshots += 1;
            self.recorder.add(&snapshot).await?;
            let at = snapshot.observed_at;
            self.newest = Some(snapshot);
            if self
                .packed_at
                .is_some_and(|packed_at| at - packed_at >= TimeDelta::days(PACKED_DAYS.into()))
            {
                self.commit().await?;
                self.pack().await?;
                self.packed_at = Some(at);
            }
            let (waiting, rows) = self.recorder.waiting();
            if waiting >= BATCH.0 || rows >= BATCH.1 {
                self.commit().await?;
            }
        }
        self.commit().await?;
        self.grown.took += begun.elapsed().as_secs_f64();
        self.grown.logged.0 += self.log_position().await? - logged;
        Ok(self.grown)
    }

    async fn commit(&mut self) -> Outcome {
        let begun = Instant::now();
        self.recorder.commit().await?;
        self.grown.waited.1 += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// Packs what is over, as a recorder does beside its visits.
    async fn pack(&mut self) -> Outcome {
        let begun = Instant::now();
        let logged = self.log_position().await?;
        for what in self.store.packable(None, PACKED_DAYS).await? {
            let packed = self.store.pack(&what, async |_, _| ()).await?;
            self.grown.packed.0 += packed.map_or(0, |packed| packed.packed);
            self.store.tidy(&what).await?;
        }
        for what in self.store.packable_visits(None).await? {
            self.store.pack_visits(&what, async |_| ()).await?;
            self.store.tidy_visits(what.month).await?;
        }
        self.store.drop_empty_partitions().await?;
        self.store.shrink().await?;
        self.grown.packed.1 += begun.elapsed().as_secs_f64();
        self.grown.logged.1 += self.log_position().await? - logged;
        Ok(())
    }

    async fn log_position(&self) -> Outcome<f64> {
        Ok(sqlx::query_scalar(LOG_POSITION).fetch_one(self.store.pool()).await?)
    }

    /// When the next snapshot is taken.
    fn next_at(&self) -> Moment {
        match &self.newest {
            Some(newest) => newest.observed_at + self.interval,
            None => workload::start(),
        }
    }

    /// Ends it, with what was recorded last.
    pub async fn end(self) -> Option<Fleet> {
        drop((self.recorder, self.coming));
        self.store.pool().close().await;
        let newest = self.newest?;
        Some(Fleet {
            desktops: newest.desktops?.desktops().to_vec(),
            groups: newest.groups?,
            at: newest.observed_at,
        })
    }
}

impl Grown {
    pub fn note(&self, desktop_days: f64, figures: &mut Figures) {
        let Self { snapshots, observations, happened, took, waited, packed, logged } = *self;
        let took = took - packed.1;
        figures.note("snapshots", "snapshots", f64::from(snapshots), "");
        figures.note("build_seconds", "recording them from memory", took, "s");
        figures.note("build_world_seconds", "  of these, waiting for the world", waited.0, "s");
        figures.note("build_database_seconds", "  of these, in the database", waited.1, "s");
        let rate = observations as f64 / took;
        figures.note("build_observations_per_second", "observations recorded a second", rate, "");
        if packed.0 > 0 {
            figures.note("pack_seconds", "packing what is over, every three days", packed.1, "s");
            let rate = packed.0 as f64 / packed.1;
            figures.note("pack_spans_per_second", "spans packed a second", rate, "");
            let bytes = logged.1 / packed.0 as f64;
            figures.note("pack_wal_bytes", "packing: write-ahead log, a span", bytes, "bytes");
        }
        let bytes = (logged.0 - logged.1) / desktop_days;
        figures.note(
            "build_wal_bytes",
            "recording: write-ahead log, a desktop and day",
            bytes,
            "bytes",
        );
        let happened = happened as f64 / desktop_days;
        figures.note(
            "happened_per_desktop_day",
            "what happens to a desktop in a day",
            happened,
            "",
        );
    }
}
