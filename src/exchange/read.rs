//! Reading a line.
//!
//! A file of history says the same thing over and over: of 10,000 records in a line, a handful differ
//! from the line before. So a [`Parser`] keeps each source's last line and compares bytes first: a
//! record that is the same to the byte is the same desktop, and its texts are shared instead of read
//! and allocated again. What differs is read by serde_json into borrowed texts; assignments, the
//! expensive part of a record, are looked up by their bytes.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use serde::Deserialize;

use super::cursor::{Cursor, located};
use super::error::LineError;
use super::known::{Assignments, Index, Previous, Slot};
use super::record::{DesktopRecord, ErrorRecord, GroupRecord, Number, Text};
use crate::domain::text::{Common, storable};
use crate::domain::{
    Desktop, Failure, GroupStatistics, Instant, Listing, Snapshot, check_source_name,
    parse_duration,
};

/// What a source is pinned to, where a line says so (export writes it on a source's first line).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// The cloud's region.
    pub region: Option<String>,
    /// The cloud's project.
    pub project_id: Option<String>,
    /// The endpoint of the API.
    pub endpoint: Option<String>,
}

/// One line: a snapshot and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The source's name.
    pub source: String,
    /// The source's pin, if the line has any of its keys.
    pub pin: Option<Pin>,
    /// The snapshot.
    pub snapshot: Snapshot,
}

/// Reads one line on its own. For many lines a [`Parser`] is several times faster.
///
/// # Errors
/// The line is no snapshot; the error says where and why.
pub fn parse_line(line: &[u8], default_max_gap: TimeDelta) -> Result<Line, LineError> {
    Parser::new(default_max_gap).parse(line)
}

/// The line's own keys.
const KEYS: [&str; 12] = [
    "source",
    "region",
    "project_id",
    "endpoint",
    "scheduled_at",
    "observed_at",
    "finished_at",
    "max_gap",
    "total_count",
    "desktops",
    "statics",
    "error",
];
/// As much of an unknown key as is compared and shown, in characters: it may be as long as the line.
const SHOWN_KEY: usize = 60;

/// Bytes of last lines that a parser keeps, all sources together: two of 100,000 desktops.
const KEPT_LINES: usize = 64 << 20;
/// Reads line after line, and remembers what the lines have in common.
#[derive(Debug)]
pub struct Parser {
    default_max_gap: TimeDelta,
    /// Each source's last line, the latest read at the end.
    previous: Vec<Previous>,
    assignments: Assignments,
    common: Common,
}

impl Parser {
    /// A parser that gives `default_max_gap` to lines without one.
    #[must_use]
    pub fn new(default_max_gap: TimeDelta) -> Self {
        Self {
            default_max_gap,
            previous: Vec::new(),
            assignments: Assignments::default(),
            common: Common::default(),
        }
    }

    /// Reads a line. A byte order mark and white space around the object are passed over.
    ///
    /// # Errors
    /// The line is no snapshot; the error says where and why.
    pub fn parse(&mut self, line: &[u8]) -> Result<Line, LineError> {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let mut cursor = Cursor::new(line);
        let mut fields = Fields::default();
        cursor.expect(b'{', "an object, `{`")?;
        let mut more = !cursor.take(b'}');
        while more {
            if cursor.peek() != Some(b'"') {
                return Err(cursor.wrong("a key"));
            }
            let column = cursor.at() + 1;
            let key = cursor.value::<Text<'_>>(String::new)?.0.unwrap_or_default();
            cursor.expect(b':', "`:`")?;
            if !KEYS.contains(&&*key) {
                return Err(unknown(&key, column));
            }
            self.field(&key, &mut cursor, &mut fields)?;
            more = cursor.take(b',');
            if !more {
                cursor.expect(b'}', "`,` or `}`")?;
            }
        }
        if cursor.peek().is_some() {
            return Err(cursor.wrong("the end of the line"));
        }
        fields.check(self.default_max_gap)
    }

    fn field<'a>(
        &mut self,
        key: &str,
        cursor: &mut Cursor<'a>,
        fields: &mut Fields<'a>,
    ) -> Result<(), LineError> {
        match key {
            "source" => once("source", &mut fields.source, cursor),
            "region" => once("region", &mut fields.region, cursor),
            "project_id" => once("project_id", &mut fields.project_id, cursor),
            "endpoint" => once("endpoint", &mut fields.endpoint, cursor),
            "scheduled_at" => once("scheduled_at", &mut fields.scheduled_at, cursor),
            "observed_at" => once("observed_at", &mut fields.observed_at, cursor),
            "finished_at" => once("finished_at", &mut fields.finished_at, cursor),
            "max_gap" => once("max_gap", &mut fields.max_gap, cursor),
            "total_count" => {
                cursor.peek();
                let column = cursor.at() + 1;
                let mut number = None;
                once("total_count", &mut number, cursor)?;
                let total = match number {
                    Some(Number::Whole(total)) => Some(total),
                    Some(Number::Other) => {
                        let message =
                            "expected a whole number, a text of digits, or null".to_owned();
                        return Err(LineError::Field { path: key.to_owned(), column, message });
                    }
                    _ => None,
                };
                set("total_count", &mut fields.total, total)
            }
            "desktops" => {
                let source = fields.source.as_ref().and_then(|text| text.0.as_deref());
                let listing = self.listing(source, cursor)?;
                set("desktops", &mut fields.desktops, listing)
            }
            "statics" => {
                let groups = list("statics", cursor, |cursor, at| {
                    let path = || format!("statics[{at}]");
                    Ok(cursor.value::<GroupRecord>(path)?.0)
                })?;
                set("statics", &mut fields.groups, groups)
            }
            "error" => once("error", &mut fields.error, cursor),
            // Not in the list, and refused before.
            _ => Ok(()),
        }
    }

    /// Reads the list of desktops, beside the source's last one.
    fn listing(
        &mut self,
        source: Option<&str>,
        cursor: &mut Cursor<'_>,
    ) -> Result<Option<Records>, LineError> {
        let known = self.previous.iter().position(|previous| Some(&*previous.source) == source);
        let mut last = known.map(|at| self.previous.remove(at)).unwrap_or_default();
        cursor.peek();
        let base = cursor.at();
        let mut slots: Vec<Slot> = Vec::with_capacity(last.slots.len());
        let mut index = Index::default();
        let mut next = 0;
        let read = list("desktops", cursor, |cursor, at| {
            cursor.peek();
            let begin = cursor.at();
            let rest = cursor.rest();
            let same =
                last.ahead(next, |slot| last.is_at(slot, rest)).or_else(|| index.find(&last, rest));
            let desktop = if let Some(same) = same {
                next = same + 1;
                let slot = &mut last.slots[same];
                slot.is_taken = true;
                cursor.advance(slot.to - slot.from);
                slot.desktop.take()
            } else {
                let record = cursor.value::<DesktopRecord<'_>>(|| format!("desktops[{at}]"))?;
                let id = record.id.0.as_deref();
                let before = last.ahead(next, |slot| {
                    slot.desktop.as_ref().is_some_and(|desktop| Some(&*desktop.id) == id)
                });
                let before = before.and_then(|at| {
                    next = at + 1;
                    last.slots[at].is_taken = true;
                    last.slots[at].desktop.take()
                });
                self.desktop(&record, before.as_ref(), cursor, at)?
            };
            let (from, to) = (begin - base, cursor.at() - base);
            slots.push(Slot { from, to, desktop, is_taken: false });
            Ok(())
        })?;
        if read.is_none() {
            // A failed listing says nothing new: the last one stays.
            self.keep(last);
            return Ok(None);
        }
        let desktops: Vec<Desktop> = slots.iter().filter_map(|slot| slot.desktop.clone()).collect();
        let nameless = slots.len() - desktops.len();
        if let Some(source) = source {
            last.bytes.clear();
            last.bytes.extend_from_slice(cursor.since(base));
            last.slots = slots;
            source.clone_into(&mut last.source);
            self.keep(last);
        }
        Ok(Some(Records { listing: Listing::new(desktops), nameless }))
    }

    /// Keeps a source's last line, and forgets the sources read longest ago if they are too much.
    fn keep(&mut self, last: Previous) {
        if last.source.is_empty() {
            return;
        }
        self.previous.push(last);
        let mut bytes: usize = self.previous.iter().map(|previous| previous.bytes.len()).sum();
        while bytes > KEPT_LINES {
            bytes -= self.previous.remove(0).bytes.len();
        }
    }

    /// Makes a desktop of a record, sharing the texts that it has in common with the one before.
    fn desktop(
        &mut self,
        record: &DesktopRecord<'_>,
        before: Option<&Desktop>,
        cursor: &Cursor<'_>,
        at: usize,
    ) -> Result<Option<Desktop>, LineError> {
        let Some(id) = record.id.0.as_deref().filter(|id| !id.is_empty()) else {
            return Ok(None);
        };
        let share = |text: &str, old: Option<&Arc<str>>| match old {
            Some(old) if **old == *text => Arc::clone(old),
            _ => storable(text),
        };
        let old_name = before.and_then(|before| before.name.as_ref());
        let users = match record.users {
            None => self.assignments.nobody.clone(),
            Some(raw) => self.assignments.read(raw.get(), &mut self.common).map_err(|error| {
                let base = cursor.offset_of(raw.get().as_bytes());
                located(&error, base, || format!("desktops[{at}].attach_users"))
            })?,
        };
        Ok(Some(Desktop {
            id: share(id, before.map(|before| &before.id)),
            name: record.name.0.as_deref().map(|name| share(name, old_name)),
            status: record.status.0.as_deref().map(|status| self.common.of(status)),
            users,
        }))
    }
}

/// The desktops of a line: each id once, and how many records had none.
struct Records {
    listing: Listing,
    nameless: usize,
}

/// The line's own keys as they came; the outer `None`: the key is not there.
#[derive(Default)]
struct Fields<'a> {
    source: Option<Text<'a>>,
    region: Option<Text<'a>>,
    project_id: Option<Text<'a>>,
    endpoint: Option<Text<'a>>,
    scheduled_at: Option<Text<'a>>,
    observed_at: Option<Text<'a>>,
    finished_at: Option<Text<'a>>,
    max_gap: Option<Text<'a>>,
    total: Option<Option<i64>>,
    desktops: Option<Option<Records>>,
    groups: Option<Option<Vec<GroupStatistics>>>,
    error: Option<Option<ErrorRecord<'a>>>,
}

impl Fields<'_> {
    fn check(self, default_max_gap: TimeDelta) -> Result<Line, LineError> {
        let source = self.source.and_then(Text::into_owned).filter(|name| !name.is_empty());
        let source = source.ok_or(LineError::Missing("source"))?;
        check_source_name(&source)?;
        let observed_at =
            instant("observed_at", self.observed_at)?.ok_or(LineError::Missing("observed_at"))?;
        let finished_at = instant("finished_at", self.finished_at)?.unwrap_or(observed_at);
        if observed_at < Instant::UNIX_EPOCH {
            return Err(LineError::TooEarly(observed_at));
        }
        if finished_at < observed_at {
            return Err(LineError::FinishedBeforeObserved { observed_at, finished_at });
        }
        let max_gap = match self.max_gap.and_then(|text| text.0) {
            None => default_max_gap,
            Some(text) => parse_duration(&text)
                .map_err(|source| LineError::Duration { key: "max_gap", source })?,
        };
        if max_gap <= TimeDelta::zero() {
            return Err(LineError::NoGap);
        }
        let records = self.desktops.flatten();
        let total = records.as_ref().and_then(|records| {
            // Without the key the writer vouches that the listing is whole; what has no id is missing.
            let listed = records.listing.desktops().len() + records.nameless;
            self.total.unwrap_or_else(|| i64::try_from(listed).ok())
        });
        let is_pinned =
            self.region.is_some() || self.project_id.is_some() || self.endpoint.is_some();
        let pin = is_pinned.then(|| Pin {
            region: self.region.and_then(Text::into_owned),
            project_id: self.project_id.and_then(Text::into_owned),
            endpoint: self.endpoint.and_then(Text::into_owned),
        });
        let failure = self.error.flatten().map(|error| Failure {
            code: error.code.map(super::record::Code::into_text),
            message: error.message.into_owned(),
        });
        let snapshot = Snapshot {
            scheduled_at: instant("scheduled_at", self.scheduled_at)?,
            observed_at,
            finished_at,
            max_gap,
            total,
            desktops: records.map(|records| records.listing),
            groups: self.groups.flatten(),
            failure,
        };
        Ok(Line { source, pin, snapshot })
    }
}

/// A slip in a key must not pass for its absence: without `total_count` the writer vouches that the listing is whole.
fn unknown(key: &str, column: usize) -> LineError {
    let key: String = key.chars().take(SHOWN_KEY).collect();
    let near = |known: &&str| strsim::damerau_levenshtein(known, &key.to_lowercase());
    let nearest = KEYS.into_iter().min_by_key(near).expect("a line has keys");
    LineError::Unknown { key, column, nearest }
}

/// Reads the value of a key of the line that may come once.
fn once<'a, T: Deserialize<'a>>(
    key: &'static str,
    field: &mut Option<T>,
    cursor: &mut Cursor<'a>,
) -> Result<(), LineError> {
    let value = cursor.value(|| key.to_owned())?;
    set(key, field, value)
}

fn set<T>(key: &'static str, field: &mut Option<T>, value: T) -> Result<(), LineError> {
    if field.replace(value).is_some() { Err(LineError::Repeated(key)) } else { Ok(()) }
}

/// Reads a list, or null: the part failed.
fn list<'a, T>(
    key: &'static str,
    cursor: &mut Cursor<'a>,
    mut element: impl FnMut(&mut Cursor<'a>, usize) -> Result<T, LineError>,
) -> Result<Option<Vec<T>>, LineError> {
    match cursor.peek() {
        Some(b'[') => {}
        Some(b'n') => {
            cursor.value::<()>(|| key.to_owned())?;
            return Ok(None);
        }
        _ => {
            let column = cursor.at() + 1;
            let message = "expected a list or null".to_owned();
            return Err(LineError::Field { path: key.to_owned(), column, message });
        }
    }
    cursor.advance(1);
    let mut elements = Vec::new();
    if cursor.take(b']') {
        return Ok(Some(elements));
    }
    loop {
        elements.push(element(cursor, elements.len())?);
        if !cursor.take(b',') {
            cursor.expect(b']', "`,` or `]`")?;
            return Ok(Some(elements));
        }
    }
}

/// An instant to the microsecond. Through whole microseconds and not by cutting the fraction, so that a
/// leap second becomes the instant after it, as in PostgreSQL.
fn instant(key: &'static str, text: Option<Text<'_>>) -> Result<Option<Instant>, LineError> {
    let Some(text) = text.and_then(|text| text.0) else { return Ok(None) };
    DateTime::parse_from_rfc3339(&text)
        .ok()
        .and_then(|at| DateTime::from_timestamp_micros(at.timestamp_micros()))
        .map(Some)
        .ok_or_else(|| LineError::Instant { key, value: Cow::into_owned(text) })
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
