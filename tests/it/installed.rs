//! What an installed program brings: its first configuration, completions, pages of the manual, a unit of systemd.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use deskledger::simulator::{ServerConfig, Simulator, WorldConfig};

use crate::support::program::Home;

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";

#[tokio::test(flavor = "multi_thread")]
async fn init_tries_what_it_is_given_and_writes_a_configuration_without_secrets() {
    let start = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, 20, start, 30), PROJECT);
    config.access_key = Some(("AK".into(), "very-secret".into()));
    let simulator = Simulator::start(config).await.unwrap();
    let home = Home::on("postgres://someone:very-secret@127.0.0.1:1/ledger".to_owned());
    let endpoint = simulator.endpoint();
    let path = home.path().join("deskledger.toml");
    let flags =
        ["--name", "a \"b\"", "--endpoint", &endpoint, "--project-id", PROJECT, "--interval", "2m"];
    let with = |more: &[&'static str]| [&["init"], &flags[..], more].concat();

    for (arguments, says) in [
        (with(&[]), "error: without a terminal to ask on, --access-key and --secret-key (or"),
        (
            with(&["--access-key", "AK"]),
            "error: without a terminal to ask on, --secret-key must be given",
        ),
        (
            with(&["--access-key", "AK", "--secret-key", "typed"]),
            "error: --secret-key is to say where the secret is: `env:NAME` or `file:PATH`",
        ),
        (
            vec!["init", "--region", "ap-southest-3", "--token", "env:HOME"],
            "error: source `ap-southest-3`: unknown region",
        ),
        (with(&["--token", "env:NONE"]), "the environment variable `NONE` is not set"),
    ] {
        let done = home.run(&arguments).await;
        let said = done.errors().concat() + &done.err;
        assert!(said.contains(says.trim_start_matches("error: ")), "{says}: {}", done.err);
        assert!(!path.exists() && !done.err.contains("very-secret"));
    }
    let keys = ["--access-key", "AK", "--secret-key", "env:KEY"];
    let refused = home.run_with(&with(&keys), &[("KEY", "wrong-secret")]).await.expect(1);
    assert!(refused.err.contains("failed   credentials"), "{}", refused.err);
    assert!(!path.exists() && !refused.err.contains("wrong-secret"));

    let variables = [("KEY", "very-secret")];
    let done = home.run_with(&with(&keys), &variables).await.expect(0);
    assert_eq!(done.out, "deskledger collect --once\n");
    assert!(done.err.contains("ok       connect-desktops   allowed"), "{}", done.err);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("very-secret"), "{text}");
    for line in [
        "url = \"env:DATABASE_URL\"      # where the ledger is\n",
        "auth = { access_key = \"AK\", secret_key = \"env:KEY\" }\n",
        "interval = \"2m\"               # a visit each so often, in UTC\n# max_gap = \"6m\"  ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = home.run_with(&with(&keys), &variables).await.expect(2);
    assert_eq!(again.errors(), ["error: `deskledger.toml` is there already"]);

    // Inside only if somebody asks for it; and what is written is what a start reads.
    let inside = with(&[
        "--access-key",
        "AK",
        "--secret-key",
        "env:KEY",
        "--secrets-inside",
        "--force",
        "--no-check",
    ]);
    let asked = simulator.requests();
    home.run_with(&inside, &variables).await.expect(0);
    assert_eq!(simulator.requests(), asked, "it was to ask nothing");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("secret_key = \"very-secret\""), "{text}");
    let doctor = home.run(&["doctor", "--format", "json"]).await.expect(1);
    assert!(doctor.out.contains("`a \\\"b\\\"` every 2m, observations hold 6m"), "{}", doctor.out);
}

/// Where systemd is, it is asked what it thinks of the unit.
#[test]
fn the_unit_is_one_and_has_no_privilege() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/systemd/deskledger.service");
    let text = std::fs::read_to_string(unit).unwrap();
    for line in [
        "Type=notify",
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}");
    }
    let Ok(done) = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager", "--threshold=15", unit])
        .output()
    else {
        return;
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

#[tokio::test]
async fn shells_complete_commands_reports_and_parameters() {
    let home = Home::on(String::new());
    let script = home.run(&["completions", "bash"]).await.expect(0).out;
    let complete = |words: &[&str]| {
        let last = words.len() - 1;
        let words = format!(
            "{script}\nCOMP_WORDS=({}); COMP_CWORD={last}; _deskledger deskledger '{}' '{}'; echo \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words[last],
            words[last - 1]
        );
        let done = Command::new("bash").args(["--norc", "-c", &words]).output().unwrap();
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete(&["deskledger", "comp"]), "compact completions");
    assert_eq!(complete(&["deskledger", "report", "user-h"]), "user-history user-hours");
    assert_eq!(complete(&["deskledger", "report", "outages", "--sh"]), "--show-sql --share");
    for shell in ["zsh", "fish"] {
        let script = home.run(&["completions", shell]).await.expect(0).out;
        assert!(script.contains("metrics-listen") && script.contains("user-history"), "{shell}");
    }
    home.run(&["man", "--output", "pages/man1"]).await.expect(0);
    let page = std::fs::read_to_string(home.path().join("pages/man1/deskledger-report-outages.1"));
    assert_eq!(home.run(&["man", "report", "outages"]).await.expect(0).out, page.unwrap());
    let refused = home.run(&["man", "colect"]).await.expect(2);
    assert_eq!(
        refused.errors(),
        ["error: no page `deskledger-colect`; did you mean `deskledger-collect`?"]
    );
}

/// What README says is typed as it stands there, by somebody who has none of these folders yet.
#[test]
fn what_readme_says_about_completions_and_the_manual_holds() {
    let readme = include_str!("../../README.md");
    let section = readme.split("## Help where you type").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_deskledger")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let run = |shell: &[&str]| {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).env_clear().env("HOME", home).env("PATH", &path);
        let done = command.stdin(std::process::Stdio::null()).output().ok()?;
        let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr));
        assert!(done.status.success(), "{shell:?}: {out} {err:?}");
        Some(out)
    };
    assert_eq!(run(&["bash", "--norc", "-euc", block]).as_deref(), Some(""));
    assert!(home.join(".local/share/man/man1/deskledger-hold-add.1").is_file());
    // As bash-completion loads it: the file that is called as the command is.
    let words = "source ~/.local/share/bash-completion/completions/deskledger; COMP_WORDS=(deskledger hold a); \
                 COMP_CWORD=2; _deskledger deskledger a hold; echo ${COMPREPLY[@]}";
    assert_eq!(run(&["bash", "--norc", "-euc", words]).as_deref(), Some("add\n"));
    // These are asked where they are there.
    let zshrc = block.split("in ~/.zshrc: ").nth(1).unwrap().lines().next().unwrap();
    std::fs::write(home.join(".zshrc"), format!("{zshrc}\n")).unwrap();
    let known = "autoload +X _deskledger && echo $_comps[deskledger]";
    match run(&["zsh", "-ic", known]) {
        Some(out) => assert_eq!(out, "_deskledger\n"),
        None => println!("no zsh is here, and none was asked"),
    }
    match run(&["fish", "-c", "complete -C 'deskledger hold a'"]) {
        Some(out) => assert!(out.starts_with("add\t"), "{out}"),
        None => println!("no fish is here, and none was asked"),
    }
}
