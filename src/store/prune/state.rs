//! What stands at a month's end, as it is kept in the ledger and in archives.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::domain::beliefs::{Head, Mark, OpenGroupSpan, OpenSpan, Run};
use crate::domain::retell::{Ends, Standing, Used};
use crate::domain::{Counters, Instant};

/// An instant and a `max_gap` in seconds.
type StoredMark = (Instant, i64);

/// A [`Standing`] in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    at: Instant,
    first_at: Option<Instant>,
    newest: Option<StoredMark>,
    scheduled_at: Option<Instant>,
    usable: Option<StoredMark>,
    run: Option<(Instant, Instant, i32, i32)>,
    complete: Option<StoredMark>,
    complete_run_from: Option<Instant>,
    groups_at: Option<StoredMark>,
    desktops: Vec<StoredSpan>,
    absent: Vec<(i32, Instant, Instant)>,
    groups: Vec<StoredGroup>,
    used: (i32, i16, i32, i32),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredSpan {
    desktop: i32,
    status: i16,
    label: i32,
    piece_from: Instant,
    first_seen: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_after: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unlisted: Option<(StoredMark, Instant)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection: Option<(Instant, Option<Instant>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<Instant>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredGroup {
    group: i32,
    from: Instant,
    is_continued: bool,
    counters: Vec<Option<i64>>,
}

/// [`Ends`] in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredEnds {
    spans: Vec<(i32, Instant, Instant, i16)>,
    groups: Vec<(i32, Instant, Instant, bool)>,
}

fn stored(mark: Mark) -> StoredMark {
    (mark.at, mark.max_gap.num_seconds())
}

fn mark((at, seconds): StoredMark) -> Mark {
    Mark { at, max_gap: TimeDelta::seconds(seconds) }
}

impl From<&Standing> for State {
    fn from(standing: &Standing) -> Self {
        let Head {
            first_at, newest, scheduled_at, usable, run, complete, complete_run_from, ..
        } = standing.head;
        let desktops = standing.desktops.iter().map(|(no, span)| StoredSpan {
            desktop: *no,
            status: span.status,
            label: span.label,
            piece_from: span.piece_from,
            first_seen: span.first_seen,
            started_after: span.started_after,
            unlisted: span.unlisted.map(|(mark, since)| (stored(mark), since)),
            connection: span.connection,
            disconnected_at: span.disconnected_at,
        });
        let groups = standing.groups.iter().map(|(no, open)| StoredGroup {
            group: *no,
            from: open.from,
            is_continued: open.is_continued,
            counters: open.counters.to_vec(),
        });
        let Used { desktops: used, statuses, labels, groups: used_groups } = standing.used;
        Self {
            at: standing.at,
            first_at,
            newest: newest.map(stored),
            scheduled_at,
            usable: usable.map(stored),
            run: run.map(|run| (run.from, run.to, run.snapshots, run.partial)),
            complete: complete.map(stored),
            complete_run_from,
            groups_at: standing.head.groups.map(stored),
            desktops: desktops.collect(),
            absent: standing.absent.clone(),
            groups: groups.collect(),
            used: (used, statuses, labels, used_groups),
        }
    }
}

impl State {
    /// As the domain knows it; `None`: it is none.
    pub(super) fn standing(self) -> Option<Standing> {
        let desktops = self.desktops.into_iter().map(|span| {
            let open = OpenSpan {
                status: span.status,
                label: span.label,
                piece_from: span.piece_from,
                first_seen: span.first_seen,
                started_after: span.started_after,
                unlisted: span.unlisted.map(|(stored, since)| (mark(stored), since)),
                connection: span.connection,
                disconnected_at: span.disconnected_at,
            };
            (span.desktop, open)
        });
        let groups = self.groups.into_iter().map(|group| {
            let counters = Counters::try_from(group.counters).ok()?;
            let StoredGroup { group: no, from, is_continued, .. } = group;
            Some((no, OpenGroupSpan { from, is_continued, counters }))
        });
        let (used, statuses, labels, used_groups) = self.used;
        Some(Standing {
            at: self.at,
            head: Head {
                sequence: 0,
                digest: [0; 32],
                first_at: self.first_at,
                newest: self.newest.map(mark),
                scheduled_at: self.scheduled_at,
                usable: self.usable.map(mark),
                run: self.run.map(|(from, to, snapshots, partial)| Run {
                    from,
                    to,
                    snapshots,
                    partial,
                }),
                complete: self.complete.map(mark),
                complete_run_from: self.complete_run_from,
                groups: self.groups_at.map(mark),
            },
            desktops: desktops.collect(),
            absent: self.absent,
            groups: groups.collect::<Option<_>>()?,
            used: Used { desktops: used, statuses, labels, groups: used_groups },
        })
    }
}

/// A standing as JSON.
#[must_use]
pub fn standing_to_json(standing: &Standing) -> serde_json::Value {
    serde_json::to_value(State::from(standing)).expect("plain values")
}

/// A standing out of JSON; `None`: it is none.
#[must_use]
pub fn standing_from_json(json: serde_json::Value) -> Option<Standing> {
    serde_json::from_value::<State>(json).ok()?.standing()
}

/// Ends as JSON, in the order of their numbers.
#[must_use]
pub fn ends_to_json(ends: &Ends) -> serde_json::Value {
    let mut spans: Vec<_> = ends
        .spans
        .iter()
        .map(|(no, (to, last_seen, code))| (*no, *to, *last_seen, *code))
        .collect();
    let mut groups: Vec<_> = ends
        .groups
        .iter()
        .map(|(no, (to, last_seen, goes_on))| (*no, *to, *last_seen, *goes_on))
        .collect();
    spans.sort_unstable();
    groups.sort_unstable();
    serde_json::to_value(StoredEnds { spans, groups }).expect("plain values")
}

/// Ends out of JSON; `None`: they are none.
#[must_use]
pub fn ends_from_json(json: serde_json::Value) -> Option<Ends> {
    let StoredEnds { spans, groups } = serde_json::from_value(json).ok()?;
    Some(Ends {
        spans: spans.into_iter().map(|(no, to, last, code)| (no, (to, last, code))).collect(),
        groups: groups.into_iter().map(|(no, to, last, on)| (no, (to, last, on))).collect(),
    })
}
