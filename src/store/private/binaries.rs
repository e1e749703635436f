//! Finds a PostgreSQL server that is already on this system.
//!
//! A folder counts when `initdb`, `pg_ctl` and `postgres` are in it and `postgres --version` is one that our SQL was
//! tried on. Asking the program is slower than trusting a path such as `/usr/lib/postgresql/15`, but it is never wrong,
//! and it tells at once when the binaries do not run here at all.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::PrivateError;

/// The oldest major version whose SQL ours stays within.
pub const MAJOR_OLDEST: u32 = 14;
/// The newest major version that was out when this was written.
pub const MAJOR_NEWEST: u32 = 18;

/// The variable that names the folder of the binaries, before anything else is looked at.
pub const BIN_VARIABLE: &str = "DESKLEDGER_PG_BIN";

const PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_ctl"];

/// A folder of PostgreSQL programs that run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    major: u32,
}

impl Binaries {
    /// Looks at one folder; the error says what is wrong with it.
    pub(super) fn at(folder: &Path) -> Result<Self, String> {
        if let Some(missing) = PROGRAMS.iter().find(|program| !folder.join(program).is_file()) {
            return Err(format!("`{missing}` is missing"));
        }
        // The programs find their libraries and share files relative to where they really are: on Debian the names in
        // PATH are often links into the version's own folder.
        let folder = folder
            .join("postgres")
            .canonicalize()
            .ok()
            .and_then(|program| program.parent().map(Path::to_owned))
            .filter(|real| PROGRAMS.iter().all(|program| real.join(program).is_file()))
            .unwrap_or_else(|| folder.to_owned());
        let output = Command::new(folder.join("postgres"))
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("`postgres --version` does not run: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let major = parse_major(&said).ok_or_else(|| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!(
                "`postgres --version` said `{}`",
                if said.trim().is_empty() { stderr.trim() } else { said.trim() }
            )
        })?;
        if !(MAJOR_OLDEST..=MAJOR_NEWEST).contains(&major) {
            return Err(format!("version {major} is not one of {MAJOR_OLDEST} to {MAJOR_NEWEST}"));
        }
        Ok(Self { folder, major })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The major version, such as 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` → 15; betas too (`19beta1` → 19).
fn parse_major(said: &str) -> Option<u32> {
    let version = said.split_whitespace().skip_while(|word| *word != "(PostgreSQL)").nth(1)?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Where to look. A value, so that tests can look elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The only folder to look at, when one is named.
    pub(super) explicit: Option<PathBuf>,
    /// The search path.
    pub(super) path: Option<OsString>,
    /// The file system, `/` but in tests.
    pub(super) root: PathBuf,
    /// Where fetched versions were put.
    pub(super) fetched: PathBuf,
}

/// What was found on the way: the one to use, or what was there and why it was not taken.
#[derive(Debug)]
pub(super) enum Found {
    /// The first that fits.
    Binaries(Binaries),
    /// None fits.
    None {
        /// Usable, but of other major versions than the one needed.
        other: Vec<Binaries>,
        /// Unusable, and why.
        refused: Vec<String>,
    },
}

impl Places {
    /// Everywhere that this system may keep PostgreSQL.
    pub(super) fn of_this_system(explicit: Option<PathBuf>, fetched: PathBuf) -> Self {
        let explicit = explicit.or_else(|| {
            std::env::var_os(BIN_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
        });
        Self { explicit, path: std::env::var_os("PATH"), root: PathBuf::from("/"), fetched }
    }

    /// The first usable folder, of the version `needed` where data of that version is already there.
    pub(super) fn search(&self, needed: Option<u32>) -> Result<Found, PrivateError> {
        if let Some(folder) = &self.explicit {
            let binaries = Binaries::at(folder).map_err(|reason| {
                PrivateError::UnusableBinaries { folder: folder.clone(), reason }
            })?;
            return Ok(match needed {
                Some(needed) if needed != binaries.major => {
                    Found::None { other: vec![binaries], refused: Vec::new() }
                }
                _ => Found::Binaries(binaries),
            });
        }
        let (mut other, mut refused) = (Vec::<Binaries>::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for folder in self.folders() {
            if !folder.join("postgres").is_file() || !seen.insert(folder.clone()) {
                continue;
            }
            match Binaries::at(&folder) {
                Ok(binaries) if needed.is_none_or(|needed| needed == binaries.major) => {
                    return Ok(Found::Binaries(binaries));
                }
                Ok(binaries) if other.contains(&binaries) => {}
                Ok(binaries) => other.push(binaries),
                Err(reason) => refused.push(format!("`{}` ({reason})", folder.display())),
            }
        }
        Ok(Found::None { other, refused })
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.path.clone().unwrap_or_default();
        let on_path: Vec<PathBuf> =
            std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
        let pg_config =
            on_path.iter().map(|folder| folder.join("pg_config")).find(|program| program.is_file());
        let asked = pg_config.and_then(|program| {
            let output =
                Command::new(program).arg("--bindir").stdin(Stdio::null()).output().ok()?;
            let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
            folder.is_absolute().then_some(folder)
        });
        on_path
            .into_iter()
            .chain(asked)
            .chain(versions_below(&self.root.join("usr/lib/postgresql"), "", "bin"))
            .chain(versions_below(&self.root.join("usr"), "pgsql-", "bin"))
            .chain(versions_below(&self.root.join("usr/libexec"), "postgresql", "")) // Alpine
            .chain(versions_below(&self.root.join("opt/homebrew/opt"), "postgresql@", "bin"))
            .chain(versions_below(&self.root.join("usr/local/opt"), "postgresql@", "bin"))
            .chain(versions_below(
                &self.root.join("home/linuxbrew/.linuxbrew/opt"),
                "postgresql@",
                "bin",
            ))
            .chain(versions_below(
                &self.root.join("Applications/Postgres.app/Contents/Versions"),
                "",
                "bin",
            ))
            .chain(versions_below(&self.fetched, "", "bin"))
    }
}

/// `<parent>/<prefix><version>/<suffix>` for each version there is, newest first.
fn versions_below(parent: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(Vec<u32>, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?;
            // As numbers, or 9.6 would be newer than 15. "18.4.0" and "15" both occur.
            let version =
                version.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()?;
            Some((
                version,
                if suffix.is_empty() { entry.path() } else { entry.path().join(suffix) },
            ))
        })
        .collect();
    versions.sort_by(|a, b| b.0.cmp(&a.0));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder of scripts that answer as PostgreSQL `version` would.
    fn install(folder: &Path, version: &str) {
        std::fs::create_dir_all(folder).unwrap();
        for program in PROGRAMS {
            let file = folder.join(program);
            std::fs::write(&file, format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n"))
                .unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn places(root: &Path) -> Places {
        Places { explicit: None, path: None, root: root.to_owned(), fetched: root.join("fetched") }
    }

    fn found(places: &Places, needed: Option<u32>) -> Binaries {
        match places.search(needed).unwrap() {
            Found::Binaries(binaries) => binaries,
            Found::None { other, refused } => {
                panic!("nothing found; other {other:?}, refused {refused:?}")
            }
        }
    }

    #[test]
    fn versions_are_read_as_postgresql_prints_them() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(parse_major("command not found"), None);
    }

    #[test]
    fn the_newest_accepted_version_wins_and_others_are_named() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9.6", "13", "15", "17", "19"] {
            install(
                &root.path().join("usr/lib/postgresql").join(version).join("bin"),
                &format!("{version}.1"),
            );
        }
        assert_eq!(found(&places(root.path()), None).major(), 17);
        for version in ["15", "17"] {
            std::fs::remove_dir_all(root.path().join("usr/lib/postgresql").join(version)).unwrap();
        }
        let Found::None { other, refused } = places(root.path()).search(None).unwrap() else {
            panic!("13 and 19 were taken")
        };
        assert!(other.is_empty());
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused[0].contains("version 19 is not one of 14 to 18"), "{refused:?}");
    }

    #[test]
    fn data_of_an_older_version_finds_its_own_binaries() {
        let root = tempfile::tempdir().unwrap();
        install(&root.path().join("usr/pgsql-17/bin"), "17.2");
        install(&root.path().join("fetched/15.3.0/bin"), "15.3");
        assert_eq!(found(&places(root.path()), None).major(), 17);
        assert_eq!(found(&places(root.path()), Some(15)).major(), 15);
    }

    #[test]
    fn the_search_path_comes_before_the_system_and_links_are_followed() {
        let root = tempfile::tempdir().unwrap();
        install(&root.path().join("opt/pg/bin"), "16.1");
        install(&root.path().join("usr/lib/postgresql/17/bin"), "17.1");
        let on_path = root.path().join("local/bin");
        std::fs::create_dir_all(&on_path).unwrap();
        for program in PROGRAMS {
            std::os::unix::fs::symlink(
                root.path().join("opt/pg/bin").join(program),
                on_path.join(program),
            )
            .unwrap();
        }
        let mut places = places(root.path());
        places.path = Some(on_path.into());
        let binaries = found(&places, None);
        assert_eq!(binaries.major(), 16);
        assert_eq!(binaries.folder(), root.path().join("opt/pg/bin").canonicalize().unwrap());
    }

    #[test]
    fn an_explicit_folder_is_the_only_one_looked_at() {
        let root = tempfile::tempdir().unwrap();
        install(&root.path().join("usr/lib/postgresql/17/bin"), "17.1");
        let mut places = places(root.path());
        places.explicit = Some(root.path().join("nowhere"));
        let error = places.search(None).unwrap_err().to_string();
        assert!(error.contains("nowhere`: `postgres` is missing"), "{error}");
    }
}
