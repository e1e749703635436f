//! The figures as Prometheus reads them.
//!
//! Names and units follow its conventions: base units, `_total` for what only grows, an age for what is waited for, since
//! the clocks of the two machines need not agree. `docs/operating.md` lists them all, and a test holds it to that.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::watch::{Seen, Watch, Watched};
use crate::collector::Standing;
use crate::domain::Instant;

/// A family's name without what its kind and its unit add to it, what it means, and the unit.
struct Family(&'static str, &'static str, Option<Unit>);

type Sources<'a> = [(&'a Watched, Seen)];

impl Collector for Watch {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        // Of one instant each, and no loop is held up while text is made.
        let watched = self.sources();
        let sources: Vec<(&Watched, Seen)> =
            watched.iter().map(|watched| (&**watched, watched.seen().clone())).collect();
        self.of_the_process(&mut to)?;
        of_visits(&mut to, &sources)?;
        self.of_skipped_ticks(&mut to)?;
        of_requests(&mut to, &sources)?;
        of_what_is_kept(&mut to, &sources)?;
        self.of_webhooks(&mut to)?;
        self.of_ages(&mut to, &sources)
    }
}

impl Watch {
    fn of_the_process(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let family = Family("deskledger_build_info", "The version that runs.", None);
        gauge(to, &family, [([("version", env!("CARGO_PKG_VERSION"))], 1.0)])?;
        let family = Family(
            "process_start_time",
            "When the process began, in seconds since 1970.",
            Some(Unit::Seconds),
        );
        let started = self.started_at.timestamp_micros();
        gauge(to, &family, [(NONE, Duration::from_micros(started.unsigned_abs()).as_secs_f64())])?;
        let family = Family(
            "deskledger_database_size",
            "What the ledger takes on its server, indexes included.",
            Some(Unit::Bytes),
        );
        gauge(to, &family, self.database_bytes().map(|bytes| (NONE, float(bytes))))?;
        let family =
            Family("deskledger_spool_max", "What the spool may take on disk.", Some(Unit::Bytes));
        gauge(to, &family, [(NONE, float(self.spool_max_bytes))])
    }

    fn of_skipped_ticks(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let family = Family(
            "deskledger_ticks_skipped",
            "Ticks without a visit: the one before went on (busy), or the machine slept (late).",
            None,
        );
        let skipped = self.ticker.get().map(|ticker| ticker.skipped()).unwrap_or_default();
        let rows = skipped.iter().flat_map(|(source, skipped)| {
            [("busy", skipped.busy), ("late", skipped.late)]
                .map(|(reason, ticks)| ([("source", &**source), ("reason", reason)], ticks))
        });
        counter(to, &family, rows)
    }

    fn of_webhooks(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.webhooks.get().map(|tally| tally.now()).unwrap_or_default();
        let family = Family(
            "deskledger_webhook_deliveries",
            "Attempts to deliver events, by how they ended, and events that were given up.",
            None,
        );
        let rows = counts.iter().flat_map(|(webhook, counts)| {
            counts.outcomes.iter().map(|(outcome, events)| {
                ([("webhook", &**webhook), ("outcome", outcome.as_str())], *events)
            })
        });
        counter(to, &family, rows)?;
        let family =
            Family("deskledger_webhook_pending", "Events that wait to be delivered.", None);
        let rows = counts.iter().filter_map(|(webhook, counts)| {
            Some(([("webhook", &**webhook)], float(counts.pending?)))
        });
        gauge(to, &family, rows)
    }

    fn of_ages(&self, to: &mut DescriptorEncoder<'_>, sources: &Sources<'_>) -> fmt::Result {
        let now = self.clock.now();
        let age = |at: Instant| (now - at).to_std().unwrap_or_default().as_secs_f64();
        let family = Family(
            "deskledger_newest_complete_snapshot_age",
            "How long ago the newest snapshot with a complete listing was taken.",
            Some(Unit::Seconds),
        );
        let rows = sources
            .iter()
            .filter_map(|(watched, seen)| Some((of(watched), age(seen.newest_complete?))));
        gauge(to, &family, rows)?;
        let family = Family(
            "deskledger_spool_oldest_snapshot_age",
            "How long ago the first of the snapshots was taken that wait in the spool.",
            Some(Unit::Seconds),
        );
        let rows = sources
            .iter()
            .filter_map(|(watched, seen)| Some((of(watched), age(seen.backlog?.oldest?))));
        gauge(to, &family, rows)?;
        let family = Family(
            "deskledger_source_interval",
            "The shortest time between two visits.",
            Some(Unit::Seconds),
        );
        let rows = sources.iter().map(|(watched, seen)| (of(watched), seen.interval.as_secs_f64()));
        gauge(to, &family, rows)?;
        let family = Family(
            "deskledger_source_max_gap",
            "The longest time between two visits that leaves no gap.",
            Some(Unit::Seconds),
        );
        let rows = sources.iter().map(|(watched, seen)| (of(watched), seen.max_gap.as_secs_f64()));
        gauge(to, &family, rows)
    }
}

fn of_visits(to: &mut DescriptorEncoder<'_>, sources: &Sources<'_>) -> fmt::Result {
    let family = Family(
        "deskledger_snapshots",
        "Snapshots taken, by how the listing of desktops and the statistics of groups ended.",
        None,
    );
    let rows = sources.iter().flat_map(|(watched, seen)| {
        seen.visits.iter().map(|((desktops, groups), snapshots)| {
            let source = &*watched.name;
            let labels = [("source", source), ("outcome", desktops), ("groups_outcome", groups)];
            (labels, *snapshots)
        })
    });
    counter(to, &family, rows)?;
    let family = Family(
        "deskledger_visits_withheld",
        "Visits not made, since nothing could have been kept: the clock was set back, or all was full (spool).",
        None,
    );
    let rows = sources.iter().flat_map(|(watched, seen)| {
        [("clock", seen.withheld_by_clock), ("spool", seen.withheld_by_spool)]
            .map(|(reason, visits)| ([("source", &*watched.name), ("reason", reason)], visits))
    });
    counter(to, &family, rows)?;
    let family = Family(
        "deskledger_cycle_duration",
        "What a visit took, from its tick until its snapshot was kept.",
        Some(Unit::Seconds),
    );
    let mut metric =
        to.encode_descriptor(family.0, family.1, family.2.as_ref(), MetricType::Histogram)?;
    for (watched, _) in sources {
        watched.durations.encode(metric.encode_family(&of(watched))?)?;
    }
    Ok(())
}

fn of_requests(to: &mut DescriptorEncoder<'_>, sources: &Sources<'_>) -> fmt::Result {
    let family = Family(
        "deskledger_requests",
        "Requests sent, by the HTTP status of the answer, or by why there was none; counted when their visit has ended.",
        None,
    );
    let rows = sources.iter().flat_map(|(watched, seen)| {
        seen.requests.iter().map(|(fate, requests)| {
            let labels = [("source", watched.name.clone()), ("status", fate.to_string())];
            (labels, *requests)
        })
    });
    counter(to, &family, rows)?;
    let family = Family("deskledger_request_retries", "The repetitions among the requests.", None);
    counter(to, &family, sources.iter().map(|(watched, seen)| (of(watched), seen.retries)))?;
    let family =
        Family("deskledger_requests_throttled", "Answers that said: too many requests.", None);
    counter(to, &family, sources.iter().map(|(watched, seen)| (of(watched), seen.throttled)))
}

fn of_what_is_kept(to: &mut DescriptorEncoder<'_>, sources: &Sources<'_>) -> fmt::Result {
    type Count = fn(&Seen) -> u64;
    let counts: [(Family, Count); 5] = [
        (
            Family(
                "deskledger_recorded_snapshots",
                "Snapshots that became part of the history.",
                None,
            ),
            |seen| seen.tally.recorded,
        ),
        (
            Family(
                "deskledger_changes",
                "Desktops whose span began with a recorded snapshot, or that were gone.",
                None,
            ),
            |seen| seen.tally.changes,
        ),
        (
            Family(
                "deskledger_late_snapshots",
                "Snapshots that came when newer ones were recorded already, and are kept outside the history.",
                None,
            ),
            |seen| seen.tally.late,
        ),
        (
            Family("deskledger_spooled_snapshots", "Snapshots that went to the spool first.", None),
            |seen| seen.tally.spooled,
        ),
        (
            Family(
                "deskledger_dropped_snapshots",
                "Snapshots that were given up for newer ones, since the spool was full.",
                None,
            ),
            |seen| seen.tally.dropped,
        ),
    ];
    for (family, count) in counts {
        counter(to, &family, sources.iter().map(|(watched, seen)| (of(watched), count(seen))))?;
    }
    let family = Family("deskledger_spool_snapshots", "Snapshots that wait in the spool.", None);
    let rows = sources
        .iter()
        .filter_map(|(watched, seen)| Some((of(watched), float(seen.backlog?.snapshots as u64))));
    gauge(to, &family, rows)?;
    let family = Family(
        "deskledger_spool",
        "What the snapshots take on disk that wait in the spool.",
        Some(Unit::Bytes),
    );
    let rows = sources
        .iter()
        .filter_map(|(watched, seen)| Some((of(watched), float(seen.backlog?.bytes))));
    gauge(to, &family, rows)?;
    let family = Family(
        "deskledger_lease_held",
        "1: this recorder leads, 0: another one does, as far as it knows.",
        None,
    );
    let rows = sources.iter().filter_map(|(watched, seen)| match &seen.standing {
        Some(Standing::Leading) => Some((of(watched), 1.0)),
        Some(Standing::StandingBy { .. }) => Some((of(watched), 0.0)),
        Some(Standing::Unknown) | None => None,
    });
    gauge(to, &family, rows)
}

/// No labels.
const NONE: [(&str, &str); 0] = [];

/// The label that all of a source's figures have.
fn of(watched: &Watched) -> [(&str, &str); 1] {
    [("source", &watched.name)]
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
fn float(number: u64) -> f64 {
    number as f64
}

fn gauge<L: EncodeLabelSet>(
    to: &mut DescriptorEncoder<'_>,
    Family(name, help, unit): &Family,
    rows: impl IntoIterator<Item = (L, f64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
    for (labels, value) in rows {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn counter<L: EncodeLabelSet>(
    to: &mut DescriptorEncoder<'_>,
    Family(name, help, unit): &Family,
    rows: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
    for (labels, value) in rows {
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    Ok(())
}
