//! `desktop-history`: one desktop's whole time line, without holes.

use serde_json::Value;

use super::user_history::meets;
use crate::oracle::coverage::Period;
use crate::oracle::ledger::{Ledger, Micros, Source};
use crate::oracle::rows::{Row, row, user_names};
use crate::oracle::time_line::{Stretch, stretches, time_line};

/// The spans, absences and gaps of every desktop whose id, or any name that it ever had in its
/// source, is `desktop`: those that meet the range, unclipped, oldest first.
pub fn desktop_history(ledger: &Ledger, desktop: &str, range: Period, source: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in ledger.asked(source) {
        for id in source.desktops() {
            if id != desktop && !ever_named(source, id, desktop) {
                continue;
            }
            for part in parts(source, id) {
                if part.meets(range) {
                    rows.push(part.row(source, id));
                }
            }
        }
    }
    rows
}

fn ever_named(source: &Source, id: &str, name: &str) -> bool {
    let observations = time_line(source, id);
    let mut names = observations.iter().filter_map(|each| each.state?.name.as_deref());
    names.any(|each| each == name)
}

/// A part of a desktop's time line.
enum Part<'a> {
    /// A span, or a run of consecutive absences.
    Observed(Stretch<'a>),
    /// After the desktop's last observation before it, and before its first one after it.
    NotObserved { after: Option<Micros>, before: Option<Micros> },
}

/// All parts of one desktop's time line: from before it was ever observed (also as absent) until
/// after its last observation, which holds for no time.
fn parts<'a>(source: &'a Source, desktop: &str) -> Vec<Part<'a>> {
    let observations = time_line(source, desktop);
    let mut parts = Vec::new();
    let mut last_seen = None;
    for stretch in stretches(&observations) {
        if stretch.previous.is_none() {
            parts.push(Part::NotObserved { after: last_seen, before: Some(stretch.first_seen()) });
        }
        last_seen = Some(stretch.last_seen());
        parts.push(Part::Observed(stretch));
    }
    parts.push(Part::NotObserved { after: last_seen, before: None });
    parts
}

impl Part<'_> {
    /// What was observed covers [first_seen, held_until]; a gap is open on both sides.
    fn meets(&self, range: Period) -> bool {
        match self {
            Self::Observed(stretch) => meets(range, stretch.first_seen(), stretch.held_until()),
            Self::NotObserved { after, before } => {
                let begins = after.is_none_or(|after| after < range.to);
                let ends = before.is_none_or(|before| before > range.from);
                range.length() > 0 && begins && ends
            }
        }
    }

    fn row(&self, source: &Source, desktop: &str) -> Row {
        let mut row = row([
            ("source", source.name.clone().into()),
            ("desktop_id", desktop.into()),
            ("presence", "not observed".into()),
            ("desktop_name", Value::Null),
            ("connect_status", Value::Null),
            ("users", Value::Null),
            ("first_seen", Value::Null),
            ("last_seen", Value::Null),
            ("held_until", Value::Null),
            ("started_after", Value::Null),
            ("ended_before", Value::Null),
        ]);
        match self {
            Self::Observed(stretch) => {
                row["presence"] = "absent".into();
                if let Some(state) = stretch.state {
                    row["presence"] = "present".into();
                    row["desktop_name"] = state.name.clone().into();
                    row["connect_status"] = state.status.clone().into();
                    row["users"] = user_names(state);
                }
                row["first_seen"] = stretch.first_seen().into();
                row["last_seen"] = stretch.last_seen().into();
                row["held_until"] = stretch.held_until().into();
                row["started_after"] = stretch.started_after().into();
                row["ended_before"] = stretch.ended_before().into();
            }
            Self::NotObserved { after, before } => {
                row["started_after"] = (*after).into();
                row["ended_before"] = (*before).into();
            }
        }
        row
    }
}
