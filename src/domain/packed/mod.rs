//! What is packed, read back: what an event says, as `migrations/0015_packed.sql` states it for SQL, stated once more.
//!
//! A second reading, so that neither is trusted alone: reports go through SQL's, checking goes through this one, and
//! whatever one of them gets wrong is found by the other.

mod in_order;
mod sums;
#[cfg(test)]
mod tests;

pub use in_order::InOrder;
pub use sums::Sums;

use super::Instant;
use super::audit::{End, SpanRow};
use super::beliefs::{DesktopNo, LabelNo, StatusId, ended};

/// The instants of a packed month, of which events know the number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Month {
    /// `packed_month.at`.
    pub at: Vec<Instant>,
    /// When the visits at these instants were over; of what is no visit of the month, long before or long after.
    pub finished: Vec<Instant>,
}

/// A row of `packed`: the spans of a desktop with one label in a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose they are.
    pub desktop: DesktopNo,
    /// Name and assignment.
    pub label: LabelNo,
    /// Of the span that goes on from the month before.
    pub first_seen: Option<Instant>,
    /// Of the same.
    pub started_after: Option<Instant>,
    /// A disconnect that none of the events is.
    pub disconnected_at: Option<Instant>,
    /// What happened when.
    pub events: Box<[i32]>,
}

/// Where a month begins, in [`Month::at`].
const MONTH_BEGINS: i32 = 2;
/// The first visit of a month.
const FIRST_VISIT: i32 = 3;
/// The disconnect is in the row, and no event.
const IN_THE_ROW: usize = 127;
/// What shares the instant of the last observation, as [`ended::UNKNOWN`] does.
const ENDED_UNKNOWN: i32 = 63;
/// What [`ended::CUT`] is written as; the codes and statuses above it follow.
const ENDED_CUT: i32 = 32;
/// What [`ended::UNKNOWN`] would be among them.
const NEVER_WRITTEN: i32 = 33;

/// What happened at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event(i32);

impl Event {
    /// Where in [`Month::at`], from 1.
    fn instant(self) -> i32 {
        self.0 >> 14
    }

    fn what(self) -> i32 {
        (self.0 >> 8) & 63
    }

    /// Whether a span begins; else none does.
    fn is_beginning(self) -> bool {
        self.what() < ENDED_CUT
    }

    fn has_none_before(self) -> bool {
        self.0 & 128 != 0
    }

    fn disconnect(self) -> usize {
        usize::try_from(self.0 & 127).unwrap_or(0)
    }

    fn goes_on(self) -> bool {
        self.instant() == MONTH_BEGINS
    }

    /// How the span that was there ended.
    fn ended(self) -> StatusId {
        let code = match self.what() {
            what if what < ENDED_CUT => what,
            ENDED_UNKNOWN => return ended::UNKNOWN,
            what => what - ENDED_CUT + i32::from(ended::CUT),
        };
        StatusId::try_from(code).unwrap_or(ended::UNKNOWN)
    }
}

/// Whether each event that speaks of a disconnect of its row speaks of the newest.
fn refers_to_the_newest(events: &[i32]) -> bool {
    let mut newest = None;
    events.iter().enumerate().all(|(place, event)| match Event(*event).disconnect() {
        0 | IN_THE_ROW => true,
        1 => {
            newest = Some(place);
            true
        }
        back => newest.is_some_and(|newest| newest + back == place + 1),
    })
}

/// A piece of a span, unpacked.
#[derive(Clone, Copy, Debug)]
struct Piece {
    row: SpanRow,
    /// The number of the event at which it begins, from 1.
    nth: i32,
    from: Instant,
    to: Instant,
    last_seen: Instant,
    ended: StatusId,
    /// The numbers of the instants at which it begins and is over.
    begins: i32,
    ends: i32,
}

impl Month {
    fn at(&self, nth: i32) -> Option<Instant> {
        self.at.get(usize::try_from(nth).ok()?.checked_sub(1)?).copied()
    }

    fn finished(&self, nth: i32) -> Option<Instant> {
        self.finished.get(usize::try_from(nth).ok()?.checked_sub(1)?).copied()
    }

    fn instants(&self) -> i32 {
        i32::try_from(self.at.len()).unwrap_or(i32::MAX)
    }

    /// The instant before a visit at which someone looked, or from which nobody knows better.
    fn before(&self, visit: i32) -> Option<Instant> {
        // Before the first visit stands where the month begins, when nobody looked.
        self.at(visit - if visit == FIRST_VISIT { 2 } else { 1 })
    }

    /// Whether packing could have written the row: else nothing that it says can be relied on.
    #[must_use]
    pub fn is_well_formed(&self, row: &Row) -> bool {
        let (Some(first), Some(last)) = (row.events.first(), row.events.last()) else {
            return false;
        };
        let first = Event(*first);
        let follows = |pair: &[i32]| {
            let &[one, next] = pair else { return false };
            one < next && (Event(one).is_beginning() || Event(next).is_beginning())
        };
        let refers = |event: Event| event.is_beginning() && event.disconnect() == IN_THE_ROW;
        first.is_beginning()
            && !Event(*last).is_beginning()
            && row.events.windows(2).all(follows)
            && row.events.iter().all(|event| self.knows(Event(*event)))
            && refers_to_the_newest(&row.events)
            && first.goes_on() == row.first_seen.is_some()
            && (first.goes_on() || row.started_after.is_none())
            && row.events.iter().any(|event| refers(Event(*event))) == row.disconnected_at.is_some()
    }

    /// Whether an event by itself says something that there is.
    fn knows(&self, event: Event) -> bool {
        let newest_visit = self.instants() - 2;
        let instant = event.instant();
        let is_at_visit = (FIRST_VISIT..=newest_visit).contains(&instant);
        if event.is_beginning() {
            is_at_visit || event.goes_on() && !event.has_none_before()
        } else {
            let is_there =
                if event.ended() == ended::CUT { instant == self.instants() } else { is_at_visit };
            is_there && event.what() != NEVER_WRITTEN && event.0 & 255 == 0
        }
    }

    /// The piece that begins with the event of this place, from 0; `None`: none does.
    fn piece(&self, row: &Row, place: usize) -> Option<Piece> {
        let begun = Event(*row.events.get(place)?);
        let over = Event(*row.events.get(place + 1)?);
        if !begun.is_beginning() {
            return None;
        }
        let (begins, ends) = (begun.instant(), over.instant());
        let ended = over.ended();
        let last_seen =
            if over.what() == ENDED_UNKNOWN { self.at(ends) } else { self.before(ends) };
        let (from, to, last_seen) = (self.at(begins)?, self.at(ends)?, last_seen?);
        let started_after = match begun {
            _ if begun.goes_on() => row.started_after,
            _ if begun.has_none_before() => None,
            _ => self.before(begins),
        };
        let disconnected_at = match begun.disconnect() {
            0 => None,
            IN_THE_ROW => row.disconnected_at,
            back => {
                let event = row.events.get((place + 1).checked_sub(back)?)?;
                self.at(Event(*event).instant())
            }
        };
        let piece = SpanRow {
            desktop: row.desktop,
            label: row.label,
            status: StatusId::try_from(begun.what()).ok()?,
            from,
            first_seen: if begun.goes_on() { row.first_seen } else { None },
            started_after,
            // Whose connection began under another label is not packed.
            connection_first_seen: None,
            connection_started_after: None,
            disconnected_at,
            end: End::Filed { to, last_seen, ended },
        };
        let nth = i32::try_from(place).ok()? + 1;
        Some(Piece { row: piece, nth, from, to, last_seen, ended, begins, ends })
    }

    /// The pieces of spans in a row, in the order of time.
    pub fn pieces<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = SpanRow> + 'a {
        self.unpack(row).map(|piece| piece.row)
    }

    fn unpack<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = Piece> + 'a {
        (0..row.events.len()).filter_map(|place| self.piece(row, place))
    }
}
