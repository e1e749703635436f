//! The stable views. A view has no order of its own; here the rows come by source, then by desktop or
//! group, then by time.

use super::connections::{attribution, connections};
use super::coverage::runs;
use super::ledger::{COUNTERS, Ledger, Micros, Source, Visit};
use super::rows::{Row, attach_users, row, user_names};
use super::time_line::{spans, time_line};

/// `sources`: where each is, and from when to when it was visited, with whatever outcome. Every tick
/// up to the newest recorded snapshot is recorded or known lost.
pub fn sources(ledger: &Ledger) -> Vec<Row> {
    let row_of = |source: &Source| {
        let newest = source.visits.last().unwrap().observed_at;
        row([
            ("source", source.name.clone().into()),
            ("region", source.region.clone().into()),
            ("project_id", source.project_id.clone().into()),
            ("endpoint", source.endpoint.clone().into()),
            ("first_snapshot_at", source.visits[0].observed_at.into()),
            ("last_snapshot_at", newest.into()),
            ("complete_until", newest.into()),
            // Nobody is recording while answers are compared.
            ("leader", None::<String>.into()),
            ("led_since", None::<Micros>.into()),
            ("leased_until", None::<Micros>.into()),
        ])
    };
    ledger.sources.iter().map(row_of).collect()
}

/// `snapshots`: every visit, failed ones too. Counts of a failed part are NULL.
pub fn snapshots(ledger: &Ledger) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in &ledger.sources {
        for visit in &source.visits {
            let listing = visit.listing.as_ref();
            rows.push(row([
                ("source", source.name.clone().into()),
                ("scheduled_at", visit.scheduled_at.into()),
                ("observed_at", visit.observed_at.into()),
                ("finished_at", visit.finished_at.into()),
                ("desktops_outcome", desktops_outcome(visit).into()),
                ("groups_outcome", groups_outcome(visit).into()),
                ("desktops_total", listing.and_then(|listing| listing.total).into()),
                ("desktops_recorded", listing.map(|listing| listing.desktops.len()).into()),
                ("groups_recorded", visit.groups.as_ref().map(Vec::len).into()),
                ("changes", changes(source, visit).into()),
                ("max_gap", visit.max_gap.into()),
                ("error_code", visit.error_code.clone().into()),
                ("error_message", visit.error_message.clone().into()),
                ("late", false.into()),
                ("received_at", None::<Micros>.into()),
            ]));
        }
    }
    rows
}

fn desktops_outcome(visit: &Visit) -> &'static str {
    match &visit.listing {
        None => "failed",
        Some(listing) if listing.is_complete() => "complete",
        Some(_) => "partial",
    }
}

fn groups_outcome(visit: &Visit) -> &'static str {
    if visit.groups.is_some() { "complete" } else { "failed" }
}

/// The desktops whose span begins at this snapshot, and those whose last observation was present,
/// however long ago, and which this complete listing lacks.
fn changes(source: &Source, visit: &Visit) -> usize {
    let changed = |desktop: &&str| {
        let observations = time_line(source, desktop);
        let begins = spans(&observations).iter().any(|span| span.first_seen() == visit.observed_at);
        let goes = observations.windows(2).any(|pair| {
            let (before, now) = (pair[0], pair[1]);
            now.at() == visit.observed_at && now.state.is_none() && before.state.is_some()
        });
        begins || goes
    };
    source.desktops().iter().filter(|desktop| changed(desktop)).count()
}

/// `desktop_snapshots`: every desktop in every snapshot, rebuilt exactly.
pub fn desktop_snapshots(ledger: &Ledger) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in &ledger.sources {
        for visit in source.usable() {
            for (desktop, state) in &visit.listing.as_ref().unwrap().desktops {
                rows.push(row([
                    ("source", source.name.clone().into()),
                    ("observed_at", visit.observed_at.into()),
                    ("desktop_id", desktop.clone().into()),
                    ("desktop_name", state.name.clone().into()),
                    ("connect_status", state.status.clone().into()),
                    ("attach_users", attach_users(&state.users)),
                ]));
            }
        }
    }
    rows
}

/// `group_snapshots`: every group in every snapshot, rebuilt exactly.
pub fn group_snapshots(ledger: &Ledger) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in &ledger.sources {
        for visit in &source.visits {
            for group in visit.groups.iter().flatten() {
                let mut row = row([
                    ("source", source.name.clone().into()),
                    ("observed_at", visit.observed_at.into()),
                    ("static_name", group.name.clone().into()),
                    ("ordinal", group.ordinal.into()),
                ]);
                for (name, counter) in COUNTERS.into_iter().zip(group.counters) {
                    row.insert(name.into(), counter.into());
                }
                rows.push(row);
            }
        }
    }
    rows
}

/// `desktop_states`: the spans.
pub fn desktop_states(ledger: &Ledger) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in &ledger.sources {
        for desktop in source.desktops() {
            for span in spans(&time_line(source, desktop)) {
                let state = span.state.unwrap();
                rows.push(row([
                    ("source", source.name.clone().into()),
                    ("desktop_id", desktop.into()),
                    ("desktop_name", state.name.clone().into()),
                    ("connect_status", state.status.clone().into()),
                    ("attach_users", attach_users(&state.users)),
                    ("first_seen", span.first_seen().into()),
                    ("last_seen", span.last_seen().into()),
                    ("held_until", span.held_until().into()),
                    ("started_after", span.started_after().into()),
                    ("started_by", span.started_by().into()),
                    ("ended_before", span.ended_before().into()),
                    ("ended_by", span.ended_by().into()),
                ]));
            }
        }
    }
    rows
}

/// `connections`, with how each ended and how long it lasted at least, at most, and as held.
pub fn connections_view(ledger: &Ledger) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in &ledger.sources {
        for connection in connections(source) {
            let state = connection.state();
            rows.push(row([
                ("source", source.name.clone().into()),
                ("desktop_id", connection.desktop.into()),
                ("desktop_name", state.name.clone().into()),
                ("users", user_names(state)),
                ("attribution", attribution(&state.identities()).into()),
                ("first_seen", connection.first_seen().into()),
                ("last_seen", connection.last_seen().into()),
                ("held_until", connection.held_until().into()),
                ("started_after", connection.started_after().into()),
                ("started_by", connection.started_by().into()),
                ("ended_before", connection.ended_before().into()),
                ("ended_by", connection.ended_by().into()),
                ("ended_as", connection.ended_as.clone().into()),
                ("min_duration", connection.min_duration().into()),
                ("max_duration", connection.max_duration().into()),
                ("held_duration", connection.held_duration().into()),
            ]));
        }
    }
    rows
}

/// `coverage`: the runs of covered time.
pub fn coverage(ledger: &Ledger) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in &ledger.sources {
        for run in runs(source) {
            rows.push(row([
                ("source", source.name.clone().into()),
                ("covered_from", run.period().from.into()),
                ("covered_to", run.period().to.into()),
                ("snapshots", run.visits.len().into()),
                ("partial", run.partial().into()),
            ]));
        }
    }
    rows
}

/// `gaps`: the stretches between two runs, and the one still open, with the failures inside.
///
/// The last is open when `now` is further from the last run's end than its last snapshot's
/// `max_gap`. A source without any run has been in a gap since its first snapshot.
pub fn gaps(ledger: &Ledger, now: Micros) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in &ledger.sources {
        let runs = runs(source);
        for pair in runs.windows(2) {
            let (from, to) = (pair[0].period().to, pair[1].period().from);
            let inside = |at: Micros| from < at && at < to;
            rows.push(gap(source, from, Some(to), inside));
        }
        let Some(last_run) = runs.last() else {
            let from = source.visits[0].observed_at;
            rows.push(gap(source, from, None, |at| at >= from));
            continue;
        };
        let (last, from) = (last_run.visits.last().unwrap(), last_run.period().to);
        if now - from > last.max_gap {
            rows.push(gap(source, from, None, |at| at > from));
        }
    }
    rows
}

/// One gap, with the number of failed listings inside and the newest error among them; and the newest that a recorder
/// says by itself, inside or in the snapshot that ends it.
fn gap(source: &Source, from: Micros, to: Option<Micros>, inside: impl Fn(Micros) -> bool) -> Row {
    let failed = source.visits.iter().filter(|visit| visit.listing.is_none());
    let failed: Vec<&Visit> = failed.filter(|visit| inside(visit.observed_at)).collect();
    let is_told = |visit: &&Visit| inside(visit.observed_at) || to == Some(visit.observed_at);
    let (reason, message) = source.visits.iter().rev().filter(is_told).find_map(note).unzip();
    row([
        ("source", source.name.clone().into()),
        ("gap_from", from.into()),
        ("gap_to", to.into()),
        ("failed_snapshots", failed.len().into()),
        ("last_error", failed.iter().rev().find_map(|visit| error(visit)).into()),
        ("reason", reason.into()),
        ("reason_message", message.flatten().into()),
    ])
}

/// What a recorder says by itself, by code and message: under its own code, or behind what went wrong besides.
fn note(visit: &Visit) -> Option<(String, Option<String>)> {
    let code = visit.error_code.as_deref();
    if let Some(code) = code.filter(|code| ["clock", "spool", "dropped"].contains(code)) {
        return Some((code.to_owned(), visit.error_message.clone()));
    }
    let message = visit.error_message.as_deref()?;
    let begins = ["; clock: the clock was set ", "; spool: nothing was visited "];
    let at = begins.iter().filter_map(|begin| message.find(begin)).min()?;
    let (code, message) = message[at + 2..].split_once(": ").unwrap();
    Some((code.to_owned(), Some(message.to_owned())))
}

/// `code: message`, or the one of them that there is.
fn error(visit: &Visit) -> Option<String> {
    match (&visit.error_code, &visit.error_message) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (one, other) => one.clone().or(other.clone()),
    }
}

/// A view by its name; `gaps` as it is at `now`.
pub fn view(ledger: &Ledger, name: &str, now: Micros) -> Vec<Row> {
    match name {
        "sources" => sources(ledger),
        "snapshots" => snapshots(ledger),
        "desktop_snapshots" => desktop_snapshots(ledger),
        "group_snapshots" => group_snapshots(ledger),
        "desktop_states" => desktop_states(ledger),
        "connections" => connections_view(ledger),
        "coverage" => coverage(ledger),
        "gaps" => gaps(ledger, now),
        _ => panic!("no view is called `{name}`"),
    }
}

/// The names of the views.
pub const VIEWS: [&str; 8] = [
    "sources",
    "snapshots",
    "desktop_snapshots",
    "group_snapshots",
    "desktop_states",
    "connections",
    "coverage",
    "gaps",
];
