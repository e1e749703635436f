//! `connected-at`: who was connected at an instant, and who might have been.

use serde_json::Value;

use crate::oracle::connections::{Connection, attribution, connections_of};
use crate::oracle::coverage::covered;
use crate::oracle::ledger::{Ledger, Micros, Source};
use crate::oracle::rows::{Row, row, user_names};
use crate::oracle::time_line::{Observation, held_until, time_line};

/// One row per desktop whose last observation at or before `at` is CONNECTED, and one with a NULL
/// desktop, last, per source that cannot answer for all. No row at all means: observed, and nobody.
pub fn connected_at(ledger: &Ledger, at: Micros, source: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in ledger.asked(source) {
        let mut present = 0;
        let mut others = 0;
        for desktop in source.desktops() {
            let observations = time_line(source, desktop);
            let Some(index) = observations.iter().rposition(|each| each.at() <= at) else {
                continue;
            };
            let observation = observations[index];
            if observation.state.is_none() {
                continue;
            }
            present += 1;
            let certainty = certainty(&observations, index, at);
            if observation.is_connected() {
                let connections = connections_of(source, desktop);
                let its = |each: &&Connection<'_>| {
                    each.first_seen() <= observation.at() && observation.at() <= each.last_seen()
                };
                let connection = connections.iter().find(its).unwrap();
                rows.push(connected(source, &observation, connection, certainty));
            } else if certainty == "not observed" {
                others += 1;
            }
        }
        if others > 0 || !is_observed(source, at) || !is_listed_whole(source, at, present) {
            rows.push(cannot_answer(source, others));
        }
    }
    rows
}

/// `observed` where the observation's hold covers `at`, or it was made then; `latest` where it is the
/// desktop's newest in the ledger and at `at` no older than its snapshot's `max_gap`.
fn certainty(observations: &[Observation<'_>], index: usize, at: Micros) -> &'static str {
    let observation = &observations[index];
    let is_newest = index + 1 == observations.len();
    if observation.at() == at || at < held_until(observations, index) {
        "observed"
    } else if is_newest && at - observation.at() <= observation.visit.max_gap {
        "latest"
    } else {
        "not observed"
    }
}

/// Whether the source was looked at around `at`: that is in its covered time, or a usable snapshot's
/// own instant, or at most `max_gap` after its newest usable snapshot.
fn is_observed(source: &Source, at: Micros) -> bool {
    let usable = source.usable();
    let newest = usable.last();
    covered(source).iter().any(|piece| piece.period.contains(at))
        || usable.iter().any(|visit| visit.observed_at == at)
        || newest.is_some_and(|newest| {
            newest.observed_at <= at && at - newest.observed_at <= newest.max_gap
        })
}

/// Whether the newest usable listing at or before `at` leaves nobody out: it was complete, or as many
/// desktops as its known total were `present` by then, each in its own last observation.
fn is_listed_whole(source: &Source, at: Micros, present: i64) -> bool {
    let usable = source.usable();
    let Some(newest) = usable.iter().rfind(|visit| visit.observed_at <= at) else {
        return true; // Before the first listing `is_observed` has said no already.
    };
    let listing = newest.listing.as_ref().unwrap();
    listing.is_complete() || listing.total.is_some_and(|total| present >= total)
}

/// A desktop that was last seen connected. Name and users are those of the observation, the bounds
/// those of its connection as known now.
fn connected(
    source: &Source,
    observation: &Observation<'_>,
    connection: &Connection<'_>,
    certainty: &str,
) -> Row {
    let state = observation.state.unwrap();
    row([
        ("source", source.name.clone().into()),
        ("desktop_id", connection.desktop.into()),
        ("desktop_name", state.name.clone().into()),
        ("users", user_names(state)),
        ("attribution", attribution(&state.identities()).into()),
        ("first_seen", connection.first_seen().into()),
        ("last_seen", connection.last_seen().into()),
        ("started_after", connection.started_after().into()),
        ("ended_before", connection.ended_before().into()),
        ("certainty", certainty.into()),
        ("others", Value::Null),
    ])
}

/// The row of a source that cannot answer for all its desktops.
fn cannot_answer(source: &Source, others: i64) -> Row {
    row([
        ("source", source.name.clone().into()),
        ("desktop_id", Value::Null),
        ("desktop_name", Value::Null),
        ("users", Value::Null),
        ("attribution", Value::Null),
        ("first_seen", Value::Null),
        ("last_seen", Value::Null),
        ("started_after", Value::Null),
        ("ended_before", Value::Null),
        ("certainty", "not observed".into()),
        ("others", others.into()),
    ])
}
