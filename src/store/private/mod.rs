//! A PostgreSQL of our own, for when no database is configured.
//!
//! It is a real server on a real folder, found again after a restart, reachable through a Unix socket only. Several
//! processes use it at the same time; the first starts it, the last stops it:
//!
//! - `users.lock` is shared by everyone who uses the server, for as long as they do. The kernel gives it back when they
//!   die, whichever way, so "am I the last?" is "do I get it alone?".
//! - `control.lock` is held by whoever is starting or stopping, so that these are never done twice or at once.
//! - Whether the server runs is decided by connecting to it, and by asking it which data it serves; a pid file proves
//!   nothing.
//!
//! Rejected: `postgresql_embedded`, which refuses root, turns fsync off and trusts a stale pid file; and a server that is
//! our child, which Ctrl-C in our terminal would stop before our last snapshot is written.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::Flock;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

mod binaries;
mod cluster;
mod error;
#[cfg(feature = "fetch-postgresql")]
mod fetch;
mod folder;
pub mod installing;
mod lock;
mod look;
mod runner;

pub use binaries::{BIN_VARIABLE, Binaries, MAJOR_NEWEST, MAJOR_OLDEST};
pub use error::{FetchError, PrivateError};
pub use look::{Look, free_bytes, keeper, look};

use binaries::{Found, Places};
use cluster::Cluster;
use folder::Folder;
use lock::Mode;
use runner::Runner;

/// The role that everything belongs to.
const SUPERUSER: &str = "deskledger";
/// The role that reports log in as; made with the schema.
const READER: &str = "deskledger_reader";
/// The database that holds the ledger.
const DATABASE: &str = "deskledger";

/// Longer than a server takes to recover from a crash and start, so that nobody gives up on one who is at it.
const CONTROL_PATIENCE: Duration = Duration::from_secs(330);
/// Longer than a server takes to stop.
const USERS_PATIENCE: Duration = Duration::from_secs(150);

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// What was committed survives a power cut.
    #[default]
    Durable,
    /// Fast, and gone after a power cut: for tests only. A folder made so is never used for a ledger, nor the other
    /// way round.
    Throwaway,
}

impl Durability {
    fn word(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Throwaway => "throwaway",
        }
    }
}

/// What may be chosen about the private server; the default is right for people.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The folder to keep it in, instead of the user's (or, for root, the system's) data folder.
    pub data_dir: Option<PathBuf>,
    /// The folder of PostgreSQL's programs, instead of looking for it.
    pub bin_dir: Option<PathBuf>,
    /// Whether a commit waits for the disk.
    pub durability: Durability,
}

/// The use of the private server: while there is one, it runs.
#[derive(Debug)]
pub struct Private {
    cluster: Cluster,
    socket: PathBuf,
    /// `None` once released.
    user: Option<Flock<File>>,
}

/// The folder that holds deskledger's data: the user's, or for root the system's.
///
/// # Errors
///
/// When the user has no home.
pub fn home() -> Result<PathBuf, PrivateError> {
    folder::home()
}

/// Starts the private server, or finds it running, and holds on to it.
///
/// # Errors
///
/// When there is no PostgreSQL and none can be fetched, when the folder is not usable, or when the server does not start.
pub async fn acquire(options: Options) -> Result<Private, PrivateError> {
    let root = root(options.data_dir.clone())?;
    let durability = options.durability;

    let runner = Runner::for_folder(&root)?;
    let folder = {
        let runner = runner.clone();
        blocking(move || Folder::prepare(&root, &runner)).await?
    };
    // Before the lock: fetching may take minutes, and others may only wait for a server.
    let made_by = folder.made_by()?;
    let mut binaries = find_binaries(options.bin_dir.clone(), &folder, made_by).await?;

    let control = {
        let (folder, runner) = (folder.clone(), runner.clone());
        blocking(move || {
            let control =
                lock::lock(&folder.control_lock(), Mode::Exclusive, CONTROL_PATIENCE, &runner)?;
            folder.claim(durability, &runner)?;
            Ok(control)
        })
        .await?
    };
    // Another process, with other binaries, may have made the data since we looked.
    if let Some(now) = folder.made_by()?.filter(|now| *now != binaries.major()) {
        binaries = find_binaries(options.bin_dir, &folder, Some(now)).await?;
    }
    let cluster = Cluster { folder, runner, binaries, durability };
    let user = {
        let cluster = cluster.clone();
        blocking(move || {
            lock::lock(&cluster.folder.users_lock(), Mode::Shared, USERS_PATIENCE, &cluster.runner)
        })
        .await?
    };

    let socket = match find_running(&cluster).await? {
        Some(socket) => socket,
        None => {
            let cluster = cluster.clone();
            blocking(move || {
                if cluster.folder.made_by()?.is_none() {
                    cluster.initialise()?;
                }
                cluster.start()
            })
            .await?
        }
    };
    let ready = ensure_database(&cluster, &socket).await;
    // Before there is a `Private`, which wants this lock when it is dropped: as it is at once if this failed.
    drop(control);
    let private = Private { cluster, socket, user: Some(user) };
    ready.map(|()| private)
}

/// Where the server is kept.
fn root(data_dir: Option<PathBuf>) -> Result<PathBuf, PrivateError> {
    let root = match data_dir {
        Some(folder) => folder,
        None => folder::home()?.join("postgresql"),
    };
    std::path::absolute(&root).map_err(|source| PrivateError::Io {
        attempt: "find",
        path: root,
        source,
    })
}

impl Private {
    /// How to connect to the ledger's database.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        Cluster::connect_options(&self.socket, DATABASE)
    }

    /// How reports connect: as a role that may read what is recorded, and nothing else.
    #[must_use]
    pub fn reading_options(&self) -> PgConnectOptions {
        self.connect_options().username(READER)
    }

    /// The same as a URL, for psql and other programs of this user.
    #[must_use]
    pub fn url(&self) -> String {
        Cluster::url(&self.socket, SUPERUSER)
    }

    /// The same for the role of [`Self::reading_options`].
    #[must_use]
    pub fn reading_url(&self) -> String {
        Cluster::url(&self.socket, READER)
    }

    /// The folder of PostgreSQL's programs. `psql` need not be among them.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        self.cluster.binaries.folder()
    }

    /// The folder that everything is kept in.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.cluster.folder.root
    }

    /// Lets go of the server, and stops it if nobody else uses it.
    ///
    /// # Errors
    ///
    /// When the server does not stop. It is let go of all the same.
    pub async fn release(mut self) -> Result<(), PrivateError> {
        let Some(user) = self.user.take() else { return Ok(()) };
        let cluster = self.cluster.clone();
        blocking(move || leave(&cluster, user)).await
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Blocking, though perhaps on a runtime's thread: a server that nobody stops is worse than a short wait.
        if let Some(user) = self.user.take()
            && let Err(error) = leave(&self.cluster, user)
        {
            tracing::warn!(%error, "could not stop the private PostgreSQL");
        }
    }
}

/// Gives the users' lock back, and stops the server if that was the last.
fn leave(cluster: &Cluster, user: Flock<File>) -> Result<(), PrivateError> {
    let path = cluster.folder.users_lock();
    let control = lock::lock(
        &cluster.folder.control_lock(),
        Mode::Exclusive,
        CONTROL_PATIENCE,
        &cluster.runner,
    )?;
    drop(user);
    let alone = match lock::try_lock(&path, Mode::Exclusive, &cluster.runner)? {
        Some(alone) => alone,
        // Somebody has it: another user, who shares it, or the watcher, who was faster and is stopping the server.
        None => match lock::try_lock(&path, Mode::Shared, &cluster.runner)? {
            Some(_) => return Ok(()),
            None => lock::lock(&path, Mode::Exclusive, USERS_PATIENCE, &cluster.runner)?,
        },
    };
    let stopped = cluster.stop();
    drop(alone);
    drop(control);
    stopped
}

/// The binaries to use, found here or fetched.
async fn find_binaries(
    explicit: Option<PathBuf>,
    folder: &Folder,
    made_by: Option<u32>,
) -> Result<Binaries, PrivateError> {
    // Beside the default data folder, whatever folder was asked for: they can serve more than one.
    let fetched =
        folder::home().map_or_else(|_| folder.root.join("binaries"), |home| home.join("binaries"));
    let places = Places::of_this_system(explicit, fetched.clone());
    let forced = places.explicit.is_some();
    let (other, refused) = match blocking(move || places.search(made_by)).await? {
        Found::Binaries(binaries) => return Ok(binaries),
        Found::None { other, refused } => (other, refused),
    };
    let source = if forced {
        None
    } else {
        match fetch_binaries(&fetched, made_by).await {
            Ok(binaries) => return Ok(binaries),
            Err(error) => Some(Box::new(error)),
        }
    };
    Err(explain_missing(folder, made_by, &other, &refused, source))
}

#[cfg(feature = "fetch-postgresql")]
async fn fetch_binaries(into: &Path, needed: Option<u32>) -> Result<Binaries, FetchError> {
    fetch::fetch(into, None, needed).await
}

#[cfg(not(feature = "fetch-postgresql"))]
async fn fetch_binaries(_into: &Path, _needed: Option<u32>) -> Result<Binaries, FetchError> {
    Err(FetchError::Disabled)
}

fn explain_missing(
    folder: &Folder,
    made_by: Option<u32>,
    other: &[Binaries],
    refused: &[String],
    source: Option<Box<FetchError>>,
) -> PrivateError {
    let install = installing::command(installing::Part::Server, made_by);
    match made_by {
        Some(made_by) => {
            let found: Vec<String> = other
                .iter()
                .map(|binaries| {
                    format!("{} in `{}`", binaries.major(), binaries.folder().display())
                })
                .collect();
            let found = if found.is_empty() {
                "no PostgreSQL".to_owned()
            } else {
                format!("only {}", found.join(", "))
            };
            PrivateError::OtherMajor { data: folder.data(), made_by, found, install, source }
        }
        None => {
            let refused = if refused.is_empty() {
                String::new()
            } else {
                format!("; refused {}", refused.join(", "))
            };
            PrivateError::NoBinaries { refused, install, source }
        }
    }
}

/// The socket of the running server, once it answers; `None` if none runs.
async fn find_running(cluster: &Cluster) -> Result<Option<PathBuf>, PrivateError> {
    let start = Instant::now();
    loop {
        let Some(postmaster) = cluster.folder.running() else { return Ok(None) };
        let socket = postmaster.socket;
        if socket.is_absolute() && folder::check_socket_folder(&socket, &cluster.runner).is_ok() {
            match probe(&cluster.folder, &socket).await {
                Ok(()) => return Ok(Some(socket)),
                Err(error @ PrivateError::Stranger { .. }) => return Err(error),
                // Starting (a user was killed while it did), recovering or stopping: both pass.
                Err(error) if start.elapsed() > CONTROL_PATIENCE => return Err(error),
                Err(_) => {}
            }
        } else if start.elapsed() > CONTROL_PATIENCE {
            folder::check_socket_folder(&socket, &cluster.runner)?;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Connects, and asks which data is served.
async fn probe(folder: &Folder, socket: &Path) -> Result<(), PrivateError> {
    let failed = |source| PrivateError::Connect { socket: socket.to_owned(), source };
    let mut connection = connect(socket, "postgres").await?;
    let serves: String = sqlx::query_scalar("select current_setting('data_directory')")
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    connection.close().await.map_err(failed)?;
    if Path::new(&serves) == folder.data() {
        Ok(())
    } else {
        Err(PrivateError::Stranger { socket: socket.to_owned(), serves })
    }
}

async fn connect(socket: &Path, database: &str) -> Result<PgConnection, PrivateError> {
    // A server that hangs (stopped by SIGSTOP, or its disk gone) accepts a connection and says nothing.
    let options = Cluster::connect_options(socket, database);
    tokio::time::timeout(Duration::from_secs(10), options.connect())
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
        .map_err(|source| PrivateError::Connect { socket: socket.to_owned(), source })
}

/// Makes the ledger's database if there is none: the first start, or a process that was killed in it.
async fn ensure_database(cluster: &Cluster, socket: &Path) -> Result<(), PrivateError> {
    let failed = |source| PrivateError::Connect { socket: socket.to_owned(), source };
    probe(&cluster.folder, socket).await?;
    let mut connection = connect(socket, "postgres").await?;
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
    if !there {
        sqlx::query("create database deskledger template template0")
            .execute(&mut connection)
            .await
            .map_err(failed)?;
    }
    connection.close().await.map_err(failed)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PrivateError> + Send + 'static,
) -> Result<T, PrivateError> {
    tokio::task::spawn_blocking(work)
        .await
        .expect("none of this panics, and a started one is not cancelled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_binaries_are_one_line_with_the_command_to_type() {
        let folder = Folder { root: PathBuf::from("/ledger") };
        let refused = ["`/usr/pgsql-12/bin` (version 12 is not one of 14 to 18)".to_owned()];
        let error =
            explain_missing(&folder, None, &[], &refused, Some(Box::new(FetchError::Disabled)));
        let install = installing::command(installing::Part::Server, None);
        assert_eq!(
            error.to_string(),
            format!(
                "find PostgreSQL 14 to 18 on this system; refused `/usr/pgsql-12/bin` (version 12 is not one of 14 \
                 to 18): install it with `{install}`, or set DATABASE_URL"
            )
        );
        let error = explain_missing(&folder, Some(14), &[], &[], None).to_string();
        assert!(
            error.starts_with(
                "open `/ledger/data`: PostgreSQL 14 made it, and here is no PostgreSQL"
            ),
            "{error}"
        );
    }
}
