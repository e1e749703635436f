use std::error::Error;

use super::*;
use crate::domain::Outcome;

const GAP: TimeDelta = TimeDelta::minutes(15);

fn read(line: &str) -> Line {
    parse_line(line.as_bytes(), GAP).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn with(fields: &str) -> Snapshot {
    read(&format!(r#"{{"source": "prod", "observed_at": "2026-10-01T08:00:00Z", {fields}}}"#))
        .snapshot
}

/// The error as a user sees it: with its causes.
fn refused(line: &str) -> String {
    let error = parse_line(line.as_bytes(), GAP).expect_err(line);
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn refused_with(fields: &str) -> String {
    refused(&format!(r#"{{"source":"s","observed_at":"2026-10-01T08:00:00Z",{fields}}}"#))
}

#[test]
fn a_bare_line_is_a_failed_snapshot_with_the_default_gap() {
    let line = read(
        "\u{feff}{\"source\":\"prod\",\"observed_at\":\"2026-10-01T10:00:00.1234567+02:00\"} \r",
    );
    assert_eq!(line.source, "prod");
    assert_eq!(line.pin, None);
    let snapshot = line.snapshot;
    assert_eq!(snapshot.observed_at.to_rfc3339(), "2026-10-01T08:00:00.123456+00:00");
    assert_eq!(snapshot.finished_at, snapshot.observed_at);
    assert_eq!(snapshot.max_gap, GAP);
    assert_eq!(snapshot.desktops_outcome(), Outcome::Failed);
    assert_eq!(snapshot.groups_outcome(), Outcome::Failed);
}

#[test]
fn an_absent_total_is_vouched_for_and_a_null_one_is_not() {
    let two = r#""desktops": [{"desktop_id": "a"}, {"desktop_id": "b"}]"#;
    assert_eq!(with(two).desktops_outcome(), Outcome::Complete);
    for (total, outcome) in [
        ("null", Outcome::Partial),
        ("2", Outcome::Complete),
        (r#""2""#, Outcome::Complete),
        ("2.0", Outcome::Complete),
        ("3", Outcome::Partial),
        ("-1", Outcome::Partial),
    ] {
        let snapshot = with(&format!(r#""total_count": {total}, {two}"#));
        assert_eq!(snapshot.desktops_outcome(), outcome, "{total}");
    }
}

#[test]
fn a_record_without_an_id_counts_as_missing_and_of_two_the_later_is_kept() {
    let snapshot = with(
        r#""desktops": [{"desktop_id": "a", "desktop_name": "1"}, {"desktop_id": null}, {},
            {"desktop_id": ""}, null, {"desktop_id": "a", "desktop_name": "2"}]"#,
    );
    assert_eq!(snapshot.total, Some(5));
    assert_eq!(snapshot.desktops_outcome(), Outcome::Partial);
    let desktops = snapshot.desktops.expect("they were read");
    assert_eq!(desktops.desktops().len(), 1);
    assert_eq!(desktops.desktops()[0].name.as_deref(), Some("2"));
    // One id twice, and the writer vouches: it is whole.
    let twice = with(r#""desktops": [{"desktop_id": "a"}, {"desktop_id": "a"}]"#);
    assert_eq!((twice.total, twice.desktops_outcome()), (Some(1), Outcome::Complete));
}

#[test]
fn both_spellings_are_read_and_the_documented_one_first() {
    let users = r#"[{"name": "bob", "type": "USER"}, {"type": "USER", "name": "bob"}, null]"#;
    let snapshot = with(&format!(
        r#""desktops": [
            {{"desktop_id": "a", "login_status": "OFFLINE", "attach_infos": {users}, "new": [1, {{}}]}},
            {{"desktop_id": "b", "login_status": "x", "connect_status": "y",
              "attach_infos": {users}, "attach_users": []}},
            {{"desktop_id": "c", "connect_status": null, "attach_users": null}}]"#
    ));
    let listing = snapshot.desktops.expect("they were read");
    let [a, b, c] = listing.desktops() else { panic!("three were written") };
    assert_eq!(a.status.as_deref(), Some("OFFLINE"));
    assert_eq!(a.users.entries().len(), 1);
    assert_eq!(b.status.as_deref(), Some("y"));
    assert_eq!((b.users.entries().len(), c.users.entries().len()), (0, 0));
    assert_eq!(c.status, None);
}

#[test]
fn nul_becomes_its_picture_in_every_text() {
    let line = read(concat!(
        r#"{"source":"p\u0000","region":"r\u0000","observed_at":"2026-10-01T08:00:00Z","#,
        r#""desktops":[{"desktop_id":"\u0000","desktop_name":"\u0000","connect_status":"\u0000","#,
        r#""attach_users":[{"id":"\u0000","name":"\u0000","type":"\u0000","user_group":"\u0000"}]}],"#,
        r#""statics":[{"static_name":"\u0000"}],"error":{"code":"\u0000","message":"\u0000"}}"#,
    ));
    let shown = format!("{line:?}");
    assert!(!shown.contains('\0') && !shown.contains("\\0"), "{shown}");
    assert_eq!(shown.matches('\u{2400}').count(), 12, "{shown}");
}

#[test]
fn counters_are_whole_numbers_or_nothing() {
    let snapshot = with(
        r#""statics": [{"static_name": "g", "running_num": 1, "stop_num": "2", "hibernate_num": 3.0,
            "other_num": 3.5, "attached_num": "x", "unattached_num": null, "cannot_attach_num": true,
            "in_process_num": [1], "in_use_num": {"a": 1}, "unregistered_num": 1e30,
            "ready_num": -4}, {"static_name": null}, {"static_name": "g"}]"#,
    );
    let groups = snapshot.groups.expect("they were read");
    let none = [None; 13];
    let mut first = none;
    (first[0], first[1], first[2], first[10]) = (Some(1), Some(2), Some(3), Some(-4));
    assert_eq!(groups[0].counters, first);
    assert_eq!((groups[1].name.as_deref(), groups[1].counters), (None, none));
    assert_eq!(groups[2].name.as_deref(), Some("g"));
}

#[test]
fn the_reason_and_the_pin_are_read() {
    let snapshot = with(r#""error": {"code": 401, "message": "wrong password", "title": "x"}"#);
    let failure = snapshot.failure.expect("it was given");
    assert_eq!(failure.code.as_deref(), Some("401"));
    assert_eq!(failure.message.as_deref(), Some("wrong password"));
    let line = read(
        r#"{"source":"s","observed_at":"2026-10-01T08:00:00Z","region":null,"project_id":"p","scheduled_at":"2026-10-01T07:59:59Z"}"#,
    );
    let pin = Pin { project_id: Some("p".to_owned()), ..Pin::default() };
    assert_eq!(line.pin, Some(pin));
    assert!(line.snapshot.scheduled_at.is_some_and(|at| at < line.snapshot.observed_at));
}

#[test]
fn a_leap_second_is_the_instant_after_it() {
    let line = read(r#"{"source":"s","observed_at":"2016-12-31T23:59:60.5Z"}"#);
    assert_eq!(line.snapshot.observed_at.to_rfc3339(), "2017-01-01T00:00:00.500+00:00");
}

#[test]
fn a_refused_line_says_precisely_why() {
    for (line, message) in [
        ("", "no valid JSON at column 1: the line ends where an object, `{` was expected"),
        ("[]", "no valid JSON at column 1: expected an object, `{`"),
        ("{\"source\" 1}", "no valid JSON at column 11: expected `:`"),
        ("{\"source\":\"x\"} x", "no valid JSON at column 16: expected the end of the line"),
        ("{\"source\":\"x\",}", "no valid JSON at column 15: expected a key"),
        ("{\"source\":\"x", "no valid JSON at column 12: EOF while parsing a string"),
        ("{}", "`source` is missing or empty"),
        (r#"{"source":""}"#, "`source` is missing or empty"),
        (r#"{"source":"s","observed_at":null}"#, "`observed_at` is missing or empty"),
        (
            r#"{"source":"s","observed_at":"2026-10-01 08:00"}"#,
            "`observed_at` is `2026-10-01 08:00`, no RFC 3339 instant like `2026-10-01T08:00:00Z`",
        ),
        (
            r#"{"source":7}"#,
            "`source` at column 11: invalid type: integer `7`, expected a text or null",
        ),
        (r#"{"source":"s","source":"s"}"#, "`source` comes twice"),
        (
            r#"{"source":"s","total_cnt":2}"#,
            "`total_cnt` at column 15 is no known key; did you mean `total_count`?",
        ),
        (
            r#"{"source":"s","Desktops":[],"total_cnt":2}"#,
            "`Desktops` at column 15 is no known key; did you mean `desktops`?",
        ),
    ] {
        assert_eq!(refused(line), message, "{line}");
    }
    let mut wrong = Vec::new();
    for (fields, message) in [
        (
            r#""max_gap":"15""#,
            "`max_gap` cannot be used: `15` is no duration; write for example `90s`, `15m`, `2h`, `1d` or `1h30m`",
        ),
        (r#""max_gap":"0s""#, "`max_gap` is `0s`; it must be at least one second"),
        (
            r#""finished_at":"2026-10-01T07:59:59Z""#,
            "`finished_at` 2026-10-01 07:59:59 UTC is before `observed_at` 2026-10-01 08:00:00 UTC",
        ),
        (
            r#""total_count":"many""#,
            "`total_count` at column 66: expected a whole number, a text of digits, or null",
        ),
        (r#""desktops":{}"#, "`desktops` at column 63: expected a list or null"),
        (r#""desktops":null,"desktops":null"#, "`desktops` comes twice"),
        (
            r#""desktops":[{},{"desktop_id":5}]"#,
            "`desktops[1]` at column 82: `desktop_id` holds an invalid type: integer `5`, expected a text or null",
        ),
        (
            r#""desktops":[7]"#,
            "`desktops[0]` at column 64: invalid type: integer `7`, expected a desktop's record",
        ),
        (
            r#""desktops":[{"desktop_id":"a","attach_users":[{"name":1}]}]"#,
            "`desktops[0].attach_users` at column 106: invalid type: integer `1`, expected a text or null",
        ),
        (r#""desktops":[{} {}]"#, "no valid JSON at column 67: expected `,` or `]`"),
        (
            r#""statics":[null]"#,
            "`statics[0]` at column 66: invalid type: null, expected a group's record",
        ),
    ] {
        let got = refused_with(fields);
        if got != message {
            wrong.push((got, message));
        }
    }
    // All at once, to see them together.
    assert_eq!(wrong, []);
}

#[test]
fn the_same_record_is_shared_between_lines() {
    let mut parser = Parser::new(GAP);
    let mut line = |desktops: &str| {
        let line = format!(
            r#"{{"source":"s","observed_at":"2026-10-01T08:00:00Z","desktops":[{desktops}]}}"#
        );
        let snapshot = parser.parse(line.as_bytes()).expect("it is well-formed").snapshot;
        snapshot.desktops.expect("they were read").desktops().to_vec()
    };
    let a = r#"{"desktop_id":"a","desktop_name":"A","connect_status":"CONNECTED"}"#;
    let b = r#"{"desktop_id":"b","desktop_name":"B","connect_status":"CONNECTED"}"#;
    let b2 = r#"{"desktop_id":"b","desktop_name":"B","connect_status":"DISCONNECTED"}"#;
    let first = line(&format!("{a},{b}"));
    // One in front, one gone, one changed: what stayed is the same memory.
    let second = line(&format!(r#"{{"desktop_id":"0"}}, {b2}"#));
    assert!(Arc::ptr_eq(&first[1].id, &second[1].id));
    assert_eq!(second[1].status.as_deref(), Some("DISCONNECTED"));
    let third = line(&format!("{b2},{a}"));
    assert!(Arc::ptr_eq(&third[0].id, &first[1].id));
    assert_eq!(third[1], first[0]);
}

/// The API documents no order: a list that is turned about reads the same, doubled records, records
/// without an id and changed ones among it.
#[test]
fn lists_in_any_order_read_as_if_each_were_alone() {
    let mut records: Vec<String> = (0..400)
        .map(|at| {
            let users = format!(r#"[{{"name":"user-{}","type":"USER"}}]"#, at % 7);
            match at % 50 {
                48 => format!(r#"{{"desktop_name":"nameless {at}"}}"#),
                // The same record more than once in a line.
                49 => r#"{"desktop_id":"twice","connect_status":"CONNECTED"}"#.to_owned(),
                _ => format!(
                    r#"{{"desktop_id":"{at:036}","desktop_name":"DESK-{at}","attach_users":{users}}}"#
                ),
            }
        })
        .collect();
    let mut parser = Parser::new(GAP);
    for step in 0..6 {
        // A fixed shuffle: 7 has no divisor in common with 400.
        let turned: Vec<String> =
            (0..records.len()).map(|at| records[(at * 7 + step) % records.len()].clone()).collect();
        records = turned;
        records[step] = format!(r#"{{"desktop_id":"new-{step}"}}"#);
        let line = format!(
            r#"{{"source":"s","observed_at":"2026-10-01T08:00:00Z","desktops":[{}]}}"#,
            records.join(", ")
        );
        assert_eq!(parser.parse(line.as_bytes()).expect("it is well-formed"), read(&line));
    }
}
