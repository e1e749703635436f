//! The page of the configuration, held against what the program knows.
//!
//! What stands between the marks of `docs/configuration.md` is written from the declarations of the keys and of the
//! command line: `DESKLEDGER_WRITE_DOCS=1 cargo test documentation` writes it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, CommandFactory as _};

use super::Cli;
use crate::config::{Key, TABLES, Takes, Without, format_size, key};
use crate::domain::format_duration;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

fn keys() -> impl Iterator<Item = (&'static str, &'static Key)> {
    TABLES.iter().flat_map(|(head, keys)| keys.iter().map(|key| (*head, key)))
}

/// The arguments of all commands.
fn arguments() -> Vec<Arg> {
    fn of(command: &clap::Command, found: &mut Vec<Arg>) {
        found.extend(command.get_arguments().cloned());
        command.get_subcommands().for_each(|command| of(command, found));
    }
    let mut found = Vec::new();
    of(&Cli::command(), &mut found);
    found
}

fn coded(names: &[&str], between: &str) -> String {
    format!("`{}`", names.join(&format!("`{between}`")))
}

fn takes(key: &Key) -> String {
    match key.takes {
        Takes::Words(words) => words.to_owned(),
        Takes::Whole(whole) => format!("{} to {}", whole.least, whole.most),
        Takes::Size(size) if size.least == 0 => "a size".to_owned(),
        Takes::Size(size) => format!("`{}` and more", format_size(size.least)),
        Takes::Length(length) => {
            format!("`{}` to `{}`", format_duration(length.least), format_duration(length.most))
        }
        Takes::Flag => coded(&["true", "false"], " or "),
        Takes::OneOf(names) => coded(names, " or "),
        Takes::SomeOf(names) => format!("a list of {}", coded(&names(), ", ")),
    }
}

fn without(key: &Key) -> String {
    match key.without {
        Without::Refused => "must be given".to_owned(),
        Without::Words(words) => words.to_owned(),
        Without::Value(_) | Without::Default => {
            format!("`{}`", key.default().expect("it is a value"))
        }
    }
}

fn table_of_keys() -> String {
    let mut text =
        "| section | key | takes | without it | what it says |\n|---|---|---|---|---|\n".to_owned();
    for (head, keys) in TABLES {
        for (at, key) in keys.iter().enumerate() {
            let head = if at == 0 { format!("`{head}` ") } else { String::new() };
            let Key { name, meaning, more, .. } = key;
            let (takes, without) = (takes(key), without(key));
            let row = format!("| {head}| `{name}` | {takes} | {without} | {meaning}{more} |");
            writeln!(text, "{}", row.replace("|  |", "| |")).unwrap();
        }
    }
    text
}

fn table_of_variables() -> String {
    let mut text = "| variable | stands for |\n|---|---|\n".to_owned();
    // What is no key's is the command line's alone.
    let arguments = arguments();
    let mut alone: Vec<(&str, String)> = Vec::new();
    for argument in &arguments {
        let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { continue };
        let is_known = alone.iter().any(|(known, _)| *known == name);
        if is_known || keys().any(|(_, key)| key.variables.contains(&name)) {
            continue;
        }
        let long = argument.get_long().expect("what has a variable has a long name");
        let help = argument.get_help().expect("explained").to_string();
        // It goes on after a colon.
        let help = help[..1].to_lowercase() + &help[1..];
        alone.push((name, format!("`--{long}`: {help}")));
    }
    for (name, stands_for) in alone {
        writeln!(text, "| `{name}` | {} |", stands_for.trim_end_matches('.')).unwrap();
    }
    for (head, key) in keys().filter(|(_, key)| !key.variables.is_empty()) {
        let key_name = match head.trim_start_matches('[').trim_end_matches(']') {
            "source" | "auth" => key.name.to_owned(),
            section => format!("{section}.{}", key.name),
        };
        let flag = key.flag.map(|flag| format!(" (`{flag}`)")).unwrap_or_default();
        if matches!(key.takes, Takes::Flag) {
            let name = key.variables.join("=1`, else `");
            writeln!(text, "| `{name}=1` | `{key_name} = true`, for every source |").unwrap();
        } else {
            let names = coded(key.variables, ", else ");
            writeln!(text, "| {names} | `{key_name}`{flag} |").unwrap();
        }
    }
    text
}

/// The page, with what is between the marks written anew.
fn written(page: &str) -> String {
    let mut page = page.to_owned();
    for (name, table) in [("keys", table_of_keys()), ("variables", table_of_variables())] {
        let (begin, end) = (format!("<!-- {name}: written"), format!("<!-- end of {name} -->"));
        let begin = page.find(&begin).unwrap_or_else(|| panic!("{PAGE} has no mark `{begin}`"));
        let begin = begin + page[begin..].find('\n').expect("a mark is a line of its own") + 1;
        let end = page.find(&end).unwrap_or_else(|| panic!("{PAGE} has no mark `{end}`"));
        page.replace_range(begin..end, &format!("\n{table}\n"));
    }
    page
}

#[test]
fn the_page_of_the_configuration_is_what_the_program_knows() {
    let page = std::fs::read_to_string(PAGE).expect("it is there");
    let wanted = written(&page);
    if std::env::var("DESKLEDGER_WRITE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::write(PAGE, &wanted).expect("it is writable");
        return;
    }
    for (found, wanted) in page.lines().zip(wanted.lines()) {
        assert_eq!(
            found, wanted,
            "write it anew: DESKLEDGER_WRITE_DOCS=1 cargo test documentation"
        );
    }
    assert_eq!(page, wanted);
}

#[test]
fn flags_and_variables_of_keys_are_those_of_the_command_line() {
    let arguments = arguments();
    for (head, key) in keys() {
        let Some(flag) = key.flag else { continue };
        let long = flag.trim_start_matches("--");
        let with_name = |argument: &&Arg| argument.get_long() == Some(long);
        // Others have a flag of this name, too: the simulator has a `--token`.
        let is_meant = |argument: &&Arg| {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let of_clap = argument.get_env().and_then(|name| name.to_str());
            let default = key.default().map(|default| format!("[default: {default}]"));
            let is_its_variable = |name: &&str| of_clap == Some(name) || help.contains(name);
            match default {
                Some(default) => help.contains(&default),
                None => key.variables.iter().any(is_its_variable),
            }
        };
        let is_there = arguments.iter().filter(with_name).any(|argument| is_meant(&argument));
        assert!(is_there, "{head} {}: {flag}", key.name);
    }
    let interval = arguments.iter().find(|argument| argument.get_long() == Some("interval"));
    let default = interval.and_then(|interval| interval.get_default_values().first());
    let default = default.and_then(|default| default.to_str()).map(str::to_owned);
    assert_eq!(default, key("[collect]", "interval").default(), "of `init`");
}

#[test]
fn every_variable_that_the_program_reads_is_on_the_page() {
    let page = std::fs::read_to_string(PAGE).expect("it is there");
    let mut found = BTreeSet::new();
    each_source(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut |text| {
        for prefix in ["DESKLEDGER_", "HUAWEICLOUD_SDK_"] {
            for (at, _) in text.match_indices(prefix) {
                let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
                let name = text[at..].split(|c| !is_part(c)).next().unwrap_or_default();
                found.insert(name.to_owned());
            }
        }
    });
    // The tests' own, and the prefixes by themselves.
    let of_tests = [
        "DESKLEDGER_",
        "HUAWEICLOUD_SDK_",
        "DESKLEDGER_TEST_DATABASE_URL",
        "DESKLEDGER_WRITE_DOCS",
    ];
    found.retain(|name| !of_tests.contains(&name.as_str()));
    assert!(found.len() > 20, "{found:?}");
    for name in found {
        assert!(
            page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}=")),
            "{name}"
        );
    }
}

/// Reads every file of the program.
fn each_source(folder: &Path, read: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            each_source(&path, read);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read(&std::fs::read_to_string(&path).expect("it is text"));
        }
    }
}
