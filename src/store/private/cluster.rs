//! Makes, starts and stops the server in one data folder.
//!
//! Everything here blocks and expects the control lock. PostgreSQL's own tools do the work: `pg_ctl` waits until the
//! server answers, puts it in a session of its own (so that a closing terminal does not take it along), and stops it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::binaries::Binaries;
use super::error::PrivateError;
use super::folder::{Folder, PORT};
use super::runner::Runner;
use super::{DATABASE, Durability, READER, SUPERUSER};

const INITIALISE: &str = "create a database cluster";

/// A crash leaves at most some 2 GB of WAL to replay, which takes far less than this.
const START_SECONDS: u64 = 300;
/// A fast stop ends in a checkpoint, which a slow disk may take its time over.
const STOP_SECONDS: u64 = 120;

/// One data folder, who runs it and with what.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) folder: Folder,
    pub(super) runner: Runner,
    pub(super) binaries: Binaries,
    pub(super) durability: Durability,
}

impl Cluster {
    /// Makes the data folder, whole or not at all.
    pub(super) fn initialise(&self) -> Result<(), PrivateError> {
        let root = &self.folder.root;
        self.remove_unfinished()?;
        let fresh = root.join(format!("data.unfinished-{}", std::process::id()));
        let mut initdb = self.runner.command(self.binaries.program("initdb"));
        initdb
            .arg("--pgdata")
            .arg(&fresh)
            .arg(format!("--username={SUPERUSER}"))
            // The order of strings must not depend on the machine that the ledger was begun on, nor change under an
            // index with its next libc.
            .args(["--encoding=UTF8", "--locale=C", "--data-checksums"])
            .args(["--auth-local=peer", "--auth-host=reject"]);
        if self.durability == Durability::Throwaway {
            initdb.arg("--no-sync");
        }
        let output = self.run(INITIALISE, "initdb", &mut initdb)?;
        self.check(INITIALISE, "initdb", &output)?;
        std::fs::rename(&fresh, self.folder.data()).map_err(|source| PrivateError::Io {
            attempt: "rename",
            path: fresh,
            source,
        })?;
        // The new name must outlive a power cut as surely as the files that initdb has synced.
        let synced = std::fs::File::open(root).and_then(|folder| folder.sync_all());
        synced.map_err(|source| PrivateError::Io { attempt: "sync", path: root.clone(), source })
    }

    /// What a process that was killed in `initialise` has left.
    fn remove_unfinished(&self) -> Result<(), PrivateError> {
        let root = &self.folder.root;
        let failed = |attempt, path: &Path| {
            let path = path.to_owned();
            move |source| PrivateError::Io { attempt, path, source }
        };
        for entry in std::fs::read_dir(root).map_err(failed("list", root))? {
            let path = entry.map_err(failed("list", root))?.path();
            let unfinished = path.file_name().and_then(|name| name.to_str());
            if unfinished.is_some_and(|name| name.starts_with("data.unfinished-")) {
                std::fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Starts the server and waits until it answers; gives the folder of its socket.
    pub(super) fn start(&self) -> Result<PathBuf, PrivateError> {
        let socket = self.folder.socket(&self.runner)?;
        self.configure(&socket)?;
        if self.folder.running().is_none() {
            self.disown_stale_locks(&socket)?;
        }
        let start = Instant::now();
        loop {
            // pg_ctl appends; the tail shown below must be of this start.
            self.folder.write(&self.folder.start_log(), "", &self.runner)?;
            let mut pg_ctl = self.pg_ctl("start");
            pg_ctl.arg("-l").arg(self.folder.start_log()).args(["-t", &START_SECONDS.to_string()]);
            let output = self.run("start PostgreSQL", "pg_ctl", &mut pg_ctl)?;
            if output.status.success() {
                self.watch();
                return Ok(socket);
            }
            // The children of a killed postmaster need a moment to notice, and hold its shared memory until then.
            let said = std::fs::read_to_string(self.folder.start_log()).unwrap_or_default();
            let orphans = said.contains("shared memory block");
            if !orphans || start.elapsed() > Duration::from_secs(20) {
                return self.check("start PostgreSQL", "pg_ctl", &output).map(|()| socket);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Makes PostgreSQL see that its lock files are stale: nothing runs on this data.
    ///
    /// It sees that itself when no process has the number in them. But after a restart of the machine the number may be
    /// another process's, and in a container whose first process reaps nobody a killed server stays a zombie; it then
    /// refuses to start. Removing `postmaster.pid` would be the wrong cure: it also names the shared memory by which
    /// PostgreSQL notices that orphans of a killed server are still writing. So only the number is replaced, by one
    /// that no process can have.
    fn disown_stale_locks(&self, socket: &Path) -> Result<(), PrivateError> {
        let path = self.folder.data().join("postmaster.pid");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
                self.folder.write(&path, &format!("{}\n{rest}", i32::MAX), &self.runner)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(PrivateError::Io { attempt: "read", path, source }),
        }
        // This one guards the socket's name only, in a folder that nobody else uses.
        let path = socket.join(format!(".s.PGSQL.{PORT}.lock"));
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(PrivateError::Io { attempt: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Ends all sessions, writes everything down and stops. No error if nothing runs.
    pub(super) fn stop(&self) -> Result<(), PrivateError> {
        if self.folder.running().is_none() {
            return Ok(());
        }
        let mode = match self.durability {
            Durability::Durable => "fast",
            Durability::Throwaway => "immediate",
        };
        let mut pg_ctl = self.pg_ctl("stop");
        pg_ctl.args(["-m", mode, "-t", &STOP_SECONDS.to_string()]);
        let output = self.run("stop PostgreSQL", "pg_ctl", &mut pg_ctl)?;
        // It may have stopped between our look and pg_ctl's.
        if self.folder.running().is_none() {
            Ok(())
        } else {
            self.check("stop PostgreSQL", "pg_ctl", &output)
        }
    }

    fn pg_ctl(&self, verb: &str) -> Command {
        let mut command = self.runner.command(self.binaries.program("pg_ctl"));
        command.args([verb, "-w", "-s", "-D"]).arg(self.folder.data());
        command
    }

    /// Leaves somebody behind who stops the server when the last user is gone without a word (`kill -9`).
    ///
    /// `flock(1)` waits for a lock that nobody shares any more, in the kernel, at no cost. The last user to leave
    /// properly stops the server itself, so that it knows how that went; the watcher then finds nothing to do. Where
    /// there is no `flock` (macOS), a server left behind runs until the next user leaves.
    fn watch(&self) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let Some(flock) = std::env::split_paths(&path)
            .map(|folder| folder.join("flock"))
            .find(|file| file.is_file())
        else {
            return;
        };
        let Some(postmaster) = self.folder.postmaster() else { return };
        // The server that it was left for and no other: by then a number in a stale file may be a stranger's.
        let stop = r#"test "$(head -n 1 "$1/postmaster.pid")" = "$2" && exec "$3" stop -w -s -m fast -D "$1""#;
        // By way of a shell that goes at once, so that the watcher is init's child and no zombie of ours.
        let mut shell = self.runner.command("/bin/sh");
        shell
            .args(["-c", r#""$@" </dev/null >/dev/null 2>&1 &"#, "sh"])
            .arg(flock)
            .args(["-x".as_ref(), self.folder.users_lock().as_os_str()])
            .args(["/bin/sh", "-c", stop, "sh"])
            .arg(self.folder.data())
            .arg(postmaster.pid.to_string())
            .arg(self.binaries.program("pg_ctl"));
        if let Err(error) = shell.status() {
            tracing::debug!(%error, "no watcher for the private PostgreSQL");
        }
    }

    /// Writes PostgreSQL's configuration, all of it: what holds is in this function and nowhere else.
    fn configure(&self, socket: &Path) -> Result<(), PrivateError> {
        let data = self.folder.data();
        let log = self.folder.log();
        match std::fs::create_dir(&log) {
            Ok(()) => self.runner.own(&log)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(PrivateError::Io { attempt: "create", path: log, source }),
        }
        self.folder.write(&data.join("postgresql.conf"), &self.settings(socket), &self.runner)?;
        // The system's users in the map may be our superuser: who runs the server, and root, who could anyway.
        let access = "# written by deskledger at each start\n\
                      local all all peer map=deskledger\n\
                      local replication all peer map=deskledger\n";
        self.folder.write(&data.join("pg_hba.conf"), access, &self.runner)?;
        let name = self.runner.name.replace('"', "\"\"");
        let mut map =
            format!("# written by deskledger at each start\ndeskledger \"{name}\" {SUPERUSER}\n");
        if self.runner.name != "root" {
            writeln!(map, "deskledger root {SUPERUSER}").expect("a string takes any text");
        }
        // Reports log in as a role that may read and nothing else: whoever is the superuser could not
        // be held by a transaction that only reads.
        for user in [name.as_str(), "root"] {
            writeln!(map, "deskledger \"{user}\" {READER}").expect("a string takes any text");
            if name == "root" {
                break;
            }
        }
        self.folder.write(&data.join("pg_ident.conf"), &map, &self.runner)
    }

    fn settings(&self, socket: &Path) -> String {
        // A run of tests has many ledgers on one throwaway server, each with its recorders.
        let (safety, connections) = match self.durability {
            Durability::Durable => ("on", 100),
            Durability::Throwaway => ("off", 400),
        };
        format!(
            "# Written by deskledger at each start: changes here are lost. Put your own into local.conf beside this\n\
             # file; what is below its inclusion stays as it is.\n\
             max_connections = {connections}\n\
             shared_buffers = 128MB\n\
             max_wal_size = 2GB\n\
             checkpoint_timeout = 15min\n\
             wal_compression = on\n\
             jit = off\n\
             \n\
             include_if_exists = 'local.conf'\n\
             \n\
             # A socket in a folder that only its owner may enter, and no TCP at all.\n\
             listen_addresses = ''\n\
             port = {PORT}\n\
             unix_socket_directories = {socket}\n\
             unix_socket_permissions = 0700\n\
             \n\
             # What was reported as recorded survives a power cut.\n\
             fsync = {safety}\n\
             synchronous_commit = {safety}\n\
             full_page_writes = {safety}\n\
             \n\
             # The same answers on every machine.\n\
             timezone = 'UTC'\n\
             datestyle = 'iso, ymd'\n\
             lc_messages = 'C'\n\
             \n\
             # A file for each weekday, begun anew after a week. Neither statements nor their values: they name people.\n\
             logging_collector = on\n\
             log_directory = {log}\n\
             log_filename = 'postgresql-%a.log'\n\
             log_rotation_age = 1d\n\
             log_rotation_size = 0\n\
             log_truncate_on_rotation = on\n\
             log_file_mode = 0600\n\
             log_timezone = 'UTC'\n\
             log_min_error_statement = panic\n\
             log_error_verbosity = terse\n",
            socket = quoted(socket),
            log = quoted(&self.folder.log()),
        )
    }

    fn run(
        &self,
        attempt: &'static str,
        program: &'static str,
        command: &mut Command,
    ) -> Result<Output, PrivateError> {
        // A file and not a pipe: the server that pg_ctl leaves behind would hold the pipe open for as long as it runs.
        let mut capture = Capture::new().map_err(|source| PrivateError::Io {
            attempt: "create a file in",
            path: std::env::temp_dir(),
            source,
        })?;
        let status =
            capture.attach(command).and_then(|command| command.status()).map_err(|source| {
                PrivateError::Io { attempt, path: self.binaries.program(program), source }
            })?;
        Ok(Output { status, stdout: Vec::new(), stderr: capture.read() })
    }

    fn check(
        &self,
        attempt: &'static str,
        program: &'static str,
        output: &Output,
    ) -> Result<(), PrivateError> {
        if output.status.success() {
            return Ok(());
        }
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        if attempt != INITIALISE {
            let first = std::fs::read_to_string(self.folder.start_log()).unwrap_or_default();
            // Once its log is open, the server says so here and the rest there.
            if first.contains("redirecting log output") {
                said.push_str(&complaints(&newest_log(&self.folder.log())));
            } else {
                said.push_str(&first);
            }
        }
        Err(PrivateError::Program {
            attempt,
            program,
            data: self.folder.data(),
            status: output.status.to_string(),
            tail: tail(&said),
        })
    }

    /// How to reach a database of this server.
    pub(super) fn connect_options(
        socket: &Path,
        database: &str,
    ) -> sqlx::postgres::PgConnectOptions {
        sqlx::postgres::PgConnectOptions::new_without_pgpass()
            .socket(socket)
            .port(PORT)
            .username(SUPERUSER)
            .database(database)
            // The environment's PGSSLMODE is about somebody else's server.
            .ssl_mode(sqlx::postgres::PgSslMode::Disable)
    }

    /// The same as a URL, which psql understands too.
    pub(super) fn url(socket: &Path, role: &str) -> String {
        use std::os::unix::ffi::OsStrExt;
        let host = percent_encoding::percent_encode(
            socket.as_os_str().as_bytes(),
            percent_encoding::NON_ALPHANUMERIC,
        );
        format!("postgresql://{role}@{host}:{PORT}/{DATABASE}")
    }
}

/// An unnamed file that a program writes its messages to.
struct Capture(std::fs::File);

impl Capture {
    fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = std::env::temp_dir().join(format!(
            "deskledger-{}-{:016x}",
            std::process::id(),
            rand::random::<u64>()
        ));
        let file = std::fs::OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self(file))
    }

    fn attach<'a>(&self, command: &'a mut Command) -> std::io::Result<&'a mut Command> {
        Ok(command
            .stdout(Stdio::from(self.0.try_clone()?))
            .stderr(Stdio::from(self.0.try_clone()?)))
    }

    fn read(&mut self) -> Vec<u8> {
        use std::io::{Read, Seek, SeekFrom};
        let mut said = Vec::new();
        // It only serves a message that is already about a failure.
        let _ = self.0.seek(SeekFrom::Start(0)).and_then(|_| self.0.read_to_end(&mut said));
        said
    }
}

/// A path as PostgreSQL's configuration wants it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\\', "\\\\").replace('\'', "''"))
}

fn newest_log(folder: &Path) -> String {
    let newest = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .max();
    newest.and_then(|(_, path)| std::fs::read_to_string(path).ok()).unwrap_or_default()
}

/// The lines of a log that are about something going wrong.
fn complaints(log: &str) -> String {
    let wrong = |line: &&str| ["FATAL:", "PANIC:", "ERROR:"].iter().any(|word| line.contains(word));
    log.lines().filter(wrong).fold(String::new(), |all, line| all + line + "\n")
}

/// The last lines that say something, on one line.
fn tail(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_encode_the_socket_folder() {
        assert_eq!(
            Cluster::url(Path::new("/tmp/a b"), SUPERUSER),
            "postgresql://deskledger@%2Ftmp%2Fa%20b:5432/deskledger"
        );
    }

    #[test]
    fn paths_are_quoted_for_the_configuration() {
        assert_eq!(quoted(Path::new("/home/o'neil/x")), "'/home/o''neil/x'");
    }

    #[test]
    fn a_tail_is_the_last_lines_on_one() {
        assert_eq!(tail("a\n\nb\nc\nd\ne\nf\ng\n"), "b | c | d | e | f | g");
    }
}
