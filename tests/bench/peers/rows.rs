//! A row for each desktop and poll, as scripts write them: by COPY, with the indexes that its questions need.
//!
//! The same polls go into a ledger, one by one. The texts of the rows are ready before the clock runs, as are the ledger's
//! snapshots.

use std::fmt::Write as _;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::domain::{Desktop, Snapshot};
use deskledger::report::catalogue::Catalogue;
use deskledger::report::params::Values;
use deskledger::report::{Collected, DEFAULT_TIMEOUT, run};
use deskledger::simulator::World;
use deskledger::store::Recorder;
use sqlx::postgres::PgPoolCopyExt as _;

use crate::figures::{Figures, median_and_max, millis};
use crate::server::{Ledger, Server};
use crate::{Asked, Outcome, workload};

/// Connected-at looks a poll up by its instant and utilisation counts statuses, without a look at the rows; a desktop's
/// history is looked up by desktop.
const TABLE: &str = "create table public.poll (
    observed_at timestamptz not null, desktop_id text not null, desktop_name text, connect_status text,
    attach_users jsonb);
create index poll_by_instant on public.poll (observed_at, connect_status);
create index poll_by_desktop on public.poll (desktop_id, observed_at)";

const CONNECTED_AT: &str = "select desktop_id, desktop_name, attach_users::text from public.poll
     where connect_status = 'CONNECTED'
       and observed_at = (select max(observed_at) from public.poll where observed_at <= $1)
     order by desktop_id";

const UTILISATION: &str = "select date_trunc('hour', observed_at) as hour,
           count(*) filter (where connect_status = 'CONNECTED')::float8 / count(*) as share
      from public.poll where observed_at >= $1 and observed_at < $2 group by 1 order by 1";

/// Questions are asked so often.
const TIMES: usize = 5;

/// What one of the two came to.
#[derive(Default)]
struct Costs {
    took: Vec<f64>,
    log: f64,
    /// After the first poll, and in the end.
    bytes: (f64, f64),
    connected_at: f64,
    utilisation: f64,
}

pub async fn measure(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    let polls = asked.polls.max(2);
    let title = format!(
        "A row for each desktop and poll, beside the ledger: {polls} polls, one every {} s",
        asked.interval
    );
    figures.part(&format!("rows-{}", asked.desktops), &title)?;
    let ours = server.ledger("beside_rows").await?;
    let theirs = server.ledger("rows").await?;
    theirs.run(TABLE).await?;
    let interval = workload::interval(asked);
    // Around the middle of a working day of the fleet's.
    let middle = workload::start() + TimeDelta::days(1) + TimeDelta::hours(5);
    let from = middle - interval * i32::try_from(polls / 2)?;
    let to = from + interval * i32::try_from(polls)?;
    let (mut ledger, mut rows) = (Costs::default(), Costs::default());
    record(&ours, &theirs, asked, (from, polls), (&mut ledger, &mut rows)).await?;
    ours.run("vacuum (analyze)").await?;
    theirs.run("vacuum (analyze)").await?;
    ledger.bytes.1 = size(&ours, "deskledger_data").await?;
    rows.bytes.1 = size(&theirs, "public").await?;
    let middle = middle + interval / 2;
    ask(&ours, middle, (from, to), &mut ledger).await?;
    ask_rows(&theirs, middle, (from, to), &mut rows).await?;

    // What the fleet itself takes is paid once; what polls add counts.
    let polled = f64::from(asked.desktops) * f64::from(polls - 1);
    let a_day = 86_400.0 / f64::from(asked.interval);
    let grown = |costs: &Costs| (costs.bytes.1 - costs.bytes.0) / polled * a_day;
    let per_poll = |costs: &Costs| median_and_max(costs.took.clone()).0;
    let logged = |costs: &Costs| costs.log / f64::from(polls - 1);
    let pairs = [
        ("poll_ms", "a poll, median", "ms", per_poll(&rows), per_poll(&ledger)),
        (
            "wal_bytes_per_poll",
            "a poll's write-ahead log, mean",
            "bytes",
            logged(&rows),
            logged(&ledger),
        ),
        (
            "bytes_per_desktop_day",
            "what a desktop's day adds",
            "bytes",
            grown(&rows),
            grown(&ledger),
        ),
        ("connected_at_ms", "connected-at", "ms", rows.connected_at, ledger.connected_at),
        ("utilisation_ms", "utilisation by hour", "ms", rows.utilisation, ledger.utilisation),
    ];
    for (key, what, unit, theirs, ours) in pairs {
        figures.note(&format!("rows_{key}"), &format!("{what}: rows"), theirs, unit);
        figures.note(&format!("ledger_{key}"), &format!("{what}: ledger"), ours, unit);
        figures.note(
            &format!("ratio_{key}"),
            &format!("{what}: rows to ledger"),
            theirs / ours,
            "times",
        );
    }
    ours.drop().await?;
    theirs.drop().await
}

async fn record(
    ours: &Ledger,
    theirs: &Ledger,
    asked: &Asked,
    (from, polls): (DateTime<Utc>, u32),
    (ledger, rows): (&mut Costs, &mut Costs),
) -> Outcome {
    let interval = workload::interval(asked);
    let mut world = World::new(&workload::config(asked, 2));
    world.seek(from);
    let mut recorder = Recorder::open(&ours.store, &workload::source()).await?;
    for poll in 0..polls {
        let at = from + interval * i32::try_from(poll)?;
        world.advance_to(at);
        let snapshot = workload::snapshot(&world, at, interval);
        let text = lines(&snapshot)?;
        let (begun, before) = (Instant::now(), ours.log_position().await?);
        recorder.record(&snapshot).await?;
        let (took, log) = (millis(begun.elapsed()), ours.log_position().await? - before);
        let (begun, before) = (Instant::now(), theirs.log_position().await?);
        let mut copy = theirs.store.pool().copy_in_raw("copy public.poll from stdin").await?;
        copy.send(text).await?;
        copy.finish().await?;
        let (rows_took, rows_log) =
            (millis(begun.elapsed()), theirs.log_position().await? - before);
        if poll == 0 {
            // The fleet is new to both.
            ledger.bytes.0 = size(ours, "deskledger_data").await?;
            rows.bytes.0 = size(theirs, "public").await?;
        } else {
            ledger.took.push(took);
            ledger.log += log;
            rows.took.push(rows_took);
            rows.log += rows_log;
        }
    }
    Ok(())
}

/// The rows of a poll, as COPY reads them.
fn lines(snapshot: &Snapshot) -> Outcome<Vec<u8>> {
    let at = snapshot.observed_at.to_rfc3339();
    let desktops = snapshot.desktops.as_ref().map(|listing| listing.desktops()).unwrap_or_default();
    let mut text = String::new();
    for desktop in desktops {
        let name = or_null(desktop.name.as_deref());
        let status = or_null(desktop.status.as_deref());
        let users = escaped(&users(desktop));
        writeln!(text, "{at}\t{}\t{name}\t{status}\t{users}", escaped(&desktop.id))?;
    }
    Ok(text.into_bytes())
}

/// `attach_users` as the API gives it.
fn users(desktop: &Desktop) -> String {
    let users = desktop.users.entries().iter().map(|user| {
        serde_json::json!({"id": user.id, "name": user.name, "type": user.kind, "user_group": user.user_group})
    });
    serde_json::Value::from_iter(users).to_string()
}

fn or_null(text: Option<&str>) -> String {
    text.map_or_else(|| r"\N".to_owned(), escaped)
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('\t', r"\t").replace('\n', r"\n")
}

/// Tables and indexes of a schema.
async fn size(ledger: &Ledger, schema: &str) -> Outcome<f64> {
    let sizes = format!(
        "select sum(pg_total_relation_size(oid)) from pg_class
          where relnamespace = '{schema}'::regnamespace and relkind in ('r', 'm')"
    );
    ledger.figure(&sizes).await
}

async fn ask(
    ledger: &Ledger,
    at: DateTime<Utc>,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    costs: &mut Costs,
) -> Outcome {
    let period =
        vec![("from", from.to_rfc3339()), ("to", to.to_rfc3339()), ("bucket", "hour".to_owned())];
    costs.connected_at = report(ledger, "connected-at", vec![("at", at.to_rfc3339())]).await?;
    costs.utilisation = report(ledger, "utilisation", period).await?;
    Ok(())
}

async fn report(ledger: &Ledger, name: &str, given: Vec<(&str, String)>) -> Outcome<f64> {
    let report = Catalogue::built_in().take(name)?;
    let values = Values::new(&report, given)?;
    let mut took = Vec::new();
    for _ in 0..TIMES {
        let mut sink = Collected::default();
        let begun = Instant::now();
        run(ledger.store.pool(), &report, &values, DEFAULT_TIMEOUT, &mut sink).await?;
        took.push(millis(begun.elapsed()));
        assert!(!sink.rows.is_empty(), "{name} has an answer");
    }
    Ok(median_and_max(took).0)
}

async fn ask_rows(
    rows: &Ledger,
    at: DateTime<Utc>,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    costs: &mut Costs,
) -> Outcome {
    let (mut connected, mut used) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let begun = Instant::now();
        let all = sqlx::query(CONNECTED_AT).bind(at).fetch_all(rows.store.pool()).await?;
        connected.push(millis(begun.elapsed()));
        assert!(!all.is_empty(), "somebody is connected");
        let begun = Instant::now();
        let all = sqlx::query(UTILISATION).bind(from).bind(to).fetch_all(rows.store.pool()).await?;
        used.push(millis(begun.elapsed()));
        assert!(!all.is_empty(), "there are hours");
    }
    costs.connected_at = median_and_max(connected).0;
    costs.utilisation = median_and_max(used).0;
    Ok(())
}
