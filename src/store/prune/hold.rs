//! What must not be pruned: by source, desktop, user or period. A month in which anything of it lies is kept as a whole, all
//! classes of it, for that source: simple, and safe.

use sqlx::PgConnection;

use super::super::{Store, StoreError};
use super::Month;
use crate::domain::Instant;
use crate::domain::months::next_month;

/// What is to be held; each `None`: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewHold {
    /// A source.
    pub source: Option<String>,
    /// A desktop, by id or name.
    pub desktop: Option<String>,
    /// A user or group, by id or name.
    pub user: Option<String>,
    /// From when on.
    pub from: Option<Instant>,
    /// Up to when.
    pub to: Option<Instant>,
    /// Why.
    pub reason: String,
}

/// A hold as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Hold {
    /// Its number.
    pub hold_id: i32,
    /// See [`NewHold::source`].
    pub source: Option<String>,
    /// See [`NewHold::desktop`].
    pub desktop: Option<String>,
    /// See [`NewHold::user`].
    pub user: Option<String>,
    /// See [`NewHold::from`].
    pub held_from: Option<Instant>,
    /// See [`NewHold::to`].
    pub held_to: Option<Instant>,
    /// See [`NewHold::reason`].
    pub reason: String,
    /// When it was set.
    pub set_at: Instant,
    /// When it was dropped, if it was.
    pub dropped_at: Option<Instant>,
    /// And why.
    pub dropped_reason: Option<String>,
}

/// What a hold may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A desktop, by id or name.
    Desktop,
    /// A user or group, by id or name.
    User,
}

impl Seen {
    /// What it is called.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::User => "user",
        }
    }
}

/// Months of a source that are pruned already.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct GoneMonths {
    /// The source.
    pub source: String,
    /// How many.
    pub months: i64,
    /// Where the oldest begins (UTC).
    pub first: Instant,
    /// Where the newest does.
    pub last: Instant,
}

impl Store {
    /// The months of a hold's sources and period of which the spans are pruned already, by source.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pruned_of(&self, hold: &NewHold) -> Result<Vec<GoneMonths>, StoreError> {
        sqlx::query_as(
            r#"-- store::prune::hold::pruned_of
             select s.name as source, count(*) as months, min(p.month_from) as first, max(p.month_from) as last
               from deskledger_report.pruned p
               join deskledger_data.source s using (source_id)
              where p.class = 'spans' and s.name = coalesce($1, s.name)
                and p.month_to > coalesce($2, '-infinity') and p.month_from < coalesce($3, 'infinity')
              group by s.name order by s.name collate "C""#,
        )
        .bind(&hold.source)
        .bind(hold.from)
        .bind(hold.to)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("look for what is pruned of what is to be held"))
    }

    /// Whether the ledger has a desktop or user of a name or id, in any source or in one; late snapshots count.
    ///
    /// # Errors
    /// The database is away.
    pub async fn has_seen(
        &self,
        what: Seen,
        name: &str,
        source: Option<&str>,
    ) -> Result<bool, StoreError> {
        let sql = match what {
            Seen::Desktop => {
                "-- store::prune::hold::has_seen
                 select exists (
                     select from deskledger_data.source s
                      where s.name = coalesce($2, s.name)
                        and (exists (select from deskledger_data.desktop d
                                      where d.source_id = s.source_id and d.desktop_id = $1)
                             or exists (select from deskledger_data.label l
                                         where l.source_id = s.source_id and l.desktop_name = $1)
                             or exists (select from deskledger_data.late n
                                         cross join lateral jsonb_array_elements(
                                               case when n.desktops_outcome > 0 then n.line::jsonb -> 'desktops' end) d
                                         where n.source_id = s.source_id
                                           and $1 in (d ->> 'desktop_id', d ->> 'desktop_name'))))"
            }
            Seen::User => {
                "-- store::prune::hold::has_seen
                 select exists (
                     select from deskledger_data.source s
                      where s.name = coalesce($2, s.name)
                        and (exists (select from deskledger_data.person p
                                      where p.source_id = s.source_id and $1 in (p.id, p.name))
                             or exists (select from deskledger_data.late n
                                         cross join lateral jsonb_array_elements(
                                               case when n.desktops_outcome > 0 then n.line::jsonb -> 'desktops' end) d
                                         cross join lateral jsonb_array_elements(d -> 'attach_users') u
                                         where n.source_id = s.source_id and $1 in (u ->> 'id', u ->> 'name'))))"
            }
        };
        sqlx::query_scalar(sql)
            .bind(name)
            .bind(source)
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::while_trying("look for what is to be held"))
    }

    /// Sets a hold, and says its number.
    ///
    /// # Errors
    /// The database is away.
    pub async fn add_hold(&self, hold: &NewHold) -> Result<i32, StoreError> {
        sqlx::query_scalar(
            r#"-- store::prune::hold::add_hold
             insert into deskledger_data.hold (source, desktop, "user", held_from, held_to, reason)
             values ($1, $2, $3, $4, $5, $6) returning hold_id"#,
        )
        .bind(&hold.source)
        .bind(&hold.desktop)
        .bind(&hold.user)
        .bind(hold.from)
        .bind(hold.to)
        .bind(&hold.reason)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("set a hold"))
    }

    /// Drops a hold, and keeps that and why; `false`: there is none of that number.
    ///
    /// # Errors
    /// The database is away.
    pub async fn drop_hold(&self, hold_id: i32, reason: &str) -> Result<bool, StoreError> {
        let dropped = sqlx::query(
            "-- store::prune::hold::drop_hold
             update deskledger_data.hold set dropped_at = now(), dropped_reason = $2
              where hold_id = $1 and dropped_at is null",
        )
        .bind(hold_id)
        .bind(reason)
        .execute(&self.pool)
        .await
        .map_err(StoreError::while_trying("drop a hold"))?;
        Ok(dropped.rows_affected() == 1)
    }

    /// All holds that ever were, by number.
    ///
    /// # Errors
    /// The database is away.
    pub async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        sqlx::query_as(
            r#"-- store::prune::hold::holds
             select hold_id, source, desktop, "user", held_from, held_to, reason, set_at, dropped_at, dropped_reason
               from deskledger_data.hold order by hold_id"#,
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read the holds"))
    }
}

/// The first hold that a month is kept by.
pub(super) async fn holds(
    connection: &mut PgConnection,
    month: &Month,
) -> Result<Option<Hold>, StoreError> {
    sqlx::query_as(
        r#"-- store::prune::hold::holds
         select h.hold_id, h.source, h.desktop, h."user", h.held_from, h.held_to, h.reason, h.set_at, h.dropped_at,
                h.dropped_reason
           from deskledger_data.hold h
          where h.dropped_at is null and coalesce(h.source, $2) = $2
            and coalesce(h.held_from, '-infinity') < $4 and coalesce(h.held_to, 'infinity') > $3
            and (h.desktop is null and h."user" is null
                 or exists (
                    select from deskledger_data.filed f
                      join deskledger_data.desktop d using (source_id, desktop_no)
                      join deskledger_data.label l using (source_id, label_no)
                      join deskledger_data.assignment a using (source_id, assignment_no)
                     where f.source_id = $1 and f.piece_from >= $3 and f.piece_from < $4 and f.piece_to >= $3 and f.piece_to <= $4
                       and f.packed_from <= $3 and f.packed_to > $3
                       and (h.desktop is null or h.desktop in (d.desktop_id, l.desktop_name))
                       and (h."user" is null
                            or exists (select from deskledger_data.person p
                                        where p.source_id = $1 and p.person_no = any (a.person_nos)
                                          and h."user" in (p.id, p.name))))
                 or exists (
                    select from deskledger_data.late n
                     cross join lateral jsonb_array_elements(
                           case when n.desktops_outcome > 0 then n.line::jsonb -> 'desktops' end) d
                     where n.source_id = $1 and n.observed_at >= $3 and n.observed_at < $4
                       and (h.desktop is null or h.desktop in (d ->> 'desktop_id', d ->> 'desktop_name'))
                       and (h."user" is null
                            or exists (select from jsonb_array_elements(d -> 'attach_users') u
                                        where h."user" in (u ->> 'id', u ->> 'name')))))
          order by h.hold_id limit 1"#,
    )
    .bind(month.source_id)
    .bind(&month.source)
    .bind(month.month)
    .bind(next_month(month.month))
    .fetch_optional(connection)
    .await
    .map_err(StoreError::while_trying("look for holds"))
}
