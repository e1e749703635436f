//! The values of a report's parameters: defaults, and every check that can be made before the statement runs.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use sqlx::PgConnection;

use super::catalogue::Report;
use super::error::{ReportError, nearest};
use super::header::{Kind, Parameter};
use super::seen;
use crate::domain::ALL_SOURCES_AS_ONE;

/// What `deskledger.buckets` cuts into.
pub(super) const BUCKETS: [&str; 5] = ["hour", "day", "week", "month", "all"];

/// A value for each parameter of one report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// Puts together what was given (name, value) and the defaults, and checks what needs no database.
    ///
    /// # Errors
    /// A name that the report does not have, a value that is missing, given twice, or not of its kind.
    pub fn new<N: AsRef<str>, V: Into<String>>(
        report: &Report,
        given: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ReportError> {
        Self::without(report, given, &[])
    }

    /// The same, but for some parameters that are known to be wrong: they get no value, and nothing is said of them. For
    /// checks alone: a report cannot run without.
    pub(super) fn without<N: AsRef<str>, V: Into<String>>(
        report: &Report,
        given: impl IntoIterator<Item = (N, V)>,
        left_out: &[String],
    ) -> Result<Self, ReportError> {
        let mut values = BTreeMap::new();
        for (name, value) in given {
            let name = name.as_ref();
            let parameter =
                report.parameter(name).ok_or_else(|| unknown_parameter(report, name, &[]))?;
            if left_out.contains(&parameter.name) {
                continue;
            }
            if values.insert(parameter.name.clone(), value.into()).is_some() {
                return Err(ReportError::GivenTwice(parameter.name.clone()));
            }
        }
        let kept = report.parameters.iter().filter(|known| !left_out.contains(&known.name));
        for parameter in kept {
            if !values.contains_key(&parameter.name) {
                let default =
                    parameter.default.clone().ok_or_else(|| missing(report, parameter))?;
                values.insert(parameter.name.clone(), default);
            }
            check(parameter, &values[&parameter.name])?;
        }
        let values = Self(values);
        values.check_working_day(report)?;
        Ok(values)
    }

    /// Refuses a working day without an hour, which nothing would be counted in. What a report of the user's own means by such
    /// names is not known.
    fn check_working_day(&self, report: &Report) -> Result<(), ReportError> {
        let hour = |name: &str| self.get(name).and_then(|hour| hour.parse::<i64>().ok());
        match hour("day_from").zip(hour("day_to")) {
            Some((from, to)) if from == to && !report.is_own => {
                Err(ReportError::NoWorkingHours { hour: from })
            }
            _ => Ok(()),
        }
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All values by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The time zone that the report is in: its first parameter of that kind, else UTC.
    #[must_use]
    pub fn time_zone(&self, report: &Report) -> Tz {
        self.of_kind(report, Kind::TimeZone)
            .next()
            .and_then(|(_, name)| Tz::from_str(name).ok())
            .unwrap_or(Tz::UTC)
    }

    /// The sources that are asked for by name. Where a report knows all of them as one, that is no name.
    pub(super) fn sources<'a>(&'a self, report: &'a Report) -> impl Iterator<Item = &'a str> {
        let fleets =
            self.of_kind(report, Kind::Fleet).filter(|(_, name)| *name != ALL_SOURCES_AS_ONE);
        let names = self.of_kind(report, Kind::Source).chain(fleets).map(|(_, name)| name);
        names.filter(|name| !name.is_empty())
    }

    pub(super) fn of_kind<'a>(
        &'a self,
        report: &'a Report,
        kind: Kind,
    ) -> impl Iterator<Item = (&'a Parameter, &'a str)> {
        report
            .parameters
            .iter()
            .filter(move |parameter| parameter.kind == kind)
            .filter_map(|parameter| Some((parameter, self.get(&parameter.name)?)))
    }
}

/// The error for a name that is neither a parameter of the report nor one of the command's own `options`.
pub(crate) fn unknown_parameter(report: &Report, name: &str, options: &[&str]) -> ReportError {
    let known: Vec<String> =
        report.parameters.iter().map(|parameter| format!("--{}", parameter.name)).collect();
    let bare = name.trim_start_matches('-');
    let candidates = report.parameters.iter().map(|parameter| parameter.name.as_str());
    let nearest = nearest(bare, candidates.chain(options.iter().copied()));
    ReportError::UnknownParameter {
        report: report.name.clone(),
        name: format!("--{bare}"),
        nearest: nearest.map(|name| format!("--{name}")),
        known,
    }
}

fn missing(report: &Report, parameter: &Parameter) -> ReportError {
    ReportError::MissingParameter {
        report: report.name.clone(),
        name: parameter.name.clone(),
        kind: parameter.kind,
        meaning: parameter.meaning.clone(),
    }
}

/// What can be said about a value alone.
fn check(parameter: &Parameter, value: &str) -> Result<(), ReportError> {
    let wrong = |problem: &str| {
        Err(ReportError::BadValue {
            parameter: parameter.name.clone(),
            value: value.to_owned(),
            problem: problem.to_owned(),
        })
    };
    if value.contains('\0') {
        return wrong("holds a character that PostgreSQL cannot");
    }
    match parameter.kind {
        Kind::Bucket if !BUCKETS.contains(&value) => Err(ReportError::UnknownValue {
            what: "bucket",
            value: value.to_owned(),
            nearest: nearest(value, BUCKETS),
            known: BUCKETS.map(str::to_owned).to_vec(),
        }),
        Kind::TimeZone => time_zone(value).map(drop),
        Kind::Integer if value.parse::<i64>().is_err() => wrong("is no whole number"),
        Kind::Number if !value.parse::<f64>().is_ok_and(f64::is_finite) => wrong("is no number"),
        Kind::Weekdays if !is_weekdays(value) => {
            wrong("is no list of weekdays; write 1-5, or 1-4,6: 1 is Monday, 7 is Sunday")
        }
        _ => match parameter.range {
            Some(range) if !value.parse().is_ok_and(|number| range.contains(number)) => {
                wrong(&format!("must be {range}"))
            }
            _ => Ok(()),
        },
    }
}

/// `3`, `1-5` or several of them between commas, each from Monday to Sunday.
fn is_weekdays(list: &str) -> bool {
    let day = |text: &str| match text.as_bytes() {
        [digit @ b'1'..=b'7'] => Some(*digit),
        _ => None,
    };
    list.split(',').map(str::trim).all(|part| match part.split_once('-') {
        Some((first, last)) => day(first).zip(day(last)).is_some_and(|(first, last)| first <= last),
        None => day(part).is_some(),
    })
}

/// The time zone of that name.
///
/// # Errors
/// There is none; the error names the nearest.
pub fn time_zone(name: &str) -> Result<Tz, ReportError> {
    Tz::from_str(name).map_err(|_| {
        if let Some(offset) = fixed_offset(name) {
            return offset;
        }
        // Names with a place first: the others are links kept for old programs.
        let placed = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        ReportError::UnknownValue {
            what: "time zone",
            value: name.to_owned(),
            nearest: nearest(name, placed),
            known: vec!["for example Europe/Berlin".to_owned(), "UTC".to_owned()],
        }
    })
}

/// What is said of `UTC+2`, `GMT-03:00` and `+0200`; nothing of what is no distance from UTC.
fn fixed_offset(name: &str) -> Option<ReportError> {
    let upper = name.to_uppercase();
    let distance = upper.strip_prefix("UTC").or(upper.strip_prefix("GMT")).unwrap_or(&upper);
    let (is_ahead, written) = match distance.strip_prefix('+') {
        Some(written) => (true, written),
        None => (false, distance.strip_prefix(['-', '−'])?),
    };
    let (hours, minutes) = match written.split_once(':') {
        Some(parts) => parts,
        None if written.len() > 2 => written.split_at_checked(written.len() - 2)?,
        None => (written, "0"),
    };
    let number = |digits: &str| {
        let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    // POSIX counts westwards, and the names of the fixed zones do so too.
    let (side, sign, most) = if is_ahead { ("ahead of", '-', 14) } else { ("behind", '+', 12) };
    let same = (minutes == 0 && (1..=most).contains(&hours)).then(|| {
        format!(
            "{hours} h {side} UTC all year round is `Etc/GMT{sign}{hours}`, with the sign the other way round"
        )
    });
    let example = if minutes == 0 { "`Europe/Berlin`" } else { "`Asia/Kolkata`" };
    Some(ReportError::FixedOffset { value: name.to_owned(), example, same })
}

/// What the database makes of the values: the instants they name, by parameter.
pub(super) type Instants = BTreeMap<String, DateTime<Utc>>;

/// Makes the checks that need the ledger, in the transaction that the report will run in, so that `now` is the same.
pub(super) async fn evaluate(
    connection: &mut PgConnection,
    report: &Report,
    values: &Values,
) -> Result<Instants, ReportError> {
    let failed = |source| ReportError::Database { report: report.name.clone(), source };
    for source in values.sources(report) {
        let known: Vec<String> =
            // The planners' view, which readers may read too.
            sqlx::query_scalar("select source from deskledger_planner.sources order by source")
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
        if !known.iter().any(|name| name == source) {
            let nearest = nearest(source, known.iter().map(String::as_str));
            let value = source.to_owned();
            return Err(ReportError::UnknownValue { what: "source", value, nearest, known });
        }
    }
    seen::check(connection, report, values).await?;
    for (parameter, value) in values.of_kind(report, Kind::Duration) {
        sqlx::query("select deskledger.duration($1)")
            .bind(value)
            .execute(&mut *connection)
            .await
            .map_err(|error| refused(parameter, error).unwrap_or_else(failed))?;
    }
    let time_zone = values.of_kind(report, Kind::TimeZone).next().map_or("UTC", |(_, name)| name);
    let mut instants = Instants::new();
    // An instant whose default is empty need not be given: what that means is the report's affair.
    let is_given = |parameter: &Parameter, value: &str| {
        !(value.is_empty() && parameter.default.as_deref() == Some(""))
    };
    let given = values.of_kind(report, Kind::Instant);
    for (parameter, value) in given.filter(|(parameter, value)| is_given(parameter, value)) {
        let instant = sqlx::query_scalar("select deskledger.instant($1, $2)")
            .bind(value)
            .bind(time_zone)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| {
                // It reads the time zone first; whoever gave that has to mend it.
                let zone = values.of_kind(report, Kind::TimeZone).next();
                let blamed = zone.filter(|_| is_about_time_zone(&error));
                let blamed = blamed.map_or(parameter, |(zone, _)| zone);
                refused(blamed, error).unwrap_or_else(failed)
            })?;
        instants.insert(parameter.name.clone(), instant);
    }
    if let (Some(from), Some(to)) = (instants.get("from"), instants.get("to")) {
        in_order(["from", "to"], *from, *to)?;
    }
    Ok(instants)
}

/// Refuses a period in which no instant lies: its figures would all be nothing, and look like an answer.
pub(super) fn in_order(
    names: [&'static str; 2],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<(), ReportError> {
    if from < to {
        return Ok(());
    }
    let text = |instant: DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    Err(ReportError::NoPeriod { names, from: text(from), to: text(to) })
}

/// The database's refusal of one parameter's value; the error itself if it is about something else.
fn refused(parameter: &Parameter, error: sqlx::Error) -> Result<ReportError, sqlx::Error> {
    match refusal(&error) {
        Some(message) => Ok(ReportError::Refused(format!("`--{}`: {message}", parameter.name))),
        None => Err(error),
    }
}

/// Whether an error is about the time zone that an instant was to be read in: ours, or PostgreSQL's of a name that it lacks.
fn is_about_time_zone(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("DL002" | "22023"))
}

/// The message of an error that our functions raise about a value, or PostgreSQL about a time zone.
pub(super) fn refusal(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    let code = error.code()?;
    let is_ours = code.starts_with("DL");
    let is_time_zone = code == "22023" && error.message().starts_with("time zone");
    // It says `of a hour`, in functions that no release changes.
    let message = error.message().replace("buckets of a hour", "buckets of an hour");
    (is_ours || is_time_zone).then_some(message)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn report() -> Report {
        let text = "-- T\n-- Parameters\n--   bucket  bucket  day  x\n--   tz  timezone  UTC  x\n\
             --   within_days  integer  3  x\n--   share  number 0..100  0.5  x\n\
             --   workdays  weekdays  1-5  x\n--   user  text  required  x\n\
             select :'bucket', :'tz', :'within_days', :'share', :'workdays', :'user'";
        Report::read("r", Path::new("r.sql"), text, true).expect("a report")
    }

    fn error(given: &[(&str, &str)]) -> String {
        Values::new(&report(), given.iter().copied()).expect_err("wrong").to_string()
    }

    #[test]
    fn defaults_fill_what_is_not_given() {
        let values =
            Values::new(&report(), [("user", "anna"), ("within-days", "-4")]).expect("right");
        assert_eq!(values.get("bucket"), Some("day"));
        assert_eq!(values.get("within_days"), Some("-4"));
    }

    #[test]
    fn a_working_day_without_hours_is_refused() {
        let capacity =
            crate::report::catalogue::Catalogue::built_in().take("capacity").expect("one");
        let asked =
            |from: &str, to: &str| Values::new(&capacity, [("day-from", from), ("day-to", to)]);
        assert_eq!(
            asked("9", "9").expect_err("no hours").to_string(),
            "`--day-from 9` and `--day-to 9` leave no working hours; the whole day is `--day-from 0 --day-to 24`"
        );
        assert!(asked("22", "6").is_ok() && asked("0", "24").is_ok());
    }

    #[test]
    fn a_wrong_value_is_told_with_the_nearest_right_one() {
        let anna = ("user", "anna");
        assert_eq!(
            error(&[anna, ("bucket", "dya")]),
            "there is no bucket `dya`; did you mean `day`?"
        );
        assert_eq!(
            error(&[anna, ("bucket", "x")]),
            "there is no bucket `x`; there is hour, day, week, month, all"
        );
        assert_eq!(
            error(&[anna, ("tz", "Europe/Berln")]),
            "there is no time zone `Europe/Berln`; did you mean `Europe/Berlin`?"
        );
        assert_eq!(error(&[anna, ("within_days", "3d")]), "`--within_days 3d`: is no whole number");
        assert_eq!(error(&[anna, ("share", "inf")]), "`--share inf`: is no number");
        assert_eq!(error(&[anna, ("share", "-1")]), "`--share -1`: must be 0 to 100");
        assert_eq!(error(&[anna, ("share", "100.5")]), "`--share 100.5`: must be 0 to 100");
        for list in ["8", "0-5", "5-1", "1;2", "", "1-", "+1", "mon"] {
            let text = error(&[anna, ("workdays", list)]);
            let problem = "is no list of weekdays; write 1-5, or 1-4,6: 1 is Monday, 7 is Sunday";
            assert_eq!(text, format!("`--workdays {list}`: {problem}"));
        }
        for right in [("share", "100"), ("share", "0"), ("workdays", "1, 3-4, 7")] {
            assert!(Values::new(&report(), [anna, right]).is_ok(), "{right:?}");
        }
        for (offset, zone) in [
            ("UTC+2", "2 h ahead of UTC all year round is `Etc/GMT-2`"),
            ("utc-03:00", "3 h behind UTC all year round is `Etc/GMT+3`"),
            ("GMT+14", "14 h ahead of UTC all year round is `Etc/GMT-14`"),
            ("+0200", "2 h ahead of UTC all year round is `Etc/GMT-2`"),
            ("UTC+5:30", "such as `Asia/Kolkata`"),
            ("UTC+99", "such as `Europe/Berlin`"),
        ] {
            let text = error(&[anna, ("tz", offset)]);
            assert!(text.starts_with(&format!("there is no time zone `{offset}`: ")), "{text}");
            assert!(text.contains(zone) && !text.contains("did you mean"), "{text}");
        }
        assert_eq!(error(&[anna, anna]), "`--user` is given twice");
        assert_eq!(
            error(&[("buckt", "day")]),
            "`r` has no parameter `--buckt`; did you mean `--bucket`?"
        );
        assert_eq!(error(&[]), "`r` needs `--user` (text: x)");
    }
}
