//! What is asked of the reports for all sources, whole periods and persons, through the program itself.

use deskledger::report::catalogue::Catalogue;
use deskledger::report::params::Values;
use deskledger::report::{Cell, Collected, DEFAULT_TIMEOUT, ReportError, run};
use serde_json::json;
use sqlx::PgPool;

use crate::support::ledger::{ledger, record};

const EXAMPLE: &str = include_str!("../data/example/history.ndjson");

const DAY: [(&str, &str); 2] = [("from", "2026-10-05"), ("to", "2026-10-06")];

/// The cells of a column.
async fn ask(
    pool: &PgPool,
    name: &str,
    given: &[(&str, &str)],
    column: &str,
) -> Result<Vec<Cell>, ReportError> {
    let report = Catalogue::built_in().take(name).unwrap();
    let values = Values::new(&report, given.iter().copied())?;
    let mut sink = Collected::default();
    run(pool, &report, &values, DEFAULT_TIMEOUT, &mut sink).await?;
    let place = sink.columns.iter().position(|known| known.name == column).unwrap();
    Ok(sink.rows.into_iter().map(|row| row[place].clone()).collect())
}

fn texts(cells: &[&str]) -> Vec<Cell> {
    cells.iter().map(|text| Cell::Text((*text).to_owned())).collect()
}

#[tokio::test]
async fn reports_with_a_row_of_all_sources_take_it_as_a_source_and_others_refuse_it() {
    let (database, store) = ledger().await;
    let twice = format!("{EXAMPLE}\n{}", EXAMPLE.replace("\"prod\"", "\"test\""));
    record(&store, &twice, 1, usize::MAX).await;
    let mut known = 0;
    for report in Catalogue::built_in().reports() {
        let name = report.name.as_str();
        if report.parameter("source").is_none() {
            continue;
        }
        let mut given = vec![("source", "(all)")];
        given.extend(DAY.into_iter().filter(|(name, _)| report.parameter(name).is_some()));
        given.extend([("user", "alice")].iter().filter(|_| name == "user-history"));
        given.extend([("desktop", "d-a")].iter().filter(|_| name == "desktop-history"));
        let is_fleet = report.parameter("source").unwrap().kind.to_string() == "fleet";
        let first = &report.columns[0].name;
        match ask(&database.pool, name, &given, first).await {
            Ok(rows) => {
                assert!(is_fleet && !rows.is_empty(), "{name}");
                known += 1;
            }
            Err(error) => assert!(
                !is_fleet && error.to_string().starts_with("there is no source `(all)`"),
                "{name}: {error}"
            ),
        }
    }
    assert_eq!(known, 7);
    let sources = ask(&database.pool, "concurrency", &DAY, "source").await.unwrap();
    assert_eq!(sources, texts(&["prod", "test", "(all)"]));
    let wrong = [DAY[0], DAY[1], ("source", "(al)")];
    let error = ask(&database.pool, "concurrency", &wrong, "source").await.unwrap_err();
    assert!(error.to_string().starts_with("there is no source `(al)`"), "{error}");
}

/// An empty answer would look like that of somebody without history.
#[tokio::test]
async fn who_or_what_was_never_seen_is_refused_with_the_nearest_name() {
    let (database, store) = ledger().await;
    let other = EXAMPLE.replace("\"prod\"", "\"test\"").replace("alice", "zoe");
    record(&store, &format!("{EXAMPLE}\n{other}"), 1, usize::MAX).await;
    let pool = &database.pool;
    for (name, given, message) in [
        ("user-history", &[("user", "alcie")][..], "a user `alcie`; did you mean `alice`?"),
        ("user-history", &[("user", "zoe"), ("source", "prod")], "a user `zoe` in `prod`"),
        ("user-days", &[("user", "nosuch")], "a user `nosuch`"),
        (
            "desktop-history",
            &[("desktop", "DESK-A22")],
            "a desktop `DESK-A22`; did you mean `DESK-A2`?",
        ),
        ("desktop-history", &[("desktop", "")], "a desktop ``"),
        ("group-utilisation", &[("group", "nosuch")], "a group `nosuch`"),
    ] {
        let error = ask(pool, name, given, "source").await.expect_err(name);
        assert_eq!(error.to_string(), format!("the ledger never saw {message}"));
        assert!(error.is_usage());
    }
    // By name or id, of any source, and without history in the period.
    for (name, given) in [
        ("user-history", [("user", "zoe"), ("source", "")]),
        ("user-history", [("user", "id-alice"), ("source", "prod")]),
        ("desktop-history", [("desktop", "DESK-A"), ("source", "test")]),
        ("desktop-history", [("desktop", "d-a"), ("source", "")]),
        ("group-utilisation", [("group", "pool-1"), ("source", "prod")]),
        ("user-days", [("user", ""), ("source", "")]),
    ] {
        let given = [&given[..], &[("from", "2026-01-01"), ("to", "2026-01-02")]].concat();
        ask(pool, name, &given, "source").await.expect(name);
    }
}

#[tokio::test]
async fn a_whole_period_is_one_bucket() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    let noon = ("from", "2026-10-05T00:30:00Z");
    for name in ["utilisation", "disconnects", "group-utilisation", "coverage"] {
        let given = [noon, DAY[1], ("bucket", "all")];
        let starts = ask(&database.pool, name, &given, "bucket_start").await.unwrap();
        let from = "2026-10-05T00:30:00Z".parse().unwrap();
        assert!(!starts.is_empty(), "{name}");
        assert!(starts.iter().all(|start| *start == Cell::Instant(from)), "{name}: {starts:?}");
    }
}

#[tokio::test]
async fn the_other_period_need_not_be_given() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    let figures = ask(&database.pool, "comparison", &DAY, "figure").await.unwrap();
    assert_eq!(figures.len(), 8);
    let refused = |given: Vec<(&'static str, &'static str)>| {
        let pool = database.pool.clone();
        async move { ask(&pool, "comparison", &given, "figure").await.unwrap_err() }
    };
    let error = refused(vec![DAY[0], DAY[1], ("other_from", "never")]).await;
    assert!(
        error.is_usage() && error.to_string().starts_with("`--other_from`: `never` is no"),
        "{error}"
    );
    let backwards = vec![DAY[0], DAY[1], ("other_from", "2026-10-02"), ("other_to", "2026-10-01")];
    let error = refused(backwards).await;
    let names = "the other period ends before it begins: `other_from` is 2026-10-02T00:00:00Z, `other_to` is ";
    assert!(error.is_usage() && error.to_string().starts_with(names), "{error}");
    // Where an instant has another default it must be one.
    let error = refused(vec![("from", ""), DAY[1]]).await;
    assert!(error.is_usage() && error.to_string().contains("is no instant"), "{error}");
}

/// Visits every 15 minutes from 08:00 to 11:00 to one desktop, which is connected but for 09:00 to 09:30.
fn morning() -> String {
    let visit = |quarter: i64| {
        let status = if (4..6).contains(&quarter) { "REGISTERED" } else { "CONNECTED" };
        json!({
            "source": "prod", "max_gap": "15m",
            "observed_at": format!("2026-10-05T{:02}:{:02}:00Z", 8 + quarter / 4, quarter % 4 * 15),
            "desktops": [{ "desktop_id": "d-a", "connect_status": status, "attach_users": [] }],
            "statics": [],
        })
        .to_string()
    };
    (0..=12).map(visit).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_change_is_told_of_what_was_observed_alike() {
    let (database, store) = ledger().await;
    record(&store, &morning(), 1, usize::MAX).await;
    let change = async |from: &str, column: &str| {
        let given = [
            ("from", "2026-10-05 09:00"),
            ("to", "2026-10-05 11:00"),
            ("other_from", from),
            ("other_to", "2026-10-05 09:00"),
        ];
        let cells = ask(&database.pool, "comparison", &given, column).await.unwrap();
        cells
            .into_iter()
            .map(|cell| if let Cell::Float(number) = cell { Some(number) } else { None })
            .collect::<Vec<_>>()
    };
    // In the order of the figures: two averages, peak, hours, utilisation, disconnects, their rate, coverage.
    let none = Some(0.0);
    // One hour of two in which it was connected for all the time: as much time would have been two hours.
    let hour = "2026-10-05 08:00";
    let of_hour = [none, Some(-0.25), none, Some(-0.5), Some(-25.0), none, none, None];
    assert_eq!(change(hour, "change").await, of_hour);
    let of_hour = [none, Some(-25.0), none, Some(-25.0), Some(-25.0), None, None, None];
    assert_eq!(change(hour, "change_pct").await, of_hour);
    // The same hour is 90 % of this period, and less of that.
    assert_eq!(change("2026-10-05 07:53:20", "change_pct").await, of_hour);
    assert_eq!(change("2026-10-05 07:53:19", "change").await, [None; 8]);
    assert!(change("2026-10-05 07:53:19", "other_value").await.iter().all(Option::is_some));
}

#[tokio::test]
async fn an_overlap_is_counted_once_or_each_and_in_no_other_way() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    for overlap in ["once", "each"] {
        let given = [DAY[0], DAY[1], ("overlap", overlap)];
        let names = ask(&database.pool, "user-hours", &given, "user_name").await.unwrap();
        assert!(names.contains(&Cell::Text("alice".to_owned())), "{names:?}");
    }
    let given = [DAY[0], DAY[1], ("overlap", "twice")];
    let error = ask(&database.pool, "user-hours", &given, "user_name").await.unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert_eq!(error.to_string(), "`twice` is not known here; known are once, each");
}

/// Visits every 15 minutes, each a minute long. From 08:15 on alice has her own desktop, for half an hour, and all the
/// time one that she shares with bob.
#[tokio::test]
async fn hours_have_the_bounds_of_their_connections() {
    let user = |name: &str| json!({ "id": name, "name": name, "type": "USER" });
    let visit = |quarter: i64| {
        let at = |minute: i64| {
            let minute = quarter * 15 + minute;
            format!("2026-10-05T{:02}:{:02}:00Z", 8 + minute / 60, minute % 60)
        };
        let own = if matches!(quarter, 1 | 2) { "CONNECTED" } else { "REGISTERED" };
        json!({
            "source": "prod", "max_gap": "15m", "observed_at": at(0), "finished_at": at(1),
            "desktops": [
                { "desktop_id": "d-a", "connect_status": own, "attach_users": [user("alice")] },
                { "desktop_id": "d-b", "connect_status": "CONNECTED", "attach_users": [user("alice"), user("bob")] },
            ],
            "statics": [],
        })
        .to_string()
    };
    let (database, store) = ledger().await;
    record(&store, &(0..=4).map(visit).collect::<Vec<_>>().join("\n"), 1, usize::MAX).await;
    for (overlap, to, expected) in [
        // Her own from 08:16 to 08:30 at least, and from 08:00 to 08:46 at most: what is open there is open of the other.
        ("once", "09:00", [[14, 30, 46], [13, 30, 46], [59, 60, 60]]),
        ("each", "09:00", [[14, 30, 46], [59, 60, 60], [59, 60, 60]]),
        // It goes on, for all that is known.
        ("each", "09:10", [[14, 30, 46], [59, 60, 70], [59, 60, 70]]),
        // Nobody looks any more.
        ("each", "09:30", [[14, 30, 46], [59, 60, -1], [59, 60, -1]]),
    ] {
        let to = format!("2026-10-05 {to}");
        let given = [("from", "2026-10-05 08:00"), ("to", &to), ("overlap", overlap)];
        let mut found = vec![[0_i64; 3]; 3];
        for (at, column) in ["hours_min", "connected_hours", "hours_max"].into_iter().enumerate() {
            let cells = ask(&database.pool, "user-hours", &given, column).await.unwrap();
            for (row, cell) in found.iter_mut().zip(cells) {
                row[at] = match cell {
                    Cell::Float(hours) => (hours * 60.0).round() as i64,
                    Cell::Null => -1,
                    other => panic!("{column}: {other:?}"),
                };
            }
        }
        assert_eq!(found, expected, "{overlap} {to}");
    }
}

/// One desktop, connected all the time and handed from one of two users to another: the one who stays has two connections,
/// whose bounds overlap.
#[tokio::test]
async fn nobody_has_more_hours_than_the_period() {
    let visit = |quarter: i64| {
        let users = ["carol", if quarter < 2 { "dave" } else { "erin" }];
        let users = users.map(|name| json!({ "id": name, "name": name, "type": "USER" }));
        json!({
            "source": "prod", "max_gap": "15m",
            "observed_at": format!("2026-10-05T{:02}:{:02}:00Z", 8 + quarter / 4, quarter % 4 * 15),
            "desktops": [{ "desktop_id": "d", "connect_status": "CONNECTED", "attach_users": users }],
            "statics": [],
        })
        .to_string()
    };
    let (database, store) = ledger().await;
    record(&store, &(0..=4).map(visit).collect::<Vec<_>>().join("\n"), 1, usize::MAX).await;
    for overlap in ["once", "each"] {
        let given =
            [("from", "2026-10-05 08:00"), ("to", "2026-10-05 09:00"), ("overlap", overlap)];
        let most = ask(&database.pool, "user-hours", &given, "hours_max").await.unwrap();
        // 30 and 45 minutes at most for the other two.
        let expected = [1.0, 0.5, 0.75].map(Cell::Float);
        assert_eq!(most, expected, "{overlap}");
    }
}

#[tokio::test]
async fn a_desktop_flaps_as_soon_as_it_has_the_disconnects_though_it_was_connected_for_long_before()
{
    let (database, store) = ledger().await;
    // Connected for an hour and a half; then three disconnects within twenty minutes, with two short connections between.
    let long = (0..18).map(|_| "CONNECTED");
    let states: Vec<&str> = long
        .chain(["DISCONNECTED", "CONNECTED", "DISCONNECTED", "CONNECTED", "DISCONNECTED"])
        .collect();
    let lines: Vec<String> = (0..)
        .zip(&states)
        .map(|(nth, state)| {
            let minute = 5 * nth;
            format!(
                r#"{{"source":"prod","observed_at":"2026-10-05T{:02}:{:02}:00Z","desktops":[{{"desktop_id":"d-a","desktop_name":"A","connect_status":"{state}","attach_users":[]}}],"total_count":1,"statics":[]}}"#,
                8 + minute / 60,
                minute % 60
            )
        })
        .collect();
    record(&store, &lines.join("\n"), 1, usize::MAX).await;
    for (times, within, found) in
        [("3", "1h", 1), ("3", "20m", 1), ("3", "19m", 0), ("4", "1h", 0), ("1", "1m", 1)]
    {
        let given = [DAY[0], DAY[1], ("times", times), ("within", within)];
        let named = ask(&database.pool, "flapping", &given, "desktop_id").await.unwrap();
        assert_eq!(named.len(), found, "{times} within {within}");
    }
}

#[tokio::test]
async fn a_desktop_that_came_back_is_observed_though_only_partial_listings_follow() {
    let (database, store) = ledger().await;
    // It breaks off at 08:05, is away for one listing, and is there again, not connected, until 08:30.
    let listings = [
        (Some("CONNECTED"), 1),
        (Some("DISCONNECTED"), 1),
        (None, 0),
        (Some("REGISTERED"), 1),
        (Some("REGISTERED"), 2),
        (Some("REGISTERED"), 2),
        (Some("REGISTERED"), 2),
    ];
    let lines: Vec<String> = (0..)
        .zip(listings)
        .map(|(nth, (state, total))| {
            let desktop = state.map_or(String::new(), |state| {
                format!(r#"{{"desktop_id":"d-a","desktop_name":"A","connect_status":"{state}","attach_users":[]}}"#)
            });
            format!(
                r#"{{"source":"prod","observed_at":"2026-10-05T08:{:02}:00Z","desktops":[{desktop}],"total_count":{total},"statics":[]}}"#,
                5 * nth
            )
        })
        .collect();
    record(&store, &lines.join("\n"), 1, usize::MAX).await;
    let given = [DAY[0], DAY[1], ("reconnect_within", "15m")];
    // It did not reconnect, and that is known.
    let told = ask(&database.pool, "disconnects", &given, "reconnect_pct").await.unwrap();
    assert_eq!(told, [Cell::Float(0.0)]);
}
