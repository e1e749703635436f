//! `user-history`: the connections of the desktops that a user is assigned to.

use crate::oracle::connections::{attribution, connections};
use crate::oracle::coverage::Period;
use crate::oracle::ledger::Ledger;
use crate::oracle::rows::{Row, row};

/// One row per connection that meets the range and per user in it whose name or id is `user`; by
/// source, `first_seen` and desktop. Nothing is clipped.
pub fn user_history(ledger: &Ledger, user: &str, range: Period, source: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in ledger.asked(source) {
        let mut connections = connections(source);
        connections.sort_by_key(|connection| (connection.first_seen(), connection.desktop));
        for connection in connections {
            if !meets(range, connection.first_seen(), connection.held_until()) {
                continue;
            }
            let users = connection.state().identities();
            for (_, id, name) in &users {
                if *id != Some(user) && *name != Some(user) {
                    continue;
                }
                rows.push(row([
                    ("source", source.name.clone().into()),
                    ("desktop_id", connection.desktop.into()),
                    ("desktop_name", connection.state().name.clone().into()),
                    ("user_name", (*name).into()),
                    ("attribution", attribution(&users).into()),
                    ("first_seen", connection.first_seen().into()),
                    ("last_seen", connection.last_seen().into()),
                    ("started_after", connection.started_after().into()),
                    ("started_by", connection.started_by().into()),
                    ("ended_before", connection.ended_before().into()),
                    ("ended_by", connection.ended_by().into()),
                    ("ended_as", connection.ended_as.clone().into()),
                    ("min_duration", connection.min_duration().into()),
                    ("max_duration", connection.max_duration().into()),
                ]));
            }
        }
    }
    rows
}

/// Whether what covers [first_seen, held_until] meets [from, to). Nothing meets an empty range.
pub fn meets(range: Period, first_seen: i64, held_until: i64) -> bool {
    range.length() > 0 && first_seen < range.to && held_until >= range.from
}
