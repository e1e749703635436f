//! Changes by hand: one value of one row of one table.

use sqlx::{AssertSqlSafe, PgPool};

use crate::support::ledger::rows;

/// Columns whose change `verify` cannot see, and why that is as it should be.
pub const NOT_SEEN: [(&str, &str, &str); 12] = [
    ("head", "epoch", "who records now, which is no history"),
    ("head", "leader", "who records now, which is no history"),
    ("head", "led_since", "who records now, which is no history"),
    ("head", "leased_until", "who records now, which is no history"),
    ("source", "region", "pinned beside the chain, and held by a seal"),
    ("source", "project_id", "pinned beside the chain, and held by a seal"),
    ("source", "endpoint", "pinned beside the chain, and held by a seal"),
    ("source", "created_at", "no history; held by a seal"),
    (
        "snapshot",
        "snapshot_id",
        "a surrogate that no row refers to: one that is there twice or out of order is seen, one moved into a hole of the numbering is not",
    ),
    ("late", "snapshot_id", "as that of `snapshot`"),
    ("packed_month", "is_done", "whether packing is to look once more, which is no history"),
    (
        "packed_month",
        "is_whole",
        "whether sums are read in place of events: either says the same, and where not, it is seen",
    ),
];

/// One value of the ledger.
#[derive(Debug)]
pub struct Cell {
    pub table: String,
    pub column: String,
    pub is_null: bool,
    kind: String,
    /// Its row's place in the order of the rows as text.
    row: i64,
}

/// The tables that hold the history, partitioned ones as a whole.
async fn tables(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select c.relname from pg_class c
          where c.relnamespace = 'deskledger_data'::regnamespace and c.relkind in ('r', 'p')
            and not c.relispartition
            -- Which migrations were applied, who ran what, by what the erased are known again, and what must not be pruned is no
            -- history; and what is pruned is changed in `retention.rs`.
            and c.relname not in ('migration', 'access', 'erased_key', 'erased_text', 'hold', 'pruning', 'standing')
          order by c.relname",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

impl Cell {
    /// Every value of every column that may be changed and has to be found.
    pub async fn all(pool: &PgPool) -> Vec<Self> {
        let mut cells = Vec::new();
        for table in tables(pool).await {
            let columns = columns(pool, &table).await;
            for (column, kind) in columns {
                let nulls: Vec<bool> = sqlx::query_scalar(AssertSqlSafe(format!(
                    "select {column} is null from deskledger_data.{table} t order by t::text collate \"C\""
                )))
                .fetch_all(pool)
                .await
                .unwrap();
                for (is_null, row) in nulls.into_iter().zip(0..) {
                    let (table, column, kind) = (table.clone(), column.clone(), kind.clone());
                    cells.push(Self { table, column, is_null, kind, row });
                }
            }
        }
        cells
    }

    /// Changes the value, in the first of several ways from `way` on that the database accepts, and says
    /// what it did; `None`: it accepts none.
    pub async fn change(&self, pool: &PgPool, way: usize) -> Option<String> {
        let Self { table, column, kind, row, .. } = self;
        let ways = ways(column, kind);
        for way in ways.iter().cycle().skip(way % ways.len()).take(ways.len()) {
            let update = format!(
                "update deskledger_data.{table} t set {column} = {way}
                   from (select tableoid as part, ctid as place from deskledger_data.{table} o
                          order by o::text collate \"C\" offset {row} limit 1) o
                  where t.tableoid = o.part and t.ctid = o.place and t.{column} is distinct from {way}"
            );
            let done = sqlx::query(AssertSqlSafe(update.clone())).execute(pool).await;
            match done {
                Ok(done) if done.rows_affected() == 1 => return Some(update),
                Ok(_) => {}
                // Constraints, a number out of range, no partition.
                Err(sqlx::Error::Database(error))
                    if matches!(
                        error.code().as_deref().map(|code| &code[..2]),
                        Some("22" | "23" | "0A")
                    ) => {}
                Err(error) => panic!("{error}: {update}"),
            }
        }
        None
    }
}

impl Cell {
    /// Whose history it belongs to; `None`: a change of it may be one of any source's.
    pub async fn source(&self, pool: &PgPool) -> Option<String> {
        let Self { table, column, row, .. } = self;
        if table == "source" || column == "source_id" {
            return None;
        }
        let name = format!(
            "select s.name from deskledger_data.source s
               join (select source_id from deskledger_data.{table} o
                      order by o::text collate \"C\" offset {row} limit 1) o using (source_id)"
        );
        Some(sqlx::query_scalar(AssertSqlSafe(name)).fetch_one(pool).await.unwrap())
    }

    /// Puts its table back, of all that were saved.
    pub async fn restore(&self, pool: &PgPool, _: &Saved) {
        run(pool, &put_back(&self.table)).await;
    }

    /// Removes the whole row; `None`: other rows hold it fast.
    pub async fn remove(&self, pool: &PgPool) -> Option<String> {
        let Self { table, row, .. } = self;
        let delete = format!(
            "delete from deskledger_data.{table} t
              using (select tableoid as part, ctid as place from deskledger_data.{table} o
                      order by o::text collate \"C\" offset {row} limit 1) o
              where t.tableoid = o.part and t.ctid = o.place"
        );
        match sqlx::query(AssertSqlSafe(delete.clone())).execute(pool).await {
            Ok(done) => (done.rows_affected() == 1).then_some(delete),
            // Foreign keys.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("23503") => None,
            Err(error) => panic!("{error}: {delete}"),
        }
    }
}

async fn columns(pool: &PgPool, table: &str) -> Vec<(String, String)> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select column_name::text, data_type::text || coalesce(' ' || udt_name::text, '')
           from information_schema.columns
          where table_schema = 'deskledger_data' and table_name = $1 order by ordinal_position",
    )
    .bind(table)
    .fetch_all(pool)
    .await
    .unwrap();
    let is_seen =
        |column: &str| !NOT_SEEN.iter().any(|(of, not, _)| *of == table && *not == column);
    columns.into_iter().filter(|(column, _)| is_seen(column)).collect()
}

/// Other values than a column has, as expressions.
fn ways(column: &str, kind: &str) -> Vec<String> {
    let all: Vec<String> = match kind {
        // Anything else than an object is not taken.
        "text text" if column == "line" => vec![
            "replace($, 'REGISTERED', 'CONNECTED')".to_owned(),
            "$ || ' '".to_owned(),
            "'{}'".to_owned(),
        ],
        "text text" if column == "what" => ["'P'", "'N'", "'L'"].map(str::to_owned).into(),
        "smallint int2" | "integer int4" | "bigint int8" => {
            ["coalesce($ + 1, 1)", "$ - 1", "0", "2", "null"].map(str::to_owned).into()
        }
        "timestamp with time zone timestamptz" => [
            "coalesce($ + interval '1 microsecond', '2026-10-05T08:00:00Z')",
            "$ - interval '1 microsecond'",
            "$ + interval '5 minutes'",
            "$ - interval '5 minutes'",
            "null",
        ]
        .map(str::to_owned)
        .into(),
        "text text" => {
            ["coalesce($ || 'x', '')", "'group'", "'shared'", "null"].map(str::to_owned).into()
        }
        "bytea bytea" => [
            "coalesce(set_byte($, length($) - 1, get_byte($, length($) - 1) # 1), decode(repeat('00', 32), 'hex'))",
            "null",
        ]
        .map(str::to_owned)
        .into(),
        "boolean bool" => vec!["not $".to_owned()],
        "jsonb jsonb" => vec![
            "$ || '[{\"id\": null, \"name\": null, \"type\": null, \"user_group\": \"x\"}]'".to_owned(),
            "jsonb_set($, '{0,more}', '1')".to_owned(),
            "'[]'".to_owned(),
        ],
        "ARRAY _int2" => [
            "(coalesce($[1], 0) # 1)::smallint || $[2:]",
            "$ || null::smallint",
            "$[2:]",
            // What ends has no counters.
            "$[:cardinality($) - 1] || 7::smallint",
            "0::smallint || $[2:]",
            "1::smallint || $[2:]",
        ]
        .map(str::to_owned)
        .into(),
        "ARRAY _int4" => ["$ || 1", "$[2:]", "(coalesce($[1], 0) + 1) || $[2:]"].map(str::to_owned).into(),
        "ARRAY _int8" => vec!["$[2:] || 7::bigint".to_owned(), "$ || null::bigint".to_owned()],
        "ARRAY _timestamptz" => [
            "$[:cardinality($) - 3] || ($[cardinality($) - 2] + interval '1 microsecond') || $[cardinality($) - 1:]",
            "($[1] - interval '1 microsecond') || $[2:]",
            "$[2:]",
        ]
        .map(str::to_owned)
        .into(),
        "ARRAY _text" => ["$ || 'x'::text", "$[2:]", "'x'::text || $[2:]"].map(str::to_owned).into(),
        other => panic!("how is a {other} changed?"),
    };
    all.into_iter().map(|way| way.replace('$', &format!("t.{column}"))).collect()
}

/// Everything, to be put back.
pub struct Saved(Vec<String>);

/// Copies every table.
pub async fn save(pool: &PgPool) -> Saved {
    let tables = tables(pool).await;
    run(pool, "drop schema if exists saved cascade; create schema saved;").await;
    for table in &tables {
        run(pool, &format!("create table saved.{table} as table deskledger_data.{table}")).await;
    }
    Saved(tables)
}

/// Puts everything back.
pub async fn restore(pool: &PgPool, saved: &Saved) {
    run(pool, &saved.0.iter().map(|table| put_back(table)).collect::<String>()).await;
}

fn put_back(table: &str) -> String {
    if table == "source" {
        // Others refer to its rows.
        return "update deskledger_data.source s
                   set name = o.name, region = o.region, project_id = o.project_id, endpoint = o.endpoint,
                       created_at = o.created_at
                  from saved.source o where s.source_id = o.source_id;"
            .to_owned();
    }
    format!(
        "delete from deskledger_data.{table}; insert into deskledger_data.{table} select * from saved.{table};"
    )
}

async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await.unwrap();
}

/// How many rows each table has.
pub async fn counts(pool: &PgPool) -> Vec<(String, i64)> {
    let mut counts = Vec::new();
    for table in tables(pool).await {
        let count = rows(pool, &format!("select count(*) as n from deskledger_data.{table}")).await;
        counts.push((table, count[0]["n"].as_i64().unwrap()));
    }
    counts
}
