//! How a command ends: its exit code, the chain of causes, and what to do about it.
//!
//! Commands return `anyhow::Result`. What an error means for the exit code is told by its type
//! ([`ConfigError`] is wrong use) or said where it is known ([`usage`], [`refusal`]); everything else is the
//! outside world's failure.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::config::ConfigError;

/// Done.
pub const DONE: u8 = 0;
/// The answer is "no": `verify` or `doctor` found something wrong.
pub const NO: u8 = 1;
/// Wrong use or configuration; nothing was done that needs undoing.
pub const USAGE: u8 = 2;
/// The API, the database or the machine failed.
pub const FAILED: u8 = 3;

/// An error and its causes in one line: error: cause: cause of the cause. What a cause says at the end
/// of the one above it already, as the database driver's does, is not said again.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

/// An error that carries its exit code and hints. It displays as the error inside, whose causes are
/// its causes.
#[derive(Debug)]
pub struct Ending {
    error: anyhow::Error,
    code: Option<u8>,
    hint: Option<String>,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)
    }
}

impl Error for Ending {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Marks an error as wrong use: exit code [`USAGE`].
pub fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    Ending { error: error.into(), code: Some(USAGE), hint: None }.into()
}

/// Marks an error as the answer "no": exit code [`NO`].
pub fn refusal(error: impl Into<anyhow::Error>) -> anyhow::Error {
    Ending { error: error.into(), code: Some(NO), hint: None }.into()
}

/// Adds what the user can do about an error; several hints are shown in the order in which they
/// were added.
pub fn with_hint(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> anyhow::Error {
    Ending { error: error.into(), code: None, hint: Some(hint.into()) }.into()
}

/// Reports what a command returned to stderr and chooses the exit code.
pub fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(DONE),
        // Whoever reads the output has seen enough: `deskledger report … | head`.
        Err(error) if is_closed_output(&error) => ExitCode::from(DONE),
        Err(error) => {
            let (code, text) = rendered(&error);
            eprint!("{}", harmless(&text));
            ExitCode::from(code)
        }
    }
}

/// What the user can do about an error, in the order in which it is shown.
#[must_use]
pub fn hints(error: &anyhow::Error) -> Vec<&str> {
    looked_into(error).1
}

/// The exit code that was said, the hints, and the error inside.
fn looked_into(error: &anyhow::Error) -> (Option<u8>, Vec<&str>, Option<&anyhow::Error>) {
    let (mut code, mut hints) = (None, Vec::new());
    let mut next = Some(error);
    // Endings lie in one another, and between them may be contexts.
    while let Some(ending) = next.and_then(anyhow::Error::downcast_ref::<Ending>) {
        code = code.or(ending.code);
        hints.extend(ending.hint.as_deref());
        next = Some(&ending.error);
    }
    hints.reverse();
    (code, hints, next)
}

/// Where nothing else is said of a right that a login has not.
const FORBIDDEN: &str = "the login in the database's URL has not the right to that; docs/privacy.md says which right each command needs";

/// Whether the database says that the login may not do that.
fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    let Some(sqlx::Error::Database(error)) = error.downcast_ref() else { return false };
    error.code().is_some_and(|code| code == "42501")
}

fn rendered(error: &anyhow::Error) -> (u8, String) {
    let (code, mut hints, inner) = looked_into(error);
    if hints.is_empty() && error.chain().any(is_forbidden) {
        hints.push(FORBIDDEN);
    }
    let mut text = format!("error: {}\n", Chain(error.as_ref()));
    for hint in hints {
        text.push_str(&format!("hint: {hint}\n"));
    }
    let is_usage = inner.is_some_and(|error| error.downcast_ref::<ConfigError>().is_some());
    (code.unwrap_or(if is_usage { USAGE } else { FAILED }), text)
}

/// A text with its control characters made visible: what an API or a file says is data, and would
/// move a terminal's cursor. Line ends stay.
#[must_use]
pub fn harmless(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(crate::domain::harmless).collect();
    lines.join("\n")
}

/// Whether standard output was closed by its reader. A server that closes its connection is a broken
/// pipe too, but a failure.
fn is_closed_output(error: &anyhow::Error) -> bool {
    let is_broken_pipe = |cause: &(dyn Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    let is_of_a_server =
        |cause: &(dyn Error + 'static)| cause.is::<sqlx::Error>() || cause.is::<reqwest::Error>();
    error.chain().any(is_broken_pipe) && !error.chain().any(is_of_a_server)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read the page")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("the disk says: {0}")]
    struct Repeating(#[source] io::Error);

    fn io_error(kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, "the cable is out")
    }

    #[test]
    fn every_cause_is_said_once() {
        let error = Outer(io_error(io::ErrorKind::Other));
        assert_eq!(Chain(&error).to_string(), "read the page: the cable is out");
        let repeating = Repeating(io_error(io::ErrorKind::Other));
        assert_eq!(Chain(&repeating).to_string(), "the disk says: the cable is out");
        let error = with_hint(usage(error), "plug it in");
        let error = Err::<(), _>(error).context("record `prod`").expect_err("it is one");
        let (code, text) = rendered(&error);
        assert_eq!(code, USAGE);
        assert_eq!(
            text,
            "error: record `prod`: read the page: the cable is out\nhint: plug it in\n"
        );
    }

    #[test]
    fn the_exit_code_is_of_the_kind_of_error() {
        assert_eq!(rendered(&anyhow!("x")).0, FAILED);
        assert_eq!(rendered(&usage(anyhow!("x"))).0, USAGE);
        assert_eq!(rendered(&refusal(anyhow!("x"))).0, NO);
        assert_eq!(rendered(&anyhow::Error::from(ConfigError::NoSource)).0, USAGE);
        assert_eq!(rendered(&with_hint(ConfigError::NoSource, "x")).0, USAGE);
        let in_context = anyhow::Error::from(ConfigError::NoSource).context("start");
        assert_eq!(rendered(&in_context).0, USAGE);
    }

    #[test]
    fn hints_come_in_the_order_in_which_they_were_added() {
        let error = with_hint(with_hint(anyhow!("x"), "first"), "second");
        assert_eq!(rendered(&error).1, "error: x\nhint: first\nhint: second\n");
    }

    #[test]
    fn only_a_closed_output_is_success() {
        let closed = || io_error(io::ErrorKind::BrokenPipe);
        assert!(is_closed_output(
            &anyhow::Error::from(Outer(closed())).context("write the report")
        ));
        assert!(!is_closed_output(&sqlx::Error::Io(closed()).into()));
        assert!(!is_closed_output(&io_error(io::ErrorKind::Other).into()));
    }
}
