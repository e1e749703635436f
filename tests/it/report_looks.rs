//! Every format as it is, held by snapshots in `tests/data/looks`: a change of them is a change that users see.
//!
//! `INSTA_UPDATE=always cargo test --test it report_looks` takes new ones; look at them before they are committed.

use std::io::{Cursor, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use calamine::{Data, Reader as _, Xlsx, open_workbook_from_rs};
use deskledger::report::catalogue::{Catalogue, Report};
use deskledger::report::params::Values;
use deskledger::report::render::{Format, Look};
use deskledger::report::{Asked, Cell, Column, ColumnKind, DEFAULT_TIMEOUT, Head, Sampling, run};
use sqlx::PgPool;
use unicode_width::UnicodeWidthStr as _;

use crate::support::ledger::{ledger, record};
use crate::support::postgres::TestDatabase;

const EXAMPLE: &str = include_str!("../data/example/history.ndjson");

async fn example() -> TestDatabase {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    database
}

async fn bytes(pool: &PgPool, report: &Report, format: Format, look: Look) -> Vec<u8> {
    let all = [
        ("from", "2026-10-05 08:00"),
        ("to", "2026-10-05 11:00"),
        ("at", "2026-10-05 08:37"),
        ("bucket", "hour"),
        ("source", "prod"),
    ];
    let given = all.into_iter().filter(|(name, _)| report.parameter(name).is_some());
    let values = Values::new(report, given).unwrap();
    let mut bytes = Vec::new();
    run(pool, report, &values, DEFAULT_TIMEOUT, format.sink(&mut bytes, look).as_mut())
        .await
        .unwrap();
    bytes
}

async fn written(pool: &PgPool, report: &Report, format: Format, look: Look) -> String {
    String::from_utf8(bytes(pool, report, format, look).await).unwrap()
}

fn wide(width: u16) -> Look {
    Look { width: Some(width), ..Look::default() }
}

fn built_in(name: &str) -> Report {
    Catalogue::built_in().take(name).unwrap()
}

fn own(text: &str) -> Report {
    Report::read("own", Path::new("own.sql"), text, true).unwrap()
}

/// Fails unless a text is the one that is kept under this name.
#[track_caller]
fn held(name: impl AsRef<str>, text: impl AsRef<str>) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../data/looks");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name.as_ref(), text.as_ref()));
}

const SHOWN: [&str; 3] = ["utilisation", "connected-at", "group-utilisation"];

#[tokio::test]
async fn tables_fit_the_terminal() {
    let database = example().await;
    for name in SHOWN {
        for width in [80, 120, 200] {
            let table = written(&database.pool, &built_in(name), Format::Table, wide(width)).await;
            for line in table.lines() {
                assert!(line.width() <= usize::from(width), "{name} {width}\n{table}");
            }
            held(format!("table-{name}-{width}"), table);
        }
    }
    let look = Look { is_styled: true, ..wide(200) };
    let styled = written(&database.pool, &built_in("utilisation"), Format::Table, look).await;
    held("table-utilisation-styled", styled.replace('\x1b', "␛"));
    let bare = Look { is_bare: true, ..Look::default() };
    let file = written(&database.pool, &built_in("utilisation"), Format::Table, bare).await;
    held("table-utilisation-file-without-legend", file);
}

#[tokio::test]
async fn the_other_texts_keep_their_form() {
    let database = example().await;
    for name in SHOWN {
        for (format, ending) in [
            (Format::Markdown, "md"),
            (Format::Csv, "csv"),
            (Format::Json, "json"),
            (Format::Ndjson, "ndjson"),
        ] {
            let text = written(&database.pool, &built_in(name), format, Look::default()).await;
            held(format!("{ending}-{name}"), text);
        }
    }
}

/// Into files and pipes verbatim; a terminal would obey.
#[tokio::test]
async fn a_terminal_gets_nothing_that_it_would_obey() {
    let database = example().await;
    let report = own("select 'a' || chr(27) || '[2J' || chr(155) || '31m' || chr(8238) || ' é' as name,
                             array['b' || chr(127), chr(7)] as names, jsonb_build_object('k', 'c' || chr(155)) as document");
    let on_terminal = Look { is_terminal: true, ..Look::default() };
    let is_harmless = |text: &str| {
        text.chars().all(|c| !c.is_control() || c == '\n') && !text.contains('\u{202e}')
    };
    for format in [Format::Csv, Format::Json, Format::Ndjson, Format::Markdown, Format::Table] {
        let shown = written(&database.pool, &report, format, on_terminal).await;
        assert!(is_harmless(&shown), "{shown:?}");
        let kept = written(&database.pool, &report, format, Look::default()).await;
        match format {
            Format::Csv => {
                assert!(kept.contains("a\x1b[2J\u{9b}31m\u{202e} é,"), "{kept:?}");
                assert!(shown.contains("a␛[2J\\u{9b}31m\\u{202e} é,"), "{shown:?}");
            }
            Format::Json => {
                let read = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
                assert_eq!(read(&shown), read(&kept));
                assert!(shown.contains(" é") && kept.contains('\u{202e}'), "{shown:?} {kept:?}");
            }
            _ => {}
        }
    }
}

/// README's first table is what the program writes of these figures.
#[test]
fn the_readme_shows_what_the_program_writes() {
    let readme = include_str!("../../README.md");
    let shown = readme.split("```").nth(1).unwrap().trim_start_matches('\n');
    let report = built_in("utilisation");
    let columns: Vec<Column> = report
        .columns
        .iter()
        .map(|column| {
            let kind = match column.name.as_str() {
                "bucket_start" => ColumnKind::Instant,
                "source" => ColumnKind::Text,
                "connected_peak" => ColumnKind::Integer,
                _ => ColumnKind::Number,
            };
            Column { name: column.name.clone(), kind }
        })
        .collect();
    let tz = chrono_tz::Asia::Singapore;
    let midnight = |day: &str| {
        let day: chrono::NaiveDate = day.parse().unwrap();
        day.and_hms_opt(0, 0, 0).unwrap().and_local_timezone(tz).unwrap().to_utc()
    };
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .filter(|line| line.starts_with("20") && !line.contains(" to "))
        .map(|line| line.split_whitespace().filter(|word| *word != "≥").collect())
        .collect();
    assert_eq!(rows.len(), 3, "{shown}");
    let end = midnight(rows[2][0]) + chrono::TimeDelta::days(1);
    let head = Head {
        report: report.name.clone(),
        title: report.title.clone(),
        description: report.description.clone(),
        definitions: report.columns.clone(),
        chart: None,
        asked: vec![
            ("from".to_owned(), Asked::Instant(midnight(rows[0][0]))),
            ("to".to_owned(), Asked::Instant(end)),
            ("bucket".to_owned(), Asked::Text("day".to_owned())),
            ("source".to_owned(), Asked::Text(String::new())),
        ],
        stretches: Vec::new(),
        time_zone: tz,
        sampling: vec![Sampling {
            source: "demo".to_owned(),
            interval: Some(300_000_000),
            max_gap: Some(900_000_000),
            detail: None,
            counts_from: None,
        }],
    };
    let mut bytes = Vec::new();
    let look = Look { is_bare: true, ..Look::default() };
    let mut sink = Format::Table.sink(&mut bytes, look);
    sink.begin(&head, &columns).unwrap();
    for row in rows {
        let cells = row.into_iter().zip(&columns).map(|(text, column)| match column.kind {
            ColumnKind::Instant => Cell::Instant(midnight(text)),
            ColumnKind::Integer => Cell::Integer(text.parse().unwrap()),
            ColumnKind::Number => Cell::Float(text.parse().unwrap()),
            _ => Cell::Text(text.to_owned()),
        });
        sink.row(cells.collect()).unwrap();
    }
    sink.end().unwrap();
    drop(sink);
    assert_eq!(shown, String::from_utf8(bytes).unwrap());
}

/// The sheets of a workbook, a line a row, each cell with its type.
fn sheets(bytes: Vec<u8>) -> String {
    let mut workbook: Xlsx<_> = open_workbook_from_rs(Cursor::new(bytes)).unwrap();
    let mut text = String::new();
    for name in workbook.sheet_names() {
        text.push_str(&format!("== {name}\n"));
        for row in workbook.worksheet_range(&name).unwrap().rows() {
            let cells: Vec<String> = row.iter().map(cell).collect();
            text.push_str(&format!("{}\n", cells.join(" | ")));
        }
    }
    text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

fn cell(data: &Data) -> String {
    match data {
        Data::Empty => String::new(),
        Data::String(text) => format!("{text:?}"),
        Data::Float(number) => number.to_string(),
        Data::Bool(truth) => truth.to_string(),
        Data::DateTime(time) if time.is_duration() => {
            format!("{} of time", time.as_duration().unwrap())
        }
        Data::DateTime(time) => time.as_datetime().unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn workbooks_are_typed_and_say_what_they_are() {
    let database = example().await;
    for name in SHOWN {
        let bytes = bytes(&database.pool, &built_in(name), Format::Xlsx, Look::default()).await;
        held(format!("xlsx-{name}"), sheets(bytes));
    }
    let report = own("-- Types\n--\n-- Mine.\n--\n-- Parameters\n--   tz  timezone  Europe/Berlin  zone\n--\n\
         -- Columns\n--   n  how many: a lower bound\n--   lasted  how long: a lower bound\n\
         select '=1+1' as formula, 'https://example.org' as link, 'a' || chr(27) || chr(10) || 'b' as odd,
                12 as n, 2.5::numeric as half, 9007199254740993 as id, interval '26 hours 30 seconds' as lasted,
                true as truth, timestamptz '2026-10-25 00:30:00Z' as twice, timestamptz '0001-01-01Z' as old,
                timestamptz 'infinity' as never, array['anna', null] as users, '{\"a\": 1}'::jsonb as document,
                null::float8 as nothing, :'tz' as zone");
    let bytes = bytes(&database.pool, &report, Format::Xlsx, Look::default()).await;
    held("xlsx-types", sheets(bytes.clone()));

    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut read = |name: &str| {
        let mut text = String::new();
        archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let sheet = read("xl/worksheets/sheet1.xml");
    assert!(!sheet.contains("<f>") && !sheet.contains("<hyperlink"), "{sheet}");
    assert!(sheet.contains(r#"<pane ySplit="1" topLeftCell="A2""#), "{sheet}");
    assert!(sheet.contains(r#"<autoFilter ref="A1:O2"/>"#), "{sheet}");
    assert!(sheet.contains("<cols>"), "{sheet}");
    let styles = read("xl/styles.xml");
    for format in ["[h]:mm:ss", "&quot;≥ &quot;0", "yyyy-mm-dd hh:mm &quot;+02:00&quot;"] {
        assert!(styles.contains(format), "{format}\n{styles}");
    }
}

#[tokio::test]
async fn charts_hatch_what_was_not_observed() {
    let database = example().await;
    for name in ["utilisation", "disconnects", "coverage", "concurrency", "busy-hours"] {
        let chart = written(&database.pool, &built_in(name), Format::Chart, wide(100)).await;
        assert!(chart.lines().all(|line| line.width() <= 100), "{chart}");
        held(format!("chart-{name}"), chart);
    }
    // A day by the hour with an hour that nobody looked at, a figure with a band, and in colour.
    let report = own("-- Sine\n--\n-- Columns\n--   at  when\n--   sine  a figure\n--   low  low\n--   high  high\n--\n\
         -- Chart\n--   line  at  sine\n--   between  low, high\n\
         select timestamptz '2026-10-05Z' + n * interval '1 hour' as at,
                case when n not between 6 and 8 then 10 + 8 * sin(n / 4.0) end as sine,
                case when n not between 6 and 8 then 8 + 8 * sin(n / 4.0) end as low,
                case when n not between 6 and 8 then 12 + 8 * sin(n / 4.0) end as high
           from generate_series(0, 40) n
          where n not between 20 and 24");
    let chart = written(&database.pool, &report, Format::Chart, wide(80)).await;
    held("chart-band", chart);
    let look = Look { is_styled: true, ..wide(60) };
    let chart = written(&database.pool, &report, Format::Chart, look).await;
    held("chart-styled", chart.replace('\x1b', "␛"));
}

#[tokio::test]
async fn a_chart_says_what_it_leaves_out() {
    let database = example().await;
    let report = own(
        "-- Many\n--\n-- Columns\n--   n  a number\n--   m  a figure\n--   kind  what for\n--\n\
         -- Chart\n--   bars  n  m\n--   per   kind\n\
         select n, n % 7 as m, 'kind ' || n % 15 as kind from generate_series(1, 1500) n",
    );
    let chart = written(&database.pool, &report, Format::Chart, Look::default()).await;
    // 12 pictures of 60 rows, of 15 with 100 each.
    assert!(chart.contains("780 more rows are not drawn"), "{chart}");
    assert_eq!(chart.lines().filter(|line| line.starts_with("kind ")).count(), 12 + 1, "{chart}");
}

#[tokio::test]
async fn wide_characters_stay_in_line() {
    let database = example().await;
    let report = own("-- Names\n--\n-- Columns\n--   name  a name\n--   n  a number\n--   note  a text\n--\n-- Chart\n--   bars  name  n\n\
         select name, length(name) * 1000 as n, note
           from (values ('桌面-001', '研发部的桌面'), ('DESK-2', 'plain'), ('데스크톱', '🙂')) t (name, note)");
    for width in [24, 60] {
        let table = written(&database.pool, &report, Format::Table, wide(width)).await;
        held(format!("table-wide-characters-{width}"), &table);
        let widths: Vec<usize> = table
            .lines()
            .filter(|line| line.contains("000") && !line.contains(" to "))
            .map(|line| line[..line.find("000").unwrap()].width())
            .collect();
        assert_eq!(widths, [widths[0]; 3], "figures stand below one another\n{table}");
    }
    let chart = written(&database.pool, &report, Format::Chart, wide(60)).await;
    held("chart-wide-characters", chart);
}

/// What the program says on a terminal, and its exit code.
fn on_terminal(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_deskledger"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(terminal.slave.try_clone().unwrap())
        .stderr(terminal.slave)
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    // Ends with an error once nobody has the other side open any more; what was read before is kept.
    let _ = std::fs::File::from(terminal.master).read_to_end(&mut said);
    let code = child.wait().unwrap().code();
    (code, String::from_utf8(said).unwrap())
}

#[test]
fn a_terminal_gets_colours_unless_told_otherwise_and_never_a_workbook() {
    let (code, styled) = on_terminal(&["report"], &[]);
    assert!(code == Some(0) && styled.contains("\x1b[1mReports\x1b[0m"), "{styled}");
    let (code, plain) = on_terminal(&["report"], &[("NO_COLOR", "1")]);
    assert!(code == Some(0) && plain.contains("Reports") && !plain.contains('\x1b'), "{plain}");
    let (code, refused) = on_terminal(&["report", "--format", "xlsx"], &[("NO_COLOR", "1")]);
    assert_eq!(
        (code, refused.trim_end()),
        (Some(2), "error: a workbook is nothing for a terminal; give `--output FILE.xlsx`")
    );
}
