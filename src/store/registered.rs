//! Writes what a batch names for the first time: desktops, persons, assignments, labels.
//!
//! A fleet's first snapshot brings as many of each as it has desktops. So each list is written a part at a time, and
//! dropped when it is written.

use std::sync::Arc;

use sqlx::PgConnection;
use sqlx::types::Json;

use super::record::ROWS_AT_ONCE;
use super::source::SourceId;
use crate::domain::beliefs::{
    AssignmentNo, DesktopNo, GroupNo, LabelNo, PersonNo, Registered, RegisteredLabel, StatusId,
};
use crate::domain::digest::{Digest, Salt};
use crate::domain::{AttachUser, AttachUsers};

/// How many assignments one statement writes: as documents they take several times their memory.
const ASSIGNMENTS_AT_ONCE: usize = 1_000;

pub(super) async fn insert_registered(
    connection: &mut PgConnection,
    source_id: SourceId,
    registered: Registered,
) -> sqlx::Result<()> {
    let Registered { desktops, statuses, persons, assignments, labels, desktop_labels, groups } =
        registered;
    insert_desktops(connection, source_id, desktops).await?;
    insert_statuses(connection, source_id, statuses).await?;
    insert_persons(connection, source_id, persons).await?;
    insert_assignments(connection, source_id, assignments).await?;
    insert_labels(connection, source_id, labels).await?;
    insert_desktop_labels(connection, source_id, desktop_labels).await?;
    insert_groups(connection, source_id, groups).await
}

async fn insert_desktops(
    connection: &mut PgConnection,
    source_id: SourceId,
    rows: Vec<(DesktopNo, Arc<str>, Salt, Digest)>,
) -> sqlx::Result<()> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        sqlx::query(
            "-- store::registered::insert_desktops
             insert into deskledger_data.desktop (source_id, desktop_no, desktop_id, salt, commitment)
             select $1, * from unnest($2::integer[], $3::text[], $4::bytea[], $5::bytea[])",
        )
        .bind(source_id)
        .bind(all(rows, |row| row.0))
        .bind(all(rows, |row| &*row.1))
        .bind(all(rows, |row| row.2.as_slice()))
        .bind(all(rows, |row| row.3.as_slice()))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn insert_statuses(
    connection: &mut PgConnection,
    source_id: SourceId,
    rows: Vec<(StatusId, Arc<str>)>,
) -> sqlx::Result<()> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        sqlx::query(
            "-- store::registered::insert_statuses
             insert into deskledger_data.status (source_id, status_id, status)
             select $1, * from unnest($2::smallint[], $3::text[])",
        )
        .bind(source_id)
        .bind(all(rows, |row| row.0))
        .bind(all(rows, |row| &*row.1))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn insert_persons(
    connection: &mut PgConnection,
    source_id: SourceId,
    rows: Vec<(PersonNo, AttachUser, Salt, Digest)>,
) -> sqlx::Result<()> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        sqlx::query(
            "-- store::registered::insert_persons
             insert into deskledger_data.person (source_id, person_no, type, id, name, salt, commitment)
             select $1, * from unnest($2::integer[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[])",
        )
        .bind(source_id)
        .bind(all(rows, |row| row.0))
        .bind(all(rows, |row| row.1.kind.as_deref()))
        .bind(all(rows, |row| row.1.id.as_deref()))
        .bind(all(rows, |row| row.1.name.as_deref()))
        .bind(all(rows, |row| row.2.as_slice()))
        .bind(all(rows, |row| row.3.as_slice()))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn insert_assignments(
    connection: &mut PgConnection,
    source_id: SourceId,
    rows: Vec<(AssignmentNo, AttachUsers, Vec<PersonNo>, Vec<PersonNo>)>,
) -> sqlx::Result<()> {
    // An array of arrays must be rectangular, so these come as texts and documents.
    let numbers = |nos: &[PersonNo]| {
        let nos: Vec<String> = nos.iter().map(ToString::to_string).collect();
        format!("{{{}}}", nos.join(","))
    };
    let names =
        |users: &AttachUsers| Json(users.users().map(|user| user.name.clone()).collect::<Vec<_>>());
    for rows in rows.chunks(ASSIGNMENTS_AT_ONCE) {
        sqlx::query(
            "-- store::registered::insert_assignments
             insert into deskledger_data.assignment
                    (source_id, assignment_no, attach_users, users, person_nos, entry_person_nos, attribution)
             select $1, a.no, a.attach_users, array(select jsonb_array_elements_text(a.names)),
                    a.person_nos::integer[], a.entry_person_nos::integer[], a.attribution
               from unnest($2::integer[], $3::jsonb[], $4::jsonb[], $5::text[], $6::text[], $7::text[])
                    a (no, attach_users, names, person_nos, entry_person_nos, attribution)",
        )
        .bind(source_id)
        .bind(all(rows, |row| row.0))
        .bind(all(rows, |row| Json(attach_users_json(&row.1))))
        .bind(all(rows, |row| names(&row.1)))
        .bind(all(rows, |row| numbers(&row.2)))
        .bind(all(rows, |row| numbers(&row.3)))
        .bind(all(rows, |row| row.1.attribution().as_str()))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn insert_labels(
    connection: &mut PgConnection,
    source_id: SourceId,
    rows: Vec<RegisteredLabel>,
) -> sqlx::Result<()> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        sqlx::query(
            "-- store::registered::insert_labels
             insert into deskledger_data.label (source_id, label_no, desktop_name, assignment_no, salt, commitment)
             select $1, * from unnest($2::integer[], $3::text[], $4::integer[], $5::bytea[], $6::bytea[])",
        )
        .bind(source_id)
        .bind(all(rows, |row| row.0))
        .bind(all(rows, |row| row.1.as_deref()))
        .bind(all(rows, |row| row.2))
        .bind(all(rows, |row| row.3.as_slice()))
        .bind(all(rows, |row| row.4.as_slice()))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn insert_desktop_labels(
    connection: &mut PgConnection,
    source_id: SourceId,
    rows: Vec<(DesktopNo, LabelNo)>,
) -> sqlx::Result<()> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        sqlx::query(
            "-- store::registered::insert_desktop_labels
             insert into deskledger_data.desktop_label (source_id, desktop_no, label_no)
             select $1, * from unnest($2::integer[], $3::integer[])
                 on conflict do nothing",
        )
        .bind(source_id)
        .bind(all(rows, |row| row.0))
        .bind(all(rows, |row| row.1))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn insert_groups(
    connection: &mut PgConnection,
    source_id: SourceId,
    rows: Vec<(GroupNo, Option<Arc<str>>, i32)>,
) -> sqlx::Result<()> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        sqlx::query(
            "-- store::registered::insert_groups
             insert into deskledger_data.desktop_group (source_id, group_no, static_name, ordinal)
             select $1, * from unnest($2::integer[], $3::text[], $4::integer[])",
        )
        .bind(source_id)
        .bind(all(rows, |row| row.0))
        .bind(all(rows, |row| row.1.as_deref()))
        .bind(all(rows, |row| row.2))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// A column of some rows.
fn all<'a, R, T>(rows: &'a [R], column: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(column).collect()
}

/// `attach_users` as the API gives it: every key, null where it gave none.
pub(super) fn attach_users_json(users: &AttachUsers) -> serde_json::Value {
    users
        .entries()
        .iter()
        .map(|user| {
            serde_json::json!({
                "id": user.id, "name": user.name, "type": user.kind, "user_group": user.user_group,
            })
        })
        .collect()
}
