//! The private PostgreSQL, as somebody who relies on it sees it.
//!
//! Some tests need a second process that uses the server and can be killed. It is the program itself:
//! `deskledger psql`, which holds on to the server until its input ends.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deskledger::cli::psql;
use deskledger::store::private::{Durability, Options, Private, acquire};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{ConnectOptions, Connection};

use crate::support::postgres::{database, database_from};

/// A data folder directly below /tmp, so that the user whom root drops to can reach it; stopped and removed at the end.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        Self(Path::new("/tmp").join(format!(
            "deskledger-home-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        )))
    }

    async fn acquire(&self) -> Private {
        acquire(self.options()).await.unwrap()
    }

    fn options(&self) -> Options {
        Options { data_dir: Some(self.0.clone()), ..Options::default() }
    }

    fn postmaster(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.0.join("data/postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.parse().ok()?);
        kill(pid, None).is_ok().then_some(pid)
    }

    /// Waits for the server to stop by itself.
    fn stops(&self) -> bool {
        let start = Instant::now();
        while self.postmaster().is_some() {
            if start.elapsed() > Duration::from_secs(20) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Runs the program on this folder: its exit code, stdout and stderr.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_deskledger"))
            .arg("--data-dir")
            .arg(&self.0)
            .args(arguments)
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    }

    /// Another process that uses the server until it is killed or its input ends.
    fn other_user(&self) -> Child {
        let mut child = Command::new(env!("CARGO_BIN_EXE_deskledger"))
            .arg("--data-dir")
            .arg(&self.0)
            .args(["psql", "--write", "--", "-Atq", "-c", "\\echo in use", "-f", "-"])
            .env_remove("DATABASE_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap().contains("in use")),
            "the other process got no server"
        );
        // Read on, or its last words would break its pipe.
        std::thread::spawn(move || lines.for_each(drop));
        child
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(pid) = self.postmaster() {
            let _ = kill(pid, Signal::SIGQUIT);
            self.stops();
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn ask(private: &Private, query: &'static str) -> String {
    let mut connection = private.connect_options().connect().await.unwrap();
    let answer = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    answer
}

#[tokio::test]
async fn data_is_found_again_after_the_last_user_has_stopped_the_server() {
    let home = Home::new();
    let private = home.acquire().await;
    let mut connection = private.connect_options().connect().await.unwrap();
    sqlx::raw_sql("create table kept as select 'here' as what")
        .execute(&mut connection)
        .await
        .unwrap();
    drop(connection); // a session left open must not keep the server from stopping
    private.release().await.unwrap();
    assert_eq!(home.postmaster(), None);

    let private = home.acquire().await;
    assert_eq!(ask(&private, "select what from kept").await, "here");
    drop(private);
    assert_eq!(home.postmaster(), None, "dropping the last use stops the server too");
}

#[tokio::test]
async fn users_at_the_same_time_share_one_server_and_the_last_one_stops_it() {
    let home = Home::new();
    let (one, two, three) = tokio::join!(home.acquire(), home.acquire(), home.acquire());
    let started = "select pg_postmaster_start_time()::text";
    let first = ask(&one, started).await;
    assert_eq!(ask(&two, started).await, first);
    assert_eq!(ask(&three, started).await, first);
    assert_eq!(one.url(), two.url());

    let mut other = home.other_user();
    for private in [one, two, three] {
        private.release().await.unwrap();
        assert!(home.postmaster().is_some(), "another process still uses it");
    }
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    assert_eq!(home.postmaster(), None);
}

#[tokio::test]
async fn a_killed_server_is_started_again_over_its_stale_pid_file() {
    let home = Home::new();
    let private = home.acquire().await;
    let mut connection = private.connect_options().connect().await.unwrap();
    sqlx::raw_sql("create table kept as select 'here' as what")
        .execute(&mut connection)
        .await
        .unwrap();
    kill(home.postmaster().unwrap(), Signal::SIGKILL).unwrap();
    // The old user is still there: it neither prevents a start nor stops the new server when it leaves.
    let again = home.acquire().await;
    assert_eq!(ask(&again, "select what from kept").await, "here");
    private.release().await.unwrap();
    assert_eq!(ask(&again, "select what from kept").await, "here");
    again.release().await.unwrap();
    assert_eq!(home.postmaster(), None);
}

#[tokio::test]
async fn a_pid_file_that_names_a_living_stranger_does_not_prevent_a_start() {
    let home = Home::new();
    home.acquire().await.release().await.unwrap();
    // As after a restart of the machine: the number is somebody else's, here of the very user who runs the server.
    let owner = std::fs::metadata(home.0.join("data")).unwrap();
    let mut sleep = Command::new("sleep");
    if nix::unistd::geteuid().is_root() {
        std::os::unix::process::CommandExt::uid(&mut sleep, owner.uid());
    }
    let mut stranger = sleep.arg("60").spawn().unwrap();
    let text = format!(
        "{}\n{}\n1760000000\n5432\n/nowhere\n\n",
        stranger.id(),
        home.0.join("data").display()
    );
    std::fs::write(home.0.join("data/postmaster.pid"), &text).unwrap();
    std::fs::write(home.0.join("socket/.s.PGSQL.5432.lock"), &text).unwrap();
    let private = home.acquire().await;
    assert_eq!(ask(&private, "select 'up'").await, "up");
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives on");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    private.release().await.unwrap();
}

#[tokio::test]
async fn a_killed_user_neither_keeps_the_server_alive_nor_stops_it_for_others() {
    let home = Home::new();
    let mut other = home.other_user();
    let private = home.acquire().await;
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(ask(&private, "select 'up'").await, "up");
    private.release().await.unwrap();
    assert_eq!(home.postmaster(), None, "the dead do not count");
}

#[tokio::test]
async fn a_server_whose_only_user_was_killed_stops_or_is_taken_over() {
    let home = Home::new();
    let mut other = home.other_user();
    assert!(home.postmaster().is_some());
    other.kill().unwrap();
    other.wait().unwrap();
    let watched = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .any(|folder| folder.join("flock").exists());
    if watched {
        assert!(home.stops(), "nobody stopped it");
    }
    let private = home.acquire().await;
    assert_eq!(ask(&private, "select 'up'").await, "up");
    private.release().await.unwrap();
    assert_eq!(home.postmaster(), None);
}

#[tokio::test]
async fn ctrl_c_in_the_terminal_does_not_reach_the_server() {
    let home = Home::new();
    let private = home.acquire().await;
    let server = home.postmaster().unwrap();
    let group = nix::unistd::getpgid(Some(server)).unwrap();
    assert_ne!(group, nix::unistd::getpgrp());
    private.release().await.unwrap();
}

#[tokio::test]
async fn it_is_a_careful_server_that_only_its_owner_can_reach() {
    let home = Home::new();
    let private = home.acquire().await;
    for (setting, expected) in [
        ("select current_setting('listen_addresses')", ""),
        ("select current_setting('fsync')", "on"),
        ("select current_setting('synchronous_commit')", "on"),
        ("select current_setting('full_page_writes')", "on"),
        ("select current_setting('data_checksums')", "on"),
        ("select current_setting('server_encoding')", "UTF8"),
        ("select current_setting('TimeZone')", "UTC"),
        ("select datcollate::text from pg_database where datname = current_database()", "C"),
        ("select current_database()::text", "deskledger"),
        ("select current_user::text", "deskledger"),
    ] {
        assert_eq!(ask(&private, setting).await, expected, "{setting}");
    }
    // Not by its own word only: the postmaster and its children have no TCP socket open.
    #[cfg(target_os = "linux")]
    {
        let server = home.postmaster().unwrap();
        let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{server}/fd"))
            .unwrap()
            .filter_map(|entry| {
                std::fs::read_link(entry.unwrap().path()).ok()?.into_os_string().into_string().ok()
            })
            .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        assert!(!sockets.is_empty(), "it has a Unix socket at least");
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let listening = std::fs::read_to_string(table).unwrap_or_default();
            // Column 10 is the inode; state 0A is LISTEN.
            for fields in listening.lines().map(|line| line.split_whitespace().collect::<Vec<_>>())
            {
                assert!(
                    !(fields.get(3) == Some(&"0A")
                        && sockets.iter().any(|inode| fields.get(9) == Some(&&**inode)))
                );
            }
        }
    }
    for folder in ["", "data", "socket"] {
        let metadata = std::fs::metadata(home.0.join(folder)).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o700, "{folder}");
    }
    private.release().await.unwrap();
}

#[tokio::test]
async fn root_runs_it_as_somebody_else() {
    if !nix::unistd::geteuid().is_root() {
        return; // ordinary users run it as themselves, as all the other tests show
    }
    let home = Home::new();
    let private = home.acquire().await;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", home.postmaster().unwrap())).unwrap();
    let ids = |key: &str| {
        status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
    };
    assert!(ids("Uid:").split_whitespace().all(|uid| uid != "0"), "{status}");
    assert!(ids("Gid:").split_whitespace().all(|gid| gid != "0"), "{status}");
    assert!(ids("Groups:").split_whitespace().all(|gid| gid != "0"), "{status}");
    private.release().await.unwrap();

    // In a folder that is somebody's already, as that somebody.
    let owned = Home::new();
    std::fs::create_dir(&owned.0).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    nix::unistd::chown(&owned.0, Some(nobody.uid), Some(nobody.gid)).unwrap();
    let private = owned.acquire().await;
    let server = std::fs::metadata(format!("/proc/{}", owned.postmaster().unwrap())).unwrap();
    assert_eq!(server.uid(), nobody.uid.as_raw());
    private.release().await.unwrap();

    // Where that somebody cannot go, one clear line.
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let options = Options { data_dir: Some(closed.path().join("data")), ..Options::default() };
    let error = acquire(options).await.unwrap_err().to_string();
    assert!(error.contains("may not enter"), "{error}");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_works_all_the_same() {
    let home = Home::new();
    let long = home.0.join("a".repeat(60)).join("b".repeat(60));
    std::fs::create_dir_all(long.parent().unwrap()).unwrap();
    let private =
        acquire(Options { data_dir: Some(long.clone()), ..Options::default() }).await.unwrap();
    assert_eq!(ask(&private, "select 'up'").await, "up");
    let again = acquire(Options { data_dir: Some(long), ..Options::default() }).await.unwrap();
    assert_eq!(private.url(), again.url());
    let socket = private.connect_options().get_socket().unwrap().clone();
    private.release().await.unwrap();
    again.release().await.unwrap();
    std::fs::remove_dir(socket).unwrap();
}

#[tokio::test]
async fn psql_understands_the_url() {
    let home = Home::new();
    let private = home.acquire().await;
    // Not every server comes with a psql.
    let beside = private.bin_dir().join("psql");
    let psql = if beside.is_file() { beside } else { PathBuf::from("psql") };
    let output =
        Command::new(psql).args(["-XAtc", "select current_user", &private.url()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "deskledger\n", "{output:?}");
    private.release().await.unwrap();
}

#[tokio::test]
async fn a_psql_shell_gives_psqls_own_exit_code() {
    let home = Home::new();
    let private = home.acquire().await;
    for (command, code) in [("create table through_psql ()", 0), ("select 1 / 0", 1)] {
        let arguments = ["-XAtqc", command].map(Into::into).to_vec();
        let args = psql::Args { write: true, arguments };
        assert_eq!(psql::run(psql::Target::Private(&private), &args).await.unwrap(), code);
    }
    assert_eq!(ask(&private, "select 'it is ' || count(*) from through_psql").await, "it is 0");
    private.release().await.unwrap();
}

#[tokio::test]
async fn the_data_of_another_version_is_refused_with_the_version_it_needs() {
    let home = Home::new();
    home.acquire().await.release().await.unwrap();
    std::fs::write(home.0.join("data/PG_VERSION"), "12\n").unwrap();
    let error = acquire(home.options()).await.unwrap_err().to_string();
    assert!(error.contains("PostgreSQL 12 made it, and here is "), "{error}");
    assert!(error.contains("install version 12"), "{error}");
}

#[tokio::test]
async fn a_server_for_tests_and_a_ledger_never_share_a_folder() {
    let home = Home::new();
    home.acquire().await.release().await.unwrap();
    let options = Options { durability: Durability::Throwaway, ..home.options() };
    let error = acquire(options).await.unwrap_err().to_string();
    assert!(error.ends_with("it holds a ledger that must not be put at risk"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let home = Home::new();
    home.acquire().await.release().await.unwrap();
    std::fs::write(home.0.join("data/local.conf"), "shared_buffers = 'much'\n").unwrap();
    let error = acquire(home.options()).await.unwrap_err().to_string();
    assert!(error.starts_with("start PostgreSQL in "), "{error}");
    assert!(error.contains("shared_buffers"), "{error}");
}

#[tokio::test]
async fn a_test_database_is_fresh_and_quick() {
    async fn template(pool: sqlx::PgPool) {
        sqlx::raw_sql("create table filled as select 7 as n").execute(&pool).await.unwrap();
    }
    drop(database_from(template).await);
    let start = Instant::now();
    let (one, two) = (database_from(template).await, database().await);
    eprintln!("two databases in {:?}", start.elapsed());
    sqlx::raw_sql("insert into filled values (8)").execute(&one.pool).await.unwrap();
    let another = database_from(template).await;
    let rows: i64 =
        sqlx::query_scalar("select count(*) from filled").fetch_one(&another.pool).await.unwrap();
    assert_eq!(rows, 1);
    assert!(sqlx::raw_sql("select from filled").execute(&two.pool).await.is_err());
    assert_ne!(one.url, another.url);
}

/// A slip in a shell must not cost a history.
#[tokio::test]
async fn psql_only_reads_unless_told_to_write() {
    let home = Home::new();
    let run = |arguments: &[&str]| home.run(arguments);
    // Nothing is made by whoever only reads.
    for arguments in [
        &["report", "coverage"][..],
        &["report", "--all"],
        &["status"],
        &["export"],
        &["verify"],
        &["psql"],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(
            err.contains("there is no ledger in") && err.contains("`deskledger collect`"),
            "{err}"
        );
        assert!(!home.0.exists(), "{arguments:?} made {}", home.0.display());
    }
    // Nor by an import that is refused at its first line, or has none.
    let lines = tempfile::NamedTempFile::new().unwrap();
    for (content, problem) in
        [("{\"source\": \"prod\"}\n", "`observed_at` is missing"), ("", "holds no snapshot")]
    {
        std::fs::write(lines.path(), content).unwrap();
        let (code, _, err) = run(&["import", lines.path().to_str().unwrap()]);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(problem) && err.contains("line 1") != content.is_empty(), "{err}");
        assert!(!home.0.exists(), "a refused import made {}", home.0.display());
    }
    let who = "select current_user, pg_is_in_recovery()";
    let (code, out, err) = run(&["psql", "--write", "--", "-XAtc", who]);
    assert_eq!((code, out.as_str()), (Some(0), "deskledger|f\n"), "{err}");
    let (code, out, err) = run(&["psql", "--", "-XAtc", who, "-c", "select count(*) from sources"]);
    assert_eq!((code, out.as_str()), (Some(0), "deskledger_reader|f\n0\n"), "{err}");
    for (statement, refusal) in [
        ("delete from deskledger_data.source", "permission denied"),
        ("drop schema deskledger cascade", "must be owner"),
        ("set role deskledger", "permission denied to set role"),
    ] {
        let (code, _, err) = run(&["psql", "--", "-Xc", statement]);
        assert_eq!(code, Some(1), "{statement}");
        assert!(err.contains(refusal), "{statement}: {err}");
    }
    // Programs that it starts are the same role.
    let children = "\\! psql -XAtc 'select current_user'";
    assert_eq!(run(&["psql", "--", "-Xc", children]).1, "deskledger_reader\n");
    assert_eq!(run(&["psql", "--write", "--", "-Xc", children]).1, "deskledger\n");
    // Nobody recorded anything: that is not the same as nobody being connected.
    let (code, out, err) = run(&["report", "connected-at", "--format", "csv"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.lines().nth(1), Some(",,,,,,,,,not observed,0"), "{out}");
    assert_eq!(out.lines().count(), 2, "{out}");
    let (code, _, err) =
        run(&["report", "utilisation", "--from", "1990-01-01", "--bucket", "hour"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("buckets of an hour"), "{err}");
    let (code, out, err) = run(&["report", "flapping", "--format", "csv"]);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{err}");
    assert!(err.contains("nothing was observed"), "{err}");
    // A terminal that does not know its width is none of no width.
    let shown = |width: u16| {
        let program = env!("CARGO_BIN_EXE_deskledger");
        let report = format!("{program} --data-dir {} report connected-at", home.0.display());
        let done = Command::new("script")
            .args(["-qec", &format!("stty cols {width}; {report}"), "/dev/null"])
            .env_remove("DATABASE_URL")
            .env_remove("COLUMNS")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let unknown = shown(0);
    assert!(unknown.contains("started_after") && unknown.contains("not observed"), "{unknown}");
    assert_eq!(unknown.lines().count(), shown(400).lines().count(), "{unknown}");
    assert_restores_quietly(&home);
}

/// README's commands bring a dump back, and say nothing that would look like an answer.
fn assert_restores_quietly(home: &Home) {
    let readme = include_str!("../../README.md");
    let (_, chapter) = readme.split_once("## Back up and restore").unwrap();
    let blocks: Vec<&str> = chapter.split("```").skip(1).step_by(2).take(2).collect();
    let program = env!("CARGO_BIN_EXE_deskledger");
    let folder = tempfile::tempdir_in(&home.0).unwrap();
    for block in blocks {
        let command = block
            .replace("deskledger psql", &format!("{program} --data-dir {} psql", home.0.display()));
        let done = Command::new("sh")
            .args(["-ec", &command])
            .current_dir(folder.path())
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {err}");
        assert_eq!(String::from_utf8_lossy(&done.stdout), "", "{command}");
        assert_eq!(err.lines().count(), 0, "{command} told of {:?}", err.lines().next());
    }
    let (code, out, err) =
        home.run(&["psql", "--", "-XAtc", "select count(*) from deskledger.sources"]);
    assert_eq!((code, out.as_str()), (Some(0), "0\n"), "{err}");
}

/// A user's own file runs with the rights of a reader, whatever it tries: the server's user is a
/// superuser, whom a read-only transaction does not hold.
#[tokio::test]
async fn reports_run_as_a_role_that_may_only_read() {
    let home = Home::new();
    let queries = tempfile::tempdir().unwrap();
    home.run(&["psql", "--write", "--", "-c", "select 1"]);
    let run = |name: &str, sql: &str| {
        std::fs::write(queries.path().join(format!("{name}.sql")), sql).unwrap();
        let folder = queries.path().to_str().unwrap();
        home.run(&["report", name, "--format", "csv", "--queries", folder])
    };
    let (code, out, _) = run("who", "select current_user::text as who");
    assert_eq!((code, out.as_str()), (Some(0), "who\ndeskledger_reader\n"));
    let (code, out, _) = run("views", "select count(*) as sources from deskledger.sources");
    assert_eq!((code, out.as_str()), (Some(0), "sources\n0\n"));
    for (name, sql) in [
        ("file", "select pg_read_file('/etc/passwd')"),
        ("role", "select set_config('role', 'deskledger', false), pg_read_file('/etc/passwd')"),
        ("table", "select * from deskledger_data.source"),
    ] {
        let (code, out, err) = run(name, sql);
        assert_eq!(code, Some(2), "{name}: {out}{err}");
        assert!(err.contains("permission denied"), "{name}: {err}");
    }
    let (code, _, err) = run("copy", "copy (select 1) to program 'id'");
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("begins with `copy`"), "{err}");
}
