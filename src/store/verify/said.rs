//! What a line of the exchange format says, as far as a row of `late` repeats it.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::audit::Visit;
use crate::domain::{Instant, parse_duration};

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    observed_at: Instant,
    finished_at: Instant,
    scheduled_at: Option<Instant>,
    max_gap: String,
    total_count: Option<i64>,
    #[serde(borrow)]
    desktops: Option<Vec<SaidDesktop<'a>>>,
    statics: Option<Vec<IgnoredAny>>,
    error: Option<SaidError>,
}

#[derive(Deserialize)]
struct SaidDesktop<'a> {
    #[serde(borrow)]
    desktop_id: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
struct SaidError {
    code: Option<String>,
    message: Option<String>,
}

/// Whether a line says of the source and of the visit what the row says.
///
/// The digests hold both the line and the row. This finds the recorder that wrote a row to another snapshot's line.
pub(super) fn agrees(line: &str, source: &str, visit: &Visit) -> bool {
    let Ok(said) = serde_json::from_str::<Said<'_>>(line) else { return false };
    let desktops = said.desktops.as_ref().map(|all| {
        let ids: HashSet<&str> = all.iter().map(|desktop| &*desktop.desktop_id).collect();
        (ids.len(), all.len())
    });
    let recorded = visit.desktops_recorded.and_then(|count| usize::try_from(count).ok());
    let error = said.error.unwrap_or_default();
    said.source == source
        && said.observed_at == visit.observed_at
        && said.finished_at == visit.finished_at
        && said.scheduled_at == visit.scheduled_at
        && parse_duration(&said.max_gap)
            .is_ok_and(|gap| gap.num_seconds() == i64::from(visit.max_gap))
        && said.total_count == visit.desktops_total
        && desktops == recorded.map(|count| (count, count))
        && said.statics.map(|groups| groups.len())
            == visit.groups_recorded.and_then(|count| usize::try_from(count).ok())
        && error.code == visit.error_code
        && error.message == visit.error_message
}
