//! What a check says: values, apart from how they are found and how they are shown.

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be looked at.
    Skipped,
}

impl State {
    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What is checked together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    /// What was typed.
    Configuration,
    /// Where the ledger is.
    Database,
    /// One source: the API behind it, and how far it is recorded.
    Source,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What it is checked with.
    pub group: Group,
    /// The source that it is about.
    pub source: Option<String>,
    /// What was looked at.
    #[serde(rename = "check")]
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Check {
    fn new(name: &'static str, state: State, found: String) -> Self {
        Self { group: Group::Configuration, source: None, name, state, found, advice: None }
    }

    /// As it should be.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found.into())
    }

    /// Somebody should look at it, and do this.
    pub fn warning(
        name: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(name, State::Warning, found.into()).advising(advice)
    }

    /// It does not work, until somebody does this.
    pub fn failed(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(name, State::Failed, found.into()).advising(advice)
    }

    /// It was not looked at, for this reason.
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self::new(name, State::Skipped, format!("not checked: {}", why.into()))
    }

    /// The same with what to do.
    pub fn advising(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// The same in a group.
    pub fn of(self, group: Group) -> Self {
        Self { group, ..self }
    }

    /// The same about a source.
    pub fn about(self, source: &str) -> Self {
        Self { group: Group::Source, source: Some(source.to_owned()), ..self }
    }
}

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    pub ok: usize,
    pub warning: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Summary {
    /// Counts.
    pub fn of(checks: &[Check]) -> Self {
        let mut summary = Self::default();
        for check in checks {
            *match check.state {
                State::Ok => &mut summary.ok,
                State::Warning => &mut summary.warning,
                State::Failed => &mut summary.failed,
                State::Skipped => &mut summary.skipped,
            } += 1;
        }
        summary
    }
}
