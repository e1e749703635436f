//! What was typed: which file, which variables, which sources, and who else may read the secrets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::check::Check;
use crate::config::{
    Config, ConfigError, Environment, Flags, Kept, SourceConfig, SpoolConfig, TABLES, Takes,
    WebhookConfig,
};
use crate::domain::format_duration;
use crate::error::Chain;

/// The variables that say something about the ledger.
const LEDGER_VARIABLES: [&str; 4] =
    ["DESKLEDGER_CONFIG", "DATABASE_URL", "DESKLEDGER_DATA_DIR", "DESKLEDGER_PG_BIN"];

/// The variables that say something about a source, where there is one.
fn source_variables() -> Vec<&'static str> {
    let of_source = TABLES.iter().filter(|(head, _)| matches!(*head, "[[source]]" | "auth"));
    let keys = of_source.flat_map(|(_, keys)| *keys);
    // What is a flag holds for every source.
    let keys = keys.filter(|key| !matches!(key.takes, Takes::Flag));
    keys.flat_map(|key| key.variables).copied().collect()
}

/// Where the ledger is said to be.
#[derive(Debug)]
pub(super) enum Place {
    /// In this PostgreSQL.
    Url(SecretString),
    /// In the private one, in this folder or the default one.
    Private(Option<PathBuf>),
    /// Nobody knows: the file that may say it cannot be used.
    Unknown,
}

/// The configuration, as far as it can be used.
#[derive(Debug)]
pub(super) struct Configured {
    pub place: Place,
    /// The sources to look at.
    pub sources: Vec<SourceConfig>,
    pub checks: Vec<Check>,
    /// Where snapshots wait; `None`: the configuration cannot be used.
    pub spool: Option<Result<SpoolConfig, ConfigError>>,
    /// The names of all sources, where the one that was asked for is none of them.
    known: Option<String>,
}

impl Configured {
    /// Reads the configuration of this process.
    pub fn read(flags: &Flags, only: Option<&str>) -> Self {
        let names = |variables: &[&'static str]| -> Vec<&'static str> {
            let is_set = |name: &&str| Environment::of_process().get(name).is_some();
            variables.iter().copied().filter(is_set).collect()
        };
        let of_source = names(&source_variables());
        let mut checks = Vec::new();
        let mut spool = None;
        let (place, sources) = match Config::load(flags, Environment::of_process()) {
            Err(error) => {
                checks.push(unusable("file", &error));
                let why = "the configuration cannot be used";
                checks.push(Check::skipped("secrets", why));
                checks.push(Check::skipped("sources", why));
                // What stands outside of the file holds without it.
                let place =
                    match Config::from_text("", Path::new(""), flags, Environment::of_process()) {
                        Ok(Config { database_url: Some(url), .. }) => Place::Url(url),
                        Ok(Config { data_dir: data_dir @ Some(_), .. }) => Place::Private(data_dir),
                        _ => Place::Unknown,
                    };
                (place, Vec::new())
            }
            Ok(config) => {
                checks.push(file(config.file.as_deref()));
                checks.push(secrets(config.file.as_deref(), &config.kept()));
                let sources = match config.sources() {
                    Ok(sources) => {
                        checks.push(listed(&sources));
                        sources
                    }
                    Err(error) => {
                        checks.push(unusable("sources", &error));
                        Vec::new()
                    }
                };
                checks.extend(match config.webhooks() {
                    Ok(webhooks) => posted_to(&webhooks),
                    Err(error) => Some(unusable("webhooks", &error)),
                });
                spool = Some(config.spool_config());
                let place = match config.database_url {
                    Some(url) => Place::Url(url),
                    None => Place::Private(config.data_dir),
                };
                (place, sources)
            }
        };
        checks.insert(1, environment(&names(&LEDGER_VARIABLES), &of_source, sources.len()));
        let all: Vec<String> = sources.iter().map(|source| format!("`{}`", source.name)).collect();
        let sources: Vec<_> = sources
            .into_iter()
            .filter(|source| only.is_none_or(|only| source.name == only))
            .collect();
        let known = (sources.is_empty() && !all.is_empty()).then(|| all.join(", "));
        Self { place, sources, checks, spool, known }
    }

    /// The names of all sources, where the one that was asked for is none of them.
    pub fn lacks_the_source(&self) -> Option<&str> {
        self.known.as_deref()
    }
}

fn unusable(name: &'static str, error: &ConfigError) -> Check {
    let advice = match error {
        ConfigError::Read { .. } => {
            "let this user read it, or name another file with `--config` or DESKLEDGER_CONFIG"
        }
        ConfigError::Syntax { .. } => "mend that line; text stands in quotes, tables in brackets",
        ConfigError::Unknown { .. } => "write the key as it is known, or take the line out",
        ConfigError::Value { .. } => "write a value that is allowed",
        ConfigError::Clash { advice, .. } => advice,
        ConfigError::Environment { set, .. } => {
            let advice = format!("set {set}; or write a `[[source]]` into deskledger.toml");
            return Check::failed(name, Chain(error).to_string(), advice);
        }
        ConfigError::Missing { .. } => "add what is missing",
        ConfigError::NoSource => {
            "without one nothing can be recorded: see README.md, \"Record a real project\""
        }
        ConfigError::Secret { .. } => {
            "put the secret where the key says it is, readable for the user who runs deskledger"
        }
    };
    Check::failed(name, Chain(error).to_string(), advice)
}

fn file(path: Option<&Path>) -> Check {
    match path {
        Some(path) => Check::ok("file", absolute(path)),
        None => Check::ok("file", "none: flags, environment and defaults hold"),
    }
}

/// Copied into a command, a path has to hold wherever that is typed.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn environment(of_ledger: &[&str], of_source: &[&str], sources: usize) -> Check {
    const NAME: &str = "environment";
    let each = |one: &'static str, several: &'static str, names: &[&str]| {
        format!("{} {}", names.join(", "), if names.len() == 1 { one } else { several })
    };
    if sources > 1 && !of_source.is_empty() {
        let found = format!(
            "{} set and left alone: with {sources} sources nobody knows which is meant",
            each("is", "are", of_source)
        );
        return Check::warning(NAME, found, "unset what is left alone, and write it into the file");
    }
    let all: Vec<&str> = of_ledger.iter().chain(of_source).copied().collect();
    if all.is_empty() {
        return Check::ok(NAME, "no variable says anything");
    }
    Check::ok(NAME, each("is set, and wins over a file", "are set, and win over a file", &all))
}

/// Who may read the secrets. A group may: that is how root shares a file with the user of a service.
fn secrets(file: Option<&Path>, kept: &Kept) -> Check {
    let is_open = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
    };
    let mut open: Vec<&Path> = kept.files.iter().map(PathBuf::as_path).collect();
    open.extend(file.filter(|_| !kept.in_file.is_empty()));
    open.retain(|path| is_open(path));
    open.sort_unstable();
    open.dedup();
    if open.is_empty() {
        let found = match (kept.in_file.len(), kept.files.len()) {
            (0, 0) => "none in a file".to_owned(),
            (here, files) => format!(
                "{here} in the configuration, {files} in files of their own; other users may read none of them"
            ),
        };
        return Check::ok("secrets", found);
    }
    let paths: Vec<String> = open.iter().copied().map(absolute).collect();
    let found = if kept.in_file.is_empty() {
        format!("every user of this machine may read {}", paths.join(" "))
    } else {
        format!(
            "every user of this machine may read {} ({})",
            paths.join(" "),
            kept.in_file.join(", ")
        )
    };
    Check::warning("secrets", found, format!("chmod o-rwx {}", paths.join(" ")))
}

fn listed(sources: &[SourceConfig]) -> Check {
    let each: Vec<String> = sources
        .iter()
        .map(|source| {
            format!(
                "`{}` {}, observations hold {}",
                source.name,
                source.schedule,
                format_duration(source.max_gap)
            )
        })
        .collect();
    Check::ok("sources", format!("{}: {}", sources.len(), each.join("; ")))
}

/// Nothing is posted by looking: whoever is on call would be woken.
fn posted_to(webhooks: &[WebhookConfig]) -> Option<Check> {
    let each: Vec<String> = webhooks
        .iter()
        .map(|webhook| format!("`{}` at {}", webhook.name, webhook.host()))
        .collect();
    let found =
        format!("{}: {}; `deskledger webhook test` tries them", each.len(), each.join(", "));
    (!each.is_empty()).then(|| Check::ok("webhooks", found))
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn a_secret_that_everyone_may_read_is_a_warning() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deskledger.toml");
        std::fs::write(&path, "").unwrap();
        let kept = Kept { in_file: vec!["source.a.auth.token".into()], files: Vec::new() };
        for (mode, state) in [(0o644, State::Warning), (0o640, State::Ok), (0o600, State::Ok)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let check = secrets(Some(&path), &kept);
            assert_eq!(check.state, state, "{mode:o}");
            let nothing_in_it = secrets(Some(&path), &Kept::default());
            assert_eq!(nothing_in_it.state, State::Ok);
            let file = Kept { in_file: Vec::new(), files: vec![path.clone()] };
            assert_eq!(secrets(None, &file).state, state, "{mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let check = secrets(Some(&path), &kept);
        assert_eq!(check.advice, Some(format!("chmod o-rwx {}", path.display())));
        assert!(check.found.ends_with("(source.a.auth.token)"), "{}", check.found);
    }

    #[test]
    fn what_does_not_go_together_is_told_to_be_added_or_taken_out() {
        let look = |text: &str, variables: &[(&str, &str)]| {
            let environment = Environment::of(variables);
            let path = Path::new("deskledger.toml");
            let config = Config::from_text(text, path, &Flags::default(), environment);
            let error = config.and_then(|config| config.sources()).unwrap_err();
            let check = unusable("sources", &error);
            format!("{} → {}", check.found, check.advice.unwrap())
        };
        let source = |name: &str, auth: &str| {
            format!("[[source]]\nname = '{name}'\nregion = 'ap-southeast-3'\nauth = {{ {auth} }}\n")
        };
        let keys = [("HUAWEICLOUD_SDK_AK", "very-secret"), ("HUAWEICLOUD_SDK_SK", "very-secret")];
        let token = "token = 'very-secret'";
        for (text, variables, words) in [
            (
                String::new(),
                &keys[..],
                "a source without a region; set DESKLEDGER_REGION (or HUAWEICLOUD_SDK_PROJECT_ID and DESKLEDGER_ENDPOINT) → set DESKLEDGER_REGION (or",
            ),
            (
                String::new(),
                &[keys[0], ("DESKLEDGER_REGION", "ap-southeast-3")],
                "→ add HUAWEICLOUD_SDK_SK",
            ),
            (
                String::new(),
                &[("DESKLEDGER_REGION", "ap-southeast-3")],
                "without credentials; set HUAWEICLOUD_SDK_AK and",
            ),
            (
                String::new(),
                &[keys[0], ("DESKLEDGER_ENDPOINT", "https://a.b")],
                "without a project; set HUAWEICLOUD_SDK_PROJECT_ID →",
            ),
            (source("a", "access_key = 'very-secret'"), &[], "→ add `secret_key`"),
            (source("a", "user = 'very-secret'"), &[], "→ add `password` and `domain`"),
            (source("a", ""), &[], "→ add `access_key` and `secret_key`"),
            (
                source("a", &format!("{token}, user = 'very-secret'")),
                &[],
                "→ take out all but one kind; given are `token`, `user`",
            ),
            (source("a", token).replace("[[source]]", "[source]"), &[], "→ write `[[source]]` in"),
            (source("a", token) + &source("a", token), &[], "→ give one of the two another `name`"),
            (
                format!("{}interval = '1m'\nschedule = '0 * * * * *'", source("a", token)),
                &[],
                "→ take out `interval` or `schedule`",
            ),
        ] {
            let said = look(&text, variables);
            assert!(said.contains(words), "{words}: {said}");
            assert!(!said.contains("very-secret"), "{said}");
        }
    }

    #[test]
    fn variables_that_are_left_alone_are_a_warning() {
        assert_eq!(environment(&["DATABASE_URL"], &["DESKLEDGER_TOKEN"], 1).state, State::Ok);
        assert_eq!(environment(&["DATABASE_URL"], &[], 2).state, State::Ok);
        let check = environment(&["DATABASE_URL"], &["DESKLEDGER_TOKEN"], 2);
        assert_eq!(check.state, State::Warning);
        assert!(check.found.starts_with("DESKLEDGER_TOKEN is set and left alone"));
    }
}
