//! The report as people read it, in 80 columns, and as machines do.

use serde_json::json;

use super::check::{Check, Group, State, Summary};
use crate::domain::harmless;

/// Fits every terminal and a mail.
const WIDTH: usize = 80;
/// As wide as the longest state and the longest name of a check.
const STATE: usize = 7;
const NAME: usize = 18;
/// Where what was found begins.
const INDENT: usize = 2 + STATE + 2 + NAME + 1;

/// Some checks that belong together, with their heading.
pub(super) fn section(checks: &[Check], is_coloured: bool) -> String {
    let mut text = String::new();
    let mut before: Option<(Group, Option<&str>)> = None;
    for alike in checks.chunk_by(are_one_line) {
        let check = &alike[0];
        let now = (check.group, check.source.as_deref());
        if before != Some(now) {
            text.push_str(&heading(check, is_coloured));
            before = Some(now);
        }
        let state = paint(check.state, &format!("{:STATE$}", check.state.as_str()), is_coloured);
        let (name, found) = match alike {
            [one] => (one.name.to_owned(), one.found.clone()),
            several => {
                let names: Vec<&str> = several.iter().map(|check| check.name).collect();
                let found = format!("{} ({})", check.found, names.join(", "));
                (format!("{} checks", several.len()), found)
            }
        };
        text.push_str(&format!("  {state}  {name:NAME$} "));
        push_wrapped(&mut text, "", &harmless(&found));
        if let Some(advice) = &check.advice {
            text.push_str(&" ".repeat(INDENT));
            push_wrapped(&mut text, "→ ", &harmless(advice));
        }
    }
    text
}

/// What could not be looked at for one and the same reason is said once, by name.
fn are_one_line(one: &Check, next: &Check) -> bool {
    let key = |check: &Check| (check.state, check.group, check.advice.is_none());
    one.state == State::Skipped
        && key(one) == key(next)
        && (&one.source, &one.found) == (&next.source, &next.found)
}

/// The line below all sections.
pub(super) fn summary(summary: Summary) -> String {
    let Summary { ok, warning, failed, skipped } = summary;
    let warnings = if warning == 1 { "warning" } else { "warnings" };
    format!("\n{ok} ok, {warning} {warnings}, {failed} failed, {skipped} not checked\n")
}

/// Everything as one object.
pub(super) fn as_json(checks: &[Check]) -> String {
    format!("{:#}\n", json!({ "summary": Summary::of(checks), "checks": checks }))
}

fn heading(check: &Check, is_coloured: bool) -> String {
    let title = match (check.group, &check.source) {
        (Group::Configuration, _) => "configuration".to_owned(),
        (Group::Database, _) => "database".to_owned(),
        (Group::Source, None) => "sources".to_owned(),
        (Group::Source, Some(name)) => format!("source `{}`", harmless(name)),
    };
    if is_coloured { format!("\x1b[1m{title}\x1b[0m\n") } else { format!("{title}\n") }
}

/// Colour repeats what the word says, and never says it alone.
fn paint(state: State, word: &str, is_coloured: bool) -> String {
    let code = match state {
        _ if !is_coloured => return word.to_owned(),
        State::Ok => "32",
        State::Warning => "33",
        State::Failed => "1;31",
        State::Skipped => "2",
    };
    format!("\x1b[{code}m{word}\x1b[0m")
}

/// Breaks a text between words; one that is longer than a line stays whole, so that it can be copied.
fn push_wrapped(text: &mut String, mark: &str, content: &str) {
    text.push_str(mark);
    let mark = mark.chars().count();
    let mut column = INDENT + mark;
    let mut is_first = true;
    for word in content.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if !is_first && column + 1 + length > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(INDENT + mark));
            column = INDENT + mark;
        } else if !is_first {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
        is_first = false;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        let long = "word ".repeat(40);
        vec![
            Check::ok("file", "deskledger.toml"),
            Check::failed("version", long.clone(), long).of(Group::Database),
            Check::warning("clock", "\x1b[2Jaway", "set it").about("prod"),
            Check::skipped("paging", "the listing was refused").about("prod"),
        ]
    }

    #[test]
    fn lines_fit_and_begin_with_the_state() {
        let text = section(&checks(), false);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("\n  failed   version"), "{text}");
        assert!(text.contains("\nsource `prod`\n  warning  clock"), "{text}");
        assert!(text.contains("  skipped  paging             not checked: the listing"), "{text}");
        assert_eq!(text.matches("source `prod`").count(), 1);
        assert!(!text.contains('\x1b'), "what comes from outside moves no cursor");
    }

    #[test]
    fn what_was_left_out_for_one_reason_is_one_line() {
        let away = |name, why: &str| Check::skipped(name, why).of(Group::Database);
        let checks = [away("schema", "away"), away("rights", "away"), away("size", "tired")];
        assert_eq!(
            section(&checks, false),
            "database\n  skipped  2 checks           not checked: away (schema, rights)\n  \
             skipped  size               not checked: tired\n"
        );
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let mut text = section(&checks(), true);
        assert!(text.contains("\x1b[1;31mfailed "), "{text}");
        for code in ["\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"] {
            text = text.replace(code, "");
        }
        assert_eq!(text, section(&checks(), false));
    }

    #[test]
    fn json_has_the_documented_keys() {
        let value: serde_json::Value = serde_json::from_str(&as_json(&checks())).unwrap();
        assert_eq!(value["summary"], json!({"ok": 1, "warning": 1, "failed": 1, "skipped": 1}));
        assert_eq!(
            value["checks"][3],
            json!({"group": "source", "source": "prod", "check": "paging", "state": "skipped",
                   "found": "not checked: the listing was refused", "advice": null})
        );
        assert_eq!(summary(Summary::of(&checks())), "\n1 ok, 1 warning, 1 failed, 1 not checked\n");
    }
}
