//! The counters of groups: where they begin, go on into another month, and end.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::desktops::Now;
use super::names::Names;
use super::rows::{GroupEnd, GroupRow};
use super::{Shown, Wrong, same};
use crate::domain::Instant;
use crate::domain::beliefs::{GroupNo, Mark};
use crate::domain::digest::Body;
use crate::domain::months::next_month;
use crate::domain::retell::Standing;

/// What the rows say of the groups, as far as they are read.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: Vec<Group>,
    present: usize,
    /// The pieces by their last observation: the group, and where its piece begins.
    ends: BTreeMap<Instant, Vec<(GroupNo, Instant)>>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    open: Option<GroupRow>,
    begun_in: i64,
    /// Its piece is of a month that is pruned, which ended then.
    pruned_until: Option<Instant>,
}

impl Groups {
    pub(super) fn new(names: &Names) -> Self {
        Self { all: vec![Group::default(); names.groups()], ..Self::default() }
    }

    /// What stood at the end of a pruned month, after which `read` were the newest statistics.
    pub(super) fn stand_at(&mut self, names: &Names, standing: &Standing, read: Option<Mark>) {
        *self = Self::new(names);
        let (at, Some(read)) = (standing.at, read) else { return };
        for (no, open) in &standing.groups {
            let goes_on = open.from == at;
            let row = GroupRow {
                group: *no,
                from: if goes_on { at - TimeDelta::microseconds(1) } else { open.from },
                is_continued: open.is_continued,
                counters: open.counters,
                end: Some(GroupEnd { to: if goes_on { at } else { read.at }, last_seen: read.at }),
            };
            if self.replace(row).is_ok()
                && let Ok(group) = self.group(*no)
            {
                group.pruned_until = Some(at);
                self.present += 1;
            }
        }
    }

    /// The groups that the statistics name.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    /// Pieces that begin where a month does, for counters that go on.
    pub(super) fn go_on(&mut self, row: GroupRow) -> Result<(), Wrong> {
        let of = |column: &str| format!("`{column}` of {}", piece(&row));
        check_piece(&row)?;
        let Group { open: before, pruned_until, .. } = *self.group(row.group)?;
        let Some((before, end)) = before.and_then(|open| Some((open, open.end?))) else {
            return Err(Wrong::new(of("is_continued"), "a piece before it", "none"));
        };
        same(&end.to, &row.from, || of("from_at"))?;
        same(&next_month(before.from), &row.from, || of("is_continued"))?;
        check_counters(&before, &row)?;
        let limit = end.to - TimeDelta::microseconds(1);
        let expected = row.end.map_or(limit, |next| next.last_seen.min(limit));
        if pruned_until.is_none() {
            same(&expected, &end.last_seen, || {
                format!("`last_seen` of {}, which goes on", piece(&before))
            })?;
        }
        self.replace(row)
    }

    /// What the statistics of this snapshot changed, into its body.
    pub(super) fn read(
        &mut self,
        names: &mut Names,
        before: Option<Mark>,
        now: Now,
        mut begun: Vec<GroupRow>,
        body: &mut Body,
    ) -> Result<(), Wrong> {
        let is_known = before.is_some_and(|mark| mark.holds_until(&now.mark));
        begun.sort_by_key(|row| row.group);
        for row in begun {
            let of = |column: &str| format!("`{column}` of {}", piece(&row));
            check_piece(&row)?;
            same(&now.mark.at, &row.from, || of("from_at"))?;
            if row.end.is_some_and(|end| end.last_seen < row.from) {
                return Err(Wrong::new(of("last_seen"), "an instant in it", "one before it"));
            }
            let (name, ordinal) = names.group(row.group)?;
            let group = self.group(row.group)?;
            if group.begun_in == now.sequence {
                return Err(Wrong::new(piece(&row), "one row", "two that begin here"));
            }
            if let Some(open) = group.open {
                if is_known && open.counters == row.counters {
                    return Err(Wrong::new(piece(&row), "other counters than before", "the same"));
                }
                check_end(&open, group.pruned_until, before, now, is_known)?;
            } else {
                self.present += 1;
            }
            self.replace(row)?;
            self.group(row.group)?.begun_in = now.sequence;
            body.group_begins(name.as_deref(), ordinal, &row.counters);
        }
        let mut gone = Vec::new();
        while let Some(first) = self.ends.first_entry().filter(|entry| *entry.key() < now.mark.at) {
            let (_, pieces) = first.remove_entry();
            for (no, from) in pieces {
                let group = self.group(no)?;
                let Some(open) = group.open.filter(|open| open.from == from) else { continue };
                if group.begun_in == now.sequence {
                    continue;
                }
                check_end(&open, group.pruned_until, before, now, is_known)?;
                group.open = None;
                self.present -= 1;
                gone.push(no);
            }
        }
        gone.sort_unstable();
        for no in gone {
            let (name, ordinal) = names.group(no)?;
            body.group_gone(name.as_deref(), ordinal);
        }
        Ok(())
    }

    /// After the last snapshot: what is open is what `open_group_span` holds.
    pub(super) fn finish(&self) -> Result<(), Wrong> {
        match self.all.iter().filter_map(|group| group.open).find(|open| open.end.is_some()) {
            None => Ok(()),
            Some(open) => Err(Wrong::new(
                piece(&open),
                "what follows it",
                "neither other counters, nor statistics without the group",
            )),
        }
    }

    fn replace(&mut self, row: GroupRow) -> Result<(), Wrong> {
        if let Some(end) = row.end {
            self.ends.entry(end.last_seen).or_default().push((row.group, row.from));
        }
        let group = self.group(row.group)?;
        (group.open, group.pruned_until) = (Some(row), None);
        Ok(())
    }

    fn group(&mut self, no: GroupNo) -> Result<&mut Group, Wrong> {
        usize::try_from(i64::from(no) - 1).ok().and_then(|at| self.all.get_mut(at)).ok_or_else(
            || Wrong::new(format!("a row of group number {no}"), "a registered group", "none"),
        )
    }
}

fn piece(row: &GroupRow) -> String {
    let table = if row.end.is_some() { "group_span" } else { "open_group_span" };
    format!("the row of `{table}` of group number {} from {}", row.group, row.from.shown())
}

fn check_piece(row: &GroupRow) -> Result<(), Wrong> {
    match row.end {
        Some(GroupEnd { to, .. }) if to > next_month(row.from) || to < row.from => Err(Wrong::new(
            format!("`to_at` of {}", piece(row)),
            "an instant in the month of the piece",
            to.shown(),
        )),
        _ => Ok(()),
    }
}

fn check_counters(before: &GroupRow, row: &GroupRow) -> Result<(), Wrong> {
    let columns = crate::domain::COUNTERS.iter().zip(&before.counters).zip(&row.counters);
    for ((column, before), counter) in columns {
        same(before, counter, || format!("`{column}` of {}", piece(row)))?;
    }
    Ok(())
}

fn check_end(
    open: &GroupRow,
    pruned_until: Option<Instant>,
    before: Option<Mark>,
    now: Now,
    is_known: bool,
) -> Result<(), Wrong> {
    let of = |column: &str| format!("`{column}` of {}", piece(open));
    let (Some(end), Some(before)) = (open.end, before) else {
        return Err(Wrong::new(
            piece(open),
            format!("counters that go on after {}", now.mark.at.shown()),
            "some that end there",
        ));
    };
    let ends_at = if is_known { now.mark.at } else { before.at };
    // What went on beyond the pruned month has a piece behind it, which took its place.
    if pruned_until.is_some_and(|until| ends_at <= until && end.to != until) {
        return Ok(());
    }
    same(&before.at, &end.last_seen, || of("last_seen"))?;
    same(&ends_at, &end.to, || of("to_at"))
}
