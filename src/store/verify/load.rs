//! What is read of a source as a whole: its registered names, and its head.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::super::StoreError;
use super::super::beliefs::StoredUser;
use super::super::registered::attach_users_json;
use super::super::source::SourceId;
use crate::domain::audit::{AssignmentRow, ErasureRow, HeadRow, Names, PruningRow};
use crate::domain::digest::{Digest, Erased, ErasureHeader};
use crate::domain::pruning::Pruning;
use crate::domain::{AttachUser, AttachUsers, Instant};

/// Reads and checks every registered name of a source.
pub(super) async fn names(
    connection: &mut PgConnection,
    source: SourceId,
) -> Result<Names, StoreError> {
    type Person = (i32, Option<String>, Option<String>, Option<String>, Option<Vec<u8>>, Vec<u8>);
    type Assignment = (
        i32,
        Json<serde_json::Value>,
        Vec<Option<String>>,
        Vec<i32>,
        Vec<i32>,
        String,
        Option<Vec<i32>>,
    );
    type Label = (i32, Option<String>, i32, Option<Vec<u8>>, Vec<u8>);
    let failed = StoreError::while_trying("read the registered names of a source");
    let mut names = Names::default();

    for erasure in erasures(connection, source).await? {
        for (what, no, _, replacement) in erasure.records.into_iter().flatten() {
            names.add_erased(what, no, erasure.sequence, replacement);
        }
    }

    let mut desktops = sqlx::query_as::<_, (i32, String, Option<Vec<u8>>, Vec<u8>)>(
        "-- store::verify::names
         select desktop_no, desktop_id, salt, commitment from deskledger_data.desktop
          where source_id = $1 order by desktop_no",
    )
    .bind(source)
    .fetch(&mut *connection);
    while let Some((no, id, salt, commitment)) = desktops.try_next().await.map_err(&failed)? {
        names.add_desktop(no, &id, salt.as_deref(), &commitment);
    }
    drop(desktops);

    let mut statuses = sqlx::query_as::<_, (i16, Option<String>)>(
        "-- store::verify::names
         select status_id, status from deskledger_data.status where source_id = $1 order by status_id",
    )
    .bind(source)
    .fetch(&mut *connection);
    while let Some((id, text)) = statuses.try_next().await.map_err(&failed)? {
        names.add_status(id, text.as_deref());
    }
    drop(statuses);

    let mut persons = sqlx::query_as::<_, Person>(
        "-- store::verify::names
         select person_no, type, id, name, salt, commitment from deskledger_data.person
          where source_id = $1 order by person_no",
    )
    .bind(source)
    .fetch(&mut *connection);
    while let Some((no, kind, id, name, salt, commitment)) =
        persons.try_next().await.map_err(&failed)?
    {
        let text = |text: Option<String>| text.map(Arc::from);
        let person =
            AttachUser { kind: text(kind), id: text(id), name: text(name), user_group: None };
        names.add_person(no, person, salt.as_deref(), &commitment);
    }
    drop(persons);

    let mut assignments = sqlx::query_as::<_, Assignment>(
        "-- store::verify::names
         select assignment_no, attach_users, users, person_nos, entry_person_nos, attribution, chain_order
           from deskledger_data.assignment where source_id = $1 order by assignment_no",
    )
    .bind(source)
    .fetch(&mut *connection);
    while let Some((
        no,
        attach_users,
        users,
        person_nos,
        entry_person_nos,
        attribution,
        chain_order,
    )) = assignments.try_next().await.map_err(&failed)?
    {
        let row = AssignmentRow {
            attach_users: as_written(attach_users.0),
            users,
            person_nos,
            entry_person_nos,
            attribution,
            chain_order,
        };
        names.add_assignment(no, row);
    }
    drop(assignments);

    let mut labels = sqlx::query_as::<_, Label>(
        "-- store::verify::names
         select label_no, desktop_name, assignment_no, salt, commitment from deskledger_data.label
          where source_id = $1 order by label_no",
    )
    .bind(source)
    .fetch(&mut *connection);
    while let Some((no, name, assignment, salt, commitment)) =
        labels.try_next().await.map_err(&failed)?
    {
        names.add_label(no, name.as_deref(), assignment, salt.as_deref(), &commitment);
    }
    drop(labels);

    let mut desktop_labels = sqlx::query_as::<_, (i32, i32)>(
        "-- store::verify::names
         select desktop_no, label_no from deskledger_data.desktop_label where source_id = $1",
    )
    .bind(source)
    .fetch(&mut *connection);
    while let Some((desktop, label)) = desktop_labels.try_next().await.map_err(&failed)? {
        names.add_desktop_label(desktop, label);
    }
    drop(desktop_labels);

    let mut groups = sqlx::query_as::<_, (i32, Option<String>, i32)>(
        "-- store::verify::names
         select group_no, static_name, ordinal from deskledger_data.desktop_group
          where source_id = $1 order by group_no",
    )
    .bind(source)
    .fetch(&mut *connection);
    while let Some((no, name, ordinal)) = groups.try_next().await.map_err(&failed)? {
        names.add_group(no, name.as_deref(), ordinal);
    }
    drop(groups);
    names.close();
    Ok(names)
}

/// The set that a document says, if the document is the one that is written for this set.
fn as_written(stored: serde_json::Value) -> Option<AttachUsers> {
    let entries: Vec<StoredUser> = serde_json::from_value(stored.clone()).ok()?;
    let users = AttachUsers::new(entries.into_iter().map(AttachUser::from).collect());
    (attach_users_json(&users) == stored).then_some(users)
}

/// The erasures of a source in the order of the chain, with what they replaced.
pub(super) async fn erasures(
    connection: &mut PgConnection,
    source: SourceId,
) -> Result<Vec<ErasureRow>, StoreError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        sequence: i64,
        erased_at: Instant,
        pseudonym: String,
        persons: i32,
        assignments: i32,
        desktop_names: i32,
        late_snapshots: i32,
        body_hash: Vec<u8>,
        digest: Vec<u8>,
    }
    type Record = (i64, String, i64, Option<Vec<u8>>, Vec<u8>);
    let failed = StoreError::while_trying("read who was erased");
    let rows: Vec<Row> = sqlx::query_as(
        "-- store::verify::erasures
         select sequence, erased_at, pseudonym, persons, assignments, desktop_names, late_snapshots, body_hash, digest
           from deskledger_data.erasure where source_id = $1 order by sequence",
    )
    .bind(source)
    .fetch_all(&mut *connection)
    .await
    .map_err(&failed)?;
    // Those of no erasure stay, and are found to be of none.
    let records: Vec<Record> = sqlx::query_as(
        "-- store::verify::erasures
         select e.sequence, e.what, e.no, coalesce(p.commitment, l.commitment, t.body_hash), e.replacement
           from deskledger_data.erased e
           left join deskledger_data.person p on e.what = 'P' and p.source_id = e.source_id and p.person_no = e.no
           left join deskledger_data.label l on e.what = 'N' and l.source_id = e.source_id and l.label_no = e.no
           left join deskledger_data.late t on e.what = 'L' and t.source_id = e.source_id and t.sequence = e.no
          where e.source_id = $1",
    )
    .bind(source)
    .fetch_all(connection)
    .await
    .map_err(&failed)?;
    let mut of_erasure: BTreeMap<i64, Option<Vec<_>>> = BTreeMap::new();
    for (sequence, what, no, commitment, replacement) in records {
        let record = || {
            let commitment = Digest::try_from(commitment?).ok()?;
            Some((Erased::of(&what)?, no, commitment, Digest::try_from(replacement).ok()?))
        };
        let all = of_erasure.entry(sequence).or_insert_with(|| Some(Vec::new()));
        match (record(), all.as_mut()) {
            (Some(record), Some(all)) => all.push(record),
            _ => *all = None,
        }
    }
    let mut erasures: Vec<ErasureRow> = Vec::new();
    for row in rows {
        let mut records = of_erasure.remove(&row.sequence).unwrap_or_else(|| Some(Vec::new()));
        records.iter_mut().for_each(|records| records.sort_unstable());
        erasures.push(ErasureRow {
            sequence: row.sequence,
            header: ErasureHeader {
                erased_at: row.erased_at,
                pseudonym: row.pseudonym,
                persons: row.persons,
                assignments: row.assignments,
                desktop_names: row.desktop_names,
                late_snapshots: row.late_snapshots,
            },
            records,
            body_hash: row.body_hash,
            digest: row.digest,
        });
    }
    // A row of `erased` that no erasure has is the next one's fault, or the last one's.
    if let Some(stray) = of_erasure.keys().next() {
        let at = erasures.iter().position(|row| row.sequence > *stray);
        let last = erasures.len().saturating_sub(1);
        if let Some(row) = erasures.get_mut(at.unwrap_or(last)) {
            row.records = None;
        }
    }
    Ok(erasures)
}

#[derive(sqlx::FromRow)]
struct Head {
    sequence: i64,
    digest: Vec<u8>,
    first_at: Option<Instant>,
    observed_at: Option<Instant>,
    max_gap: Option<i32>,
    scheduled_at: Option<Instant>,
    usable_at: Option<Instant>,
    run_from: Option<Instant>,
    run_snapshots: Option<i32>,
    run_partial: Option<i32>,
    complete_at: Option<Instant>,
    complete_run_from: Option<Instant>,
    groups_at: Option<Instant>,
}

/// Reads a source's head; `None`: it has none.
pub(super) async fn head(
    connection: &mut PgConnection,
    source: SourceId,
) -> Result<Option<HeadRow>, StoreError> {
    let head: Option<Head> = sqlx::query_as(
        "-- store::verify::head
         select * from deskledger_data.head where source_id = $1",
    )
    .bind(source)
    .fetch_optional(connection)
    .await
    .map_err(StoreError::while_trying("read a source's head"))?;
    Ok(head.map(|head| HeadRow {
        sequence: head.sequence,
        digest: head.digest,
        first_at: head.first_at,
        observed_at: head.observed_at,
        max_gap: head.max_gap,
        scheduled_at: head.scheduled_at,
        usable_at: head.usable_at,
        run_from: head.run_from,
        run_snapshots: head.run_snapshots,
        run_partial: head.run_partial,
        complete_at: head.complete_at,
        complete_run_from: head.complete_run_from,
        groups_at: head.groups_at,
    }))
}

/// Reads the entries that say what was pruned, in the order of the chain.
pub(super) async fn prunings(
    connection: &mut PgConnection,
    source: SourceId,
) -> Result<Vec<PruningRow>, StoreError> {
    type Row =
        (i64, Instant, Instant, bool, String, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>);
    let rows: Vec<Row> = sqlx::query_as(
        "-- store::verify::prunings
         select sequence, at, month_from, is_restored, class, rows, archive, kept, digest from deskledger_data.pruning
          where source_id = $1 order by sequence",
    )
    .bind(source)
    .fetch_all(connection)
    .await
    .map_err(StoreError::while_trying("read what was pruned"))?;
    rows.into_iter()
        .map(|(sequence, at, month, is_restored, class, rows, archive, kept, digest)| {
            let odd = || StoreError::Inconsistent(format!("entry {sequence}, a pruning"));
            let class = class.parse().map_err(|()| odd())?;
            let archive = archive.map(Digest::try_from).transpose().map_err(|_| odd())?;
            let kept = kept.map(Digest::try_from).transpose().map_err(|_| odd())?;
            let pruning = Pruning { at, is_restored, class, month, rows, archive, kept };
            Ok(PruningRow { sequence, pruning, digest })
        })
        .collect()
}
