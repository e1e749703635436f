//! What a piece of a span says by itself.

use super::rows::{End, SpanRow};
use super::{Shown as _, Wrong, same};
use crate::domain::Instant;
use crate::domain::beliefs::ended;
use crate::domain::months::next_month;

/// A piece, named for a message.
pub(super) fn piece(row: &SpanRow) -> String {
    let table = if matches!(row.end, End::Open { .. }) { "open_span" } else { "span" };
    format!("the row of `{table}` of desktop number {} from {}", row.desktop, row.from.shown())
}

/// The last observation that a row tells; `None`: the newest listing.
pub(super) fn last_seen_of(row: &SpanRow) -> Option<Instant> {
    match row.end {
        End::Filed { last_seen, .. } => Some(last_seen),
        End::Open { left_out } => left_out.map(|(last_seen, _)| last_seen),
    }
}

/// What holds of a piece by itself.
pub(super) fn check_piece(row: &SpanRow) -> Result<(), Wrong> {
    let End::Filed { to, ended, .. } = row.end else { return Ok(()) };
    let of = |column: &str| format!("`{column}` of {}", piece(row));
    let month = next_month(row.from);
    if ended == ended::CUT {
        return same(&month, &to, || of("piece_to"));
    }
    if to > month || to < row.from {
        return Err(Wrong::new(of("piece_to"), "an instant in the month of the piece", to.shown()));
    }
    Ok(())
}

/// The columns that a span has from those before it.
pub(super) fn check_connection(
    row: &SpanRow,
    first_seen: Option<Instant>,
    started_after: Option<Instant>,
    disconnected_at: Option<Instant>,
) -> Result<(), Wrong> {
    let of = |column: &str| format!("`{column}` of {}", piece(row));
    same(&first_seen, &row.connection_first_seen, || of("connection_first_seen"))?;
    same(&started_after, &row.connection_started_after, || of("connection_started_after"))?;
    same(&disconnected_at, &row.disconnected_at, || of("disconnected_at"))
}
