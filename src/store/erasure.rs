//! Erasing persons, and knowing them again: `migrations/0017_private.sql` says how.
//!
//! All of it is one transaction, in which the heads of all sources that are touched are held: nobody records meanwhile, and
//! whoever records next finds another head, reads back what is believed, and with it by what the erased are known.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sqlx::PgConnection;
use sqlx::types::Json;

use super::beliefs::StoredUser;
use super::registered::attach_users_json;
use super::source::SourceId;
use super::{Store, StoreError};
use crate::domain::beliefs::{LabelNo, PersonNo};
use crate::domain::digest::{
    Digest, Erased, ErasureHeader, Kind, entry_digest, erased_late, erased_name, erased_person,
    erasure_body,
};
use crate::domain::erasure::{Key, Person, Replacement, Text, Veil};
use crate::domain::{AttachUser, AttachUsers, Instant, Snapshot};

/// How the lines of late snapshots are read and written: the format is not the store's.
#[derive(Clone, Copy, Debug)]
pub struct LineFormat {
    /// The snapshot of a line; `None`: it is none.
    pub read: fn(&str) -> Option<Snapshot>,
    /// The line of a source's snapshot, without its end.
    pub write: fn(&str, &Snapshot) -> String,
}

/// Who is to be erased, and where.
#[derive(Clone, Copy, Debug)]
pub struct ToErase<'a> {
    /// A user's name or id.
    pub name_or_id: &'a str,
    /// Only this source.
    pub source: Option<&'a str>,
    /// What is to stand in its place.
    pub pseudonym: &'a str,
    /// Whether names are replaced inside of desktops' names, too.
    pub is_in_desktop_names: bool,
}

/// What a ledger holds of a person.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// The person; `None`: there is nobody of that name or id.
    pub person: Option<Person>,
    /// Source by source, those without any left out.
    pub sources: Vec<OfSource>,
    /// Rows of the record of who ran which report.
    pub accesses: Vec<(i64, serde_json::Value, Option<String>, Option<String>)>,
}

/// What a source holds of a person.
#[derive(Clone, Debug, Default)]
pub struct OfSource {
    /// Its number.
    pub source_id: SourceId,
    /// Its name.
    pub source: String,
    /// The users that are this person, and what stands in their place.
    pub users: Vec<(PersonNo, AttachUser, AttachUser)>,
    /// In how many different sets of users they are.
    pub assignments: i64,
    /// To how many desktops they were ever assigned, and to how many of those that are present.
    pub desktops: (i64, i64),
    /// The names of desktops in which a name of theirs is, and what stands in its place.
    pub desktop_names: Vec<(LabelNo, Arc<str>, Arc<str>)>,
    /// The late snapshots that name them, with their new lines; `None`: it cannot be read.
    pub late: Vec<(i64, Option<String>)>,
    /// Names of desktops in late snapshots alone.
    late_names: BTreeMap<Arc<str>, Arc<str>>,
    /// What holds a name of theirs and stays.
    pub staying: Staying,
}

/// Texts that hold a name of the person, in any case of letters. They are in the chain as they are, and stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Staying {
    /// Groups, by their name.
    pub groups: i64,
    /// Different sets of users in which the `user_group` of a user does, which is a word such as `administrators`.
    pub user_groups: i64,
    /// Snapshots, by their error.
    pub errors: i64,
}

impl Store {
    /// What the ledger holds of a person. Nothing is changed.
    ///
    /// # Errors
    /// The database is away.
    pub async fn holdings(
        &self,
        wanted: ToErase<'_>,
        format: LineFormat,
    ) -> Result<Holdings, StoreError> {
        let failed = StoreError::while_trying("look for a person");
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        sqlx::query("set transaction isolation level repeatable read, read only")
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        let sources = sources(&mut transaction, wanted.source, false).await.map_err(&failed)?;
        holdings(&mut transaction, &sources, wanted, format).await
    }

    /// The pseudonym of who was erased under this name or id, in any source; or whether it is a pseudonym itself.
    ///
    /// # Errors
    /// The database is away.
    pub async fn erased_as(&self, name_or_id: &str) -> Result<Option<String>, StoreError> {
        for (source_id, _) in self.sources().await? {
            let (veil, pseudonyms) = self.veil_and_pseudonyms(source_id).await?;
            if pseudonyms.iter().any(|pseudonym| pseudonym == name_or_id) {
                return Ok(Some(name_or_id.to_owned()));
            }
            let found = [Text::Id, Text::Name]
                .into_iter()
                .find_map(|what| veil.replacement(what, name_or_id));
            if let Some(found) = found {
                return Ok(Some(found.pseudonym.to_string()));
            }
        }
        Ok(None)
    }

    /// Erases a person from the ledger, in one transaction: all of it or nothing. Says what was held, which is gone.
    ///
    /// # Errors
    /// The database is away, or does not let us.
    pub async fn erase(
        &self,
        wanted: ToErase<'_>,
        format: LineFormat,
        erased_at: Instant,
    ) -> Result<Holdings, StoreError> {
        let failed = StoreError::while_trying("erase a person");
        let mut transaction = self.begin_recording().await.map_err(&failed)?;
        let sources = sources(&mut transaction, wanted.source, true).await.map_err(&failed)?;
        let held = holdings(&mut transaction, &sources, wanted, format).await?;
        let Some(person) = &held.person else { return Ok(held) };
        for of_source in &held.sources {
            erase_from(&mut transaction, of_source, person, erased_at).await?;
        }
        for (access_id, parameters, os_user, caller) in &held.accesses {
            sqlx::query(
                "-- store::erasure::erase
                 update deskledger_data.access set parameters = $2, os_user = $3, caller = $4 where access_id = $1",
            )
            .bind(access_id)
            .bind(Json(parameters))
            .bind(os_user)
            .bind(caller)
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        }
        // Those that stand are dropped before anybody is erased; who was held once is still named there.
        let names: Vec<&str> = held
            .sources
            .iter()
            .flat_map(|of_source| &of_source.users)
            .flat_map(|(_, user, _)| [user.id.as_deref(), user.name.as_deref()])
            .flatten()
            .collect();
        sqlx::query(
            r#"-- store::erasure::erase
             update deskledger_data.hold set "user" = $1 where "user" = any($2) and dropped_at is not null"#,
        )
        .bind(wanted.pseudonym)
        .bind(names)
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        transaction.commit().await.map_err(&failed)?;
        Ok(held)
    }

    /// Rewrites the tables in which texts were replaced: what PostgreSQL has only marked as dead, and its statistics, hold
    /// them still. Returns the statements for those that are in use.
    ///
    /// # Errors
    /// The database is away.
    pub async fn scrub(&self) -> Result<Vec<String>, StoreError> {
        let failed = StoreError::while_trying("rewrite the tables that held a person");
        let mut left = Vec::new();
        // Not of the pool: its setting ends with it.
        let mut connection = self.pool.acquire().await.map_err(&failed)?.detach();
        sqlx::query("set lock_timeout = '2s'").execute(&mut connection).await.map_err(&failed)?;
        for table in ["person", "assignment", "label", "late", "access", "hold"] {
            let statement = format!("vacuum (full, analyze) deskledger_data.{table}");
            let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone()))
                .execute(&mut connection)
                .await;
            match done {
                Ok(_) => {}
                // In use; or not ours, which is a warning to PostgreSQL.
                Err(sqlx::Error::Database(error))
                    if matches!(error.code().as_deref(), Some("55P03" | "42501")) =>
                {
                    left.push(format!("{statement};"));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let _ = sqlx::Connection::close(connection).await;
        Ok(left)
    }

    /// By what the erased are known again, source by source.
    ///
    /// # Errors
    /// The database is away.
    pub async fn veils(&self) -> Result<HashMap<String, Veil>, StoreError> {
        let mut veils = HashMap::new();
        for (source_id, source) in self.sources().await? {
            veils.insert(source.name, self.veil(source_id).await?);
        }
        Ok(veils)
    }

    /// How many erasures there were in a source.
    pub(super) async fn erasures(&self, source_id: SourceId) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "-- store::erasure::erasures
             select count(*) from deskledger_data.erasure where source_id = $1",
        )
        .bind(source_id)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("count who was erased"))
    }

    /// By what the erased of a source are known again.
    ///
    /// # Errors
    /// The database is away.
    pub async fn veil(&self, source_id: SourceId) -> Result<Veil, StoreError> {
        Ok(self.veil_and_pseudonyms(source_id).await?.0)
    }

    async fn veil_and_pseudonyms(
        &self,
        source_id: SourceId,
    ) -> Result<(Veil, Vec<String>), StoreError> {
        type Row = (Vec<u8>, Vec<u8>, String, String, bool, bool);
        let rows: Vec<Row> = sqlx::query_as(
            "-- store::erasure::veil
             select k.key, t.hash, t.replacement, e.pseudonym, t.has_id, t.is_in_desktop_names
               from deskledger_data.erased_text t
               join deskledger_data.erased_key k using (source_id)
               join deskledger_data.erasure e using (source_id, sequence)
              where t.source_id = $1",
        )
        .bind(source_id)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read by what the erased are known again"))?;
        let mut veil = Veil::default();
        let (mut pseudonyms, mut shared) = (Vec::new(), HashMap::<String, Arc<str>>::new());
        for (nth, (key, hash, text, pseudonym, has_id, is_in_desktop_names)) in
            rows.into_iter().enumerate()
        {
            if nth == 0 {
                veil = Veil::new(exactly(key, "erased_key.key")?);
            }
            let pseudonym = Arc::clone(shared.entry(pseudonym).or_insert_with_key(|pseudonym| {
                pseudonyms.push(pseudonym.clone());
                Arc::from(pseudonym.as_str())
            }));
            let text = text.into();
            let replacement = Replacement { text, pseudonym, has_id, is_in_desktop_names };
            veil.add(exactly(hash, "erased_text.hash")?, replacement);
        }
        Ok((veil, pseudonyms))
    }
}

/// The sources; `is_held`: each with its head, in one order, so that two that do this do not wait for each other.
async fn sources(
    connection: &mut PgConnection,
    only: Option<&str>,
    is_held: bool,
) -> sqlx::Result<Vec<(SourceId, String)>> {
    let lock = if is_held { "for update of h" } else { "" };
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "-- store::erasure::sources
         select s.source_id, s.name from deskledger_data.source s join deskledger_data.head h using (source_id)
          where s.name = coalesce($1, s.name) order by s.source_id {lock}"
    )))
    .bind(only)
    .fetch_all(connection)
    .await
}

async fn holdings(
    connection: &mut PgConnection,
    sources: &[(SourceId, String)],
    wanted: ToErase<'_>,
    format: LineFormat,
) -> Result<Holdings, StoreError> {
    let failed = StoreError::while_trying("look for a person");
    let (mut recorded, mut all) = (Vec::new(), Vec::new());
    for (source_id, _) in sources {
        let users = users(connection, *source_id).await.map_err(&failed)?;
        all.extend(users.iter().map(|(_, user)| user.clone()));
        recorded.push(users);
        each_late(connection, *source_id, |_, line| {
            let snapshot = (format.read)(line);
            for desktop in snapshot.iter().filter_map(|snapshot| snapshot.desktops.as_ref()) {
                let entries = desktop.desktops().iter().flat_map(|desktop| desktop.users.entries());
                // Others need not be kept: whoever has the name without an id is found by name.
                let of_them = entries.filter(|entry| {
                    [&entry.id, &entry.name]
                        .iter()
                        .any(|text| text.as_deref() == Some(wanted.name_or_id))
                });
                all.extend(of_them.map(|entry| AttachUser { user_group: None, ..entry.clone() }));
            }
        })
        .await
        .map_err(&failed)?;
    }
    let person =
        Person::find(wanted.name_or_id, &all, wanted.pseudonym, wanted.is_in_desktop_names);
    let Some(person) = person else { return Ok(Holdings::default()) };
    let mut veil = Veil::default();
    for (what, text, replacement) in person.texts() {
        veil.add(veil.hash(what, text), replacement);
    }
    let mut held = Holdings::default();
    for ((source_id, source), users) in sources.iter().zip(recorded) {
        let users = users.into_iter().filter_map(|(no, user)| {
            let veiled = veil.user(&user)?;
            Some((no, user, veiled))
        });
        let mut of_source = OfSource {
            source_id: *source_id,
            source: source.clone(),
            users: users.collect(),
            ..OfSource::default()
        };
        of_source.look(connection, &person, &veil, format).await.map_err(&failed)?;
        let OfSource { users, desktop_names, late, .. } = &of_source;
        if !(users.is_empty() && desktop_names.is_empty() && late.is_empty()) {
            held.sources.push(of_source);
        }
    }
    held.accesses = accesses(connection, &person).await.map_err(&failed)?;
    held.person = Some(person);
    Ok(held)
}

async fn users(
    connection: &mut PgConnection,
    source_id: SourceId,
) -> sqlx::Result<Vec<(PersonNo, AttachUser)>> {
    type Row = (PersonNo, Option<String>, Option<String>, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "-- store::erasure::users
         select person_no, type, id, name from deskledger_data.person where source_id = $1 order by person_no",
    )
    .bind(source_id)
    .fetch_all(connection)
    .await?;
    let text = |text: Option<String>| text.map(Arc::from);
    let user = |(no, kind, id, name)| {
        (no, AttachUser { kind: text(kind), id: text(id), name: text(name), user_group: None })
    };
    Ok(rows.into_iter().map(user).collect())
}

/// Shows every late snapshot's line, one after the other.
async fn each_late(
    connection: &mut PgConnection,
    source_id: SourceId,
    mut look: impl FnMut(i64, &str),
) -> sqlx::Result<()> {
    let mut after = 0;
    loop {
        let row: Option<(i64, String)> = sqlx::query_as(
            "-- store::erasure::each_late
             select sequence, line from deskledger_data.late
              where source_id = $1 and sequence > $2 and line is not null order by sequence limit 1",
        )
        .bind(source_id)
        .bind(after)
        .fetch_optional(&mut *connection)
        .await?;
        let Some((sequence, line)) = row else { return Ok(()) };
        look(sequence, &line);
        after = sequence;
    }
}

/// The record of who ran which report, where it names the person: with what stands there instead.
async fn accesses(
    connection: &mut PgConnection,
    person: &Person,
) -> sqlx::Result<Vec<(i64, serde_json::Value, Option<String>, Option<String>)>> {
    let exact = |text: &str| {
        let name = person.names.get(text).map(|(text, _)| text);
        name.or_else(|| person.ids.get(text)).map(|text| text.to_string())
    };
    let inside = |text: &str| exact(text).or_else(|| person.in_desktop_name(text));
    type Row = (i64, Json<serde_json::Value>, Option<String>, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "-- store::erasure::accesses
         select access_id, parameters, os_user, caller from deskledger_data.access order by access_id",
    )
    .fetch_all(connection)
    .await?;
    let mut found = Vec::new();
    for (access_id, Json(mut parameters), os_user, caller) in rows {
        let mut is_changed = false;
        for value in parameters.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            if let Some(text) = value.as_str().and_then(inside) {
                (*value, is_changed) = (text.into(), true);
            }
        }
        let mut replaced = |text: Option<String>| {
            let new = text.as_deref().and_then(exact);
            is_changed |= new.is_some();
            new.or(text)
        };
        let os_user = replaced(os_user);
        // A caller is a name at an address, or the address alone.
        let caller = match caller.as_deref().and_then(|caller| caller.rsplit_once('@')) {
            Some((name, address)) => {
                let name = replaced(Some(name.to_owned())).unwrap_or_default();
                Some(format!("{name}@{address}"))
            }
            None => caller,
        };
        if is_changed {
            found.push((access_id, parameters, os_user, caller));
        }
    }
    Ok(found)
}

impl OfSource {
    async fn look(
        &mut self,
        connection: &mut PgConnection,
        person: &Person,
        veil: &Veil,
        format: LineFormat,
    ) -> sqlx::Result<()> {
        let numbers: Vec<PersonNo> = self.users.iter().map(|(no, ..)| *no).collect();
        (self.assignments, self.desktops.0, self.desktops.1) = sqlx::query_as(
            "-- store::erasure::look
             with of_them as materialized (
                 select l.label_no, a.assignment_no
                   from deskledger_data.assignment a
                   left join deskledger_data.label l using (source_id, assignment_no)
                  where a.source_id = $1 and a.person_nos && $2
             )
             select (select count(distinct assignment_no) from of_them),
                    (select count(distinct d.desktop_no) from deskledger_data.desktop_label d
                      where d.source_id = $1 and d.label_no in (select label_no from of_them)),
                    (select count(*) from deskledger_data.open_span o
                      where o.source_id = $1 and o.label_no in (select label_no from of_them))",
        )
        .bind(self.source_id)
        .bind(numbers)
        .fetch_one(&mut *connection)
        .await?;
        let labels: Vec<(LabelNo, String)> = sqlx::query_as(
            "-- store::erasure::look
             select label_no, desktop_name from deskledger_data.label
              where source_id = $1 and desktop_name is not null order by label_no",
        )
        .bind(self.source_id)
        .fetch_all(&mut *connection)
        .await?;
        for (no, name) in labels {
            if let Some(new) = person.in_desktop_name(&name) {
                self.desktop_names.push((no, name.into(), new.into()));
            }
        }
        let (mut late, mut late_names) = (Vec::new(), BTreeMap::new());
        let (source, mut veil) = (self.source.clone(), veil.clone());
        each_late(connection, self.source_id, |sequence, line| {
            let Some(snapshot) = (format.read)(line) else {
                // Whoever it names.
                late.push((sequence, None));
                return;
            };
            let desktops = snapshot.desktops.iter().flat_map(|listing| listing.desktops());
            for name in desktops.filter_map(|desktop| desktop.name.as_ref()) {
                if let Some(new) = person.in_desktop_name(name) {
                    let new: Arc<str> = new.into();
                    late_names.insert(Arc::clone(name), Arc::clone(&new));
                    veil.add(veil.hash(Text::DesktopName, name), whole(person, new));
                }
            }
            if let std::borrow::Cow::Owned(veiled) = veil.over(&snapshot) {
                late.push((sequence, Some((format.write)(&source, &veiled))));
            }
        })
        .await?;
        (self.late, self.late_names) = (late, late_names);
        let names: Vec<&str> = person.names.keys().map(|name| &**name).collect();
        self.staying = sqlx::query_as(
            "-- store::erasure::look
             select (select count(*) from deskledger_data.desktop_group g
                      where g.source_id = $1
                        and exists (select from unnest($2) n where strpos(lower(g.static_name), lower(n)) > 0)) as groups,
                    (select count(*) from deskledger_data.assignment a
                      where a.source_id = $1
                        and exists (select from jsonb_array_elements(a.attach_users) u, unnest($2) n
                                     where strpos(lower(u ->> 'user_group'), lower(n)) > 0)) as user_groups,
                    (select count(*)
                       from (select error_message from deskledger_data.visit
                              where source_id = $1 and error_message is not null
                              union all
                             select error_message from deskledger_data.late
                              where source_id = $1 and error_message is not null) e
                      where exists (select from unnest($2) n where strpos(lower(e.error_message), lower(n)) > 0)) as errors",
        )
        .bind(self.source_id)
        .bind(names)
        .fetch_one(connection)
        .await?;
        Ok(())
    }
}

/// What takes the place of a desktop's name.
fn whole(person: &Person, text: Arc<str>) -> Replacement {
    Replacement {
        text,
        pseudonym: Arc::clone(&person.pseudonym),
        has_id: false,
        is_in_desktop_names: false,
    }
}

/// A row that is replaced: what it is, its number, and the hash of what stands there then.
type Record = (Erased, i64, Digest);

async fn erase_from(
    connection: &mut PgConnection,
    held: &OfSource,
    person: &Person,
    erased_at: Instant,
) -> Result<(), StoreError> {
    let failed = StoreError::while_trying("erase a person");
    let source_id = held.source_id;
    let (sequence, before): (i64, Vec<u8>) = sqlx::query_as(
        "-- store::erasure::erase_from
         select sequence + 1, digest from deskledger_data.head where source_id = $1",
    )
    .bind(source_id)
    .fetch_one(&mut *connection)
    .await
    .map_err(&failed)?;
    let veil = replace_texts(connection, held, person, sequence).await?;
    let assignments = replace_assignments(connection, held, &veil).await?;

    let mut records: Vec<Record> = Vec::new();
    let users = held.users.iter();
    records.extend(users.map(|(no, _, new)| (Erased::Person, (*no).into(), erased_person(new))));
    let names = held.desktop_names.iter();
    records.extend(names.map(|(no, _, new)| (Erased::Name, (*no).into(), erased_name(Some(new)))));
    let late = held.late.iter();
    records.extend(late.map(|(no, line)| (Erased::Late, *no, erased_late(line.as_deref()))));
    records.sort_unstable();
    replace_rows(connection, held).await.map_err(&failed)?;
    let commitments = commitments(connection, source_id, &records).await?;
    let body = erasure_body(
        records.iter().zip(&commitments).map(|((what, _, new), old)| (*what, old, new)),
    );
    let count = |all: usize| i32::try_from(all).unwrap_or(i32::MAX);
    let header = ErasureHeader {
        erased_at,
        pseudonym: person.pseudonym.to_string(),
        persons: count(held.users.len()),
        assignments: count(assignments),
        desktop_names: count(held.desktop_names.len()),
        late_snapshots: count(held.late.len()),
    };
    let before = exactly(before, "head.digest")?;
    let digest = entry_digest(&before, sequence, Kind::Erasure, &header.hash(), &body);
    sqlx::query(
        "-- store::erasure::erase_from
         with entry as (
             insert into deskledger_data.erasure
                    (source_id, sequence, erased_at, pseudonym, persons, assignments, desktop_names, late_snapshots,
                     body_hash, digest)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ), record as (
             insert into deskledger_data.erased (source_id, sequence, what, no, replacement)
             select $1, $2, * from unnest($11::text[], $12::bigint[], $13::bytea[])
         )
         update deskledger_data.head set sequence = $2, digest = $10 where source_id = $1",
    )
    .bind(source_id)
    .bind(sequence)
    .bind(header.erased_at)
    .bind(&header.pseudonym)
    .bind(header.persons)
    .bind(header.assignments)
    .bind(header.desktop_names)
    .bind(header.late_snapshots)
    .bind(body.as_slice())
    .bind(digest.as_slice())
    .bind(records.iter().map(|(what, ..)| what.letter()).collect::<Vec<_>>())
    .bind(records.iter().map(|(_, no, _)| *no).collect::<Vec<_>>())
    .bind(records.iter().map(|(.., new)| new.as_slice()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Stores by what the person is known again.
async fn replace_texts(
    connection: &mut PgConnection,
    held: &OfSource,
    person: &Person,
    sequence: i64,
) -> Result<Veil, StoreError> {
    let failed = StoreError::while_trying("keep by what a person is known again");
    let key: Key = rand::random();
    // The one that is there, if there is one.
    let key: Vec<u8> = sqlx::query_scalar(
        "-- store::erasure::replace_texts
         insert into deskledger_data.erased_key (source_id, key) values ($1, $2)
             on conflict (source_id) do update set key = erased_key.key
         returning key",
    )
    .bind(held.source_id)
    .bind(key.as_slice())
    .fetch_one(&mut *connection)
    .await
    .map_err(&failed)?;
    let mut veil = Veil::new(exactly(key, "erased_key.key")?);
    let mut texts: BTreeMap<Digest, Replacement> = BTreeMap::new();
    for (what, text, replacement) in person.texts() {
        texts.insert(veil.hash(what, text), replacement);
    }
    let names = held.desktop_names.iter().map(|(_, old, new)| (old, new));
    for (old, new) in names.chain(&held.late_names) {
        texts.insert(veil.hash(Text::DesktopName, old), whole(person, Arc::clone(new)));
    }
    sqlx::query(
        "-- store::erasure::replace_texts
         insert into deskledger_data.erased_text (source_id, sequence, hash, replacement, has_id, is_in_desktop_names)
         select $1, $2, * from unnest($3::bytea[], $4::text[], $5::boolean[], $6::boolean[])
             on conflict (source_id, hash) do update
                set sequence = excluded.sequence, replacement = excluded.replacement, has_id = excluded.has_id,
                    is_in_desktop_names = excluded.is_in_desktop_names",
    )
    .bind(held.source_id)
    .bind(sequence)
    .bind(texts.keys().map(|hash| hash.as_slice()).collect::<Vec<_>>())
    .bind(texts.values().map(|new| &*new.text).collect::<Vec<_>>())
    .bind(texts.values().map(|new| new.has_id).collect::<Vec<_>>())
    .bind(texts.values().map(|new| new.is_in_desktop_names).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(&failed)?;
    for (hash, replacement) in texts {
        veil.add(hash, replacement);
    }
    Ok(veil)
}

/// Replaces the person in the sets of users, which stay sorted; says in how many.
async fn replace_assignments(
    connection: &mut PgConnection,
    held: &OfSource,
    veil: &Veil,
) -> Result<usize, StoreError> {
    type Row = (i32, Json<Vec<StoredUser>>, Vec<PersonNo>, Option<Vec<i32>>);
    let failed = StoreError::while_trying("replace a person in sets of users");
    let rows: Vec<Row> = sqlx::query_as(
        "-- store::erasure::replace_assignments
         select assignment_no, attach_users, entry_person_nos, chain_order from deskledger_data.assignment
          where source_id = $1 and person_nos && $2",
    )
    .bind(held.source_id)
    .bind(held.users.iter().map(|(no, ..)| *no).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await
    .map_err(&failed)?;
    let count = rows.len();
    for (no, entries, person_nos, chain_order) in rows {
        let odd = || StoreError::Inconsistent(format!("assignment number {no} is not a set"));
        let seen: Vec<AttachUser> = entries.0.into_iter().map(AttachUser::from).collect();
        let mut entries: Vec<(AttachUser, PersonNo, usize)> = seen
            .into_iter()
            .zip(person_nos)
            .enumerate()
            .map(|(at, (user, no))| (veil.user(&user).unwrap_or(user), no, at))
            .collect();
        entries.sort();
        let users = AttachUsers::new(entries.iter().map(|(user, ..)| user.clone()).collect());
        if users.entries().len() != entries.len() {
            return Err(odd());
        }
        let natural: Vec<i32> = (1..).take(entries.len()).collect();
        let mut place = vec![0; entries.len()];
        for ((.., before), now) in entries.iter().zip(&natural) {
            place[*before] = *now;
        }
        let order = chain_order.unwrap_or_else(|| natural.clone());
        let order: Option<Vec<i32>> = order
            .iter()
            .map(|before| place.get(usize::try_from(before - 1).ok()?).copied())
            .collect();
        let order = order.ok_or_else(odd)?;
        let entry_person_nos: Vec<PersonNo> = entries.iter().map(|(_, no, _)| *no).collect();
        let mut person_nos = entry_person_nos.clone();
        person_nos.dedup();
        let names: Vec<Option<&str>> = users.users().map(|user| user.name.as_deref()).collect();
        sqlx::query(
            "-- store::erasure::replace_assignments
             update deskledger_data.assignment
                set attach_users = $3, users = $4, person_nos = $5, entry_person_nos = $6, chain_order = $7
              where source_id = $1 and assignment_no = $2",
        )
        .bind(held.source_id)
        .bind(no)
        .bind(Json(attach_users_json(&users)))
        .bind(names)
        .bind(person_nos)
        .bind(entry_person_nos)
        .bind((order != natural).then_some(order))
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    }
    Ok(count)
}

/// Replaces texts, and destroys their salts.
async fn replace_rows(connection: &mut PgConnection, held: &OfSource) -> sqlx::Result<()> {
    sqlx::query(
        "-- store::erasure::replace_rows
         update deskledger_data.person p set id = n.id, name = n.name, salt = null
           from unnest($2::integer[], $3::text[], $4::text[]) n (person_no, id, name)
          where p.source_id = $1 and p.person_no = n.person_no",
    )
    .bind(held.source_id)
    .bind(held.users.iter().map(|(no, ..)| *no).collect::<Vec<_>>())
    .bind(held.users.iter().map(|(.., new)| new.id.as_deref()).collect::<Vec<_>>())
    .bind(held.users.iter().map(|(.., new)| new.name.as_deref()).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "-- store::erasure::replace_rows
         update deskledger_data.label l set desktop_name = n.desktop_name, salt = null
           from unnest($2::integer[], $3::text[]) n (label_no, desktop_name)
          where l.source_id = $1 and l.label_no = n.label_no",
    )
    .bind(held.source_id)
    .bind(held.desktop_names.iter().map(|(no, ..)| *no).collect::<Vec<_>>())
    .bind(held.desktop_names.iter().map(|(.., new)| &**new).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    for (sequence, line) in &held.late {
        sqlx::query(
            "-- store::erasure::replace_rows
             update deskledger_data.late set line = $3, salt = null where source_id = $1 and sequence = $2",
        )
        .bind(held.source_id)
        .bind(sequence)
        .bind(line)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// The commitments that stay for what the records replace.
async fn commitments(
    connection: &mut PgConnection,
    source_id: SourceId,
    records: &[Record],
) -> Result<Vec<Digest>, StoreError> {
    let rows: Vec<Option<Vec<u8>>> = sqlx::query_scalar(
        "-- store::erasure::commitments
         select coalesce(p.commitment, l.commitment, t.body_hash)
           from unnest($2::text[], $3::bigint[]) with ordinality r (what, no, nth)
           left join deskledger_data.person p on r.what = 'P' and p.source_id = $1 and p.person_no = r.no
           left join deskledger_data.label l on r.what = 'N' and l.source_id = $1 and l.label_no = r.no
           left join deskledger_data.late t on r.what = 'L' and t.source_id = $1 and t.sequence = r.no
          order by r.nth",
    )
    .bind(source_id)
    .bind(records.iter().map(|(what, ..)| what.letter()).collect::<Vec<_>>())
    .bind(records.iter().map(|(_, no, _)| *no).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
    .map_err(StoreError::while_trying("read the commitments to what is erased"))?;
    rows.into_iter().map(|row| exactly(row.unwrap_or_default(), "a commitment")).collect()
}

fn exactly<const N: usize>(bytes: Vec<u8>, what: &str) -> Result<[u8; N], StoreError> {
    <[u8; N]>::try_from(bytes)
        .map_err(|_| StoreError::Inconsistent(format!("{what} has not {N} bytes")))
}
