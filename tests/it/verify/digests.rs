//! `docs/digests.md`: its example, and the checker that was written from it alone.

use std::fmt::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use chrono::TimeDelta;
use deskledger::domain::digest::{Header, Kind, entry_digest, late_commitment};
use deskledger::domain::{AttachUser, AttachUsers, Beliefs, Desktop, Failure, Listing, Snapshot};
use deskledger::exchange::write_line;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::io::AsyncWriteExt as _;

use super::changes::{restore, save};
use super::history;
use crate::support::ledger::ledger;

fn path(below: &str) -> String {
    format!("{}/{below}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_worked_example_is_what_recording_computes() {
    let text = |text: &str| Some(Arc::<str>::from(text));
    let at = "2026-10-05T08:00:00Z".parse().unwrap();
    let users = AttachUsers::new(vec![AttachUser {
        kind: text("USER"),
        id: text("u-1"),
        name: text("alice"),
        user_group: text("users"),
    }]);
    let desktop =
        Desktop { id: "d-1".into(), name: text("DESK-1"), status: text("CONNECTED"), users };
    let snapshot = Snapshot {
        scheduled_at: None,
        observed_at: at,
        finished_at: at + TimeDelta::seconds(20),
        max_gap: TimeDelta::seconds(900),
        total: Some(1),
        desktops: Some(Listing::new(vec![desktop])),
        groups: Some(Vec::new()),
        failure: None,
    };
    let mut next = 0_u8;
    let mut salts = || {
        let salt = std::array::from_fn(|at| next + u8::try_from(at).unwrap());
        next += 16;
        salt
    };
    let changes = Beliefs::none("prod").observe(&snapshot, &mut salts).unwrap();
    let page = std::fs::read_to_string(path("docs/digests.md")).unwrap();
    let registered = &changes.registered;
    for hash in [
        registered.desktops[0].3,
        registered.persons[0].3,
        registered.labels[0].4,
        changes.entry.body_hash.unwrap(),
        changes.entry.digest,
    ] {
        let line = format!("  SHA-256: {}\n", hex::encode(hash));
        assert!(page.contains(&line), "not on the page: {line}");
    }
    // And the late one.
    let late_at = at - TimeDelta::minutes(5);
    let late = Snapshot {
        observed_at: late_at,
        finished_at: late_at + TimeDelta::seconds(20),
        total: None,
        desktops: None,
        groups: None,
        failure: Some(Failure { code: Some("timeout".into()), message: None }),
        ..snapshot
    };
    let mut line = Vec::new();
    write_line(&mut line, "prod", None, &late).unwrap();
    let line = std::str::from_utf8(&line).unwrap().trim_end();
    let body = late_commitment(&std::array::from_fn(|at| 0x30 + u8::try_from(at).unwrap()), line);
    let header = Header::of(&late, 0).late_hash(at + TimeDelta::seconds(30));
    let digest = entry_digest(&changes.entry.digest, 2, Kind::Late, &header, &body);
    for hash in [body, header, digest] {
        let line = format!("  SHA-256: {}\n", hex::encode(hash));
        assert!(page.contains(&line), "not on the page: {line}");
    }
    // Every hash of the examples is that of the bytes above it.
    let examples = page.split("## An example").nth(1).unwrap().split("\n## ").next().unwrap();
    let examples = examples.split("```").skip(1).step_by(2);
    let blocks: Vec<&str> = examples.flat_map(|example| example.trim().split("\n\n")).collect();
    assert_eq!(blocks.len(), 11);
    for block in blocks {
        let mut bytes = Vec::new();
        for line in block.lines().skip(1) {
            match line.trim().strip_prefix("SHA-256: ") {
                None => {
                    bytes.extend(hex::decode(line.trim().split(' ').next().unwrap()).unwrap());
                }
                Some(hash) => {
                    use sha2::Digest as _;
                    assert_eq!(hex::encode(sha2::Sha256::digest(&bytes)), hash, "{block}");
                }
            }
        }
    }
}

/// The rows as the end of the page makes them.
async fn dump(pool: &PgPool) -> String {
    let page = std::fs::read_to_string(path("docs/digests.md")).unwrap();
    let tables = page.split("for t in ").nth(1).unwrap().split(';').next().unwrap();
    let mut connection = pool.acquire().await.unwrap();
    sqlx::query("set timezone = 'UTC'").execute(&mut *connection).await.unwrap();
    let mut lines = String::new();
    for table in tables.split_whitespace().filter(|word| *word != "\\") {
        let rows = format!(
            "select json_build_object('table', '{table}', 'row', t)::text from deskledger_data.{table} t"
        );
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut *connection).await.unwrap();
        for row in rows {
            writeln!(lines, "{row}").unwrap();
        }
    }
    lines
}

/// Runs the checker: its exit code and what it said.
pub async fn check(pool: &PgPool) -> (Option<i32>, String) {
    let mut child = tokio::process::Command::new("python3")
        .args(["-B", &path("tests/digests/check.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("Python 3 is there");
    let mut stdin = child.stdin.take().unwrap();
    let rows = dump(pool).await;
    let writing = tokio::spawn(async move { stdin.write_all(rows.as_bytes()).await });
    let done = child.wait_with_output().await.unwrap();
    writing.await.unwrap().unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

#[tokio::test]
async fn a_checker_written_from_the_page_alone_comes_to_the_same_digests() {
    let (database, store) = ledger().await;
    history::recorded(&store).await;
    let heads: Vec<String> = sqlx::query_scalar(
        "select format('%s: ok, %s entries, digest %s', name, sequence, encode(digest, 'hex'))
           from deskledger_data.source join deskledger_data.head using (source_id) order by name",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(check(&database.pool).await, (Some(0), heads.join("\n") + "\n"));

    let saved = save(&database.pool).await;
    for change in [
        "update deskledger_data.snapshot set desktops_total = desktops_total + 1
          where sequence = (select min(sequence) from deskledger_data.snapshot)",
        "update deskledger_data.visit_day set desktops_total[2] = desktops_total[2] + 1",
        "update deskledger_data.visit_day set ticked_at[2] = coalesce(ticked_at[2], observed_at[2]) - interval '1 us'",
        "update deskledger_data.visit_day set scheduled_at = day_from",
        // Two visits exchanged, in every column.
        EXCHANGED,
        "update deskledger_data.visit_day set error_message[1] = 'x'",
        "update deskledger_data.visit_day set body_hash = set_byte(body_hash, 40, get_byte(body_hash, 40) # 1)",
        "update deskledger_data.visit_day set snapshot_id = null, ticked_at = null, groups_recorded = null, changes = null,
                error_code = null, error_message = null, body_hash = null",
        "update deskledger_data.span set status_id = 3 where status_id = 1",
        "update deskledger_data.open_span set label_no = 1",
        // The status of what a packed desktop's month begins with.
        "update deskledger_data.packed set events[1] = events[1] # 256",
        "update deskledger_data.packed_month set at[7] = at[7] + interval '1 us'",
        "update deskledger_data.person set name = 'mallory'",
        "update deskledger_data.label set desktop_name = 'X' where label_no = 2",
        "update deskledger_data.group_span_wide set counters[9] = counters[9] + 1",
        "update deskledger_data.unlisted set to_at = to_at + interval '5 min'",
        "delete from deskledger_data.visit_day",
        "delete from deskledger_data.snapshot where sequence = (select min(sequence) from deskledger_data.snapshot)",
        "update deskledger_data.late set line = replace(line, 'anna', 'mallory')",
        "update deskledger_data.late set received_at = received_at + interval '1 us'",
        "update deskledger_data.late set desktops_total = desktops_total + 1",
        "delete from deskledger_data.late where sequence = (select min(sequence) from deskledger_data.late)",
        "update deskledger_data.person set name = 'zoe' where salt is null",
        "update deskledger_data.label set desktop_name = 'zoe-pc' where salt is null",
        "update deskledger_data.late set line = replace(line, 'erased-1', 'zoe') where salt is null",
        "update deskledger_data.assignment set chain_order = null",
        "update deskledger_data.erasure set pseudonym = 'zoe'",
        "update deskledger_data.erased set replacement = set_byte(replacement, 0, 1) where what = 'L'",
        "delete from deskledger_data.erased",
        "delete from deskledger_data.span where ended = -3",
        "update deskledger_data.head set sequence = sequence - 1",
        "update deskledger_data.source set name = name || '2'",
    ] {
        let changed = sqlx::query(change).execute(&database.pool).await.unwrap();
        assert!(changed.rows_affected() > 0, "{change}");
        let (code, said) = check(&database.pool).await;
        assert_eq!(code, Some(1), "{change}: {said}");
        assert!(said.contains("WRONG"), "{change}: {said}");
        restore(&database.pool, &saved).await;
    }
    assert_eq!(check(&database.pool).await.0, Some(0));
}

/// The first two visits of each day change places.
pub const EXCHANGED: &str = "update deskledger_data.visit_day
       set sequence[1] = sequence[2], sequence[2] = sequence[1],
           observed_at[1] = observed_at[2], observed_at[2] = observed_at[1],
           finished_at[1] = finished_at[2], finished_at[2] = finished_at[1],
           max_gap[1] = max_gap[2], max_gap[2] = max_gap[1],
           desktops_outcome[1] = desktops_outcome[2], desktops_outcome[2] = desktops_outcome[1],
           groups_outcome[1] = groups_outcome[2], groups_outcome[2] = groups_outcome[1],
           desktops_total[1] = desktops_total[2], desktops_total[2] = desktops_total[1],
           desktops_recorded[1] = desktops_recorded[2], desktops_recorded[2] = desktops_recorded[1],
           snapshot_id[1] = snapshot_id[2], snapshot_id[2] = snapshot_id[1],
           ticked_at[1] = ticked_at[2], ticked_at[2] = ticked_at[1],
           groups_recorded[1] = groups_recorded[2], groups_recorded[2] = groups_recorded[1],
           changes[1] = changes[2], changes[2] = changes[1],
           error_code[1] = error_code[2], error_code[2] = error_code[1],
           error_message[1] = error_message[2], error_message[2] = error_message[1],
           digest = substr(digest, 33, 32) || substr(digest, 1, 32) || substr(digest, 65),
           body_hash = substr(body_hash, 33, 32) || substr(body_hash, 1, 32) || substr(body_hash, 65)
     where cardinality(sequence) > 1";
