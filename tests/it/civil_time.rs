//! `deskledger.instant` and `deskledger.buckets` against chrono-tz, which has its own copy of the time zone database and
//! its own arithmetic.
//!
//! The model walks the clock minute by minute and looks at what it shows, so it shares no shortcut with the SQL.

use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;
use sqlx::{Connection, Executor, PgConnection, PgPool, Row};

use crate::stand_in::database;

type Bucket = (DateTime<Utc>, DateTime<Utc>, DateTime<Utc>);

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Zones, each with days on which its clock did something.
const OCCASIONS: [(&str, &[&str]); 16] = [
    ("UTC", &["2026-03-29"]),
    ("Europe/Berlin", &["2026-03-29", "2026-10-25", "2026-12-31"]),
    ("Asia/Kolkata", &["2026-10-04"]),
    ("Asia/Kathmandu", &["2026-10-04"]),
    ("Pacific/Chatham", &["2026-04-05", "2026-09-27"]),
    // Half an hour, at 02:00.
    ("Australia/Lord_Howe", &["2026-04-05", "2026-10-04"]),
    // Midnight does not exist; 23:00 comes twice.
    ("America/Sao_Paulo", &["2018-11-04", "2018-02-18"]),
    ("Africa/Cairo", &["2024-04-26", "2024-11-01"]),
    ("Asia/Beirut", &["2026-03-29", "2026-10-25"]),
    // Midnight comes twice.
    ("America/Havana", &["2025-03-09", "2025-11-02"]),
    // At one minute past midnight the clock goes back into yesterday.
    ("America/St_Johns", &["2006-04-02", "2006-10-29"]),
    // A day that never was.
    ("Pacific/Apia", &["2011-12-30"]),
    ("Pacific/Kiritimati", &["1994-12-31"]),
    // 23:30 to midnight, for good.
    ("Asia/Pyongyang", &["2018-05-05"]),
    ("Antarctica/Casey", &["2018-03-11", "2020-10-04"]),
    // 23:30 to 00:30: midnight is in the middle of what is skipped.
    ("America/Toronto", &["1919-03-31"]),
];

/// What the clock shows, cut to the unit. Days, weeks and months do not begin again when the clock is set back.
fn model(from: DateTime<Utc>, to: DateTime<Utc>, unit: &str, tz: Tz) -> Vec<Bucket> {
    let civil = |local: NaiveDateTime| -> NaiveDateTime {
        let date = local.date();
        match unit {
            "hour" => date.and_hms_opt(local.hour(), 0, 0).unwrap(),
            "day" => date.into(),
            "week" => (date - Days::new(date.weekday().num_days_from_monday().into())).into(),
            _ => date.with_day(1).unwrap().into(),
        }
    };
    let before = match unit {
        "month" => 32,
        "week" => 8,
        _ => 2,
    };
    let mut starts: Vec<DateTime<Utc>> = Vec::new();
    let mut shown = NaiveDateTime::MIN;
    let mut offset = None;
    let mut at = from - TimeDelta::days(before);
    at = at.with_second(0).unwrap().with_nanosecond(0).unwrap();
    while at < to + TimeDelta::days(before) {
        let local = at.with_timezone(&tz);
        let now = civil(local.naive_local());
        let begins = if unit == "hour" {
            let changed = offset.replace(local.offset().fix()) != Some(local.offset().fix());
            changed || now != shown
        } else {
            now > shown
        };
        if begins {
            starts.push(at);
            shown = now;
        }
        at += TimeDelta::minutes(1);
    }
    starts
        .windows(2)
        .filter(|pair| pair[1] > from && pair[0] < to)
        .map(|pair| (pair[0], pair[0].max(from), pair[1].min(to)))
        .collect()
}

async fn buckets(
    pool: &PgPool,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    unit: &str,
    tz: &str,
) -> Vec<Bucket> {
    sqlx::query_as("select * from deskledger.buckets($1, $2, $3, $4)")
        .bind(from)
        .bind(to)
        .bind(unit)
        .bind(tz)
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn buckets_follow_the_clock_on_the_wall() {
    let pool = database().await;
    for (name, days) in OCCASIONS {
        let tz: Tz = name.parse().unwrap();
        for day in days {
            let day = day.parse::<NaiveDate>().unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc();
            let (from, to) = (day - TimeDelta::minutes(2_017), day + TimeDelta::minutes(2_500));
            for unit in ["hour", "day", "week", "month"] {
                let expected = model(from, to, unit, tz);
                assert_eq!(
                    buckets(&pool, from, to, unit, name).await,
                    expected,
                    "{name} {day} {unit}"
                );
            }
            // Many places to begin or end at, also inside what comes twice.
            for unit in ["hour", "day"] {
                let whole = model(from, to, unit, tz);
                // 1,620: 03:00 UTC, in Newfoundland after today has begun and yesterday is shown again.
                for minutes in (0..2_880).step_by(185).chain([1_620]) {
                    let edge = day - TimeDelta::minutes(1_440 - minutes);
                    for (from, to) in [(from, edge), (edge, to)] {
                        let found = buckets(&pool, from, to, unit, name).await;
                        assert_eq!(found, cut(&whole, from, to), "{name} {from} {to} {unit}");
                    }
                }
            }
        }
    }
}

fn cut(whole: &[Bucket], from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Bucket> {
    whole
        .iter()
        .filter(|(_, start, end)| *end > from && *start < to)
        .map(|(begin, start, end)| (*begin, (*start).max(from), (*end).min(to)))
        .collect()
}

/// The first instant of a day, worked out from the offsets around it.
fn day_begins(date: NaiveDate, tz: Tz) -> DateTime<Utc> {
    let midnight = date.and_hms_opt(0, 0, 0).unwrap();
    let offset = |at: DateTime<Utc>| {
        TimeDelta::seconds(at.with_timezone(&tz).offset().fix().local_minus_utc().into())
    };
    let guess = midnight.and_utc() - offset(midnight.and_utc());
    let around = |hours| offset(guess + TimeDelta::hours(hours));
    if around(-26) == around(26) {
        return guess;
    }
    let mut at = guess - TimeDelta::hours(26);
    while at.with_timezone(&tz).naive_local() < midnight {
        at += TimeDelta::minutes(1);
    }
    at
}

#[tokio::test]
async fn days_of_every_zone_have_their_length() {
    let pool = database().await;
    let zones: Vec<&str> = chrono_tz::TZ_VARIANTS
        .iter()
        .map(|zone| zone.name())
        .filter(|name| name.contains('/'))
        .collect();
    let rows = sqlx::query(
        "select zone, bucket_from, bucket_to from unnest($1::text[]) as zone,
             deskledger.buckets('2018-01-03T00:00Z', '2018-12-29T00:00Z', 'day', zone)
         where bucket_to - bucket_from <> interval '24 hours'
             and bucket_from > '2018-01-03T00:00Z' and bucket_to < '2018-12-29T00:00Z'
         order by zone collate \"C\", bucket_from",
    )
    .bind(&zones)
    .fetch_all(&pool)
    .await
    .unwrap();
    let found: Vec<(String, DateTime<Utc>, DateTime<Utc>)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();

    let mut expected = Vec::new();
    let mut sorted = zones.clone();
    sorted.sort_unstable();
    for name in sorted {
        let tz: Tz = name.parse().unwrap();
        let first = NaiveDate::from_ymd_opt(2018, 1, 2).unwrap();
        let begins: Vec<_> = first.iter_days().take(363).map(|date| day_begins(date, tz)).collect();
        for pair in begins.windows(2) {
            let inside =
                pair[0] > utc("2018-01-03T00:00:00Z") && pair[1] < utc("2018-12-29T00:00:00Z");
            if inside && pair[1] > pair[0] && pair[1] - pair[0] != TimeDelta::days(1) {
                expected.push((name.to_owned(), pair[0], pair[1]));
            }
        }
    }
    assert!(expected.len() > 300, "the year has clock changes: {}", expected.len());
    assert_eq!(found, expected);
}

/// RFC 5545: the first of two; the offset before where there is none.
fn local_instant(local: NaiveDateTime, tz: Tz) -> DateTime<Utc> {
    match tz.from_local_datetime(&local).earliest() {
        Some(instant) => instant.to_utc(),
        None => {
            let before = tz.from_utc_datetime(&(local - TimeDelta::hours(26))).offset().fix();
            local.and_utc() - TimeDelta::seconds(before.local_minus_utc().into())
        }
    }
}

async fn instants(pool: &PgPool, texts: &[String], tz: &str) -> Vec<DateTime<Utc>> {
    sqlx::query_scalar(
        "select deskledger.instant(value, $2) from unnest($1::text[]) with ordinality as given (value, at) order by at",
    )
    .bind(texts)
    .bind(tz)
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn local_times_and_dates_are_read_in_the_zone() {
    let pool = database().await;
    for (name, days) in OCCASIONS {
        let tz: Tz = name.parse().unwrap();
        for day in days {
            let day: NaiveDate = day.parse().unwrap();
            let dates: Vec<NaiveDate> = (day - Days::new(2)).iter_days().take(5).collect();
            let texts: Vec<String> = dates.iter().map(ToString::to_string).collect();
            let expected: Vec<_> = dates.iter().map(|date| day_begins(*date, tz)).collect();
            assert_eq!(instants(&pool, &texts, name).await, expected, "{name} {day}");

            let first = day.and_hms_opt(0, 0, 0).unwrap() - TimeDelta::hours(20);
            let times: Vec<NaiveDateTime> =
                (0..160).map(|at| first + TimeDelta::minutes(15 * at)).collect();
            let texts: Vec<String> =
                times.iter().map(|time| time.format("%Y-%m-%d %H:%M").to_string()).collect();
            let expected: Vec<_> = times.iter().map(|time| local_instant(*time, tz)).collect();
            assert_eq!(instants(&pool, &texts, name).await, expected, "{name} {day}");
        }
    }
}

#[tokio::test]
async fn every_form_of_an_instant_is_read() {
    let pool = database().await;
    for (text, expected) in [
        ("2026-10-04T03:12:00Z", "2026-10-04T03:12:00Z"),
        ("2026-10-04t03:12:00.123456z", "2026-10-04T03:12:00.123456Z"),
        ("2026-10-04T03:12:00.9999999+05:30", "2026-10-03T21:42:01Z"),
        ("2026-10-04 03:12:00-0200", "2026-10-04T05:12:00Z"),
        // As psql shows it.
        ("2026-10-04 03:12:00.5+02", "2026-10-04T01:12:00.5Z"),
        (" 2026-10-04 03:12 ", "2026-10-04T01:12:00Z"),
        ("2026-10-04T03:12:01", "2026-10-04T01:12:01Z"),
        ("2026-10-04", "2026-10-03T22:00:00Z"),
        ("2024-02-29", "2024-02-28T23:00:00Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("0001-01-01T00:00Z", "0001-01-01T00:00:00Z"),
    ] {
        let read = instants(&pool, &[text.to_owned()], "Europe/Berlin").await;
        assert_eq!(read, [utc(expected)], "{text}");
    }
}

#[tokio::test]
async fn distances_are_absolute_whatever_the_session_is() {
    let pool = database().await;
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await.unwrap();
    connection
        .execute("set timezone = 'Europe/Berlin'; set datestyle = 'SQL, DMY'; set intervalstyle = 'sql_standard'; set search_path = ''")
        .await
        .unwrap();
    for (text, seconds) in [
        ("now", 0),
        ("NOW", 0),
        ("-30d", -30 * 86_400),
        ("-365d", -365 * 86_400),
        ("+1d", 86_400),
        ("-1d12h", -129_600),
        ("now-90m", -5_400),
        ("-2w", -14 * 86_400),
        ("-15s", -15),
    ] {
        let away: bool = sqlx::query_scalar(
            "select deskledger.instant($1, 'UTC') = now() + make_interval(secs => $2)",
        )
        .bind(text)
        .bind(f64::from(seconds))
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert!(away, "{text}");
    }
    let buckets: i64 = sqlx::query_scalar(
        "select count(*) from deskledger.buckets(
             deskledger.instant('2026-01-01', 'Asia/Kolkata'), deskledger.instant('2027-01-01', 'Asia/Kolkata'), 'day', 'Asia/Kolkata')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(buckets, 365);
}

/// The SQLSTATE and message with which a statement fails.
async fn refusal(pool: &PgPool, sql: &'static str) -> (String, String) {
    let error = sqlx::query(sql).execute(pool).await.expect_err(sql);
    let error = error.into_database_error().expect(sql);
    (error.code().unwrap().into_owned(), error.message().to_owned())
}

#[tokio::test]
async fn what_is_no_instant_is_refused_with_the_forms_there_are() {
    let pool = database().await;
    for text in [
        "",
        "yesterdy",
        "2026-13-01",
        "2026-02-29",
        "2026-02-30",
        "0000-01-01",
        "2026-10-04T25:00Z",
        "2026-10-04 12:60",
        "2026-10-04T03:12:61Z",
        "2026-10-04T03:12:00+24:00",
        "7d",
        "-1x",
        "-",
        "1.10.2026",
        "2026-10-04Z",
        "infinity",
        "-1d+2h",
        "2026-1-4",
    ] {
        let error = sqlx::query("select deskledger.instant($1, 'UTC')")
            .bind(text)
            .execute(&pool)
            .await
            .expect_err(text);
        let error = error.into_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some("DL001"), "{text}: {error}");
        assert!(
            error.message().starts_with(&format!("`{text}` is no instant; write 2026-10-04,")),
            "{error}"
        );
    }
    let far = refusal(&pool, "select deskledger.instant('-999999999d', 'UTC')").await;
    assert_eq!(far.0, "DL005");
}

#[tokio::test]
async fn other_refusals_name_the_value_too() {
    let pool = database().await;
    for tz in [
        "CET",
        "cest",
        "EST",
        "UTC+2",
        "GMT-1",
        "+02:00",
        "<+03>-3",
        "Europe/Foo+3",
        "",
        "../UTC",
        "EST5EDT",
    ] {
        let error = sqlx::query("select deskledger.instant('now', $1)")
            .bind(tz)
            .execute(&pool)
            .await
            .expect_err(tz);
        let error = error.into_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some("DL002"), "{tz}: {error}");
        assert!(error.message().contains(&format!("`{tz}`")), "{error}");
    }
    for tz in [
        "UTC",
        "utc",
        "GMT",
        "Zulu",
        "Singapore",
        "Europe/Berlin",
        "Etc/GMT+5",
        "America/Port-au-Prince",
        "America/Argentina/Buenos_Aires",
        "GB-Eire",
    ] {
        sqlx::query("select deskledger.instant('now', $1)")
            .bind(tz)
            .execute(&pool)
            .await
            .expect(tz);
    }
    let unknown = refusal(&pool, "select deskledger.instant('now', 'Europe/Berln')").await;
    assert_eq!(
        unknown,
        ("22023".to_owned(), "time zone \"Europe/Berln\" not recognized".to_owned())
    );
    let bucket = refusal(&pool, "select deskledger.buckets(now(), now(), 'dya', 'UTC')").await;
    assert_eq!(
        bucket,
        (
            "DL003".to_owned(),
            "`dya` is no bucket; known are hour, day, week, month and all".to_owned()
        )
    );
    let range =
        refusal(&pool, "select deskledger.buckets('2026-01-02Z', '2026-01-01Z', 'day', 'UTC')")
            .await;
    assert_eq!(range.0, "DL004");
    assert!(
        range.1.starts_with("2026-01-02T00:00:00Z to 2026-01-01T00:00:00Z is no range"),
        "{}",
        range.1
    );
    assert_eq!(
        refusal(&pool, "select deskledger.buckets('-infinity', now(), 'day', 'UTC')").await.0,
        "DL004"
    );
    for text in ["", "15", "m", "-5m", "1.5h", "9999999999d"] {
        let error = sqlx::query("select deskledger.duration($1)")
            .bind(text)
            .execute(&pool)
            .await
            .expect_err(text);
        assert_eq!(error.into_database_error().unwrap().code().as_deref(), Some("DL005"), "{text}");
    }
    let length: bool = sqlx::query_scalar(
        "select deskledger.duration('1d1h30m') = interval '25 hours 30 minutes'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(length);
}

#[tokio::test]
async fn reports_that_read_instants_may_run_in_parallel() {
    let pool = database().await;
    let mut transaction = pool.begin().await.unwrap();
    transaction
        .execute(
            "create table many as select '2026-01-01Z'::timestamptz + make_interval(mins => n) as at from generate_series(1, 100000) as n;
             analyze many; set local min_parallel_table_scan_size = 0; set local parallel_setup_cost = 0; set local parallel_tuple_cost = 0",
        )
        .await
        .unwrap();
    let plan: Vec<String> = sqlx::query_scalar(
        "explain (analyze, costs off, timing off, summary off)
         select count(*) from many where at < deskledger.instant('2026-02-01', 'Europe/Berlin')",
    )
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    assert!(plan.iter().any(|line| line.contains("Workers Launched")), "{plan:#?}");
}
