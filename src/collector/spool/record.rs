//! One snapshot on disk: a head that says what follows, and a line of the exchange format, compressed.
//!
//! ```text
//!  0  magic `DLS1`
//!  4  compressed length     u32, little-endian, as all numbers
//!  8  uncompressed length   u32
//! 12  kind                  u32: 0 whole, 1 nothing in it to drop, 2 dropped
//! 16  observed_at           i64, microseconds since 1970
//! 24  crc32 of bytes 0 to 24 and of the payload
//! 28  crc32 of bytes 0 to 28
//! 32  payload: one zstd frame
//! ```
//!
//! The head has a sum of its own because its lengths say where the next record begins: were they wrong and
//! unnoticed, a rotten byte in the middle of a segment would look like a write that was cut short at its end.
//! `observed_at` and the kind stand in it so that counting what waits needs no decompression.
//!
//! Consecutive snapshots share most of their bytes. So a line is compressed with the line before it as zstd's
//! *prefix*: what was said there is said here by a reference of a few bytes. Lines much shorter than the one before
//! them are passed over ([`is_prefix`]): a visit that failed says nothing that the next could refer to.

use std::io;

use chrono::DateTime;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_error_name};

use super::SpoolError;
use crate::domain::{Instant, Snapshot};

pub(super) const HEAD: usize = 32;
pub(super) const MAGIC: [u8; 4] = *b"DLS1";
/// The code of the failure that stands in place of what was dropped.
pub(super) const DROPPED: &str = "dropped";
/// More compresses a first record a little better and all of them slower.
const LEVEL: i32 = 3;
/// With the line before as prefix nearly everything is one long match, which level 1 finds as well.
const PREFIXED_LEVEL: i32 = 1;
/// Where zstd's decoders stop by themselves; 128 MiB are two lines of 250,000 desktops.
const LARGEST_WINDOW: u32 = 27;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A snapshot with desktops or groups.
    Whole,
    /// A snapshot of a visit that brought nothing: there is nothing to gain from dropping it.
    Bare,
    /// What is left of a snapshot that was dropped.
    Dropped,
}

impl Kind {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        if snapshot.desktops.is_some() || snapshot.groups.is_some() {
            return Self::Whole;
        }
        let code = snapshot.failure.as_ref().and_then(|failure| failure.code.as_deref());
        if code == Some(DROPPED) { Self::Dropped } else { Self::Bare }
    }
}

/// What a record's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) compressed: u32,
    pub(super) uncompressed: u32,
    pub(super) kind: Kind,
    pub(super) observed_at: Instant,
    sum: u32,
    /// The bytes that `sum` begins with.
    summed: [u8; 24],
}

impl Head {
    /// `None`: it does not check.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD] = bytes.get(..HEAD)?.try_into().ok()?;
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if bytes[..4] != MAGIC || number(28) != crc32fast::hash(&bytes[..28]) {
            return None;
        }
        let kind = match number(12) {
            0 => Kind::Whole,
            1 => Kind::Bare,
            2 => Kind::Dropped,
            _ => return None,
        };
        let micros = i64::from_le_bytes(bytes[16..24].try_into().ok()?);
        Some(Self {
            compressed: number(4),
            uncompressed: number(8),
            kind,
            observed_at: DateTime::from_timestamp_micros(micros)?,
            sum: number(24),
            summed: bytes[..24].try_into().ok()?,
        })
    }

    /// Whether this is the payload that was written with this head.
    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        sum(&self.summed, payload) == self.sum
    }

    /// The record's bytes, the head included.
    pub(super) fn length(&self) -> usize {
        HEAD + self.compressed as usize
    }
}

fn sum(head: &[u8], payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(payload);
    sum.finalize()
}

/// Whether the line after `line` in a segment is compressed with it, instead of with what `line` itself was.
pub(super) fn is_prefix(line: &[u8], before: Option<&[u8]>) -> bool {
    before.is_none_or(|before| line.len() >= before.len() / 2)
}

/// Makes a record of a line.
pub(super) fn encode(
    line: &[u8],
    prefix: Option<&[u8]>,
    kind: Kind,
    observed_at: Instant,
) -> Result<Vec<u8>, SpoolError> {
    let too_long = |_| SpoolError::TooLong(line.len());
    let payload = compress(line, prefix).map_err(SpoolError::Compress)?;
    let mut record = Vec::with_capacity(HEAD + payload.len());
    record.extend(MAGIC);
    record.extend(u32::try_from(payload.len()).map_err(too_long)?.to_le_bytes());
    record.extend(u32::try_from(line.len()).map_err(too_long)?.to_le_bytes());
    let kind: u32 = match kind {
        Kind::Whole => 0,
        Kind::Bare => 1,
        Kind::Dropped => 2,
    };
    record.extend(kind.to_le_bytes());
    record.extend(observed_at.timestamp_micros().to_le_bytes());
    record.extend(sum(&record, &payload).to_le_bytes());
    record.extend(crc32fast::hash(&record).to_le_bytes());
    record.extend(payload);
    Ok(record)
}

fn compress(line: &[u8], prefix: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let mut context = CCtx::create();
    let mut set = |parameter| context.set_parameter(parameter).map_err(said);
    let level = if prefix.is_some() { PREFIXED_LEVEL } else { LEVEL };
    set(CParameter::CompressionLevel(level))?;
    if let Some(prefix) = prefix {
        // The window has to reach back over both lines, which zstd does not choose by itself; and matches that far
        // away are found by the long-distance matcher.
        let reach = (prefix.len() + line.len()).next_power_of_two().trailing_zeros();
        set(CParameter::WindowLog(reach.clamp(10, LARGEST_WINDOW)))?;
        set(CParameter::EnableLongDistanceMatching(true))?;
        context.ref_prefix(prefix).map_err(said)?;
    }
    let mut payload = Vec::with_capacity(compress_bound(line.len()));
    context.compress2(&mut payload, line).map_err(said)?;
    Ok(payload)
}

/// The line of a record; the error says what does not check.
pub(super) fn decode(
    head: &Head,
    payload: &[u8],
    prefix: Option<&[u8]>,
) -> Result<Vec<u8>, &'static str> {
    if !head.fits(payload) {
        return Err("a record's checksum is wrong");
    }
    let mut context = DCtx::create();
    if let Some(prefix) = prefix {
        context.ref_prefix(prefix).map_err(|_| "a record cannot be decompressed")?;
    }
    let mut line = Vec::with_capacity(head.uncompressed as usize);
    context.decompress(&mut line, payload).map_err(|_| "a record cannot be decompressed")?;
    if line.len() == head.uncompressed as usize {
        Ok(line)
    } else {
        Err("a record's length is wrong")
    }
}

fn said(code: usize) -> io::Error {
    io::Error::other(get_error_name(code))
}
