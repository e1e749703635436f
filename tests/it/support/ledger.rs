//! A ledger to record into, and its answers in the words of the oracle.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::domain::months::{month_start, next_month};
use deskledger::domain::{Desktop, Snapshot, Source};
use deskledger::exchange::{Line, Parser, bare_line};
use deskledger::store::{Late, Packable, Recorder, Store, StoreError};
use serde_json::{Map, Value, json};
use sqlx::postgres::{PgRow, types::PgInterval};
use sqlx::{
    AssertSqlSafe, Column as _, PgExecutor, PgPool, Row as _, TypeInfo as _, ValueRef as _,
};

use super::postgres::{TestDatabase, database_from};

/// A database with the schema and nothing in it.
pub async fn ledger() -> (TestDatabase, Store) {
    let database = database_from(migrate).await;
    let store = Store::from_pool(database.pool.clone());
    (database, store)
}

async fn migrate(pool: PgPool) {
    Store::from_pool(pool).migrate().await.unwrap();
}

/// Reads lines of the exchange format.
pub fn lines(history: &str) -> Vec<Line> {
    let mut parser = Parser::new(TimeDelta::minutes(15));
    let lines = history.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| parser.parse(line.as_bytes()).unwrap()).collect()
}

/// Records a history. After every `commit`th snapshot of a source it is written, and after every
/// `restart`th the recorder is another one, which reads everything back.
pub async fn record(store: &Store, history: &str, commit: usize, restart: usize) {
    let mut recorders: HashMap<String, (Recorder, usize)> = HashMap::new();
    for line in lines(history) {
        let pin = line.pin.unwrap_or_default();
        let source = Source {
            name: line.source.clone(),
            region: pin.region,
            project_id: pin.project_id,
            endpoint: pin.endpoint,
        };
        if !recorders.contains_key(&line.source) {
            let recorder = Recorder::open(store, &source).await.unwrap();
            recorders.insert(line.source.clone(), (recorder, 0));
        }
        let (recorder, count) = recorders.get_mut(&line.source).unwrap();
        recorder.add(&line.snapshot).await.unwrap();
        *count += 1;
        if *count % commit == 0 {
            recorder.commit().await.unwrap();
        }
        if *count % restart == 0 {
            recorder.commit().await.unwrap();
            *recorder = Recorder::open(store, &source).await.unwrap();
        }
    }
    for (recorder, _) in recorders.values_mut() {
        recorder.commit().await.unwrap();
    }
}

/// Packs all that is filed, of the newest month too; says how many spans.
pub async fn pack(store: &Store) -> u64 {
    type Head = (i32, String, DateTime<Utc>, DateTime<Utc>, i32);
    let heads: Vec<Head> = sqlx::query_as(
        "select h.source_id, s.name, h.first_at, h.observed_at,
                (select coalesce(max(desktop_no) + 1, 0) from deskledger_data.desktop d where d.source_id = h.source_id)
           from deskledger_data.head h join deskledger_data.source s using (source_id) where h.first_at is not null",
    )
    .fetch_all(store.pool())
    .await
    .unwrap();
    let mut packed = 0;
    for (source_id, source, from, to, desktops) in heads {
        let mut month = month_start(from);
        while month <= to {
            // All visits so far, and none that is still to come.
            let until = next_month(month).min(to + TimeDelta::microseconds(1));
            let source = source.clone();
            let what = Packable { source_id, source, month, until, desktops };
            packed += store.pack(&what, async |_, _| ()).await.unwrap().unwrap().packed;
            month = next_month(month);
        }
    }
    for what in store.packable_visits(None).await.unwrap() {
        packed += store.pack_visits(&what, async |_| ()).await.unwrap().unwrap();
    }
    packed
}

/// Keeps a snapshot as a late one, as a collector does.
pub async fn keep_late(
    recorder: &mut Recorder,
    source: &str,
    snapshot: &Snapshot,
) -> Result<Late, StoreError> {
    let received_at = snapshot.finished_at + TimeDelta::minutes(90);
    recorder.record_late(snapshot, |snapshot| bare_line(source, snapshot), received_at).await
}

/// A source of which nothing but its name is known.
pub fn source(name: &str) -> Source {
    Source { name: name.to_owned(), region: None, project_id: None, endpoint: None }
}

/// Keeps every `each`th line as late, a second before it was observed; says how many.
pub async fn keep_late_lines(store: &Store, history: &str, each: usize) -> usize {
    let mut kept = 0;
    for mut line in lines(history).into_iter().step_by(each) {
        line.snapshot.observed_at -= TimeDelta::seconds(1);
        let mut recorder = Recorder::open(store, &source(&line.source)).await.unwrap();
        let late = keep_late(&mut recorder, &line.source, &line.snapshot).await.unwrap();
        kept += usize::from(matches!(late, Late::Kept { .. }));
    }
    kept
}

/// Records a history with late snapshots in its midst and at its end; says how many.
pub async fn record_with_late(
    store: &Store,
    history: &str,
    commit: usize,
    restart: usize,
) -> usize {
    let all: Vec<&str> = history.lines().filter(|line| !line.trim().is_empty()).collect();
    let (first, rest) = all.split_at(all.len() * 2 / 3);
    let (first, rest) = (first.join("\n"), rest.join("\n"));
    record(store, &first, commit, restart).await;
    let mut kept = keep_late_lines(store, &first, 4).await;
    record(store, &rest, commit, restart).await;
    kept += keep_late_lines(store, &rest, 3).await;
    kept
}

/// The rows of a query, each value as the oracle writes it.
pub async fn rows<'e>(database: impl PgExecutor<'e>, sql: &str) -> Vec<Map<String, Value>> {
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(database).await;
    let rows = rows.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    rows.iter().map(row).collect()
}

fn row(row: &PgRow) -> Map<String, Value> {
    let columns = row.columns().iter();
    columns.map(|column| (column.name().to_owned(), value(row, column.ordinal()))).collect()
}

fn value(row: &PgRow, at: usize) -> Value {
    let raw = row.try_get_raw(at).unwrap();
    if raw.is_null() {
        return Value::Null;
    }
    let type_name = raw.type_info().name().to_owned();
    match type_name.as_str() {
        "TIMESTAMPTZ" => json!(row.get::<DateTime<Utc>, _>(at).timestamp_micros()),
        "INTERVAL" => {
            let interval: PgInterval = row.get(at);
            assert_eq!(interval.months, 0, "no duration of ours has months");
            json!(i64::from(interval.days) * 86_400_000_000 + interval.microseconds)
        }
        "INT2" => json!(row.get::<i16, _>(at)),
        "INT4" => json!(row.get::<i32, _>(at)),
        "INT8" => json!(row.get::<i64, _>(at)),
        "FLOAT8" => json!(row.get::<f64, _>(at)),
        "TEXT" => json!(row.get::<String, _>(at)),
        "TEXT[]" => json!(row.get::<Vec<Option<String>>, _>(at)),
        "JSONB" => row.get(at),
        "BYTEA" => json!(hex::encode(row.get::<Vec<u8>, _>(at))),
        "BOOL" => json!(row.get::<bool, _>(at)),
        other => panic!("no column of ours is of type {other}"),
    }
}

/// What the view `desktop_snapshots` must say of desktops as they were served.
pub fn expected_desktops(served: &[Desktop]) -> Vec<Value> {
    let mut rows: Vec<Value> = served
        .iter()
        .map(|desktop| {
            let users = desktop.users.entries().iter().map(|user| {
                json!({ "id": user.id, "name": user.name, "type": user.kind, "user_group": user.user_group })
            });
            json!({
                "desktop_id": desktop.id,
                "desktop_name": desktop.name,
                "connect_status": desktop.status,
                "attach_users": users.collect::<Vec<_>>(),
            })
        })
        .collect();
    rows.sort_by_key(|row| row["desktop_id"].as_str().unwrap().to_owned());
    rows
}

/// The file of a report with its parameters put in, as psql does it.
pub fn report_sql(name: &str, parameters: &[(&str, &str)]) -> String {
    let path = format!("{}/queries/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    let mut sql = std::fs::read_to_string(path).unwrap();
    for (name, value) in parameters {
        let quoted = format!("'{}'", value.replace('\'', "''"));
        sql = sql.replace(&format!(":'{name}'"), &quoted);
    }
    sql
}

/// An instant as a parameter.
pub fn parameter(micros: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(micros).unwrap().to_rfc3339()
}
