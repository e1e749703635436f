//! What must hold of the ledger, whatever was killed: it is held against what the simulator served when.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::domain::{COUNTERS, Desktop, GroupStatistics};
use deskledger::simulator::{History, Simulator};
use serde_json::{Map, Value};
use sqlx::PgPool;

use super::scene::{Life, MAX_GAP};
use crate::support::ledger::{expected_desktops, rows};

/// One row of `deskledger.snapshots`.
#[derive(Debug, sqlx::FromRow)]
struct Recorded {
    snapshot_id: i64,
    source: String,
    scheduled_at: Option<DateTime<Utc>>,
    observed_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    desktops_outcome: String,
    groups_outcome: String,
}

impl Recorded {
    fn is_when(&self, at: DateTime<Utc>) -> bool {
        (self.observed_at..=self.finished_at).contains(&at)
    }

    fn has_listing(&self) -> bool {
        self.desktops_outcome != "failed"
    }
}

/// Fails unless the ledger holds what was served, once, and all that can be demanded.
pub async fn assert_ledger_is_what_was_served(
    pool: &PgPool,
    simulator: &Simulator,
    lives: &[Life],
) {
    let history = simulator.history();
    let snapshots: Vec<Recorded> = sqlx::query_as(
        "select snapshot_id, source, scheduled_at, observed_at, finished_at, desktops_outcome, groups_outcome
           from deskledger.snapshots order by observed_at",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(!snapshots.is_empty(), "nothing is recorded, so nothing is proven");

    assert_asked_by(&history, lives);
    assert_once(&snapshots, &history);
    assert_content(pool, &snapshots, &history).await;
    assert_acknowledged_is_recorded(&snapshots, lives);
    fetched_is_recorded(&snapshots, &history, lives);
    assert_gaps(pool, &snapshots).await;
    println!(
        "{} visits, {} snapshots, {} recorders, {} of them killed",
        history.moments().len(),
        snapshots.len(),
        lives.len(),
        lives.iter().filter(|life| life.was_killed).count(),
    );
}

/// The proof is worth something: hardly two visits in a row were served the same.
pub fn assert_telling(history: &History) {
    let pages = history.moments().len();
    let alike = (1..pages as u64).filter(|page| fleet(history, page - 1) == fleet(history, *page));
    let alike = alike.count();
    assert!(alike * 4 <= pages, "{alike} of {pages} visits were served what the one before was");
}

/// Each visit was somebody's.
fn assert_asked_by(history: &History, lives: &[Life]) {
    for at in history.moments() {
        let is_known = lives.iter().any(|life| (life.began..=life.ended).contains(at));
        assert!(is_known, "nobody is known to have asked at {at}");
    }
}

/// No snapshot and no tick twice, and one visit after the other.
fn assert_once(snapshots: &[Recorded], history: &History) {
    assert!(snapshots.iter().all(|snapshot| snapshot.source == "prod"));
    for pair in snapshots.windows(2) {
        assert!(pair[0].observed_at < pair[1].observed_at, "twice: {pair:?}");
        assert!(pair[0].finished_at <= pair[1].observed_at, "at the same time: {pair:?}");
    }
    let mut ticks: Vec<_> = snapshots.iter().filter_map(|one| one.scheduled_at).collect();
    let all = ticks.len();
    ticks.sort_unstable();
    ticks.dedup();
    assert_eq!(ticks.len(), all, "a tick is recorded twice");
    let listed = snapshots.iter().filter(|snapshot| snapshot.has_listing()).count();
    assert!(listed <= history.moments().len(), "more is recorded than was ever served");
}

/// Each snapshot is what was served between its beginning and its end, whole.
async fn assert_content(pool: &PgPool, snapshots: &[Recorded], history: &History) {
    let sql = "select snapshot_id, desktop_id, desktop_name, connect_status, attach_users
                 from deskledger.desktop_snapshots order by snapshot_id, desktop_id collate \"C\"";
    let mut desktops = by_snapshot(pool, sql).await;
    let sql = "select snapshot_id, static_name, in_use_num, attached_num
                 from deskledger.group_snapshots order by snapshot_id, static_name collate \"C\"";
    let mut groups = by_snapshot(pool, sql).await;
    for snapshot in snapshots {
        let pages: Vec<u64> = (0..)
            .zip(history.moments())
            .filter(|(_, at)| snapshot.is_when(**at))
            .map(|(page, _)| page)
            .collect();
        let recorded = desktops.remove(&snapshot.snapshot_id).unwrap_or_default();
        if snapshot.has_listing() {
            // More than one where the recorder was frozen, and asked again.
            let is_served =
                pages.iter().any(|page| expected_desktops(&fleet(history, *page)) == recorded);
            assert!(is_served, "{snapshot:?} is none of the pages {pages:?}: {recorded:#?}");
        } else {
            assert_eq!(recorded, Vec::<Value>::new(), "{snapshot:?}");
        }
        let recorded = groups.remove(&snapshot.snapshot_id).unwrap_or_default();
        if snapshot.groups_outcome == "complete" {
            // They are asked for beside the listing, so before its page or after it.
            let mut near = history
                .statistics()
                .iter()
                .filter(|(before, _)| pages.iter().any(|page| (*page..=page + 1).contains(before)));
            let is_served =
                pages.is_empty() || near.any(|(_, served)| expected_groups(served) == recorded);
            assert!(is_served, "{snapshot:?} has other groups: {recorded:#?}");
        }
    }
    assert!(desktops.is_empty() && groups.is_empty(), "rows of no snapshot");
}

async fn by_snapshot(pool: &PgPool, sql: &str) -> HashMap<i64, Vec<Value>> {
    let mut all: HashMap<i64, Vec<Value>> = HashMap::new();
    for mut row in rows(pool, sql).await {
        let id = row.shift_remove("snapshot_id").unwrap().as_i64().unwrap();
        all.entry(id).or_default().push(row.into());
    }
    all
}

/// The fleet as a page showed it.
fn fleet(history: &History, page: u64) -> Vec<Desktop> {
    let states = history.ids().map(|id| history.states(id, page..page + 1));
    let mut fleet: Vec<Desktop> = states.filter_map(|states| states[0].cloned()).collect();
    fleet.sort_by(|one, other| one.id.cmp(&other.id));
    fleet
}

fn expected_groups(served: &[GroupStatistics]) -> Vec<Value> {
    let counter = |group: &GroupStatistics, name: &str| {
        let at = COUNTERS.iter().position(|one| *one == name).unwrap();
        group.counters[at].into()
    };
    let mut groups: Vec<&GroupStatistics> = served.iter().collect();
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    let row = |group: &GroupStatistics| {
        let mut row = Map::new();
        row.insert("static_name".into(), group.name.as_deref().into());
        row.insert("in_use_num".into(), counter(group, "in_use_num"));
        row.insert("attached_num".into(), counter(group, "attached_num"));
        row.into()
    };
    groups.into_iter().map(row).collect()
}

/// Whatever a recorder said it had done is in the ledger: one line of its log, one snapshot that took as
/// long and was finished before.
fn assert_acknowledged_is_recorded(snapshots: &[Recorded], lives: &[Life]) {
    for life in lives {
        let mut own: Vec<&Recorded> =
            snapshots.iter().filter(|one| one.observed_at >= life.began).collect();
        for line in life.log.lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                // Its last words.
                assert!(life.was_killed, "not a line of a log: {line}");
                continue;
            };
            let is_good = line["level"] == "INFO" || line["level"] == "WARN";
            let is_cycle =
                line["message"].as_str().is_some_and(|text| text.starts_with("source `prod`:"));
            let (true, true, Some(duration)) = (is_good, is_cycle, line["duration_ms"].as_i64())
            else {
                continue;
            };
            let said: DateTime<Utc> = line["timestamp"].as_str().unwrap().parse().unwrap();
            let at = own.iter().rposition(|one| {
                let took = (one.finished_at - one.observed_at).num_milliseconds();
                one.finished_at <= said && took == duration
            });
            let at = at.unwrap_or_else(|| panic!("said, but not recorded: {line}"));
            own.remove(at);
        }
    }
}

/// Whatever was answered in full is in the ledger, but for what a recorder that was killed had in hand.
fn fetched_is_recorded(snapshots: &[Recorded], history: &History, lives: &[Life]) {
    for life in lives {
        let is_own = |at: &&DateTime<Utc>| (life.began..=life.ended).contains(*at);
        let mut pages: Vec<&DateTime<Utc>> = history.moments().iter().filter(is_own).collect();
        if life.was_killed {
            // It may have been at its last one.
            pages.pop();
        }
        for at in pages {
            let is_recorded = snapshots.iter().any(|snapshot| snapshot.is_when(*at));
            assert!(
                is_recorded,
                "what was served at {at} is lost; the recorder said:\n{}",
                life.log
            );
        }
    }
}

/// The time between two listings is a gap if it is longer than observations hold, and else none.
async fn assert_gaps(pool: &PgPool, snapshots: &[Recorded]) {
    let listed: Vec<_> =
        snapshots.iter().filter(|one| one.has_listing()).map(|one| one.observed_at).collect();
    let is_gap = |from: &DateTime<Utc>, to: &DateTime<Utc>| *to - *from > MAX_GAP;
    let expected: Vec<(DateTime<Utc>, DateTime<Utc>)> = listed
        .windows(2)
        .filter(|pair| is_gap(&pair[0], &pair[1]))
        .map(|pair| (pair[0], pair[1]))
        .collect();
    let gaps: Vec<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "select gap_from, gap_to from deskledger.gaps where gap_to is not null order by gap_from",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(gaps, expected);
}

/// The longest time for which nothing was looked at.
pub async fn longest_gap(pool: &PgPool) -> TimeDelta {
    let gaps: Vec<(DateTime<Utc>, DateTime<Utc>)> =
        sqlx::query_as("select gap_from, gap_to from deskledger.gaps where gap_to is not null")
            .fetch_all(pool)
            .await
            .unwrap();
    gaps.iter().map(|(from, to)| *to - *from).max().unwrap_or_default()
}
