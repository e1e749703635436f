//! When one recorder follows another. All rules, those that are kept elsewhere too:
//!
//! 1. A lease that was given back, or has run out by the database's clock, is whoever's asks first; so is that of a
//!    process that ran on this machine and has ended. Each change of leader begins another epoch, under which nothing
//!    of an old one is recorded any more (`store::lease`).
//! 2. One that leads and cannot reach the database goes on visiting: nobody else is known to.
//! 3. One that stands by and cannot reach the database goes on standing by. When it is back, the leader's lease has run
//!    out, whether it lives or not; it is given time to show itself, since what it has on disk belongs into the
//!    history. Until then the standby asks who leads, and takes nothing, for a visit as little as for what waits in
//!    its own spool.
//! 4. One that never heard of a leader visits: better twice than not at all.

use std::time::{Duration, Instant as Moment};

use crate::domain::Instant;

/// Who records the source, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// We do.
    Leading,
    /// Somebody else does.
    StandingBy {
        /// Its name.
        leader: String,
        /// Until when at least.
        until: Instant,
    },
    /// The ledger is away, and nothing was heard of another one.
    Unknown,
}

/// Another one that leads, and until when at least.
pub(super) type Leader = (String, Instant);

/// What is known of who leads.
#[derive(Debug)]
pub(super) struct Succession {
    standing: Standing,
    /// How long a leader is given to show itself again after the ledger was away.
    grace: Duration,
    /// Until when it is given that.
    patient_until: Option<Moment>,
    /// Whether what the leader before has recorded is known.
    is_informed: bool,
}

impl Succession {
    pub(super) fn new(grace: Duration) -> Self {
        Self { standing: Standing::Unknown, grace, patient_until: None, is_informed: false }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// Whether nothing need be asked: we lead (`leads`: as far as the writer knows), and know what there is.
    pub(super) fn is_settled(&self, leads: bool) -> bool {
        self.standing == Standing::Leading && leads && self.is_informed
    }

    /// Begins to ask who leads; `is_away`: the ledger did not answer before.
    pub(super) fn ask(&mut self, is_away: bool) {
        self.is_informed = false;
        if is_away && matches!(self.standing, Standing::StandingBy { .. }) {
            self.patient_until = Some(Moment::now() + self.grace);
        }
    }

    /// Whether the one that led is given time still: its lease is not taken, though it has run out.
    pub(super) fn is_patient(&self) -> bool {
        self.patient_until.is_some_and(|until| Moment::now() < until)
    }

    /// Somebody else leads, or we do.
    pub(super) fn answered(&mut self, other: Option<Leader>) {
        self.is_informed = true;
        self.patient_until = self.patient_until.filter(|_| other.is_some());
        self.standing = match other {
            None => Standing::Leading,
            Some((leader, until)) => Standing::StandingBy { leader, until },
        };
    }

    /// The ledger did not say all. If the lease was taken before it went away, nobody else visits.
    pub(super) fn unanswered(&mut self, leads: bool) {
        if leads {
            self.standing = Standing::Leading;
        }
    }

    /// Another one was found to lead, or we have stepped down: it has to be asked anew.
    pub(super) fn forget(&mut self) {
        self.standing = Standing::Unknown;
    }
}
