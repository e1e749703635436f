//! Durations as people write them: `90s`, `15m`, `2h`, `1d`, or sums of them (`1h30m`).

use chrono::TimeDelta;

/// Why a text is no duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no duration; write for example `90s`, `15m`, `2h`, `1d` or `1h30m`")]
pub struct DurationError(String);

const UNITS: [(char, i64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads a duration of whole seconds.
///
/// # Errors
/// The text is empty, has an unknown unit, or is too long to hold.
pub fn parse_duration(text: &str) -> Result<TimeDelta, DurationError> {
    let wrong = || DurationError(text.to_owned());
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds: i64 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(unit_at);
        let unit = tail.chars().next().ok_or_else(wrong)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: i64 = number.parse().map_err(|_| wrong())?;
        seconds = number
            .checked_mul(*factor)
            .and_then(|part| part.checked_add(seconds))
            .ok_or_else(wrong)?;
        rest = tail[unit.len_utf8()..].trim_start();
    }
    // An int4 of seconds in the ledger: 68 years are enough for a gap.
    i32::try_from(seconds).map_err(|_| wrong())?;
    Ok(TimeDelta::seconds(seconds))
}

/// Writes a duration of whole seconds as [`parse_duration`] reads it.
#[must_use]
pub fn format_duration(duration: TimeDelta) -> String {
    let mut seconds = duration.num_seconds();
    if seconds <= 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in UNITS {
        if seconds >= factor {
            text.push_str(&format!("{}{unit}", seconds / factor));
            seconds %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86_400), ("1h30m", 5400)]
        {
            assert_eq!(parse_duration(text), Ok(TimeDelta::seconds(seconds)));
        }
        assert_eq!(format_duration(TimeDelta::seconds(90)), "1m30s");
        for wrong in ["", "15", "m", "15x", "1.5h", "-5m", "9999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
