//! A segment: a file of up to 32 records, of which the first stands alone and each later one needs one
//! before it. Here is what a file's bytes say; what is done about it is decided in `recover`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::record::{HEAD, Head, Kind, MAGIC, decode, is_prefix};
use crate::domain::Instant;

/// A record alone takes ten times what one with a prefix does, so segments should be long; but one is read from
/// its beginning, and kept until its last record is recorded.
pub(super) const RECORDS: usize = 32;

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) offset: u64,
    pub(super) kind: Kind,
    pub(super) observed_at: Instant,
}

/// A segment as the queue knows it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) records: Vec<Record>,
    /// So many from the front are recorded elsewhere and not needed any more.
    pub(super) acknowledged: usize,
    /// The file's bytes.
    pub(super) length: u64,
    /// After its records comes something that does not check.
    pub(super) is_bad: bool,
}

impl Segment {
    /// The records that are still needed.
    pub(super) fn waiting(&self) -> &[Record] {
        &self.records[self.acknowledged..]
    }

    /// Whether dropping would gain anything. What is bad stays as it is, for whoever looks into it.
    pub(super) fn is_worth_dropping(&self) -> bool {
        !self.is_bad && self.waiting().iter().any(|record| record.kind == Kind::Whole)
    }
}

/// The kinds of files of a source's folder.
pub(super) const SEGMENT: &str = "seg";
pub(super) const TEMPORARY: &str = "tmp";
pub(super) const CORRUPT: &str = "corrupt";
pub(super) const TORN: &str = "torn";

/// The path of a numbered file.
pub(super) fn path_of(folder: &Path, number: u64, kind: &str) -> PathBuf {
    folder.join(format!("{number:010}.{kind}"))
}

/// The number in a file's name.
pub(super) fn number_of(path: &Path) -> Option<u64> {
    let digits = path.file_stem()?.to_str()?;
    let is_number = digits.len() >= 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

/// What kind of file it is.
pub(super) fn kind_of(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}

/// What a segment's bytes say.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) records: Vec<Record>,
    /// The bytes that check.
    pub(super) good: usize,
    /// The bytes of the longest record.
    pub(super) longest: usize,
    pub(super) end: End,
}

/// How the bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a record.
    Clean,
    /// Within a record, or with zeros where one should begin: a file grows before its content is written.
    Short,
    /// With a record that has its whole length and a wrong checksum.
    Unsound,
    /// Not at all as a write that was cut short would leave them.
    Bad {
        reason: &'static str,
        /// So many records are lost, or more.
        lost: usize,
    },
}

/// Reads where the records are. Payloads are checked by their sums, not decompressed.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan { records: Vec::new(), good: 0, longest: 0, end: End::Clean };
    loop {
        let rest = &bytes[scan.good..];
        scan.end = match look(rest) {
            Ok(None) => break,
            Ok(Some(head)) => {
                let Head { kind, observed_at, .. } = head;
                scan.records.push(Record { offset: scan.good as u64, kind, observed_at });
                scan.longest = scan.longest.max(head.length());
                scan.good += head.length();
                continue;
            }
            Err(end) => end,
        };
        break;
    }
    scan
}

/// The record that `rest` begins with; `None`: there is nothing more.
fn look(rest: &[u8]) -> Result<Option<Head>, End> {
    if rest.is_empty() {
        return Ok(None);
    }
    if rest.iter().all(|byte| *byte == 0) {
        return Err(End::Short);
    }
    if rest.len() < HEAD {
        let begun = rest.len().min(MAGIC.len());
        return Err(if rest[..begun] == MAGIC[..begun] {
            End::Short
        } else {
            End::Bad { reason: "no record begins where one should", lost: 1 }
        });
    }
    let Some(head) = Head::read(rest) else {
        return Err(End::Bad { reason: "a record's head does not check", lost: 1 });
    };
    if rest.len() < head.length() {
        return Err(End::Short);
    }
    let (record, after) = rest.split_at(head.length());
    if head.fits(&record[HEAD..]) {
        Ok(Some(head))
    } else if after.is_empty() {
        Err(End::Unsound)
    } else {
        let lost = 1 + following(after);
        Err(End::Bad { reason: "a record's checksum is wrong", lost })
    }
}

/// How many records seem to follow.
fn following(mut rest: &[u8]) -> usize {
    let mut count = 0;
    while let Some(head) = Head::read(rest) {
        count += 1;
        rest = rest.get(head.length()..).unwrap_or_default();
    }
    count
}

/// Why a record could not be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// Its file is not there any more.
    Gone,
    Io(io::Error),
    /// It does not check.
    Bad(&'static str),
}

/// Reads a segment's lines one after another.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) number: u64,
    /// The record that is read next.
    pub(super) next: usize,
    file: File,
    /// What the next line was compressed with.
    prefix: Option<Vec<u8>>,
    /// The line that was read last, if the next one was not compressed with it.
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn open(path: &Path, number: u64) -> io::Result<Self> {
        Ok(Self { number, next: 0, file: File::open(path)?, prefix: None, line: Vec::new() })
    }

    /// Reads the next record's line.
    pub(super) fn read(&mut self, record: &Record) -> Result<&[u8], Fault> {
        let mut head = [0; HEAD];
        self.fill(&mut head, record.offset)?;
        let head = Head::read(&head).ok_or(Fault::Bad("a record's head does not check"))?;
        let mut payload = vec![0; head.compressed as usize];
        self.fill(&mut payload, record.offset + HEAD as u64)?;
        let line = decode(&head, &payload, self.prefix.as_deref()).map_err(Fault::Bad)?;
        self.next += 1;
        if is_prefix(&line, self.prefix.as_deref()) {
            Ok(self.prefix.insert(line))
        } else {
            self.line = line;
            Ok(&self.line)
        }
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), Fault> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Bad("the file is shorter than it was"),
            _ => Fault::Io(error),
        })
    }
}
