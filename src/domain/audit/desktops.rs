//! Spans: where each begins, goes on into another month, and ends, and what its columns must then say.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::names::Names;
use super::pieces::{check_connection, check_piece, last_seen_of, piece};
use super::rows::{End, SpanRow, UnlistedRow};
use super::{Shown, Wrong, same};
use crate::domain::Instant;
use crate::domain::beliefs::{CONNECTED, DISCONNECTED, DesktopNo, Head, LabelNo, Mark, ended};
use crate::domain::digest::Body;
use crate::domain::months::next_month;
use crate::domain::retell::Standing;

/// What the rows say of the desktops, as far as they are read.
#[derive(Debug, Default)]
pub(super) struct Desktops {
    all: Vec<Desk>,
    present: usize,
    /// Those that partial listings leave out now.
    left_out: BTreeSet<DesktopNo>,
    /// The pieces by their last observation: the desktop, and where its piece begins.
    ends: BTreeMap<Instant, Vec<(DesktopNo, Instant)>>,
    /// The desktops that are listed again, by the last listing that left them out.
    returns: BTreeMap<Instant, Vec<DesktopNo>>,
    /// When to see that every piece that was cut goes on.
    cuts_checked_at: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
struct Desk {
    open: Option<Open>,
    /// Since which complete listing it is absent, and the disconnect before that.
    absent: Option<(Instant, Option<Instant>)>,
    /// The sequence of the snapshot at which its span begins.
    begun_in: i64,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    row: SpanRow,
    /// Its last observation, if partial listings leave the desktop out since.
    left_out: Option<Mark>,
    /// Its piece is of a month that is pruned, which ended then: what is known of it stood there.
    pruned_until: Option<Instant>,
}

/// The snapshot that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub mark: Mark,
    pub sequence: i64,
    pub is_complete: bool,
}

/// What a listing changed, and what of it was said in numbers.
#[derive(Debug, Default)]
pub(super) struct Listed {
    records: Vec<(DesktopNo, u8)>,
    /// Spans that begin, and desktops that are gone.
    pub changes: usize,
}

impl Listed {
    fn say(&mut self, no: DesktopNo, kind: u8) {
        self.records.push((no, kind));
        self.changes += usize::from(matches!(kind, b'S' | b'A'));
    }
}

impl Desktops {
    pub(super) fn new(names: &Names) -> Self {
        Self { all: vec![Desk::default(); names.desktops()], ..Self::default() }
    }

    /// What stood at the end of a pruned month, after which `usable` was the newest listing; of `unlisted` those count that go
    /// on then.
    pub(super) fn stand_at(
        &mut self,
        names: &Names,
        standing: &Standing,
        usable: Option<Mark>,
        unlisted: &[UnlistedRow],
    ) {
        *self = Self::new(names);
        let at = standing.at;
        let just_before = at - TimeDelta::microseconds(1);
        for (no, span) in &standing.desktops {
            let goes_on = span.piece_from == at;
            let left_out = span.unlisted.map(|(mark, _)| mark);
            let Some(last) = left_out.or(usable) else { continue };
            let row = SpanRow {
                desktop: *no,
                label: span.label,
                status: span.status,
                from: if goes_on { just_before } else { span.piece_from },
                first_seen: Some(span.first_seen),
                started_after: span.started_after,
                connection_first_seen: span.connection.map(|connection| connection.0),
                connection_started_after: span.connection.and_then(|connection| connection.1),
                disconnected_at: span.disconnected_at,
                end: End::Filed {
                    to: at,
                    last_seen: last.at,
                    ended: if goes_on { ended::CUT } else { ended::UNKNOWN },
                },
            };
            self.expect_end(&row);
            let Ok(desk) = self.desk(*no) else { continue };
            desk.open = Some(Open { row, left_out, pruned_until: Some(at) });
            self.present += 1;
            if let Some((_, since)) = span.unlisted {
                self.left_out.insert(*no);
                let stretch = unlisted.iter().find(|row| row.desktop == *no && row.from == since);
                if let Some(stretch) = stretch {
                    self.returns.entry(stretch.to).or_default().push(*no);
                }
            }
        }
        for (no, since, disconnect) in &standing.absent {
            if let Ok(desk) = self.desk(*no) {
                desk.absent = Some((*since, Some(*disconnect)));
            }
        }
    }

    /// The desktops that the listing names.
    pub(super) fn listed(&self) -> usize {
        self.present - self.left_out.len()
    }

    /// The desktops that are in a span and listed: number, label, status.
    pub(super) fn listing(&self) -> Vec<(DesktopNo, LabelNo, i16)> {
        let open = self.all.iter().zip(1..).filter_map(|(desk, no)| Some((no, desk.open?)));
        open.filter(|(_, open)| open.left_out.is_none())
            .map(|(no, open)| (no, open.row.label, open.row.status))
            .collect()
    }

    /// Pieces that begin where a month does, for spans that go on.
    pub(super) fn go_on(&mut self, row: SpanRow) -> Result<(), Wrong> {
        let of = |column: &str| format!("`{column}` of {}", piece(&row));
        check_piece(&row)?;
        let before = self.desk(row.desktop)?.open;
        let Some((before, to, last_seen)) = before.and_then(|open| match open.row.end {
            End::Filed { to, last_seen, ended: ended::CUT } => Some((open, to, last_seen)),
            _ => None,
        }) else {
            return Err(Wrong::new(
                of("first_seen"),
                "a piece before it that goes on (`ended` -5)",
                "none",
            ));
        };
        let earlier = before.row;
        same(&to, &row.from, || of("piece_from"))?;
        same(&earlier.label, &row.label, || of("label_no"))?;
        same(&earlier.status, &row.status, || of("status_id"))?;
        let first_seen = earlier.first_seen.unwrap_or(earlier.from);
        same(&Some(first_seen), &row.first_seen, || of("first_seen"))?;
        same(&earlier.started_after, &row.started_after, || of("started_after"))?;
        check_connection(
            &row,
            earlier.connection_first_seen,
            earlier.connection_started_after,
            earlier.disconnected_at,
        )?;
        let limit = to - TimeDelta::microseconds(1);
        let expected = last_seen_of(&row).map_or(limit, |last_seen| last_seen.min(limit));
        if before.pruned_until.is_none() {
            same(&expected, &last_seen, || {
                format!("`last_seen` of {}, whose span goes on", piece(&earlier))
            })?;
        }
        self.expect_end(&row);
        let desk = self.desk(row.desktop)?;
        desk.open = Some(Open { row, left_out: before.left_out, pruned_until: None });
        Ok(())
    }

    /// A span that begins with this listing.
    pub(super) fn begin(
        &mut self,
        names: &mut Names,
        head: &Head,
        now: Now,
        row: SpanRow,
        listed: &mut Listed,
    ) -> Result<(), Wrong> {
        let of = |column: &str| format!("`{column}` of {}", piece(&row));
        check_piece(&row)?;
        same(&now.mark.at, &row.from, || of("piece_from"))?;
        if last_seen_of(&row).is_some_and(|last_seen| last_seen < row.from) {
            return Err(Wrong::new(of("last_seen"), "an instant in it", "one before it"));
        }
        // Registers the numbers as used, too.
        names.desktop(row.desktop)?;
        names.status(row.status)?;
        names.label(row.label)?;
        let desk = self.desk(row.desktop)?;
        if desk.open.is_none_or(|open| open.row.label != row.label) {
            names.desktop_label(row.desktop, row.label)?;
        }
        if desk.begun_in == now.sequence {
            return Err(Wrong::new(piece(&row), "one span of the desktop", "two that begin here"));
        }
        let (open, absent) = (desk.open, desk.absent);
        let before = match &open {
            Some(open) => Some(last_observation(open, head)?),
            None => head.complete,
        };
        let before = before.filter(|mark| mark.holds_until(&now.mark));
        let (mut connection, mut disconnected_at) = ((None, None), None);
        if let Some(open) = &open {
            let last = open.row;
            let mut code = ended::UNKNOWN;
            if before.is_some() {
                code = row.status;
                if last.status == row.status && last.label == row.label {
                    return Err(Wrong::new(
                        piece(&row),
                        "a change of state or a gap before it",
                        "the state before it, observed without a gap",
                    ));
                }
                if last.status == CONNECTED && row.status == CONNECTED {
                    if names.is_same_connection(last.label, row.label) {
                        code = ended::CONTINUES;
                        connection = match last.connection_first_seen {
                            Some(first_seen) => (Some(first_seen), last.connection_started_after),
                            None => {
                                (Some(last.first_seen.unwrap_or(last.from)), last.started_after)
                            }
                        };
                    } else {
                        code = ended::REASSIGNED;
                    }
                }
                disconnected_at = match (last.status, row.status) {
                    (CONNECTED, DISCONNECTED) => Some(now.mark.at),
                    (CONNECTED, _) => None,
                    _ => last.disconnected_at,
                };
            }
            check_end(open, head, now, before.is_some(), code)?;
            self.present -= 1;
            self.left_out.remove(&row.desktop);
        } else if before.is_some()
            && let Some((since, disconnect)) = absent
            && head.complete_run_from.is_some_and(|from| from <= since)
        {
            disconnected_at = disconnect;
        }
        same(&before.map(|mark| mark.at), &row.started_after, || of("started_after"))?;
        check_connection(&row, connection.0, connection.1, disconnected_at)?;
        self.expect_end(&row);
        self.present += 1;
        let desk = self.desk(row.desktop)?;
        *desk = Desk {
            open: Some(Open { row, left_out: None, pruned_until: None }),
            absent: None,
            begun_in: now.sequence,
        };
        listed.say(row.desktop, b'S');
        Ok(())
    }

    /// The desktops that this listing leaves out, or lists again; after those whose spans begin.
    pub(super) fn leave(
        &mut self,
        names: &mut Names,
        head: &Head,
        now: Now,
        unlisted: &[UnlistedRow],
        listed: &mut Listed,
    ) -> Result<(), Wrong> {
        self.check_cuts(now)?;
        self.list_again(head, now, listed)?;
        for row in unlisted {
            let of = |column: &str| {
                format!(
                    "`{column}` of the row of `unlisted` of desktop number {} from {}",
                    row.desktop,
                    row.from.shown()
                )
            };
            names.desktop(row.desktop)?;
            same(&now.mark.at, &row.from, || of("from_at"))?;
            let desk = self.desk(row.desktop)?;
            let is_begun = desk.begun_in == now.sequence;
            let Some(open) = desk.open.as_mut().filter(|open| {
                !is_begun && !now.is_complete && open.left_out.is_none() && row.to >= row.from
            }) else {
                return Err(Wrong::new(
                    of("from_at"),
                    "a partial listing that leaves out a desktop listed before",
                    "another",
                ));
            };
            open.left_out = head.usable;
            self.left_out.insert(row.desktop);
            self.returns.entry(row.to).or_default().push(row.desktop);
            listed.say(row.desktop, b'U');
        }
        while let Some(first) = self.ends.first_entry().filter(|entry| *entry.key() < now.mark.at) {
            let (last_seen, pieces) = first.remove_entry();
            for (no, from) in pieces {
                let desk = self.desk(no)?;
                // Whatever took the piece's place has been looked at.
                let Some(open) = desk.open.filter(|open| open.row.from == from) else { continue };
                if desk.begun_in == now.sequence {
                    continue;
                }
                let last = last_observation(&open, head)?;
                same(&last.at, &last_seen, || format!("`last_seen` of {}", piece(&open.row)))?;
                if open.left_out.is_none() {
                    self.not_listed(no, open, head, now, listed)?;
                }
            }
        }
        if now.is_complete {
            for no in std::mem::take(&mut self.left_out) {
                if let Some(open) = self.desk(no)?.open {
                    self.gone(no, open, head, now, listed)?;
                }
            }
        }
        Ok(())
    }

    fn list_again(&mut self, head: &Head, now: Now, listed: &mut Listed) -> Result<(), Wrong> {
        while let Some(first) =
            self.returns.first_entry().filter(|entry| *entry.key() < now.mark.at)
        {
            let (to, desktops) = first.remove_entry();
            for no in desktops {
                let of = || format!("`to_at` of the row of `unlisted` of desktop number {no}");
                same(&head.usable.map(|mark| mark.at), &Some(to), of)?;
                let desk = self.desk(no)?;
                let is_begun = desk.begun_in == now.sequence;
                let Some(open) = desk.open.as_mut().filter(|open| {
                    !is_begun
                        && open.left_out.is_some_and(|mark| mark.holds_until(&now.mark))
                        && last_seen_of(&open.row).is_none_or(|last_seen| last_seen >= now.mark.at)
                }) else {
                    return Err(Wrong::new(
                        of(),
                        "a listing before the desktop's span goes on",
                        "another",
                    ));
                };
                open.left_out = None;
                self.left_out.remove(&no);
                listed.say(no, b'L');
            }
        }
        Ok(())
    }

    /// A desktop that was listed before is not in this listing.
    fn not_listed(
        &mut self,
        no: DesktopNo,
        open: Open,
        head: &Head,
        now: Now,
        listed: &mut Listed,
    ) -> Result<(), Wrong> {
        if now.is_complete {
            return self.gone(no, open, head, now, listed);
        }
        if let End::Open { left_out: Some((_, since)) } = open.row.end {
            same(&now.mark.at, &since, || format!("`unlisted_since` of {}", piece(&open.row)))?;
        }
        self.desk(no)?.open = Some(Open { left_out: head.usable, ..open });
        self.left_out.insert(no);
        listed.say(no, b'U');
        Ok(())
    }

    /// A desktop is gone from a complete listing.
    fn gone(
        &mut self,
        no: DesktopNo,
        open: Open,
        head: &Head,
        now: Now,
        listed: &mut Listed,
    ) -> Result<(), Wrong> {
        let is_known = last_observation(&open, head)?.holds_until(&now.mark);
        let code = if is_known { ended::ABSENT } else { ended::UNKNOWN };
        check_end(&open, head, now, is_known, code)?;
        let disconnect =
            open.row.disconnected_at.filter(|_| is_known && open.row.status != CONNECTED);
        let desk = self.desk(no)?;
        *desk = Desk { open: None, absent: Some((now.mark.at, disconnect)), ..desk.clone() };
        self.present -= 1;
        listed.say(no, b'A');
        Ok(())
    }

    /// Feeds what the listing changed into a body, in the order of the desktops' numbers.
    pub(super) fn digest(
        &self,
        names: &mut Names,
        mut listed: Listed,
        body: &mut Body,
    ) -> Result<(), Wrong> {
        listed.records.sort_unstable();
        for (no, kind) in listed.records {
            let desktop = names.desktop(no)?;
            let open = usize::try_from(no - 1).ok().and_then(|at| self.all.get(at)?.open);
            if let (b'S', Some(open)) = (kind, open) {
                let (name, assignment) = names.label(open.row.label)?;
                let status = names.status(open.row.status)?;
                body.span_begins(&desktop, status, &name, &assignment, open.row.started_after);
            } else {
                body.desktop(kind, &desktop);
            }
        }
        Ok(())
    }

    /// After the last snapshot: what is open is what `open_span` holds.
    pub(super) fn finish(&self, head: &Head) -> Result<(), Wrong> {
        for open in self.all.iter().filter_map(|desk| desk.open) {
            let End::Open { left_out } = open.row.end else {
                return Err(Wrong::new(
                    piece(&open.row),
                    "what follows it",
                    "neither another span, nor a listing without the desktop",
                ));
            };
            let expected = open.left_out.map(|mark| mark.at);
            same(&expected, &left_out.map(|(last_seen, _)| last_seen), || {
                format!("`last_seen` of {}", piece(&open.row))
            })?;
        }
        let first = self.returns.first_key_value();
        if let Some((to, desktops)) = first {
            return Err(Wrong::new(
                format!("`to_at` of the row of `unlisted` of desktop number {}", desktops[0]),
                "a listing after it that lists the desktop again",
                format!(
                    "{}, and the newest listing is of {}",
                    to.shown(),
                    head.usable.map(|mark| mark.at).shown()
                ),
            ));
        }
        Ok(())
    }

    /// Once a month: every piece that was cut at its end goes on.
    fn check_cuts(&mut self, now: Now) -> Result<(), Wrong> {
        if self.cuts_checked_at.is_some_and(|next| now.mark.at < next) {
            return Ok(());
        }
        self.cuts_checked_at = Some(next_month(now.mark.at));
        for open in self.all.iter().filter_map(|desk| desk.open) {
            if let End::Filed { to, ended: ended::CUT, .. } = open.row.end
                && to <= now.mark.at
            {
                return Err(Wrong::new(
                    piece(&open.row),
                    format!("a piece that goes on from {}", to.shown()),
                    "none",
                ));
            }
        }
        Ok(())
    }

    fn expect_end(&mut self, row: &SpanRow) {
        if let Some(last_seen) = last_seen_of(row) {
            self.ends.entry(last_seen).or_default().push((row.desktop, row.from));
        }
    }

    fn desk(&mut self, no: DesktopNo) -> Result<&mut Desk, Wrong> {
        usize::try_from(i64::from(no) - 1).ok().and_then(|at| self.all.get_mut(at)).ok_or_else(
            || Wrong::new(format!("a row of desktop number {no}"), "a registered desktop", "none"),
        )
    }
}

/// The last observation of a span that is open.
fn last_observation(open: &Open, head: &Head) -> Result<Mark, Wrong> {
    open.left_out.or(head.usable).ok_or_else(|| {
        Wrong::new(piece(&open.row), "a listing that it was seen in", "none before it")
    })
}

/// The span ends with what is observed now.
fn check_end(open: &Open, head: &Head, now: Now, is_known: bool, code: i16) -> Result<(), Wrong> {
    let of = |column: &str| format!("`{column}` of {}", piece(&open.row));
    let End::Filed { to, last_seen, ended } = open.row.end else {
        return Err(Wrong::new(
            piece(&open.row),
            format!("a span that goes on after {}", now.mark.at.shown()),
            "one that ends there",
        ));
    };
    let last = last_observation(open, head)?.at;
    let ends_at = if is_known { now.mark.at } else { last };
    if let Some(until) = open.pruned_until
        && ended != ended::CUT
        && ends_at <= until
    {
        return Ok(());
    }
    same(&last, &last_seen, || of("last_seen"))?;
    same(&code, &ended, || of("ended"))?;
    same(&ends_at, &to, || of("piece_to"))
}
