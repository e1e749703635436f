//! A long history: what building it takes, its size, what reports on it take, reading it back, and writing at its end.

use std::time::Instant;

use chrono::TimeDelta;
use deskledger::store::Replay;

use super::building::Building;
use super::figures::Figures;
use super::server::{Ledger, Server};
use super::{Asked, Outcome, process, reporting, storage, workload, writecost};

pub async fn measure(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    let ledger = server.ledger("reading").await?;
    let mut stops = asked.days.clone();
    stops.sort_unstable();
    stops.dedup();
    let mut building = Building::begin(&ledger, asked).await?;
    let mut part = String::new();
    for days in stops {
        part = format!("ledger-{}x{days}", asked.desktops);
        let title = format!(
            "A ledger of {} desktops and {days} days, a snapshot every {} s",
            asked.desktops, asked.interval
        );
        figures.part(&part, &title)?;
        process::forget_peak();
        let grown = building.up_to(workload::start() + TimeDelta::days(days.into())).await?;
        let desktop_days = f64::from(asked.desktops) * f64::from(days);
        grown.note(desktop_days, figures);
        let memory = process::peak("self") / 1e6;
        figures.note("build_memory", "resident memory, most, the world with it", memory, "MB");
        // Nothing has been analysed yet: that is how a ledger looks right after an import.
        reporting::before_vacuum(&ledger, asked, days, figures).await?;
        ledger.run("vacuum (analyze)").await?;
        storage::weigh(&ledger, asked, days, &grown, figures).await?;
        verify(&ledger, figures).await?;
        figures.part(&part, &format!("Reports on {} desktops and {days} days", asked.desktops))?;
        reporting::measure(server, &ledger, asked, days, figures).await?;
        replay(&ledger, figures).await?;
    }
    if let Some(fleet) = building.end().await {
        figures.part(&part, "Recording one more snapshot at its end, from memory to commit")?;
        writecost::costs(&ledger, fleet, asked, figures).await?;
    }
    if asked.hold {
        println!("\nEnter ends it: {}", ledger.url);
        std::io::stdin().read_line(&mut String::new())?;
    }
    ledger.drop().await
}

/// The program checks all of it; one source, so one core checks, while others read and sort.
async fn verify(ledger: &Ledger, figures: &mut Figures) -> Outcome {
    let spans = ledger.figure("select count(*) from deskledger_data.filed").await?;
    let verified = process::run(&["verify".as_ref()], &ledger.url).await?;
    let seconds = verified.took.as_secs_f64();
    figures.note("verify_seconds", "`verify`", seconds, "s");
    let key = "verify_spans_per_second";
    figures.above(key, "`verify`: spans a second", spans / seconds, "", 500_000.0);
    let memory = verified.memory / 1e6;
    figures.note("verify_memory", "`verify`: resident memory, most", memory, "MB");
    Ok(())
}

async fn replay(ledger: &Ledger, figures: &mut Figures) -> Outcome {
    let until = workload::start() + TimeDelta::days(1);
    let id = ledger.figure("select source_id from deskledger_data.source").await? as i32;
    let begun = Instant::now();
    let mut replay = Replay::open(&ledger.store, id, None, Some(until)).await?;
    let mut observations = 0;
    while let Some(snapshot) = replay.next().await? {
        observations += snapshot.desktops.map_or(0, |listing| listing.desktops().len());
    }
    assert!(observations > 0, "there is a first day");
    let rate = observations as f64 / begun.elapsed().as_secs_f64();
    let key = "replay_observations_per_second";
    figures.note(key, "reading a day back: observations a second", rate, "");
    Ok(())
}
