//! The rows of a month, told or stored, as a sum: equal sums are the same rows, in whatever order, and however many.

use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use super::super::StoreError;
use super::Month;
use crate::domain::beliefs::{ClosedGroupSpan, ClosedSpan, DesktopNo, GroupNo, ended};
use crate::domain::months::next_month;
use crate::domain::retell::{Ends, Retelling, Told};
use crate::domain::{COUNTERS, Instant};

/// A sum of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many spans.
    pub spans: i64,
    /// How many pieces of counters.
    pub groups: i64,
    /// How many stretches in which a desktop was left out.
    pub unlisted: i64,
    rows: u128,
}

impl Sum {
    /// Adds what was told.
    pub fn add(&mut self, told: &Told) {
        for closed in &told.spans {
            self.span(&Span::of(closed));
        }
        for closed in &told.groups {
            self.group(&Group::of(closed));
        }
        for (desktop, from, to) in &told.unlisted {
            self.stretch(*desktop, *from, *to);
        }
    }

    fn span(&mut self, row: &Span) {
        self.spans += 1;
        self.row(
            b'S',
            &[
                Some(row.desktop_no.into()),
                Some(row.label_no.into()),
                Some(row.status_id.into()),
                Some(row.ended.into()),
                micros(Some(row.piece_from)),
                micros(Some(row.piece_to)),
                micros(Some(row.last_seen)),
                micros(row.started_after),
                micros(row.first_seen),
                micros(row.connection_first_seen),
                micros(row.connection_started_after),
                micros(row.disconnected_at),
            ],
        );
    }

    fn group(&mut self, row: &Group) {
        self.groups += 1;
        let mut values = vec![
            Some(row.group_no.into()),
            micros(Some(row.from_at)),
            micros(Some(row.to_at)),
            micros(Some(row.last_seen)),
            Some(row.is_continued.into()),
        ];
        values.extend(&row.counters);
        self.row(b'G', &values);
    }

    fn stretch(&mut self, desktop: DesktopNo, from: Instant, to: Instant) {
        self.unlisted += 1;
        self.row(b'U', &[Some(desktop.into()), micros(Some(from)), micros(Some(to))]);
    }

    fn row(&mut self, kind: u8, values: &[Option<i64>]) {
        let mut hasher = Sha256::new();
        hasher.update([kind]);
        for value in values {
            hasher.update([u8::from(value.is_some())]);
            hasher.update(value.unwrap_or_default().to_be_bytes());
        }
        let hash: [u8; 32] = hasher.finalize().into();
        let (half, _) = hash.split_first_chunk().expect("half of 32 bytes");
        self.rows = self.rows.wrapping_add(u128::from_be_bytes(*half));
    }
}

fn micros(at: Option<Instant>) -> Option<i64> {
    at.map(|at| at.timestamp_micros())
}

#[derive(sqlx::FromRow)]
struct Span {
    desktop_no: DesktopNo,
    label_no: i32,
    status_id: i16,
    ended: i16,
    piece_from: Instant,
    piece_to: Instant,
    last_seen: Instant,
    started_after: Option<Instant>,
    first_seen: Option<Instant>,
    connection_first_seen: Option<Instant>,
    connection_started_after: Option<Instant>,
    disconnected_at: Option<Instant>,
}

impl Span {
    fn of(closed: &ClosedSpan) -> Self {
        let (span, piece) = (&closed.span, &closed.piece);
        Self {
            desktop_no: closed.desktop,
            label_no: span.label,
            status_id: span.status,
            ended: if piece.goes_on { ended::CUT } else { closed.ended },
            piece_from: piece.from,
            piece_to: piece.to,
            last_seen: piece.last_seen,
            started_after: span.started_after,
            first_seen: (span.first_seen != piece.from).then_some(span.first_seen),
            connection_first_seen: span.connection.map(|connection| connection.0),
            connection_started_after: span.connection.and_then(|connection| connection.1),
            disconnected_at: span.disconnected_at,
        }
    }
}

#[derive(sqlx::FromRow)]
struct Group {
    group_no: GroupNo,
    from_at: Instant,
    to_at: Instant,
    last_seen: Instant,
    is_continued: bool,
    counters: Vec<Option<i64>>,
}

impl Group {
    fn of(closed: &ClosedGroupSpan) -> Self {
        Self {
            group_no: closed.group,
            from_at: closed.piece.from,
            to_at: closed.piece.to,
            last_seen: closed.piece.last_seen,
            is_continued: closed.is_continued,
            counters: closed.counters.to_vec(),
        }
    }
}

/// The rows of a month as they are stored, and how those end that go on beyond it. A row is of the month that it begins in: one
/// without length, of the very instant at which a month begins, is filed under the month before.
#[derive(Debug, Default)]
pub struct Stored {
    /// All of them.
    pub sum: Sum,
    /// Of each desktop and each group the last piece: where it begins, and how it ends.
    spans: std::collections::HashMap<DesktopNo, (Instant, (Instant, Instant, i16))>,
    groups: std::collections::HashMap<GroupNo, (Instant, (Instant, Instant, bool))>,
    to: Instant,
}

impl Stored {
    /// How those ended that went on beyond the month that is told.
    #[must_use]
    pub fn ends(&self, of: &Retelling) -> Ends {
        let just_before = self.to - chrono::TimeDelta::microseconds(1);
        let (desktops, groups) = of.goes_on();
        let mut ends = Ends::default();
        for (no, from) in desktops {
            if let Some((begun, end)) = self.spans.get(&no)
                && *begun == from
                && *end != (self.to, just_before, ended::CUT)
            {
                ends.spans.insert(no, *end);
            }
        }
        for (no, from) in groups {
            if let Some((begun, end)) = self.groups.get(&no)
                && *begun == from
                && *end != (self.to, just_before, true)
            {
                ends.groups.insert(no, *end);
            }
        }
        ends
    }

    /// Reads them.
    pub(super) async fn read(
        connection: &mut PgConnection,
        month: &Month,
    ) -> Result<Self, StoreError> {
        let failed = StoreError::while_trying("read the rows of a month");
        let to = next_month(month.month);
        let mut stored = Self { to, ..Self::default() };
        let mut spans = sqlx::query_as::<_, Span>(
            "-- store::prune::rows::read
             select desktop_no, label_no, status_id, ended, piece_from, piece_to, last_seen, started_after, first_seen,
                    connection_first_seen, connection_started_after, disconnected_at
               from deskledger_data.filed
              where source_id = $1 and piece_from >= $2 and piece_from < $3 and piece_to >= $2 and piece_to <= $3
                and packed_from <= $2 and packed_to > $2",
        )
        .bind(month.source_id)
        .bind(month.month)
        .bind(to)
        .fetch(&mut *connection);
        while let Some(row) = spans.try_next().await.map_err(&failed)? {
            stored.sum.span(&row);
            let end = (row.piece_from, (row.piece_to, row.last_seen, row.ended));
            let last = stored.spans.entry(row.desktop_no).or_insert(end);
            if last.0 < row.piece_from {
                *last = end;
            }
        }
        drop(spans);
        let mut groups = sqlx::query_as::<_, Group>(GROUPS)
            .bind(month.source_id)
            .bind(month.month)
            .bind(to)
            .fetch(&mut *connection);
        while let Some(row) = groups.try_next().await.map_err(&failed)? {
            debug_assert_eq!(row.counters.len(), COUNTERS.len());
            stored.sum.group(&row);
            let end = (row.from_at, (row.to_at, row.last_seen, row.to_at == to));
            let last = stored.groups.entry(row.group_no).or_insert(end);
            if last.0 < row.from_at {
                *last = end;
            }
        }
        drop(groups);
        // With the month's end itself a visit may have come: then what it ended does not go on.
        let is_read_then: bool = sqlx::query_scalar(
            "-- store::prune::rows::read
             select exists (select from deskledger_data.snapshot
                             where source_id = $1 and observed_at = $2 and groups_outcome > 0)
                 or exists (select from deskledger_data.visit_day
                             where source_id = $1 and day_from = $2 and observed_at[1] = $2 and groups_outcome[1] > 0)",
        )
        .bind(month.source_id)
        .bind(to)
        .fetch_one(&mut *connection)
        .await
        .map_err(&failed)?;
        if is_read_then {
            let just_before = to - chrono::TimeDelta::microseconds(1);
            for (_, end) in stored.groups.values_mut() {
                end.2 &= end.1 == just_before;
            }
            // Where the month's last microsecond was visited, too, a run that the next visit ended looks like one that was cut; but
            // nothing goes on from it.
            let ended: Vec<GroupNo> = sqlx::query_scalar(ENDED)
                .bind(month.source_id)
                .bind(just_before)
                .bind(to)
                .bind(stored.groups.keys().copied().collect::<Vec<_>>())
                .fetch_all(&mut *connection)
                .await
                .map_err(&failed)?;
            for no in ended {
                stored.groups.entry(no).and_modify(|(_, end)| end.2 = false);
            }
        }
        let mut unlisted = sqlx::query_as::<_, (i32, Instant, Instant)>(UNLISTED)
            .bind(month.source_id)
            .bind(month.month)
            .bind(to)
            .fetch(&mut *connection);
        while let Some((desktop, from, to)) = unlisted.try_next().await.map_err(&failed)? {
            stored.sum.stretch(desktop, from, to);
        }
        Ok(stored)
    }
}

/// The counters as they were given, whether or not they fit two bytes.
const GROUPS: &str = "-- store::prune::rows::read
    select g.group_no, g.from_at, g.to_at, g.last_seen, g.is_continued,
           coalesce(w.counters, array[g.running_num, g.stop_num, g.hibernate_num, g.other_num, g.attached_num,
                    g.unattached_num, g.cannot_attach_num, g.in_process_num, g.in_use_num, g.unregistered_num,
                    g.ready_num, g.disconnected_num, g.unknown_num]::bigint[]) as counters
      from deskledger_data.filed_group g
      left join deskledger_data.group_span_wide w
           on w.source_id = g.source_id and w.group_no = g.group_no and w.from_at = g.from_at
     where g.source_id = $1 and g.from_at >= $2 and g.from_at < $3 and g.to_at >= $2 and g.to_at <= $3
       and g.packed_from <= $2 and g.packed_to >= $3";

/// Of these groups those that nothing goes on from, if their statistics were read just before the month's end and it is known what followed.
const ENDED: &str = "-- store::prune::rows::read
    select no from unnest($4::integer[]) no
     where (exists (select from deskledger_data.snapshot where source_id = $1 and observed_at = $2 and groups_outcome > 0)
            or exists (select from deskledger_data.visit_day d
                        where d.source_id = $1 and d.day_from = $3 - interval '1 day'
                          and d.observed_at[cardinality(d.observed_at)] = $2
                          and d.groups_outcome[cardinality(d.groups_outcome)] > 0))
       and not exists (select from deskledger_report.pruned p
                        where p.source_id = $1 and p.class = 'groups' and p.month_from = $3)
       and no not in (
           select g.group_no from deskledger_data.filed_group g
            where g.source_id = $1 and g.from_at = $3 and g.is_continued and g.packed_from <= $3 and g.packed_to >= $3
            union all
           select o.group_no from deskledger_data.open_group_span o
            where o.source_id = $1 and o.from_at = $3 and o.is_continued)";

/// Those that begin in the month, and of which a visit of the month says that they ended. Any other is needed for another month.
const UNLISTED: &str = "-- store::prune::rows::read
    select desktop_no, from_at, to_at from deskledger_data.unlisted
     where source_id = $1 and from_at >= $2
       and to_at < deskledger_data.visit_before($1, $3, false)";
