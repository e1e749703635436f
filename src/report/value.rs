//! Values of a result, by the few kinds that renderers tell apart.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgRow, PgTypeInfo};
use sqlx::{Row, TypeInfo, ValueRef};

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Unique in the result.
    pub name: String,
    /// What its cells hold, NULL aside.
    pub kind: ColumnKind,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text, and every type without a kind of its own, as PostgreSQL writes it.
    Text,
    /// Whole numbers.
    Integer,
    /// Floating and decimal numbers.
    Number,
    /// True or false.
    Bool,
    /// Instants.
    Instant,
    /// Lengths of time.
    Duration,
    /// Lists of text.
    List,
    /// JSON.
    Json,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL: not observed, or not known.
    Null,
    /// See [`ColumnKind::Text`].
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A double.
    Float(f64),
    /// A decimal number, as PostgreSQL writes it: every digit is kept.
    Decimal(String),
    /// True or false.
    Bool(bool),
    /// An instant, to the microsecond.
    Instant(DateTime<Utc>),
    /// A length of time in microseconds.
    Duration(i64),
    /// A list of text.
    List(Vec<Option<String>>),
    /// JSON text on one line.
    Json(String),
}

impl Cell {
    /// About how much memory it takes.
    pub(super) fn size(&self) -> usize {
        let more = match self {
            Self::Text(text) | Self::Decimal(text) | Self::Json(text) => text.len(),
            Self::List(items) => {
                let lengths = items.iter().flatten().map(String::len);
                items.len() * size_of::<Option<String>>() + lengths.sum::<usize>()
            }
            _ => 0,
        };
        size_of::<Self>() + more
    }
}

/// How the values of one PostgreSQL type are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub kind: ColumnKind,
    /// What the database must turn them into first.
    pub cast: Option<&'static str>,
    decode: fn(&PgRow, usize) -> Result<Cell, BoxDynError>,
}

impl Reading {
    pub fn of(type_info: &PgTypeInfo) -> Self {
        let plain = |kind, decode| Self { kind, cast: None, decode };
        match type_info.name() {
            "TEXT" | "VARCHAR" => plain(ColumnKind::Text, text),
            "INT2" | "INT4" | "INT8" => plain(ColumnKind::Integer, integer),
            "FLOAT8" => plain(ColumnKind::Number, float),
            "FLOAT4" | "NUMERIC" => Self {
                kind: ColumnKind::Number,
                cast: Some("text"),
                decode: |row, at| Ok(Cell::Decimal(string(row, at)?)),
            },
            "BOOL" => plain(ColumnKind::Bool, |row, at| Ok(Cell::Bool(row.try_get(at)?))),
            "TIMESTAMPTZ" => plain(ColumnKind::Instant, instant),
            "INTERVAL" => plain(ColumnKind::Duration, duration),
            "TEXT[]" => plain(ColumnKind::List, |row, at| Ok(Cell::List(row.try_get(at)?))),
            "VARCHAR[]" | "NAME[]" => Self {
                kind: ColumnKind::List,
                cast: Some("text[]"),
                decode: |row, at| Ok(Cell::List(row.try_get(at)?)),
            },
            "JSONB" => Self {
                kind: ColumnKind::Json,
                cast: Some("text"),
                decode: |row, at| Ok(Cell::Json(string(row, at)?)),
            },
            "JSON" => Self { kind: ColumnKind::Json, cast: Some("text"), decode: json },
            _ => Self { kind: ColumnKind::Text, cast: Some("text"), decode: text },
        }
    }

    pub fn read(&self, row: &PgRow, at: usize) -> sqlx::Result<Cell> {
        if row.try_get_raw(at)?.is_null() {
            return Ok(Cell::Null);
        }
        (self.decode)(row, at)
            .map_err(|source| sqlx::Error::ColumnDecode { index: at.to_string(), source })
    }
}

fn string(row: &PgRow, at: usize) -> Result<String, BoxDynError> {
    Ok(row.try_get_raw(at)?.as_str()?.to_owned())
}

fn text(row: &PgRow, at: usize) -> Result<Cell, BoxDynError> {
    Ok(Cell::Text(string(row, at)?))
}

fn integer(row: &PgRow, at: usize) -> Result<Cell, BoxDynError> {
    let bytes = row.try_get_raw(at)?.as_bytes()?;
    Ok(Cell::Integer(match *bytes {
        [a, b] => i16::from_be_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_be_bytes([a, b, c, d]).into(),
        _ => i64::from_be_bytes(bytes.try_into()?),
    }))
}

fn float(row: &PgRow, at: usize) -> Result<Cell, BoxDynError> {
    Ok(Cell::Float(row.try_get(at)?))
}

/// By hand, since the driver's own conversion panics at `infinity`.
fn instant(row: &PgRow, at: usize) -> Result<Cell, BoxDynError> {
    /// 2000-01-01, from which PostgreSQL counts.
    const EPOCH: DateTime<Utc> =
        DateTime::from_timestamp(946_684_800, 0).expect("within the calendar");
    Ok(match i64::from_be_bytes(row.try_get_raw(at)?.as_bytes()?.try_into()?) {
        i64::MAX => Cell::Text("infinity".to_owned()),
        i64::MIN => Cell::Text("-infinity".to_owned()),
        microseconds => EPOCH
            .checked_add_signed(TimeDelta::microseconds(microseconds))
            .map(Cell::Instant)
            .ok_or("an instant outside the calendar")?,
    })
}

/// In microseconds. Differences of instants have no months; where somebody writes them, a day has 24 hours, a month 30
/// days and a year 365¼, as in `extract(epoch from …)`.
fn duration(row: &PgRow, at: usize) -> Result<Cell, BoxDynError> {
    const HOUR: i64 = 3_600_000_000;
    let bytes: [u8; 16] = row.try_get_raw(at)?.as_bytes()?.try_into()?;
    let (micros, rest) = bytes.split_first_chunk::<8>().ok_or("an interval of another size")?;
    let (days, months) = rest.split_first_chunk::<4>().ok_or("an interval of another size")?;
    let micros = i64::from_be_bytes(*micros);
    let days = i64::from(i32::from_be_bytes(*days));
    let months = i64::from(i32::from_be_bytes(months.try_into()?));
    if (micros, days, months) == (i64::MAX, i32::MAX.into(), i32::MAX.into()) {
        return Ok(Cell::Text("infinity".to_owned()));
    }
    if (micros, days, months) == (i64::MIN, i32::MIN.into(), i32::MIN.into()) {
        return Ok(Cell::Text("-infinity".to_owned()));
    }
    let hours = days * 24 + months / 12 * 8_766 + months % 12 * 720;
    let total = hours.checked_mul(HOUR).and_then(|total| total.checked_add(micros));
    Ok(Cell::Duration(total.ok_or("an interval that is too long")?))
}

/// `json` keeps its author's white space; one line is the form of all others.
fn json(row: &PgRow, at: usize) -> Result<Cell, BoxDynError> {
    let value: serde_json::Value = serde_json::from_str(&string(row, at)?)?;
    Ok(Cell::Json(value.to_string()))
}

/// Makes every name unique: the second `n` becomes `n_2`.
pub(super) fn unique_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        let mut candidate = name.to_owned();
        let mut count = 1;
        while unique.contains(&candidate) {
            count += 1;
            candidate = format!("{name}_{count}");
        }
        unique.push(candidate);
    }
    unique
}

/// Seconds with as many decimals as there are: `900`, `0.5`.
pub(super) fn seconds(microseconds: i64) -> String {
    let sign = if microseconds < 0 { "-" } else { "" };
    let magnitude = microseconds.unsigned_abs();
    let (whole, rest) = (magnitude / 1_000_000, magnitude % 1_000_000);
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{}", format!("{rest:06}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_unique() {
        assert_eq!(unique_names(["n", "n_2", "n", "m"].into_iter()), ["n", "n_2", "n_3", "m"]);
    }

    #[test]
    fn seconds_have_the_decimals_they_need() {
        for (microseconds, text) in
            [(0, "0"), (900_000_000, "900"), (500_000, "0.5"), (-1_000_001, "-1.000001")]
        {
            assert_eq!(seconds(microseconds), text);
        }
    }
}
