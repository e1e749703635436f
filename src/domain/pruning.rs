//! What leaves the ledger when it is old enough, and the entry of the chain that says so.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;

use super::Instant;
use super::digest::{Digest, Hasher};

/// A class of data, which is kept for a time of its own. In the order in which a month's may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Who was in which state when: filed spans, packed or not, and what late snapshots said.
    Spans,
    /// The counters of groups.
    Groups,
    /// How many desktops were in which state, instant by instant.
    Rollups,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Spans, Self::Groups, Self::Rollups];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Groups => "groups",
            Self::Rollups => "rollups",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or(())
    }
}

/// How old each class may grow; `None`: it is kept for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// See [`Class::Spans`].
    pub spans: Option<TimeDelta>,
    /// See [`Class::Groups`].
    pub groups: Option<TimeDelta>,
    /// See [`Class::Rollups`].
    pub rollups: Option<TimeDelta>,
}

/// A class that would go before one that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{sooner}` may not go before `{needs_it}`: give it an age that is no shorter than theirs, or none"
)]
pub struct OutOfOrder {
    /// What would go.
    pub sooner: Class,
    /// What needs it.
    pub needs_it: Class,
}

impl Ages {
    /// Of one class.
    #[must_use]
    pub fn of(&self, class: Class) -> Option<TimeDelta> {
        match class {
            Class::Spans => self.spans,
            Class::Groups => self.groups,
            Class::Rollups => self.rollups,
        }
    }

    /// Whether nothing is to go.
    #[must_use]
    pub fn keep_all(&self) -> bool {
        Class::ALL.into_iter().all(|class| self.of(class).is_none())
    }

    /// Checks that nothing goes before what needs it: the archive of the spans holds the counters too, and rollups
    /// are made of spans.
    ///
    /// # Errors
    /// The first that would.
    pub fn check(&self) -> Result<(), OutOfOrder> {
        for sooner in [Class::Groups, Class::Rollups] {
            let needs_it = Class::Spans;
            if let Some(age) = self.of(sooner)
                && self.of(needs_it).is_none_or(|other| other > age)
            {
                return Err(OutOfOrder { sooner, needs_it });
            }
        }
        Ok(())
    }
}

/// An entry of the chain: a class of a source's month was pruned, or brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruning {
    /// When.
    pub at: Instant,
    /// Brought back, and not pruned.
    pub is_restored: bool,
    /// What.
    pub class: Class,
    /// Where the month begins (UTC).
    pub month: Instant,
    /// How many rows went, or came back.
    pub rows: i64,
    /// The SHA-256 of the archive's manifest; `None`: there is no archive.
    pub archive: Option<Digest>,
}

impl Pruning {
    /// The hash of its header. It has no body.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hasher = Hasher::new("deskledger.pruning.header.1");
        hasher.instant(self.at);
        hasher.byte(if self.is_restored { b'R' } else { b'P' });
        hasher.text(self.class.as_str());
        hasher.instant(self.month);
        hasher.number(self.rows);
        hasher.option(self.archive.as_ref(), |hasher, digest| hasher.bytes(digest));
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_before_what_needs_it() {
        let days = |days| Some(TimeDelta::days(days));
        let ages = |spans, groups, rollups| Ages { spans, groups, rollups };
        for right in [
            ages(None, None, None),
            ages(days(400), None, None),
            ages(days(400), days(400), days(800)),
            ages(days(30), days(40), days(50)),
        ] {
            assert_eq!(right.check(), Ok(()), "{right:?}");
        }
        for (wrong, sooner, needs_it) in [
            (ages(None, days(9), None), Class::Groups, Class::Spans),
            (ages(days(10), days(9), None), Class::Groups, Class::Spans),
            (ages(days(10), None, days(9)), Class::Rollups, Class::Spans),
        ] {
            assert_eq!(wrong.check(), Err(OutOfOrder { sooner, needs_it }), "{wrong:?}");
        }
    }
}
