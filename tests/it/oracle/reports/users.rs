//! `user-days`: when users were connected, day by day; `user-hours`: for how long.

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;

use crate::oracle::buckets::{Unit, buckets};
use crate::oracle::connections::{Connection, attribution, connections};
use crate::oracle::coverage::{Period, covered_time};
use crate::oracle::held::holds;
use crate::oracle::ledger::{Ledger, Micros, Source, State};
use crate::oracle::rows::{Row, hours, percent, row};
use crate::oracle::time_line::{spans, time_line};

/// A person as rows are ordered: by name, then by id, null last.
type Person<'a> = (bool, Option<&'a str>, bool, Option<&'a str>);

/// How far a desktop names a person, the surest first.
const GRADES: [&str; 3] = ["exclusive", "shared", "group"];

/// The users of type USER, and the place of the grade.
fn persons(state: &State) -> (Vec<Person<'_>>, usize) {
    let users = state.identities();
    let grade = GRADES.iter().position(|grade| *grade == attribution(&users));
    let persons = users.into_iter().filter(|(kind, _, _)| *kind == Some("USER"));
    let persons = persons.map(|(_, id, name)| (name.is_none(), name, id.is_none(), id));
    (persons.collect(), grade.unwrap_or(GRADES.len()))
}

/// A stretch in which a desktop that a person is assigned to was held CONNECTED, and the grade.
struct Use<'a> {
    desktop: &'a str,
    grade: usize,
    period: Period,
}

/// By person, every such stretch of one source inside `part`.
fn uses(source: &Source, part: Period) -> BTreeMap<Person<'_>, Vec<Use<'_>>> {
    let mut uses: BTreeMap<Person<'_>, Vec<Use<'_>>> = BTreeMap::new();
    for desktop in source.desktops() {
        for (period, state) in holds(&time_line(source, desktop)) {
            let period = period.intersection(part);
            let (persons, grade) = persons(state);
            if state.is_connected() && period.length() > 0 {
                for person in persons {
                    uses.entry(person).or_default().push(Use { desktop, grade, period });
                }
            }
        }
    }
    uses
}

/// How long at least one was in use, by the surest grade of those in use at the time.
fn once(uses: &[Use<'_>]) -> [Micros; 3] {
    let edges: BTreeSet<Micros> =
        uses.iter().flat_map(|each| [each.period.from, each.period.to]).collect();
    let edges: Vec<Micros> = edges.into_iter().collect();
    let mut time = [0; 3];
    for pair in edges.windows(2) {
        let now = uses.iter().filter(|each| each.period.contains(pair[0]));
        if let Some(grade) = now.map(|each| each.grade).min() {
            time[grade] += pair[1] - pair[0];
        }
    }
    time
}

/// A row for each civil day and person that was observed or held CONNECTED on it. `user` is a name or an id.
pub fn user_days(ledger: &Ledger, user: &str, range: Period, tz: Tz, source: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for day in buckets(range, Unit::Day, tz) {
        for source in ledger.asked(source) {
            let uses = uses(source, day.part);
            for (person, seen) in seen(source, day.part) {
                if !user.is_empty() && person.1 != Some(user) && person.3 != Some(user) {
                    continue;
                }
                let time: Micros = uses.get(&person).map_or(0, |uses| once(uses).iter().sum());
                let grades: Vec<&str> = seen.grades.iter().map(|grade| GRADES[*grade]).collect();
                rows.push(row([
                    ("day", day.start.into()),
                    ("source", source.name.clone().into()),
                    ("user_name", person.1.into()),
                    ("user_id", person.3.into()),
                    ("attribution", grades.into()),
                    ("first_connected", seen.first.into()),
                    ("last_connected", seen.last.into()),
                    ("connected_hours", hours(time).into()),
                    ("desktops", seen.desktops.len().into()),
                    (
                        "coverage_pct",
                        percent(covered_time(source, day.part), day.part.length()).into(),
                    ),
                ]));
            }
        }
    }
    rows
}

/// What a day shows of a person.
struct Seen<'a> {
    first: Micros,
    last: Micros,
    grades: BTreeSet<usize>,
    desktops: BTreeSet<&'a str>,
}

/// By person, the CONNECTED spans that were observed or held on a day, cut to it.
fn seen(source: &Source, day: Period) -> BTreeMap<Person<'_>, Seen<'_>> {
    let mut all: BTreeMap<Person<'_>, Seen<'_>> = BTreeMap::new();
    for desktop in source.desktops() {
        for span in spans(&time_line(source, desktop)) {
            let state = span.state.unwrap();
            let is_there = span.first_seen() < day.to
                && (span.held_until() > day.from || span.last_seen() >= day.from);
            if !state.is_connected() || !is_there {
                continue;
            }
            let first = span.first_seen().max(day.from);
            let goes_on = span.held_until() > day.to;
            let last = if goes_on { day.to } else { span.last_seen().max(day.from) };
            let (persons, grade) = persons(state);
            for person in persons {
                let (grades, desktops) = (BTreeSet::new(), BTreeSet::new());
                let seen = all.entry(person).or_insert(Seen { first, last, grades, desktops });
                seen.first = seen.first.min(first);
                seen.last = seen.last.max(last);
                seen.grades.insert(grade);
                seen.desktops.insert(desktop);
            }
        }
    }
    all
}

/// What is open about the connections that were held in the period, of one person and grade: for how much less than they
/// were held they may have lasted, and for how much more, where no gap hides it.
#[derive(Clone, Copy)]
struct Slack {
    less: Micros,
    more: Option<Micros>,
}

impl Slack {
    const NONE: Self = Self { less: 0, more: Some(0) };

    fn plus(self, other: Self) -> Self {
        let more = self.more.zip(other.more).map(|(one, other)| one + other);
        Self { less: self.less + other.less, more }
    }

    /// A connection certainly lasts from `started_by` to `last_seen`, and from `started_after` to `ended_by` at most; if it
    /// goes on, until `now`, as long as the newest visit says anything about now.
    fn of(source: &Source, connection: &Connection<'_>, part: Period, now: Micros) -> Option<Self> {
        let held = Period { from: connection.first_seen(), to: connection.held_until() };
        let held = held.intersection(part).length();
        if held == 0 {
            return None;
        }
        let sure = Period { from: connection.started_by(), to: connection.last_seen() };
        let from = if connection.first_seen() <= part.from {
            Some(part.from)
        } else {
            connection.started_after()
        };
        let newest = source.visits.last().unwrap();
        let until = part.to.min(now);
        let to = if connection.last_seen() >= part.to {
            Some(part.to)
        } else if connection.ended_as == "ONGOING" {
            (until <= newest.observed_at + newest.max_gap)
                .then_some(until.max(connection.held_until()))
        } else {
            connection.ended_by()
        };
        let most = from.zip(to).map(|(from, to)| Period { from, to }.intersection(part).length());
        let sure = sure.intersection(part).length();
        Some(Self { less: held - sure, more: most.map(|most| most - held) })
    }
}

/// By person and place of the grade.
fn slacks(source: &Source, part: Period, now: Micros) -> BTreeMap<(Person<'_>, usize), Slack> {
    let mut slacks = BTreeMap::new();
    for connection in connections(source) {
        let Some(slack) = Slack::of(source, &connection, part, now) else { continue };
        let (persons, grade) = persons(connection.state());
        for person in persons {
            let all = slacks.entry((person, grade)).or_insert(Slack::NONE);
            *all = all.plus(slack);
        }
    }
    slacks
}

/// A row for each person and grade with any held time. With `is_once` an instant counts once for a person, under the
/// surest grade.
///
/// `now`: when it is asked; what goes on may have lasted until then.
pub fn user_hours(
    ledger: &Ledger,
    range: Period,
    source: &str,
    is_once: bool,
    now: Micros,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in ledger.asked(source) {
        let slacks = slacks(source, range, now);
        for (person, uses) in uses(source, range) {
            let counted_once = once(&uses);
            let all: BTreeSet<&str> = uses.iter().map(|each| each.desktop).collect();
            let mut surer = Slack::NONE;
            for (place, grade) in GRADES.into_iter().enumerate() {
                let of_grade = uses.iter().filter(|each| each.grade == place);
                let desktops: BTreeSet<&str> = of_grade.clone().map(|each| each.desktop).collect();
                if desktops.is_empty() {
                    continue;
                }
                let each: Micros = of_grade.map(|each| each.period.length()).sum();
                let time = if is_once { counted_once[place] } else { each };
                let own = slacks[&(person, place)];
                let least = surer.more.map(|more| (time - own.less - more).max(0));
                let longest = range.length() * if is_once { 1 } else { desktops.len() as Micros };
                let most = own.more.map(|more| (time + more + surer.less).min(longest));
                // An instant of one desktop that was none of a surer grade may be one of this, or the other way.
                if is_once && all.len() > 1 {
                    surer = surer.plus(own);
                }
                rows.push(row([
                    ("source", source.name.clone().into()),
                    ("user_name", person.1.into()),
                    ("user_id", person.3.into()),
                    ("attribution", grade.into()),
                    ("connected_hours", hours(time).into()),
                    ("hours_min", least.map(hours).into()),
                    ("hours_max", most.map(hours).into()),
                    ("desktops", desktops.len().into()),
                    ("coverage_pct", percent(covered_time(source, range), range.length()).into()),
                ]));
            }
        }
    }
    rows
}
