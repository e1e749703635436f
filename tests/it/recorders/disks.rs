//! Disks that are full: file systems of a few pages, which only the recorder under test sees.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{ServerConfig, Simulator, Step, WorldConfig};
use nix::sys::signal::Signal;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use super::processes::{SNAPSHOTS, count, simulator, source};
use crate::support::ledger::rows;
use crate::support::postgres::database;
use crate::support::program::{Home, until};

const NOT_TESTED: &str = "NOT TESTED: this machine does not let this user mount a disk of his own";

/// How a program is started with mounts of its own; `None`: this machine lets nobody, as many containers do not.
fn unshare() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-Urm"]];
    ways.into_iter().find(|way| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    })
}

/// Mounts a file system on its first argument before it becomes the rest.
fn mounting(options: &str) -> String {
    format!("mount -t tmpfs -o {options} tmpfs \"$0\" && exec \"$@\"")
}

/// No room for one more file, and none for one more page.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_whose_spools_disk_is_full_loses_nothing_that_it_has_read() {
    let Some(unshare) = unshare() else {
        eprintln!("{NOT_TESTED}");
        return;
    };
    for (limits, said) in [
        ("size=1m,nr_inodes=5", "No space left on device"),
        ("size=12k", "NOT visited: the spool is full"),
    ] {
        let simulator = simulator().await;
        let database = database().await;
        let options = database.pool.connect_options();
        // The server comes when its socket does.
        let Some(socket) = options.get_socket() else { return };
        let folder = tempfile::tempdir().unwrap();
        let name = format!(".s.PGSQL.{}", options.get_port());
        let url = PgConnectOptions::clone(&options).socket(folder.path()).to_url_lossy();
        let disk = tempfile::tempdir().unwrap();
        let spool = format!("[spool]\ndir = \"{}\"\nmin_free = \"0B\"\n", disk.path().display());
        let home = Home::on(url.to_string());
        home.configure(&format!("{spool}{}", source(&simulator, "1s")));
        let script = mounting(limits);
        let wrapper = [unshare, &["sh", "-c", &script, disk.path().to_str().unwrap()]].concat();
        let running = home.start_under(&wrapper, &["collect"]);
        running.says(said).await;
        running.says("NOT visited").await;
        std::os::unix::fs::symlink(socket.join(&name), folder.path().join(&name)).unwrap();
        let noted = "select count(*) from deskledger.snapshots where error_code = 'spool'";
        until("it says what was not visited", async || count(&database.pool, noted).await == 1)
            .await;
        running.signal(Signal::SIGTERM);
        let done = running.end().await.expect(0);
        assert!(!done.err.contains("LOST"), "{}", done.err);
        let visits = done.err.lines().filter(|line| line.contains("40 of 40 desktops")).count();
        let all = count(&database.pool, SNAPSHOTS).await;
        assert_eq!(all, i64::try_from(visits).unwrap(), "{}", done.err);
        // What waits was on that disk, and that is gone with its recorder.
        assert!(
            done.err.contains("0 wait still") || !done.err.contains("caught up"),
            "{}",
            done.err
        );
        let late = rows(&database.pool, "select * from deskledger.snapshots where late").await;
        assert_eq!(late.len(), 0);
        simulator.stop().await.unwrap();
    }
}

/// The ledger in a private PostgreSQL on a small disk, which somebody fills.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_whose_postgresqls_disk_is_full_keeps_what_it_reads_and_goes_on_when_there_is_room()
 {
    // Only root drops to another user to run the server, and can look into another one's mounts.
    if !nix::unistd::geteuid().is_root() || unshare() != Some(&["unshare", "-m"]) {
        eprintln!("{NOT_TESTED}");
        return;
    }
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, 2_000, start, 30), "project");
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.token = Some("a-token".into());
    let simulator = Simulator::start(config).await.unwrap();
    // Where the user that the server runs as can reach it.
    let disk = tempfile::Builder::new().prefix("deskledger-full-").tempdir_in("/tmp").unwrap();
    let data = disk.path().to_str().unwrap();
    let home = Home::on(String::new());
    let source =
        source(&simulator, "1s").replace("interval", "requests_per_minute = 600\ninterval");
    home.configure(&format!("[spool]\ndir = \"spool\"\nmin_free = \"0B\"\n{source}"));
    let script = format!("unset DATABASE_URL; {}", mounting("size=200m,mode=0755"));
    let wrapper = ["unshare", "-m", "sh", "-c", &script, data];
    let running = home.start_under(&wrapper, &["collect", "--data-dir", data]);
    running.says("2000 of 2000 desktops").await;
    let pid = running.pid().to_string();
    let filler = format!("/proc/{pid}/root{data}/filler");
    fill(Path::new(&filler));
    running.says("No space left on device").await;
    running.says("in the spool as number 2").await;
    std::fs::remove_file(&filler).unwrap();
    running.says("caught up with the spool of source `prod`").await;
    // In its mounts, as another user of the same server.
    let configuration = home.path().join("deskledger.toml");
    let inside = async |arguments: &[&str]| {
        let script = "unset DATABASE_URL; exec \"$@\"";
        let wrapper = ["nsenter", "-t", &pid, "-m", "sh", "-c", script, "sh"];
        let common = ["--data-dir", data, "--config", configuration.to_str().unwrap()];
        home.start_under(&wrapper, &[arguments, &common].concat()).end().await.expect(0)
    };
    tokio::time::sleep(Duration::from_secs(3)).await;
    running.signal(Signal::SIGSTOP);
    let recorded = inside(&["export"]).await.out.lines().count();
    let late = inside(&["export", "--late"]).await.out.lines().count();
    inside(&["verify"]).await;
    running.signal(Signal::SIGCONT);
    running.signal(Signal::SIGTERM);
    let done = running.end().await.expect(0);
    let visits: Vec<&str> =
        done.err.lines().filter(|line| line.contains("2000 of 2000 desktops")).collect();
    let spooled = visits.iter().filter(|line| line.contains("in the spool as number")).count();
    assert!(spooled >= 2 && late == 0, "{spooled} spooled, {late} late: {}", done.err);
    // It may have made one or two more after it was stopped for the look.
    assert!(recorded <= visits.len() && visits.len() <= recorded + 2, "{recorded}: {}", done.err);
    assert!(!done.err.contains("LOST"), "{}", done.err);
    simulator.stop().await.unwrap();
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let bytes = vec![7; size];
        while file.write_all(&bytes).is_ok() {}
    }
}
