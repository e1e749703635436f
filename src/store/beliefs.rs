//! Reads a source's beliefs back, as a recorder left them.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;

use super::prune::standings;
use super::source::SourceId;
use super::{Store, StoreError};
use crate::domain::beliefs::{
    Assignment, Beliefs, CONNECTED, DesktopBelief, FIRST_OTHER_STATUS, GroupBelief, Head, Label,
    Mark, OpenGroupSpan, OpenSpan, Person, Restored, Run, ended,
};
use crate::domain::digest::{Digest, assignment_hash, assignment_hash_in_order};
use crate::domain::text::Common;
use crate::domain::{AttachUser, AttachUsers, Counters, Instant};

impl Store {
    /// What is believed of a source.
    ///
    /// # Errors
    /// The database is away, or holds rows that cannot be.
    pub async fn load_beliefs(&self, source_id: SourceId) -> Result<Beliefs, StoreError> {
        let failed = StoreError::while_trying("read back what is believed of a source");
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        // All from one moment, also while another recorder goes on.
        sqlx::query("set transaction isolation level repeatable read, read only")
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        let head = load_head(&mut transaction, source_id).await?;
        let persons = load_persons(&mut transaction, source_id).await?;
        let assignments = load_assignments(&mut transaction, source_id, &persons).await?;
        let restored = Restored {
            desktops: load_desktops(&mut transaction, source_id, &head).await?,
            statuses: load_statuses(&mut transaction, source_id).await.map_err(&failed)?,
            labels: load_labels(&mut transaction, source_id).await?,
            groups: load_groups(&mut transaction, source_id).await?,
            head,
            persons,
            assignments,
        };
        Ok(Beliefs::restore(restored))
    }
}

#[derive(sqlx::FromRow)]
struct HeadRow {
    sequence: i64,
    digest: Vec<u8>,
    first_at: Option<Instant>,
    observed_at: Option<Instant>,
    max_gap: Option<i32>,
    scheduled_at: Option<Instant>,
    usable_at: Option<Instant>,
    usable_gap: Option<i32>,
    run_from: Option<Instant>,
    run_snapshots: Option<i32>,
    run_partial: Option<i32>,
    complete_at: Option<Instant>,
    complete_gap: Option<i32>,
    complete_run_from: Option<Instant>,
    groups_at: Option<Instant>,
    groups_gap: Option<i32>,
}

async fn load_head(connection: &mut PgConnection, source_id: SourceId) -> Result<Head, StoreError> {
    let row: HeadRow = sqlx::query_as(
        "-- store::beliefs::load_head
         select h.*, usable.max_gap as usable_gap, complete.max_gap as complete_gap, groups.max_gap as groups_gap
           from deskledger_data.head h
           left join deskledger_data.snapshot usable
                on usable.source_id = h.source_id and usable.observed_at = h.usable_at
           left join deskledger_data.snapshot complete
                on complete.source_id = h.source_id and complete.observed_at = h.complete_at
           left join deskledger_data.snapshot groups
                on groups.source_id = h.source_id and groups.observed_at = h.groups_at
          where h.source_id = $1",
    )
    .bind(source_id)
    .fetch_one(connection)
    .await
    .map_err(StoreError::while_trying("read a source's head"))?;
    let run = match (row.run_from, row.usable_at, row.run_snapshots, row.run_partial) {
        (Some(from), Some(to), Some(snapshots), Some(partial)) => {
            Some(Run { from, to, snapshots, partial })
        }
        _ => None,
    };
    Ok(Head {
        sequence: row.sequence,
        digest: digest(row.digest, "head.digest")?,
        first_at: row.first_at,
        newest: mark(row.observed_at, row.max_gap),
        scheduled_at: row.scheduled_at,
        usable: mark(row.usable_at, row.usable_gap),
        run,
        complete: mark(row.complete_at, row.complete_gap),
        complete_run_from: row.complete_run_from,
        groups: mark(row.groups_at, row.groups_gap),
    })
}

async fn load_statuses(
    connection: &mut PgConnection,
    source_id: SourceId,
) -> sqlx::Result<Vec<Arc<str>>> {
    let statuses: Vec<String> = sqlx::query_scalar(
        "-- store::beliefs::load_statuses
         select status from deskledger_data.status
          where source_id = $1 and status_id >= $2 order by status_id",
    )
    .bind(source_id)
    .bind(FIRST_OTHER_STATUS)
    .fetch_all(connection)
    .await?;
    Ok(statuses.into_iter().map(Arc::from).collect())
}

async fn load_persons(
    connection: &mut PgConnection,
    source_id: SourceId,
) -> Result<Vec<Person>, StoreError> {
    type Row = (i32, Option<String>, Option<String>, Option<String>, Vec<u8>);
    let failed = StoreError::while_trying("read the persons of a source");
    let mut rows = sqlx::query_as::<_, Row>(
        "-- store::beliefs::load_persons
         select person_no, type, id, name, commitment from deskledger_data.person
          where source_id = $1 order by person_no",
    )
    .bind(source_id)
    .fetch(connection);
    let (mut persons, mut common) = (Vec::new(), Common::default());
    while let Some(row) = rows.try_next().await.map_err(&failed)? {
        let (no, kind, id, name, commitment) = row;
        check_number(no, persons.len(), "person")?;
        let user = AttachUser {
            kind: kind.map(|kind| common.of(&kind)),
            id: id.map(Arc::from),
            name: name.map(Arc::from),
            user_group: None,
        };
        persons.push(Person { user, commitment: digest(commitment, "person.commitment")? });
    }
    Ok(persons)
}

async fn load_assignments(
    connection: &mut PgConnection,
    source_id: SourceId,
    persons: &[Person],
) -> Result<Vec<Assignment>, StoreError> {
    type Row = (i32, sqlx::types::Json<Vec<StoredUser>>, Vec<i32>, Vec<i32>, Option<Vec<i32>>);
    let failed = StoreError::while_trying("read the assignments of a source");
    let mut rows = sqlx::query_as::<_, Row>(
        "-- store::beliefs::load_assignments
         select assignment_no, attach_users, person_nos, entry_person_nos, chain_order from deskledger_data.assignment
          where source_id = $1 order by assignment_no",
    )
    .bind(source_id)
    .fetch(connection);
    let (mut assignments, mut common) = (Vec::new(), Common::default());
    while let Some(row) = rows.try_next().await.map_err(&failed)? {
        let (no, entries, person_nos, entry_person_nos, chain_order) = row;
        check_number(no, assignments.len(), "assignment")?;
        let person = |no: &i32| {
            usize::try_from(no - 1)
                .ok()
                .and_then(|at| persons.get(at))
                .ok_or_else(|| StoreError::Inconsistent(format!("there is no person number {no}")))
        };
        let of_entries: Vec<&Person> =
            entry_person_nos.iter().map(person).collect::<Result<_, _>>()?;
        // With the texts of the persons, so that a fleet's users are not in memory twice.
        let mut of_entry = of_entries.iter();
        let users = entries.0.into_iter().map(AttachUser::from).map(|user| match of_entry.next() {
            Some(person) if person.user.is_same_user(&user) => {
                let user_group = user.user_group.map(|group| common.of(&group));
                AttachUser { user_group, ..person.user.clone() }
            }
            _ => user,
        });
        let users = AttachUsers::new(users.collect());
        let commitments: Vec<Digest> = of_entries.iter().map(|person| person.commitment).collect();
        let hash = match chain_order {
            None => assignment_hash(&users, &commitments),
            Some(order) => {
                assignment_hash_in_order(&users, &commitments, &order).ok_or_else(|| {
                    StoreError::Inconsistent(format!("the order of assignment number {no}"))
                })?
            }
        };
        assignments.push(Assignment { users, persons: person_nos, hash });
    }
    Ok(assignments)
}

/// An entry of `attach_users` as it is stored.
#[derive(serde::Deserialize)]
pub(super) struct StoredUser {
    id: Option<String>,
    name: Option<String>,
    r#type: Option<String>,
    user_group: Option<String>,
}

impl From<StoredUser> for AttachUser {
    fn from(user: StoredUser) -> Self {
        Self {
            kind: user.r#type.map(Arc::from),
            id: user.id.map(Arc::from),
            name: user.name.map(Arc::from),
            user_group: user.user_group.map(Arc::from),
        }
    }
}

async fn load_labels(
    connection: &mut PgConnection,
    source_id: SourceId,
) -> Result<Vec<Label>, StoreError> {
    let failed = StoreError::while_trying("read the labels of a source");
    let mut rows = sqlx::query_as::<_, (i32, Option<String>, i32, Vec<u8>)>(
        "-- store::beliefs::load_labels
         select label_no, desktop_name, assignment_no, commitment from deskledger_data.label
          where source_id = $1 order by label_no",
    )
    .bind(source_id)
    .fetch(connection);
    let mut labels = Vec::new();
    while let Some((no, name, assignment, commitment)) = rows.try_next().await.map_err(&failed)? {
        check_number(no, labels.len(), "label")?;
        let commitment = digest(commitment, "label.commitment")?;
        labels.push(Label { name: name.map(Arc::from), assignment, commitment });
    }
    Ok(labels)
}

#[derive(sqlx::FromRow)]
struct OpenSpanRow {
    desktop_no: i32,
    label_no: i32,
    status_id: i16,
    piece_from: Instant,
    first_seen: Instant,
    last_seen: Option<Instant>,
    unlisted_since: Option<Instant>,
    unlisted_gap: Option<i32>,
    started_after: Option<Instant>,
    connection_first_seen: Option<Instant>,
    connection_started_after: Option<Instant>,
    disconnected_at: Option<Instant>,
}

async fn load_desktops(
    connection: &mut PgConnection,
    source_id: SourceId,
    head: &Head,
) -> Result<Vec<DesktopBelief>, StoreError> {
    let failed = StoreError::while_trying("read the desktops of a source");
    let mut rows = sqlx::query_as::<_, (i32, String, Vec<u8>)>(
        "-- store::beliefs::load_desktops
         select desktop_no, desktop_id, commitment from deskledger_data.desktop
          where source_id = $1 order by desktop_no",
    )
    .bind(source_id)
    .fetch(&mut *connection);
    let mut desktops = Vec::new();
    while let Some((no, id, commitment)) = rows.try_next().await.map_err(&failed)? {
        check_number(no, desktops.len(), "desktop")?;
        let commitment = digest(commitment, "desktop.commitment")?;
        desktops.push(DesktopBelief::restored(Arc::from(id), commitment));
    }
    drop(rows);
    let mut open = sqlx::query_as::<_, OpenSpanRow>(
        "-- store::beliefs::load_desktops
         select o.*, s.max_gap as unlisted_gap
           from deskledger_data.open_span o
           left join deskledger_data.snapshot s on s.source_id = o.source_id and s.observed_at = o.last_seen
          where o.source_id = $1",
    )
    .bind(source_id)
    .fetch(&mut *connection);
    while let Some(row) = open.try_next().await.map_err(&failed)? {
        belief(&mut desktops, row.desktop_no)?.open = Some(OpenSpan {
            status: row.status_id,
            label: row.label_no,
            piece_from: row.piece_from,
            first_seen: row.first_seen,
            started_after: row.started_after,
            unlisted: mark(row.last_seen, row.unlisted_gap).zip(row.unlisted_since),
            connection: row
                .connection_first_seen
                .map(|first| (first, row.connection_started_after)),
            disconnected_at: row.disconnected_at,
        });
    }
    drop(open);
    // Those that are absent without a gap since they left: a disconnect before may yet be followed
    // by a reconnect.
    let absent: HashMap<i32, (Instant, i16, Option<Instant>)> = sqlx::query_as(
        "-- store::beliefs::load_desktops
         select desktop_no, piece_to, status_id, disconnected_at from deskledger_data.span
          where source_id = $1 and ended = $2 and piece_to >= $3
          union all
         -- Of what is packed, only those that end in absence: a desktop that came back has another piece after it.
         select f.desktop_no, f.piece_to, f.status_id, f.disconnected_at
           from deskledger_data.packed k
          cross join lateral (
                select p.desktop_no, p.piece_to, p.status_id, p.disconnected_at
                  from deskledger_data.filed p
                 where p.source_id = k.source_id and p.desktop_no = k.desktop_no and p.label_no = k.label_no
                   and p.packed_from = k.month_from and p.ended = $2 and p.piece_to >= $3
                offset 0) f
          where k.source_id = $1 and k.events[cardinality(k.events)] & 16128 = (37 + $2) << 8
            and deskledger_report.month_end(k.month_from) >= $3
          order by piece_to",
    )
    .bind(source_id)
    .bind(ended::ABSENT)
    .bind(head.complete_run_from)
    .fetch_all(&mut *connection)
    .await
    .map_err(&failed)?
    .into_iter()
    .map(|(no, since, status, disconnected_at)| (no, (since, status, disconnected_at)))
    .collect();
    for (no, (since, status, disconnected_at)) in absent {
        let desktop = belief(&mut desktops, no)?;
        if desktop.open.is_none() {
            desktop.absent = Some((since, disconnected_at.filter(|_| status != CONNECTED)));
        }
    }
    // And those that left in a month that is pruned.
    for standing in standings(&mut *connection, source_id).await?.into_iter().rev().take(1) {
        for (no, since, disconnect) in standing.absent {
            let desktop = belief(&mut desktops, no)?;
            if desktop.open.is_none() && desktop.absent.is_none() {
                desktop.absent = Some((since, Some(disconnect)));
            }
        }
    }
    Ok(desktops)
}

async fn load_groups(
    connection: &mut PgConnection,
    source_id: SourceId,
) -> Result<Vec<GroupBelief>, StoreError> {
    type Row = (i32, Option<String>, i32, Option<Instant>, Option<bool>, Option<Vec<Option<i64>>>);
    let rows: Vec<Row> = sqlx::query_as(
        "-- store::beliefs::load_groups
         select group_no, g.static_name, g.ordinal, o.from_at, o.is_continued, o.counters
           from deskledger_data.desktop_group g
           left join deskledger_data.open_group_span o using (source_id, group_no)
          where source_id = $1 order by group_no",
    )
    .bind(source_id)
    .fetch_all(connection)
    .await
    .map_err(StoreError::while_trying("read the groups of a source"))?;
    let mut groups = Vec::with_capacity(rows.len());
    for (no, name, ordinal, from, is_continued, counters) in rows {
        check_number(no, groups.len(), "group")?;
        let counters = counters.map(Counters::try_from).transpose().map_err(|_| {
            StoreError::Inconsistent(format!("group number {no} has not 13 counters"))
        })?;
        let open = match (from, is_continued, counters) {
            (Some(from), Some(is_continued), Some(counters)) => {
                Some(OpenGroupSpan { from, is_continued, counters })
            }
            _ => None,
        };
        groups.push(GroupBelief::restored(name.map(Arc::from), ordinal, open));
    }
    Ok(groups)
}

fn belief(desktops: &mut [DesktopBelief], no: i32) -> Result<&mut DesktopBelief, StoreError> {
    usize::try_from(no - 1)
        .ok()
        .and_then(|at| desktops.get_mut(at))
        .ok_or_else(|| StoreError::Inconsistent(format!("there is no desktop number {no}")))
}

/// Numbers are handed out one after the other, so a list in their order has no hole.
fn check_number(no: i32, before: usize, what: &str) -> Result<(), StoreError> {
    if usize::try_from(no).ok() == Some(before + 1) {
        return Ok(());
    }
    Err(StoreError::Inconsistent(format!("{what} number {} is missing before {no}", before + 1)))
}

fn mark(at: Option<Instant>, max_gap: Option<i32>) -> Option<Mark> {
    Some(Mark { at: at?, max_gap: TimeDelta::seconds(i64::from(max_gap?)) })
}

fn digest(bytes: Vec<u8>, column: &str) -> Result<Digest, StoreError> {
    Digest::try_from(bytes)
        .map_err(|_| StoreError::Inconsistent(format!("{column} has not 32 bytes")))
}
