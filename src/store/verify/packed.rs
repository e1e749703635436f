//! Packed months, read as they are stored, the next one while one is checked; and held against what SQL unpacks.
//!
//! The check has its pieces from here, not from SQL: a month in a twentieth of the bytes, already in order, without a sort.
//! So SQL's reading, which reports go through, would be trusted by nobody. Therefore it is asked for every piece, too, in
//! whatever order comes easiest; that both read the same is told by one number of each month.

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::super::StoreError;
use super::super::copy::{self, Fields};
use super::super::source::SourceId;
use super::statements as stored;
use crate::domain::Instant;
use crate::domain::audit::{End, SpanRow, Wrong};
use crate::domain::beliefs::DesktopNo;
use crate::domain::packed::{InOrder, Sums};

/// All pieces of a month, told by their number and the sum of their hashes: the same ones give the same in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pieces: u64,
    hashes: u64,
}

impl Mark {
    fn add(&mut self, hash: u64) {
        self.pieces += 1;
        self.hashes = self.hashes.wrapping_add(hash);
    }
}

/// A month of a source.
#[derive(Debug)]
pub(super) struct PackedMonth {
    pub(super) from: Instant,
    pub(super) mark: Mark,
    pub(super) pieces: InOrder,
    /// What packing cannot have written: then nothing in it can be relied on.
    pub(super) malformed: Option<Wrong>,
    /// A sum that is another than the events say.
    pub(super) wrong_sum: Option<Wrong>,
}

/// Where the pieces of packed months come out, in the order of time.
#[derive(Debug)]
pub(super) struct PackedPieces {
    months: mpsc::Receiver<Result<PackedMonth, StoreError>>,
    pieces: Option<InOrder>,
    next: Option<SpanRow>,
}

impl PackedPieces {
    /// Starts reading months. Must be called within a runtime.
    pub(super) fn read(
        connection: Option<PgConnection>,
        source: SourceId,
        months: Vec<Instant>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        if let Some(mut connection) = connection {
            tokio::spawn(async move {
                for month in months {
                    // Not before it is wanted: two months are in memory, the one that is checked and the next.
                    let Ok(place) = sender.reserve().await else { return };
                    let read = read(&mut connection, source, month).await;
                    let is_last = read.is_err();
                    place.send(read);
                    if is_last {
                        return;
                    }
                }
            });
        }
        Self { months: receiver, pieces: None, next: None }
    }

    /// The next piece; `None`: there is none. What is to be known of a month that begins is given to `begins`. Blocks.
    pub(super) fn peek(
        &mut self,
        mut begins: impl FnMut(PackedMonth) -> InOrder,
    ) -> Result<Option<&SpanRow>, StoreError> {
        while self.next.is_none() {
            self.next = self.pieces.as_mut().and_then(Iterator::next);
            if self.next.is_none() {
                // Before the next one is there, this one goes.
                self.pieces = None;
                let Some(month) = self.months.blocking_recv() else { return Ok(None) };
                self.pieces = Some(begins(month?));
            }
        }
        Ok(self.next.as_ref())
    }

    /// All months that are left, of which no piece is wanted.
    pub(super) fn drain(
        &mut self,
        mut begins: impl FnMut(PackedMonth) -> InOrder,
    ) -> Result<(), StoreError> {
        while let Some(month) = self.months.blocking_recv() {
            begins(month?);
        }
        Ok(())
    }

    /// The piece that was seen last.
    pub(super) fn take(&mut self) -> Option<SpanRow> {
        self.next.take()
    }
}

/// The months of which something is packed, oldest first.
pub(super) async fn months(
    connection: &mut PgConnection,
    source: SourceId,
) -> Result<Vec<Instant>, StoreError> {
    copy::all(connection, &stored::packed_months(source), |row| row.instant()).await
}

async fn read(
    connection: &mut PgConnection,
    source: SourceId,
    from: Instant,
) -> Result<PackedMonth, StoreError> {
    let found =
        copy::all(connection, &stored::packed_month(source, from), stored::instants).await?;
    // Without it, no row can be as it should.
    let (month, is_whole, is_part) = found.into_iter().next().unwrap_or_default();
    let (mut mark, mut malformed, mut wrong_sum) = (Mark::default(), None, None);
    let (mut rows, mut bytes) = (Vec::new(), Vec::new());
    let wrong = |what: String| {
        let what = format!("{what} in {}", from.format("%Y-%m"));
        Wrong::new(what, "as packing writes it", "otherwise")
    };
    let take = |fields: &mut Fields<'_>| {
        let (row, sums) = stored::packed_row(fields)?;
        if !month.is_well_formed(&row) {
            let what = || wrong(format!("`packed` of desktop number {}", row.desktop));
            malformed.get_or_insert_with(what);
            return Ok(());
        }
        let all = month.sums(&row);
        let right = match &sums {
            sums if is_whole || sums.observed.is_some() => all,
            // Sums are of whole months. Of one that lasts what breaks off is known, and of one that an early version packed nothing.
            sums => Sums {
                breaks: (is_part || sums.breaks.is_some()).then(|| all.breaks.unwrap_or_default()),
                ..Sums::default()
            },
        };
        if right != sums {
            let what = || wrong(format!("a sum in `packed` of desktop number {}", row.desktop));
            wrong_sum.get_or_insert_with(what);
        }
        for piece in month.pieces(&row) {
            bytes.clear();
            write(&piece, &mut bytes);
            mark.add(hash(&bytes));
        }
        rows.push(row);
        Ok(())
    };
    copy::each(connection, &stored::packed(source, from), copy::ATTEMPT, take).await?;
    Ok(PackedMonth { from, mark, pieces: InOrder::new(month, rows), malformed, wrong_sum })
}

/// What SQL makes of a month.
#[derive(Clone, Copy, Debug)]
pub(super) struct BySql {
    pub(super) mark: Mark,
    /// A desktop of which it sums up something else than is stored.
    pub(super) summed_otherwise: Option<DesktopNo>,
}

/// Starts to read what SQL makes of each month.
pub(super) fn by_sql(
    mut connection: PgConnection,
    source: SourceId,
    months: Vec<Instant>,
) -> AbortOnDropHandle<Result<Vec<BySql>, StoreError>> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut all = Vec::with_capacity(months.len());
        for month in months {
            let mut mark = Mark::default();
            let statement = stored::unpacked(source, month);
            copy::each(&mut connection, &statement, copy::ATTEMPT, |row| {
                mark.add(hash(row.rest()));
                Ok(())
            })
            .await?;
            let statement = stored::summed_otherwise(source, month);
            let odd = copy::all(&mut connection, &statement, |row| row.i32()).await?;
            all.push(BySql { mark, summed_otherwise: odd.first().copied() });
        }
        Ok(all)
    }))
}

fn hash(bytes: &[u8]) -> u64 {
    // The seeds need not be secret: nobody gains by two pieces that are taken for each other.
    FixedState::default().hash_one(bytes)
}

/// A piece, as [`stored::unpacked`] has it come.
fn write(piece: &SpanRow, bytes: &mut Vec<u8>) {
    let mut field = |value: Option<&[u8]>| {
        let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(value.unwrap_or_default());
    };
    let instant = |at: Instant| (at.timestamp_micros() - copy::EPOCH).to_be_bytes();
    field(Some(&piece.desktop.to_be_bytes()));
    field(Some(&piece.label.to_be_bytes()));
    field(Some(&piece.status.to_be_bytes()));
    field(Some(&instant(piece.from)));
    for at in [piece.first_seen, piece.started_after, piece.disconnected_at] {
        field(at.map(instant).as_ref().map(|bytes| &bytes[..]));
    }
    if let End::Filed { to, last_seen, ended } = piece.end {
        field(Some(&instant(to)));
        field(Some(&instant(last_seen)));
        field(Some(&ended.to_be_bytes()));
    }
}
