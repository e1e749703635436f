//! The chain of a source, entry by entry, and the runs of coverage and the head that follow from it.

use std::collections::VecDeque;

use chrono::TimeDelta;

use super::desktops::{Desktops, Listed, Now};
use super::groups::Groups;
use super::names::Names;
use super::pruned::PrunedMonths;
use super::rows::{
    ErasureRow, GroupRow, HeadRow, LateRow, PruningRow, SpanRow, TallyRow, UnlistedRow, Visit,
    digest,
};
use super::tally::Tally;
use super::{Fault, Place, Shown as _, Wrong, same};
use crate::domain::beliefs::{DesktopNo, Head, LabelNo, Mark, Run, StatusId};
use crate::domain::digest::{
    Body, Digest, Erased, Header, Kind, NO_BODY, entry_digest, erasure_body, genesis,
};
use crate::domain::history::is_late;
use crate::domain::months::{day_start, month_start};
use crate::domain::pruning::{KeptHash, KeptVisit};
use crate::domain::{Instant, Outcome};

/// A place of the chain that is known from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The entries up to it.
    pub sequence: i64,
    /// When the newest snapshot up to there was taken, late ones aside.
    pub observed_at: Option<Instant>,
    /// The last one's digest; of no entry: where the chain starts.
    pub digest: Digest,
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The entries that are right.
    pub entries: i64,
    /// How many of them are erasures of persons.
    pub erasures: i64,
    /// The spans that begin in them.
    pub spans: i64,
    /// The oldest entry's instant.
    pub first_at: Option<Instant>,
    /// The newest right entry's.
    pub newest_at: Option<Instant>,
    /// The newest right entry's digest.
    pub digest: Digest,
    /// From when on no month is pruned; `None`: none is.
    pub detail_from: Option<Instant>,
    /// From when on no month is without headers, and the number of the newest entry that took some; `None`: all are there.
    pub headers_from: Option<(Instant, i64)>,
    /// Whether the chain went through the checkpoint that was given.
    pub passed_checkpoint: bool,
}

/// One source on its way through the check.
#[derive(Debug)]
pub struct Audit {
    names: Names,
    pruned: PrunedMonths,
    /// The months whose headers are pruned and that are not gone through yet, with the hash of what stays of them; and that of
    /// what there is of the first.
    without_headers: VecDeque<(Instant, Option<Digest>)>,
    kept: KeptHash,
    /// Whether spans, and whether counters, were pruned of the month of the visit before.
    were_pruned: (bool, bool),
    /// Stretches that begin in pruned months, of which some end in others.
    straddling: Vec<UnlistedRow>,
    head: Head,
    newest: Option<Place>,
    snapshot_id: Option<i64>,
    desktops: Desktops,
    groups: Groups,
    spans: i64,
    erasures: i64,
    checkpoint: Option<Checkpoint>,
    passed_checkpoint: bool,
    // Rows that wait for their snapshot.
    pieces: Vec<SpanRow>,
    unlisted: Vec<UnlistedRow>,
    group_pieces: Vec<GroupRow>,
    runs: VecDeque<Run>,
    tally: Tally,
    /// The first thing that is wrong in what repeats the history.
    derived: Option<Fault>,
}

impl Audit {
    /// Begins with a source of which nothing is read; `checkpoint`: what its chain must go through.
    #[must_use]
    pub fn new(
        source: &str,
        names: Names,
        pruned: PrunedMonths,
        checkpoint: Option<Checkpoint>,
    ) -> Self {
        let head = Head {
            sequence: 0,
            digest: genesis(source),
            first_at: None,
            newest: None,
            scheduled_at: None,
            usable: None,
            run: None,
            complete: None,
            complete_run_from: None,
            groups: None,
        };
        Self {
            desktops: Desktops::new(&names),
            groups: Groups::new(&names),
            names,
            without_headers: pruned.without_headers().collect(),
            kept: KeptHash::default(),
            pruned,
            were_pruned: (false, false),
            straddling: Vec::new(),
            head,
            newest: None,
            snapshot_id: None,
            spans: 0,
            erasures: 0,
            checkpoint,
            passed_checkpoint: false,
            pieces: Vec::new(),
            unlisted: Vec::new(),
            group_pieces: Vec::new(),
            runs: VecDeque::new(),
            tally: Tally::default(),
            derived: None,
        }
    }

    /// Looks whether a snapshot can be the next one: before the rows that belong to it are given.
    ///
    /// # Errors
    /// It cannot.
    pub fn link(&mut self, visit: &Visit) -> Result<(), Fault> {
        self.close_kept(Some(visit.observed_at)).map_err(|wrong| Fault::at(self.newest, wrong))?;
        self.check_link(visit).map_err(|wrong| Fault::at(Some(place(visit)), wrong))
    }

    /// A piece of a span that begins after the snapshot before, and not after the next one. All rows come
    /// in the order of time.
    pub fn piece(&mut self, row: SpanRow) {
        self.tally.piece(&row);
        self.pieces.push(row);
    }

    /// A row of `unlisted` that begins in the same time.
    pub fn unlisted(&mut self, row: UnlistedRow) {
        self.unlisted.push(row);
    }

    /// A piece of a group's counters that begins in the same time.
    pub fn group(&mut self, row: GroupRow) {
        self.group_pieces.push(row);
    }

    /// A row of `coverage_run` that begins in the same time.
    pub fn run(&mut self, run: Run) {
        self.runs.push_back(run);
    }

    /// A row of `tally` of the same time.
    pub fn tally(&mut self, row: TallyRow) {
        self.tally.row(row);
    }

    /// Something that only repeats the history, and is wrong at a snapshot; all of them come in the order of time.
    pub fn repeats_wrongly(&mut self, at: Option<Place>, wrong: Wrong) {
        self.derived.get_or_insert_with(|| Fault::at(at, wrong));
    }

    /// The first thing that is wrong in what only repeats the history: it counts where the history itself is right.
    #[must_use]
    pub fn derived(&self) -> Option<&Fault> {
        self.derived.as_ref()
    }

    /// The next snapshot; the rows that begin up to it were given.
    ///
    /// # Errors
    /// It is not what recording would have written.
    pub fn snapshot(&mut self, visit: &Visit) -> Result<(), Fault> {
        let place = Some(place(visit));
        self.check_snapshot(visit).map_err(|wrong| Fault::at(place, wrong))?;
        self.check_tally(place, Some(visit.observed_at));
        Ok(())
    }

    fn check_tally(&mut self, place: Option<Place>, until: Option<Instant>) {
        if let Some(wrong) = self.tally.check(until, |at| self.pruned.knows_counts(at)) {
            self.repeats_wrongly(place, wrong);
        }
    }

    /// Looks whether a snapshot whose header is pruned can be the next one, before rows are given that would belong to it.
    ///
    /// # Errors
    /// It cannot.
    pub fn link_kept(&mut self, visit: &KeptVisit) -> Result<(), Fault> {
        self.close_kept(Some(visit.observed_at)).map_err(|wrong| Fault::at(self.newest, wrong))?;
        self.check_kept_link(visit).map_err(|wrong| Fault::at(Some(place_of_kept(visit)), wrong))
    }

    /// The next snapshot, of which the header is pruned.
    ///
    /// # Errors
    /// It is not what recording would have written, as far as that can be said.
    pub fn kept(&mut self, visit: &KeptVisit) -> Result<(), Fault> {
        let place = Some(place_of_kept(visit));
        self.check_kept(visit).map_err(|wrong| Fault::at(place, wrong))?;
        self.check_tally(place, Some(visit.observed_at));
        Ok(())
    }

    /// The next entry, which is a late snapshot.
    ///
    /// # Errors
    /// It is not what recording would have written.
    pub fn late(&mut self, row: &LateRow) -> Result<(), Fault> {
        self.check_late(row).map_err(|wrong| Fault::at(Some(place(&row.visit)), wrong))
    }

    /// The next entry, which is the erasure of a person.
    ///
    /// # Errors
    /// It is not what erasing would have written.
    pub fn erasure(&mut self, row: &ErasureRow) -> Result<(), Fault> {
        let at = Place::of_erasure(row.sequence, row.header.erased_at);
        self.check_erasure(row, at).map_err(|wrong| Fault::at(Some(at), wrong))
    }

    /// The next entry, which says that something was pruned, or brought back.
    ///
    /// # Errors
    /// It is not what was written then.
    pub fn pruning(&mut self, row: &PruningRow) -> Result<(), Fault> {
        self.check_pruning(row).map_err(|wrong| Fault::at(self.newest, wrong))
    }

    /// The present desktops after the newest snapshot: number, label and status of those that it lists.
    #[must_use]
    pub fn listing(&self) -> Vec<(DesktopNo, LabelNo, StatusId)> {
        self.desktops.listing()
    }

    /// What was looked at so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            entries: self.head.sequence,
            erasures: self.erasures,
            spans: self.spans,
            first_at: self.head.first_at,
            newest_at: self.head.newest.map(|mark| mark.at),
            digest: self.head.digest,
            detail_from: self.pruned.detail_from(),
            headers_from: self.pruned.headers_from(),
            passed_checkpoint: self.passed_checkpoint,
        }
    }

    /// After the last snapshot, with whatever rows are left given: nothing may be left over, and the head
    /// must say what the history does.
    ///
    /// # Errors
    /// It is not so.
    pub fn finish(&mut self, head: &HeadRow) -> Result<(), Fault> {
        let newest = self.newest;
        if self.head.sequence < head.sequence {
            let wrong = Wrong::new(
                "the entries that there are, beside `sequence` of the source's `head`",
                head.sequence.shown(),
                format!("{}: the newest were cut off", self.head.sequence),
            );
            return Err(Fault::after(newest, wrong));
        }
        self.check_rest(head).map_err(|wrong| Fault::at(newest, wrong))?;
        self.check_tally(newest, None);
        match &self.checkpoint {
            Some(checkpoint) if !self.passed_checkpoint => {
                let wrong = Wrong::new(
                    "the entries of the source, beside the seal",
                    format!("at least {}", checkpoint.sequence),
                    format!("{}: the newest were cut off", self.head.sequence),
                );
                Err(Fault::after(newest, wrong))
            }
            _ => Ok(()),
        }
    }

    fn check_link(&mut self, visit: &Visit) -> Result<(), Wrong> {
        self.check_number(visit.sequence)?;
        later("observed_at", self.head.newest.map(|mark| mark.at), Some(visit.observed_at))?;
        later("scheduled_at", self.head.scheduled_at, visit.scheduled_at)?;
        self.check_id(visit)
    }

    /// The place of the next entry in the chain.
    fn check_number(&mut self, sequence: i64) -> Result<(), Wrong> {
        if self.head.sequence == 0 {
            self.check_checkpoint()?;
        }
        same(&(self.head.sequence + 1), &sequence, || {
            "`sequence` of the next entry, since none may be missing".to_owned()
        })
    }

    /// Ids are given in the order of the chain.
    fn check_id(&self, visit: &Visit) -> Result<(), Wrong> {
        match self.snapshot_id {
            Some(before) if visit.snapshot_id <= before => Err(Wrong::new(
                "`snapshot_id` of the snapshot",
                format!("a number above {before}"),
                visit.snapshot_id.shown(),
            )),
            _ => Ok(()),
        }
    }

    fn check_kept_link(&mut self, visit: &KeptVisit) -> Result<(), Wrong> {
        self.check_number(visit.sequence)?;
        let month = month_start(visit.observed_at);
        if self.without_headers.front().is_none_or(|(of, _)| *of != month) {
            return Err(Wrong::new(
                format!("what stays of the headers of {}", month.format("%Y-%m")),
                "nothing, since they are not pruned",
                "something",
            ));
        }
        same(&day_start(visit.observed_at), &visit.day, || {
            "`day_from` of the row of `visit_day`".to_owned()
        })?;
        self.kept.add(visit);
        // Ticks of the day that came before its late snapshots are not known one by one.
        self.head.scheduled_at = self.head.scheduled_at.max(visit.ticked_at);
        later("observed_at", self.head.newest.map(|mark| mark.at), Some(visit.observed_at))
    }

    /// What stays of headers, of months before the one of an instant, is what the chain says it is.
    fn close_kept(&mut self, until: Option<Instant>) -> Result<(), Wrong> {
        let is_over = |of: &(Instant, _)| until.is_none_or(|until| of.0 < month_start(until));
        while let Some((month, expected)) = self.without_headers.pop_front_if(|of| is_over(of)) {
            let found = std::mem::take(&mut self.kept).finish();
            same(&expected, &Some(found), || {
                format!(
                    "the hash of what stays of the headers of {}, beside `kept`",
                    month.format("%Y-%m")
                )
            })?;
        }
        Ok(())
    }

    fn check_kept(&mut self, visit: &KeptVisit) -> Result<(), Wrong> {
        let at = visit.observed_at;
        if self.turn(at)? != (true, true) {
            return Err(Wrong::new(
                "the header of the snapshot",
                "there, since spans or counters of its month are kept",
                "pruned",
            ));
        }
        self.check_pruned(at)?;
        self.check_pruned_groups()?;
        self.names.check_order()?;
        let mark = Mark { at, max_gap: TimeDelta::seconds(visit.max_gap.into()) };
        if visit.groups_outcome > 0 {
            self.head.groups = Some(mark);
        }
        if visit.desktops_outcome > 0 {
            let is_complete = visit.desktops_outcome == 2;
            self.cover(Now { mark, sequence: visit.sequence, is_complete })?;
        }
        self.head.first_at.get_or_insert(at);
        self.head.newest = Some(mark);
        self.step_to(place_of_kept(visit), &visit.digest)
    }

    fn check_snapshot(&mut self, visit: &Visit) -> Result<(), Wrong> {
        self.check_own_row(visit, None)?;
        let mark =
            Mark { at: visit.observed_at, max_gap: TimeDelta::seconds(visit.max_gap.into()) };
        let is_complete = visit.desktops_outcome == 2;
        let now = Now { mark, sequence: visit.sequence, is_complete };
        let mut body = Body::new();
        let (no_spans, no_groups) = self.turn(visit.observed_at)?;
        let changes = if no_spans {
            self.check_pruned(visit.observed_at)?;
            usize::try_from(visit.changes).unwrap_or(0)
        } else {
            self.check_desktops(visit, now, &mut body)?
        };
        if no_groups {
            self.check_pruned_groups()?;
            if visit.groups_outcome > 0 {
                self.head.groups = Some(mark);
            }
        } else {
            self.check_groups(visit, now, &mut body)?;
        }
        self.names.check_order()?;
        if visit.desktops_outcome > 0 {
            self.cover(now)?;
        }
        if no_spans || no_groups {
            // The digest holds the hash of what changed; what it is of is gone.
            return self.go_on(visit, mark);
        }

        let body = body.finish();
        let stored = match &visit.body_hash {
            None => None,
            Some(hash) => digest(hash),
        };
        same(&body, &stored, || {
            "the hash of what changed, worked out from spans, groups and names, beside `body_hash`"
                .to_owned()
        })?;
        let changes = i32::try_from(changes).unwrap_or(i32::MAX);
        same(&changes, &visit.changes, || "`changes` of the snapshot".to_owned())?;
        self.go_on(visit, mark)
    }

    /// Whether spans and counters of the visit's month are pruned. Behind months that are, what stood then is believed again.
    fn turn(&mut self, at: Instant) -> Result<(bool, bool), Wrong> {
        let now = self.pruned.at(at);
        let before = std::mem::replace(&mut self.were_pruned, now);
        if (before.0 && !now.0) || (before.1 && !now.1) {
            let Some(standing) = self.pruned.standing(at) else {
                return Err(Wrong::new(
                    "the row of `standing` that the history goes on from after a pruned month",
                    "one",
                    "none",
                ));
            };
            self.names.use_up_to(&standing.used);
            if before.0 && !now.0 {
                self.desktops.stand_at(&self.names, standing, self.head.usable, &self.straddling);
                self.straddling.clear();
            }
            if before.1 && !now.1 {
                self.groups.stand_at(&self.names, standing, self.head.groups);
            }
        }
        if now.0 && !before.0 {
            self.desktops = Desktops::new(&self.names);
        }
        if now.1 && !before.1 {
            self.groups = Groups::new(&self.names);
        }
        Ok(now)
    }

    /// Of a visit to a month whose spans are pruned none may be there.
    fn check_pruned(&mut self, at: Instant) -> Result<(), Wrong> {
        if let Some(row) = self.pieces.first() {
            return Err(Wrong::new(
                format!("a span of desktop number {} from {}", row.desktop, row.from.shown()),
                "none in a month that is pruned",
                "one",
            ));
        }
        if let Some(row) = self.unlisted.iter().find(|row| row.from != at) {
            return Err(out_of_place("a row of `unlisted` of desktop", row.desktop, row.from));
        }
        self.straddling.append(&mut self.unlisted);
        Ok(())
    }

    /// And counters likewise.
    fn check_pruned_groups(&mut self) -> Result<(), Wrong> {
        match self.group_pieces.first() {
            None => Ok(()),
            Some(row) => Err(Wrong::new(
                format!("counters of group number {} from {}", row.group, row.from.shown()),
                "none in a month that is pruned",
                "some",
            )),
        }
    }

    fn go_on(&mut self, visit: &Visit, mark: Mark) -> Result<(), Wrong> {
        let head = &mut self.head;
        head.first_at.get_or_insert(visit.observed_at);
        head.newest = Some(mark);
        head.scheduled_at = visit.scheduled_at.or(head.scheduled_at);
        self.step(visit)
    }

    /// Goes on to a snapshot that is right.
    fn step(&mut self, visit: &Visit) -> Result<(), Wrong> {
        self.snapshot_id = Some(visit.snapshot_id);
        self.step_to(place(visit), &visit.digest)
    }

    /// Goes on to an entry that is right.
    fn step_to(&mut self, place: Place, stored: &[u8]) -> Result<(), Wrong> {
        self.head.sequence = place.sequence;
        self.head.digest = digest(stored).unwrap_or(NO_BODY);
        self.newest = Some(place);
        self.check_checkpoint()
    }

    /// An erasure says what stands where something was erased. That the rows of `person` and `label` say it too is looked at
    /// with the names.
    fn check_erasure(&mut self, row: &ErasureRow, place: Place) -> Result<(), Wrong> {
        self.check_number(row.sequence)?;
        let Some(records) = &row.records else {
            return Err(Wrong::new(
                "the rows of `erased` of the erasure",
                "one for each row that it replaced",
                "one that speaks of no row, or has no hash",
            ));
        };
        for (what, count, of) in [
            (Erased::Person, row.header.persons, "persons"),
            (Erased::Name, row.header.desktop_names, "desktop_names"),
            (Erased::Late, row.header.late_snapshots, "late_snapshots"),
        ] {
            let found = records.iter().filter(|record| record.0 == what).count();
            same(&i32::try_from(found).unwrap_or(i32::MAX), &count, || {
                format!("`{of}` of the erasure, beside its rows of `erased`")
            })?;
        }
        let body = erasure_body(records.iter().map(|(what, _, old, new)| (*what, old, new)));
        same(&Some(body), &digest(&row.body_hash), || {
            "the hash of what was erased, worked out from the rows of `erased`, beside `body_hash`"
                .to_owned()
        })?;
        let header = row.header.hash();
        let expected = entry_digest(&self.head.digest, row.sequence, Kind::Erasure, &header, &body);
        same(&Some(expected), &digest(&row.digest), || {
            "the digest of the erasure, worked out from its own row and the digest before it"
                .to_owned()
        })?;
        self.erasures += 1;
        self.step_to(place, &row.digest)
    }

    /// An entry that says what was pruned says nothing of the history either.
    fn check_pruning(&mut self, row: &PruningRow) -> Result<(), Wrong> {
        self.check_number(row.sequence)?;
        let expected = entry_digest(
            &self.head.digest,
            row.sequence,
            Kind::Pruning,
            &row.pruning.hash(),
            &NO_BODY,
        );
        same(&Some(expected), &digest(&row.digest), || {
            "the digest of the pruning, worked out from its own row and the digest before it"
                .to_owned()
        })?;
        self.head.sequence = row.sequence;
        self.head.digest = expected;
        self.check_checkpoint()
    }

    /// A late snapshot says nothing of the history, so that nothing of it has to follow.
    fn check_late(&mut self, row: &LateRow) -> Result<(), Wrong> {
        let visit = &row.visit;
        self.check_number(visit.sequence)?;
        self.check_id(visit)?;
        self.check_own_row(visit, Some(row.received_at))?;
        let newest = self.head.newest.map(|mark| mark.at);
        if !is_late(visit.observed_at, visit.scheduled_at, newest, self.head.scheduled_at) {
            return Err(Wrong::new(
                "`observed_at` of the late snapshot",
                format!("an instant not after {}", newest.shown()),
                visit.observed_at.shown(),
            ));
        }
        let month = self.pruned.late_at(visit.observed_at, visit.sequence);
        self.names.late(visit.sequence, &row.now, row.is_salted, month)?;
        if row.is_salted {
            let stored = visit.body_hash.as_deref().and_then(digest);
            same(&row.commitment, &stored, || {
                "the commitment to `line`, worked out with `salt`, beside `body_hash`".to_owned()
            })?;
        }
        if !row.agrees {
            return Err(Wrong::new(
                "`line` of the late snapshot",
                "what its other columns say",
                "something else",
            ));
        }
        self.step(visit)
    }

    /// The digest of the snapshot's own row and of the stored hash of its body; of a late one with when it was
    /// received.
    fn check_own_row(&self, visit: &Visit, received_at: Option<Instant>) -> Result<(), Wrong> {
        let expected = visit
            .entry_digest(&self.head.digest, received_at)
            .ok_or_else(|| Wrong::new("`body_hash` of the snapshot", "a hash", "something else"))?;
        same(&Some(expected), &digest(&visit.digest), || {
            "the digest of the snapshot, worked out from its own row and the digest before it"
                .to_owned()
        })?;
        let is_complete = visit.desktops_recorded.map(i64::from) == visit.desktops_total;
        if visit.desktops_outcome > 0 && (visit.desktops_outcome == 2) != is_complete {
            return Err(Wrong::new(
                "`desktops_outcome` of the snapshot",
                "complete where `desktops_recorded` is `desktops_total`, else partial",
                visit.desktops_outcome.shown(),
            ));
        }
        Ok(())
    }

    fn check_desktops(&mut self, visit: &Visit, now: Now, body: &mut Body) -> Result<usize, Wrong> {
        let is_usable = visit.desktops_outcome > 0;
        let mut listed = Listed::default();
        for row in std::mem::take(&mut self.pieces) {
            if row.first_seen.is_some_and(|first| !row.is_open() || first != row.from) {
                self.desktops.go_on(row)?;
                continue;
            }
            if !is_usable || row.from != now.mark.at {
                return Err(out_of_place("a span of desktop", row.desktop, row.from));
            }
            self.desktops.begin(&mut self.names, &self.head, now, row, &mut listed)?;
            self.spans += 1;
        }
        let unlisted = std::mem::take(&mut self.unlisted);
        if is_usable {
            self.desktops.leave(&mut self.names, &self.head, now, &unlisted, &mut listed)?;
            let found = visit.desktops_recorded.map_or(-1, i64::from);
            let expected = i64::try_from(self.desktops.listed()).unwrap_or(i64::MAX);
            same(&expected, &found, || {
                "the desktops that the spans list at the snapshot, beside `desktops_recorded`"
                    .to_owned()
            })?;
        } else if let Some(row) = unlisted.first() {
            return Err(out_of_place("a row of `unlisted` of desktop", row.desktop, row.from));
        }
        let changes = listed.changes;
        self.desktops.digest(&mut self.names, listed, body)?;
        Ok(changes)
    }

    fn check_groups(&mut self, visit: &Visit, now: Now, body: &mut Body) -> Result<(), Wrong> {
        let mut begun = Vec::new();
        for row in std::mem::take(&mut self.group_pieces) {
            if row.is_continued {
                self.groups.go_on(row)?;
            } else if visit.groups_outcome == 0 || row.from != now.mark.at {
                return Err(out_of_place("counters of group", row.group, row.from));
            } else {
                begun.push(row);
            }
        }
        if visit.groups_outcome == 0 {
            return Ok(());
        }
        self.groups.read(&mut self.names, self.head.groups, now, begun, body)?;
        self.head.groups = Some(now.mark);
        let found = visit.groups_recorded.map_or(-1, i64::from);
        let expected = i64::try_from(self.groups.present()).unwrap_or(i64::MAX);
        same(&expected, &found, || {
            "the groups that have counters at the snapshot, beside `groups_recorded`".to_owned()
        })
    }

    /// The run of coverage that the snapshot goes on with, or begins.
    fn cover(&mut self, now: Now) -> Result<(), Wrong> {
        let goes_on = self.head.usable.is_some_and(|mark| mark.holds_until(&now.mark));
        let partial = i32::from(!now.is_complete);
        match &mut self.head.run {
            Some(run) if goes_on => {
                run.to = now.mark.at;
                run.snapshots += 1;
                run.partial += partial;
            }
            run => {
                let at = now.mark.at;
                let ended = run.replace(Run { from: at, to: at, snapshots: 1, partial });
                if let Some(ended) = ended {
                    check_run(&ended, self.runs.pop_front())?;
                }
            }
        }
        self.head.usable = Some(now.mark);
        if now.is_complete {
            if !self.head.complete.is_some_and(|mark| mark.holds_until(&now.mark)) {
                self.head.complete_run_from = Some(now.mark.at);
            }
            self.head.complete = Some(now.mark);
        }
        Ok(())
    }

    fn check_checkpoint(&mut self) -> Result<(), Wrong> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        if checkpoint.sequence != self.head.sequence {
            return Ok(());
        }
        same(&checkpoint.digest, &self.head.digest, || {
            format!("the digest of entry {}, which is sealed", checkpoint.sequence)
        })?;
        same(&checkpoint.observed_at, &self.head.newest.map(|mark| mark.at), || {
            format!("`observed_at` of entry {}, which is sealed", checkpoint.sequence)
        })?;
        self.passed_checkpoint = true;
        Ok(())
    }

    fn check_rest(&mut self, stored: &HeadRow) -> Result<(), Wrong> {
        if self.head.sequence == 0 {
            self.check_checkpoint()?;
        }
        self.close_kept(None)?;
        let head = &self.head;
        let of = |column: &'static str| move || format!("`{column}` of the source's `head`");
        same(&head.sequence, &stored.sequence, || {
            "the entries that there are, beside `sequence` of the source's `head`".to_owned()
        })?;
        same(&Some(head.digest), &digest(&stored.digest), of("digest"))?;
        same(&head.first_at, &stored.first_at, of("first_at"))?;
        same(&head.newest.map(|mark| mark.at), &stored.observed_at, of("observed_at"))?;
        let seconds = head.newest.map(|mark| mark.max_gap.num_seconds());
        same(&seconds, &stored.max_gap.map(i64::from), of("max_gap"))?;
        same(&head.scheduled_at, &stored.scheduled_at, of("scheduled_at"))?;
        same(&head.usable.map(|mark| mark.at), &stored.usable_at, of("usable_at"))?;
        same(&head.run.map(|run| run.from), &stored.run_from, of("run_from"))?;
        same(&head.run.map(|run| run.snapshots), &stored.run_snapshots, of("run_snapshots"))?;
        same(&head.run.map(|run| run.partial), &stored.run_partial, of("run_partial"))?;
        same(&head.complete.map(|mark| mark.at), &stored.complete_at, of("complete_at"))?;
        same(&head.complete_run_from, &stored.complete_run_from, of("complete_run_from"))?;
        same(&head.groups.map(|mark| mark.at), &stored.groups_at, of("groups_at"))?;

        if let Some(row) = self.pieces.first() {
            return Err(out_of_place("a span of desktop", row.desktop, row.from));
        }
        if let Some(row) = self.unlisted.first() {
            return Err(out_of_place("a row of `unlisted` of desktop", row.desktop, row.from));
        }
        if let Some(row) = self.group_pieces.first() {
            return Err(out_of_place("counters of group", row.group, row.from));
        }
        if let Some(run) = self.runs.front() {
            return Err(Wrong::new(
                format!("the row of `coverage_run` from {}", run.from.shown()),
                "a run of snapshots that a gap ended",
                "none",
            ));
        }
        self.desktops.finish(head)?;
        self.groups.finish()?;
        self.names.check_all(self.pruned.any())
    }
}

impl Place {
    /// A snapshot.
    #[must_use]
    pub fn of_snapshot(snapshot_id: i64, sequence: i64, observed_at: Instant) -> Self {
        Self { snapshot_id: Some(snapshot_id), is_erasure: false, sequence, observed_at }
    }

    /// The erasure of a person.
    #[must_use]
    pub fn of_erasure(sequence: i64, erased_at: Instant) -> Self {
        Self { snapshot_id: None, is_erasure: true, sequence, observed_at: erased_at }
    }

    /// A snapshot whose header is pruned.
    #[must_use]
    pub fn without_header(sequence: i64, observed_at: Instant) -> Self {
        Self { snapshot_id: None, is_erasure: false, sequence, observed_at }
    }
}

impl Visit {
    /// The digest that the row gives after the digest before it; of a late one with when it was received. `None`: its
    /// `body_hash` is none.
    #[must_use]
    pub fn entry_digest(&self, before: &Digest, received_at: Option<Instant>) -> Option<Digest> {
        let outcome = |code| match code {
            0 => Outcome::Failed,
            1 => Outcome::Partial,
            _ => Outcome::Complete,
        };
        let header = Header {
            observed_at: self.observed_at,
            finished_at: self.finished_at,
            scheduled_at: self.scheduled_at,
            max_gap: self.max_gap.into(),
            desktops_outcome: outcome(self.desktops_outcome),
            groups_outcome: outcome(self.groups_outcome),
            total: self.desktops_total,
            desktops_recorded: self.desktops_recorded.map(Into::into),
            groups_recorded: self.groups_recorded.map(Into::into),
            changes: self.changes,
            error_code: self.error_code.as_deref(),
            error_message: self.error_message.as_deref(),
        };
        let body = match &self.body_hash {
            None => NO_BODY,
            Some(hash) => digest(hash).filter(|hash| *hash != NO_BODY)?,
        };
        let (kind, header) = match received_at {
            None => (Kind::Snapshot, header.hash()),
            Some(at) => (Kind::Late, header.late_hash(at)),
        };
        Some(entry_digest(before, self.sequence, kind, &header, &body))
    }

    /// What stays of it once its header is pruned. `ticked_at`: its day's newest tick.
    #[must_use]
    pub fn kept(&self, ticked_at: Option<Instant>) -> KeptVisit {
        KeptVisit {
            day: day_start(self.observed_at),
            ticked_at,
            sequence: self.sequence,
            observed_at: self.observed_at,
            finished_at: self.finished_at,
            max_gap: self.max_gap,
            desktops_outcome: self.desktops_outcome,
            groups_outcome: self.groups_outcome,
            desktops_total: self.desktops_total,
            desktops_recorded: self.desktops_recorded,
            digest: self.digest.clone(),
        }
    }
}

impl SpanRow {
    fn is_open(&self) -> bool {
        matches!(self.end, super::rows::End::Open { .. })
    }
}

fn later(column: &str, before: Option<Instant>, at: Option<Instant>) -> Result<(), Wrong> {
    match (before, at) {
        (Some(before), Some(at)) if at <= before => Err(Wrong::new(
            format!("`{column}` of the snapshot"),
            format!("an instant after {}", before.shown()),
            at.shown(),
        )),
        _ => Ok(()),
    }
}

fn place_of_kept(visit: &KeptVisit) -> Place {
    Place::without_header(visit.sequence, visit.observed_at)
}

fn place(visit: &Visit) -> Place {
    Place::of_snapshot(visit.snapshot_id, visit.sequence, visit.observed_at)
}

fn out_of_place(what: &str, no: i32, from: Instant) -> Wrong {
    Wrong::new(
        format!("{what} number {no}"),
        "a beginning at a snapshot that read it",
        format!("one at {}", from.shown()),
    )
}

fn check_run(expected: &Run, found: Option<Run>) -> Result<(), Wrong> {
    let of = |column: &str| {
        format!("`{column}` of the row of `coverage_run` from {}", expected.from.shown())
    };
    let Some(found) = found else {
        return Err(Wrong::new(of("covered_from"), "the run that a gap ends here", "no row"));
    };
    same(&expected.from, &found.from, || of("covered_from"))?;
    same(&expected.to, &found.to, || of("covered_to"))?;
    same(&expected.snapshots, &found.snapshots, || of("snapshots"))?;
    same(&expected.partial, &found.partial, || of("partial"))
}
