//! Plays a plan and writes down what each visit read.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use super::plan::{
    Anchor, Desktop, Error, Event, Fleet, Group, Listing, Noise, Pace, Plan, Statics, Step, Total,
};
use crate::oracle::ledger::{COUNTERS, MINUTE, Micros, SECOND, duration};

/// Bytewise the second comes first; a dictionary would have it otherwise.
pub const SOURCES: [&str; 2] = ["prod", "Qa"];

/// The documented statuses, none at all, and some that no document lists: our own words among them.
pub const STATUSES: [Option<&str>; 15] = [
    Some("CONNECTED"),
    Some("DISCONNECTED"),
    Some("REGISTERED"),
    Some("UNREGISTER"),
    None,
    Some("OFFLINE"),
    Some("ABSENT"),
    Some("UNKNOWN"),
    Some("NO STATUS"),
    Some("ONGOING"),
    Some("REASSIGNED"),
    Some("API:ABSENT"),
    Some("connected"),
    Some(""),
    Some("DIS\0CONNECTED"),
];

pub const DESKTOP_NAMES: [Option<&str>; 8] = [
    Some("DESK-1"),
    Some("DESK-2"),
    Some("Büro 3"),
    Some("d-0"),
    None,
    Some(""),
    Some("desk-1"),
    Some("NUL\0"),
];

/// Type, id, name and group of users. The first and fourth differ in the last alone.
pub const USERS: [[Option<&str>; 4]; 14] = [
    [Some("USER"), Some("id-anna"), Some("anna"), Some("users")],
    [Some("USER"), Some("id-ben"), Some("ben"), Some("users")],
    [Some("GROUP"), Some("id-temps"), Some("temps"), Some("users")],
    [Some("USER"), Some("id-anna"), Some("anna"), Some("admins")],
    [Some("USER"), Some("id-anna-2"), Some("anna"), None],
    [Some("USER"), Some("id-zed"), Some("Zed"), Some("users")],
    [Some("USER"), Some("id-nameless"), None, None],
    [Some("USER"), None, Some("idless"), None],
    [None, Some("id-typeless"), Some("typeless"), None],
    [Some("ROBOT"), Some("id-robot"), Some("robot"), None],
    [Some("user"), Some("id-ben"), Some("ben"), Some("users")],
    [None, None, None, None],
    [Some("USER"), Some("Ä"), Some("Ägir\0"), Some("")],
    [Some("USER"), Some("id-ben"), Some("id-anna"), Some("users")],
];

/// Two groups differ in case alone.
pub const GROUPS: [&str; 3] = ["pool", "Pool", "labor ü"];

pub fn desktop_id(index: usize) -> String {
    format!("d-{index}")
}

/// The lines of a plan's visits, in the order in which they were observed.
pub fn play(plan: &Plan) -> String {
    let moment = DateTime::parse_from_rfc3339(plan.moment).unwrap().timestamp_micros();
    let begin = moment - plan.lead * 5 * MINUTE;
    let mut lines: Vec<(Micros, Value)> = Vec::new();
    for (name, fleet) in SOURCES.into_iter().zip(&plan.fleets) {
        lines.extend(World::new(name, fleet, begin).visits(fleet));
    }
    lines.sort_by_key(|(observed_at, _)| *observed_at);
    if let Some(factor) = plan.slow {
        for (at, line) in &mut lines {
            slow_down(line, *at, moment + (*at - moment) * factor, factor);
        }
    }
    lines.into_iter().map(|(_, line)| format!("{line}\n")).collect()
}

/// Moves a visit from one instant to another, and lets what was seen hold for that much longer.
fn slow_down(line: &mut Value, from: Micros, to: Micros, factor: i64) {
    for key in ["observed_at", "finished_at", "scheduled_at"] {
        if let Some(at) = line[key].as_str() {
            let at = DateTime::parse_from_rfc3339(at).unwrap().timestamp_micros();
            line[key] = instant(at - from + to).into();
        }
    }
    let max_gap = line["max_gap"].as_str().map_or(15 * MINUTE, duration) * factor;
    line["max_gap"] = format!("{}s", max_gap / SECOND).into();
}

/// A source as it is at one time, and when it was visited.
struct World<'a> {
    name: &'a str,
    located: bool,
    desktops: Vec<Desktop>,
    groups: Vec<Group>,
    max_gap: Option<&'static str>,
    visits: Vec<Visited>,
    begin: Micros,
}

struct Visited {
    at: Micros,
    max_gap: Micros,
    usable: bool,
    complete: bool,
}

impl<'a> World<'a> {
    fn new(name: &'a str, fleet: &Fleet, begin: Micros) -> Self {
        Self {
            name,
            located: fleet.located,
            desktops: fleet.desktops.clone(),
            groups: fleet.groups.clone(),
            max_gap: None,
            visits: Vec::new(),
            begin: begin + fleet.delay_seconds * SECOND,
        }
    }

    /// Takes every step, and gives each visit's instant and line.
    fn visits(mut self, fleet: &Fleet) -> Vec<(Micros, Value)> {
        let visit = |step: &Step| {
            for event in &step.events {
                self.happen(event);
            }
            self.max_gap = step.max_gap.unwrap_or(self.max_gap);
            let at = self.next_visit(&step.pace);
            (at, self.visit(at, step))
        };
        fleet.steps.iter().map(visit).collect()
    }

    /// Lets an event happen; one of a desktop or group that there is not is none.
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Counter { group, counter, value } => {
                if let Some(group) = self.groups.get_mut(*group) {
                    group.counters[*counter] = *value;
                }
            }
            Event::Copies { group, copies } => {
                if let Some(group) = self.groups.get_mut(*group) {
                    group.copies = *copies;
                }
            }
            Event::Everybody { status } => {
                for desktop in &mut self.desktops {
                    desktop.status = *status;
                }
            }
            Event::Status { desktop, .. }
            | Event::Name { desktop, .. }
            | Event::Users { desktop, .. }
            | Event::Regroup { desktop }
            | Event::ComeOrGo { desktop } => {
                if let Some(desktop) = self.desktops.get_mut(*desktop) {
                    change(desktop, event);
                }
            }
        }
    }

    /// When the next visit is: a minute or more after the last.
    fn next_visit(&self, pace: &Pace) -> Micros {
        let Some(last) = self.visits.last() else { return self.begin };
        let next = match pace {
            Pace::Cadence { jitter_seconds, jitter_micros } => {
                last.at + 5 * MINUTE + jitter_seconds * SECOND + jitter_micros
            }
            Pace::Limit { after, micros } => {
                let anchor = self.visits.iter().rfind(|visit| match after {
                    Anchor::Visit => true,
                    Anchor::Usable => visit.usable,
                    Anchor::Complete => visit.complete,
                });
                let limit = |anchor: &Visited| anchor.at + anchor.max_gap.min(self.max_gap());
                anchor.map_or(last.at, limit) + micros
            }
            Pace::Pause { minutes } => last.at + minutes * MINUTE,
        };
        if next < last.at + MINUTE { last.at + 5 * MINUTE } else { next }
    }

    fn max_gap(&self) -> Micros {
        self.max_gap.map_or(15 * MINUTE, duration)
    }

    /// Visits the source, and writes the line.
    fn visit(&mut self, at: Micros, step: &Step) -> Value {
        let mut line = json!({"source": self.name, "observed_at": instant(at)});
        if let Some(seconds) = step.took {
            line["finished_at"] = instant(at + seconds * SECOND).into();
        }
        if step.scheduled {
            line["scheduled_at"] = instant(at / SECOND * SECOND).into();
        }
        if let Some(max_gap) = self.max_gap {
            line["max_gap"] = max_gap.into();
        }
        if self.located {
            line["region"] = "eu-west-101".into();
            line["project_id"] = format!("{}-project", self.name).into();
            line["endpoint"] = "https://workspace.example".into();
        }
        let complete = self.read_desktops(&mut line, &step.listing, &step.noise);
        self.read_statics(&mut line, step.statics, &step.noise);
        let is_whole = complete && matches!(step.statics, Statics::Read);
        // What a recorder says of the time before stands in a snapshot that is whole, too.
        let is_said = |error: &&Error| !is_whole || error.code != Some("WKS.00000003");
        if let Some(error) = step.error.as_ref().filter(is_said) {
            line["error"] = error_of(error, at);
        }
        let usable = !matches!(step.listing, Listing::Failed { .. });
        self.visits.push(Visited { at, max_gap: self.max_gap(), usable, complete });
        line
    }

    /// Writes the listing, and says whether it is complete.
    fn read_desktops(&self, line: &mut Value, listing: &Listing, noise: &Noise) -> bool {
        let (read, total) = match *listing {
            Listing::Complete { total_given } => (u8::MAX, total_given.then_some(Total::Off(0))),
            Listing::Partial { read, total } => (read, Some(total)),
            Listing::Failed { key_given, total } => {
                if key_given {
                    line["desktops"] = Value::Null;
                }
                if let Some(total) = total {
                    line["total_count"] = total.into();
                }
                return false;
            }
        };
        let mut records = Vec::new();
        let mut distinct = 0;
        for (index, desktop) in self.desktops.iter().enumerate() {
            if desktop.listed && read & (1 << index) != 0 {
                records.push(record(index, desktop, noise));
                distinct += 1;
            }
        }
        if noise.reversed {
            records.reverse();
        }
        if let Some(record) = noise.doubled.and_then(|index| records.get(index)) {
            let mut earlier = record.clone();
            earlier["connect_status"] = "STALE".into();
            records.insert(0, earlier);
        }
        if noise.anonymous {
            records.push(json!({"connect_status": "CONNECTED", "attach_users": []}));
        }
        line["desktops"] = records.into();
        match total {
            // Nobody vouches for a record without an id.
            None => !noise.anonymous,
            Some(Total::Null) => {
                line["total_count"] = Value::Null;
                false
            }
            Some(Total::Off(more)) => {
                let total = (distinct + more).max(0);
                line["total_count"] = total.into();
                total == distinct
            }
        }
    }

    fn read_statics(&self, line: &mut Value, statics: Statics, noise: &Noise) {
        let mut records = Vec::new();
        for (name, group) in GROUPS.into_iter().zip(&self.groups) {
            for copy in 0..group.copies {
                let mut record = json!({"static_name": name});
                for (counter, value) in COUNTERS.into_iter().zip(group.counters) {
                    record[counter] = value.map(|value| value + copy as i64).into();
                }
                records.push(record);
            }
        }
        if noise.reversed {
            records.reverse();
        }
        match statics {
            Statics::Read => line["statics"] = records.into(),
            Statics::Null => line["statics"] = Value::Null,
            Statics::Missing => {}
        }
    }
}

fn change(desktop: &mut Desktop, event: &Event) {
    match event {
        Event::Status { status, .. } => desktop.status = *status,
        Event::Name { name, .. } => desktop.name = *name,
        Event::Users { users, .. } => desktop.users = users.clone(),
        Event::Regroup { .. } => {
            for user in desktop.users.iter_mut().flatten() {
                *user = match *user {
                    0 => 3,
                    3 => 0,
                    other => other,
                };
            }
        }
        Event::ComeOrGo { .. } => desktop.listed = !desktop.listed,
        Event::Everybody { .. } | Event::Counter { .. } | Event::Copies { .. } => {}
    }
}

/// A desktop as the API gives it; a null may as well be missing.
fn record(index: usize, desktop: &Desktop, noise: &Noise) -> Value {
    let mut users: Option<Vec<Value>> =
        desktop.users.as_ref().map(|users| users.iter().map(|user| user_of(*user)).collect());
    if let Some(users) = &mut users {
        if noise.reversed {
            users.reverse();
        }
        if noise.doubled_users {
            users.extend(users.clone());
        }
    }
    let mut record = Map::new();
    record.insert("desktop_id".into(), desktop_id(index).into());
    record.insert("desktop_name".into(), DESKTOP_NAMES[desktop.name].into());
    record.insert("connect_status".into(), STATUSES[desktop.status].into());
    record.insert("attach_users".into(), users.into());
    if noise.reversed {
        record.retain(|_, value| !value.is_null());
    }
    record.into()
}

fn user_of(index: usize) -> Value {
    let [kind, id, name, user_group] = USERS[index];
    json!({"id": id, "name": name, "user_group": user_group, "type": kind})
}

fn error_of(error: &Error, at: Micros) -> Value {
    json!({
        "code": error.code,
        "message": error.message.map(|more| format!("failed at {at}{more}")),
    })
}

fn instant(at: Micros) -> String {
    DateTime::from_timestamp_micros(at).unwrap().to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
