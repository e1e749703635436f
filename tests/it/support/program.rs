//! The program itself, run as its users run it: another process, a folder with a configuration, and nothing of
//! the environment that this test has.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::postgres::TestDatabase;

/// No command of these tests takes this long, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A folder to run the program in, on one ledger.
pub struct Home {
    folder: TempDir,
    url: String,
}

/// How a run ended.
#[derive(Debug)]
pub struct Done {
    /// The exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

impl Done {
    /// Fails unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// The lines of stderr that say what went wrong.
    pub fn errors(&self) -> Vec<&str> {
        self.err.lines().filter(|line| line.starts_with("error: ")).collect()
    }
}

impl Home {
    /// A folder without a configuration; the ledger is in `database`.
    pub fn new(database: &TestDatabase) -> Self {
        Self::on(database.url.clone())
    }

    /// A folder without a configuration; the ledger is where `url` says.
    pub fn on(url: String) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url }
    }

    /// The same, with a configuration.
    pub fn configured(database: &TestDatabase, configuration: &str) -> Self {
        let home = Self::new(database);
        home.configure(configuration);
        home
    }

    /// Writes another configuration.
    pub fn configure(&self, configuration: &str) {
        self.write("deskledger.toml", configuration.as_bytes());
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(content).unwrap();
        path
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// The program, started by another one that becomes it.
    fn command_under(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let all: Vec<&str> = [wrapper, &[env!("CARGO_BIN_EXE_deskledger")], arguments].concat();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).current_dir(self.path()).kill_on_drop(true);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("DATABASE_URL", &self.url);
        // For root too, whose data would else be the system's, and every run's the same.
        command.env("XDG_DATA_HOME", self.path().join(".local/share"));
        // Many recorders run at the same time, and one address is one's.
        command.env("DESKLEDGER_METRICS_LISTEN", "off");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Done {
        self.start(arguments).end().await
    }

    /// Runs a command to its end, with more variables in its environment.
    pub async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Done {
        let mut command = self.command(arguments);
        Running::over(command.envs(variables.iter().copied()).spawn().unwrap()).end().await
    }

    /// Runs a command to its end, with something on its standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Done {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program that has seen enough closes its end; what it says then is what the test looks at.
        let writing = tokio::spawn(async move { stdin.write_all(&input).await });
        let done = Running::over(child).end().await;
        let _ = writing.await.unwrap();
        done
    }

    /// Starts a command, and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::over(self.command(arguments).spawn().unwrap())
    }

    /// Starts a command by another program that becomes it in the end, such as a shell.
    pub fn start_under(&self, wrapper: &[&str], arguments: &[&str]) -> Running {
        Running::over(self.command_under(wrapper, arguments).spawn().unwrap())
    }

    /// Runs a command whose output nobody reads: its reader is gone before it writes.
    pub async fn run_into_closed_pipe(&self, arguments: &[&str]) -> Done {
        let mut child = self.command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        Running::over(child).end().await
    }
}

/// A command that runs; it is killed when this is dropped.
pub struct Running {
    child: Child,
    out: JoinHandle<String>,
    err: JoinHandle<()>,
    said: Arc<(Mutex<String>, Notify)>,
}

impl Running {
    fn over(mut child: Child) -> Self {
        let stdout = child.stdout.take();
        let out = tokio::spawn(async move {
            let mut text = Vec::new();
            if let Some(mut stdout) = stdout {
                stdout.read_to_end(&mut text).await.unwrap();
            }
            String::from_utf8(text).unwrap()
        });
        let said = Arc::new((Mutex::new(String::new()), Notify::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let heard = Arc::clone(&said);
        let err = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                let mut text = heard.0.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
                drop(text);
                heard.1.notify_one();
            }
        });
        Self { child, out, err, said }
    }

    /// Waits until its stderr holds `text`.
    pub async fn says(&self, text: &str) {
        let heard = async {
            while !self.said.0.lock().unwrap().contains(text) {
                self.said.1.notified().await;
            }
        };
        if tokio::time::timeout(PATIENCE, heard).await.is_err() {
            panic!("it never said `{text}`, but:\n{}", self.said.0.lock().unwrap());
        }
    }

    /// What its stderr holds so far.
    pub fn said(&self) -> String {
        self.said.0.lock().unwrap().clone()
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Done {
        let ended = async {
            let status = self.child.wait().await.unwrap();
            let out = (&mut self.out).await.unwrap();
            (&mut self.err).await.unwrap();
            (status, out)
        };
        let Ok((status, out)) = tokio::time::timeout(PATIENCE, ended).await else {
            panic!("it did not end; it said:\n{}", self.said.0.lock().unwrap());
        };
        let err = self.said.0.lock().unwrap().clone();
        Done { code: status.code(), out, err }
    }
}

/// Waits until `reached` is true; for what no event tells of.
pub async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, looking).await.is_err() {
        panic!("never came about: {what}");
    }
}
