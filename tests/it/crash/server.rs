//! A PostgreSQL of a test's own, which keeps what it committed, and which may be killed.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};

use deskledger::store::private::{Options, Private, acquire};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::time::timeout;

use crate::support::postgres::{PREFIX, place, reaper};
use crate::support::program::{PATIENCE, until};

/// A server that commits durably; dead and removed when this is dropped, also while it is frozen.
pub struct Server {
    folder: PathBuf,
    private: Private,
    /// Stops and removes it if this process is killed.
    _reaper: Child,
}

impl Server {
    pub async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = place().join(format!("{PREFIX}{}-{nth}", std::process::id()));
        let private = acquire(options(&folder)).await.unwrap();
        let reaper = reaper(&folder, private.bin_dir());
        Self { folder, private, _reaper: reaper }
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        let options = self.private.connect_options();
        let folder = options.get_socket().unwrap();
        folder.join(format!(".s.PGSQL.{}", options.get_port()))
    }

    /// How to reach it past the proxy.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.private.connect_options()
    }

    /// New connections, past the proxy.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(PATIENCE)
            .connect_with(self.connect_options())
            .await
            .unwrap()
    }

    /// Kills it and all its children, as a machine that runs out of memory does.
    pub async fn kill(&self) {
        until("all of the server is dead", async || {
            self.signal(Signal::SIGKILL);
            self.processes().is_empty()
        })
        .await;
    }

    /// Stops it without a checkpoint.
    pub async fn stop_at_once(&self) {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap().trim().parse().unwrap();
        assert!(self.processes().contains(&Pid::from_raw(pid)), "this is somebody else's number");
        kill(Pid::from_raw(pid), Signal::SIGQUIT).unwrap();
        until("the server has stopped", async || self.processes().is_empty()).await;
    }

    /// Starts it again.
    pub async fn restart(&self) {
        let again = timeout(PATIENCE, acquire(options(&self.folder))).await.unwrap().unwrap();
        again.release().await.unwrap();
    }

    /// None of its processes does anything any more.
    pub fn freeze(&self) {
        // Whoever was started meanwhile too.
        self.signal(Signal::SIGSTOP);
        self.signal(Signal::SIGSTOP);
    }

    /// All of them go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            // It may be gone by now.
            let _ = kill(pid, signal);
        }
    }

    /// Its processes: they work in its data folder, and nobody else does. A zombie works nowhere.
    fn processes(&self) -> Vec<Pid> {
        let Ok(data) = self.folder.join("data").canonicalize() else { return Vec::new() };
        let numbers = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            (std::fs::read_link(entry.path().join("cwd")).ok()? == data).then_some(pid)
        });
        numbers.map(Pid::from_raw).collect()
    }
}

fn options(folder: &Path) -> Options {
    Options { data_dir: Some(folder.to_owned()), ..Options::default() }
}

impl Drop for Server {
    fn drop(&mut self) {
        for _ in 0..500 {
            self.signal(Signal::SIGKILL);
            if self.processes().is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // The lock is let go of after this, and its file is only a name.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
