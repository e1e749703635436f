//! `verify` as its users run it: what it prints, its exit codes, and seals.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::changes::{NOT_SEEN, restore, save};
use super::history;
use crate::support::ledger::{keep_late_lines, ledger, record};
use crate::support::program::Home;

/// The first `lines` lines of the history.
fn beginning(lines: usize) -> String {
    history::history().lines().take(lines).map(|line| format!("{line}\n")).collect()
}

fn rest(lines: usize) -> String {
    history::history().lines().skip(lines).map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn a_right_ledger_is_said_to_be_right_and_what_that_cannot_mean() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    assert!(home.run(&["verify"]).await.expect(0).out.contains("No source is recorded yet."));
    record(&store, &history::history(), 1, usize::MAX).await;
    let done = home.run(&["verify"]).await.expect(0);
    assert!(done.out.contains("prod: ok, 30 entries, "), "{}", done.out);
    assert!(done.out.contains("qa: ok, 10 entries, "), "{}", done.out);
    assert!(done.out.contains("newest entries were cut off"), "{}", done.out);
    assert_eq!(done.err, "");

    let done = home.run(&["verify", "--source", "qa", "--format", "json"]).await.expect(0);
    let result: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(result["ok"], true);
    assert_eq!(result["sources"].as_array().unwrap().len(), 1);
    assert_eq!(result["sources"][0]["entries"], 10);
    assert_eq!(result["sources"][0]["wrong"], Value::Null);
    home.run(&["verify", "--source", "other"]).await.expect(2);
}

#[tokio::test]
async fn a_wrong_ledger_ends_with_code_1_and_the_first_snapshot_that_is_wrong() {
    let (database, store) = ledger().await;
    record(&store, &history::history(), 1, usize::MAX).await;
    sqlx::query("update deskledger_data.snapshot set error_message = 'all well' where sequence = 17 and source_id = 1")
        .execute(&database.pool)
        .await
        .unwrap();
    let home = Home::new(&database);
    let done = home.run(&["verify"]).await.expect(1);
    assert!(done.out.contains("prod: WRONG, snapshot "), "{}", done.out);
    assert!(done.out.contains("right before it: 16 entries"), "{}", done.out);
    assert!(done.out.contains("qa: ok"), "{}", done.out);
    let errors = done.errors();
    assert!(errors.len() == 1 && errors[0].contains("(entry 17)"), "{errors:?}");
    let done = home.run(&["verify", "--format", "json"]).await.expect(1);
    let result: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(result["ok"], false);
    assert_eq!(result["sources"][0]["wrong"]["sequence"], 17);
    // Names of persons are nothing for whoever reads this.
    assert!(!done.out.contains("anna") && !done.err.contains("anna"));
}

/// A key and a seal in a folder; the key's public half.
async fn seal(home: &Home) -> String {
    let done = home.run(&["verify", "--new-key", "key"]).await.expect(0);
    let mode = std::fs::metadata(home.path().join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    home.run(&["verify", "--seal", "seal", "--key", "key"]).await.expect(0);
    done.out.trim().to_owned()
}

#[tokio::test]
async fn a_seal_shows_a_tail_that_was_cut_off() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &beginning(20), 1, usize::MAX).await;
    let saved = save(&database.pool).await;
    record(&store, &rest(20), 1, usize::MAX).await;
    let key = seal(&home).await;
    let done = home.run(&["verify", "--against", "seal"]).await.expect(0);
    assert_eq!(done.out.matches("the history up to the seal is unchanged").count(), 2);
    assert!(done.out.contains(&key) && done.out.contains("as the place is safe"), "{}", done.out);
    home.run(&["verify", "--against", "seal", "--public-key", &key]).await.expect(0);

    restore(&database.pool, &saved).await;
    home.run(&["verify"]).await.expect(0);
    let done = home.run(&["verify", "--against", "seal"]).await.expect(1);
    assert!(done.err.contains("the newest were cut off"), "{}", done.err);
    // The last that is there is right: nobody is to look for what is wrong with it.
    assert!(
        done.err.contains("after snapshot ") && done.err.contains("(entry 15)"),
        "{}",
        done.err
    );
    assert!(done.out.contains("  right up to there: 15 entries"), "{}", done.out);
    assert!(!done.out.contains("seal is unchanged"), "{}", done.out);
}

#[tokio::test]
async fn a_tail_that_was_cut_off_beside_the_head_blames_no_snapshot() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &history::history(), 1, usize::MAX).await;
    let cut = "delete from deskledger_data.snapshot where sequence > 28 and source_id = 1";
    sqlx::query(cut).execute(&database.pool).await.unwrap();
    let done = home.run(&["verify"]).await.expect(1);
    assert!(
        done.err.contains("after snapshot ") && done.err.contains("(entry 28)"),
        "{}",
        done.err
    );
    assert!(done.err.contains("expected 30, found 28: the newest were cut off"), "{}", done.err);
    let done = home.run(&["verify", "--format", "json"]).await.expect(1);
    let result: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(result["sources"][0]["wrong"]["sequence"], 28);
    assert_eq!(result["sources"][0]["wrong"]["missing_after_it"], true);
}

/// The chain may go through the seal all the same: no digest holds a view.
#[tokio::test]
async fn nothing_is_called_unchanged_beside_what_is_wrong_before_the_seal() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &history::history(), 1, usize::MAX).await;
    seal(&home).await;
    let lie = "create or replace view deskledger.desktop_snapshots as
               select snapshot_id, ''::text as source, observed_at, ''::text as desktop_id, ''::text as desktop_name,
                      ''::text as connect_status, '[]'::jsonb as attach_users from deskledger_data.snapshot";
    sqlx::query(lie).execute(&database.pool).await.unwrap();
    let done = home.run(&["verify", "--against", "seal"]).await.expect(1);
    assert!(done.out.contains("WRONG") && !done.out.contains("up to the seal"), "{}", done.out);
    // All of it was looked at, and not all of that is before what is wrong.
    assert!(done.out.contains("  looked at: 30 entries"), "{}", done.out);
    let done = home.run(&["verify", "--against", "seal", "--format", "json"]).await.expect(1);
    let result: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(result["sources"][0]["seal_holds"], false);
}

/// Late entries move the digest and not the newest snapshot; a seal holds both.
#[tokio::test]
async fn a_seal_over_a_chain_that_ends_in_a_late_entry_holds_and_shows_that_it_is_gone() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &beginning(20), 1, usize::MAX).await;
    let saved = save(&database.pool).await;
    assert!(keep_late_lines(&store, &beginning(20), 7).await > 0);
    let last = "select bool_and(l.sequence = h.sequence) from deskledger_data.head h
                  cross join lateral (select max(sequence) as sequence from deskledger_data.late l
                                       where l.source_id = h.source_id) l where h.source_id = 1";
    assert!(sqlx::query_scalar::<_, bool>(last).fetch_one(&database.pool).await.unwrap());
    seal(&home).await;
    let holds = async || {
        let done = home.run(&["verify", "--against", "seal"]).await.expect(0);
        assert_eq!(done.out.matches("the history up to the seal is unchanged").count(), 2);
    };
    holds().await;
    record(&store, &rest(20), 1, usize::MAX).await;
    holds().await;
    restore(&database.pool, &saved).await;
    let done = home.run(&["verify", "--against", "seal"]).await.expect(1);
    assert!(done.err.contains("the newest were cut off"), "{}", done.err);
}

#[tokio::test]
async fn a_seal_shows_a_ledger_that_was_rewritten_as_a_whole_and_holds_while_it_grows() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &beginning(20), 1, usize::MAX).await;
    seal(&home).await;
    record(&store, &rest(20), 1, usize::MAX).await;
    home.run(&["verify", "--against", "seal"]).await.expect(0);

    // Wrong after the seal: what is sealed is still proven.
    let saved = save(&database.pool).await;
    let change = "update deskledger_data.snapshot set changes = changes + 1 where sequence = 29";
    sqlx::query(change).execute(&database.pool).await.unwrap();
    let done = home.run(&["verify", "--against", "seal"]).await.expect(1);
    assert_eq!(done.out.matches("the history up to the seal is unchanged").count(), 1);
    assert_eq!(done.out.matches("up to the seal every digest is as it was sealed").count(), 1);
    restore(&database.pool, &saved).await;

    // What was not known when it was sealed may be pinned later, and is said.
    let change = "update deskledger_data.source set project_id = 'later' where name = 'prod'";
    sqlx::query(change).execute(&database.pool).await.unwrap();
    let done = home.run(&["verify", "--against", "seal"]).await.expect(0);
    let note = "  note: since the seal `project_id` was set to `later`\n";
    assert_eq!(done.out.matches(note).count(), 1, "{}", done.out);
    let done = home.run(&["verify", "--against", "seal", "--format", "json"]).await.expect(0);
    let json: Value = serde_json::from_str(&done.out).unwrap();
    let sources = json["sources"].as_array().unwrap().iter();
    let set: Vec<_> = sources.map(|source| source["set_since_seal"].to_string()).collect();
    assert!(
        set.contains(&"{\"project_id\":\"later\"}".into()) && set.contains(&"{}".into()),
        "{set:?}"
    );
    restore(&database.pool, &saved).await;

    // What no digest holds of a source, its seal does.
    for (table, column, _) in NOT_SEEN.iter().filter(|(table, _, _)| *table == "source") {
        let value = if *column == "created_at" { "now()" } else { "'elsewhere'" };
        let pinned =
            "update deskledger_data.source set region = 'r', project_id = 'p', endpoint = 'e'";
        sqlx::query(pinned).execute(&database.pool).await.unwrap();
        let _ = std::fs::remove_file(home.path().join("seal-2"));
        home.run(&["verify", "--seal", "seal-2", "--key", "key"]).await.expect(0);
        let change = format!("update deskledger_data.{table} set {column} = {value}");
        sqlx::query(sqlx::AssertSqlSafe(change)).execute(&database.pool).await.unwrap();
        home.run(&["verify"]).await.expect(0);
        let done = home.run(&["verify", "--against", "seal-2"]).await.expect(1);
        assert!(done.err.contains(&format!("`{column}` of the source")), "{}", done.err);
        restore(&database.pool, &saved).await;
    }

    store.forget_everything().await.unwrap();
    record(&store, &history::history().replace("anna", "mallory"), 1, usize::MAX).await;
    home.run(&["verify"]).await.expect(0);
    let done = home.run(&["verify", "--against", "seal"]).await.expect(1);
    assert!(done.err.contains("which is sealed"), "{}", done.err);

    store.forget_everything().await.unwrap();
    record(&store, &beginning(1), 1, usize::MAX).await;
    let done = home.run(&["verify", "--against", "seal", "--source", "qa"]).await;
    // Asked for one that is not there at all.
    done.expect(2);
    let done = home.run(&["verify", "--against", "seal"]).await.expect(1);
    assert!(done.out.contains("qa: WRONG, sealed, and not in the ledger"), "{}", done.out);
}

#[tokio::test]
async fn a_seal_is_worth_as_much_as_its_key() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &beginning(12), 1, usize::MAX).await;
    let key = seal(&home).await;
    // Neither is ever overwritten.
    home.run(&["verify", "--new-key", "key"]).await.expect(2);
    home.run(&["verify", "--seal", "seal", "--key", "key"]).await.expect(2);

    let text = std::fs::read_to_string(home.path().join("seal")).unwrap();
    home.write("changed", text.replacen("\"sequence\": ", "\"sequence\": 1", 1).as_bytes());
    let done = home.run(&["verify", "--against", "changed"]).await.expect(1);
    assert!(done.err.contains("its signature is not that of its content"), "{}", done.err);

    home.run(&["verify", "--new-key", "other"]).await.expect(0);
    home.run(&["verify", "--seal", "forged", "--key", "other"]).await.expect(0);
    home.run(&["verify", "--against", "forged"]).await.expect(0);
    let done = home.run(&["verify", "--against", "forged", "--public-key", &key]).await.expect(1);
    assert!(done.err.contains("and not with the one that was asked for"), "{}", done.err);

    home.write("nothing", b"{}");
    home.run(&["verify", "--against", "nothing"]).await.expect(2);
    home.run(&["verify", "--against", "missing"]).await.expect(2);
    home.run(&["verify", "--seal", "new", "--key", "seal"]).await.expect(2);
    // A wrong ledger is not sealed.
    let change = "update deskledger_data.head set sequence = sequence + 1";
    sqlx::query(change).execute(&database.pool).await.unwrap();
    home.run(&["verify", "--seal", "new", "--key", "key"]).await.expect(1);
    assert!(!home.path().join("new").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_recorded_meanwhile_is_right() {
    let (database, store) = ledger().await;
    let recording = {
        let store = store.clone();
        tokio::spawn(async move { record(&store, &history::history(), 1, 4).await })
    };
    let mut seen = 0;
    while !recording.is_finished() {
        assert_eq!(super::faults(&store).await, vec![]);
        seen += 1;
    }
    recording.await.unwrap();
    assert!(seen > 1, "it was never looked at while it was recorded");
    drop(database);
}
