//! A database for each test, on one throwaway server for each test process.
//!
//! The server starts with the first test that wants a database (0.8 s) and is stopped and removed by a shell that
//! notices when the test process ends, however it does. A process that could not even start that shell leaves a folder,
//! which the next run removes. `DESKLEDGER_TEST_DATABASE_URL` names another server instead, whose user may create
//! databases.

use std::any::type_name;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use deskledger::store::private::{Durability, Options, Private, acquire};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgPool};
use tokio::sync::OnceCell;

/// The variable that names a server to use instead of a throwaway one.
pub const URL_VARIABLE: &str = "DESKLEDGER_TEST_DATABASE_URL";

/// How the folders of throwaway servers begin; the pid of their test process follows.
pub const PREFIX: &str = "deskledger-test-";

/// An own, fresh database; gone when this is dropped.
pub struct TestDatabase {
    /// For programs.
    pub url: String,
    /// For this test.
    pub pool: PgPool,
    server: PgConnectOptions,
    name: String,
}

/// The name of each template, by the function that filled it.
type Templates = HashMap<&'static str, Arc<OnceCell<String>>>;

/// An empty database.
pub async fn database() -> TestDatabase {
    create("template0").await
}

/// A copy of the database that `init` fills once in the whole test process; `init` must be a named function.
pub async fn database_from<F>(init: F) -> TestDatabase
where
    F: AsyncFnOnce(PgPool),
{
    static TEMPLATES: LazyLock<Mutex<Templates>> = LazyLock::new(Mutex::default);
    let cell = TEMPLATES.lock().unwrap().entry(type_name::<F>()).or_default().clone();
    let template = cell
        .get_or_init(|| async {
            let filled = create("template0").await;
            init(filled.pool.clone()).await;
            // PostgreSQL copies only what nobody is connected to.
            filled.pool.close().await;
            filled.keep()
        })
        .await;
    create(template).await
}

/// The options that reach the server's `postgres` database.
pub async fn server() -> PgConnectOptions {
    match std::env::var(URL_VARIABLE) {
        Ok(url) => PgConnectOptions::from_str(&url).unwrap(),
        Err(_) => {
            static SERVER: OnceCell<Server> = OnceCell::const_new();
            let server = SERVER.get_or_init(Server::start).await;
            server.private.connect_options().database("postgres")
        }
    }
}

async fn create(template: &str) -> TestDatabase {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = server().await;
    let name = format!(
        "deskledger_test_{}_{}_{:08x}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed),
        rand::random::<u32>() // pids come again, on a server that stays
    );
    let mut connection = server.connect().await.unwrap();
    // Copying through the WAL, the default, is for servers that must survive a crash. Version 14 knows files only.
    let strategy = match connection.server_version_num() {
        Some(150_000..) => "strategy file_copy",
        _ => "",
    };
    sqlx::query(AssertSqlSafe(format!("create database {name} template {template} {strategy}")))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let options = server.clone().database(&name);
    let url = options.to_url_lossy().to_string();
    let pool = PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
    TestDatabase { url, pool, server, name }
}

impl TestDatabase {
    fn keep(self) -> String {
        let mut this = std::mem::ManuallyDrop::new(self);
        std::mem::take(&mut this.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), std::mem::take(&mut self.name));
        // On a thread of its own: the test's runtime is busy with this drop, or gone. It is waited for, but not for ever: the
        // server asks every connection to take note of it, also one that cannot before this very thread goes on to read from it.
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let mut connection = server.connect().await.ok()?;
                let drop = format!("drop database if exists {name} with (force)");
                sqlx::query(AssertSqlSafe(drop)).execute(&mut connection).await.ok()?;
                connection.close().await.ok()
            })?;
            done.send(()).ok()
        });
        // A database left behind does not make a test fail.
        let _ = is_done.recv_timeout(Duration::from_secs(10));
    }
}

struct Server {
    private: Private,
    /// The reaper reads from its other end until this process is gone.
    _reaper: Child,
}

impl Server {
    async fn start() -> Self {
        remove_leftovers();
        let folder = place().join(format!("{PREFIX}{}", std::process::id()));
        let options = Options {
            data_dir: Some(folder.clone()),
            durability: Durability::Throwaway,
            ..Options::default()
        };
        let private = acquire(options).await.unwrap();
        let reaper = reaper(&folder, private.bin_dir());
        Self { private, _reaper: reaper }
    }
}

/// Where throwaway servers go: short enough a path for a socket, and open to the user whom root drops to.
///
/// A new database is 300 new files. In memory that takes 20 ms; on a disk that others are syncing to, up to 600.
pub fn place() -> &'static Path {
    let memory = Path::new("/dev/shm");
    // A container's may be as small as 64 MB.
    let roomy = nix::sys::statvfs::statvfs(memory).is_ok_and(|fs| {
        u128::from(fs.blocks_available()) * u128::from(fs.fragment_size()) > 4_000_000_000
    });
    if roomy { memory } else { Path::new("/tmp") }
}

/// A shell that waits for our end of the pipe to close, and then stops and removes the server, even if it
/// is frozen.
pub fn reaper(folder: &Path, bin_dir: &Path) -> Child {
    let owner = std::fs::metadata(folder).unwrap();
    let script = r#"cat; kill -CONT "$(head -n 1 "$2/data/postmaster.pid")"; "$1/pg_ctl" stop -D "$2/data" -m immediate; rm -rf "$2""#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).arg(bin_dir).arg(folder).current_dir("/").process_group(0);
    if nix::unistd::geteuid().is_root() {
        command.gid(owner.gid()).uid(owner.uid());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Removes what dead test processes have left: their locks are free, whatever their pid is used for now.
fn remove_leftovers() {
    for entry in std::fs::read_dir(place()).unwrap().flatten() {
        let folder: PathBuf = entry.path();
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let owner = entry.metadata().is_ok_and(|metadata| {
            nix::unistd::geteuid().is_root() || metadata.uid() == nix::unistd::geteuid().as_raw()
        });
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok())
        else {
            continue;
        };
        let dead = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None)
            == Err(nix::errno::Errno::ESRCH);
        // A server that still runs is being stopped by its reaper or its watcher: the run after this one removes it.
        if ours && owner && dead && !folder.join("data/postmaster.pid").exists() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
