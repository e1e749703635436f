//! How small and how large a number may be that a parameter takes.

use std::fmt;
use std::str::FromStr;

/// The least and the most, both included; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    least: Option<f64>,
    most: Option<f64>,
}

impl Range {
    /// Whether a number lies in it.
    #[must_use]
    pub fn contains(self, number: f64) -> bool {
        self.least.is_none_or(|least| least <= number)
            && self.most.is_none_or(|most| number <= most)
    }
}

/// As a header writes it: `1..168`, `0.01..`, `..100`.
impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no range; write for example 1..168, 1.. or ..168");
        let (least, most) = text.split_once("..").ok_or_else(wrong)?;
        let end = |written: &str| {
            if written.is_empty() {
                return Ok(None);
            }
            let number = written.parse::<f64>().ok().filter(|number| number.is_finite());
            number.map(Some).ok_or_else(wrong)
        };
        let range = Self { least: end(least)?, most: end(most)? };
        let is_one = match (range.least, range.most) {
            (Some(least), Some(most)) => least <= most,
            (least, most) => least.or(most).is_some(),
        };
        if is_one { Ok(range) } else { Err(wrong()) }
    }
}

/// For people: `1 to 168`, `1 or more`, `168 or less`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (Some(least), Some(most)) => write!(f, "{least} to {most}"),
            (Some(least), None) => write!(f, "{least} or more"),
            (None, Some(most)) => write!(f, "{most} or less"),
            // There is no such range.
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_belong_to_a_range() {
        for (written, shown, inside, outside) in [
            ("1..168", "1 to 168", [1.0, 168.0], [0.0, 168.5]),
            ("0.01..", "0.01 or more", [0.01, 1e9], [0.0, -1.0]),
            ("..-2", "-2 or less", [-2.0, -3.0], [-1.0, 0.0]),
        ] {
            let range: Range = written.parse().expect(written);
            assert_eq!(range.to_string(), shown);
            assert!(inside.into_iter().all(|number| range.contains(number)), "{written}");
            assert!(!outside.into_iter().any(|number| range.contains(number)), "{written}");
        }
    }

    #[test]
    fn what_is_no_range_is_told() {
        for written in ["", "5", "..", "1-5", "5..1", "a..b", "1..inf", "1...5"] {
            let error = written.parse::<Range>().expect_err(written);
            assert!(error.starts_with(&format!("`{written}` is no range")), "{error}");
        }
    }
}
