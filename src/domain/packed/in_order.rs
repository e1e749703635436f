//! The pieces of all rows of a month, in the order of time.

use super::{Event, Month, Row};
use crate::domain::audit::SpanRow;

/// No row.
const NONE: u32 = u32::MAX;

/// Gives the pieces of a month's rows in the order of their beginnings.
///
/// Each row waits at the instant at which its next piece begins, so that to go on takes the same time however many rows
/// there are, and no piece is there before it is wanted.
#[derive(Debug)]
pub struct InOrder {
    month: Month,
    rows: Vec<Row>,
    /// The place of each row's next event.
    places: Vec<u32>,
    /// The first row that waits at each instant, and which one waits beside each row.
    waiting: Vec<u32>,
    beside: Vec<u32>,
    instant: usize,
}

impl InOrder {
    /// All rows must be well-formed.
    #[must_use]
    pub fn new(month: Month, rows: Vec<Row>) -> Self {
        let waiting = vec![NONE; month.at.len() + 1];
        let (places, beside) = (vec![0; rows.len()], vec![NONE; rows.len()]);
        let mut pieces = Self { month, rows, places, waiting, beside, instant: 0 };
        // The last comes to stand before those that waited already.
        for row in (0..pieces.rows.len()).rev() {
            pieces.wait(row);
        }
        pieces
    }

    /// Has a row wait for its next piece; one that has no more waits no more.
    fn wait(&mut self, row: usize) {
        let Some(event) = self.rows[row].events.get(self.places[row] as usize) else { return };
        let instant = usize::try_from(Event(*event).instant()).ok();
        let Some(first) = instant.and_then(|instant| self.waiting.get_mut(instant)) else { return };
        self.beside[row] = std::mem::replace(first, u32::try_from(row).unwrap_or(NONE));
    }
}

impl Iterator for InOrder {
    type Item = SpanRow;

    fn next(&mut self) -> Option<SpanRow> {
        loop {
            let first = *self.waiting.get(self.instant)?;
            if first == NONE {
                self.instant += 1;
                continue;
            }
            let row = first as usize;
            self.waiting[self.instant] = self.beside[row];
            let place = self.places[row] as usize;
            self.places[row] += 1;
            let piece = self.month.piece(&self.rows[row], place);
            // Where none begins the next event is another instant's, or a beginning at this one.
            self.wait(row);
            if let Some(piece) = piece {
                return Some(piece.row);
            }
        }
    }
}
