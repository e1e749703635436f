//! The vendor's own Python SDK against the simulated API: an independent judge of both the
//! signature and the answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chrono::TimeDelta;
use deskledger::clock::Clock;
use deskledger::simulator::{Password, ServerConfig, Simulator, WorldConfig};

/// A Python that has the packages of `tests/sdk/requirements.txt`.
const PYTHON: &str = "DESKLEDGER_SDK_PYTHON";

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_sdk_gets_right_answers() {
    // Blocking, before there is anything to block.
    let python = python();
    // The world has to stand still while its answers are checked against each other. It stands at
    // this machine's time, because the SDK signs with that.
    let (clock, hands) = Clock::manual(Clock::System.now());
    let mut world = WorldConfig::new(11, 260, hands.now() - TimeDelta::days(40), 60);
    // So that the checks by status have something to find at whatever hour this runs.
    world.utc_offset = local_time_at_ten(hands.now());
    let mut config = ServerConfig::new(world, "0bec5db98280d2d02fd6c00c2de791ce");
    config.clock = clock;
    config.access_key = Some(("SDKTESTACCESSKEY".into(), "sdk-test-secret".into()));
    config.password = Some(Password {
        user: "recorder".into(),
        password: "sdk-test-password".into(),
        domain: "simulated".into(),
    });
    let simulator = Simulator::start(config).await.unwrap();

    let mut check = Command::new(&python);
    check
        .arg(root().join("tests/sdk/check.py"))
        .args(["--endpoint", &simulator.endpoint()])
        .args(["--access-key", "SDKTESTACCESSKEY", "--secret-key", "sdk-test-secret"])
        .args(["--password", "sdk-test-password"])
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONIOENCODING", "utf-8")
        // The tree stays as it was checked out.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || check.output()).await.unwrap();
    let output =
        output.unwrap_or_else(|error| panic!("could not run {}: {error}", python.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    let cried = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "the SDK found something wrong:\n{said}\n{cried}");
    assert!(simulator.requests() > 50, "the SDK asked somebody else");
    simulator.stop().await.unwrap();
}

/// The offset at which it is ten in the morning somewhere now, to whole minutes.
fn local_time_at_ten(now: chrono::DateTime<chrono::Utc>) -> TimeDelta {
    let minutes = now.timestamp().rem_euclid(86_400) / 60;
    let offset = 10 * 60 - minutes;
    TimeDelta::minutes(if offset < -12 * 60 { offset + 24 * 60 } else { offset })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python to use; where none is named, one of our own is made once.
pub fn python() -> PathBuf {
    if let Some(named) = std::env::var_os(PYTHON) {
        return named.into();
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{PYTHON} is not set: in CI it must name a Python with the packages of tests/sdk/requirements.txt"
    );
    let venv = root().join("target/sdk-venv");
    let python = venv.join("bin/python");
    let requirements = root().join("tests/sdk/requirements.txt");
    // Written last, with what was installed, so that a half-made or older one is made anew.
    let done = venv.join("installed.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    succeed(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(&requirements),
    );
    std::fs::write(done, wanted).unwrap();
    python
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed; install python3-venv and reach PyPI, or name a Python with the vendor's SDK in {PYTHON}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
