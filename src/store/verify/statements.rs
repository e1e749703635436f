//! What is read of a source, in which order, and how its rows are to be understood.

use super::super::copy::{Fields, Malformed};
use super::super::source::SourceId;
use super::said;
use crate::domain::audit::{
    End, GroupEnd, GroupRow, KeptVisit, LateRow, SpanRow, TallyRow, UnlistedRow, Visit,
};
use crate::domain::beliefs::Run;
use crate::domain::digest::{NO_BODY, Salt, erased_late, late_commitment};
use crate::domain::months::next_month;
use crate::domain::packed::{Month, Row, Sums};
use crate::domain::{COUNTERS, Counters, Instant};

/// The snapshots in the order of time.
pub(super) fn visits(source: SourceId) -> String {
    format!(
        "select snapshot_id, sequence, observed_at, finished_at, scheduled_at, max_gap, desktops_outcome,
                groups_outcome, desktops_total, desktops_recorded, groups_recorded, changes,
                error_code, error_message, body_hash, digest
           from deskledger_data.visit where source_id = {source} and snapshot_id is not null order by observed_at"
    )
}

pub(super) fn visit(row: &mut Fields<'_>) -> Result<Visit, Malformed> {
    Ok(Visit {
        snapshot_id: row.i64()?,
        sequence: row.i64()?,
        observed_at: row.instant()?,
        finished_at: row.instant()?,
        scheduled_at: row.maybe_instant()?,
        max_gap: row.i32()?,
        desktops_outcome: row.i16()?,
        groups_outcome: row.i16()?,
        desktops_total: row.maybe_i64()?,
        desktops_recorded: row.maybe_i32()?,
        groups_recorded: row.maybe_i32()?,
        changes: row.i32()?,
        error_code: row.maybe_text()?.map(str::to_owned),
        error_message: row.maybe_text()?.map(str::to_owned),
        body_hash: row.maybe_bytes()?.map(<[u8]>::to_vec),
        digest: row.bytes()?.to_vec(),
    })
}

/// The late snapshots in the order of the chain.
pub(super) fn late(source: SourceId) -> String {
    format!(
        "select snapshot_id, sequence, observed_at, finished_at, scheduled_at, max_gap, desktops_outcome,
                groups_outcome, desktops_total, desktops_recorded, groups_recorded, 0,
                error_code, error_message, body_hash, digest, received_at, line, salt, name
           from deskledger_data.late join deskledger_data.source using (source_id)
          where source_id = {source} order by sequence"
    )
}

/// Works out what is to be known of the line, so that it need not be kept.
pub(super) fn late_row(row: &mut Fields<'_>) -> Result<LateRow, Malformed> {
    let visit = visit(row)?;
    let received_at = row.instant()?;
    let (line, salt) = (row.maybe_text()?, row.maybe_bytes()?);
    let source = row.maybe_text()?.ok_or(Malformed)?;
    let is_salted = salt.is_some();
    // A salt that is none gives a hash that is none.
    let commitment = line.zip(salt).map(|(line, salt)| {
        Salt::try_from(salt).map_or(NO_BODY, |salt| late_commitment(&salt, line))
    });
    let agrees = line.is_none_or(|line| said::agrees(line, source, &visit));
    Ok(LateRow { visit, received_at, commitment, agrees, now: erased_late(line), is_salted })
}

fn literal(at: Instant) -> String {
    at.format("'%Y-%m-%d %H:%M:%S%.6f+00'::timestamptz").to_string()
}

/// The pieces of spans that are filed in a month and not packed, in the order of their beginnings. They begin in that month
/// too: so the months, each sorted, are sorted.
pub(super) fn pieces(source: SourceId, month: Instant) -> String {
    let (from, to) = (literal(month), literal(next_month(month)));
    format!(
        "select desktop_no, label_no, status_id, piece_from, first_seen, started_after, connection_first_seen,
                connection_started_after, disconnected_at, piece_to, last_seen, ended
           from deskledger_data.span
          where source_id = {source} and piece_to > {from} and piece_to <= {to}
          order by piece_from"
    )
}

pub(super) fn piece(row: &mut Fields<'_>) -> Result<SpanRow, Malformed> {
    Ok(SpanRow {
        desktop: row.i32()?,
        label: row.i32()?,
        status: row.i16()?,
        from: row.instant()?,
        first_seen: row.maybe_instant()?,
        started_after: row.maybe_instant()?,
        connection_first_seen: row.maybe_instant()?,
        connection_started_after: row.maybe_instant()?,
        disconnected_at: row.maybe_instant()?,
        end: End::Filed { to: row.instant()?, last_seen: row.instant()?, ended: row.i16()? },
    })
}

/// What [`kept_visits`](super::super::prune::kept_visits) asks for.
pub(super) fn kept_visit(row: &mut Fields<'_>) -> Result<KeptVisit, Malformed> {
    Ok(KeptVisit {
        day: row.instant()?,
        ticked_at: row.maybe_instant()?,
        sequence: row.i64()?,
        observed_at: row.instant()?,
        finished_at: row.instant()?,
        max_gap: row.i32()?,
        desktops_outcome: row.i16()?,
        groups_outcome: row.i16()?,
        desktops_total: row.maybe_i64()?,
        desktops_recorded: row.maybe_i32()?,
        digest: row.bytes()?.to_vec(),
    })
}

/// Where the months begin that are packed, or of which something is.
pub(super) fn packed_months(source: SourceId) -> String {
    format!(
        "select month_from from deskledger_data.packed_month where source_id = {source}
          union select month_from from deskledger_data.packed where source_id = {source}
          order by 1"
    )
}

pub(super) fn packed_month(source: SourceId, month: Instant) -> String {
    format!(
        "select at, deskledger_data.finishes(source_id, at), is_whole,
                month_to <> deskledger_report.month_end(month_from)
           from (select source_id, month_from, month_to, is_whole, deskledger_report.whole(at) as at
                   from deskledger_data.packed_month where source_id = {source} and month_from = {}) m",
        literal(month)
    )
}

/// The instants of a packed month, whether its sums have to be there, and whether it is packed in part.
pub(super) fn instants(row: &mut Fields<'_>) -> Result<(Month, bool, bool), Malformed> {
    Ok((Month { at: row.instants()?, finished: row.instants()? }, row.bool()?, row.bool()?))
}

/// What is packed in a month, as it is stored.
pub(super) fn packed(source: SourceId, month: Instant) -> String {
    format!(
        "select desktop_no, label_no, first_seen, started_after, disconnected_at, events, observed, connected, less, more,
                last_connected, stretches, disconnected, longest, last_disconnected, loose, breaks, closest, edges
           from deskledger_data.packed where source_id = {source} and month_from = {}",
        literal(month)
    )
}

pub(super) fn packed_row(row: &mut Fields<'_>) -> Result<(Row, Sums), Malformed> {
    let stored = Row {
        desktop: row.i32()?,
        label: row.i32()?,
        first_seen: row.maybe_instant()?,
        started_after: row.maybe_instant()?,
        disconnected_at: row.maybe_instant()?,
        events: row.maybe_i32s()?.ok_or(Malformed)?.into(),
    };
    let sums = Sums {
        observed: row.maybe_i64()?,
        connected: row.maybe_i64()?,
        less: row.maybe_i64()?,
        more: row.maybe_i64()?,
        last_connected: row.maybe_instant()?,
        stretches: row.maybe_i32()?,
        disconnected: row.maybe_i64()?,
        longest: row.maybe_i64()?,
        last_disconnected: row.maybe_instant()?,
        loose: row.maybe_i32s()?,
        breaks: row.maybe_i32s()?,
        closest: row.maybe_i64()?,
        edges: row.maybe_i32s()?,
    };
    Ok((stored, sums))
}

/// The pieces that SQL unpacks of a month, in any order.
pub(super) fn unpacked(source: SourceId, month: Instant) -> String {
    format!(
        "select desktop_no, label_no, status_id, piece_from, first_seen, started_after, disconnected_at, piece_to,
                last_seen, ended
           from deskledger_data.filed where source_id = {source} and packed_from = {}",
        literal(month)
    )
}

/// A packed row of a month of which SQL sums up something else than is stored, among the first hundred that are
/// summed up: what a function does wrong it does to most.
pub(super) fn summed_otherwise(source: SourceId, month: Instant) -> String {
    let month = literal(month);
    format!(
        "select k.desktop_no
           from (select m.at, deskledger_report.whole(deskledger_data.finishes(m.source_id, m.at)) as finished
                   from (select source_id, deskledger_report.whole(at) as at
                           from deskledger_data.packed_month where source_id = {source} and month_from = {month}) m) m
          cross join (select * from deskledger_data.packed
                       where source_id = {source} and month_from = {month} and observed is not null
                       order by desktop_no, label_no limit 100) k
          cross join lateral deskledger_report.sums(
                    m.at, m.finished, k.events, k.first_seen, k.started_after, k.disconnected_at) s
          where (k.observed, k.connected, k.less, k.more, k.last_connected, k.stretches, k.disconnected, k.longest,
                 k.last_disconnected, k.loose, k.breaks, k.closest, k.edges)
                is distinct from
                (s.observed, s.connected, s.less, s.more, s.last_connected, s.stretches, s.disconnected, s.longest,
                 s.last_disconnected, s.loose, s.breaks, s.closest, s.edges)
          limit 1"
    )
}

/// The tally, in the order of time.
pub(super) fn tally(source: SourceId) -> String {
    format!(
        "select at, desktops, connected, disconnected, ready, unregistered, started, disconnects, ended, reconnects
           from deskledger_data.tally where source_id = {source} order by at"
    )
}

pub(super) fn tally_row(row: &mut Fields<'_>) -> Result<TallyRow, Malformed> {
    let at = row.instant()?;
    let mut counts = [0; 8];
    for count in &mut counts {
        *count = row.i32()?.into();
    }
    Ok(TallyRow { at, counts, reconnects: row.maybe_i64s()? })
}

/// The open spans, in the order of their beginnings.
pub(super) fn open_pieces(source: SourceId) -> String {
    format!(
        "select desktop_no, label_no, status_id, piece_from, first_seen, started_after, connection_first_seen,
                connection_started_after, disconnected_at, last_seen, unlisted_since
           from deskledger_data.open_span where source_id = {source} order by piece_from"
    )
}

pub(super) fn open_piece(row: &mut Fields<'_>) -> Result<SpanRow, Malformed> {
    Ok(SpanRow {
        desktop: row.i32()?,
        label: row.i32()?,
        status: row.i16()?,
        from: row.instant()?,
        first_seen: row.maybe_instant()?,
        started_after: row.maybe_instant()?,
        connection_first_seen: row.maybe_instant()?,
        connection_started_after: row.maybe_instant()?,
        disconnected_at: row.maybe_instant()?,
        end: End::Open { left_out: row.maybe_instant()?.zip(row.maybe_instant()?) },
    })
}

/// The pieces of groups' counters in the order of their beginnings. `narrow` holds those that fit two
/// bytes, `wide` all of them where one does not.
pub(super) fn groups(source: SourceId) -> String {
    let columns: Vec<String> = COUNTERS.iter().map(|column| format!("g.{column}")).collect();
    let none = vec!["null::smallint"; COUNTERS.len()].join(", ");
    format!(
        "select g.group_no, g.from_at, g.is_continued, g.to_at, g.last_seen, {narrow}, w.counters
           from deskledger_data.filed_group g
           left join deskledger_data.group_span_wide w
                on w.source_id = g.source_id and w.group_no = g.group_no and w.from_at = g.from_at
          where g.source_id = {source}
          union all
         select group_no, from_at, is_continued, null, null, {none}, counters
           from deskledger_data.open_group_span where source_id = {source}
          order by 2",
        narrow = columns.join(", "),
    )
}

/// A piece of counters, and whether the columns of two bytes say what those of eight do.
#[derive(Debug)]
pub(super) struct StoredGroup {
    pub(super) row: GroupRow,
    pub(super) is_wide: bool,
    pub(super) agrees: bool,
}

pub(super) fn group(row: &mut Fields<'_>) -> Result<StoredGroup, Malformed> {
    let (group, from, is_continued) = (row.i32()?, row.instant()?, row.bool()?);
    let end = row.maybe_instant()?.zip(row.maybe_instant()?);
    let mut narrow: [Option<i16>; COUNTERS.len()] = Default::default();
    for counter in &mut narrow {
        *counter = row.maybe_i16()?;
    }
    let wide = row.maybe_i64s()?;
    let is_wide = wide.is_some() && end.is_some();
    let mut counters: Counters = narrow.map(|counter| counter.map(i64::from));
    let mut agrees = true;
    if let Some(wide) = wide {
        let fits = |counter: Option<i64>| counter.and_then(|counter| i16::try_from(counter).ok());
        // Any other number of counters than there are names: whatever it is, it is wrong.
        agrees = match Counters::try_from(wide) {
            Ok(wide) => {
                counters = wide;
                end.is_none()
                    || (wide.map(fits) == narrow
                        && wide.iter().any(|counter| counter.is_some() && fits(*counter).is_none()))
            }
            Err(_) => false,
        };
    }
    let end = end.map(|(to, last_seen)| GroupEnd { to, last_seen });
    Ok(StoredGroup { row: GroupRow { group, from, is_continued, counters, end }, is_wide, agrees })
}

/// The stretches of partial listings, and the runs of coverage that are over, in the order of their
/// beginnings.
pub(super) fn stretches(source: SourceId) -> String {
    format!(
        "select from_at, to_at, desktop_no, null::integer, null::integer
           from deskledger_data.unlisted where source_id = {source}
          union all
         select covered_from, covered_to, null, snapshots, partial
           from deskledger_data.coverage_run where source_id = {source}
          order by 1"
    )
}

/// A row of `unlisted` or of `coverage_run`.
#[derive(Debug)]
pub(super) enum Stretch {
    Unlisted(UnlistedRow),
    Run(Run),
}

impl Stretch {
    pub(super) fn from(&self) -> Instant {
        match self {
            Self::Unlisted(row) => row.from,
            Self::Run(run) => run.from,
        }
    }
}

pub(super) fn stretch(row: &mut Fields<'_>) -> Result<Stretch, Malformed> {
    let (from, to) = (row.instant()?, row.instant()?);
    match row.maybe_i32()? {
        Some(desktop) => Ok(Stretch::Unlisted(UnlistedRow { desktop, from, to })),
        None => Ok(Stretch::Run(Run { from, to, snapshots: row.i32()?, partial: row.i32()? })),
    }
}
