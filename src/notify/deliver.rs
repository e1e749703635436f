//! Posts what waits for one place, in a task of its own.
//!
//! A receiver that does not answer is asked again, ever more seldom, and what comes after waits behind: the order stays. One
//! that refuses an event holds up only what belongs to that, since a receiver that does not know one type must not keep the
//! next page from going out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant as Moment, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::outbox::{Lock, Outbox, Pending};
use super::post::{Answer, Poster};
use super::tally::{Outcome, Tally};
use crate::clock::Clock;
use crate::error::Chain;

/// The first wait after a receiver that does not answer, and the longest.
const SOON: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// The same after one that refuses.
const LATER: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(30));
/// How often it is looked for what another process has put in, and whether the one that posts is gone.
const LOOK: Duration = Duration::from_secs(1);
/// How often what is too old is given up.
const SWEEP: Duration = Duration::from_mins(1);

/// What posts for one place.
pub(super) struct Delivery {
    pub name: String,
    pub outbox: Outbox,
    pub poster: Poster,
    pub tally: Arc<Tally>,
    pub clock: Clock,
    /// Told when something was put in.
    pub come: Arc<Notify>,
}

/// How the receiver has behaved.
#[derive(Debug, Default)]
struct Standing {
    /// It does not answer: how often in a row, and until when it is left alone.
    silent: Option<(u32, Moment)>,
    /// The events that it refused: how often, and when each is tried again.
    refused: HashMap<String, (u32, Moment)>,
}

/// What one step came to.
#[derive(Debug, PartialEq, Eq)]
enum Stepped {
    /// There may be more.
    On,
    /// There is nothing to post for so long.
    Wait(Duration),
    /// The receiver wants nothing any more.
    Over,
}

impl Delivery {
    /// Posts until told to stop, or the receiver is gone; an attempt that is under way then is not broken off.
    pub async fn run(self, stop: CancellationToken) {
        let lock = loop {
            match self.on_disk(Outbox::lock).await {
                Ok(Some(lock)) => break lock,
                Ok(None) => {}
                Err(error) => self.complain(&error),
            }
            self.count().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK) => {}
            }
        };
        self.post_all(&lock, &stop).await;
    }

    /// Posts what waits, for so long at most; says whether nothing waits any more. Where another process posts, it is
    /// waited for.
    pub async fn run_briefly(&self, patience: Duration) -> bool {
        let posting = async {
            let mut standing = Standing::default();
            loop {
                let wait = match self.on_disk(Outbox::lock).await {
                    Ok(Some(lock)) => self.step(&lock, &mut standing).await,
                    _ => Stepped::Wait(LOOK),
                };
                match self.on_disk(Outbox::depth).await {
                    Ok(0) => return true,
                    _ if wait == Stepped::Over => return false,
                    _ => {}
                }
                if let Stepped::Wait(wait) = wait {
                    sleep(wait).await;
                }
            }
        };
        timeout(patience, posting).await.unwrap_or(false)
    }

    async fn post_all(&self, lock: &Lock, stop: &CancellationToken) {
        let mut standing = Standing::default();
        let mut swept: Option<Moment> = None;
        while !stop.is_cancelled() {
            if swept.is_none_or(|at| at.elapsed() > SWEEP) {
                self.sweep().await;
                swept = Some(Moment::now());
            }
            let wait = match self.step(lock, &mut standing).await {
                Stepped::On => Duration::ZERO,
                Stepped::Wait(wait) => wait.min(LOOK),
                Stepped::Over => return,
            };
            self.count().await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.come.notified(), if !wait.is_zero() => {}
                () = sleep(wait) => {}
            }
        }
    }

    async fn step(&self, _: &Lock, standing: &mut Standing) -> Stepped {
        let now = Moment::now();
        if let Some((_, until)) = standing.silent
            && until > now
        {
            return Stepped::Wait(until - now);
        }
        let pending = match self.on_disk(Outbox::pending).await {
            Ok(pending) => pending,
            Err(error) => {
                self.complain(&error);
                return Stepped::Wait(SOON.1);
            }
        };
        standing.refused.retain(|id, _| pending.iter().any(|event| event.id == *id));
        let Some(event) = next(&pending, standing, now) else { return Stepped::Wait(LOOK) };
        let id = event.id.clone();
        let is_told = self.on_disk(move |outbox| Ok(outbox.was_told(&id))).await.unwrap_or(false);
        // Two processes may have put it in.
        let (answer, _) = match is_told {
            true => (Answer::Taken(200), String::new()),
            false => self.poster.post(&event.id, &event.body).await,
        };
        self.take(event, answer, standing).await
    }

    async fn take(&self, event: &Pending, answer: Answer, standing: &mut Standing) -> Stepped {
        let (name, kind, id) = (&self.name, &event.kind, &event.id);
        let now = Moment::now();
        match answer {
            Answer::Taken(status) => {
                if standing.silent.take().is_some() {
                    tracing::info!(webhook = name, "webhook `{name}`: the receiver answers again");
                }
                let done = event.clone();
                if let Err(error) = self.on_disk(move |outbox| outbox.told(&done)).await {
                    self.complain(&error);
                    standing.silent = Some((1, now + SOON.1));
                }
                self.tally.add(name, Outcome::Delivered, 1);
                tracing::info!(
                    webhook = name,
                    event.id = id,
                    status,
                    "webhook `{name}`: told {kind}"
                );
                Stepped::On
            }
            Answer::Refused(status) => {
                let (times, until) = standing.refused.entry(id.clone()).or_insert((0, now));
                *times += 1;
                let wait = backoff(LATER, *times, rand::random());
                *until = now + wait;
                self.tally.add(name, Outcome::Refused, 1);
                if *times == 1 {
                    tracing::error!(
                        webhook = name,
                        event.id = id,
                        status,
                        "webhook `{name}`: the receiver refuses {kind} with HTTP {status}; are its address and the secret \
                         right? it is tried again for a day"
                    );
                }
                Stepped::On
            }
            Answer::Gone => {
                self.tally.add(name, Outcome::Gone, 1);
                tracing::error!(
                    webhook = name,
                    "webhook `{name}`: the receiver says that it is gone (HTTP 410): nothing is posted there any more until \
                     the configuration is read again"
                );
                Stepped::Over
            }
            Answer::Busy(status, pause) => {
                let wait = self.was_silent(standing, &format!("HTTP {status}"), pause);
                Stepped::Wait(wait)
            }
            Answer::Silent(why) => Stepped::Wait(self.was_silent(standing, &why, None)),
        }
    }

    /// How long the receiver is left alone.
    fn was_silent(&self, standing: &mut Standing, why: &str, pause: Option<Duration>) -> Duration {
        let name = &self.name;
        let times = standing.silent.map_or(0, |(times, _)| times) + 1;
        let wait = backoff(SOON, times, rand::random()).max(pause.unwrap_or_default());
        standing.silent = Some((times, Moment::now() + wait));
        self.tally.add(name, Outcome::Failed, 1);
        if times == 1 {
            tracing::warn!(
                webhook = name,
                "webhook `{name}`: the receiver takes nothing ({why}); it is tried again for a day"
            );
        } else {
            tracing::debug!(webhook = name, times, ?wait, "webhook `{name}`: {why}");
        }
        wait
    }

    async fn sweep(&self) {
        let now = self.clock.now();
        match self.on_disk(move |outbox| outbox.expire(now)).await {
            Ok(expired) if expired.is_empty() => {}
            Ok(expired) => {
                self.tally.add(&self.name, Outcome::Expired, expired.len());
                tracing::error!(
                    webhook = self.name,
                    "webhook `{}`: {} events could not be delivered within a day, and are given up",
                    self.name,
                    expired.len()
                );
            }
            Err(error) => self.complain(&error),
        }
    }

    async fn count(&self) {
        if let Ok(depth) = self.on_disk(Outbox::depth).await {
            self.tally.pending(&self.name, depth);
        }
    }

    /// On a thread of its own: a disk may take its time.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Outbox) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        let outbox = self.outbox.clone();
        tokio::task::spawn_blocking(move || work(&outbox))
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    fn complain(&self, error: &std::io::Error) {
        let name = &self.name;
        tracing::error!(
            webhook = name,
            "webhook `{name}`: cannot work in its folder: {}",
            Chain(error)
        );
    }
}

/// The first event that may be posted now: none that was refused a moment ago, and none that belongs to such a one.
fn next<'a>(pending: &'a [Pending], standing: &Standing, now: Moment) -> Option<&'a Pending> {
    let rests =
        |event: &Pending| standing.refused.get(&event.id).is_some_and(|(_, until)| *until > now);
    let mut held: Vec<&str> = Vec::new();
    pending.iter().find(|event| {
        let is_held = held.contains(&event.subject.as_str());
        if rests(event) {
            held.push(&event.subject);
        }
        !is_held && !rests(event)
    })
}

/// Doubles with each failure, less up to half of it by chance, so that several recorders do not come back together.
fn backoff((first, longest): (Duration, Duration), times: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1 << times.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(1.0 - chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        assert_eq!(backoff(SOON, 1, 0.0), SOON.0);
        assert_eq!(backoff(SOON, 4, 0.0), SOON.0 * 8);
        assert_eq!(backoff(SOON, 99, 0.0), SOON.1);
        assert_eq!(backoff(LATER, 1, 1.0), LATER.0 / 2);
    }
}
