//! `import` by the program itself.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use chrono::TimeDelta;
use deskledger::exchange::write_line;
use deskledger::simulator::World;

use super::figures::Figures;
use super::server::Server;
use super::{Asked, Outcome, process, workload};

pub async fn measure(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    let title = format!("`import` of {} snapshots, uncompressed", asked.import);
    figures.part(&format!("import-{}", asked.desktops), &title)?;
    let interval = workload::interval(asked);
    let path = server.folder().join("history.ndjson");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    // Around the middle of a working day of the fleet's: eight hours east.
    let middle = workload::start() + TimeDelta::days(1) + TimeDelta::hours(5);
    let mut at = middle - interval * i32::try_from(asked.import / 2)?;
    let mut world = World::new(&workload::config(asked, 2));
    world.seek(at);
    let mut changes = 0;
    let mut observations = 0;
    for _ in 0..asked.import {
        at += interval;
        changes += world.advance_to(at);
        observations += world.desktops().len();
        write_line(&mut file, "bench", None, &workload::snapshot(&world, at, interval))?;
    }
    file.flush()?;
    drop(file);
    let bytes = std::fs::metadata(&path)?.len() as f64;
    figures.note("file_bytes", "the file", bytes / 1e6, "MB");
    let hours = f64::from(asked.import * asked.interval) / 3600.0;
    let rate = changes as f64 / f64::from(asked.desktops) * 24.0 / hours;
    figures.note(
        "changes_per_desktop_day",
        "changes per desktop, as if all day were like that",
        rate,
        "a day",
    );

    let ledger = server.ledger("importing").await?;
    let imported = process::run(&["import".as_ref(), path.as_os_str()], &ledger.url).await?;
    let seconds = imported.took.as_secs_f64();
    figures.above(
        "observations_per_second",
        "observations a second",
        observations as f64 / seconds,
        "",
        2_000_000.0,
    );
    figures.note("megabytes_per_second", "bytes read a second", bytes / 1e6 / seconds, "MB");
    figures.note("memory", "resident memory, most", imported.memory / 1e6, "MB");
    let recorded = ledger.figure("select count(*) from deskledger.snapshots").await?;
    assert_eq!(recorded, f64::from(asked.import), "every line is recorded");
    let again = process::run(&["import".as_ref(), path.as_os_str()], &ledger.url).await?;
    let rate = observations as f64 / again.took.as_secs_f64();
    figures.note(
        "again_observations_per_second",
        "again: observations compared a second",
        rate,
        "",
    );
    std::fs::remove_file(&path)?;
    ledger.drop().await
}
