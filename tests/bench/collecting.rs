//! `collect --once` by the program itself, over HTTP, against a simulated API.

use std::time::Duration;

use deskledger::simulator::{ServerConfig, Simulator};

use super::figures::{Figures, median_and_max, millis};
use super::importing::{Run, run};
use super::server::Server;
use super::{Args, Outcome, workload};

const PROJECT: &str = "0123456789abcdef0123456789abcdef";
const TIMES: usize = 7;

pub async fn measure(server: &Server, args: &Args, figures: &mut Figures) -> Outcome {
    figures.part("`collect --once` over HTTP");
    let ledger = server.ledger("collecting").await?;
    let mut config = ServerConfig::new(workload::config(args, 1), PROJECT);
    config.token = Some("bench".into());
    config.max_offset = args.desktops;
    let simulator = Simulator::start(config).await?;
    let file = server.folder().join("collect.toml");
    let text = format!(
        "[collect]\ninterval = \"5m\"\n[[source]]\nname = \"bench\"\nproject_id = \"{PROJECT}\"\n\
         endpoint = \"{}\"\nallow_http = true\nmax_offset = {}\nauth = {{ token = \"bench\" }}\n",
        simulator.endpoint(),
        args.desktops
    );
    std::fs::write(&file, text)?;
    let mut runs: Vec<Run> = Vec::new();
    for _ in 0..=TIMES {
        let words = ["collect".as_ref(), "--once".as_ref(), "--config".as_ref(), file.as_os_str()];
        runs.push(run(&words, &ledger.url).await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    figures.note("the first of all", millis(runs[0].took), "ms");
    let (median, max) = median_and_max(runs[1..].iter().map(|run| millis(run.took)).collect());
    figures.below("wall time, median", median, "ms", 500.0);
    figures.note("wall time, slowest", max, "ms");
    let (_, max) = median_and_max(runs.iter().map(|run| run.memory).collect());
    figures.below("resident memory, most", max / 1e6, "MB", 64.0);
    let listed = ledger.figure("select sum(desktops_recorded) from deskledger.snapshots").await?;
    assert_eq!(listed, f64::from(args.desktops) * runs.len() as f64, "every visit read them all");
    simulator.stop().await?;
    ledger.drop().await
}
