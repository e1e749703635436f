//! `disconnects`: how connections begin and end, and whether people come back.

use super::Buckets;
use crate::oracle::connections::connections;
use crate::oracle::coverage::covered_time;
use crate::oracle::held::{held_in_covered_time, held_time};
use crate::oracle::ledger::{Ledger, Micros, Source, State};
use crate::oracle::rows::{Row, hours, percent, row};
use crate::oracle::time_line::{Observation, next_within_max_gap, time_line};

/// One disconnect: a CONNECTED observation followed, within `max_gap`, by a DISCONNECTED one of the
/// same desktop; it counts at the later.
pub struct Disconnect<'a> {
    pub desktop: &'a str,
    /// What it was disconnected into.
    pub state: &'a State,
    pub at: Micros,
    /// The desktop's first CONNECTED observation after it, with no gap between.
    connected_again_at: Option<Micros>,
    /// The last observation after it with no gap between.
    observed_until: Micros,
}

impl Disconnect<'_> {
    /// Absences and other users between do not matter, time does: at most `within` later.
    pub fn is_reconnected(&self, within: Micros) -> bool {
        self.connected_again_at.is_some_and(|at| at - self.at <= within)
    }

    /// Whether it is known if there was a reconnect: there was, or `within` was observed to its end.
    fn is_decided(&self, within: Micros) -> bool {
        self.is_reconnected(within) || self.observed_until - self.at >= within
    }
}

/// `connections_started` counts connections whose start is known, at `first_seen`;
/// `connections_ended` those whose end is known, at `ended_before`. What gaps hide is not guessed. In
/// a bucket without covered time the counts are NULL, unless something was counted.
pub fn disconnects(
    ledger: &Ledger,
    asked: Buckets,
    source: &str,
    reconnect_within: Micros,
) -> Vec<Row> {
    let history_of = |source| {
        (source, connections(source), disconnects_of(source), held_in_covered_time(source))
    };
    let sources: Vec<_> = ledger.asked(source).map(history_of).collect();
    let mut rows = Vec::new();
    for bucket in asked.list() {
        for (source, connections, disconnects, held) in &sources {
            let counted = |at: Option<Micros>| at.is_some_and(|at| bucket.part.contains(at));
            let started = connections.iter().filter(|connection| {
                counted(connection.started_after().map(|_| connection.first_seen()))
            });
            let started = started.count() as i64;
            let ended = connections.iter().filter(|connection| counted(connection.ended_before()));
            let ended = ended.count() as i64;
            let disconnects: Vec<&Disconnect<'_>> =
                disconnects.iter().filter(|each| counted(Some(each.at))).collect();
            let count = |counts: fn(&Disconnect<'_>, Micros) -> bool| {
                disconnects.iter().filter(|each| counts(each, reconnect_within)).count() as i64
            };
            let reconnects = count(|each, within| each.is_reconnected(within));
            let decided = count(|each, within| each.is_decided(within));
            let disconnects = disconnects.len() as i64;

            let covered = covered_time(source, bucket.part);
            let connected = held_time(held, bucket.part, State::is_connected);
            let anything = covered > 0 || started + ended + disconnects > 0;
            let number = |count: i64| anything.then_some(count).into();
            let per_100_hours =
                (connected > 0).then(|| 100.0 * disconnects as f64 / hours(connected));
            rows.push(row([
                ("bucket_start", bucket.start.into()),
                ("source", source.name.clone().into()),
                ("connections_started", number(started)),
                ("connections_ended", number(ended)),
                ("disconnects", number(disconnects)),
                ("disconnect_share_pct", percent(disconnects, ended).into()),
                ("connected_hours", (covered > 0).then(|| hours(connected)).into()),
                ("disconnects_per_100_hours", per_100_hours.into()),
                ("reconnects", number(reconnects)),
                ("reconnect_pct", percent(reconnects, decided).into()),
                ("coverage_pct", percent(covered, bucket.part.length()).into()),
            ]));
        }
    }
    rows
}

/// Every disconnect of a source.
pub fn disconnects_of(source: &Source) -> Vec<Disconnect<'_>> {
    let mut disconnects = Vec::new();
    for desktop in source.desktops() {
        let observations = time_line(source, desktop);
        for index in 0..observations.len() {
            let next = next_within_max_gap(&observations, index);
            if let Some(next) = next
                && observations[index].is_connected()
                && next.has_status("DISCONNECTED")
            {
                disconnects.push(follow(desktop, &observations, index + 1));
            }
        }
    }
    disconnects
}

/// Follows a desktop from the DISCONNECTED observation at `index` until a gap comes.
fn follow<'a>(desktop: &'a str, observations: &[Observation<'a>], index: usize) -> Disconnect<'a> {
    let at = observations[index].at();
    let state = observations[index].state.unwrap();
    let mut disconnect =
        Disconnect { desktop, state, at, connected_again_at: None, observed_until: at };
    let mut index = index;
    while let Some(next) = next_within_max_gap(observations, index) {
        disconnect.observed_until = next.at();
        if next.is_connected() && disconnect.connected_again_at.is_none() {
            disconnect.connected_again_at = Some(next.at());
        }
        index += 1;
    }
    disconnect
}
