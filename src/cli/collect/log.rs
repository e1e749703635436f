//! What is said of each visit: one line.

use crate::collector::{Kept, Outcome, Step, Withheld, Written};
use crate::domain::{Instant, Outcome as PartOutcome};
use crate::error::Chain;
use crate::workspace::Skew;

/// One line a cycle.
pub(super) fn step(name: &str, step: &Step) {
    match step {
        Step::Visited(outcome) => log_visit(name, outcome),
        Step::StoodBy { leader, .. } => tracing::info!(
            source.name = name,
            leader,
            "source `{name}`: standing by, it is recorded by {leader}"
        ),
        Step::Withheld(withheld) => tracing::error!(
            source.name = name,
            "source `{name}`: NOT visited: {}",
            reason(withheld)
        ),
    }
}

pub(super) fn reason(withheld: &Withheld) -> String {
    match withheld {
        Withheld::ClockBehind { now, newest } => format!(
            "this machine's clock says {now}, and the newest snapshot is of {newest}: nothing can be recorded \
             before it; is the clock right?"
        ),
        Withheld::Full(why) => {
            format!(
                "{why}, and the database takes nothing: what is read now would be lost; make room on the disk or \
                 raise `max_size` of `[spool]`, and look why the database does not answer"
            )
        }
    }
}

/// Why a snapshot is not in the ledger.
pub(super) fn why(kept: &Kept) -> Option<&str> {
    match kept {
        Kept::Written(_) => None,
        Kept::Spooled { why, .. } | Kept::Held { why, .. } => Some(why),
    }
}

fn log_visit(name: &str, outcome: &Outcome) {
    let snapshot = &outcome.snapshot;
    let desktops = snapshot.desktops.as_ref().map_or(0, |listing| listing.desktops().len());
    let groups = snapshot.groups.as_ref().map_or(0, Vec::len);
    let (listing, statistics) = (snapshot.desktops_outcome(), snapshot.groups_outcome());
    let duration_ms = (snapshot.finished_at - snapshot.observed_at).num_milliseconds();
    let listed = match snapshot.total {
        Some(total) => format!("{desktops} of {total} desktops"),
        None => format!("{desktops} desktops of an unknown number"),
    };
    let summary = format!(
        "source `{name}`: {listed} ({}), {groups} groups ({}), {}",
        listing.as_str(),
        statistics.as_str(),
        match &outcome.kept {
            Kept::Written(Written::Recorded { changes: 1 }) => "1 change".to_owned(),
            Kept::Written(Written::Recorded { changes }) => format!("{changes} changes"),
            Kept::Written(Written::Already) => "recorded by another recorder meanwhile".to_owned(),
            Kept::Written(Written::Late) => {
                "kept as a late one: another recorder has recorded newer ones".to_owned()
            }
            Kept::Spooled { why, waiting, dropped: 0 } => {
                format!("in the spool as number {waiting}, since {why}")
            }
            Kept::Spooled { why, waiting, dropped } => format!(
                "in the spool as number {waiting}, since {why}; the spool is full, and {dropped} OLDER ONES WERE DROPPED"
            ),
            Kept::Held { why, error } =>
                format!("in memory ALONE, since {why}, and: {}", Chain(error)),
        },
    );
    let lack = failure_text(outcome).or(outcome.effort.lack.as_deref());
    let failure = lack.map(|text| format!(": {text}")).unwrap_or_default();
    // A level must be known when it is compiled; what is said is the same on each.
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(
                source.name = name,
                desktops,
                groups,
                duration_ms,
                requests = outcome.effort.traffic.requests,
                plan = outcome.effort.plan,
                error.code = snapshot.failure.as_ref().and_then(|failure| failure.code.as_deref()),
                "{summary}{failure}"
            )
        };
    }
    if let Some(skew) = outcome.effort.traffic.skew.filter(|skew| skew.is_noticeable()) {
        warn_of_skew(name, skew);
    }
    if why(&outcome.kept).is_some() {
        say!(error);
    } else if listing == PartOutcome::Complete && statistics == PartOutcome::Complete {
        say!(info);
    } else {
        say!(warn);
    }
}

/// One line a visit, before the clock is so far off that nothing is let in any more.
fn warn_of_skew(name: &str, skew: Skew) {
    let time = |at: Instant| at.format("%H:%M:%SZ").to_string();
    tracing::warn!(
        source.name = name,
        skew_s = skew.ahead().num_seconds(),
        "source `{name}`: this machine says {}, the server {}; signatures die at 15 minutes: set the clock right",
        time(skew.machine),
        time(skew.server)
    );
}

pub(super) fn is_failed(outcome: &Outcome) -> bool {
    outcome.snapshot.desktops.is_none() || outcome.snapshot.groups.is_none()
}

pub(super) fn failure_text(outcome: &Outcome) -> Option<&str> {
    let failure = outcome.snapshot.failure.as_ref()?;
    failure.message.as_deref().or(failure.code.as_deref())
}
