//! What has to hold after each op, and what in the end.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use deskledger::domain::{Failure, Instant, Snapshot};
use deskledger::exchange::write_line;
use deskledger::store::Progress;
use serde_json::{Value, json};

use super::fleet::Served;
use super::run::{Run, SOURCE};
use crate::oracle::ledger::Ledger;
use crate::oracle::rows::{Row, difference, sorted};
use crate::oracle::views;
use crate::support::ledger::{pack, rows};

/// A visit as the ledger has it.
#[derive(Debug, sqlx::FromRow)]
struct Entry {
    snapshot_id: i64,
    observed_at: Instant,
    finished_at: Instant,
    scheduled_at: Option<Instant>,
    error_code: Option<String>,
    error_message: Option<String>,
    late: bool,
}

const ENTRIES: &str = "select * from (
    select sequence, snapshot_id, observed_at, finished_at, scheduled_at, error_code, error_message, false as late
      from deskledger_data.snapshot
     union all
    select sequence, snapshot_id, observed_at, finished_at, scheduled_at, error_code, error_message, true
      from deskledger_data.late) n
 order by sequence";

/// Those that show single snapshots, late ones too.
const OF_SNAPSHOTS: [&str; 3] = ["snapshots", "desktop_snapshots", "group_snapshots"];

impl Entry {
    fn key(&self) -> (Instant, Instant) {
        (self.observed_at, self.finished_at)
    }

    fn is_dropped(&self) -> bool {
        self.error_code.as_deref() == Some("dropped")
    }

    fn failure(&self) -> Option<Failure> {
        let (code, message) = (self.error_code.clone(), self.error_message.clone());
        (code.is_some() || message.is_some()).then_some(Failure { code, message })
    }
}

impl Run {
    async fn entries(&self) -> Vec<Entry> {
        sqlx::query_as(ENTRIES).fetch_all(&self.pool).await.unwrap()
    }

    /// What holds at any time, as far as it is quick to tell.
    pub async fn check(&self) -> Result<(), String> {
        let entries = self.entries().await;
        let book = self.book.lock().unwrap();
        let served: BTreeMap<_, &Served> =
            book.iter().map(|served| ((served.observed_at, served.finished_at), served)).collect();
        let mut newest: (Option<Instant>, Option<Instant>) = (None, None);
        let mut seen = BTreeSet::new();
        for entry in &entries {
            let Some(served) = served.get(&entry.key()) else {
                return Err(format!("it was never served: {entry:?}"));
            };
            if entry.scheduled_at != served.scheduled_at {
                return Err(format!("it was for {:?}: {entry:?}", served.scheduled_at));
            }
            if entry.is_dropped() && !self.machines[served.who].drops {
                return Err(format!("nothing is to be dropped: {entry:?}"));
            }
            if !seen.insert((entry.key(), entry.is_dropped())) {
                return Err(format!("it is there twice: {entry:?}"));
            }
            if entry.late {
                continue;
            }
            if newest.0 >= Some(entry.observed_at)
                || entry.scheduled_at.is_some() && newest.1 >= entry.scheduled_at
            {
                return Err(format!("it comes after {newest:?}: {entry:?}"));
            }
            newest = (Some(entry.observed_at), entry.scheduled_at.or(newest.1));
        }
        for late in entries.iter().filter(|entry| entry.late && !entry.is_dropped()) {
            let who = served[&late.key()].who;
            let excuses = |entry: &Entry| {
                let (at, tick) = (entry.observed_at, entry.scheduled_at);
                let is_anothers = served[&entry.key()].who != who;
                let is_of_its_tick = tick.is_some() && tick == late.scheduled_at;
                let is_before = at >= late.observed_at
                    || late.scheduled_at.is_some() && tick >= late.scheduled_at;
                !entry.late && (is_of_its_tick || is_anothers && is_before)
            };
            if !self.machines[who].is_set_back && !entries.iter().any(excuses) {
                return Err(format!("it is late for no reason: {late:?}"));
            }
        }
        let lost: Vec<_> = book
            .iter()
            .filter(|served| {
                let key = (served.observed_at, served.finished_at);
                served.is_kept && !seen.contains(&(key, false)) && !seen.contains(&(key, true))
            })
            .map(|served| (served.who, served.observed_at))
            .collect();
        let waiting = self.waiting();
        if lost.len() > waiting {
            return Err(format!("{waiting} wait, and these are nowhere else: {lost:?}"));
        }
        Ok(())
    }

    /// What holds once everything is caught up.
    pub async fn check_everything(&mut self) -> Result<(), String> {
        let entries = self.entries().await;
        for entry in &entries {
            let what = if entry.late { "late entries" } else { "entries in the history" };
            *self.tally.entry(what).or_default() += 1;
            *self.tally.entry("dropped entries").or_default() += u64::from(entry.is_dropped());
        }
        let snapshots: Vec<(&Entry, Snapshot)> = {
            let book = self.book.lock().unwrap();
            let of = |entry: &Entry| {
                let served = book
                    .iter()
                    .find(|served| (served.observed_at, served.finished_at) == entry.key());
                served.unwrap().snapshot(entry.failure(), entry.is_dropped())
            };
            entries.iter().map(|entry| (entry, of(entry))).collect()
        };
        let history: Vec<&Snapshot> = snapshots
            .iter()
            .filter(|(entry, _)| !entry.late)
            .map(|(_, snapshot)| snapshot)
            .collect();
        if !history.is_empty() {
            if history.len().is_multiple_of(2) {
                pack(&self.store).await;
            }
            self.check_views(&Ledger::read(&lines(&history))).await?;
        }
        for (entry, snapshot) in snapshots.iter().filter(|(entry, _)| entry.late) {
            self.check_late(entry, snapshot).await?;
        }
        let verdicts = self.store.verify(None, &BTreeMap::new(), &Progress::default()).await;
        match verdicts.unwrap().into_iter().find_map(|verdict| verdict.fault) {
            Some(fault) => Err(format!("verify: {fault:?}")),
            None => Ok(()),
        }
    }

    async fn check_views(&self, oracle: &Ledger) -> Result<(), String> {
        let pool = &self.pool;
        let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(pool).await.unwrap();
        for view in views::VIEWS {
            let of_history = if OF_SNAPSHOTS.contains(&view) {
                "where snapshot_id not in (select snapshot_id from deskledger_data.late)"
            } else {
                ""
            };
            let sql = format!("select * from deskledger.{view} {of_history}");
            let actual = without_ids(rows(pool, &sql).await);
            let expected = sorted(views::view(oracle, view, now.timestamp_micros()));
            if let Some(difference) = difference(&expected, &sorted(actual)) {
                return Err(format!("view {view}: {difference}"));
            }
        }
        Ok(())
    }

    async fn check_late(&self, entry: &Entry, snapshot: &Snapshot) -> Result<(), String> {
        let oracle = Ledger::read(&lines(&[snapshot]));
        for view in OF_SNAPSHOTS {
            let id = entry.snapshot_id;
            let sql = format!("select * from deskledger.{view} where snapshot_id = {id}");
            let mut actual = without_ids(rows(&self.pool, &sql).await);
            let mut expected = views::view(&oracle, view, 0);
            if view == "snapshots" {
                // By whichever of the machines' clocks.
                let received = actual.iter_mut().filter_map(|row| row.shift_remove("received_at"));
                if received.filter(Value::is_i64).count() != 1 {
                    return Err(format!("nobody knows when it came: {actual:?}"));
                }
                for row in &mut expected {
                    row.shift_remove("received_at");
                    row.insert("changes".to_owned(), json!(0));
                    row.insert("late".to_owned(), json!(true));
                }
            }
            if let Some(difference) = difference(&sorted(expected), &sorted(actual)) {
                return Err(format!("late, view {view}: {difference}"));
            }
        }
        Ok(())
    }
}

fn without_ids(mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        row.shift_remove("snapshot_id");
        row.shift_remove("digest");
    }
    rows
}

fn lines(snapshots: &[&Snapshot]) -> String {
    let mut lines = Vec::new();
    for snapshot in snapshots {
        write_line(&mut lines, SOURCE, None, snapshot).unwrap();
    }
    String::from_utf8(lines).unwrap()
}
