//! Generates histories that reach the corners of the definitions, and questions to ask of them.
//!
//! A history is first a [`plan`]: for each source a fleet and a list of steps, each a visit with what
//! happened since the one before. Then the [`world`] plays it and writes down what each visit read.
//! States stay as they are unless an event changes them, so spans grow longer than one observation;
//! leaving out a step, an event or a desktop leaves a valid plan, so that a failure shrinks to the
//! few visits that it needs.
//!
//! Of each source snapshots lie a minute or more apart, so that neither `scheduled_at` comes twice
//! nor two visits overlap; a group called like the second of two others (`pool (2)`) never exists.

mod plan;
mod question;
mod world;

pub use question::{Question, WORK};

use std::fmt;

use proptest::strategy::Strategy;

/// Snapshots of one or two sources in the exchange format, one a line, in the order in which they
/// were observed.
#[derive(Clone)]
pub struct History(pub String);

impl fmt::Debug for History {
    /// As lines, to be pasted into a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}", self.0)
    }
}

/// Histories of hours.
pub fn histories() -> impl Strategy<Value = History> {
    plan::plans().prop_map(|plan| History(world::play(&plan::Plan { slow: None, ..plan })))
}

/// Those, each with a question that fits it.
pub fn quick_cases() -> impl Strategy<Value = (History, Question)> {
    asked(histories())
}

/// Histories of hours and of months, each with a question that fits it.
pub fn cases() -> impl Strategy<Value = (History, Question)> {
    asked(plan::plans().prop_map(|plan| History(world::play(&plan))))
}

fn asked(histories: impl Strategy<Value = History>) -> impl Strategy<Value = (History, Question)> {
    (histories, question::seeds()).prop_map(|(history, seed)| {
        let question = seed.question(&history);
        (history, question)
    })
}
