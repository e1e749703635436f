//! From an input to snapshots, in order, on threads of its own.
//!
//! One thread decompresses and splits, one or more parse, the caller records. Batches go round the
//! parsers in turn and are taken from them in the same turn, so nothing has to be put back in order.
//! Every queue is short: a caller that is slower than the parsers stops them, and a file of any size
//! passes through the same few megabytes.
//!
//! Threads and not tasks: this is work for a processor, and an async runtime would only move it.

use std::io::{self, BufRead};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use chrono::TimeDelta;

use super::{Input, Line, LineError, Parser, Progress};

/// The longest line that is read, in bytes: ten times a hundred thousand desktops with a dozen users
/// each. What is longer is no snapshot but a file without line ends, and would fill the memory.
pub const LONGEST_LINE: usize = 1 << 30;

/// Lines in a batch at most, so that a file of tiny snapshots keeps all threads busy.
const BATCH_LINES: usize = 256;
/// Batches waiting on each side of a parser.
const QUEUE: usize = 2;
/// Buffers above this size are given back to the system instead of to the reader.
const KEPT_BUFFER: usize = 64 << 20;

/// A line and its number in the file, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Its number, blank lines counted.
    pub number: u64,
    /// The line.
    pub line: Line,
}

/// Why reading ended before the end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read, or its compression is damaged.
    #[error("read `{name}` after line {number}")]
    Io {
        /// The file.
        name: String,
        /// The last line that was read whole.
        number: u64,
        /// What the system or the decoder says.
        #[source]
        source: io::Error,
    },
    /// A line is no snapshot.
    #[error("read line {number} of `{name}`")]
    Line {
        /// The file.
        name: String,
        /// The line's number, from 1.
        number: u64,
        /// What is wrong with it.
        #[source]
        source: LineError,
    },
    /// A line is longer than [`LONGEST_LINE`].
    #[error("read line {number} of `{name}`: it is longer than {LONGEST_LINE} bytes")]
    TooLong {
        /// The file.
        name: String,
        /// The line's number, from 1.
        number: u64,
    },
}

/// Whole lines in one buffer.
struct Batch {
    bytes: Vec<u8>,
    lines: Vec<(u64, Range<usize>)>,
    end: Option<End>,
}

/// Why no batch follows. Always sent, so that a thread that died is not taken for the end of the file.
enum End {
    Done,
    Io(u64, io::Error),
    TooLong(u64),
}

struct Parsed {
    lines: Vec<(u64, Result<Line, LineError>)>,
    end: Option<End>,
}

/// The snapshots of an input in its order. After an error it ends: nothing behind a bad line is used.
#[derive(Debug)]
pub struct Lines {
    name: String,
    progress: Progress,
    parsers: Vec<Receiver<Parsed>>,
    turn: usize,
    lines: std::vec::IntoIter<(u64, Result<Line, LineError>)>,
    end: Option<End>,
    is_over: bool,
    threads: Vec<thread::JoinHandle<()>>,
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("End")
    }
}

impl Lines {
    /// Starts reading. Lines without a `max_gap` get `default_max_gap`.
    ///
    /// One processor is left to the caller, who records what the others read.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new(input: Input, default_max_gap: TimeDelta) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        // More than four parsers wait for the one thread that splits.
        Self::with_parsers(input, default_max_gap, (processors - 1).clamp(1, 4))
    }

    /// Starts reading with so many parsers. A single one shares more between lines, see [`Parser`].
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn with_parsers(
        input: Input,
        default_max_gap: TimeDelta,
        parsers: usize,
    ) -> io::Result<Self> {
        let progress = input.progress();
        let (name, bytes) = input.into_parts();
        let (give_back, empty) = sync_channel(QUEUE * (parsers + 1));
        let mut threads = Vec::with_capacity(parsers + 1);
        let (mut to_parse, mut parsed) = (Vec::new(), Vec::new());
        for _ in 0..parsers.max(1) {
            let (batch_to, batches) = sync_channel(QUEUE);
            let (parsed_to, from_parser) = sync_channel(QUEUE);
            let give_back = give_back.clone();
            let parser = Parser::new(default_max_gap);
            threads.push(
                thread::Builder::new()
                    .name("parse".to_owned())
                    .spawn(move || parse(parser, &batches, &parsed_to, &give_back))?,
            );
            to_parse.push(batch_to);
            parsed.push(from_parser);
        }
        threads.push(
            thread::Builder::new()
                .name("split".to_owned())
                .spawn(move || split(bytes, &to_parse, &empty, LONGEST_LINE))?,
        );
        Ok(Self {
            name,
            progress,
            parsers: parsed,
            turn: 0,
            lines: Vec::new().into_iter(),
            end: None,
            is_over: false,
            threads,
        })
    }

    /// How far reading has come; it is ahead of the lines taken by the few batches under way.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn refill(&mut self) {
        if let Ok(parsed) = self.parsers[self.turn].recv() {
            self.turn = (self.turn + 1) % self.parsers.len();
            self.lines = parsed.lines.into_iter();
            self.end = parsed.end;
            return;
        }
        // A thread is gone without having said that it was done: it panicked.
        self.parsers.clear();
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        unreachable!("a thread that reads lines ends by saying so or by a panic");
    }
}

impl Iterator for Lines {
    type Item = Result<Numbered, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            if let Some((number, line)) = self.lines.next() {
                self.is_over = line.is_err();
                let name = &self.name;
                return Some(
                    line.map(|line| Numbered { number, line }).map_err(|source| ReadError::Line {
                        name: name.clone(),
                        number,
                        source,
                    }),
                );
            }
            match self.end.take() {
                None => self.refill(),
                Some(end) => {
                    self.is_over = true;
                    let name = self.name.clone();
                    return match end {
                        End::Done => None,
                        End::Io(number, source) => {
                            Some(Err(ReadError::Io { name, number, source }))
                        }
                        End::TooLong(number) => Some(Err(ReadError::TooLong { name, number })),
                    };
                }
            }
        }
        None
    }
}

/// Splits the input into batches of whole lines. Ends when told that nobody takes them any more.
fn split(
    mut input: Box<dyn BufRead + Send>,
    parsers: &[SyncSender<Batch>],
    empty: &Receiver<Vec<u8>>,
    longest: usize,
) {
    let mut turns = parsers.iter().cycle();
    // Whether somebody still takes them.
    let mut send = |batch| turns.next().is_some_and(|parser| parser.send(batch).is_ok());
    let mut bytes: Vec<u8> = Vec::new();
    let mut lines: Vec<(u64, Range<usize>)> = Vec::new();
    let mut number = 1;
    // Where the line under way begins in `bytes`.
    let mut begin = 0;
    let end = loop {
        let chunk = match input.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => break End::Io(number - 1, error),
        };
        let is_last = chunk.is_empty();
        let base = bytes.len();
        bytes.extend_from_slice(chunk);
        let ends = memchr::memchr_iter(b'\n', chunk).map(|at| base + at);
        // The last line need not end.
        for end in ends.chain(is_last.then_some(base)) {
            let line = begin..end;
            begin = end + 1;
            let content = bytes[line.clone()].strip_prefix(b"\xef\xbb\xbf");
            if !content.unwrap_or(&bytes[line.clone()]).trim_ascii().is_empty() {
                lines.push((number, line));
            }
            number += 1;
        }
        let taken = chunk.len();
        input.consume(taken);
        if is_last {
            break End::Done;
        }
        if bytes.len() - begin > longest {
            break End::TooLong(number);
        }
        // Whatever is whole goes on before the next read, which may wait for a pipe's other end.
        while !lines.is_empty() {
            let mut buffer = empty.try_recv().unwrap_or_default();
            buffer.clear();
            let rest = lines.split_off(lines.len().min(BATCH_LINES));
            // The bytes that follow the batch's last line move on to the next buffer.
            let cut = rest.first().map_or(begin, |(_, line)| line.start);
            buffer.extend_from_slice(&bytes[cut..]);
            begin -= cut;
            let full = std::mem::replace(&mut bytes, buffer);
            let moved = rest
                .into_iter()
                .map(|(number, line)| (number, line.start - cut..line.end - cut))
                .collect();
            let ready = std::mem::replace(&mut lines, moved);
            if !send(Batch { bytes: full, lines: ready, end: None }) {
                return;
            }
        }
    };
    send(Batch { bytes, lines, end: Some(end) });
}

fn parse(
    mut parser: Parser,
    batches: &Receiver<Batch>,
    parsed: &SyncSender<Parsed>,
    give_back: &SyncSender<Vec<u8>>,
) {
    while let Ok(Batch { bytes, lines, end }) = batches.recv() {
        let read = |(number, line): (u64, Range<usize>)| (number, parser.parse(&bytes[line]));
        let lines = lines.into_iter().map(read).collect();
        if bytes.capacity() <= KEPT_BUFFER {
            // A full queue of empty buffers is as good as none.
            let _ = give_back.try_send(bytes);
        }
        if parsed.send(Parsed { lines, end }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
