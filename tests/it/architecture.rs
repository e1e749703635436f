//! Who may know whom. A rule that nobody checks is a wish.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each room of the crate may use of the others; nothing points to `cli`.
const MAY_USE: [(&str, &[&str]); 18] = [
    ("domain", &[]),
    ("clock", &["domain"]),
    ("home", &[]),
    ("config", &["domain", "home"]),
    ("error", &["config", "domain"]),
    ("telemetry", &[]),
    ("workspace", &["domain", "clock"]),
    ("store", &["domain", "home"]),
    ("exchange", &["domain"]),
    ("seal", &["domain"]),
    ("retention", &["domain", "exchange", "store"]),
    ("report", &["domain", "store"]),
    ("serve", &["clock", "report", "error"]),
    ("collector", &["domain", "clock", "config", "error", "exchange", "workspace", "store"]),
    // Of `serve` only how connections are answered.
    ("metrics", &["domain", "clock", "collector", "notify", "workspace", "serve"]),
    ("notify", &["domain", "clock", "config", "error", "collector", "store"]),
    // Of the client only how a request is signed, which the server has to check: see below.
    ("simulator", &["domain", "clock", "workspace"]),
    (
        "cli",
        &[
            "domain",
            "clock",
            "config",
            "error",
            "telemetry",
            "workspace",
            "store",
            "exchange",
            "report",
            "retention",
            "collector",
            "metrics",
            "notify",
            "seal",
            "serve",
            "simulator",
        ],
    ),
];

/// The crates that rooms must not know.
const MUST_NOT_KNOW: [(&str, &[&str]); 11] = [
    ("workspace", &["sqlx", "anyhow", "clap"]),
    ("store", &["reqwest", "axum", "anyhow", "clap"]),
    ("exchange", &["sqlx", "reqwest", "tokio", "anyhow", "clap"]),
    ("retention", &["sqlx", "reqwest", "anyhow", "clap"]),
    ("seal", &["sqlx", "reqwest", "tokio", "anyhow", "clap"]),
    ("simulator", &["sqlx", "anyhow"]),
    ("serve", &["reqwest", "anyhow", "clap"]),
    // Whoever looks never waits for the database or the API.
    ("metrics", &["sqlx", "reqwest", "anyhow", "clap"]),
    ("notify", &["sqlx", "axum", "anyhow", "clap"]),
    ("report", &["reqwest", "axum", "anyhow"]),
    ("collector", &["sqlx", "reqwest", "comfy_table", "csv", "indicatif", "anyhow", "clap"]),
];

/// Exceptions to [`MUST_NOT_KNOW`], by file.
const KNOWS_ALL_THE_SAME: [(&str, &str); 2] = [
    // PostgreSQL itself is fetched over HTTP where the system has none, and that may fail.
    ("src/store/private/fetch.rs", "reqwest"),
    ("src/store/private/error.rs", "reqwest"),
];

/// All that the domain may know outside of itself.
const DOMAIN_KNOWS: [&str; 5] = ["chrono", "foldhash", "hashbrown", "sha2", "thiserror"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A source file without its comments and its tests.
struct Source {
    path: String,
    room: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let mut folders = vec![root().join("src")];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let is_test = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        name == "tests" || name.ends_with("_tests")
    };
    let sources = files.into_iter().filter(|path| !is_test(path)).map(|path| {
        let below = path.strip_prefix(root().join("src")).unwrap();
        let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = first.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = text.lines().filter(is_code).collect::<Vec<_>>().join("\n");
        Source { path: format!("src/{}", below.display()), room, code }
    });
    let sources: Vec<Source> = sources.collect();
    assert!(sources.len() > 80, "the files were not found");
    sources
}

/// The words of a text that stand before `::` where a path begins.
fn path_heads(code: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("::").filter_map(move |(at, _)| {
        let before = &code[..at];
        let head = before.trim_end_matches(is_word);
        let word = &before[head.len()..];
        (!word.is_empty() && !head.ends_with("::")).then_some(word)
    })
}

/// The rooms that a file names.
fn rooms_named(source: &Source) -> Vec<String> {
    assert!(!source.code.contains("use crate::{"), "{}: write one `use` a room", source.path);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let uses = source.code.split("crate::").skip(1);
    let names = uses.map(|rest| rest.split(|c| !is_word(c)).next().unwrap().to_owned());
    names.filter(|name| *name != source.room).collect()
}

/// The crates that Cargo.toml lists, as code names them.
fn dependencies() -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let listed = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = listed.lines().filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.trim().replace('-', "_")).collect()
}

#[test]
fn rooms_use_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    for source in sources() {
        if ["main", "lib"].contains(&source.room.as_str()) {
            continue;
        }
        let room = allowed.get(source.room.as_str());
        let room = room.unwrap_or_else(|| panic!("{}: a room without a rule", source.path));
        for name in rooms_named(&source) {
            assert!(room.contains(&name.as_str()), "{} uses crate::{name}", source.path);
        }
    }
}

#[test]
fn the_simulator_takes_of_the_client_only_how_a_request_is_signed() {
    for source in sources().iter().filter(|source| source.room == "simulator") {
        for rest in source.code.split("crate::workspace").skip(1) {
            assert!(rest.starts_with("::sign;") || rest.starts_with("::sign::"), "{}", source.path);
        }
    }
}

#[test]
fn the_domain_is_pure() {
    let others: Vec<String> =
        dependencies().into_iter().filter(|name| !DOMAIN_KNOWS.contains(&name.as_str())).collect();
    assert!(others.contains(&"sqlx".to_owned()) && others.contains(&"tokio".to_owned()));
    for source in sources().iter().filter(|source| source.room == "domain") {
        for head in path_heads(&source.code) {
            assert!(!others.iter().any(|other| other == head), "{} uses {head}", source.path);
        }
        for word in [
            "Utc::now",
            "Local::now",
            "SystemTime",
            "async ",
            "println!",
            "std::fs",
            "std::env",
            "rand::",
        ] {
            assert!(!source.code.contains(word), "{} holds `{word}`", source.path);
        }
    }
}

#[test]
fn rooms_do_not_know_each_others_tools() {
    for source in sources() {
        let Some((_, unknown)) = MUST_NOT_KNOW.iter().find(|(room, _)| *room == source.room) else {
            continue;
        };
        for head in path_heads(&source.code) {
            let is_excepted = KNOWS_ALL_THE_SAME.contains(&(source.path.as_str(), head));
            assert!(is_excepted || !unknown.contains(&head), "{} uses {head}", source.path);
        }
    }
}

#[test]
fn one_file_asks_for_the_time() {
    for source in sources().iter().filter(|source| source.room != "clock") {
        assert!(!source.code.contains("Utc::now"), "{} asks for the time", source.path);
        assert!(!source.code.contains("SystemTime::now"), "{} asks for the time", source.path);
    }
}

#[test]
fn migrations_are_numbered_in_sequence() {
    let mut names: Vec<String> = std::fs::read_dir(root().join("migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for (name, number) in names.iter().zip(1..) {
        let (digits, title) = name.split_once('_').unwrap();
        assert_eq!(digits, format!("{number:04}"), "{name}");
        let title = title.strip_suffix(".sql").unwrap_or_else(|| panic!("{name} is no .sql"));
        let is_plain =
            title.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(is_plain && !title.is_empty(), "{name}");
    }
    let newest = i64::try_from(names.len()).unwrap();
    assert_eq!(deskledger::store::newest_schema_version(), newest, "one was not embedded");
}

#[test]
fn every_test_file_is_registered() {
    let main = std::fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    for entry in std::fs::read_dir(root().join("tests/it")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(name == "main" || main.contains(&format!("mod {name};")), "{name} runs nowhere");
    }
}
