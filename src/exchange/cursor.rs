//! A place in a line.
//!
//! The line's own object and its array of desktops are walked here by hand, every value in them is
//! read by serde_json. Walking by hand is what lets [`super::read`] compare a record with the bytes of
//! the same record in the line before, and skip reading it.

use serde::Deserialize;

use super::error::{LineError, bare};

pub(super) struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// The offset of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    /// What was read since `from`.
    pub(super) fn since(&self, from: usize) -> &'a [u8] {
        &self.input[from..self.at]
    }

    /// Goes on by bytes that are known to end at the edge of a value.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The offset of `part`, a slice of the line.
    pub(super) fn offset_of(&self, part: &[u8]) -> usize {
        part.as_ptr().addr().saturating_sub(self.input.as_ptr().addr())
    }

    /// The next byte that is no white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.input.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `byte` if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes `byte`, or says what else was expected.
    pub(super) fn expect(&mut self, byte: u8, expected: &str) -> Result<(), LineError> {
        if self.take(byte) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    /// The error that something else was expected here.
    pub(super) fn wrong(&mut self, expected: &str) -> LineError {
        let message = match self.peek() {
            None => format!("the line ends where {expected} was expected"),
            Some(_) => format!("expected {expected}"),
        };
        LineError::Json { column: self.at + 1, message }
    }

    /// Reads one value; `path` names it when its type is wrong.
    pub(super) fn value<T: Deserialize<'a>>(
        &mut self,
        path: impl FnOnce() -> String,
    ) -> Result<T, LineError> {
        let mut values = serde_json::Deserializer::from_slice(self.rest()).into_iter::<T>();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(error)) => Err(located(&error, self.at, path)),
            None => Err(self.wrong("a value")),
        }
    }
}

/// The error of a value that begins at `base`.
pub(super) fn located(
    error: &serde_json::Error,
    base: usize,
    path: impl FnOnce() -> String,
) -> LineError {
    let column = base + error.column().max(1);
    let text = error.to_string();
    let message = bare(&text).to_owned();
    if error.is_data() {
        LineError::Field { path: path(), column, message }
    } else {
        LineError::Json { column, message }
    }
}
