//! The sums beside a row's events, worked out as `migrations/0016_sums.sql` says.

use super::{MONTH_BEGINS, Month, Piece, Row};
use crate::domain::Instant;
use crate::domain::beliefs::{CONNECTED, DISCONNECTED, ended};

/// What `packed` says beside the events, under the names of its columns; times are microseconds.
#[expect(missing_docs, reason = "the migration says what each of its columns is")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub observed: Option<i64>,
    pub connected: Option<i64>,
    pub less: Option<i64>,
    pub more: Option<i64>,
    pub last_connected: Option<Instant>,
    pub stretches: Option<i32>,
    pub disconnected: Option<i64>,
    pub longest: Option<i64>,
    pub last_disconnected: Option<Instant>,
    pub loose: Option<Vec<i32>>,
    pub breaks: Option<Vec<i32>>,
    pub closest: Option<i64>,
    pub edges: Option<Vec<i32>>,
}

fn micros(from: Instant, to: Instant) -> i64 {
    (to - from).num_microseconds().unwrap_or(i64::MAX)
}

/// Adds to a list that is not there as long as nothing is in it.
fn push(list: &mut Option<Vec<i32>>, nth: i32) {
    list.get_or_insert_default().push(nth);
}

impl Month {
    /// The sums of a row.
    #[must_use]
    pub fn sums(&self, row: &Row) -> Sums {
        let (mut observed, mut connected, mut less, mut more) = (0, 0, 0, Some(0));
        let (mut stretches, mut disconnected) = (0, 0);
        let mut disconnects: Vec<(i32, Instant)> = Vec::new();
        let mut sums = Sums::default();
        for piece in self.unpack(row) {
            let held = micros(piece.from, piece.to);
            observed += held;
            let is_loose = self.is_loose(&piece);
            if is_loose {
                push(&mut sums.loose, piece.nth);
            }
            if [ended::UNKNOWN, ended::ABSENT].contains(&piece.ended) {
                push(&mut sums.breaks, piece.nth);
            }
            if piece.is_disconnect() {
                if let [.., (_, third_last), _] = disconnects[..] {
                    let apart = micros(third_last, piece.from);
                    sums.closest = Some(sums.closest.map_or(apart, |least| least.min(apart)));
                }
                disconnects.push((piece.nth, piece.from));
            }
            match piece.row.status {
                CONNECTED => {
                    connected += held;
                    sums.last_connected = sums.last_connected.max(Some(piece.last_seen));
                    if piece.is_last_of_connection() && piece.from < piece.to && !is_loose {
                        less += held - self.certain(&piece);
                        more = more.zip(self.doubtful(&piece)).map(|(all, more)| all + more);
                    }
                }
                DISCONNECTED if piece.from < piece.to => {
                    sums.last_disconnected = sums.last_disconnected.max(Some(piece.from));
                    if !is_loose {
                        stretches += 1;
                        disconnected += held;
                        sums.longest = sums.longest.max(Some(held));
                    }
                }
                _ => {}
            }
        }
        let nths: Vec<i32> = disconnects.iter().map(|(nth, _)| *nth).collect();
        let (first, others) = nths.split_at(nths.len().min(2));
        let edges = [first, &others[others.len().saturating_sub(2)..]].concat();
        Sums {
            observed: Some(observed),
            connected: Some(connected),
            less: Some(less),
            more,
            stretches: Some(stretches),
            disconnected: Some(disconnected),
            edges: (!edges.is_empty()).then_some(edges),
            ..sums
        }
    }

    /// For how long a connection lasted at least.
    fn certain(&self, piece: &Piece) -> i64 {
        let started_by = self.finished(piece.begins);
        started_by.map_or(0, |started_by| micros(started_by, piece.last_seen).max(0))
    }

    /// For how much longer than it was held a connection may have lasted; `None`: nobody knows.
    fn doubtful(&self, piece: &Piece) -> Option<i64> {
        let before = micros(piece.row.started_after?, piece.from);
        Some(before + micros(piece.to, self.ended_by(piece)?))
    }

    /// When the visit that ended it was over.
    fn ended_by(&self, piece: &Piece) -> Option<Instant> {
        if piece.ended == ended::UNKNOWN { None } else { self.finished(piece.ends) }
    }

    /// Whether what the piece is part of may reach into other months or rows.
    fn is_loose(&self, piece: &Piece) -> bool {
        match piece.row.status {
            CONNECTED => {
                let is_heard_of_later = || self.ended_by(piece) > self.at.last().copied();
                piece.is_last_of_connection()
                    && (piece.begins <= MONTH_BEGINS + 1 || is_heard_of_later())
            }
            DISCONNECTED => {
                let stands_alone =
                    piece.is_disconnect() && ![DISCONNECTED, ended::CUT].contains(&piece.ended);
                piece.from < piece.to && !stands_alone
            }
            _ => false,
        }
    }
}

impl Piece {
    fn is_last_of_connection(&self) -> bool {
        ![ended::CUT, ended::CONTINUES].contains(&self.ended)
    }

    /// Whether it begins with a disconnect.
    fn is_disconnect(&self) -> bool {
        self.row.first_seen.is_none() && self.row.disconnected_at == Some(self.from)
    }
}
