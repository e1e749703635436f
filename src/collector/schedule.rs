//! Turns schedules into ticks, and ticks into cycles that never overlap.
//!
//! `tokio-cron-scheduler` spawns every run as a detached task: it neither prevents overlap nor waits for
//! running jobs when it stops, and after a stall it drops what it missed silently. So it only ticks, once a
//! second; which source is due is decided here, and a source's tick goes into a queue of one, from which
//! the source's own loop takes it. That loop is ours: it never cancels a cycle half-way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Moment};

use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Schedule;
use crate::domain::Instant;

/// A moment at which a source is to be visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The moment.
    pub scheduled_at: Instant,
}

/// Ticks that were not run, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The cycle before was still running.
    pub busy: u64,
    /// The machine slept, or the clock was set forward.
    pub late: u64,
}

/// One source's place on the schedule.
#[derive(Debug)]
struct Place {
    name: String,
    schedule: Schedule,
    next: Option<Instant>,
    ticks: mpsc::Sender<Tick>,
    skipped: Skipped,
}

impl Place {
    /// Gives the tick that is due, if one is. Of several that were missed only the last is given.
    fn look(&mut self, now: Instant) {
        let Some(mut due) = self.next.filter(|next| *next <= now) else {
            // A clock that was set back: ticks go on from where it is now.
            let next = self.schedule.next_after(now);
            if self.next.zip(next).is_some_and(|(planned, next)| next < planned) {
                self.next = next;
            }
            return;
        };
        let mut missed = 0;
        // Bounded, since a clock may jump by years.
        while let Some(after) = self.schedule.next_after(due).filter(|after| *after <= now) {
            due = after;
            missed += 1;
            if missed >= 10_000 {
                break;
            }
        }
        if missed > 0 {
            self.skipped.late += missed;
            tracing::warn!(
                source.name = self.name,
                skipped.late = missed,
                skipped.late_total = self.skipped.late,
                "skipped {missed} late ticks of source `{}`: the machine slept or its clock jumped",
                self.name
            );
        }
        self.next = self.schedule.next_after(now);
        if self.ticks.try_send(Tick { scheduled_at: due }).is_err() {
            self.skipped.busy += 1;
            tracing::warn!(
                source.name = self.name,
                skipped.busy_total = self.skipped.busy,
                "skipped the tick of {due} of source `{}`: the visit before is still under way",
                self.name
            );
        }
    }
}

/// Gives each source its ticks.
#[derive(Debug)]
pub struct Ticker {
    places: Arc<Mutex<Vec<Place>>>,
    clock: Clock,
    /// When it last looked.
    looked: Mutex<Moment>,
}

impl Ticker {
    /// A ticker without sources.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { places: Arc::default(), clock, looked: Mutex::new(Moment::now()) }
    }

    /// Adds a source; its ticks come out of the receiver, from the next one on.
    pub fn add(&self, name: &str, schedule: Schedule) -> mpsc::Receiver<Tick> {
        // One: what does not fit is skipped and counted, not queued.
        let (ticks, receiver) = mpsc::channel(1);
        let next = schedule.next_after(self.clock.now());
        let place =
            Place { name: name.to_owned(), schedule, next, ticks, skipped: Skipped::default() };
        self.lock().push(place);
        receiver
    }

    /// Gives a source another schedule, from its next tick on. One that is due by now by the old one is given first; no
    /// instant is a tick twice.
    pub fn change(&self, name: &str, schedule: Schedule) {
        let now = self.clock.now();
        let mut places = self.lock();
        let Some(place) = places.iter_mut().find(|place| place.name == name) else { return };
        if place.schedule == schedule {
            return;
        }
        place.look(now);
        place.next = schedule.next_after(now);
        place.schedule = schedule;
    }

    /// Gives a source no more ticks.
    pub fn remove(&self, name: &str) {
        self.lock().retain(|place| place.name != name);
    }

    /// Looks once which sources are due.
    pub fn look(&self) {
        let now = self.clock.now();
        for place in self.lock().iter_mut() {
            place.look(now);
        }
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Moment::now();
    }

    /// For how long it has not looked which sources are due.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// The ticks that were not run so far, per source.
    #[must_use]
    pub fn skipped(&self) -> Vec<(String, Skipped)> {
        self.lock().iter().map(|place| (place.name.clone(), place.skipped)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks every second until told to stop.
    ///
    /// # Errors
    /// The scheduler does not start.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), JobSchedulerError> {
        let mut scheduler = JobScheduler::new().await?;
        let ticker = Arc::clone(&self);
        let job = Job::new_async("* * * * * *", move |_, _| {
            let ticker = Arc::clone(&ticker);
            Box::pin(async move { ticker.look() })
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        stop.cancelled().await;
        scheduler.shutdown().await
    }
}

/// The next tick of a source; `None` once told to stop.
///
/// The loop around it is the caller's, so that a cycle is never cancelled half-way: what was read is
/// recorded, and only then is it asked whether to stop.
pub async fn next_tick(ticks: &mut mpsc::Receiver<Tick>, stop: &CancellationToken) -> Option<Tick> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        tick = ticks.recv() => tick,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn start() -> Instant {
        DateTime::from_timestamp(1_790_000_100, 0).unwrap()
    }

    #[test]
    fn a_late_tick_is_skipped_and_counted_after_a_sleep() {
        let (clock, hands) = Clock::manual(start());
        let ticker = Ticker::new(clock);
        let mut ticks = ticker.add("prod", Schedule::Every(TimeDelta::minutes(5)));
        ticker.look();
        assert!(ticks.try_recv().is_err(), "nothing is due yet");
        // The machine sleeps for an hour: one tick, eleven skipped, no burst.
        hands.advance(TimeDelta::hours(1));
        ticker.look();
        ticker.look();
        let tick = ticks.try_recv().unwrap();
        assert!(clock_of(&ticker) - tick.scheduled_at < TimeDelta::minutes(5));
        assert!(ticks.try_recv().is_err());
        assert_eq!(ticker.skipped(), [("prod".to_owned(), Skipped { busy: 0, late: 11 })]);
    }

    #[test]
    fn a_tick_during_a_cycle_is_skipped_and_counted() {
        let (clock, hands) = Clock::manual(start());
        let ticker = Ticker::new(clock);
        let _ticks = ticker.add("prod", Schedule::Every(TimeDelta::minutes(5)));
        for _ in 0..3 {
            hands.advance(TimeDelta::minutes(5));
            ticker.look();
        }
        assert_eq!(ticker.skipped()[0].1, Skipped { busy: 2, late: 0 });
    }

    #[test]
    fn a_clock_set_back_goes_on_ticking() {
        let (clock, hands) = Clock::manual(start());
        let ticker = Ticker::new(clock);
        let mut ticks = ticker.add("prod", Schedule::Every(TimeDelta::minutes(5)));
        hands.advance(TimeDelta::hours(-3));
        ticker.look();
        hands.advance(TimeDelta::minutes(5));
        ticker.look();
        assert!(ticks.try_recv().is_ok());
    }

    #[test]
    fn another_schedule_loses_no_tick_and_gives_none_twice() {
        let (clock, hands) = Clock::manual(start());
        let ticker = Ticker::new(clock);
        let mut ticks = ticker.add("prod", Schedule::Every(TimeDelta::minutes(5)));
        let mut other = ticker.add("other", Schedule::Every(TimeDelta::minutes(5)));
        let mut next =
            || ticks.try_recv().ok().map(|tick| (tick.scheduled_at - start()).num_seconds());
        // Due, and not looked at yet.
        hands.advance(TimeDelta::minutes(5));
        ticker.change("prod", Schedule::Every(TimeDelta::minutes(1)));
        assert_eq!(next(), Some(300));
        ticker.look();
        assert_eq!(next(), None, "it was given");
        hands.advance(TimeDelta::minutes(1));
        // The same again changes nothing, and what is asked for twice comes once.
        ticker.change("prod", Schedule::Every(TimeDelta::minutes(1)));
        ticker.look();
        ticker.change("prod", Schedule::Every(TimeDelta::seconds(90)));
        ticker.look();
        assert_eq!((next(), next()), (Some(360), None));
        hands.advance(TimeDelta::seconds(90));
        ticker.look();
        assert_eq!(next(), Some(450));
        assert_eq!(
            other.try_recv().ok().map(|tick| tick.scheduled_at),
            Some(start() + TimeDelta::minutes(5))
        );
        ticker.remove("prod");
        assert!(matches!(ticks.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        assert!(
            ticker.skipped().iter().all(|(name, skipped)| name == "other" && skipped.late == 0)
        );
    }

    fn clock_of(ticker: &Ticker) -> Instant {
        ticker.clock.now()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_finishes_the_cycle_in_hand_and_drops_the_next() {
        let (sender, mut ticks) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let finished = Arc::new(Mutex::new(0));
        let began = tokio::time::Instant::now();
        let worker = {
            let (stop, finished) = (stop.clone(), Arc::clone(&finished));
            tokio::spawn(async move {
                while next_tick(&mut ticks, &stop).await.is_some() {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                    *finished.lock().unwrap() += 1;
                }
            })
        };
        let tick = Tick { scheduled_at: start() };
        sender.send(tick).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        sender.try_send(tick).unwrap();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(600), worker).await.unwrap().unwrap();
        assert_eq!(*finished.lock().unwrap(), 1);
        assert_eq!(began.elapsed().as_secs(), 30);
    }
}
