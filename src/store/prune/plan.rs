//! What is old enough to go, and what of it stays and why.

use std::fmt;

use super::super::source::SourceId;
use super::super::{Store, StoreError};
use super::{Month, hold};
use crate::domain::Instant;
use crate::domain::months::next_month;
use crate::domain::pruning::{Ages, Class};

/// A class of a month that is old enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The month.
    pub month: Month,
    /// What of it.
    pub class: Class,
    /// How many rows that is.
    pub rows: i64,
    /// How many bytes those take, without their indexes.
    pub bytes: i64,
    /// Why it stays all the same; `None`: it goes.
    pub kept: Option<Kept>,
}

/// Why something that is old enough stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Something in the month is held.
    Held {
        /// The hold's number.
        hold_id: i32,
        /// Why it is held.
        reason: String,
    },
    /// Something that is open still reaches into the month.
    Open,
    /// The class before it stays.
    Needed(Class),
    /// An older month of the class stays, whose figures are reckoned from here.
    Older,
    /// The newest listing or statistics are of it, or of a month before it.
    Newest,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { hold_id, reason } => {
                write!(f, "hold {hold_id}: {}", crate::domain::harmless(reason))
            }
            Self::Open => f.write_str("a span that is open reaches into it"),
            Self::Needed(class) => write!(f, "its {class} stay"),
            Self::Older => f.write_str("those of an older month stay"),
            Self::Newest => f.write_str("nothing newer was read"),
        }
    }
}

#[derive(sqlx::FromRow)]
struct Candidate {
    source_id: SourceId,
    source: String,
    month_from: Instant,
    is_open: bool,
    is_newest: bool,
    pruned: Vec<String>,
}

impl Store {
    /// What is old enough at `now`, of all sources or of one; the oldest months first, each class after the one that needs it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn plan(
        &self,
        ages: &Ages,
        only: Option<&str>,
        now: Instant,
    ) -> Result<Vec<Due>, StoreError> {
        let failed = StoreError::while_trying("look for what is old enough");
        let candidates: Vec<Candidate> = sqlx::query_as(
            r#"-- store::prune::plan
             select h.source_id, s.name as source, m.month_from,
                    exists (select from deskledger_data.open_span o
                             where o.source_id = h.source_id and o.piece_from < m.month_to)
                    or exists (select from deskledger_data.open_group_span o
                                where o.source_id = h.source_id and o.from_at < m.month_to) as is_open,
                    coalesce(least(h.usable_at, h.complete_at, h.groups_at) < m.month_to, false) as is_newest,
                    array(select p.class from deskledger_report.pruned p
                           where p.source_id = h.source_id and p.month_from = m.month_from) as pruned
               from deskledger_data.head h
               join deskledger_data.source s using (source_id)
              cross join generate_series(
                     date_trunc('month', h.first_at at time zone 'UTC'),
                     date_trunc('month', h.observed_at at time zone 'UTC') - interval '1 month',
                     interval '1 month') month
              cross join lateral (select month at time zone 'UTC' as month_from,
                                         (month + interval '1 month') at time zone 'UTC' as month_to) m
              where ($1::text is null or s.name = $1)
              order by s.name collate "C", m.month_from"#,
        )
        .bind(only)
        .fetch_all(&self.pool)
        .await
        .map_err(&failed)?;
        let mut connection = self.pool.acquire().await.map_err(&failed)?;
        let mut plan: Vec<Due> = Vec::new();
        let mut source = None;
        let mut rollups_stay = false;
        for candidate in candidates {
            if source != Some(candidate.source_id) {
                (source, rollups_stay) = (Some(candidate.source_id), false);
            }
            let month = Month {
                source_id: candidate.source_id,
                source: candidate.source.clone(),
                month: candidate.month_from,
            };
            let to = next_month(month.month);
            let is_pruned =
                |class: Class| candidate.pruned.iter().any(|name| name == class.as_str());
            let mut of_month: Option<Option<Kept>> = None;
            let mut going: Vec<Class> = Vec::new();
            for class in Class::ALL {
                let is_due = ages
                    .of(class)
                    .and_then(|age| now.checked_sub_signed(age))
                    .is_some_and(|old| to <= old);
                if !is_due || is_pruned(class) {
                    rollups_stay |= class == Class::Rollups && !is_pruned(class);
                    continue;
                }
                if of_month.is_none() {
                    let held = hold::holds(&mut connection, &month).await?;
                    let held =
                        held.map(|hold| Kept::Held { hold_id: hold.hold_id, reason: hold.reason });
                    of_month = Some(held.or(candidate.is_open.then_some(Kept::Open)));
                }
                let has_gone = |class: Class| is_pruned(class) || going.contains(&class);
                let needed = || class.needs_gone().iter().copied().find(|class| !has_gone(*class));
                let kept = of_month.clone().flatten().or_else(|| match (needed(), class) {
                    (Some(needed), _) => Some(Kept::Needed(needed)),
                    (None, Class::Rollups) if rollups_stay => Some(Kept::Older),
                    (None, Class::Headers) if candidate.is_newest => Some(Kept::Newest),
                    _ => None,
                });
                if kept.is_none() {
                    going.push(class);
                } else {
                    rollups_stay |= class == Class::Rollups;
                }
                let (rows, bytes): (i64, i64) = sqlx::query_as(match class {
                    Class::Groups => GROUPS,
                    Class::Rollups => ROLLUPS,
                    Class::Spans => SPANS,
                    Class::Headers => HEADERS,
                })
                .bind(month.source_id)
                .bind(month.month)
                .bind(to)
                .fetch_one(&mut *connection)
                .await
                .map_err(&failed)?;
                plan.push(Due { month: month.clone(), class, rows, bytes, kept });
            }
        }
        Ok(plan)
    }
}

const SPANS: &str = "-- store::prune::plan
    select (select count(*) from deskledger_data.filed f
             where f.source_id = $1 and f.piece_from >= $2 and f.piece_from < $3 and f.piece_to >= $2 and f.piece_to <= $3
               and f.packed_from <= $2 and f.packed_to > $2),
           (select coalesce(sum(pg_column_size(s)), 0)::bigint from deskledger_data.span s
             where s.source_id = $1 and s.piece_from >= $2 and s.piece_from < $3 and s.piece_to >= $2 and s.piece_to <= $3)
           + (select coalesce(sum(pg_column_size(k)), 0)::bigint from deskledger_data.packed k
               where k.source_id = $1 and k.month_from = $2)
           + (select coalesce(sum(pg_column_size(n.line)), 0)::bigint from deskledger_data.late n
               where n.source_id = $1 and n.observed_at >= $2 and n.observed_at < $3)";

const GROUPS: &str = "-- store::prune::plan
    select (select count(*) from deskledger_data.filed_group g
             where g.source_id = $1 and g.from_at >= $2 and g.from_at < $3 and g.to_at >= $2 and g.to_at <= $3
               and g.packed_from <= $2 and g.packed_to >= $3),
           (select coalesce(sum(pg_column_size(g)), 0)::bigint from deskledger_data.group_span g
             where g.source_id = $1 and g.from_at >= $2 and g.from_at < $3 and g.to_at >= $2 and g.to_at <= $3)
           + (select coalesce(sum(pg_column_size(k)), 0)::bigint from deskledger_data.packed_group k
               where k.source_id = $1 and k.month_from = $2)";

const ROLLUPS: &str = "-- store::prune::plan
    select count(*), coalesce(sum(pg_column_size(t)), 0)::bigint from deskledger_data.tally t
     where t.source_id = $1 and t.at > $2 and t.at < $3";

const HEADERS: &str = "-- store::prune::plan
    select sum(n.rows)::bigint, sum(n.bytes)::bigint
      from (select count(*) as rows, coalesce(sum(pg_column_size(s)), 0) as bytes
              from deskledger_data.snapshot s
             where s.source_id = $1 and s.observed_at >= $2 and s.observed_at < $3
             union all
            select coalesce(sum(cardinality(d.sequence)), 0), coalesce(sum(pg_column_size(d)), 0)
              from deskledger_data.visit_day d
             where d.source_id = $1 and d.day_from >= $2 and d.day_from < $3 and d.snapshot_id is not null) n";
