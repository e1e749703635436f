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
    /// What is known of each visit beside its digest, its instants and its outcomes: rows of `snapshot`.
    Headers,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Spans, Self::Groups, Self::Rollups, Self::Headers];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Groups => "groups",
            Self::Rollups => "rollups",
            Self::Headers => "headers",
        }
    }

    /// The classes that go before it, or with it: the archive of the spans holds the counters too, rollups are made of
    /// spans, and all of them are told from visits.
    #[must_use]
    pub fn needs_gone(self) -> &'static [Self] {
        match self {
            Self::Spans => &[],
            Self::Groups | Self::Rollups => &[Self::Spans],
            Self::Headers => &[Self::Spans, Self::Groups, Self::Rollups],
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
    /// See [`Class::Headers`].
    pub headers: Option<TimeDelta>,
}

/// A class that would go before one that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{sooner}` may not go before `{needs_it}`: give `{needs_it}` an age that is no longer, or `{sooner}` none"
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
            Class::Headers => self.headers,
        }
    }

    /// Whether nothing is to go.
    #[must_use]
    pub fn keep_all(&self) -> bool {
        Class::ALL.into_iter().all(|class| self.of(class).is_none())
    }

    /// Checks that nothing goes before what needs it.
    ///
    /// # Errors
    /// The first that would.
    pub fn check(&self) -> Result<(), OutOfOrder> {
        for sooner in Class::ALL {
            let Some(age) = self.of(sooner) else { continue };
            let longer = |needs_it: &&Class| self.of(**needs_it).is_none_or(|other| other > age);
            if let Some(needs_it) = sooner.needs_gone().iter().find(longer) {
                return Err(OutOfOrder { sooner, needs_it: *needs_it });
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
    /// The SHA-256 of the archive's manifest, or of the file of headers; `None`: there is no archive.
    pub archive: Option<Digest>,
    /// Of pruned headers, the hash of what stays of them: [`kept_hash`]. Of pruned spans, that of what stands at the month's end,
    /// as the database makes it; `None`: they were pruned before there was one. Of anything else none.
    pub kept: Option<Digest>,
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
        // Nothing at all where a class leaves nothing, as it was before headers and spans did.
        if self.class == Class::Headers || self.kept.is_some() {
            hasher.option(self.kept.as_ref(), |hasher, digest| hasher.bytes(digest));
        }
        hasher.finish()
    }
}

/// What stays of a visit whose header is pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptVisit {
    /// Where its day begins (UTC).
    pub day: Instant,
    /// The day's newest tick.
    pub ticked_at: Option<Instant>,
    /// Its place in the source's chain.
    pub sequence: i64,
    /// See [`super::Snapshot::observed_at`].
    pub observed_at: Instant,
    /// See [`super::Snapshot::finished_at`].
    pub finished_at: Instant,
    /// Seconds.
    pub max_gap: i32,
    /// 0 failed, 1 partial, 2 complete.
    pub desktops_outcome: i16,
    /// 0 failed, 2 complete.
    pub groups_outcome: i16,
    /// The API's `total_count`.
    pub desktops_total: Option<i64>,
    /// The desktops recorded.
    pub desktops_recorded: Option<i32>,
    /// Its digest, as it is stored.
    pub digest: Vec<u8>,
}

/// The hash of what stays of a month's headers, visit by visit in the order of time.
pub struct KeptHash(Hasher);

impl fmt::Debug for KeptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeptHash").finish_non_exhaustive()
    }
}

impl Default for KeptHash {
    fn default() -> Self {
        Self(Hasher::new("deskledger.pruning.headers.1"))
    }
}

impl KeptHash {
    /// Takes the next visit.
    pub fn add(&mut self, visit: &KeptVisit) {
        let hasher = &mut self.0;
        hasher.number(visit.sequence);
        hasher.instant(visit.observed_at);
        hasher.instant(visit.finished_at);
        hasher.number(visit.max_gap.into());
        hasher.number(visit.desktops_outcome.into());
        hasher.number(visit.groups_outcome.into());
        hasher.option(visit.desktops_total, Hasher::number);
        hasher.option(visit.desktops_recorded.map(i64::from), Hasher::number);
        hasher.bytes(&visit.digest);
        hasher.option(visit.ticked_at, Hasher::instant);
    }

    /// The hash of those that were taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

/// The hash of all of a month's visits.
#[must_use]
pub fn kept_hash<'a>(visits: impl IntoIterator<Item = &'a KeptVisit>) -> Digest {
    let mut hash = KeptHash::default();
    visits.into_iter().for_each(|visit| hash.add(visit));
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_before_what_needs_it() {
        let days = |days| Some(TimeDelta::days(days));
        let ages = |spans, groups, rollups, headers| Ages { spans, groups, rollups, headers };
        for right in [
            ages(None, None, None, None),
            ages(days(400), None, None, None),
            ages(days(400), days(400), days(800), None),
            ages(days(400), days(400), days(800), days(800)),
            ages(days(30), days(40), days(50), days(60)),
        ] {
            assert_eq!(right.check(), Ok(()), "{right:?}");
        }
        for (wrong, sooner, needs_it) in [
            (ages(None, days(9), None, None), Class::Groups, Class::Spans),
            (ages(days(10), days(9), None, None), Class::Groups, Class::Spans),
            (ages(days(10), None, days(9), None), Class::Rollups, Class::Spans),
            (ages(None, None, None, days(9)), Class::Headers, Class::Spans),
            (ages(days(8), None, days(9), days(9)), Class::Headers, Class::Groups),
            (ages(days(8), days(9), days(10), days(9)), Class::Headers, Class::Rollups),
        ] {
            assert_eq!(wrong.check(), Err(OutOfOrder { sooner, needs_it }), "{wrong:?}");
        }
    }
}
