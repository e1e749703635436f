//! dlt, with its REST source and PostgreSQL: what it takes to read the same API, beside our program.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::process::Command;

use crate::figures::{Figures, median_and_max};
use crate::server::{Ledger, Server};
use crate::{Asked, Outcome, collecting, process};

/// A Python that has the packages of `tests/bench/peers/requirements.txt`.
const PYTHON: &str = "DESKLEDGER_BENCH_PYTHON";

/// A cycle, as the script tells it.
#[derive(Debug, Deserialize)]
struct Cycle {
    seconds: f64,
    processor: f64,
    /// Of the process so far.
    memory: f64,
    since_start: f64,
}

pub async fn measure(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    let ours = collecting::part(asked);
    if figures.get(&ours, "once_ms").is_none() {
        collecting::measure(server, asked, figures).await?;
    }
    let part = format!("dlt-{}", asked.desktops);
    figures.part(&part, "dlt reads the same API, cycle after cycle in one process")?;
    let python = match python().await {
        Ok(python) => python,
        Err(error) => {
            figures.failed("python", "dlt", &*error);
            return Ok(());
        }
    };
    for how in ["append", "scd2"] {
        let cycles = run(server, asked, &python, how).await?;
        let [first, later @ ..] = &cycles[..] else { return Err("dlt made no visit".into()) };
        let alone = first.since_start * 1e3;
        figures.note(&format!("{how}_first_ms"), &format!("{how}: a process's first"), alone, "ms");
        let of = |figure: fn(&Cycle) -> f64| median_and_max(later.iter().map(figure).collect()).0;
        let (cycle, used) = (of(|cycle| cycle.seconds * 1e3), of(|cycle| cycle.processor * 1e3));
        let memory = cycles.iter().map(|cycle| cycle.memory).fold(0.0, f64::max) / 1e6;
        figures.note(&format!("{how}_ms"), &format!("{how}: a later one, median"), cycle, "ms");
        let what = format!("{how}: its process's own time, median");
        figures.note(&format!("{how}_cpu_ms"), &what, used, "ms");
        let what = format!("{how}: resident memory, most");
        figures.note(&format!("{how}_memory"), &what, memory, "MB");
        let compared = [
            ("process", "a process for one visit", alone, "once_ms", 10.0),
            ("cycle", "a later visit", cycle, "running_ms", 10.0),
            ("cpu", "a later visit's own time", used, "running_cpu_ms", 10.0),
            ("memory", "memory", memory, "running_memory", 2.0),
        ];
        for (key, what, theirs, key_of_ours, target) in compared {
            let Some(ours) = figures.get(&ours, key_of_ours) else { continue };
            let (key, what) =
                (format!("{how}_ratio_{key}"), format!("{how} to deskledger: {what}"));
            if how == "scd2" && key != "scd2_ratio_cpu" {
                figures.above(&key, &what, theirs / ours, "times", target);
            } else {
                figures.note(&key, &what, theirs / ours, "times");
            }
        }
    }
    Ok(())
}

async fn run(server: &Server, asked: &Asked, python: &Path, how: &str) -> Outcome<Vec<Cycle>> {
    let ledger = server.ledger(&format!("dlt_{how}")).await?;
    let simulator = collecting::simulator(asked).await?;
    let folder = server.folder().join(format!("dlt-{how}"));
    std::fs::create_dir_all(&folder)?;
    let mut command = Command::new(python);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/peers/dlt_cycles.py"))
        .args(["--endpoint", &simulator.endpoint(), "--project", collecting::PROJECT])
        .args(["--token", collecting::TOKEN, "--database", &url(&ledger)?, "--how", how])
        .args(["--cycles", &(asked.cycles + 1).to_string(), "--folder"])
        .arg(&folder)
        .env("NO_PROXY", "127.0.0.1")
        // It would tell its makers of each run, over the network.
        .env("RUNTIME__DLTHUB_TELEMETRY", "false")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let (_, said) = process::watch(&mut command).await?;
    let cycles: Vec<Cycle> = said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let rows = ledger.figure(&format!("select count(*) from dlt_{how}.desktops")).await?;
    let least = match how {
        "append" => f64::from(asked.desktops) * f64::from(asked.cycles + 1) * 0.99,
        _ => f64::from(asked.desktops),
    };
    assert!(rows >= least, "dlt has written what it read: {rows} rows");
    simulator.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    ledger.drop().await?;
    Ok(cycles)
}

/// Our server's socket, in the way that dlt takes it: it insists on a password, for which nobody asks there.
fn url(ledger: &Ledger) -> Outcome<String> {
    let options = ledger.store.pool().connect_options();
    let socket = options.get_socket().ok_or("the private server has a socket")?;
    let socket = socket.to_str().ok_or("its folder's name is text")?.replace('/', "%2F");
    let database = options.get_database().ok_or("a ledger has a name")?;
    Ok(format!("postgresql://{}:none@{socket}/{database}", options.get_username()))
}

/// The named one, or one of our own below `target/`, which is made when it is first needed.
async fn python() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os(PYTHON) {
        return Ok(named.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dlt-venv");
    let python = folder.join("bin/python");
    let mut check = Command::new(&python);
    if process::watch(check.args(["-c", "import dlt, psycopg2"])).await.is_err() {
        process::watch(Command::new("python3").args(["-m", "venv"]).arg(&folder)).await?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
        process::watch(install.arg(root.join("tests/bench/peers/requirements.txt"))).await?;
    }
    Ok(python)
}
