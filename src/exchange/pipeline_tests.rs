use std::error::Error;
use std::io::Write;

use super::*;
use crate::domain::{Desktop, Listing};
use crate::exchange::{Output, write_line};

const GAP: TimeDelta = TimeDelta::minutes(15);

/// So many lines, of so many desktops each.
fn history(lines: usize, desktops: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for minute in 0..lines {
        let line = format!(
            r#"{{"source":"s","observed_at":"2026-10-01T00:00:00Z","desktops":[],"total_count":{minute}}}"#
        );
        let mut line = crate::exchange::parse_line(line.as_bytes(), GAP).expect("it is right");
        let desktops = (0..desktops).map(|at| Desktop {
            id: format!("d-{at}").into(),
            name: None,
            status: None,
            users: Default::default(),
        });
        line.snapshot.desktops = Some(Listing::new(desktops.collect()));
        write_line(&mut bytes, "s", None, &line.snapshot).expect("a vector takes everything");
    }
    bytes
}

fn input(bytes: impl Into<Vec<u8>>) -> Input {
    Input::from_reader("test", io::Cursor::new(bytes.into()), None).expect("memory reads")
}

fn totals(input: Input, parsers: usize) -> Vec<i64> {
    Lines::with_parsers(input, GAP, parsers)
        .expect("threads start")
        .map(|line| {
            line.expect("the line is right").line.snapshot.total.expect("its listing has one")
        })
        .collect()
}

fn expected(lines: usize) -> Vec<i64> {
    (0..).take(lines).collect()
}

#[test]
fn lines_come_in_order_whatever_their_length_and_however_many_parse() {
    for (lines, desktops) in [(0, 0), (1, 0), (3000, 1), (40, 20_000)] {
        let bytes = history(lines, desktops);
        for parsers in [1, 3] {
            assert_eq!(totals(input(bytes.clone()), parsers), expected(lines));
        }
    }
}

#[test]
fn a_line_need_not_end_and_may_be_blank() {
    let mut bytes = b"\xef\xbb\xbf\n\r\n".to_vec();
    bytes.extend(history(2, 3));
    bytes.pop();
    let numbers: Vec<u64> = Lines::new(input(bytes), GAP)
        .expect("threads start")
        .map(|line| line.expect("the line is right").number)
        .collect();
    assert_eq!(numbers, [3, 4]);
}

#[test]
fn compressed_files_are_known_by_their_content_and_read_to_their_last_member() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for ending in ["ndjson", "ndjson.gz", "ndjson.ZST"] {
        let path = folder.path().join(format!("history.{ending}"));
        let half = history(20, 50);
        let mut bytes = Vec::new();
        for _ in 0..2 {
            let mut output = Output::create(&path).expect("the folder is writable");
            output.write_all(&half).expect("the file is writable");
            output.finish().expect("the file is writable");
            bytes.extend(std::fs::read(&path).expect("it was written"));
        }
        assert_eq!(bytes.len() < half.len(), ending != "ndjson", "{ending}");
        // A name that says nothing.
        let path = folder.path().join("history");
        std::fs::write(&path, &bytes).expect("the folder is writable");
        let input = Input::open(&path).expect("it was written");
        let progress = input.progress();
        assert_eq!(progress.total(), Some(bytes.len() as u64));
        let mut twice = expected(20);
        twice.extend(expected(20));
        assert_eq!(totals(input, 1), twice, "{ending}");
        assert_eq!(progress.read(), bytes.len() as u64);
    }
}

#[test]
fn a_bad_line_is_named_and_everything_before_it_is_read() {
    let mut bytes = history(5, 1);
    bytes.extend(b"{\"source\":\n");
    bytes.extend(history(1, 1));
    for parsers in [1, 2] {
        let mut lines =
            Lines::with_parsers(input(bytes.clone()), GAP, parsers).expect("they start");
        assert_eq!(lines.by_ref().take(5).filter(Result::is_ok).count(), 5);
        let error = lines.next().expect("a line is left").expect_err("it is wrong");
        assert_eq!(error.to_string(), "read line 6 of `test`");
        assert!(error.source().is_some_and(|cause| cause.to_string().contains("the line ends")));
        assert!(lines.next().is_none(), "nothing behind a bad line is used");
    }
}

#[test]
fn a_damaged_archive_is_an_error_and_not_the_end() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for ending in ["gz", "zst"] {
        let path = folder.path().join(format!("history.{ending}"));
        let mut output = Output::create(&path).expect("the folder is writable");
        output.write_all(&history(3000, 9)).expect("the file is writable");
        output.finish().expect("the file is writable");
        let mut bytes = std::fs::read(&path).expect("it was written");
        bytes.truncate(bytes.len() / 2);
        let last = Lines::new(input(bytes), GAP).expect("threads start").last();
        assert!(matches!(last, Some(Err(ReadError::Io { .. }))), "{ending}: {last:?}");
    }
}

#[test]
fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
    let (send, batches) = sync_channel(4);
    let (_keep, empty) = sync_channel(1);
    split(Box::new(io::BufReader::new(io::repeat(b' '))), &[send], &empty, 1 << 20);
    let ends: Vec<_> = batches.iter().filter_map(|batch| batch.end).collect();
    assert!(matches!(ends[..], [End::TooLong(1)]));
}

#[test]
fn dropping_the_lines_early_stops_the_threads() {
    let mut lines = Lines::with_parsers(input(history(3000, 9)), GAP, 2).expect("threads start");
    assert!(lines.next().is_some());
    let threads = std::mem::take(&mut lines.threads);
    drop(lines);
    for thread in threads {
        thread.join().expect("it ends by itself");
    }
}
