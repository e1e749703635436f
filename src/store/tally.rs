//! How the counts of desktops change, instant by instant, beside the spans that say so.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::source::SourceId;
use crate::domain::Instant;
use crate::domain::beliefs::{ClosedSpan, DesktopNo, OpenSpan, StatusId, ended};

/// The number of the status `CONNECTED`; the counted ones follow.
const CONNECTED: StatusId = 1;

/// The columns of `tally`: desktops, the four counted statuses, started, disconnects, ended.
const COLUMNS: usize = 8;
const DESKTOPS: usize = 0;
const STARTED: usize = 5;
const DISCONNECTS: usize = 6;
const ENDED: usize = 7;

/// What of an open span counts where it begins.
type OpenRow = (StatusId, Instant, Instant, Option<Instant>, Option<Instant>, Option<Instant>);

/// After how many microseconds, at most, it is counted who came back.
const RECONNECT_LIMIT: i64 = 3_600_000_000;
/// By how many bits those microseconds stand above the number of desktops.
const RECONNECT_SHIFT: u32 = 20;

/// What began and ended, by instant.
#[derive(Debug, Default)]
struct Tally {
    counts: BTreeMap<Instant, [i32; COLUMNS]>,
    /// How many came back at an instant so many microseconds after their disconnect.
    reconnects: BTreeMap<Instant, BTreeMap<i64, i64>>,
}

impl Tally {
    /// Counts the beginning of a piece, or with `sign` -1 takes it back.
    fn begin(&mut self, span: &OpenSpan, from: Instant, sign: i32) {
        self.hold(span.status, from, sign);
        if span.first_seen != from {
            return;
        }
        let counts = self.counts.entry(from).or_default();
        let is_started =
            span.status == CONNECTED && span.connection.is_none() && span.started_after.is_some();
        if is_started {
            counts[STARTED] += sign;
        }
        if span.disconnected_at == Some(from) {
            counts[DISCONNECTS] += sign;
        }
        if span.status == CONNECTED
            && let Some(after) = span.disconnected_at.and_then(|at| (from - at).num_microseconds())
            && after <= RECONNECT_LIMIT
        {
            *self.reconnects.entry(from).or_default().entry(after).or_default() += i64::from(sign);
        }
    }

    fn end(&mut self, closed: &ClosedSpan) {
        self.hold(closed.span.status, closed.piece.to, -1);
        let goes_on =
            closed.piece.goes_on || [ended::UNKNOWN, ended::CONTINUES].contains(&closed.ended);
        if closed.span.status == CONNECTED && !goes_on {
            self.counts.entry(closed.piece.to).or_default()[ENDED] += 1;
        }
    }

    fn hold(&mut self, status: StatusId, at: Instant, sign: i32) {
        let counts = self.counts.entry(at).or_default();
        counts[DESKTOPS] += sign;
        if let Some(of_status) =
            usize::try_from(status).ok().filter(|column| (DESKTOPS + 1..STARTED).contains(column))
        {
            counts[of_status] += sign;
        }
    }
}

/// Counts what a batch files and opens. To be called before the open spans are replaced: what was open and is filed now
/// has been counted where it began. A month's cut changes no count, so that it needs no call.
pub(super) async fn record_tally(
    connection: &mut PgConnection,
    source_id: SourceId,
    closed: &[ClosedSpan],
    open: &BTreeMap<DesktopNo, Option<OpenSpan>>,
) -> sqlx::Result<()> {
    if closed.is_empty() && open.is_empty() {
        return Ok(());
    }
    let mut tally = Tally::default();
    let counted: Vec<OpenRow> = sqlx::query_as(
        "-- store::tally::record_tally
         select status_id, piece_from, first_seen, started_after, connection_first_seen, disconnected_at
           from deskledger_data.open_span where source_id = $1 and desktop_no = any($2)",
    )
    .bind(source_id)
    .bind(open.keys().copied().collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    for (status, from, first_seen, started_after, connection, disconnected_at) in counted {
        let span = OpenSpan {
            status,
            label: 0,
            piece_from: from,
            first_seen,
            started_after,
            unlisted: None,
            connection: connection.map(|first_seen| (first_seen, None)),
            disconnected_at,
        };
        tally.begin(&span, from, -1);
    }
    for closed in closed {
        tally.begin(&closed.span, closed.piece.from, 1);
        tally.end(closed);
    }
    for span in open.values().flatten() {
        tally.begin(span, span.piece_from, 1);
    }
    let reconnects: BTreeMap<Instant, String> = tally
        .reconnects
        .iter()
        .filter_map(|(at, told)| Some((*at, reconnects_text(told)?)))
        .collect();
    tally
        .counts
        .retain(|at, counts| counts.iter().any(|count| *count != 0) || reconnects.contains_key(at));
    if tally.counts.is_empty() {
        return Ok(());
    }
    let column = |at: usize| tally.counts.values().map(|counts| counts[at]).collect::<Vec<_>>();
    let came_back: Vec<Option<&str>> =
        tally.counts.keys().map(|at| reconnects.get(at).map(String::as_str)).collect();
    let met = sqlx::query_scalar::<_, bool>(
        "-- store::tally::record_tally
         insert into deskledger_data.tally
                (source_id, at, desktops, connected, disconnected, ready, unregistered, started, disconnects, ended,
                 reconnects)
         select $1, t.at, t.desktops, t.connected, t.disconnected, t.ready, t.unregistered, t.started, t.disconnects,
                t.ended, t.reconnects::bigint[]
           from unnest($2::timestamptz[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[],
                       $8::integer[], $9::integer[], $10::integer[], $11::text[])
                t (at, desktops, connected, disconnected, ready, unregistered, started, disconnects, ended, reconnects)
         on conflict (source_id, at) do update
            set desktops = tally.desktops + excluded.desktops,
                connected = tally.connected + excluded.connected,
                disconnected = tally.disconnected + excluded.disconnected,
                ready = tally.ready + excluded.ready,
                unregistered = tally.unregistered + excluded.unregistered,
                started = tally.started + excluded.started,
                disconnects = tally.disconnects + excluded.disconnects,
                ended = tally.ended + excluded.ended,
                -- Who came back at an instant was counted with its snapshot, once.
                reconnects = coalesce(excluded.reconnects, tally.reconnects)
         returning (desktops, connected, disconnected, ready, unregistered, started, disconnects, ended)
                 = (0, 0, 0, 0, 0, 0, 0, 0)",
    )
    .bind(source_id)
    .bind(tally.counts.keys().copied().collect::<Vec<_>>());
    let met = (0..COLUMNS).fold(met, |query, at| query.bind(column(at))).bind(came_back);
    let are_zeros = met.fetch_all(&mut *connection).await?;
    if are_zeros.contains(&true) {
        // What was seen once and never again is taken back where it began.
        sqlx::query(
            "-- store::tally::record_tally
             delete from deskledger_data.tally
              where source_id = $1 and at = any($2)
                and (desktops, connected, disconnected, ready, unregistered, started, disconnects, ended)
                  = (0, 0, 0, 0, 0, 0, 0, 0)",
        )
        .bind(source_id)
        .bind(tally.counts.keys().copied().collect::<Vec<_>>())
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// An array as PostgreSQL reads it: of arrays of different lengths it takes no array. `None`: nobody came back.
fn reconnects_text(told: &BTreeMap<i64, i64>) -> Option<String> {
    let told = told.iter().filter(|(_, desktops)| **desktops != 0);
    let told: Vec<String> =
        told.map(|(after, desktops)| (after << RECONNECT_SHIFT | desktops).to_string()).collect();
    (!told.is_empty()).then(|| format!("{{{}}}", told.join(",")))
}
