//! `group-utilisation`: the cloud's own counters, by group.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Buckets;
use crate::oracle::coverage::Period;
use crate::oracle::ledger::{COUNTERS, Group, Ledger, Source, Visit};
use crate::oracle::rows::{Row, percent, ratio, row};
use crate::oracle::time_line::within_max_gap;

/// The session counters, of whose sum `in_use_pct` is a share.
const SESSION: [&str; 5] =
    ["in_use_num", "ready_num", "disconnected_num", "unregistered_num", "unknown_num"];

/// A row for each bucket and each group ever seen in the source. Means are over the time in which the
/// group was observed and present; `coverage_pct` is that time's share of the bucket.
pub fn group_utilisation(ledger: &Ledger, asked: Buckets, source: &str, group: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for bucket in asked.list() {
        for source in ledger.asked(source) {
            let mut groups = groups(source);
            groups.retain(|each| group.is_empty() || each.shown == group);
            for group in groups {
                let held = held(source, &group, bucket.part);
                let mean = |counter: &str| {
                    let given = |group: &Group| Some((value(group, counter)?, 1));
                    Value::from(quotient(&held, given))
                };
                let share = quotient(&held, |group| {
                    let sum: Option<i128> =
                        SESSION.iter().map(|counter| value(group, counter)).sum();
                    Some((value(group, "in_use_num")?, sum?))
                });
                let peak = held.iter().filter_map(|held| value(held.group, "in_use_num")).max();
                let present: i64 = held.iter().map(|held| held.period.length()).sum();
                rows.push(row([
                    ("bucket_start", bucket.start.into()),
                    ("source", source.name.clone().into()),
                    ("static_name", group.shown.clone().into()),
                    ("in_use_avg", mean("in_use_num")),
                    ("ready_avg", mean("ready_num")),
                    ("disconnected_avg", mean("disconnected_num")),
                    ("unregistered_avg", mean("unregistered_num")),
                    ("unknown_avg", mean("unknown_num")),
                    ("running_avg", mean("running_num")),
                    ("in_use_peak", peak.map(|peak| peak as i64).into()),
                    ("in_use_pct", share.map(|share| 100.0 * share).into()),
                    ("coverage_pct", percent(present, bucket.part.length()).into()),
                ]));
            }
        }
    }
    rows
}

/// A group as reports know it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a> {
    /// `name`, or `name (2)` where it came a second time in one answer.
    shown: String,
    name: &'a str,
    ordinal: i64,
}

/// Every group ever seen in a source, by the name that is shown.
fn groups(source: &Source) -> Vec<Name<'_>> {
    let seen = source.visits.iter().filter_map(|visit| visit.groups.as_ref()).flatten();
    let names = seen.map(|group| Name {
        shown: match group.ordinal {
            1 => group.name.clone(),
            ordinal => format!("{} ({ordinal})", group.name),
        },
        name: &group.name,
        ordinal: group.ordinal,
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// One observation of a group that is present, for as long as it holds inside a bucket.
struct Held<'a> {
    group: &'a Group,
    period: Period,
}

/// An observation of a group is made by every snapshot whose statistics were read. It holds until the
/// next of them, if that comes within `max_gap`; missing from it the group is absent.
fn held<'a>(source: &'a Source, name: &Name<'_>, part: Period) -> Vec<Held<'a>> {
    let read: Vec<&Visit> = source.visits.iter().filter(|visit| visit.groups.is_some()).collect();
    let mut held = Vec::new();
    for pair in read.windows(2).filter(|pair| within_max_gap(pair[0], pair[1])) {
        let hold = Period { from: pair[0].observed_at, to: pair[1].observed_at };
        let period = hold.intersection(part);
        let mut groups = pair[0].groups.iter().flatten();
        let group = groups.find(|each| each.name == name.name && each.ordinal == name.ordinal);
        if let Some(group) = group
            && period.length() > 0
        {
            held.push(Held { group, period });
        }
    }
    held
}

/// A counter by its name; `None` where the API gave none.
fn value(group: &Group, counter: &str) -> Option<i128> {
    let index = COUNTERS.iter().position(|name| *name == counter).unwrap();
    group.counters[index].map(i128::from)
}

/// The time-weighted sum of what `terms` gives first ÷ that of what it gives second, over the time in
/// which it gives anything: an unknown counter is not 0.
fn quotient(held: &[Held<'_>], terms: impl Fn(&Group) -> Option<(i128, i128)>) -> Option<f64> {
    let (mut numerator, mut denominator) = (0, 0);
    for held in held {
        if let Some((upper, lower)) = terms(held.group) {
            numerator += upper * i128::from(held.period.length());
            denominator += lower * i128::from(held.period.length());
        }
    }
    ratio(numerator, denominator)
}
