//! The digest chain: what makes a change of the record visible.
//!
//! Every entry of a source's history has a digest
//! `SHA-256(previous ‖ sequence ‖ kind ‖ header hash ‖ body hash)`. The header is the snapshot's own
//! row; the body is what the snapshot changed: of desktops, in the order of their numbers; then of
//! groups those whose counters are new, and those that are gone, each in the order of theirs. So every
//! digest follows from the rows of the ledger alone. A snapshot that came too late for the history changes
//! nothing; the body of its entry is a salted commitment to all that it said. An erasure's is what was erased,
//! by commitment, and what stands there since. Names and ids of persons and desktops enter as
//! salted commitments, so that a person can be erased, text and salt, and the chain still be checked
//! against the commitment that stays.
//!
//! Numbers are big-endian; an instant is its microseconds since 1970-01-01T00:00:00Z in eight bytes; a
//! text is its length in eight bytes and its UTF-8; an optional value is a byte 0, or a byte 1 and
//! the value. Every hash starts with a tag, so that no two kinds of input can be mistaken.

use sha2::{Digest as _, Sha256};

use super::{AttachUser, AttachUsers, Counters, Instant, Outcome, Snapshot};

/// A SHA-256 hash.
pub type Digest = [u8; 32];
/// What keeps a commitment from being guessed.
pub type Salt = [u8; 16];

/// What an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A snapshot, in its place in the history.
    Snapshot,
    /// A snapshot that came too late for it.
    Late,
    /// A person was erased.
    Erasure,
    /// A month of which something was pruned, or brought back: [`super::pruning::Pruning`].
    Pruning,
}

/// The body hash of an entry that changed nothing.
pub const NO_BODY: Digest = [0; 32];

/// Feeds values into a hash, each so that its end is known.
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn new(tag: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.text(tag);
        hasher
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.update([byte]);
    }

    pub(super) fn number(&mut self, number: i64) {
        self.0.update(number.to_be_bytes());
    }

    pub(super) fn instant(&mut self, at: Instant) {
        self.number(at.timestamp_micros());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, feed: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.byte(0),
            Some(value) => {
                self.byte(1);
                feed(self, value);
            }
        }
    }

    pub(super) fn optional_text(&mut self, text: Option<&str>) {
        self.option(text, Self::text);
    }

    pub(super) fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

/// Where a source's chain starts.
#[must_use]
pub fn genesis(source: &str) -> Digest {
    let mut hasher = Hasher::new("deskledger.genesis.1");
    hasher.text(source);
    hasher.finish()
}

/// The commitment to a desktop's id.
#[must_use]
pub fn desktop_commitment(salt: &Salt, desktop_id: &str) -> Digest {
    let mut hasher = Hasher::new("deskledger.desktop.1");
    hasher.bytes(salt);
    hasher.text(desktop_id);
    hasher.finish()
}

/// The commitment to a desktop's name, which often holds a person's.
#[must_use]
pub fn name_commitment(salt: &Salt, desktop_name: Option<&str>) -> Digest {
    let mut hasher = Hasher::new("deskledger.name.1");
    hasher.bytes(salt);
    hasher.optional_text(desktop_name);
    hasher.finish()
}

/// The commitment to a user or user group: type, id and name.
#[must_use]
pub fn person_commitment(salt: &Salt, user: &AttachUser) -> Digest {
    let mut hasher = Hasher::new("deskledger.person.1");
    hasher.bytes(salt);
    hasher.optional_text(user.kind.as_deref());
    hasher.optional_text(user.id.as_deref());
    hasher.optional_text(user.name.as_deref());
    hasher.finish()
}

/// The hash of an assignment: each entry's person by commitment, and its group on the desktop.
#[must_use]
pub fn assignment_hash(users: &AttachUsers, commitments: &[Digest]) -> Digest {
    let mut hasher = Hasher::new("deskledger.assignment.1");
    for (user, commitment) in users.entries().iter().zip(commitments) {
        hasher.bytes(commitment);
        hasher.optional_text(user.user_group.as_deref());
    }
    hasher.finish()
}

/// The same where an erasure has changed the order of the entries: `order` has the place, from 1, of the one that was the
/// first, the second, and so on. `None`: it does not name each place once.
#[must_use]
pub fn assignment_hash_in_order(
    users: &AttachUsers,
    commitments: &[Digest],
    order: &[i32],
) -> Option<Digest> {
    let entries = users.entries();
    let mut is_named = vec![false; entries.len()];
    let mut hasher = Hasher::new("deskledger.assignment.1");
    for place in order {
        let at = usize::try_from(i64::from(*place) - 1).ok()?;
        let (user, commitment) = entries.get(at).zip(commitments.get(at))?;
        if std::mem::replace(&mut is_named[at], true) {
            return None;
        }
        hasher.bytes(commitment);
        hasher.optional_text(user.user_group.as_deref());
    }
    is_named.iter().all(|named| *named).then(|| hasher.finish())
}

/// A snapshot's own row, as the chain holds it.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// See [`Snapshot::observed_at`].
    pub observed_at: Instant,
    /// See [`Snapshot::finished_at`].
    pub finished_at: Instant,
    /// See [`Snapshot::scheduled_at`].
    pub scheduled_at: Option<Instant>,
    /// Whole seconds.
    pub max_gap: i64,
    /// How the listing ended.
    pub desktops_outcome: Outcome,
    /// How the statistics ended.
    pub groups_outcome: Outcome,
    /// The API's `total_count`.
    pub total: Option<i64>,
    /// The desktops recorded.
    pub desktops_recorded: Option<i64>,
    /// The groups recorded.
    pub groups_recorded: Option<i64>,
    /// The desktops whose span begins here, or that are gone.
    pub changes: i32,
    /// The API's error code.
    pub error_code: Option<&'a str>,
    /// Its message.
    pub error_message: Option<&'a str>,
}

impl<'a> Header<'a> {
    /// That of a snapshot.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot, changes: i32) -> Self {
        let recorded = snapshot.desktops.as_ref().map(|listing| listing.desktops().len() as i64);
        let failure = snapshot.failure.as_ref();
        Self {
            observed_at: snapshot.observed_at,
            finished_at: snapshot.finished_at,
            scheduled_at: snapshot.scheduled_at,
            max_gap: snapshot.max_gap.num_seconds(),
            desktops_outcome: snapshot.desktops_outcome(),
            groups_outcome: snapshot.groups_outcome(),
            total: snapshot.total,
            desktops_recorded: recorded,
            groups_recorded: snapshot.groups.as_ref().map(|groups| groups.len() as i64),
            changes,
            error_code: failure.and_then(|failure| failure.code.as_deref()),
            error_message: failure.and_then(|failure| failure.message.as_deref()),
        }
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hasher = Hasher::new("deskledger.header.1");
        self.feed(&mut hasher);
        hasher.finish()
    }

    /// Its hash as that of a late one, which the ledger took in at `received_at`.
    #[must_use]
    pub fn late_hash(&self, received_at: Instant) -> Digest {
        let mut hasher = Hasher::new("deskledger.late.header.1");
        self.feed(&mut hasher);
        hasher.instant(received_at);
        hasher.finish()
    }

    fn feed(&self, hasher: &mut Hasher) {
        hasher.instant(self.observed_at);
        hasher.instant(self.finished_at);
        hasher.option(self.scheduled_at, Hasher::instant);
        hasher.number(self.max_gap);
        for outcome in [self.desktops_outcome, self.groups_outcome] {
            hasher.byte(match outcome {
                Outcome::Failed => 0,
                Outcome::Partial => 1,
                Outcome::Complete => 2,
            });
        }
        hasher.option(self.total, Hasher::number);
        hasher.option(self.desktops_recorded, Hasher::number);
        hasher.option(self.groups_recorded, Hasher::number);
        hasher.number(i64::from(self.changes));
        hasher.optional_text(self.error_code);
        hasher.optional_text(self.error_message);
    }
}

/// The commitment to all that a late snapshot said: the body of its entry.
#[must_use]
pub fn late_commitment(salt: &Salt, line: &str) -> Digest {
    let mut hasher = Hasher::new("deskledger.late.1");
    hasher.bytes(salt);
    hasher.text(line);
    hasher.finish()
}

/// What an erasure put a replacement in the place of, as the letters of the records of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Erased {
    /// A user: `P`.
    Person,
    /// A desktop's name: `N`.
    Name,
    /// A late snapshot's line: `L`.
    Late,
}

impl Erased {
    /// Its letter.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Person => "P",
            Self::Name => "N",
            Self::Late => "L",
        }
    }

    /// What a letter says.
    #[must_use]
    pub fn of(letter: &str) -> Option<Self> {
        [Self::Person, Self::Name, Self::Late].into_iter().find(|what| what.letter() == letter)
    }
}

/// The hash of what stands in the place of a user's id and name since an erasure.
#[must_use]
pub fn erased_person(user: &AttachUser) -> Digest {
    let mut hasher = Hasher::new("deskledger.erased.person.1");
    hasher.optional_text(user.kind.as_deref());
    hasher.optional_text(user.id.as_deref());
    hasher.optional_text(user.name.as_deref());
    hasher.finish()
}

/// The hash of what stands in the place of a desktop's name.
#[must_use]
pub fn erased_name(desktop_name: Option<&str>) -> Digest {
    let mut hasher = Hasher::new("deskledger.erased.name.1");
    hasher.optional_text(desktop_name);
    hasher.finish()
}

/// The hash of what stands in the place of a late snapshot's line.
#[must_use]
pub fn erased_late(line: Option<&str>) -> Digest {
    let mut hasher = Hasher::new("deskledger.erased.late.1");
    hasher.optional_text(line);
    hasher.finish()
}

/// An erasure's own row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureHeader {
    /// When it was done.
    pub erased_at: Instant,
    /// What stands in the place of the name since.
    pub pseudonym: String,
    /// The users that were replaced.
    pub persons: i32,
    /// The sets of users in which they were.
    pub assignments: i32,
    /// The desktops' names that were replaced.
    pub desktop_names: i32,
    /// The late snapshots that were.
    pub late_snapshots: i32,
}

impl ErasureHeader {
    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hasher = Hasher::new("deskledger.erasure.header.1");
        hasher.instant(self.erased_at);
        hasher.text(&self.pseudonym);
        for count in [self.persons, self.assignments, self.desktop_names, self.late_snapshots] {
            hasher.number(count.into());
        }
        hasher.finish()
    }
}

/// The body of an erasure: of each row that it replaced, in the order of kinds and numbers, the commitment to what
/// stood there, and the hash of what stands there since.
#[must_use]
pub fn erasure_body<'a>(records: impl Iterator<Item = (Erased, &'a Digest, &'a Digest)>) -> Digest {
    let mut hasher = Hasher::new("deskledger.erasure.1");
    for (what, commitment, replacement) in records {
        hasher.byte(what.letter().as_bytes()[0]);
        hasher.bytes(commitment);
        hasher.bytes(replacement);
    }
    hasher.finish()
}

/// The digest of an entry.
#[must_use]
pub fn entry_digest(
    previous: &Digest,
    sequence: i64,
    kind: Kind,
    header: &Digest,
    body: &Digest,
) -> Digest {
    let mut hasher = Hasher::new("deskledger.entry.1");
    hasher.bytes(previous);
    hasher.number(sequence);
    hasher.byte(match kind {
        Kind::Snapshot => b'S',
        Kind::Late => b'L',
        Kind::Erasure => b'E',
        Kind::Pruning => b'P',
    });
    hasher.bytes(header);
    hasher.bytes(body);
    hasher.finish()
}

/// The body of an entry while it is put together: one record a change.
pub(super) struct Body {
    hasher: Hasher,
    is_empty: bool,
}

impl Body {
    pub(super) fn new() -> Self {
        Self { hasher: Hasher::new("deskledger.body.1"), is_empty: true }
    }

    fn record(&mut self, kind: u8) -> &mut Hasher {
        self.is_empty = false;
        self.hasher.byte(kind);
        &mut self.hasher
    }

    /// A span begins: the desktop, its state, and its observation before.
    pub(super) fn span_begins(
        &mut self,
        desktop: &Digest,
        status: Option<&str>,
        name: &Digest,
        assignment: &Digest,
        started_after: Option<Instant>,
    ) {
        let hasher = self.record(b'S');
        hasher.bytes(desktop);
        hasher.optional_text(status);
        hasher.bytes(name);
        hasher.bytes(assignment);
        hasher.option(started_after, Hasher::instant);
    }

    /// A desktop is gone from a complete listing (`A`), left out of a partial one (`U`), or listed
    /// again with nothing changed (`L`).
    pub(super) fn desktop(&mut self, kind: u8, desktop: &Digest) {
        self.record(kind).bytes(desktop);
    }

    /// A group's counters are new.
    pub(super) fn group_begins(&mut self, name: Option<&str>, ordinal: i32, counters: &Counters) {
        let hasher = self.record(b'G');
        hasher.optional_text(name);
        hasher.number(i64::from(ordinal));
        for counter in counters {
            hasher.option(*counter, Hasher::number);
        }
    }

    /// A group is gone from the statistics.
    pub(super) fn group_gone(&mut self, name: Option<&str>, ordinal: i32) {
        let hasher = self.record(b'X');
        hasher.optional_text(name);
        hasher.number(i64::from(ordinal));
    }

    /// The hash; `None` where nothing changed.
    pub(super) fn finish(self) -> Option<Digest> {
        (!self.is_empty).then(|| self.hasher.finish())
    }
}
