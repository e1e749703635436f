//! What a ledger takes on the disk: by class of data, by table and by index, in months that are over and in the one that is
//! not.

use std::collections::BTreeMap;

use chrono::{Datelike as _, TimeDelta};
use serde_json::json;

use super::building::Grown;
use super::figures::Figures;
use super::server::Ledger;
use super::{Asked, Outcome, workload};

/// A table, or an index and the table it belongs to; both by the name of the whole where they are partitioned.
struct Relation {
    table: String,
    index: Option<String>,
    /// The month that a partition is of, as its name ends: `2026_09`.
    month: Option<String>,
    bytes: f64,
}

/// The classes of data, by the beginnings of their tables' names; the first that fits counts.
const CLASSES: [(&str, &[&str]); 6] = [
    ("groups", &["group_span", "open_group_span", "packed_group", "desktop_group", "group_"]),
    ("headers", &["snapshot", "visit_day", "coverage_run", "head", "late"]),
    ("tally", &["tally"]),
    ("rollup", &["rollup"]),
    ("spans", &["span", "open_span", "unlisted", "packed"]),
    ("registers", &["desktop", "label", "assignment", "person", "status"]),
];

fn class(table: &str) -> &'static str {
    let has =
        |beginnings: &&(&str, &[&str])| beginnings.1.iter().any(|text| table.starts_with(text));
    CLASSES.iter().find(has).map_or("other", |(class, _)| class)
}

pub async fn weigh(
    ledger: &Ledger,
    asked: &Asked,
    days: u32,
    grown: &Grown,
    figures: &mut Figures,
) -> Outcome {
    let desktop_days = f64::from(asked.desktops) * f64::from(days);
    let all = relations(ledger).await?;
    let sum = |is_of: &dyn Fn(&Relation) -> bool| -> f64 {
        all.iter().filter(|relation| is_of(relation)).map(|relation| relation.bytes).sum()
    };
    let mut desktops = 0.0;
    for name in ["spans", "registers", "tally", "rollup", "other"] {
        let bytes = sum(&|relation| class(&relation.table) == name) / desktop_days;
        desktops += bytes;
        if bytes > 0.0 {
            let key = format!("{name}_bytes_per_desktop_day");
            figures.note(&key, &format!("  {name}, a desktop and day"), bytes, "bytes");
        }
    }
    let key = "bytes_per_desktop_day";
    figures.note(key, "desktops, a desktop and day, all of it", desktops, "bytes");
    let share = "select coalesce(sum(pg_column_size(k)) filter (where not m.is_done)::float8 / sum(pg_column_size(k)), 0)
                   from deskledger_data.packed k join deskledger_data.packed_month m using (source_id, month_from)";
    let groups = ledger.figure("select count(*) from deskledger_data.desktop_group").await?;
    months(&all, ledger.figure(share).await?, groups, asked, days, figures);

    let spans = ledger.figure("select count(*) from deskledger_data.filed").await?;
    figures.note("spans", "spans filed", spans, "");
    let rate = spans / desktop_days;
    figures.note("spans_per_desktop_day", "spans of a desktop and day", rate, "");
    let rows = ledger.figure("select count(*) from deskledger_data.span").await?;
    let bytes = sum(&|relation| relation.table == "span") / rows;
    figures.note("bytes_per_span", "a span that is a row, with its indexes", bytes, "bytes");
    let packed = sum(&|relation| relation.table.starts_with("packed"));
    if spans > rows {
        let bytes = packed / (spans - rows);
        figures.note("bytes_per_packed_span", "a packed span, sums and all", bytes, "bytes");
    }
    let snapshots = f64::from(grown.snapshots);
    let bytes = sum(&|relation| class(&relation.table) == "groups") / groups / snapshots;
    let key = "bytes_per_group_and_snapshot";
    figures.note(key, "groups, a group and snapshot", bytes, "bytes");
    let bytes = sum(&|relation| class(&relation.table) == "headers") / snapshots;
    figures.note("bytes_per_header", "headers, a snapshot", bytes, "bytes");
    let database = ledger.figure("pg_database_size(current_database())").await?;
    figures.note("database_bytes", "the whole database", database / 1e6, "MB");
    tables(&all, desktop_days, figures);
    Ok(())
}

/// What the months that are over take, and the newest, with what is open and the tables that are not by month. Packed spans of all
/// months are in one table: the newest has its share of that, by the rows themselves. Its groups are not packed.
fn months(
    all: &[Relation],
    share_of_newest: f64,
    groups: f64,
    asked: &Asked,
    days: u32,
    figures: &mut Figures,
) {
    let mut days_of: BTreeMap<String, f64> = BTreeMap::new();
    for day in 0..days {
        let day = workload::start() + TimeDelta::days(day.into());
        let month = format!("{:04}_{:02}", day.year(), day.month());
        *days_of.entry(month).or_default() += 1.0;
    }
    let Some((live, live_days)) = days_of.pop_last() else { return };
    let closed_days: f64 = days_of.values().sum();
    let closed_share = |relation: &Relation| match &relation.month {
        _ if relation.table.starts_with("packed_group") => 1.0,
        // Visits are packed when their month is over.
        _ if relation.table == "visit_day" => 1.0,
        _ if relation.table.starts_with("packed") => 1.0 - share_of_newest,
        // What a month's end cuts is filed there, and what came after the last is of the newest.
        Some(month) if *month < live => 1.0,
        _ => 0.0,
    };
    let bytes = |name: &str| -> (f64, f64) {
        let of_class = all.iter().filter(|relation| class(&relation.table) == name);
        of_class.fold((0.0, 0.0), |(open, closed), relation| {
            let share = closed_share(relation);
            (open + relation.bytes * (1.0 - share), closed + relation.bytes * share)
        })
    };
    let desktops = f64::from(asked.desktops);
    let (open, closed) = bytes("spans");
    let key = "live_bytes_per_desktop_day";
    let what = "spans of the newest month, a desktop and day";
    figures.below(key, what, open / desktops / live_days, "bytes", 350.0);
    if closed_days == 0.0 {
        return;
    }
    let key = "closed_bytes_per_desktop_day";
    let what = "spans of months that are over, a desktop and day";
    figures.below(key, what, closed / desktops / closed_days, "bytes", 40.0);
    let snapshots = closed_days * 86_400.0 / workload::interval(asked).as_seconds_f64();
    let key = "closed_bytes_per_group_and_snapshot";
    let what = "groups of months that are over, a group and snapshot";
    figures.below(key, what, bytes("groups").1 / groups / snapshots, "bytes", 30.0);
    let key = "closed_bytes_per_header";
    let what = "headers of months that are over, a snapshot";
    figures.below(key, what, bytes("headers").1 / snapshots, "bytes", 120.0);
}

/// Each table and index; the small ones in the file alone.
fn tables(all: &[Relation], desktop_days: f64, figures: &mut Figures) {
    let mut sizes: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for relation in all {
        let index = relation.index.as_deref().unwrap_or_default();
        *sizes.entry((&relation.table, index)).or_default() += relation.bytes;
    }
    let total: f64 = sizes.values().sum();
    for ((table, index), bytes) in &sizes {
        let name = if index.is_empty() { *table } else { *index };
        if *bytes > total / 100.0 {
            let what = if index.is_empty() { format!("  {table}") } else { format!("    {index}") };
            let key = format!("relation_{name}_bytes_per_desktop_day");
            figures.note(&key, &what, bytes / desktop_days, "bytes");
        }
    }
    let listed = sizes.iter().map(|((table, index), bytes)| {
        json!({"table": table, "index": (!index.is_empty()).then_some(index), "class": class(table), "bytes": bytes})
    });
    figures.remember("relations", listed.collect());
}

async fn relations(ledger: &Ledger) -> Outcome<Vec<Relation>> {
    type Row = (String, Option<String>, Option<String>, f64);
    let all: Vec<Row> = sqlx::query_as(
        "with relation as (
             select c.oid, c.oid as table_oid, null::oid as index_oid, pg_table_size(c.oid) as bytes
               from pg_class c
              where c.relnamespace = 'deskledger_data'::regnamespace and c.relkind in ('r', 'm')
              union all
             select c.oid, c.oid, i.indexrelid, pg_relation_size(i.indexrelid)
               from pg_class c
               join pg_index i on i.indrelid = c.oid
              where c.relnamespace = 'deskledger_data'::regnamespace and c.relkind in ('r', 'm')
         )
         select t.relname::text, n.relname::text, substring(c.relname from '_(\\d{4}_\\d{2})$'),
                r.bytes::float8
           from relation r
           join pg_class c on c.oid = r.oid
           join pg_class t on t.oid = coalesce(pg_partition_root(r.table_oid), r.table_oid)
           left join pg_class n on n.oid = coalesce(pg_partition_root(r.index_oid), r.index_oid)",
    )
    .fetch_all(ledger.store.pool())
    .await?;
    let relation = |(table, index, month, bytes)| Relation { table, index, month, bytes };
    Ok(all.into_iter().map(relation).collect())
}
