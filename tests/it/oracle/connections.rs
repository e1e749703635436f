//! Connections: who could have sat at a desktop, from when to when, and how it ended.

use super::ledger::{Identity, Micros, Source, State};
use super::time_line::{Observation, Stretch, spans, time_line};

/// The words that are ours where an end is told.
const OUR_WORDS: [&str; 5] = ["NO STATUS", "REASSIGNED", "ABSENT", "UNKNOWN", "ONGOING"];

/// A longest run of spans of one desktop, each begun at the `ended_before` of the one before, all
/// CONNECTED and with the same users by type, id and name.
pub struct Connection<'a> {
    pub desktop: &'a str,
    spans: Vec<Stretch<'a>>,
    pub ended_as: String,
}

impl<'a> Connection<'a> {
    fn first(&self) -> &Stretch<'a> {
        self.spans.first().unwrap()
    }

    fn last(&self) -> &Stretch<'a> {
        self.spans.last().unwrap()
    }

    /// The state last observed in it: the latest name, and users that are the same throughout.
    pub fn state(&self) -> &'a State {
        self.last().state.unwrap()
    }

    pub fn first_seen(&self) -> Micros {
        self.first().first_seen()
    }

    pub fn last_seen(&self) -> Micros {
        self.last().last_seen()
    }

    pub fn held_until(&self) -> Micros {
        self.last().held_until()
    }

    pub fn started_after(&self) -> Option<Micros> {
        self.first().started_after()
    }

    pub fn started_by(&self) -> Micros {
        self.first().started_by()
    }

    pub fn ended_before(&self) -> Option<Micros> {
        self.last().ended_before()
    }

    pub fn ended_by(&self) -> Option<Micros> {
        self.last().ended_by()
    }

    /// `last_seen` − `started_by`, at least 0.
    pub fn min_duration(&self) -> Micros {
        (self.last_seen() - self.started_by()).max(0)
    }

    /// `ended_by` − `started_after`; unknown where either is.
    pub fn max_duration(&self) -> Option<Micros> {
        Some(self.ended_by()? - self.started_after()?)
    }

    /// `held_until` − `first_seen`.
    pub fn held_duration(&self) -> Micros {
        self.held_until() - self.first_seen()
    }
}

/// All connections of a source, by desktop and then by time.
pub fn connections(source: &Source) -> Vec<Connection<'_>> {
    source.desktops().into_iter().flat_map(|desktop| connections_of(source, desktop)).collect()
}

/// The connections of one desktop, oldest first. A rename or a change of `user_group` does not end
/// one, a reassignment does.
pub fn connections_of<'a>(source: &'a Source, desktop: &'a str) -> Vec<Connection<'a>> {
    let observations = time_line(source, desktop);
    let mut connections: Vec<Connection<'a>> = Vec::new();
    for span in spans(&observations) {
        let state = span.state.unwrap();
        if !state.is_connected() {
            continue;
        }
        match connections.last_mut() {
            Some(open)
                if open.ended_before() == Some(span.first_seen())
                    && open.state().identities() == state.identities() =>
            {
                open.spans.push(span);
            }
            _ => {
                connections.push(Connection { desktop, spans: vec![span], ended_as: String::new() })
            }
        }
    }
    for connection in &mut connections {
        connection.ended_as = ended_as(source, &observations, connection.last());
    }
    connections
}

/// How a connection ended. The next observation tells, if no gap comes before it: its status
/// verbatim, `NO STATUS`, `REASSIGNED` if it is still connected, `ABSENT`. Without one the connection
/// is `ONGOING` if it is what the desktop was last observed in, no longer before the source's newest
/// snapshot of any outcome than that snapshot's `max_gap`; else `UNKNOWN`.
fn ended_as(source: &Source, observations: &[Observation<'_>], last: &Stretch<'_>) -> String {
    if let Some(next) = last.next {
        let Some(state) = next.state else { return "ABSENT".into() };
        return match state.status.as_deref() {
            Some("CONNECTED") => "REASSIGNED".into(),
            None => "NO STATUS".into(),
            Some(status) if OUR_WORDS.contains(&status) => format!("API:{status}"),
            Some(status) => status.into(),
        };
    }
    let newest = source.visits.last().unwrap();
    let is_last_observation = observations.last().unwrap().at() == last.last_seen();
    if is_last_observation && newest.observed_at - last.last_seen() <= newest.max_gap {
        "ONGOING".into()
    } else {
        "UNKNOWN".into()
    }
}

/// How far the users assigned say who it was: `exclusive` is one USER, `shared` several, `group` any
/// GROUP or a type that nobody documents (also none), `unassigned` nobody at all.
pub fn attribution(users: &[Identity<'_>]) -> &'static str {
    let all_are_users = users.iter().all(|(kind, _, _)| *kind == Some("USER"));
    match users.len() {
        0 => "unassigned",
        _ if !all_are_users => "group",
        1 => "exclusive",
        _ => "shared",
    }
}
