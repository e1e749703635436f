//! Whether a credential may be tried: more than five refusals in a row lock a key.
//!
//! A credential that has not been let in yet is tried by one request at a time, so that a wrong one
//! costs a single refusal and not one for each page. Where no answer comes, another source tries beside it
//! after a moment, so that one that is out of reach holds up nobody; what is under way then counts as
//! refused if one is, so that there are not more refusals for it. After a refusal nothing is sent for a while;
//! what is asked for in that time fails at once and says so.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::pace::MINUTE;
use super::{ApiError, Kind};
use crate::domain;

/// The waits after the first refusals in a row. They grow fast: at most four tries fall into the first
/// hour, below the five that lock a key, and the first comes soon, for a refusal that passes.
const WAITS: [Duration; 3] =
    [Duration::from_mins(1), Duration::from_mins(4), Duration::from_mins(16)];
/// From there on. Whoever mends the credential has the recorder read its configuration again, or waits for
/// this long.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// A lock is documented to last five minutes; the sixth is for clocks that differ.
const LOCKED: Duration = Duration::from_mins(6);

/// How long the others wait for the answer to a try before one more of them tries as well: where the first
/// one knocks, nobody may ever answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Refusals that still leave a key unlocked in the first hour: those that `WAITS` are for, and the one
/// after. Tries that are under way at once are taken from them.
const ALLOWANCE: usize = WAITS.len() + 1;

/// What is known of one credential.
#[derive(Debug)]
pub(super) struct Guard {
    standing: Mutex<Standing>,
    /// Something came of a trial.
    changed: Notify,
    /// How long a minute of waiting is.
    minute: Duration,
}

#[derive(Debug, Default)]
struct Standing {
    /// It was let in, and not refused since.
    is_proven: bool,
    /// Counts refusals, so that what was sent before one of them says nothing about it.
    epoch: u64,
    refused: Option<Refused>,
    /// Those who try it, oldest first.
    trials: Vec<Trial>,
    /// How many have come to share it.
    askers: u64,
}

/// The last of some refusals in a row.
#[derive(Debug)]
struct Refused {
    /// Those that were heard of.
    times: u32,
    /// These, and what was under way beside them, which is refused too.
    tries: usize,
    last: ApiError,
    next_try: Instant,
    /// `next_try` by the machine's clock, for people.
    next_try_at: domain::Instant,
}

/// One of those who share a credential. Who gets no answer to one request gets none to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker(u64);

/// A request that tries the credential.
#[derive(Debug)]
struct Trial {
    asker: Asker,
    epoch: u64,
    /// `None`: it waits for its turn still.
    sent: Option<Instant>,
}

/// Leave to send one request with the credential.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    guard: &'a Guard,
    epoch: u64,
    /// Whose trial it is, where it is one.
    trial: Option<Asker>,
}

/// What becomes of who asks for leave.
enum Admission {
    Freely,
    ToTry,
    /// Until something comes of a trial, or this instant.
    ToWait(Option<Instant>),
}

impl Guard {
    /// `minute`: how long a minute of waiting is, for those who cannot wait for one.
    pub fn new(minute: Duration) -> Self {
        Self { standing: Mutex::default(), changed: Notify::new(), minute }
    }

    /// One more who shares the credential.
    pub fn asker(&self) -> Asker {
        let mut standing = self.lock();
        standing.askers += 1;
        Asker(standing.askers)
    }

    /// Waits until the credential may be tried.
    ///
    /// # Errors
    /// It was refused, and the next try is still ahead; it is not waited for.
    pub async fn admit(&self, call: &'static str, asker: Asker) -> Result<Leave<'_>, ApiError> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From now on, so that nothing is missed between the look and the wait.
            changed.as_mut().enable();
            let until = {
                let mut standing = self.lock();
                let epoch = standing.epoch;
                match standing.admission(call, asker)? {
                    Admission::Freely => return Ok(Leave { guard: self, epoch, trial: None }),
                    Admission::ToTry => {
                        standing.trials.push(Trial { asker, epoch, sent: None });
                        return Ok(Leave { guard: self, epoch, trial: Some(asker) });
                    }
                    Admission::ToWait(until) => until,
                }
            };
            match until {
                // Whichever it is, it is looked again.
                Some(until) => drop(timeout_at(until, changed).await),
                None => changed.await,
            }
        }
    }

    /// Whether a leave still stands just before the request is sent: it may have been waited since it was given.
    ///
    /// # Errors
    /// The credential was refused since.
    pub fn confirm(&self, call: &'static str, leave: &Leave<'_>) -> Result<(), ApiError> {
        let mut standing = self.lock();
        if standing.epoch != leave.epoch {
            standing.may_try(call)?;
        }
        if let Some(trial) = standing.trial_of(leave) {
            trial.sent = Some(Instant::now());
            drop(standing);
            // The others' patience begins.
            self.changed.notify_waiters();
        }
        Ok(())
    }

    /// What was sent in an epoch was let in.
    pub fn let_in(&self, epoch: u64) {
        let mut standing = self.lock();
        if standing.epoch == epoch {
            let is_news = !standing.is_proven;
            standing.is_proven = true;
            standing.refused = None;
            drop(standing);
            if is_news {
                self.changed.notify_waiters();
            }
        }
    }

    /// What was sent in an epoch was refused. Refusals of what was sent together count as one, but for what was
    /// sent to try.
    pub fn refuse(&self, epoch: u64, error: &ApiError, now: domain::Instant) {
        let mut standing = self.lock();
        if standing.epoch != epoch {
            return;
        }
        let (times, tries) =
            standing.refused.as_ref().map_or((0, 0), |refused| (refused.times, refused.tries));
        let tries = tries + standing.tried_at_once().max(1);
        let wait = WAITS.get(tries - 1).copied().unwrap_or(LONGEST_WAIT);
        // A try while it is locked would be refused whatever it says.
        let wait = if error.is_locked() { wait.max(LOCKED) } else { wait };
        let wait = wait.mul_f64(self.minute.as_secs_f64() / MINUTE.as_secs_f64());
        standing.epoch += 1;
        standing.is_proven = false;
        standing.refused = Some(Refused {
            times: times + 1,
            tries,
            last: error.clone(),
            next_try: Instant::now() + wait,
            next_try_at: now + wait,
        });
        drop(standing);
        self.changed.notify_waiters();
    }

    /// Its secret is another one: it may be tried at once, unless the account is locked, which no secret changes. The
    /// refusals in a row stay counted, since whoever counts them for the lock counts them on.
    pub fn try_again(&self) {
        let mut standing = self.lock();
        standing.epoch += 1;
        standing.is_proven = false;
        if let Some(refused) = standing.refused.as_mut().filter(|refused| !refused.last.is_locked())
        {
            refused.next_try = Instant::now();
        }
        drop(standing);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().expect("nobody panics while holding it")
    }
}

impl Leave<'_> {
    /// When it was given, for [`Guard::let_in`] and [`Guard::refuse`].
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let Some(asker) = self.trial else { return };
        let mut standing = self.guard.lock();
        standing.trials.retain(|trial| trial.asker != asker || trial.epoch != self.epoch);
        drop(standing);
        self.guard.changed.notify_waiters();
    }
}

impl Standing {
    fn admission(&self, call: &'static str, asker: Asker) -> Result<Admission, ApiError> {
        if self.is_proven {
            return Ok(Admission::Freely);
        }
        self.may_try(call)?;
        let Some(newest) = self.trials.iter().rfind(|trial| trial.epoch == self.epoch) else {
            return Ok(Admission::ToTry);
        };
        let refused = self.refused.as_ref().map_or(0, |refused| refused.tries);
        let tries_already =
            self.trials.iter().any(|trial| trial.asker == asker && trial.epoch == self.epoch);
        let Some(sent) = newest.sent else { return Ok(Admission::ToWait(None)) };
        if tries_already || refused + self.tried_at_once() >= ALLOWANCE {
            return Ok(Admission::ToWait(None));
        }
        let until = sent + PATIENCE;
        Ok(if until <= Instant::now() { Admission::ToTry } else { Admission::ToWait(Some(until)) })
    }

    /// How many try it now.
    fn tried_at_once(&self) -> usize {
        self.trials.iter().filter(|trial| trial.epoch == self.epoch).count()
    }

    fn trial_of(&mut self, leave: &Leave<'_>) -> Option<&mut Trial> {
        let asker = leave.trial?;
        self.trials.iter_mut().find(|trial| trial.asker == asker && trial.epoch == leave.epoch)
    }

    fn may_try(&self, call: &'static str) -> Result<(), ApiError> {
        let Some(refused) = &self.refused else { return Ok(()) };
        if refused.next_try <= Instant::now() {
            return Ok(());
        }
        let times = match refused.times {
            1 => "once".to_owned(),
            times => format!("{times} times in a row"),
        };
        Err(ApiError {
            code: refused.last.code.clone().or_else(|| Some("HTTP 401".into())),
            hint: refused.last.hint.clone(),
            ..ApiError::new(
                call,
                Kind::Withheld,
                format!(
                    "not sent: refused {times}, last with \"{}\", and more than five refusals in a row \
                     lock a key; next try at {}",
                    refused.last.message,
                    refused.next_try_at.format("%H:%M:%SZ")
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "connect-desktops";

    const ONE: Asker = Asker(1);
    const ANOTHER: Asker = Asker(2);

    fn refusal() -> ApiError {
        ApiError {
            status: Some(401),
            code: Some("APIGW.0301".into()),
            hint: Some("is it right?".into()),
            ..ApiError::new(CALL, Kind::Api, "HTTP 401: verify aksk signature fail")
        }
    }

    fn noon() -> domain::Instant {
        "2026-10-07T12:00:00Z".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_key_is_tried_four_times_in_the_first_hour_however_often_it_is_asked() {
        for step in [1_u64, 30, 60, 300] {
            let guard = Guard::new(MINUTE);
            let begun = Instant::now();
            let mut tries = Vec::new();
            while begun.elapsed() < Duration::from_hours(6) {
                if let Ok(leave) = guard.admit(CALL, ONE).await {
                    tries.push(begun.elapsed().as_secs());
                    guard.refuse(leave.epoch(), &refusal(), noon());
                }
                tokio::time::advance(Duration::from_secs(step)).await;
            }
            let in_first_hour = tries.iter().filter(|at| **at <= 3600).count();
            assert!(in_first_hour <= 4, "every {step} s: {tries:?}");
            // It does not give up either.
            assert!((8..=10).contains(&tries.len()), "every {step} s: {tries:?}");
            assert!(tries[1] <= 300, "every {step} s: {tries:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_tries_while_the_others_wait_for_what_comes_of_it() {
        let guard = Guard::new(MINUTE);
        let first = guard.admit(CALL, ONE).await.unwrap();
        guard.confirm(CALL, &first).unwrap();
        for asker in [ONE, ANOTHER] {
            let wait = Duration::from_millis(900);
            let next = tokio::time::timeout(wait, guard.admit(CALL, asker)).await;
            assert!(next.is_err(), "two try at once");
        }
        guard.let_in(first.epoch());
        drop(first);
        let all = [guard.admit(CALL, ONE).await.unwrap(), guard.admit(CALL, ONE).await.unwrap()];
        // Both were sent together: that is one refusal, and its wait the first.
        for leave in &all {
            guard.refuse(leave.epoch(), &refusal(), noon());
        }
        assert!(guard.confirm(CALL, &all[0]).is_err());
        let error = guard.admit(CALL, ONE).await.unwrap_err();
        assert_eq!(error.code.as_deref(), Some("APIGW.0301"));
        assert!(error.message.contains("refused once"), "{error}");
        assert!(error.message.contains("verify aksk signature fail"), "{error}");
        assert!(error.message.ends_with("next try at 12:01:00Z"), "{error}");
        assert!(!error.is_transient());
        tokio::time::advance(Duration::from_secs(60)).await;
        let next = guard.admit(CALL, ONE).await.unwrap();
        // An answer to what was sent before the refusal proves nothing.
        guard.let_in(all[0].epoch());
        guard.refuse(next.epoch(), &refusal(), noon());
        let error = guard.admit(CALL, ONE).await.unwrap_err();
        assert!(error.message.contains("refused 2 times in a row"), "{error}");
        assert!(error.message.ends_with("next try at 12:04:00Z"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn being_let_in_begins_the_count_anew() {
        let guard = Guard::new(MINUTE);
        for _ in 0..4 {
            let leave = guard.admit(CALL, ONE).await.unwrap();
            guard.refuse(leave.epoch(), &refusal(), noon());
            drop(leave);
            tokio::time::advance(Duration::from_mins(1)).await;
            let leave = guard.admit(CALL, ONE).await.unwrap();
            guard.let_in(leave.epoch());
        }
        // A trial that came to nothing, as with a timeout, leaves it as it was.
        let guard = Guard::new(MINUTE);
        drop(guard.admit(CALL, ONE).await.unwrap());
        assert_eq!(guard.admit(CALL, ONE).await.unwrap().epoch(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn another_secret_is_tried_at_once_and_the_refusals_stay_counted() {
        let guard = Guard::new(MINUTE);
        let old = guard.admit(CALL, ONE).await.unwrap();
        guard.refuse(old.epoch(), &refusal(), noon());
        drop(old);
        assert!(guard.admit(CALL, ONE).await.is_err());
        guard.try_again();
        let leave = guard.admit(CALL, ONE).await.unwrap();
        guard.refuse(leave.epoch(), &refusal(), noon());
        let error = guard.admit(CALL, ONE).await.unwrap_err();
        assert!(error.message.ends_with("next try at 12:04:00Z"), "{error}");
    }

    /// Of the first three each is somewhere where nobody answers.
    #[tokio::test(start_paused = true)]
    async fn who_gets_no_answer_holds_up_the_others_for_a_moment() {
        let guard = Guard::new(MINUTE);
        let begun = Instant::now();
        let mut trials = Vec::new();
        for asker in (1..=4).map(Asker) {
            let trial = guard.admit(CALL, asker).await.unwrap();
            guard.confirm(CALL, &trial).unwrap();
            trials.push(trial);
        }
        assert_eq!(begun.elapsed().as_secs(), 6);
        // A fifth would be one more than may be refused; and nobody tries twice.
        for asker in [Asker(5), ONE] {
            let next = tokio::time::timeout(Duration::from_mins(1), guard.admit(CALL, asker)).await;
            assert!(next.is_err(), "{asker:?}");
        }
        let waiting = guard.admit(CALL, Asker(5));
        let answered = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            guard.let_in(trials[3].epoch());
        };
        let (leave, ()) = tokio::join!(waiting, answered);
        assert_eq!(leave.unwrap().trial, None);
        // Where one gives up, another has its place.
        let guard = Guard::new(MINUTE);
        let first = guard.admit(CALL, ONE).await.unwrap();
        let gives_up = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(first);
        };
        let (leave, ()) = tokio::join!(guard.admit(CALL, ONE), gives_up);
        assert_eq!(leave.unwrap().trial, Some(ONE));
    }

    /// Who waits for its turn has not been sent, and so cannot have been left without an answer.
    #[tokio::test(start_paused = true)]
    async fn patience_begins_when_a_trial_is_sent() {
        let guard = Guard::new(MINUTE);
        let first = guard.admit(CALL, ONE).await.unwrap();
        let begun = Instant::now();
        let sent = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            guard.confirm(CALL, &first).unwrap();
        };
        let (second, ()) = tokio::join!(guard.admit(CALL, ANOTHER), sent);
        assert_eq!(second.unwrap().trial, Some(ANOTHER));
        assert_eq!(begun.elapsed().as_secs(), 32);
    }

    /// However slow the refusals are, and however many ask.
    #[tokio::test(start_paused = true)]
    async fn a_wrong_key_is_tried_four_times_in_the_first_hour_however_late_the_answers_are() {
        for answer_after in [1_u64, 3, 5, 7, 20, 59].map(Duration::from_secs) {
            let guard = std::sync::Arc::new(Guard::new(MINUTE));
            let begun = Instant::now();
            let tries = std::sync::Arc::new(Mutex::new(Vec::new()));
            let asking: Vec<_> = (1..=20)
                .map(|asker| {
                    let (guard, tries) = (guard.clone(), tries.clone());
                    tokio::spawn(async move {
                        while begun.elapsed() < Duration::from_hours(1) {
                            if let Ok(leave) = guard.admit(CALL, Asker(asker)).await
                                && guard.confirm(CALL, &leave).is_ok()
                            {
                                tries.lock().unwrap().push(begun.elapsed().as_secs());
                                tokio::time::sleep(answer_after).await;
                                guard.refuse(leave.epoch(), &refusal(), noon());
                            }
                            tokio::time::sleep(Duration::from_secs(30)).await;
                        }
                    })
                })
                .collect();
            for one in asking {
                one.await.unwrap();
            }
            let tries = tries.lock().unwrap();
            assert!((3..=4).contains(&tries.len()), "after {answer_after:?}: {tries:?}");
        }
    }
}
