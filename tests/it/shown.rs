//! Every command that README and the pages of `docs/` show: it is run as it stands there, by a shell, on a ledger in which there
//! is what the pages speak of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser as _;
use clap::error::ErrorKind;
use deskledger::cli::Cli;
use deskledger::clock::Clock;
use serde_json::json;
use sqlx::PgPool;

use crate::support::ledger::record;
use crate::support::postgres::{TestDatabase, database_from};

/// Commands that another test runs, or nobody can: how they begin, and why.
const ELSEWHERE: [(&str, &str); 3] = [
    ("deskledger init ", "it asks questions: `installed.rs`"),
    (
        "deskledger psql --write -- -c '\\! pg_dump",
        "it speaks of the private ledger: `private_postgresql.rs`",
    ),
    ("deskledger psql --write -- --quiet", "the same"),
];
/// Programs that blocks call beside ours.
const TOOLS: [&str; 3] = ["mkdir", "openssl", "chmod"];
/// These answer "no" on a machine without the API and the receiver that the configuration names.
const MAY_SAY_NO: [&str; 3] =
    ["deskledger doctor", "deskledger webhook test", "deskledger --version && deskledger status"];

/// README and the pages, by their paths in the project.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    paths.extend(["README.md", "queries/README.md"].map(|name| root.join(name)));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root).unwrap().to_owned(), text)
        })
        .collect()
}

/// The commands of the blocks of a page, block by block; lines that go on are joined.
fn blocks(page: &str) -> Vec<Vec<String>> {
    let mut blocks = Vec::new();
    for block in page.split("\n```").skip(1).step_by(2) {
        let (language, lines) = block.split_once('\n').unwrap();
        if !["", "sh"].contains(&language) {
            continue;
        }
        let lines = lines.replace("\\\n", " ");
        blocks.push(lines.lines().map(|line| line.trim().to_owned()).collect());
    }
    blocks
}

/// The program that a line calls first.
fn called(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| {
        !word
            .split_once('=')
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    })
}

/// Alice and u-4711, hour by hour for four months and a half, and before that in August of 2025.
async fn prepared(pool: PgPool) {
    let store = deskledger::store::Store::from_pool(pool);
    store.migrate().await.unwrap();
    let now = Clock::System.now();
    let hour = |at: DateTime<Utc>| now - TimeDelta::minutes((now - at).num_minutes() / 60 * 60);
    let august: DateTime<Utc> = "2025-08-10T00:00:00Z".parse().unwrap();
    let old = (0..40).map(|hours| august + TimeDelta::hours(hours));
    let new = (0..135 * 24).rev().map(|hours| hour(now) - TimeDelta::hours(hours));
    let mut history = String::new();
    for (nth, at) in old.chain(new).enumerate() {
        let user = |id: &str, name: &str| json!([{ "type": "USER", "id": id, "name": name }]);
        let desktop = |id: &str, every: usize, users: serde_json::Value| {
            let status = if nth % every < every / 2 { "CONNECTED" } else { "DISCONNECTED" };
            json!({ "desktop_id": id, "desktop_name": id, "connect_status": status, "attach_users": users })
        };
        let line = json!({
            "source": "prod", "observed_at": at, "max_gap": "2h", "total_count": 2,
            "desktops": [desktop("d-1", 24, user("u-1", "alice")), desktop("d-2", 9, user("u-4711", "bob"))],
            "statics": [{ "static_name": "pool", "in_use_num": nth % 3 }],
        });
        history += &format!("{line}\n");
    }
    record(&store, &history, 500, usize::MAX).await;
}

/// A folder in which the configuration and the files are of which the pages speak.
struct Desk {
    folder: tempfile::TempDir,
    database: TestDatabase,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let write =
            |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "deskledger.toml",
            b"[metrics]\nlisten = \"off\"\n[access]\naudit = true\n\
              [[source]]\nname = \"prod\"\nproject_id = \"p\"\nendpoint = \"http://127.0.0.1:9\"\nauth = { token = \"t\" }\n\
              [[webhook]]\nname = \"pager\"\nurl = \"http://127.0.0.1:9\"\n\
              secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=\"\n",
        );
        write("KEYFILE", b"a key of some length, made by chance\n");
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        std::fs::copy(
            root.join("docs/sql-history.ndjson"),
            folder.path().join("docs/sql-history.ndjson"),
        )
        .unwrap();
        Self { folder, database: database_from(prepared).await }
    }

    /// What a shell makes of a line. What asks a terminal before it does anything is told yes.
    fn shell(&self, line: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_deskledger")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let home = self.folder.path();
        // Folders of the system are this test's, and ports are whichever is free.
        let line = line
            .replace("/etc/deskledger/", "./")
            .replace("/srv/archive", "archive")
            .replace("/tmp/sql-page", "sql-page")
            .replace("0.0.0.0:8090", "127.0.0.1:0");
        let asks = line.starts_with("deskledger erase-user") && !line.contains("--plan");
        let line = if asks { line.replacen("erase-user", "erase-user --yes", 1) } else { line };
        let mut command = Command::new("bash");
        command
            .args(["--norc", "-ec", &line])
            .current_dir(home)
            .env_clear()
            .env("PATH", path)
            .env("HOME", home);
        command
            .env("XDG_DATA_HOME", home.join(".local/share"))
            .env("DESKLEDGER_SERVE_LISTEN", "127.0.0.1:0");
        if !line.contains("--data-dir") {
            command.env("DATABASE_URL", &self.database.url);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a line to its end; what would go on until it is told to end is told once it is there.
    fn run(&self, line: &str) -> Output {
        if !line.starts_with("deskledger serve") {
            return self.shell(line).output().unwrap();
        }
        let log = self.folder.path().join(".serve");
        let mut command = self.shell(&format!("exec {line}"));
        let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        for _ in 0..900 {
            if std::fs::read_to_string(&log).unwrap().contains("Reports are at") {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = child.wait().unwrap();
        let stderr = std::fs::read(&log).unwrap();
        assert!(String::from_utf8_lossy(&stderr).contains("Reports are at"), "{line}");
        Output { status, stdout: Vec::new(), stderr }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_is_shown_does_what_it_is_shown_for() {
    let (mut ran, mut passed_over) = (BTreeSet::new(), BTreeSet::new());
    for (page, text) in pages() {
        for block in blocks(&text) {
            // (What is sent into the background ends with its terminal; `serve` is shown by itself, too.)
            if !block.iter().any(|line| called(line) == Some("deskledger")) {
                continue;
            }
            let desk = Desk::new().await;
            for line in &block {
                if let Some((begins, _)) =
                    ELSEWHERE.iter().find(|(begins, _)| line.starts_with(begins))
                {
                    passed_over.insert(*begins);
                    continue;
                }
                let is_ours = called(line) == Some("deskledger");
                if !is_ours && !called(line).is_some_and(|tool| TOOLS.contains(&tool)) {
                    continue;
                }
                let done = desk.run(line);
                let (out, err) =
                    (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
                let may_say_no = MAY_SAY_NO.iter().any(|no| line.starts_with(no));
                let is_well = done.status.success() || may_say_no && done.status.code() == Some(1);
                assert!(
                    is_well,
                    "{}: {line}\n{:?}\n{out}\n{err}",
                    page.display(),
                    done.status.code()
                );
                ran.insert(line.clone());
            }
        }
    }
    assert!(ran.len() > 40, "{ran:?}");
    // What nobody shows any more is no exception either.
    assert_eq!(passed_over.len(), ELSEWHERE.len(), "{passed_over:?}");
}

/// Commands in the midst of a sentence: they are known, with these options.
#[test]
fn every_command_that_is_named_is_known_with_its_options() {
    let mut named = BTreeSet::new();
    for (page, text) in pages() {
        // What stands between single backticks, outside of blocks.
        let prose: String = text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
        for span in
            prose.split('`').skip(1).step_by(2).filter(|span| span.starts_with("deskledger "))
        {
            let words: Vec<&str> = span.split_whitespace().collect();
            if let Err(error) = Cli::try_parse_from(&words) {
                // Half of what it needs is told elsewhere.
                let is_known = matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::MissingSubcommand
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        | ErrorKind::DisplayHelp
                );
                assert!(is_known, "{}: `{span}`: {error}", page.display());
            }
            named.insert(span.to_owned());
        }
    }
    assert!(named.len() > 20, "{named:?}");
}
