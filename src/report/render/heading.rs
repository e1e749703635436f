//! What stands above the rows for people: title, period, source, time zone, and how often was looked.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use unicode_width::UnicodeWidthStr;

use super::people::{Precision, length};
use crate::domain::harmless;
use crate::report::period::Stretch;
use crate::report::run::{Asked, Head};
use crate::report::sampling::{Kept, Sampling};
use crate::report::value::Cell;

/// The lines below the title: what was asked for, and how often was looked.
pub(super) fn lines(head: &Head) -> Vec<String> {
    let subtitle = Some(subtitle(head)).filter(|line| !line.is_empty());
    subtitle.into_iter().chain(sampled(head)).collect()
}

/// Period, source, the rest, time zone.
pub(in crate::report) fn subtitle(head: &Head) -> String {
    let mut parts = Vec::new();
    let period = period(head);
    if let Some((from, to)) = &period {
        parts.push(format!("{from} to {to}"));
    }
    parts.extend(head.stretches.iter().map(|stretch| said(stretch, head.time_zone)));
    let is_compared = head.stretches.iter().any(|stretch| stretch.role.is_some());
    for (name, asked) in &head.asked {
        match asked {
            // Both are in what it is compared with.
            Asked::Instant(_) if is_compared && name.starts_with("other_") => {}
            Asked::Instant(_) if period.is_some() && (name == "from" || name == "to") => {}
            Asked::Instant(at) => parts.push(format!("{name} {}", edge(*at, head.time_zone))),
            Asked::Text(text) if text.is_empty() && matches!(name.as_str(), "source" | "group") => {
                parts.push(format!("all {name}s"));
            }
            Asked::Text(text) if text.is_empty() => {}
            Asked::Text(text) => parts.push(format!("{name} {}", harmless(text))),
        }
    }
    if !head.asked.is_empty() {
        parts.push(format!("times in {}", head.time_zone.name()));
    }
    parts.join(" · ")
}

/// `compared with 2026-10-01 00:00 to 2026-10-08 00:00`
pub(super) fn said(stretch: &Stretch, tz: Tz) -> String {
    let text = format!("{} to {}", edge(stretch.from, tz), edge(stretch.to, tz));
    match stretch.role {
        Some(role) => format!("{role} {text}"),
        None => text,
    }
}

/// The stretches of time that it looks at, and nothing else, in that time zone.
pub(in crate::report) fn looked_at(head: &Head, tz: Tz) -> String {
    let period = instant(head, "from").zip(instant(head, "to"));
    let period = period.map(|(from, to)| said(&Stretch { role: None, from, to }, tz));
    let others = head.stretches.iter().map(|stretch| said(stretch, tz));
    period.into_iter().chain(others).collect::<Vec<_>>().join(" · ")
}

fn period(head: &Head) -> Option<(String, String)> {
    let from = instant(head, "from")?;
    let to = instant(head, "to")?;
    Some((edge(from, head.time_zone), edge(to, head.time_zone)))
}

/// The instant that a parameter came out as.
pub(in crate::report) fn instant(head: &Head, name: &str) -> Option<DateTime<Utc>> {
    head.asked.iter().find_map(|(known, asked)| match asked {
        Asked::Instant(instant) if known == name => Some(*instant),
        _ => None,
    })
}

/// An edge of the period. At midnight it still shows its hour: a bare date leaves open which end of it is meant.
pub(super) fn edge(instant: DateTime<Utc>, tz: Tz) -> String {
    let precision = Precision::of([Cell::Instant(instant)].iter(), tz).max(Precision::Minute);
    precision.text(instant, tz)
}

/// How often each source was visited, and up to which distance nothing between two visits is unobserved:
/// `prod every 5m, covered up to 15m apart`. Sources that are alike stand together. `None` where nothing is known.
pub(in crate::report) fn sampled(head: &Head) -> Option<String> {
    let said: Vec<(&str, String)> =
        head.sampling.iter().map(|sampling| (sampling.source.as_str(), often(sampling))).collect();
    let mut parts: Vec<(String, Vec<String>)> = Vec::new();
    for (source, often) in said {
        match parts.iter_mut().find(|(known, _)| *known == often) {
            Some((_, sources)) => sources.push(harmless(source)),
            None => parts.push((often, vec![harmless(source)])),
        }
    }
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(often, sources)| format!("{} {often}", sources.join(", ")))
        .collect();
    (!parts.is_empty()).then(|| parts.join(" · "))
}

/// `every 5m, covered up to 15m apart`
pub(super) fn often(sampling: &Sampling) -> String {
    let Some(max_gap) = sampling.max_gap else { return "never visited".to_owned() };
    let often = match sampling.interval {
        Some(interval) => format!("every {}", length(without_jitter(interval))),
        None => "visited once".to_owned(),
    };
    format!(
        "{often}, covered up to {} apart{}",
        length(max_gap),
        kept(sampling).map(|kept| format!(", {kept}")).unwrap_or_default(),
    )
}

/// `detail from 2026-05-01 UTC on and from 2026-02-01 to 2026-03-01: what else is older was pruned`; `None` where nothing
/// that was asked for is pruned.
fn kept(sampling: &Sampling) -> Option<String> {
    let date = |at: DateTime<Utc>| at.format("%Y-%m-%d");
    let detail = sampling.detail.as_ref().map(|Kept { from, earlier }| {
        let mut text = format!("detail from {} UTC on", date(*from));
        for (from, to) in earlier {
            text.push_str(&format!(" and from {} to {}", date(*from), date(*to)));
        }
        let what = if earlier.is_empty() { "what is older" } else { "what else is older" };
        format!("{text}: {what} was pruned")
    });
    let counts = sampling
        .counts_from
        .map(|from| format!("counts from {} UTC on: what is older was pruned", date(from)));
    let parts: Vec<String> = detail.into_iter().chain(counts).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What the reader of rows without a heading has to be told: one text for each source of which something that was asked
/// for is pruned.
#[must_use]
pub fn pruned(head: &Head) -> Vec<String> {
    head.sampling
        .iter()
        .filter_map(|sampling| {
            Some(format!("source `{}`: {}", harmless(&sampling.source), kept(sampling)?))
        })
        .collect()
}

/// Ticks are never kept to the millisecond: whole minutes where it is within a fiftieth of them, else whole seconds.
fn without_jitter(microseconds: i64) -> i64 {
    const SECOND: i64 = 1_000_000;
    const MINUTE: i64 = 60 * SECOND;
    let to = |unit: i64| (microseconds + unit / 2) / unit * unit;
    let minutes = to(MINUTE);
    if (minutes - microseconds).abs() * 50 <= minutes {
        minutes
    } else if microseconds >= SECOND {
        to(SECOND)
    } else {
        microseconds
    }
}

/// Breaks a text at its spaces; a word that is wider than the line stays whole.
pub(super) fn wrapped(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![text.to_owned()] };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_without_its_jitter() {
        const SECOND: i64 = 1_000_000;
        for (microseconds, text) in [
            (300 * SECOND + 12_345, "5m"),
            (59 * SECOND + 900_000, "1m"),
            (299 * SECOND, "5m"),
            (90 * SECOND + 1, "1m30s"),
            (10 * SECOND - 3, "10s"),
            (3_600 * SECOND + 999_999, "1h"),
            (500_000, "0.5s"),
        ] {
            assert_eq!(length(without_jitter(microseconds)), text);
        }
    }

    #[test]
    fn lines_break_at_spaces_by_what_they_take() {
        assert_eq!(wrapped("aa bb cc", Some(5)), ["aa bb", "cc"]);
        assert_eq!(wrapped("桌面 桌面 a", Some(7)), ["桌面", "桌面 a"]);
        assert_eq!(wrapped("aaaaaa b", Some(3)), ["aaaaaa", "b"]);
        assert_eq!(wrapped("aa bb", None), ["aa bb"]);
    }
}
