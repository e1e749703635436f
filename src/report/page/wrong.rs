//! What was given wrong, in the terms of a form: pages have fields, the command line has options.

use super::live::Given;
use super::whole::TOO_LARGE;
use crate::domain::harmless;
use crate::report::error::ReportError;
use crate::report::header::{Kind, Parameter};

/// How a page came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It shows what was asked for.
    Answered,
    /// What was given is wrong: the page says what.
    Wrong,
    /// The report took too long: the page says so.
    Late,
    /// The result does not fit a page, which says so.
    TooLarge,
}

/// Why there is no result, where whoever asked can ask for something else.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The name of the field that it is about.
    pub field: Option<String>,
    pub text: String,
    pub outcome: Outcome,
}

impl Wrong {
    /// Sorts an error: what is said on the page, or one that no other question can mend.
    ///
    /// # Errors
    /// The error itself.
    pub fn of(
        error: ReportError,
        parameters: &[Parameter],
        given: &Given,
    ) -> Result<Self, ReportError> {
        let outcome = match &error {
            error if error.is_too_large() => Outcome::TooLarge,
            ReportError::Output { .. } => return Err(error),
            ReportError::Timeout(_) => Outcome::Late,
            error if error.is_usage() => Outcome::Wrong,
            _ => return Err(error),
        };
        let (field, text) = match &error {
            error if error.is_too_large() => (None, TOO_LARGE.to_owned()),
            ReportError::Timeout(after) => {
                let text = format!(
                    "the report took longer than {} s; a shorter period is faster",
                    after.as_secs()
                );
                (None, text)
            }
            ReportError::BadValue { parameter, value, problem } => {
                (Some(parameter.clone()), format!("`{value}` {problem}"))
            }
            ReportError::GivenTwice(name) => {
                (Some(name.clone()), format!("`{name}` is given twice"))
            }
            ReportError::UnknownValue { value, .. } | ReportError::FixedOffset { value, .. } => {
                (field_of(value, parameters, given), error.to_string())
            }
            ReportError::UnknownParameter { .. } => {
                let message = error.to_string();
                // Whose parameter it is not is what the page is about.
                let rest = message.split_once(" has no parameter ").map_or("", |(_, rest)| rest);
                (None, format!("there is no field {}", rest.replace("--", "")))
            }
            ReportError::NoPeriod { names: [_, to], .. } => {
                (Some((*to).to_owned()), error.to_string())
            }
            ReportError::NoWorkingHours { hour } => {
                let text = format!(
                    "`day from` and `day to` are both {hour}, which leaves no working hours; the whole day is 0 to 24"
                );
                (Some("day_to".to_owned()), text)
            }
            ReportError::NeverSeen { value, .. } => {
                (named_field(value, parameters, given), error.to_string())
            }
            other => about(&other.for_others()),
        };
        // A name that no form has is told above it.
        let field = field.filter(|field| parameters.iter().any(|known| known.name == *field));
        Ok(Self { field, text: harmless(&text), outcome })
    }
}

/// The field of a closed list that holds this value.
fn field_of(value: &str, parameters: &[Parameter], given: &Given) -> Option<String> {
    let is_closed =
        |kind: Kind| matches!(kind, Kind::Bucket | Kind::TimeZone | Kind::Source | Kind::Fleet);
    let closed = parameters.iter().filter(|parameter| is_closed(parameter.kind));
    let mut holding = closed.filter(|parameter| {
        given.iter().any(|(name, given)| *name == parameter.name && given == value)
    });
    holding.next().map(|parameter| parameter.name.clone())
}

/// The field of a user, desktop or group that holds this value.
fn named_field(value: &str, parameters: &[Parameter], given: &Given) -> Option<String> {
    let mut holding = parameters.iter().filter(|parameter| {
        matches!(parameter.kind, Kind::User | Kind::Desktop | Kind::Group)
            && given.iter().any(|(name, given)| *name == parameter.name && given == value)
    });
    holding.next().map(|parameter| parameter.name.clone())
}

/// Parts `` `--from`: what is wrong `` into the field and the rest, and names options as fields.
fn about(message: &str) -> (Option<String>, String) {
    let parted = message.strip_prefix("`--").and_then(|rest| rest.split_once("`: "));
    match parted {
        Some((option, problem)) => {
            let name = option.split(' ').next().unwrap_or(option);
            (Some(name.replace('-', "_")), problem.replace("`--", "`"))
        }
        None => (None, message.replace("`--", "`")),
    }
}
