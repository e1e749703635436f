//! `docs/sql.md`: its statements give the answers that it prints, and its lists are the views.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use deskledger::store::{Recorder, Store};
use sqlx::PgPool;

use crate::exchange::VIEWS;
use crate::support::ledger::{keep_late, ledger, lines, source};
use crate::support::postgres::{TestDatabase, database};
use crate::support::program::{Done, Home};

const PAGE: &str = include_str!("../../docs/sql.md");

/// The ledger of the page.
const HISTORY: &str = include_str!("../../docs/sql-history.ndjson");

/// The fenced blocks of the page, in order: what each says it is written in, and its content.
fn blocks() -> Vec<(&'static str, String)> {
    let mut blocks = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let content: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((language, content.join("\n")));
        }
    }
    blocks
}

/// The statements of the page, each with the answer that stands after it.
fn statements() -> Vec<(String, String)> {
    let blocks = blocks();
    let mut statements = Vec::new();
    for (at, (language, statement)) in blocks.iter().enumerate() {
        if *language == "sql" {
            let answer = blocks.get(at + 1).filter(|(language, _)| language.is_empty());
            let (_, answer) = answer.unwrap_or_else(|| panic!("no answer after\n{statement}"));
            statements.push((statement.clone(), answer.clone()));
        }
    }
    statements
}

/// Imports the page's ledger as a reader does, into a database without a schema: what a migration sets on the database
/// does not come with a copy of another one.
async fn imported() -> (TestDatabase, Store, Home) {
    let database = database().await;
    let store = Store::from_pool(database.pool.clone());
    let home = Home::new(&database);
    let file = home.write("sql-history.ndjson", HISTORY.as_bytes());
    home.run(&["import", file.to_str().unwrap()]).await.expect(0);
    (database, store, home)
}

/// Runs a statement as the page says, with the rights of a role.
async fn psql(home: &Home, role: &str, statement: &str) -> Done {
    let role = format!("set role {role}");
    let arguments = ["psql", "--", "--pset", "null=NULL", "-X", "-q", "-c", &role, "-c", statement];
    home.run_with(&arguments, &[("PGTZ", "UTC")]).await
}

/// What psql answers, as the page prints it: without blanks at the ends of lines.
fn printed(done: &Done) -> String {
    let lines: Vec<&str> = done.out.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_the_page_gives_the_answer_that_it_prints() {
    // What a reader is told to type is what this test does.
    for told in [
        " import docs/sql-history.ndjson\n",
        "PGTZ=UTC deskledger --data-dir /tmp/sql-page psql -- --pset null=NULL\n",
    ] {
        assert!(PAGE.contains(told), "the page does not say {told}");
    }
    let (_database, _store, home) = imported().await;
    let (mut reading, mut planning) = (0, 0);
    for (statement, expected) in statements() {
        let is_planning = statement.contains("deskledger_planner.");
        let role = if is_planning { "deskledger_planner" } else { "deskledger_reader" };
        *(if is_planning { &mut planning } else { &mut reading }) += 1;
        let done = psql(&home, role, &statement).await.expect(0);
        let answer = printed(&done);
        assert_eq!(answer, expected, "{statement}\n\nanswers\n{answer}\n{}", done.err);
    }
    let questions = PAGE.lines().filter(|line| line.starts_with("### ") && line.ends_with('?'));
    assert_eq!((reading, planning), (questions.count(), 1));
    assert_eq!(reading, 10);

    // And what it says that planners are refused.
    let refused = psql(&home, "deskledger_planner", "select * from connections").await.expect(1);
    assert!(refused.err.contains("permission denied"), "{}", refused.err);
}

/// The page's ledger can hold no late snapshot, and one that finds none whatever there is would pass.
#[tokio::test(flavor = "multi_thread")]
async fn the_question_after_late_snapshots_finds_them() {
    let (_database, store, home) = imported().await;
    let first = lines(HISTORY).remove(0);
    for minutes in [7, 8] {
        let mut late = first.snapshot.clone();
        late.observed_at += TimeDelta::minutes(minutes);
        late.finished_at += TimeDelta::minutes(minutes);
        late.scheduled_at = None;
        let mut recorder = Recorder::open(&store, &source(&first.source)).await.unwrap();
        keep_late(&mut recorder, &first.source, &late).await.unwrap();
    }
    let asked = statements().into_iter().filter(|(statement, _)| statement.contains("where late)"));
    let [(statement, before)] = &asked.collect::<Vec<_>>()[..] else {
        panic!("not one statement of the page is about late snapshots");
    };
    let answer = printed(&psql(&home, "deskledger_reader", statement).await.expect(0));
    let of_prod = "prod   |        92 |    2 | 2026-10-05 00:07:00+00 | 2026-10-05 01:38:02+00";
    assert!(answer.contains(of_prod), "{answer}");
    assert!(!before.contains(of_prod));
}

/// A view: what it is, and its columns in order, each with its type, whether planners have it, and its meaning.
type View = (String, Vec<[String; 4]>);

/// The lists of the page.
fn told() -> BTreeMap<String, View> {
    let (_, lists) = PAGE.split_once("\n## The views\n").unwrap();
    lists
        .split("\n### ")
        .skip(1)
        .map(|part| {
            let mut lines = part.lines().filter(|line| !line.is_empty());
            let (name, meaning) = (lines.next().unwrap(), lines.next().unwrap());
            assert_eq!(lines.next(), Some("| column | type | planner | meaning |"), "{name}");
            assert_eq!(lines.next(), Some("|---|---|---|---|"), "{name}");
            let columns = lines.map(|line| {
                let inner = line.strip_prefix("| `").and_then(|line| line.strip_suffix(" |"));
                let inner = inner.unwrap_or_else(|| panic!("no column of {name}: {line}"));
                let cells: Vec<&str> = inner.split(" | ").collect();
                let cells: [&str; 4] = cells.try_into().unwrap();
                [cells[0].strip_suffix('`').unwrap(), cells[1], cells[2], cells[3]].map(plain)
            });
            (name.to_owned(), (plain(meaning), columns.collect()))
        })
        .collect()
}

/// Without apostrophes: a description in the database lacks one, and is not worth a migration.
fn plain(text: &str) -> String {
    text.replace('\'', "")
}

/// The views of the database, with their comments.
async fn found(pool: &PgPool) -> BTreeMap<String, View> {
    let sql = "
        select c.relname::text, obj_description(c.oid, 'pg_class'), a.attname::text,
               format_type(a.atttypid, a.atttypmod), p.attname is not null,
               col_description(c.oid, a.attnum), col_description(p.attrelid, p.attnum)
          from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
          left join pg_attribute p
               on p.attrelid = to_regclass('deskledger_planner.' || c.relname) and p.attname = a.attname
         where c.relnamespace = 'deskledger'::regnamespace and c.relkind = 'v'
         order by c.relname, a.attnum";
    type Column = (String, String, String, String, bool, String, Option<String>);
    let columns: Vec<Column> = sqlx::query_as(sql).fetch_all(pool).await.unwrap();
    let mut views: BTreeMap<String, View> = BTreeMap::new();
    for (view, of_view, column, kind, is_planners, meaning, of_planner) in columns {
        if let Some(of_planner) = of_planner {
            assert_eq!(of_planner, meaning, "{view}.{column}: one meaning for both schemas");
        }
        let planner = if is_planners { "yes" } else { "no" };
        let (_, columns) = views.entry(view).or_insert_with(|| (plain(&of_view), Vec::new()));
        columns.push([&column, &kind, planner, &meaning].map(|text: &str| plain(text)));
    }
    views
}

#[tokio::test]
async fn the_page_lists_every_view_and_column_and_invents_none() {
    let (database, _store) = ledger().await;
    let (told, found) = (told(), found(&database.pool).await);
    let names: Vec<&String> = found.keys().collect();
    assert_eq!(told.keys().collect::<Vec<_>>(), names);
    assert_eq!(names.len(), VIEWS.len());
    for (name, view) in found {
        assert_eq!(told[&name], view, "{name}");
    }
    // Nothing is in the planner's schema alone.
    let alone: Vec<String> = sqlx::query_scalar(
        "select format('%s.%s', c.relname, a.attname)
           from pg_class c
           join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
          where c.relnamespace = 'deskledger_planner'::regnamespace
            and not exists (select from pg_attribute d
                             where d.attrelid = to_regclass('deskledger.' || c.relname)
                               and d.attname = a.attname and d.attnum > 0)",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(alone, [""; 0]);
}
