//! What a snapshot changes in what was believed: the one place that decides the history.
//!
//! A desktop's observations are the snapshots that list it and the complete listings that do not. Two
//! observations belong together when at most the smaller `max_gap` of the two lies between them;
//! otherwise a gap lies between, and everything starts anew. A partial listing that leaves a desktop
//! out says nothing about it; a failed one says nothing at all.

use std::sync::Arc;

use chrono::TimeDelta;

use super::beliefs::{
    Assignment, AssignmentNo, Beliefs, CONNECTED, Changes, ClosedGroupSpan, ClosedSpan,
    DISCONNECTED, DesktopBelief, DesktopNo, Entry, FIRST_OTHER_STATUS, GroupBelief, GroupNo, Label,
    LabelNo, Mark, OpenGroupSpan, OpenSpan, Person, PersonNo, Registered, Run, STATUSES, StatusId,
    ended,
};
use super::digest::{
    Body, Digest, Header, Kind, NO_BODY, Salt, assignment_hash, desktop_commitment, entry_digest,
    name_commitment, person_commitment,
};
use super::months::{month_start, pieces};
use super::{AttachUser, AttachUsers, Counters, Desktop, Instant, Outcome, Snapshot};

/// Why a snapshot cannot go on from what is recorded.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum HistoryError {
    /// History is written in time order only.
    #[error(
        "the snapshot of {observed_at} is not newer than the newest recorded, of {newest}: \
         history is written in time order"
    )]
    NotNewer {
        /// The snapshot's.
        observed_at: Instant,
        /// The newest recorded.
        newest: Instant,
    },
    /// A tick is recorded once.
    #[error("the tick of {scheduled_at} is recorded already")]
    TickTaken {
        /// The tick.
        scheduled_at: Instant,
    },
    /// A snapshot cannot end before it began.
    #[error("the snapshot of {observed_at} finished before it began, at {finished_at}")]
    EndsBeforeStart {
        /// The snapshot's.
        observed_at: Instant,
        /// The snapshot's.
        finished_at: Instant,
    },
    /// Numbers of statuses are two bytes.
    #[error("the source gave more than 32,000 different connection statuses")]
    TooManyStatuses,
}

/// Whether a snapshot is too late for the history: none is written before the newest, nor a tick twice.
#[must_use]
pub fn is_late(
    observed_at: Instant,
    scheduled_at: Option<Instant>,
    newest: Option<Instant>,
    newest_tick: Option<Instant>,
) -> bool {
    newest.is_some_and(|newest| observed_at <= newest)
        || scheduled_at.zip(newest_tick).is_some_and(|(tick, newest)| tick <= newest)
}

/// The source of salts: random in the program, chosen in tests.
pub type Salts<'a> = &'a mut dyn FnMut() -> Salt;

impl Beliefs {
    /// Takes a snapshot in, and says what it changes.
    ///
    /// # Errors
    /// The snapshot cannot follow what is recorded; then nothing is changed.
    /// (But after [`HistoryError::TooManyStatuses`] the beliefs must be restored.)
    pub fn observe(
        &mut self,
        snapshot: &Snapshot,
        salts: Salts<'_>,
    ) -> Result<Changes, HistoryError> {
        self.check_order(snapshot)?;
        let mut step = Step {
            now: Mark { at: snapshot.observed_at, max_gap: snapshot.max_gap },
            sequence: self.head.sequence + 1,
            salts,
            registered: Registered::default(),
            closed: Vec::new(),
            opened: Vec::new(),
            begun: Vec::new(),
            gone: Vec::new(),
            unlisted: Vec::new(),
            left_out: Vec::new(),
            ended_run: None,
            body: Body::new(),
        };
        if let Some(listing) = &snapshot.desktops {
            let is_complete = snapshot.desktops_outcome() == Outcome::Complete;
            self.observe_desktops(&mut step, listing.desktops(), is_complete)?;
            self.extend_coverage(&mut step, is_complete);
        }
        let changes = i32::try_from(step.begun.len() + step.gone.len())
            .expect("a listing of fewer than 2^31 desktops fits in memory");
        self.digest_desktops(&mut step);
        let groups = self.observe_groups(&mut step, snapshot);

        let body_hash = step.body.finish();
        let header = Header::of(snapshot, changes).hash();
        let body = body_hash.unwrap_or(NO_BODY);
        let head = &mut self.head;
        head.digest = entry_digest(&head.digest, step.sequence, Kind::Snapshot, &header, &body);
        head.sequence = step.sequence;
        head.first_at.get_or_insert(step.now.at);
        head.newest = Some(step.now);
        head.scheduled_at = snapshot.scheduled_at.or(head.scheduled_at);
        let failure = snapshot.failure.as_ref();
        Ok(Changes {
            entry: Entry {
                sequence: step.sequence,
                scheduled_at: snapshot.scheduled_at,
                observed_at: snapshot.observed_at,
                finished_at: snapshot.finished_at,
                max_gap: snapshot.max_gap,
                desktops_outcome: snapshot.desktops_outcome(),
                groups_outcome: snapshot.groups_outcome(),
                desktops_total: snapshot.total,
                desktops_recorded: snapshot.desktops.as_ref().map(|all| count(all.desktops())),
                groups_recorded: snapshot.groups.as_ref().map(|all| count(all)),
                changes,
                error_code: failure.and_then(|failure| failure.code.clone()),
                error_message: failure.and_then(|failure| failure.message.clone()),
                body_hash,
                digest: head.digest,
            },
            registered: step.registered,
            closed: step.closed,
            opened: step.opened,
            gone: step.gone,
            unlisted: step.unlisted,
            closed_groups: groups.closed,
            opened_groups: groups.opened,
            gone_groups: groups.gone,
            ended_run: step.ended_run,
            head: head.clone(),
        })
    }

    fn check_order(&self, snapshot: &Snapshot) -> Result<(), HistoryError> {
        let Snapshot { observed_at, finished_at, scheduled_at, .. } = *snapshot;
        if finished_at < observed_at {
            return Err(HistoryError::EndsBeforeStart { observed_at, finished_at });
        }
        if let Some(newest) = self.head.newest
            && newest.at >= observed_at
        {
            return Err(HistoryError::NotNewer { observed_at, newest: newest.at });
        }
        match (scheduled_at, self.head.scheduled_at) {
            (Some(scheduled_at), Some(newest)) if scheduled_at <= newest => {
                Err(HistoryError::TickTaken { scheduled_at })
            }
            _ => Ok(()),
        }
    }

    fn observe_desktops(
        &mut self,
        step: &mut Step<'_>,
        listed: &[Desktop],
        is_complete: bool,
    ) -> Result<(), HistoryError> {
        let before = std::mem::take(&mut self.order);
        let mut order = Vec::with_capacity(listed.len());
        for (at, desktop) in listed.iter().enumerate() {
            let no = self.desktop_no(before.get(at).copied(), desktop, step);
            order.push(no);
            self.observe_desktop(step, no, desktop)?;
        }
        self.order = order;
        for no in self.desktops.numbers() {
            let belief = &self.desktops[no];
            if belief.listed_in == step.sequence || belief.open.is_none() {
                continue;
            }
            if is_complete {
                self.observe_absence(step, no);
            } else {
                self.leave_out(step, no);
            }
        }
        Ok(())
    }

    /// The desktop's number: the one at the same place of the listing before, if it is that one.
    fn desktop_no(
        &mut self,
        hint: Option<DesktopNo>,
        desktop: &Desktop,
        step: &mut Step<'_>,
    ) -> DesktopNo {
        if let Some(no) = hint
            && is_same(&self.desktops[no].id, &desktop.id)
        {
            return no;
        }
        if let Some(no) = self.desktops.find(&&*desktop.id) {
            return no;
        }
        let salt = (step.salts)();
        let commitment = desktop_commitment(&salt, &desktop.id);
        let belief = DesktopBelief::restored(Arc::clone(&desktop.id), commitment);
        let no = self.desktops.push(belief);
        step.registered.desktops.push((no, Arc::clone(&desktop.id), salt, commitment));
        no
    }

    fn observe_desktop(
        &mut self,
        step: &mut Step<'_>,
        no: DesktopNo,
        seen: &Desktop,
    ) -> Result<(), HistoryError> {
        self.desktops[no].listed_in = step.sequence;
        let open = self.desktops[no].open;
        // A desktop in no span was absent from the newest complete listing, or there is none.
        let before = match open {
            Some(span) => Some(self.last_observation(&span)),
            None => self.head.complete,
        }
        .filter(|mark| mark.holds_until(&step.now));

        if let Some(mut span) = open
            && before.is_some()
            && self.is_state(&span, seen)
        {
            if let Some((_, since)) = span.unlisted.take() {
                let last = self.head.usable.expect("a partial listing left it out").at;
                step.unlisted.push((no, since, last));
                step.left_out.push((no, b'L'));
                step.opened.push((no, span));
                self.desktops[no].open = Some(span);
            }
            return Ok(());
        }

        let status = self.status_id(step, seen.status.as_ref())?;
        let label = self.label_no(step, seen);
        if open.is_none_or(|span| span.label != label) {
            step.registered.desktop_labels.push((no, label));
        }
        let mut next = OpenSpan {
            status,
            label,
            piece_from: step.now.at,
            first_seen: step.now.at,
            started_after: before.map(|mark| mark.at),
            unlisted: None,
            connection: None,
            disconnected_at: None,
        };
        if let Some(span) = open {
            let mut code = ended::UNKNOWN;
            if before.is_some() {
                code = status;
                if span.status == CONNECTED && status == CONNECTED {
                    if self.is_same_connection(span.label, label) {
                        next.connection =
                            Some(span.connection.unwrap_or((span.first_seen, span.started_after)));
                        code = ended::CONTINUES;
                    } else {
                        code = ended::REASSIGNED;
                    }
                }
                next.disconnected_at = match (span.status, status) {
                    (CONNECTED, DISCONNECTED) => Some(step.now.at),
                    (CONNECTED, _) => None,
                    _ => span.disconnected_at,
                };
            }
            self.close(step, no, &span, before.is_some(), code);
        } else if before.is_some()
            && let Some((since, disconnected_at)) = self.desktops[no].absent
            // Absent without a gap since it left.
            && self.head.complete_run_from.is_some_and(|from| from <= since)
        {
            next.disconnected_at = disconnected_at;
        }
        let belief = &mut self.desktops[no];
        belief.open = Some(next);
        belief.absent = None;
        step.opened.push((no, next));
        step.begun.push(no);
        Ok(())
    }

    /// The desktop is gone from a complete listing.
    fn observe_absence(&mut self, step: &mut Step<'_>, no: DesktopNo) {
        let Some(span) = self.desktops[no].open else { return };
        let is_known = self.last_observation(&span).holds_until(&step.now);
        let code = if is_known { ended::ABSENT } else { ended::UNKNOWN };
        self.close(step, no, &span, is_known, code);
        let disconnected_at = span.disconnected_at.filter(|_| is_known && span.status != CONNECTED);
        let belief = &mut self.desktops[no];
        belief.open = None;
        belief.absent = Some((step.now.at, disconnected_at));
        step.gone.push(no);
    }

    /// A partial listing leaves the desktop out, which says nothing about it.
    fn leave_out(&mut self, step: &mut Step<'_>, no: DesktopNo) {
        let Some(mut span) = self.desktops[no].open else { return };
        if span.unlisted.is_none() {
            span.unlisted = Some((self.last_observation(&span), step.now.at));
            step.left_out.push((no, b'U'));
            step.opened.push((no, span));
            self.desktops[no].open = Some(span);
        }
    }

    /// The last observation of a span that is open.
    fn last_observation(&self, span: &OpenSpan) -> Mark {
        match span.unlisted {
            Some((mark, _)) => mark,
            None => self.head.usable.expect("an open span was seen in the newest usable snapshot"),
        }
    }

    fn close(
        &self,
        step: &mut Step<'_>,
        no: DesktopNo,
        span: &OpenSpan,
        is_known: bool,
        code: StatusId,
    ) {
        let last_seen = self.last_observation(span).at;
        let to = if is_known { step.now.at } else { last_seen };
        for piece in pieces(span.piece_from, last_seen, to) {
            let ended = if piece.goes_on { ended::CUT } else { code };
            step.closed.push(ClosedSpan { desktop: no, span: *span, piece, ended });
        }
    }

    fn is_state(&self, span: &OpenSpan, seen: &Desktop) -> bool {
        let label = &self.labels[span.label];
        self.status(span.status) == seen.status.as_deref()
            && match (&label.name, &seen.name) {
                (Some(one), Some(other)) => is_same(one, other),
                (one, other) => one == other,
            }
            && self.assignments[label.assignment].users.is_same(&seen.users)
    }

    /// The same users by type, id and name, whatever the desktop's name and their groups on it.
    fn is_same_connection(&self, one: LabelNo, other: LabelNo) -> bool {
        let persons = |label: LabelNo| &self.assignments[self.labels[label].assignment].persons;
        persons(one) == persons(other)
    }

    fn status_id(
        &mut self,
        step: &mut Step<'_>,
        status: Option<&Arc<str>>,
    ) -> Result<StatusId, HistoryError> {
        if let Some(known) = STATUSES.iter().position(|known| *known == status.map(|text| &**text))
        {
            return Ok(StatusId::try_from(known).expect("there are five"));
        }
        let status = status.expect("no status is the first of those that are known");
        if let Some(id) = self.status_ids.get(status) {
            return Ok(*id);
        }
        let id = StatusId::try_from(self.statuses.len())
            .ok()
            .and_then(|at| at.checked_add(FIRST_OTHER_STATUS))
            .ok_or(HistoryError::TooManyStatuses)?;
        self.statuses.push(Arc::clone(status));
        self.status_ids.insert(Arc::clone(status), id);
        step.registered.statuses.push((id, Arc::clone(status)));
        Ok(id)
    }

    fn label_no(&mut self, step: &mut Step<'_>, seen: &Desktop) -> LabelNo {
        let assignment = self.assignment_no(step, &seen.users);
        if let Some(no) = self.labels.find(&(seen.name.as_deref(), assignment)) {
            return no;
        }
        let salt = (step.salts)();
        let commitment = name_commitment(&salt, seen.name.as_deref());
        let no = self.labels.push(Label { name: seen.name.clone(), assignment, commitment });
        step.registered.labels.push((no, seen.name.clone(), assignment, salt, commitment));
        no
    }

    fn assignment_no(&mut self, step: &mut Step<'_>, users: &AttachUsers) -> AssignmentNo {
        if let Some(no) = self.assignments.find(&users) {
            return no;
        }
        let of_entries: Vec<PersonNo> =
            users.entries().iter().map(|user| self.person_no(step, user)).collect();
        let commitments: Vec<Digest> =
            of_entries.iter().map(|no| self.persons[*no].commitment).collect();
        let mut persons = of_entries.clone();
        persons.dedup();
        let hash = assignment_hash(users, &commitments);
        let assignment = Assignment { users: users.clone(), persons: persons.clone(), hash };
        let no = self.assignments.push(assignment);
        step.registered.assignments.push((no, users.clone(), persons, of_entries));
        no
    }

    fn person_no(&mut self, step: &mut Step<'_>, user: &AttachUser) -> PersonNo {
        if let Some(no) = self.persons.find(&user.key()) {
            return no;
        }
        let user = AttachUser { user_group: None, ..user.clone() };
        let salt = (step.salts)();
        let commitment = person_commitment(&salt, &user);
        let no = self.persons.push(Person { user: user.clone(), commitment });
        step.registered.persons.push((no, user, salt, commitment));
        no
    }

    fn extend_coverage(&mut self, step: &mut Step<'_>, is_complete: bool) {
        let now = step.now;
        let partial = i32::from(!is_complete);
        let goes_on = self.head.usable.is_some_and(|mark| mark.holds_until(&now));
        match &mut self.head.run {
            Some(run) if goes_on => {
                run.to = now.at;
                run.snapshots += 1;
                run.partial += partial;
            }
            run => {
                step.ended_run =
                    run.replace(Run { from: now.at, to: now.at, snapshots: 1, partial });
            }
        }
        self.head.usable = Some(now);
        if is_complete {
            if !self.head.complete.is_some_and(|mark| mark.holds_until(&now)) {
                self.head.complete_run_from = Some(now.at);
            }
            self.head.complete = Some(now);
        }
    }

    /// The body of the digest speaks of desktops in the order of their numbers, whatever the order
    /// of the listing.
    fn digest_desktops(&self, step: &mut Step<'_>) {
        let begun = step.begun.iter().map(|no| (*no, b'S'));
        let gone = step.gone.iter().map(|no| (*no, b'A'));
        let mut records: Vec<(DesktopNo, u8)> =
            begun.chain(gone).chain(step.left_out.iter().copied()).collect();
        records.sort_unstable();
        for (no, kind) in records {
            let desktop = &self.desktops[no];
            if let (b'S', Some(span)) = (kind, &desktop.open) {
                let label = &self.labels[span.label];
                step.body.span_begins(
                    &desktop.commitment,
                    self.status(span.status),
                    &label.commitment,
                    &self.assignments[label.assignment].hash,
                    span.started_after,
                );
            } else {
                step.body.desktop(kind, &desktop.commitment);
            }
        }
    }

    fn observe_groups(&mut self, step: &mut Step<'_>, snapshot: &Snapshot) -> GroupChanges {
        let mut changes = GroupChanges::default();
        let Some(read) = &snapshot.groups else { return changes };
        let is_known = self.head.groups.is_some_and(|mark| mark.holds_until(&step.now));
        for statistics in read {
            let no = self.group_no(step, statistics.name.as_ref());
            let group = &mut self.groups[no];
            group.read_in = step.sequence;
            if let Some(open) = group.open {
                if is_known && open.counters == statistics.counters {
                    continue;
                }
                self.close_group(step.now.at, no, &open, is_known, &mut changes);
            }
            let open = OpenGroupSpan {
                from: step.now.at,
                is_continued: false,
                counters: statistics.counters,
            };
            let group = &mut self.groups[no];
            group.open = Some(open);
            changes.opened.push((no, open));
        }
        // In the order of their numbers: that of the answer is kept nowhere, and a digest has to follow
        // from what is.
        changes.opened.sort_unstable_by_key(|(no, _)| *no);
        for (no, open) in &changes.opened {
            let group = &self.groups[*no];
            step.body.group_begins(group.name.as_deref(), group.ordinal, &open.counters);
        }
        for no in self.groups.numbers() {
            let group = &self.groups[no];
            if let Some(open) = group.open
                && group.read_in != step.sequence
            {
                self.close_group(step.now.at, no, &open, is_known, &mut changes);
                let group = &mut self.groups[no];
                group.open = None;
                changes.gone.push(no);
                step.body.group_gone(group.name.as_deref(), group.ordinal);
            }
        }
        self.head.groups = Some(step.now);
        changes
    }

    /// The group of that name that this answer has not shown yet: the first, or the next of the name.
    fn group_no(&mut self, step: &mut Step<'_>, name: Option<&Arc<str>>) -> GroupNo {
        for ordinal in 1.. {
            match self.groups.find(&(name.map(|name| &**name), ordinal)) {
                Some(no) if self.groups[no].read_in == step.sequence => {}
                Some(no) => return no,
                None => {
                    let no = self.groups.push(GroupBelief::restored(name.cloned(), ordinal, None));
                    step.registered.groups.push((no, name.cloned(), ordinal));
                    return no;
                }
            }
        }
        unreachable!("an answer holds fewer groups than there are numbers")
    }

    fn close_group(
        &self,
        now: Instant,
        no: GroupNo,
        open: &OpenGroupSpan,
        is_known: bool,
        changes: &mut GroupChanges,
    ) {
        let last_seen = self.head.groups.expect("an open group was read").at;
        let to = if is_known { now } else { last_seen };
        changes.closed.extend(group_pieces(no, open, last_seen, to));
    }

    /// Files the parts of open spans that lie in months that are over, at most `limit` of them
    /// at a time: so that the state at an instant needs one month and the open spans.
    ///
    /// Returns `None` when nothing is left to cut.
    pub fn cut(&mut self, limit: usize) -> Option<Cut> {
        let mut cut = Cut::default();
        let usable = self.head.usable?;
        for no in self.desktops.numbers() {
            let Some(span) = self.desktops[no].open else { continue };
            let Some((last_seen, month)) = over(&span, usable) else { continue };
            // Into the month that goes on, so that each piece before it is one that goes on too.
            let filed = pieces(span.piece_from, last_seen, month + TimeDelta::microseconds(1));
            for piece in filed.filter(|piece| piece.goes_on) {
                let ended = ended::CUT;
                cut.closed.push(ClosedSpan { desktop: no, span, piece, ended });
            }
            let open = OpenSpan { piece_from: month, ..span };
            self.desktops[no].open = Some(open);
            cut.opened.push((no, open));
            if cut.opened.len() >= limit {
                return Some(cut);
            }
        }
        if let Some(groups) = self.head.groups {
            let month = month_start(groups.at);
            for no in self.groups.numbers() {
                let Some(open) = self.groups[no].open else { continue };
                if open.from >= month {
                    continue;
                }
                let to = month + TimeDelta::microseconds(1);
                let filed = group_pieces(no, &open, groups.at, to);
                cut.closed_groups.extend(filed.filter(|closed| closed.piece.goes_on));
                let open = OpenGroupSpan { from: month, is_continued: true, ..open };
                self.groups[no].open = Some(open);
                cut.opened_groups.push((no, open));
            }
        }
        (!cut.opened.is_empty() || !cut.opened_groups.is_empty()).then_some(cut)
    }

    /// Whether nothing is left to [`Self::cut`].
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let desktops = self.head.usable.is_none_or(|usable| {
            let open = |no: DesktopNo| self.desktops[no].open;
            self.desktops.numbers().filter_map(open).all(|span| over(&span, usable).is_none())
        });
        let groups = self.head.groups.is_none_or(|groups| {
            let month = month_start(groups.at);
            let open = |no: GroupNo| self.groups[no].open;
            self.groups.numbers().filter_map(open).all(|open| open.from >= month)
        });
        desktops && groups
    }
}

/// Until when an open span was seen, and where the month begins that goes on; `None`: the span does not begin before it.
fn over(span: &OpenSpan, usable: Mark) -> Option<(Instant, Instant)> {
    let last_seen = span.unlisted.map_or(usable.at, |(mark, _)| mark.at);
    let month = month_start(last_seen);
    (span.piece_from < month).then_some((last_seen, month))
}

/// The pieces of open spans that lie in months that are over, and what stays open.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// The pieces to file.
    pub closed: Vec<ClosedSpan>,
    /// The spans, open from the month's start on.
    pub opened: Vec<(DesktopNo, OpenSpan)>,
    /// The pieces of group counters to file.
    pub closed_groups: Vec<ClosedGroupSpan>,
    /// The group counters, open from the month's start on.
    pub opened_groups: Vec<(GroupNo, OpenGroupSpan)>,
}

#[derive(Default)]
struct GroupChanges {
    closed: Vec<ClosedGroupSpan>,
    opened: Vec<(GroupNo, OpenGroupSpan)>,
    gone: Vec<GroupNo>,
}

/// One snapshot on its way into the beliefs.
struct Step<'a> {
    now: Mark,
    sequence: i64,
    salts: Salts<'a>,
    registered: Registered,
    closed: Vec<ClosedSpan>,
    opened: Vec<(DesktopNo, OpenSpan)>,
    begun: Vec<DesktopNo>,
    gone: Vec<DesktopNo>,
    unlisted: Vec<(DesktopNo, Instant, Instant)>,
    /// Left out by a partial listing (`U`), or listed again with nothing changed (`L`).
    left_out: Vec<(DesktopNo, u8)>,
    ended_run: Option<Run>,
    body: Body,
}

fn group_pieces(
    group: GroupNo,
    open: &OpenGroupSpan,
    last_seen: Instant,
    to: Instant,
) -> impl Iterator<Item = ClosedGroupSpan> + use<> {
    let (counters, from, mut is_continued): (Counters, _, _) =
        (open.counters, open.from, open.is_continued);
    pieces(from, last_seen, to).map(move |piece| {
        let closed = ClosedGroupSpan { group, counters, is_continued, piece };
        is_continued = true;
        closed
    })
}

/// Equal; who reads many lines shares the texts that they have in common, and then need not look at them.
fn is_same(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

fn count<T>(all: &[T]) -> i32 {
    i32::try_from(all.len()).expect("fewer than 2^31 things fit in memory")
}
