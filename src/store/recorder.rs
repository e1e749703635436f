//! Records a source: beliefs in memory, fenced by the source's head.

use std::borrow::Cow;

use rand::Rng as _;

use super::heartbeat::Heartbeat;
use super::late::Late;
use super::lease::{Candidate, Leadership};
use super::partitions::KnownMonths;
use super::record::{Batch, Fence, Lease};
use super::source::SourceId;
use super::{Store, StoreError};
use crate::domain::erasure::Veil;
use crate::domain::months::month_start;
use crate::domain::{Beliefs, Instant, Snapshot, Source};

/// How many open spans are cut in one transaction when a month is over.
const CUT_AT_ONCE: usize = 5_000;

/// What a snapshot came to.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its number in the source's chain.
    pub sequence: i64,
    /// The desktops whose span begins here, or that are gone.
    pub changes: i32,
}

/// The one that records a source.
#[derive(Debug)]
pub struct Recorder {
    store: Store,
    source_id: SourceId,
    /// `None` after a failure: what was written then is unknown, so they are read back.
    beliefs: Option<Beliefs>,
    /// By what the erased are known again; read after the beliefs, so that it is never older.
    veil: Veil,
    batch: Batch,
    built_on: i64,
    months: KnownMonths,
    /// The month up to which open spans are cut.
    cut_until: Option<Instant>,
    /// The lease that is held, who holds it, and what renews it.
    lead: Option<(Candidate, Lease, Heartbeat)>,
}

impl Recorder {
    /// Registers the source, and reads back what is believed of it.
    ///
    /// # Errors
    /// The database is away, or the source is recorded from elsewhere.
    pub async fn open(store: &Store, source: &Source) -> Result<Self, StoreError> {
        let source_id = store.register_source(source).await?;
        let mut recorder = Self {
            store: store.clone(),
            source_id,
            beliefs: None,
            veil: Veil::default(),
            batch: Batch::default(),
            built_on: 0,
            months: KnownMonths::default(),
            cut_until: None,
            lead: None,
        };
        recorder.beliefs().await?;
        Ok(recorder)
    }

    /// The source's number.
    #[must_use]
    pub fn source_id(&self) -> SourceId {
        self.source_id
    }

    /// When the newest recorded snapshot was taken, whoever recorded it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn newest(&self) -> Result<Option<Instant>, StoreError> {
        sqlx::query_scalar(
            "-- store::recorder::newest
             select observed_at from deskledger_data.head where source_id = $1",
        )
        .bind(self.source_id)
        .fetch_one(self.store.pool())
        .await
        .map_err(StoreError::while_trying("read when a source was last recorded"))
    }

    /// Who leads, and until when unless that is renewed; `None`: nobody.
    ///
    /// # Errors
    /// The database is away.
    pub async fn leader(&self) -> Result<Option<(String, Instant)>, StoreError> {
        self.store.leader(self.source_id).await
    }

    /// Whether a lease is held, as far as is known.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.lead.is_some()
    }

    /// Takes the source's lease, and renews it for as long as this recorder lives; from then on nothing is
    /// recorded once another one leads. Where one is held already, nothing is done.
    ///
    /// # Errors
    /// The database is away.
    pub async fn lead(&mut self, candidate: &Candidate) -> Result<Leadership, StoreError> {
        if let Some((_, lease, _)) = &self.lead {
            return Ok(Leadership::Ours { epoch: lease.epoch });
        }
        let leadership = self.store.take_lease(self.source_id, candidate).await?;
        if let Leadership::Ours { epoch } = leadership {
            let lease = Lease { epoch, seconds: candidate.term.as_secs_f64() };
            let heartbeat = self.store.heart.keep(&self.store.pool, self.source_id, candidate);
            self.lead = Some((candidate.clone(), lease, heartbeat));
            // Whoever led before may have recorded since; and nobody else does from here on.
            if !self.is_up_to_date().await {
                self.forget();
            }
        }
        Ok(leadership)
    }

    /// Whether the ledger is known to hold what is believed and nothing more. Each entry of the chain moves the head; a
    /// month's end is cut without one, so that beliefs with something left to cut may be older than they look.
    async fn is_up_to_date(&self) -> bool {
        let Some(beliefs) = self.beliefs.as_ref().filter(|beliefs| beliefs.is_cut()) else {
            return false;
        };
        let is_written = beliefs.head.sequence == self.built_on;
        let head: Result<(i64, Vec<u8>), sqlx::Error> = sqlx::query_as(
            "-- store::recorder::is_up_to_date
             select sequence, digest from deskledger_data.head where source_id = $1",
        )
        .bind(self.source_id)
        .fetch_one(self.store.pool())
        .await;
        // Where there is no answer they are read back, which says why.
        head.is_ok_and(|(sequence, digest)| {
            is_written && sequence == self.built_on && digest == beliefs.head.digest
        })
    }

    /// Gives the lease back, if one is held.
    ///
    /// # Errors
    /// The database is away; then the lease runs out by itself.
    pub async fn step_down(&mut self) -> Result<(), StoreError> {
        let Some((candidate, _, heartbeat)) = self.lead.take() else { return Ok(()) };
        drop(heartbeat);
        self.store.give_lease_back(self.source_id, &candidate).await
    }

    /// Drops what is believed and what waits, to be read back: after an attempt that was given up half-way,
    /// of which nobody knows whether it was written.
    pub fn forget(&mut self) {
        self.batch = Batch::default();
        self.beliefs = None;
    }

    fn fence(&self) -> Fence {
        let lease = self.lead.as_ref().map(|(_, lease, _)| *lease);
        Fence { built_on: self.built_on, lease }
    }

    fn failed(&mut self, error: &StoreError) {
        self.beliefs = None;
        if matches!(error, StoreError::Deposed { .. }) {
            self.lead = None;
        }
    }

    /// What is believed now, snapshots that wait for [`Self::commit`] included.
    ///
    /// # Errors
    /// They had to be read back, and could not be.
    pub async fn beliefs(&mut self) -> Result<&mut Beliefs, StoreError> {
        if self.beliefs.is_none() {
            self.write().await?;
            let beliefs = self.store.load_beliefs(self.source_id).await?;
            self.veil = self.store.veil(self.source_id).await?;
            self.built_on = beliefs.head.sequence;
            self.cut_until = None;
            self.beliefs = Some(beliefs);
        }
        Ok(self.beliefs.as_mut().expect("read back above"))
    }

    /// A snapshot as it is recorded: with a pseudonym for each person who was erased.
    ///
    /// # Errors
    /// The database is away.
    pub async fn veiled<'a>(
        &mut self,
        snapshot: &'a Snapshot,
    ) -> Result<Cow<'a, Snapshot>, StoreError> {
        self.beliefs().await?;
        Ok(self.veil.over(snapshot))
    }

    /// Takes a snapshot in; it is written by [`Self::commit`].
    ///
    /// # Errors
    /// It cannot follow what is recorded.
    pub async fn add(&mut self, snapshot: &Snapshot) -> Result<Recorded, StoreError> {
        self.beliefs().await?;
        let snapshot = self.veil.over(snapshot);
        let beliefs = self.beliefs.as_mut().expect("read back above");
        let mut random = rand::rng();
        let mut salts = || {
            let mut salt = [0; 16];
            random.fill_bytes(&mut salt);
            salt
        };
        let changes = match beliefs.observe(&snapshot, &mut salts) {
            Ok(changes) => changes,
            Err(error) => {
                if matches!(error, crate::domain::HistoryError::TooManyStatuses) {
                    self.beliefs = None;
                }
                return Err(error.into());
            }
        };
        let recorded =
            Recorded { sequence: changes.entry.sequence, changes: changes.entry.changes };
        self.batch.add(changes);
        Ok(recorded)
    }

    /// The snapshots that wait, and the rows that they come to.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.batch.len(), self.batch.rows())
    }

    /// Writes what waits, in one transaction; then, in others, what a month's end cuts.
    ///
    /// # Errors
    /// Nothing of it is written: the database is away, or another recorder has recorded since.
    pub async fn commit(&mut self) -> Result<(), StoreError> {
        self.write().await?;
        self.cut().await;
        Ok(())
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let batch = std::mem::take(&mut self.batch);
        let Some(sequence) = batch.sequence() else { return Ok(()) };
        // Until it is known to be written, nothing is believed: this may be given up half-way.
        let beliefs = self.beliefs.take();
        let fence = self.fence();
        let written = self.store.record(self.source_id, &fence, batch, &mut self.months).await;
        if let Err(error) = written {
            self.failed(&error);
            return Err(error);
        }
        self.beliefs = beliefs;
        self.built_on = sequence;
        Ok(())
    }

    /// Records one snapshot.
    ///
    /// # Errors
    /// As [`Self::add`] and [`Self::commit`].
    pub async fn record(&mut self, snapshot: &Snapshot) -> Result<Recorded, StoreError> {
        let recorded = self.add(snapshot).await?;
        self.commit().await?;
        Ok(recorded)
    }

    /// Keeps a snapshot that is too late for the history, whole and outside of it; what waits is written before.
    /// `line` says the snapshot as the exchange format writes it, without a pin and without the line's end: it is given
    /// the one that is to be kept, in which nobody is named who was erased.
    ///
    /// # Errors
    /// The database is away; what waited cannot be written; or the snapshot belongs in the history
    /// ([`StoreError::NotLate`]).
    pub async fn record_late(
        &mut self,
        snapshot: &Snapshot,
        line: impl Fn(&Snapshot) -> String + Send + Sync,
        received_at: Instant,
    ) -> Result<Late, StoreError> {
        self.write().await?;
        let mut salt = [0; 16];
        rand::rng().fill_bytes(&mut salt);
        let moved = loop {
            let erasures = self.store.erasures(self.source_id).await?;
            let veil = self.store.veil(self.source_id).await?;
            let snapshot = veil.over(snapshot);
            let id = self.source_id;
            // A line of a large fleet is tens of megabytes, and most often is there already.
            let line = || line(&snapshot);
            match self.store.record_late(id, &snapshot, line, received_at, &salt, erasures).await {
                Ok(Some(moved)) => break moved,
                Ok(None) => return Ok(Late::Recorded),
                // Somebody was erased between the looks at it.
                Err(StoreError::Fenced { .. }) => {}
                Err(error) => {
                    if matches!(error, StoreError::Database { .. }) {
                        self.beliefs = None;
                    }
                    return Err(error);
                }
            }
        };
        // It says nothing new; so beliefs that were built on the entry before it are built on this one.
        match &mut self.beliefs {
            Some(Beliefs { head, .. }) if (head.sequence, head.digest) == moved.from => {
                (head.sequence, head.digest) = moved.to;
                self.built_on = head.sequence;
            }
            beliefs => *beliefs = None,
        }
        Ok(Late::Kept { sequence: moved.to.0 })
    }

    /// Files what lies in months that are over, a part at a time. Whether or not it is done, every
    /// answer is the same; so a failure only puts it off.
    async fn cut(&mut self) {
        let fence = self.fence();
        let Some(beliefs) = self.beliefs.as_mut() else { return };
        let month = beliefs.head.newest.map(|mark| month_start(mark.at));
        if self.cut_until == month {
            return;
        }
        while let Some(cut) = beliefs.cut(CUT_AT_ONCE) {
            let written =
                self.store.record_cut(self.source_id, &fence, &cut, &mut self.months).await;
            if let Err(error) = written {
                tracing::warn!(
                    source_id = self.source_id,
                    error = &error as &dyn std::error::Error,
                    "put off filing what the month's end cuts"
                );
                self.failed(&error);
                return;
            }
        }
        self.cut_until = month;
    }
}
