//! Reads recorded snapshots back, as they were fed in: for export, and to compare what is imported
//! again with what is recorded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use chrono::TimeDelta;

use super::source::SourceId;
use super::{Store, StoreError};
use crate::domain::beliefs::{Beliefs, StatusId};
use crate::domain::{Counters, Desktop, Failure, GroupStatistics, Instant, Listing, Snapshot};

/// How many snapshots' changes are read at a time. Memory holds those and one listing.
const AT_ONCE: i64 = 250;

/// A source's snapshots in the order of time.
#[derive(Debug)]
pub struct Replay {
    store: Store,
    source_id: SourceId,
    /// The texts that numbers stand for; and until when they are known.
    beliefs: Beliefs,
    statuses: HashMap<StatusId, Option<Arc<str>>>,
    after: Option<Instant>,
    from: Option<Instant>,
    until: Option<Instant>,
    headers: VecDeque<Header>,
    pieces: Vec<Piece>,
    unlisted: HashMap<i32, Vec<(Instant, Instant)>>,
    groups: Vec<GroupPiece>,
}

#[derive(Debug, sqlx::FromRow)]
struct Header {
    scheduled_at: Option<Instant>,
    observed_at: Instant,
    finished_at: Instant,
    max_gap: i32,
    desktops_outcome: i16,
    groups_outcome: i16,
    desktops_total: Option<i64>,
    error_code: Option<String>,
    error_message: Option<String>,
}

#[derive(Debug, sqlx::FromRow)]
struct Piece {
    desktop_no: i32,
    label_no: i32,
    status_id: StatusId,
    piece_from: Instant,
    last_seen: Instant,
}

#[derive(Debug, sqlx::FromRow)]
struct GroupPiece {
    group_no: i32,
    from_at: Instant,
    last_seen: Instant,
    counters: Vec<Option<i64>>,
}

impl Replay {
    /// The snapshots of a source from `from` on, up to and without `until`; those that are
    /// recorded now.
    ///
    /// # Errors
    /// The database is away.
    pub async fn open(
        store: &Store,
        source_id: SourceId,
        from: Option<Instant>,
        until: Option<Instant>,
    ) -> Result<Self, StoreError> {
        let beliefs = store.load_beliefs(source_id).await?;
        // What is recorded from now on may speak of numbers that are not in these beliefs.
        let end = beliefs.head.newest.map(|mark| mark.at + TimeDelta::microseconds(1));
        Ok(Self {
            store: store.clone(),
            source_id,
            beliefs,
            statuses: HashMap::new(),
            after: None,
            from,
            until: until.into_iter().chain(end).min(),
            headers: VecDeque::new(),
            pieces: Vec::new(),
            unlisted: HashMap::new(),
            groups: Vec::new(),
        })
    }

    /// The next snapshot, its desktops in the order of their ids, its groups in that of their names.
    ///
    /// # Errors
    /// The database is away, or holds rows that cannot be.
    pub async fn next(&mut self) -> Result<Option<Snapshot>, StoreError> {
        if self.headers.is_empty() {
            self.read_ahead().await?;
        }
        let Some(header) = self.headers.pop_front() else { return Ok(None) };
        let failure = (header.error_code.is_some() || header.error_message.is_some())
            .then_some(Failure { code: header.error_code, message: header.error_message });
        Ok(Some(Snapshot {
            scheduled_at: header.scheduled_at,
            observed_at: header.observed_at,
            finished_at: header.finished_at,
            max_gap: TimeDelta::seconds(i64::from(header.max_gap)),
            total: header.desktops_total,
            desktops: match header.desktops_outcome {
                0 => None,
                _ => Some(self.listing(header.observed_at)?),
            },
            groups: match header.groups_outcome {
                0 => None,
                _ => Some(self.group_statistics(header.observed_at)?),
            },
            failure,
        }))
    }

    async fn read_ahead(&mut self) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("read recorded snapshots back");
        let headers: Vec<Header> = sqlx::query_as(
            "-- store::replay::read_ahead
             select n.*
               from ((select scheduled_at, observed_at, finished_at, max_gap, desktops_outcome, groups_outcome,
                             desktops_total, error_code, error_message
                        from deskledger_data.snapshot n
                       where source_id = $1 and observed_at >= coalesce($2, '-infinity')
                         and observed_at > coalesce($3, '-infinity') and observed_at < $4
                         -- Of a pruned month nobody knows what they said.
                         and not exists (select from deskledger_report.pruned p
                                          where p.source_id = $1 and p.class in ('spans', 'groups')
                                            and p.month_from <= n.observed_at and p.month_to > n.observed_at)
                       order by observed_at limit $5)
                      union all
                     -- Of the days in which so many are, besides those of the first that were passed already: else all days that are left would be
                     -- unpacked each time.
                     (select v.scheduled_at, v.observed_at, v.finished_at, v.max_gap, v.desktops_outcome, v.groups_outcome,
                             v.desktops_total, v.error_code, v.error_message
                        from (select d.*,
                                     sum(octet_length(d.digest) / 32) over seen - first_value(octet_length(d.digest) / 32) over seen
                                         - octet_length(d.digest) / 32 as before
                                from deskledger_data.visit_day d
                               where d.source_id = $1 and d.snapshot_id is not null
                                 and d.day_from > coalesce(greatest($2, $3), '-infinity') - interval '24 hours' and d.day_from < $4
                                 and not exists (select from deskledger_report.pruned p
                                                  where p.source_id = $1 and p.class in ('spans', 'groups')
                                                    and p.month_from <= d.day_from and p.month_to > d.day_from)
                              window seen as (order by d.day_from)
                               order by d.day_from limit $5) d
                       cross join lateral unnest(d.ticked_at, d.observed_at, d.finished_at, d.max_gap, d.desktops_outcome,
                                                 d.groups_outcome, d.desktops_total, d.error_code, d.error_message)
                                  v (scheduled_at, observed_at, finished_at, max_gap, desktops_outcome, groups_outcome,
                                     desktops_total, error_code, error_message)
                       where d.before < $5 and v.observed_at >= coalesce($2, '-infinity')
                         and v.observed_at > coalesce($3, '-infinity') and v.observed_at < $4
                       order by v.observed_at limit $5)) n
              order by observed_at limit $5",
        )
        .bind(self.source_id)
        .bind(self.from)
        .bind(self.after)
        .bind(self.until)
        .bind(AT_ONCE)
        .fetch_all(&self.store.pool)
        .await
        .map_err(&failed)?;
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else { return Ok(()) };
        let (first, last) = (first.observed_at, last.observed_at);
        self.after = Some(last);
        self.pieces = sqlx::query_as(
            "-- store::replay::read_ahead
             select p.desktop_no, p.label_no, p.status_id, p.piece_from, p.last_seen
               from deskledger_data.span p
              where p.source_id = $1 and p.piece_from <= $3 and p.last_seen >= $2
                and p.piece_to >= $2 and p.piece_to <= deskledger_report.month_end($3)
              union all
             select k.desktop_no, k.label_no, p.status_id, p.piece_from, p.last_seen
               from deskledger_report.packed k
              cross join lateral deskledger_report.unpack(
                        k.at, k.events, $2, $3, k.first_seen, k.started_after, k.disconnected_at) p
              where k.source_id = $1 and k.month_from <= $3 and k.month_to >= $2
                and p.piece_from <= $3 and p.last_seen >= $2
              union all
             select o.desktop_no, o.label_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at)
               from deskledger_data.open_span o
               join deskledger_data.head h using (source_id)
              where o.source_id = $1 and o.piece_from <= $3 and coalesce(o.last_seen, h.usable_at) >= $2",
        )
        .bind(self.source_id)
        .bind(first)
        .bind(last)
        .fetch_all(&self.store.pool)
        .await
        .map_err(&failed)?;
        let beliefs = &self.beliefs;
        // In the order of ids, so that one ledger is always exported alike.
        self.pieces.sort_by(|one, other| {
            let id = |piece: &Piece| beliefs.desktop(piece.desktop_no).map(|desktop| &desktop.id);
            id(one).cmp(&id(other))
        });
        let unlisted: Vec<(i32, Instant, Instant)> = sqlx::query_as(
            "-- store::replay::read_ahead
             select desktop_no, from_at, to_at from deskledger_data.unlisted
              where source_id = $1 and from_at <= $3 and to_at >= $2",
        )
        .bind(self.source_id)
        .bind(first)
        .bind(last)
        .fetch_all(&self.store.pool)
        .await
        .map_err(&failed)?;
        self.unlisted.clear();
        for (no, from, to) in unlisted {
            self.unlisted.entry(no).or_default().push((from, to));
        }
        self.groups = sqlx::query_as(
            "-- store::replay::read_ahead
             select group_no, from_at, last_seen,
                    array[running_num, stop_num, hibernate_num, other_num, attached_num, unattached_num,
                          cannot_attach_num, in_process_num, in_use_num, unregistered_num, ready_num,
                          disconnected_num, unknown_num] as counters
               from deskledger_report.group_piece
              where source_id = $1 and from_at <= $3 and last_seen >= $2 and to_at >= $2
                and (is_open or to_at <= deskledger_report.month_end($3)) and packed_to = 'infinity'
              union all
             select k.group_no, p.from_at, p.last_seen,
                    coalesce(w.counters,
                             array[p.running_num, p.stop_num, p.hibernate_num, p.other_num, p.attached_num,
                                   p.unattached_num, p.cannot_attach_num, p.in_process_num, p.in_use_num,
                                   p.unregistered_num, p.ready_num, p.disconnected_num, p.unknown_num])
               from deskledger_report.packed_group k
              cross join lateral deskledger_report.unpack_group(
                        k.at, $2, $3, k.events,
                        k.running_num, k.stop_num, k.hibernate_num, k.other_num, k.attached_num, k.unattached_num,
                        k.cannot_attach_num, k.in_process_num, k.in_use_num, k.unregistered_num, k.ready_num,
                        k.disconnected_num, k.unknown_num) p
               left join deskledger_data.group_span_wide w
                    on w.source_id = k.source_id and w.group_no = k.group_no and w.from_at = p.from_at
              where k.source_id = $1 and k.month_from <= $3 and k.month_to >= $2
                and p.from_at <= $3 and p.last_seen >= $2",
        )
        .bind(self.source_id)
        .bind(first)
        .bind(last)
        .fetch_all(&self.store.pool)
        .await
        .map_err(&failed)?;
        self.groups.sort_by(|one, other| {
            let key = |piece: &GroupPiece| {
                beliefs.group(piece.group_no).map(|group| (&group.name, group.ordinal))
            };
            key(one).cmp(&key(other))
        });
        self.headers = headers.into();
        Ok(())
    }

    fn listing(&mut self, at: Instant) -> Result<Listing, StoreError> {
        let mut desktops = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let is_listed = piece.piece_from <= at
                && piece.last_seen >= at
                && !self.unlisted.get(&piece.desktop_no).is_some_and(|stretches| {
                    stretches.iter().any(|(from, to)| *from <= at && at <= *to)
                });
            if !is_listed {
                continue;
            }
            let missing = || {
                StoreError::Inconsistent(format!(
                    "a span of desktop number {} speaks of numbers that are not registered",
                    piece.desktop_no
                ))
            };
            let desktop = self.beliefs.desktop(piece.desktop_no).ok_or_else(missing)?;
            let (label, assignment) = self.beliefs.label(piece.label_no).ok_or_else(missing)?;
            let status = self
                .statuses
                .entry(piece.status_id)
                .or_insert_with(|| self.beliefs.status_text(piece.status_id));
            desktops.push(Desktop {
                id: Arc::clone(&desktop.id),
                name: label.name.clone(),
                status: status.clone(),
                users: assignment.users.clone(),
            });
        }
        Ok(Listing::new(desktops))
    }

    fn group_statistics(&self, at: Instant) -> Result<Vec<GroupStatistics>, StoreError> {
        let read = self.groups.iter().filter(|piece| piece.from_at <= at && piece.last_seen >= at);
        read.map(|piece| {
            let wrong = || StoreError::Inconsistent(format!("group number {}", piece.group_no));
            Ok(GroupStatistics {
                name: self.beliefs.group(piece.group_no).ok_or_else(wrong)?.name.clone(),
                counters: Counters::try_from(piece.counters.clone()).map_err(|_| wrong())?,
            })
        })
        .collect()
    }
}
