//! The configuration that says what was answered.

use secrecy::ExposeSecret as _;

use super::answers::{Answers, Auth, Secret};
use crate::config::{Key, key};
use crate::domain::{format_duration, parse_duration};

/// Where the text has its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Where they were asked for.
    AsWritten,
    /// All of them in it, for a look whether they are taken.
    Inside,
}

/// The whole text.
pub(super) fn of(answers: &Answers, secrets: Secrets) -> String {
    let mut text = String::from(
        "# What deskledger records, how often, and where to. Every key: docs/configuration.md.\n\
         # Variables of the environment win over this file, and flags over both. A recorder that runs reads it\n\
         # again on SIGHUP. What begins with `#` is as it would be without the line.\n\n",
    );
    match &answers.database_url {
        Some(url) => {
            text += "[database]\n";
            push(&mut text, "url", &secret(url, secrets), key("[database]", "url").meaning);
        }
        None => {
            text += "# [database]\n";
            push(
                &mut text,
                "# url",
                &quoted("env:DATABASE_URL"),
                "postgres://user:password@host/database; without it, a private PostgreSQL",
            );
        }
    }
    if let Some(data_dir) = &answers.data_dir {
        text += "\n[private]\n";
        push(&mut text, "data_dir", &quoted(data_dir), key("[private]", "data_dir").meaning);
    }
    text += "\n[collect]\n";
    push(&mut text, "interval", &quoted(&answers.interval), key("[collect]", "interval").meaning);
    if let Ok(interval) = parse_duration(&answers.interval)
        && let Some(three) = interval.checked_mul(3)
    {
        let max_gap = quoted(&format_duration(three));
        push(&mut text, "# max_gap", &max_gap, key("[collect]", "max_gap").meaning);
    }
    push_default(&mut text, key("[collect]", "requests_per_minute"));
    text += "\n# [metrics]\n";
    let listen = key("[metrics]", "listen");
    let meaning = "/metrics, /livez and /readyz, or \"off\"";
    push_default(&mut text, &Key { meaning, ..*listen });
    text += "\n[[source]]\n";
    push(&mut text, "name", &quoted(&answers.name), key("[[source]]", "name").meaning);
    for (name, value, meaning) in [
        ("region", &answers.region, ""),
        ("project_id", &answers.project_id, "without it, the region's one project is looked up"),
        ("endpoint", &answers.endpoint, "instead of the region's"),
        ("iam_endpoint", &answers.iam_endpoint, "instead of the region's"),
    ] {
        if let Some(value) = value {
            push(&mut text, name, &quoted(value), meaning);
        }
    }
    if answers.allow_http {
        push(&mut text, "allow_http", "true", "credentials cross the network in the clear");
    }
    push_default(&mut text, key("[[source]]", "page_size"));
    push_default(&mut text, key("[[source]]", "max_offset"));
    let pairs: Vec<(&str, String)> = match &answers.auth {
        Auth::Keys { access_key, secret_key, security_token } => {
            let token =
                security_token.as_ref().map(|token| ("security_token", secret(token, secrets)));
            let pair =
                [("access_key", quoted(access_key)), ("secret_key", secret(secret_key, secrets))];
            pair.into_iter().chain(token).collect()
        }
        Auth::Token(token) => vec![("token", secret(token, secrets))],
        Auth::User { user, password, domain } => vec![
            ("user", quoted(user)),
            ("password", secret(password, secrets)),
            ("domain", quoted(domain)),
        ],
    };
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    text += "# A secret is `env:NAME`, `file:PATH` (from this file's own folder), or the text itself.\n";
    text += &format!("auth = {{ {} }}\n", pairs.join(", "));
    text
}

fn secret(secret: &Secret, secrets: Secrets) -> String {
    quoted(match (secret, secrets) {
        (Secret::At(place), _) => place,
        (Secret::Typed { text, .. }, Secrets::Inside)
        | (Secret::Typed { text, file: None }, Secrets::AsWritten) => text.expose_secret(),
        (Secret::Typed { file: Some(file), .. }, Secrets::AsWritten) => {
            return quoted(&format!("file:{file}"));
        }
    })
}

/// A line that says what holds without it.
fn push_default(text: &mut String, key: &Key) {
    let default = key.default().expect("only what has one is shown by it");
    push(text, &format!("# {}", key.name), &key.written(&default), key.meaning);
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A line, with what it means beside it where there is room.
fn push(text: &mut String, key: &str, value: &str, meaning: &str) {
    let line = format!("{key} = {value}");
    *text += &match meaning {
        "" => format!("{line}\n"),
        _ => format!("{line:28}  # {meaning}\n"),
    };
}
