//! Rows as a stream, in PostgreSQL's binary COPY: several times as fast as a query's rows, and never
//! more of them in memory than the queue holds.

use chrono::DateTime;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

use super::StoreError;
use crate::domain::Instant;

/// How many rows travel together, and how many such batches may wait.
const ROWS_AT_ONCE: usize = 512;
const BATCHES: usize = 3;
/// A part of the stream is looked at when it has this many bytes.
const ENOUGH: usize = 64 * 1024;
/// What every binary COPY begins with; eight bytes of flags follow, of which none is in use.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// 2000-01-01T00:00:00Z, where PostgreSQL counts from, in microseconds since 1970.
pub(super) const EPOCH: i64 = 946_684_800_000_000;
/// The first microsecond of the year 1 and the last of 9998, since 1970.
const OLDEST: i64 = -62_135_596_800_000_000;
const NEWEST: i64 = 253_370_764_799_999_999;

/// Reads a row out of its fields, in their order.
pub(super) type Decode<T> = fn(&mut Fields<'_>) -> Result<T, Malformed>;

/// What fails where nothing is said of what was read.
pub(super) const ATTEMPT: &str = "read the ledger's rows";

/// A row that is not what its statement asked for.
#[derive(Debug)]
pub(super) struct Malformed;

impl From<Malformed> for StoreError {
    fn from(_: Malformed) -> Self {
        Self::Inconsistent("a row is not as it was asked for".to_owned())
    }
}

/// One row.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields that stand in `bytes`, one after the other.
    pub(super) fn over(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether none is left.
    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left, as it came.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn next(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let (length, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        let length = i32::from_be_bytes(*length);
        self.rest = rest;
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let (field, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Some(field))
    }

    fn fixed<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Malformed> {
        self.next()?.map(|field| field.try_into().map_err(|_| Malformed)).transpose()
    }

    pub(super) fn maybe_i16(&mut self) -> Result<Option<i16>, Malformed> {
        Ok(self.fixed()?.map(i16::from_be_bytes))
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.maybe_i16()?.ok_or(Malformed)
    }

    pub(super) fn maybe_i32(&mut self) -> Result<Option<i32>, Malformed> {
        Ok(self.fixed()?.map(i32::from_be_bytes))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.maybe_i32()?.ok_or(Malformed)
    }

    /// An array of numbers. One of which packing writes none, with gaps or of another shape, comes out as a single number that
    /// is never written either.
    pub(super) fn maybe_i32s(&mut self) -> Result<Option<Vec<i32>>, Malformed> {
        let Some((is_plain, mut elements, length)) = self.array()? else { return Ok(None) };
        let mut all = Vec::with_capacity(length);
        while !elements.is_empty() {
            all.push(elements.maybe_i32()?);
        }
        let all = all.into_iter().collect::<Option<Vec<i32>>>().filter(|_| is_plain);
        Ok(Some(all.unwrap_or_else(|| vec![i32::MIN])))
    }

    /// An array of instants; of none of them it is said whether it is null.
    pub(super) fn instants(&mut self) -> Result<Vec<Instant>, Malformed> {
        let (_, mut elements, length) = self.array()?.ok_or(Malformed)?;
        let mut all = Vec::with_capacity(length);
        while !elements.is_empty() {
            all.push(elements.maybe_instant()?.unwrap_or_else(|| instant(i64::MIN)));
        }
        Ok(all)
    }

    /// An array of numbers of eight bytes.
    pub(super) fn maybe_i64s(&mut self) -> Result<Option<Vec<Option<i64>>>, Malformed> {
        let Some((_, mut elements, length)) = self.array()? else { return Ok(None) };
        let mut all = Vec::with_capacity(length);
        while !elements.is_empty() {
            all.push(elements.maybe_i64()?);
        }
        Ok(Some(all))
    }

    /// Of an array: whether it counts from 1 in one dimension, its elements, and how many there are.
    fn array(&mut self) -> Result<Option<(bool, Fields<'a>, usize)>, Malformed> {
        let Some(mut bytes) = self.next()? else { return Ok(None) };
        let mut word = || {
            let (word, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
            bytes = rest;
            Ok(i32::from_be_bytes(*word))
        };
        let (dimensions, _has_nulls, _kind) = (word()?, word()?, word()?);
        let (mut is_plain, mut length) = (dimensions <= 1, usize::from(dimensions > 0));
        for _ in 0..dimensions {
            let (elements, first) = (word()?, word()?);
            is_plain &= first == 1;
            length = length.saturating_mul(usize::try_from(elements).map_err(|_| Malformed)?);
        }
        // No more than there are bytes for, whatever it says.
        let length = length.min(bytes.len() / 4);
        Ok(Some((is_plain, Fields::over(bytes), length)))
    }

    pub(super) fn maybe_i64(&mut self) -> Result<Option<i64>, Malformed> {
        Ok(self.fixed()?.map(i64::from_be_bytes))
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.maybe_i64()?.ok_or(Malformed)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.fixed::<1>()?.ok_or(Malformed)? != [0])
    }

    pub(super) fn maybe_instant(&mut self) -> Result<Option<Instant>, Malformed> {
        Ok(self.maybe_i64()?.map(instant))
    }

    pub(super) fn instant(&mut self) -> Result<Instant, Malformed> {
        self.maybe_instant()?.ok_or(Malformed)
    }

    pub(super) fn maybe_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        self.next()
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        self.next()?.ok_or(Malformed)
    }

    pub(super) fn maybe_text(&mut self) -> Result<Option<&'a str>, Malformed> {
        self.next()?.map(|text| std::str::from_utf8(text).map_err(|_| Malformed)).transpose()
    }
}

/// PostgreSQL's instant. What no snapshot can have, `infinity` among it, is cut off at the years 1 and
/// 9998: wrong either way, and calendars can be asked about it.
fn instant(micros: i64) -> Instant {
    DateTime::from_timestamp_micros(micros.saturating_add(EPOCH).clamp(OLDEST, NEWEST))
        .expect("these years are in range")
}

/// Where the rows of several statements come out, one statement after the other.
#[derive(Debug)]
pub(super) struct Rows<T> {
    queues: std::vec::IntoIter<mpsc::Receiver<Result<Vec<T>, StoreError>>>,
    queue: Option<mpsc::Receiver<Result<Vec<T>, StoreError>>>,
    batch: std::vec::IntoIter<T>,
    next: Option<T>,
}

impl<T: Send + 'static> Rows<T> {
    /// Starts reading `statements`, dealt out to the connections given, each of which reads its own one
    /// after the other. Must be called within a runtime.
    pub(super) fn read(
        connections: Vec<PgConnection>,
        statements: Vec<String>,
        decode: Decode<T>,
    ) -> Self {
        let mut shares: Vec<Vec<_>> = connections.iter().map(|_| Vec::new()).collect();
        let mut queues = Vec::with_capacity(statements.len());
        let number = shares.len().max(1);
        for (at, statement) in statements.into_iter().enumerate() {
            let (sender, receiver) = mpsc::channel(BATCHES);
            if let Some(share) = shares.get_mut(at % number) {
                share.push((statement, sender));
            }
            queues.push(receiver);
        }
        for (mut connection, share) in connections.into_iter().zip(shares) {
            tokio::spawn(async move {
                for (statement, sender) in share {
                    let sent = send(&mut connection, &statement, decode, &sender).await;
                    if let Err(error) = sent {
                        // Nobody listens any more: then there is nobody to tell either.
                        let _ = sender.send(Err(error)).await;
                        return;
                    }
                    if sender.is_closed() {
                        return;
                    }
                }
            });
        }
        Self { queues: queues.into_iter(), queue: None, batch: Vec::new().into_iter(), next: None }
    }

    /// The next row; `None`: there is none. Blocks.
    pub(super) fn peek(&mut self) -> Result<Option<&T>, StoreError> {
        while self.next.is_none() {
            self.next = self.batch.next();
            if self.next.is_some() {
                break;
            }
            let Some(queue) = &mut self.queue else {
                self.queue = self.queues.next();
                if self.queue.is_none() {
                    return Ok(None);
                }
                continue;
            };
            match queue.blocking_recv() {
                Some(batch) => self.batch = batch?.into_iter(),
                None => self.queue = None,
            }
        }
        Ok(self.next.as_ref())
    }

    /// The next row, taken.
    pub(super) fn take(&mut self) -> Result<Option<T>, StoreError> {
        self.peek()?;
        Ok(self.next.take())
    }

    /// The next row, taken, if it is one of those wanted.
    pub(super) fn take_if(
        &mut self,
        is_wanted: impl FnOnce(&T) -> bool,
    ) -> Result<Option<T>, StoreError> {
        match self.peek()? {
            Some(row) if is_wanted(row) => Ok(self.next.take()),
            _ => Ok(None),
        }
    }
}

/// All rows of a statement that gives few.
pub(super) async fn all<T>(
    connection: &mut PgConnection,
    statement: &str,
    decode: Decode<T>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = Vec::new();
    each(connection, statement, ATTEMPT, |row| {
        rows.push(decode(row)?);
        Ok(())
    })
    .await?;
    Ok(rows)
}

/// Gives each row of a statement to `take`, and keeps none; what fails, fails to `attempt`.
pub(super) async fn each(
    connection: &mut PgConnection,
    statement: &str,
    attempt: &'static str,
    mut take: impl FnMut(&mut Fields<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut parts = Parts::of(connection, statement, attempt).await?;
    while parts.more().await? {
        while let Some(mut row) = parts.row() {
            take(&mut row)?;
        }
    }
    Ok(())
}

/// Sends what a statement gives; ends early, without an error, when nobody listens.
async fn send<T>(
    connection: &mut PgConnection,
    statement: &str,
    decode: Decode<T>,
    sender: &mpsc::Sender<Result<Vec<T>, StoreError>>,
) -> Result<(), StoreError> {
    let mut rows = Vec::with_capacity(ROWS_AT_ONCE);
    let mut parts = Parts::of(connection, statement, ATTEMPT).await?;
    while parts.more().await? {
        while let Some(mut row) = parts.row() {
            rows.push(decode(&mut row)?);
            if rows.len() == ROWS_AT_ONCE {
                let full = std::mem::replace(&mut rows, Vec::with_capacity(ROWS_AT_ONCE));
                if sender.send(Ok(full)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    // Whoever does not listen any more needs no rest.
    let _ = sender.send(Ok(rows)).await;
    Ok(())
}

/// What a statement gives, a part at a time.
struct Parts<'c> {
    stream: BoxStream<'c, sqlx::Result<Bytes>>,
    attempt: &'static str,
    bytes: Vec<u8>,
    /// Where the first row begins that was not taken.
    at: usize,
    has_begun: bool,
    is_last: bool,
}

impl<'c> Parts<'c> {
    async fn of(
        connection: &'c mut PgConnection,
        statement: &str,
        attempt: &'static str,
    ) -> Result<Self, StoreError> {
        let copy = format!("copy ({statement}) to stdout (format binary)");
        let stream =
            connection.copy_out_raw(&copy).await.map_err(StoreError::while_trying(attempt))?;
        let (bytes, at) = (Vec::with_capacity(ENOUGH), 0);
        Ok(Self { stream, attempt, bytes, at, has_begun: false, is_last: false })
    }

    /// Waits until there are more rows to be taken; `false`: all were given.
    async fn more(&mut self) -> Result<bool, StoreError> {
        if self.is_last {
            return Ok(false);
        }
        self.bytes.drain(..self.at);
        self.at = 0;
        while self.bytes.len() < ENOUGH && !self.is_last {
            let part = self.stream.try_next().await;
            match part.map_err(StoreError::while_trying(self.attempt))? {
                Some(part) => self.bytes.extend_from_slice(&part),
                None => self.is_last = true,
            }
        }
        if !self.has_begun {
            let header = SIGNATURE.len() + 8;
            if !self.bytes.starts_with(SIGNATURE) || self.bytes.len() < header {
                return Err(Malformed.into());
            }
            (self.at, self.has_begun) = (header, true);
        }
        Ok(true)
    }

    /// The next row, if it is there as a whole.
    fn row(&mut self) -> Option<Fields<'_>> {
        let (row, after) = split(self.bytes.get(self.at..)?)?;
        self.at = self.bytes.len() - after.len();
        Some(Fields::over(row))
    }
}

/// The first row of the bytes, and what comes after it; `None`: it is not there as a whole, or the end.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (fields, all) = bytes.split_first_chunk()?;
    let fields = i16::from_be_bytes(*fields);
    if fields < 0 {
        return None;
    }
    let mut rest = all;
    for _ in 0..fields {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        rest = after.get(length..)?;
    }
    Some((&all[..all.len() - rest.len()], rest))
}
