//! What is wrong with a recorder, for those who start it again and those who wait for it to be ready.

use std::time::{Duration, Instant as Moment};

use super::watch::{Obstacle, Pulse, Seen, Watch};
use crate::collector::Standing;

/// A loop that waits comes round at least every ten seconds, and the schedule is looked at each second: a machine that
/// is so busy that neither happens for so long records nothing.
const STUCK: Duration = Duration::from_mins(1);

/// More are only counted: hundreds of sources stop together.
const MOST: usize = 10;

impl Watch {
    /// How it is, in one line.
    #[must_use]
    pub fn status(&self) -> String {
        if self.is_stopping() {
            return "finishing the visits under way".to_owned();
        }
        let sources = self.sources();
        let (mut leads, mut stands_by, mut waiting) = (0, 0, 0);
        for watched in &sources {
            let seen = watched.seen();
            match seen.standing {
                Some(Standing::Leading | Standing::Unknown) => leads += 1,
                Some(Standing::StandingBy { .. }) => stands_by += 1,
                None => {}
            }
            waiting += seen.backlog.map_or(0, |backlog| backlog.snapshots);
        }
        let all = sources.len();
        let mut status = format!("recording {leads} of {all} sources");
        if stands_by > 0 {
            status += &format!(", standing by for {stands_by}");
        }
        if waiting > 0 {
            status += &format!("; {waiting} snapshots wait in the spool");
        }
        if let Some(why) = self.unready().first() {
            status += &format!("; {why}");
        }
        status
    }

    /// Why it should be started again; empty: its loops turn.
    #[must_use]
    pub fn stuck(&self) -> Vec<String> {
        if self.is_stopping() {
            return Vec::new();
        }
        let now = Moment::now();
        let idle = self.ticker.get().map(|ticker| ticker.idle());
        let ticker = idle
            .filter(|idle| *idle > STUCK)
            .map(|idle| format!("the schedule was not looked at for {} s", idle.as_secs()));
        let loops = self.sources().into_iter().filter_map(|watched| {
            let why = stuck(watched.seen().pulse, now)?;
            Some(format!("source `{}`: {why}", watched.name))
        });
        shortened(ticker.into_iter().chain(loops).collect())
    }

    /// Why it does not do its work; empty: each source is taken up, and what is read can be kept.
    pub(super) fn unready(&self) -> Vec<String> {
        if self.is_stopping() {
            return vec!["it is stopping".to_owned()];
        }
        let now = Moment::now();
        let sources = self.sources().into_iter().filter_map(|watched| {
            let why = unready(&watched.seen(), now)?;
            Some(format!("source `{}`: {why}", watched.name))
        });
        shortened(sources.collect())
    }
}

fn stuck(pulse: Pulse, now: Moment) -> Option<&'static str> {
    match pulse {
        Pulse::Resting(since) if now.saturating_duration_since(since) > STUCK => {
            Some("its loop does not turn")
        }
        Pulse::Working(until) if now > until => {
            Some("its loop is at one thing for longer than that can take")
        }
        Pulse::Over => Some("its loop has ended"),
        Pulse::Waiting | Pulse::Resting(_) | Pulse::Working(_) => None,
    }
}

fn unready(seen: &Seen, now: Moment) -> Option<&'static str> {
    if let Some(why) = stuck(seen.pulse, now) {
        return Some(why);
    }
    match (seen.obstacle, &seen.standing) {
        (Some(Obstacle::Full), _) => Some("neither the database nor the spool takes snapshots"),
        (Some(Obstacle::Clock), _) => Some("the clock stands before the newest snapshot"),
        (None, None) => Some("not taken up yet"),
        (None, Some(_)) => None,
    }
}

fn shortened(mut why: Vec<String>) -> Vec<String> {
    if why.len() > MOST {
        let more = why.len() - MOST;
        why.truncate(MOST);
        why.push(format!("and {more} more"));
    }
    why
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::collector::{Backlog, Ticker};
    use crate::metrics::WatchedSource;

    fn watch(sources: usize) -> Watch {
        let source = |nth| WatchedSource {
            name: format!("s{nth}"),
            interval: Duration::from_secs(300),
            max_gap: Duration::from_secs(900),
        };
        Watch::new((0..sources).map(source).collect(), 1, Clock::System)
    }

    /// A loop that rests, and knows who leads.
    fn taken_up(watch: &Watch) {
        for watched in watch.sources() {
            let mut seen = watched.seen();
            seen.pulse = Pulse::Resting(Moment::now());
            seen.standing = Some(Standing::Leading);
        }
    }

    #[test]
    fn one_that_starts_lives_and_is_not_ready() {
        let watch = watch(2);
        assert!(watch.stuck().is_empty());
        assert_eq!(
            watch.unready(),
            ["source `s0`: not taken up yet", "source `s1`: not taken up yet"]
        );
        taken_up(&watch);
        watch.ticks(Arc::new(Ticker::new(Clock::System)));
        assert!(watch.stuck().is_empty() && watch.unready().is_empty());
    }

    #[test]
    fn one_line_says_how_it_is() {
        let watch = watch(3);
        assert_eq!(watch.status(), "recording 0 of 3 sources; source `s0`: not taken up yet");
        taken_up(&watch);
        assert_eq!(watch.status(), "recording 3 of 3 sources");
        let until = Clock::System.now();
        let leader = "another".to_owned();
        watch.sources()[1].seen().standing = Some(Standing::StandingBy { leader, until });
        let backlog = Backlog { snapshots: 7, ..Backlog::default() };
        watch.sources()[2].seen().backlog = Some(backlog);
        assert_eq!(
            watch.status(),
            "recording 2 of 3 sources, standing by for 1; 7 snapshots wait in the spool"
        );
        watch.stop();
        assert_eq!(watch.status(), "finishing the visits under way");
    }

    #[test]
    fn a_loop_that_does_not_turn_is_named() {
        let watch = watch(1);
        taken_up(&watch);
        let now = Moment::now();
        for (pulse, later, is_stuck) in [
            (Pulse::Waiting, 3600, false),
            (Pulse::Resting(now), 60, false),
            (Pulse::Resting(now), 61, true),
            (Pulse::Working(now + Duration::from_secs(600)), 600, false),
            (Pulse::Working(now + Duration::from_secs(600)), 601, true),
            (Pulse::Over, 0, true),
        ] {
            let then = now + Duration::from_secs(later);
            assert_eq!(stuck(pulse, then).is_some(), is_stuck, "{pulse:?} {later}");
            let seen = Seen { pulse, ..watch.sources()[0].seen().clone() };
            assert_eq!(unready(&seen, then).is_some(), is_stuck, "{pulse:?} {later}");
        }
        let begun = watch.begin("s0");
        drop(begun);
        assert_eq!(watch.stuck(), ["source `s0`: its loop has ended"]);
        // One that is recorded no more may end, and may come back.
        watch.remove("s0");
        assert!(watch.stuck().is_empty());
        watch.add(WatchedSource {
            name: "s0".into(),
            interval: now.elapsed(),
            max_gap: now.elapsed(),
        });
        assert!(watch.stuck().is_empty());
        drop(watch.begin("s0"));
        // Then that is as it should be.
        watch.stop();
        assert!(watch.stuck().is_empty());
        assert_eq!(watch.unready(), ["it is stopping"]);
    }

    #[test]
    fn what_cannot_be_kept_is_not_ready_and_no_reason_to_start_again() {
        let watch = watch(12);
        taken_up(&watch);
        watch.sources()[3].seen().obstacle = Some(Obstacle::Clock);
        assert_eq!(watch.unready(), ["source `s3`: the clock stands before the newest snapshot"]);
        for watched in watch.sources() {
            watched.seen().obstacle = Some(Obstacle::Full);
        }
        let why = watch.unready();
        assert_eq!(why[0], "source `s0`: neither the database nor the spool takes snapshots");
        assert_eq!((why.len(), &*why[10]), (11, "and 2 more"));
        assert!(watch.stuck().is_empty());
    }
}
