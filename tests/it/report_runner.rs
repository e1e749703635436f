//! Reports, from the words on the command line to the bytes written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use deskledger::cli::report::{Args, Job, Local, Plan, arrange};
use deskledger::report::catalogue::{Catalogue, Report};
use deskledger::report::params::Values;
use deskledger::report::render::{Format, Look};
use deskledger::report::{Collected, DEFAULT_TIMEOUT, ReportError, describe, run};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::stand_in::database;

const QUERIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/queries");

fn example() -> Report {
    let path = Path::new("tests/data/queries/example.sql");
    Report::read(
        "example",
        path,
        &fs::read_to_string(Path::new(QUERIES).join("example.sql")).unwrap(),
        true,
    )
    .unwrap()
}

fn own(text: &str) -> Report {
    Report::read("own", Path::new("own.sql"), text, true).unwrap()
}

async fn written(
    pool: &PgPool,
    report: &Report,
    given: &[(&str, &str)],
    format: Format,
) -> Result<String, ReportError> {
    let values = Values::new(report, given.iter().copied())?;
    let mut bytes = Vec::new();
    run(pool, report, &values, DEFAULT_TIMEOUT, format.sink(&mut bytes, Look::default()).as_mut())
        .await?;
    Ok(String::from_utf8(bytes).unwrap())
}

const OCTOBER: [(&str, &str); 4] = [
    ("from", "2026-10-24 12:00"),
    ("to", "2026-10-27"),
    ("tz", "Europe/Berlin"),
    ("source", "lab"),
];

#[tokio::test]
async fn a_report_is_written_in_every_format() {
    let pool = database().await;
    let report = example();
    assert_eq!(
        written(&pool, &report, &OCTOBER, Format::Table).await.unwrap(),
        "\
Buckets of a period
2026-10-24 12:00 to 2026-10-27 00:00 · bucket day · source lab · times in Europe/Berlin
lab never visited
──────────────────────────────────────────────────
bucket_start  source  bucket_length  bucket_hours
══════════════════════════════════════════════════
2026-10-24    lab               12h         12.00
2026-10-25    lab             1d01h         25.00
2026-10-26    lab                1d         24.00
──────────────────────────────────────────────────

bucket_start   when the bucket begins, also where `from` cuts it
source         the source asked for
bucket_length  how much of it lies in the period
bucket_hours   the same in hours
"
    );
    assert_eq!(
        written(&pool, &report, &OCTOBER, Format::Csv).await.unwrap(),
        "\
bucket_start,source,bucket_length,bucket_hours
2026-10-23T22:00:00Z,lab,43200,12.0000000000000000
2026-10-24T22:00:00Z,lab,90000,25.0000000000000000
2026-10-25T23:00:00Z,lab,86400,24.0000000000000000
"
    );
    let json = written(&pool, &report, &OCTOBER, Format::Json).await.unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(
        rows[1],
        serde_json::json!({"bucket_start": "2026-10-24T22:00:00Z", "source": "lab", "bucket_length": 90000, "bucket_hours": 25.0})
    );
    let lines = written(&pool, &report, &OCTOBER, Format::Ndjson).await.unwrap();
    let objects: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects, rows);
    let markdown = written(&pool, &report, &OCTOBER, Format::Markdown).await.unwrap();
    assert!(markdown.contains("\n| 2026-10-26 00:00 | lab | 1d | 24.00 |\n"), "{markdown}");
}

#[tokio::test]
async fn an_empty_result_keeps_its_headings() {
    let pool = database().await;
    let report = own("select 1 as one, 'x' as two, 1.5 as three where false");
    let csv = written(&pool, &report, &[], Format::Csv).await.unwrap();
    assert_eq!(csv, "one,two,three\n");
    assert_eq!(written(&pool, &report, &[], Format::Json).await.unwrap(), "[]\n");
    assert_eq!(written(&pool, &report, &[], Format::Ndjson).await.unwrap(), "");
    let table = written(&pool, &report, &[], Format::Table).await.unwrap();
    assert!(table.contains("one  two  three") && table.ends_with("(no rows)\n"), "{table}");
}

#[tokio::test]
async fn every_type_has_its_form() {
    let pool = database().await;
    let report = own(&fs::read_to_string(Path::new(QUERIES).join("types.sql")).unwrap());
    let given = [("text", "\x1b[31mred, \"so\" it's :'text' <b>|\u{202e}\n")];
    let json = written(&pool, &report, &given, Format::Json).await.unwrap();
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&json).unwrap();
    let row = &rows[0];
    assert_eq!(row["text"], given[0].1);
    assert_eq!(row["nothing"], serde_json::Value::Null);
    assert_eq!(
        (row["n"].as_i64(), row["n_2"].as_i64(), row["n_3"].as_i64()),
        (Some(1), Some(2), Some(3))
    );
    assert_eq!(row["double"].as_f64(), Some(0.1));
    assert_eq!(row["single"].as_f64(), Some(0.1));
    assert!(json.contains("\"decimal\":12345678901234567890.123456789,"), "{json}");
    assert_eq!(row["nan"], "NaN");
    assert_eq!(row["truth"], true);
    assert_eq!(row["instant"], "2026-10-04T01:12:00.500Z");
    assert_eq!(row["length"].as_f64(), Some(93_600.25));
    assert_eq!(row["list"], serde_json::json!(["anna", "b|b", null]));
    assert_eq!(row["document"], serde_json::json!({"b": [1, null], "a": "x"}));
    assert_eq!(row["verbatim"], serde_json::json!({"b": 1}));
    assert_eq!(row["day"], "2026-10-04");
    assert_eq!(row["numbers"], "{1,2}");
    assert_eq!(row["never"], "infinity");
    assert_eq!(json.lines().count(), 3, "one line a row: {json}");

    let table = written(&pool, &report, &given, Format::Table).await.unwrap();
    assert!(
        table.contains("␛[31mred") && !table.contains('\x1b') && !table.contains('\u{202e}'),
        "{table}"
    );
    let csv = written(&pool, &report, &given, Format::Csv).await.unwrap();
    assert!(csv.contains("\"[\"\"anna\"\",\"\"b|b\"\",null]\""), "{csv}");
    let markdown = written(&pool, &report, &given, Format::Markdown).await.unwrap();
    assert!(markdown.contains("&lt;b&gt;\\|") && markdown.contains("anna, b\\|b, –"), "{markdown}");
}

#[tokio::test]
async fn a_value_is_bound_and_never_pasted() {
    let pool = database().await;
    let report = own("select :'x' as x, :'x'::text || :'y' as both");
    let evil = "'); drop view deskledger.sources; -- $1 :'y'";
    let mut rows = Collected::default();
    let values = Values::new(&report, [("x", evil), ("y", "!")]).unwrap();
    run(&pool, &report, &values, DEFAULT_TIMEOUT, &mut rows).await.unwrap();
    let csv = format!("{:?}", rows.rows[0]);
    assert!(csv.contains(&format!("{:?}", format!("{evil}!"))), "{csv}");
    let nothing = Values::new(&report, [("x", "a\0b"), ("y", "")]).unwrap_err();
    assert!(nothing.is_usage());
}

async fn error(pool: &PgPool, report: &Report, given: &[(&str, &str)]) -> (bool, String) {
    let error = written(pool, report, given, Format::Csv).await.expect_err("wrong");
    (error.is_usage(), error.to_string())
}

#[tokio::test]
async fn wrong_values_get_one_line_with_the_nearest_right_answer() {
    let pool = database().await;
    let report = example();
    for (given, message) in [
        (("source", "prd"), "there is no source `prd`; did you mean `prod`?"),
        (("source", "x"), "there is no source `x`; there is lab, prod"),
        (("tz", "berlin"), "there is no time zone `berlin`; did you mean `Europe/Berlin`?"),
        (
            ("tz", "CET"),
            "`--tz`: `CET` is no time zone; write its name, for example Europe/Berlin, Asia/Kolkata or UTC",
        ),
        (
            ("tz", "UTC+2"),
            "there is no time zone `UTC+2`: zones have names, such as `Europe/Berlin`, which know of summer time; \
             2 h ahead of UTC all year round is `Etc/GMT-2`, with the sign the other way round",
        ),
        (("to", "-7d"), "the period is empty: `from` and `to` are both "),
        (("bucket", "dya"), "there is no bucket `dya`; did you mean `day`?"),
        (("from", "+1d"), "the period ends before it begins: `from` is "),
        (("to", "2026-02-30"), "`--to`: `2026-02-30` is no instant; write 2026-10-04, "),
    ] {
        let (is_usage, text) = error(&pool, &report, &[given]).await;
        assert!(is_usage && text.starts_with(message) && !text.contains('\n'), "{text}");
    }
    let lingering =
        own("-- T\n-- Parameters\n--   within  duration  1x  how long\nselect :'within'");
    let (is_usage, text) = error(&pool, &lingering, &[]).await;
    assert_eq!(
        (is_usage, text.as_str()),
        (true, "`--within`: `1x` is no duration; write for example 90s, 15m, 2h, 1d or 1h30m")
    );
    // A file without a header says nothing of types; the ledger still does.
    let bare = own("select deskledger.instant(:'at', 'UTC')");
    assert!(error(&pool, &bare, &[("at", "never")]).await.1.starts_with("`never` is no instant"));
}

#[tokio::test]
async fn a_mistake_in_a_users_file_names_its_line() {
    let pool = database().await;
    let (is_usage, text) = error(
        &pool,
        &own("-- Mine\n\nselect :'x',\n  nmae from deskledger.sources"),
        &[("x", "1")],
    )
    .await;
    assert!(is_usage);
    assert_eq!(text, "report `own` (own.sql): line 4: column \"nmae\" does not exist");
}

#[tokio::test]
async fn a_report_cannot_write() {
    let pool = database().await;
    sqlx::query("create table deskledger.fact (n integer)").execute(&pool).await.unwrap();
    let (_, text) = error(
        &pool,
        &own(
            "with gone as (insert into deskledger.fact values (1) returning n) select n from gone",
        ),
        &[],
    )
    .await;
    assert!(text.contains("read-only transaction"), "{text}");
    let left: i64 =
        sqlx::query_scalar("select count(*) from deskledger.fact").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_report_that_takes_too_long_is_stopped() {
    let pool = database().await;
    let report = own("select pg_sleep(30)");
    let values = Values::new(&report, Vec::<(&str, &str)>::new()).unwrap();
    let outcome =
        run(&pool, &report, &values, Duration::from_millis(1_000), &mut Collected::default()).await;
    let error = outcome.unwrap_err();
    assert!(
        !error.is_usage() && error.to_string().starts_with("the report took longer than 1 s"),
        "{error}"
    );
}

#[tokio::test]
async fn rows_are_in_the_statements_order_also_when_they_are_cast() {
    let pool = database().await;
    let report =
        own("select n, n::numeric as m from generate_series(1, 20000) as n order by n % 7, n desc");
    let mut rows = Collected::default();
    let values = Values::new(&report, Vec::<(&str, &str)>::new()).unwrap();
    run(&pool, &report, &values, DEFAULT_TIMEOUT, &mut rows).await.unwrap();
    let found: Vec<String> = rows.rows.iter().map(|row| format!("{:?}", row[0])).collect();
    let mut expected: Vec<i64> = (1..=20_000).collect();
    expected.sort_by_key(|n| (n % 7, -n));
    let expected: Vec<String> = expected.iter().map(|n| format!("Integer({n})")).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn headers_describe_the_columns_there_are() {
    let pool = database().await;
    let mut connection = pool.acquire().await.unwrap();
    let catalogue = Catalogue::built_in();
    for report in catalogue.reports().iter().chain([&example()]) {
        let found: Vec<String> = describe(&mut connection, report)
            .await
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let told: Vec<String> = report.columns.iter().map(|column| column.name.clone()).collect();
        assert_eq!(found, told, "{}", report.path.display());
    }
}

/// The header's ready line, run as it stands, but for the values that the test wants.
#[tokio::test]
async fn the_same_file_says_the_same_in_psql() {
    let pool = database().await;
    let report = example();
    let options = pool.connect_options();
    let mut psql = Command::new("psql");
    psql.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-X", "--csv", "-v", "ON_ERROR_STOP=1"]);
    let given: BTreeMap<&str, &str> = OCTOBER.into_iter().collect();
    for parameter in &report.parameters {
        let value = given.get(parameter.name.as_str()).copied().or(parameter.default.as_deref());
        psql.arg("-v").arg(format!("{}={}", parameter.name, value.unwrap()));
    }
    psql.args(["-f", report.path.to_str().unwrap()]);
    psql.env("PGTZ", "Asia/Tokyo").env("PGDATABASE", options.get_database().unwrap());
    let host = options
        .get_socket()
        .map_or(options.get_host().to_owned(), |path| path.display().to_string());
    psql.env("PGHOST", host)
        .env("PGPORT", options.get_port().to_string())
        .env("PGUSER", options.get_username());
    let output = psql.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let psql = String::from_utf8(output.stdout).unwrap();
    let ours = written(&pool, &report, &OCTOBER, Format::Csv).await.unwrap();
    let hours = |csv: &str| -> Vec<String> {
        csv.lines().map(|line| line.rsplit(',').next().unwrap().to_owned()).collect()
    };
    assert_eq!(hours(&psql), hours(&ours));
    assert!(psql.contains("2026-10-25 07:00:00+09,lab,"), "{psql}");
}

/// As the binary will be put together.
#[derive(Debug, Parser)]
struct Cli {
    #[arg(long, global = true)]
    config: Option<String>,
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Commands,
}

#[derive(Debug, clap::Subcommand)]
enum Commands {
    Report(Args),
    Status {
        #[arg(long)]
        format: Option<String>,
    },
}

fn parse(line: &str) -> Result<(Cli, Plan), String> {
    let words: Vec<OsString> =
        std::iter::once("deskledger").chain(line.split(' ')).map(OsString::from).collect();
    let mut cli =
        Cli::try_parse_from(arrange(words, &Cli::command())).map_err(|error| error.to_string())?;
    let Commands::Report(args) =
        std::mem::replace(&mut cli.command, Commands::Status { format: None })
    else {
        return Err("another command".to_owned());
    };
    let plan = args.plan(Some(Path::new(QUERIES))).map_err(|error| error.to_string())?;
    Ok((cli, plan))
}

fn job(line: &str) -> Job {
    match parse(line).unwrap().1 {
        Plan::Run(job) => *job,
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_and_parameters_come_in_any_order() {
    let expected = format!("{:?}", job("report --format csv example --from -7d --source prod"));
    for line in [
        "report example --from -7d --format csv --source prod",
        "report example --source=prod --from=-7d --format=csv",
        "report --from -7d -f csv --source prod example",
        "--config x report example -v --from -7d -fcsv --config y --source prod",
    ] {
        assert_eq!(format!("{:?}", job(line)), expected, "{line}");
    }
    let (cli, _) = parse("-v report example --config y").unwrap();
    assert_eq!((cli.config.as_deref(), cli.verbose), (Some("y"), true));
    assert_eq!(parse("status --format x").unwrap_err(), "another command");
}

#[test]
fn the_command_line_is_refused_in_one_line() {
    for (line, message) in [
        ("report exmaple", "there is no report `exmaple`; did you mean `example`?"),
        (
            "report example --buckt day",
            "`example` has no parameter `--buckt`; did you mean `--bucket`?",
        ),
        (
            "report example --formt csv",
            "`example` has no parameter `--formt`; did you mean `--format`?",
        ),
        ("report example --from", "`--from` needs a value"),
        (
            "report example today",
            "`today` belongs to no option; a parameter is written `--name value`",
        ),
        ("report types", "`types` needs `--text` (text: not described in its header)"),
        (
            "report example -o x.docx",
            "`x.docx` does not end in a format's name; give `--format`, or end it in .txt, .csv, .json, .ndjson, .md, .xlsx or .html",
        ),
        (
            "report types --chart --text x",
            "`types` has no chart; there is one of utilisation, disconnects, group-utilisation, busy-hours, concurrency, distribution, capacity, forecast, flapping, lingering, user-hours, coverage",
        ),
        (
            "report utilisation --chart -o x.csv",
            "a chart is text: end `x.csv` in .txt, or leave `--chart` out",
        ),
    ] {
        assert_eq!(parse(line).unwrap_err(), message, "{line}");
    }
    let both = parse("report utilisation --chart --format csv").unwrap_err();
    assert!(both.contains("cannot be used with"), "{both}");
    assert!(parse("report example --timeout 0s").unwrap_err().contains("at least 1s"));
}

#[test]
fn a_reports_help_is_its_header() {
    for line in ["report example --help", "report --help example", "report example --from -1d -h"] {
        let Plan::Local(Local::Text(help)) = parse(line).unwrap().1 else { panic!("{line}") };
        assert!(help.contains("Buckets of a period"), "{help}");
        assert!(help.contains("--bucket <BUCKET>") && help.contains("[default: -7d]"), "{help}");
        assert!(help.contains("--format") && help.contains("bucket_hours"), "{help}");
    }
}

#[tokio::test]
async fn an_output_file_appears_when_it_is_whole() {
    let pool = database().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    job(&format!("report example --output {} --from -2h --bucket hour", path.display()))
        .run(&pool)
        .await
        .unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("bucket_start,source,"));
    let before = fs::read_to_string(&path).unwrap();
    let failed = job(&format!("report example --output {} --source nowhere", path.display()))
        .run(&pool)
        .await;
    assert!(failed.unwrap_err().is_usage());
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    // `| head` has read enough: /dev/full and the like still fail.
    let full = job("report example --output /dev/full --format csv").run(&pool).await.unwrap_err();
    assert!(full.to_string().starts_with("could not write `/dev/full`"), "{full}");
}

/// A writer whose reader has gone.
struct Gone;

impl std::io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_leaves_does_not_hold_the_connection() {
    let options = database().await.connect_options();
    let pool =
        PgPoolOptions::new().max_connections(1).connect_with((*options).clone()).await.unwrap();
    let report = own("select n, repeat('x', 1000) from generate_series(1, 3000000) as n");
    let values = Values::new(&report, Vec::<(&str, &str)>::new()).unwrap();
    let mut sink = Format::Ndjson.sink(Gone, Look::default());
    let outcome = tokio::time::timeout(
        Duration::from_secs(20),
        run(&pool, &report, &values, DEFAULT_TIMEOUT, sink.as_mut()),
    );
    let error = outcome.await.expect("at once").unwrap_err();
    let ReportError::Output { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::BrokenPipe);
    tokio::time::timeout(Duration::from_secs(2), sqlx::query("select 1").execute(&pool))
        .await
        .expect("free")
        .unwrap();
}

#[tokio::test]
async fn a_narrow_terminal_breaks_headings_and_no_figure_or_word() {
    let pool = database().await;
    let report = own("select timestamptz '2026-10-04T03:12:01Z' as bucket_start, 'prod' as source, 1234567.5 as connected_hours,
         12 as connections_started, 1.5 as disconnects_per_100_hours, null::float8 as coverage_pct, repeat('word ', 9) || 'disconnects_per_100_hours' as note");
    let values = Values::new(&report, Vec::<(&str, &str)>::new()).unwrap();
    for width in [90, 110, 80, 20] {
        let mut bytes = Vec::new();
        let look = Look { width: Some(width), ..Look::default() };
        run(
            &pool,
            &report,
            &values,
            DEFAULT_TIMEOUT,
            Format::Table.sink(&mut bytes, look).as_mut(),
        )
        .await
        .unwrap();
        let table = String::from_utf8(bytes).unwrap();
        assert!(table.contains("2026-10-04 03:12:01") && table.contains("1234567.50"), "{table}");
        // Neither in headings nor in texts does a word break.
        for word in ["connections", "disconnects", "coverage", "disconnects_per_100_hours"] {
            assert!(table.contains(word) || width == 20, "{word} {width}\n{table}");
        }
        let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width) || width == 20, "{widest}\n{table}");
    }
}

/// A mistyped year is refused at once, and does not keep the server busy until its patience ends.
#[tokio::test]
async fn a_range_of_too_many_buckets_is_refused() {
    let pool = database().await;
    let asked = "select count(*) from deskledger.buckets('0001-01-01Z', '2026-01-01Z', $1, 'UTC')";
    let refused = sqlx::query(asked).bind("hour").execute(&pool).await.unwrap_err();
    let code = refused.as_database_error().and_then(|error| error.code()).unwrap();
    assert_eq!(code, "DL006", "{refused}");
    sqlx::query(asked).bind("month").execute(&pool).await.unwrap();
}
