//! Reads a source's beliefs back, as a recorder left them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use chrono::TimeDelta;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, Postgres};

use super::copy;
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
        let mut lent = Lent(Some(self.pool.acquire().await.map_err(&failed)?));
        // All from one moment, also while another recorder goes on.
        let begin = "begin isolation level repeatable read, read only";
        let mut transaction = lent.begin_with(begin).await.map_err(&failed)?;
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
        transaction.commit().await.map_err(&failed)?;
        lent.give_back();
        Ok(Beliefs::restore(restored))
    }
}

/// A connection of the pool that goes back there only once it is given back. A COPY that was left in its midst, by an error
/// or by who waited for it no longer, is nothing that anybody else can go on from.
struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect("it is here until it is given back")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("it is here until it is given back")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
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
        digest: digest(&row.digest, "head.digest")?,
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
    let statement = format!(
        "-- store::beliefs::load_persons
         select person_no, type, id, name, commitment from deskledger_data.person
          where source_id = {source_id} order by person_no"
    );
    let (mut persons, mut common) = (Vec::new(), Common::default());
    copy::each(connection, &statement, "read the persons of a source", |row| {
        check_number(row.i32()?, persons.len(), "person")?;
        let user = AttachUser {
            kind: row.maybe_text()?.map(|kind| common.of(kind)),
            id: row.maybe_text()?.map(Arc::from),
            name: row.maybe_text()?.map(Arc::from),
            user_group: None,
        };
        persons.push(Person { user, commitment: digest(row.bytes()?, "person.commitment")? });
        Ok(())
    })
    .await?;
    Ok(persons)
}

async fn load_assignments(
    connection: &mut PgConnection,
    source_id: SourceId,
    persons: &[Person],
) -> Result<Vec<Assignment>, StoreError> {
    // (Not as jsonb, of which PostgreSQL makes a text all the same.)
    let statement = format!(
        "-- store::beliefs::load_assignments
         select assignment_no, attach_users::text, person_nos, entry_person_nos, chain_order
           from deskledger_data.assignment
          where source_id = {source_id} order by assignment_no"
    );
    let (mut assignments, mut common) = (Vec::new(), Common::default());
    copy::each(connection, &statement, "read the assignments of a source", |row| {
        let no = row.i32()?;
        check_number(no, assignments.len(), "assignment")?;
        let entries: Vec<EntryText<'_>> =
            serde_json::from_str(row.maybe_text()?.unwrap_or_default()).map_err(|_| {
                StoreError::Inconsistent(format!("the entries of assignment number {no}"))
            })?;
        let person_nos = row.maybe_i32s()?.unwrap_or_default();
        let entry_person_nos = row.maybe_i32s()?.unwrap_or_default();
        let chain_order = row.maybe_i32s()?;
        let person = |no: &i32| {
            no.checked_sub(1)
                .and_then(|at| usize::try_from(at).ok())
                .and_then(|at| persons.get(at))
                .ok_or_else(|| StoreError::Inconsistent(format!("there is no person number {no}")))
        };
        let of_entries: Vec<&Person> =
            entry_person_nos.iter().map(person).collect::<Result<_, _>>()?;
        // With the texts of the persons, so that a fleet's users are not in memory twice.
        let mut of_entry = of_entries.iter();
        let users = entries.into_iter().map(|entry| match of_entry.next() {
            Some(person) if entry.is_of(&person.user) => AttachUser {
                user_group: entry.user_group.map(|group| common.of(&group)),
                ..person.user.clone()
            },
            _ => entry.into(),
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
        Ok(())
    })
    .await?;
    Ok(assignments)
}

/// An entry of `attach_users` as it stands in its text.
#[derive(serde::Deserialize)]
struct EntryText<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_group: Option<Cow<'a, str>>,
}

impl EntryText<'_> {
    /// Whether it names this person.
    fn is_of(&self, user: &AttachUser) -> bool {
        (self.r#type.as_deref(), self.id.as_deref(), self.name.as_deref())
            == (user.kind.as_deref(), user.id.as_deref(), user.name.as_deref())
    }
}

impl From<EntryText<'_>> for AttachUser {
    fn from(entry: EntryText<'_>) -> Self {
        let text = |text: Option<Cow<'_, str>>| text.map(Arc::from);
        Self {
            kind: text(entry.r#type),
            id: text(entry.id),
            name: text(entry.name),
            user_group: text(entry.user_group),
        }
    }
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
    let statement = format!(
        "-- store::beliefs::load_labels
         select label_no, desktop_name, assignment_no, commitment from deskledger_data.label
          where source_id = {source_id} order by label_no"
    );
    let mut labels = Vec::new();
    copy::each(connection, &statement, "read the labels of a source", |row| {
        check_number(row.i32()?, labels.len(), "label")?;
        let name = row.maybe_text()?.map(Arc::from);
        let assignment = row.i32()?;
        labels.push(Label {
            name,
            assignment,
            commitment: digest(row.bytes()?, "label.commitment")?,
        });
        Ok(())
    })
    .await?;
    Ok(labels)
}

async fn load_desktops(
    connection: &mut PgConnection,
    source_id: SourceId,
    head: &Head,
) -> Result<Vec<DesktopBelief>, StoreError> {
    let attempt = "read the desktops of a source";
    let failed = StoreError::while_trying(attempt);
    let statement = format!(
        "-- store::beliefs::load_desktops
         select desktop_no, desktop_id, commitment from deskledger_data.desktop
          where source_id = {source_id} order by desktop_no"
    );
    let mut desktops = Vec::new();
    copy::each(connection, &statement, attempt, |row| {
        check_number(row.i32()?, desktops.len(), "desktop")?;
        let id = Arc::from(row.maybe_text()?.unwrap_or_default());
        desktops.push(DesktopBelief::restored(id, digest(row.bytes()?, "desktop.commitment")?));
        Ok(())
    })
    .await?;
    let statement = format!(
        "-- store::beliefs::load_desktops
         select o.desktop_no, o.label_no, o.status_id, o.piece_from, o.first_seen, o.last_seen, o.unlisted_since,
                s.max_gap, o.started_after, o.connection_first_seen, o.connection_started_after, o.disconnected_at
           from deskledger_data.open_span o
           left join deskledger_data.snapshot s on s.source_id = o.source_id and s.observed_at = o.last_seen
          where o.source_id = {source_id}"
    );
    copy::each(connection, &statement, attempt, |row| {
        let open = &mut belief(&mut desktops, row.i32()?)?.open;
        let (label, status) = (row.i32()?, row.i16()?);
        let (piece_from, first_seen) = (row.instant()?, row.instant()?);
        let (last_seen, unlisted_since) = (row.maybe_instant()?, row.maybe_instant()?);
        let unlisted = mark(last_seen, row.maybe_i32()?).zip(unlisted_since);
        let started_after = row.maybe_instant()?;
        let (connection_first_seen, connection_started_after) =
            (row.maybe_instant()?, row.maybe_instant()?);
        *open = Some(OpenSpan {
            status,
            label,
            piece_from,
            first_seen,
            started_after,
            unlisted,
            connection: connection_first_seen.map(|first| (first, connection_started_after)),
            disconnected_at: row.maybe_instant()?,
        });
        Ok(())
    })
    .await?;
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

fn digest(bytes: &[u8], column: &str) -> Result<Digest, StoreError> {
    Digest::try_from(bytes)
        .map_err(|_| StoreError::Inconsistent(format!("{column} has not 32 bytes")))
}
