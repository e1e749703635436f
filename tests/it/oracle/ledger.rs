//! Reads lines of the exchange format into snapshots in memory.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use serde_json::Value;

/// An instant as microseconds since 1970 (UTC), or a length of time.
pub type Micros = i64;

pub const SECOND: Micros = 1_000_000;
pub const MINUTE: Micros = 60 * SECOND;
pub const HOUR: Micros = 60 * MINUTE;
pub const DAY: Micros = 24 * HOUR;

/// The API's thirteen group counters, under its names.
pub const COUNTERS: [&str; 13] = [
    "running_num",
    "stop_num",
    "hibernate_num",
    "other_num",
    "attached_num",
    "unattached_num",
    "cannot_attach_num",
    "in_process_num",
    "in_use_num",
    "unregistered_num",
    "ready_num",
    "disconnected_num",
    "unknown_num",
];

/// Every snapshot of every source.
pub struct Ledger {
    /// By name, bytewise.
    pub sources: Vec<Source>,
}

/// One project of one region behind one endpoint, and all visits to it, oldest first.
pub struct Source {
    pub name: String,
    pub region: Option<String>,
    pub project_id: Option<String>,
    pub endpoint: Option<String>,
    pub visits: Vec<Visit>,
}

/// One snapshot. A part that failed is `None`.
pub struct Visit {
    pub scheduled_at: Option<Micros>,
    pub observed_at: Micros,
    pub finished_at: Micros,
    pub max_gap: Micros,
    pub listing: Option<Listing>,
    pub groups: Option<Vec<Group>>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
}

/// The desktops that one snapshot read, by id.
pub struct Listing {
    /// `None` where it is unknown or changed on the way.
    pub total: Option<i64>,
    pub desktops: BTreeMap<String, State>,
}

/// What one snapshot says of one desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub name: Option<String>,
    pub status: Option<String>,
    /// A set: equal entries once, sorted.
    pub users: Vec<User>,
}

/// An entry of `attach_users`. The fields stand in the order in which they are sorted; null is
/// first, and texts are compared bytewise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    pub kind: Option<String>,
    pub id: Option<String>,
    pub name: Option<String>,
    pub user_group: Option<String>,
}

/// What makes a user the same user: type, id and name.
pub type Identity<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// A group's statistics in one snapshot.
pub struct Group {
    pub name: String,
    /// 1, and 2 … where the name comes again in the same answer.
    pub ordinal: i64,
    /// In the order of [`COUNTERS`].
    pub counters: [Option<i64>; 13],
}

impl Ledger {
    /// Reads one snapshot a line; of each source in time order.
    pub fn read(lines: &str) -> Self {
        let mut sources: BTreeMap<String, Source> = BTreeMap::new();
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let line: Value = serde_json::from_str(line).unwrap();
            let name = text(&line["source"]).unwrap();
            // The first line of a source pins where it is.
            let source = sources.entry(name.clone()).or_insert_with(|| Source {
                name,
                region: text(&line["region"]),
                project_id: text(&line["project_id"]),
                endpoint: text(&line["endpoint"]),
                visits: Vec::new(),
            });
            let visit = Visit::read(&line);
            assert!(
                source.visits.last().is_none_or(|last| last.observed_at < visit.observed_at),
                "snapshots of one source come in time order"
            );
            source.visits.push(visit);
        }
        Self { sources: sources.into_values().collect() }
    }

    /// The source asked for; all of them where the name is empty.
    pub fn asked<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Source> {
        self.sources.iter().filter(move |each| source.is_empty() || each.name == source)
    }
}

impl Source {
    /// The snapshots whose desktop listing was complete or partial.
    pub fn usable(&self) -> Vec<&Visit> {
        self.visits.iter().filter(|visit| visit.listing.is_some()).collect()
    }

    /// The ids of all desktops ever seen in this source.
    pub fn desktops(&self) -> BTreeSet<&str> {
        let listings = self.visits.iter().filter_map(|visit| visit.listing.as_ref());
        listings.flat_map(|listing| listing.desktops.keys().map(String::as_str)).collect()
    }
}

impl Visit {
    /// Reads one line. Without `finished_at` it is `observed_at`; without `max_gap` 15 minutes.
    fn read(line: &Value) -> Self {
        let observed_at = instant(&line["observed_at"]).unwrap();
        Self {
            scheduled_at: instant(&line["scheduled_at"]),
            observed_at,
            finished_at: instant(&line["finished_at"]).unwrap_or(observed_at),
            max_gap: line["max_gap"].as_str().map_or(15 * MINUTE, duration),
            listing: line["desktops"].as_array().map(|records| Listing::read(line, records)),
            groups: line["statics"].as_array().map(|records| groups(records)),
            error_code: text(&line["error"]["code"]),
            error_message: text(&line["error"]["message"]),
        }
    }
}

impl Listing {
    /// Of two records with one id the later is kept; a record without an id is missing. Where the
    /// key `total_count` is absent, the total is the distinct ids and the records without one.
    fn read(line: &Value, records: &[Value]) -> Self {
        let mut desktops = BTreeMap::new();
        let mut without_id = 0;
        for record in records {
            match text(&record["desktop_id"]) {
                Some(id) => drop(desktops.insert(id, State::read(record))),
                None => without_id += 1,
            }
        }
        let total = match line.get("total_count") {
            Some(total) => total.as_i64(),
            None => Some(desktops.len() as i64 + without_id),
        };
        Self { total, desktops }
    }

    /// Complete if and only if the number of distinct ids equals the total.
    pub fn is_complete(&self) -> bool {
        self.total == Some(self.desktops.len() as i64)
    }
}

impl State {
    fn read(record: &Value) -> Self {
        let users = record["attach_users"].as_array().into_iter().flatten();
        let users: BTreeSet<User> = users
            .map(|user| User {
                kind: text(&user["type"]),
                id: text(&user["id"]),
                name: text(&user["name"]),
                user_group: text(&user["user_group"]),
            })
            .collect();
        Self {
            name: text(&record["desktop_name"]),
            status: text(&record["connect_status"]),
            users: users.into_iter().collect(),
        }
    }

    /// The users, each once by type, id and name, in the order of `attach_users`.
    pub fn identities(&self) -> Vec<Identity<'_>> {
        let mut identities: Vec<Identity<'_>> = self.users.iter().map(User::identity).collect();
        identities.dedup();
        identities
    }

    pub fn has_status(&self, status: &str) -> bool {
        self.status.as_deref() == Some(status)
    }

    pub fn is_connected(&self) -> bool {
        self.has_status("CONNECTED")
    }
}

impl User {
    fn identity(&self) -> Identity<'_> {
        (self.kind.as_deref(), self.id.as_deref(), self.name.as_deref())
    }
}

/// Reads group statistics: a name that comes twice in one answer is two groups, told apart by
/// their ordinal.
fn groups(records: &[Value]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for record in records {
        let name = text(&record["static_name"]).unwrap_or_default();
        let ordinal = 1 + groups.iter().filter(|group| group.name == name).count() as i64;
        groups.push(Group {
            name,
            ordinal,
            counters: COUNTERS.map(|counter| record[counter].as_i64()),
        });
    }
    groups
}

/// A text as PostgreSQL can hold it: U+0000 becomes U+2400.
fn text(value: &Value) -> Option<String> {
    value.as_str().map(|text| text.replace('\0', "\u{2400}"))
}

/// An RFC 3339 instant.
pub fn instant(value: &Value) -> Option<Micros> {
    value.as_str().map(|text| DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros())
}

/// `90s`, `15m`, `2h`, `1d`, or a sum of them such as `1h30m`.
pub fn duration(text: &str) -> Micros {
    let mut sum = 0;
    let mut number = String::new();
    for character in text.chars() {
        let unit = match character {
            's' => SECOND,
            'm' => MINUTE,
            'h' => HOUR,
            'd' => DAY,
            digit => {
                number.push(digit);
                continue;
            }
        };
        sum += unit * number.parse::<Micros>().unwrap();
        number.clear();
    }
    assert!(number.is_empty(), "`{text}` ends without a unit");
    sum
}
